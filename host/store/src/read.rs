//! What is read of a store, by concern. Readers see what is durable, nothing else.

use std::any::Any;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::{
    AgentQuery, Bound, EventEntry, Page, SessionPage, SessionQuery, SnapshotDetail,
    SnapshotSummary, Statistics, StatisticsQuery, StoreError, StoredSnapshot, WakeState,
};
use dormouse_domain::access::AccessKey;
use dormouse_domain::account::{Account, AccountId};
use dormouse_domain::agent::{Agent, Digest};
use dormouse_domain::event::Cursor;
use dormouse_domain::id::{
    ExperimentId, Principal, ScheduleId, SessionId, SimulationId, SnapshotId, WorldPartId,
};
use dormouse_domain::journal::{JournalEntry, OpenTurn, TurnAttempts};
use dormouse_domain::mail::{Mail, MailboxSize};
use dormouse_domain::schedule::{ScheduledWork, SessionSchedule};
use dormouse_domain::session::Session;
use dormouse_domain::simulation::CallPlace;
use dormouse_domain::state::Status;
use dormouse_domain::template::{Template, TemplateSummary};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{IdempotencyKey, IdempotencyRecord, TurnRecord};

/// All that can be read.
pub trait Reads:
    ReadSessions
    + ReadStatistics
    + ReadTurns
    + ReadSnapshots
    + ReadFiles
    + ReadTemplates
    + ReadAgents
    + ReadEvents
    + ReadIdempotency
    + ReadKeys
    + ReadJournal
    + ReadMail
    + ReadAccounts
    + ReadSchedules
    + ReadWorlds
{
}

impl<S> Reads for S where
    S: ReadSessions
        + ReadStatistics
        + ReadTurns
        + ReadSnapshots
        + ReadFiles
        + ReadTemplates
        + ReadAgents
        + ReadEvents
        + ReadIdempotency
        + ReadKeys
        + ReadJournal
        + ReadMail
        + ReadAccounts
        + ReadSchedules
        + ReadWorlds
{
}

/// The records of sessions, and when something is due for one.
#[async_trait]
pub trait ReadSessions: Send + Sync {
    /// Whether there is a session of this id that belongs to this principal, as memory knows it: it
    /// reads nothing. Where a record is so damaged that it is not known whose it is, it is anybody's,
    /// and reading it says that it is damaged.
    ///
    /// # Errors
    /// [`StoreError::Closed`]
    fn is_owner(&self, id: SessionId, principal: &Principal) -> Result<bool, StoreError>;

    /// Where a session is in its life, as memory knows it: it reads nothing. `None`: there is no such session, or its
    /// record is damaged.
    ///
    /// # Errors
    /// [`StoreError::Closed`]
    fn status(&self, id: SessionId) -> Result<Option<Status>, StoreError>;

    /// The record of a session.
    async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError>;

    /// The record of a session with its head: what it takes to wake it.
    async fn wake_state(&self, id: SessionId) -> Result<Option<WakeState>, StoreError>;

    /// A page of the sessions that match, in the order of the query. It ends before it has more than
    /// [`PAGE_BYTES`](crate::PAGE_BYTES).
    ///
    /// Whoever follows a list from page to page gets each session once that matches all the while, and
    /// where the list is in the order of activity, whose activity does not change. One that comes, goes
    /// or changes meanwhile is in the list once, not at all, or where its activity has changed, again.
    ///
    /// # Errors
    /// [`StoreError::CursorOfAnotherOrder`]
    async fn sessions(&self, query: SessionQuery) -> Result<SessionPage, StoreError>;

    /// Sessions for which something is due at `now`, the longest due first, at most `limit`; only
    /// those behind `after`, so that a caller can page past what it leaves alone.
    async fn due(
        &self,
        after: Option<(Timestamp, SessionId)>,
        now: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, SessionId)>, StoreError>;

    /// When something is due next, over all sessions, later than `now`.
    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;
}

/// What sessions come to.
#[async_trait]
pub trait ReadStatistics: Send + Sync {
    /// What the sessions of an owner come to that match. No record is read for it.
    async fn statistics(&self, query: StatisticsQuery) -> Result<Statistics, StoreError>;

    /// How many sessions an owner has, or how many of them have this user. It reads nothing.
    ///
    /// # Errors
    /// [`StoreError::Closed`]
    fn session_count(&self, owner: &Principal, user: Option<&str>) -> Result<u64, StoreError>;
}

/// The turns of sessions.
#[async_trait]
pub trait ReadTurns: Send + Sync {
    /// Turns of a session with numbers above `after`, in order.
    async fn turns(
        &self,
        session: SessionId,
        after: u64,
        bound: Bound,
    ) -> Result<Page<TurnRecord, u64>, StoreError>;

    /// One turn of a session.
    async fn turn(&self, session: SessionId, number: u64)
    -> Result<Option<TurnRecord>, StoreError>;
}

/// The snapshots of sessions.
#[async_trait]
pub trait ReadSnapshots: Send + Sync {
    /// The snapshots of a session that are kept, newest first.
    async fn snapshots(&self, session: SessionId) -> Result<Vec<SnapshotSummary>, StoreError>;

    /// A snapshot, whosever it is. [`StoreError::Damaged`] where it does not decode.
    async fn snapshot(
        &self,
        id: SnapshotId,
        depth: SnapshotDetail,
    ) -> Result<Option<StoredSnapshot>, StoreError>;
}

/// The files of sessions: the blobs of their workspaces.
pub trait ReadFiles: Send + Sync {
    /// The bytes of a blob that a version of a workspace names, directly or through others. `None`: nothing names it any
    /// more.
    ///
    /// It blocks the thread, for as long as a disk takes to read one blob.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]
    fn file_blob(&self, digest: Digest) -> Result<Option<Bytes>, StoreError>;

    /// Spare this version of a workspace, and all that it names, from removal as long as the lease is there. It reads
    /// nothing: where the version is gone, or goes in this moment, there is nothing to be spared.
    fn lease_files(&self, version: Digest) -> FilesLease;
}

/// Spares a version of a workspace from removal: see [`ReadFiles::lease_files`].
pub struct FilesLease(
    #[expect(dead_code, reason = "held until it is dropped")] Box<dyn Any + Send + Sync>,
);

impl FilesLease {
    /// One that ends when this is dropped.
    pub fn new(lease: impl Any + Send + Sync) -> FilesLease {
        FilesLease(Box::new(lease))
    }
}

impl std::fmt::Debug for FilesLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FilesLease")
    }
}

/// The templates.
#[async_trait]
pub trait ReadTemplates: Send + Sync {
    /// A template, with the outline of its snapshot.
    async fn template(
        &self,
        owner: Principal,
        name: String,
    ) -> Result<Option<Template>, StoreError>;

    /// The templates of an owner, by name.
    async fn templates(&self, owner: Principal) -> Result<Vec<TemplateSummary>, StoreError>;
}

/// The agents and their components.
#[async_trait]
pub trait ReadAgents: Send + Sync {
    /// An agent.
    async fn agent(&self, query: AgentQuery) -> Result<Option<Agent>, StoreError>;

    /// The agents that this principal has uploaded, and those that others have made public, or where no
    /// principal is named, those of all: by name and then in the order of upload.
    async fn agents(&self, usable_by: Option<Principal>) -> Result<Vec<Agent>, StoreError>;

    /// The bytes of a component, checked against the digest.
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError>;
}

/// The log of events.
#[async_trait]
pub trait ReadEvents: Send + Sync {
    /// Where the log of events ends: moves when a commit with events is durable and can be read. Closed
    /// once the store is.
    fn end(&self) -> watch::Receiver<Cursor>;

    /// Events after `cursor`, in the order of their commits. One that does not decode is passed over, so
    /// that it stops nobody who follows the log.
    async fn events_after(
        &self,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError>;

    /// Events of one session after `cursor`, in order.
    async fn session_events(
        &self,
        session: SessionId,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<EventEntry, Cursor>, StoreError>;
}

/// What messages have led to that came with idempotency keys.
#[async_trait]
pub trait ReadIdempotency: Send + Sync {
    /// What a message has led to.
    async fn idempotency(
        &self,
        key: IdempotencyKey,
    ) -> Result<Option<IdempotencyRecord>, StoreError>;
}

/// The keys of the API.
#[async_trait]
pub trait ReadKeys: Send + Sync {
    /// All of them.
    async fn keys(&self) -> Result<StoredKeys, StoreError>;
}

/// The turns that are open, with their journals. Where a row of a journal is damaged, all of that journal counts
/// as damaged: no entry is ever passed over.
#[async_trait]
pub trait ReadJournal: Send + Sync {
    /// The sessions that have an open turn, in the order in which these were begun; first those of which that is
    /// not known, because their open turn is damaged.
    async fn open_turns(&self) -> Result<Vec<SessionId>, StoreError>;

    /// The open turn of a session, and how often it was begun: never, where nobody has noted that.
    async fn open_turn(
        &self,
        session: SessionId,
    ) -> Result<Option<(OpenTurn, TurnAttempts)>, StoreError>;

    /// Entries of the journal of the open turn of a session with numbers above `after`, in order.
    async fn journal(
        &self,
        session: SessionId,
        after: u32,
        bound: Bound,
    ) -> Result<Page<JournalEntry, u32>, StoreError>;
}

/// The mail that waits for sessions.
#[async_trait]
pub trait ReadMail: Send + Sync {
    /// The mailboxes that are not empty, in no order. It reads nothing.
    async fn mailboxes(&self) -> Result<Vec<(SessionId, MailboxSize)>, StoreError>;

    /// The mail that has waited the longest in the mailbox of a session.
    async fn first_mail(&self, session: SessionId) -> Result<Option<StoredMail>, StoreError>;
}

/// The schedules of sessions.
#[async_trait]
pub trait ReadSchedules: Send + Sync {
    /// A schedule, whosever it is.
    async fn schedule(&self, id: ScheduleId) -> Result<Option<SessionSchedule>, StoreError>;

    /// What a schedule does.
    async fn scheduled_work(&self, id: ScheduleId) -> Result<Option<ScheduledWork>, StoreError>;

    /// The schedules of all owners with ids above `after`, in order. One that does not decode is passed over, so that
    /// it keeps no other from running.
    async fn schedules(
        &self,
        after: Option<ScheduleId>,
        bound: Bound,
    ) -> Result<Page<SessionSchedule, ScheduleId>, StoreError>;
}

/// What is kept of simulated worlds.
#[async_trait]
pub trait ReadWorlds: Send + Sync {
    /// What is known of each world, in the order of their ids. What is damaged is passed over.
    async fn worlds(&self) -> Result<Vec<(SimulationId, Bytes)>, StoreError>;

    /// What is known of each experiment, in the order of their ids. What is damaged is passed over.
    async fn experiments(&self) -> Result<Vec<(ExperimentId, Bytes)>, StoreError>;

    /// What has come of the ticks of a world from this one on: the pieces of its log, each with the number of its last tick,
    /// from the one on that ends with this tick or later.
    async fn world_ticks(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError>;

    /// The calls of a world that its log does not have yet, behind this place, each with its own place and in the order of these.
    async fn world_open_calls(
        &self,
        id: SimulationId,
        after: Option<CallPlace>,
        bound: Bound,
    ) -> Result<Page<(CallPlace, Bytes), CallPlace>, StoreError>;

    /// The calls that members of a world have made in its ticks from this one on: the pieces of its recording, each with the
    /// number of its last tick, from the one on that ends with this tick or later.
    async fn world_calls(
        &self,
        id: SimulationId,
        from: u64,
        bound: Bound,
    ) -> Result<Page<(u64, Bytes), u64>, StoreError>;

    /// Something large.
    async fn world_part(&self, id: WorldPartId) -> Result<Option<Bytes>, StoreError>;
}

/// What sessions share.
#[async_trait]
pub trait ReadAccounts: Send + Sync {
    /// An account.
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError>;
}

/// The keys of the API that a store has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredKeys {
    /// Those that can be read, by id.
    pub keys: Vec<AccessKey>,
    /// How many cannot. They admit nobody; but a host that had a key is not open to everybody because the
    /// key is damaged.
    pub lost: usize,
}

/// A mail in a mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMail {
    /// Its number: larger than those of the mails before it. Once a mailbox is empty, numbers may come again.
    pub number: u64,
    /// What it counts for, in bytes.
    pub weight: u64,
    /// What was sent. `None`: it is damaged.
    pub mail: Option<Mail>,
}
