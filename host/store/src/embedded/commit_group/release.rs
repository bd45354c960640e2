//! Blobs that nothing names any more are released, some edges at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::keys;
use super::super::tables::blobs::BlobId;
use super::CommitGroup;
use crate::StoreError;

/// How many counts a group lowers for what is listed, at least.
const EDGES: usize = 512;

/// How long to wait before a blob is read again that could not be read, first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));

/// Blobs that are listed to be released and could not be read. A disk may read later what it does not read now, so
/// each is tried again, after a wait that is twice as long each time.
#[derive(Debug, Default)]
pub(in super::super) struct Stuck(BTreeMap<BlobId, Retry>);

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Duration,
    wait: Duration,
}

impl Stuck {
    /// How many there are.
    pub(in super::super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a blob is not to be tried at this time of a clock that never goes back.
    pub(in super::super) fn waits(&self, id: &BlobId, now: Duration) -> bool {
        self.0.get(id).is_some_and(|retry| now < retry.at)
    }

    /// It is released, or named again.
    pub(in super::super) fn remove(&mut self, id: &BlobId) {
        self.0.remove(id);
    }

    fn note(&mut self, id: BlobId, now: Duration) {
        let wait = self.0.get(&id).map_or(RETRY.0, |last| (2 * last.wait).min(RETRY.1));
        self.0.insert(id, Retry { at: now.saturating_add(wait), wait });
    }
}

impl CommitGroup<'_> {
    /// Release blobs that are listed and that nobody leases: what they name is counted once less, and what
    /// nothing names then is listed with this group. A group releases twice as much as its commits have
    /// counted, so that the list does not grow under load. Those that cannot be read are noted in `stuck` and stay
    /// listed; those that wait there are passed over.
    pub(in super::super) fn release_unused(&mut self, stuck: &mut Stuck, now: Duration) {
        let mut left = EDGES + 2 * self.blobs.raised;
        for id in self.blobs.unused {
            if left == 0 {
                break;
            }
            if stuck.waits(id, now) {
                continue;
            }
            match self.release_one(*id) {
                Ok(edges) => left = left.saturating_sub(edges),
                Err(error) => {
                    let blob = keys::describe(&keys::content(id));
                    tracing::error!(blob, %error, "a blob is not released, nor what it names");
                    stuck.note(*id, now);
                }
            }
        }
    }

    /// Release one, unless it is named again or leased. Returns how many counts that took.
    fn release_one(&mut self, id: BlobId) -> Result<usize, StoreError> {
        let blobs = &mut self.blobs;
        if blobs.load(id)?.now > 0 || !blobs.claims.claim(id) {
            return Ok(0);
        }
        let key = keys::content(&id);
        let children = if id.names_others() {
            let damaged = || StoreError::Damaged(keys::describe(&key));
            let bytes = blobs.shared.disk.get(&key)?.ok_or_else(damaged)?;
            id.children(&bytes).map_err(|_| damaged())?
        } else {
            Vec::new()
        };
        blobs.lower(&children)?;
        blobs.load(id)?.is_released = true;
        Ok(children.len() + 1)
    }
}
