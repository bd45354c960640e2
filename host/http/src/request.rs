//! What handlers take out of a request: the caller, a session, parameters, a body.

use std::str::FromStr;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::{Span, field};

use super::Api;
use super::error::ApiError;
use super::idempotency::IDEMPOTENCY_KEY;
use super::intake::RequestSlot;
use super::model::ignored::Ignored;
use super::model::query::{self, OwnerQuery};
use super::model::reading::{self, Body};
use dormouse::{
    Action, AgentSelector, Digest, Host, JsonObject, Principal, SessionHandle, SessionId,
};

/// What some programs write before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a value takes in memory besides its text, at most, in bytes: in the document, and for a moment also
/// in the type that the document is read into.
const VALUE: usize = 160;

/// The host, as the caller of this request sees it.
#[derive(Clone)]
pub(super) struct Caller(pub(super) Host);

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Caller, ApiError> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| ApiError::internal("nobody looked who asks"))
    }
}

/// The host, as a principal sees it: the one that the query names as `owner`, else the caller. Only an admin
/// may name another.
pub(super) struct Scoped(pub(super) Host);

impl FromRequestParts<Api> for Scoped {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Scoped, ApiError> {
        let Caller(host) = Caller::from_request_parts(parts, api).await?;
        let Params(OwnerQuery { owner }) = Params::from_request_parts(parts, api).await?;
        let Some(owner) = owner.map(Principal) else { return Ok(Scoped(host)) };
        if host.access().only() == Some(&owner) {
            return Ok(Scoped(host));
        }
        host.may(Action::SeeAll)?;
        Ok(Scoped(host.acting_as(owner)))
    }
}

/// The one parameter of the path. A path that is no UTF-8 names nothing that there is.
pub(super) struct Named(pub(super) String);

impl FromRequestParts<Api> for Named {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Named, ApiError> {
        let path = Path::<String>::from_request_parts(parts, api).await;
        Ok(Named(path.map(|Path(name)| name).unwrap_or_default()))
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

/// The file that the path names, in the workspace of a session: all that comes behind `workspace/`.
pub(super) struct FilePath(pub(super) String);

impl FromRequestParts<Api> for FilePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<FilePath, ApiError> {
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, api).await;
        let segments = path.map(|Path(segments)| segments).unwrap_or_default();
        let path = segments.into_iter().find(|(name, _)| name == "path").map(|(_, path)| path);
        // The one that has a route of its own.
        Ok(FilePath(path.unwrap_or_else(|| "ops".to_owned())))
    }
}

/// The agent that the path names, whether there is one or not.
pub(super) struct OneAgent(pub(super) AgentSelector);

impl FromRequestParts<Api> for OneAgent {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<OneAgent, ApiError> {
        let Named(agent) = Named::from_request_parts(parts, api).await?;
        Ok(OneAgent(agent.parse()?))
    }
}

/// The session of this id. A text that is no id names none.
pub(super) fn session_of(host: &Host, id: &str) -> Result<SessionHandle, ApiError> {
    // The one way to write an id, and not the other four that a UUID has.
    let parsed = SessionId::from_str(id).ok().filter(|parsed| parsed.to_string() == id);
    let shown: String = id.chars().take(64).collect();
    let id = parsed.ok_or_else(|| ApiError::session_not_found(&shown))?;
    note_session(id);
    Ok(host.sessions().get(id))
}

/// Note in the span of the request which session it is about, for the lines of the log.
pub(super) fn note_session(id: SessionId) {
    Span::current().record("session", field::display(id));
}

/// The parameters of the query, as a type: see [`query`].
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Params<T>, ApiError> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, api).await {
            Ok(Query(pairs)) => query::read(pairs).map(Params),
            Err(_) => Err(ApiError::invalid_field("query", "is not valid")),
        }
    }
}

/// The same where a parameter that is not known is refused: see [`query::read_filters`].
pub(super) struct Filters<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Filters<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Filters<T>, ApiError> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, api).await {
            Ok(Query(mut pairs)) => {
                // Each route that takes filters is [`Scoped`], which reads this one.
                pairs.retain(|(name, _)| name != "owner");
                query::read_filters(pairs).map(Filters)
            }
            Err(_) => Err(ApiError::invalid_field("query", "is not valid")),
        }
    }
}

/// A body that is a JSON object, as a type: see [`reading`]. As an option: a request without a body has
/// none.
#[derive(Default)]
pub(super) struct JsonBody<T> {
    pub(super) body: T,
    /// Its fields that have no meaning.
    pub(super) ignored: Ignored,
    /// The digest of its bytes, where the request has an idempotency key.
    pub(super) digest: Option<Digest>,
}

impl<T: Body> FromRequest<Api> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<JsonBody<T>, ApiError> {
        if !may_be_json(request.headers()) {
            return Err(wrong_type("application/json"));
        }
        is_utf8(request.headers())?;
        JsonBody::read(request, api).await
    }
}

/// The same whatever the body is said to be: clients of other systems send JSON as if it were a form.
pub(super) struct AnyJsonBody<T>(pub(super) T);

impl<T: Body> FromRequest<Api> for AnyJsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<AnyJsonBody<T>, ApiError> {
        Ok(AnyJsonBody(JsonBody::read(request, api).await?.body))
    }
}

impl<T: Body> JsonBody<T> {
    async fn read(request: Request, api: &Api) -> Result<JsonBody<T>, ApiError> {
        let has_key = request.headers().contains_key(IDEMPOTENCY_KEY);
        // Charged as long as there is more than what the type keeps.
        let principal = principal_of(request.extensions())?.clone();
        let mut charge = api.bodies.of(&principal);
        let body = whole(request).await?;
        let (length, most) = (body.len() as u64, api.bodies.most());
        let read = move || -> Result<JsonBody<T>, ApiError> {
            let weight = weight(&body);
            if weight > most {
                return Err(too_many_values());
            }
            charge.grow(weight)?;
            let digest = has_key.then(|| Digest::of(&body));
            let (body, ignored) = reading::read(object(&body)?)?;
            Ok(JsonBody { body, ignored, digest })
        };
        api.documents.work(&principal, length, read).await?
    }
}

impl<T: Body> OptionalFromRequest<Api> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Option<JsonBody<T>>, ApiError> {
        if axum::body::HttpBody::is_end_stream(request.body()) {
            return Ok(None);
        }
        <JsonBody<T> as FromRequest<Api>>::from_request(request, api).await.map(Some)
    }
}

/// A body that is a component. While its bytes live, they are charged to their principal, and their
/// request counts among those under way, answered or not.
pub(super) struct Component(pub(super) Bytes);

impl FromRequest<Api> for Component {
    type Rejection = ApiError;

    async fn from_request(request: Request, _api: &Api) -> Result<Component, ApiError> {
        if media_type(request.headers()) != Some(MediaType::Wasm) {
            return Err(wrong_type("application/wasm"));
        }
        let slot = request.extensions().get::<RequestSlot>().cloned();
        let bytes = whole(request).await?;
        Ok(Component(Bytes::from_owner(Uploaded { bytes, _slot: slot })))
    }
}

/// A body of whatever kind, which has been taken in. While its bytes live, they are charged to their principal.
pub(super) struct RawBody(pub(super) Bytes);

impl FromRequest<Api> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, _api: &Api) -> Result<RawBody, ApiError> {
        whole(request).await.map(RawBody)
    }
}

/// A component with the place of its request.
struct Uploaded {
    bytes: Bytes,
    _slot: Option<RequestSlot>,
}

impl AsRef<[u8]> for Uploaded {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The principal that sent the request.
pub(super) fn principal_of(extensions: &Extensions) -> Result<&Principal, ApiError> {
    extensions.get().ok_or_else(|| ApiError::internal("nobody looked who asks"))
}

/// The body, which has been taken in.
async fn whole(request: Request) -> Result<Bytes, ApiError> {
    let whole = to_bytes(request.into_body(), usize::MAX).await;
    whole.map_err(|error| ApiError::internal(error.to_string()))
}

/// How many bytes the values of a document take at most: each but the first comes after one of these.
fn weight(body: &[u8]) -> u64 {
    let values = body.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
    (body.len() + (values + 1) * VALUE) as u64
}

/// The answer to a document for which this server will never have the memory: so nobody tries again.
fn too_many_values() -> ApiError {
    let error = "the body has more values than this server has memory for; send fewer, or ask its \
                 operator for a larger memory-budget";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error)
}

fn object(body: &[u8]) -> Result<JsonObject, ApiError> {
    let invalid = |error: String| ApiError::new(StatusCode::BAD_REQUEST, "invalid_json", error);
    // A byte order mark says nothing of a text that is UTF-8.
    let body = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(invalid("the body must be a JSON object".to_owned())),
        Err(error) => Err(invalid(format!("the body is not valid JSON: {error}"))
            .with("line", error.line())
            .with("column", error.column())),
    }
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaType {
    Json,
    Wasm,
}

/// What the body is said to be; `None` where that is nothing that any route takes.
pub(super) fn media_type(headers: &HeaderMap) -> Option<MediaType> {
    let whole = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let bare = whole.split(';').next().unwrap_or(whole).trim();
    let known = [("application/json", MediaType::Json), ("application/wasm", MediaType::Wasm)];
    known.into_iter().find(|(name, _)| bare.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
}

/// Whether a body may be JSON: it is said to be, or nothing is said, or that it is text, as browsers say of a
/// body that a script gives as a string. A page of a foreign origin is refused before, by its `Origin`.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(whole) = headers.get(header::CONTENT_TYPE) else { return true };
    let bare = whole.to_str().ok().and_then(|whole| whole.split(';').next()).unwrap_or_default();
    let is_text = bare.trim().eq_ignore_ascii_case("text/plain");
    is_text || media_type(headers) == Some(MediaType::Json)
}

/// JSON is UTF-8: who says that it is something else has to be told that it was not read as that.
fn is_utf8(headers: &HeaderMap) -> Result<(), ApiError> {
    let whole = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let parameters = whole.unwrap_or_default().split(';').skip(1);
    let charset = parameters.filter_map(|parameter| parameter.split_once('='));
    let mut charset = charset.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    let known = |value: &str| {
        let value = value.trim().trim_matches('"');
        ["utf-8", "utf8", "us-ascii"].iter().any(|known| value.eq_ignore_ascii_case(known))
    };
    if charset.all(|(_, value)| known(value)) {
        return Ok(());
    }
    let error = "the body must be in UTF-8: JSON knows no other charset";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_charset", error))
}

fn wrong_type(wanted: &'static str) -> ApiError {
    let error = format!("the body must come with `Content-Type: {wanted}`");
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_no_json_object_says_where() {
        for body in ["", "{", "[1]", "7", "{\"a\": nan}"] {
            let error = object(body.as_bytes()).expect_err("it is refused");
            assert_eq!(error.code(), "invalid_json", "{body}");
        }
        let error = object(b"{\n\"a\": x}").expect_err("it is refused");
        assert_eq!(error.body("r").more["line"], 2);
    }
}
