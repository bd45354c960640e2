//! The snapshots of sessions.
//!
//! | key | value |
//! | --- | --- |
//! | `r` session `h` snapshot | a snapshot: [`SnapshotCell`] |
//! | `h` snapshot | the session that a snapshot belongs to |
//!
//! What is large of a snapshot lies in blobs. The record of the session names those that it has.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use super::super::disk::ReadExtent;
use super::super::engine::Class;
use super::super::frame::{frame, framed};
use super::super::keys;
use super::super::upkeep::audit::Audit;
use super::super::upkeep::repair::Repairer;
use super::blobs;
use super::{Table, malformed, sessions};
use crate::codec::{self, CodecError, RecordKind};
use crate::upkeep::UpkeepError;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::{SessionId, SnapshotId};
use uuid::Uuid;

/// What follows the session in the keys of snapshots.
pub(in super::super) const SNAPSHOT: u8 = b'h';
/// The prefix of whose snapshots are.
pub(in super::super) const HOLDER: u8 = SNAPSHOT;
/// The largest data of a snapshot that stays in its row.
pub(in super::super) const DATA: usize = 16 << 10;
/// The most snapshots of a session: their names take 17 bytes each.
pub(in super::super) const SNAPSHOTS: usize = 256;
const INLINE: u8 = 0;
const BLOB: u8 = 2;
const TREE: u8 = 3;

/// The snapshots of sessions.
pub(super) struct SnapshotTable;

/// The session of each snapshot.
pub(super) struct HolderTable;

/// A snapshot of a session.
pub(in super::super) fn snapshot(id: SessionId, snapshot: SnapshotId) -> [u8; 34] {
    let mut key = [SNAPSHOT; 34];
    key[..17].copy_from_slice(&keys::rows(id));
    key[18..].copy_from_slice(snapshot.0.as_bytes());
    key
}

/// The snapshot that this row of a session is, if it is one.
pub(in super::super) fn snapshot_of(key: &[u8]) -> Option<SnapshotId> {
    let rest = key.strip_prefix(&[keys::ROWS])?.get(16..)?;
    let id: [u8; 16] = rest.strip_prefix(&[SNAPSHOT])?.try_into().ok()?;
    Some(SnapshotId(Uuid::from_bytes(id)))
}

/// The session of a snapshot.
pub(in super::super) fn holder(snapshot: SnapshotId) -> [u8; 17] {
    let mut key = [SNAPSHOT; 17];
    key[1..].copy_from_slice(snapshot.0.as_bytes());
    key
}

/// The snapshot of which this key says whose it is.
pub(in super::super) fn held(key: &[u8]) -> Option<SnapshotId> {
    let id: [u8; 16] = key.strip_prefix(&[HOLDER])?.try_into().ok()?;
    Some(SnapshotId(Uuid::from_bytes(id)))
}

/// Some bytes of a snapshot, here or in a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Content<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In the blob of this digest.
    Blob(Digest),
}

impl<'a> Content<'a> {
    fn read(bytes: &'a [u8]) -> Result<Content<'a>, CodecError> {
        match bytes {
            [INLINE, rest @ ..] => Ok(Content::Inline(rest)),
            [BLOB, rest @ ..] => Ok(Content::Blob(digest(rest)?)),
            _ => Err(malformed("a part is neither here nor in a blob")),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Content::Inline(bytes) => {
                out.push(INLINE);
                out.extend_from_slice(bytes);
            }
            Content::Blob(digest) => {
                out.push(BLOB);
                out.extend_from_slice(&digest.0);
            }
        }
    }
}

/// Where the list of the chunks of a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum ChunkList<'a> {
    /// Here: the row names each chunk.
    Inline(&'a [u8]),
    /// In the blob of this digest, and the row counts for each chunk too: so layouts up to 5 wrote it.
    Blob(Digest),
    /// In the tree whose root has this digest (`blobs/chunk_tree`).
    Tree(Digest),
}

impl<'a> ChunkList<'a> {
    fn read(bytes: &'a [u8]) -> Result<ChunkList<'a>, CodecError> {
        match bytes {
            [INLINE, rest @ ..] => Ok(ChunkList::Inline(rest)),
            [BLOB, rest @ ..] => Ok(ChunkList::Blob(digest(rest)?)),
            [TREE, rest @ ..] => Ok(ChunkList::Tree(digest(rest)?)),
            _ => Err(malformed("a list of chunks is neither here nor in a blob")),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let (kind, rest) = match self {
            ChunkList::Inline(list) => (INLINE, *list),
            ChunkList::Blob(digest) => (BLOB, digest.0.as_slice()),
            ChunkList::Tree(digest) => (TREE, digest.0.as_slice()),
        };
        out.push(kind);
        out.extend_from_slice(rest);
    }
}

fn digest(bytes: &[u8]) -> Result<Digest, CodecError> {
    let digest =
        bytes.try_into().map_err(|_| malformed("the name of a blob has another length"))?;
    Ok(Digest(digest))
}

/// The value of a snapshot, which is also the end of the value of a template.
#[derive(Debug)]
pub(in super::super) struct SnapshotCell<'a> {
    /// What it is apart from its state.
    pub(in super::super) outline: &'a [u8],
    /// The data of its state.
    pub(in super::super) data: Content<'a>,
    /// The list of its chunks.
    pub(in super::super) chunks: ChunkList<'a>,
}

impl<'a> SnapshotCell<'a> {
    /// Take a value apart.
    pub(in super::super) fn read(bytes: &'a [u8]) -> Result<SnapshotCell<'a>, CodecError> {
        let (outline, bytes) = framed(bytes)?;
        let (data, chunks) = framed(bytes)?;
        let (data, chunks) = (Content::read(data)?, ChunkList::read(chunks)?);
        Ok(SnapshotCell { outline, data, chunks })
    }

    /// Put a value together.
    pub(in super::super) fn write(&self, out: &mut Vec<u8>) {
        frame(out, |out| out.extend_from_slice(self.outline));
        frame(out, |out| self.data.write(out));
        self.chunks.write(out);
    }
}

impl Table for SnapshotTable {
    fn has(&self, key: &[u8]) -> bool {
        keys::is_row(key, SNAPSHOT)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        let (session, snapshot) = (keys::session_in(key)?, snapshot_of(key)?);
        Some(format!("session/{session}/snapshot/{snapshot}"))
    }

    fn session(&self, key: &[u8]) -> Option<SessionId> {
        keys::session_in(key)
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let name = keys::session_in(key).zip(snapshot_of(key));
        let (id, snapshot) = name.ok_or_else(|| malformed("nobody has written this"))?;
        let value = codec::unseal(RecordKind::Snapshot, key, value)?;
        let cell = SnapshotCell::read(&value)?;
        if codec::decode_summary(cell.outline)?.id != snapshot {
            return Err(malformed("it is another snapshot"));
        }
        blobs::refer(audit, key, &cell)?;
        audit.report().read.snapshots += 1;
        sessions::rows_of(audit, id).snapshots.add(snapshot);
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        if let Some((id, snapshot)) = keys::session_in(key).zip(snapshot_of(key)) {
            sessions::rows_of(audit, id).snapshots.add(snapshot);
        }
    }
}

impl Table for HolderTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&HOLDER)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        Some(format!("snapshot/{}", held(key)?))
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let holder = read_holder(key, value)?;
        let snapshot = held(key).ok_or_else(|| malformed("it is no snapshot"))?;
        sessions::holders_of(audit, holder).add(snapshot);
        Ok(())
    }

    /// Let each snapshot of the sessions that were repaired be found by its name, and no other.
    fn repair(&self, repairer: &mut Repairer<'_>) -> Result<(), UpkeepError> {
        let kept: HashMap<SessionId, HashSet<SnapshotId>> = std::mem::take(&mut repairer.kept);
        let mut found: HashSet<SnapshotId> = HashSet::new();
        for entry in repairer.disk.walk(&[HOLDER], ReadExtent::Whole) {
            let (key, value) = entry?;
            let holder = value.and_then(|value| read_holder(&key, &value).ok());
            let Some(snapshot) = held(&key) else { continue };
            match holder.and_then(|id| kept.get(&id)) {
                Some(kept) if kept.contains(&snapshot) => drop(found.insert(snapshot)),
                None if holder.is_some() => {}
                Some(_) | None => repairer.remove(&key),
            }
        }
        let all = kept.iter().flat_map(|(id, kept)| kept.iter().map(|snapshot| (*id, *snapshot)));
        for (id, snapshot) in all.filter(|(_, snapshot)| !found.contains(snapshot)) {
            let key = holder(snapshot);
            let value = codec::seal(&key, &[id.0.as_bytes()]);
            repairer.put(Class::Inline, &key, value.into());
            repairer.flush_if_large()?;
        }
        Ok(())
    }
}

/// The session that holds a snapshot.
pub(in super::super) fn read_holder(key: &[u8], value: &[u8]) -> Result<SessionId, CodecError> {
    let holder = codec::unseal(RecordKind::Note, key, value)?;
    let id: Result<[u8; 16], _> = holder.as_ref().try_into();
    id.map(|id| SessionId(Uuid::from_bytes(id))).map_err(|_| malformed("it is no session"))
}

/// Whether a snapshot decodes, and all its blobs are there.
pub(super) fn is_good(
    repairer: &Repairer<'_>,
    snapshot: SnapshotId,
    key: &[u8],
    value: &[u8],
) -> bool {
    let Ok(value) = codec::unseal(RecordKind::Snapshot, key, value) else { return false };
    let Ok(cell) = SnapshotCell::read(&value) else { return false };
    let is_it = codec::decode_summary(cell.outline).is_ok_and(|summary| summary.id == snapshot);
    is_it && blobs::are_there(repairer, &cell)
}
