//! Blobs: what snapshots have that does not fit into their rows, kept once for all that have it.
//!
//! A blob is named by its contents, and has two keys: its bytes, which are written once, and how many
//! snapshots and templates refer to it. The count changes in the same commit as what refers to it; the
//! bytes go with the commit that lets go of the blob last.

use bytes::Bytes;

use super::cell::{Content, SnapshotCell};
use super::disk::Disk;
use super::engine::{self, Batch, Class, Staged};
use super::keys;
use crate::StoreError;
use crate::codec::{self, CodecError};
use dormouse_domain::agent::Digest;

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

/// All blobs that a snapshot refers to, each once. `list` reads the list of its chunks where that is a
/// blob itself; without it, what it names is left out.
pub(super) fn named_by<E: From<CodecError>>(
    snapshot: &SnapshotCell<'_>,
    list: impl FnOnce(&BlobId) -> Result<Option<Bytes>, E>,
) -> Result<Vec<BlobId>, E> {
    let mut blobs = Vec::new();
    if let Content::Blob(digest) = snapshot.data {
        blobs.push(BlobId::Data(digest));
    }
    let chunks = match snapshot.chunks {
        Content::Inline(list) => codec::decode_chunks(list)?,
        Content::Blob(digest) => {
            let id = BlobId::List(digest);
            blobs.push(id);
            let list = list(&id)?;
            list.map_or(Ok(Vec::new()), |list| codec::decode_chunks(&list))?
        }
    };
    blobs.extend(chunks.iter().map(|chunk| BlobId::Chunk(chunk.digest)));
    blobs.sort_unstable();
    blobs.dedup();
    Ok(blobs)
}

/// The bytes of the blobs that a commit brings.
#[derive(Debug, Default)]
pub(super) enum Contents {
    /// None.
    #[default]
    None,
    /// These, to be written with the commit.
    Here(Vec<(BlobId, Bytes)>),
    /// These, which are durable already.
    Staged {
        /// Which they are.
        ids: Vec<BlobId>,
        /// The bytes of those that are lists.
        lists: Vec<(BlobId, Bytes)>,
        /// What gives them their keys.
        staged: Staged,
    },
}

impl Contents {
    /// These blobs.
    pub(super) fn of(blobs: Vec<(BlobId, Bytes)>) -> Contents {
        if blobs.is_empty() { Contents::None } else { Contents::Here(blobs) }
    }

    /// How many bytes have to be written with the commit.
    pub(super) fn size(&self) -> usize {
        match self {
            Contents::None | Contents::Staged { .. } => 0,
            Contents::Here(blobs) => blobs.iter().map(|(_, bytes)| 64 + bytes.len()).sum(),
        }
    }

    /// Whether they are so large that they are better written before the commit.
    pub(super) fn are_large(&self) -> bool {
        self.size() >= engine::STAGE
    }

    /// Write them before the commit.
    pub(super) fn stage(self, disk: &Disk) -> Result<Contents, StoreError> {
        match self {
            Contents::Here(blobs) => {
                let key = |id: &BlobId| Bytes::copy_from_slice(&keys::content(id));
                let values: Vec<_> =
                    blobs.iter().map(|(id, bytes)| (key(id), bytes.clone())).collect();
                let staged = disk.stage(&values)?;
                let ids = blobs.iter().map(|(id, _)| *id).collect();
                let is_list = |(id, _): &(BlobId, Bytes)| matches!(id, BlobId::List(_));
                Ok(Contents::Staged {
                    ids,
                    lists: blobs.into_iter().filter(is_list).collect(),
                    staged,
                })
            }
            other => Ok(other),
        }
    }

    /// The blobs.
    pub(super) fn ids(&self) -> Vec<BlobId> {
        match self {
            Contents::None => Vec::new(),
            Contents::Here(blobs) => blobs.iter().map(|(id, _)| *id).collect(),
            Contents::Staged { ids, .. } => ids.clone(),
        }
    }

    /// The bytes of a list, where it is one of them.
    pub(super) fn list(&self, id: &BlobId) -> Option<Bytes> {
        let here = match self {
            Contents::None => return None,
            Contents::Here(blobs) => blobs,
            Contents::Staged { lists, .. } => lists,
        };
        here.iter().find(|(of, _)| of == id).map(|(_, bytes)| bytes.clone())
    }

    /// Give those their keys that are wanted.
    pub(super) fn put(self, batch: &mut Batch, wanted: impl Fn(&BlobId) -> bool) {
        match self {
            Contents::None => {}
            Contents::Here(blobs) => {
                for (id, bytes) in blobs.into_iter().filter(|(id, _)| wanted(id)) {
                    batch.put(Class::Rows, keys::content(&id).to_vec(), bytes);
                }
            }
            Contents::Staged { ids, staged, .. } => {
                let wanted: std::collections::HashSet<_> =
                    ids.iter().filter(|id| wanted(id)).map(keys::content).collect();
                batch.put_staged(staged, |key| wanted.contains(key));
            }
        }
    }
}

/// How many snapshots and templates refer to a blob, as it is kept.
pub(super) fn write_uses(uses: u64) -> [u8; 8] {
    uses.to_le_bytes()
}

/// How many snapshots and templates refer to a blob.
pub(super) fn read_uses(value: &[u8]) -> Result<u64, CodecError> {
    let malformed = |_| CodecError::Malformed("a count has another length".to_owned());
    value.try_into().map(u64::from_le_bytes).map_err(malformed)
}
