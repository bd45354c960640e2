//! What has been committed and not been applied to the index yet.
//!
//! ```text
//!  commit ──▶ active ──freeze──▶ frozen ──applied, durable──▶ gone
//! ```
//! Readers ask `active`, then `frozen`, then the index. While `frozen` is being applied the index
//! has some of it already; since `frozen` is asked first, nobody can tell.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::batch::KeyChange;
use super::value::Pointer;

/// What an entry takes in memory besides its key and its value, in bytes, about.
const ENTRY: usize = 128;

/// Committed changes, the last one of each key.
#[derive(Debug, Default)]
pub(super) struct Generation {
    /// The changes.
    pub(super) changes: BTreeMap<Bytes, KeyChange>,
    /// What they take in memory, in bytes, about.
    pub(super) bytes: usize,
    /// What they took in the log, in bytes.
    pub(super) log_bytes: u64,
    /// The sequence number of the last group that is in here.
    pub(super) sequence: u64,
    /// The packs of staged values that were put in here and then replaced. Others of their values
    /// may still be here.
    pub(super) dropped: BTreeSet<u64>,
    /// Keys that the index does not have, because they were first put here. Of what is replayed
    /// nobody knows that: a round that was cut off may have applied some of it.
    pub(super) fresh: HashSet<Bytes>,
}

/// Both generations.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// What is committed now goes here.
    pub(super) active: Generation,
    /// What is being applied.
    pub(super) frozen: Option<Arc<Generation>>,
    /// How often something has been frozen. As long as it stays the same, the index and `frozen`
    /// taken together do too.
    pub(super) freezes: u64,
}

impl Generation {
    /// Take in the changes of a group. These keys of it were not there before.
    pub(super) fn add(
        &mut self,
        sequence: u64,
        room: usize,
        changes: Vec<(Bytes, KeyChange)>,
        fresh: Vec<Bytes>,
    ) {
        // One that was removed in here may still be in the index.
        let fresh = fresh.into_iter().filter(|key| !self.changes.contains_key(key));
        self.fresh.extend(fresh);
        for (key, change) in changes {
            if change == KeyChange::Delete && self.fresh.remove(&key) {
                self.forget(&key);
            } else {
                self.set(key, change);
            }
        }
        self.sequence = sequence;
        self.log_bytes += room as u64;
    }

    fn set(&mut self, key: Bytes, change: KeyChange) {
        self.bytes += size(&change);
        match self.changes.entry(key) {
            Entry::Vacant(entry) => {
                self.bytes += ENTRY + entry.key().len();
                entry.insert(change);
            }
            Entry::Occupied(mut entry) => {
                let before = entry.insert(change);
                self.bytes -= size(&before);
                if let KeyChange::Staged(pointer) = before {
                    self.dropped.insert(pointer.pack);
                }
            }
        }
    }

    /// A key comes and goes within this generation: it leaves nothing.
    fn forget(&mut self, key: &Bytes) {
        if let Some(before) = self.changes.remove(key) {
            self.bytes -= ENTRY + key.len() + size(&before);
            if let KeyChange::Staged(pointer) = before {
                self.dropped.insert(pointer.pack);
            }
        }
    }

    /// The staged values that are in here.
    pub(super) fn staged(&self) -> impl Iterator<Item = Pointer> + '_ {
        self.changes.values().filter_map(|change| match change {
            KeyChange::Staged(pointer) => Some(*pointer),
            KeyChange::Put(..) | KeyChange::Delete => None,
        })
    }

    /// Whether there is nothing to apply.
    pub(super) fn is_empty(&self) -> bool {
        // What has come and gone is in the log all the same.
        self.log_bytes == 0
    }
}

impl Overlay {
    /// What has become of a key, where it has been changed.
    pub(super) fn get(&self, key: &[u8]) -> Option<&KeyChange> {
        let frozen = || self.frozen.as_ref()?.changes.get(key);
        self.active.changes.get(key).or_else(frozen)
    }

    /// Freeze what is active. Returns what is to be applied: also what was frozen before and could
    /// not be applied.
    pub(super) fn freeze(&mut self) -> Option<Arc<Generation>> {
        if self.frozen.is_none() && !self.active.is_empty() {
            let sequence = self.active.sequence;
            let active = std::mem::take(&mut self.active);
            self.active.sequence = sequence;
            self.frozen = Some(Arc::new(active));
            self.freezes += 1;
        }
        self.frozen.clone()
    }
}

fn size(change: &KeyChange) -> usize {
    match change {
        KeyChange::Put(_, value) => value.len(),
        KeyChange::Staged(_) | KeyChange::Delete => 0,
    }
}
