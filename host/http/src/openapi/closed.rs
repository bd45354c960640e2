//! Schemas that are closed: an object has the fields that its type has, and no other.

use serde_json::Value;

/// Close a schema and all schemas in it. What is open by its own word stays so: `config`, `context`, `metadata`,
/// and other documents of clients and agents.
pub(super) fn close(schema: &mut Value) {
    let Value::Object(keywords) = schema else { return };
    let is_object = keywords.contains_key("properties");
    if is_object && !keywords.contains_key("additionalProperties") {
        keywords.insert("additionalProperties".to_owned(), false.into());
    }
    for (keyword, value) in keywords.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties", Value::Object(fields)) => fields.values_mut().for_each(close),
            ("items" | "additionalProperties", inner) => close(inner),
            // Beside fields they say more of the same object, and are not all of it.
            ("oneOf" | "anyOf" | "allOf", Value::Array(each)) if !is_object => {
                each.iter_mut().for_each(close);
            }
            _ => {}
        }
    }
}
