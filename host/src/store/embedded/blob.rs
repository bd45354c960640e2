//! Blobs: what snapshots have that does not fit into their rows, kept once for all that have it.
//!
//! A blob is named by its contents. Its key in sled says how many snapshots and templates refer to
//! it, and in which file of `values/` it lies; both change in the same commit as what refers to it.
//! What a commit adds is written to one file before it, which is synced once. A blob that nothing
//! refers to any more goes with the commit that lets go of it; its file goes with the last blob of
//! it. So a blob that stays keeps the bytes of those that were written with it: at most what one
//! commit wrote.

use bytes::Bytes;

use super::files::FileName;
use super::keys;
use crate::agent::Digest;
use crate::store::codec::{self, CodecError};

/// The name of a blob. Names of different kinds never meet: the digest of a chunk is not that of
/// the bytes which are kept of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum BlobId {
    /// The data of a state, by its digest.
    Data(Digest),
    /// The list of the chunks of a state, by its digest.
    List(Digest),
    /// A chunk, by the digest of what it was before it was compressed.
    Chunk(Digest),
}

impl BlobId {
    /// The byte that stands for its kind.
    pub(super) fn kind(&self) -> u8 {
        match self {
            BlobId::Data(_) => b'd',
            BlobId::List(_) => b'l',
            BlobId::Chunk(_) => b'c',
        }
    }

    /// The digest.
    pub(super) fn digest(&self) -> Digest {
        match self {
            BlobId::Data(digest) | BlobId::List(digest) | BlobId::Chunk(digest) => *digest,
        }
    }
}

/// Where a blob lies.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The file.
    pub(super) file: FileName,
    /// Where its envelope begins, in bytes.
    pub(super) offset: u64,
    /// How long it is, with its envelope, in bytes.
    pub(super) length: u64,
}

/// The value of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlobCell {
    /// How many snapshots and templates refer to it.
    pub(super) uses: u64,
    /// Where it lies.
    pub(super) place: Place,
}

impl BlobCell {
    /// Take a value apart.
    pub(super) fn read(value: &[u8]) -> Result<BlobCell, CodecError> {
        let (numbers, file) = value
            .split_first_chunk::<24>()
            .ok_or_else(|| CodecError::Malformed("a value is cut short".to_owned()))?;
        let number = |at: usize| {
            let bytes = numbers[at..].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let place = Place { file: FileName::read(file)?, offset: number(8), length: number(16) };
        Ok(BlobCell { uses: number(0), place })
    }

    /// Put a value together.
    pub(super) fn write(&self) -> Vec<u8> {
        let Place { file, offset, length } = &self.place;
        let numbers = [self.uses, *offset, *length].map(u64::to_le_bytes).concat();
        [&numbers, file.as_str().as_bytes()].concat()
    }
}

/// The blobs that a commit brings, on their way into a file.
#[derive(Debug)]
pub(super) struct BlobFile {
    /// The file.
    pub(super) name: FileName,
    /// What lies in it, one after the other.
    pub(super) blobs: Vec<(BlobId, Bytes)>,
}

impl BlobFile {
    /// How long the file is, in bytes.
    pub(super) fn length(&self) -> usize {
        self.blobs.iter().map(|(_, bytes)| codec::OVERHEAD + bytes.len()).sum()
    }

    /// The bytes of the file, piece by piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = ([u8; codec::OVERHEAD], &Bytes)> {
        self.blobs.iter().map(|(id, bytes)| (codec::envelope(&keys::blob(id), bytes), bytes))
    }

    /// Where each of them lies.
    pub(super) fn places(&self) -> impl Iterator<Item = (BlobId, Place)> {
        let mut offset = 0;
        self.blobs.iter().map(move |(id, bytes)| {
            let length = (codec::OVERHEAD + bytes.len()) as u64;
            let place = Place { file: self.name.clone(), offset, length };
            offset += length;
            (*id, place)
        })
    }
}
