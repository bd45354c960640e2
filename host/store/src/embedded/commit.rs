//! From a transaction to what the committer writes: encoding, and staging large values.
//!
//! All of it happens before the commit is queued, in parallel for many callers, so that the one
//! committer has little to do for each.

mod draft;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::sync::oneshot;

pub(super) use self::draft::{BlobPlacer, Draft};
use super::engine::Staged;
use super::leases::Lease;
use super::session_index::{AgentKey, Begun, SessionFacts};
use super::tables::blobs::BlobId;
use super::tables::blobs::contents::Contents;
use super::tables::snapshots;
use crate::{Expect, StoreError, Transaction, Write};
use dormouse_domain::account::{Account, AccountChange, AccountId};
use dormouse_domain::agent::{Agent, AgentRef};
use dormouse_domain::event::{Event, EventSubject};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::residence::Residence;
use dormouse_domain::snapshot::{Files, ResumeTrial};
use dormouse_domain::time::Timestamp;

/// Transactions with more bytes than this are encoded where blocking is allowed.
const HEAVY: usize = 64 << 10;
/// What a new record counts for that, in bytes.
const RECORD: usize = 1 << 10;

/// How many sessions a state counts for that is removed: the committer reads its snapshots to release what
/// they name, so few go into one group.
const STATE: usize = 32;

/// What an account takes, in bytes, about.
const ACCOUNT: usize = 128;

/// Whether it takes so long to encode that it must not happen on an async thread.
pub(super) fn is_heavy(transaction: &Transaction) -> bool {
    // What is new may be read for: see `BlobPlacer::finish`.
    let reads = reads(transaction);
    let record = if reads { RECORD } else { 0 };
    let mut size: usize = 0;
    for write in &transaction.writes {
        let state = write.snapshot().map_or(0, |snapshot| {
            let files = snapshot.files.as_ref().map_or(0, Files::new_bytes);
            snapshot.state.size().saturating_add(files)
        });
        if reads && state > snapshots::DATA {
            return true;
        }
        size = size.saturating_add(record).saturating_add(state).saturating_add(write.size());
    }
    size > HEAVY
}

/// The principal whose things it writes: that of the host, where they are nobody's. `owner_of` says whose a
/// session is.
pub(super) fn owner(
    transaction: &Transaction,
    owner_of: impl Fn(SessionId) -> Option<Principal>,
) -> Principal {
    let owner = transaction.writes.iter().find_map(|write| match write {
        Write::Session { record, .. } | Write::RemoveState(record) => Some(record.owner.clone()),
        Write::Template(template) => Some(template.owner.clone()),
        Write::Agent(agent, _) => agent.reference.owner.principal().cloned(),
        Write::OpenTurn(turn) => owner_of(turn.session),
        Write::TurnAttempts(id, _)
        | Write::JournalEntry(id, _)
        | Write::CloseTurn(id)
        | Write::TakeMail(id, _)
        | Write::DropMail(id) => owner_of(*id),
        Write::Mail(_, mail) => owner_of(mail.from),
        Write::NewAccount(account) => Some(account.owner.clone()),
        Write::ChangeAccount(AccountId(first), _) => owner_of(*first),
        Write::Schedule(schedule) => Some(schedule.owner.clone()),
        Write::Slept(..)
        | Write::ResumeTried(..)
        | Write::Turn(_)
        | Write::RemoveSession(_)
        | Write::RemoveTemplate(..)
        | Write::RemoveAgent(_)
        | Write::Idempotency(_)
        | Write::RemoveIdempotency(_)
        | Write::Key(_)
        | Write::RemoveKey(_)
        | Write::ScheduledWork(..)
        | Write::RemoveSchedule(_)
        | Write::World(..) => None,
    });
    owner.unwrap_or_else(Principal::local)
}

/// Whether it has states that may be there already: sessions and templates are made of what is there.
fn reads(transaction: &Transaction) -> bool {
    transaction.expect.iter().any(|expect| matches!(expect, Expect::NewSession(_)))
        || transaction.writes.iter().any(|write| matches!(write, Write::Template(_)))
}

/// One thing to write, encoded.
#[derive(Debug)]
pub(super) enum EncodedWrite {
    /// A session gets this record, and with it this head.
    Session(Box<Record>, Option<NewSnapshot>),
    /// A session gets this record, and all its snapshots are removed.
    RemoveState(Box<Record>),
    /// The record of a session notes that it sleeps.
    Slept(SessionId, Residence),
    /// A snapshot of a session notes what has come of going on from it.
    ResumeTried(SessionId, SnapshotId, ResumeTrial, Timestamp),
    /// A turn of a session, with its number.
    Turn(SessionId, u64, Vec<u8>),
    /// A turn that is staged, with its number and the bytes of its row.
    LargeTurn(SessionId, u64, usize),
    /// Open a turn.
    OpenTurn(Box<NewOpenTurn>),
    /// A row of the journal of a session gets this value.
    Journal(SessionId, Vec<u8>, RowValue),
    /// Remove the open turn of a session, and its journal.
    CloseTurn(SessionId),
    /// Put a mail into the mailbox of a session.
    Mail {
        /// The session.
        to: SessionId,
        /// What the mail counts for there, in bytes.
        weight: u64,
        /// What was sent, in no envelope yet: its key has its number.
        value: Vec<u8>,
    },
    /// Take the mail of this number out of the mailbox of a session.
    TakeMail(SessionId, u64),
    /// Remove all mail of a session.
    DropMail(SessionId),
    /// An account.
    NewAccount(Box<Account>),
    /// Change an account.
    ChangeAccount(AccountId, AccountChange),
    /// Remove a session.
    RemoveSession(SessionId),
    /// Keep a template.
    Template(EncodedTemplate),
    /// Remove the template with this key. Its name is for people.
    RemoveTemplate(Vec<u8>, String),
    /// An agent, and the same encoded.
    Agent(Box<Agent>, Vec<u8>),
    /// Remove an agent.
    RemoveAgent(AgentRef),
    /// A key of a table gets this value, in its envelope, or is removed.
    Row(Vec<u8>, Option<Vec<u8>>),
    /// Keys of a table get these values, or are removed.
    Rows(Vec<(Vec<u8>, Option<RowValue>)>),
    /// Remove what is too old at this time, of the log and of these sessions.
    Expire(Timestamp, Vec<SessionId>),
    /// Remove those of these idempotency keys that may be forgotten at this time.
    ForgetKeys(Timestamp, Vec<Vec<u8>>),
}

/// A record, encoded.
#[derive(Debug)]
pub(super) struct Record {
    /// The session.
    pub(super) id: SessionId,
    /// Its revision with this commit.
    pub(super) revision: u64,
    /// The snapshot that the record names as its head.
    pub(super) head: Option<SnapshotId>,
    /// The snapshot that it may go back to.
    pub(super) pinned: Option<SnapshotId>,
    /// The front.
    pub(super) front: Vec<u8>,
    /// The body.
    pub(super) body: Vec<u8>,
    /// What the index keeps.
    pub(super) facts: SessionFacts,
}

/// A value in its envelope.
#[derive(Debug)]
pub(super) enum RowValue {
    /// It comes with the commit.
    Here(Vec<u8>),
    /// It is staged, and so many of its bytes count as those of the commit.
    Staged(usize),
}

impl RowValue {
    /// How many bytes it takes in the log.
    fn size(&self) -> usize {
        match self {
            RowValue::Here(value) => value.len(),
            RowValue::Staged(_) => 0,
        }
    }

    /// How many bytes of it are staged.
    fn staged(&self) -> usize {
        match self {
            RowValue::Here(_) => 0,
            RowValue::Staged(bytes) => *bytes,
        }
    }
}

/// An open turn, encoded.
#[derive(Debug)]
pub(super) struct NewOpenTurn {
    /// The session.
    pub(super) id: SessionId,
    /// When it was begun.
    pub(super) begun: Begun,
    /// Its value without its input, in the envelope for its key.
    pub(super) row: Vec<u8>,
    /// Its input.
    pub(super) input: RowValue,
}

/// A snapshot, encoded.
#[derive(Debug)]
pub(super) struct NewSnapshot {
    /// Its name.
    pub(super) id: SnapshotId,
    /// Its value, in the envelope for its key.
    pub(super) value: Vec<u8>,
    /// Whether it has something in blobs.
    pub(super) shares: bool,
}

/// A template, encoded.
#[derive(Debug)]
pub(super) struct EncodedTemplate {
    /// Its key.
    pub(super) key: Vec<u8>,
    /// Its value, in the envelope for its key.
    pub(super) value: Vec<u8>,
    /// The agent whose state it holds.
    pub(super) agent: AgentKey,
}

/// The blobs that a commit names, and those that it brings.
#[derive(Debug, Default)]
pub(super) struct BlobUses {
    /// How many of its snapshots and templates name each.
    pub(super) names: BTreeMap<BlobId, u64>,
    /// What each node that it brings names, each once.
    pub(super) edges: HashMap<BlobId, Vec<BlobId>>,
    /// The bytes of those that it brings.
    pub(super) contents: Contents,
    /// What it does not bring because the store has it.
    pub(super) lease: Option<Lease>,
}

impl BlobUses {
    /// How many counts it may change.
    fn edges(&self) -> usize {
        self.names.len() + self.edges.values().map(Vec::len).sum::<usize>()
    }
}

/// An event, encoded, and the session that it is about.
pub(super) type NewEvent = (Option<SessionId>, Vec<u8>);

/// A transaction, encoded.
#[derive(Debug, Default)]
pub(super) struct Encoded {
    /// What it expects of the store.
    pub(super) expect: Vec<Expect>,
    /// What to write.
    pub(super) changes: Vec<EncodedWrite>,
    /// What happened, in order.
    pub(super) events: Vec<NewEvent>,
    /// The blobs that it refers to.
    pub(super) shares: BlobUses,
    /// The components of its agents, its large turns, and what is large in journals: durable already.
    pub(super) large: Option<Staged>,
    /// How many bytes it takes in the log, about.
    pub(super) size: usize,
}

/// What the committer gets.
#[derive(Debug)]
pub(super) struct Commit {
    /// What to do.
    pub(super) encoded: Encoded,
    /// When it was asked for.
    pub(super) since: Duration,
    /// Whom to tell why it was not done, if it was not.
    pub(super) answer: oneshot::Sender<Result<(), StoreError>>,
}

impl Encoded {
    /// Whether it has to be refused when the disk is full.
    pub(super) fn needs_space(&self) -> bool {
        self.changes.is_empty() || !self.changes.iter().all(EncodedWrite::removes)
    }

    /// How many sessions it changes, about.
    pub(super) fn sessions(&self) -> usize {
        self.changes.iter().map(EncodedWrite::sessions).sum::<usize>().max(1)
    }

    /// Whether it has to be in a group of its own. Agents are few, and whether one is in use
    /// must not change while it is removed.
    pub(super) fn is_alone(&self) -> bool {
        self.changes
            .iter()
            .any(|it| matches!(it, EncodedWrite::Agent(..) | EncodedWrite::RemoveAgent(_)))
    }
}

impl EncodedWrite {
    /// How many bytes it takes in the log, about.
    fn size(&self) -> usize {
        match self {
            EncodedWrite::Session(record, head) => {
                let head = head.as_ref().map_or(0, |head| head.value.len() + 64);
                record.front.len() + record.body.len() + head + 64
            }
            EncodedWrite::RemoveState(record) => record.front.len() + record.body.len() + 64,
            EncodedWrite::Turn(_, _, turn) => turn.len(),
            EncodedWrite::OpenTurn(turn) => turn.row.len() + turn.input.size() + 64,
            EncodedWrite::Journal(_, key, value) => key.len() + value.size(),
            EncodedWrite::Mail { value, .. } => value.len() + 64,
            EncodedWrite::NewAccount(_) | EncodedWrite::ChangeAccount(..) => ACCOUNT,
            EncodedWrite::Template(template) => template.value.len(),
            EncodedWrite::Agent(_, value) => value.len(),
            EncodedWrite::Row(key, value) => key.len() + value.as_ref().map_or(0, Vec::len),
            EncodedWrite::Rows(rows) => {
                let size = |value: &Option<RowValue>| value.as_ref().map_or(0, RowValue::size);
                rows.iter().map(|(key, value)| key.len() + size(value)).sum()
            }
            EncodedWrite::ForgetKeys(_, keys) => keys.iter().map(Vec::len).sum(),
            EncodedWrite::Slept(..)
            | EncodedWrite::ResumeTried(..)
            | EncodedWrite::LargeTurn(..)
            | EncodedWrite::CloseTurn(_)
            | EncodedWrite::TakeMail(..)
            | EncodedWrite::DropMail(_)
            | EncodedWrite::RemoveSession(_)
            | EncodedWrite::RemoveTemplate(..)
            | EncodedWrite::RemoveAgent(_)
            | EncodedWrite::Expire(..) => 0,
        }
    }

    /// How many bytes of it are staged besides, where that is no component and no part of a simulated world: these have
    /// bounds of their own.
    fn staged(&self) -> usize {
        match self {
            EncodedWrite::LargeTurn(_, _, bytes) => *bytes,
            EncodedWrite::OpenTurn(turn) => turn.input.staged(),
            EncodedWrite::Journal(_, _, value) => value.staged(),
            EncodedWrite::Rows(rows) => {
                rows.iter().flat_map(|(_, value)| value).map(RowValue::staged).sum()
            }
            EncodedWrite::Session(..)
            | EncodedWrite::RemoveState(_)
            | EncodedWrite::Slept(..)
            | EncodedWrite::ResumeTried(..)
            | EncodedWrite::Turn(..)
            | EncodedWrite::CloseTurn(_)
            | EncodedWrite::Mail { .. }
            | EncodedWrite::TakeMail(..)
            | EncodedWrite::DropMail(_)
            | EncodedWrite::NewAccount(_)
            | EncodedWrite::ChangeAccount(..)
            | EncodedWrite::RemoveSession(_)
            | EncodedWrite::Template(_)
            | EncodedWrite::RemoveTemplate(..)
            | EncodedWrite::Agent(..)
            | EncodedWrite::RemoveAgent(_)
            | EncodedWrite::Row(..)
            | EncodedWrite::Expire(..)
            | EncodedWrite::ForgetKeys(..) => 0,
        }
    }

    /// Whether it does nothing but remove, and so gives back more space than it takes.
    fn removes(&self) -> bool {
        match self {
            EncodedWrite::Rows(rows) => rows.iter().all(|(_, value)| value.is_none()),
            EncodedWrite::RemoveSession(_)
            | EncodedWrite::CloseTurn(_)
            | EncodedWrite::DropMail(_)
            | EncodedWrite::RemoveState(_)
            | EncodedWrite::RemoveTemplate(..)
            | EncodedWrite::RemoveAgent(_)
            | EncodedWrite::Row(_, None)
            | EncodedWrite::Expire(..)
            | EncodedWrite::ForgetKeys(..) => true,
            EncodedWrite::Session(..)
            | EncodedWrite::Slept(..)
            | EncodedWrite::ResumeTried(..)
            | EncodedWrite::Turn(..)
            | EncodedWrite::LargeTurn(..)
            | EncodedWrite::OpenTurn(_)
            | EncodedWrite::Journal(..)
            | EncodedWrite::Mail { .. }
            | EncodedWrite::TakeMail(..)
            | EncodedWrite::NewAccount(_)
            | EncodedWrite::ChangeAccount(..)
            | EncodedWrite::Template(_)
            | EncodedWrite::Agent(..)
            | EncodedWrite::Row(_, Some(_)) => false,
        }
    }

    fn sessions(&self) -> usize {
        match self {
            EncodedWrite::Session(..) | EncodedWrite::RemoveSession(_) => 1,
            EncodedWrite::RemoveState(_) => STATE,
            EncodedWrite::Expire(_, sessions) => sessions.len(),
            EncodedWrite::Slept(..)
            | EncodedWrite::ResumeTried(..)
            | EncodedWrite::Turn(..)
            | EncodedWrite::LargeTurn(..)
            | EncodedWrite::OpenTurn(_)
            | EncodedWrite::Journal(..)
            | EncodedWrite::CloseTurn(_)
            | EncodedWrite::Mail { .. }
            | EncodedWrite::TakeMail(..)
            | EncodedWrite::DropMail(_)
            | EncodedWrite::NewAccount(_)
            | EncodedWrite::ChangeAccount(..)
            | EncodedWrite::Template(_)
            | EncodedWrite::RemoveTemplate(..)
            | EncodedWrite::Agent(..)
            | EncodedWrite::RemoveAgent(_)
            | EncodedWrite::Row(..)
            | EncodedWrite::Rows(_)
            | EncodedWrite::ForgetKeys(..) => 0,
        }
    }
}

/// Whether this event is one of those of the session.
pub(super) fn is_about(event: &Event, session: SessionId) -> bool {
    event.subject == EventSubject::Session(session)
}
