//! The parts of a message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use dormouse::Part;

/// One part of a message.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Part")]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum PartBody {
    Text {
        text: String,
    },
    Json {
        #[schemars(with = "serde_json::Value")]
        json: Box<RawValue>,
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

/// A JSON document that an agent wrote, as the very text that it is: it was checked when the host took
/// it. What an earlier version has kept and is none is told as a string.
pub(super) fn document(text: &str) -> Box<RawValue> {
    // A string always has a form in JSON.
    let string = |_| to_raw_value(text).unwrap_or_default();
    RawValue::from_string(text.to_owned()).unwrap_or_else(string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_told_as_it_was_written() {
        for text in ["1e999", "123456789012345678901234567890", r#"{"b":0.10,"a":1,"a": [ 2 ]}"#] {
            let part = PartBody::from(&Part::Json(text.to_owned()));
            let told = serde_json::to_string(&part).unwrap();
            assert_eq!(told, format!("{{\"type\":\"json\",\"json\":{text}}}"));
        }
        let none = PartBody::from(&Part::Json("no \"document".to_owned()));
        let told = serde_json::to_string(&none).unwrap();
        assert_eq!(told, r#"{"type":"json","json":"no \"document"}"#);
    }
}
