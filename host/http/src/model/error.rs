//! The body of an error.

use serde::Serialize;
use serde_json::{Map, Value};

/// What went wrong: a sentence that says what to do, a stable word, and what belongs to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorBody {
    pub(crate) error: String,
    pub(crate) code: &'static str,
    pub(crate) request_id: String,
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}
