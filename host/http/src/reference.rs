//! The reference of the API for readers: each route, each type, each event, each code. It is made of the
//! OpenAPI document, and written once for two forms: a page of HTML for `/docs`, and Markdown for `docs/`.

mod html;
mod markdown;
mod types;

use serde_json::Value;

use super::codes::{Code, EVERYWHERE, GUARDED};
use super::model::payload::payload;
use super::openapi::DOCUMENT;
use super::operation::Tag;
use dormouse::EventKind;
use html::Html;
use markdown::Markdown;
use types::{fields, type_of, words};

/// A form of the reference. Texts have code between backticks, and links as Markdown has them.
trait Form {
    /// The beginning of a part, of a level from 1 on.
    fn heading(&mut self, level: usize, text: &str);
    /// A paragraph.
    fn paragraph(&mut self, text: &str);
    /// Rows of cells below the names of their columns.
    fn table(&mut self, columns: &[&str], rows: &[Vec<String>]);
}

/// The reference of the API, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut markdown = Markdown::default();
    write(&DOCUMENT, &mut markdown);
    markdown.finish()
}

/// The reference of the API that the document describes, as a page of HTML.
pub(super) fn html(document: &Value) -> String {
    let mut html = Html::new("Dormouse: the API");
    write(document, &mut html);
    html.finish()
}

fn write(document: &Value, form: &mut impl Form) {
    form.heading(1, "The API of Dormouse");
    form.paragraph(
        "This page is made of the types that the server reads and answers with. A running server \
         shows it at `/docs`, and the same as an OpenAPI document at `/api/openapi.json`; \
         `dormouse reference` prints it. In the examples of the README the routes are put to use.",
    );
    form.paragraph(text(&document["info"]["description"]));
    for tag in Tag::ALL {
        form.heading(2, tag.as_str());
        form.paragraph(tag.description());
        for (path, operations) in object(&document["paths"]) {
            for (method, operation) in object(operations) {
                if operation["tags"][0] == tag.as_str() {
                    write_operation(&method.to_uppercase(), path, operation, form);
                }
            }
        }
    }
    write_types(document, form);
    write_streams(document, form);
    write_events(form);
    write_codes(form);
}

fn write_operation(method: &str, path: &str, operation: &Value, form: &mut impl Form) {
    form.heading(3, &format!("{method} {path}"));
    form.paragraph(text(&operation["summary"]));
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let rows: Vec<_> = parameters.map(parameter_row).collect();
    if !rows.is_empty() {
        form.table(&["parameter", "in", "type", "what it is"], &rows);
    }
    let body = &operation["requestBody"];
    for (media_type, content) in object(&body["content"]) {
        let must = if body["required"] == true { "" } else { ", which may be left out" };
        let what = type_of(&content["schema"]);
        form.paragraph(&format!("Body: {what} (`{media_type}`){must}."));
    }
    let mut answers = Vec::new();
    let mut codes = Vec::new();
    for (status, answer) in object(&operation["responses"]) {
        let error = answer.pointer("/content/application~1json/schema/allOf/1/properties/code");
        match error {
            Some(code) => codes.extend(particular(words(code))),
            None => answers.push(format!("`{status}` {}", contents(answer))),
        }
    }
    form.paragraph(&format!("Answers: {}.", answers.join("; ")));
    if !codes.is_empty() {
        form.paragraph(&format!("Errors of its own: {}.", codes.join(", ")));
    }
}

fn parameter_row(parameter: &Value) -> Vec<String> {
    let must = if parameter["required"] == true { "needed. " } else { "" };
    vec![
        format!("`{}`", text(&parameter["name"])),
        text(&parameter["in"]).to_owned(),
        type_of(&parameter["schema"]),
        format!("{must}{}", text(&parameter["description"])),
    ]
}

/// Those codes of an operation that not every operation has.
fn particular(words: Vec<&str>) -> Vec<String> {
    let of_paths = &[Code::NotFound, Code::MethodNotAllowed];
    let common = EVERYWHERE.iter().chain(GUARDED).chain(of_paths);
    let common: Vec<&str> = common.map(|code| code.as_str()).collect();
    let own = words.into_iter().filter(|word| !common.contains(word));
    own.map(|word| format!("`{word}`")).collect()
}

fn contents(answer: &Value) -> String {
    let contents =
        object(&answer["content"]).map(|(media_type, content)| match content.pointer(EVENT_DATA) {
            Some(event) => format!("a stream of {} (`{media_type}`)", type_of(event)),
            None if media_type == "application/json" => type_of(&content["schema"]),
            None => format!("`{media_type}`"),
        });
    let contents: Vec<_> = contents.collect();
    if contents.is_empty() { "without a body".to_owned() } else { contents.join(" or ") }
}

fn write_types(document: &Value, form: &mut impl Form) {
    form.heading(2, "Types");
    form.paragraph("What is not needed may be absent; where a type has `null`, `null` is as good.");
    for (name, schema) in object(&document["components"]["schemas"]) {
        // Its own part tells of each of its variants.
        if name == STREAM_EVENT {
            continue;
        }
        form.heading(3, name);
        form.paragraph(text(&schema["description"]));
        let rows = fields(schema);
        if rows.is_empty() {
            form.paragraph(&type_of(schema));
        } else {
            form.table(&["field", "type", "", "what it is"], &rows);
        }
    }
}

/// Where the type stands of what the events of a stream carry, in the schema of the stream.
const EVENT_DATA: &str = "/schema/properties/data/contentSchema";

/// The type of what streams of turns consist of.
const STREAM_EVENT: &str = "StreamEvent";

fn write_streams(document: &Value, form: &mut impl Form) {
    form.heading(2, STREAM_EVENT);
    form.paragraph(
        "One event of the stream of a turn: a line `id: turn.attempt.number`, a line `data: ` with \
         the JSON document, an empty line. A comment every 15 seconds keeps the connection open. \
         The stream ends with `done`, `error` or `aborted`.",
    );
    let schema = &document["components"]["schemas"][STREAM_EVENT];
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        form.heading(3, text(&variant["properties"]["type"]["const"]));
        form.paragraph(text(&variant["description"]));
        form.table(&["field", "type", "", "what it is"], &fields(variant));
    }
}

fn write_events(form: &mut impl Form) {
    form.heading(2, "Events of the log");
    form.paragraph("The `event_type` of an [Event](#event), and what its `payload` has.");
    let mut generator = schemars::SchemaGenerator::default();
    let row = |kind: &EventKind| {
        let payload = payload(&mut generator, *kind);
        let forms = payload["anyOf"].as_array().cloned().unwrap_or_else(|| vec![payload.clone()]);
        let told: Vec<String> = forms.iter().map(particulars).collect();
        vec![format!("`{}`", kind.as_str()), kind.meaning().to_owned(), told.join("; or ")]
    };
    let rows: Vec<_> = EventKind::ALL.iter().map(row).collect();
    form.table(&["event_type", "what has happened", "payload"], &rows);
}

fn particulars(payload: &Value) -> String {
    let fields = fields(payload).into_iter().map(|row| format!("{}: {}", row[0], row[1]));
    fields.collect::<Vec<_>>().join(", ")
}

fn write_codes(form: &mut impl Form) {
    form.heading(2, "Codes of errors");
    let every = |codes: &[Code]| {
        let words: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
        words.join(", ")
    };
    form.paragraph(&format!(
        "An [Error](#error) has one of these codes. Every route can answer with {}; those that need \
         a key where there are keys, with {} as well.",
        every(EVERYWHERE),
        every(GUARDED)
    ));
    let row = |code: &Code| {
        let statuses: Vec<_> = code.statuses().iter().map(u16::to_string).collect();
        vec![format!("`{}`", code.as_str()), statuses.join(", "), code.meaning().to_owned()]
    };
    let rows: Vec<_> = Code::ALL.iter().map(row).collect();
    form.table(&["code", "status", "what it means"], &rows);
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
