//! A node: a blob that names other blobs.
//!
//! ```text
//! kind u8 │ count u8 │ kind u8, digest [32] of each blob that it names │ payload
//! ```
//! This form is the only one of a node, and a node is named by the digest of it, its kind included. What the
//! payload means is for the kind; the store counts edges and follows them without knowing.
//!
//! A node has [`EDGES`] edges at most: whoever adds a node raises the count of each blob that it names, so
//! the edges of one node are what the smallest change costs.

use bytes::Bytes;

use super::{BlobId, malformed};
use crate::codec::CodecError;
use dormouse_domain::agent::Digest;

/// The most edges of a node.
pub(in crate::embedded) const EDGES: usize = 16;

/// The bytes of an edge: a kind and a digest.
const EDGE: usize = 33;

/// What a node is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum NodeKind {
    /// The list of the chunks of a state: see `chunk_tree`.
    Chunks,
}

impl NodeKind {
    const ALL: [NodeKind; 1] = [NodeKind::Chunks];

    fn byte(self) -> u8 {
        match self {
            NodeKind::Chunks => 1,
        }
    }
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::embedded) struct Node {
    /// What it is a part of.
    pub(in crate::embedded) kind: NodeKind,
    /// The blobs that it names, in the order that its kind gives them. One may come several times.
    pub(in crate::embedded) edges: Vec<BlobId>,
    /// What else it says.
    pub(in crate::embedded) payload: Vec<u8>,
}

impl Node {
    /// The name of the node of this form.
    pub(in crate::embedded) fn id(form: &[u8]) -> BlobId {
        BlobId::Node(Digest::of(form))
    }

    /// Its form.
    pub(in crate::embedded) fn encode(&self) -> Bytes {
        let mut form = Vec::with_capacity(2 + self.edges.len() * EDGE + self.payload.len());
        form.push(self.kind.byte());
        form.push(u8::try_from(self.edges.len()).expect("a node has few edges"));
        for edge in &self.edges {
            form.push(edge.kind());
            form.extend_from_slice(&edge.digest().0);
        }
        form.extend_from_slice(&self.payload);
        form.into()
    }

    /// The node of this form.
    pub(in crate::embedded) fn decode(form: &[u8]) -> Result<Node, CodecError> {
        let [kind, count, rest @ ..] = form else { return Err(malformed("a node is cut short")) };
        let is_it = |known: &NodeKind| known.byte() == *kind;
        let kind = NodeKind::ALL.into_iter().find(is_it);
        let kind = kind.ok_or_else(|| malformed("it is no node that is known"))?;
        let count = usize::from(*count);
        if count > EDGES {
            return Err(malformed("a node has too many edges"));
        }
        let (edges, payload) =
            rest.split_at_checked(count * EDGE).ok_or_else(|| malformed("a node is cut short"))?;
        let (edges, _) = edges.as_chunks::<EDGE>();
        let edge = |[kind, digest @ ..]: &[u8; EDGE]| BlobId::of(*kind, Digest(*digest));
        let edges: Option<Vec<BlobId>> = edges.iter().map(edge).collect();
        let edges = edges.ok_or_else(|| malformed("an edge of a node leads to no blob"))?;
        Ok(Node { kind, edges, payload: payload.to_vec() })
    }

    /// The blobs that it names, each once: so they are counted.
    pub(in crate::embedded) fn children(&self) -> Vec<BlobId> {
        let mut children = self.edges.clone();
        children.sort_unstable();
        children.dedup();
        children
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::of(&[number])
    }

    #[test]
    fn a_node_has_one_form_and_is_read_back_from_it() {
        let edges =
            vec![BlobId::Chunk(digest(2)), BlobId::Node(digest(1)), BlobId::Chunk(digest(2))];
        let node = Node { kind: NodeKind::Chunks, edges, payload: vec![0, 7] };
        let form = node.encode();
        assert_eq!(Node::decode(&form), Ok(node.clone()));
        assert_eq!(node.children(), [BlobId::Chunk(digest(2)), BlobId::Node(digest(1))]);
        // The same bytes as the data of a state are another blob.
        assert_ne!(Node::id(&form), BlobId::Data(Digest::of(&form)));
    }

    #[test]
    fn what_is_no_node_is_refused() {
        let edges = vec![BlobId::Chunk(digest(1)); EDGES + 1];
        let many = Node { kind: NodeKind::Chunks, edges, payload: Vec::new() }.encode();
        let one =
            Node { kind: NodeKind::Chunks, edges: vec![BlobId::Data(digest(1))], payload: vec![] };
        let good = one.encode();
        let (mut unknown, mut nowhere) = (good.to_vec(), good.to_vec());
        (unknown[0], nowhere[2]) = (99, b'?');
        for form in [&[][..], &good[..1], &good[..30], &many, &unknown, &nowhere] {
            assert!(matches!(Node::decode(form), Err(CodecError::Malformed(_))), "{form:?}");
        }
    }
}
