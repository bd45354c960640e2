//! `dormouse:agent/output`: parts of the answer while the turn runs.
//!
//! What one turn streams is bounded here, before it is read and before the world of the call sees it, so
//! that a world may keep all of it. An event counts its name and its document.

use wasmtime::StoreContextMut;

use super::contract::output::Error;
use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::call::MAX_OUTPUT_BYTES;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::json;
use dormouse_domain::turn::Delta;

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

fn text(mut store: StoreContextMut<'_, Guest>, (delta,): (GuestText,)) -> HostWork<'_, Answer> {
    Box::pin(async move {
        if let Err(error) = admit(&mut store, delta.len(), price::BYTE).await? {
            return Ok((Err(error),));
        }
        let delta = delta.read(&store)?.into_owned();
        Ok((emit(&mut store, Delta::Text(delta))?,))
    })
}

fn event(
    mut store: StoreContextMut<'_, Guest>,
    (name, data): (GuestText, GuestText),
) -> HostWork<'_, Answer> {
    Box::pin(async move {
        let size = name.len().saturating_add(data.len());
        if let Err(error) = admit(&mut store, size, price::JSON_BYTE).await? {
            return Ok((Err(error),));
        }
        let name = name.read(&store)?.into_owned();
        let data = data.read(&store)?.into_owned();
        let (data, checked) = check(data).await?;
        if let Err(error) = checked {
            return Ok((Err(Error::Invalid(error)),));
        }
        Ok((emit(&mut store, Delta::Event { name, data })?,))
    })
}

/// Charge for a piece of this many bytes. It is refused where it is more than the turn may stream yet.
async fn admit(
    store: &mut StoreContextMut<'_, Guest>,
    bytes: usize,
    each: u64,
) -> wasmtime::Result<Result<(), Error>> {
    if !store.data_mut().turn()?.streamed.has_room(bytes) {
        return Ok(Err(Error::TooLarge(MAX_OUTPUT_BYTES)));
    }
    charge(store, price::PIECE + price::of(bytes, each)).await?;
    Ok(Ok(()))
}

/// Count a piece, pay for the memory that it will be kept in, and hand it to the world of the call.
fn emit(
    store: &mut StoreContextMut<'_, Guest>,
    delta: Delta,
) -> wasmtime::Result<Result<(), Error>> {
    let guest = store.data_mut();
    if !guest.turn()?.streamed.reserve(delta.len().saturating_add(PIECE)) {
        return Ok(Err(Error::TooLarge(MAX_OUTPUT_BYTES)));
    }
    guest.pay_for_kept()?;
    guest.turn()?.emit(delta);
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

/// How much a turn has streamed and printed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Streamed {
    /// Bytes that have been counted.
    counted: u64,
    /// Pieces that have been streamed.
    pieces: u64,
    /// Bytes that are kept as what a command has printed, besides those that are streamed.
    printed: u64,
}

impl Streamed {
    /// Count this many bytes. `false`: the turn may not stream as many, and none are counted.
    pub(crate) fn reserve(&mut self, bytes: usize) -> bool {
        let counted = self.counted.saturating_add(bytes as u64);
        let fits = counted <= MAX_OUTPUT_BYTES;
        if fits {
            self.counted = counted;
        }
        fits
    }

    /// Whether the turn may stream as many bytes more.
    fn has_room(self, bytes: usize) -> bool {
        let bytes = bytes.saturating_add(PIECE) as u64;
        self.counted.saturating_add(bytes) <= MAX_OUTPUT_BYTES
    }

    /// Bytes of memory that what was streamed takes, and one piece more: at least as long as the turn
    /// runs.
    pub(crate) fn kept(self) -> u64 {
        let pieces = (self.pieces + 1).saturating_mul(KEPT_PIECE);
        self.counted.saturating_add(self.printed).saturating_add(pieces)
    }

    /// Note that so many bytes more are kept as what a command has printed.
    pub(crate) fn note_printed(&mut self, bytes: usize) {
        self.printed += bytes as u64;
    }

    /// Note that a piece was streamed.
    pub(crate) fn note_piece(&mut self) {
        self.pieces += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_streams_as_much_as_it_may_and_not_a_byte_more() {
        let most = usize::try_from(MAX_OUTPUT_BYTES).expect("small");
        let mut streamed = Streamed::default();
        assert!(streamed.has_room(most - PIECE) && !streamed.has_room(most - PIECE + 1));
        assert!(!streamed.reserve(most + 1));
        assert!(streamed.reserve(most) && !streamed.reserve(1));
        assert!(!streamed.has_room(0));
    }
}
