//! `/git/{id}.git`: the history of a session's files, as stock clients of git clone and fetch it.
//!
//! A client that needs a key sends it as the password of any user (`http://x:KEY@host/git/…`), as clients of git send
//! passwords, or as `Authorization: Bearer`.

use std::io::Read;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::read::GzDecoder;

use super::Api;
use super::error::ApiError;
use super::intake::RequestSlot;
use super::model::query::ServiceQuery;
use super::request::{Caller, Named, Params, RawBody, session_of};
use dormouse::git::{
    ADVERTISEMENT_TYPE, Error, Limits, Protocol, REQUEST_TYPE, RESULT_TYPE, error_body,
};
use dormouse::{GitAnswer, Host, SessionHandle};

/// The service that there is.
const UPLOAD_PACK: &str = "git-upload-pack";

/// `GET /git/{id}.git/info/refs?service=git-upload-pack`
pub(super) async fn references(
    Caller(host): Caller,
    Named(repository): Named,
    Params(query): Params<ServiceQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let session = session(&host, &repository)?;
    let files = session.workspace(None).await?;
    if query.service.as_deref() != Some(UPLOAD_PACK) {
        let error = "a workspace can be cloned and fetched, by a client of git that speaks the smart protocol; to \
                     write files, PUT them";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "git_service", error));
    }
    let body = files.git_advertisement(protocol(&headers)).await;
    Ok(answer(ADVERTISEMENT_TYPE, Body::from(body.unwrap_or_else(told))))
}

/// `POST /git/{id}.git/git-upload-pack`
pub(super) async fn upload_pack(
    State(api): State<Api>,
    Extension(slot): Extension<RequestSlot>,
    Caller(host): Caller,
    Named(repository): Named,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, ApiError> {
    let session = session(&host, &repository)?;
    let files = session.workspace(None).await?;
    let is_request = |kind: &HeaderValue| kind.as_bytes() == REQUEST_TYPE.as_bytes();
    if !headers.get(header::CONTENT_TYPE).is_some_and(is_request) {
        let error = format!("the body must come with `Content-Type: {REQUEST_TYPE}`");
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(ApiError::new(status, "unsupported_media_type", error));
    }
    let mut charge = api.answers.of(slot.principal());
    charge.grow(2 * GitAnswer::MAX_PIECE)?;
    let body = if headers.contains_key(header::CONTENT_ENCODING) {
        let (unpack, length) = (move || unpacked(&body), Limits::default().request_bytes as u64);
        charge.grow(length)?;
        api.documents.work(slot.principal(), length, unpack).await??
    } else {
        body
    };
    let pack = match files.git_upload_pack(protocol(&headers), body).await {
        Ok(pack) => pack,
        Err(error) => return Ok(answer(RESULT_TYPE, Body::from(told(error)))),
    };
    // A session that has ended, or is about to, is read all the same.
    if let Err(error) = session.note_fetch().await {
        tracing::debug!(%error, "a fetch is not noted");
    }
    let stream = futures::stream::try_unfold((pack, charge, slot), async |mut state| {
        let piece = state.0.next().await?;
        Ok::<_, Error>(piece.map(|piece| (piece, state)))
    });
    Ok(answer(RESULT_TYPE, Body::from_stream(stream)))
}

/// The session whose repository has this name.
fn session(host: &Host, repository: &str) -> Result<SessionHandle, ApiError> {
    session_of(host, repository.strip_suffix(".git").unwrap_or(repository))
}

fn protocol(headers: &HeaderMap) -> Protocol {
    Protocol::of(headers.get("git-protocol").and_then(|value| value.to_str().ok()))
}

/// What a client of git tells its user. It reads that of an answer that is well.
fn told(error: Error) -> Bytes {
    if error.is_fault() {
        tracing::error!(%error, "a repository cannot be read");
    }
    error_body(&error.public())
}

fn unpacked(body: &[u8]) -> Result<Bytes, ApiError> {
    let most = Limits::default().request_bytes;
    let mut plain = Vec::new();
    let read = GzDecoder::new(body).take(most as u64 + 1).read_to_end(&mut plain);
    if read.is_err() {
        let error =
            "the body is not packed as its Content-Encoding says: `gzip` is the one that is known";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "broken_body", error));
    }
    if plain.len() > most {
        let error = format!("the body may take {most} bytes at most");
        let refused = ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", error);
        return Err(refused.with("limit", most));
    }
    Ok(plain.into())
}

fn answer(kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
