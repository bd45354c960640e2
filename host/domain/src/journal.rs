//! The journal of a turn that runs: what it has asked of the outside world so far, so that a turn which the end
//! of the host has cut off is run again without paying for anything twice.
//!
//! An entry is durable before its effect leaves the host, and its answer before the guest sees it. So a turn that
//! is run again gets each answer from its journal, in order, and goes on live behind the last.

use std::time::Duration;

use crate::agent::Digest;
use crate::effect::{EffectAnswer, EffectClass, EffectKind};
use crate::id::{SessionId, TurnId};
use crate::limits::NanoUsd;
use crate::mail::Posted;
use crate::model::TokenUsage;
use crate::time::Timestamp;
use crate::turn::{IdempotencyKey, Part, Sender};

/// The most effects of one turn.
pub const MAX_ENTRIES: u32 = 10_000;
/// The most that the answers of one turn hold together, in bytes.
pub const MAX_JOURNAL_BYTES: u64 = 16 << 20;
/// The most readings of the clocks that an entry remembers, in bytes. Each later one is the last and a microsecond.
pub const MAX_READINGS_BYTES: usize = 64 << 10;
/// How often a turn is begun without coming any further, before it fails.
pub const MAX_TURN_ATTEMPTS: u32 = 3;
/// How often an effect is begun without an answer, before its outcome counts as unknown.
pub const MAX_EFFECT_ATTEMPTS: u32 = 3;

/// What random bytes of a part of a turn are drawn with.
pub type Salt = [u8; 16];

/// A turn that has begun an effect, and has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenTurn {
    /// The session that it belongs to.
    pub session: SessionId,
    /// Its name.
    pub turn: TurnId,
    /// Its number within the session.
    pub number: u64,
    /// The revision of the record that it began with: what its guest sees of the session is in that.
    pub revision: u64,
    /// The component that runs it.
    pub agent: Digest,
    /// The sender of its message.
    pub sender: Sender,
    /// What was sent.
    pub input: Vec<Part>,
    /// What its message came with: the key, and the digest of the request.
    pub key: Option<(IdempotencyKey, Digest)>,
    /// When the guest was called.
    pub started_at: Timestamp,
    /// When it has to be over, as its guest was told.
    pub deadline: Timestamp,
    /// The fuel that it may use, as its guest was told.
    pub fuel: u64,
    /// What the monotonic clock of its guest said when it began, in nanoseconds.
    pub monotonic_ns: u64,
    /// The mail that it has taken, by its number in the mailbox of the session. `None`: it answers no mail.
    pub mail: Option<u64>,
}

/// How often an open turn was begun since an answer was last noted in its journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnAttempts {
    /// How often it was begun in all, the first time included.
    pub all: u32,
    /// How often since then.
    pub since_answer: u32,
    /// The last entry that had an answer when it was begun last.
    pub answered: u32,
}

/// One effect of an open turn.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// Its place in the turn, from 1.
    pub seq: u32,
    /// What was asked, in short.
    pub kind: EffectKind,
    /// The digest of what was asked: [`Effect::digest`](crate::effect::Effect::digest).
    pub request: Digest,
    /// What may be done where its outcome is unknown.
    pub class: EffectClass,
    /// What the guest has read of its clocks since the entry before.
    pub readings: Readings,
    /// What the random bytes were drawn with that the guest has drawn since the entry before, if it has.
    pub salt: Option<Salt>,
    /// What became of the mails that the guest has sent since the entry before, in order.
    pub posted: Vec<Posted>,
    /// The fuel that the guest had used when it asked.
    pub fuel: u64,
    /// What was done for it, in order. The last is under way where there is no answer.
    pub calls: Vec<EffectRecord>,
    /// What the guest was told. `None`: nothing yet.
    pub answer: Option<EffectAnswer>,
}

/// What a guest has read of its clocks, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Of the wall clock, in milliseconds: each less the one before, the first less the start of the turn.
    pub wall: Vec<i64>,
    /// Of the monotonic clock, in nanoseconds: each less the one before, the first less the start of the turn.
    pub monotonic: Vec<u64>,
}

/// A line of the ledger: one attempt at one effect, with what it took. It is written once with the turn that it
/// belongs to, and never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectRecord {
    /// The place of the effect in its turn, from 1.
    pub seq: u32,
    /// Which attempt at it this was, from 1.
    pub attempt: u32,
    /// Which attempt at the turn it was made in, from 1.
    pub turn_attempt: u32,
    /// Whether the attempt at the turn that was committed has made the call, or has the answer from the journal.
    pub provenance: Provenance,
    /// Who was asked, and for what.
    pub target: EffectTarget,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// How long it took; zero while it is under way.
    pub duration: Duration,
    /// The fuel that the guest had used when it asked.
    pub fuel: u64,
    /// What it cost: while it is under way, what it may cost at most.
    pub cost: NanoUsd,
    /// How its cost is known.
    pub bill: Bill,
    /// What came of it.
    pub outcome: EffectOutcome,
    /// Bytes of the request,
    pub sent: u64,
    /// and of the answer.
    pub received: u64,
}

impl EffectRecord {
    /// What was asked, in short.
    #[must_use]
    pub fn kind(&self) -> EffectKind {
        self.target.kind()
    }

    /// The tokens that it took, as far as they are known. None but a model takes any.
    #[must_use]
    pub fn tokens(&self) -> TokenUsage {
        match &self.target {
            EffectTarget::Model { tokens, .. } => *tokens,
            EffectTarget::Tool { .. } | EffectTarget::Http { .. } | EffectTarget::Ask { .. } => {
                TokenUsage::default()
            }
        }
    }
}

/// Who is asked by an attempt, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectTarget {
    /// A language model.
    Model {
        /// The name of its provider. Empty where nobody was asked.
        provider: String,
        /// The name of the model.
        model: String,
        /// The tokens that it took, as far as they are known.
        tokens: TokenUsage,
    },
    /// A tool of the host.
    Tool {
        /// Its name.
        name: String,
        /// The server that it was to ask, without what was asked of it: a host of the web. Empty where none is known.
        server: String,
    },
    /// A server of the web, which the guest has sent a request to by itself.
    Http {
        /// The method.
        method: String,
        /// The host. Empty where the URL has none.
        host: String,
    },
    /// The agent of another session.
    Ask {
        /// What the agent that asks calls it.
        peer: String,
    },
}

impl EffectTarget {
    /// What is asked, in short.
    #[must_use]
    pub fn kind(&self) -> EffectKind {
        match self {
            EffectTarget::Model { .. } => EffectKind::Model,
            EffectTarget::Tool { .. } => EffectKind::Tool,
            EffectTarget::Http { .. } => EffectKind::Http,
            EffectTarget::Ask { .. } => EffectKind::Ask,
        }
    }
}

/// How the cost of a call is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bill {
    /// By the tokens that the provider has told.
    Exact,
    /// The provider told no tokens: it is what was reserved for the call.
    Estimated,
    /// Nobody knows what became of the call: it is what was reserved for it.
    Unknown,
    /// It cost nothing: it was refused, or is free.
    Free,
    /// Nobody knows the price: nothing is billed.
    Unpriced,
}

impl Bill {
    /// All of them.
    pub const ALL: [Bill; 5] =
        [Bill::Exact, Bill::Estimated, Bill::Unknown, Bill::Free, Bill::Unpriced];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Bill::Exact => "exact",
            Bill::Estimated => "estimated",
            Bill::Unknown => "unknown",
            Bill::Free => "free",
            Bill::Unpriced => "unpriced",
        }
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectOutcome {
    /// It is under way.
    Begun,
    /// It was answered.
    Answered,
    /// It has failed. Has the stable word for why.
    Failed(EffectFailure),
    /// Nobody knows: the host or the turn ended in the middle of it.
    Unknown,
}

/// Why a call has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EffectFailure {
    /// [`ModelError::RateLimited`](crate::model::ModelError::RateLimited)
    RateLimited,
    /// [`ModelError::Overloaded`](crate::model::ModelError::Overloaded)
    Overloaded,
    /// [`ModelError::Invalid`](crate::model::ModelError::Invalid)
    Invalid,
    /// [`ModelError::Refused`](crate::model::ModelError::Refused)
    Refused,
    /// [`ModelError::ContextTooLong`](crate::model::ModelError::ContextTooLong)
    ContextTooLong,
    /// [`ModelError::BudgetExceeded`](crate::model::ModelError::BudgetExceeded)
    BudgetExceeded,
    /// [`ModelError::NotAllowed`](crate::model::ModelError::NotAllowed)
    NotAllowed,
    /// [`ModelError::Unavailable`](crate::model::ModelError::Unavailable)
    Unavailable,
    /// [`ModelError::Interrupted`](crate::model::ModelError::Interrupted)
    Interrupted,
    /// [`ModelError::UnknownOutcome`](crate::model::ModelError::UnknownOutcome)
    UnknownOutcome,
    /// [`ToolError::Unknown`](crate::tool::ToolError::Unknown)
    UnknownTool,
    /// [`ToolError::TimedOut`](crate::tool::ToolError::TimedOut)
    TimedOut,
    /// [`ToolError::TooLarge`](crate::tool::ToolError::TooLarge)
    TooLarge,
    /// [`AskError::UnknownPeer`](crate::ask::AskError::UnknownPeer)
    UnknownPeer,
    /// [`AskError::Ended`](crate::ask::AskError::Ended)
    Ended,
    /// [`AskError::Paused`](crate::ask::AskError::Paused)
    Paused,
    /// [`AskError::Cycle`](crate::ask::AskError::Cycle)
    Cycle,
    /// [`AskError::Failed`](crate::ask::AskError::Failed)
    TurnFailed,
}

impl EffectFailure {
    /// All of them.
    pub const ALL: [EffectFailure; 18] = [
        EffectFailure::RateLimited,
        EffectFailure::Overloaded,
        EffectFailure::Invalid,
        EffectFailure::Refused,
        EffectFailure::ContextTooLong,
        EffectFailure::BudgetExceeded,
        EffectFailure::NotAllowed,
        EffectFailure::Unavailable,
        EffectFailure::Interrupted,
        EffectFailure::UnknownOutcome,
        EffectFailure::UnknownTool,
        EffectFailure::TimedOut,
        EffectFailure::TooLarge,
        EffectFailure::UnknownPeer,
        EffectFailure::Ended,
        EffectFailure::Paused,
        EffectFailure::Cycle,
        EffectFailure::TurnFailed,
    ];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EffectFailure::RateLimited => "rate_limited",
            EffectFailure::Overloaded => "overloaded",
            EffectFailure::Invalid => "invalid",
            EffectFailure::Refused => "refused",
            EffectFailure::ContextTooLong => "context_too_long",
            EffectFailure::BudgetExceeded => "budget_exceeded",
            EffectFailure::NotAllowed => "not_allowed",
            EffectFailure::Unavailable => "unavailable",
            EffectFailure::Interrupted => "interrupted",
            EffectFailure::UnknownOutcome => "unknown_outcome",
            EffectFailure::UnknownTool => "unknown_tool",
            EffectFailure::TimedOut => "timed_out",
            EffectFailure::TooLarge => "too_large",
            EffectFailure::UnknownPeer => "unknown_peer",
            EffectFailure::Ended => "ended",
            EffectFailure::Paused => "paused",
            EffectFailure::Cycle => "cycle",
            EffectFailure::TurnFailed => "turn_failed",
        }
    }
}

/// Where the answer to an effect came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// From outside.
    Live,
    /// From the journal: the turn was run before.
    Replayed,
}

impl Provenance {
    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Provenance::Live => "live",
            Provenance::Replayed => "replayed",
        }
    }
}
