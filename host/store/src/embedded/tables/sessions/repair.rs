//! What a repair makes of a session: it has just the snapshots that can be read, and what it has lost is
//! written down.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;

use super::super::super::disk::ReadExtent;
use super::super::super::keys::{self, SessionRow};
use super::super::super::upkeep::repair::Repairer;
use super::super::events::{EventRange, EventRanges};
use super::super::snapshots::{self, SnapshotCell};
use super::super::turns;
use super::{CORRUPT, KeptSnapshot, SessionCell, read_front};
use crate::codec::{self, CodecError, RecordKind};
use crate::upkeep::{RepairOutcome, UpkeepError};
use dormouse_domain::agent::{AgentOwner, AgentRef};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::state::{Cause, Move, Reason};
use dormouse_domain::transition;

/// Why a session is in `error` whose last turns are lost.
const LOST: &str = Cause::StateLost.as_str();
/// Why a session is in `error` of whose record little is left: what its index had.
const RECORD: &str = Cause::RecordDamaged.as_str();

/// What a session has in rows that can be read.
#[derive(Default)]
struct Rows {
    snapshots: BTreeMap<SnapshotId, Bytes>,
    last_turn: Option<u64>,
    any: bool,
}

impl Repairer<'_> {
    /// Mend a session. Returns what became of it, where it is there.
    pub(super) fn session(&mut self, id: SessionId) -> Result<Option<RepairOutcome>, UpkeepError> {
        let (has_lost, front) = (self.has_lost(id), self.front(id));
        let key = keys::session(id);
        if self.disk.get(&keys::gone(id))?.is_some() {
            return Ok(None);
        }
        let value = self.disk.get(&key)?;
        let read = value.as_ref().map(|value| read_session(&key, value));
        let rows = self.rows(id)?;
        let is_there = matches!(read, Some(Ok(_)));
        let found = match read {
            Some(Ok(found)) => Some(found),
            Some(Err(_)) | None => front.and_then(|front| rebuild(id, front, &rows)),
        };
        let found = found.map(|(record, cell)| (self.with_agent(record), cell));
        let Some((record, mut cell)) = found else {
            // Its rows stay until it is deleted.
            let is_known = self.disk.get(&keys::aside(&key))?.is_some();
            if !is_known && (value.is_some() || rows.any || has_lost) {
                self.take_away(&key, value.unwrap_or_default());
            }
            let snapshots = rows.snapshots.into_keys().collect();
            self.kept.insert(id, snapshots);
            return Ok(Some(RepairOutcome::Lost));
        };
        let before = cell.clone();
        cell.snapshots.retain(|kept| rows.snapshots.contains_key(&kept.id));
        let kept: HashSet<_> = cell.snapshots.iter().map(|kept| kept.id).collect();
        for (snapshot, value) in rows.snapshots {
            if !kept.contains(&snapshot) {
                self.take_away(&keys::snapshot(id, snapshot), value);
            }
        }
        if let (Some(last), Some(first)) = (rows.last_turn, cell.turns.first())
            && last + 1 < first
        {
            self.set_aside(&keys::turn(id, first - 1), Bytes::new());
        }
        let end = cell.turns.end().or(rows.last_turn);
        if end.is_some_and(|end| end < record.usage.last_turn()) {
            self.set_aside(&keys::turn(id, record.usage.last_turn()), Bytes::new());
        }
        let is_older = has_lost && before.snapshots == cell.snapshots;
        let lost = match (is_there, is_older) {
            (false, _) => Some(RECORD),
            (true, true) => Some(LOST),
            (true, false) => None,
        };
        let outcome = self.record(&key, &record, &mut cell, lost);
        self.kept.insert(id, kept);
        self.flush_if_large()?;
        Ok(Some(outcome))
    }

    /// The record with the agent that it refers to. One that could not be read when agents got owners
    /// still refers to one of the host's: where there is none, it was the owner's own.
    fn with_agent(&self, mut record: Session) -> Session {
        let is_there =
            |agent: &AgentRef| matches!(self.disk.get(&keys::agent(agent)), Ok(Some(_)) | Err(_));
        if !is_there(&record.profile.agent) {
            let owner = AgentOwner::Principal(record.owner.clone());
            let own = AgentRef { owner, ..record.profile.agent.clone() };
            if is_there(&own) {
                record.profile.agent = own;
            }
        }
        record
    }

    /// Write the record of a session anew. Where its head is gone, or something else of which the
    /// reason is given, it goes into `error`.
    fn record(
        &mut self,
        key: &[u8],
        before: &Session,
        cell: &mut SessionCell,
        lost: Option<&str>,
    ) -> RepairOutcome {
        let has = |head: SnapshotId| cell.snapshots.iter().any(|kept| kept.id == head);
        let mut after = before.clone();
        after.revision += 1;
        if after.before_upgrade.as_ref().is_some_and(|before| !before.head.is_none_or(has)) {
            after.before_upgrade = None;
        }
        let head_is_lost = !before.head.is_none_or(has);
        let mut outcome = RepairOutcome::Shortened;
        if let Some(reason) = if head_is_lost { Some(CORRUPT) } else { lost } {
            match before.state.after(Move::Fail(Reason::new(reason))) {
                Ok(state) => {
                    after.state = state;
                    outcome = RepairOutcome::Error;
                }
                // It has ended, and needs no head any more.
                Err(_) if head_is_lost => after.set_head(None),
                Err(_) => {}
            }
        }
        if let Some(event) = transition::ending(before, &mut after, self.now) {
            let last = self.log(&event);
            cell.places.push(EventRange { last: last.0, count: 1 });
        }
        cell.front = codec::encode_front(&after).into();
        cell.body = codec::encode_body(&after).into();
        let value = cell.seal(key);
        self.put(SessionCell::class(&cell.front), key, value.into());
        outcome
    }

    /// What of the rows of a session can be read. The others are set aside.
    fn rows(&mut self, id: SessionId) -> Result<Rows, UpkeepError> {
        let mut rows = Rows::default();
        for entry in self.disk.walk(&keys::rows(id), ReadExtent::Whole) {
            let (key, value) = entry?;
            rows.any = true;
            let Some(value) = value else { continue };
            let good = match keys::row_of(&key) {
                Some((_, SessionRow::Snapshot(snapshot))) => {
                    let good = snapshots::is_good(self, snapshot, &key, &value);
                    if good {
                        rows.snapshots.insert(snapshot, value.clone());
                    }
                    good
                }
                Some((_, SessionRow::Turns(last))) => match turns::read_all(&key, &value) {
                    Ok(turns) => {
                        if let (Some(before), Some(first)) = (rows.last_turn, turns.first())
                            && before + 1 < first
                        {
                            self.set_aside(&keys::turn(id, first - 1), Bytes::new());
                        }
                        rows.last_turn = Some(last);
                        true
                    }
                    Err(_) => {
                        rows.last_turn = Some(last);
                        false
                    }
                },
                Some((_, SessionRow::Places(_))) => codec::unseal(RecordKind::Places, &key, &value)
                    .is_ok_and(|value| EventRanges::read(&value).is_ok()),
                None => false,
            };
            if !good {
                self.take_away(&key, value);
            }
        }
        Ok(rows)
    }
}

/// A session of whose record there is the front only: who it is, its state, its limits and its head. Its
/// snapshots and the number of its turns are those of its rows.
fn rebuild(id: SessionId, front: &[u8], rows: &Rows) -> Option<(Session, SessionCell)> {
    let mut record = codec::decode_front(read_front(front).ok()?).ok()?;
    if record.id != id {
        return None;
    }
    let turns = rows.snapshots.iter().filter_map(|(snapshot, value)| {
        let key = keys::snapshot(id, *snapshot);
        let value = codec::unseal(RecordKind::Snapshot, &key, value).ok()?;
        Some(codec::decode_summary(SnapshotCell::read(&value).ok()?.outline).ok()?.turn)
    });
    record.usage.turns = turns.chain(rows.last_turn).max().unwrap_or(0);
    // Their names are in the order in which they were made.
    let kept = |id: &SnapshotId| KeptSnapshot { id: *id, shares: true };
    let snapshots = rows.snapshots.keys().map(kept).collect();
    Some((record, SessionCell { snapshots, ..SessionCell::default() }))
}

fn read_session(key: &[u8], value: &Bytes) -> Result<(Session, SessionCell), CodecError> {
    let value = Bytes::from(codec::unseal(RecordKind::Session, key, value)?.into_owned());
    let cell = SessionCell::read(&value)?;
    let record = codec::decode_session(&cell.front, &cell.body)?;
    for turn in cell.turns.iter() {
        codec::decode_turn(turn?.1)?;
    }
    Ok((record, cell))
}
