//! The header `Idempotency-Key`: however often a request comes with the same key, it is carried out once.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;

use super::error::ApiError;
use dormouse_domain::message::check_idempotency_key;

/// The key of a request.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says of an answer that an earlier request with the same key has led to it.
pub(super) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What stands behind a key to name the session that a message with the key creates. No key of a client has a
/// space.
pub(super) const CREATION: &str = " session";

/// The idempotency key of a request, where it has one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RequestKey(pub(super) Option<String>);

impl RequestKey {
    /// # Errors
    /// There are two keys, or what is there is none.
    fn read(headers: &HeaderMap) -> Result<RequestKey, ApiError> {
        let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
        let (first, second) = (given.next(), given.next());
        let Some(first) = first else { return Ok(RequestKey(None)) };
        if second.is_some() {
            return Err(ApiError::invalid_field("Idempotency-Key", "must be there once"));
        }
        let text = first.to_str().map(str::trim).unwrap_or_default();
        let key = unquoted(text).unwrap_or_else(|| text.to_owned());
        check_idempotency_key(&key)?;
        Ok(RequestKey(Some(key)))
    }
}

/// What stands between the quotes of a string of a structured header (RFC 9651), as the draft of the header
/// has it. `None`: the text is no such string, and means itself.
fn unquoted(text: &str) -> Option<String> {
    let quoted = text.strip_prefix('"')?.strip_suffix('"')?;
    let mut key = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(next) = rest.next() {
        match next {
            '"' => return None,
            '\\' => key.push(rest.next().filter(|escaped| matches!(escaped, '"' | '\\'))?),
            next => key.push(next),
        }
    }
    Some(key)
}

impl<S: Sync> FromRequestParts<S> for RequestKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<RequestKey, ApiError> {
        RequestKey::read(&parts.headers)
    }
}

/// Say of an answer whether an earlier request with the same key has led to it.
pub(super) fn mark(response: &mut Response, is_replayed: bool) {
    if is_replayed {
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&'static str]) -> Result<Option<String>, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IDEMPOTENCY_KEY, HeaderValue::from_static(value));
        }
        RequestKey::read(&headers).map(|RequestKey(key)| key).map_err(|error| error.code())
    }

    #[test]
    fn a_key_may_stand_in_quotes() {
        for (value, key) in
            [("k-1", "k-1"), ("\"k-1\"", "k-1"), ("\"a\\\"b\\\\\"", "a\"b\\"), ("a\"b", "a\"b")]
        {
            assert_eq!(read(&[value]), Ok(Some(key.to_owned())), "{value}");
        }
        assert_eq!(read(&[]), Ok(None));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for values in [&[""][..], &["\"\""], &["a b"], &["\"a b\""], &["one", "one"]] {
            assert_eq!(read(values), Err("invalid_field"), "{values:?}");
        }
    }
}
