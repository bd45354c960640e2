//! A store in memory: ordered maps, and nothing that outlives the process. For tests of hosts, and to
//! say in few lines what a store does.
//!
//! One lock: a transaction is compared with what it expects, then written. Lists are made by looking at
//! all that there is, so it is for thousands of sessions, not for millions. Nothing goes by its age.

mod blobs;
mod journal;
mod mail;
mod removed;
mod schedules;
mod state;
mod worlds;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use self::state::{StoredData, StoredSession};
#[cfg(test)]
use crate::Between;
use crate::page::Filling;
use crate::read::{
    FilesLease, ReadAgents, ReadEvents, ReadFiles, ReadSessions, ReadSnapshots, ReadStatistics,
    ReadTemplates, ReadTurns,
};
use crate::{
    AgentQuery, Bound, EventEntry, PAGE_BYTES, Page, Retention, SessionCursor, SessionPage,
    SessionQuery, SnapshotDetail, SnapshotSummary, Statistics, StatisticsQuery, Store, StoreError,
    StoredSnapshot, Sums, Transaction, WakeState, codec,
};
use dormouse_base::clock::Clock;
#[cfg(test)]
use dormouse_domain::account::{AccountChange, Amounts};
use dormouse_domain::agent::{Agent, Digest};
use dormouse_domain::event::{Cursor, EventSubject};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::state::Status;
use dormouse_domain::template::{Template, TemplateSummary};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::TurnRecord;

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    state: Arc<Mutex<StoredData>>,
    secret: [u8; 32],
    /// Tells where the log ends. `None`: the store is closed.
    log_end: Mutex<Option<watch::Sender<Cursor>>>,
    end: watch::Receiver<Cursor>,
    #[cfg(test)]
    flaw: Option<Flaw>,
}

/// What a store may get wrong, so that the conformance suite has something to find.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flaw {
    /// The last event of each transaction is lost.
    DropsTheLastEvent,
    /// What a transaction expects is not looked at.
    IgnoresWhatIsExpected,
    /// Turns are lost.
    LosesTurns,
    /// Idempotency keys are lost.
    LosesIdempotencyKeys,
    /// What was written of a key of the API last is lost.
    LosesChangesOfKeys,
    /// The head that comes with a record is lost.
    LosesHeads,
    /// Nobody is told where the log ends.
    TellsNoEnd,
    /// Lists do not find what has changed by its tags.
    ForgetsTagsOfWhatHasChanged,
    /// Statistics forget what is removed.
    SubtractsRemovedSessions,
    /// A page begins with the session behind which it should begin.
    ListsTheLastOfAPageAgain,
    /// Lists have those that were active later than they should.
    IgnoresTheEndOfActivity,
    /// The last chunk that a snapshot has is not counted.
    ForgetsAnEdge,
    /// The snapshots of a session whose state is removed stay.
    KeepsRemovedStates,
    /// Sleeps are not noted.
    LosesSleeps,
    /// Entries of journals are lost.
    LosesEntries,
    /// How often a turn was begun is lost.
    LosesAttempts,
    /// Open turns stay open.
    KeepsOpenTurns,
    /// What is spent from accounts is lost.
    LosesSpending,
    /// Accounts have members that have left.
    KeepsMembers,
    /// Mail is lost.
    LosesMail,
    /// Mail that was taken stays.
    KeepsTakenMail,
    /// Mail that is dropped stays.
    KeepsDroppedMail,
    /// What was written of a schedule last is lost, but for its work.
    LosesRunsOfSchedules,
    /// What is removed of simulated worlds is kept.
    KeepsRemovedWorlds,
    /// Calls of members of worlds are kept although the log has them.
    KeepsRemovedCalls,
    /// Pieces of the recordings of worlds are lost.
    LosesRecordings,
    /// Experiments are lost.
    LosesExperiments,
    /// What a schedule does stays as it was.
    LosesChangesOfWork,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new(Retention::default())
    }
}

impl MemoryStore {
    /// An empty store that keeps so much of the past.
    #[must_use]
    pub fn new(keep: Retention) -> MemoryStore {
        let clock = Clock::real();
        let random = [clock.random(), clock.random(), clock.random()].concat();
        let secret = *blake3::hash(&random).as_bytes();
        MemoryStore::of(Arc::new(Mutex::new(StoredData::new(keep))), secret)
    }

    fn of(state: Arc<Mutex<StoredData>>, secret: [u8; 32]) -> MemoryStore {
        let (log_end, end) = watch::channel(Cursor::default());
        MemoryStore {
            state,
            secret,
            log_end: Mutex::new(Some(log_end)),
            end,
            #[cfg(test)]
            flaw: None,
        }
    }

    /// The same store once more, as a process that starts again finds it.
    #[must_use]
    pub fn reopen(&self) -> MemoryStore {
        let again = MemoryStore::of(Arc::clone(&self.state), self.secret);
        #[cfg(test)]
        let again = MemoryStore { flaw: self.flaw, ..again };
        again
    }

    /// The same with this flaw.
    #[cfg(test)]
    pub(crate) fn with_flaw(mut self, flaw: Flaw) -> MemoryStore {
        self.flaw = Some(flaw);
        self
    }

    /// How many snapshots, templates and chunks there are.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        self.lock().counts()
    }

    fn open(&self) -> Result<MutexGuard<'_, StoredData>, StoreError> {
        if self.log_end().is_some() { Ok(self.lock()) } else { Err(StoreError::Closed) }
    }

    fn log_end(&self) -> MutexGuard<'_, Option<watch::Sender<Cursor>>> {
        self.log_end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, StoredData> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tell those who follow the log where it ends.
    fn tell(&self, end: Cursor) {
        #[cfg(test)]
        if matches!(self.flaw, Some(Flaw::TellsNoEnd)) {
            return;
        }
        if let Some(log_end) = &*self.log_end() {
            log_end.send_if_modified(|now| std::mem::replace(now, end) != end);
        }
    }

    /// Whether a list has a session.
    fn finds(&self, query: &SessionQuery, session: &Session) -> bool {
        #[cfg(test)]
        if matches!(self.flaw, Some(Flaw::ForgetsTagsOfWhatHasChanged))
            && session.revision > 1
            && !query.tags.is_empty()
        {
            return false;
        }
        #[cfg(test)]
        if matches!(self.flaw, Some(Flaw::IgnoresTheEndOfActivity)) {
            let active = Between { before: None, ..query.active };
            return SessionQuery { active, ..query.clone() }.matches(session);
        }
        query.matches(session)
    }

    /// Whether a page begins with the session behind which it should begin.
    #[cfg(test)]
    fn lists_again(&self) -> bool {
        matches!(self.flaw, Some(Flaw::ListsTheLastOfAPageAgain))
    }

    /// What becomes of a transaction on its way.
    #[cfg(test)]
    fn spoil(&self, transaction: &mut Transaction) {
        use crate::{Expect, WorldRow, Write};
        match self.flaw {
            None
            | Some(
                Flaw::TellsNoEnd
                | Flaw::ForgetsTagsOfWhatHasChanged
                | Flaw::SubtractsRemovedSessions
                | Flaw::ListsTheLastOfAPageAgain
                | Flaw::IgnoresTheEndOfActivity
                | Flaw::ForgetsAnEdge,
            ) => {}
            Some(Flaw::DropsTheLastEvent) => drop(transaction.events.pop()),
            Some(Flaw::IgnoresWhatIsExpected) => transaction.expect.clear(),
            Some(Flaw::KeepsRemovedStates) => {
                for write in &mut transaction.writes {
                    if let Write::RemoveState(record) = write {
                        *write = Write::Session { record: Arc::clone(record), head: None };
                    }
                }
            }
            Some(Flaw::LosesSleeps) => {
                transaction.writes.retain(|write| !matches!(write, Write::Slept(..)));
            }
            Some(Flaw::LosesEntries) => {
                transaction.writes.retain(|write| !matches!(write, Write::JournalEntry(..)));
            }
            Some(Flaw::LosesAttempts) => {
                transaction.writes.retain(|write| !matches!(write, Write::TurnAttempts(..)));
            }
            Some(Flaw::KeepsOpenTurns) => {
                transaction.writes.retain(|write| !matches!(write, Write::CloseTurn(_)));
            }
            Some(Flaw::LosesSpending) => spoil_changes(transaction, |change| {
                change.spent = Amounts::default();
            }),
            Some(Flaw::KeepsMembers) => spoil_changes(transaction, |change| {
                change.members = change.members.max(0);
            }),
            Some(Flaw::LosesMail) => {
                transaction.writes.retain(|write| !matches!(write, Write::Mail(..)));
            }
            Some(Flaw::KeepsTakenMail) => {
                transaction.writes.retain(|write| !matches!(write, Write::TakeMail(..)));
            }
            Some(Flaw::KeepsDroppedMail) => {
                transaction.writes.retain(|write| !matches!(write, Write::DropMail(_)));
            }
            Some(Flaw::LosesTurns) => {
                transaction.writes.retain(|write| !matches!(write, Write::Turn(_)));
            }
            Some(Flaw::LosesIdempotencyKeys) => {
                transaction.writes.retain(|write| !matches!(write, Write::Idempotency(_)));
            }
            Some(Flaw::LosesChangesOfKeys) => {
                let is_change = |expect: &Expect| matches!(expect, Expect::Key(_));
                if transaction.expect.iter().any(is_change) {
                    transaction.writes.retain(|write| !matches!(write, Write::Key(_)));
                }
            }
            Some(Flaw::LosesRunsOfSchedules) => {
                let is_change = |expect: &Expect| matches!(expect, Expect::Schedule(..));
                if transaction.expect.iter().any(is_change) {
                    transaction.writes.retain(|write| !matches!(write, Write::Schedule(_)));
                }
            }
            Some(Flaw::KeepsRemovedWorlds) => {
                transaction.writes.retain(|write| !matches!(write, Write::World(_, None)));
            }
            Some(Flaw::KeepsRemovedCalls) => transaction
                .writes
                .retain(|write| !matches!(write, Write::World(WorldRow::Call(..), None))),
            Some(Flaw::LosesRecordings) => transaction
                .writes
                .retain(|write| !matches!(write, Write::World(WorldRow::Calls(..), Some(_)))),
            Some(Flaw::LosesExperiments) => transaction
                .writes
                .retain(|write| !matches!(write, Write::World(WorldRow::Experiment(_), Some(_)))),
            Some(Flaw::LosesChangesOfWork) => {
                let is_change = |expect: &Expect| matches!(expect, Expect::Schedule(..));
                if transaction.expect.iter().any(is_change) {
                    transaction.writes.retain(|write| !matches!(write, Write::ScheduledWork(..)));
                }
            }
            Some(Flaw::LosesHeads) => {
                for write in &mut transaction.writes {
                    if let Write::Session { record, head: head @ Some(_) } = write {
                        *head = None;
                        Arc::make_mut(record).head = None;
                    }
                }
            }
        }
    }
}

/// What becomes of changes of accounts on their way.
#[cfg(test)]
fn spoil_changes(transaction: &mut Transaction, spoil: impl Fn(&mut AccountChange)) {
    for write in &mut transaction.writes {
        if let crate::Write::ChangeAccount(_, change) = write {
            spoil(change);
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        transaction.check()?;
        #[cfg(test)]
        let transaction = {
            let mut transaction = transaction;
            self.spoil(&mut transaction);
            transaction
        };
        let mut state = self.open()?;
        #[cfg(test)]
        state.forget_edges(matches!(self.flaw, Some(Flaw::ForgetsAnEdge)));
        state.commit(transaction)?;
        self.tell(state.end);
        Ok(())
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    async fn failed(&self) -> StoreError {
        std::future::pending().await
    }

    async fn close(&self) -> Result<(), StoreError> {
        *self.log_end() = None;
        Ok(())
    }
}

#[async_trait]
impl ReadSessions for MemoryStore {
    fn is_owner(&self, id: SessionId, principal: &Principal) -> Result<bool, StoreError> {
        Ok(self.open()?.sessions.get(&id).is_some_and(|held| held.record.owner == *principal))
    }

    fn status(&self, id: SessionId) -> Result<Option<Status>, StoreError> {
        Ok(self.open()?.sessions.get(&id).map(|held| held.record.state.status()))
    }

    async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError> {
        Ok(self.open()?.sessions.get(&id).map(|held| held.record.clone()))
    }

    async fn wake_state(&self, id: SessionId) -> Result<Option<WakeState>, StoreError> {
        let state = self.open()?;
        Ok(state.sessions.get(&id).map(|held| WakeState {
            session: held.record.clone(),
            head: held.record.head.and_then(|head| held.snapshot(head)).cloned(),
            damage: None,
        }))
    }

    async fn sessions(&self, query: SessionQuery) -> Result<SessionPage, StoreError> {
        let (state, start) = (self.open()?, query.start()?);
        let place = |session: &Session| SessionCursor::of(query.order, session);
        let sessions = state.sessions.values().map(|held| &held.record);
        let mut matching: Vec<_> = sessions.filter(|it| self.finds(&query, it)).collect();
        matching.sort_by(|one, other| place(one).compare(&place(other)));
        let total = matching.len();
        let is_behind = |it: &&Session| {
            #[cfg(test)]
            if self.lists_again() {
                return start.is_none_or(|start| start.compare(&place(it)).is_le());
            }
            start.is_none_or(|start| start.compare(&place(it)).is_lt())
        };
        let behind = matching.into_iter().filter(is_behind);
        let mut page = Filling::new(Bound { entries: query.limit, bytes: PAGE_BYTES });
        for session in behind.skip(query.offset) {
            let bytes = codec::encode_front(session).len() + codec::encode_body(session).len();
            if !page.take(place(session), bytes, session.clone()) {
                break;
            }
        }
        let Page { entries, next } = page.page();
        Ok(SessionPage { sessions: entries, total, next })
    }

    async fn due(
        &self,
        after: Option<(Timestamp, SessionId)>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError> {
        let mut due = self.open()?.due();
        due.retain(|entry| entry.0 <= now && after.is_none_or(|after| *entry > after));
        due.truncate(limit);
        Ok(due)
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.open()?.due().into_iter().map(|(at, _)| at).find(|at| *at > now))
    }
}

#[async_trait]
impl ReadStatistics for MemoryStore {
    async fn statistics(&self, query: StatisticsQuery) -> Result<Statistics, StoreError> {
        let state = self.open()?;
        let mut statistics = Statistics::default();
        for StoredSession { record, .. } in state.sessions.values() {
            let profile = &record.profile;
            let user = profile.user_id.as_deref();
            if record.owner == query.owner && query.matches(user, &profile.tags, profile.pattern) {
                let sums = statistics.by_pattern.entry(profile.pattern).or_default();
                sums.live += Sums::of(record);
            }
        }
        #[cfg(test)]
        if matches!(self.flaw, Some(Flaw::SubtractsRemovedSessions)) {
            return Ok(statistics);
        }
        state.removed.add_to(&mut statistics, &query);
        Ok(statistics)
    }

    fn session_count(&self, owner: &Principal, user: Option<&str>) -> Result<u64, StoreError> {
        Ok(self.open()?.session_count(owner, user))
    }
}

#[async_trait]
impl ReadTurns for MemoryStore {
    async fn turns(
        &self,
        session: SessionId,
        after: u64,
        bound: Bound,
    ) -> Result<Page<TurnRecord, u64>, StoreError> {
        let state = self.open()?;
        let mut page = Filling::new(bound);
        let Some(first) = after.checked_add(1) else { return Ok(page.page()) };
        for turn in state.turns.range((session, first)..=(session, u64::MAX)).map(|(_, turn)| turn)
        {
            if !page.take(turn.number, codec::encode_turn(turn).len(), turn.clone()) {
                break;
            }
        }
        Ok(page.page())
    }

    async fn turn(
        &self,
        session: SessionId,
        number: u64,
    ) -> Result<Option<TurnRecord>, StoreError> {
        Ok(self.open()?.turns.get(&(session, number)).cloned())
    }
}

#[async_trait]
impl ReadSnapshots for MemoryStore {
    async fn snapshots(&self, session: SessionId) -> Result<Vec<SnapshotSummary>, StoreError> {
        let state = self.open()?;
        let Some(held) = state.sessions.get(&session) else { return Ok(Vec::new()) };
        let summary = |snapshot: &Snapshot| SnapshotSummary {
            id: snapshot.id,
            parent: snapshot.parent,
            turn: snapshot.turn,
            agent: snapshot.agent,
            taken_at: snapshot.taken_at,
            size: snapshot.state.size() as u64,
            files: snapshot.files.as_ref().map(|files| files.version),
            resumes: held.resumes.get(&snapshot.id).copied().unwrap_or_default(),
        };
        Ok(held.snapshots.iter().rev().map(summary).collect())
    }

    async fn snapshot(
        &self,
        id: SnapshotId,
        depth: SnapshotDetail,
    ) -> Result<Option<StoredSnapshot>, StoreError> {
        let state = self.open()?;
        let found = state.sessions.values().find_map(|held| Some((held, held.snapshot(id)?)));
        Ok(found.map(|(held, snapshot)| StoredSnapshot {
            session: held.record.id,
            snapshot: match depth {
                SnapshotDetail::Full => snapshot.clone(),
                SnapshotDetail::Metadata => blobs::outline(snapshot),
            },
        }))
    }
}

impl ReadFiles for MemoryStore {
    fn file_blob(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(self.open()?.files.get(digest))
    }

    fn lease_files(&self, version: Digest) -> FilesLease {
        self.lock().files.lease(version)
    }
}

#[async_trait]
impl ReadTemplates for MemoryStore {
    async fn template(
        &self,
        owner: Principal,
        name: String,
    ) -> Result<Option<Template>, StoreError> {
        let state = self.open()?;
        let found = state.templates.get(&(owner.0, name));
        Ok(found.map(|it| Template { snapshot: blobs::outline(&it.snapshot), ..it.clone() }))
    }

    async fn templates(&self, owner: Principal) -> Result<Vec<TemplateSummary>, StoreError> {
        let state = self.open()?;
        let own = state.templates.values().filter(|template| template.owner == owner);
        Ok(own.cloned().map(TemplateSummary::from).collect())
    }
}

#[async_trait]
impl ReadAgents for MemoryStore {
    async fn agent(&self, query: AgentQuery) -> Result<Option<Agent>, StoreError> {
        Ok(self.open()?.agent(&query).cloned())
    }

    async fn agents(&self, usable_by: Option<Principal>) -> Result<Vec<Agent>, StoreError> {
        let state = self.open()?;
        let all = state.agents.values();
        let user = usable_by.as_ref();
        let mut usable: Vec<_> = all.filter(|it| it.agent.is_listed_for(user)).collect();
        usable.sort_by_key(|it| (&it.agent.reference.name, it.sequence));
        Ok(usable.into_iter().map(|it| it.agent.clone()).collect())
    }

    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(self.open()?.components.get(&digest).cloned())
    }
}

#[async_trait]
impl ReadEvents for MemoryStore {
    fn end(&self) -> watch::Receiver<Cursor> {
        // Another that has the same state may have moved it.
        self.tell(self.lock().end);
        self.end.clone()
    }

    async fn events_after(
        &self,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        Ok(self.open()?.events(cursor, bound, |_| true))
    }

    async fn session_events(
        &self,
        session: SessionId,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError> {
        let state = self.open()?;
        let Some(held) = state.sessions.get(&session) else {
            return Ok(Filling::new(bound).page());
        };
        // One of the same id may have been there before.
        let cursor = cursor.max(held.before);
        let subject = EventSubject::Session(session);
        Ok(state.events(cursor, bound, |event| event.subject == subject))
    }
}
