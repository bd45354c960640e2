//! What is kept: each kind of stored thing is one file, with its keys, its form on the disk, what the index
//! has of it, how it is checked, how it is repaired and what people call it.
//!
//! [`TABLES`] is the one list of them. When a store is opened (`recovery`), checked (`upkeep/audit`) or
//! repaired (`upkeep/repair`), and when a key is shown to people, that list is walked.
//!
//! Numbers in keys are big-endian, so that keys are in the order of what they stand for. The rows of one
//! session are neighbours, so that what belongs to it is found when it is removed. The owner of a template
//! or an agent has its length before it, in two bytes: no owner and name are the key of others.

pub(super) mod access;
pub(super) mod accounts;
pub(super) mod agents;
pub(super) mod blobs;
pub(super) mod events;
pub(super) mod idempotency;
pub(super) mod journal;
pub(super) mod mail;
pub(super) mod notes;
pub(super) mod schedules;
pub(super) mod sessions;
pub(super) mod snapshots;
pub(super) mod statistics;
pub(super) mod templates;
pub(super) mod turns;
pub(super) mod worlds;

use bytes::Bytes;

use super::OpenError;
use super::commit::{BlobPlacer, EncodedWrite};
use super::commit_group::CommitGroup;
use super::disk::Disk;
use super::keys;
use super::recovery::Recovery;
use super::upkeep::audit::Audit;
use super::upkeep::repair::Repairer;
use crate::codec::CodecError;
use crate::upkeep::UpkeepError;
use crate::{Expect, StoreError, Write};
use dormouse_domain::id::SessionId;

/// The layout of the directory: which tables there are, and what their keys are. Whoever adds a table raises
/// it, so that an earlier version does not take what lies there for damage, or go on without it.
///
/// | layout | what it has | how it is brought to the next |
/// | --- | --- | --- |
/// | 1, 2 | sled alone, and files | no release had them: refused |
/// | 3 | the engine | `owners` gives agents their owners |
/// | 4 | agents by owner | as from 5 |
/// | 5 | idempotency keys | `fronts` tells the fronts of sessions what their bodies have; lists of chunks of before are read as they are |
/// | 6 | lists by all labels, and statistics; blobs that name blobs, and a list of those to be released | nothing is written anew |
/// | 7 | keys of the API | nothing is written anew |
/// | 8 | sessions whose state was removed | nothing is written anew |
/// | 9 | journals of open turns, and accounts | nothing is written anew |
/// | 10 | timers of sessions, and turns that others than users have sent | nothing is written anew |
/// | 11 | mail of sessions, their peers, schedules, and samples of turns | nothing is written anew |
/// | 12 | simulated worlds | nothing is written anew |
/// | 13 | calls that members of simulated worlds make, and recordings of these calls | nothing is written anew |
/// | 14 | experiments | nothing is written anew |
/// | 15 | files of sessions | it is the present one |
pub(super) const LAYOUT: u8 = 15;

/// All kinds, in the order in which a store is opened and repaired: whose snapshots are comes after the
/// sessions, what has been set aside after what may be, and what is being removed last.
pub(super) static TABLES: [&dyn Table; 23] = [
    &sessions::SessionTable,
    &turns::TurnTable,
    &snapshots::SnapshotTable,
    &snapshots::HolderTable,
    &blobs::UseTable,
    &blobs::BlobTable,
    &blobs::UnusedTable,
    &agents::AgentTable,
    &agents::ComponentTable,
    &templates::TemplateTable,
    &events::EventTable,
    &events::PlaceTable,
    &idempotency::IdempotencyTable,
    &journal::JournalTable,
    &mail::MailTable,
    &accounts::AccountTable,
    &access::KeyTable,
    &schedules::ScheduleTable,
    &worlds::WorldTable,
    &statistics::StatisticsTable,
    &notes::NoteTable,
    &notes::AsideTable,
    &sessions::GoneTable,
];

/// A kind of stored thing.
pub(super) trait Table: Sync {
    /// Whether a key is one of its keys.
    fn has(&self, key: &[u8]) -> bool;

    /// A key of it as people read it. `None`: it is not made as its keys are.
    fn describe(&self, key: &[u8]) -> Option<String>;

    /// The session that a key of it belongs to, where it belongs to one.
    fn session(&self, _key: &[u8]) -> Option<SessionId> {
        None
    }

    /// Whether a value that cannot be read is repaired with something else that it is a part of, or that
    /// names it. Where it is not, a repair takes it out by itself.
    fn is_part(&self) -> bool {
        false
    }

    /// Whether it is to be known later that a value is lost: then a repair sets an empty one aside.
    fn is_missed(&self) -> bool {
        false
    }

    /// Tell the index what is there, when the store is opened.
    fn recover(&self, _recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        Ok(())
    }

    /// Look at one value, whose key is one of its keys. The keys of all tables come in order.
    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError>;

    /// Take note of a key whose value cannot be read, so that what is missing because of that is not told
    /// as well.
    fn lose(&self, _audit: &mut Audit, _key: &[u8]) {}

    /// The same of a key whose value has been set aside.
    fn set_aside(&self, _audit: &mut Audit, _key: &[u8]) {}

    /// Compare what has been seen, once all keys of one moment have been.
    fn compare(&self, _audit: &mut Audit) {}

    /// Mend what an audit has found. What could not be read has been taken out before.
    fn repair(&self, _mender: &mut Repairer<'_>) -> Result<(), UpkeepError> {
        Ok(())
    }

    /// Count again what is counted, once all has been repaired.
    fn recount(&self, _disk: &Disk) -> Result<(), UpkeepError> {
        Ok(())
    }
}

/// Something that a transaction writes, in the form of its table.
///
/// # Errors
/// [`StoreError::TooLarge`]
pub(super) fn encode(
    placer: &mut BlobPlacer<'_>,
    write: Write,
) -> Result<EncodedWrite, StoreError> {
    Ok(match write {
        Write::Session { record, head } => {
            let head = head.map(|head| placer.snapshot(record.id, head));
            EncodedWrite::Session(Box::new(sessions::record(&record)?), head)
        }
        Write::RemoveState(record) => {
            EncodedWrite::RemoveState(Box::new(sessions::record(&record)?))
        }
        Write::Slept(id, residence) => EncodedWrite::Slept(id, residence),
        Write::ResumeTried(id, snapshot, trial, at) => {
            EncodedWrite::ResumeTried(id, snapshot, trial, at)
        }
        Write::Turn(turn) => turns::encode(placer, &turn),
        Write::RemoveSession(id) => EncodedWrite::RemoveSession(id),
        Write::OpenTurn(turn) => journal::encode_open(placer, &turn)?,
        Write::TurnAttempts(id, attempts) => journal::encode_attempts(id, attempts),
        Write::JournalEntry(id, entry) => journal::encode_entry(placer, id, &entry),
        Write::CloseTurn(id) => EncodedWrite::CloseTurn(id),
        Write::Mail(to, mail) => mail::encode(to, &mail),
        Write::TakeMail(id, number) => EncodedWrite::TakeMail(id, number),
        Write::DropMail(id) => EncodedWrite::DropMail(id),
        Write::NewAccount(account) => EncodedWrite::NewAccount(account),
        Write::ChangeAccount(id, change) => EncodedWrite::ChangeAccount(id, change),
        Write::Template(template) => EncodedWrite::Template(templates::encode(placer, *template)?),
        Write::RemoveTemplate(owner, name) => {
            templates::check(&owner, &name)?;
            EncodedWrite::RemoveTemplate(templates::template(&owner, &name), name)
        }
        Write::Agent(agent, component) => agents::encode(placer, agent, component)?,
        Write::RemoveAgent(agent) => EncodedWrite::RemoveAgent(agent),
        Write::Idempotency(record) => idempotency::encode(&record)?,
        Write::RemoveIdempotency(key) => idempotency::remove(&key)?,
        Write::Key(key) => access::encode(*key)?,
        Write::RemoveKey(id) => access::remove(id),
        Write::Schedule(schedule) => schedules::encode(&schedule),
        Write::ScheduledWork(id, work) => schedules::encode_work(placer, id, &work),
        Write::RemoveSchedule(id) => schedules::remove(id),
        Write::World(row, bytes) => worlds::encode(placer, row, bytes.as_ref()),
    })
}

/// Whether something is as a transaction expects that makes these changes.
///
/// # Errors
/// What [`Expect`] says of it.
pub(super) fn expect(
    group: &mut CommitGroup<'_>,
    expected: &Expect,
    changes: &[EncodedWrite],
) -> Result<(), StoreError> {
    match expected {
        Expect::NewSession(id) => group.expect_new_session(*id),
        Expect::Session(id) => group.expect_session(*id).map(drop),
        Expect::Revision(id, revision) => match group.expect_session(*id)? {
            now if now == *revision => Ok(()),
            _ => Err(StoreError::Conflict(*id)),
        },
        Expect::NewAgent(agent) => group.expect_new_agent(agent),
        Expect::Agent(agent) => group.expect_agent(agent),
        Expect::NewIdempotencyKey(key) => idempotency::expect_new(group, key),
        Expect::NoOpenTurn(id) => group.expect_no_open_turn(*id),
        Expect::NewAccount(id) => group.expect_new_account(*id),
        Expect::NewKey(id) => access::expect_new(group, *id),
        Expect::Key(id) => access::expect_there(group, *id),
        Expect::NewSchedule(id) => schedules::expect_new(group, *id),
        Expect::Schedule(id, revision) => schedules::expect_revision(group, *id, *revision),
        Expect::SessionQuota { owner, user, limit } => {
            group.expect_within_quota(owner, user.as_deref(), *limit, changes)
        }
    }
}

/// The table that has this key.
pub(super) fn of(key: &[u8]) -> Option<&'static dyn Table> {
    TABLES.into_iter().find(|table| table.has(key))
}

/// A key as people read it.
pub(super) fn describe(key: &[u8]) -> String {
    of(key).and_then(|table| table.describe(key)).unwrap_or_else(|| keys::hex(key))
}

/// The session that a key belongs to, where it belongs to one.
pub(super) fn concerned(key: &[u8]) -> Option<SessionId> {
    of(key)?.session(key)
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_belongs_to_two_tables() {
        let of_sessions =
            (0..=u8::MAX).flat_map(|first| (0..=u8::MAX).map(move |kind| (first, kind)));
        for (first, kind) in of_sessions {
            // Rows of sessions have the session between the first byte and that of their kind.
            let key = [&[first][..], &[0; 16], &[kind, 0, 0, 0]].concat();
            let owners = TABLES.iter().filter(|table| table.has(&key)).count();
            assert!(owners <= 1, "{owners} tables have {key:?}");
        }
    }
}
