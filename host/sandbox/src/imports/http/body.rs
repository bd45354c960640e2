//! Bodies: those that a guest writes, as a whole before they leave, and those that it reads, which are whole.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use super::held::HeldPart;
use crate::imports::wasi::PERMIT;

/// The most bytes of the body of a request.
const MAX_BODY: usize = 16 << 20;

/// The body of a request, which is shared by the request and by whoever writes it. Clones are the same.
#[derive(Clone)]
pub(super) struct RequestBody(Arc<Mutex<Written>>);

struct Written {
    bytes: BytesMut,
    state: BodyState,
    held: HeldPart,
}

/// How far the body of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyState {
    /// The guest writes it.
    Open,
    /// All of it is written.
    Finished,
    /// It will never be finished.
    GivenUp,
}

impl RequestBody {
    pub(super) fn new(held: HeldPart) -> RequestBody {
        let (bytes, state) = (BytesMut::new(), BodyState::Open);
        RequestBody(Arc::new(Mutex::new(Written { bytes, state, held })))
    }

    pub(super) fn state(&self) -> BodyState {
        self.lock().state
    }

    /// Nothing more comes.
    pub(super) fn end(&self, state: BodyState) {
        let mut written = self.lock();
        if written.state == BodyState::Open {
            written.state = state;
        }
    }

    /// All of it. Nothing is left.
    pub(super) fn take(&self) -> Bytes {
        std::mem::take(&mut self.lock().bytes).freeze()
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        let RequestBody(written) = self;
        written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Pollable for RequestBody {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for RequestBody {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut written = self.lock();
        if written.state != BodyState::Open {
            return Err(StreamError::Closed);
        }
        let is_too_large = written.bytes.len() + bytes.len() > MAX_BODY;
        if is_too_large || written.held.grow(bytes.len()).is_err() {
            written.state = BodyState::GivenUp;
            let error = format!("the body of a request has at most {MAX_BODY} bytes");
            return Err(StreamError::LastOperationFailed(wasmtime::Error::msg(error)));
        }
        written.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        match self.state() {
            BodyState::Open => Ok(PERMIT),
            BodyState::Finished | BodyState::GivenUp => Err(StreamError::Closed),
        }
    }
}

/// The body of a response, if anybody has it.
pub(super) struct WeakBody(Weak<Mutex<Unread>>);

impl WeakBody {
    pub(super) fn upgrade(&self) -> Option<ResponseBody> {
        let WeakBody(unread) = self;
        unread.upgrade().map(ResponseBody)
    }
}

/// The body of a response. Clones are the same.
#[derive(Clone)]
pub(super) struct ResponseBody(Arc<Mutex<Unread>>);

struct Unread {
    bytes: Bytes,
    held: HeldPart,
}

impl ResponseBody {
    pub(super) fn new(bytes: Bytes, held: HeldPart) -> ResponseBody {
        ResponseBody(Arc::new(Mutex::new(Unread { bytes, held })))
    }

    /// The same, for whoever only wants to know of it while somebody has it.
    pub(super) fn downgrade(&self) -> WeakBody {
        let ResponseBody(unread) = self;
        WeakBody(Arc::downgrade(unread))
    }

    /// Nobody reads more of it.
    pub(super) fn clear(&self) {
        let mut unread = self.lock();
        let bytes = std::mem::take(&mut unread.bytes);
        unread.held.shrink(bytes.len());
    }

    fn lock(&self) -> MutexGuard<'_, Unread> {
        let ResponseBody(unread) = self;
        unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Pollable for ResponseBody {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl InputStream for ResponseBody {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let mut unread = self.lock();
        if unread.bytes.is_empty() {
            return Err(StreamError::Closed);
        }
        let size = size.min(unread.bytes.len());
        // What is read is let go once all is: its memory is one piece.
        Ok(unread.bytes.split_to(size))
    }
}
