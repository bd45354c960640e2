//! Bodies of requests: written off the threads that serve connections, and within a bounded memory.
//!
//! A request of 16 MiB may have a body of six times as much, where each of its characters has to be escaped. The
//! memory of the request is charged to its session; that of the bodies is what a provider has for all of them.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use reqwest::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::work::off_thread;
use dormouse_domain::model::ModelError;

/// The most that the large bodies of one provider take together, in KiB. One of them always fits.
const ROOM: u32 = 256 << 10;
/// A body of no more bytes waits for no other.
const SMALL: usize = 256 << 10;

/// The memory for the bodies of one provider.
#[derive(Clone, Debug)]
pub(crate) struct BodyRoom(Arc<Semaphore>);

/// What is sent.
#[derive(Debug)]
pub(crate) struct RequestBody {
    bytes: Bytes,
}

impl BodyRoom {
    pub(crate) fn new() -> BodyRoom {
        BodyRoom(Arc::new(Semaphore::new(ROOM as usize)))
    }

    /// What `write` writes, as a body. It writes the same each time: a large body is measured before there is room
    /// for it.
    ///
    /// # Errors
    /// That of `write`.
    pub(crate) async fn body(
        &self,
        write: impl Fn(&mut dyn io::Write) -> Result<(), ModelError> + Send + Sync + 'static,
    ) -> Result<RequestBody, ModelError> {
        let write = Arc::new(write);
        let writing = Arc::clone(&write);
        let begin = off_thread(move || {
            let mut begin = Beginning::default();
            writing(&mut begin).map(|()| begin)
        });
        let Beginning { bytes, size } = begin.await?;
        if size <= SMALL {
            return Ok(RequestBody { bytes: bytes.into() });
        }
        drop(bytes);
        let room = u32::try_from(size.div_ceil(1 << 10)).unwrap_or(ROOM).min(ROOM);
        // It is never closed.
        let room = Arc::clone(&self.0).acquire_many_owned(room).await.ok();
        let written = off_thread(move || {
            let mut bytes = Vec::with_capacity(size);
            write(&mut bytes).map(|()| bytes)
        });
        let large = Large { bytes: written.await?, _room: room };
        Ok(RequestBody { bytes: Bytes::from_owner(large) })
    }
}

impl RequestBody {
    /// How many bytes it has.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The same for a request. It is a stream, which nobody keeps to send it once more: so that its memory is free
    /// as soon as it is sent, and not when the model has answered.
    pub(crate) fn into_stream(self) -> Body {
        Body::wrap_stream(stream::iter([Ok::<_, Infallible>(self.bytes)]))
    }
}

/// A large body, with its part of the room.
struct Large {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Large {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Keeps what is written as long as it is small, and counts the rest.
#[derive(Default)]
struct Beginning {
    bytes: Vec<u8>,
    size: usize,
}

impl io::Write for Beginning {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.size += bytes.len();
        if self.size <= SMALL {
            self.bytes.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    async fn body(room: &BodyRoom, size: usize) -> RequestBody {
        let write = move |into: &mut dyn io::Write| {
            let piece = [b'x'; 1 << 10];
            (0..size >> 10).try_for_each(|_| into.write_all(&piece)).expect("it is memory");
            Ok(())
        };
        room.body(write).await.unwrap()
    }

    #[tokio::test]
    async fn large_bodies_wait_for_those_that_are_under_way_and_small_ones_do_not() {
        let room = BodyRoom::new();
        let mut sent = Vec::new();
        for _ in 0..4 {
            sent.push(body(&room, 60 << 20).await);
        }
        let mut waits = Box::pin(body(&room, 60 << 20));
        for _ in 0..100 {
            assert!(waits.as_mut().now_or_never().is_none());
            assert_eq!(body(&room, SMALL).await.size(), SMALL);
        }
        assert_eq!(room.0.available_permits(), 0, "it takes what there is, and waits for more");
        sent.pop();
        assert_eq!(waits.await.size(), 60 << 20);
    }
}
