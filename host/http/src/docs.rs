//! `/api/openapi.json`, and `/docs`: the same for a reader.
//!
//! They need no key, because they tell nothing of anybody. What they answer is made once and never copied: it
//! takes no memory of the host's, however many ask for it.

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::openapi::DOCUMENT;
use super::reference::html;

/// The page loads its style sheet and nothing else, runs nothing, and stands in no frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

static TEXT: LazyLock<Bytes> = LazyLock::new(|| DOCUMENT.to_string().into());
static PAGE: LazyLock<Bytes> = LazyLock::new(|| html(&DOCUMENT).into());

/// `GET /api/openapi.json`
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], Body::from(TEXT.clone())).into_response()
}

/// `GET /docs`
pub(super) async fn page() -> Response {
    let headers = [(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)];
    (headers, Body::from(PAGE.clone())).into_response()
}

/// `GET /docs/style.css`
pub(super) async fn style() -> Response {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], include_str!("docs.css")).into_response()
}
