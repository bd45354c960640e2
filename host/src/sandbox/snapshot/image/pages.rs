//! Memories by pages: an image of one, and what differs from it.
//!
//! A difference names runs of pages, and for each page which of its blocks of 64 bytes differ. The
//! pages are what the kernel and the restore think in; the blocks keep a difference small that
//! touched a page in one place.

use std::ops::Range;

use super::pagemap;

/// Bytes of a page.
pub(super) const PAGE: usize = 4096;
/// Bytes of a block: a page has as many as a `u64` has bits.
pub(super) const BLOCK: usize = 64;
/// Bytes of a page of WebAssembly.
pub(super) const WASM_PAGE: usize = 65_536;

/// The content of a memory. Pages of zeros take no room.
pub(super) struct Image {
    /// For each page: 0 where it is all zeros, else one more than its place in `data`.
    places: Vec<u32>,
    data: Vec<u8>,
}

impl Image {
    /// An image of no pages.
    pub(super) fn new() -> Image {
        Image { places: Vec::new(), data: Vec::new() }
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
    pub(super) fn size(&self) -> usize {
        self.data.capacity() + self.places.capacity() * size_of::<u32>()
    }

    /// How many pages it has.
    pub(super) fn pages(&self) -> usize {
        self.places.len()
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
pub(super) struct Run {
    pub(super) first: u32,
    pub(super) count: u32,
}

/// How a memory differs from an image.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// In order, none touching the next.
    pub(super) runs: Vec<Run>,
    /// For each page of the runs: a bit for each block that differs, the lowest first.
    pub(super) blocks: Vec<u64>,
    /// Those blocks, in order.
    pub(super) data: Vec<u8>,
}

impl Difference {
    /// Compare a piece of a memory, which are whole pages from this one on, with the image. Touches
    /// nothing that was not written to, where the kernel can tell. Returns how many bytes of the piece
    /// are the process's own.
    pub(super) fn compare(&mut self, first: usize, bytes: &[u8], before: &Image) -> usize {
        match pagemap::written(bytes) {
            Some(ranges) => {
                #[cfg(test)]
                tests::nothing_else_differs(&ranges, first, bytes, before);
                let own = ranges.iter().map(Range::len).sum();
                for range in ranges {
                    let page = first + range.start / PAGE;
                    self.compare_pages(page, bytes.get(range).unwrap_or_default(), before);
                }
                own
            }
            None => {
                self.compare_pages(first, bytes, before);
                bytes.len()
            }
        }
    }

    /// The same, page by page.
    pub(super) fn compare_pages(&mut self, first: usize, bytes: &[u8], before: &Image) {
        for (number, now) in (first..).zip(bytes.chunks_exact(PAGE)) {
            let then = before.page(number);
            if now == then {
                continue;
            }
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            match self.runs.last_mut() {
                Some(run) if run.first + run.count == number => run.count += 1,
                Some(_) | None => self.runs.push(Run { first: number, count: 1 }),
            }
            let mut bits = 0_u64;
            for (bit, (now, then)) in now.chunks(BLOCK).zip(then.chunks(BLOCK)).enumerate() {
                if now != then {
                    bits |= 1 << bit;
                    self.data.extend_from_slice(now);
                }
            }
            self.blocks.push(bits);
        }
    }

    /// Bytes that it takes in memory.
    pub(super) fn size(&self) -> usize {
        self.data.len() + self.blocks.len() * 8 + self.runs.len() * 8
    }
}

/// Write a page as it was, with the blocks that differ. Returns the rest of the blocks.
///
/// The caller has checked that there are as many blocks as bits.
pub(super) fn apply<'d>(bits: u64, then: &[u8], mut data: &'d [u8], page: &mut [u8]) -> &'d [u8] {
    page.copy_from_slice(then);
    for (bit, block) in page.chunks_mut(BLOCK).enumerate() {
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

    /// Every test that saves an image tests the kernel's word as well.
    pub(super) fn nothing_else_differs(
        written: &[Range<usize>],
        first: usize,
        bytes: &[u8],
        before: &Image,
    ) {
        for (number, page) in bytes.chunks_exact(PAGE).enumerate() {
            if page != before.page(first + number) {
                let told = written.iter().any(|range| range.contains(&(number * PAGE)));
                assert!(told, "page {number} was written to, and the kernel does not say so");
            }
        }
    }

    #[test]
    fn a_difference_applied_to_the_image_is_the_memory_again() {
        let mut then = vec![0_u8; 6 * PAGE];
        then[PAGE..2 * PAGE].fill(7);
        let mut image = Image::new();
        image.append(&then);
        let mut now = then.clone();
        now.extend([0; 2 * PAGE]);
        now[PAGE + 100] = 8;
        now[2 * PAGE] = 1;
        now[3 * PAGE - 1] = 2;
        now[7 * PAGE + 5] = 3;

        let mut difference = Difference::default();
        difference.compare_pages(0, &now, &image);
        assert_eq!(difference.runs, [Run { first: 1, count: 2 }, Run { first: 7, count: 1 }]);
        assert_eq!(difference.data.len(), 4 * BLOCK);

        let (mut data, mut blocks) = (difference.data.as_slice(), difference.blocks.iter());
        let mut again = then;
        again.resize(now.len(), 0);
        for run in &difference.runs {
            for number in run.first..run.first + run.count {
                let number = usize::try_from(number).expect("small");
                let page = &mut again[number * PAGE..][..PAGE];
                let bits = *blocks.next().expect("one for each page");
                data = apply(bits, image.page(number), data, page);
            }
        }
        assert_eq!(again, now);
        assert!(data.is_empty());
    }
}
