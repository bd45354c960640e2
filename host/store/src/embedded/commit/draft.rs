//! Encoding a transaction, and deciding what of it lies where.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::super::EmbeddedShared;
use super::super::keys;
use super::super::leases::Lease;
use super::super::tables::blobs::BlobId;
use super::super::tables::blobs::chunk_tree::{self, NewNode};
use super::super::tables::blobs::contents::Contents;
use super::super::tables::snapshots::{ChunkList, Content, SnapshotCell};
use super::super::tables::{self, snapshots};
use super::{BlobUses, Encoded, EncodedWrite, NewEvent, NewSnapshot};
use crate::{StoreError, Transaction, codec};
use dormouse_domain::agent::Digest;
use dormouse_domain::event::{Event, EventSubject};
use dormouse_domain::id::SessionId;
use dormouse_domain::snapshot::{Chunk, FileBlob, GuestState, Snapshot};

/// The most bytes that a commit takes in the log. The engine takes twice as much at once.
const COMMIT: usize = 12 << 20;

/// A transaction that is encoded, and whose large values are yet to be staged.
#[derive(Debug)]
pub(in super::super) struct Draft {
    encoded: Encoded,
    /// The components of agents, large turns, and what is large in journals, with their keys: they are staged
    /// always.
    large: Vec<(Bytes, Bytes)>,
}

impl Draft {
    /// Encode a transaction. Heavy ones may look into the store, where that is allowed.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where a part takes more room than there is, and what
    /// [`Transaction::check`] says.
    pub(in super::super) fn new(
        transaction: Transaction,
        store: Option<&EmbeddedShared>,
    ) -> Result<Draft, StoreError> {
        transaction.check()?;
        let reads = super::reads(&transaction);
        let mut placer = BlobPlacer { store, reads, ..BlobPlacer::default() };
        let Transaction { expect, writes, events } = transaction;
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            changes.push(tables::encode(&mut placer, write)?);
        }
        let events: Vec<NewEvent> = events.iter().map(event).collect();
        let large = std::mem::take(&mut placer.large);
        let shares = placer.finish()?;
        let of_changes: usize = changes.iter().map(EncodedWrite::size).sum();
        let of_events: usize = events.iter().map(|(_, event)| event.len() + 8).sum();
        let contents = if shares.contents.are_large() { 0 } else { shares.contents.size() };
        let size = of_changes + of_events + 64 * shares.edges() + contents + 64;
        let of_turns: usize = changes.iter().map(EncodedWrite::staged).sum();
        if size.saturating_add(of_turns) > COMMIT {
            return Err(StoreError::TooLarge { what: "a commit in bytes", limit: COMMIT });
        }
        let encoded = Encoded { expect, changes, events, shares, large: None, size };
        Ok(Draft { encoded, large })
    }

    /// A change that no transaction makes.
    pub(in super::super) fn of(change: EncodedWrite) -> Draft {
        let size = 64 + change.size();
        let encoded = Encoded { changes: vec![change], size, ..Encoded::default() };
        Draft { encoded, large: Vec::new() }
    }

    /// Whether something has to be staged before the commit.
    pub(in super::super) fn has_large(&self) -> bool {
        self.encoded.shares.contents.are_large() || !self.large.is_empty()
    }

    /// Bytes of what has to be staged.
    pub(in super::super) fn large_bytes(&self) -> usize {
        let large: usize = self.large.iter().map(|(_, bytes)| bytes.len()).sum();
        let contents = &self.encoded.shares.contents;
        large + if contents.are_large() { contents.size() } else { 0 }
    }

    /// Stage what is large.
    ///
    /// # Errors
    /// Why it could not be written.
    pub(in super::super) fn stage(mut self, store: &EmbeddedShared) -> Result<Encoded, StoreError> {
        let contents = &mut self.encoded.shares.contents;
        if contents.are_large() {
            *contents = std::mem::take(contents).stage(&store.disk)?;
        }
        if !self.large.is_empty() {
            self.encoded.large = Some(store.disk.stage(&self.large)?);
        }
        Ok(self.encoded)
    }

    /// What to do, where nothing of it is large.
    pub(in super::super) fn into_encoded(self) -> Encoded {
        self.encoded
    }
}

fn event(event: &Event) -> NewEvent {
    let about = match event.subject {
        EventSubject::Session(id) => Some(id),
        EventSubject::Agent(_) | EventSubject::Key(_) | EventSubject::Schedule(_) => None,
    };
    (about, codec::encode_event(event))
}

/// Decides what goes to blobs.
#[derive(Default)]
pub(in super::super) struct BlobPlacer<'a> {
    blobs: BTreeMap<BlobId, Bytes>,
    nodes: HashMap<BlobId, NewNode>,
    names: BTreeMap<BlobId, u64>,
    large: Vec<(Bytes, Bytes)>,
    /// Where nodes may be already, so that they are not written in vain.
    store: Option<&'a EmbeddedShared>,
    /// Whether all blobs may be there already: sessions and templates are made of what is there.
    reads: bool,
    /// The last list of chunks that was planted, and its root: forks have the same.
    planted: Option<(Vec<Chunk>, BlobId)>,
    /// The last data that was named.
    named: Option<(Bytes, Digest)>,
}

impl BlobPlacer<'_> {
    /// Take a value that is staged under this key, however large it is.
    pub(in super::super) fn stage(&mut self, key: &[u8], value: Bytes) {
        self.large.push((Bytes::copy_from_slice(key), value));
    }

    /// What is named, and what of it has to be written. What the store has is leased and not brought, so it is
    /// there when the commit comes.
    pub(in super::super) fn finish(mut self) -> Result<BlobUses, StoreError> {
        let lease = match self.store {
            Some(store) => Some(self.leave_out(store)?),
            None => None,
        };
        let BlobPlacer { mut blobs, nodes, names, .. } = self;
        let mut edges = HashMap::with_capacity(nodes.len());
        for (id, NewNode { children, form }) in nodes {
            edges.insert(id, children);
            blobs.insert(id, form);
        }
        let contents = Contents::of(blobs.into_iter().collect());
        Ok(BlobUses { names, edges, contents, lease })
    }

    /// Leave out what the store has: of a tree, from the root on, all that hangs below what is there.
    fn leave_out(&mut self, store: &EmbeddedShared) -> Result<Lease, StoreError> {
        let mut lease = Lease::new(&store.leases);
        let mut has = |id: BlobId| Ok::<_, StoreError>(lease.add(id) && store.has_blob(&id)?);
        let mut open: Vec<BlobId> = self.names.keys().copied().collect();
        let mut new = HashMap::new();
        while let Some(id) = open.pop() {
            let Some(node) = self.nodes.remove(&id) else { continue };
            if !has(id)? {
                open.extend(&node.children);
                new.insert(id, node);
            }
        }
        self.nodes = new;
        if self.reads {
            let mut left = BTreeMap::new();
            for (id, bytes) in std::mem::take(&mut self.blobs) {
                if !has(id)? {
                    left.insert(id, bytes);
                }
            }
            self.blobs = left;
        }
        Ok(lease)
    }

    /// A snapshot of this session.
    pub(in super::super) fn snapshot(
        &mut self,
        session: SessionId,
        snapshot: Snapshot,
    ) -> NewSnapshot {
        let id = snapshot.id;
        let mut value = Vec::new();
        let shares = self.state(snapshot, |cell| cell.write(&mut value));
        let value = codec::seal(&keys::snapshot(session, id), &[&value]);
        NewSnapshot { id, value, shares }
    }

    /// Place the state of a snapshot, and count what its row names, each once. Returns whether it names
    /// anything.
    pub(in super::super) fn state(
        &mut self,
        snapshot: Snapshot,
        write: impl FnOnce(SnapshotCell<'_>),
    ) -> bool {
        let outline = codec::encode_snapshot(&snapshot);
        let (data, mut chunks) = match snapshot.state {
            GuestState::Nothing => (Bytes::new(), Vec::new()),
            GuestState::Portable { data, .. } => (data, Vec::new()),
            GuestState::Image { data, chunks } => (data, chunks),
        };
        for chunk in &mut chunks {
            if let Some(data) = chunk.data.take() {
                self.blobs.insert(BlobId::Chunk(chunk.digest), data);
            }
        }
        let mut names = BTreeSet::new();
        let data_apart = (data.len() > snapshots::DATA).then(|| self.data(&data));
        names.extend(data_apart.map(BlobId::Data));
        let list;
        let chunks = if chunks.len() > chunk_tree::INLINE {
            let root = self.tree(chunks);
            names.insert(root);
            ChunkList::Tree(root.digest())
        } else {
            names.extend(chunks.iter().map(|chunk| BlobId::Chunk(chunk.digest)));
            list = codec::encode_chunks(&chunks);
            ChunkList::Inline(&list)
        };
        if let Some(files) = snapshot.files {
            names.insert(BlobId::File(files.version));
            for FileBlob { digest, edges, bytes } in files.blobs {
                let children = edges.into_iter().map(BlobId::File).collect();
                self.nodes.insert(BlobId::File(digest), NewNode { children, form: bytes });
            }
        }
        let data = data_apart.map_or(Content::Inline(&data), Content::Blob);
        write(SnapshotCell { outline: &outline, data, chunks });
        let shares = !names.is_empty();
        for id in names {
            *self.names.entry(id).or_default() += 1;
        }
        shares
    }

    /// Keep the data of a state in a blob.
    fn data(&mut self, data: &Bytes) -> Digest {
        if let Some((named, digest)) = &self.named
            && named == data
        {
            return *digest;
        }
        let digest = Digest::of(data);
        self.blobs.insert(BlobId::Data(digest), data.clone());
        self.named = Some((data.clone(), digest));
        digest
    }

    /// Keep a list of chunks, which are without their data, in a tree. Returns its root.
    fn tree(&mut self, chunks: Vec<Chunk>) -> BlobId {
        if let Some((planted, root)) = &self.planted
            && *planted == chunks
        {
            return *root;
        }
        let root = chunk_tree::plant(&chunks, |id, node| drop(self.nodes.insert(id, node)));
        self.planted = Some((chunks, root));
        root
    }
}
