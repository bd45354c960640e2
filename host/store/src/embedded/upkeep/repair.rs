//! Repairs what the engine has left: what cannot be read is set aside, and each table repairs what it has: each session has just the snapshots that can be read, blobs are counted as they are used, and what
//! is lost is written down.
//!
//! Nothing is removed that can be read: it is set aside, under a key that begins with `q`. Each batch
//! leaves a store that opens, and what is still wrong is found again; so a repair that was interrupted
//! is run once more.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use super::super::OpenError;
use super::super::disk::{Disk, WriteError};
use super::super::engine::{Batch, Class};
use super::super::keys;
use super::super::tables::events::append_event;
use super::super::tables::{self, TABLES};
use super::audit::{self, Audited};
use crate::StoreError;
use crate::codec;
use crate::upkeep::{MAX_FINDINGS, RepairOutcome, RepairReport, RepairedSession, UpkeepError};
use dormouse_domain::event::{Cursor, Event};
use dormouse_domain::id::{SessionId, SnapshotId};
use dormouse_domain::time::Timestamp;

/// A batch is written when it has this many bytes, about.
pub(in super::super) const BATCH: usize = 4 << 20;

/// How often a repair goes over the store at most.
const PASSES: usize = 3;

/// What the engine has told to be lost.
#[derive(Debug, Default)]
pub(super) struct Lost {
    count: u64,
    told: Vec<String>,
    sessions: BTreeSet<SessionId>,
    /// What the index had of the records of sessions.
    fronts: HashMap<SessionId, Bytes>,
    /// The keys of what is to be set aside, although nothing is left of it.
    missed: Vec<Vec<u8>>,
}

impl Lost {
    /// Take in a key, what is wrong with it, and what the index has of its value.
    pub(super) fn tell(&mut self, key: &[u8], what: &str, front: Option<Bytes>) {
        self.count += 1;
        if self.told.len() < MAX_FINDINGS {
            self.told.push(format!("{}: {what}", keys::describe(key)));
        }
        self.sessions.extend(keys::concerned(key));
        if key.first() == Some(&keys::SESSION) {
            self.fronts.extend(keys::concerned(key).zip(front));
        }
        if tables::of(key).is_some_and(|table| table.is_missed()) {
            self.missed.push(key.to_vec());
        }
    }
}

/// Repair what is wrong, apart from what the engine has repaired. It is `now`.
pub(super) fn repair(disk: &Disk, lost: Lost, now: Timestamp) -> Result<RepairReport, UpkeepError> {
    let mut audited = audit::of(disk)?;
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
        pass(disk, &audited, &lost.take().unwrap_or_default(), now, &mut outcomes)?;
        for table in TABLES {
            table.recount(disk)?;
        }
        audited = audit::of(disk)?;
        if audited.report.is_well() {
            break;
        }
    }
    report.done.truncate(MAX_FINDINGS);
    report.left = audited.report.findings.into_iter().map(|finding| finding.what).collect();
    report.done.retain(|done| !report.left.contains(done));
    let repaired = |(session, outcome)| RepairedSession { session, outcome };
    report.sessions = outcomes.into_iter().map(repaired).collect();
    Ok(report)
}

/// Repair what one audit has found.
fn pass(
    disk: &Disk,
    audited: &Audited,
    lost: &Lost,
    now: Timestamp,
    outcomes: &mut BTreeMap<SessionId, RepairOutcome>,
) -> Result<(), UpkeepError> {
    let last = disk.last(&[keys::EVENTS])?.and_then(|key| keys::number(&key));
    let mut repairer = Repairer {
        disk,
        now,
        kept: HashMap::new(),
        audited,
        lost,
        outcomes,
        cursor: Cursor(last.unwrap_or(0)),
        batch: Batch::default(),
        size: 0,
        piece: Vec::new(),
    };
    for key in &lost.missed {
        // A record that is there is an earlier one.
        if disk.get(key)?.is_none() {
            repairer.set_aside(key, Bytes::new());
        }
    }
    for key in &audited.useless {
        let value = disk.get(key)?.unwrap_or_default();
        repairer.take_away(key, value);
    }
    for table in TABLES {
        table.repair(&mut repairer)?;
    }
    repairer.flush()
}

/// Make these changes durable.
pub(in super::super) fn write(disk: &Disk, batch: Batch) -> Result<(), UpkeepError> {
    disk.write(batch).map_err(|error| {
        UpkeepError::Store(match error {
            WriteError::Full => StoreError::Full,
            WriteError::Refused(error) => error,
            WriteError::Failed(reason) => StoreError::Unknown(reason),
        })
    })
}

/// Writes what repairs the store, some of it at a time.
pub(in super::super) struct Repairer<'a> {
    pub(in super::super) disk: &'a Disk,
    pub(in super::super) now: Timestamp,
    /// The snapshots of the sessions that were repaired.
    pub(in super::super) kept: HashMap<SessionId, HashSet<SnapshotId>>,
    audited: &'a Audited,
    lost: &'a Lost,
    outcomes: &'a mut BTreeMap<SessionId, RepairOutcome>,
    /// The last event.
    cursor: Cursor,
    batch: Batch,
    size: usize,
    /// The events of this batch.
    piece: Vec<u8>,
}

impl<'a> Repairer<'a> {
    /// What the audit of a table has left for it.
    pub(in super::super) fn found<T: 'static>(&self) -> Option<&'a T> {
        self.audited.found()
    }

    /// The sessions of which something is wrong.
    pub(in super::super) fn concerned(&self) -> BTreeSet<SessionId> {
        self.audited.sessions.union(&self.lost.sessions).copied().collect()
    }

    /// Whether the engine has lost something of a session.
    pub(in super::super) fn has_lost(&self, id: SessionId) -> bool {
        self.lost.sessions.contains(&id)
    }

    /// What the index had of the record of a session that is lost.
    pub(in super::super) fn front(&self, id: SessionId) -> Option<&'a Bytes> {
        self.lost.fronts.get(&id)
    }

    /// Tell what became of a session: the worst counts.
    pub(in super::super) fn note(&mut self, id: SessionId, outcome: RepairOutcome) {
        let known = self.outcomes.entry(id).or_insert(outcome);
        *known = outcome.max(*known);
    }

    /// Log what has happened.
    pub(in super::super) fn log(&mut self, event: &Event) -> Cursor {
        self.cursor.0 += 1;
        append_event(&mut self.piece, &codec::encode_event(event));
        self.cursor
    }

    /// Set the value of a key aside, and remove the key.
    pub(in super::super) fn take_away(&mut self, key: &[u8], value: Bytes) {
        self.set_aside(key, value);
        self.remove(key);
    }

    /// Set a value aside.
    pub(in super::super) fn set_aside(&mut self, key: &[u8], value: Bytes) {
        self.put(Class::Rows, &keys::aside(key), value);
    }

    /// Give a key a value.
    pub(in super::super) fn put(&mut self, class: Class, key: &[u8], value: Bytes) {
        self.size += key.len() + value.len() + 64;
        self.batch.put(class, key.to_vec(), value);
    }

    /// Remove a key.
    pub(in super::super) fn remove(&mut self, key: &[u8]) {
        self.size += key.len() + 64;
        self.batch.delete(key.to_vec());
    }

    /// Write what there is, if it is enough.
    pub(in super::super) fn flush_if_large(&mut self) -> Result<(), UpkeepError> {
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
