//! Blobs that nothing names any more are released, some edges at a time.

use std::collections::BTreeSet;

use super::super::keys;
use super::super::tables::blobs::BlobId;
use super::super::tables::blobs::node::Node;
use super::CommitGroup;
use crate::StoreError;

/// How many counts a group lowers for what is listed, at least.
const EDGES: usize = 512;

impl CommitGroup<'_> {
    /// Release blobs that are listed and that nobody leases: what they name is counted once less, and what
    /// nothing names then is listed with this group. A group releases twice as much as its commits have
    /// counted, so that the list does not grow under load. Those in `stuck` cannot be read, and new ones of
    /// these are put there: they stay listed.
    pub(in super::super) fn release_unused(&mut self, stuck: &mut BTreeSet<BlobId>) {
        let mut left = EDGES + 2 * self.blobs.raised;
        for id in self.blobs.unused {
            if left == 0 {
                break;
            }
            if stuck.contains(id) {
                continue;
            }
            match self.release_one(*id) {
                Ok(edges) => left = left.saturating_sub(edges),
                Err(error) => {
                    let blob = keys::describe(&keys::content(id));
                    tracing::error!(blob, %error, "a blob is not released, nor what it names");
                    stuck.insert(*id);
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
        let children = if id.is_node() {
            let damaged = || StoreError::Damaged(keys::describe(&key));
            let form = blobs.shared.disk.get(&key)?.ok_or_else(damaged)?;
            Node::decode(&form).map_err(|_| damaged())?.children()
        } else {
            Vec::new()
        };
        blobs.lower(&children)?;
        blobs.load(id)?.is_released = true;
        Ok(children.len() + 1)
    }
}
