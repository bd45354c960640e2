//! What a group removes because of its age.

use std::time::Duration;

use super::super::keys;
use super::super::tables::idempotency;
use super::super::tables::turns::Turns;
use super::{CommitGroup, Now};
use crate::StoreError;
use crate::codec::{self, RecordKind};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::time::Timestamp;

/// The most rows of turns that are removed of a session at once.
const ROWS: usize = 64;

impl CommitGroup<'_> {
    /// Remove what is too old at this time: of the log, and of these sessions.
    pub(super) fn expire(&mut self, now: Timestamp, sessions: &[SessionId]) {
        let keep = &self.shared.keep;
        let before = |age: Option<Duration>| age.map(|age| now.before(age));
        let (events, turns, snapshots) =
            (before(keep.events_for), before(keep.turns_for), before(keep.snapshots_for));
        if let Some(events) = events {
            self.forget_events_before(events);
        }
        for id in sessions {
            // The others have their turn with the next walk.
            if self.is_large() {
                break;
            }
            // One that is gone or damaged has nothing that expires.
            if self.live(*id).is_err() {
                continue;
            }
            if let Some(snapshots) = snapshots {
                self.forget_snapshots_before(*id, snapshots);
            }
            if let Some(turns) = turns
                && let Err(error) = self.forget_turns_before(*id, turns)
            {
                tracing::error!(session = %id, %error, "old turns are not removed");
            }
            self.put_back(*id);
        }
    }

    /// Remove those of these idempotency keys that may be forgotten at this time. One may have been
    /// forgotten and used again since somebody has found that.
    pub(super) fn forget_keys(&mut self, now: Timestamp, keys: &[Vec<u8>]) {
        for key in keys {
            let value = self.row(key).ok().flatten();
            if value.is_some_and(|value| idempotency::has_expired(key, &value, now)) {
                self.rows.remove(key);
            }
        }
    }

    /// Forget a session in which nothing was too old.
    fn put_back(&mut self, id: SessionId) {
        if let Some(Now::Live(live)) = self.sessions.get(&id)
            && !live.changed
        {
            self.loaded = self.loaded.saturating_sub(live.cell.size());
            self.sessions.remove(&id);
        }
    }

    /// The head stays, and what the session may go back to after an upgrade.
    fn forget_snapshots_before(&mut self, id: SessionId, time: Timestamp) {
        let Some(Now::Live(live)) = self.sessions.get(&id) else { return };
        let Ok(record) = codec::decode_front(&live.cell.front) else { return };
        let pinned = [record.head, record.before_upgrade.and_then(|before| before.head)];
        let is_old = |id: SnapshotId| id.made_at().is_some_and(|made_at| made_at < time);
        let snapshots = live.cell.snapshots.iter();
        let old = snapshots.filter(|kept| !pinned.contains(&Some(kept.id)) && is_old(kept.id));
        let old: Vec<_> = old.copied().collect();
        self.forget_all(id, &old);
    }

    fn forget_turns_before(&mut self, id: SessionId, time: Timestamp) -> Result<(), StoreError> {
        let is_old =
            |turn: &[u8]| codec::decode_turn(turn).is_ok_and(|turn| turn.started_at < time);
        let mut rows = 0;
        for entry in self.shared.disk.first_fronts(&keys::turns(id), ROWS) {
            let (key, _) = entry?;
            rows += 1;
            let newest_is_old = match self.shared.disk.get(&key) {
                Ok(Some(sealed)) => codec::unseal(RecordKind::Turn, &key, &sealed)
                    .and_then(|row| Turns::read(&row))
                    .is_ok_and(|turns| turns.last().is_some_and(&is_old)),
                Ok(None) => true,
                // It tells nothing to anybody; but it is damage, which is not to go unseen.
                Err(StoreError::Damaged(_)) => false,
                Err(error) => return Err(error),
            };
            if !newest_is_old {
                return Ok(());
            }
            self.rows.remove(&key);
        }
        // There may be more rows: turns go in the order of their numbers.
        if rows == ROWS {
            return Ok(());
        }
        if let Some(Now::Live(live)) = self.sessions.get_mut(&id) {
            let mut left = Turns::default();
            for (number, turn) in live.cell.turns.iter().flatten() {
                if !is_old(turn) {
                    left.push(number, turn);
                }
            }
            if left != live.cell.turns {
                live.cell.turns = left;
                live.changed = true;
            }
        }
        Ok(())
    }

    /// Remove the first rows of turns, where there are more turns than are to be kept. A row goes
    /// when all of it may go.
    pub(super) fn retain_turns(&mut self, id: SessionId, newest: u64) {
        let Some(end) = newest.checked_sub(self.shared.keep.turns) else { return };
        for entry in self.shared.disk.first_fronts(&keys::turns(id), 2) {
            let Ok((key, _)) = entry else { return };
            if keys::number(&key).is_none_or(|last| last > end) {
                return;
            }
            self.rows.remove(key);
        }
    }
}
