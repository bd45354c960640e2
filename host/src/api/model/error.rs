//! The body of an error.

use serde::Serialize;
use serde_json::{Map, Value};

/// What went wrong: a sentence that says what to do, a stable word, and what belongs to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct ErrorBody {
    pub(in crate::api) error: String,
    pub(in crate::api) code: &'static str,
    pub(in crate::api) request_id: String,
    #[serde(flatten)]
    pub(in crate::api) more: Map<String, Value>,
}
