//! Lists are compressed for clients that take gzip.
//!
//! The layer compresses an answer in pieces, as its client reads them; so a client that does not read costs no
//! work. What the encoder takes is charged until its answer is written: where there is no memory for one, the
//! answer goes out as it is. Single sessions, answers to messages and streams of events are not compressed:
//! they are small, or must not wait for more.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures::StreamExt;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};

use super::Api;
use super::error::ApiError;
use super::request::principal_of;

/// The least bytes of an answer that is compressed: a smaller one fits two packets as it is.
const LEAST: u16 = 2 << 10;

/// What an encoder takes, in bytes: its window, its tables, and the buffers around it.
const ENCODER: u64 = 384 << 10;

/// Compresses what is larger than a few packets and is no stream of events.
pub(super) fn layer() -> CompressionLayer<impl Predicate> {
    let large = SizeAbove::new(LEAST).and(NotForContentType::new("text/event-stream"));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(large)
}

/// Charge the caller for the encoder of its answer, until the answer is written.
pub(super) async fn charge(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if !request.headers().contains_key(header::ACCEPT_ENCODING) {
        return Ok(next.run(request).await);
    }
    let mut charge = api.answers.of(principal_of(request.extensions())?);
    if charge.grow(ENCODER).is_err() {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    let response = next.run(request).await;
    if !response.headers().contains_key(header::CONTENT_ENCODING) {
        return Ok(response);
    }
    Ok(response.map(|body| {
        // The charge goes with the body that holds the encoder.
        let pieces = body.into_data_stream().map(move |piece| {
            let _charge = &charge;
            piece
        });
        Body::from_stream(pieces)
    }))
}
