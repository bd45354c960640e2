//! `dormouse:agent/output`: parts of the answer while the turn runs.
//!
//! What one turn streams is bounded here, before it is read and before the sink sees it, so that a sink
//! may keep all of it. An event counts its name and its document.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime::StoreContextMut;

use super::contract::output::Error;
use super::interface::{Interface, Work};
use super::price;
use super::text::Text;
use crate::call::{MAX_OUTPUT_BYTES, OutputSink};
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::json;

/// What each piece counts besides its bytes, so that empty ones are not without end.
const PIECE: usize = 16;
/// What each piece takes in memory besides its bytes.
const KEPT_PIECE: u64 = 64;
/// The largest document that is checked where the guest runs, in bytes: what takes longer is checked on
/// a thread that may block.
const SMALL: usize = 64 << 10;

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("text", text)?;
    interface.metered("event", event)
}

type Answer = (Result<(), Error>,);

fn text(mut store: StoreContextMut<'_, Guest>, (delta,): (Text,)) -> Work<'_, Answer> {
    Box::pin(async move {
        if let Err(error) = admit(&mut store, delta.len(), price::BYTE).await? {
            return Ok((Err(error),));
        }
        let delta = delta.read(&store)?.into_owned();
        let output = store.data_mut().turn()?.output.clone();
        Ok((count(&mut store, &output, delta.len())?.map(|()| output.text(delta)),))
    })
}

fn event(mut store: StoreContextMut<'_, Guest>, (name, data): (Text, Text)) -> Work<'_, Answer> {
    Box::pin(async move {
        let size = name.len().saturating_add(data.len());
        if let Err(error) = admit(&mut store, size, price::JSON_BYTE).await? {
            return Ok((Err(error),));
        }
        let name = name.read(&store)?.into_owned();
        let data = data.read(&store)?.into_owned();
        let output = store.data_mut().turn()?.output.clone();
        let (data, checked) = check(data).await?;
        if let Err(error) = checked {
            return Ok((Err(Error::Invalid(error)),));
        }
        let counted = count(&mut store, &output, name.len() + data.len())?;
        Ok((counted.map(|()| output.event(name, data)),))
    })
}

/// Charge for a piece of this many bytes. It is refused where it is more than the turn may stream yet.
async fn admit(
    store: &mut StoreContextMut<'_, Guest>,
    bytes: usize,
    each: u64,
) -> wasmtime::Result<Result<(), Error>> {
    if !store.data_mut().turn()?.output.has_room(bytes) {
        return Ok(Err(Error::TooLarge(MAX_OUTPUT_BYTES)));
    }
    charge(store, price::PIECE + price::of(bytes, each)).await?;
    Ok(Ok(()))
}

/// Count a piece of this many bytes, and pay for the memory that it will be kept in.
fn count(
    store: &mut StoreContextMut<'_, Guest>,
    output: &TurnOutput,
    bytes: usize,
) -> wasmtime::Result<Result<(), Error>> {
    if !output.reserve(bytes.saturating_add(PIECE)) {
        return Ok(Err(Error::TooLarge(MAX_OUTPUT_BYTES)));
    }
    store.data_mut().pay_for_kept()?;
    Ok(Ok(()))
}

/// Whether this is a JSON document, with what is wrong with it where it is none.
async fn check(data: String) -> wasmtime::Result<(String, Result<(), String>)> {
    let check = |data: String| {
        let checked = json::check(&data);
        (data, checked.map_err(|error| error.to_string()))
    };
    if data.len() <= SMALL {
        return Ok(check(data));
    }
    Ok(tokio::task::spawn_blocking(move || check(data)).await?)
}

/// Where a turn streams to, and how much it has streamed. Clones are the same.
#[derive(Clone)]
pub(crate) struct TurnOutput(Arc<Mutex<Stream>>);

struct Stream {
    sink: Box<dyn OutputSink>,
    /// Bytes that have been counted.
    counted: u64,
    /// Pieces that have been streamed.
    pieces: u64,
    /// Bytes that are kept as what a command has printed, besides those that are streamed.
    printed: u64,
}

impl TurnOutput {
    /// To this sink, nothing yet.
    pub(crate) fn new(sink: Box<dyn OutputSink>) -> TurnOutput {
        TurnOutput(Arc::new(Mutex::new(Stream { sink, counted: 0, pieces: 0, printed: 0 })))
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

    /// Whether the turn may stream as many bytes more.
    fn has_room(&self, bytes: usize) -> bool {
        let bytes = bytes.saturating_add(PIECE) as u64;
        self.lock().counted.saturating_add(bytes) <= MAX_OUTPUT_BYTES
    }

    /// Bytes of memory that what was streamed takes, and one piece more: at least as long as the turn
    /// runs.
    pub(crate) fn kept(&self) -> u64 {
        let stream = self.lock();
        let pieces = (stream.pieces + 1).saturating_mul(KEPT_PIECE);
        stream.counted.saturating_add(stream.printed).saturating_add(pieces)
    }

    /// Note that so many bytes more are kept as what a command has printed.
    pub(super) fn note_printed(&self, bytes: usize) {
        self.lock().printed += bytes as u64;
    }

    /// Stream a piece of text that was counted.
    pub(super) fn text(&self, delta: String) {
        let mut stream = self.lock();
        stream.pieces += 1;
        stream.sink.text(delta);
    }

    fn event(&self, name: String, data: String) {
        let mut stream = self.lock();
        stream.pieces += 1;
        stream.sink.event(name, data);
    }

    fn lock(&self) -> MutexGuard<'_, Stream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
