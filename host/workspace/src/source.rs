//! Where nodes are read from: blobs, through a cache of bounded size.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quick_cache::Weighter;

use crate::blob::{BlobError, BlobId, Blobs};
use crate::node::Node;
use crate::stored;

/// Nodes and chunks that were read from blobs, for all who share it. What it holds is bounded, and can always be read
/// again. Copies share one cache.
#[derive(Clone)]
pub struct Cache(Arc<quick_cache::sync::Cache<BlobId, CachedNode, ByWeight>>);

#[derive(Clone)]
pub(crate) struct CachedNode {
    node: Arc<dyn Any + Send + Sync>,
    weight: usize,
}

#[derive(Clone)]
struct ByWeight;

impl Weighter<BlobId, CachedNode> for ByWeight {
    fn weight(&self, _: &BlobId, cached: &CachedNode) -> u64 {
        cached.weight as u64
    }
}

/// What a node costs in the cache besides its own bytes.
const OVERHEAD: usize = 128;
/// What a node takes on average: how many the cache makes room for.
const USUAL: usize = 4 << 10;

impl Cache {
    /// A cache that holds about this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Cache {
        Cache(Arc::new(quick_cache::sync::Cache::with_weighter(
            bytes / USUAL,
            bytes as u64,
            ByWeight,
        )))
    }

    /// About how many bytes it holds now.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        usize::try_from(self.0.weight()).unwrap_or(usize::MAX)
    }

    fn keep(&self, id: BlobId, cached: CachedNode) {
        self.0.insert(id, cached);
    }
}

impl CachedNode {
    pub(crate) fn new<N: Node>(node: Arc<N>) -> CachedNode {
        let weight = node.weight() + OVERHEAD;
        CachedNode { node, weight }
    }
}

/// Nodes of a commit whose blobs the store may not have yet.
pub(crate) type Fresh = HashMap<BlobId, CachedNode>;

/// Where the nodes of a tree are read from. A copy costs nothing.
#[derive(Clone)]
pub struct Source {
    blobs: Arc<dyn Blobs>,
    cache: Cache,
    fresh: Arc<Fresh>,
    meter: Arc<Meter>,
}

impl Source {
    /// Read from these blobs, and keep in this cache what was read.
    #[must_use]
    pub fn new(blobs: Arc<dyn Blobs>, cache: Cache) -> Source {
        Source { blobs, cache, fresh: Arc::default(), meter: Arc::default() }
    }

    /// The same with a meter of its own, which counts what is changed.
    pub(crate) fn metered(&self) -> Source {
        Source { meter: Arc::default(), ..self.clone() }
    }

    /// The same with these nodes, whose blobs need not be there.
    pub(crate) fn with_fresh(&self, fresh: Arc<Fresh>) -> Source {
        Source { fresh, ..self.clone() }
    }

    /// The blobs of these nodes are there now.
    pub(crate) fn keep(&self, fresh: &Fresh) {
        for (id, cached) in fresh {
            self.cache.keep(*id, cached.clone());
        }
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The node in this blob.
    pub(crate) fn read<N: Node>(&self, id: &BlobId) -> Result<Arc<N>, BlobError> {
        if let Some(cached) = self.fresh.get(id).cloned().or_else(|| self.cache.0.get(id)) {
            let other = |_| BlobError::Damaged { id: *id, what: "it is of another kind" };
            return cached.node.downcast().map_err(other);
        }
        let node: Arc<N> = Arc::new(stored::read(id, &self.blobs.blob(id)?)?);
        self.cache.keep(*id, CachedNode::new(Arc::clone(&node)));
        Ok(node)
    }
}

/// How much memory the changes of a workspace take.
#[derive(Default)]
pub(crate) struct Meter {
    /// The chunks that have changed.
    chunks: AtomicUsize,
    /// About what the other nodes take.
    nodes: AtomicUsize,
}

impl Meter {
    pub(crate) fn held(&self) -> usize {
        self.chunks.load(Ordering::Relaxed).saturating_add(self.nodes.load(Ordering::Relaxed))
    }

    pub(crate) fn add_nodes(&self, bytes: usize) {
        self.nodes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn remove_nodes(&self, bytes: usize) {
        let less = |held: usize| Some(held.saturating_sub(bytes));
        let _ = self.nodes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Nothing but chunks is held any more.
    pub(crate) fn forget_nodes(&self) {
        self.nodes.store(0, Ordering::Relaxed);
    }
}

/// The bytes of a chunk, counted as long as it lives.
pub(crate) struct Charge {
    meter: Arc<Meter>,
    bytes: usize,
}

impl Charge {
    pub(crate) fn new(meter: &Arc<Meter>, bytes: usize) -> Charge {
        meter.chunks.fetch_add(bytes, Ordering::Relaxed);
        Charge { meter: Arc::clone(meter), bytes }
    }

    pub(crate) fn resize(&mut self, bytes: usize) {
        self.meter.chunks.fetch_add(bytes, Ordering::Relaxed);
        self.meter.chunks.fetch_sub(self.bytes, Ordering::Relaxed);
        self.bytes = bytes;
    }
}

impl Clone for Charge {
    fn clone(&self) -> Charge {
        Charge::new(&self.meter, self.bytes)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.chunks.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
