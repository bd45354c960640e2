//! One call of a guest: what goes in, and what comes out.

use super::fault::Fault;
use super::world::World;
use dormouse_domain::sample::Sample;
use dormouse_domain::time::Timestamp;
use dormouse_domain::turn::{LogLine, Part, Sender};

/// The most parts that a reply may have.
pub const MAX_REPLY_PARTS: usize = 1_000;
/// The most that a saved state may hold, in bytes.
pub const MAX_STATE_BYTES: u64 = 64 << 20;
/// The most that one turn may stream, in bytes.
pub const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// A turn, as the guest is called with it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The id of the turn.
    pub id: String,
    /// Its number within the session.
    pub number: u64,
    /// How often it was begun before without a record of it.
    pub attempt: u32,
    /// The sender of the message.
    pub sender: Sender,
    /// What was sent.
    pub content: Vec<Part>,
    /// When the host gives up on it. Only told: to keep it is for the caller.
    pub deadline: Timestamp,
    /// The fuel that it may use, with that for `save` where the agent saves its own state.
    pub fuel: u64,
}

/// What came of a call that has returned.
#[derive(Debug)]
pub struct GuestResult {
    /// The answer, or why there is none. After a fault the instance must be dropped.
    pub answer: Result<AgentAnswer, Fault>,
    /// What the call has used and left behind.
    pub trace: CallTrace,
    /// The world that the call was made in.
    pub world: Box<dyn World>,
}

/// The answer of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentAnswer {
    /// What the sender gets.
    pub content: Vec<Part>,
    /// Whether the session has reached its end.
    pub complete: bool,
}

/// What a call has used and left behind, however it came to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallTrace {
    /// The fuel that was used; but for that of the last millisecond, where the future was dropped.
    pub fuel: u64,
    /// What the guest wrote to its log and standard streams, in order.
    pub log: Vec<LogLine>,
    /// Bytes of log beyond what is kept.
    pub log_dropped: u64,
    /// The numbers that the guest has noted, in order.
    pub samples: Vec<Sample>,
}
