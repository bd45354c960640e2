//! From what a caller asks for to what the committer writes: encoding, and writing large values.
//!
//! All of it happens before the commit is queued, in parallel for many callers, so that the one
//! committer has little to do for each.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::cell::{self, Part};
use super::files::{FileName, Files, Names, Owner, StagedComponent};
use super::index::Facts;
use crate::agent::{Agent, AgentRef};
use crate::event::{Event, Subject};
use crate::session::id::{SessionId, SnapshotId};
use crate::session::record::Session;
use crate::session::snapshot::Snapshot;
use crate::store::{StoreError, codec};
use crate::turn::record::{TurnOutcome, TurnRecord};

/// Requests with more bytes than this are encoded where blocking is allowed.
const HEAVY: usize = 64 << 10;

/// What a caller asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// Add a session.
    Create(Session),
    /// Replace a record.
    Update(Session),
    /// Write what a turn leaves behind.
    Turn(Box<(Session, TurnRecord, Option<Snapshot>)>),
    /// Remove a session.
    Delete(SessionId),
    /// Keep an agent.
    PutAgent(Agent, Bytes),
    /// Remove an agent.
    DeleteAgent(AgentRef),
}

impl Request {
    /// Whether it takes so long to encode that it must not happen on an async thread.
    pub(super) fn is_heavy(&self) -> bool {
        match self {
            Request::Create(_)
            | Request::Update(_)
            | Request::Delete(_)
            | Request::DeleteAgent(_) => false,
            Request::PutAgent(..) => true,
            Request::Turn(turn) => {
                let (_, record, snapshot) = &**turn;
                let answer = match &record.outcome {
                    TurnOutcome::Answered { content, .. } => content.as_slice(),
                    TurnOutcome::Failed(_) => &[],
                };
                let content = record.input.iter().chain(answer).map(|part| part.len());
                let log = record.log.iter().map(|line| line.message.len());
                let state = snapshot.as_ref().map_or(0, |snapshot| snapshot.state.size());
                content.chain(log).sum::<usize>() + state > HEAVY
            }
        }
    }
}

/// A change, encoded.
#[derive(Debug)]
pub(super) enum Change {
    /// Add a session.
    Create(Record),
    /// Replace a record.
    Update(Record),
    /// Write what a turn leaves behind.
    Turn(Turn),
    /// Remove a session.
    Delete(SessionId),
    /// Keep an agent.
    PutAgent(Agent, Part, StagedComponent),
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
    /// The front.
    pub(super) front: Vec<u8>,
    /// The body.
    pub(super) body: Part,
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
    pub(super) turn: Part,
    /// The new head.
    pub(super) head: Option<(SnapshotId, Part)>,
}

/// What the committer gets.
#[derive(Debug)]
pub(super) struct Commit {
    /// What to write.
    pub(super) change: Change,
    /// What happened, in order.
    pub(super) events: Vec<Part>,
    /// The files that it points to. They are written and synced.
    pub(super) files: Vec<FileName>,
    /// How many bytes it takes in sled, about.
    pub(super) size: usize,
    /// When it was asked for.
    pub(super) since: Duration,
    /// Whom to tell: whether there was something to do, or why it was not done.
    pub(super) answer: oneshot::Sender<Result<bool, StoreError>>,
}

impl Commit {
    /// Whether it has to be refused when the disk is full.
    pub(super) fn needs_space(&self) -> bool {
        !matches!(self.change, Change::Delete(_) | Change::DeleteAgent(_))
    }

    /// Whether it has to be in a group of its own. Agents are few, and whether one is in use
    /// must not change while it is removed.
    pub(super) fn is_alone(&self) -> bool {
        matches!(self.change, Change::PutAgent(..) | Change::DeleteAgent(_))
    }
}

/// A change that is encoded, and whose large values are yet to be written.
#[derive(Debug)]
pub(super) struct Draft {
    change: Drafted,
    events: Vec<Part>,
    files: Vec<(FileName, Vec<u8>)>,
}

#[derive(Debug)]
enum Drafted {
    Ready(Change),
    Agent(Agent, Part, Bytes),
}

impl Draft {
    /// Encode a request.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where the labels of the session take more room than there is.
    pub(super) fn new(
        request: Request,
        events: &[Event],
        names: &Names,
    ) -> Result<Draft, StoreError> {
        let mut places = Places { names, files: Vec::new() };
        let change = match request {
            Request::Create(session) => Drafted::Ready(Change::Create(places.record(session)?)),
            Request::Update(session) => Drafted::Ready(Change::Update(places.record(session)?)),
            Request::Turn(turn) => {
                let (session, turn, snapshot) = *turn;
                let owner = Owner::Session(session.id);
                let head = snapshot.map(|snapshot| {
                    let bytes = codec::encode_snapshot(&snapshot);
                    (snapshot.id, places.place(owner, bytes, cell::HEAD))
                });
                let number = turn.number;
                let turn = places.place(owner, codec::encode_turn(&turn), cell::ROW);
                let record = places.record(session)?;
                Drafted::Ready(Change::Turn(Turn { record, number, turn, head }))
            }
            Request::Delete(id) => Drafted::Ready(Change::Delete(id)),
            Request::PutAgent(agent, component) => {
                let bytes = codec::encode_agent(&agent);
                let part = places.place(Owner::Agents, bytes, cell::ROW);
                Drafted::Agent(agent, part, component)
            }
            Request::DeleteAgent(agent) => Drafted::Ready(Change::DeleteAgent(agent)),
        };
        let event = |event| places.place(Owner::Log, codec::encode_event(event), cell::EVENT);
        let events = events.iter().map(event).collect();
        Ok(Draft { change, events, files: places.files })
    }

    /// Whether files have to be written before the commit.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty() || matches!(self.change, Drafted::Agent(..))
    }

    /// Bytes of the files that have to be written.
    pub(super) fn file_bytes(&self) -> usize {
        let component = match &self.change {
            Drafted::Ready(_) => 0,
            Drafted::Agent(_, _, component) => component.len(),
        };
        component + self.files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// The commit, once its files are written. `files` is needed where it has any.
    pub(super) fn into_commit(
        self,
        files: Option<&Files>,
        since: Duration,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    ) -> Result<Commit, StoreError> {
        if let (Some(files), false) = (files, self.files.is_empty()) {
            files.write(&self.files)?;
        }
        let change = match (self.change, files) {
            (Drafted::Ready(change), _) => change,
            (Drafted::Agent(agent, part, component), Some(files)) => {
                let staged = files.stage_component(agent.reference.digest, &component)?;
                Change::PutAgent(agent, part, staged)
            }
            (Drafted::Agent(..), None) => return Err(StoreError::Closed),
        };
        let events: usize = self.events.iter().map(|event| event.size() + 8).sum();
        let size = change.size() + events + 64;
        let files = self.files.into_iter().map(|(name, _)| name).collect();
        Ok(Commit { change, events: self.events, files, size, since, answer })
    }
}

impl Change {
    fn size(&self) -> usize {
        let record = |record: &Record| record.front.len() + record.body.size();
        match self {
            Change::Create(one) | Change::Update(one) => record(one),
            Change::Turn(turn) => {
                let head = turn.head.as_ref().map_or(0, |(_, part)| part.size());
                record(&turn.record) + turn.turn.size() + head
            }
            Change::Delete(_) | Change::DeleteAgent(_) => 0,
            Change::PutAgent(_, part, _) => part.size(),
        }
    }
}

/// Decides what goes to a file.
struct Places<'a> {
    names: &'a Names,
    files: Vec<(FileName, Vec<u8>)>,
}

impl Places<'_> {
    fn place(&mut self, owner: Owner, bytes: Vec<u8>, limit: usize) -> Part {
        if bytes.len() <= limit {
            return Part::Inline(bytes);
        }
        let name = self.names.name(owner);
        self.files.push((name.clone(), bytes));
        Part::File(name)
    }

    fn record(&mut self, session: Session) -> Result<Record, StoreError> {
        let front = codec::encode_front(&session);
        if front.len() > cell::FRONT {
            let what = "the owner, the agent, the labels and the state of a session";
            return Err(StoreError::TooLarge { what, limit: cell::FRONT });
        }
        let body = codec::encode_body(&session);
        Ok(Record {
            id: session.id,
            revision: session.revision,
            head: session.head,
            front,
            body: self.place(Owner::Session(session.id), body, cell::BODY),
            facts: Facts::of(session),
        })
    }
}

/// Whether this event is one of those of the session.
pub(super) fn is_about(event: &Event, session: SessionId) -> bool {
    event.subject == Subject::Session(session.0)
}
