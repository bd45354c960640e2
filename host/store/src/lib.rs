//! Where everything durable lies: sessions, turns with the journals of those that are open, snapshots, accounts,
//! agents, schedules, simulated worlds and the log of events.
//!
//! [`Store`] says what the host needs, in the terms of the domain, so that another database can
//! stand behind it: [`Transaction`] is all that can be written, [`read`] what can be read, by concern.
//! [`embedded`] is the one that comes with the host: its folder opens with a picture
//! of the way of a commit, and `embedded/engine/` with the order of syncs and the rules of recovery.
//!
//! Promises of every store:
//! - A change is atomic, and durable before its method returns: after `kill -9` and after a power
//!   failure it is there whole. What was not acknowledged is there whole or not at all.
//! - Readers see what is durable, nothing else.
//! - A transaction is compared with what it expects at its commit, the record of a session by its
//!   revision: two drivers of one session cannot both succeed.
//! - No method blocks the thread of its caller, but for the one that says so: [`read::ReadFiles::file_blob`].

mod codec;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod embedded;
pub mod faults;
mod label;
pub mod memory;
mod page;
mod query;
pub mod read;
mod retention;
mod statistics;
mod transaction;
pub mod upkeep;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::query::{
    AgentFilter, Between, InvalidCursor, SessionCursor, SessionOrder, SessionPage, SessionQuery,
};
use self::read::Reads;
pub use self::retention::Retention;
pub use self::statistics::{
    MAX_REMOVED_CELLS, PatternStatistics, Statistics, StatisticsQuery, Sums,
};
pub use self::transaction::{
    Expect, MAX_SESSION_RECORDS, NewSessionRecord, Transaction, TurnCommit, WorldRow, Write,
};
use self::upkeep::Upkeep;
use dormouse_domain::access::KeyId;
use dormouse_domain::account::AccountId;
use dormouse_domain::agent::{AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::code;
use dormouse_domain::event::{Cursor, Event};
use dormouse_domain::id::{Principal, ScheduleId, SessionId, SnapshotId};
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{ResumeHistory, Snapshot};
use dormouse_domain::time::Timestamp;

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has changed the record: nothing was written.
    #[error("the record of session {0} has been changed by another writer")]
    Conflict(SessionId),
    /// What should be changed is not there: nothing was written.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// The owner, name and version are already those of this agent: nothing was written.
    #[error("{0} is already another component ({digest})", digest = .0.digest)]
    AgentExists(AgentRef),
    /// There is no such agent with that component: nothing was written.
    #[error("there is no agent {0} with the component {digest}", digest = .0.digest)]
    AgentNotFound(AgentRef),
    /// There is no template of that owner and name: nothing was written.
    #[error("there is no template {0}")]
    TemplateNotFound(String),
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
    /// The owner, or a user of the owner, has as many sessions as the transaction allows
    /// ([`Expect::SessionQuota`]): nothing was written.
    #[error("there are as many sessions as there may be: {limit}; delete some")]
    QuotaReached {
        /// How many there may be.
        limit: u64,
    },
    /// The place is one in a list of another order.
    #[error(
        "the cursor belongs to a list in another order; a list goes on in the order of its first page"
    )]
    CursorOfAnotherOrder,
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
    /// A message with the same idempotency key was sent to this session before: nothing was written.
    #[error("a message with this idempotency key was sent to session {0} before")]
    IdempotencyKeyUsed(SessionId),
    /// There is a key of the API of this id: nothing was written.
    #[error("there is a key {0} already")]
    KeyExists(KeyId),
    /// There is no key of the API of this id: nothing was written.
    #[error("there is no key {0}; `dormouse keys list` and GET /api/keys list those there are")]
    KeyNotFound(KeyId),
    /// There is no schedule of this id: nothing was written.
    #[error("there is no schedule {0}; GET /api/schedules lists those there are")]
    ScheduleNotFound(ScheduleId),
    /// The schedule was changed meanwhile: nothing was written.
    #[error("the schedule {0} was changed meanwhile; read it again")]
    ScheduleConflict(ScheduleId),
    /// There is no account of this id: nothing was written.
    #[error("there is no account of session {}", .0.0)]
    AccountNotFound(AccountId),
    /// Reading failed.
    #[error("the store could not be read: {0}")]
    Io(Arc<str>),
    /// The store has no upkeep: whoever runs its database sees to that.
    #[error("this store is not looked after by the host")]
    NoUpkeep,
}

impl StoreError {
    /// The stable word for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            StoreError::Conflict(_) => "conflict",
            StoreError::IdempotencyKeyUsed(_) => "idempotency_key_used",
            StoreError::KeyExists(_) => "key_exists",
            StoreError::KeyNotFound(_) => "key_not_found",
            StoreError::NotFound(_) => code::SESSION_NOT_FOUND,
            StoreError::ScheduleNotFound(_) => "schedule_not_found",
            StoreError::ScheduleConflict(_) => "conflict",
            StoreError::AccountNotFound(_) => code::INTERNAL,
            StoreError::AgentExists(_) => "agent_exists",
            StoreError::AgentNotFound(_) => "agent_not_found",
            StoreError::AgentInUse(_) => "agent_in_use",
            StoreError::TemplateNotFound(_) => "template_not_found",
            StoreError::SnapshotGone => "snapshot_gone",
            StoreError::TooLarge { .. } => "too_large",
            StoreError::TooManySessions => "too_many_sessions",
            StoreError::QuotaReached { .. } => code::QUOTA_EXCEEDED,
            StoreError::CursorOfAnotherOrder => "cursor_of_another_order",
            StoreError::OutOfMemory => code::OUT_OF_MEMORY,
            StoreError::Full => "disk_full",
            StoreError::Damaged(_) | StoreError::Io(_) => code::INTERNAL,
            StoreError::Unknown(_) => "commit_unknown",
            StoreError::Closed => code::SHUTTING_DOWN,
            StoreError::NoUpkeep => "no_upkeep",
        }
    }
}

/// What it takes to wake a session: the record, and the guest state that the next turn starts from.
#[derive(Clone, Debug)]
pub struct WakeState {
    /// The record.
    pub session: Session,
    /// The head, where there is one, with the data of all its chunks.
    pub head: Option<Snapshot>,
    /// Why the head that the record names could not be read. The record is well.
    pub damage: Option<Arc<str>>,
}

/// A snapshot that the store keeps, and the session that it belongs to.
#[derive(Clone, Debug)]
pub struct StoredSnapshot {
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
    /// The version of the files of the session. `None`: it had never had any.
    pub files: Option<Digest>,
    /// What has come of going on from it.
    pub resumes: ResumeHistory,
}

/// How much of a snapshot the store reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotDetail {
    /// With the data of all chunks: what it takes to wake an instance.
    Full,
    /// Without the data of its chunks: what it takes to keep the same state again.
    Metadata,
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

impl Page<EventEntry, Cursor> {
    /// What to ask for behind this page: also where nothing is left, for what comes later. `None`: it is
    /// empty.
    #[must_use]
    pub fn end(&self) -> Option<Cursor> {
        self.next.or_else(|| self.entries.last().map(|event| event.cursor))
    }
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
pub struct EventEntry {
    /// Its place.
    pub cursor: Cursor,
    /// The event.
    pub event: Event,
}

/// What the host needs of a database.
#[async_trait]
pub trait Store: Reads + 'static {
    /// Write all of this or nothing, where the store is as the transaction expects.
    ///
    /// # Errors
    /// [`Expect`] and [`Write`] say which. Unless it is [`StoreError::Unknown`], nothing was written.
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError>;

    /// A key that only this store knows, made when it was created.
    fn secret(&self) -> [u8; 32];

    /// How the host looks after it. `None`: whoever runs the database does.
    fn upkeep(&self) -> Option<&dyn Upkeep> {
        None
    }

    /// Returns when the store has failed for good, with the reason. Pending for ever otherwise.
    async fn failed(&self) -> StoreError;

    /// Write what waits, and let go of the files.
    async fn close(&self) -> Result<(), StoreError>;
}
