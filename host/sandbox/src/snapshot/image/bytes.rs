//! How numbers and differences are written, and read with all checks.
//!
//! ```text
//! difference:  runs, then of each: pages skipped before it, pages in it
//!              for each page: a u64, a bit a block
//!              the blocks
//! ```
//! Numbers without a size are LEB128; the others are little-endian.

use super::pages::{BLOCK, Difference, PageRun};

/// What is wrong with what was read.
pub(super) type FormatError = &'static str;

/// Write a number.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Write a difference.
pub(super) fn put_difference(out: &mut Vec<u8>, difference: &Difference) {
    put(out, difference.runs.len() as u64);
    let mut end = 0;
    for run in &difference.runs {
        put(out, u64::from(run.first - end));
        put(out, u64::from(run.count));
        end = run.first + run.count;
    }
    out.extend(difference.blocks.iter().flat_map(|bits| bits.to_le_bytes()));
    out.extend_from_slice(&difference.data);
}

/// Reads what was written. Nothing is allocated or indexed on its word.
pub(super) struct ByteReader<'b>(pub(super) &'b [u8]);

impl<'b> ByteReader<'b> {
    /// A difference to a memory, or a piece of one, of this many pages.
    pub(super) fn difference(&mut self, pages: u64) -> Result<Difference, FormatError> {
        let mut difference = Difference::default();
        let (mut end, mut total) = (0_u64, 0_u64);
        for _ in 0..self.number()? {
            let first = end.saturating_add(self.number()?);
            let count = self.number()?;
            if count == 0 || first.saturating_add(count) > pages {
                return Err("a page lies outside of its memory");
            }
            end = first + count;
            total += count;
            let number = |of: u64| u32::try_from(of).unwrap_or(0);
            difference.runs.push(PageRun { first: number(first), count: number(count) });
        }
        let mut blocks = 0_u64;
        for _ in 0..total {
            let bits = u64::from_le_bytes(self.array()?);
            blocks += u64::from(bits.count_ones());
            difference.blocks.push(bits);
        }
        let length = usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        difference.data.extend_from_slice(self.take(length)?);
        Ok(difference)
    }

    /// A number.
    pub(super) fn number(&mut self) -> Result<u64, FormatError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is too long")
    }

    /// So many bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// That nothing is left.
    pub(super) fn end(&self) -> Result<(), FormatError> {
        if self.0.is_empty() { Ok(()) } else { Err("something follows its end") }
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], FormatError> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(TOO_SHORT)?;
        self.0 = rest;
        Ok(taken)
    }
}

const TOO_SHORT: FormatError = "it ends too early";
