//! Memories by pages: an image of one, and what differs from it.
//!
//! A difference names runs of pages, and for each page which of its blocks of 64 bytes differ. The
//! pages are what the kernel and the restore think in; the blocks keep a difference small that
//! touched a page in one place.

use std::ops::Range;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Bytes of a block: a page has as many as a `u64` has bits.
pub(super) const BLOCK: usize = 64;
/// Bytes of a page of WebAssembly.
pub(super) const WASM_PAGE: usize = 65_536;

/// The content of a memory. Pages of zeros take no room.
pub(super) struct MemoryImage {
    /// For each page: 0 where it is all zeros, else one more than its place in `data`.
    places: Vec<u32>,
    data: Vec<u8>,
}

impl MemoryImage {
    /// An image of no pages.
    pub(super) fn new() -> MemoryImage {
        MemoryImage { places: Vec::new(), data: Vec::new() }
    }

    /// Append these bytes, which are whole pages.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        for page in bytes.chunks_exact(PAGE) {
            if page == ZEROS {
                self.places.push(0);
            } else {
                self.data.extend_from_slice(page);
                self.places.push(u32::try_from(self.data.len() / PAGE).unwrap_or(u32::MAX));
            }
        }
    }

    /// Nothing more is appended: give back what was kept for that.
    pub(super) fn shrink(&mut self) {
        self.data.shrink_to_fit();
        self.places.shrink_to_fit();
    }

    /// Bytes that it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.data.capacity() + self.places.capacity() * size_of::<u32>()
    }

    /// How many pages of WebAssembly it has.
    pub(super) fn size(&self) -> u32 {
        u32::try_from(self.places.len() / (WASM_PAGE / PAGE)).unwrap_or(u32::MAX)
    }

    /// The content of a page. Those beyond the end are zeros.
    pub(super) fn page(&self, number: usize) -> &[u8] {
        let place = self.places.get(number).and_then(|place| usize::try_from(*place).ok());
        let start = place.and_then(|place| place.checked_sub(1)).map(|place| place * PAGE);
        start.and_then(|start| self.data.get(start..start + PAGE)).unwrap_or(&ZEROS)
    }

    /// Add what it holds to a hash.
    pub(super) fn hash(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&(self.places.len() as u64).to_le_bytes());
        for place in &self.places {
            hasher.update(&[u8::from(*place != 0)]);
        }
        hasher.update(&self.data);
    }
}

static ZEROS: [u8; PAGE] = [0; PAGE];

/// Pages in a row that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageRun {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// How a memory differs from an image.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// In order, none touching the next.
    pub(super) runs: Vec<PageRun>,
    /// For each page of the runs: a bit for each block that differs, the lowest first.
    pub(super) blocks: Vec<u64>,
    /// Those blocks, in order.
    pub(super) data: Vec<u8>,
}

impl Difference {
    /// Add the pages of these runs, which count from the first of `bytes`; that is the page `first` of
    /// the image. Here they count from `base` on.
    pub(super) fn add(
        &mut self,
        runs: &[PageRun],
        base: u32,
        bytes: &[u8],
        (before, first): (&MemoryImage, u32),
    ) {
        for run in runs {
            for page in run.first..run.first + run.count {
                let at = index(page) * PAGE;
                let now = bytes.get(at..at + PAGE).unwrap_or(&ZEROS);
                self.add_page(base + page, now, before.page(index(first + page)));
            }
        }
    }

    fn add_page(&mut self, number: u32, now: &[u8], then: &[u8]) {
        extend(&mut self.runs, number);
        let blocks = now.chunks_exact(BLOCK).zip(then.chunks_exact(BLOCK)).enumerate();
        let bits = blocks.fold(0, |bits, (bit, (now, then))| bits | u64::from(now != then) << bit);
        self.blocks.push(bits);
        if bits == u64::MAX {
            self.data.extend_from_slice(now);
            return;
        }
        let differing = now.chunks_exact(BLOCK).enumerate().filter(|(bit, _)| bits & 1 << bit != 0);
        differing.for_each(|(_, block)| self.data.extend_from_slice(block));
    }

    /// Add another one, whose pages count from `first` on and lie behind all of this.
    pub(super) fn append(&mut self, other: &Difference, first: u32) {
        let runs =
            other.runs.iter().map(|run| PageRun { first: first + run.first, count: run.count });
        self.runs.extend(runs);
        self.blocks.extend_from_slice(&other.blocks);
        self.data.extend_from_slice(&other.data);
    }

    /// Make it none, and keep its buffers.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
        self.blocks.clear();
        self.data.clear();
    }

    /// Bytes that it takes, in memory and written.
    pub(super) fn size(&self) -> usize {
        self.data.len() + self.blocks.len() * 8 + self.runs.len() * 8
    }

    /// The pages as they are to be written, at most so many in a row, each run with its place. Counted
    /// from `first` on.
    ///
    /// Whoever read it has checked that there are as many blocks as bits.
    pub(super) fn written<'d>(
        &'d self,
        first: u32,
        most: u32,
        before: &'d MemoryImage,
    ) -> impl Iterator<Item = (PageRun, Vec<u8>)> + 'd {
        let (mut data, mut blocks) = (self.data.as_slice(), self.blocks.iter());
        let pieces = self.runs.iter().flat_map(move |run| {
            let end = run.first + run.count;
            (run.first..end)
                .step_by(index(most))
                .map(move |at| PageRun { first: first + at, count: most.min(end - at) })
        });
        pieces.map(move |run| {
            let mut pages = vec![0; index(run.count) * PAGE];
            for (number, page) in (index(run.first)..).zip(pages.chunks_exact_mut(PAGE)) {
                let bits = blocks.next().copied().unwrap_or(0);
                data = apply(bits, before.page(number), data, page);
            }
            (run, pages)
        })
    }
}

/// The pages of a piece of a memory that differ from the image, as runs. The piece begins with the page
/// `first`, and the runs count from there. Touches nothing but what may have been written to.
pub(super) fn differing(
    written: &[Range<usize>],
    bytes: &[u8],
    (before, first): (&MemoryImage, u32),
) -> Vec<PageRun> {
    let mut runs = Vec::new();
    for range in written {
        for at in range.clone().step_by(PAGE) {
            let page = u32::try_from(at / PAGE).unwrap_or(u32::MAX);
            let now = bytes.get(at..at + PAGE).unwrap_or(&ZEROS);
            if now != before.page(index(first + page)) {
                extend(&mut runs, page);
            }
        }
    }
    runs
}

/// Add a page behind these runs.
fn extend(runs: &mut Vec<PageRun>, number: u32) {
    match runs.last_mut() {
        Some(run) if run.first + run.count == number => run.count += 1,
        Some(_) | None => runs.push(PageRun { first: number, count: 1 }),
    }
}

/// A number of pages, or of one, as an index.
pub(super) fn index(number: u32) -> usize {
    // There is no host of 16 bits.
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Write a page as it was, with the blocks that differ. Returns the rest of the blocks.
fn apply<'d>(bits: u64, then: &[u8], mut data: &'d [u8], page: &mut [u8]) -> &'d [u8] {
    if bits == u64::MAX
        && let Some((now, rest)) = data.split_at_checked(PAGE)
    {
        page.copy_from_slice(now);
        return rest;
    }
    page.copy_from_slice(then);
    for (bit, block) in page.chunks_exact_mut(BLOCK).enumerate() {
        if bits & (1 << bit) != 0
            && let Some((now, rest)) = data.split_at_checked(BLOCK)
        {
            block.copy_from_slice(now);
            data = rest;
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_applied_to_the_image_is_the_memory_again() {
        let mut then = vec![0_u8; 6 * PAGE];
        then[PAGE..2 * PAGE].fill(7);
        let mut image = MemoryImage::new();
        image.append(&then);
        let mut now = then.clone();
        now.extend([0; 2 * PAGE]);
        now[PAGE + 100] = 8;
        now[2 * PAGE] = 1;
        now[3 * PAGE - 1] = 2;
        now[3 * PAGE..4 * PAGE].fill(9);
        now[7 * PAGE + 5] = 3;

        let mut difference = Difference::default();
        let runs = differing(std::slice::from_ref(&(0..now.len())), &now, (&image, 0));
        difference.add(&runs, 0, &now, (&image, 0));
        assert_eq!(
            difference.runs,
            [PageRun { first: 1, count: 3 }, PageRun { first: 7, count: 1 }]
        );
        assert_eq!(difference.data.len(), 68 * BLOCK);

        for most in [1, 2, 16] {
            let mut again = then.clone();
            again.resize(now.len(), 0);
            for (run, pages) in difference.written(0, most, &image) {
                again[index(run.first) * PAGE..][..pages.len()].copy_from_slice(&pages);
            }
            assert_eq!(again, now);
        }
    }

    #[test]
    fn pages_that_count_from_elsewhere_are_the_same_pages() {
        let mut image = MemoryImage::new();
        image.append(&[5; 4 * PAGE]);
        let mut now = [5; 4 * PAGE];
        now[2 * PAGE + 7] = 6;
        now[3 * PAGE] = 6;
        let piece = &now[2 * PAGE..];
        let runs = differing(std::slice::from_ref(&(0..piece.len())), piece, (&image, 2));
        assert_eq!(runs, [PageRun { first: 0, count: 2 }]);
        let (mut there, mut here) = (Difference::default(), Difference::default());
        there.add(&runs, 2, piece, (&image, 2));
        assert_eq!(there.runs, [PageRun { first: 2, count: 2 }]);
        here.append(&there, 10);
        assert_eq!(here.runs, [PageRun { first: 12, count: 2 }]);
        assert_eq!((here.blocks, here.data), (there.blocks, there.data));
    }
}
