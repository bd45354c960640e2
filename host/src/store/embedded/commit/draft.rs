//! Encoding a request, and deciding what of it lies where.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::super::Shared;
use super::super::blob::{BlobFile, BlobId};
use super::super::cell::{self, Content, Part, SnapshotCell, TemplateCell};
use super::super::files::{FileName, Files, Names, Owner};
use super::super::index::{Facts, agent_key};
use super::super::keys;
use super::{Change, Commit, NewEvent, NewSnapshot, NewTemplate, Record, Request, Shares, Turn};
use crate::agent::{Agent, Digest};
use crate::event::{Event, Subject};
use crate::session::id::{Principal, SessionId};
use crate::session::record::Session;
use crate::session::snapshot::{GuestState, Snapshot};
use crate::session::template::Template;
use crate::store::{Creation, MAX_CREATIONS, StoreError, codec};

/// The most bytes that the owner and the name of a template take: they are in its key.
const TEMPLATE_NAME: usize = 512;

/// A change that is encoded, and whose large values are yet to be written.
#[derive(Debug)]
pub(in super::super) struct Draft {
    change: Drafted,
    events: Vec<NewEvent>,
    files: Vec<(FileName, Vec<u8>)>,
    shares: Shares,
    blobs: Option<BlobFile>,
}

#[derive(Debug)]
enum Drafted {
    Ready(Change),
    Agent(Agent, Part, Bytes),
}

impl Draft {
    /// Encode a request. Heavy ones may look into the store, where that is allowed.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where a part takes more room than there is.
    pub(in super::super) fn new(
        request: Request,
        events: &[Event],
        names: &Names,
        store: Option<&Shared>,
    ) -> Result<Draft, StoreError> {
        let mut places = Places::new(names);
        if matches!(request, Request::Create(_) | Request::PutTemplate(_)) {
            places.known = store;
        }
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
        let (files, shares, blobs) = places.finish()?;
        Ok(Draft { change, events, files, shares, blobs })
    }

    /// Whether files have to be written before the commit.
    pub(in super::super) fn has_files(&self) -> bool {
        !self.files.is_empty() || self.blobs.is_some() || matches!(self.change, Drafted::Agent(..))
    }

    /// Bytes of the files that have to be written.
    pub(in super::super) fn file_bytes(&self) -> usize {
        let component = match &self.change {
            Drafted::Ready(_) => 0,
            Drafted::Agent(_, _, component) => component.len(),
        };
        let blobs = self.blobs.as_ref().map_or(0, BlobFile::length);
        component + blobs + self.files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// The commit, once its files are written. `files` is needed where it has any.
    pub(in super::super) fn into_commit(
        self,
        files: Option<&Files>,
        since: Duration,
        answer: oneshot::Sender<Result<bool, StoreError>>,
    ) -> Result<Commit, StoreError> {
        let mut shares = self.shares;
        if let (Some(files), Some(blobs)) = (files, &self.blobs) {
            shares.write(files, blobs)?;
        }
        if let (Some(files), false) = (files, self.files.is_empty()) {
            files.write(&self.files).inspect_err(|_| files.remove(&shares.file))?;
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
        let size = change.size() + 64 * shares.uses.len() + events + 64;
        let files = self.files.into_iter().map(|(name, _)| name).collect();
        Ok(Commit { change, events: self.events, files, shares, size, since, answer })
    }
}

/// Decides what goes to a file.
pub(in super::super) struct Places<'a> {
    names: &'a Names,
    files: Vec<(FileName, Vec<u8>)>,
    blobs: BTreeMap<BlobId, Bytes>,
    uses: BTreeMap<BlobId, u64>,
    /// Where a blob may be already, so that it is not written in vain: sessions and templates are
    /// made of what is there. If it goes before they are made, so has what they were to start from.
    known: Option<&'a Shared>,
}

impl<'a> Places<'a> {
    /// Nothing has been placed yet.
    pub(in super::super) fn new(names: &'a Names) -> Places<'a> {
        let (blobs, uses) = (BTreeMap::new(), BTreeMap::new());
        Places { names, files: Vec::new(), blobs, uses, known: None }
    }

    /// What has to be written, and what is referred to.
    #[expect(clippy::type_complexity, reason = "its caller takes it apart")]
    pub(in super::super) fn finish(
        mut self,
    ) -> Result<(Vec<(FileName, Vec<u8>)>, Shares, Option<BlobFile>), StoreError> {
        if let Some(store) = self.known {
            let mut known = Vec::new();
            for id in self.blobs.keys() {
                if store.has_blob(id)? {
                    known.push(*id);
                }
            }
            known.iter().for_each(|id| drop(self.blobs.remove(id)));
        }
        let blobs: Vec<_> = self.blobs.into_iter().collect();
        let name = |blobs| BlobFile { name: self.names.name(Owner::Blobs), blobs };
        let file = (!blobs.is_empty()).then_some(blobs).map(name);
        Ok((self.files, Shares { uses: self.uses, ..Shares::default() }, file))
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
    pub(in super::super) fn snapshot(
        &mut self,
        session: SessionId,
        snapshot: Snapshot,
    ) -> NewSnapshot {
        let id = snapshot.id;
        let mut value = Vec::new();
        self.state(snapshot, |cell| cell.write(&mut value));
        let value = codec::seal(&keys::snapshot(session, id), &[&value]);
        NewSnapshot { id, value }
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
        Ok(NewTemplate { key, value, agent: agent_key(template.agent) })
    }

    /// Place the state of a snapshot, and count what it refers to, each once.
    fn state(&mut self, snapshot: Snapshot, write: impl FnOnce(SnapshotCell<'_>)) {
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
        for id in blobs {
            *self.uses.entry(id).or_default() += 1;
        }
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
