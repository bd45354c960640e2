//! The bytes of the blobs that a commit brings.

use std::collections::HashSet;

use bytes::Bytes;

use super::{BlobId, content};
use crate::StoreError;
use crate::embedded::disk::Disk;
use crate::embedded::engine::{self, Batch, Class, Staged};

/// The bytes of the blobs that a commit brings.
#[derive(Debug, Default)]
pub(in crate::embedded) enum Contents {
    /// None.
    #[default]
    None,
    /// These, to be written with the commit.
    Here(Vec<(BlobId, Bytes)>),
    /// These, which are durable already.
    Staged {
        /// Which they are.
        ids: Vec<BlobId>,
        /// What gives them their keys.
        staged: Staged,
    },
}

impl Contents {
    /// These blobs.
    pub(in crate::embedded) fn of(blobs: Vec<(BlobId, Bytes)>) -> Contents {
        if blobs.is_empty() { Contents::None } else { Contents::Here(blobs) }
    }

    /// How many bytes have to be written with the commit.
    pub(in crate::embedded) fn size(&self) -> usize {
        match self {
            Contents::None | Contents::Staged { .. } => 0,
            Contents::Here(blobs) => blobs.iter().map(|(_, bytes)| 64 + bytes.len()).sum(),
        }
    }

    /// Whether they are so large that they are better written before the commit.
    pub(in crate::embedded) fn are_large(&self) -> bool {
        self.size() >= engine::STAGE
    }

    /// Write them before the commit.
    pub(in crate::embedded) fn stage(self, disk: &Disk) -> Result<Contents, StoreError> {
        match self {
            Contents::Here(blobs) => {
                let key = |id: &BlobId| Bytes::copy_from_slice(&content(id));
                let values: Vec<_> =
                    blobs.iter().map(|(id, bytes)| (key(id), bytes.clone())).collect();
                let staged = disk.stage(&values)?;
                let ids = blobs.into_iter().map(|(id, _)| id).collect();
                Ok(Contents::Staged { ids, staged })
            }
            other => Ok(other),
        }
    }

    /// The blobs.
    pub(in crate::embedded) fn ids(&self) -> HashSet<BlobId> {
        match self {
            Contents::None => HashSet::new(),
            Contents::Here(blobs) => blobs.iter().map(|(id, _)| *id).collect(),
            Contents::Staged { ids, .. } => ids.iter().copied().collect(),
        }
    }

    /// Give those their keys that are wanted.
    pub(in crate::embedded) fn put(self, batch: &mut Batch, wanted: impl Fn(&BlobId) -> bool) {
        match self {
            Contents::None => {}
            Contents::Here(blobs) => {
                for (id, bytes) in blobs.into_iter().filter(|(id, _)| wanted(id)) {
                    batch.put(Class::Rows, content(&id).to_vec(), bytes);
                }
            }
            Contents::Staged { ids, staged } => {
                let wanted: HashSet<_> = ids.iter().filter(|id| wanted(id)).map(content).collect();
                batch.put_staged(staged, |key| wanted.contains(key));
            }
        }
    }
}
