//! The parts of a message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use crate::turn::record::Part;

/// One part of a message.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(in crate::api) enum PartBody {
    Text {
        text: String,
    },
    Json {
        json: Value,
    },
    #[serde(rename_all = "camelCase")]
    Blob {
        media_type: String,
        /// In base64.
        data: String,
    },
}

impl From<&Part> for PartBody {
    fn from(part: &Part) -> PartBody {
        match part {
            Part::Text(text) => PartBody::Text { text: text.clone() },
            Part::Json(text) => PartBody::Json { json: document(text) },
            Part::Blob { media_type, data } => {
                PartBody::Blob { media_type: media_type.clone(), data: STANDARD.encode(data) }
            }
        }
    }
}

/// A JSON document that an agent wrote; what is none is told as the string that it is.
pub(super) fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}
