//! A chunk: what a range of a memory differs in, by itself.
//!
//! A large image is cut at fixed places, and what each range differs in is kept apart from the others,
//! under the digest of its plain form: what did not change is the same chunk in the next snapshot, and
//! nobody compresses, writes or keeps it twice. The plain form counts pages from the beginning of the
//! range, so ranges with the same content share a chunk, too.
//!
//! ```text
//! format u8 │ flags u8 │ length u32 │ crc32c u32 │ body
//! ```
//! The body is the difference as `bytes` writes it, compressed with LZ4 where that makes it smaller;
//! `length` is its length before. The checksum covers everything but itself: it is found out
//! before anything is decompressed that a chunk is damaged, and by its digest after that it is
//! another one.

use bytes::Bytes;

use super::bytes::{ByteReader, FormatError, put_difference};
use super::pages::{BLOCK, Difference, PAGE, PageRun};
use dormouse_domain::agent::Digest;

/// Pages of a range.
pub(super) const RANGE_PAGES: u32 = 16;
/// Bytes of a range.
pub(super) const RANGE: usize = PAGE * RANGE_PAGES as usize;

/// The version of this format. One that is not known is refused by name.
const FORMAT: u8 = 1;
/// The body is compressed.
const LZ4: u8 = 1;
const HEADER: usize = 10;
/// Where the checksum stands.
const CHECKSUM: usize = 6;
/// The most that the plain form of a chunk may be: all pages, with their bits, in as many runs as can be.
const MAX_PLAIN: usize = RANGE + RANGE_PAGES as usize * (8 + 2) + 1;
const _: () = assert!(RANGE_PAGES < 128, "numbers of a chunk take a byte each");
/// What a chunk takes at most in memory, stored: what does not get smaller is not compressed.
pub(super) const MAX_STORED: usize = MAX_PLAIN + HEADER;

/// Why a chunk cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnreadableChunk {
    /// It has a format of another time.
    Format(u8),
    /// It is not what was written.
    Damaged(FormatError),
}

impl From<FormatError> for UnreadableChunk {
    fn from(damage: FormatError) -> UnreadableChunk {
        UnreadableChunk::Damaged(damage)
    }
}

/// Write the plain form of a difference, whose pages count from the beginning of the range.
pub(super) fn plain(out: &mut Vec<u8>, difference: &Difference) {
    put_difference(out, difference);
}

/// The stored form of a plain one. The scratch is for the next one.
pub(super) fn store(plain: &[u8], scratch: &mut Vec<u8>) -> Bytes {
    let most = lz4_flex::block::get_maximum_output_size(plain.len());
    scratch.resize(HEADER + most, 0);
    let compressed = lz4_flex::block::compress_into(plain, &mut scratch[HEADER..]);
    // There is room, so there is no error; if there were, the plain form would do.
    let flags = match compressed {
        Ok(length) if length < plain.len() => {
            scratch.truncate(HEADER + length);
            LZ4
        }
        Ok(_) | Err(_) => {
            scratch.truncate(HEADER);
            scratch.extend_from_slice(plain);
            0
        }
    };
    scratch[0] = FORMAT;
    scratch[1] = flags;
    let length = u32::try_from(plain.len()).unwrap_or(u32::MAX);
    scratch[2..CHECKSUM].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(scratch);
    scratch[CHECKSUM..HEADER].copy_from_slice(&checksum.to_le_bytes());
    Bytes::copy_from_slice(scratch)
}

/// The difference that was stored under this digest, in a range of this many pages.
pub(super) fn read(
    stored: &[u8],
    digest: Digest,
    pages: u32,
) -> Result<Difference, UnreadableChunk> {
    let (header, body) =
        stored.split_at_checked(HEADER).ok_or("a chunk of it is shorter than its header")?;
    if header[0] != FORMAT {
        return Err(UnreadableChunk::Format(header[0]));
    }
    let given = u32::from_le_bytes([header[6], header[7], header[8], header[9]]);
    if checksum(stored) != given {
        return Err("the checksum of a chunk does not hold".into());
    }
    let length = u32::from_le_bytes([header[2], header[3], header[4], header[5]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut buffer = Vec::new();
    let plain = match header[1] {
        0 if length == body.len() => body,
        LZ4 if length <= MAX_PLAIN => {
            buffer.resize(length, 0);
            match lz4_flex::block::decompress_into(body, &mut buffer) {
                Ok(decompressed) if decompressed == length => &buffer,
                Ok(_) => return Err("a chunk of it is not as long as it says".into()),
                Err(_) => return Err("a chunk of it does not decompress".into()),
            }
        }
        _ => return Err("the header of a chunk makes no sense".into()),
    };
    if Digest::of(plain) != digest {
        return Err("a chunk of it is another one".into());
    }
    let mut reader = ByteReader(plain);
    let difference = reader.difference(u64::from(pages))?;
    reader.end()?;
    Ok(difference)
}

fn checksum(stored: &[u8]) -> u32 {
    let head = crc32c::crc32c(&stored[..CHECKSUM]);
    crc32c::crc32c_append(head, &stored[HEADER..])
}

/// How the content of a range is recognised: a number that no two contents have in common, but by a
/// chance of 2⁻⁶⁴. Keyed, so that nobody who writes to the memory of a guest can bring that about.
///
/// It says that a range has not changed since it was read last, at the speed of memory. What goes
/// by it does not leave the process: chunks are named by their digests.
#[derive(Clone, Copy)]
pub(super) struct Recognition(rapidhash::v3::RapidSecrets);

impl Recognition {
    /// With a key.
    pub(super) fn new(key: u64) -> Recognition {
        Recognition(rapidhash::v3::RapidSecrets::seed(key))
    }

    /// The number of the pages of these runs.
    pub(super) fn of<'p>(&self, runs: impl Iterator<Item = (PageRun, &'p [u8])>) -> u64 {
        let mut sum = 0;
        for (run, pages) in runs {
            let mut words = [0; 24];
            words[..8].copy_from_slice(&u64::to_le_bytes(sum));
            words[8..12].copy_from_slice(&run.first.to_le_bytes());
            words[12..16].copy_from_slice(&run.count.to_le_bytes());
            let content = rapidhash::v3::rapidhash_v3_seeded(pages, &self.0);
            words[16..].copy_from_slice(&content.to_le_bytes());
            sum = rapidhash::v3::rapidhash_v3_seeded(&words, &self.0);
        }
        sum
    }
}

const _: () = assert!(RANGE.is_multiple_of(PAGE) && PAGE.is_multiple_of(BLOCK));
