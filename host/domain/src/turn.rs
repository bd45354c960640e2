//! What is known of a turn once it is over.

#[cfg(test)]
pub(crate) mod examples;

use std::time::Duration;

use crate::agent::Digest;
use crate::code;
use crate::id::{Principal, SessionId, SnapshotId, TurnId};
use crate::journal::EffectRecord;
use crate::limits::NanoUsd;
use crate::mail::Peer;
use crate::sample::Sample;
use crate::time::Timestamp;

/// The most that the parts of a reply may hold together, in bytes.
pub const MAX_REPLY_BYTES: u64 = 4 << 20;

/// One part of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Plain text or Markdown.
    Text(String),
    /// One JSON document, as text.
    Json(String),
    /// Bytes with a media type.
    Blob {
        /// The media type, `image/png` for instance.
        media_type: String,
        /// The bytes.
        data: Vec<u8>,
    },
}

impl Part {
    /// How many bytes this part holds.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Part::Text(text) | Part::Json(text) => text.len(),
            Part::Blob { media_type, data } => media_type.len() + data.len(),
        }
    }

    /// Whether this part holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The text of a message: its text and JSON parts, one after the other, a line break between.
#[must_use]
pub fn text_of(content: &[Part]) -> String {
    let texts = content.iter().filter_map(|part| match part {
        Part::Text(text) | Part::Json(text) => Some(text.as_str()),
        Part::Blob { .. } => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// A piece of a reply, streamed while the turn runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// A piece of text.
    Text(String),
    /// A named event with a JSON document.
    Event {
        /// The name.
        name: String,
        /// The document.
        data: String,
    },
}

impl Delta {
    /// How many bytes this piece holds.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Delta::Text(text) => text.len(),
            Delta::Event { name, data } => name.len() + data.len(),
        }
    }

    /// Whether this piece holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a caller sends along with a message, so that the message is handled once however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The caller.
    pub owner: Principal,
    /// The key, among those of the caller.
    pub key: String,
}

/// What the request has led to that came with an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The key.
    pub key: IdempotencyKey,
    /// The digest of the request: another one under the same key is a mistake of the caller.
    pub request: Digest,
    /// The session that it was sent to, or has created. It may be gone.
    pub session: SessionId,
    /// The number of the turn that it became. 0: it has created the session.
    pub turn: u64,
    /// When the key may be forgotten.
    pub expires_at: Timestamp,
}

/// The sender of the message of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client of the API, or the program that embeds the host.
    User,
    /// The timer of the session that has this name.
    Timer(String),
    /// The agent of another session, as this one knows it.
    Agent(Peer),
    /// The schedule of its owner that has this name.
    Schedule(String),
}

/// One turn of a session, as it is kept: answered or failed.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnRecord {
    /// Its name, unique among all turns.
    pub id: TurnId,
    /// The session it belongs to.
    pub session: SessionId,
    /// Its number within the session, from 1.
    pub number: u64,
    /// The sender of its message.
    pub sender: Sender,
    /// What was sent.
    pub input: Vec<Part>,
    /// What came of it.
    pub outcome: TurnOutcome,
    /// The fuel that it used.
    pub fuel: u64,
    /// What it cost, with its effects, without the start.
    pub cost: NanoUsd,
    /// The start of the instance that ran it. `None`: the instance was there.
    pub start: Option<StartupCost>,
    /// What it has asked of the outside world, in order: each attempt is a line of its bill.
    pub effects: Vec<EffectRecord>,
    /// How often it was begun, this time included: more than once where a host has ended in the middle of it.
    pub attempts: u32,
    /// How long it took until there was an instance to run it. `None`: the instance was there.
    pub woken_in: Option<Duration>,
    /// When the guest was called.
    pub started_at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What the agent wrote to its log, standard output and standard error.
    pub log: Vec<LogLine>,
    /// How many bytes of log were dropped, because the turn wrote more than is kept.
    pub log_dropped: u64,
    /// The numbers that the agent has sampled, in order.
    pub samples: Vec<Sample>,
}

/// What it took to start an instance: a line of the bill of its own, because how often a session sleeps is
/// no matter of its turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartupCost {
    /// The fuel that it used.
    pub fuel: u64,
    /// What it cost.
    pub cost: NanoUsd,
}

/// The outcome of a turn.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnOutcome {
    /// It was answered, and the state after it is the session's.
    Answered {
        /// The answer.
        content: Vec<Part>,
        /// The guest state after it. `None`: it could not be saved.
        snapshot: Option<SnapshotId>,
        /// Whether nothing is lost with the instance: the snapshot holds the state, or there is none.
        durable: bool,
    },
    /// It left no trace but its bill.
    Failed(Failure),
}

/// Why a turn failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What kind of failure.
    pub code: FailureCode,
    /// What happened, for the author of the agent.
    pub message: String,
}

/// The kinds of failure of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureCode {
    /// The agent said that it failed.
    AgentFailed,
    /// The agent said that the message cannot be handled as it is: the sender has to change it.
    AgentInvalid,
    /// The agent said that it does not do what it was asked for.
    AgentDeclined,
    /// The agent trapped, panicked or exited.
    AgentTrapped,
    /// It took longer than the session allows.
    TurnTimeout,
    /// It used all the fuel that it was allowed.
    FuelExhausted,
    /// It used all the money that the session had left.
    BudgetExceeded,
    /// It asked for more memory than it is allowed.
    MemoryExceeded,
    /// Somebody ended it.
    TurnKilled,
    /// A message that came later ended it.
    TurnInterrupted,
    /// The host had no memory for what the agent needed, in all the time that a turn may wait for it.
    OutOfMemory,
    /// The host could not run it: the agent could not be started, or its saved state not restored.
    HostFault,
    /// The host has ended in the middle of it, again and again.
    HostCrashed,
    /// The host has ended in the middle of it, and when it was run again it asked for something else than before.
    ReplayDiverged,
    /// The host has ended in the middle of it, and it cannot be run again: its agent, its state or its journal is
    /// not there as it was.
    ReplayUnavailable,
}

impl FailureCode {
    /// All of them.
    pub const ALL: [FailureCode; 15] = [
        FailureCode::AgentFailed,
        FailureCode::AgentInvalid,
        FailureCode::AgentDeclined,
        FailureCode::AgentTrapped,
        FailureCode::TurnTimeout,
        FailureCode::FuelExhausted,
        FailureCode::BudgetExceeded,
        FailureCode::MemoryExceeded,
        FailureCode::TurnKilled,
        FailureCode::TurnInterrupted,
        FailureCode::OutOfMemory,
        FailureCode::HostFault,
        FailureCode::HostCrashed,
        FailureCode::ReplayDiverged,
        FailureCode::ReplayUnavailable,
    ];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FailureCode::AgentFailed => "agent_failed",
            FailureCode::AgentInvalid => "agent_invalid",
            FailureCode::AgentDeclined => "agent_declined",
            FailureCode::AgentTrapped => "agent_trapped",
            FailureCode::TurnTimeout => "turn_timeout",
            FailureCode::FuelExhausted => "fuel_exhausted",
            FailureCode::BudgetExceeded => "budget_exceeded",
            FailureCode::MemoryExceeded => "memory_exceeded",
            FailureCode::TurnKilled => "turn_killed",
            FailureCode::TurnInterrupted => "turn_interrupted",
            FailureCode::OutOfMemory => code::OUT_OF_MEMORY,
            FailureCode::HostFault => "host_fault",
            FailureCode::HostCrashed => "host_crashed",
            FailureCode::ReplayDiverged => "replay_diverged",
            FailureCode::ReplayUnavailable => "replay_unavailable",
        }
    }

    /// Whether the turn counts: as one of `max_turns`, and as one of the failures in a row that put a
    /// session into `error`. A turn does not count that failed because the message could not be
    /// handled, because the host had no memory, or because its sender has sent another one: nothing is wrong
    /// with the agent then.
    #[must_use]
    pub fn counts(self) -> bool {
        match self {
            FailureCode::AgentInvalid
            | FailureCode::AgentDeclined
            | FailureCode::TurnInterrupted
            | FailureCode::OutOfMemory => false,
            FailureCode::AgentFailed
            | FailureCode::AgentTrapped
            | FailureCode::TurnTimeout
            | FailureCode::FuelExhausted
            | FailureCode::BudgetExceeded
            | FailureCode::MemoryExceeded
            | FailureCode::TurnKilled
            | FailureCode::HostFault
            | FailureCode::HostCrashed
            | FailureCode::ReplayDiverged
            | FailureCode::ReplayUnavailable => true,
        }
    }
}

/// How much a line of log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// For the author of the agent.
    Debug,
    /// What happened.
    Info,
    /// Something to look at.
    Warn,
    /// Something is broken.
    Error,
}

/// Where a line of log came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSource {
    /// `dormouse:agent/log`
    Log(LogLevel),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line that an agent wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub source: LogSource,
    /// The text, without the line break.
    pub message: String,
    /// Names and values that belong to it.
    pub fields: Vec<(String, String)>,
}
