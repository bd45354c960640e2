//! Sessions, and what is left of those that were removed.
//!
//! | key | value |
//! | --- | --- |
//! | `s` session | the record, the names of the snapshots, the newest turns: [`SessionCell`] |
//! | `x` session | the session is gone, and what it left behind is being removed |
//!
//! What else a session has lies in rows, whose keys begin with `r` and the session: `turns`, `snapshots`,
//! and the places of `events`. Its front is enough for the index.

mod repair;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use uuid::Uuid;

use super::super::OpenError;
use super::super::commit::Record;
use super::super::disk::ReadExtent;
use super::super::engine;
use super::super::frame::{frame, framed};
use super::super::keys::{self, of_session};
use super::super::recovery::Recovery;
use super::super::session_index::SessionFacts;
use super::super::upkeep::audit::Audit;
use super::super::upkeep::repair::Repairer;
use super::events::EventRanges;
use super::turns::{self, Turns};
use super::{Table, accounts, agents, journal, malformed};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use crate::label::Grouping;
use crate::upkeep::{Problem, UpkeepError};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::state::{Cause, Reason};

/// What the first byte of a key says.
pub(in super::super) const SESSION: u8 = b's';
/// The prefix of sessions that are being removed.
pub(in super::super) const GONE: u8 = b'x';
/// What stands before the front in the value of a session: the envelope, and how long the front is.
const BEFORE_FRONT: usize = codec::OVERHEAD + 4;
/// The largest front of a session, in bytes.
pub(in super::super) const FRONT: usize = engine::FRONT - BEFORE_FRONT;

/// Why a session is in `error` whose head is not there any more.
const CORRUPT: &str = Cause::SnapshotCorrupt.as_str();

/// The sessions.
pub(super) struct SessionTable;

/// Those that are being removed.
pub(super) struct GoneTable;

/// A session.
pub(in super::super) fn session(id: SessionId) -> [u8; 17] {
    of_session(SESSION, id)
}

/// A session that is being removed.
pub(in super::super) fn gone(id: SessionId) -> [u8; 17] {
    of_session(GONE, id)
}

/// The value of a session.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct SessionCell {
    /// The front of the record.
    pub(in super::super) front: Bytes,
    /// The body of the record.
    pub(in super::super) body: Bytes,
    /// The snapshots that are kept, the oldest first.
    pub(in super::super) snapshots: Vec<KeptSnapshot>,
    /// The newest turns.
    pub(in super::super) turns: Turns,
    /// The places of the newest events.
    pub(in super::super) places: EventRanges,
}

/// A snapshot that a session keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct KeptSnapshot {
    /// Its name.
    pub(in super::super) id: SnapshotId,
    /// Whether it has something in blobs.
    pub(in super::super) shares: bool,
}

impl SessionCell {
    /// Take a value apart.
    pub(in super::super) fn read(value: &Bytes) -> Result<SessionCell, CodecError> {
        let (front, rest) = framed(value)?;
        let (body, rest) = framed(rest)?;
        let (names, rest) = framed(rest)?;
        let (turns, places) = framed(rest)?;
        let (names, cut) = names.as_chunks::<17>();
        if !cut.is_empty() {
            return Err(malformed("the name of a snapshot is cut short"));
        }
        let name = |[id @ .., shares]: &[u8; 17]| KeptSnapshot {
            id: SnapshotId(Uuid::from_bytes(*id)),
            shares: *shares == 1,
        };
        Ok(SessionCell {
            front: value.slice_ref(front),
            body: value.slice_ref(body),
            snapshots: names.iter().map(name).collect(),
            turns: Turns::read(turns)?,
            places: EventRanges::read(places)?,
        })
    }

    /// How many bytes it takes.
    pub(in super::super) fn size(&self) -> usize {
        let tails = self.turns.as_bytes().len() + self.places.as_bytes().len();
        let names = 17 * self.snapshots.len();
        16 + self.front.len() + self.body.len() + names + tails
    }

    /// Put a value together, in the envelope for this key.
    pub(in super::super) fn seal(&self, key: &[u8]) -> Vec<u8> {
        let mut out = codec::Envelope::with_capacity(self.size());
        frame(out.payload(), |out| out.extend_from_slice(&self.front));
        frame(out.payload(), |out| out.extend_from_slice(&self.body));
        frame(out.payload(), |out| {
            for KeptSnapshot { id, shares } in &self.snapshots {
                out.extend_from_slice(id.0.as_bytes());
                out.push(u8::from(*shares));
            }
        });
        frame(out.payload(), |out| out.extend_from_slice(self.turns.as_bytes()));
        out.payload().extend_from_slice(self.places.as_bytes());
        out.seal(key)
    }

    /// How the engine keeps a value with this front.
    pub(in super::super) fn class(front: &[u8]) -> engine::Class {
        // Larger ones have been refused.
        let length = u16::try_from(BEFORE_FRONT + front.len()).unwrap_or(u16::MAX);
        engine::Class::Fronted(length)
    }
}

/// The front of a session in what the index has of its value. The index has checked it.
pub(in super::super) fn read_front(value: &[u8]) -> Result<&[u8], CodecError> {
    let (envelope, rest) =
        value.split_at_checked(codec::OVERHEAD).ok_or_else(|| malformed("a value is cut short"))?;
    codec::check_version(envelope[0])?;
    Ok(framed(rest)?.0)
}

/// A record, encoded.
pub(super) fn record(session: &Session) -> Result<Record, StoreError> {
    let front = codec::encode_front(session);
    if front.len() > FRONT {
        let what = "the owner, the agent, the labels and the state of a session in bytes";
        return Err(StoreError::TooLarge { what, limit: FRONT });
    }
    Ok(Record {
        id: session.id,
        revision: session.revision,
        head: session.head,
        pinned: session.before_upgrade.as_ref().and_then(|before| before.head),
        front,
        body: codec::encode_body(session),
        facts: SessionFacts::new(session, Grouping::of(session)),
    })
}

impl Table for SessionTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&SESSION)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        Some(format!("session/{}", keys::session_of(SESSION, key)?))
    }

    fn session(&self, key: &[u8]) -> Option<SessionId> {
        keys::session_in(key)
    }

    fn is_part(&self) -> bool {
        true
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        recovery.each(&[SESSION], ReadExtent::Front, |index, key, front| {
            let (session, grouping) = codec::decode_front_with_grouping(read_front(front)?)?;
            let id = session.id;
            if keys::session_of(SESSION, key) != Some(id) {
                return Err(malformed("it is another session"));
            }
            index.put(id, SessionFacts::new(&session, grouping));
            Ok(())
        })
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let value = Bytes::from(codec::unseal(RecordKind::Session, key, value)?.into_owned());
        let cell = SessionCell::read(&value)?;
        let record = codec::decode_session(&cell.front, &cell.body)?;
        let id = record.id;
        if self::session(id) != key {
            return Err(malformed("it is another session"));
        }
        let rows = audit.seen::<Seen>().rows.get(&id).copied().unwrap_or_default();
        let (last_turn, turns) = turns::follow(&cell.turns, rows.last_turn, rows.has_gap)?;
        audit.report().read.turns += turns;
        audit.report().read.sessions += 1;
        let seen = audit.seen::<Seen>();
        seen.rows.remove(&id);
        let holders = seen.holders.remove(&id).unwrap_or_default();
        agents::refer(audit, Some(id), key, &record.profile.agent);
        journal::check::has_session(audit, id, record.usage.last_turn());
        accounts::check::has_session(audit, &record);
        if !audit.is_exact() {
            return Ok(());
        }
        if last_turn.is_some_and(|last| last != record.usage.last_turn()) && !rows.has_gap {
            let (last, all) = (last_turn.unwrap_or(0), record.usage.last_turn());
            audit.tell(Problem::Missing, id, format!("its turns end with {last}, of {all}"));
        }
        check_snapshots(audit, &record, &cell, rows.snapshots, holders);
        Ok(())
    }

    /// Told once is enough.
    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        self.set_aside(audit, key);
    }

    fn set_aside(&self, audit: &mut Audit, key: &[u8]) {
        if let Some(id) = keys::session_in(key) {
            audit.seen::<Seen>().aside.insert(id);
            journal::check::has_remains(audit, id);
        }
    }

    /// What is left in rows belongs to no session.
    fn compare(&self, audit: &mut Audit) {
        let seen = std::mem::take(audit.seen::<Seen>());
        let is_aside = |id: &SessionId| seen.aside.contains(id);
        let has_rows = |rows: &SeenRows| rows.snapshots.count > 0 || rows.last_turn.is_some();
        let rows = seen.rows.iter().filter(|(id, rows)| has_rows(rows) && !is_aside(id));
        let held = seen.holders.keys().filter(|id| !is_aside(id) && !seen.rows.contains_key(id));
        for id in rows.map(|(id, _)| id).chain(held) {
            let what = "there is no such session, but rows of it".to_owned();
            audit.tell(Problem::Stray, *id, what);
        }
    }

    /// The worst of what becomes of a session counts.
    fn repair(&self, repairer: &mut Repairer<'_>) -> Result<(), UpkeepError> {
        for id in repairer.concerned() {
            if let Some(outcome) = repairer.session(id)? {
                repairer.note(id, outcome);
            }
        }
        Ok(())
    }
}

impl Table for GoneTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&GONE)
    }

    fn describe(&self, _: &[u8]) -> Option<String> {
        None
    }

    fn session(&self, key: &[u8]) -> Option<SessionId> {
        keys::session_in(key)
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        for entry in recovery.disk.prefix(&[GONE]) {
            if let Some(id) = keys::session_of(GONE, &entry?.0) {
                recovery.index.remove(id);
                recovery.left.gone.push(id);
            }
        }
        Ok(())
    }

    fn check(&self, audit: &mut Audit, key: &[u8], _: &Bytes) -> Result<(), CodecError> {
        if let Some(id) = keys::session_in(key) {
            let seen = audit.seen::<Seen>();
            seen.rows.remove(&id);
            seen.holders.remove(&id);
            journal::check::has_remains(audit, id);
        }
        Ok(())
    }
}

/// What an audit has seen of sessions.
#[derive(Default)]
struct Seen {
    holders: HashMap<SessionId, SnapshotNames>,
    rows: HashMap<SessionId, SeenRows>,
    aside: HashSet<SessionId>,
}

/// Names of snapshots: how many, and their sum, for which their order makes no difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SnapshotNames {
    count: u64,
    sum: u128,
}

impl SnapshotNames {
    pub(super) fn add(&mut self, name: SnapshotId) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(name.0.as_u128());
    }
}

/// What an audit has seen of the rows of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SeenRows {
    pub(super) snapshots: SnapshotNames,
    pub(super) last_turn: Option<u64>,
    /// Whether turns are missing, and it is known why.
    pub(super) has_gap: bool,
}

/// What an audit has seen of the rows of this session.
pub(super) fn rows_of(audit: &mut Audit, id: SessionId) -> &mut SeenRows {
    audit.seen::<Seen>().rows.entry(id).or_default()
}

/// The snapshots that an audit has seen to be found by name as this session's.
pub(super) fn holders_of(audit: &mut Audit, id: SessionId) -> &mut SnapshotNames {
    audit.seen::<Seen>().holders.entry(id).or_default()
}

fn check_snapshots(
    audit: &mut Audit,
    record: &Session,
    cell: &SessionCell,
    rows: SnapshotNames,
    holders: SnapshotNames,
) {
    let mut listed = SnapshotNames::default();
    cell.snapshots.iter().for_each(|kept| listed.add(kept.id));
    let id = record.id;
    if listed != rows {
        let what = format!("it lists {} snapshots, and has {}", listed.count, rows.count);
        audit.tell(Problem::Missing, id, what);
    }
    if rows != holders {
        let what = format!("of its {} snapshots {} are found by name", rows.count, holders.count);
        audit.tell(Problem::Miscounted, id, what);
    }
    let is_listed = |head: SnapshotId| cell.snapshots.iter().any(|kept| kept.id == head);
    let before = record.before_upgrade.as_ref().and_then(|before| before.head);
    let is_known = record.state.reason() == Some(&Reason::new(CORRUPT));
    for head in [record.head, before].into_iter().flatten() {
        if !is_listed(head) && !is_known {
            audit.tell(Problem::Missing, id, format!("its head {head} is not there"));
        }
    }
}
