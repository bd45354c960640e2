//! What was computed, for all repositories of a host.

use std::sync::Arc;

use dormouse_workspace::ContentId;
use quick_cache::sync::DefaultLifecycle;
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter, Weighter};

use crate::directory::Directory;
use crate::history::RevisionId;
use crate::object::ObjectId;

/// Ids of commits and of contents, and the trees of some revisions, for all repositories that share it. What it holds
/// is bounded, and can always be computed again. Copies share one cache.
#[derive(Clone)]
pub struct Cache(Arc<Parts>);

struct Parts {
    commits: quick_cache::sync::Cache<RevisionId, Link>,
    blobs: quick_cache::sync::Cache<ContentId, ObjectId>,
    roots: quick_cache::sync::Cache<RevisionId, Arc<Directory>, ByWeight>,
}

/// What is known of a revision without reading it.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) commit: ObjectId,
    pub(crate) parent: Option<RevisionId>,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<RevisionId, Arc<Directory>> for ByWeight {
    fn weight(&self, _: &RevisionId, root: &Arc<Directory>) -> u64 {
        root.weight() as u64
    }
}

/// About what an id takes, with its key and its place.
const ID: usize = 160;
/// What the tree of a revision takes on average: how many the cache makes room for.
const USUAL: usize = 32 << 10;

impl Cache {
    /// A cache that holds about this many bytes: half of them are ids, and half trees. A tree takes about 100 bytes
    /// a file. One tree may have all of the second half.
    #[must_use]
    pub fn new(bytes: usize) -> Cache {
        let half = bytes / 2;
        let ids = (half / 2 / ID).max(1);
        let mut options = OptionsBuilder::new();
        options.shards(1).estimated_items_capacity(half / USUAL + 1).weight_capacity(half as u64);
        let roots = match options.build() {
            Ok(options) => quick_cache::sync::Cache::with_options(
                options,
                ByWeight,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            // Both of what has to be said is said.
            Err(_) => quick_cache::sync::Cache::with_weighter(1, half as u64, ByWeight),
        };
        let commits = quick_cache::sync::Cache::with_weighter(ids, ids as u64, UnitWeighter);
        let blobs = quick_cache::sync::Cache::with_weighter(ids, ids as u64, UnitWeighter);
        Cache(Arc::new(Parts { commits, blobs, roots }))
    }

    /// About how many bytes it holds now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let ids = self.0.commits.len() + self.0.blobs.len();
        let roots = usize::try_from(self.0.roots.weight()).unwrap_or(usize::MAX);
        roots.saturating_add(ids * ID)
    }

    pub(crate) fn link(&self, revision: &RevisionId) -> Option<Link> {
        self.0.commits.get(revision)
    }

    pub(crate) fn keep_link(&self, revision: RevisionId, link: Link) {
        self.0.commits.insert(revision, link);
    }

    pub(crate) fn blob(&self, contents: &ContentId) -> Option<ObjectId> {
        self.0.blobs.get(contents)
    }

    pub(crate) fn keep_blob(&self, contents: ContentId, id: ObjectId) {
        self.0.blobs.insert(contents, id);
    }

    /// The tree of this revision.
    pub(crate) fn root(&self, revision: &RevisionId) -> Option<Arc<Directory>> {
        self.0.roots.get(revision)
    }

    pub(crate) fn keep_root(&self, revision: RevisionId, root: Arc<Directory>) {
        self.0.roots.insert(revision, root);
    }
}
