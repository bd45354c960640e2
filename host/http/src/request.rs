//! What handlers take out of a request: the caller, a session, parameters, a body.

use std::str::FromStr;

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde_json::Value;

use super::Api;
use super::agents::selector;
use super::error::ApiError;
use super::intake::Slot;
use super::model::fields::Fields;
use dormouse::{AgentSelector, Host, Object, Principal, SessionHandle, SessionId};
use dormouse_domain::spelling::near_miss;

/// The most entries of a page, and those of one that is not asked for.
pub(super) const MAX_PAGE: u64 = 200;
const DEFAULT_PAGE: u64 = 50;

/// What some programs write before a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// What a value takes in memory besides its text, at most, in bytes.
const VALUE: usize = 96;

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

/// The parameters of the query. An empty one is as good as none. A handler asks for each that it knows, and
/// [`Params::finish`] refuses near misses of these; other unknown ones are ignored.
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    /// The names that were asked for.
    known: Vec<&'static str>,
}

impl FromRequestParts<Api> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Params, ApiError> {
        match Query::<Vec<(String, String)>>::from_request_parts(parts, api).await {
            Ok(Query(pairs)) => Ok(Params::of(pairs)),
            Err(_) => Err(ApiError::invalid_field("query", "is not valid")),
        }
    }
}

impl Params {
    fn of(mut pairs: Vec<(String, String)>) -> Params {
        pairs.retain(|(_, value)| !value.is_empty());
        Params { pairs, known: Vec::new() }
    }

    /// The parameter of this name.
    ///
    /// # Errors
    /// It was given more than once: it is not for the server to choose.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<&str>, ApiError> {
        let mut found = self.all(name);
        let (first, second) = (found.next(), found.next());
        match second {
            Some(_) => Err(ApiError::invalid_field(name, "is given more than once in the query")),
            None => Ok(first),
        }
    }

    /// All parameters of this name.
    pub(super) fn all(&mut self, name: &'static str) -> impl Iterator<Item = &str> {
        self.known.push(name);
        self.pairs.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// An integer that is not negative.
    pub(super) fn count(&mut self, name: &'static str) -> Result<Option<u64>, ApiError> {
        let invalid = |_| ApiError::invalid_field(name, "must be an integer, 0 or more");
        self.text(name)?.map(|text| text.parse().map_err(invalid)).transpose()
    }

    /// How many entries to return: bounded, and never none.
    pub(super) fn limit(&mut self, name: &'static str) -> Result<usize, ApiError> {
        let limit = self.count(name)?.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
        Ok(usize::try_from(limit).unwrap_or(usize::MAX))
    }

    /// All parameters that are known have been asked for.
    ///
    /// # Errors
    /// Another is a near miss of one of them.
    pub(super) fn finish(self) -> Result<(), ApiError> {
        let names = self.pairs.iter().map(|(name, _)| name.as_str());
        let mut unknown = names.filter(|name| !self.known.contains(name));
        let missed =
            unknown.find_map(|name| Some((name, near_miss(name, self.known.iter().copied())?)));
        missed.map_or(Ok(()), |(name, meant)| Err(ApiError::unknown_parameter(name, meant)))
    }
}

/// A body that is a JSON object. As an option: a request without a body has none.
pub(super) struct JsonBody(pub(super) Fields);

impl FromRequest<Api> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<JsonBody, ApiError> {
        if media_type(request.headers()) != Some(MediaType::Json) {
            return Err(wrong_type("application/json"));
        }
        is_utf8(request.headers())?;
        let mut charge = api.bodies.of(principal_of(request.extensions())?);
        let body = whole(request).await?;
        charge.grow(weight(&body))?;
        Ok(JsonBody(Fields::charged(object(&body)?, charge)))
    }
}

impl OptionalFromRequest<Api> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Option<JsonBody>, ApiError> {
        if axum::body::HttpBody::is_end_stream(request.body()) {
            return Ok(None);
        }
        <JsonBody as FromRequest<Api>>::from_request(request, api).await.map(Some)
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
        let slot = request.extensions().get::<Slot>().cloned();
        let bytes = whole(request).await?;
        Ok(Component(Bytes::from_owner(Uploaded { bytes, _slot: slot })))
    }
}

/// A component with the place of its request.
struct Uploaded {
    bytes: Bytes,
    _slot: Option<Slot>,
}

impl AsRef<[u8]> for Uploaded {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Who asks.
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

fn object(body: &[u8]) -> Result<Object, ApiError> {
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

    fn params(query: &str) -> Params {
        let uri = format!("http://localhost/?{query}").parse().unwrap();
        let Query(pairs) = Query::try_from_uri(&uri).unwrap();
        Params::of(pairs)
    }

    #[test]
    fn parameters_that_are_no_counts_are_named() {
        let mut params = params("page=-1");
        assert_eq!(params.count("page").unwrap_err().body("r").more["field"], "page");
        assert_eq!(params.count("other").unwrap(), None);
    }

    #[test]
    fn a_page_has_a_bounded_size() {
        let limit = |text: &str| params(&format!("limit={text}")).limit("limit").unwrap();
        assert_eq!((limit("0"), limit(""), limit("7"), limit("1000")), (1, 50, 7, 200));
    }

    #[test]
    fn one_value_is_given_once_and_a_list_as_often_as_one_likes() {
        let mut params = params("limit=3&limit=3&tag=a&after=&after=7&tag=&tag=b");
        let error = params.count("limit").unwrap_err();
        assert_eq!(
            (error.code(), &error.body("r").more["field"]),
            ("invalid_field", &"limit".into())
        );
        assert_eq!(params.count("after").unwrap(), Some(7), "an empty one is none");
        assert_eq!(params.all("tag").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_near_miss_of_a_parameter_is_refused_and_other_unknown_ones_are_ignored() {
        let finish = |query: &str| {
            let mut params = params(query);
            params.limit("pageSize").unwrap();
            params.count("page").unwrap();
            params.finish()
        };
        for (query, name) in [("pagesize=3", "pagesize"), ("page=1&page_size=3", "page_size")] {
            let error = finish(query).unwrap_err();
            let body = error.body("r");
            assert_eq!(error.code(), "unknown_field");
            assert_eq!(body.error, format!("there is no parameter {name}: did you mean pageSize?"));
            assert_eq!(
                (&body.more["field"], &body.more["meant"]),
                (&name.into(), &"pageSize".into())
            );
        }
        for query in ["", "page=1&pageSize=3", "_=123&utm=x", "pagesize="] {
            assert!(finish(query).is_ok(), "{query}");
        }
    }
}
