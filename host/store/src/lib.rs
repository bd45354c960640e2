//! Where everything durable lies: sessions, turns, snapshots, agents and the log of events.
//!
//! [`Store`] says what the host needs, in the terms of the domain, so that another database can
//! stand behind it. [`embedded`] is the one that comes with the host: its folder opens with a picture
//! of the way of a commit, and `embedded/engine/` with the order of syncs and the rules of recovery.
//!
//! Promises of every store:
//! - A change is atomic, and durable before its method returns: after `kill -9` and after a power
//!   failure it is there whole. What was not acknowledged is there whole or not at all.
//! - Readers see what is durable, nothing else.
//! - The record of a session is compared by revision at each commit: two drivers of one session
//!   cannot both succeed.
//! - No method blocks the thread of its caller.

mod codec;
pub mod embedded;
mod retention;
pub mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

pub use self::retention::Retention;
use dormouse_domain::agent::{Agent, AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::code;
use dormouse_domain::event::{Cursor, Event};
use dormouse_domain::id::{Principal, SessionId, SnapshotId};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_domain::state::Status;
use dormouse_domain::template::{Template, TemplateSummary};
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::TurnRecord;

use self::upkeep::{BackupError, BackupSummary, CheckReport, StoreUsage};

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has changed the record: nothing was written.
    #[error("the record of session {0} has been changed by another writer")]
    Conflict(SessionId),
    /// What should be changed is not there: nothing was written.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// The name and version already point at other bytes: nothing was written.
    #[error("{0} is already another component ({digest})", digest = .0.digest)]
    AgentExists(AgentRef),
    /// The agent still serves this many sessions and templates: nothing was written.
    #[error("sessions and templates refer to this agent: {0}; delete them first")]
    AgentInUse(u64),
    /// The snapshot that was to be shared has been removed meanwhile: nothing was written.
    #[error("the snapshot is not there any more")]
    SnapshotGone,
    /// A part of it is larger than the store takes: nothing was written.
    #[error("too large: {what} may be {limit} at most")]
    TooLarge {
        /// Which part, and what it is measured in.
        what: &'static str,
        /// How large it may be.
        limit: usize,
    },
    /// The owner has all the sessions that the host has memory for, asleep or not: nothing was written.
    #[error(
        "the host has no memory for more sessions of yours, not even asleep; delete some, or let its \
         operator raise `memory-budget`"
    )]
    TooManySessions,
    /// There is no memory for it now: nothing was written.
    #[error("the host has no memory for one more session now; try again later")]
    OutOfMemory,
    /// The disk is full: nothing was written, and reads go on.
    #[error("the disk that holds the data directory is full; free some space")]
    Full,
    /// A record does not decode. It is set aside under this key; everything else is well.
    #[error("the record {0} is damaged and has been set aside")]
    Damaged(String),
    /// It cannot be known whether the last commit is durable. The store takes no more writes.
    #[error(
        "the outcome of a commit is unknown ({0}); restart the host to go on from what is on the disk"
    )]
    Unknown(Arc<str>),
    /// The store is closing.
    #[error("the store is closed")]
    Closed,
    /// Reading failed.
    #[error("the store could not be read: {0}")]
    Io(Arc<str>),
}

impl StoreError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Conflict(_) => "conflict",
            StoreError::NotFound(_) => code::SESSION_NOT_FOUND,
            StoreError::AgentExists(_) => "agent_exists",
            StoreError::AgentInUse(_) => "agent_in_use",
            StoreError::SnapshotGone => "snapshot_gone",
            StoreError::TooLarge { .. } => "too_large",
            StoreError::TooManySessions => "too_many_sessions",
            StoreError::OutOfMemory => code::OUT_OF_MEMORY,
            StoreError::Full => "disk_full",
            StoreError::Damaged(_) | StoreError::Io(_) => code::INTERNAL,
            StoreError::Unknown(_) => "commit_unknown",
            StoreError::Closed => code::SHUTTING_DOWN,
        }
    }
}

/// The most sessions that are created at once.
pub const MAX_CREATIONS: usize = 256;

/// What a turn leaves behind: written whole or not at all.
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

/// A session and the guest state that its next turn starts from.
#[derive(Clone, Debug)]
pub struct Dormant {
    /// The record.
    pub session: Session,
    /// The head, where there is one, with the data of all its chunks.
    pub head: Option<Snapshot>,
    /// Why the head that the record names could not be read. The record is well.
    pub damage: Option<Arc<str>>,
}

/// A new session, and where it starts from.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The record, with revision 1.
    pub session: Session,
    /// What it starts from: the head that its record names.
    pub head: Option<Snapshot>,
}

/// A snapshot that the store keeps, and whose it is.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The session that it belongs to.
    pub session: SessionId,
    /// The snapshot.
    pub snapshot: Snapshot,
}

/// What is known of a snapshot without its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSummary {
    /// Its name.
    pub id: SnapshotId,
    /// The snapshot that it came from. That one may be gone, or belong to another session.
    pub parent: Option<SnapshotId>,
    /// The number of the turn that it was taken after, in the session where it was taken.
    pub turn: u64,
    /// The agent whose state it is.
    pub agent: Digest,
    /// When it was taken.
    pub taken_at: Timestamp,
    /// How many bytes its state takes, shared ones included.
    pub size: u64,
}

/// How much of a snapshot to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// With the data of all chunks: what it takes to wake an instance.
    Whole,
    /// Without the data of its chunks: what it takes to keep the same state again.
    Outline,
}

/// Which sessions to list.
#[derive(Clone, Debug, Default)]
pub struct SessionQuery {
    /// Only those of this owner.
    pub owner: Option<Principal>,
    /// Only those of this pattern.
    pub pattern: Option<Pattern>,
    /// Only those of this status.
    pub status: Option<Status>,
    /// Only those with this label.
    pub user_id: Option<String>,
    /// Only those with one of these tags. Empty: all.
    pub tags: Vec<String>,
    /// Only those behind this one, newest first.
    pub after: Option<SessionId>,
    /// How many of these to pass over.
    pub offset: usize,
    /// How many to return.
    pub limit: usize,
}

/// The most bytes of a page of a list, unless its first entry alone has more: as the entries lie in
/// the store, which is about what they take in memory.
pub const PAGE_BYTES: usize = 4 << 20;

/// How much of a list is read at once. A page ends with whichever comes first, but never before its
/// first entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How many entries.
    pub entries: usize,
    /// How many bytes, as they lie in the store.
    pub bytes: usize,
}

impl Bound {
    /// So many entries, and [`PAGE_BYTES`].
    #[must_use]
    pub fn entries(entries: usize) -> Bound {
        Bound { entries, bytes: PAGE_BYTES }
    }
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The entries, in order.
    pub entries: Vec<T>,
    /// What the list goes on behind; `None` at its end.
    pub next: Option<C>,
}

impl Page<Logged, Cursor> {
    /// What to ask for behind this page: also where nothing is left, for what comes later. `None`: it is
    /// empty.
    #[must_use]
    pub fn end(&self) -> Option<Cursor> {
        self.next.or_else(|| self.entries.last().map(|event| event.cursor))
    }
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The sessions, newest first.
    pub sessions: Vec<Session>,
    /// How many match, over all pages.
    pub total: usize,
    /// The session behind which the list goes on; `None` at its end.
    pub next: Option<SessionId>,
}

/// Which agent to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentQuery {
    /// The one of this owner, name and version, whoever can name it.
    Exact(AgentOwner, AgentName, Version),
    /// The latest of this owner and name that this principal may use: see [`Version::precedence`].
    Latest(AgentOwner, AgentName, Principal),
    /// One with this component: this principal's, else a public one, else the host's.
    Component(Digest, Principal),
    /// One with this component, whosever it is and whoever can name it.
    AnyComponent(Digest),
}

/// An event with its place in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Logged {
    /// Its place.
    pub cursor: Cursor,
    /// The event.
    pub event: Event,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Sessions stored.
    pub sessions: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Bytes of values on disk, deleted and replaced ones included.
    pub value_bytes: u64,
    /// Bytes of values that are in use. What lies between the two is given back bit by bit.
    pub live_bytes: u64,
    /// Bytes that the indexes hold in memory, estimated.
    pub index_bytes: u64,
    /// Bytes of memory that commits take which are durable and not applied yet, estimated.
    pub overlay_bytes: u64,
    /// Whether nothing is applied because the disk is full.
    pub waits_for_space: bool,
    /// Records set aside because they do not decode.
    pub quarantined: u64,
    /// Commits since the store was opened.
    pub commits: u64,
    /// Groups of commits, each with one sync, since the store was opened.
    pub groups: u64,
}

/// What the host needs of a database.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Add sessions, at most [`MAX_CREATIONS`]: all of them or none. Their revision is 1. The chunks
    /// of a head may come without their data where a snapshot that is kept has the same. What is
    /// there is not written again: [`StoreError::SnapshotGone`] where it goes meanwhile.
    async fn create_sessions(
        &self,
        sessions: Vec<Creation>,
        events: Vec<Event>,
    ) -> Result<(), StoreError>;

    /// Write what a turn leaves behind.
    async fn commit_turn(&self, commit: TurnCommit) -> Result<(), StoreError>;

    /// Replace the record of a session, and with it the head where one is given. Its revision is one
    /// above the stored one.
    async fn update_session(
        &self,
        session: Session,
        head: Option<Snapshot>,
        events: Vec<Event>,
    ) -> Result<(), StoreError>;

    /// Log what happened to a session without changing it.
    async fn log(&self, session: SessionId, events: Vec<Event>) -> Result<(), StoreError>;

    /// Remove a session, its turns and its snapshots. The events stay.
    async fn delete_session(&self, id: SessionId, events: Vec<Event>) -> Result<(), StoreError>;

    /// Remove what is too old at `now` of the log of events, and of the snapshots and turns of some
    /// sessions behind `after`. What a session needs to go on stays. Returns the last of these
    /// sessions, and `None` once all have had their turn, or where nothing goes by its age.
    async fn expire(
        &self,
        now: Timestamp,
        after: Option<SessionId>,
    ) -> Result<Option<SessionId>, StoreError>;

    /// Whether there is a session of this id that belongs to this principal, as memory knows it: it
    /// reads nothing. Where a record is so damaged that it is not known whose it is, it is anybody's,
    /// and reading it says that it is damaged.
    ///
    /// # Errors
    /// [`StoreError::Closed`]
    fn is_owner(&self, id: SessionId, principal: &Principal) -> Result<bool, StoreError>;

    /// The record of a session.
    async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError>;

    /// The record of a session with its head: what it takes to wake it.
    async fn dormant(&self, id: SessionId) -> Result<Option<Dormant>, StoreError>;

    /// The snapshots of a session that are kept, newest first.
    async fn snapshots(&self, session: SessionId) -> Result<Vec<SnapshotSummary>, StoreError>;

    /// A snapshot, whosever it is. [`StoreError::Damaged`] where it does not decode.
    async fn snapshot(&self, id: SnapshotId, depth: Depth) -> Result<Option<Kept>, StoreError>;

    /// Keep a template. One of the same owner and name is replaced. Its snapshot is shared as in
    /// [`Store::create_sessions`].
    async fn put_template(&self, template: Template) -> Result<(), StoreError>;

    /// A template, with the outline of its snapshot.
    async fn template(
        &self,
        owner: Principal,
        name: String,
    ) -> Result<Option<Template>, StoreError>;

    /// The templates of an owner, by name.
    async fn templates(&self, owner: Principal) -> Result<Vec<TemplateSummary>, StoreError>;

    /// Remove a template. Returns whether it was there.
    async fn delete_template(&self, owner: Principal, name: String) -> Result<bool, StoreError>;

    /// A page of the sessions that match, newest first. It ends before it has more than
    /// [`PAGE_BYTES`].
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

    /// Where the log of events ends: moves when a commit with events is durable and can be read. Closed
    /// once the store is.
    fn end(&self) -> watch::Receiver<Cursor>;

    /// Events after `cursor`, in the order of their commits. One that does not decode is passed over, so
    /// that it stops nobody who follows the log.
    async fn events_after(
        &self,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<Logged, Cursor>, StoreError>;

    /// Events of one session after `cursor`, in order.
    async fn session_events(
        &self,
        session: SessionId,
        cursor: Cursor,
        bound: Bound,
    ) -> Result<Page<Logged, Cursor>, StoreError>;

    /// Keep an agent. The same owner, name, version and bytes again change nothing.
    async fn put_agent(
        &self,
        agent: Agent,
        component: Bytes,
        events: Vec<Event>,
    ) -> Result<(), StoreError>;

    /// An agent.
    async fn agent(&self, query: AgentQuery) -> Result<Option<Agent>, StoreError>;

    /// The agents that this principal has uploaded, and those that others have made public: by name and
    /// then in the order of upload.
    async fn agents(&self, usable_by: Principal) -> Result<Vec<Agent>, StoreError>;

    /// Replace what is known of an agent that is there. Returns whether it is.
    async fn update_agent(&self, agent: Agent, events: Vec<Event>) -> Result<bool, StoreError>;

    /// The bytes of a component, checked against the digest.
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError>;

    /// Remove an agent that no session refers to. Returns whether it was there.
    async fn delete_agent(&self, agent: AgentRef, events: Vec<Event>) -> Result<bool, StoreError>;

    /// A key that only this store knows, made when it was created.
    fn secret(&self) -> [u8; 32];

    /// Sizes, for metrics.
    fn stats(&self) -> StoreStats;

    /// What everything takes, on the disk and in memory.
    async fn usage(&self) -> Result<StoreUsage, StoreError>;

    /// Read everything that is durable and say what is wrong with it. Commits go on meanwhile.
    async fn check(&self) -> Result<CheckReport, StoreError>;

    /// Give back the space of what is not in use. Commits go on meanwhile.
    async fn compact(&self) -> Result<(), StoreError>;

    /// Copy what is durable at one moment to a directory that is empty or not there, and read the copy
    /// back. Commits go on meanwhile. A host can be started on the copy.
    async fn backup(&self, directory: PathBuf) -> Result<BackupSummary, BackupError>;

    /// Returns when the store has failed for good, with the reason. Pending for ever otherwise.
    async fn failed(&self) -> StoreError;

    /// Write what waits, and let go of the files.
    async fn close(&self) -> Result<(), StoreError>;
}
