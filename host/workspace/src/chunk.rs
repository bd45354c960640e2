//! Chunks: up to 64 KiB of a file. What is missing at the end of one reads as zeros, so a chunk of zeros is none.

use crate::CHUNK;
use crate::node::Node;
use crate::source::{Charge, Meter};
use crate::stored::{Decoder, Encoder, Kind, Malformed};
use std::sync::Arc;

/// A file of this many bytes, without the zeros at its end, stands beside its inode.
const INLINE: usize = 2 << 10;

/// A chunk. Only one that has changed is charged for.
#[derive(Clone, Default)]
pub(crate) struct Chunk {
    bytes: Vec<u8>,
    charge: Option<Charge>,
}

impl Chunk {
    /// Its bytes, perhaps without zeros at their end.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Put `bytes` at `offset`. Both together are a chunk at most.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8], meter: &Arc<Meter>) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            // Grows as files do that are appended to, and never beyond a chunk.
            let room = end.max((self.bytes.len() * 2).min(CHUNK));
            self.bytes.reserve_exact(room - self.bytes.len());
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        let held = self.bytes.capacity();
        match &mut self.charge {
            Some(charge) => charge.resize(held),
            None => self.charge = Some(Charge::new(meter, held)),
        }
    }

    /// Cut it off behind `length` bytes.
    pub(crate) fn truncate(&mut self, length: usize, meter: &Arc<Meter>) {
        self.bytes.truncate(length);
        self.charge.get_or_insert_with(|| Charge::new(meter, 0)).resize(self.bytes.capacity());
    }

    fn trimmed(&self) -> &[u8] {
        let end = self.bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        &self.bytes[..end]
    }

    /// Whether it has nothing but zeros.
    pub(crate) fn is_empty(&self) -> bool {
        self.trimmed().is_empty()
    }
}

impl Node for Chunk {
    const KIND: Kind = Kind::Chunk;

    fn encode(&self, out: &mut Encoder) {
        out.bytes(self.trimmed());
    }

    fn decode(from: &mut Decoder<'_>) -> Result<Chunk, Malformed> {
        let bytes = from.bytes(CHUNK)?;
        match bytes.last() {
            None | Some(0) => Err(Malformed("a chunk ends with zeros")),
            Some(_) => Ok(Chunk { bytes: bytes.to_vec(), charge: None }),
        }
    }

    fn settled(&self, _: &mut crate::commit::Settlement) -> Chunk {
        Chunk { bytes: self.trimmed().to_vec(), charge: None }
    }

    fn is_inline(&self, bytes: usize, _: usize) -> bool {
        bytes <= INLINE
    }

    fn weight(&self) -> usize {
        self.bytes.capacity()
    }
}
