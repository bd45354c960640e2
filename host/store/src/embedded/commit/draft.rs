//! Encoding a transaction, and deciding what of it lies where.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::EmbeddedShared;
use super::super::keys;
use super::super::tables::blobs::BlobId;
use super::super::tables::blobs::Contents;
use super::super::tables::snapshots::Content;
use super::super::tables::snapshots::SnapshotCell;
use super::super::tables::{self, snapshots};
use super::{BlobUses, Encoded, EncodedWrite, NewEvent, NewSnapshot};
use crate::{StoreError, Transaction, codec};
use dormouse_domain::agent::Digest;
use dormouse_domain::event::{Event, EventSubject};
use dormouse_domain::id::SessionId;
use dormouse_domain::snapshot::{GuestState, Snapshot};

/// The most bytes that a commit takes in the log. The engine takes twice as much at once.
const COMMIT: usize = 12 << 20;

/// A transaction that is encoded, and whose large values are yet to be staged.
#[derive(Debug)]
pub(in super::super) struct Draft {
    encoded: Encoded,
    /// The components of agents, and large turns, with their keys: they are staged always.
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
        let known = store.filter(|_| super::reads(&transaction));
        let mut placer = BlobPlacer { known, ..BlobPlacer::default() };
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
        let size = of_changes + of_events + 64 * shares.uses.len() + contents + 64;
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
        EventSubject::Agent(_) => None,
    };
    (about, codec::encode_event(event))
}

/// Decides what goes to blobs.
#[derive(Default)]
pub(in super::super) struct BlobPlacer<'a> {
    blobs: BTreeMap<BlobId, Bytes>,
    uses: BTreeMap<BlobId, u64>,
    large: Vec<(Bytes, Bytes)>,
    /// Where a blob may be already, so that it is not written in vain: sessions and templates are
    /// made of what is there. If it goes before they are made, so has what they were to start from.
    known: Option<&'a EmbeddedShared>,
}

impl BlobPlacer<'_> {
    /// Take a value that is staged under this key, however large it is.
    pub(in super::super) fn stage(&mut self, key: &[u8], value: Bytes) {
        self.large.push((Bytes::copy_from_slice(key), value));
    }

    /// What is referred to, and what of it has to be written.
    pub(in super::super) fn finish(mut self) -> Result<BlobUses, StoreError> {
        if let Some(store) = self.known {
            let mut known = Vec::new();
            for id in self.blobs.keys() {
                if store.has_blob(id)? {
                    known.push(*id);
                }
            }
            known.iter().for_each(|id| drop(self.blobs.remove(id)));
        }
        let contents = Contents::of(self.blobs.into_iter().collect());
        Ok(BlobUses { uses: self.uses, contents })
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

    /// Place the state of a snapshot, and count what it refers to, each once. Returns whether it
    /// refers to anything.
    pub(in super::super) fn state(
        &mut self,
        snapshot: Snapshot,
        write: impl FnOnce(SnapshotCell<'_>),
    ) -> bool {
        let outline = codec::encode_snapshot(&snapshot);
        let (data, chunks) = match snapshot.state {
            GuestState::Portable { data, .. } => (data, Vec::new()),
            GuestState::Image { data, chunks } => (data, chunks),
        };
        let list = Bytes::from(codec::encode_chunks(&chunks));
        let mut blobs = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let id = BlobId::Chunk(chunk.digest);
            blobs.push(id);
            if let Some(data) = chunk.data {
                self.blobs.insert(id, data);
            }
        }
        let mut apart = |bytes: &Bytes, limit: usize, name: fn(Digest) -> BlobId| {
            (bytes.len() > limit).then(|| {
                let id = name(Digest::of(bytes));
                blobs.push(id);
                self.blobs.insert(id, bytes.clone());
                Content::Blob(id.digest())
            })
        };
        let data_apart = apart(&data, snapshots::DATA, BlobId::Data);
        let list_apart = apart(&list, snapshots::LIST, BlobId::List);
        write(SnapshotCell {
            outline: &outline,
            data: data_apart.unwrap_or(Content::Inline(&data)),
            chunks: list_apart.unwrap_or(Content::Inline(&list)),
        });
        blobs.sort_unstable();
        blobs.dedup();
        let shares = !blobs.is_empty();
        for id in blobs {
            *self.uses.entry(id).or_default() += 1;
        }
        shares
    }
}
