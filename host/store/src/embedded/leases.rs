//! Blobs that are not released for a while, although nothing durable may name them.
//!
//! ```text
//!  reader, encoder:  lease ──▶ read, or leave bytes out because the store has them ──▶ drop
//!  committer:        claim what nothing names ──▶ write ──▶ drop
//! ```
//! Who reads a snapshot leases the blobs that its row names: what hangs below them is released after them.
//! Who encodes a commit leases the blobs that the commit counts on. The committer removes no blob that is
//! leased: it claims what it removes. A lease of a blob that is claimed comes too late, and says so: a reader
//! finds all or nothing, as the removal becomes durable, and an encoder brings the bytes.
//!
//! Leases lie in memory alone: after a restart nobody reads.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::tables::blobs::BlobId;

/// Who leases what, and what the committer is removing.
#[derive(Default)]
pub(super) struct Leases {
    state: Mutex<State>,
    /// Told when a blob that was wanted is leased no more.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Debug, Default)]
struct State {
    /// How many leases there are of each.
    held: HashMap<BlobId, usize>,
    claimed: HashSet<BlobId>,
    /// What the committer would have removed.
    wanted: HashSet<BlobId>,
}

/// Blobs that are not removed while this is there.
pub(super) struct Lease {
    leases: Arc<Leases>,
    ids: Vec<BlobId>,
}

/// Blobs that are removed with a group. Leases of them come too late until this is dropped.
pub(super) struct Claims {
    leases: Arc<Leases>,
}

impl Leases {
    /// Call this when a blob that was wanted is leased no more.
    pub(super) fn on_return(&self, wake: impl Fn() + Send + Sync + 'static) {
        // There is one committer for as long as there are leases.
        let _ = self.wake.set(Box::new(wake));
    }

    /// Whether one of these is not leased. Where all are, whoever asked is told when the first is returned.
    pub(super) fn any_is_free<'a>(&self, mut ids: impl Iterator<Item = &'a BlobId>) -> bool {
        let mut state = self.state();
        ids.any(|id| state.is_free(id))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Leases {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.state().fmt(f)
    }
}

impl State {
    fn is_free(&mut self, id: &BlobId) -> bool {
        let is_free = !self.held.contains_key(id);
        if !is_free {
            self.wanted.insert(*id);
        }
        is_free
    }
}

impl Lease {
    /// Of nothing.
    pub(super) fn new(leases: &Arc<Leases>) -> Lease {
        Lease { leases: Arc::clone(leases), ids: Vec::new() }
    }

    /// Lease one more blob, whether or not it is there. Returns whether it stays, if it is there.
    pub(super) fn add(&mut self, id: BlobId) -> bool {
        let mut state = self.leases.state();
        let comes_in_time = !state.claimed.contains(&id);
        if comes_in_time {
            *state.held.entry(id).or_default() += 1;
            self.ids.push(id);
        }
        comes_in_time
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.ids.fmt(f)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.leases.state();
        let mut wakes = false;
        for id in &self.ids {
            let Some(held) = state.held.get_mut(id) else { continue };
            *held -= 1;
            if *held == 0 {
                state.held.remove(id);
                wakes |= state.wanted.remove(id);
            }
        }
        drop(state);
        if wakes && let Some(wake) = self.leases.wake.get() {
            wake();
        }
    }
}

impl Claims {
    /// Of nothing.
    pub(super) fn new(leases: &Arc<Leases>) -> Claims {
        Claims { leases: Arc::clone(leases) }
    }

    /// Claim a blob, unless it is leased.
    pub(super) fn claim(&self, id: BlobId) -> bool {
        let mut state = self.leases.state();
        state.is_free(&id) && {
            state.claimed.insert(id);
            true
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.leases.state().claimed.clear();
    }
}
