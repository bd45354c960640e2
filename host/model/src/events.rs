//! The events of a stream, one after the other.

use futures::StreamExt;
use sse_stream::SseStream;

use crate::endpoint::Chunks;

/// How a stream came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its sender closed it.
    Closed,
    /// It broke. The text says how.
    Broken(String),
    /// Whoever reads it has seen enough.
    Enough,
}

/// Whether to read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    More,
    Enough,
}

/// Hand the data of each event to `take`, until that has seen enough or the stream ends.
pub(crate) async fn each(chunks: Chunks, mut take: impl FnMut(&str) -> Next) -> End {
    let mut events = std::pin::pin!(SseStream::from_bytes_stream(chunks));
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => {
                if let Some(data) = event.data
                    && take(&data) == Next::Enough
                {
                    return End::Enough;
                }
            }
            Err(error) => return End::Broken(error.to_string()),
        }
    }
    End::Closed
}
