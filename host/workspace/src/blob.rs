//! Blobs: immutable bytes that are named by their BLAKE3, and name other blobs.

use std::fmt;

use bytes::Bytes;

/// The name of a blob: the BLAKE3 of its bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

impl BlobId {
    /// The name of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> BlobId {
        BlobId(*blake3::hash(bytes).as_bytes())
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobId({self})")
    }
}

/// Where blobs are read from. Reading blocks the thread.
pub trait Blobs: Send + Sync {
    /// The bytes of this blob.
    ///
    /// # Errors
    ///
    /// The blob is not there, or cannot be read. Whether the bytes are the right ones need not be checked here.
    fn blob(&self, id: &BlobId) -> Result<Bytes, BlobError>;
}

/// A blob that a commit brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBlob {
    /// Its name.
    pub id: BlobId,
    /// The blobs that it names, each once, in the order of their ids; [`EDGES`](crate::EDGES) at most.
    pub edges: Vec<BlobId>,
    /// Its bytes.
    pub bytes: Bytes,
}

/// What is wrong with the blobs of a tree: a fault of the host or of its disk, never of a guest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// It is not there.
    #[error(
        "the blob {0} of a workspace is missing: restore it from a backup, or rewind the session"
    )]
    Missing(BlobId),
    /// It is there and cannot be read now.
    #[error("the blob {id} of a workspace cannot be read: {reason}")]
    Unavailable {
        /// Which one.
        id: BlobId,
        /// Why, in the words of the store.
        reason: String,
    },
    /// Its bytes are not those that its name promises, or make no sense.
    #[error(
        "the blob {id} of a workspace is damaged ({what}): restore it from a backup, or rewind the session"
    )]
    Damaged {
        /// Which one.
        id: BlobId,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Blobs that are sound each contradict each other.
    #[error("the blobs of a workspace contradict each other ({0}): rewind the session")]
    Inconsistent(&'static str),
}
