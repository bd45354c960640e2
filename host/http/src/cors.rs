//! Web pages of other origins that the operator lets in (CORS, as the Fetch standard has it).
//!
//! A browser asks first (a *preflight*) whether a page may send a request that a form could not send.
//! The layer here answers that, before any key is asked for, and tells which headers of an answer the
//! page may read. A page of any other origin is refused by `guard.rs`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember the answer to a preflight.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The headers of answers that a page may read.
const EXPOSED: [HeaderName; 5] = [
    HeaderName::from_static("x-session-id"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("idempotent-replayed"),
    header::ETAG,
    header::RETRY_AFTER,
];

/// The origin of web pages: a scheme, a name, and a port where it is not that of the scheme. Written as
/// browsers send it: `https://app.example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl Origin {
    /// Whether this header of a request says that its page has this origin.
    pub(super) fn is(&self, header: &HeaderValue) -> bool {
        self.0.as_bytes().eq_ignore_ascii_case(header.as_bytes())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// The text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be origins as browsers send them, such as https://app.example.org or http://localhost:5173"
)]
pub struct InvalidOrigin;

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Origin, InvalidOrigin> {
        let uri: Uri = text.parse().map_err(|_| InvalidOrigin)?;
        let is_web =
            matches!(uri.scheme(), Some(it) if *it == Scheme::HTTP || *it == Scheme::HTTPS);
        let authority = uri.authority().map(Authority::as_str).unwrap_or_default();
        // Nothing behind the authority, and no name of a user in it.
        let is_whole = text.ends_with(authority) && !authority.contains('@');
        if !is_web || authority.is_empty() || !is_whole {
            return Err(InvalidOrigin);
        }
        HeaderValue::try_from(text.to_ascii_lowercase()).map(Origin).map_err(|_| InvalidOrigin)
    }
}

/// What answers preflights of pages of these origins, and lets them read answers. `None`: there are none.
pub(super) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins.iter().map(|origin| origin.0.clone())))
        .allow_methods(methods)
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(REMEMBERED);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_name_and_a_port() {
        for text in ["https://app.example.org", "http://localhost:5173", "http://[::1]:80"] {
            assert_eq!(
                text.parse::<Origin>().map(|origin| origin.to_string()),
                Ok(text.to_owned())
            );
        }
        for text in [
            "",
            "*",
            "null",
            "app.example.org",
            "ftp://a.org",
            "https://",
            "https://a.org/",
            "https://a.org/path",
            "https://ann@a.org",
        ] {
            assert_eq!(text.parse::<Origin>(), Err(InvalidOrigin), "{text}");
        }
    }
}
