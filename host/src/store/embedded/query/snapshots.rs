//! Reading snapshots and templates, and putting together what lies in blobs.

use bytes::Bytes;
use cap_std::fs::File;
use sled::IVec;

use super::super::Shared;
use super::super::blob::{BlobCell, BlobId, Place};
use super::super::cell::{Content, SessionCell, SnapshotCell, TemplateCell};
use super::super::files::{self, FileName, Files};
use super::super::keys;
use super::{TRIES, Unreadable, lost};
use crate::session::id::{Principal, SessionId, SnapshotId};
use crate::session::record::Session;
use crate::session::snapshot::{Chunk, GuestState, Snapshot};
use crate::session::template::Template;
use crate::store::codec::{self, CodecError, Kind};
use crate::store::{Depth, Dormant, Kept, SnapshotSummary, StoreError};

impl Shared {
    /// The record of a session with its head.
    pub(in super::super) fn dormant(&self, id: SessionId) -> Result<Option<Dormant>, StoreError> {
        for _ in 0..TRIES {
            let Some(session) = self.session(id)? else { return Ok(None) };
            let Some(head) = session.head else {
                return Ok(Some(Dormant { session, head: None, damage: None }));
            };
            let damage = match self.snapshot_of(id, head, Depth::Whole) {
                Ok(head) => {
                    return Ok(Some(Dormant { session, head: Some(head), damage: None }));
                }
                Err(Unreadable::Failed(error)) => return Err(error),
                // It may have another head by now.
                Err(Unreadable::Stale) if !self.is_unchanged(&session) => continue,
                Err(Unreadable::Stale) => lost(),
                Err(Unreadable::Damaged(error)) => error,
            };
            self.damaged(&keys::snapshot(id, head), &damage);
            let damage = Some(damage.to_string().into());
            return Ok(Some(Dormant { session, head: None, damage }));
        }
        Err(self.damaged(&keys::session(id), &lost()))
    }

    /// The snapshots of a session, newest first. Damaged ones are left out, and named in the log.
    pub(in super::super) fn snapshots(
        &self,
        id: SessionId,
    ) -> Result<Vec<SnapshotSummary>, StoreError> {
        let names = self.read_session(id, |cell: &SessionCell<'_>| Ok(cell.snapshots.clone()))?;
        let mut snapshots = Vec::new();
        for name in names.unwrap_or_default().into_iter().rev() {
            let key = keys::snapshot(id, name);
            let Some(value) = self.row(&key)? else { continue };
            let summary = codec::unseal(Kind::Snapshot, &key, &value)
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
        depth: Depth,
    ) -> Result<Option<Kept>, StoreError> {
        let key = keys::holder(id);
        let Some(session) = self.holder(&key)? else { return Ok(None) };
        match self.snapshot_of(session, id, depth) {
            Ok(snapshot) => Ok(Some(Kept { session, snapshot })),
            Err(Unreadable::Failed(error)) => Err(error),
            // It may have gone while it was read.
            Err(Unreadable::Stale) if self.holder(&key)?.is_none() => Ok(None),
            Err(Unreadable::Stale) => Err(self.damaged(&keys::snapshot(session, id), &lost())),
            Err(Unreadable::Damaged(error)) => {
                Err(self.damaged(&keys::snapshot(session, id), &error))
            }
        }
    }

    /// A template.
    pub(in super::super) fn template(
        &self,
        owner: &Principal,
        name: &str,
    ) -> Result<Option<Template>, StoreError> {
        self.read_template(&keys::template(owner, name))
    }

    /// The templates of an owner, by name. Damaged ones are left out, and named in the log.
    pub(in super::super) fn templates(
        &self,
        owner: &Principal,
    ) -> Result<Vec<Template>, StoreError> {
        let keys = self.index().templates(&keys::templates(owner));
        let mut templates = Vec::with_capacity(keys.len());
        for key in keys {
            match self.read_template(&key) {
                Ok(template) => templates.extend(template),
                Err(StoreError::Damaged(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(templates)
    }

    fn read_template(&self, key: &[u8]) -> Result<Option<Template>, StoreError> {
        for _ in 0..TRIES {
            let Some(value) = self.row(key)? else { return Ok(None) };
            let read = codec::unseal(Kind::Template, key, &value)
                .map_err(Unreadable::from)
                .and_then(|value| {
                    let cell = TemplateCell::read(&value)?;
                    let snapshot = self.contents(&cell.snapshot, Depth::Outline)?;
                    Ok(codec::decode_template(cell.template, snapshot)?)
                });
            match read {
                Ok(template) => return Ok(Some(template)),
                Err(Unreadable::Failed(error)) => return Err(error),
                Err(Unreadable::Damaged(error)) => return Err(self.damaged(key, &error)),
                // It may have been replaced while it was read.
                Err(Unreadable::Stale) if self.row(key)?.as_ref() != Some(&value) => {}
                Err(Unreadable::Stale) => break,
            }
        }
        Err(self.damaged(key, &lost()))
    }

    /// Whether this blob is there.
    pub(in super::super) fn has_blob(&self, id: &BlobId) -> Result<bool, StoreError> {
        self.row(&keys::blob(id)).map(|found| found.is_some())
    }

    /// Whether the session has the same record still.
    fn is_unchanged(&self, session: &Session) -> bool {
        self.index().revision(session.id) == Some(session.revision)
    }

    /// The session that holds a snapshot, while it is there.
    fn holder(&self, key: &[u8]) -> Result<Option<SessionId>, StoreError> {
        let Some(value) = self.row(key)? else { return Ok(None) };
        let holder = codec::unseal(Kind::Note, key, &value).and_then(|value| {
            let id: Option<[u8; 16]> = value.as_ref().try_into().ok();
            let id = id.ok_or_else(|| CodecError::Malformed("it is no session".to_owned()))?;
            Ok(SessionId(uuid::Uuid::from_bytes(id)))
        });
        let id = holder.map_err(|error| self.damaged(key, &error))?;
        // What a deleted session has left behind is being removed.
        let index = self.index();
        let is_there = index.revision(id).is_some() || index.aside(id).is_some();
        Ok(is_there.then_some(id))
    }

    fn snapshot_of(
        &self,
        session: SessionId,
        id: SnapshotId,
        depth: Depth,
    ) -> Result<Snapshot, Unreadable> {
        let key = keys::snapshot(session, id);
        let value = self.row(&key)?.ok_or(Unreadable::Stale)?;
        let value = codec::unseal(Kind::Snapshot, &key, &value)?;
        self.contents(&SnapshotCell::read(&value)?, depth)
    }

    /// The durable value of a key that is written once.
    fn row(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let found = self.disk.get(key)?;
        let index = self.index();
        Ok(index.before(key).cloned().unwrap_or(found))
    }

    /// A snapshot with what it has in blobs.
    fn contents(&self, cell: &SnapshotCell<'_>, depth: Depth) -> Result<Snapshot, Unreadable> {
        let mut snapshot = codec::decode_snapshot(&Bytes::copy_from_slice(cell.outline))?;
        let mut reader = BlobReader::new(&self.files);
        let mut content = |content: &Content<'_>, name: fn(_) -> BlobId| match content {
            Content::Inline(bytes) => Ok(Bytes::copy_from_slice(bytes)),
            Content::Blob(digest) => {
                let id = name(*digest);
                reader.read(&id, &self.place(&id)?)
            }
        };
        let whole = content(&cell.data, BlobId::Data)?;
        let list = codec::decode_chunks(&content(&cell.chunks, BlobId::List)?)?;
        match &mut snapshot.state {
            GuestState::Portable { data, .. } => *data = whole,
            GuestState::Image { data, chunks } => {
                *data = whole;
                *chunks = list;
                if depth == Depth::Whole {
                    self.fill(chunks)?;
                }
            }
        }
        Ok(snapshot)
    }

    /// Read the data of chunks, in the order in which it lies on the disk.
    fn fill(&self, chunks: &mut [Chunk]) -> Result<(), Unreadable> {
        let mut places = Vec::with_capacity(chunks.len());
        for (at, chunk) in chunks.iter().enumerate() {
            places.push((self.place(&BlobId::Chunk(chunk.digest))?, at));
        }
        places.sort_unstable();
        let mut reader = BlobReader::new(&self.files);
        let mut last: Option<(Place, Bytes)> = None;
        for (place, at) in places {
            let chunk = &mut chunks[at];
            let data = match &last {
                Some((same, data)) if *same == place => data.clone(),
                _ => reader.read(&BlobId::Chunk(chunk.digest), &place)?,
            };
            if usize::try_from(chunk.size) != Ok(data.len()) {
                return Err(CodecError::Malformed("a chunk has another size".to_owned()).into());
            }
            chunk.data = Some(data.clone());
            last = Some((place, data));
        }
        Ok(())
    }

    /// Where a blob lies.
    fn place(&self, id: &BlobId) -> Result<Place, Unreadable> {
        let key = keys::blob(id);
        let value = self.row(&key)?.ok_or(Unreadable::Stale)?;
        Ok(BlobCell::read(&codec::unseal(Kind::Note, &key, &value)?)?.place)
    }
}

/// Reads blobs, several in a row from one file.
pub(in super::super) struct BlobReader<'a> {
    files: &'a Files,
    open: Option<(FileName, File)>,
}

impl<'a> BlobReader<'a> {
    /// No file is open yet.
    pub(in super::super) fn new(files: &'a Files) -> BlobReader<'a> {
        BlobReader { files, open: None }
    }

    /// The blob that lies there.
    pub(in super::super) fn read(
        &mut self,
        id: &BlobId,
        place: &Place,
    ) -> Result<Bytes, Unreadable> {
        if self.open.as_ref().is_none_or(|(name, _)| *name != place.file) {
            let file = self.files.open_values(&place.file)?.ok_or(Unreadable::Stale)?;
            self.open = Some((place.file.clone(), file));
        }
        let Some((_, file)) = &self.open else { return Err(Unreadable::Stale) };
        let sealed = files::read_place(file, place)?;
        let cut_short = || CodecError::Malformed("its file is cut short".to_owned());
        let sealed = Bytes::from(sealed.ok_or_else(cut_short)?);
        Ok(match codec::unseal(Kind::Blob, &keys::blob(id), &sealed)? {
            std::borrow::Cow::Borrowed(payload) => sealed.slice_ref(payload),
            std::borrow::Cow::Owned(payload) => Bytes::from(payload),
        })
    }
}
