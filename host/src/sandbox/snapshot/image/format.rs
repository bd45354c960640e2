//! What an image is as bytes.
//!
//! ```text
//! format u8 │ flags u8 │ recipe u16 │ pristine [u8; 16] │ length u64 │ crc32c u32 │ body
//!
//! body:  memories, then of each: its pages of WebAssembly
//!        changed globals, then of each: its number, its bits as u64
//!        of each memory:  runs, then of each: pages skipped before it, pages in it
//!                         for each page: a u64, a bit a block
//!                         the blocks
//! ```
//! Numbers without a size are LEB128; the others are little-endian. The body is compressed with
//! LZ4 where that makes it smaller; `length` is its length before. The checksum covers everything
//! but itself.
//!
//! Whatever is wrong with an image is found here, before a guest sees any of it: nothing is
//! allocated or indexed on its word.

use bytes::Bytes;

use super::instrument::RECIPE;
use super::pages::{BLOCK, Difference, PAGE, Run, WASM_PAGE};
use super::pristine::Pristine;

/// The version of this format. One that is not known is refused by name.
const FORMAT: u8 = 1;
/// The body is compressed.
const LZ4: u8 = 1;
const HEADER: usize = 32;
/// Where the checksum stands.
const CHECKSUM: usize = 28;
/// Bodies up to here are not worth compressing.
const SMALL: usize = 128;
/// LZ4 makes nothing smaller than by this factor.
const MAX_RATIO: usize = 255;
/// The most pages of WebAssembly that a memory may have: 2 GiB.
pub(super) const MAX_PAGES: u32 = 32_768;

/// The state of all memories and globals, as it differs from the pristine image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// For each memory: how many pages of WebAssembly it has, and what differs.
    pub(super) memories: Vec<(u32, Difference)>,
    /// Numbers of globals, ascending, with their bits.
    pub(super) globals: Vec<(u32, u64)>,
}

/// Why an image cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it has format {0}, which this host does not read")]
    Format(u8),
    #[error("it was taken with recipe {0} of the instrumentation, and this host has {RECIPE}")]
    Recipe(u16),
    #[error("the agent does not start as it did when it was taken")]
    Pristine,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

impl State {
    /// How long the body will be, at most.
    pub(super) fn size(&self) -> usize {
        self.memories.iter().map(|(_, difference)| difference.size()).sum::<usize>()
            + self.globals.len() * 13
            + self.memories.len() * 16
    }

    /// What it takes in memory to decode these bytes, themselves included, at most.
    pub(super) fn weight(image: &[u8]) -> u64 {
        let length = match image.get(..HEADER) {
            Some(&[.., a, b, c, d, e, f, g, h, _, _, _, _]) => {
                u64::from_le_bytes([a, b, c, d, e, f, g, h])
            }
            Some(_) | None => 0,
        };
        // The body, and the state that is made of it. What claims to be longer is not decoded.
        let body = length.min((image.len() as u64).saturating_mul(MAX_RATIO as u64 + 1));
        body.saturating_mul(2).saturating_add(image.len() as u64)
    }

    /// As bytes.
    pub(super) fn encode(&self, pristine: &Pristine) -> Bytes {
        let mut out = vec![0; HEADER];
        out.reserve(self.size());
        put(&mut out, self.memories.len() as u64);
        for (pages, _) in &self.memories {
            put(&mut out, u64::from(*pages));
        }
        put(&mut out, self.globals.len() as u64);
        for (number, bits) in &self.globals {
            put(&mut out, u64::from(*number));
            out.extend(bits.to_le_bytes());
        }
        for (_, difference) in &self.memories {
            put(&mut out, difference.runs.len() as u64);
            let mut end = 0;
            for run in &difference.runs {
                put(&mut out, u64::from(run.first - end));
                put(&mut out, u64::from(run.count));
                end = run.first + run.count;
            }
            out.extend(difference.blocks.iter().flat_map(|bits| bits.to_le_bytes()));
            out.extend_from_slice(&difference.data);
        }
        let length = (out.len() - HEADER) as u64;
        let mut flags = 0;
        if out.len() - HEADER > SMALL {
            let compressed = lz4_flex::block::compress(&out[HEADER..]);
            if compressed.len() < out.len() - HEADER {
                flags = LZ4;
                out.truncate(HEADER);
                out.extend_from_slice(&compressed);
                out.shrink_to_fit();
            }
        }
        out[0] = FORMAT;
        out[1] = flags;
        out[2..4].copy_from_slice(&RECIPE.to_le_bytes());
        out[4..20].copy_from_slice(&pristine.fingerprint);
        out[20..28].copy_from_slice(&length.to_le_bytes());
        let checksum = checksum(&out);
        out[CHECKSUM..HEADER].copy_from_slice(&checksum.to_le_bytes());
        Bytes::from(out)
    }

    /// What these bytes say, if it is a state of this agent.
    pub(super) fn decode(image: &[u8], pristine: &Pristine) -> Result<State, Unusable> {
        let (header, body) =
            image.split_at_checked(HEADER).ok_or(Unusable::Damaged("it is too short"))?;
        if header[0] != FORMAT {
            return Err(Unusable::Format(header[0]));
        }
        let given = u32::from_le_bytes([header[28], header[29], header[30], header[31]]);
        if checksum(image) != given {
            return Err(Unusable::Damaged("its checksum does not hold"));
        }
        let recipe = u16::from_le_bytes([header[2], header[3]]);
        if recipe != RECIPE {
            return Err(Unusable::Recipe(recipe));
        }
        if header[4..20] != pristine.fingerprint {
            return Err(Unusable::Pristine);
        }
        let mut length = [0; 8];
        length.copy_from_slice(&header[20..28]);
        let length = usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX);
        match header[1] {
            0 if length == body.len() => Reader(body).state(pristine),
            LZ4 if length / MAX_RATIO <= body.len() => {
                let body = lz4_flex::block::decompress(body, length)
                    .map_err(|_| Unusable::Damaged("it does not decompress"))?;
                if body.len() != length {
                    return Err(Unusable::Damaged("it is not as long as it says"));
                }
                Reader(&body).state(pristine)
            }
            _ => Err(Unusable::Damaged("its header makes no sense")),
        }
    }
}

fn checksum(image: &[u8]) -> u32 {
    let head = crc32c::crc32c(&image[..CHECKSUM]);
    crc32c::crc32c_append(head, &image[HEADER..])
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn state(mut self, pristine: &Pristine) -> Result<State, Unusable> {
        if self.number()? != pristine.memories.len() as u64 {
            return Err(Unusable::Damaged("it has other memories"));
        }
        let mut sizes = Vec::new();
        for memory in &pristine.memories {
            let pages = self.number()?;
            let least = (memory.pages() * PAGE / WASM_PAGE) as u64;
            if pages < least || pages > u64::from(MAX_PAGES) {
                return Err(Unusable::Damaged("a memory has an impossible size"));
            }
            sizes.push(u32::try_from(pages).unwrap_or(0));
        }
        let globals = self.globals(pristine)?;
        let mut memories = Vec::new();
        for pages in sizes {
            memories.push((pages, self.difference(pages)?));
        }
        if !self.0.is_empty() {
            return Err(Unusable::Damaged("something follows its end"));
        }
        Ok(State { memories, globals })
    }

    fn globals(&mut self, pristine: &Pristine) -> Result<Vec<(u32, u64)>, Unusable> {
        let mut globals: Vec<(u32, u64)> = Vec::new();
        let ordinary = (pristine.globals.len() - pristine.pinned) as u64;
        for _ in 0..self.number()? {
            let number = self.number()?;
            let ascends = globals.last().is_none_or(|(last, _)| number > u64::from(*last));
            if number >= ordinary || !ascends {
                return Err(Unusable::Damaged("it has other globals"));
            }
            globals.push((u32::try_from(number).unwrap_or(0), self.bits()?));
        }
        Ok(globals)
    }

    fn difference(&mut self, wasm_pages: u32) -> Result<Difference, Unusable> {
        let pages = u64::from(wasm_pages) * (WASM_PAGE / PAGE) as u64;
        let mut difference = Difference::default();
        let (mut end, mut total) = (0_u64, 0_u64);
        for _ in 0..self.number()? {
            let first = end.saturating_add(self.number()?);
            let count = self.number()?;
            if count == 0 || first.saturating_add(count) > pages {
                return Err(Unusable::Damaged("a page lies outside of its memory"));
            }
            end = first + count;
            total += count;
            let number = |of: u64| u32::try_from(of).unwrap_or(0);
            difference.runs.push(Run { first: number(first), count: number(count) });
        }
        let mut blocks = 0_u64;
        for _ in 0..total {
            let bits = self.bits()?;
            blocks += u64::from(bits.count_ones());
            difference.blocks.push(bits);
        }
        let length = usize::try_from(blocks).unwrap_or(usize::MAX).saturating_mul(BLOCK);
        difference.data.extend_from_slice(self.take(length)?);
        Ok(difference)
    }

    fn number(&mut self) -> Result<u64, Unusable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or(0);
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unusable::Damaged("a number is too long"))
    }

    fn bits(&mut self) -> Result<u64, Unusable> {
        let mut bits = [0; 8];
        bits.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(bits))
    }

    fn take(&mut self, length: usize) -> Result<&'b [u8], Unusable> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(Unusable::Damaged("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests;
