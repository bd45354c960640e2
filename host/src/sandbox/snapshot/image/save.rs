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

use super::cut::{Batch, Cut, Head, Pieces, Pressed};
use super::format::{MAX_PAGES, Memory, State};
use super::keeper::{Keeper, SMALL, YIELD, blocking};
use super::pagemap::written_or_all;
use super::pages::{Difference, PAGE, Run, differing, index};
use super::{FUEL, held};
use crate::memory::{Account, MemoryBudget};
use crate::sandbox::fault::Fault;
use crate::sandbox::fuel;
use crate::sandbox::guest::Guest;
use crate::sandbox::snapshot::Saved;
use crate::session::snapshot::GuestState;

/// What an image in one piece may differ in, in bytes. Above, it is cut into chunks: to name and to
/// handle them takes longer than to compress so little again.
pub(super) const ONE_PIECE: usize = 128 << 10;
/// The most that the kernel is asked about at once, in bytes of memory.
const SCAN: usize = 4 << 20;
/// Pages that are copied before it is seen whether it is too much.
const STEP: u32 = 16;

/// The content of a memory that has any.
type List = Option<WasmList<u8>>;

impl Keeper {
    /// The state after a turn, or why it cannot be saved now. With it comes what it takes in memory,
    /// charged until it is stored.
    pub(in crate::sandbox) async fn save(
        &mut self,
        store: &mut Store<Guest>,
        budget: &MemoryBudget,
    ) -> Result<(Saved, Account), Fault> {
        let mut account = budget.account();
        let held = held::held(store.data_mut().resources());
        if let Some(what) = held::besides(&held, &self.pristine.held) {
            return Ok((Saved::Held(what), account));
        }
        fuel::fill(store, FUEL).map_err(|error| store.data_mut().fault(&error))?;
        let image = self.image.clone();
        let seen = self.live.see(&image.access, &self.pristine.counts, store).await;
        let mut seen = seen.map_err(|error| store.data_mut().fault(&error))?;
        let ordinary = self.pristine.ordinary().len();
        if seen.globals.get(ordinary..) != Some(self.pristine.handles()) {
            let why = "its handles of the standard streams have moved".to_owned();
            return Ok((Saved::Held(why), account));
        }
        if let Some(why) = too_large(&seen.sizes) {
            return Ok((Saved::Held(why), account));
        }
        let mut lists = Vec::new();
        for (memory, size) in seen.sizes.clone().into_iter().enumerate() {
            lists.push(if size == 0 {
                None
            } else {
                let list = self.live.memory(&image.access, &mut seen, store, memory).await;
                Some(list.map_err(|error| store.data_mut().fault(&error))?)
            });
        }
        let in_one_piece = match self.head.large {
            true => None,
            false => self.in_one_piece(store, &seen.sizes, &lists).await,
        };
        let Pieces { memories, chunks, head } = match in_one_piece {
            Some(memories) => Pieces { memories, chunks: Vec::new(), head: Head::default() },
            None => self.in_chunks(store, &seen.sizes, &lists, budget, &mut account).await?,
        };
        let pairs = seen.globals.iter().zip(self.pristine.ordinary());
        let changed = (0..).zip(pairs).filter(|(_, (now, then))| now != then);
        let globals = changed.map(|(number, (now, _))| (number, *now)).collect();
        let data = self.encode(State { memories, globals }, &mut account).await?;
        self.head = head;
        Ok((Saved::State(GuestState::Image { data, chunks }), account))
    }

    async fn encode(&self, state: State, account: &mut Account) -> Result<Bytes, Fault> {
        let size = state.size();
        // What is written, and what it becomes.
        account.charge(2 * size as u64).map_err(|_| Fault::HostOutOfMemory)?;
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
    ) -> Option<Vec<Memory>> {
        let mut memories = Vec::with_capacity(sizes.len());
        let mut left = ONE_PIECE;
        let mut worked = 0;
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
                worked += written.iter().map(ExactSizeIterator::len).sum::<usize>();
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
            memories.push(Memory { size: *size, chunks: Vec::new(), difference });
        }
        Some(memories)
    }

    /// All memories, cut into chunks.
    async fn in_chunks(
        &self,
        store: &mut Store<Guest>,
        sizes: &[u32],
        lists: &[List],
        budget: &MemoryBudget,
        account: &mut Account,
    ) -> Result<Pieces, Fault> {
        let mut cut = Cut::new(&self.head, self.image.recognition);
        let mut press = Press { account: budget.account(), pressing: None };
        let mut worked = 0;
        for ((size, list), before) in sizes.iter().zip(lists).zip(&self.pristine.memories) {
            cut.memory(*size);
            let length = list.as_ref().map_or(0, WasmList::len);
            for start in (0..length).step_by(YIELD) {
                if worked >= YIELD {
                    tokio::task::yield_now().await;
                    worked = 0;
                }
                let bytes = piece(list, store, start, YIELD);
                let written = written_or_all(bytes);
                let copied = written.iter().map(ExactSizeIterator::len).sum::<usize>();
                worked += copied;
                // What waits and is copied, and what both become.
                let most = 2 * (cut.waiting() + copied) as u64;
                let mut waiting = budget.account();
                waiting.charge(most).map_err(|_| Fault::HostOutOfMemory)?;
                press.account = waiting;
                cut.piece(&written, page(start), bytes, before);
                if cut.waiting() >= YIELD {
                    press.next(&mut cut, budget, account).await?;
                }
            }
        }
        if cut.waiting() > SMALL {
            press.next(&mut cut, budget, account).await?;
        }
        press.finish(&mut cut, account).await?;
        keep(&mut cut, |cut| cut.take().press(), account)?;
        Ok(cut.finish())
    }
}

/// Presses a batch on a thread that may block, while the next one is read.
struct Press {
    /// What the next batch takes, at most.
    account: Account,
    pressing: Option<(JoinHandle<Vec<Pressed>>, Account)>,
}

impl Press {
    async fn next(
        &mut self,
        cut: &mut Cut<'_>,
        budget: &MemoryBudget,
        kept: &mut Account,
    ) -> Result<(), Fault> {
        self.finish(cut, kept).await?;
        let batch: Batch = cut.take();
        let account = std::mem::replace(&mut self.account, budget.account());
        self.pressing = Some((tokio::task::spawn_blocking(move || batch.press()), account));
        Ok(())
    }

    async fn finish(&mut self, cut: &mut Cut<'_>, kept: &mut Account) -> Result<(), Fault> {
        if let Some((pressing, account)) = self.pressing.take() {
            let pressed = pressing.await.map_err(|error| Fault::Host(error.to_string()))?;
            keep(cut, |_| pressed, kept)?;
            drop(account);
        }
        Ok(())
    }
}

/// Take back what was pressed, and charge what it takes.
fn keep(
    cut: &mut Cut<'_>,
    pressed: impl FnOnce(&mut Cut<'_>) -> Vec<Pressed>,
    account: &mut Account,
) -> Result<(), Fault> {
    let pressed = pressed(cut);
    let bytes = cut.absorb(pressed) as u64;
    account.charge(bytes).map_err(|_| Fault::HostOutOfMemory)
}

/// Why memories of these sizes are not saved.
fn too_large(sizes: &[u32]) -> Option<String> {
    let larger = sizes.iter().any(|size| *size > MAX_PAGES);
    larger.then(|| "it has a memory of more than 2 GiB".to_owned())
}

fn piece<'s>(list: &List, store: &'s Store<Guest>, start: usize, length: usize) -> &'s [u8] {
    let bytes = list.as_ref().map_or(&[][..], |list| list.as_le_slice(store));
    bytes.get(start..bytes.len().min(start + length)).unwrap_or_default()
}

/// The page at this byte of a memory, which has 2 GiB at most.
fn page(at: usize) -> u32 {
    u32::try_from(at / PAGE).unwrap_or(u32::MAX)
}

/// The same runs, none longer than a step.
fn steps(runs: &[Run]) -> impl Iterator<Item = Run> + '_ {
    runs.iter().flat_map(|run| {
        let end = run.first + run.count;
        (run.first..end)
            .step_by(index(STEP))
            .map(move |first| Run { first, count: STEP.min(end - first) })
    })
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::super::pages::Image;
    use super::*;

    /// Every test that saves an image tests the kernel's word as well.
    pub(super) fn nothing_else_differs(
        written: &[Range<usize>],
        bytes: &[u8],
        (before, first): (&Image, u32),
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
        let memory = Memory { size: MAX_PAGES, ..Memory::default() };
        assert_eq!(memory.pages() * PAGE as u64, 2 << 30);
        assert_eq!(u64::from(page((2 << 30) - 1)), memory.pages() - 1);
        let last = u32::try_from(memory.pages() / 16 - 1).expect("it fits");
        assert_eq!((memory.pages_in(last), memory.pages_in(last + 1)), (16, 0));
    }
}
