//! `dormouse:agent/output`: parts of the answer while the turn runs.
//!
//! What one turn streams is bounded here, before the sink sees it, so that a sink may keep all of
//! it. An event counts its name and its document.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::IgnoredAny;

use super::contract::output::{Error, Host};
use crate::sandbox::call::{MAX_OUTPUT_BYTES, OutputSink};
use crate::sandbox::guest::Guest;

/// What each piece counts besides its bytes, so that empty ones are not without end.
const PIECE: usize = 16;

impl Host for Guest {
    fn text(&mut self, delta: String) -> wasmtime::Result<Result<(), Error>> {
        let output = &self.turn()?.output;
        Ok(count(output, delta.len()).map(|()| output.text(delta)))
    }

    fn event(&mut self, name: String, data: String) -> wasmtime::Result<Result<(), Error>> {
        let output = &self.turn()?.output;
        if let Err(error) = serde_json::from_str::<IgnoredAny>(&data) {
            return Ok(Err(Error::Invalid(error.to_string())));
        }
        Ok(count(output, name.len() + data.len()).map(|()| output.event(name, data)))
    }
}

fn count(output: &TurnOutput, bytes: usize) -> Result<(), Error> {
    let taken = output.reserve(bytes.saturating_add(PIECE));
    if taken { Ok(()) } else { Err(Error::TooLarge(MAX_OUTPUT_BYTES)) }
}

/// Where a turn streams to, and how much it has streamed. Clones are the same.
#[derive(Clone)]
pub(in crate::sandbox) struct TurnOutput(Arc<Mutex<Stream>>);

struct Stream {
    sink: Box<dyn OutputSink>,
    /// Bytes that have been counted.
    counted: u64,
}

impl TurnOutput {
    /// To this sink, nothing yet.
    pub(in crate::sandbox) fn new(sink: Box<dyn OutputSink>) -> TurnOutput {
        TurnOutput(Arc::new(Mutex::new(Stream { sink, counted: 0 })))
    }

    /// Count this many bytes. `false`: the turn may not stream as many, and none are counted.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let mut stream = self.lock();
        let counted = stream.counted.saturating_add(bytes as u64);
        let fits = counted <= MAX_OUTPUT_BYTES;
        if fits {
            stream.counted = counted;
        }
        fits
    }

    /// Stream a piece of text that was counted.
    pub(super) fn text(&self, delta: String) {
        self.lock().sink.text(delta);
    }

    fn event(&self, name: String, data: String) {
        self.lock().sink.event(name, data);
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
