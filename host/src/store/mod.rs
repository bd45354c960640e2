//! Where everything durable lies: sessions, turns, snapshots, agents and the log of events.
//!
//! [`Store`] says what the host needs, in the terms of the domain, so that another database can
//! stand behind it. [`embedded`] is the one that comes with the host.
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

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::agent::{Agent, AgentRef, AgentSelector, Digest};
use crate::clock::Timestamp;
use crate::event::{Cursor, Event};
use crate::session::id::{Principal, SessionId};
use crate::session::pattern::Pattern;
use crate::session::record::Session;
use crate::session::snapshot::Snapshot;
use crate::session::state::Status;
use crate::turn::record::TurnRecord;

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
    #[error("{name}@{version} is already another component ({digest})", name = .0.name, version = .0.version, digest = .0.digest)]
    AgentExists(AgentRef),
    /// The agent still serves this many sessions: nothing was written.
    #[error("sessions refer to this agent: {0}; delete them first")]
    AgentInUse(u64),
    /// A part of it is larger than the store takes: nothing was written.
    #[error("{what} may take at most {limit} bytes")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// How many bytes it may take.
        limit: usize,
    },
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

/// What a turn leaves behind: written whole or not at all.
#[derive(Clone, Debug)]
pub struct TurnCommit {
    /// The record after the turn. Its revision is one above the stored one.
    pub session: Session,
    /// The turn.
    pub turn: TurnRecord,
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
    /// The head, where a turn has saved one.
    pub head: Option<Snapshot>,
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
    /// How many to pass over, newest first.
    pub offset: usize,
    /// How many to return.
    pub limit: usize,
}

/// One page of a listing.
#[derive(Clone, Debug)]
pub struct SessionPage {
    /// The sessions, newest first.
    pub sessions: Vec<Session>,
    /// How many match, over all pages.
    pub total: usize,
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
    /// Bytes that the indexes hold in memory, estimated.
    pub index_bytes: u64,
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
    /// Add a session. Its revision is 1.
    async fn create_session(&self, session: Session, events: Vec<Event>) -> Result<(), StoreError>;

    /// Write what a turn leaves behind.
    async fn commit_turn(&self, commit: TurnCommit) -> Result<(), StoreError>;

    /// Replace the record of a session. Its revision is one above the stored one.
    async fn update_session(&self, session: Session, events: Vec<Event>) -> Result<(), StoreError>;

    /// Remove a session, its turns and its snapshots. The events stay.
    async fn delete_session(&self, id: SessionId, events: Vec<Event>) -> Result<(), StoreError>;

    /// The record of a session.
    async fn session(&self, id: SessionId) -> Result<Option<Session>, StoreError>;

    /// The record of a session with its head: what it takes to wake it.
    async fn dormant(&self, id: SessionId) -> Result<Option<Dormant>, StoreError>;

    /// A page of the sessions that match, newest first.
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

    /// Turns of a session with numbers above `after`, in order, at most `limit`.
    async fn turns(
        &self,
        session: SessionId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<TurnRecord>, StoreError>;

    /// One turn of a session.
    async fn turn(&self, session: SessionId, number: u64)
    -> Result<Option<TurnRecord>, StoreError>;

    /// Events after `cursor`, in the order of their commits, at most `limit`.
    async fn events_after(&self, cursor: Cursor, limit: usize) -> Result<Vec<Logged>, StoreError>;

    /// Events of one session after `cursor`, in order, at most `limit`.
    async fn session_events(
        &self,
        session: SessionId,
        cursor: Cursor,
        limit: usize,
    ) -> Result<Vec<Logged>, StoreError>;

    /// Keep an agent. The same name, version and bytes again change nothing.
    async fn put_agent(
        &self,
        agent: Agent,
        component: Bytes,
        events: Vec<Event>,
    ) -> Result<(), StoreError>;

    /// The agent that a reference means.
    async fn agent(&self, selector: AgentSelector) -> Result<Option<Agent>, StoreError>;

    /// All agents, by name and then in the order of upload.
    async fn agents(&self) -> Result<Vec<Agent>, StoreError>;

    /// The bytes of a component, checked against the digest.
    async fn component(&self, digest: Digest) -> Result<Option<Bytes>, StoreError>;

    /// Remove an agent that no session refers to. Returns whether it was there.
    async fn delete_agent(&self, agent: AgentRef, events: Vec<Event>) -> Result<bool, StoreError>;

    /// A key that only this store knows, made when it was created.
    fn secret(&self) -> [u8; 32];

    /// Sizes, for metrics.
    fn stats(&self) -> StoreStats;

    /// Returns when the store has failed for good, with the reason. Pending for ever otherwise.
    async fn failed(&self) -> StoreError;

    /// Write what waits, and let go of the files.
    async fn close(&self) -> Result<(), StoreError>;
}
