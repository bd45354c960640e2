//! A group of commits on their way into one batch.
//!
//! Each commit is checked against what the group has made of the store so far: several commits of
//! one session can be in one group, and then the last one gives the session its value, while the
//! turns and events of all are written. A commit that is refused leaves no trace in the group.

use std::collections::HashMap;

use sled::{Batch, IVec};

use super::Shared;
use super::cell::{self, AgentCell, Part, SessionCell};
use super::commit::{Change, Record, Turn};
use super::files::{FileName, Owner};
use super::index::{Facts, InFlight, Index, Uploaded};
use super::keys;
use crate::agent::{Agent, AgentRef, Digest};
use crate::event::Cursor;
use crate::session::id::{SessionId, SnapshotId};
use crate::store::StoreError;
use crate::store::codec::{self, Kind};

/// The group.
pub(super) struct Group<'a> {
    shared: &'a Shared,
    batch: Batch,
    changed: bool,
    sessions: HashMap<SessionId, Staged>,
    cursor: Cursor,
    piece: Vec<u8>,
    agents: Vec<AgentChange>,
    unlink: Vec<FileName>,
    purged: Vec<SessionId>,
}

/// A session that the group changes.
struct Staged {
    durable: Option<IVec>,
    turns_from: u64,
    now: Now,
}

/// What the group has made of a session so far.
enum Now {
    /// It is there.
    Live(Live),
    /// It has been removed.
    Gone,
}

struct Live {
    revision: u64,
    body: Option<FileName>,
    head: Option<(SnapshotId, Part)>,
    written: Option<Written>,
}

struct Written {
    front: Vec<u8>,
    body: Part,
    facts: Facts,
}

enum AgentChange {
    Put(Uploaded),
    Removed(AgentRef),
}

/// A group that is ready to be written, and what is true once it is durable.
pub(super) struct Sealed {
    /// The changes; `None` where there are none.
    pub(super) batch: Option<Batch>,
    /// What readers have to disregard until then.
    pub(super) in_flight: HashMap<SessionId, InFlight>,
    /// What changes with it.
    pub(super) then: Then,
}

/// What is true once a group is durable.
pub(super) struct Then {
    cursor: Cursor,
    sessions: Vec<(SessionId, Option<Facts>)>,
    agents: Vec<AgentChange>,
    purged: Vec<SessionId>,
    /// Files that nothing points to any more.
    pub(super) unlink: Vec<FileName>,
}

impl<'a> Group<'a> {
    /// An empty group.
    pub(super) fn new(shared: &'a Shared) -> Group<'a> {
        Group {
            shared,
            batch: Batch::default(),
            changed: false,
            sessions: HashMap::new(),
            cursor: shared.index().cursor,
            piece: Vec::new(),
            agents: Vec::new(),
            unlink: Vec::new(),
            purged: Vec::new(),
        }
    }

    /// Take a commit in. Returns whether there was something to do.
    ///
    /// # Errors
    /// Why the commit is refused. The group is as it was.
    pub(super) fn add(
        &mut self,
        change: Change,
        events: &[Part],
        files: &[FileName],
    ) -> Result<bool, StoreError> {
        let done = match change {
            Change::Create(record) => self.create(record, events)?,
            Change::Update(record) => self.update(record, events)?,
            Change::Turn(turn) => self.turn(turn, events)?,
            Change::Delete(id) => self.delete(id, events)?,
            Change::PutAgent(agent, part, component) => {
                let kept = self.admit(&agent).and_then(|sequence| {
                    sequence
                        .map(|s| self.shared.files.keep_component(&component).map(|()| s))
                        .transpose()
                });
                match kept {
                    Ok(Some(sequence)) => self.put_agent(sequence, agent, &part, events),
                    refused => {
                        self.shared.files.drop_component(&component);
                        refused?;
                        false
                    }
                }
            }
            Change::DeleteAgent(agent) => self.delete_agent(agent, events)?,
        };
        if done {
            for file in files {
                self.insert(keys::file(file.as_str()), &[]);
            }
        }
        Ok(done)
    }

    /// Leave a commit out because the disk is full.
    pub(super) fn refuse(&self, change: Change) -> Result<bool, StoreError> {
        if let Change::PutAgent(_, _, component) = change {
            self.shared.files.drop_component(&component);
        }
        Err(StoreError::Full)
    }

    /// Remove what a deleted session has left behind: at most `limit` keys of it. Returns whether
    /// that was all.
    pub(super) fn purge(&mut self, id: SessionId, limit: usize) -> Result<bool, StoreError> {
        let mut left = limit;
        let rows = self.shared.disk.prefix(&keys::rows(id));
        let files = self.shared.disk.prefix(&keys::file(&Owner::Session(id).prefix()));
        for entry in rows.chain(files) {
            if left == 0 {
                return Ok(false);
            }
            let (key, _) = entry?;
            if let [keys::FILE, name @ ..] = &*key
                && let Ok(name) = FileName::read(name)
            {
                self.unlink.push(name);
            }
            self.remove(key);
            left -= 1;
        }
        self.remove(keys::gone(id));
        self.purged.push(id);
        Ok(true)
    }

    /// Nothing more is added.
    pub(super) fn seal(mut self) -> Sealed {
        self.end_piece();
        let mut in_flight = HashMap::with_capacity(self.sessions.len());
        let mut sessions = Vec::with_capacity(self.sessions.len());
        for (id, staged) in self.sessions {
            match staged.now {
                Now::Live(Live { head, written: Some(written), .. }) => {
                    let key = keys::session(id);
                    let cell = SessionCell::write(&written.front, &written.body, head.as_ref());
                    self.batch.insert(key.as_slice(), codec::seal(&key, &[&cell]));
                    sessions.push((id, Some(written.facts)));
                }
                Now::Live(Live { written: None, .. }) => {}
                Now::Gone => sessions.push((id, None)),
            }
            let Staged { durable, turns_from, now: _ } = staged;
            in_flight.insert(id, InFlight { durable, turns_from });
        }
        Sealed {
            batch: self.changed.then_some(self.batch),
            in_flight,
            then: Then {
                cursor: self.cursor,
                sessions,
                agents: self.agents,
                purged: self.purged,
                unlink: self.unlink,
            },
        }
    }

    fn create(&mut self, record: Record, events: &[Part]) -> Result<bool, StoreError> {
        let id = record.id;
        let taken = self.sessions.contains_key(&id) || self.shared.index().taken(id);
        if taken || record.revision != 1 {
            return Err(StoreError::Conflict(id));
        }
        let live = Live { revision: 0, body: None, head: None, written: None };
        let staged = Staged { durable: None, turns_from: u64::MAX, now: Now::Live(live) };
        self.sessions.insert(id, staged);
        self.write(record, None);
        self.log_of(id, events);
        Ok(true)
    }

    fn update(&mut self, record: Record, events: &[Part]) -> Result<bool, StoreError> {
        let id = record.id;
        self.check(&record)?;
        self.write(record, None);
        self.log_of(id, events);
        Ok(true)
    }

    fn turn(&mut self, turn: Turn, events: &[Part]) -> Result<bool, StoreError> {
        let id = turn.record.id;
        self.check(&turn.record)?;
        self.write(turn.record, turn.head);
        if let Some(staged) = self.sessions.get_mut(&id) {
            staged.turns_from = staged.turns_from.min(turn.number);
        }
        self.log_of(id, events);
        self.insert(keys::turn(id, turn.number), &cell::write_turn(&turn.turn));
        Ok(true)
    }

    fn delete(&mut self, id: SessionId, events: &[Part]) -> Result<bool, StoreError> {
        match self.live(id) {
            Ok(_) => {}
            // What cannot be read can still be removed.
            Err(StoreError::Damaged(_)) => {
                self.remove(keys::aside(&keys::session(id)));
                let staged = Staged { durable: None, turns_from: u64::MAX, now: Now::Gone };
                self.sessions.insert(id, staged);
            }
            Err(other) => return Err(other),
        }
        if let Some(staged) = self.sessions.get_mut(&id) {
            staged.now = Now::Gone;
        }
        self.remove(keys::session(id));
        self.insert(keys::gone(id), &[]);
        self.log(events);
        Ok(true)
    }

    /// Whether this agent is new, and then its place in the order of upload.
    fn admit(&self, agent: &Agent) -> Result<Option<u64>, StoreError> {
        let index = self.shared.index();
        let reference = &agent.reference;
        match index.uploaded(&reference.name, &reference.version) {
            None => Ok(Some(index.next_sequence())),
            Some(known) if known.agent.reference.digest == reference.digest => Ok(None),
            Some(known) => Err(StoreError::AgentExists(known.agent.reference.clone())),
        }
    }

    fn put_agent(&mut self, sequence: u64, agent: Agent, part: &Part, events: &[Part]) -> bool {
        let key = keys::agent(&agent.reference.name, &agent.reference.version);
        self.insert(key, &AgentCell::write(sequence, part));
        self.agents.push(AgentChange::Put(Uploaded { sequence, agent }));
        self.log(events);
        true
    }

    fn delete_agent(&mut self, agent: AgentRef, events: &[Part]) -> Result<bool, StoreError> {
        {
            let index = self.shared.index();
            let known = index.uploaded(&agent.name, &agent.version);
            if known.is_none_or(|known| known.agent.reference.digest != agent.digest) {
                return Ok(false);
            }
            match index.serves(&agent) {
                0 => {}
                count => return Err(StoreError::AgentInUse(count)),
            }
        }
        self.forget_agent_file(&agent)?;
        self.remove(keys::agent(&agent.name, &agent.version));
        self.agents.push(AgentChange::Removed(agent));
        self.log(events);
        Ok(true)
    }

    fn forget_agent_file(&mut self, agent: &AgentRef) -> Result<(), StoreError> {
        let key = keys::agent(&agent.name, &agent.version);
        let file = self.shared.disk.get(&key)?.and_then(|sealed| {
            let value = codec::unseal(Kind::Agent, &key, &sealed).ok()?;
            AgentCell::read(&value).ok()?.agent.to_file()
        });
        if let Some(file) = file {
            self.forget_file(file);
        }
        Ok(())
    }

    /// The session, which has to be there at the revision before this record's.
    fn check(&mut self, record: &Record) -> Result<(), StoreError> {
        let live = self.live(record.id)?;
        if live.revision.checked_add(1) == Some(record.revision) {
            Ok(())
        } else {
            Err(StoreError::Conflict(record.id))
        }
    }

    /// What the group has made so far of a session that has to be there.
    fn live(&mut self, id: SessionId) -> Result<&mut Live, StoreError> {
        if !self.sessions.contains_key(&id) {
            let staged = self.load(id)?;
            self.sessions.insert(id, staged);
        }
        match self.sessions.get_mut(&id).map(|staged| &mut staged.now) {
            Some(Now::Live(live)) => Ok(live),
            Some(Now::Gone) | None => Err(StoreError::NotFound(id)),
        }
    }

    fn load(&self, id: SessionId) -> Result<Staged, StoreError> {
        let revision = {
            let index = self.shared.index();
            if let Some(key) = index.aside(id) {
                return Err(StoreError::Damaged(key.to_owned()));
            }
            index.revision(id).ok_or(StoreError::NotFound(id))?
        };
        let key = keys::session(id);
        let damaged = || StoreError::Damaged(keys::describe(&key));
        // The group before this one is durable, so all that sled has is.
        let durable = self.shared.disk.get(&key)?.ok_or_else(damaged)?;
        let value = codec::unseal(Kind::Session, &key, &durable).map_err(|_| damaged())?;
        let cell = SessionCell::read(&value).map_err(|_| damaged())?;
        let live = Live {
            revision,
            body: cell.body.to_file(),
            head: cell.head.map(|(id, part)| (id, part.to_part())),
            written: None,
        };
        drop(value);
        Ok(Staged { durable: Some(durable), turns_from: u64::MAX, now: Now::Live(live) })
    }

    /// Give a session its record. Its head stays for as long as the record names it.
    fn write(&mut self, record: Record, head: Option<(SnapshotId, Part)>) {
        let Some(Staged { now: Now::Live(live), .. }) = self.sessions.get_mut(&record.id) else {
            return;
        };
        let replaced_body = live.body.take();
        let before = live.head.take();
        let (head, replaced_head) = match (head, before) {
            (Some(new), before) => (Some(new), before),
            (None, Some(before)) if record.head == Some(before.0) => (Some(before), None),
            (None, before) => (None, before),
        };
        live.revision = record.revision;
        live.head = head;
        live.body = record.body.file().cloned();
        live.written =
            Some(Written { front: record.front, body: record.body, facts: record.facts });
        self.changed = true;
        let replaced_head = replaced_head.and_then(|(_, part)| part.file().cloned());
        for file in replaced_body.into_iter().chain(replaced_head) {
            self.forget_file(file);
        }
    }

    fn forget_file(&mut self, file: FileName) {
        self.remove(keys::file(file.as_str()));
        self.unlink.push(file);
    }

    /// Append events to the log, and say where those of this session are. Returns how many.
    fn log_of(&mut self, id: SessionId, events: &[Part]) {
        let count = self.log(events);
        if count > 0 {
            self.insert(keys::place(id, self.cursor), &u64::from(count).to_le_bytes());
        }
    }

    fn log(&mut self, events: &[Part]) -> u32 {
        for event in events {
            self.cursor.0 += 1;
            cell::append_event(&mut self.piece, event);
            if self.piece.len() > cell::PIECE {
                self.end_piece();
            }
        }
        u32::try_from(events.len()).unwrap_or(u32::MAX)
    }

    fn end_piece(&mut self) {
        let piece = std::mem::take(&mut self.piece);
        if !piece.is_empty() {
            self.insert(keys::events(self.cursor), &piece);
        }
    }

    fn insert(&mut self, key: impl AsRef<[u8]>, value: &[u8]) {
        let key = key.as_ref();
        self.batch.insert(key, codec::seal(key, &[value]));
        self.changed = true;
    }

    fn remove(&mut self, key: impl AsRef<[u8]>) {
        self.batch.remove(key.as_ref());
        self.changed = true;
    }
}

impl Then {
    /// Make it so. Returns the sessions that are gone, and the components that no agent has.
    pub(super) fn apply(self, index: &mut Index) -> (Vec<SessionId>, Vec<Digest>) {
        let mut gone = Vec::new();
        let mut removed = Vec::new();
        for (id, facts) in self.sessions {
            match facts {
                Some(facts) => index.put(id, facts),
                None => {
                    index.remove(id);
                    gone.push(id);
                }
            }
        }
        for change in self.agents {
            match change {
                AgentChange::Put(uploaded) => index.put_agent(uploaded),
                AgentChange::Removed(agent) => {
                    index.remove_agent(&agent);
                    removed.push(agent.digest);
                }
            }
        }
        for id in self.purged {
            index.purged(id);
        }
        index.cursor = self.cursor;
        index.set_in_flight(HashMap::new());
        if !removed.is_empty() {
            let kept = index.digests();
            removed.retain(|digest| !kept.contains(digest));
        }
        (gone, removed)
    }
}
