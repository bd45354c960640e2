//! Reading snapshots and templates, and putting together what lies in blobs.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::EmbeddedShared;
use super::super::keys;
use super::super::leases::Lease;
use super::super::tables::blobs::{BlobId, chunk_tree};
use super::super::tables::snapshots::{ChunkList, Content, SnapshotCell, read_holder};
use super::super::tables::templates::TemplateCell;
use super::{TRIES, UnreadableValue, lost};
use crate::codec::{self, CodecError, RecordKind};
use crate::{SnapshotDetail, SnapshotSummary, StoreError, StoredSnapshot, WakeState};
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{Chunk, GuestState, Snapshot};
use dormouse_domain::template::{Template, TemplateSummary};

impl EmbeddedShared {
    /// The record of a session with its head.
    pub(in super::super) fn wake_state(
        &self,
        id: SessionId,
    ) -> Result<Option<WakeState>, StoreError> {
        for _ in 0..TRIES {
            let Some(session) = self.session(id)? else { return Ok(None) };
            let Some(head) = session.head else {
                return Ok(Some(WakeState { session, head: None, damage: None }));
            };
            let damage = match self.snapshot_of(id, head, SnapshotDetail::Full) {
                Ok(head) => {
                    return Ok(Some(WakeState { session, head: Some(head), damage: None }));
                }
                Err(UnreadableValue::Failed(error)) => return Err(error),
                // It may have another head by now.
                Err(UnreadableValue::Stale) if !self.is_unchanged(&session)? => continue,
                Err(UnreadableValue::Stale) => lost(),
                Err(UnreadableValue::Damaged(error)) => error,
            };
            self.damaged(&keys::snapshot(id, head), &damage);
            let damage = Some(damage.to_string().into());
            return Ok(Some(WakeState { session, head: None, damage }));
        }
        Err(self.damaged(&keys::session(id), &lost()))
    }

    /// The snapshots of a session, newest first. Damaged ones are left out, and named in the log.
    pub(in super::super) fn snapshots(
        &self,
        id: SessionId,
    ) -> Result<Vec<SnapshotSummary>, StoreError> {
        let kept = self.cell(id)?.map(|cell| cell.snapshots).unwrap_or_default();
        let mut snapshots = Vec::new();
        for name in kept.into_iter().rev() {
            let key = keys::snapshot(id, name.id);
            let value = match self.disk.get(&key) {
                Ok(Some(value)) => value,
                Ok(None) | Err(StoreError::Damaged(_)) => continue,
                Err(error) => return Err(error),
            };
            let summary = codec::unseal(RecordKind::Snapshot, &key, &value)
                .and_then(|value| codec::decode_summary(SnapshotCell::read(&value)?.outline));
            match summary {
                Ok(summary) => snapshots.push(summary),
                Err(error) => {
                    self.damaged(&key, &error);
                }
            }
        }
        Ok(snapshots)
    }

    /// A snapshot, whosever it is.
    pub(in super::super) fn snapshot(
        &self,
        id: SnapshotId,
        depth: SnapshotDetail,
    ) -> Result<Option<StoredSnapshot>, StoreError> {
        let key = keys::holder(id);
        let Some(session) = self.holder(&key)? else { return Ok(None) };
        match self.snapshot_of(session, id, depth) {
            Ok(snapshot) => Ok(Some(StoredSnapshot { session, snapshot })),
            Err(UnreadableValue::Failed(error)) => Err(error),
            // It may have gone while it was read.
            Err(UnreadableValue::Stale) if self.holder(&key)?.is_none() => Ok(None),
            Err(UnreadableValue::Stale) => Err(self.damaged(&keys::snapshot(session, id), &lost())),
            Err(UnreadableValue::Damaged(error)) => {
                Err(self.damaged(&keys::snapshot(session, id), &error))
            }
        }
    }

    /// The templates of an owner, by name. Damaged ones are left out, and named in the log.
    pub(in super::super) fn templates(
        &self,
        owner: &Principal,
    ) -> Result<Vec<TemplateSummary>, StoreError> {
        let keys = self.index().templates(&keys::templates(owner));
        let mut templates = Vec::with_capacity(keys.len());
        for key in keys {
            match self.template(&key) {
                // One at a time: the list of the chunks of a state may be large.
                Ok(template) => templates.extend(template.map(TemplateSummary::from)),
                Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(templates)
    }

    /// The template of this key.
    pub(in super::super) fn template(&self, key: &[u8]) -> Result<Option<Template>, StoreError> {
        for _ in 0..TRIES {
            let Some(value) = self.disk.get(key)? else { return Ok(None) };
            let read = codec::unseal(RecordKind::Template, key, &value)
                .map_err(UnreadableValue::from)
                .and_then(|value| {
                    let cell = TemplateCell::read(&value)?;
                    let snapshot = self.contents(&cell.snapshot, SnapshotDetail::Metadata)?;
                    Ok(codec::decode_template(cell.template, snapshot)?)
                });
            match read {
                Ok(template) => return Ok(Some(template)),
                Err(UnreadableValue::Failed(error)) => return Err(error),
                Err(UnreadableValue::Damaged(error)) => return Err(self.damaged(key, &error)),
                // It may have been replaced while it was read.
                Err(UnreadableValue::Stale) if self.disk.get(key)?.as_ref() != Some(&value) => {}
                Err(UnreadableValue::Stale) => break,
            }
        }
        Err(self.damaged(key, &lost()))
    }

    /// The bytes of a piece of a workspace.
    pub(in super::super) fn file_blob(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        self.disk.get(&keys::content(&BlobId::File(digest)))
    }

    /// Whether this blob is there.
    pub(in super::super) fn has_blob(&self, id: &BlobId) -> Result<bool, StoreError> {
        self.disk.get(&keys::blob(id)).map(|found| found.is_some())
    }

    /// Whether the session has the same record still.
    fn is_unchanged(&self, session: &Session) -> Result<bool, StoreError> {
        let now = self.session(session.id)?;
        Ok(now.is_some_and(|now| now.revision == session.revision))
    }

    /// The session that holds a snapshot, while it is there.
    fn holder(&self, key: &[u8]) -> Result<Option<SessionId>, StoreError> {
        let Some(value) = self.disk.get(key)? else { return Ok(None) };
        let id = read_holder(key, &value).map_err(|error| self.damaged(key, &error))?;
        // What a deleted session has left behind is being removed.
        let index = self.index();
        let is_there = index.known(id).is_some() || index.aside(id).is_some();
        Ok(is_there.then_some(id))
    }

    fn snapshot_of(
        &self,
        session: SessionId,
        id: SnapshotId,
        depth: SnapshotDetail,
    ) -> Result<Snapshot, UnreadableValue> {
        let key = keys::snapshot(session, id);
        let value = self.disk.get(&key)?.ok_or(UnreadableValue::Stale)?;
        let value = codec::unseal(RecordKind::Snapshot, &key, &value)?;
        self.contents(&SnapshotCell::read(&value)?, depth)
    }

    /// A snapshot with what it has in blobs. They are leased for as long as they are read.
    fn contents(
        &self,
        cell: &SnapshotCell<'_>,
        depth: SnapshotDetail,
    ) -> Result<Snapshot, UnreadableValue> {
        let mut snapshot = codec::decode_snapshot(&Bytes::copy_from_slice(cell.outline))?;
        let mut lease = Lease::new(&self.leases);
        let whole = match cell.data {
            Content::Inline(bytes) => Bytes::copy_from_slice(bytes),
            Content::Blob(digest) => {
                lease.add(BlobId::Data(digest));
                self.blob(&BlobId::Data(digest))?
            }
        };
        let list = self.chunks(&cell.chunks, &mut lease)?;
        match &mut snapshot.state {
            GuestState::Nothing => {}
            GuestState::Portable { data, .. } => *data = whole,
            GuestState::Image { data, chunks } => {
                *data = whole;
                *chunks = list;
                if depth == SnapshotDetail::Full {
                    self.fill(chunks)?;
                }
            }
        }
        Ok(snapshot)
    }

    /// The chunks of a snapshot, without their data.
    fn chunks(
        &self,
        list: &ChunkList<'_>,
        lease: &mut Lease,
    ) -> Result<Vec<Chunk>, UnreadableValue> {
        let chunks = match *list {
            ChunkList::Inline(list) => codec::decode_chunks(list)?,
            ChunkList::Blob(digest) => {
                lease.add(BlobId::List(digest));
                codec::decode_chunks(&self.blob(&BlobId::List(digest))?)?
            }
            ChunkList::Tree(digest) => {
                let root = BlobId::Node(digest);
                lease.add(root);
                return chunk_tree::read(root, |node| self.blob(node));
            }
        };
        for chunk in &chunks {
            lease.add(BlobId::Chunk(chunk.digest));
        }
        Ok(chunks)
    }

    /// Read the data of chunks. A chunk that comes several times is read once.
    fn fill(&self, chunks: &mut [Chunk]) -> Result<(), UnreadableValue> {
        let mut known: HashMap<Digest, Bytes> = HashMap::new();
        for chunk in chunks {
            let data = match known.get(&chunk.digest) {
                Some(data) => data.clone(),
                None => self.blob(&BlobId::Chunk(chunk.digest))?,
            };
            if usize::try_from(chunk.size) != Ok(data.len()) {
                return Err(CodecError::Malformed("a chunk has another size".to_owned()).into());
            }
            known.insert(chunk.digest, data.clone());
            chunk.data = Some(data);
        }
        Ok(())
    }

    /// The bytes of a blob.
    fn blob(&self, id: &BlobId) -> Result<Bytes, UnreadableValue> {
        match self.disk.get(&keys::content(id)) {
            Ok(bytes) => bytes.ok_or(UnreadableValue::Stale),
            // Whoever asks for the snapshot is to learn which part of it that is.
            Err(StoreError::Damaged(blob)) => {
                Err(CodecError::Malformed(format!("{blob} is damaged")).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}
