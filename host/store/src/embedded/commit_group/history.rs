//! The snapshots of sessions, and templates: what a group adds to them and lets go of.

use super::super::commit::{EncodedTemplate, NewSnapshot, Record};
use super::super::engine::Class;
use super::super::keys;
use super::super::query::UnreadableValue;
use super::super::tables::sessions::KeptSnapshot;
use super::super::tables::snapshots::SnapshotCell;
use super::super::tables::templates::TemplateCell;
use super::{CommitGroup, Now};
use crate::StoreError;
use crate::codec::{self, RecordKind};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::snapshot::ResumeTrial;
use dormouse_domain::time::Timestamp;

impl CommitGroup<'_> {
    /// Whether the head that comes with a record can be kept, and the head that it names is there.
    pub(super) fn check_head(
        &mut self,
        record: &Record,
        head: Option<&NewSnapshot>,
    ) -> Result<(), StoreError> {
        // A name that is in use would have two states.
        if let Some(head) = head
            && self.rows.get(&keys::holder(head.id))?.is_some()
        {
            return Err(StoreError::Conflict(record.id));
        }
        let kept = match self.sessions.get(&record.id) {
            Some(Now::Live(live)) => live.cell.snapshots.as_slice(),
            // It is new.
            Some(Now::Gone) | None => &[],
        };
        let is_kept = |id: SnapshotId| kept.iter().any(|kept| kept.id == id);
        let named = |id: SnapshotId| head.is_some_and(|new| new.id == id) || is_kept(id);
        if record.head.is_none_or(named) { Ok(()) } else { Err(StoreError::SnapshotGone) }
    }

    /// Add a snapshot to a session. It has been checked.
    pub(super) fn keep(&mut self, id: SessionId, snapshot: NewSnapshot) {
        let holder = keys::holder(snapshot.id);
        let session = codec::seal(&holder, &[id.0.as_bytes()]);
        self.rows.put_new(Class::Inline, holder, session);
        self.rows.put_new(Class::Head, keys::snapshot(id, snapshot.id), snapshot.value);
        if let Some(Now::Live(live)) = self.sessions.get_mut(&id) {
            live.cell.snapshots.push(KeptSnapshot { id: snapshot.id, shares: snapshot.shares });
        }
    }

    /// Remove the oldest snapshots of a session beyond those that are to be kept, but for the
    /// pinned ones. What cannot be read now is removed with a later commit.
    pub(super) fn retain(&mut self, id: SessionId, pinned: &[Option<SnapshotId>]) {
        let Some(Now::Live(live)) = self.sessions.get(&id) else { return };
        let snapshots = &live.cell.snapshots;
        let too_many = snapshots.len().saturating_sub(self.shared.keep.snapshots);
        let oldest = snapshots.iter().filter(|kept| !pinned.contains(&Some(kept.id)));
        let oldest: Vec<KeptSnapshot> = oldest.take(too_many).copied().collect();
        self.forget_all(id, &oldest);
    }

    /// Remove these snapshots of a session.
    pub(super) fn forget_all(&mut self, id: SessionId, snapshots: &[KeptSnapshot]) {
        for KeptSnapshot { id: snapshot, shares } in snapshots {
            if let Err(error) = self.forget(id, *snapshot, *shares) {
                tracing::error!(%snapshot, %error, "an old snapshot is not removed");
            } else if let Some(Now::Live(live)) = self.sessions.get_mut(&id) {
                live.cell.snapshots.retain(|kept| kept.id != *snapshot);
                live.changed = true;
            }
        }
    }

    /// Remove a snapshot of a session, which may have something in blobs or not. Returns how many
    /// keys that were.
    pub(super) fn forget(
        &mut self,
        id: SessionId,
        snapshot: SnapshotId,
        shares: bool,
    ) -> Result<usize, StoreError> {
        let key = keys::snapshot(id, snapshot);
        let mut count = 2;
        if shares {
            let released = self.rows.get(&key).map_err(UnreadableValue::from).and_then(|sealed| {
                let Some(sealed) = sealed else { return Ok(0) };
                let value = codec::unseal(RecordKind::Snapshot, &key, &sealed)?;
                self.blobs.release(&SnapshotCell::read(&value)?)
            });
            count += released_of(&key, released)?;
        }
        self.rows.remove(key);
        self.rows.remove(keys::holder(snapshot));
        Ok(count)
    }

    /// Note in the row of a snapshot what has come of going on from it. One that is not kept, or cannot be read,
    /// notes nothing.
    pub(super) fn note_resume(
        &mut self,
        id: SessionId,
        snapshot: SnapshotId,
        trial: ResumeTrial,
        at: Timestamp,
    ) {
        let kept = self.live(id).map(|live| &live.cell.snapshots);
        if !kept.is_ok_and(|kept| kept.iter().any(|kept| kept.id == snapshot)) {
            return;
        }
        let key = keys::snapshot(id, snapshot);
        let Ok(Some(sealed)) = self.rows.get(&key) else { return };
        let noted = codec::unseal(RecordKind::Snapshot, &key, &sealed).and_then(|value| {
            let cell = SnapshotCell::read(&value)?;
            let outline = codec::note_resume(cell.outline, trial, at)?;
            let mut value = Vec::new();
            SnapshotCell { outline: &outline, ..cell }.write(&mut value);
            Ok(value)
        });
        if let Ok(value) = noted {
            self.rows.seal(Class::Head, key, &value);
        }
    }

    /// Keep a template, in place of one with the same key.
    pub(super) fn put_template(&mut self, template: EncodedTemplate) {
        if let Err(error) = self.release_template(&template.key) {
            tracing::error!(%error, "what a template held is not given back");
        }
        self.rows.put(Class::Rows, &template.key, template.value);
        self.templates.push((template.key, Some(template.agent)));
    }

    /// Whether a template is there, and can be removed.
    pub(super) fn expect_template(&mut self, key: &[u8], name: &str) -> Result<(), StoreError> {
        match self.row(key) {
            Ok(None) => Err(StoreError::TemplateNotFound(name.to_owned())),
            // What cannot be read can still be removed.
            Ok(Some(_)) | Err(StoreError::Damaged(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Remove a template.
    pub(super) fn remove_template(&mut self, key: Vec<u8>) {
        if let Err(error) = self.release_template(&key) {
            tracing::error!(%error, "what a template held is not given back");
        }
        self.rows.remove(&key);
        self.templates.push((key, None));
    }

    fn release_template(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let released = self.rows.get(key).map_err(UnreadableValue::from).and_then(|sealed| {
            let Some(sealed) = sealed else { return Ok(0) };
            let value = codec::unseal(RecordKind::Template, key, &sealed)?;
            self.blobs.release(&TemplateCell::read(&value)?.snapshot)
        });
        released_of(key, released).map(drop)
    }
}

/// A snapshot that cannot be read can still be removed: then its blobs stay, because nobody knows
/// which they are.
fn released_of(key: &[u8], released: Result<usize, UnreadableValue>) -> Result<usize, StoreError> {
    match released {
        Ok(count) => Ok(count),
        Err(UnreadableValue::Failed(error)) => Err(error),
        Err(UnreadableValue::Stale | UnreadableValue::Damaged(_)) => {
            let key = keys::describe(key);
            tracing::error!(key, "a damaged snapshot is removed; what it shares stays on the disk");
            Ok(0)
        }
    }
}
