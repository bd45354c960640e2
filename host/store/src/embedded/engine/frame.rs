//! Frames: values with their keys and a checksum, one after the other in a file.
//!
//! ```text
//!  header:  magic | kind | number u64 | crc32c
//!  frame:   crc32c | key length u32 | value length u32 | key | value
//! ```

use std::io;
use std::sync::Arc;

use super::io::Handle;
use super::value::PackKind;

/// How long the header of a file of frames is, in bytes.
pub(super) const HEADER: usize = 24;
/// How long the header of a frame is, in bytes.
pub(super) const FRAME: usize = 12;

const MAGIC: &[u8; 8] = b"dormpack";
/// How much is read at a time, in bytes.
const PIECE: usize = 1 << 20;

/// The header of a pack.
pub(super) fn write_header(kind: PackKind, number: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(MAGIC);
    header[8] = kind.letter();
    header[12..20].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Write a frame to the end of `out`.
pub(super) fn write(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    write_head(out, key, value);
    out.extend_from_slice(value);
}

/// Write a frame up to where its value begins. Returns its checksum.
pub(super) fn write_head(out: &mut Vec<u8>, key: &[u8], value: &[u8]) -> u32 {
    // Both lengths have been checked before.
    let lengths = [key.len() as u32, value.len() as u32].map(u32::to_le_bytes).concat();
    let crc = [&lengths, key, value].into_iter().fold(0, crc32c::crc32c_append);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&lengths);
    out.extend_from_slice(key);
    crc
}

/// A frame, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    /// Its checksum.
    pub(super) crc: u32,
    /// The key.
    pub(super) key: &'a [u8],
    /// The value.
    pub(super) value: &'a [u8],
    /// How long the frame is.
    pub(super) length: usize,
}

/// The frame at the beginning of these bytes. `None` where there is no whole one.
pub(super) fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let (crc, rest) = bytes.split_first_chunk()?;
    let (key_length, rest) = rest.split_first_chunk()?;
    let (value_length, rest) = rest.split_first_chunk()?;
    let (key, rest) = rest.split_at_checked(u32::from_le_bytes(*key_length) as usize)?;
    let value = rest.get(..u32::from_le_bytes(*value_length) as usize)?;
    let (crc, length) = (u32::from_le_bytes(*crc), FRAME + key.len() + value.len());
    (crc32c::crc32c(&bytes[4..length]) == crc).then_some(Frame { crc, key, value, length })
}

/// Reads the frames of a file, one after the other.
#[derive(Debug)]
pub(super) struct FrameReader {
    file: Arc<dyn Handle>,
    size: u64,
    /// Where in the file the buffer begins.
    start: u64,
    buffer: Vec<u8>,
    /// How much of the buffer has been taken.
    taken: usize,
}

impl FrameReader {
    /// After the header, up to the end of the file.
    pub(super) fn new(file: Arc<dyn Handle>) -> io::Result<FrameReader> {
        let size = file.size()?;
        Ok(FrameReader { file, size, start: HEADER as u64, buffer: Vec::new(), taken: 0 })
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.start + self.taken as u64
    }

    /// The next frame; `None` where there is no whole one.
    pub(super) fn next(&mut self) -> io::Result<Option<Frame<'_>>> {
        if !self.fill(FRAME)? {
            return Ok(None);
        }
        let length = |at: usize| {
            let bytes = self.buffer[self.taken + at..].first_chunk();
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
        };
        let length = FRAME.saturating_add(length(4)).saturating_add(length(8));
        if !self.fill(length)? {
            return Ok(None);
        }
        let start = self.taken;
        match read(&self.buffer[start..start + length]) {
            Some(frame) => {
                self.taken += length;
                Ok(Some(frame))
            }
            None => Ok(None),
        }
    }

    /// Have this many bytes that are not taken. Whether there are so many.
    fn fill(&mut self, length: usize) -> io::Result<bool> {
        if self.buffer.len() - self.taken >= length {
            return Ok(true);
        }
        if self.offset().saturating_add(length as u64) > self.size {
            return Ok(false);
        }
        self.start += self.taken as u64;
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let have = self.buffer.len();
        let from = self.start + have as u64;
        let most = usize::try_from(self.size - from).unwrap_or(usize::MAX);
        self.buffer.resize(have + (length - have).max(PIECE).min(most), 0);
        self.file.read_at(&mut self.buffer[have..], from)?;
        Ok(true)
    }
}
