//! Holds every answer of the API to its description: the status, the media type, each field, and each event of
//! a stream. A test that asks anything of a host tests this as well.

mod schema;

use dormouse_http::openapi;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use reqwest::{Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::Value;

/// One answer, as it comes.
pub(crate) struct Answer {
    /// What was asked for: for messages.
    asked: String,
    content: Content,
    read: Vec<u8>,
}

/// What an answer is held to.
enum Content {
    /// Nothing: it is no JSON, or compressed.
    Any,
    /// A JSON document of this schema.
    Document(&'static Value),
    /// A stream of events with data of this schema.
    Events(&'static Value),
}

impl Answer {
    /// An answer whose head has come.
    ///
    /// # Panics
    /// The description does not have it.
    pub(crate) fn new(method: &Method, path: &str, status: StatusCode, head: &HeaderMap) -> Answer {
        let asked = format!("{method} {path}: {status}");
        let content = content(&asked, method, path, status, head);
        Answer { asked, content, read: Vec::new() }
    }

    /// A piece of its body.
    ///
    /// # Panics
    /// An event has come to its end that is not as described.
    pub(crate) fn read(&mut self, piece: &[u8]) {
        match &self.content {
            Content::Any => {}
            Content::Document(_) => self.read.extend_from_slice(piece),
            Content::Events(schema) => {
                self.read.extend_from_slice(piece);
                while let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = self.read.drain(..=end).collect();
                    if let Some(data) = line.strip_prefix(b"data: ") {
                        hold(&self.asked, schema, data);
                    }
                }
            }
        }
    }

    /// The end of its body.
    ///
    /// # Panics
    /// It is not as described.
    pub(crate) fn end(self) {
        if let Content::Document(schema) = &self.content {
            hold(&self.asked, schema, &self.read);
        }
    }
}

fn hold(asked: &str, schema: &Value, document: &[u8]) {
    let read: Value = match serde_json::from_slice(document) {
        Ok(read) => read,
        // What an agent or a client wrote may be deeper, or have larger numbers, than a `Value` holds.
        Err(_) if serde_json::from_slice::<IgnoredAny>(document).is_ok() => return,
        Err(error) => panic!("{asked} is no JSON ({error})"),
    };
    if let Err(problem) = schema::check(openapi(), schema, &read) {
        panic!("{asked} is not as described: {problem}\n{read}");
    }
}

fn content(
    asked: &str,
    method: &Method,
    path: &str,
    status: StatusCode,
    head: &HeaderMap,
) -> Content {
    let place = place(method, path);
    let described = match &place {
        Some(place) => {
            let answers = openapi().pointer(place).expect("the operation is there");
            let answer = &answers["responses"][status.as_str()];
            assert!(!answer.is_null(), "{asked} is not in the description");
            format!("{place}/responses/{status}/content", status = status.as_str())
        }
        // No route: an error, or what the layers before the routes answer a browser.
        None if status.is_success() => return Content::Any,
        None => return document("/components/schemas/Error"),
    };
    let media_type = head.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default();
    let contents = openapi().pointer(&described).and_then(Value::as_object);
    let Some(contents) = contents else {
        assert_eq!(media_type, "", "{asked} has a body, and the description has none");
        return Content::Any;
    };
    assert!(contents.contains_key(media_type), "{asked} has a body of the type {media_type}");
    if method == Method::HEAD || head.contains_key(CONTENT_ENCODING) {
        return Content::Any;
    }
    let place = format!("{described}/{}", media_type.replace('/', "~1"));
    match media_type {
        "application/json" => document(&format!("{place}/schema")),
        "text/event-stream" => {
            Content::Events(schema_at(&format!("{place}/schema/properties/data/contentSchema")))
        }
        _ => Content::Any,
    }
}

fn document(place: &str) -> Content {
    Content::Document(schema_at(place))
}

fn schema_at(place: &str) -> &'static Value {
    openapi().pointer(place).expect("the schema is there")
}

/// The place in the document of the operation that a request is for: of all paths that fit, the one with the
/// most words of its own.
fn place(method: &Method, path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or(path);
    let method = if method == Method::HEAD { Method::GET } else { method.clone() };
    let method = method.as_str().to_lowercase();
    let paths = openapi()["paths"].as_object().expect("the document has paths");
    let fitting = paths.keys().filter(|template| fits(template, path));
    let template = fitting.min_by_key(|template| template.matches('{').count())?;
    let is_there = paths[template.as_str()].get(&method).is_some();
    is_there.then(|| format!("/paths/{}/{method}", template.replace('~', "~0").replace('/', "~1")))
}

/// Whether a path is one of this template. The name of an agent may have slashes.
fn fits(template: &str, path: &str) -> bool {
    if let Some(before) = template.strip_suffix("{agent}") {
        return path.strip_prefix(before).is_some_and(|agent| !agent.is_empty());
    }
    let (template, path): (Vec<_>, Vec<_>) =
        (template.split('/').collect(), path.split('/').collect());
    let is_one =
        |(of, part): (&&str, &&str)| of == part || (of.starts_with('{') && !part.is_empty());
    template.len() == path.len() && template.iter().zip(&path).all(is_one)
}
