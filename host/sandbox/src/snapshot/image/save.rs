//! Sleep: the state of an instance after a turn.
//!
//! What differs from the pristine image is copied out of the memories here, between turns, in small
//! pieces with room for other guests between them. A small difference becomes an image in one
//! piece at once. A large one is cut into chunks: those of the head are recognised, and the others are
//! named and compressed on threads that may block, while the next piece is read.

use bytes::Bytes;
use tokio::task::JoinHandle;
use wasmtime::Store;
use wasmtime::component::WasmList;

use super::cut::{CompressionBatch, Head, ImageCut, Pieces, Pressed};
use super::format::{ImageState, MAX_PAGES, MemoryState};
use super::keeper::{ImageKeeper, List, SMALL, YIELD, blocking};
use super::pagemap::written_or_all;
use super::pages::{Difference, PAGE, PageRun, differing, index};
use super::{FUEL, held};
use crate::fault::Fault;
use crate::fuel;
use crate::guest::Guest;
use crate::snapshot::Saved;
use dormouse_domain::snapshot::GuestState;

/// What an image in one piece may differ in, in bytes. Above, it is cut into chunks: to name and to
/// handle them takes longer than to compress so little again.
pub(super) const ONE_PIECE: usize = 128 << 10;
/// The most that the kernel is asked about at once, in bytes of memory.
pub(super) const SCAN: usize = 4 << 20;
/// Pages that are copied before it is seen whether it is too much.
const STEP: u32 = 16;

impl ImageKeeper {
    /// The state after a turn, or why it cannot be saved now. What it takes in memory is charged to
    /// the instance.
    pub(crate) async fn save(&mut self, store: &mut Store<Guest>) -> Result<Saved, Fault> {
        let held = held::held(store.data_mut().resources());
        if let Some(what) = held::besides(&held, &self.pristine.held) {
            return Ok(Saved::Held(what));
        }
        fuel::fill(store, FUEL).map_err(|error| store.data_mut().fault(&error))?;
        let image = self.image.clone();
        let seen = self.live.see(&image.access, &self.pristine.counts, store).await;
        let mut seen = seen.map_err(|error| store.data_mut().fault(&error))?;
        let ordinary = self.pristine.ordinary().len();
        if seen.globals.get(ordinary..) != Some(self.pristine.handles()) {
            return Ok(Saved::Held(
                "its handles of the standard streams or directories have moved".to_owned(),
            ));
        }
        if let Some(why) = too_large(&seen.sizes) {
            return Ok(Saved::Held(why));
        }
        let lists = self.lists(&mut seen, store).await;
        let lists = lists.map_err(|error| store.data_mut().fault(&error))?;
        let in_one_piece = match self.head.large {
            true => None,
            false => self.in_one_piece(store, &seen.sizes, &lists).await,
        };
        let Pieces { memories, chunks, head } = match in_one_piece {
            Some(memories) => Pieces { memories, chunks: Vec::new(), head: Head::default() },
            None => self.in_chunks(store, &seen.sizes, &lists).await?,
        };
        let pairs = seen.globals.iter().zip(self.pristine.ordinary());
        let changed = (0..).zip(pairs).filter(|(_, (now, then))| now != then);
        let globals = changed.map(|(number, (now, _))| (number, *now)).collect();
        let fresh = chunks.iter().filter_map(|chunk| chunk.data.as_ref());
        let fresh: u64 = fresh.map(|data| data.len() as u64).sum();
        let data = self.encode(store, ImageState { memories, globals }, fresh).await?;
        store.data_mut().memory.keep(fresh + data.len() as u64);
        self.head = head;
        Ok(Saved::State(GuestState::Image { data, chunks }))
    }

    /// The image, where its chunks take so many bytes already.
    async fn encode(
        &self,
        store: &mut Store<Guest>,
        state: ImageState,
        chunks: u64,
    ) -> Result<Bytes, Fault> {
        let size = state.size();
        // The state, what is written of it, and what that becomes.
        store.data_mut().memory.hold(chunks + 3 * size as u64)?;
        let pristine = self.pristine.clone();
        let encode = move || state.encode(&pristine);
        if size > SMALL { blocking(encode).await } else { Ok(encode()) }
    }

    /// What differs in all memories, if that is little.
    async fn in_one_piece(
        &self,
        store: &mut Store<Guest>,
        sizes: &[u32],
        lists: &[List],
    ) -> Option<Vec<MemoryState>> {
        let mut memories = Vec::with_capacity(sizes.len());
        let mut left = ONE_PIECE;
        let mut worked = 0;
        let mut present = 0;
        for ((size, list), before) in sizes.iter().zip(lists).zip(&self.pristine.memories) {
            let mut difference = Difference::default();
            let length = list.as_ref().map_or(0, WasmList::len);
            for start in (0..length).step_by(SCAN) {
                if worked > YIELD {
                    tokio::task::yield_now().await;
                    worked = 0;
                }
                let bytes = piece(list, store, start, SCAN);
                let written = written_or_all(bytes);
                let own = written.iter().map(ExactSizeIterator::len).sum::<usize>();
                worked += own;
                present += own as u64;
                let first = page(start);
                #[cfg(test)]
                tests::nothing_else_differs(&written, bytes, (before, first));
                let runs = differing(&written, bytes, (before, first));
                for run in steps(&runs) {
                    difference.add(&[run], first, bytes, (before, first));
                    if difference.size() > left {
                        return None;
                    }
                }
            }
            left -= difference.size();
            memories.push(MemoryState { size: *size, chunks: Vec::new(), difference });
        }
        store.data_mut().memory.note_present(present);
        Some(memories)
    }

    /// All memories, cut into chunks.
    async fn in_chunks(
        &self,
        store: &mut Store<Guest>,
        sizes: &[u32],
        lists: &[List],
    ) -> Result<Pieces, Fault> {
        let mut cut = ImageCut::new(&self.head, self.image.recognition);
        let mut press = Press::default();
        let mut worked = 0;
        let mut present = 0;
        for ((size, list), before) in sizes.iter().zip(lists).zip(&self.pristine.memories) {
            cut.memory(*size);
            let length = list.as_ref().map_or(0, WasmList::len);
            for start in (0..length).step_by(YIELD) {
                if worked >= YIELD {
                    tokio::task::yield_now().await;
                    worked = 0;
                }
                let written = written_or_all(piece(list, store, start, YIELD));
                let copied = written.iter().map(ExactSizeIterator::len).sum::<usize>();
                worked += copied;
                present += copied as u64;
                // What waits and is copied, and what both become.
                press.next = 2 * (cut.waiting() + copied) as u64;
                press.pay(store, &cut)?;
                cut.piece(&written, page(start), piece(list, store, start, YIELD), before);
                if cut.waiting() >= YIELD {
                    press.begin(store, &mut cut).await?;
                }
            }
        }
        if cut.waiting() > SMALL {
            press.begin(store, &mut cut).await?;
        }
        press.finish(store, &mut cut).await?;
        let pressed = cut.take().press();
        press.next = 0;
        press.absorb(store, &mut cut, pressed)?;
        store.data_mut().memory.note_present(present);
        Ok(cut.finish())
    }
}

/// Presses a batch on a thread that may block, while the next one is read. With what it all takes, at
/// most, in bytes.
#[derive(Default)]
struct Press {
    pressing: Option<JoinHandle<Vec<Pressed>>>,
    /// The batch that is pressed,
    current: u64,
    /// the next one,
    next: u64,
    /// and what has become of those before.
    kept: u64,
}

impl Press {
    /// Pay for all of it. What was paid for the largest batch is kept for those that follow.
    fn pay(&self, store: &mut Store<Guest>, cut: &ImageCut<'_>) -> Result<(), Fault> {
        let bytes = self.kept + self.current + self.next + cut.inline() as u64;
        store.data_mut().memory.hold(bytes)
    }

    async fn begin(
        &mut self,
        store: &mut Store<Guest>,
        cut: &mut ImageCut<'_>,
    ) -> Result<(), Fault> {
        self.finish(store, cut).await?;
        let batch: CompressionBatch = cut.take();
        self.current = std::mem::take(&mut self.next);
        self.pressing = Some(tokio::task::spawn_blocking(move || batch.press()));
        Ok(())
    }

    async fn finish(
        &mut self,
        store: &mut Store<Guest>,
        cut: &mut ImageCut<'_>,
    ) -> Result<(), Fault> {
        if let Some(pressing) = self.pressing.take() {
            let pressed = pressing.await.map_err(|error| Fault::Host(error.to_string()))?;
            self.current = 0;
            self.absorb(store, cut, pressed)?;
        }
        Ok(())
    }

    /// Take back what was pressed, and pay for what it takes.
    fn absorb(
        &mut self,
        store: &mut Store<Guest>,
        cut: &mut ImageCut<'_>,
        pressed: Vec<Pressed>,
    ) -> Result<(), Fault> {
        self.kept += cut.absorb(pressed) as u64;
        self.pay(store, cut)
    }
}

/// Why memories of these sizes are not saved.
fn too_large(sizes: &[u32]) -> Option<String> {
    let larger = sizes.iter().any(|size| *size > MAX_PAGES);
    larger.then(|| "it has a memory of more than 2 GiB".to_owned())
}

/// This part of a memory, as far as it goes.
pub(super) fn piece<'s>(
    list: &List,
    store: &'s Store<Guest>,
    start: usize,
    length: usize,
) -> &'s [u8] {
    let bytes = list.as_ref().map_or(&[][..], |list| list.as_le_slice(store));
    bytes.get(start..bytes.len().min(start + length)).unwrap_or_default()
}

/// The page at this byte of a memory, which has 2 GiB at most.
fn page(at: usize) -> u32 {
    u32::try_from(at / PAGE).unwrap_or(u32::MAX)
}

/// The same runs, none longer than a step.
fn steps(runs: &[PageRun]) -> impl Iterator<Item = PageRun> + '_ {
    runs.iter().flat_map(|run| {
        let end = run.first + run.count;
        (run.first..end)
            .step_by(index(STEP))
            .map(move |first| PageRun { first, count: STEP.min(end - first) })
    })
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::pages::MemoryImage;
    use super::*;

    /// Every test that saves an image tests the kernel's word as well.
    pub(super) fn nothing_else_differs(
        written: &[Range<usize>],
        bytes: &[u8],
        (before, first): (&MemoryImage, u32),
    ) {
        for (number, page) in bytes.chunks_exact(PAGE).enumerate() {
            if page != before.page(index(first) + number) {
                let told = written.iter().any(|range| range.contains(&(number * PAGE)));
                assert!(told, "page {number} was written to, and the kernel does not say so");
            }
        }
    }

    #[test]
    fn a_memory_of_two_gibibytes_is_saved_and_a_larger_one_is_not() {
        assert_eq!(too_large(&[0, 1, 32_768]), None);
        let why = too_large(&[1, 32_769]).expect("it is not");
        assert!(why.contains("2 GiB"), "{why}");
        // All numbers of such a memory fit where they are kept.
        let memory = MemoryState { size: MAX_PAGES, ..MemoryState::default() };
        assert_eq!(memory.pages() * PAGE as u64, 2 << 30);
        assert_eq!(u64::from(page((2 << 30) - 1)), memory.pages() - 1);
        let last = u32::try_from(memory.pages() / 16 - 1).expect("it fits");
        assert_eq!((memory.pages_in(last), memory.pages_in(last + 1)), (16, 0));
    }
}
