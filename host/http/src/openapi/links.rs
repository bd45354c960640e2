//! What the answer of one operation names that others take: a client that has created a session knows what to do
//! with its id.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The path of what creates something, the field of its answer that names it, and the beginning of the paths of
/// what can be done with that.
const LINKS: &[(&str, &str, &str)] = &[
    ("/api/sessions", "id", "/api/sessions/{id}"),
    ("/api/sessions", "id", "/api/v1/containers/{id}"),
    ("/api/keys", "id", "/api/keys/{id}"),
    ("/api/templates", "name", "/api/templates/{name}"),
    ("/sessions", "id", "/sessions/{id}"),
];

/// Add them to the answers of what creates something.
pub(super) fn add(paths: &mut BTreeMap<String, Map<String, Value>>) {
    for (creates, field, of) in LINKS {
        let linked: Map<String, Value> = paths
            .iter()
            .filter(|(path, _)| path.starts_with(of))
            .flat_map(|(_, operations)| operations.values())
            .map(|operation| {
                let id = operation["operationId"].as_str().unwrap_or_default();
                let parameters = json!({ *field: format!("$response.body#/{field}") });
                (id.to_owned(), json!({ "operationId": id, "parameters": parameters }))
            })
            .collect();
        let created = paths.get_mut(*creates).and_then(|operations| operations.get_mut("post"));
        let answer = created.and_then(|operation| operation.pointer_mut("/responses/201"));
        if let Some(Value::Object(answer)) = answer {
            let links = answer.entry("links").or_insert_with(|| json!({}));
            links.as_object_mut().into_iter().for_each(|links| links.extend(linked.clone()));
        }
    }
}
