//! What one commit changes, in the terms of the domain.

mod check;

use std::sync::Arc;

use bytes::Bytes;

#[cfg(doc)]
use super::StoreError;
use dormouse_domain::access::{AccessKey, KeyId};
use dormouse_domain::account::{Account, AccountChange, AccountId};
use dormouse_domain::agent::{Agent, AgentRef};
use dormouse_domain::effect::EffectAnswer;
use dormouse_domain::event::Event;
use dormouse_domain::http::HttpAnswer;
use dormouse_domain::id::{
    ExperimentId, Principal, ScheduleId, SessionId, SimulationId, SnapshotId, WorldPartId,
};
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};
use dormouse_domain::mail::Mail;
use dormouse_domain::model::{ModelAnswer, ModelContent, ModelError};
use dormouse_domain::residence::Residence;
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};
use dormouse_domain::session::Session;
use dormouse_domain::simulation::CallPlace;
use dormouse_domain::snapshot::{ResumeTrial, Snapshot};
use dormouse_domain::template::Template;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord, Part, TurnOutcome, TurnRecord};

/// The most records of sessions that one transaction writes.
pub const MAX_SESSION_RECORDS: usize = 256;

/// What a line of the ledger takes, in bytes, about.
const EFFECT: usize = 128;

/// What one commit changes: all of it or nothing, where the store is as the transaction expects.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// What the store must have, compared in the moment of the commit.
    pub expect: Vec<Expect>,
    /// What is written, in order.
    pub writes: Vec<Write>,
    /// What happened, in order: appended to the log.
    pub events: Vec<Event>,
}

/// What a transaction expects of the store. Where one of these does not hold, nothing is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// No session has this id, and nothing is left of one that had it: else [`StoreError::Conflict`].
    NewSession(SessionId),
    /// The session is there and can be read: else [`StoreError::NotFound`] or [`StoreError::Damaged`].
    Session(SessionId),
    /// The record of the session has this revision: else [`StoreError::Conflict`], or as for
    /// [`Expect::Session`].
    Revision(SessionId, u64),
    /// No agent has this owner, name and version: else [`StoreError::AgentExists`].
    NewAgent(AgentRef),
    /// The agent is there, with this component: else [`StoreError::AgentNotFound`].
    Agent(AgentRef),
    /// No message has come with this key: else [`StoreError::IdempotencyKeyUsed`].
    NewIdempotencyKey(IdempotencyKey),
    /// No key of the API has this id: else [`StoreError::KeyExists`].
    NewKey(KeyId),
    /// The key of the API is there: else [`StoreError::KeyNotFound`].
    Key(KeyId),
    /// No turn of the session is open: else [`StoreError::Conflict`].
    NoOpenTurn(SessionId),
    /// No schedule has this id: else [`StoreError::ScheduleConflict`].
    NewSchedule(ScheduleId),
    /// The record of the schedule has this revision: else [`StoreError::ScheduleNotFound`] or
    /// [`StoreError::ScheduleConflict`].
    Schedule(ScheduleId, u64),
    /// No account has this id: else [`StoreError::Conflict`] of the session that the account is named for.
    NewAccount(AccountId),
    /// There are at most `limit` sessions of the owner, or with this user of the owner, together with those
    /// that the transaction adds: else [`StoreError::QuotaReached`].
    SessionQuota {
        /// Whose sessions are counted.
        owner: Principal,
        /// Only those with this label.
        user: Option<String>,
        /// How many there may be.
        limit: u64,
    },
}

/// One thing that a transaction writes. What is removed must be there.
#[derive(Clone, Debug)]
pub enum Write {
    /// A session gets this record, and with it a new head where one is given.
    ///
    /// The transaction expects what was there: [`Expect::NewSession`] for a record of revision 1, or
    /// [`Expect::Revision`] for the revision after that one. The head that the record names comes with
    /// it or is kept; the chunks of a new head may come without their data where a snapshot or a
    /// template that is kept has them. Else [`StoreError::SnapshotGone`].
    Session {
        /// The record.
        record: Arc<Session>,
        /// The new head: the one that the record names.
        head: Option<Snapshot>,
    },
    /// A session gets this record, which names no head, and all its snapshots are removed. The transaction
    /// expects what was there as for [`Write::Session`].
    RemoveState(Arc<Session>),
    /// The record of a session notes that it sleeps, unless it knows of a later time
    /// ([`Residence::noted`]): its revision stays. The transaction expects [`Expect::Session`].
    Slept(SessionId, Residence),
    /// A snapshot of a session notes what has come of going on from it, at this time. It need not be there.
    ResumeTried(SessionId, SnapshotId, ResumeTrial, Timestamp),
    /// A turn. The transaction also writes the record that counts it, before it.
    Turn(Arc<TurnRecord>),
    /// A session, its turns, its snapshots, its journal and its mail are removed. Its events stay.
    /// Else [`StoreError::NotFound`].
    RemoveSession(SessionId),
    /// A turn of a session is open from now on, with an empty journal. The transaction expects
    /// [`Expect::Session`] and [`Expect::NoOpenTurn`].
    OpenTurn(Box<OpenTurn>),
    /// The open turn of a session was begun so often. Else [`StoreError::Conflict`]: none is open, also not by
    /// this transaction. The transaction expects [`Expect::Session`].
    TurnAttempts(SessionId, TurnAttempts),
    /// An entry of the journal of a session, in place of one of the same [`JournalEntry::seq`]. Else as
    /// [`Write::TurnAttempts`].
    JournalEntry(SessionId, Box<JournalEntry>),
    /// No turn of the session is open any more: the open turn, its attempts and its journal are removed. There
    /// need be none.
    CloseTurn(SessionId),
    /// A mail is put into the mailbox of this session, behind those that are there. Where there is no such session any
    /// more, it goes nowhere.
    Mail(SessionId, Box<Mail>),
    /// The mail of this number is taken out of the mailbox of a session. Else [`StoreError::Conflict`].
    TakeMail(SessionId, u64),
    /// All mail of a session is removed. There need be none.
    DropMail(SessionId),
    /// An account. The transaction expects [`Expect::NewAccount`].
    NewAccount(Box<Account>),
    /// An account is changed as it is in the moment of the commit, after what the transaction writes before, and
    /// is removed once it has no members. Else [`StoreError::AccountNotFound`].
    ChangeAccount(AccountId, AccountChange),
    /// A template. One of the same owner and name is replaced. Its snapshot shares chunks as the head of
    /// a session does.
    Template(Box<Template>),
    /// A template is removed. Else [`StoreError::TemplateNotFound`].
    RemoveTemplate(Principal, String),
    /// An agent: a new one with the bytes of its component, or what is known of one that is there. The
    /// transaction expects which: [`Expect::NewAgent`] or [`Expect::Agent`].
    Agent(Box<Agent>, Option<Bytes>),
    /// An agent is removed that no session and no template refers to, and its component with the last
    /// agent that has it. Else [`StoreError::AgentNotFound`] or [`StoreError::AgentInUse`].
    RemoveAgent(AgentRef),
    /// What a message has led to. The transaction expects [`Expect::NewIdempotencyKey`].
    Idempotency(Box<IdempotencyRecord>),
    /// An idempotency key is forgotten. It need not be there.
    RemoveIdempotency(IdempotencyKey),
    /// A key of the API: a new one, or when it was used last. The transaction expects which:
    /// [`Expect::NewKey`] or [`Expect::Key`].
    Key(Box<AccessKey>),
    /// A key of the API is removed. The transaction expects [`Expect::Key`].
    RemoveKey(KeyId),
    /// A schedule gets this record. The transaction expects what was there: [`Expect::NewSchedule`] for a record of
    /// revision 1, or [`Expect::Schedule`] for the revision after that one.
    Schedule(Box<SessionSchedule>),
    /// What a schedule does, in place of what it did. The transaction also writes its record, before it.
    ScheduledWork(ScheduleId, Box<ScheduledWork>),
    /// A schedule is removed, with its work. The transaction expects [`Expect::Schedule`].
    RemoveSchedule(ScheduleId),
    /// Something of a simulated world is kept in place of what was, or is removed where there is nothing to keep. Who writes of a
    /// world sees to it that nobody else does.
    World(WorldRow, Option<Bytes>),
}

/// What is kept of simulated worlds. What its bytes mean is for whoever runs these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorldRow {
    /// What is known of a world: all of them are read when a host starts.
    Record(SimulationId),
    /// What has come of some of its ticks, up to the one of this number.
    Ticks(SimulationId, u64),
    /// Something large, which several records may name.
    Part(WorldPartId),
    /// One call that a member of a world makes in a tick that the log does not have yet.
    Call(SimulationId, CallPlace),
    /// A piece of the recording of a world: all calls that its members have made in the ticks of the piece of the log that ends
    /// with this tick.
    Calls(SimulationId, u64),
    /// What is known of an experiment: all of them are read when a host starts.
    Experiment(ExperimentId),
}

impl WorldRow {
    /// The last tick of a piece of the log of this world. `None`: the row is something else.
    pub(crate) fn ticks_of(self, id: SimulationId) -> Option<u64> {
        match self {
            WorldRow::Ticks(world, last) => (world == id).then_some(last),
            WorldRow::Record(_)
            | WorldRow::Part(_)
            | WorldRow::Call(..)
            | WorldRow::Calls(..)
            | WorldRow::Experiment(_) => None,
        }
    }

    /// The place of a call of this world that the log does not have yet. `None`: the row is something else.
    pub(crate) fn call_of(self, id: SimulationId) -> Option<CallPlace> {
        match self {
            WorldRow::Call(world, place) => (world == id).then_some(place),
            WorldRow::Record(_)
            | WorldRow::Ticks(..)
            | WorldRow::Part(_)
            | WorldRow::Calls(..)
            | WorldRow::Experiment(_) => None,
        }
    }

    /// The last tick of a piece of the recording of this world. `None`: the row is something else.
    pub(crate) fn calls_of(self, id: SimulationId) -> Option<u64> {
        match self {
            WorldRow::Calls(world, last) => (world == id).then_some(last),
            WorldRow::Record(_)
            | WorldRow::Ticks(..)
            | WorldRow::Part(_)
            | WorldRow::Call(..)
            | WorldRow::Experiment(_) => None,
        }
    }
}

impl Write {
    /// The session that it adds.
    pub(crate) fn new_session(&self) -> Option<&Session> {
        match self {
            Write::Session { record, .. } => Some(&**record).filter(|record| record.revision == 1),
            Write::RemoveState(_)
            | Write::Slept(..)
            | Write::ResumeTried(..)
            | Write::Turn(_)
            | Write::OpenTurn(_)
            | Write::TurnAttempts(..)
            | Write::JournalEntry(..)
            | Write::CloseTurn(_)
            | Write::Mail(..)
            | Write::TakeMail(..)
            | Write::DropMail(_)
            | Write::NewAccount(_)
            | Write::ChangeAccount(..)
            | Write::RemoveSession(_)
            | Write::Template(_)
            | Write::RemoveTemplate(..)
            | Write::Agent(..)
            | Write::RemoveAgent(_)
            | Write::Idempotency(_)
            | Write::RemoveIdempotency(_)
            | Write::Key(_)
            | Write::RemoveKey(_)
            | Write::Schedule(_)
            | Write::ScheduledWork(..)
            | Write::RemoveSchedule(_)
            | Write::World(..) => None,
        }
    }

    /// The snapshot that it writes.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Write::Session { head, .. } => head.as_ref(),
            Write::Template(template) => Some(&template.snapshot),
            Write::RemoveState(_)
            | Write::Slept(..)
            | Write::ResumeTried(..)
            | Write::Turn(_)
            | Write::OpenTurn(_)
            | Write::TurnAttempts(..)
            | Write::JournalEntry(..)
            | Write::CloseTurn(_)
            | Write::Mail(..)
            | Write::TakeMail(..)
            | Write::DropMail(_)
            | Write::NewAccount(_)
            | Write::ChangeAccount(..)
            | Write::RemoveSession(_)
            | Write::RemoveTemplate(..)
            | Write::Agent(..)
            | Write::RemoveAgent(_)
            | Write::Idempotency(_)
            | Write::RemoveIdempotency(_)
            | Write::Key(_)
            | Write::RemoveKey(_)
            | Write::Schedule(_)
            | Write::ScheduledWork(..)
            | Write::RemoveSchedule(_)
            | Write::World(..) => None,
        }
    }

    /// The same, to be changed.
    pub(crate) fn snapshot_mut(&mut self) -> Option<&mut Snapshot> {
        match self {
            Write::Session { head, .. } => head.as_mut(),
            Write::Template(template) => Some(&mut template.snapshot),
            Write::RemoveState(_)
            | Write::Slept(..)
            | Write::ResumeTried(..)
            | Write::Turn(_)
            | Write::OpenTurn(_)
            | Write::TurnAttempts(..)
            | Write::JournalEntry(..)
            | Write::CloseTurn(_)
            | Write::Mail(..)
            | Write::TakeMail(..)
            | Write::DropMail(_)
            | Write::NewAccount(_)
            | Write::ChangeAccount(..)
            | Write::RemoveSession(_)
            | Write::RemoveTemplate(..)
            | Write::Agent(..)
            | Write::RemoveAgent(_)
            | Write::Idempotency(_)
            | Write::RemoveIdempotency(_)
            | Write::Key(_)
            | Write::RemoveKey(_)
            | Write::Schedule(_)
            | Write::ScheduledWork(..)
            | Write::RemoveSchedule(_)
            | Write::World(..) => None,
        }
    }

    /// Bytes that it takes besides a snapshot, about: what is always small counts nothing.
    pub(crate) fn size(&self) -> usize {
        match self {
            Write::Turn(turn) => {
                let answer = match &turn.outcome {
                    TurnOutcome::Answered { content, .. } => content.as_slice(),
                    TurnOutcome::Failed(_) => &[],
                };
                let content = turn.input.iter().chain(answer).map(|part| part.len());
                let log = turn.log.iter().map(|line| line.message.len());
                let effects = turn.effects.len().saturating_mul(EFFECT);
                content.chain(log).fold(effects, usize::saturating_add)
            }
            Write::OpenTurn(turn) => {
                turn.input.iter().map(Part::len).fold(0, usize::saturating_add)
            }
            Write::JournalEntry(_, entry) => size_of_entry(entry),
            Write::Mail(_, mail) => {
                mail.content.iter().map(Part::len).fold(0, usize::saturating_add)
            }
            Write::ScheduledWork(_, work) => {
                work.message.iter().map(Part::len).fold(0, usize::saturating_add)
            }
            Write::Agent(_, bytes) | Write::World(_, bytes) => bytes.as_ref().map_or(0, Bytes::len),
            Write::Session { .. }
            | Write::RemoveState(_)
            | Write::Slept(..)
            | Write::ResumeTried(..)
            | Write::TurnAttempts(..)
            | Write::CloseTurn(_)
            | Write::TakeMail(..)
            | Write::DropMail(_)
            | Write::NewAccount(_)
            | Write::ChangeAccount(..)
            | Write::RemoveSession(_)
            | Write::Template(_)
            | Write::RemoveTemplate(..)
            | Write::RemoveAgent(_)
            | Write::Idempotency(_)
            | Write::RemoveIdempotency(_)
            | Write::Key(_)
            | Write::RemoveKey(_)
            | Write::Schedule(_)
            | Write::RemoveSchedule(_) => 0,
        }
    }
}

/// What a turn leaves behind.
#[derive(Clone, Debug)]
pub struct TurnCommit {
    /// The record after the turn. Its revision is one above the stored one.
    pub session: Arc<Session>,
    /// The turn.
    pub turn: Arc<TurnRecord>,
    /// The new head, where the turn saved one.
    pub snapshot: Option<Snapshot>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// A new session, and where it starts from.
#[derive(Clone, Debug)]
pub struct NewSessionRecord {
    /// The record, with revision 1.
    pub session: Arc<Session>,
    /// What it starts from: the head that its record names.
    pub head: Option<Snapshot>,
}

impl Transaction {
    /// Add sessions, at most [`MAX_SESSION_RECORDS`].
    #[must_use]
    pub fn create(sessions: Vec<NewSessionRecord>, events: Vec<Event>) -> Transaction {
        Transaction {
            expect: sessions.iter().map(|new| Expect::NewSession(new.session.id)).collect(),
            writes: sessions.into_iter().map(|new| record(new.session, new.head)).collect(),
            events,
        }
    }

    /// Write what a turn leaves behind.
    #[must_use]
    pub fn turn(commit: TurnCommit) -> Transaction {
        let TurnCommit { session, turn, snapshot, events } = commit;
        Transaction {
            expect: vec![before(&session)],
            writes: vec![record(session, snapshot), Write::Turn(turn)],
            events,
        }
    }

    /// Replace the record of a session, and with it the head where one is given. Its revision is one
    /// above the stored one.
    #[must_use]
    pub fn update(
        session: impl Into<Arc<Session>>,
        head: Option<Snapshot>,
        events: Vec<Event>,
    ) -> Transaction {
        let session = session.into();
        Transaction { expect: vec![before(&session)], writes: vec![record(session, head)], events }
    }

    /// Replace the record of a session, whose revision is one above the stored one, and remove all its
    /// snapshots.
    #[must_use]
    pub fn remove_state(session: Arc<Session>, events: Vec<Event>) -> Transaction {
        let (expect, writes) = (vec![before(&session)], vec![Write::RemoveState(session)]);
        Transaction { expect, writes, events }
    }

    /// Note what has come of going on from a snapshot of a session.
    #[must_use]
    pub fn resume_tried(
        session: SessionId,
        snapshot: SnapshotId,
        trial: ResumeTrial,
        at: Timestamp,
    ) -> Transaction {
        Transaction::writing(Write::ResumeTried(session, snapshot, trial, at))
    }

    /// Note that a session sleeps, without changing it.
    #[must_use]
    pub fn slept(session: SessionId, residence: Residence, events: Vec<Event>) -> Transaction {
        let write = Write::Slept(session, residence);
        Transaction { writes: vec![write], ..Transaction::log(session, events) }
    }

    /// Note that a turn of a session is open. None is.
    #[must_use]
    pub fn open_turn(turn: OpenTurn) -> Transaction {
        let id = turn.session;
        Transaction {
            expect: vec![Expect::Session(id), Expect::NoOpenTurn(id)],
            ..Transaction::writing(Write::OpenTurn(Box::new(turn)))
        }
    }

    /// Write nothing, unless no turn of a session is open.
    #[must_use]
    pub fn no_open_turn(session: SessionId) -> Transaction {
        Transaction { expect: vec![Expect::NoOpenTurn(session)], ..Transaction::default() }
    }

    /// Note how often the open turn of a session was begun.
    #[must_use]
    pub fn turn_attempts(session: SessionId, attempts: TurnAttempts) -> Transaction {
        Transaction {
            expect: vec![Expect::Session(session)],
            ..Transaction::writing(Write::TurnAttempts(session, attempts))
        }
    }

    /// Keep an entry of the journal of a session, in place of one of the same number.
    #[must_use]
    pub fn journal(session: SessionId, entry: JournalEntry) -> Transaction {
        Transaction {
            expect: vec![Expect::Session(session)],
            ..Transaction::writing(Write::JournalEntry(session, Box::new(entry)))
        }
    }

    /// Remove the open turn of a session, if there is one, with its journal.
    #[must_use]
    pub fn close_turn(session: SessionId) -> Transaction {
        Transaction::writing(Write::CloseTurn(session))
    }

    /// Put mails into the mailboxes of these sessions, in order.
    #[must_use]
    pub fn mail(mails: Vec<(SessionId, Mail)>) -> Transaction {
        let write = |(to, mail)| Write::Mail(to, Box::new(mail));
        Transaction { writes: mails.into_iter().map(write).collect(), ..Transaction::default() }
    }

    /// Take a mail out of the mailbox of a session.
    #[must_use]
    pub fn take_mail(session: SessionId, number: u64) -> Transaction {
        Transaction::writing(Write::TakeMail(session, number))
    }

    /// Remove all mail of a session.
    #[must_use]
    pub fn drop_mail(session: SessionId, events: Vec<Event>) -> Transaction {
        Transaction { events, ..Transaction::writing(Write::DropMail(session)) }
    }

    /// Keep a new account.
    #[must_use]
    pub fn new_account(account: Account) -> Transaction {
        Transaction {
            expect: vec![Expect::NewAccount(account.id)],
            ..Transaction::writing(Write::NewAccount(Box::new(account)))
        }
    }

    /// Change an account as it is in the moment of the commit.
    #[must_use]
    pub fn change_account(account: AccountId, change: AccountChange) -> Transaction {
        Transaction::writing(Write::ChangeAccount(account, change))
    }

    /// Keep what a message with an idempotency key has led to.
    #[must_use]
    pub fn idempotency(record: IdempotencyRecord) -> Transaction {
        Transaction {
            expect: vec![Expect::NewIdempotencyKey(record.key.clone())],
            writes: vec![Write::Idempotency(Box::new(record))],
            events: Vec::new(),
        }
    }

    /// Log what happened to a session without changing it.
    #[must_use]
    pub fn log(session: SessionId, events: Vec<Event>) -> Transaction {
        Transaction { expect: vec![Expect::Session(session)], writes: Vec::new(), events }
    }

    /// Remove a session.
    #[must_use]
    pub fn remove_session(id: SessionId, events: Vec<Event>) -> Transaction {
        Transaction { expect: Vec::new(), writes: vec![Write::RemoveSession(id)], events }
    }

    /// Keep a template.
    #[must_use]
    pub fn template(template: Template) -> Transaction {
        Transaction::writing(Write::Template(Box::new(template)))
    }

    /// Remove a template.
    #[must_use]
    pub fn remove_template(owner: Principal, name: String) -> Transaction {
        Transaction::writing(Write::RemoveTemplate(owner, name))
    }

    /// Keep a new agent.
    #[must_use]
    pub fn agent(agent: Agent, component: Bytes, events: Vec<Event>) -> Transaction {
        Transaction {
            expect: vec![Expect::NewAgent(agent.reference.clone())],
            writes: vec![Write::Agent(Box::new(agent), Some(component))],
            events,
        }
    }

    /// Replace what is known of an agent.
    #[must_use]
    pub fn update_agent(agent: Agent, events: Vec<Event>) -> Transaction {
        Transaction {
            expect: vec![Expect::Agent(agent.reference.clone())],
            writes: vec![Write::Agent(Box::new(agent), None)],
            events,
        }
    }

    /// Remove an agent.
    #[must_use]
    pub fn remove_agent(agent: AgentRef, events: Vec<Event>) -> Transaction {
        Transaction { expect: Vec::new(), writes: vec![Write::RemoveAgent(agent)], events }
    }

    /// Keep a new key of the API.
    #[must_use]
    pub fn new_key(key: AccessKey, events: Vec<Event>) -> Transaction {
        Transaction {
            expect: vec![Expect::NewKey(key.id)],
            writes: vec![Write::Key(Box::new(key))],
            events,
        }
    }

    /// Replace what is known of a key of the API.
    #[must_use]
    pub fn update_key(key: AccessKey) -> Transaction {
        Transaction {
            expect: vec![Expect::Key(key.id)],
            ..Transaction::writing(Write::Key(Box::new(key)))
        }
    }

    /// Remove a key of the API.
    #[must_use]
    pub fn remove_key(id: KeyId, events: Vec<Event>) -> Transaction {
        let (expect, writes) = (vec![Expect::Key(id)], vec![Write::RemoveKey(id)]);
        Transaction { expect, writes, events }
    }

    /// Keep a record of a schedule: a new one, of revision 1, or the one after that of the store. Its work goes with
    /// it where it is new, or has changed.
    #[must_use]
    pub fn schedule(
        schedule: SessionSchedule,
        work: Option<ScheduledWork>,
        events: Vec<Event>,
    ) -> Transaction {
        let (id, revision) = (schedule.id, schedule.revision);
        let expect = match revision {
            1 => Expect::NewSchedule(id),
            _ => Expect::Schedule(id, revision.saturating_sub(1)),
        };
        let work = work.map(|work| Write::ScheduledWork(id, Box::new(work)));
        let record = Write::Schedule(Box::new(schedule));
        let writes = std::iter::once(record).chain(work).collect();
        Transaction { expect: vec![expect], writes, events }
    }

    /// Keep this of simulated worlds, or remove what there is.
    #[must_use]
    pub fn worlds(rows: impl IntoIterator<Item = (WorldRow, Option<Bytes>)>) -> Transaction {
        let writes = rows.into_iter().map(|(row, bytes)| Write::World(row, bytes)).collect();
        Transaction { expect: Vec::new(), writes, events: Vec::new() }
    }

    /// Remove a schedule, whose record has this revision.
    #[must_use]
    pub fn remove_schedule(id: ScheduleId, revision: u64, events: Vec<Event>) -> Transaction {
        let expect = vec![Expect::Schedule(id, revision)];
        Transaction { expect, writes: vec![Write::RemoveSchedule(id)], events }
    }

    /// Forget an idempotency key. It need not be there.
    #[must_use]
    pub fn forget_key(key: IdempotencyKey) -> Transaction {
        Transaction::writing(Write::RemoveIdempotency(key))
    }

    /// Both, in one commit.
    #[must_use]
    pub fn and(mut self, mut other: Transaction) -> Transaction {
        self.expect.append(&mut other.expect);
        self.writes.append(&mut other.writes);
        self.events.append(&mut other.events);
        self
    }

    fn writing(write: Write) -> Transaction {
        Transaction { writes: vec![write], ..Transaction::default() }
    }
}

fn record(record: Arc<Session>, head: Option<Snapshot>) -> Write {
    Write::Session { record, head }
}

/// Bytes that an entry of a journal takes, about.
fn size_of_entry(entry: &JournalEntry) -> usize {
    let answer = match &entry.answer {
        None => 0,
        Some(EffectAnswer::Model(Ok(answer))) => size_of_answer(answer),
        Some(EffectAnswer::Model(Err(ModelError::Interrupted { partial }))) => partial.len(),
        Some(EffectAnswer::Model(Err(error))) => error.to_string().len(),
        Some(EffectAnswer::Http(news)) => {
            let size = |(_, answer): &(u32, HttpAnswer)| match answer {
                Ok(response) => usize::try_from(response.size()).unwrap_or(usize::MAX),
                Err(error) => error.text.len(),
            };
            news.ended.iter().map(size).fold(0, usize::saturating_add)
        }
        Some(EffectAnswer::Tool(Ok(answer))) => answer.content.iter().map(Part::len).sum(),
        Some(EffectAnswer::Tool(Err(error))) => error.to_string().len(),
        Some(EffectAnswer::ToolList(listing)) => {
            usize::try_from(listing.size()).unwrap_or(usize::MAX)
        }
        Some(EffectAnswer::Ask(Ok(content))) => {
            content.iter().map(Part::len).fold(0, usize::saturating_add)
        }
        Some(EffectAnswer::Ask(Err(error))) => error.to_string().len(),
    };
    let readings = entry.readings.wall.len().saturating_add(entry.readings.monotonic.len());
    let calls = entry.calls.len().saturating_mul(EFFECT);
    answer.saturating_add(readings.saturating_mul(9)).saturating_add(calls)
}

fn size_of_answer(answer: &ModelAnswer) -> usize {
    let content = answer.content.iter().map(|part| match part {
        ModelContent::Text(text) => text.len(),
        ModelContent::Image { media_type, data } => media_type.len() + data.len(),
        ModelContent::ToolCall(call) => call.name.len() + call.arguments.len(),
        ModelContent::ToolResult(result) => result.content.len(),
        ModelContent::Thinking(thinking) => thinking.text.len() + thinking.block.len(),
    });
    content.fold(0, usize::saturating_add)
}

/// What the record of a session must follow.
fn before(session: &Session) -> Expect {
    Expect::Revision(session.id, session.revision.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_domain::agent::Digest;
    use dormouse_domain::effect::{EffectClass, EffectKind};
    use dormouse_domain::journal::Readings;

    #[test]
    fn an_answer_that_broke_off_counts_what_was_had_of_it() {
        let size = |partial: String| {
            let error = ModelError::Interrupted { partial };
            let entry = JournalEntry {
                seq: 1,
                kind: EffectKind::Model,
                request: Digest::of(b"a request"),
                class: EffectClass::Paid,
                readings: Readings::default(),
                salt: None,
                posted: Vec::new(),
                fuel: 0,
                calls: Vec::new(),
                answer: Some(EffectAnswer::Model(Err(error))),
            };
            Write::JournalEntry(SessionId(uuid::Uuid::nil()), Box::new(entry)).size()
        };
        assert!(size("a".repeat(8 << 20)) >= 8 << 20);
    }
}
