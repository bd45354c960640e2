//! The blobs that a group names and lets go of, counted by edge.
//!
//! A commit names roots. Of what it brings, only what is not there is followed: a blob that is there, also one
//! that is listed to be released, has all that it names. What becomes of a blob that nothing names any more is
//! decided at the end of the group, because a later commit may name it again.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::EmbeddedShared;
use super::super::commit::BlobUses;
use super::super::engine::{Batch, Class};
use super::super::keys;
use super::super::leases::Claims;
use super::super::query::UnreadableValue;
use super::super::tables::blobs::contents::Contents;
use super::super::tables::blobs::{self, BlobId};
use super::super::tables::snapshots::SnapshotCell;
use crate::StoreError;
use crate::codec::{self, RecordKind};

/// The blobs that the group has read or changed.
pub(super) struct Blobs<'a> {
    pub(super) shared: &'a EmbeddedShared,
    /// What is listed to be released.
    pub(super) unused: &'a BTreeSet<BlobId>,
    pub(super) blobs: HashMap<BlobId, Blob>,
    /// What commits have brought, and which of it was not there.
    brought: Vec<(Contents, HashSet<BlobId>)>,
    /// What is removed.
    pub(super) claims: Claims,
    /// How many counts commits have raised.
    pub(super) raised: usize,
}

/// A blob.
pub(super) struct Blob {
    was: Was,
    /// How many rows and nodes name it, where that is known.
    pub(super) now: u64,
    /// The group has brought it.
    is_new: bool,
    /// The group has released it, and what it names.
    pub(super) is_released: bool,
}

/// What a blob was before the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Was {
    /// It was not there.
    Absent,
    /// Nothing named it, and it was listed to be released.
    Unused,
    /// So many rows and nodes named it.
    Used(u64),
    /// It was there, and its count cannot be read: it stays, uncounted, until a repair has counted again.
    Uncounted,
}

/// What has become of the blobs of a group.
pub(in super::super) struct Recount {
    /// Those that are listed to be released from now on.
    pub(in super::super) listed: Vec<BlobId>,
    /// Those that are not listed any more.
    pub(in super::super) unlisted: Vec<BlobId>,
    /// How many counts have changed.
    pub(in super::super) changed: u64,
    /// Leases of what is gone come too late until this is dropped.
    _claims: Claims,
}

impl<'a> Blobs<'a> {
    /// Nothing has been changed yet.
    pub(super) fn new(shared: &'a EmbeddedShared, unused: &'a BTreeSet<BlobId>) -> Blobs<'a> {
        Blobs {
            shared,
            unused,
            blobs: HashMap::new(),
            brought: Vec::new(),
            claims: Claims::new(&shared.leases),
            raised: 0,
        }
    }

    /// Make sure that each blob that a commit names is there, or comes with it and names only such.
    ///
    /// # Errors
    /// [`StoreError::SnapshotGone`] where one is not.
    pub(super) fn check(&mut self, shares: &BlobUses) -> Result<(), StoreError> {
        let mut open: Vec<BlobId> = shares.names.keys().copied().collect();
        let (mut seen, mut brought) = (HashSet::new(), None);
        while let Some(id) = open.pop() {
            if !seen.insert(id) || self.load(id)?.is_there() {
                continue;
            }
            let brought = brought.get_or_insert_with(|| shares.contents.ids());
            if !brought.contains(&id) {
                return Err(StoreError::SnapshotGone);
            }
            open.extend(shares.edges.get(&id).into_iter().flatten());
        }
        Ok(())
    }

    /// Take in what a commit names, which has been checked.
    pub(super) fn take(&mut self, shares: BlobUses) {
        let BlobUses { names, edges, contents, lease: _lease } = shares;
        let mut open: Vec<(BlobId, u64)> = names.into_iter().collect();
        let mut new = HashSet::new();
        while let Some((id, more)) = open.pop() {
            let Some(blob) = self.blobs.get_mut(&id) else { continue };
            self.raised += 1;
            if !blob.is_there() {
                blob.is_new = true;
                new.insert(id);
                let children = edges.get(&id).map_or(&[][..], Vec::as_slice);
                #[cfg(test)]
                let children = self.shared.disk.faults.counted(children);
                open.extend(children.iter().map(|child| (*child, 1)));
            }
            blob.now = blob.now.saturating_add(more);
        }
        if !new.is_empty() {
            self.brought.push((contents, new));
        }
    }

    /// Count one use less of all blobs that the row of a snapshot names. Returns how many those are.
    ///
    /// # Errors
    /// Why it is not known what to let go of. Nothing was let go of then.
    pub(super) fn release(&mut self, cell: &SnapshotCell<'_>) -> Result<usize, UnreadableValue> {
        let named = blobs::named_by(cell, |list| {
            let bytes = self.shared.disk.get(&keys::content(list))?;
            bytes.map(Some).ok_or(UnreadableValue::Stale)
        })?;
        self.lower(&named)?;
        Ok(named.len())
    }

    /// Count one use less of each of these.
    ///
    /// # Errors
    /// Why one cannot be read. None was counted then.
    pub(super) fn lower(&mut self, named: &[BlobId]) -> Result<(), StoreError> {
        for id in named {
            self.load(*id)?;
        }
        for id in named {
            let Some(blob) = self.blobs.get_mut(id) else { continue };
            if blob.now == 0 && blob.was != Was::Uncounted {
                tracing::error!(blob = keys::describe(&keys::blob(id)), "a blob is missing");
            }
            blob.now = blob.now.saturating_sub(1);
        }
        Ok(())
    }

    /// Put the changes into the batch.
    pub(super) fn finish(self, batch: &mut Batch) -> Recount {
        let (mut listed, mut unlisted, mut changed) = (Vec::new(), Vec::new(), 0);
        let mut gone = HashSet::new();
        for (id, blob) in &self.blobs {
            let becomes = blob.becomes(id, &self.claims);
            if becomes == Was::Absent {
                gone.insert(*id);
            }
            if becomes == blob.was {
                continue;
            }
            changed += 1;
            match blob.was {
                Was::Used(_) if !matches!(becomes, Was::Used(_)) => {
                    batch.delete(keys::blob(id).to_vec());
                }
                Was::Unused => {
                    batch.delete(keys::unused(id).to_vec());
                    unlisted.push(*id);
                }
                Was::Absent | Was::Used(_) | Was::Uncounted => {}
            }
            match becomes {
                Was::Used(now) => {
                    let key = keys::blob(id);
                    let value = codec::seal(&key, &[&blobs::write_uses(now)]);
                    batch.put(Class::Inline, key.to_vec(), value);
                }
                Was::Unused => {
                    let key = keys::unused(id);
                    batch.put(Class::Inline, key.to_vec(), codec::seal(&key, &[]));
                    listed.push(*id);
                }
                Was::Absent => batch.delete(keys::content(id).to_vec()),
                Was::Uncounted => {}
            }
        }
        for (contents, new) in self.brought {
            contents.put(batch, |id| new.contains(id) && !gone.contains(id));
        }
        Recount { listed, unlisted, changed, _claims: self.claims }
    }

    /// A blob as the group has made it so far.
    pub(super) fn load(&mut self, id: BlobId) -> Result<&mut Blob, StoreError> {
        use std::collections::hash_map::Entry;
        match self.blobs.entry(id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let was =
                    if self.unused.contains(&id) { Was::Unused } else { was(self.shared, &id)? };
                let now = if let Was::Used(now) = was { now } else { 0 };
                Ok(unknown.insert(Blob { was, now, is_new: false, is_released: false }))
            }
        }
    }
}

impl Blob {
    /// Whether it is there, with all that it names.
    fn is_there(&self) -> bool {
        match self.was {
            Was::Absent => self.is_new,
            Was::Unused | Was::Used(_) | Was::Uncounted => !self.is_released,
        }
    }

    /// What it is after the group. What nothing names goes at once where it names nothing itself.
    fn becomes(&self, id: &BlobId, claims: &Claims) -> Was {
        if self.was == Was::Uncounted {
            Was::Uncounted
        } else if self.now > 0 {
            Was::Used(self.now)
        } else if self.is_released || !self.is_there() {
            Was::Absent
        } else if id.names_others() || !claims.claim(*id) {
            Was::Unused
        } else {
            Was::Absent
        }
    }
}

/// What a blob that is not listed is durably. A count that cannot be read does not say that nothing has it:
/// what is there stays then.
fn was(shared: &EmbeddedShared, id: &BlobId) -> Result<Was, StoreError> {
    let key = keys::blob(id);
    let uses = match shared.disk.get(&key) {
        Ok(None) => return Ok(Was::Absent),
        Ok(Some(sealed)) => codec::unseal(RecordKind::Note, &key, &sealed)
            .and_then(|uses| blobs::read_uses(&uses))
            .ok(),
        Err(StoreError::Damaged(_)) => None,
        Err(error) => return Err(error),
    };
    match uses {
        Some(0) | None => {
            tracing::error!(blob = keys::describe(&key), "the count of a blob is damaged");
            Ok(Was::Uncounted)
        }
        Some(uses) => Ok(Was::Used(uses)),
    }
}
