//! What is known of a session: the record that the store keeps and the driver changes.

use serde_json::{Map, Value};

use super::id::{Principal, SessionId, SnapshotId};
use super::limits::{Limits, Usage};
use super::pattern::Pattern;
use super::residence::Residence;
use super::snapshot::Snapshot;
use super::state::State;
use crate::account::AccountId;
use crate::agent::AgentRef;
use crate::egress::EgressPolicy;
use crate::group::Group;
use crate::mail::Peers;
use crate::time::Timestamp;
use crate::timer::Timers;
use crate::turn::FailureCode;

/// A JSON object.
pub type JsonObject = Map<String, Value>;

/// A session: one durable conversation with one agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// The principal that created it.
    pub owner: Principal,
    /// Counts the commits of this record, from 1. Each commit compares it.
    pub revision: u64,
    /// Where it is in its life.
    pub state: State,
    /// What was said of it when it was created or changed.
    pub profile: Profile,
    /// What it has spent.
    pub usage: Usage,
    /// What it shares with its forks, or with the session that it was forked from. `None`: it spends on its own.
    pub account: Option<AccountId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its first turn committed.
    pub started_at: Option<Timestamp>,
    /// When it was last spoken to: creation, or the end of the last turn.
    pub last_activity_at: Timestamp,
    /// When it reached a final state.
    pub ended_at: Option<Timestamp>,
    /// The guest state that the next turn starts from. `None` until a turn has saved one.
    pub head: Option<SnapshotId>,
    /// The snapshot that the head came from: what to look at if the head is damaged.
    pub head_parent: Option<SnapshotId>,
    /// The snapshot that it started from, of whatever session that was.
    pub parent: Option<SnapshotId>,
    /// What it goes back to if its first turn with a new version of its agent fails.
    pub before_upgrade: Option<BeforeUpgrade>,
    /// Turns that have committed since the head was saved, and would be lost with the instance.
    pub unsaved_turns: u64,
    /// Failed turns since the last good one.
    pub consecutive_failures: u32,
    /// The names of the tools that it has used, each once.
    pub tools_used: Vec<String>,
    /// A document that its clients keep up to date, and the agent may read.
    pub context: JsonObject,
    /// What its clients or its agent need to go on after a crash of their own.
    pub checkpoint: Option<JsonObject>,
    /// What has become of its idle limit since it was last active.
    pub idle: IdleClock,
    /// When a client last changed it.
    pub changed_at: Option<Timestamp>,
    /// The last of its turns that failed.
    pub last_failure: Option<LastFailure>,
    /// What the state takes that the head names, in bytes, with what other sessions share. `None`: there is no
    /// head, or it was saved before this was counted.
    pub state_bytes: Option<u64>,
    /// When its state was removed because nobody had used it for as long as it is kept. `None`: it was not,
    /// or the session has begun anew since then.
    pub state_removed_at: Option<Timestamp>,
    /// When its agent wants to be woken.
    pub timers: Timers,
    /// When it had an instance in memory.
    pub residence: Residence,
    /// The group that it belongs to. `None`: it stands alone.
    pub group: Option<Group>,
}

/// What has become of the idle limit of a session since it was last active.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleClock {
    /// The limit is not reached before this time: a client has asked for more of it.
    pub extended_until: Option<Timestamp>,
    /// The end of the limit that an event has warned of. Each end is warned of once.
    pub warned_of: Option<Timestamp>,
}

/// The last turn of a session that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// Its number.
    pub turn: u64,
    /// What kind of failure.
    pub code: FailureCode,
    /// When.
    pub at: Timestamp,
}

impl Session {
    /// Start from this snapshot, of whatever session it is.
    pub fn start_from(&mut self, head: Option<&Snapshot>) {
        self.set_head(head);
        self.parent = self.head_parent;
    }

    /// What its documents (`config`, `context`, `checkpoint` and `metadata`) take as JSON, in bytes.
    #[must_use]
    pub fn document_bytes(&self) -> usize {
        let documents = [&self.profile.config, &self.context, &self.profile.metadata];
        documents.into_iter().chain(&self.checkpoint).map(bytes_of).sum()
    }

    /// Go on from the head after an error, whatever was lost, with all tries again.
    pub fn forgive(&mut self) {
        self.unsaved_turns = 0;
        self.consecutive_failures = 0;
        self.state_removed_at = None;
    }

    /// Go on from this snapshot: whatever was in memory alone is not counted any more.
    pub fn set_head(&mut self, head: Option<&Snapshot>) {
        self.head = head.map(|head| head.id);
        self.head_parent = head.and_then(|head| head.parent);
        self.state_bytes = head.map(|head| head.state.size() as u64);
        self.unsaved_turns = 0;
    }
}

/// What a document takes as JSON, which is how it is stored, in bytes.
#[must_use]
pub fn bytes_of(document: &JsonObject) -> usize {
    // A map of JSON values always prints.
    serde_json::to_vec(document).map_or(usize::MAX, |text| text.len())
}

/// What is said of a session when it is created. An upgrade changes the agent, and a
/// [`SessionPatch`](crate::patch::SessionPatch) what it names; the rest is fixed.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The agent that serves it.
    pub agent: AgentRef,
    /// How it is hosted.
    pub pattern: Pattern,
    /// What it may spend.
    pub limits: Limits,
    /// The caller's configuration, kept as it was sent.
    pub config: JsonObject,
    /// The caller's own id of the conversation: a string or a number, kept as it was sent.
    pub conversation_id: Option<Value>,
    /// When its state is saved.
    pub durability: Durability,
    /// What it does by itself when its head is damaged.
    pub resume_fallback: Option<ResumeFallback>,
    /// What its agent may reach over HTTP, where the operator allows it too.
    pub egress: EgressPolicy,
    /// Labels for filtering.
    pub tags: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
    /// A label for the user it serves.
    pub user_id: Option<String>,
    /// The conversation that it continues.
    pub thread_key: Option<String>,
    /// The project it belongs to.
    pub project_id: Option<String>,
    /// Anything else that the caller wants kept.
    pub metadata: JsonObject,
    /// The sessions that its agent may write to.
    pub peers: Peers,
}

/// What a session was before its agent was upgraded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeforeUpgrade {
    /// The agent that served it.
    pub agent: AgentRef,
    /// Its head.
    pub head: Option<SnapshotId>,
    /// What the head came from.
    pub head_parent: Option<SnapshotId>,
    /// What the state takes that the head names, in bytes, where that is known.
    pub state_bytes: Option<u64>,
}

/// When the state of a session is saved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// With each turn, in the same commit: a crash costs nothing.
    #[default]
    Turn,
    /// When it goes to sleep. A crash costs the state of all turns since then, and the session goes
    /// into `error` rather than on without them.
    Sleep,
}

impl Durability {
    /// All of them.
    pub const ALL: [Durability; 2] = [Durability::Turn, Durability::Sleep];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Turn => "turn",
            Durability::Sleep => "sleep",
        }
    }
}

/// What a session does by itself when its head is damaged, instead of going into `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeFallback {
    /// It goes on from the newest snapshot that is good.
    Parent,
    /// It starts again as if it were new.
    Fresh,
}

impl ResumeFallback {
    /// Both of them.
    pub const ALL: [ResumeFallback; 2] = [ResumeFallback::Parent, ResumeFallback::Fresh];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ResumeFallback::Parent => "parent",
            ResumeFallback::Fresh => "fresh",
        }
    }
}

/// Whether the guest state of a session is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residency {
    /// It is in the store alone.
    Asleep,
    /// It is on its way into memory.
    Waking,
    /// There is a live instance.
    Resident,
}

impl Residency {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Residency::Asleep => "asleep",
            Residency::Waking => "waking",
            Residency::Resident => "resident",
        }
    }
}
