//! From what a caller asks for to what the committer writes: encoding, and writing large values.
//!
//! All of it happens before the commit is queued, in parallel for many callers, so that the one
//! committer has little to do for each.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::blob::{BlobFile, BlobId, Place};
use super::cell::{self, Content, Part, SnapshotCell, TemplateCell};
use super::files::{FileName, Files, Names, Owner, StagedComponent};
use super::index::{AgentKey, Facts, agent_key};
use super::keys;
use crate::agent::{Agent, AgentRef, Digest};
use crate::event::{Event, Subject};
use crate::session::id::{Principal, SessionId, SnapshotId};
use crate::session::record::Session;
use crate::session::snapshot::{GuestState, Snapshot};
use crate::session::template::Template;
use crate::store::{Creation, MAX_CREATIONS, StoreError, codec};
use crate::turn::record::{TurnOutcome, TurnRecord};

/// Requests with more bytes than this are encoded where blocking is allowed.
const HEAVY: usize = 64 << 10;
/// What a record counts for that, in bytes.
const RECORD: usize = 1 << 10;
/// The most bytes that the owner and the name of a template take: they are in its key.
const TEMPLATE_NAME: usize = 512;

/// What a caller asks for.
#[derive(Debug)]
pub(super) enum Request {
    /// Add sessions.
    Create(Vec<Creation>),
    /// Replace a record, and with it the head.
    Update(Box<(Session, Option<Snapshot>)>),
    /// Write what a turn leaves behind.
    Turn(Box<(Session, TurnRecord, Option<Snapshot>)>),
    /// Log what happened to a session.
    Log(SessionId),
    /// Remove a session.
    Delete(SessionId),
    /// Keep a template.
    PutTemplate(Box<Template>),
    /// Remove a template.
    DeleteTemplate(Principal, String),
    /// Keep an agent.
    PutAgent(Agent, Bytes),
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
            | Request::DeleteTemplate(..)
            | Request::DeleteAgent(_) => false,
            Request::PutAgent(..) => true,
            Request::PutTemplate(template) => template.snapshot.state.size() > HEAVY,
            Request::Create(all) => {
                let sizes = all.iter().map(|one| RECORD.saturating_add(size(&one.head)));
                sizes.fold(0, usize::saturating_add) > HEAVY
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
    /// Keep a template.
    PutTemplate(NewTemplate),
    /// Remove the template with this key.
    DeleteTemplate(Vec<u8>),
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
    /// The snapshot that it may go back to.
    pub(super) pinned: Option<SnapshotId>,
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
    pub(super) head: Option<NewSnapshot>,
}

/// A snapshot, encoded.
#[derive(Debug)]
pub(super) struct NewSnapshot {
    /// Its name.
    pub(super) id: SnapshotId,
    /// Its value, in the envelope for its key.
    pub(super) value: Vec<u8>,
    /// The blobs that it refers to, each once.
    pub(super) blobs: Vec<BlobId>,
}

/// A template, encoded.
#[derive(Debug)]
pub(super) struct NewTemplate {
    /// Its key.
    pub(super) key: Vec<u8>,
    /// Its value, in the envelope for its key.
    pub(super) value: Vec<u8>,
    /// The blobs that it refers to, each once.
    pub(super) blobs: Vec<BlobId>,
    /// The agent whose state it holds.
    pub(super) agent: AgentKey,
}

/// The blobs that a commit brings. Their file is written and synced.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// The file, where there are any.
    pub(super) file: Option<FileName>,
    /// Where each lies in it.
    pub(super) places: HashMap<BlobId, Place>,
}

/// An event, encoded, and the session that it is about.
pub(super) type NewEvent = (Option<SessionId>, Part);

/// What the committer gets.
#[derive(Debug)]
pub(super) struct Commit {
    /// What to write.
    pub(super) change: Change,
    /// What happened, in order.
    pub(super) events: Vec<NewEvent>,
    /// The files that it points to. They are written and synced.
    pub(super) files: Vec<FileName>,
    /// The blobs that it brings.
    pub(super) arrived: Arrived,
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
        !matches!(
            self.change,
            Change::Delete(_) | Change::DeleteTemplate(_) | Change::DeleteAgent(_)
        )
    }

    /// How many sessions it changes, about.
    pub(super) fn sessions(&self) -> usize {
        match &self.change {
            Change::Create(all) => all.len(),
            _ => 1,
        }
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
    events: Vec<NewEvent>,
    files: Vec<(FileName, Vec<u8>)>,
    blobs: Option<BlobFile>,
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
    /// [`StoreError::TooLarge`] where a part takes more room than there is.
    pub(super) fn new(
        request: Request,
        events: &[Event],
        names: &Names,
    ) -> Result<Draft, StoreError> {
        let mut places = Places::new(names);
        let change = match request {
            Request::PutAgent(agent, component) => {
                let bytes = codec::encode_agent(&agent);
                let part = places.place(Owner::Agents, bytes, cell::ROW);
                Drafted::Agent(agent, part, component)
            }
            other => Drafted::Ready(places.change(other)?),
        };
        let event = |event: &Event| {
            let about = match event.subject {
                Subject::Session(id) => Some(SessionId(id)),
                Subject::Agent(_) => None,
            };
            (about, places.place(Owner::Log, codec::encode_event(event), cell::EVENT))
        };
        let events = events.iter().map(event).collect();
        let (files, blobs) = places.finish();
        Ok(Draft { change, events, files, blobs })
    }

    /// Whether files have to be written before the commit.
    pub(super) fn has_files(&self) -> bool {
        !self.files.is_empty() || self.blobs.is_some() || matches!(self.change, Drafted::Agent(..))
    }

    /// Bytes of the files that have to be written.
    pub(super) fn file_bytes(&self) -> usize {
        let component = match &self.change {
            Drafted::Ready(_) => 0,
            Drafted::Agent(_, _, component) => component.len(),
        };
        let blobs = self.blobs.as_ref().map_or(0, BlobFile::length);
        component + blobs + self.files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// The commit, once its files are written. `files` is needed where it has any.
    pub(super) fn into_commit(
        self,
        files: Option<&Files>,
        since: Duration,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    ) -> Result<Commit, StoreError> {
        let arrived = match (files, &self.blobs) {
            (Some(files), Some(blobs)) => Arrived::write(files, blobs)?,
            _ => Arrived::default(),
        };
        let undo = |error| {
            if let Some(files) = files {
                files.remove(&arrived.file);
            }
            error
        };
        if let (Some(files), false) = (files, self.files.is_empty()) {
            files.write(&self.files).map_err(undo)?;
        }
        let change = match (self.change, files) {
            (Drafted::Ready(change), _) => change,
            (Drafted::Agent(agent, part, component), Some(files)) => {
                let staged = files.stage_component(agent.reference.digest, &component)?;
                Change::PutAgent(agent, part, staged)
            }
            (Drafted::Agent(..), None) => return Err(StoreError::Closed),
        };
        let events: usize = self.events.iter().map(|(_, event)| event.size() + 8).sum();
        let size = change.size() + events + 64;
        let files = self.files.into_iter().map(|(name, _)| name).collect();
        Ok(Commit { change, events: self.events, files, arrived, size, since, answer })
    }
}

impl Arrived {
    /// Write blobs to their file.
    pub(super) fn write(files: &Files, blobs: &BlobFile) -> Result<Arrived, StoreError> {
        files.write_blobs(blobs)?;
        Ok(Arrived { file: Some(blobs.name.clone()), places: blobs.places().collect() })
    }
}

impl Change {
    fn size(&self) -> usize {
        let record = |record: &Record| record.front.len() + record.body.size();
        let head = |head: &Option<NewSnapshot>| {
            head.as_ref().map_or(0, |head| head.value.len() + 64 * head.blobs.len())
        };
        match self {
            Change::Create(all) => all.iter().map(|one| record(&one.0) + head(&one.1) + 64).sum(),
            Change::Update(one, new) => record(one) + head(new),
            Change::Turn(turn) => record(&turn.record) + turn.turn.size() + head(&turn.head),
            Change::Log(_)
            | Change::Delete(_)
            | Change::DeleteTemplate(_)
            | Change::DeleteAgent(_) => 0,
            Change::PutTemplate(template) => template.value.len() + 64 * template.blobs.len(),
            Change::PutAgent(_, part, _) => part.size(),
        }
    }
}

/// Decides what goes to a file.
pub(super) struct Places<'a> {
    names: &'a Names,
    files: Vec<(FileName, Vec<u8>)>,
    blobs: BTreeMap<BlobId, Bytes>,
}

impl<'a> Places<'a> {
    /// Nothing has been placed yet.
    pub(super) fn new(names: &'a Names) -> Places<'a> {
        Places { names, files: Vec::new(), blobs: BTreeMap::new() }
    }

    /// What has to be written.
    pub(super) fn finish(self) -> (Vec<(FileName, Vec<u8>)>, Option<BlobFile>) {
        let blobs: Vec<_> = self.blobs.into_iter().collect();
        let name = |blobs| BlobFile { name: self.names.name(Owner::Blobs), blobs };
        (self.files, (!blobs.is_empty()).then_some(blobs).map(name))
    }

    fn change(&mut self, request: Request) -> Result<Change, StoreError> {
        Ok(match request {
            Request::Create(all) => {
                if all.len() > MAX_CREATIONS {
                    let what = "the sessions of one commit";
                    return Err(StoreError::TooLarge { what, limit: MAX_CREATIONS });
                }
                let create = |Creation { session, head }| {
                    let head = head.map(|head| self.snapshot(session.id, head));
                    Ok((self.record(session)?, head))
                };
                Change::Create(all.into_iter().map(create).collect::<Result<_, StoreError>>()?)
            }
            Request::Update(update) => {
                let (session, head) = *update;
                let head = head.map(|head| self.snapshot(session.id, head));
                Change::Update(self.record(session)?, head)
            }
            Request::Turn(turn) => {
                let (session, turn, snapshot) = *turn;
                let owner = Owner::Session(session.id);
                let head = snapshot.map(|snapshot| self.snapshot(session.id, snapshot));
                let number = turn.number;
                let turn = self.place(owner, codec::encode_turn(&turn), cell::ROW);
                Change::Turn(Turn { record: self.record(session)?, number, turn, head })
            }
            Request::Log(id) => Change::Log(id),
            Request::Delete(id) => Change::Delete(id),
            Request::PutTemplate(template) => Change::PutTemplate(self.template(*template)?),
            Request::DeleteTemplate(owner, name) => {
                check_template(&owner, &name)?;
                Change::DeleteTemplate(keys::template(&owner, &name))
            }
            Request::PutAgent(..) => unreachable!("it is drafted apart, with its component"),
            Request::DeleteAgent(agent) => Change::DeleteAgent(agent),
        })
    }

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
            let what = "the owner, the agent, the labels and the state of a session in bytes";
            return Err(StoreError::TooLarge { what, limit: cell::FRONT });
        }
        let body = codec::encode_body(&session);
        Ok(Record {
            id: session.id,
            revision: session.revision,
            head: session.head,
            pinned: session.before_upgrade.as_ref().and_then(|before| before.head),
            front,
            body: self.place(Owner::Session(session.id), body, cell::BODY),
            facts: Facts::of(session),
        })
    }

    /// A snapshot of this session.
    pub(super) fn snapshot(&mut self, session: SessionId, snapshot: Snapshot) -> NewSnapshot {
        let id = snapshot.id;
        let mut value = Vec::new();
        let blobs = self.state(snapshot, |cell| cell.write(&mut value));
        let value = codec::seal(&keys::snapshot(session, id), &[&value]);
        NewSnapshot { id, value, blobs }
    }

    fn template(&mut self, template: Template) -> Result<NewTemplate, StoreError> {
        check_template(&template.owner, &template.name)?;
        let row = codec::encode_template(&template);
        if row.len() > cell::FRONT {
            let what = "the description of a template in bytes";
            return Err(StoreError::TooLarge { what, limit: cell::FRONT });
        }
        let key = keys::template(&template.owner, &template.name);
        let mut value = Vec::new();
        let blobs = self.state(template.snapshot, |snapshot| {
            TemplateCell { template: &row, snapshot }.write(&mut value);
        });
        let value = codec::seal(&key, &[&value]);
        Ok(NewTemplate { key, value, blobs, agent: agent_key(template.agent) })
    }

    /// Place the state of a snapshot. Returns the blobs that it refers to, each once.
    fn state(&mut self, snapshot: Snapshot, write: impl FnOnce(SnapshotCell<'_>)) -> Vec<BlobId> {
        let outline = codec::encode_snapshot(&snapshot);
        let (data, chunks) = match snapshot.state {
            GuestState::Portable { data, .. } => (data, Vec::new()),
            GuestState::Image { data, chunks } => (data, chunks),
        };
        let list = Bytes::from(codec::encode_chunks(&chunks));
        let mut blobs = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let id = BlobId::Chunk(chunk.digest);
            blobs.push(id);
            if let Some(data) = chunk.data {
                self.blobs.insert(id, data);
            }
        }
        let mut apart = |bytes: &Bytes, limit: usize, name: fn(Digest) -> BlobId| {
            (bytes.len() > limit).then(|| {
                let id = name(Digest::of(bytes));
                blobs.push(id);
                self.blobs.insert(id, bytes.clone());
                Content::Blob(id.digest())
            })
        };
        let data_apart = apart(&data, cell::DATA, BlobId::Data);
        let list_apart = apart(&list, cell::LIST, BlobId::List);
        write(SnapshotCell {
            outline: &outline,
            data: data_apart.unwrap_or(Content::Inline(&data)),
            chunks: list_apart.unwrap_or(Content::Inline(&list)),
        });
        blobs.sort_unstable();
        blobs.dedup();
        blobs
    }
}

/// What is longer than this cannot be a template.
fn check_template(owner: &Principal, name: &str) -> Result<(), StoreError> {
    if owner.0.len() + name.len() <= TEMPLATE_NAME {
        return Ok(());
    }
    let what = "the owner and the name of a template in bytes";
    Err(StoreError::TooLarge { what, limit: TEMPLATE_NAME })
}

/// Whether this event is one of those of the session.
pub(super) fn is_about(event: &Event, session: SessionId) -> bool {
    event.subject == Subject::Session(session.0)
}
