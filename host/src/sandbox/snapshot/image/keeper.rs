//! Sleep and wake: the state of one instance, read after a turn and written to another.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::Store;
use wasmtime::component::Instance;

use super::access::Live;
use super::format::{MAX_PAGES, State, Unusable};
use super::pages::{self, Difference, PAGE, WASM_PAGE};
use super::pristine::Pristine;
use super::{FUEL, Image, held, read};
use crate::sandbox::fault::{Fault, bounded};
use crate::sandbox::fuel;
use crate::sandbox::guest::Guest;
use crate::sandbox::instance::MAX_TRANSFER;
use crate::sandbox::snapshot::Saved;
use crate::session::snapshot::GuestState;

/// The most that is read before others get their turn, in bytes.
pub(super) const PIECE: usize = 4 << 20;
/// Pages that are written at once.
const PIECE_PAGES: u32 = 256;
/// What is up to here is compressed where it was read: it takes less than to hand it on.
const SMALL: usize = 256 << 10;
/// The most that an image may hold, compressed: as much as a state that an agent saves itself.
const MAX_IMAGE: usize = 64 << 20;

/// The size of a page, as WebAssembly counts.
const PAGE_BYTES: u32 = 4096;
const _: () = assert!(PAGE_BYTES as usize == PAGE && PIECE.is_multiple_of(PAGE));
const _: () = assert!(WASM_PAGE.is_multiple_of(PAGE));

/// Saves and restores one instance.
pub(in crate::sandbox) struct Keeper {
    pub(super) image: Arc<Image>,
    pub(super) pristine: Arc<Pristine>,
    pub(super) instance: Instance,
}

impl Keeper {
    /// Whether a second instance started as the first one did.
    pub(in crate::sandbox) async fn is_pristine(
        &self,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<bool> {
        let live = Live { access: &self.image.access, instance: self.instance };
        let again = read(live, store).await?;
        let same_things = again.held == self.pristine.held;
        Ok(same_things && again.fingerprint == self.pristine.fingerprint)
    }

    /// The state after a turn, or why it cannot be saved now.
    pub(in crate::sandbox) async fn save(&self, store: &mut Store<Guest>) -> Result<Saved, Fault> {
        let held = held::held(store.data_mut().resources());
        if let Some(what) = held::besides(&held, &self.pristine.held) {
            return Ok(Saved::Held(what));
        }
        let state = match self.differ(store).await? {
            Ok(state) => state,
            Err(why) => return Ok(Saved::Held(why)),
        };
        let pristine = self.pristine.clone();
        let size = state.size();
        // What is written, before and after it is compressed.
        store.data_mut().memory.hold(2 * size as u64)?;
        let encode = move || state.encode(&pristine);
        let data = if size > SMALL { blocking(encode).await? } else { encode() };
        store.data_mut().memory.keep(data.len() as u64);
        if data.len() > MAX_IMAGE {
            return Ok(Saved::Held(format!("its state is larger than {MAX_IMAGE} bytes")));
        }
        Ok(Saved::State(GuestState::Image { data, chunks: Vec::new() }))
    }

    /// What differs from the pristine image, or why that cannot be saved.
    async fn differ(&self, store: &mut Store<Guest>) -> Result<Result<State, String>, Fault> {
        let live = Live { access: &self.image.access, instance: self.instance };
        let faulty = |store: &mut Store<Guest>, error| store.data_mut().fault(&error);
        fuel::fill(store, FUEL).map_err(|error| faulty(store, error))?;
        let read = live.globals(store).await;
        let (globals, _) = read.map_err(|error| faulty(store, error))?;
        let ordinary = self.pristine.globals.len() - self.pristine.pinned;
        if globals.get(ordinary..) != self.pristine.globals.get(ordinary..) {
            return Ok(Err("its handles of the standard streams have moved".to_owned()));
        }
        let pairs = globals.iter().zip(&self.pristine.globals);
        let changed = (0..).zip(pairs).filter(|(_, (now, then))| now != then);
        let mut state = State {
            memories: Vec::new(),
            globals: changed.map(|(number, (now, _))| (number, *now)).collect(),
        };
        let mut present = 0;
        for (memory, before) in live.access.memories().zip(&self.pristine.memories) {
            let size = live.size(store, memory).await.map_err(|error| faulty(store, error))?;
            if size > MAX_PAGES {
                return Ok(Err("it has a memory of more than 2 GiB".to_owned()));
            }
            let mut difference = Difference::default();
            if size > 0 {
                let list = with_transfer(store, async |store| live.read(store, memory).await).await;
                let list = list.map_err(|error| faulty(store, error))?;
                for start in (0..list.len()).step_by(PIECE) {
                    if start > 0 {
                        tokio::task::yield_now().await;
                    }
                    let bytes = list.as_le_slice(&*store);
                    let piece = &bytes[start..bytes.len().min(start + PIECE)];
                    let known = difference.size();
                    present += difference.compare(start / PAGE, piece, before) as u64;
                    let more = (difference.size() - known) as u64;
                    store.data_mut().memory.hold(more)?;
                }
            }
            state.memories.push((size, difference));
        }
        store.data_mut().memory.note_present(present);
        Ok(Ok(state))
    }

    /// Give a new instance the state of an image.
    pub(in crate::sandbox) async fn restore(
        &self,
        store: &mut Store<Guest>,
        image: &Bytes,
    ) -> Result<(), Fault> {
        store.data_mut().memory.hold(State::weight(image))?;
        let state = {
            let (pristine, image) = (self.pristine.clone(), image.clone());
            let large = image.len() > SMALL;
            let decode = move || State::decode(&image, &pristine);
            let decoded = if large { blocking(decode).await? } else { decode() };
            decoded.map_err(|error| match error {
                Unusable::Damaged(why) => Fault::SnapshotDamaged(why.to_owned()),
                error => Fault::SnapshotUnusable(error.to_string()),
            })?
        };
        let live = Live { access: &self.image.access, instance: self.instance };
        fuel::fill(store, FUEL).map_err(|error| Fault::Host(format!("{error:#}")))?;
        let restored = self.write(live, store, &state).await;
        match restored {
            Ok(true) => Ok(()),
            // A growth was denied, and the limiter knows why.
            Ok(false) => Err(store.data_mut().fault(&wasmtime::Error::msg("no memory"))),
            Err(error) => Err(store.data_mut().fault(&error)),
        }
    }

    /// Answers whether there was memory for it.
    async fn write(
        &self,
        live: Live<'_>,
        store: &mut Store<Guest>,
        state: &State,
    ) -> wasmtime::Result<bool> {
        let memories = live.access.memories().zip(&self.pristine.memories).zip(&state.memories);
        for ((memory, before), (size, difference)) in memories {
            let has = live.size(store, memory).await?;
            let missing = size.saturating_sub(has);
            if missing > 0 && !live.grow(store, memory, missing).await? {
                return Ok(false);
            }
            let (mut data, mut blocks) = (difference.data.as_slice(), difference.blocks.iter());
            let mut buffer = Vec::new();
            for run in &difference.runs {
                let mut at = run.first;
                while at < run.first + run.count {
                    let pages = (run.first + run.count - at).min(PIECE_PAGES);
                    buffer.resize(usize::try_from(pages)? * PAGE, 0);
                    for (number, page) in (usize::try_from(at)?..).zip(buffer.chunks_mut(PAGE)) {
                        let bits = blocks.next().copied().unwrap_or(0);
                        data = pages::apply(bits, before.page(number), data, page);
                    }
                    live.write(store, memory, at * PAGE_BYTES, &buffer).await?;
                    at += pages;
                    if pages == PIECE_PAGES {
                        tokio::task::yield_now().await;
                    }
                }
            }
        }
        live.set_globals(store, &state.globals).await?;
        Ok(true)
    }
}

/// Let a list of any length pass to the host. The host reads it where it is, and copies nothing.
pub(super) async fn with_transfer<T>(
    store: &mut Store<Guest>,
    read: impl AsyncFnOnce(&mut Store<Guest>) -> wasmtime::Result<T>,
) -> wasmtime::Result<T> {
    store.set_hostcall_fuel(usize::MAX);
    let result = read(store).await;
    store.set_hostcall_fuel(MAX_TRANSFER);
    result
}

/// Run this on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Fault::Host(bounded(format!("the state could not be saved: {error}"))))
}
