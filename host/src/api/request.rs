//! What handlers take out of a request: the caller, a session, parameters, a body.

use std::str::FromStr;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::agents::selector;
use super::error::ApiError;
use super::model::fields::Fields;
use crate::agent::AgentSelector;
use crate::host::{Host, SessionHandle};
use crate::session::id::{Principal, SessionId};

/// The most entries of a page, and those of one that is not asked for.
pub(super) const MAX_PAGE: u64 = 200;
const DEFAULT_PAGE: u64 = 50;

/// The most bytes that are read of a body after it was found to be too large.
const MAX_DISCARDED: usize = 256 << 20;

/// The host, as the caller of this request sees it.
pub(super) struct Caller(pub(super) Host);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Caller, ApiError> {
        let principal = parts.extensions.get::<Principal>().cloned();
        let principal = principal.ok_or_else(|| ApiError::internal("nobody looked who asks"))?;
        Ok(Caller(api.host.acting_as(principal)))
    }
}

/// The session that the path names.
pub(super) struct OneSession(pub(super) SessionHandle);

impl FromRequestParts<Api> for OneSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<OneSession, ApiError> {
        let Caller(host) = Caller::from_request_parts(parts, api).await?;
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, api).await;
        let segments = path.map(|Path(segments)| segments).unwrap_or_default();
        let id = segments.into_iter().find(|(name, _)| name == "id");
        session_of(&host, &id.map(|(_, id)| id).unwrap_or_default()).map(OneSession)
    }
}

/// The agent that the path names, whether there is one or not.
pub(super) struct OneAgent(pub(super) AgentSelector);

impl FromRequestParts<Api> for OneAgent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<OneAgent, ApiError> {
        // A path that is no UTF-8 names none.
        let path = Path::<String>::from_request_parts(parts, api).await;
        selector(&path.map(|Path(agent)| agent).unwrap_or_default()).map(OneAgent)
    }
}

/// The session of this id. A text that is no id names none.
pub(super) fn session_of(host: &Host, id: &str) -> Result<SessionHandle, ApiError> {
    // The one way to write an id, and not the other four that a UUID has.
    let parsed = SessionId::from_str(id).ok().filter(|parsed| parsed.to_string() == id);
    let shown: String = id.chars().take(64).collect();
    parsed.map(|id| host.sessions().get(id)).ok_or_else(|| ApiError::session_not_found(&shown))
}

/// The parameters of the query. The last of a name counts.
pub(super) struct Params(Vec<(String, String)>);

impl FromRequestParts<Api> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Params, ApiError> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, api).await {
            Ok(Query(pairs)) => Ok(Params(pairs)),
            Err(_) => Err(ApiError::invalid_field("query", "is not valid")),
        }
    }
}

impl Params {
    /// The parameter of this name. An empty one is as good as none.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().rev().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// An integer that is not negative.
    pub(super) fn count(&self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let invalid = |_| ApiError::invalid_field(name, "must be an integer, 0 or more");
        self.text(name).map(|text| text.parse().map_err(invalid)).transpose()
    }

    /// How many entries to return: bounded, and never none.
    pub(super) fn limit(&self, name: &'static str) -> Result<usize, ApiError> {
        let limit = self.count(name)?.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }
}

/// A body that is a JSON object. As an option: a request without a body has none.
pub(super) struct JsonBody(pub(super) Fields);

impl FromRequest<Api> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<JsonBody, ApiError> {
        if !is_json(request.headers()) {
            return Err(wrong_type("application/json"));
        }
        let options = &api.options;
        let reading = read(request, options.max_body);
        let body = tokio::time::timeout(options.body_timeout, reading).await;
        object(&body.map_err(|_| too_slow())??).map(JsonBody)
    }
}

impl OptionalFromRequest<Api> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Option<JsonBody>, ApiError> {
        let headers = request.headers();
        let length = headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        if length && !headers.contains_key(header::TRANSFER_ENCODING) && no_type(headers) {
            return Ok(None);
        }
        if length && axum::body::HttpBody::is_end_stream(request.body()) {
            return Ok(None);
        }
        <JsonBody as FromRequest<Api>>::from_request(request, api).await.map(Some)
    }
}

/// A body that is a component. While it lives, it counts among the uploads in memory.
pub(super) struct Component {
    pub(super) bytes: Bytes,
    _turn: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Api> for Component {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Component, ApiError> {
        if media_type(request.headers()) != Some("application/wasm") {
            return Err(wrong_type("application/wasm"));
        }
        let limit = api.host.options().max_component_bytes;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let reading = async {
            // The semaphore is never closed.
            let _turn = api.uploads.clone().acquire_owned().await.ok();
            let bytes = read(request, limit).await?;
            Ok(Component { bytes, _turn })
        };
        let body = tokio::time::timeout(api.options.body_timeout * 10, reading).await;
        body.map_err(|_| too_slow())?
    }
}

async fn read(request: Request, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        let error = format!("the body may take {limit} bytes at most");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error).with("limit", limit)
    };
    let told = request.headers().get(header::CONTENT_LENGTH);
    let told = told.and_then(|length| length.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    // Who asks first is told at once, and sends nothing.
    let asks_first = request.headers().contains_key(header::EXPECT);
    let mut pieces = request.into_body().into_data_stream();
    if told > limit as u64 {
        if !asks_first {
            discard(pieces).await;
        }
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    while let Some(piece) = pieces.next().await {
        let broken = "the body ended before it was whole";
        let piece =
            piece.map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "broken_body", broken))?;
        if body.len() + piece.len() > limit {
            drop(body);
            discard(pieces).await;
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Read what is left of a body that is refused, within bounds, and keep nothing: many clients send
/// everything before they read an answer, and would find a broken connection in place of it.
async fn discard(mut pieces: BodyDataStream) {
    let mut left = MAX_DISCARDED;
    while let Some(Ok(piece)) = pieces.next().await {
        match left.checked_sub(piece.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

fn object(body: &[u8]) -> Result<Fields, ApiError> {
    let invalid = |error: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", error);
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(Fields::new(object)),
        Ok(_) => Err(invalid("the body must be a JSON object".to_owned())),
        Err(error) => Err(invalid(format!("the body is not valid JSON: {error}"))
            .with("line", error.line())
            .with("column", error.column())),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers) == Some("application/json")
}

fn no_type(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::CONTENT_TYPE)
}

/// The content type without its parameters.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let whole = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let bare = whole.split(';').next().unwrap_or(whole).trim();
    ["application/json", "application/wasm"]
        .into_iter()
        .find(|known| bare.eq_ignore_ascii_case(known))
}

fn wrong_type(wanted: &'static str) -> ApiError {
    let error = format!("the body must come with `Content-Type: {wanted}`");
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", error)
}

fn too_slow() -> ApiError {
    let error = "the body did not arrive in time";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_json_object_says_where() {
        for body in ["", "{", "[1]", "7", "{\"a\": nan}"] {
            let error = object(body.as_bytes()).err().expect("it is refused");
            assert_eq!(error.code(), "invalid_json", "{body}");
        }
        let error = object(b"{\n\"a\": x}").err().expect("it is refused");
        assert_eq!(error.body("r").more["line"], 2);
    }

    #[test]
    fn parameters_that_are_no_counts_are_named() {
        let params = Params(vec![("page".to_owned(), "-1".to_owned())]);
        assert_eq!(params.count("page").unwrap_err().body("r").more["field"], "page");
        assert_eq!(params.count("other").unwrap(), None);
    }

    #[test]
    fn a_page_has_a_bounded_size() {
        let limit = |text: &str| {
            Params(vec![("limit".to_owned(), text.to_owned())]).limit("limit").unwrap()
        };
        assert_eq!((limit("0"), limit(""), limit("7"), limit("1000")), (1, 50, 7, 200));
    }
}
