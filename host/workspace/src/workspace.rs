//! A tree that changes.
//!
//! All changes go through here. Each is made whole or not at all, counts one nanosecond, and keeps the quotas. A
//! change that meets blobs which cannot be read may be half done: then the workspace takes no further change until
//! [`Workspace::rollback`].

mod files;
mod inodes;
mod names;
mod open;
mod subtrees;
mod times;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::blob::BlobError;
use crate::commit::{Commit, Settlement};
use crate::diff::{Changes, DiffQuery, diff};
use crate::error::Error;
use crate::inode::{Ino, ROOT};
use crate::node::Node;
use crate::quota::{Quotas, Usage};
use crate::root::Root;
use crate::source::Source;
use crate::stored::Encoder;
use crate::tree::Tree;
use crate::view::{Orphans, View};

pub use self::open::OpenOptions;
pub use self::times::NewTime;

/// A file or directory that is open: as long as it is, it lives, also without a name. To be given back with
/// [`Workspace::close`]. A rollback ends all handles, and another
/// workspace does not take them.
#[derive(Debug, PartialEq, Eq)]
pub struct Handle {
    ino: Ino,
    generation: u64,
}

/// A tree that changes, within quotas.
///
/// Paths are relative to the directory that is given, and do not lead out of it. The methods fail with the error
/// that POSIX has, in the words of [`Error`].
pub struct Workspace {
    source: Source,
    quotas: Quotas,
    /// What a rollback goes back to.
    head: Tree,
    head_root: Arc<Root>,
    root: Root,
    orphans: Orphans,
    /// How many handles each inode has.
    open: HashMap<Ino, u32>,
    /// All numbers below this one are taken.
    free_from: Ino,
    /// What its handles have in common, and none of another workspace or of before a rollback.
    generation: u64,
    /// How often something of it was taken to be changed.
    revision: u64,
    committed_revision: u64,
    spoilt: Option<BlobError>,
}

/// A number that nobody had before.
fn next_generation() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Workspace {
    /// What changes this tree. Reads its root and nothing else.
    ///
    /// # Errors
    ///
    /// The root of the tree cannot be read.
    pub fn new(tree: Tree, quotas: Quotas) -> Result<Workspace, BlobError> {
        let root = tree.root()?;
        Ok(Workspace {
            source: tree.source().metered(),
            quotas,
            head: tree,
            root: (*root).clone(),
            head_root: root,
            orphans: Orphans::new(),
            open: HashMap::new(),
            free_from: ROOT,
            generation: next_generation(),
            revision: 0,
            committed_revision: 0,
            spoilt: None,
        })
    }

    /// The time of the next changes, in nanoseconds since 1970. Each change adds one; time never goes back.
    pub fn set_time(&mut self, now: u64) {
        self.root.time = self.root.time.max(now);
    }

    /// What may be held from now on.
    pub fn set_quotas(&mut self, quotas: Quotas) {
        self.quotas = quotas;
    }

    /// How much it holds, with what is unlinked and still open.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.root.usage
    }

    /// About how many bytes of memory its changes take: what a host charges to its budget. While a commit is made and
    /// until it is dropped, its blobs take as much again. What was only read is in the cache, which has a bound of its own.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.source.meter().held()
    }

    /// Whether something has changed since the last commit.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.revision != self.committed_revision
    }

    /// How many handles are open.
    #[must_use]
    pub fn open_handles(&self) -> u64 {
        self.open.values().map(|count| u64::from(*count)).sum()
    }

    /// The tree as it was committed last.
    #[must_use]
    pub fn head(&self) -> &Tree {
        &self.head
    }

    /// The blobs of what has changed since the last commit. The workspace stays as it is: once the store has the
    /// blobs, [`Workspace::committed`] lets go of what they have.
    ///
    /// # Errors
    ///
    /// Blobs that the changes need cannot be read.
    pub fn commit(&self) -> Result<Commit, BlobError> {
        if let Some(fault) = &self.spoilt {
            return Err(fault.clone());
        }
        let mut into = Settlement::default();
        let mut settled = self.root.settled(&mut into);
        for orphan in self.orphans.values() {
            settled.usage.bytes = settled.usage.bytes.saturating_sub(orphan.size());
            settled.usage.names = settled.usage.names.saturating_sub(1);
        }
        let root_node = Arc::new(settled.clone());
        let root = into.store(Encoder::of(&settled), settled);
        let fresh = Arc::new(into.fresh);
        let tree = Tree::open(self.head.source().clone(), root);
        let new = Tree::open(tree.source().with_fresh(Arc::clone(&fresh)), root);
        let query = DiffQuery { limit: Changes::LIMIT, ..DiffQuery::default() };
        let changes = diff(&self.head, &new, &query)?;
        let mut open = Vec::new();
        self.orphans.values().for_each(|orphan| orphan.stored(&mut open));
        open.sort_unstable();
        open.dedup();
        let (revision, generation) = (self.revision, self.generation);
        let blobs = into.blobs;
        Ok(Commit { root, blobs, changes, open, tree, root_node, fresh, revision, generation })
    }

    /// The store has the blobs of this commit: go on from its tree, and let go of what has changed. Whether that was
    /// done: not where something has changed since the commit was made, or the workspace was rolled back.
    #[must_use = "what has changed since is not committed"]
    pub fn committed(&mut self, commit: &Commit) -> bool {
        if commit.revision != self.revision || commit.generation != self.generation {
            return false;
        }
        self.source.keep(&commit.fresh);
        // What is unlinked and open still counts.
        self.root = Root { usage: self.root.usage, ..(*commit.root_node).clone() };
        self.head_root = Arc::clone(&commit.root_node);
        self.head = commit.tree.clone();
        self.committed_revision = self.revision;
        self.source.meter().forget_nodes();
        true
    }

    /// Go back to the last commit. All handles end.
    pub fn rollback(&mut self) {
        self.root = (*self.head_root).clone();
        self.orphans.clear();
        self.open.clear();
        self.free_from = ROOT;
        self.generation = next_generation();
        self.revision += 1;
        self.committed_revision = self.revision;
        self.spoilt = None;
        self.source.meter().forget_nodes();
    }

    fn view(&self) -> View<'_> {
        View { source: &self.source, table: &self.root.table, orphans: Some(&self.orphans) }
    }

    /// Make a change. One that a blob has stopped half-way spoils the workspace.
    fn change<T>(
        &mut self,
        make: impl FnOnce(&mut Workspace) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if let Some(fault) = &self.spoilt {
            return Err(Error::Io(fault.clone()));
        }
        let before = self.revision;
        let made = make(self);
        if let Err(Error::Io(fault)) = &made
            && self.revision != before
        {
            self.spoilt = Some(fault.clone());
        }
        made
    }

    /// One more change: its time.
    fn tick(&mut self) -> u64 {
        self.revision += 1;
        self.root.time = self.root.time.saturating_add(1);
        self.root.time
    }
}
