//! The list of the chunks of a state, as a tree of nodes by position.
//!
//! ```text
//!                  root, level 1                       edges: nodes of level 0
//!          ┌───────────┼───────────┐
//!       level 0     level 0     level 0                edges: chunks
//!     0 1 2 … 15  16 … 31      32 33                   payload: the size of each
//! ```
//! The chunk at a position hangs below the node that has this position, whatever the others are. So a state
//! in which a few chunks differ from another shares with it all nodes but those above these chunks.
//!
//! A state of [`INLINE`] chunks at most has no node: its row names them.

use super::node::{EDGES, Node, NodeKind};
use super::{BlobId, content, malformed};
use crate::codec::CodecError;
use crate::embedded::keys;
use bytes::Bytes;
use dormouse_domain::snapshot::Chunk;

/// The most chunks that the row of a state names itself.
pub(in crate::embedded) const INLINE: usize = EDGES;

/// The most chunks of a list that is read: 64 GiB of memory have as many.
const CHUNKS: usize = 1 << 20;

/// A node that may be new.
#[derive(Clone, Debug)]
pub(in crate::embedded) struct NewNode {
    /// The blobs that it names, each once.
    pub(in crate::embedded) children: Vec<BlobId>,
    /// Its form.
    pub(in crate::embedded) form: Bytes,
}

/// The root of the tree of these chunks, each node of which `add` gets. There is at least one chunk.
pub(in crate::embedded) fn plant(chunks: &[Chunk], mut add: impl FnMut(BlobId, NewNode)) -> BlobId {
    let mut put = |edges: Vec<BlobId>, payload: Vec<u8>| {
        let node = Node { kind: NodeKind::Chunks, edges, payload };
        let form = node.encode();
        let id = Node::id(&form);
        add(id, NewNode { children: node.children(), form });
        id
    };
    let leaf = |chunks: &[Chunk]| {
        let edges = chunks.iter().map(|chunk| BlobId::Chunk(chunk.digest)).collect();
        let sizes = chunks.iter().flat_map(|chunk| chunk.size.to_le_bytes());
        (edges, std::iter::once(0).chain(sizes).collect())
    };
    let leaves = chunks.chunks(EDGES).map(leaf);
    let mut nodes: Vec<BlobId> = leaves.map(|(edges, payload)| put(edges, payload)).collect();
    let mut level = 1;
    while nodes.len() > 1 {
        nodes = nodes.chunks(EDGES).map(|edges| put(edges.to_vec(), vec![level])).collect();
        level += 1;
    }
    nodes[0]
}

/// The chunks of the tree below this root, without their data. `get` reads a node.
pub(in crate::embedded) fn read<E: From<CodecError>>(
    root: BlobId,
    mut get: impl FnMut(&BlobId) -> Result<Bytes, E>,
) -> Result<Vec<Chunk>, E> {
    let mut chunks = Vec::new();
    // With the level that each node must have; the last is read next.
    let mut open = vec![(root, None)];
    while let Some((id, expected)) = open.pop() {
        let form = get(&id)?;
        let below = add(&mut chunks, &form, expected).map_err(|error| named(&id, error))?;
        open.extend(below);
        if chunks.len() > CHUNKS {
            return Err(malformed("a state has too many chunks").into());
        }
    }
    Ok(chunks)
}

/// Add the chunks that the node of this form names. Returns the nodes that it names, the first one last, with
/// the level that each must have.
fn add(
    chunks: &mut Vec<Chunk>,
    form: &[u8],
    expected: Option<u8>,
) -> Result<Vec<(BlobId, Option<u8>)>, CodecError> {
    let Node { kind: NodeKind::Chunks, edges, payload } = Node::decode(form)?;
    let (level, sizes) =
        payload.split_first().ok_or_else(|| malformed("a node does not say its level"))?;
    if expected.is_some_and(|expected| expected != *level) {
        return Err(malformed("a node is of another level"));
    }
    match level.checked_sub(1) {
        None => add_chunks(chunks, &edges, sizes).map(|()| Vec::new()),
        Some(below) => Ok(edges.into_iter().rev().map(|edge| (edge, Some(below))).collect()),
    }
}

/// What is wrong with a node, and with which.
fn named(id: &BlobId, error: CodecError) -> CodecError {
    let what = match error {
        CodecError::Malformed(what) => what,
        CodecError::Checksum | CodecError::Newer(_) => error.to_string(),
    };
    CodecError::Malformed(format!("{}: {what}", keys::describe(&content(id))))
}

fn add_chunks(chunks: &mut Vec<Chunk>, edges: &[BlobId], sizes: &[u8]) -> Result<(), CodecError> {
    let (sizes, rest) = sizes.as_chunks::<4>();
    if sizes.len() != edges.len() || !rest.is_empty() {
        return Err(malformed("a node does not say the size of each of its chunks"));
    }
    for (edge, size) in edges.iter().zip(sizes) {
        let BlobId::Chunk(digest) = *edge else {
            return Err(malformed("a node of the lowest level names more than chunks"));
        };
        chunks.push(Chunk { digest, size: u32::from_le_bytes(*size), data: None });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;
    use dormouse_domain::agent::Digest;
    use proptest::prelude::*;

    fn chunk(number: u32) -> Chunk {
        Chunk { digest: Digest::of(&number.to_le_bytes()), size: number, data: None }
    }

    fn planted(chunks: &[Chunk]) -> (BlobId, HashMap<BlobId, NewNode>) {
        let mut nodes = HashMap::new();
        let root = plant(chunks, |id, node| drop(nodes.insert(id, node)));
        (root, nodes)
    }

    fn read_back(root: BlobId, nodes: &HashMap<BlobId, NewNode>) -> Result<Vec<Chunk>, CodecError> {
        let missing = || malformed("it is not there");
        read(root, |id| nodes.get(id).map(|node| node.form.clone()).ok_or_else(missing))
    }

    proptest! {
        #[test]
        fn a_list_is_read_back_in_its_order(numbers in proptest::collection::vec(0..50_u32, 1..600)) {
            let chunks: Vec<_> = numbers.into_iter().map(chunk).collect();
            let (root, nodes) = planted(&chunks);
            prop_assert_eq!(read_back(root, &nodes), Ok(chunks));
            prop_assert!(nodes.values().all(|node| node.children.len() <= EDGES));
        }

        #[test]
        fn what_differs_in_one_chunk_differs_in_one_node_a_level(at in 0..1600_usize) {
            let mut chunks: Vec<_> = (0..1600).map(chunk).collect();
            let (_, before) = planted(&chunks);
            chunks[at] = chunk(9999);
            let (_, after) = planted(&chunks);
            let before: HashSet<_> = before.into_keys().collect();
            let new = after.keys().filter(|id| !before.contains(*id)).count();
            prop_assert_eq!((after.len(), new), (108, 3));
        }
    }

    #[test]
    fn a_tree_that_is_not_one_is_refused() {
        let chunks: Vec<_> = (0..40).map(chunk).collect();
        let (root, nodes) = planted(&chunks);
        let changed = |change: &dyn Fn(&mut Node)| {
            let mut node = Node::decode(&nodes[&root].form).expect("it decodes");
            change(&mut node);
            let form = node.encode();
            let mut nodes = nodes.clone();
            nodes.insert(root, NewNode { children: node.children(), form });
            read_back(root, &nodes)
        };
        assert!(changed(&|_| {}).is_ok());
        assert!(changed(&|node| node.payload.clear()).is_err(), "no level");
        assert!(changed(&|node| node.payload[0] = 2).is_err(), "another level");
        assert!(changed(&|node| node.payload[0] = 0).is_err(), "nodes instead of chunks");
        assert!(
            changed(&|node| node.edges[1] = BlobId::Chunk(Digest([0; 32]))).is_err(),
            "a chunk"
        );
    }
}
