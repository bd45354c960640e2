//! Commits: the blobs of what has changed.

use std::collections::HashSet;
use std::sync::Arc;

use crate::blob::{BlobId, NewBlob};
use crate::diff::Changes;
use crate::node::{Node, Ref};
use crate::root::Root;
use crate::source::{CachedNode, Fresh};
use crate::stored::{Encoder, Kind};
use crate::tree::Tree;

/// What a commit of a workspace brings. The store writes the blobs; then [`Workspace::committed`] goes on from there.
///
/// [`Workspace::committed`]: crate::Workspace::committed
#[derive(Clone)]
pub struct Commit {
    /// The root of the tree: what the record of a session names.
    pub root: BlobId,
    /// The blobs that the store may not have, those that are named before those that name them. A blob that it
    /// has already, because something was changed back, may be among them.
    pub blobs: Vec<NewBlob>,
    /// What has changed since the last commit, by path: the first [`Changes::LIMIT`] of them.
    pub changes: Changes,
    /// Blobs that files need which are unlinked and still open, though the tree does not name them: whoever removes
    /// blobs spares them, and what they name, until these files are closed.
    pub open: Vec<BlobId>,
    /// The tree. It can be read as soon as the store has the blobs.
    pub tree: Tree,
    pub(crate) root_node: Arc<Root>,
    pub(crate) fresh: Arc<Fresh>,
    pub(crate) revision: u64,
    pub(crate) generation: u64,
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut form = f.debug_struct("Commit");
        form.field("root", &self.root).field("blobs", &self.blobs.len()).finish_non_exhaustive()
    }
}

/// The blobs of a commit under way.
#[derive(Default)]
pub(crate) struct Settlement {
    pub(crate) blobs: Vec<NewBlob>,
    pub(crate) fresh: Fresh,
    ids: HashSet<BlobId>,
}

impl Settlement {
    /// The same node, in a blob, or small enough to stand in its parent.
    pub(crate) fn settle<N: Node>(&mut self, node: &Ref<N>) -> Ref<N> {
        let Ref::Live(live) = node else { return node.clone() };
        let settled = live.settled(self);
        let out = Encoder::of(&settled);
        if settled.is_inline(out.len(), out.edges()) {
            return Ref::new(settled);
        }
        Ref::Stored(self.store(out, settled))
    }

    /// Put this node into a blob of its own.
    pub(crate) fn store<N: Node>(&mut self, out: Encoder, node: N) -> BlobId {
        let blob = out.finish(N::KIND);
        let id = blob.id;
        if self.ids.insert(id) {
            self.blobs.push(blob);
            // Chunks are many and large, and whoever has written one seldom reads it next.
            if N::KIND != Kind::Chunk {
                self.fresh.insert(id, CachedNode::new(Arc::new(node)));
            }
        }
        id
    }
}
