//! Cuts a large memory into chunks, a piece at a time.
//!
//! What is in the head already is recognised and neither copied nor compressed. All else is copied out
//! of the memory here, and pressed into chunks elsewhere, on a thread that may block.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use bytes::Bytes;

use super::chunk::{self, RANGE, RANGE_PAGES, Recognition};
use super::format::MemoryState;
use super::pages::{Difference, MemoryImage, PAGE, PageRun, differing, index};
use dormouse_domain::agent::Digest;
use dormouse_domain::snapshot::Chunk;

/// A range that differs in so many bytes at most is not worth a chunk.
const INLINE: usize = 1 << 10;

/// What is known of a range of the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KnownChunk {
    /// The range, by its number in its memory.
    pub(super) range: u32,
    /// What its content is recognised by.
    pub(super) content: u64,
    /// Its chunk,
    pub(super) digest: Digest,
    /// and the bytes that it takes, stored.
    pub(super) size: u32,
}

/// The chunks of the last snapshot, as far as the instance knows: those that the store has.
#[derive(Default)]
pub(super) struct Head {
    /// For each memory, ascending.
    pub(super) ranges: Vec<Vec<KnownChunk>>,
    /// Whether so much differs that the next image will not be in one piece.
    pub(super) large: bool,
}

impl Head {
    fn find(&self, memory: usize, range: u32) -> Option<KnownChunk> {
        let ranges = self.ranges.get(memory)?;
        let place = ranges.binary_search_by_key(&range, |known| known.range).ok()?;
        ranges.get(place).copied()
    }
}

/// An image on its way to be cut.
pub(super) struct ImageCut<'k> {
    head: &'k Head,
    recognition: Recognition,
    memories: Vec<MemoryState>,
    ranges: Vec<Vec<KnownChunk>>,
    fresh: HashMap<Digest, Bytes>,
    batch: CompressionBatch,
    scratch: Difference,
    /// Pages that differ.
    pages: usize,
}

/// Plain forms that wait to be pressed.
#[derive(Default)]
pub(super) struct CompressionBatch {
    plain: Vec<u8>,
    ranges: Vec<Waiting>,
}

/// Where a plain form ends, and what it belongs to.
struct Waiting {
    end: usize,
    memory: usize,
    place: usize,
    before: Option<KnownChunk>,
}

/// What became of a plain form.
pub(super) struct Pressed {
    memory: usize,
    place: usize,
    digest: Digest,
    size: u32,
    /// `None`: the head has it.
    data: Option<Bytes>,
}

/// What was cut.
pub(super) struct Pieces {
    /// What stands in the image itself.
    pub(super) memories: Vec<MemoryState>,
    /// Its chunks, each once.
    pub(super) chunks: Vec<Chunk>,
    /// What is known of them, once the image is stored.
    pub(super) head: Head,
}

impl ImageCut<'_> {
    /// Begin with the next memory, of so many pages of WebAssembly.
    pub(super) fn memory(&mut self, size: u32) {
        self.memories.push(MemoryState { size, ..MemoryState::default() });
        self.ranges.push(Vec::new());
    }

    /// Begin, with what is known of the head.
    pub(super) fn new(head: &Head, recognition: Recognition) -> ImageCut<'_> {
        ImageCut {
            head,
            recognition,
            memories: Vec::new(),
            ranges: Vec::new(),
            fresh: HashMap::new(),
            batch: CompressionBatch::default(),
            scratch: Difference::default(),
            pages: 0,
        }
    }

    /// Cut a piece of the memory, which are whole ranges from the page `first` on, the last range
    /// perhaps a part of one.
    pub(super) fn piece(
        &mut self,
        written: &[Range<usize>],
        first: u32,
        bytes: &[u8],
        before: &MemoryImage,
    ) {
        for (number, content) in (first / RANGE_PAGES..).zip(bytes.chunks(RANGE)) {
            let start = index(number - first / RANGE_PAGES) * RANGE;
            let written = within(written, start..start + content.len());
            if !written.is_empty() {
                self.range(number, &written, content, before);
            }
        }
    }

    fn range(&mut self, range: u32, written: &[Range<usize>], bytes: &[u8], before: &MemoryImage) {
        let first = range * RANGE_PAGES;
        let runs = differing(written, bytes, (before, first));
        if runs.is_empty() {
            return;
        }
        self.pages += runs.iter().map(|run| index(run.count)).sum::<usize>();
        let memory = self.memories.len() - 1;
        let content = self.recognition.of(runs.iter().map(|run| (*run, slice(bytes, *run))));
        let before_it = self.head.find(memory, range);
        if let Some(known) = before_it.filter(|known| known.content == content) {
            self.ranges[memory].push(known);
            return;
        }
        self.scratch.clear();
        self.scratch.add(&runs, 0, bytes, (before, first));
        if self.scratch.size() <= INLINE {
            self.memories[memory].difference.append(&self.scratch, first);
            return;
        }
        chunk::plain(&mut self.batch.plain, &self.scratch);
        let place = self.ranges[memory].len();
        let end = self.batch.plain.len();
        self.batch.ranges.push(Waiting { end, memory, place, before: before_it });
        let unknown = Digest([0; 32]);
        self.ranges[memory].push(KnownChunk { range, content, digest: unknown, size: 0 });
    }

    /// Bytes of what stands in the image itself.
    pub(super) fn inline(&self) -> usize {
        self.memories.iter().map(|memory| memory.difference.size()).sum()
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> usize {
        self.batch.plain.len()
    }

    /// What waits.
    pub(super) fn take(&mut self) -> CompressionBatch {
        std::mem::take(&mut self.batch)
    }

    /// Take back what was pressed. Returns how many bytes it takes.
    pub(super) fn absorb(&mut self, pressed: Vec<Pressed>) -> usize {
        let mut bytes = 0;
        for Pressed { memory, place, digest, size, data } in pressed {
            if let Some(known) = self.ranges[memory].get_mut(place) {
                (known.digest, known.size) = (digest, size);
            }
            if let Some(data) = data {
                bytes += data.len();
                self.fresh.insert(digest, data);
            }
        }
        bytes
    }

    /// All memories are cut, and nothing waits.
    pub(super) fn finish(self) -> Pieces {
        let ImageCut { mut memories, ranges, mut fresh, pages, .. } = self;
        let (mut chunks, mut listed) = (Vec::new(), HashSet::new());
        for (memory, ranges) in memories.iter_mut().zip(&ranges) {
            memory.chunks = ranges.iter().map(|known| (known.range, known.digest)).collect();
            for KnownChunk { digest, size, .. } in ranges.iter().copied() {
                if listed.insert(digest) {
                    chunks.push(Chunk { digest, size, data: fresh.remove(&digest) });
                }
            }
        }
        let large = pages * PAGE > super::save::ONE_PIECE;
        Pieces { memories, chunks, head: Head { ranges, large } }
    }
}

impl CompressionBatch {
    /// Name and compress what waits.
    pub(super) fn press(self) -> Vec<Pressed> {
        let (mut start, mut scratch) = (0, Vec::new());
        let press = |waiting: Waiting| {
            let Waiting { end, memory, place, before } = waiting;
            let plain = self.plain.get(start..end).unwrap_or_default();
            start = end;
            let digest = Digest::of(plain);
            if let Some(known) = before.filter(|known| known.digest == digest) {
                return Pressed { memory, place, digest, size: known.size, data: None };
            }
            let data = chunk::store(plain, &mut scratch);
            let size = u32::try_from(data.len()).unwrap_or(u32::MAX);
            Pressed { memory, place, digest, size, data: Some(data) }
        };
        self.ranges.into_iter().map(press).collect()
    }
}

/// The pages of a run.
fn slice(bytes: &[u8], run: PageRun) -> &[u8] {
    let start = index(run.first) * PAGE;
    bytes.get(start..start + index(run.count) * PAGE).unwrap_or_default()
}

/// The parts of these that lie within one, counted from its beginning.
fn within(parts: &[Range<usize>], one: Range<usize>) -> Vec<Range<usize>> {
    let begun = parts.partition_point(|part| part.end <= one.start);
    let parts = parts.iter().skip(begun).take_while(|part| part.start < one.end);
    let inside = |part: &Range<usize>| {
        part.start.max(one.start) - one.start..part.end.min(one.end) - one.start
    };
    parts.map(inside).collect()
}
