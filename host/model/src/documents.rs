//! Documents of the agent's in requests: they go out as they were written.

use serde_json::value::RawValue;

use dormouse_domain::model::ModelError;

/// A document of the agent's. Its text is checked and not taken apart: a value of each of its members would take a
/// hundred times the memory.
pub(crate) fn document<'a>(what: &str, text: &'a str) -> Result<&'a RawValue, ModelError> {
    serde_json::from_str(text)
        .map_err(|error| ModelError::Invalid(format!("{what} is no JSON document: {error}")))
}

/// The same, which has to be an object.
pub(crate) fn object<'a>(what: &str, text: &'a str) -> Result<&'a RawValue, ModelError> {
    let document = document(what, text)?;
    if document.get().starts_with('{') {
        return Ok(document);
    }
    Err(ModelError::Invalid(format!("{what} is no JSON object")))
}
