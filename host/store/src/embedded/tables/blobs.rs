//! Blobs: what snapshots have that does not fit into their rows, kept once for all that have it.
//!
//! | key | value |
//! | --- | --- |
//! | `b` kind digest | how many rows and nodes name a blob |
//! | `c` kind digest | the bytes of a blob |
//! | `w` kind digest | nothing: the blob is there, no row and no node names it, and it is to be released |
//!
//! A blob is named by its contents, and its bytes are written once. Blobs name blobs (`node`), and a blob is
//! counted by edge: the rows of snapshots and templates that name it, and the nodes. So a commit changes the
//! counts of what its new rows and its new nodes name, and no others.
//!
//! ```text
//!   row ──▶ root ──▶ node ──▶ chunk        a row that goes lowers the count of the root alone
//!             └────▶ node ──▶ chunk        at 0 the root is listed under `w`, in the same commit
//!                      └────▶ chunk        and released later: it goes, and the counts below it are lowered
//! ```
//! A blob without edges that is let go of goes at once, unless somebody reads it (`leases`). A blob that is
//! listed is whole, and so is all below it: a commit that names it again takes it off the list. The committer
//! releases what is listed, some edges at a time, with the groups that it writes (`commit_group/release`).

pub(in super::super) mod chunk_tree;
pub(in super::super) mod contents;
mod graph;
pub(in super::super) mod node;

use bytes::Bytes;

use super::super::OpenError;
use super::super::disk::Disk;
use super::super::keys;
use super::super::recovery::Recovery;
use super::super::upkeep::audit::Audit;
use super::snapshots::{ChunkList, Content, SnapshotCell};
use super::{Table, malformed};
use crate::codec::{self, CodecError, RecordKind};
use crate::upkeep::UpkeepError;
use dormouse_domain::agent::Digest;

use self::graph::Graph;
pub(super) use self::graph::{are_there, refer};
use self::node::Node;

/// The prefix of the counts of blobs.
pub(in super::super) const BLOB: u8 = b'b';
/// The prefix of the bytes of blobs.
pub(in super::super) const CONTENT: u8 = b'c';
/// The prefix of blobs that are to be released.
pub(in super::super) const UNUSED: u8 = b'w';

/// How often each blob is named.
pub(super) struct UseTable;

/// The bytes of blobs.
pub(super) struct BlobTable;

/// The blobs that are to be released.
pub(super) struct UnusedTable;

/// The blob that this key is about.
pub(in super::super) fn blob_of(key: &[u8]) -> Option<BlobId> {
    let [BLOB | CONTENT | UNUSED, kind, digest @ ..] = key else { return None };
    BlobId::of(*kind, Digest(digest.try_into().ok()?))
}

/// The count of a blob.
pub(in super::super) fn blob(id: &BlobId) -> [u8; 34] {
    of_blob(BLOB, id)
}

/// The bytes of a blob.
pub(in super::super) fn content(id: &BlobId) -> [u8; 34] {
    of_blob(CONTENT, id)
}

/// That a blob is to be released.
pub(in super::super) fn unused(id: &BlobId) -> [u8; 34] {
    of_blob(UNUSED, id)
}

fn of_blob(prefix: u8, id: &BlobId) -> [u8; 34] {
    let mut key = [prefix; 34];
    key[1] = id.kind();
    key[2..].copy_from_slice(&id.digest().0);
    key
}

/// The name of a blob. Names of different kinds never meet: the digest of a chunk is not that of
/// the bytes which are kept of it, and no data of a state can be taken for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in super::super) enum BlobId {
    /// The data of a state, by its digest.
    Data(Digest),
    /// The list of the chunks of a state as layouts up to 5 wrote it, by its digest. It has no edges: the rows
    /// that name a list also count for each of its chunks.
    List(Digest),
    /// A chunk, by the digest of what it was before it was compressed.
    Chunk(Digest),
    /// A blob that names others, by the digest of its form.
    Node(Digest),
    /// A piece of a workspace, by the digest of its bytes. It may name others of this kind.
    File(Digest),
}

impl BlobId {
    /// The blob of this kind and digest, where there is such a kind.
    pub(in super::super) fn of(kind: u8, digest: Digest) -> Option<BlobId> {
        let all = [BlobId::Data, BlobId::List, BlobId::Chunk, BlobId::Node, BlobId::File];
        all.into_iter().map(|name| name(digest)).find(|id| id.kind() == kind)
    }

    /// The byte that stands for its kind.
    pub(in super::super) fn kind(&self) -> u8 {
        match self {
            BlobId::Data(_) => b'd',
            BlobId::List(_) => b'l',
            BlobId::Chunk(_) => b'c',
            BlobId::Node(_) => b'n',
            BlobId::File(_) => b'f',
        }
    }

    /// The digest.
    pub(in super::super) fn digest(&self) -> Digest {
        match self {
            BlobId::Data(digest)
            | BlobId::List(digest)
            | BlobId::Chunk(digest)
            | BlobId::Node(digest)
            | BlobId::File(digest) => *digest,
        }
    }

    /// Whether it may name others.
    pub(in super::super) fn names_others(&self) -> bool {
        match self {
            BlobId::Node(_) | BlobId::File(_) => true,
            BlobId::Data(_) | BlobId::List(_) | BlobId::Chunk(_) => false,
        }
    }

    /// The blobs that this one names, whose bytes these are, each once.
    ///
    /// # Errors
    /// The bytes are those of no such blob.
    pub(in super::super) fn children(&self, bytes: &[u8]) -> Result<Vec<BlobId>, CodecError> {
        match self {
            BlobId::Data(_) | BlobId::List(_) | BlobId::Chunk(_) => Ok(Vec::new()),
            BlobId::Node(_) => Ok(Node::decode(bytes)?.children()),
            BlobId::File(digest) => {
                let id = dormouse_workspace::BlobId(digest.0);
                let edges = dormouse_workspace::edges(&id, bytes);
                let edges = edges.map_err(|error| CodecError::Malformed(error.to_string()))?;
                Ok(edges.into_iter().map(|edge| BlobId::File(Digest(edge.0))).collect())
            }
        }
    }
}

/// All blobs that the row of a snapshot names, each once. `list` reads a list of chunks that is a blob itself,
/// as layouts up to 5 have it; without it, what it names is left out.
pub(in super::super) fn named_by<E: From<CodecError>>(
    snapshot: &SnapshotCell<'_>,
    list: impl FnOnce(&BlobId) -> Result<Option<Bytes>, E>,
) -> Result<Vec<BlobId>, E> {
    let mut blobs = Vec::new();
    if let Content::Blob(digest) = snapshot.data {
        blobs.push(BlobId::Data(digest));
    }
    let chunks = match snapshot.chunks {
        ChunkList::Inline(list) => codec::decode_chunks(list)?,
        ChunkList::Blob(digest) => {
            let id = BlobId::List(digest);
            blobs.push(id);
            let list = list(&id)?;
            list.map_or(Ok(Vec::new()), |list| codec::decode_chunks(&list))?
        }
        ChunkList::Tree(root) => {
            blobs.push(BlobId::Node(root));
            Vec::new()
        }
    };
    blobs.extend(chunks.iter().map(|chunk| BlobId::Chunk(chunk.digest)));
    blobs.extend(codec::decode_files(snapshot.outline)?.map(BlobId::File));
    blobs.sort_unstable();
    blobs.dedup();
    Ok(blobs)
}

/// How many rows and nodes name a blob, as it is kept.
pub(in super::super) fn write_uses(uses: u64) -> [u8; 8] {
    uses.to_le_bytes()
}

/// How many rows and nodes name a blob.
pub(in super::super) fn read_uses(value: &[u8]) -> Result<u64, CodecError> {
    let malformed = |_| CodecError::Malformed("a count has another length".to_owned());
    value.try_into().map(u64::from_le_bytes).map_err(malformed)
}

impl Table for UseTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&BLOB)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        describe(BLOB, key).map(|name| format!("{name}/uses"))
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let id = id_of(key)?;
        let uses = read_uses(&codec::unseal(RecordKind::Note, key, value)?)?;
        audit.seen::<Graph>().count(id, uses);
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        if let Some(id) = blob_of(key) {
            audit.seen::<Graph>().lose_count(id);
        }
    }
}

impl Table for BlobTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&CONTENT)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        describe(CONTENT, key)
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let id = id_of(key)?;
        let is_it = match id {
            // Its name is that of what has been compressed; the checksum of the engine has to do.
            BlobId::Chunk(_) => true,
            BlobId::Data(digest)
            | BlobId::List(digest)
            | BlobId::Node(digest)
            | BlobId::File(digest) => Digest::of(value) == digest,
        };
        if !is_it {
            return Err(malformed("it is another blob"));
        }
        let graph = audit.seen::<Graph>();
        match id {
            BlobId::Chunk(_) | BlobId::Data(_) => {}
            BlobId::List(digest) => {
                let chunks = codec::decode_chunks(value)?.into_iter();
                graph.list(digest, chunks.map(|chunk| BlobId::Chunk(chunk.digest)).collect());
            }
            BlobId::Node(_) | BlobId::File(_) => graph.node(id, id.children(value)?),
        }
        graph.find(id);
        audit.report().read.blobs += 1;
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        if let Some(id) = blob_of(key) {
            audit.seen::<Graph>().lose(id);
        }
    }

    /// Each edge is counted, and each blob is named or listed.
    fn compare(&self, audit: &mut Audit) {
        graph::compare(audit);
    }

    /// Count again what names each blob, and release what nothing does.
    fn recount(&self, disk: &Disk) -> Result<(), UpkeepError> {
        graph::recount(disk)
    }
}

impl Table for UnusedTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&UNUSED)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        describe(UNUSED, key).map(|name| format!("{name}/unused"))
    }

    fn is_part(&self) -> bool {
        true
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        for entry in recovery.disk.fronts(&[UNUSED]) {
            // What says nothing sensible is left to a check.
            recovery.left.unused.extend(blob_of(&entry?.0));
        }
        Ok(())
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let id = id_of(key)?;
        codec::unseal(RecordKind::Note, key, value)?;
        audit.seen::<Graph>().list_unused(id);
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        if let Some(id) = blob_of(key) {
            audit.seen::<Graph>().list_unused(id);
        }
    }
}

fn id_of(key: &[u8]) -> Result<BlobId, CodecError> {
    blob_of(key).ok_or_else(|| malformed("it is no blob"))
}

fn describe(prefix: u8, key: &[u8]) -> Option<String> {
    match key.strip_prefix(&[prefix])? {
        [kind, digest @ ..] if digest.len() == 32 => {
            Some(format!("blob/{}/{}", char::from(*kind), keys::hex(digest)))
        }
        _ => None,
    }
}
