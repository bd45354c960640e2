//! Standard output and standard error: lines in the log of the turn. Writing never waits and never
//! fails, however much a guest writes.

use bytes::Bytes;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

use super::super::log::StdStream;
use crate::guest::SharedLog;

/// Bytes that a guest may write at once.
pub(in crate::imports) const PERMIT: usize = 64 << 10;

/// One of the two streams, or a guest's handle of it.
#[derive(Clone)]
pub(super) struct Output {
    stream: StdStream,
    log: SharedLog,
}

impl Output {
    pub(super) fn new(stream: StdStream, log: SharedLog) -> Output {
        Output { stream, log }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // WASI 0.2 asks for `p2_stream` alone.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

#[async_trait::async_trait]
impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.lock().write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}
