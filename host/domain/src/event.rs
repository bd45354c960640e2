//! The log of events: what has happened to sessions and agents, in the order of the commits.
//!
//! An event is written in the same commit as the change that it tells of, so that none is lost and
//! none invented. Readers follow the log by cursor.

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::agent::AgentOwner;
use crate::time::Timestamp;

/// The place of an event in the log of all events: counted from 1, without gaps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The session or the agent that it happened to.
    pub subject: Subject,
    /// When.
    pub occurred_at: Timestamp,
    /// The particulars, by name.
    pub payload: Map<String, Value>,
}

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A session, by id.
    Session(Uuid),
    /// An agent.
    Agent {
        /// `name@version` of one of the host's, `owner/name@version` of one that was uploaded.
        name: String,
        /// Whose it is. `None` in events from before agents had owners.
        owner: Option<AgentOwner>,
    },
}

macro_rules! kinds {
    ($($name:ident = $text:literal, $doc:literal;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $(#[doc = $doc] $name,)*
        }

        impl EventKind {
            /// All kinds.
            pub const ALL: &'static [EventKind] = &[$(EventKind::$name,)*];

            /// The name on the wire and on the disk.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(EventKind::$name => $text,)*
                }
            }
        }
    };
}

kinds! {
    SessionCreated = "session.created", "A session was created.";
    SessionStarted = "session.started", "Its first turn committed.";
    SessionUpdated = "session.updated", "Its record was changed.";
    TurnStarted = "session.turn.started", "The guest was called.";
    TurnCompleted = "session.turn.completed", "A turn was answered.";
    TurnFailed = "session.turn.failed", "A turn failed.";
    SessionIdleWarning = "session.idle-warning", "It will end soon if nobody speaks.";
    SessionSlept = "session.slept", "Its instance was dropped.";
    SessionWoken = "session.woken", "Its instance was made again.";
    SessionPaused = "session.paused", "It takes no messages.";
    SessionResumed = "session.resumed", "It takes messages again.";
    SessionCompleted = "session.completed", "It has done what it was for.";
    SessionTerminated = "session.terminated", "Somebody or a limit ended it.";
    SessionError = "session.error", "It cannot go on by itself.";
    SessionDeleted = "session.deleted", "It was removed.";
    SessionForked = "session.forked", "Other sessions were started from one of its snapshots.";
    SessionUpgraded = "session.upgraded", "Another version of its agent has taken it over, or given it back.";
    ResumeAttempted = "session.resume-attempted", "Somebody asked for a session that goes on from a snapshot.";
    AgentUploaded = "agent.uploaded", "An agent was uploaded.";
    AgentUpdated = "agent.updated", "Its owner has changed who can name it.";
    AgentDeleted = "agent.deleted", "An agent was removed.";
}

impl EventKind {
    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<EventKind> {
        EventKind::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

impl EventKind {
    /// Whether it is part of the audit trail.
    #[must_use]
    pub fn is_audited(self) -> bool {
        matches!(self, EventKind::ResumeAttempted)
    }
}

impl Event {
    /// An event of a session without particulars.
    #[must_use]
    pub fn session(kind: EventKind, session: Uuid, occurred_at: Timestamp) -> Event {
        Event { kind, subject: Subject::Session(session), occurred_at, payload: Map::new() }
    }

    /// The same event with one more particular.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Event {
        self.payload.insert(name.to_owned(), value.into());
        self
    }
}
