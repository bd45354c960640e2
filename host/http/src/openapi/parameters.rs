//! The parameters of an operation: of its path, of its query, and its headers.

use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::operation::{Header, Operation};

/// All of them, as OpenAPI has them.
pub(super) fn parameters(
    generator: &mut SchemaGenerator,
    path: &str,
    operation: &Operation,
) -> Vec<Value> {
    let mut all: Vec<Value> = names(path).map(of_path).collect();
    for schema in &operation.queries {
        all.extend(of_query(&schema(generator).to_value()));
    }
    all.extend(operation.headers.iter().map(of_header));
    all
}

/// The names in braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn of_path(name: &str) -> Value {
    let schema = json!({ "type": "string", "minLength": 1 });
    let mut parameter = json!({ "name": name, "in": "path", "required": true, "schema": schema });
    if name == "agent" {
        let description = "`name`, `name@version`, `owner/name`, `owner/name@version` or a digest.";
        parameter["description"] = description.into();
    }
    parameter
}

fn of_query(schema: &Value) -> Vec<Value> {
    let is_required = |name: &str| {
        let required = schema["required"].as_array();
        required.is_some_and(|required| required.iter().any(|it| it == name))
    };
    let fields = schema["properties"].as_object().into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|it| it.remove("description"));
        there(&mut schema);
        let mut parameter =
            json!({ "name": name, "in": "query", "required": is_required(name), "schema": schema });
        if let Some(description) = description {
            parameter["description"] = description;
        }
        parameter
    };
    fields.map(parameter).collect()
}

/// The schema of a value that is there: a query knows no `null`.
fn there(schema: &mut Value) {
    let Value::Object(keywords) = schema else { return };
    if let Some(Value::Array(types)) = keywords.get_mut("type") {
        types.retain(|it| it != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            keywords.insert("type".to_owned(), one);
        }
    }
    if let Some(Value::Array(words)) = keywords.get_mut("enum") {
        words.retain(|word| !word.is_null());
    }
    if keywords.get("default").is_some_and(Value::is_null) {
        keywords.remove("default");
    }
}

fn of_header(header: &Header) -> Value {
    let Header { name, description } = header;
    let schema = json!({ "type": "string" });
    json!({ "name": name, "in": "header", "required": false, "description": description,
            "schema": schema })
}
