//! A group of commits on their way into one batch.
//!
//! Each commit is checked against what the group has made of the store so far: several commits of
//! one session can be in one group, and then the last one gives the session its value, while the
//! turns and events of all are written. A commit that is refused leaves no trace in the group.

mod accounts;
mod agents;
mod blobs;
mod expiry;
mod history;
mod journal;
mod log;
mod mail;
mod quota;
mod release;
mod removed;
mod rows;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;

use self::blobs::Blobs;
pub(super) use self::blobs::Recount;
use self::journal::Journals;
pub(super) use self::log::LogEnds;
use self::mail::Mailboxes;
use self::quota::Counts;
pub(super) use self::release::Stuck;
use self::removed::Removed;
use self::rows::GroupRows;
use super::EmbeddedShared;
use super::commit::{Encoded, EncodedWrite, NewSnapshot, Record, RowValue};
use super::disk::ReadExtent;
use super::engine::{Batch, Class};
use super::session_index::{
    AgentKey, Begun, IndexedAgent, Mailbox, RemovedCell, SessionFacts, SessionIndex,
};
use super::tables::blobs::BlobId;
use super::tables::sessions::SessionCell;
use super::{keys, tables};
use crate::StoreError;
use crate::codec::{self, RecordKind};
use crate::label::LabelKey;
use dormouse_domain::agent::AgentRef;
use dormouse_domain::id::SessionId;
use dormouse_domain::residence::Residence;

/// A group takes no more commits when the sessions in it that have been loaded, and the journals that it removes,
/// take more than this, in bytes. The smallest slot of the log has twice as much, for what the commits bring and for the session
/// that was loaded last.
const LARGE: usize = 8 << 20;

/// The group.
pub(super) struct CommitGroup<'a> {
    shared: &'a EmbeddedShared,
    /// What the sessions take that have been loaded, and the keys of journals that are removed, in bytes.
    loaded: usize,
    /// Only what has been staged; all else is put in at the end.
    batch: Batch,
    sessions: HashMap<SessionId, Now>,
    rows: GroupRows<'a>,
    blobs: Blobs<'a>,
    counts: Counts,
    removed: Removed,
    journals: Journals,
    mailboxes: Mailboxes,
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
    /// The label of its user.
    user: Option<LabelKey>,
    cell: SessionCell,
    /// Whether the cell is to be written.
    changed: bool,
    /// What the index is to keep, where the record has been replaced.
    facts: Option<SessionFacts>,
}

enum AgentChange {
    Put(IndexedAgent),
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
    sessions: Vec<(SessionId, Option<SessionFacts>)>,
    removed: Vec<(Arc<str>, RemovedCell)>,
    /// The sessions whose turns are opened or closed.
    turns: HashMap<SessionId, Option<Begun>>,
    /// The mailboxes that are changed.
    mailboxes: HashMap<SessionId, Mailbox>,
    agents: Vec<AgentChange>,
    templates: Vec<(Vec<u8>, Option<AgentKey>)>,
    /// Sessions of which nothing is left.
    pub(super) purged: Vec<SessionId>,
    /// What has become of blobs.
    pub(super) blobs: Recount,
}

impl<'a> CommitGroup<'a> {
    /// An empty group. The log ends here, and these blobs are listed to be released.
    pub(super) fn new(
        shared: &'a EmbeddedShared,
        log: LogEnds,
        unused: &'a BTreeSet<BlobId>,
    ) -> CommitGroup<'a> {
        CommitGroup {
            shared,
            loaded: 0,
            batch: Batch::default(),
            sessions: HashMap::new(),
            rows: GroupRows::new(&shared.disk),
            blobs: Blobs::new(shared, unused),
            counts: Counts::default(),
            removed: Removed::default(),
            journals: Journals::default(),
            mailboxes: Mailboxes::default(),
            log: log.next(),
            agents: Vec::new(),
            templates: Vec::new(),
            purged: Vec::new(),
        }
    }

    /// Take a transaction in.
    ///
    /// # Errors
    /// Why it is refused. The group is as it was.
    pub(super) fn add(&mut self, transaction: Encoded) -> Result<(), StoreError> {
        let Encoded { expect, changes, events, shares, large, size: _ } = transaction;
        for expected in &expect {
            tables::expect(self, expected, &changes)?;
        }
        for change in &changes {
            self.check(change, &changes)?;
        }
        self.blobs.check(&shares)?;
        // Before anything goes: it may be the same.
        self.blobs.take(shares);
        if let Some(large) = large {
            // Where another agent has the same component, it is given the same bytes again.
            self.batch.put_staged(large, |_| true);
        }
        for change in changes {
            self.apply(change);
        }
        self.log(&events);
        Ok(())
    }

    /// Whether no session has this id, and nothing is left of one that had it.
    pub(super) fn expect_new_session(&self, id: SessionId) -> Result<(), StoreError> {
        let is_taken = self.sessions.contains_key(&id) || self.shared.index().taken(id);
        if is_taken { Err(StoreError::Conflict(id)) } else { Ok(()) }
    }

    /// Whether a session is there and can be read. Returns the revision of its record.
    pub(super) fn expect_session(&mut self, id: SessionId) -> Result<u64, StoreError> {
        Ok(self.live(id)?.revision)
    }

    /// What the group has made of a key so far, in its envelope.
    pub(super) fn row(&mut self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.rows.get(key)
    }

    /// Whether a change can be made, one of these, where all is as it is expected.
    fn check(&mut self, change: &EncodedWrite, all: &[EncodedWrite]) -> Result<(), StoreError> {
        match change {
            EncodedWrite::Session(record, head) => self.check_head(record, head.as_ref()),
            EncodedWrite::RemoveSession(id) => match self.live(*id) {
                // What cannot be read can still be removed.
                Ok(_) | Err(StoreError::Damaged(_)) => Ok(()),
                Err(other) => Err(other),
            },
            EncodedWrite::Journal(id, ..) => self.expect_open_turn(*id, all),
            EncodedWrite::ChangeAccount(id, _) => self.expect_account(*id, all),
            EncodedWrite::TakeMail(id, number) => self.expect_mail(*id, *number),
            EncodedWrite::RemoveTemplate(key, name) => self.expect_template(key, name),
            EncodedWrite::RemoveAgent(agent) => self.expect_unused(agent),
            // Its snapshots go, and it names no head.
            EncodedWrite::RemoveState(_)
            | EncodedWrite::Slept(..)
            | EncodedWrite::ResumeTried(..)
            | EncodedWrite::Turn(..)
            | EncodedWrite::LargeTurn(..)
            | EncodedWrite::OpenTurn(_)
            | EncodedWrite::CloseTurn(_)
            | EncodedWrite::Mail { .. }
            | EncodedWrite::DropMail(_)
            | EncodedWrite::NewAccount(_)
            | EncodedWrite::Template(_)
            | EncodedWrite::Agent(..)
            | EncodedWrite::Row(..)
            | EncodedWrite::Rows(_)
            | EncodedWrite::Expire(..)
            | EncodedWrite::ForgetKeys(..) => Ok(()),
        }
    }

    /// Make a change, which has been checked.
    fn apply(&mut self, change: EncodedWrite) {
        match change {
            EncodedWrite::Session(record, head) => self.write(*record, head),
            EncodedWrite::RemoveState(record) => self.remove_state(*record),
            EncodedWrite::Slept(id, residence) => self.slept(id, residence),
            EncodedWrite::ResumeTried(id, snapshot, trial, at) => {
                self.note_resume(id, snapshot, trial, at);
            }
            EncodedWrite::Turn(id, number, turn) => self.turn(id, number, &turn),
            EncodedWrite::LargeTurn(id, number, _) => self.large_turn(id, number),
            EncodedWrite::OpenTurn(turn) => self.open_turn(*turn),
            EncodedWrite::Journal(id, key, value) => self.put_journal(id, key, value),
            EncodedWrite::CloseTurn(id) => self.close_turn(id),
            EncodedWrite::Mail { to, weight, value } => self.put_mail(to, weight, &value),
            EncodedWrite::TakeMail(id, number) => self.take_mail(id, number),
            EncodedWrite::DropMail(id) => self.drop_mail(id),
            EncodedWrite::NewAccount(account) => self.put_account(&account),
            EncodedWrite::ChangeAccount(id, change) => self.change_account(id, change),
            EncodedWrite::RemoveSession(id) => self.remove_session(id),
            EncodedWrite::Template(template) => self.put_template(template),
            EncodedWrite::RemoveTemplate(key, _) => self.remove_template(key),
            EncodedWrite::Agent(agent, value) => self.put_agent(*agent, &value),
            EncodedWrite::RemoveAgent(agent) => self.remove_agent(agent),
            EncodedWrite::Row(key, Some(value)) => self.rows.put(Class::Rows, key, value),
            EncodedWrite::Row(key, None) => self.rows.remove(key),
            EncodedWrite::Rows(rows) => {
                for (key, value) in rows {
                    match value {
                        Some(RowValue::Here(value)) => self.rows.put(Class::Head, key, value),
                        // It is in the batch already.
                        Some(RowValue::Staged(_)) => self.rows.let_go(&key),
                        None => self.rows.remove(key),
                    }
                }
            }
            EncodedWrite::Expire(now, sessions) => self.expire(now, &sessions),
            EncodedWrite::ForgetKeys(now, keys) => self.forget_keys(now, &keys),
        }
    }

    /// Whether it should take no more.
    pub(super) fn is_large(&self) -> bool {
        self.loaded > LARGE
    }

    /// Remove what a deleted session has left behind: at most `limit` keys of it. Returns whether
    /// that was all.
    pub(super) fn purge(&mut self, id: SessionId, limit: usize) -> Result<bool, StoreError> {
        let mut left = limit;
        let prefixes = [keys::rows(id), tables::journal::rows(id), tables::mail::rows(id)];
        for entry in prefixes.iter().flat_map(|it| self.shared.disk.walk(it, ReadExtent::Front)) {
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
        for prefix in prefixes {
            for entry in self.shared.disk.walk(&keys::aside(&prefix), ReadExtent::Front) {
                self.rows.remove(entry?.0);
            }
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
        let blobs = self.blobs.finish(&mut batch);
        let removed = self.removed.finish(&mut batch);
        let turns = self.journals.finish();
        let mailboxes = self.mailboxes.finish();
        Sealed {
            batch,
            then: Then {
                log: self.log,
                sessions,
                removed,
                turns,
                mailboxes,
                agents: self.agents,
                templates: self.templates,
                purged: self.purged,
                blobs,
            },
        }
    }

    /// Add a turn to a session.
    fn turn(&mut self, id: SessionId, number: u64, turn: &[u8]) {
        let Some(Now::Live(live)) = self.sessions.get_mut(&id) else { return };
        live.cell.turns.push(number, turn);
        live.changed = true;
        if live.cell.turns.are_enough() {
            let turns = std::mem::take(&mut live.cell.turns);
            self.rows.seal(Class::Rows, keys::turn(id, number), turns.as_bytes());
            self.retain_turns(id, number);
        }
    }

    /// The same for a turn that has been staged as a row of its own. Those before it have theirs from now on.
    fn large_turn(&mut self, id: SessionId, number: u64) {
        let Some(Now::Live(live)) = self.sessions.get_mut(&id) else { return };
        let turns = std::mem::take(&mut live.cell.turns);
        if let Some(before) = turns.end() {
            live.changed = true;
            self.rows.seal(Class::Rows, keys::turn(id, before), turns.as_bytes());
        }
        self.retain_turns(id, number);
    }

    /// Give a session a record without a head, and remove all its snapshots.
    fn remove_state(&mut self, record: Record) {
        let id = record.id;
        self.write(record, None);
        let Some(Now::Live(live)) = self.sessions.get(&id) else { return };
        let snapshots = live.cell.snapshots.clone();
        self.forget_all(id, &snapshots);
    }

    /// Note in the record of a session that it sleeps. What cannot be read of it is found when it is woken.
    fn slept(&mut self, id: SessionId, residence: Residence) {
        let Some(Now::Live(live)) = self.sessions.get_mut(&id) else { return };
        if let Ok(body) = codec::note_residence(&live.cell.body, residence) {
            live.cell.body = body.into();
            live.changed = true;
        }
    }

    fn remove_session(&mut self, id: SessionId) {
        if !self.sessions.contains_key(&id) {
            // It could not be read.
            self.rows.remove(keys::aside(&keys::session(id)));
        }
        self.count_removal(id);
        self.forget_turn(id);
        self.forget_mail(id);
        self.sessions.insert(id, Now::Gone);
        self.rows.remove(keys::session(id));
        self.rows.seal(Class::Inline, keys::gone(id), &[]);
    }

    /// Count a session that is removed. One whose record cannot be read at all counts nowhere.
    fn count_removal(&mut self, id: SessionId) {
        let facts = match self.sessions.get(&id) {
            Some(Now::Live(live)) => live.facts.as_ref(),
            Some(Now::Gone) | None => None,
        };
        let index = self.shared.index();
        let Some(removal) = facts.map(SessionFacts::at_removal).or_else(|| index.at_removal(id))
        else {
            return;
        };
        self.counts.owner(&removal.owner, -1);
        self.counts.user(removal.labels.user, -1);
        self.removed.count(&index, &removal);
    }

    /// What the group has made so far of a session that has to be there.
    fn live(&mut self, id: SessionId) -> Result<&mut Live, StoreError> {
        use std::collections::hash_map::Entry;
        let now = match self.sessions.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let live = load(self.shared, id)?;
                self.loaded += live.cell.size();
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
        // One that has not been loaded is new.
        let is_new = !self.sessions.contains_key(&id);
        let now = self.sessions.entry(id).or_insert_with(|| Now::Live(Box::default()));
        let Now::Live(live) = now else { return };
        if is_new {
            self.counts.owner(record.facts.owner(), 1);
        }
        let user = record.facts.user();
        if live.user != user {
            self.counts.user(live.user, -1);
            self.counts.user(user, 1);
            live.user = user;
        }
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
fn load(shared: &EmbeddedShared, id: SessionId) -> Result<Live, StoreError> {
    let (revision, user) = {
        let index = shared.index();
        if let Some(key) = index.aside(id) {
            return Err(StoreError::Damaged(key.to_owned()));
        }
        index.known(id).ok_or(StoreError::NotFound(id))?
    };
    let key = keys::session(id);
    let damaged = || StoreError::Damaged(keys::describe(&key));
    let sealed = shared.disk.get(&key)?.ok_or_else(damaged)?;
    let value = codec::unseal(RecordKind::Session, &key, &sealed).map_err(|_| damaged())?;
    let value = shared_bytes(&sealed, value);
    let cell = SessionCell::read(&value).map_err(|_| damaged())?;
    Ok(Live { revision, user, cell, changed: false, facts: None })
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
    pub(super) fn apply(self, index: &mut SessionIndex) -> Vec<SessionId> {
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
        for (owner, cell) in self.removed {
            index.put_removed_cell(owner, cell);
        }
        for (id, begun) in self.turns {
            match begun {
                Some(begun) => index.open_turns.open(id, begun),
                None => index.open_turns.close(id),
            }
        }
        for (id, mailbox) in self.mailboxes {
            index.mailboxes.put(id, mailbox);
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
