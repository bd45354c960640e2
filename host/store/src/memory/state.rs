//! What the store in memory has, and what a transaction makes of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::MemoryStore;
use super::blobs::{Chunks, FileBlobs};
use super::journal::Journals;
use super::mail::Mailboxes;
use super::removed::Removed;
use super::schedules::Schedules;
use crate::page::Filling;
use crate::read::{ReadAccounts, ReadIdempotency, ReadKeys, StoredKeys};
use crate::{
    AgentQuery, Bound, EventEntry, Expect, Page, Retention, StoreError, Transaction, WorldRow,
    Write, codec,
};
use dormouse_domain::access::{AccessKey, KeyId};
use dormouse_domain::account::{Account, AccountId};
use dormouse_domain::agent::{Agent, AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::deadline;
use dormouse_domain::event::{Cursor, Event};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{ResumeHistory, Snapshot};
use dormouse_domain::template::Template;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord, TurnRecord};

/// All of it.
#[derive(Debug)]
pub(super) struct StoredData {
    keep: Retention,
    pub(super) sessions: BTreeMap<SessionId, StoredSession>,
    pub(super) turns: BTreeMap<(SessionId, u64), TurnRecord>,
    /// By owner and name. Their snapshots are whole.
    pub(super) templates: BTreeMap<(String, String), Template>,
    pub(super) agents: BTreeMap<(AgentOwner, AgentName, Version), StoredAgent>,
    pub(super) components: BTreeMap<Digest, Bytes>,
    idempotency: HashMap<IdempotencyKey, IdempotencyRecord>,
    keys: BTreeMap<KeyId, AccessKey>,
    pub(super) journals: Journals,
    pub(super) mailboxes: Mailboxes,
    accounts: BTreeMap<AccountId, Account>,
    pub(super) schedules: Schedules,
    pub(super) worlds: BTreeMap<WorldRow, Bytes>,
    chunks: Chunks,
    pub(super) files: FileBlobs,
    pub(super) removed: Removed,
    log: BTreeMap<Cursor, Event>,
    pub(super) end: Cursor,
}

/// A session.
#[derive(Debug)]
pub(super) struct StoredSession {
    pub(super) record: Session,
    /// Those that are kept, whole, the oldest first.
    pub(super) snapshots: Vec<Snapshot>,
    /// What has come of going on from them.
    pub(super) resumes: BTreeMap<SnapshotId, ResumeHistory>,
    /// The end of the log before it was created.
    pub(super) before: Cursor,
}

impl StoredSession {
    /// A snapshot of it.
    pub(super) fn snapshot(&self, id: SnapshotId) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.id == id)
    }
}

/// An agent and its place in the order of upload.
#[derive(Debug)]
pub(super) struct StoredAgent {
    pub(super) sequence: u64,
    pub(super) agent: Agent,
}

impl StoredData {
    /// Nothing, and so much is kept of the past.
    pub(super) fn new(keep: Retention) -> StoredData {
        StoredData {
            keep,
            sessions: BTreeMap::new(),
            turns: BTreeMap::new(),
            templates: BTreeMap::new(),
            agents: BTreeMap::new(),
            components: BTreeMap::new(),
            idempotency: HashMap::new(),
            keys: BTreeMap::new(),
            journals: Journals::default(),
            mailboxes: Mailboxes::default(),
            accounts: BTreeMap::new(),
            schedules: Schedules::default(),
            worlds: BTreeMap::new(),
            chunks: Chunks::default(),
            files: FileBlobs::default(),
            removed: Removed::default(),
            log: BTreeMap::new(),
            end: Cursor::default(),
        }
    }

    /// How many snapshots, templates and blobs there are.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let snapshots = self.sessions.values().map(|held| held.snapshots.len()).sum();
        (snapshots, self.templates.len(), self.chunks.len() + self.files.len())
    }

    /// Whether the last chunk of each snapshot is not counted.
    #[cfg(test)]
    pub(super) fn forget_edges(&mut self, forgets: bool) {
        self.chunks.forgets_an_edge = forgets;
    }

    /// Do all of this or nothing.
    pub(super) fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        let Transaction { expect, mut writes, events } = transaction;
        for expected in &expect {
            self.expect(expected, &writes)?;
        }
        for write in &writes {
            self.check(write, &writes)?;
        }
        self.chunks.fill(writes.iter_mut().filter_map(Write::snapshot_mut).collect())?;
        self.files.take(writes.iter_mut().filter_map(Write::snapshot_mut).collect())?;
        // Before anything goes: it may be the same.
        writes
            .iter_mut()
            .filter_map(Write::snapshot_mut)
            .for_each(|snapshot| self.chunks.take(snapshot));
        for write in writes {
            self.apply(write);
        }
        let of_sessions = self.sessions.values().flat_map(|held| &held.snapshots);
        let of_templates = self.templates.values().map(|template| &template.snapshot);
        self.files.sweep(of_sessions.chain(of_templates));
        for event in events {
            self.end.0 += 1;
            self.log.insert(self.end, event);
        }
        while self.log.len() as u64 > self.keep.events {
            self.log.pop_first();
        }
        Ok(())
    }

    fn expect(&self, expected: &Expect, writes: &[Write]) -> Result<(), StoreError> {
        let revision = |id: &SessionId| {
            let found = self.sessions.get(id).map(|held| held.record.revision);
            found.ok_or(StoreError::NotFound(*id))
        };
        match expected {
            Expect::NewSession(id) if self.sessions.contains_key(id) => {
                Err(StoreError::Conflict(*id))
            }
            Expect::NewSession(_) => Ok(()),
            Expect::Session(id) => revision(id).map(drop),
            Expect::Revision(id, expected) if revision(id)? != *expected => {
                Err(StoreError::Conflict(*id))
            }
            Expect::Revision(..) => Ok(()),
            Expect::NewAgent(agent) => match self.agents.get(&key_of(agent)) {
                Some(known) => Err(StoreError::AgentExists(known.agent.reference.clone())),
                None => Ok(()),
            },
            Expect::Agent(agent) => self.expect_agent(agent),
            Expect::NewIdempotencyKey(key) => match self.idempotency.get(key) {
                Some(known) => Err(StoreError::IdempotencyKeyUsed(known.session)),
                None => Ok(()),
            },
            Expect::NewKey(id) if self.keys.contains_key(id) => Err(StoreError::KeyExists(*id)),
            Expect::Key(id) if !self.keys.contains_key(id) => Err(StoreError::KeyNotFound(*id)),
            Expect::NewKey(_) | Expect::Key(_) => Ok(()),
            Expect::NoOpenTurn(id) if self.journals.has(*id) => Err(StoreError::Conflict(*id)),
            Expect::NewAccount(id) if self.accounts.contains_key(id) => {
                Err(StoreError::Conflict(id.0))
            }
            Expect::NoOpenTurn(_) | Expect::NewAccount(_) => Ok(()),
            Expect::NewSchedule(id) => match self.schedules.revision(*id) {
                None => Ok(()),
                Some(_) => Err(StoreError::ScheduleConflict(*id)),
            },
            Expect::Schedule(id, expected) => match self.schedules.revision(*id) {
                Some(revision) if revision == *expected => Ok(()),
                Some(_) => Err(StoreError::ScheduleConflict(*id)),
                None => Err(StoreError::ScheduleNotFound(*id)),
            },
            Expect::SessionQuota { owner, user, limit } => {
                let is_counted = |new: &&Session| has_user(new, owner, user.as_deref());
                let new = writes.iter().filter_map(Write::new_session).filter(is_counted).count();
                let all = self.session_count(owner, user.as_deref()) + new as u64;
                if all > *limit { Err(StoreError::QuotaReached { limit: *limit }) } else { Ok(()) }
            }
        }
    }

    fn expect_agent(&self, agent: &AgentRef) -> Result<(), StoreError> {
        match self.agents.get(&key_of(agent)) {
            Some(known) if known.agent.reference == *agent => Ok(()),
            Some(_) | None => Err(StoreError::AgentNotFound(agent.clone())),
        }
    }

    /// Whether something can be written, one of these.
    fn check(&self, write: &Write, all: &[Write]) -> Result<(), StoreError> {
        match write {
            Write::Session { record, head } => {
                let is_taken = |id| self.sessions.values().any(|held| held.snapshot(id).is_some());
                if head.as_ref().map(|head| head.id).is_some_and(is_taken) {
                    return Err(StoreError::Conflict(record.id));
                }
                let Some(named) = record.head else { return Ok(()) };
                let comes = head.as_ref().is_some_and(|head| head.id == named);
                let held = self.sessions.get(&record.id);
                let is_there = comes || held.is_some_and(|held| held.snapshot(named).is_some());
                if is_there { Ok(()) } else { Err(StoreError::SnapshotGone) }
            }
            Write::RemoveSession(id) if !self.sessions.contains_key(id) => {
                Err(StoreError::NotFound(*id))
            }
            Write::TurnAttempts(id, _) | Write::JournalEntry(id, _) => {
                let opens =
                    |write: &Write| matches!(write, Write::OpenTurn(turn) if turn.session == *id);
                let is_open = self.journals.has(*id) || all.iter().any(opens);
                if is_open { Ok(()) } else { Err(StoreError::Conflict(*id)) }
            }
            Write::TakeMail(id, number) if !self.mailboxes.has(*id, *number) => {
                Err(StoreError::Conflict(*id))
            }
            Write::ChangeAccount(id, _) => {
                let comes = |write: &Write| matches!(write, Write::NewAccount(account) if account.id == *id);
                let is_there = self.accounts.contains_key(id) || all.iter().any(comes);
                if is_there { Ok(()) } else { Err(StoreError::AccountNotFound(*id)) }
            }
            Write::RemoveTemplate(owner, name) => {
                let is_there = self.templates.contains_key(&(owner.0.clone(), name.clone()));
                if is_there { Ok(()) } else { Err(StoreError::TemplateNotFound(name.clone())) }
            }
            Write::RemoveAgent(agent) => {
                self.expect_agent(agent)?;
                match self.uses(agent) {
                    0 => Ok(()),
                    uses => Err(StoreError::AgentInUse(uses)),
                }
            }
            Write::RemoveSession(_)
            | Write::RemoveState(_)
            | Write::Slept(..)
            | Write::ResumeTried(..)
            | Write::Turn(_)
            | Write::OpenTurn(_)
            | Write::CloseTurn(_)
            | Write::Mail(..)
            | Write::TakeMail(..)
            | Write::DropMail(_)
            | Write::NewAccount(_)
            | Write::Template(_)
            | Write::Agent(..)
            | Write::Idempotency(_)
            | Write::RemoveIdempotency(_)
            | Write::Key(_)
            | Write::RemoveKey(_)
            | Write::Schedule(_)
            | Write::ScheduledWork(..)
            | Write::RemoveSchedule(_)
            | Write::World(..) => Ok(()),
        }
    }

    /// Write something that has been checked, and whose snapshot has been taken.
    fn apply(&mut self, write: Write) {
        match write {
            Write::Session { record, head } => self.put_session(Arc::unwrap_or_clone(record), head),
            Write::RemoveState(record) => {
                let Some(held) = self.sessions.get_mut(&record.id) else { return };
                held.record = Arc::unwrap_or_clone(record);
                held.snapshots.drain(..).for_each(|snapshot| self.chunks.release(&snapshot));
            }
            Write::Slept(id, residence) => {
                let Some(held) = self.sessions.get_mut(&id) else { return };
                held.record.residence = held.record.residence.noted(residence);
            }
            Write::ResumeTried(id, snapshot, trial, at) => {
                let Some(held) = self.sessions.get_mut(&id) else { return };
                if held.snapshot(snapshot).is_some() {
                    let history = held.resumes.entry(snapshot).or_default();
                    *history = history.after(trial, at);
                }
            }
            Write::Turn(turn) => {
                let (id, number) = (turn.session, turn.number);
                self.turns.insert((id, number), Arc::unwrap_or_clone(turn));
                self.forget_turns(id, (number + 1).saturating_sub(self.keep.turns));
            }
            Write::RemoveSession(id) => {
                self.forget_turns(id, u64::MAX);
                self.journals.close(id);
                self.mailboxes.clear(id);
                let Some(held) = self.sessions.remove(&id) else { return };
                self.removed.count(&held.record);
                held.snapshots.iter().for_each(|snapshot| self.chunks.release(snapshot));
            }
            Write::OpenTurn(turn) => self.journals.open(*turn),
            Write::TurnAttempts(id, attempts) => self.journals.note_attempts(id, attempts),
            Write::JournalEntry(id, entry) => self.journals.put(id, *entry),
            Write::CloseTurn(id) => self.journals.close(id),
            Write::Mail(to, mail) if self.sessions.contains_key(&to) => {
                self.mailboxes.put(to, *mail);
            }
            Write::Mail(..) => {}
            Write::TakeMail(id, number) => self.mailboxes.take(id, number),
            Write::DropMail(id) => self.mailboxes.clear(id),
            Write::NewAccount(account) => self.put_account(*account),
            Write::ChangeAccount(id, change) => {
                let Some(mut account) = self.accounts.remove(&id) else { return };
                account.apply(change);
                self.put_account(account);
            }
            Write::Template(template) => {
                let key = (template.owner.0.clone(), template.name.clone());
                if let Some(old) = self.templates.insert(key, *template) {
                    self.chunks.release(&old.snapshot);
                }
            }
            Write::RemoveTemplate(owner, name) => {
                if let Some(old) = self.templates.remove(&(owner.0, name)) {
                    self.chunks.release(&old.snapshot);
                }
            }
            Write::Agent(agent, component) => {
                if let Some(component) = component {
                    self.components.insert(agent.reference.digest, component);
                }
                let key = key_of(&agent.reference);
                let newest = self.agents.values().map(|it| it.sequence).max().unwrap_or(0);
                let sequence = self.agents.get(&key).map_or(newest + 1, |known| known.sequence);
                self.agents.insert(key, StoredAgent { sequence, agent: *agent });
            }
            Write::RemoveAgent(agent) => {
                self.agents.remove(&key_of(&agent));
                if self.with_component(agent.digest).next().is_none() {
                    self.components.remove(&agent.digest);
                }
            }
            Write::Idempotency(record) => {
                self.idempotency.insert(record.key.clone(), *record);
            }
            Write::RemoveIdempotency(key) => drop(self.idempotency.remove(&key)),
            Write::Key(key) => drop(self.keys.insert(key.id, *key)),
            Write::RemoveKey(id) => drop(self.keys.remove(&id)),
            Write::Schedule(record) => self.schedules.put(*record),
            Write::ScheduledWork(id, work) => self.schedules.put_work(id, *work),
            Write::RemoveSchedule(id) => self.schedules.remove(id),
            Write::World(row, Some(bytes)) => drop(self.worlds.insert(row, bytes)),
            Write::World(row, None) => drop(self.worlds.remove(&row)),
        }
    }

    fn put_account(&mut self, account: Account) {
        if account.members > 0 {
            self.accounts.insert(account.id, account);
        }
    }

    /// Forget the turns of a session before this one.
    fn forget_turns(&mut self, id: SessionId, end: u64) {
        let old: Vec<_> = self.turns.range((id, 0)..(id, end)).map(|(key, _)| *key).collect();
        for key in old {
            self.turns.remove(&key);
        }
    }

    fn put_session(&mut self, record: Session, head: Option<Snapshot>) {
        let pinned = [record.head, record.before_upgrade.as_ref().and_then(|before| before.head)];
        let new = StoredSession {
            record: record.clone(),
            snapshots: Vec::new(),
            resumes: BTreeMap::new(),
            before: self.end,
        };
        let held = self.sessions.entry(record.id).or_insert(new);
        held.record = record;
        let Some(head) = head else { return };
        held.snapshots.push(head);
        let mut too_many = held.snapshots.len().saturating_sub(self.keep.snapshots);
        held.snapshots.retain(|snapshot| {
            let goes = too_many > 0 && !pinned.contains(&Some(snapshot.id));
            if goes {
                too_many -= 1;
                self.chunks.release(snapshot);
            }
            !goes
        });
    }

    /// How many sessions an owner has, or how many of them have this user.
    pub(super) fn session_count(&self, owner: &Principal, user: Option<&str>) -> u64 {
        let sessions = self.sessions.values().map(|held| &held.record);
        sessions.filter(|session| has_user(session, owner, user)).count() as u64
    }

    /// How many sessions and templates refer to an agent.
    fn uses(&self, agent: &AgentRef) -> u64 {
        let of_session = |record: &Session| {
            let before = record.before_upgrade.as_ref().map(|before| &before.agent);
            u64::from(record.profile.agent == *agent) + u64::from(before == Some(agent))
        };
        let sessions: u64 = self.sessions.values().map(|held| of_session(&held.record)).sum();
        sessions + self.templates.values().filter(|it| it.agent == *agent).count() as u64
    }

    fn with_component(&self, digest: Digest) -> impl Iterator<Item = &StoredAgent> {
        self.agents.values().filter(move |it| it.agent.reference.digest == digest)
    }

    /// An agent.
    pub(super) fn agent(&self, query: &AgentQuery) -> Option<&Agent> {
        let found = match query {
            AgentQuery::Exact(owner, name, version) => {
                self.agents.get(&(owner.clone(), name.clone(), version.clone()))
            }
            AgentQuery::Latest(owner, name, user) => {
                let is_meant = |it: &&StoredAgent| {
                    let reference = &it.agent.reference;
                    reference.owner == *owner
                        && reference.name == *name
                        && it.agent.is_usable_by(user)
                };
                self.agents.values().filter(is_meant).max_by(|one, other| {
                    let version = &one.agent.reference.version;
                    let precedence = version.precedence(&other.agent.reference.version);
                    precedence.then(one.sequence.cmp(&other.sequence))
                })
            }
            AgentQuery::Component(digest, user) => {
                let usable =
                    |it: &&StoredAgent| it.agent.is_bundled() || it.agent.is_usable_by(user);
                self.with_component(*digest).filter(usable).min_by_key(|it| {
                    (!it.agent.is_owned_by(user), it.agent.is_bundled(), it.sequence)
                })
            }
            AgentQuery::AnyComponent(digest) => self.with_component(*digest).next(),
        };
        found.map(|uploaded| &uploaded.agent)
    }

    /// All that is due, the longest due first.
    pub(super) fn due(&self) -> Vec<(Timestamp, SessionId)> {
        let due = |held: &StoredSession| Some((deadline::next(&held.record)?.0, held.record.id));
        let mut all: Vec<_> = self.sessions.values().filter_map(due).collect();
        all.sort_unstable();
        all
    }

    /// Events after `cursor` that are meant.
    pub(super) fn events(
        &self,
        cursor: Cursor,
        bound: Bound,
        is_meant: impl Fn(&Event) -> bool,
    ) -> Page<EventEntry, Cursor> {
        let mut page = Filling::new(bound);
        let after = (std::ops::Bound::Excluded(cursor), std::ops::Bound::Unbounded);
        for (cursor, event) in self.log.range(after).filter(|(_, event)| is_meant(event)) {
            let logged = EventEntry { cursor: *cursor, event: event.clone() };
            if !page.take(*cursor, codec::encode_event(event).len(), logged) {
                break;
            }
        }
        page.page()
    }
}

/// Whether a session is of this owner, and has this user.
fn has_user(session: &Session, owner: &Principal, user: Option<&str>) -> bool {
    session.owner == *owner
        && user.is_none_or(|user| session.profile.user_id.as_deref() == Some(user))
}

fn key_of(agent: &AgentRef) -> (AgentOwner, AgentName, Version) {
    (agent.owner.clone(), agent.name.clone(), agent.version.clone())
}

#[async_trait]
impl ReadIdempotency for MemoryStore {
    async fn idempotency(
        &self,
        key: IdempotencyKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError> {
        Ok(self.open()?.idempotency.get(&key).cloned())
    }
}

#[async_trait]
impl ReadKeys for MemoryStore {
    async fn keys(&self) -> Result<StoredKeys, StoreError> {
        Ok(StoredKeys { keys: self.open()?.keys.values().cloned().collect(), lost: 0 })
    }
}

#[async_trait]
impl ReadAccounts for MemoryStore {
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        Ok(self.open()?.accounts.get(&id).cloned())
    }
}
