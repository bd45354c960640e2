//! What a request brings: its body is taken in before the request gets a place.
//!
//! A body that trickles in costs the memory of what has come, and nobody a place: whoever sends one
//! slowly keeps none from others. How many bodies a principal has on their way at a time, and how much
//! of them, is its share. A whole body has its time; a larger one has ten times that.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use futures::StreamExt;

use super::Api;
use super::error::ApiError;
use super::guard;
use super::held::Growing;
use super::request::{MediaType, media_type};
use dormouse::Principal;
use dormouse::git::Limits;
use dormouse_base::shares::Share;

/// The most bytes that are read of a body after it was found to be too large.
const MAX_DISCARDED: usize = 256 << 20;

/// How often a component may take the time of a JSON body.
const COMPONENT_TIME_FACTOR: u32 = 10;

/// The place of a request among those under way. Who goes on after the answer keeps it.
#[derive(Clone, Debug)]
pub(super) struct RequestSlot(Arc<Share>);

impl RequestSlot {
    /// The principal that sent the request.
    pub(super) fn principal(&self) -> &Principal {
        self.0.principal()
    }
}

/// What a body may take.
#[derive(Clone, Copy)]
struct Bounds {
    bytes: usize,
    time: Duration,
}

/// Take in the body of a request, then give the request its place, not more than there is room for, and let it
/// pass if its caller may do what it asks for.
pub(super) async fn limit_in_flight(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if api.closing.begun.is_cancelled() {
        return Err(ApiError::shutting_down());
    }
    let (parts, body) = request.into_parts();
    let principal = parts.extensions.get::<Principal>().cloned();
    let principal = principal.ok_or_else(|| ApiError::internal("nobody looked who asks"))?;
    if !api.answers.has_some(&principal) {
        return Err(ApiError::overloaded());
    }
    let body = if body.is_end_stream() {
        Bytes::new()
    } else {
        take(&api, &parts, body, &principal).await?
    };
    let slot = api.slots.take(&principal, 1).ok_or_else(ApiError::overloaded)?;
    let mut request = Request::from_parts(parts, Body::from(body));
    // Here, and not in a layer of its own: each layer copies all that lie within it for each request.
    guard::check_access(&api, &request)?;
    request.extensions_mut().insert(RequestSlot(Arc::new(slot)));
    Ok(next.run(request).await)
}

/// Take in a body that is on its way, or what comes of it in the time that it has.
async fn take(
    api: &Api,
    parts: &Parts,
    body: Body,
    principal: &Principal,
) -> Result<Bytes, ApiError> {
    let _arriving = api.arriving.take(principal, 1).ok_or_else(ApiError::overloaded)?;
    let Bounds { bytes, time } = bounds(api, parts);
    let growing = Growing::new(api.bodies.of(principal));
    let mut pieces = body.into_data_stream();
    let taking = async {
        let refused = match read(growing, parts, &mut pieces, bytes).await {
            Ok(whole) => return Ok(whole),
            Err(refused) => refused,
        };
        // A client that asks first is refused before it sends anything.
        if !parts.headers.contains_key(header::EXPECT) {
            discard(&mut pieces).await;
        }
        Err(refused)
    };
    tokio::time::timeout(time, taking).await.map_err(|_| too_slow())?
}

fn bounds(api: &Api, parts: &Parts) -> Bounds {
    let (bytes, time) = (api.options.max_body, api.options.body_timeout);
    if guard::is_git(&parts.uri) {
        return Bounds { bytes: Limits::default().request_bytes, time };
    }
    if let Some(bytes) = bytes_of_files(api, parts) {
        return Bounds { bytes, time: time * COMPONENT_TIME_FACTOR };
    }
    match media_type(&parts.headers) {
        Some(MediaType::Wasm) => {
            let bytes = usize::try_from(api.host.options().max_component_bytes);
            Bounds { bytes: bytes.unwrap_or(usize::MAX), time: time * COMPONENT_TIME_FACTOR }
        }
        Some(MediaType::Json) | None => Bounds { bytes, time },
    }
}

/// How many bytes the files may have that the body is: as many as a workspace may have of them, and as this server has
/// memory for. `None`: it is none.
fn bytes_of_files(api: &Api, parts: &Parts) -> Option<usize> {
    if parts.method != Method::PUT {
        return None;
    }
    let mut segments = parts.uri.path().trim_start_matches("/api").split('/').skip(1);
    let (collection, _, what) = (segments.next()?, segments.next()?, segments.next()?);
    let quotas = api.host.options().workspaces.quotas;
    let bytes = match (collection, what) {
        ("sessions", "workspace") => quotas.file_bytes,
        ("sessions", "workspace.tar") => quotas.bytes.saturating_mul(2),
        _ => return None,
    };
    usize::try_from(bytes.min(api.bodies.most())).ok()
}

async fn read(
    mut growing: Growing,
    Parts { headers, uri, .. }: &Parts,
    pieces: &mut BodyDataStream,
    limit: usize,
) -> Result<Bytes, ApiError> {
    // Clients of git pack what they send, and do not ask.
    if is_encoded(headers) && !guard::is_git(uri) {
        let error = "the body must come as it is, without a Content-Encoding";
        let code = "unsupported_content_encoding";
        let refused = ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, error);
        return Err(refused.header(header::ACCEPT_ENCODING, "identity"));
    }
    let too_large = || {
        let error = format!("the body may take {limit} bytes at most");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error).with("limit", limit)
    };
    let told = told(headers);
    if told.is_some_and(|told| told > limit as u64) {
        return Err(too_large());
    }
    let most = told.and_then(|told| usize::try_from(told).ok()).unwrap_or(limit);
    while let Some(piece) = pieces.next().await {
        let broken = "the body ended before it was whole";
        let piece =
            piece.map_err(|_| ApiError::new(StatusCode::BAD_REQUEST, "broken_body", broken))?;
        if growing.len() + piece.len() > limit {
            return Err(too_large());
        }
        growing.push(&piece, most)?;
    }
    Ok(growing.whole())
}

/// Read what is left of a body that is refused, within bounds, and keep nothing: many clients send
/// everything before they read an answer, and would find a broken connection in place of it.
async fn discard(pieces: &mut BodyDataStream) {
    let mut left = MAX_DISCARDED;
    while let Some(Ok(piece)) = pieces.next().await {
        match left.checked_sub(piece.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// Whether the body has been compressed, or the like.
fn is_encoded(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut names = encodings.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|name| {
        !matches!(name.trim_ascii(), b"") && !name.trim_ascii().eq_ignore_ascii_case(b"identity")
    })
}

/// How long the client says that the body is.
fn told(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_slow() -> ApiError {
    let error = "the body did not come in time";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", error)
}
