//! What an image is as bytes: all of a small one, and of a large one what puts its chunks together.
//!
//! ```text
//! format u8 │ flags u8 │ recipe u16 │ pristine [u8; 16] │ length u64 │ crc32c u32 │ body
//!
//! body:  memories, then of each: its pages of WebAssembly
//!        changed globals, then of each: its number, its bits as u64
//!        of each memory:  chunks, then of each: ranges skipped before it, its digest [u8; 32]
//!                         what differs outside of the ranges with chunks
//! ```
//! Numbers without a size and differences are written as `bytes` tells; the other numbers are
//! little-endian. The body is compressed with LZ4 where that makes it smaller; `length` is its length
//! before. The checksum covers everything but itself, and with the digests it vouches for the chunks.
//!
//! Whatever is wrong with an image is found here, before a guest sees any of it: nothing is
//! allocated or indexed on its word.
//!
//! # Why LZ4
//!
//! Of what real agents differ in, zstd at its level 1 makes text two fifths smaller than LZ4 does; but it
//! takes one and a half times as long to write it and twice as long to read it, and five times as
//! long over bytes that do not get smaller. Somebody waits for each wake, so it is LZ4.

use bytes::Bytes;

use super::bytes::{ByteReader, FormatError, put, put_difference};
use super::chunk::{self, RANGE_PAGES};
use super::instrument::{BEFORE_DIRECTORIES, RECIPE};
use super::pages::{Difference, PAGE, WASM_PAGE};
use super::pristine::Pristine;
use crate::fault::Fault;
use dormouse_domain::agent::Digest;

/// The version of this format. One that is not known is refused by name.
const FORMAT: u8 = 2;
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

/// Pages of ours in one of WebAssembly.
const PAGES_EACH: u32 = (WASM_PAGE / PAGE) as u32;

/// The state of all memories and globals, as it differs from the pristine image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ImageState {
    /// In the order of the accessors.
    pub(super) memories: Vec<MemoryState>,
    /// Numbers of globals, ascending, with their bits.
    pub(super) globals: Vec<(u32, u64)>,
}

/// The state of a memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryState {
    /// How many pages of WebAssembly it has.
    pub(super) size: u32,
    /// Ranges, ascending, that differ as a chunk says.
    pub(super) chunks: Vec<(u32, Digest)>,
    /// What differs in the others.
    pub(super) difference: Difference,
}

impl MemoryState {
    /// How many pages it has.
    pub(super) fn pages(&self) -> u64 {
        u64::from(self.size) * u64::from(PAGES_EACH)
    }

    /// How many of them lie in this range.
    pub(super) fn pages_in(&self, range: u32) -> u32 {
        let first = u64::from(range) * u64::from(RANGE_PAGES);
        let left = self.pages().saturating_sub(first).min(u64::from(RANGE_PAGES));
        u32::try_from(left).unwrap_or(RANGE_PAGES)
    }
}

/// Why an image cannot be restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it has format {0}, which this host does not read")]
    Format(u8),
    #[error("a chunk of it has format {0}, which this host does not read")]
    ChunkFormat(u8),
    #[error("it was taken with recipe {0} of the instrumentation, and this host has {RECIPE}")]
    Recipe(u16),
    #[error("the agent does not start as it did when it was taken")]
    Pristine,
    #[error("it is damaged: {0}")]
    Damaged(FormatError),
}

impl From<FormatError> for Unusable {
    fn from(damage: FormatError) -> Unusable {
        Unusable::Damaged(damage)
    }
}

impl From<chunk::UnreadableChunk> for Unusable {
    fn from(error: chunk::UnreadableChunk) -> Unusable {
        match error {
            chunk::UnreadableChunk::Format(format) => Unusable::ChunkFormat(format),
            chunk::UnreadableChunk::Damaged(damage) => Unusable::Damaged(damage),
        }
    }
}

impl From<Unusable> for Fault {
    fn from(unusable: Unusable) -> Fault {
        match unusable {
            Unusable::Damaged(_) => Fault::SnapshotDamaged(unusable.to_string()),
            Unusable::Format(_)
            | Unusable::ChunkFormat(_)
            | Unusable::Recipe(_)
            | Unusable::Pristine => Fault::SnapshotUnusable(unusable.to_string()),
        }
    }
}

impl ImageState {
    /// How long the body will be, at most.
    pub(super) fn size(&self) -> usize {
        let chunks = self.memories.iter().map(|memory| memory.chunks.len() * (32 + 5));
        self.memories.iter().map(|memory| memory.difference.size()).sum::<usize>()
            + chunks.sum::<usize>()
            + self.globals.len() * 13
            + self.memories.len() * 26
    }

    /// As bytes.
    pub(super) fn encode(&self, pristine: &Pristine) -> Bytes {
        let mut out = vec![0; HEADER];
        out.reserve(self.size());
        put(&mut out, self.memories.len() as u64);
        for memory in &self.memories {
            put(&mut out, u64::from(memory.size));
        }
        put(&mut out, self.globals.len() as u64);
        for (number, bits) in &self.globals {
            put(&mut out, u64::from(*number));
            out.extend(bits.to_le_bytes());
        }
        for memory in &self.memories {
            put(&mut out, memory.chunks.len() as u64);
            let mut end = 0;
            for (range, digest) in &memory.chunks {
                put(&mut out, u64::from(range - end));
                out.extend_from_slice(&digest.0);
                end = range + 1;
            }
            put_difference(&mut out, &memory.difference);
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
    pub(super) fn decode(image: &[u8], pristine: &Pristine) -> Result<ImageState, Unusable> {
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
        let fingerprint = match recipe {
            RECIPE => &pristine.fingerprint,
            BEFORE_DIRECTORIES => &pristine.before_directories,
            other => return Err(Unusable::Recipe(other)),
        };
        if header[4..20] != *fingerprint {
            return Err(Unusable::Pristine);
        }
        let length = length(header);
        match header[1] {
            0 if length == body.len() => Ok(Self::read(ByteReader(body), pristine)?),
            LZ4 if length / MAX_RATIO <= body.len() => {
                let body = lz4_flex::block::decompress(body, length)
                    .map_err(|_| Unusable::Damaged("it does not decompress"))?;
                if body.len() != length {
                    return Err(Unusable::Damaged("it is not as long as it says"));
                }
                Ok(Self::read(ByteReader(&body), pristine)?)
            }
            _ => Err(Unusable::Damaged("its header makes no sense")),
        }
    }

    /// How many bytes it takes to decode these, at most.
    pub(super) fn decoded_size(image: &[u8]) -> usize {
        let Some((header, body)) = image.split_at_checked(HEADER) else { return 0 };
        // The body, and what is made of it: at most twice as much.
        length(header).min(body.len().saturating_mul(MAX_RATIO)).saturating_mul(3)
    }

    fn read(mut reader: ByteReader<'_>, pristine: &Pristine) -> Result<ImageState, FormatError> {
        if reader.number()? != pristine.memories.len() as u64 {
            return Err("it has other memories");
        }
        let mut sizes = Vec::new();
        for memory in &pristine.memories {
            let size = reader.number()?;
            if size < u64::from(memory.size()) || size > u64::from(MAX_PAGES) {
                return Err("a memory has an impossible size");
            }
            sizes.push(u32::try_from(size).unwrap_or(0));
        }
        let globals = read_globals(&mut reader, pristine)?;
        let mut memories = Vec::new();
        for size in sizes {
            let mut memory = MemoryState { size, ..MemoryState::default() };
            memory.chunks = read_chunks(&mut reader, &memory)?;
            memory.difference = reader.difference(memory.pages())?;
            memories.push(memory);
        }
        reader.end()?;
        Ok(ImageState { memories, globals })
    }
}

fn read_globals(
    reader: &mut ByteReader<'_>,
    pristine: &Pristine,
) -> Result<Vec<(u32, u64)>, FormatError> {
    let mut globals: Vec<(u32, u64)> = Vec::new();
    let ordinary = pristine.ordinary().len() as u64;
    for _ in 0..reader.number()? {
        let number = reader.number()?;
        let ascends = globals.last().is_none_or(|(last, _)| number > u64::from(*last));
        if number >= ordinary || !ascends {
            return Err("it has other globals");
        }
        let bits = u64::from_le_bytes(reader.array()?);
        globals.push((u32::try_from(number).unwrap_or(0), bits));
    }
    Ok(globals)
}

fn read_chunks(
    reader: &mut ByteReader<'_>,
    memory: &MemoryState,
) -> Result<Vec<(u32, Digest)>, FormatError> {
    let mut chunks = Vec::new();
    let mut end = 0_u64;
    for _ in 0..reader.number()? {
        let range = end.saturating_add(reader.number()?);
        if range.saturating_mul(u64::from(RANGE_PAGES)) >= memory.pages() {
            return Err("a chunk lies outside of its memory");
        }
        end = range + 1;
        chunks.push((u32::try_from(range).unwrap_or(0), Digest(reader.array()?)));
    }
    Ok(chunks)
}

fn length(header: &[u8]) -> usize {
    let mut length = [0; 8];
    length.copy_from_slice(&header[20..28]);
    usize::try_from(u64::from_le_bytes(length)).unwrap_or(usize::MAX)
}

fn checksum(image: &[u8]) -> u32 {
    let head = crc32c::crc32c(&image[..CHECKSUM]);
    crc32c::crc32c_append(head, &image[HEADER..])
}

#[cfg(test)]
mod tests;
