//! A group of commits on their way into one batch.
//!
//! Each commit is checked against what the group has made of the store so far: several commits of
//! one session can be in one group, and then the last one gives the session its value, while the
//! turns and events of all are written. A commit that is refused leaves no trace in the group.

mod agents;
mod blobs;
mod expiry;
mod history;
mod log;
mod rows;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use self::blobs::Blobs;
pub(super) use self::log::LogEnds;
use self::rows::Rows;
use super::Shared;
use super::cell::SessionCell;
use super::commit::{Change, NewEvent, NewSnapshot, Record, Shares, Turn};
use super::disk::Read;
use super::engine::{Batch, Class};
use super::index::{AgentKey, Facts, Index, Uploaded};
use super::keys;
use crate::StoreError;
use crate::codec::{self, Kind};
use dormouse_domain::agent::AgentRef;
use dormouse_domain::id::SessionId;

/// A group takes no more commits when the records in it take more than this, in bytes. The engine
/// takes twice as much at once, which leaves room for what one commit may bring.
const LARGE: usize = 12 << 20;

/// The group.
pub(super) struct Group<'a> {
    shared: &'a Shared,
    /// What the records take that have been loaded, in bytes.
    loaded: usize,
    /// Only what has been staged; all else is put in at the end.
    batch: Batch,
    sessions: HashMap<SessionId, Now>,
    rows: Rows<'a>,
    blobs: Blobs<'a>,
    log: LogEnds,
    agents: Vec<AgentChange>,
    templates: Vec<(Vec<u8>, Option<AgentKey>)>,
    purged: Vec<SessionId>,
}

/// What the group has made of a session so far.
enum Now {
    /// It is there.
    Live(Box<Live>),
    /// It has been removed.
    Gone,
}

#[derive(Default)]
struct Live {
    revision: u64,
    cell: SessionCell,
    /// Whether the cell is to be written.
    changed: bool,
    /// What the index is to keep, where the record has been replaced.
    facts: Option<Facts>,
}

enum AgentChange {
    Put(Uploaded),
    Removed(AgentRef),
}

/// A group that is ready to be written, and what is true once it is durable.
pub(super) struct Sealed {
    /// The changes: there may be none.
    pub(super) batch: Batch,
    /// What changes with it.
    pub(super) then: Then,
}

/// What is true once a group is durable.
pub(super) struct Then {
    /// Where the log ends.
    pub(super) log: LogEnds,
    sessions: Vec<(SessionId, Option<Facts>)>,
    agents: Vec<AgentChange>,
    templates: Vec<(Vec<u8>, Option<AgentKey>)>,
    /// Sessions of which nothing is left.
    pub(super) purged: Vec<SessionId>,
}

impl<'a> Group<'a> {
    /// An empty group. The log ends here.
    pub(super) fn new(shared: &'a Shared, log: LogEnds) -> Group<'a> {
        Group {
            shared,
            loaded: 0,
            batch: Batch::default(),
            sessions: HashMap::new(),
            rows: Rows::new(&shared.disk),
            blobs: Blobs::new(shared),
            log: log.next(),
            agents: Vec::new(),
            templates: Vec::new(),
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
        shares: Shares,
    ) -> Result<bool, StoreError> {
        Ok(match change {
            Change::Create(all) => self.create(all, events, shares)?,
            Change::Update(record, head) => self.update(record, head, events, shares)?,
            Change::Turn(turn) => self.turn(turn, events, shares)?,
            Change::Log(id) => {
                self.live(id)?;
                self.log(events);
                true
            }
            Change::Delete(id) => self.delete(id, events)?,
            Change::Expire(now, sessions) => self.expire(now, &sessions),
            Change::PutTemplate(template) => self.put_template(template, shares)?,
            Change::DeleteTemplate(key) => self.delete_template(&key)?,
            Change::PutAgent(agent) => self.put_agent(*agent, events)?,
            Change::UpdateAgent(agent, value) => self.update_agent(*agent, &value, events)?,
            Change::DeleteAgent(agent) => self.delete_agent(agent, events)?,
        })
    }

    /// Whether it should take no more.
    pub(super) fn is_large(&self) -> bool {
        self.loaded > LARGE
    }

    /// Remove what a deleted session has left behind: at most `limit` keys of it. Returns whether
    /// that was all.
    pub(super) fn purge(&mut self, id: SessionId, limit: usize) -> Result<bool, StoreError> {
        let mut left = limit;
        for entry in self.shared.disk.walk(&keys::rows(id), Read::Front) {
            if left == 0 {
                return Ok(false);
            }
            let (key, _) = entry?;
            if let Some(snapshot) = keys::snapshot_of(&key) {
                // Whether it shares anything stood in the record, which is gone.
                left = left.saturating_sub(self.forget(id, snapshot, true)?);
            } else {
                self.rows.remove(key);
                left -= 1;
            }
        }
        for entry in self.shared.disk.walk(&keys::aside(&keys::rows(id)), Read::Front) {
            self.rows.remove(entry?.0);
        }
        self.rows.remove(keys::gone(id));
        self.purged.push(id);
        Ok(true)
    }

    /// Nothing more is added.
    pub(super) fn seal(mut self) -> Sealed {
        self.keep_piece();
        let mut batch = self.batch;
        let mut sessions = Vec::with_capacity(self.sessions.len());
        for (id, now) in self.sessions {
            match now {
                Now::Live(live) => {
                    if live.changed {
                        let key = keys::session(id);
                        let class = SessionCell::class(&live.cell.front);
                        batch.put(class, key.to_vec(), live.cell.seal(&key));
                    }
                    sessions.extend(live.facts.map(|facts| (id, Some(facts))));
                }
                Now::Gone => sessions.push((id, None)),
            }
        }
        self.rows.finish(&mut batch);
        self.blobs.finish(&mut batch);
        Sealed {
            batch,
            then: Then {
                log: self.log,
                sessions,
                agents: self.agents,
                templates: self.templates,
                purged: self.purged,
            },
        }
    }

    fn create(
        &mut self,
        all: Vec<(Record, Option<NewSnapshot>)>,
        events: &[NewEvent],
        shares: Shares,
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
        self.blobs.check(&shares)?;
        self.blobs.take(shares);
        for (record, head) in all {
            self.sessions.insert(record.id, Now::Live(Box::default()));
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
        shares: Shares,
    ) -> Result<bool, StoreError> {
        self.check(&record, head.as_ref(), &shares)?;
        self.blobs.take(shares);
        self.write(record, head);
        self.log(events);
        Ok(true)
    }

    fn turn(
        &mut self,
        turn: Turn,
        events: &[NewEvent],
        shares: Shares,
    ) -> Result<bool, StoreError> {
        let Turn { record, number, turn, head } = turn;
        let id = record.id;
        self.check(&record, head.as_ref(), &shares)?;
        self.blobs.take(shares);
        self.write(record, head);
        self.log(events);
        let live = self.live(id)?;
        live.cell.turns.push(number, &turn);
        if live.cell.turns.are_enough() {
            let turns = std::mem::take(&mut live.cell.turns);
            self.rows.seal(Class::Rows, keys::turn(id, number), turns.as_bytes());
            self.retain_turns(id, number);
        }
        Ok(true)
    }

    fn delete(&mut self, id: SessionId, events: &[NewEvent]) -> Result<bool, StoreError> {
        match self.live(id) {
            Ok(_) => {}
            // What cannot be read can still be removed.
            Err(StoreError::Damaged(_)) => self.rows.remove(keys::aside(&keys::session(id))),
            Err(other) => return Err(other),
        }
        self.sessions.insert(id, Now::Gone);
        self.rows.remove(keys::session(id));
        self.rows.seal(Class::Inline, keys::gone(id), &[]);
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
        let kept = live.cell.snapshots.clone();
        self.check_head(record, head, &kept)?;
        self.blobs.check(shares)
    }

    /// What the group has made so far of a session that has to be there.
    fn live(&mut self, id: SessionId) -> Result<&mut Live, StoreError> {
        use std::collections::hash_map::Entry;
        let now = match self.sessions.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let live = load(self.shared, id)?;
                self.loaded += live.cell.body.len();
                unknown.insert(Now::Live(Box::new(live)))
            }
        };
        match now {
            Now::Live(live) => Ok(live),
            Now::Gone => Err(StoreError::NotFound(id)),
        }
    }

    /// Give a session its record, and the head that comes with it.
    fn write(&mut self, record: Record, head: Option<NewSnapshot>) {
        let id = record.id;
        let pinned = [record.head, record.pinned];
        let Some(Now::Live(live)) = self.sessions.get_mut(&id) else { return };
        live.revision = record.revision;
        live.cell.front = record.front.into();
        live.cell.body = record.body.into();
        live.facts = Some(record.facts);
        live.changed = true;
        if let Some(head) = head {
            self.keep(id, head);
            self.retain(id, &pinned);
        }
    }
}

/// A session as it is durable: the group before this one is.
fn load(shared: &Shared, id: SessionId) -> Result<Live, StoreError> {
    let revision = {
        let index = shared.index();
        if let Some(key) = index.aside(id) {
            return Err(StoreError::Damaged(key.to_owned()));
        }
        index.revision(id).ok_or(StoreError::NotFound(id))?
    };
    let key = keys::session(id);
    let damaged = || StoreError::Damaged(keys::describe(&key));
    let sealed = shared.disk.get(&key)?.ok_or_else(damaged)?;
    let value = codec::unseal(Kind::Session, &key, &sealed).map_err(|_| damaged())?;
    let value = shared_bytes(&sealed, value);
    let cell = SessionCell::read(&value).map_err(|_| damaged())?;
    Ok(Live { revision, cell, changed: false, facts: None })
}

/// These bytes, which are a part of `whole` unless they have been made anew.
pub(super) fn shared_bytes(whole: &Bytes, part: Cow<'_, [u8]>) -> Bytes {
    match part {
        Cow::Borrowed(part) => whole.slice_ref(part),
        Cow::Owned(part) => Bytes::from(part),
    }
}

impl Then {
    /// Make it so. Returns the sessions that are gone, and have left something behind.
    pub(super) fn apply(self, index: &mut Index) -> Vec<SessionId> {
        let mut gone = Vec::new();
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
                AgentChange::Put(uploaded) => index.agents.put(uploaded),
                AgentChange::Removed(agent) => index.agents.remove(&agent),
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
        index.cursor = self.log.cursor;
        index.pay();
        gone
    }
}
