//! A group of commits on their way into one batch.
//!
//! Each commit is checked against what the group has made of the store so far: several commits of
//! one session can be in one group, and then the last one gives the session its value, while the
//! turns and events of all are written. A commit that is refused leaves no trace in the group.

mod agents;
mod blobs;
mod history;
mod rows;

use std::collections::{HashMap, HashSet};

use sled::{Batch, IVec};

use self::blobs::Blobs;
pub(super) use self::rows::Before;
use self::rows::Rows;
use super::Shared;
use super::cell::{self, Part, SessionCell};
use super::commit::{Change, NewEvent, NewSnapshot, Record, Shares, Turn};
use super::files::{FileName, Owner};
use super::index::{AgentKey, Facts, InFlight, Index, Uploaded};
use super::keys;
use crate::agent::{AgentRef, Digest};
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
    rows: Rows<'a>,
    blobs: Blobs<'a>,
    cursor: Cursor,
    piece: Vec<u8>,
    agents: Vec<AgentChange>,
    templates: Vec<(Vec<u8>, Option<AgentKey>)>,
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
    /// The oldest first.
    snapshots: Vec<SnapshotId>,
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
    /// The same of keys that are none of these sessions'.
    pub(super) before: Before,
    /// What changes with it.
    pub(super) then: Then,
}

/// What is true once a group is durable.
pub(super) struct Then {
    cursor: Cursor,
    sessions: Vec<(SessionId, Option<Facts>)>,
    agents: Vec<AgentChange>,
    templates: Vec<(Vec<u8>, Option<AgentKey>)>,
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
            rows: Rows::new(&shared.disk),
            blobs: Blobs::new(shared),
            cursor: shared.index().cursor,
            piece: Vec::new(),
            agents: Vec::new(),
            templates: Vec::new(),
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
        events: &[NewEvent],
        files: &[FileName],
        shares: &Shares,
    ) -> Result<bool, StoreError> {
        let done = match change {
            Change::Create(all) => self.create(all, events, shares)?,
            Change::Update(record, head) => self.update(record, head, events, shares)?,
            Change::Turn(turn) => self.turn(turn, events, shares)?,
            Change::Log(id) => {
                self.live(id)?;
                self.log(events);
                true
            }
            Change::Delete(id) => self.delete(id, events)?,
            Change::PutTemplate(template) => self.put_template(template, shares)?,
            Change::DeleteTemplate(key) => self.delete_template(&key)?,
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
            self.changed = true;
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
            if let Some(snapshot) = keys::snapshot_of(&key) {
                left = left.saturating_sub(self.forget(id, snapshot)?);
                continue;
            }
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
        let mut before = Before::new();
        self.changed |= self.rows.seal(&mut self.batch, &mut before);
        self.changed |= self.blobs.seal(&mut self.batch, &mut before, &mut self.unlink);
        let mut in_flight = HashMap::with_capacity(self.sessions.len());
        let mut sessions = Vec::with_capacity(self.sessions.len());
        for (id, staged) in self.sessions {
            match staged.now {
                Now::Live(Live { snapshots, written: Some(written), .. }) => {
                    let key = keys::session(id);
                    let cell = SessionCell::write(&written.front, &written.body, &snapshots);
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
            before,
            then: Then {
                cursor: self.cursor,
                sessions,
                agents: self.agents,
                templates: self.templates,
                purged: self.purged,
                unlink: self.unlink,
            },
        }
    }

    fn create(
        &mut self,
        all: Vec<(Record, Option<NewSnapshot>)>,
        events: &[NewEvent],
        shares: &Shares,
    ) -> Result<bool, StoreError> {
        let mut seen = HashSet::with_capacity(all.len());
        let mut heads = HashSet::with_capacity(all.len());
        for (record, head) in &all {
            let id = record.id;
            let taken = self.sessions.contains_key(&id) || self.shared.index().taken(id);
            let again = head.as_ref().is_some_and(|head| !heads.insert(head.id));
            if taken || again || record.revision != 1 || !seen.insert(id) {
                return Err(StoreError::Conflict(id));
            }
            self.check_head(record, head.as_ref(), &[])?;
        }
        self.blobs.check(shares)?;
        self.blobs.take(shares);
        for (record, head) in all {
            let live = Live { revision: 0, body: None, snapshots: Vec::new(), written: None };
            let staged = Staged { durable: None, turns_from: u64::MAX, now: Now::Live(live) };
            self.sessions.insert(record.id, staged);
            self.write(record, head);
        }
        self.log(events);
        Ok(true)
    }

    fn update(
        &mut self,
        record: Record,
        head: Option<NewSnapshot>,
        events: &[NewEvent],
        shares: &Shares,
    ) -> Result<bool, StoreError> {
        self.check(&record, head.as_ref(), shares)?;
        self.blobs.take(shares);
        self.write(record, head);
        self.log(events);
        Ok(true)
    }

    fn turn(
        &mut self,
        turn: Turn,
        events: &[NewEvent],
        shares: &Shares,
    ) -> Result<bool, StoreError> {
        let id = turn.record.id;
        self.check(&turn.record, turn.head.as_ref(), shares)?;
        self.blobs.take(shares);
        self.write(turn.record, turn.head);
        if let Some(staged) = self.sessions.get_mut(&id) {
            staged.turns_from = staged.turns_from.min(turn.number);
        }
        self.log(events);
        self.insert(keys::turn(id, turn.number), &cell::write_turn(&turn.turn));
        Ok(true)
    }

    fn delete(&mut self, id: SessionId, events: &[NewEvent]) -> Result<bool, StoreError> {
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

    /// The session, which has to be there at the revision before this record's, with the snapshot
    /// that the record names.
    fn check(
        &mut self,
        record: &Record,
        head: Option<&NewSnapshot>,
        shares: &Shares,
    ) -> Result<(), StoreError> {
        let live = self.live(record.id)?;
        if live.revision.checked_add(1) != Some(record.revision) {
            return Err(StoreError::Conflict(record.id));
        }
        let kept = live.snapshots.clone();
        self.check_head(record, head, &kept)?;
        self.blobs.check(shares)
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
        let live =
            Live { revision, body: cell.body.to_file(), snapshots: cell.snapshots, written: None };
        drop(value);
        Ok(Staged { durable: Some(durable), turns_from: u64::MAX, now: Now::Live(live) })
    }

    /// Give a session its record, and the head that comes with it.
    fn write(&mut self, record: Record, head: Option<NewSnapshot>) {
        let id = record.id;
        let pinned = [record.head, record.pinned];
        let Some(Staged { now: Now::Live(live), .. }) = self.sessions.get_mut(&id) else {
            return;
        };
        let replaced_body = live.body.take();
        live.revision = record.revision;
        live.body = record.body.file().cloned();
        live.written =
            Some(Written { front: record.front, body: record.body, facts: record.facts });
        self.changed = true;
        if let Some(file) = replaced_body {
            self.forget_file(file);
        }
        if let Some(head) = head {
            self.keep(id, head);
            self.retain(id, &pinned);
        }
    }

    fn forget_file(&mut self, file: FileName) {
        self.remove(keys::file(file.as_str()));
        self.unlink.push(file);
    }

    /// Append events to the log, and say where those of sessions are.
    fn log(&mut self, events: &[NewEvent]) {
        for some in events.chunk_by(|(one, _), (next, _)| one == next) {
            for (_, event) in some {
                self.cursor.0 += 1;
                cell::append_event(&mut self.piece, event);
                if self.piece.len() > cell::PIECE {
                    self.end_piece();
                }
            }
            if let Some((Some(id), _)) = some.first()
                && self.is_there(*id)
            {
                let count = (some.len() as u64).to_le_bytes();
                self.insert(keys::place(*id, self.cursor), &count);
            }
        }
    }

    /// Whether there is such a session, in the group or before it.
    fn is_there(&self, id: SessionId) -> bool {
        match self.sessions.get(&id) {
            Some(staged) => matches!(staged.now, Now::Live(_)),
            None => self.shared.index().revision(id).is_some(),
        }
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
        for (key, agent) in self.templates {
            match agent {
                Some(agent) => index.put_template(key, agent),
                None => index.remove_template(&key),
            }
        }
        for id in self.purged {
            index.purged(id);
        }
        index.cursor = self.cursor;
        index.set_in_flight(HashMap::new(), Before::new());
        if !removed.is_empty() {
            let kept = index.digests();
            removed.retain(|digest| !kept.contains(digest));
        }
        (gone, removed)
    }
}
