//! Nodes of tries: in memory where they have changed, and otherwise the id of a blob.

use std::sync::Arc;

use crate::blob::{BlobError, BlobId};
use crate::commit::Settlement;
use crate::source::Source;
use crate::stored::{Decoder, Encoder, Kind, Malformed};

/// What a trie is made of.
pub(crate) trait Node: Clone + Send + Sync + 'static {
    const KIND: Kind;

    /// Write it. Its children are settled.
    fn encode(&self, out: &mut Encoder);

    fn decode(from: &mut Decoder<'_>) -> Result<Self, Malformed>;

    /// The same with its children settled: each of them a blob, or small enough to stand in this one.
    fn settled(&self, into: &mut Settlement) -> Self;

    /// Whether it stands in its parent, given how many bytes and edges it has. Never where it has more
    /// than one edge: so a parent has no more edges than children.
    fn is_inline(&self, bytes: usize, edges: usize) -> bool;

    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize;
}

/// A node: in memory, or in a blob.
#[derive(Clone)]
pub(crate) enum Ref<N> {
    Stored(BlobId),
    Live(Arc<N>),
}

impl<N: Node> Ref<N> {
    pub(crate) fn new(node: N) -> Ref<N> {
        Ref::Live(Arc::new(node))
    }

    /// The node.
    pub(crate) fn load(&self, source: &Source) -> Result<Arc<N>, BlobError> {
        match self {
            Ref::Stored(id) => source.read(id),
            Ref::Live(node) => Ok(Arc::clone(node)),
        }
    }

    pub(crate) fn is_stored(&self) -> bool {
        matches!(self, Ref::Stored(_))
    }

    /// The node, to be changed: from now on in memory.
    pub(crate) fn change(&mut self, source: &Source) -> Result<&mut N, BlobError> {
        if let Ref::Stored(id) = self {
            let node = source.read::<N>(id)?;
            // A chunk is charged for where it is written.
            if N::KIND != Kind::Chunk {
                source.meter().add_nodes(node.weight());
            }
            *self = Ref::Live(node);
        }
        match self {
            Ref::Live(node) => Ok(Arc::make_mut(node)),
            Ref::Stored(_) => Err(BlobError::Inconsistent("a node that was read is not there")),
        }
    }

    /// Whether both are the same without looking into them.
    pub(crate) fn is_same(&self, other: &Ref<N>) -> bool {
        match (self, other) {
            (Ref::Stored(one), Ref::Stored(two)) => one == two,
            (Ref::Live(one), Ref::Live(two)) => Arc::ptr_eq(one, two),
            (Ref::Stored(_), Ref::Live(_)) | (Ref::Live(_), Ref::Stored(_)) => false,
        }
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        match self {
            Ref::Stored(id) => {
                out.byte(1);
                out.edge(*id);
            }
            Ref::Live(node) => {
                out.byte(2);
                node.encode(out);
            }
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Ref<N>, Malformed> {
        match from.byte()? {
            1 => from.edge().map(Ref::Stored),
            2 => from.nested().map(Ref::new),
            _ => Err(Malformed("a child is neither here nor elsewhere")),
        }
    }
}

/// The positions that a mask names, in order.
pub(crate) fn positions(mask: u16) -> impl Iterator<Item = usize> {
    (0..16).filter(move |position| mask >> position & 1 == 1)
}

/// The mask of the slots that are taken.
pub(crate) fn mask<T>(slots: &[Option<T>; 16]) -> u16 {
    let taken = (0..16).filter(|position| slots[*position].is_some());
    taken.fold(0, |mask, position| mask | 1 << position)
}
