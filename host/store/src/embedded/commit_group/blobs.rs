//! The blobs that a group refers to and lets go of, counted.

use std::collections::HashMap;

use super::super::EmbeddedShared;
use super::super::commit::BlobUses;
use super::super::engine::{Batch, Class};
use super::super::keys;
use super::super::query::UnreadableValue;
use super::super::tables::blobs;
use super::super::tables::blobs::BlobId;
use super::super::tables::blobs::Contents;
use super::super::tables::snapshots::SnapshotCell;
use crate::StoreError;
use crate::codec::{self, RecordKind};

/// The blobs that the group has read or changed.
pub(super) struct Blobs<'a> {
    shared: &'a EmbeddedShared,
    blobs: HashMap<BlobId, Uses>,
    /// What commits have brought, and which of it was not there.
    brought: Vec<(Contents, Vec<BlobId>)>,
}

/// How many snapshots and templates refer to a blob.
struct Uses {
    was: u64,
    now: u64,
}

impl<'a> Blobs<'a> {
    /// Nothing has been changed yet.
    pub(super) fn new(shared: &'a EmbeddedShared) -> Blobs<'a> {
        Blobs { shared, blobs: HashMap::new(), brought: Vec::new() }
    }

    /// Make sure that each blob that a commit refers to is there, or comes with it.
    ///
    /// # Errors
    /// [`StoreError::SnapshotGone`] where one is not.
    pub(super) fn check(&mut self, shares: &BlobUses) -> Result<(), StoreError> {
        let mut missing = Vec::new();
        for id in shares.uses.keys() {
            if self.load(id)?.now == 0 {
                missing.push(*id);
            }
        }
        let brought = if missing.is_empty() { Vec::new() } else { shares.contents.ids() };
        let brought: std::collections::HashSet<_> = brought.into_iter().collect();
        let all = missing.iter().all(|id| brought.contains(id));
        if all { Ok(()) } else { Err(StoreError::SnapshotGone) }
    }

    /// Take in what a commit refers to, which has been checked.
    pub(super) fn take(&mut self, shares: BlobUses) {
        let mut new = Vec::new();
        for (id, more) in &shares.uses {
            let Some(uses) = self.blobs.get_mut(id) else { continue };
            if uses.now == 0 {
                new.push(*id);
            }
            uses.now += more;
        }
        if !new.is_empty() {
            self.brought.push((shares.contents, new));
        }
    }

    /// Count one use less of all blobs that this snapshot refers to. Returns how many those are.
    ///
    /// # Errors
    /// Why it is not known what to let go of. Nothing was let go of then.
    pub(super) fn release(&mut self, cell: &SnapshotCell<'_>) -> Result<usize, UnreadableValue> {
        let blobs = blobs::named_by(cell, |list| self.list(list).map(Some))?;
        for id in &blobs {
            self.load(id)?;
        }
        for id in &blobs {
            let Some(uses) = self.blobs.get_mut(id) else { continue };
            if uses.now == 0 {
                tracing::error!(blob = keys::describe(&keys::blob(id)), "a blob is missing");
            }
            uses.now = uses.now.saturating_sub(1);
        }
        Ok(blobs.len())
    }

    /// Put the changes into the batch.
    pub(super) fn finish(self, batch: &mut Batch) {
        // What came may have gone again, and come once more.
        let is_kept = |id: &BlobId| self.blobs.get(id).is_some_and(|uses| uses.now > 0);
        for (contents, new) in self.brought {
            contents.put(batch, |id| new.contains(id) && is_kept(id));
        }
        for (id, Uses { was, now }) in &self.blobs {
            if was == now {
                continue;
            }
            let key = keys::blob(id);
            if *now > 0 {
                let value = codec::seal(&key, &[&blobs::write_uses(*now)]);
                batch.put(Class::Inline, key.to_vec(), value);
            } else {
                batch.delete(key.to_vec());
                batch.delete(keys::content(id).to_vec());
            }
        }
    }

    /// The bytes of a blob: it may have come with this group.
    fn list(&self, id: &BlobId) -> Result<bytes::Bytes, UnreadableValue> {
        match self.brought.iter().find_map(|(contents, _)| contents.list(id)) {
            Some(bytes) => Ok(bytes),
            None => self.shared.disk.get(&keys::content(id))?.ok_or(UnreadableValue::Stale),
        }
    }

    fn load(&mut self, id: &BlobId) -> Result<&mut Uses, StoreError> {
        use std::collections::hash_map::Entry;
        match self.blobs.entry(*id) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let key = keys::blob(id);
                let sealed = match self.shared.disk.get(&key) {
                    // A damaged one is as good as none: whoever has the contents brings them again.
                    Err(StoreError::Damaged(_)) => None,
                    sealed => sealed?,
                };
                let uses = sealed.and_then(|sealed| {
                    blobs::read_uses(&codec::unseal(RecordKind::Note, &key, &sealed).ok()?).ok()
                });
                let was = uses.unwrap_or(0);
                Ok(unknown.insert(Uses { was, now: was }))
            }
        }
    }
}
