//! From what a caller asks for to what the committer writes: encoding, and staging large values.
//!
//! All of it happens before the commit is queued, in parallel for many callers, so that the one
//! committer has little to do for each.

mod draft;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

pub(super) use self::draft::Draft;
use super::blob::{BlobId, Contents};
use super::cell;
use super::engine::Staged;
use super::index::{AgentKey, Facts};
use crate::{Creation, StoreError};
use dormouse_domain::agent::{Agent, AgentRef};
use dormouse_domain::event::{Event, Subject};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::template::Template;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{TurnOutcome, TurnRecord};

/// Requests with more bytes than this are encoded where blocking is allowed.
const HEAVY: usize = 64 << 10;
/// What a record counts for that, in bytes.
const RECORD: usize = 1 << 10;

/// What a caller asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// Add sessions.
    Create(Vec<Creation>),
    /// Replace a record, and with it the head.
    Update(Box<(Session, Option<Snapshot>)>),
    /// Write what a turn leaves behind.
    Turn(Box<(Arc<Session>, Arc<TurnRecord>, Option<Snapshot>)>),
    /// Log what happened to a session.
    Log(SessionId),
    /// Remove a session.
    Delete(SessionId),
    /// Remove what is too old at this time, of the log and of these sessions.
    Expire(Timestamp, Vec<SessionId>),
    /// Keep a template.
    PutTemplate(Box<Template>),
    /// Remove a template.
    DeleteTemplate(Principal, String),
    /// Keep an agent.
    PutAgent(Agent, Bytes),
    /// Replace what is known of an agent.
    UpdateAgent(Box<Agent>),
    /// Remove an agent.
    DeleteAgent(AgentRef),
}

impl Request {
    /// Whether it takes so long to encode that it must not happen on an async thread.
    pub(super) fn is_heavy(&self) -> bool {
        let size = |snapshot: &Option<Snapshot>| {
            snapshot.as_ref().map_or(0, |snapshot| snapshot.state.size())
        };
        match self {
            Request::Log(_)
            | Request::Delete(_)
            | Request::Expire(..)
            | Request::DeleteTemplate(..)
            | Request::UpdateAgent(_)
            | Request::DeleteAgent(_) => false,
            Request::PutAgent(..) => true,
            // These may read: see `Places::known`.
            Request::PutTemplate(template) => template.snapshot.state.size() > cell::DATA,
            Request::Create(all) => {
                let sizes = all.iter().map(|one| RECORD.saturating_add(size(&one.head)));
                all.iter().any(|one| size(&one.head) > cell::DATA)
                    || sizes.fold(0, usize::saturating_add) > HEAVY
            }
            Request::Update(update) => size(&update.1) > HEAVY,
            Request::Turn(turn) => {
                let (_, record, snapshot) = &**turn;
                let answer = match &record.outcome {
                    TurnOutcome::Answered { content, .. } => content.as_slice(),
                    TurnOutcome::Failed(_) => &[],
                };
                let content = record.input.iter().chain(answer).map(|part| part.len());
                let log = record.log.iter().map(|line| line.message.len());
                content.chain(log).fold(size(snapshot), usize::saturating_add) > HEAVY
            }
        }
    }
}

/// A change, encoded.
#[derive(Debug)]
pub(super) enum Change {
    /// Add sessions.
    Create(Vec<(Record, Option<NewSnapshot>)>),
    /// Replace a record, and with it the head.
    Update(Record, Option<NewSnapshot>),
    /// Write what a turn leaves behind.
    Turn(Turn),
    /// Log what happened to a session.
    Log(SessionId),
    /// Remove a session.
    Delete(SessionId),
    /// Remove what is too old at this time, of the log and of these sessions.
    Expire(Timestamp, Vec<SessionId>),
    /// Keep a template.
    PutTemplate(NewTemplate),
    /// Remove the template with this key.
    DeleteTemplate(Vec<u8>),
    /// Keep an agent, with its component.
    PutAgent(Box<NewAgent>),
    /// Replace what is known of an agent: the agent, and the same encoded.
    UpdateAgent(Box<Agent>, Vec<u8>),
    /// Remove an agent.
    DeleteAgent(AgentRef),
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
    pub(super) facts: Facts,
}

/// What a turn leaves behind, encoded.
#[derive(Debug)]
pub(super) struct Turn {
    /// The record after it.
    pub(super) record: Record,
    /// Its number.
    pub(super) number: u64,
    /// The turn.
    pub(super) turn: Vec<u8>,
    /// The new head.
    pub(super) head: Option<NewSnapshot>,
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

/// An agent, encoded.
#[derive(Debug)]
pub(super) struct NewAgent {
    /// The agent.
    pub(super) agent: Agent,
    /// The same, encoded.
    pub(super) value: Vec<u8>,
    /// Its component, which is durable already.
    pub(super) component: Staged,
}

/// A template, encoded.
#[derive(Debug)]
pub(super) struct NewTemplate {
    /// Its key.
    pub(super) key: Vec<u8>,
    /// Its value, in the envelope for its key.
    pub(super) value: Vec<u8>,
    /// The agent whose state it holds.
    pub(super) agent: AgentKey,
}

/// The blobs that a commit refers to, and those of them that it brings.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// How many of its snapshots and templates refer to each.
    pub(super) uses: BTreeMap<BlobId, u64>,
    /// The bytes of those that it brings.
    pub(super) contents: Contents,
}

/// An event, encoded, and the session that it is about.
pub(super) type NewEvent = (Option<SessionId>, Vec<u8>);

/// What the committer gets.
#[derive(Debug)]
pub(super) struct Commit {
    /// What to write.
    pub(super) change: Change,
    /// What happened, in order.
    pub(super) events: Vec<NewEvent>,
    /// The blobs that it refers to.
    pub(super) shares: Shares,
    /// How many bytes it takes in the log, about.
    pub(super) size: usize,
    /// When it was asked for.
    pub(super) since: Duration,
    /// Whom to tell: whether there was something to do, or why it was not done.
    pub(super) answer: oneshot::Sender<Result<bool, StoreError>>,
}

impl Commit {
    /// Whether it has to be refused when the disk is full.
    pub(super) fn needs_space(&self) -> bool {
        !matches!(
            self.change,
            Change::Delete(_)
                | Change::DeleteTemplate(_)
                | Change::DeleteAgent(_)
                | Change::Expire(..)
        )
    }

    /// How many sessions it changes, about.
    pub(super) fn sessions(&self) -> usize {
        match &self.change {
            Change::Create(all) => all.len(),
            Change::Expire(_, sessions) => sessions.len(),
            _ => 1,
        }
    }

    /// Whether it has to be in a group of its own. Agents are few, and whether one is in use
    /// must not change while it is removed.
    pub(super) fn is_alone(&self) -> bool {
        matches!(
            self.change,
            Change::PutAgent(..) | Change::UpdateAgent(..) | Change::DeleteAgent(_)
        )
    }
}

impl Change {
    /// How many bytes it takes in the log, about.
    fn size(&self) -> usize {
        let record = |record: &Record| record.front.len() + record.body.len();
        let head =
            |head: &Option<NewSnapshot>| head.as_ref().map_or(0, |head| head.value.len() + 64);
        match self {
            Change::Create(all) => all.iter().map(|one| record(&one.0) + head(&one.1) + 64).sum(),
            Change::Update(one, new) => record(one) + head(new),
            Change::Turn(turn) => record(&turn.record) + turn.turn.len() + head(&turn.head),
            Change::Log(_)
            | Change::Delete(_)
            | Change::Expire(..)
            | Change::DeleteTemplate(_)
            | Change::DeleteAgent(_) => 0,
            Change::PutTemplate(template) => template.value.len(),
            Change::PutAgent(agent) => agent.value.len(),
            Change::UpdateAgent(_, value) => value.len(),
        }
    }
}

/// Whether this event is one of those of the session.
pub(super) fn is_about(event: &Event, session: SessionId) -> bool {
    event.subject == Subject::Session(session)
}
