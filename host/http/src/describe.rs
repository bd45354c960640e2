//! What the types of a handler say of its route: each type that it takes out of a request, and the type that
//! it answers with.
//!
//! A handler with a type that has no description here is no handler of a route: it does not compile.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::handler::Handler;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::{Extension, Json};
use schemars::{JsonSchema, SchemaGenerator};

use super::Api;
use super::answers::CreatedJson;
use super::codes::{Code, WOKEN};
use super::etag::{IfMatch, Tagged};
use super::idempotency::RequestKey;
use super::messages::Asked;
use super::model::query::OwnerQuery;
use super::operation::{Answer, Content, Header, Operation, RequestBody};
use super::request::{
    AnyJsonBody, Caller, Component, FilePath, Filters, JsonBody, Named, OneAgent, OneSession,
    Params, RawBody, Scoped,
};

/// Something that a handler takes out of a request.
pub(super) trait Input {
    /// Say what of a request it reads, and how that can fail.
    fn describe(operation: &mut Operation);
}

/// Something that a handler answers with.
pub(super) trait Output {
    /// Say what the answer is.
    fn describe(operation: &mut Operation);
}

/// A handler whose types say what it takes and answers.
pub(super) trait Described<T>: Handler<T, Api> {
    /// Say it.
    fn describe(operation: &mut Operation);
}

macro_rules! describe_handlers {
    ($(($($input:ident),*)),*) => {
        $(
            impl<F, Fut, Out, Marker, $($input,)*> Described<(Marker, $($input,)*)> for F
            where
                F: Handler<(Marker, $($input,)*), Api> + FnOnce($($input,)*) -> Fut,
                Fut: Future<Output = Out>,
                Out: Output,
                $($input: Input,)*
            {
                fn describe(operation: &mut Operation) {
                    $($input::describe(operation);)*
                    Out::describe(operation);
                }
            }
        )*
    };
}

describe_handlers!((A), (A, B), (A, B, C), (A, B, C, D), (A, B, C, D, E), (A, B, C, D, E, G));

impl<F, Fut, Out> Described<((),)> for F
where
    F: Handler<((),), Api> + FnOnce() -> Fut,
    Fut: Future<Output = Out>,
    Out: Output,
{
    fn describe(operation: &mut Operation) {
        Out::describe(operation);
    }
}

/// What says nothing of the request.
macro_rules! describe_nothing {
    ($($input:ty),*) => {
        $(
            impl Input for $input {
                fn describe(_: &mut Operation) {}
            }
        )*
    };
}

// The parameters of a path stand in the path.
describe_nothing!(State<Api>, Caller, HeaderMap, Named, FilePath, Path<HashMap<String, String>>);

impl<T> Input for Extension<T> {
    fn describe(_: &mut Operation) {}
}

impl<T: Input, E> Input for Result<T, E> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
    }
}

impl Input for Scoped {
    fn describe(operation: &mut Operation) {
        Params::<OwnerQuery>::describe(operation);
        operation.can_fail(&[Code::Forbidden]);
    }
}

impl Input for OneSession {
    fn describe(operation: &mut Operation) {
        operation.can_fail(WOKEN);
    }
}

impl Input for OneAgent {
    fn describe(operation: &mut Operation) {
        operation.can_fail(&[Code::AgentNotFound]);
    }
}

impl<T: JsonSchema> Input for Params<T> {
    fn describe(operation: &mut Operation) {
        operation.queries.push(T::json_schema);
        operation.can_fail(&[Code::InvalidField, Code::UnknownField]);
        can_have_unknown_words::<T>(operation);
    }
}

impl<T: JsonSchema> Input for Filters<T> {
    fn describe(operation: &mut Operation) {
        Params::<T>::describe(operation);
        operation.can_fail(&[Code::UnknownFilter]);
    }
}

impl Input for RequestKey {
    fn describe(operation: &mut Operation) {
        let description =
            "However often a request comes with the same key, it is carried out once.";
        operation.headers.push(Header { name: "Idempotency-Key", description });
        operation.can_fail(&[Code::InvalidField]);
    }
}

impl Input for IfMatch {
    fn describe(operation: &mut Operation) {
        let description = "The `ETag` of the session: do it to that revision or not at all.";
        operation.headers.push(Header { name: "If-Match", description });
        operation.can_fail(&[Code::InvalidField, Code::PreconditionFailed]);
    }
}

impl Input for Asked {
    fn describe(operation: &mut Operation) {
        RequestKey::describe(operation);
        IfMatch::describe(operation);
    }
}

impl<T: JsonSchema> Input for AnyJsonBody<T> {
    fn describe(operation: &mut Operation) {
        let content = Content::Json(SchemaGenerator::subschema_for::<T>);
        operation.body = Some(RequestBody { is_required: true, content });
        operation.can_fail(&[Code::InvalidJson, Code::InvalidField, Code::UnknownField]);
        can_have_unknown_words::<T>(operation);
    }
}

impl<T: JsonSchema> Input for JsonBody<T> {
    fn describe(operation: &mut Operation) {
        AnyJsonBody::<T>::describe(operation);
        operation.can_fail(&[Code::UnsupportedMediaType, Code::UnsupportedCharset]);
    }
}

impl<T: JsonSchema> Input for Option<JsonBody<T>> {
    fn describe(operation: &mut Operation) {
        JsonBody::<T>::describe(operation);
        operation.body = operation.body.map(|body| RequestBody { is_required: false, ..body });
    }
}

impl Input for Component {
    fn describe(operation: &mut Operation) {
        operation.body =
            Some(RequestBody { is_required: true, content: Content::Binary("application/wasm") });
        operation.can_fail(&[Code::UnsupportedMediaType]);
    }
}

impl Input for RawBody {
    fn describe(operation: &mut Operation) {
        let content = Content::Binary("application/octet-stream");
        operation.body = Some(RequestBody { is_required: false, content });
    }
}

impl<T: Output, E> Output for Result<T, E> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
    }
}

impl<T: Output> Output for Tagged<T> {
    fn describe(operation: &mut Operation) {
        T::describe(operation);
    }
}

impl<T: JsonSchema> Output for Json<T> {
    fn describe(operation: &mut Operation) {
        json::<T>(operation, 200);
    }
}

impl<T: JsonSchema> Output for CreatedJson<T> {
    fn describe(operation: &mut Operation) {
        json::<T>(operation, 201);
    }
}

/// The description of the route says what it is.
impl Output for Response {
    fn describe(_: &mut Operation) {}
}

/// Two fields have codes of their own, where they are words.
fn can_have_unknown_words<T: JsonSchema>(operation: &mut Operation) {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    for (name, code) in [("pattern", Code::InvalidPattern), ("status", Code::InvalidStatus)] {
        if schema.pointer(&format!("/properties/{name}/enum")).is_some() {
            operation.can_fail(&[code]);
        }
    }
}

fn json<T: JsonSchema>(operation: &mut Operation, status: u16) {
    let content = Some(Content::Json(SchemaGenerator::subschema_for::<T>));
    operation.answers.push(Answer { status, content });
}
