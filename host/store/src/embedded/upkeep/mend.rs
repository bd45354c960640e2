//! Making a whole of what the engine has left: each session has just the snapshots that can be read,
//! blobs are counted as they are used, and what is lost is written down.
//!
//! Nothing is removed that can be read: it is set aside, under a key that begins with `q`. Each batch
//! leaves a store that opens, and what is still wrong is found again; so a repair that was interrupted
//! is run once more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::super::OpenError;
use super::super::blob::{self, BlobId};
use super::super::cell::{
    self, Content, KeptSnapshot, Place, Places, SessionCell, SnapshotCell, Turns,
};
use super::super::disk::{Disk, Read, WriteError};
use super::super::engine::{Batch, Class};
use super::super::keys::{self, Row};
use super::audit::{self, Audited, Blob, BlobBytes};
use crate::StoreError;
use crate::codec::{self, CodecError, Kind};
use crate::upkeep::{MAX_FINDINGS, Mended, Outcome, RepairReport, UpkeepError};
use dormouse_base::clock::Clock;
use dormouse_domain::agent::{AgentOwner, AgentRef};
use dormouse_domain::event::{Cursor, Event};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::state::{Cause, Move, Reason};
use dormouse_domain::time::Timestamp;
use dormouse_domain::transition;

/// Why a session is in `error` whose last turns are lost.
const LOST: &str = Cause::StateLost.as_str();

/// Why a session is in `error` of whose record little is left: what its index had.
const RECORD: &str = Cause::RecordDamaged.as_str();

/// A batch is written when it has this many bytes, about.
const BATCH: usize = 4 << 20;

/// How often what is wrong is mended.
const PASSES: usize = 3;

/// What the engine has told to be lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    count: u64,
    told: Vec<String>,
    sessions: BTreeSet<SessionId>,
    /// What the index had of the records of sessions.
    fronts: HashMap<SessionId, Bytes>,
    others: Vec<Vec<u8>>,
}

impl Lost {
    /// Take in a key, what is wrong with it, and what the index has of its value.
    pub(super) fn tell(&mut self, key: &[u8], what: &str, front: Option<Bytes>) {
        self.count += 1;
        if self.told.len() < MAX_FINDINGS {
            self.told.push(format!("{}: {what}", keys::describe(key)));
        }
        self.sessions.extend(keys::concerned(key));
        match key {
            [keys::SESSION, ..] => self.fronts.extend(keys::concerned(key).zip(front)),
            [keys::AGENT | keys::TEMPLATE, ..] => self.others.push(key.to_vec()),
            _ => {}
        }
    }
}

/// Mend what is wrong, apart from what the engine has mended.
pub(super) fn mend(disk: &Disk, lost: Lost) -> Result<RepairReport, UpkeepError> {
    let mut audited = super::audit(disk, &|| false)?;
    if let Some(newer) = audited.newer {
        return Err(OpenError::NewerFormat(newer).into());
    }
    let mut report = RepairReport { problems: lost.count, ..RepairReport::default() };
    report.problems += audited.report.problems;
    if report.problems == 0 {
        return Ok(report);
    }
    report.done.extend(lost.told.iter().cloned());
    let mut outcomes = BTreeMap::new();
    let mut lost = Some(lost);
    // What one pass takes away, something else may have referred to.
    for _ in 0..PASSES {
        let told = audited.report.findings.iter().map(|finding| finding.what.clone());
        report.done.extend(told);
        pass(disk, &audited, &lost.take().unwrap_or_default(), &mut outcomes)?;
        count_blobs(disk)?;
        audited = super::audit(disk, &|| false)?;
        if audited.report.is_well() {
            break;
        }
    }
    report.done.truncate(MAX_FINDINGS);
    report.left = audited.report.findings.into_iter().map(|finding| finding.what).collect();
    report.done.retain(|done| !report.left.contains(done));
    let mended = |(session, outcome)| Mended { session, outcome };
    report.sessions = outcomes.into_iter().map(mended).collect();
    Ok(report)
}

/// Mend what one audit has found. The worst of what becomes of a session counts.
fn pass(
    disk: &Disk,
    audited: &Audited,
    lost: &Lost,
    outcomes: &mut BTreeMap<SessionId, Outcome>,
) -> Result<(), UpkeepError> {
    let last = disk.last(&[keys::EVENTS])?.and_then(|key| keys::number(&key));
    let mut mender = Mender {
        disk,
        blobs: &audited.blobs,
        now: Clock::real().now(),
        cursor: Cursor(last.unwrap_or(0)),
        batch: Batch::default(),
        size: 0,
        piece: Vec::new(),
        kept: HashMap::new(),
    };
    for key in &lost.others {
        // A record that is there is an earlier one.
        if disk.get(key)?.is_none() {
            mender.set_aside(key, Bytes::new());
        }
    }
    for key in &audited.useless {
        let value = disk.get(key)?.unwrap_or_default();
        mender.take_away(key, value);
    }
    audited.strays.iter().for_each(|digest| mender.remove(&keys::component(*digest)));
    for id in audited.sessions.union(&lost.sessions) {
        let front = lost.fronts.get(id);
        if let Some(outcome) = mender.session(*id, lost.sessions.contains(id), front)? {
            let known = outcomes.entry(*id).or_insert(outcome);
            *known = outcome.max(*known);
        }
    }
    mender.holders()?;
    mender.flush()
}

/// Count the uses of all blobs again.
fn count_blobs(disk: &Disk) -> Result<(), UpkeepError> {
    let mut batch = Batch::default();
    for (id, Blob { counted, used, bytes }) in super::audit(disk, &|| false)?.blobs {
        let key = keys::blob(&id);
        if used == 0 {
            batch.delete(key.to_vec());
            batch.delete(keys::content(&id).to_vec());
        } else if counted != used && bytes == BlobBytes::Good {
            let value = codec::seal(&key, &[&blob::write_uses(used)]);
            batch.put(Class::Inline, key.to_vec(), value);
        }
        if batch.size() > BATCH {
            write(disk, std::mem::take(&mut batch))?;
        }
    }
    write(disk, batch)
}

fn write(disk: &Disk, batch: Batch) -> Result<(), UpkeepError> {
    disk.write(batch).map_err(|error| {
        UpkeepError::Store(match error {
            WriteError::Full => StoreError::Full,
            WriteError::Refused(error) => error,
            WriteError::Failed(reason) => StoreError::Unknown(reason),
        })
    })
}

struct Mender<'a> {
    disk: &'a Disk,
    blobs: &'a HashMap<BlobId, Blob>,
    now: Timestamp,
    /// The last event.
    cursor: Cursor,
    batch: Batch,
    size: usize,
    /// The events of this batch.
    piece: Vec<u8>,
    /// The snapshots that the sessions have which were mended.
    kept: HashMap<SessionId, HashSet<SnapshotId>>,
}

/// What a session has in rows that can be read.
#[derive(Default)]
struct Rows {
    snapshots: BTreeMap<SnapshotId, Bytes>,
    last_turn: Option<u64>,
    any: bool,
}

impl Mender<'_> {
    /// Mend a session. Returns what became of it, where it is there.
    fn session(
        &mut self,
        id: SessionId,
        has_lost: bool,
        front: Option<&Bytes>,
    ) -> Result<Option<Outcome>, UpkeepError> {
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
            return Ok(Some(Outcome::Lost));
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
        let end = cell.turns.iter().flatten().last().map(|turn| turn.0).or(rows.last_turn);
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
    ) -> Outcome {
        let has = |head: SnapshotId| cell.snapshots.iter().any(|kept| kept.id == head);
        let mut after = before.clone();
        after.revision += 1;
        if after.before_upgrade.as_ref().is_some_and(|before| !before.head.is_none_or(has)) {
            after.before_upgrade = None;
        }
        let head_is_lost = !before.head.is_none_or(has);
        let mut outcome = Outcome::Shortened;
        if let Some(reason) = if head_is_lost { Some(audit::CORRUPT) } else { lost } {
            match before.state.after(Move::Fail(Reason::new(reason))) {
                Ok(state) => {
                    after.state = state;
                    outcome = Outcome::Error;
                }
                // It has ended, and needs no head any more.
                Err(_) if head_is_lost => after.set_head(None),
                Err(_) => {}
            }
        }
        if let Some(event) = transition::ending(before, &mut after, self.now) {
            let last = self.log(&event);
            cell.places.push(Place { last: last.0, count: 1 });
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
        for entry in self.disk.walk(&keys::rows(id), Read::Whole) {
            let (key, value) = entry?;
            rows.any = true;
            let Some(value) = value else { continue };
            let good = match keys::row_of(&key) {
                Some((_, Row::Snapshot(snapshot))) => {
                    let good = self.is_good(snapshot, &key, &value);
                    if good {
                        rows.snapshots.insert(snapshot, value.clone());
                    }
                    good
                }
                Some((_, Row::Turns(last))) => match read_turns(&key, &value) {
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
                Some((_, Row::Places(_))) => codec::unseal(Kind::Places, &key, &value)
                    .is_ok_and(|value| Places::read(&value).is_ok()),
                None => false,
            };
            if !good {
                self.take_away(&key, value);
            }
        }
        Ok(rows)
    }

    /// Whether a snapshot decodes, and all its blobs are there.
    fn is_good(&self, snapshot: SnapshotId, key: &[u8], value: &[u8]) -> bool {
        let Ok(value) = codec::unseal(Kind::Snapshot, key, value) else { return false };
        let Ok(cell) = SnapshotCell::read(&value) else { return false };
        if !codec::decode_summary(cell.outline).is_ok_and(|summary| summary.id == snapshot) {
            return false;
        }
        let has =
            |id: BlobId| self.blobs.get(&id).is_some_and(|blob| blob.bytes == BlobBytes::Good);
        let data = match cell.data {
            Content::Inline(_) => true,
            Content::Blob(digest) => has(BlobId::Data(digest)),
        };
        let list = match cell.chunks {
            Content::Inline(list) => Some(Bytes::copy_from_slice(list)),
            Content::Blob(digest) => {
                self.disk.get(&keys::content(&BlobId::List(digest))).ok().flatten()
            }
        };
        let chunks = list.and_then(|list| codec::decode_chunks(&list).ok());
        data && chunks
            .is_some_and(|chunks| chunks.iter().all(|chunk| has(BlobId::Chunk(chunk.digest))))
    }

    /// Let each snapshot of the sessions that were mended be found by its name, and no other.
    fn holders(&mut self) -> Result<(), UpkeepError> {
        let mut found: HashSet<SnapshotId> = HashSet::new();
        for entry in self.disk.walk(&[keys::HOLDER], Read::Whole) {
            let (key, value) = entry?;
            let holder = value.and_then(|value| {
                let value = codec::unseal(Kind::Note, &key, &value).ok()?;
                keys::session_of(keys::SESSION, &[&[keys::SESSION], &*value].concat())
            });
            let Some(snapshot) = keys::held(&key) else { continue };
            match holder.and_then(|id| self.kept.get(&id)) {
                Some(kept) if kept.contains(&snapshot) => drop(found.insert(snapshot)),
                None if holder.is_some() => {}
                Some(_) | None => self.remove(&key),
            }
        }
        let missing: Vec<_> = self
            .kept
            .iter()
            .flat_map(|(id, kept)| kept.iter().map(|snapshot| (*id, *snapshot)))
            .filter(|(_, snapshot)| !found.contains(snapshot))
            .collect();
        for (id, snapshot) in missing {
            let key = keys::holder(snapshot);
            let value = codec::seal(&key, &[id.0.as_bytes()]);
            self.put(Class::Inline, &key, value.into());
            self.flush_if_large()?;
        }
        Ok(())
    }

    fn log(&mut self, event: &Event) -> Cursor {
        self.cursor.0 += 1;
        cell::append_event(&mut self.piece, &codec::encode_event(event));
        self.cursor
    }

    /// Set the value of a key aside, and remove the key.
    fn take_away(&mut self, key: &[u8], value: Bytes) {
        self.set_aside(key, value);
        self.remove(key);
    }

    fn set_aside(&mut self, key: &[u8], value: Bytes) {
        self.put(Class::Rows, &keys::aside(key), value);
    }

    fn put(&mut self, class: Class, key: &[u8], value: Bytes) {
        self.size += key.len() + value.len() + 64;
        self.batch.put(class, key.to_vec(), value);
    }

    fn remove(&mut self, key: &[u8]) {
        self.size += key.len() + 64;
        self.batch.delete(key.to_vec());
    }

    fn flush_if_large(&mut self) -> Result<(), UpkeepError> {
        if self.size > BATCH { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), UpkeepError> {
        if !self.piece.is_empty() {
            let key = keys::events(self.cursor);
            let value = codec::seal(&key, &[&self.piece]);
            self.put(Class::Rows, &key, value.into());
            self.piece.clear();
        }
        self.size = 0;
        write(self.disk, std::mem::take(&mut self.batch))
    }
}

/// A session of whose record there is the front only: who it is, its state, its limits and its head. Its
/// snapshots and the number of its turns are those of its rows.
fn rebuild(id: SessionId, front: &[u8], rows: &Rows) -> Option<(Session, SessionCell)> {
    let mut record = codec::decode_front(cell::read_front(front).ok()?).ok()?;
    if record.id != id {
        return None;
    }
    let turns = rows.snapshots.iter().filter_map(|(snapshot, value)| {
        let key = keys::snapshot(id, *snapshot);
        let value = codec::unseal(Kind::Snapshot, &key, value).ok()?;
        Some(codec::decode_summary(SnapshotCell::read(&value).ok()?.outline).ok()?.turn)
    });
    record.usage.turns = turns.chain(rows.last_turn).max().unwrap_or(0);
    // Their names are in the order in which they were made.
    let kept = |id: &SnapshotId| KeptSnapshot { id: *id, shares: true };
    let snapshots = rows.snapshots.keys().map(kept).collect();
    Some((record, SessionCell { snapshots, ..SessionCell::default() }))
}

fn read_session(key: &[u8], value: &Bytes) -> Result<(Session, SessionCell), CodecError> {
    let value = Bytes::from(codec::unseal(Kind::Session, key, value)?.into_owned());
    let cell = SessionCell::read(&value)?;
    let record = codec::decode_session(&cell.front, &cell.body)?;
    for turn in cell.turns.iter() {
        codec::decode_turn(turn?.1)?;
    }
    Ok((record, cell))
}

fn read_turns(key: &[u8], value: &[u8]) -> Result<Turns, CodecError> {
    let turns = Turns::read(&codec::unseal(Kind::Turn, key, value)?)?;
    for turn in turns.iter() {
        codec::decode_turn(turn?.1)?;
    }
    Ok(turns)
}
