//! Lists are compressed for clients that take gzip.
//!
//! The layer compresses an answer in pieces, as its client reads them: so the answer stays charged until
//! its last byte is written, and a client that does not read costs no work. Single sessions, answers to
//! messages and streams of events go out as they are: they are small, or must not wait for more.

use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::compression::{CompressionLayer, CompressionLevel};

/// The least bytes of an answer that is compressed: a smaller one fits two packets as it is.
const LEAST: u16 = 2 << 10;

/// Compresses what is larger than a few packets and is no stream of events.
pub(super) fn layer() -> CompressionLayer<impl Predicate> {
    let large = SizeAbove::new(LEAST).and(NotForContentType::new("text/event-stream"));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(large)
}
