//! Entity tags of sessions (RFC 9110, 8.8.3): the revision of the record, `"7"`.
//!
//! An answer with one session carries the tag as `ETag`. A client that sends it back as `If-Match` asks for
//! something to be done to that revision or not at all.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::model::ignored::{Answered, Ignored};
use super::model::session::SessionBody;
use dormouse::SessionInfo;
use dormouse_domain::code;

/// An answer with a session, which has this revision.
pub(super) struct Tagged<T> {
    pub(super) revision: u64,
    pub(super) answer: T,
}

impl<T> Tagged<Json<Answered<T>>> {
    /// The answer that is made of this session, with the names of the fields that were ignored.
    pub(super) fn of(
        session: SessionInfo,
        ignored: Ignored,
        answer: impl FnOnce(SessionBody) -> T,
    ) -> Tagged<Json<Answered<T>>> {
        let revision = session.session.revision;
        let answer = answer(session.into());
        Tagged { revision, answer: Json(Answered { answer, ignored }) }
    }
}

impl<T: IntoResponse> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = self.answer.into_response();
        response.headers_mut().insert(header::ETAG, etag(self.revision));
        response
    }
}

/// The entity tag of a session of this revision.
pub(super) fn etag(revision: u64) -> HeaderValue {
    // Digits between quotes are a value of a header.
    HeaderValue::try_from(format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// The answer to a request whose `If-Match` names another revision than the session has.
pub(super) fn precondition_failed(revision: u64) -> ApiError {
    let error = "the session has changed since the revision that If-Match names; read the session, and decide \
                 again";
    ApiError::new(StatusCode::PRECONDITION_FAILED, code::PRECONDITION_FAILED, error)
        .with("etag", format!("\"{revision}\""))
}

/// The revision that `If-Match` names. `None`: any will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IfMatch(pub(super) Option<u64>);

impl IfMatch {
    /// A revision that no session has: what a tag names that is none of ours.
    const NEVER: u64 = 0;

    /// # Errors
    /// The header is no entity tag, or there are several.
    fn read(headers: &HeaderMap) -> Result<IfMatch, ApiError> {
        let mut given = headers.get_all(header::IF_MATCH).iter();
        let (first, second) = (given.next(), given.next());
        let Some(first) = first else { return Ok(IfMatch(None)) };
        let text = first.to_str().map(str::trim).unwrap_or_default();
        if text == "*" && second.is_none() {
            return Ok(IfMatch(None));
        }
        // A weak tag never matches, but it is a tag.
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let name = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        let (Some(name), None) = (name.filter(|name| !name.contains('"')), second) else {
            let problem = "must be `*` or one entity tag, as the ETag of a session has it: \"7\"";
            return Err(ApiError::invalid_field("If-Match", problem));
        };
        let revision = name.parse().ok().filter(|_| tag == text);
        Ok(IfMatch(Some(revision.unwrap_or(IfMatch::NEVER))))
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IfMatch, ApiError> {
        IfMatch::read(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<u64>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_static(value));
        }
        IfMatch::read(&headers).map(|IfMatch(revision)| revision).map_err(|error| error.code())
    }

    #[test]
    fn a_tag_names_its_revision_and_a_star_any() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["*"]), Ok(None));
        assert_eq!(read(&["\"7\""]), Ok(Some(7)));
        assert_eq!(etag(7), "\"7\"");
    }

    #[test]
    fn a_tag_that_is_none_of_ours_matches_nothing() {
        for value in ["W/\"7\"", "\"\"", "\"seven\"", "\"-7\""] {
            assert_eq!(read(&[value]), Ok(Some(IfMatch::NEVER)), "{value}");
        }
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for values in [&["7"][..], &[""], &["\"7"], &["\"6\", \"7\""], &["*", "\"7\""]] {
            assert_eq!(read(values), Err("invalid_field"), "{values:?}");
        }
    }
}
