//! One call of a guest: what goes in, and what comes out.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::fault::Fault;
use dormouse_domain::limits::{Limits, Usage};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{LogLine, Part, Sender};

/// The most parts that a reply may have.
pub const MAX_REPLY_PARTS: usize = 1_000;
/// The most that a saved state may hold, in bytes.
pub const MAX_STATE_BYTES: u64 = 64 << 20;
/// The most that one turn may stream, in bytes.
pub const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// A turn, as the guest is called with it.
pub struct Call {
    /// The id of the turn.
    pub id: String,
    /// Its number within the session.
    pub number: u64,
    /// How often it was begun before without a record of it.
    pub attempt: u32,
    /// Who sent it.
    pub sender: Sender,
    /// What was sent.
    pub content: Vec<Part>,
    /// When the host gives up on it. Only told: to keep it is for the caller.
    pub deadline: Timestamp,
    /// The fuel that it may use, with that for `save` where the agent saves its own state.
    pub fuel: u64,
    /// What the agent may know of its session.
    pub session: Arc<SessionView>,
    /// Where parts of the reply go while the turn runs.
    pub output: Box<dyn OutputSink>,
}

/// What an agent may know of its session, when a turn begins.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its id.
    pub id: String,
    /// The name of its agent.
    pub agent: String,
    /// How it is hosted.
    pub pattern: Pattern,
    /// Its configuration.
    pub config: Map<String, Value>,
    /// What it may spend.
    pub limits: Limits,
    /// What it has spent.
    pub usage: Usage,
    /// Its context document.
    pub context: Map<String, Value>,
}

/// Takes what a turn streams. It must not block: the guest waits for no reader. All calls of one
/// turn together carry [`MAX_OUTPUT_BYTES`] at most.
pub trait OutputSink: Send {
    /// A piece of text.
    fn text(&mut self, delta: String);
    /// A named event with a JSON document.
    fn event(&mut self, name: String, data: String);
}

/// What came of a call.
#[derive(Debug)]
pub struct Report {
    /// The answer, or why there is none. After a fault the instance must be dropped.
    pub result: Result<Answer, Fault>,
    /// The fuel that was used.
    pub fuel: u64,
    /// What the guest wrote to its log and standard streams, in order.
    pub log: Vec<LogLine>,
    /// Bytes of log beyond what is kept.
    pub log_dropped: u64,
}

/// The answer of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the sender gets.
    pub content: Vec<Part>,
    /// Whether the session has reached its end.
    pub complete: bool,
}

/// What is known of a call whose future was dropped.
#[derive(Debug)]
pub struct Abandoned {
    /// The fuel that was used, but for that of the last millisecond.
    pub fuel: u64,
    /// What the guest wrote until then.
    pub log: Vec<LogLine>,
    /// Bytes of log beyond what is kept.
    pub log_dropped: u64,
}
