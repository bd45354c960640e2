//! The description of the API, as an OpenAPI document: made of the routes, of the types that their handlers
//! read and answer with, and of the codes of errors.
//!
//! OpenAPI 3.1 has the schemas of JSON Schema 2020-12, as `schemars` makes them. It has no word for what a stream
//! of events consists of: there the schema is that of one event, as readers of OpenAPI 3.1 have it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::StatusCode;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::codes::{Code, EVERYWHERE, GUARDED};
use super::model::error::ErrorBody;
use super::operation::{Answer, Content, Operation, RequestBody, Tag};
use super::routes::{Admission, described};
use closed::close;
use parameters::parameters;

mod closed;
mod links;
mod parameters;

/// The document.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// The description of the API, as an OpenAPI document.
#[must_use]
pub fn openapi() -> &'static Value {
    &DOCUMENT
}

/// Makes schemas: of what is asked as it is read, of what is answered as it is written.
struct Schemas {
    asked: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn new() -> Schemas {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Schemas {
            asked: settings.clone().for_deserialize().into_generator(),
            answered: settings.for_serialize().into_generator(),
        }
    }

    /// All types that have a name, none of which takes a field that it does not have.
    fn named(mut self) -> Map<String, Value> {
        let mut all = self.asked.take_definitions(false);
        for (name, schema) in self.answered.take_definitions(false) {
            let twice = all.insert(name, schema);
            debug_assert!(
                twice.is_none(),
                "a type of a request has the name of another: {twice:?}"
            );
        }
        all.values_mut().for_each(close);
        all
    }
}

fn document() -> Value {
    let mut schemas = Schemas::new();
    schemas.answered.subschema_for::<ErrorBody>();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut ids: BTreeMap<&'static str, usize> = BTreeMap::new();
    for (route, description, admission) in described() {
        let operation = description.operation();
        let times = ids.entry(operation.id).and_modify(|times| *times += 1).or_insert(1);
        // One operation may have several paths, and a name is that of one.
        let id =
            if *times == 1 { operation.id.to_owned() } else { format!("{}{times}", operation.id) };
        let path = route.path.replace("{*", "{");
        let mut told = told(&mut schemas, &path, &operation, admission);
        told["operationId"] = id.into();
        let method = route.method.as_str().to_lowercase();
        paths.entry(path).or_default().insert(method, told);
    }
    links::add(&mut paths);
    let tags =
        Tag::ALL.map(|tag| json!({ "name": tag.as_str(), "description": tag.description() }));
    let bearer = json!({ "type": "http", "scheme": "bearer", "description":
        "A key of the API. A server that has no keys needs none." });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Dormouse",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A host for AI-agent sessions in WebAssembly. Times are RFC 3339 in UTC, \
                            money is in US dollars. A field that is not known is ignored and told of \
                            in `ignored`, unless it is a near miss of one that is.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "tags": tags,
        "paths": paths,
        "components": { "schemas": schemas.named(), "securitySchemes": { "bearer": bearer } },
    })
}

/// What is told of one operation.
fn told(schemas: &mut Schemas, path: &str, operation: &Operation, admission: Admission) -> Value {
    let mut errors = operation.clone();
    errors.can_fail(EVERYWHERE);
    if path.contains('{') {
        // Clients take `.` and `..` out of a path: it is another then.
        errors.can_fail(&[Code::NotFound, Code::MethodNotAllowed]);
    }
    let security = match admission {
        Admission::Open => json!([]),
        Admission::Key => {
            errors.can_fail(GUARDED);
            json!([{}, { "bearer": [] }])
        }
    };
    let mut told = json!({
        "tags": [operation.tag.as_str()],
        "summary": operation.summary,
        "parameters": parameters(&mut schemas.asked, path, operation),
        "responses": responses(&mut schemas.answered, &errors),
        "security": security,
    });
    if let Some(RequestBody { is_required, content }) = operation.body {
        let content = json!(by_media_type(&mut schemas.asked, content));
        told["requestBody"] = json!({ "required": is_required, "content": content });
    }
    told
}

fn responses(generator: &mut SchemaGenerator, operation: &Operation) -> Value {
    let mut by_status: BTreeMap<String, Value> = BTreeMap::new();
    for Answer { status, content } in &operation.answers {
        let answer = by_status
            .entry(status.to_string())
            .or_insert_with(|| json!({ "description": reason(*status) }));
        if let Some(content) = content {
            for (media_type, schema) in by_media_type(generator, *content) {
                answer["content"][media_type] = schema;
            }
        }
    }
    let mut codes: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for (status, code) in &operation.errors {
        codes.entry(*status).or_default().push(*code);
    }
    let errors = codes.into_iter().map(|(status, codes)| (status.to_string(), error(&codes)));
    by_status.extend(errors);
    json!(by_status)
}

/// An error with one of these codes.
fn error(codes: &[Code]) -> Value {
    let meanings = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.meaning()));
    let words: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let schema = json!({ "allOf": [
        { "$ref": "#/components/schemas/Error" },
        { "properties": { "code": { "enum": words } } },
    ] });
    json!({
        "description": meanings.collect::<Vec<_>>().join(" "),
        "content": { "application/json": { "schema": schema } },
    })
}

fn by_media_type(generator: &mut SchemaGenerator, content: Content) -> Map<String, Value> {
    let (media_type, described) = match content {
        Content::Json(schema) => ("application/json", json!({ "schema": schema(generator) })),
        Content::Events(schema) => {
            let data = json!({
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema(generator),
            });
            let event = json!({
                "type": "object",
                "properties": { "id": { "type": "string" }, "data": data },
                "required": ["data"],
            });
            ("text/event-stream", json!({ "schema": event }))
        }
        Content::Text(media_type) => (media_type, json!({ "schema": { "type": "string" } })),
        Content::Binary(media_type) => {
            let bytes = json!({ "type": "string", "contentMediaType": media_type });
            (media_type, json!({ "schema": bytes }))
        }
    };
    Map::from_iter([(media_type.to_owned(), described)])
}

fn reason(status: u16) -> &'static str {
    let known = StatusCode::from_u16(status).ok();
    known.and_then(|status| status.canonical_reason()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
