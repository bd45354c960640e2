//! Asks: the agent of one session waits for the answer of that of another, in the middle of its turn.
//!
//! What is asked is a message to the other session, with an idempotency key that follows from the asking turn and its
//! effect: so it becomes one turn there, however often the host ends meanwhile. That turn is not undone where the
//! asking one fails.

use std::time::Duration;

use crate::id::SessionId;
use crate::journal::EffectFailure;
use crate::turn::Part;

/// The most bytes of what is asked, and of the answer, all parts together.
pub const MAX_ASK_BYTES: u64 = 1 << 20;
/// How long an ask waits for its answer, where its agent does not say.
pub const DEFAULT_ASK_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest that an ask waits.
pub const MAX_ASK_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest text that tells of a failure, in bytes.
pub const MAX_FAILURE_TEXT: usize = 4 << 10;

/// A question to the agent of another session.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerAsk {
    /// The session. `None`: the asking agent knows nobody by that name.
    pub to: Option<SessionId>,
    /// What the asking agent calls it.
    pub address: String,
    /// What is asked.
    pub content: Vec<Part>,
    /// How long the asking agent waits.
    pub timeout: Duration,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// There is no such session, or the agent may not ask it.
    #[error("there is no such session")]
    UnknownPeer,
    /// The answer has more bytes than an answer may have.
    #[error("the answer has more than {MAX_ASK_BYTES} bytes")]
    TooLarge,
    /// The session has ended.
    #[error("the session has ended")]
    Ended,
    /// The session is paused.
    #[error("the session is paused")]
    Paused,
    /// The session has so much to do that it takes nothing more.
    #[error("the session takes nothing more for now")]
    Busy,
    /// The session waits, through others or not, for an answer of the session that asks: neither would ever get one.
    #[error("the session waits for an answer of the one that asks")]
    Cycle,
    /// There was no answer in time. The turn of the session goes on.
    #[error("there was no answer in time")]
    TimedOut,
    /// The turn of the session has failed.
    #[error("the turn of the session has failed ({code}): {message}")]
    Failed {
        /// The stable word for why.
        code: String,
        /// What happened.
        message: String,
    },
    /// The session cannot answer now. The text says why.
    #[error("the session cannot answer: {0}")]
    Unavailable(String),
}

impl AskError {
    /// The word for it on the bill.
    #[must_use]
    pub fn failure(&self) -> EffectFailure {
        match self {
            AskError::UnknownPeer => EffectFailure::UnknownPeer,
            AskError::TooLarge => EffectFailure::TooLarge,
            AskError::Ended => EffectFailure::Ended,
            AskError::Paused => EffectFailure::Paused,
            AskError::Busy => EffectFailure::Overloaded,
            AskError::Cycle => EffectFailure::Cycle,
            AskError::TimedOut => EffectFailure::TimedOut,
            AskError::Failed { .. } => EffectFailure::TurnFailed,
            AskError::Unavailable(_) => EffectFailure::Unavailable,
        }
    }
}
