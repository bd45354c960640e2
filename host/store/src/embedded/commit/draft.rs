//! Encoding a request, and deciding what of it lies where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::Shared;
use super::super::blob::{BlobId, Contents};
use super::super::cell::{self, Content, SnapshotCell, TemplateCell};
use super::super::index::Facts;
use super::super::keys;
use super::{
    Change, Commit, NewAgent, NewEvent, NewSnapshot, NewTemplate, Record, Request, Shares, Turn,
};
use crate::{Creation, MAX_CREATIONS, StoreError, codec};
use dormouse_domain::agent::{Agent, AgentOwner, Digest};
use dormouse_domain::event::{Event, Subject};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{GuestState, Snapshot};
use dormouse_domain::template::Template;

/// The most bytes that the owner and the name of a template take: they are in its key.
const TEMPLATE_NAME: usize = 512;
/// The most bytes that the owner of an agent takes.
const AGENT_OWNER: usize = 256;
/// The most bytes that a commit takes in the log. The engine takes twice as much at once.
const COMMIT: usize = 12 << 20;

/// A change that is encoded, and whose large values are yet to be staged.
#[derive(Debug)]
pub(in super::super) struct Draft {
    change: Drafted,
    events: Vec<NewEvent>,
    shares: Shares,
    size: usize,
}

#[derive(Debug)]
enum Drafted {
    Ready(Change),
    Agent(Agent, Bytes),
}

impl Draft {
    /// Encode a request. Heavy ones may look into the store, where that is allowed.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where a part takes more room than there is.
    pub(in super::super) fn new(
        request: Request,
        events: &[Event],
        store: Option<&Shared>,
    ) -> Result<Draft, StoreError> {
        let mut places = Places::default();
        if matches!(request, Request::Create(_) | Request::PutTemplate(_)) {
            places.known = store;
        }
        let change = match request {
            Request::PutAgent(agent, component) => {
                check_agent(&agent)?;
                Drafted::Agent(agent, component)
            }
            other => Drafted::Ready(places.change(other)?),
        };
        let event = |event: &Event| {
            let about = match event.subject {
                Subject::Session(id) => Some(id),
                Subject::Agent(_) => None,
            };
            (about, codec::encode_event(event))
        };
        let events: Vec<NewEvent> = events.iter().map(event).collect();
        let shares = places.finish()?;
        let of_change = match &change {
            Drafted::Ready(change) => change.size(),
            Drafted::Agent(..) => 0,
        };
        let of_events: usize = events.iter().map(|(_, event)| event.len() + 8).sum();
        let contents = if shares.contents.are_large() { 0 } else { shares.contents.size() };
        let size = of_change + of_events + 64 * shares.uses.len() + contents + 64;
        if size > COMMIT {
            return Err(StoreError::TooLarge { what: "a commit in bytes", limit: COMMIT });
        }
        Ok(Draft { change, events, shares, size })
    }

    /// Whether something has to be staged before the commit.
    pub(in super::super) fn has_large(&self) -> bool {
        self.shares.contents.are_large() || matches!(self.change, Drafted::Agent(..))
    }

    /// Bytes of what has to be staged.
    pub(in super::super) fn large_bytes(&self) -> usize {
        let component = match &self.change {
            Drafted::Ready(_) => 0,
            Drafted::Agent(_, component) => component.len(),
        };
        let contents = &self.shares.contents;
        component + if contents.are_large() { contents.size() } else { 0 }
    }

    /// The commit, once its large values are staged: `store` is needed where it has any.
    pub(in super::super) fn into_commit(
        self,
        store: Option<&Shared>,
        since: Duration,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    ) -> Result<Commit, StoreError> {
        let Draft { change, events, mut shares, size } = self;
        if let (Some(store), true) = (store, shares.contents.are_large()) {
            shares.contents = shares.contents.stage(&store.disk)?;
        }
        let change = match (change, store) {
            (Drafted::Ready(change), _) => change,
            (Drafted::Agent(agent, component), Some(store)) => {
                let key = keys::component(agent.reference.digest);
                let component = store.disk.stage(&[(key.to_vec().into(), component)])?;
                let value = codec::encode_agent(&agent);
                Change::PutAgent(Box::new(NewAgent { agent, value, component }))
            }
            (Drafted::Agent(..), None) => return Err(StoreError::Closed),
        };
        Ok(Commit { change, events, shares, size, since, answer })
    }
}

/// Decides what goes to blobs.
#[derive(Default)]
pub(in super::super) struct Places<'a> {
    blobs: BTreeMap<BlobId, Bytes>,
    uses: BTreeMap<BlobId, u64>,
    /// Where a blob may be already, so that it is not written in vain: sessions and templates are
    /// made of what is there. If it goes before they are made, so has what they were to start from.
    known: Option<&'a Shared>,
}

impl Places<'_> {
    /// What is referred to, and what of it has to be written.
    pub(in super::super) fn finish(mut self) -> Result<Shares, StoreError> {
        if let Some(store) = self.known {
            let mut known = Vec::new();
            for id in self.blobs.keys() {
                if store.has_blob(id)? {
                    known.push(*id);
                }
            }
            known.iter().for_each(|id| drop(self.blobs.remove(id)));
        }
        let contents = Contents::of(self.blobs.into_iter().collect());
        Ok(Shares { uses: self.uses, contents })
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
                    Ok((record(&session)?, head))
                };
                Change::Create(all.into_iter().map(create).collect::<Result<_, StoreError>>()?)
            }
            Request::Update(update) => {
                let (session, head) = *update;
                let head = head.map(|head| self.snapshot(session.id, head));
                Change::Update(record(&session)?, head)
            }
            Request::Turn(turn) => {
                let (session, turn, snapshot) = *turn;
                let head = snapshot.map(|snapshot| self.snapshot(session.id, snapshot));
                let number = turn.number;
                let turn = codec::encode_turn(&turn);
                Change::Turn(Turn { record: record(&session)?, number, turn, head })
            }
            Request::Log(id) => Change::Log(id),
            Request::Delete(id) => Change::Delete(id),
            Request::Expire(now, sessions) => Change::Expire(now, sessions),
            Request::PutTemplate(template) => Change::PutTemplate(self.template(*template)?),
            Request::DeleteTemplate(owner, name) => {
                check_template(&owner, &name)?;
                Change::DeleteTemplate(keys::template(&owner, &name))
            }
            Request::PutAgent(..) => unreachable!("it is drafted apart, with its component"),
            Request::UpdateAgent(agent) => {
                check_agent(&agent)?;
                let value = codec::encode_agent(&agent);
                Change::UpdateAgent(agent, value)
            }
            Request::DeleteAgent(agent) => Change::DeleteAgent(agent),
        })
    }

    /// A snapshot of this session.
    pub(in super::super) fn snapshot(
        &mut self,
        session: SessionId,
        snapshot: Snapshot,
    ) -> NewSnapshot {
        let id = snapshot.id;
        let mut value = Vec::new();
        let shares = self.state(snapshot, |cell| cell.write(&mut value));
        let value = codec::seal(&keys::snapshot(session, id), &[&value]);
        NewSnapshot { id, value, shares }
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
        self.state(template.snapshot, |snapshot| {
            TemplateCell { template: &row, snapshot }.write(&mut value);
        });
        let value = codec::seal(&key, &[&value]);
        Ok(NewTemplate { key, value, agent: Arc::new(template.agent) })
    }

    /// Place the state of a snapshot, and count what it refers to, each once. Returns whether it
    /// refers to anything.
    fn state(&mut self, snapshot: Snapshot, write: impl FnOnce(SnapshotCell<'_>)) -> bool {
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
        let shares = !blobs.is_empty();
        for id in blobs {
            *self.uses.entry(id).or_default() += 1;
        }
        shares
    }
}

fn record(session: &Session) -> Result<Record, StoreError> {
    let front = codec::encode_front(session);
    if front.len() > cell::FRONT {
        let what = "the owner, the agent, the labels and the state of a session in bytes";
        return Err(StoreError::TooLarge { what, limit: cell::FRONT });
    }
    Ok(Record {
        id: session.id,
        revision: session.revision,
        head: session.head,
        pinned: session.before_upgrade.as_ref().and_then(|before| before.head),
        front,
        body: codec::encode_body(session),
        facts: Facts::of(session),
    })
}

/// The owner of an agent is in its key, and in every session that it serves.
fn check_agent(agent: &Agent) -> Result<(), StoreError> {
    match &agent.reference.owner {
        AgentOwner::Principal(owner) if owner.0.len() > AGENT_OWNER => {
            let what = "the owner of an agent in bytes";
            Err(StoreError::TooLarge { what, limit: AGENT_OWNER })
        }
        AgentOwner::Principal(_) | AgentOwner::Host => Ok(()),
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
