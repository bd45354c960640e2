//! The snapshots of sessions, and templates: what a group adds to them and lets go of.

use super::super::cell::{SessionCell, SnapshotCell, TemplateCell};
use super::super::commit::{NewSnapshot, NewTemplate, Record, Shares};
use super::super::keys;
use super::super::query::Unreadable;
use super::{Group, Now, Staged};
use crate::session::id::{SessionId, SnapshotId};
use crate::store::StoreError;
use crate::store::codec::{self, Kind};

impl Group<'_> {
    /// Whether the head that comes with a record can be kept, and the head that it names is there.
    pub(super) fn check_head(
        &mut self,
        record: &Record,
        head: Option<&NewSnapshot>,
        kept: &[SnapshotId],
    ) -> Result<(), StoreError> {
        // A name that is in use would have two states.
        if let Some(head) = head
            && self.rows.get(&keys::holder(head.id))?.is_some()
        {
            return Err(StoreError::Conflict(record.id));
        }
        let named = |id: SnapshotId| head.is_some_and(|new| new.id == id) || kept.contains(&id);
        if record.head.is_none_or(named) { Ok(()) } else { Err(StoreError::SnapshotGone) }
    }

    /// Add a snapshot to a session. It has been checked.
    pub(super) fn keep(&mut self, id: SessionId, snapshot: NewSnapshot) {
        let holder = keys::holder(snapshot.id);
        self.rows.insert(&holder, codec::seal(&holder, &[id.0.as_bytes()]));
        self.rows.insert(&keys::snapshot(id, snapshot.id), snapshot.value);
        // None while it is adopted: then its name is there already.
        if let Some(Staged { now: Now::Live(live), .. }) = self.sessions.get_mut(&id) {
            live.snapshots.push(snapshot.id);
        }
    }

    /// Remove the oldest snapshots of a session beyond those that are to be kept, but for the
    /// pinned ones. What cannot be read now is removed with a later commit.
    pub(super) fn retain(&mut self, id: SessionId, pinned: &[Option<SnapshotId>]) {
        let Some(Staged { now: Now::Live(live), .. }) = self.sessions.get(&id) else { return };
        let too_many = live.snapshots.len().saturating_sub(self.shared.keep_snapshots);
        let oldest = live.snapshots.iter().filter(|snapshot| !pinned.contains(&Some(**snapshot)));
        let oldest: Vec<SnapshotId> = oldest.take(too_many).copied().collect();
        for snapshot in oldest {
            if let Err(error) = self.forget(id, snapshot) {
                tracing::error!(%snapshot, %error, "an old snapshot is not removed");
            } else if let Some(Staged { now: Now::Live(live), .. }) = self.sessions.get_mut(&id) {
                live.snapshots.retain(|kept| *kept != snapshot);
            }
        }
    }

    /// Remove a snapshot of a session. Returns how many keys that were.
    pub(super) fn forget(
        &mut self,
        id: SessionId,
        snapshot: SnapshotId,
    ) -> Result<usize, StoreError> {
        let key = keys::snapshot(id, snapshot);
        let holder = keys::holder(snapshot);
        let value = self.rows.get(&key)?;
        self.rows.get(&holder)?;
        let mut count = 2;
        if let Some(sealed) = value {
            let released = codec::unseal(Kind::Snapshot, &key, &sealed)
                .map_err(Unreadable::from)
                .and_then(|value| self.blobs.release(&SnapshotCell::read(&value)?));
            count += released_of(&key, released)?;
        }
        self.rows.remove(&key);
        self.rows.remove(&holder);
        Ok(count)
    }

    /// Keep a template, in place of one with the same key.
    pub(super) fn put_template(
        &mut self,
        template: NewTemplate,
        shares: &Shares,
    ) -> Result<bool, StoreError> {
        self.blobs.check(shares)?;
        self.rows.get(&template.key)?;
        // Before the old ones go: they may be the same.
        self.blobs.take(shares);
        if let Err(error) = self.release_template(&template.key) {
            tracing::error!(%error, "what a template held is not given back");
        }
        self.rows.insert(&template.key, template.value);
        self.templates.push((template.key, Some(template.agent)));
        Ok(true)
    }

    /// Remove a template. Returns whether it was there.
    pub(super) fn delete_template(&mut self, key: &[u8]) -> Result<bool, StoreError> {
        if self.rows.get(key)?.is_none() {
            return Ok(false);
        }
        self.release_template(key)?;
        self.rows.remove(key);
        self.templates.push((key.to_vec(), None));
        Ok(true)
    }

    fn release_template(&mut self, key: &[u8]) -> Result<(), StoreError> {
        let Some(sealed) = self.rows.get(key)? else { return Ok(()) };
        let released = codec::unseal(Kind::Template, key, &sealed)
            .map_err(Unreadable::from)
            .and_then(|value| self.blobs.release(&TemplateCell::read(&value)?.snapshot));
        released_of(key, released).map(drop)
    }

    /// Move the head of a session to where snapshots are kept: see `upgrade`. `None`: it cannot be
    /// read, and only its name stays.
    pub(in super::super) fn adopt(
        &mut self,
        id: SessionId,
        cell: SessionCell<'_>,
        head: Option<NewSnapshot>,
        shares: &Shares,
    ) -> Result<(), StoreError> {
        if let Some(head) = head {
            self.blobs.check(shares)?;
            self.blobs.take(shares);
            self.keep(id, head);
            if let Some(file) = cell.old_head.as_ref().and_then(|part| part.to_file()) {
                self.forget_file(file);
            }
        }
        let body = cell.body.to_part();
        let value = SessionCell::write(cell.front, &body, &cell.snapshots);
        self.insert(keys::session(id), &value);
        Ok(())
    }
}

/// A snapshot that cannot be read can still be removed: then its blobs stay, because nobody knows
/// which they are.
fn released_of(key: &[u8], released: Result<usize, Unreadable>) -> Result<usize, StoreError> {
    match released {
        Ok(count) => Ok(count),
        Err(Unreadable::Failed(error)) => Err(error),
        Err(Unreadable::Stale | Unreadable::Damaged(_)) => {
            let key = keys::describe(key);
            tracing::error!(key, "a damaged snapshot is removed; what it shares stays on the disk");
            Ok(0)
        }
    }
}
