//! A turn as the history tells of it.

use schemars::JsonSchema;
use serde::Serialize;

use super::message::{Said, UsageBody};
use super::part::PartBody;
use super::sample::SampleBody;
use super::session::millis;
use super::value::{Id, Time, Word};
use dormouse::{FailureCode, LogLevel, LogLine, LogSource, Sender, TurnOutcome, TurnRecord};

/// A turn, answered or failed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Turn")]
pub(crate) struct TurnBody {
    /// Its number in the session.
    turn: u64,
    #[schemars(with = "Id")]
    uuid: String,
    outcome: OutcomeWord,
    sender: SenderWord,
    /// The name of the timer that has sent it, or of the session for this one. `null`: the sender has none.
    sender_name: Option<String>,
    /// The session whose agent has sent it.
    #[schemars(with = "Option<Id>")]
    sender_session_id: Option<String>,
    /// What was sent.
    input: Vec<PartBody>,
    /// What was answered; `null` where it failed.
    response: Option<Said>,
    /// Why it failed.
    error: Option<FailureBody>,
    /// The state after it, where it was saved with the turn.
    #[schemars(with = "Option<Id>")]
    snapshot_id: Option<String>,
    /// The commit that has the files of this state, with `?commits=true` where the state is still kept.
    pub(crate) commit: Option<String>,
    /// Whether its state outlives the host.
    durable: bool,
    /// In US dollars, with that for its calls.
    cost: f64,
    /// Its calls to the outside world, each attempt counted: `…/trace` shows them.
    calls: usize,
    /// What it took to start the instance, besides. `null`: the instance was there.
    start_fuel: Option<u64>,
    start_cost: Option<f64>,
    usage: UsageBody,
    #[schemars(with = "Time")]
    started_at: String,
    duration_ms: u64,
    /// What the agent has logged and printed.
    log: Vec<LogBody>,
    /// Lines that there was no room for.
    log_dropped: u64,
    /// The numbers that the agent has sampled, in order.
    samples: Vec<SampleBody>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum OutcomeWord {
    Answered,
    Failed,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum SenderWord {
    User,
    Timer,
    Agent,
    Schedule,
}

/// Why a turn failed.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Failure")]
struct FailureBody {
    #[schemars(with = "Word<FailureCode>")]
    code: &'static str,
    error: String,
}

/// One line that an agent wrote.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "LogLine")]
struct LogBody {
    source: LogSourceWord,
    /// Of what was logged.
    level: Option<LogLevelWord>,
    message: String,
    fields: serde_json::Map<String, serde_json::Value>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum LogSourceWord {
    Log,
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum LogLevelWord {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl From<TurnRecord> for TurnBody {
    fn from(turn: TurnRecord) -> TurnBody {
        let (response, snapshot, durable, error) = match &turn.outcome {
            TurnOutcome::Answered { content, snapshot, durable } => {
                (Some(Said::by_agent(content)), *snapshot, *durable, None)
            }
            TurnOutcome::Failed(failure) => {
                let (code, error) = (failure.code.as_str(), failure.message.clone());
                (None, None, false, Some(FailureBody { code, error }))
            }
        };
        let (sender, sender_name, sender_session_id) = match &turn.sender {
            Sender::User => (SenderWord::User, None, None),
            Sender::Timer(name) => (SenderWord::Timer, Some(name.clone()), None),
            Sender::Schedule(name) => (SenderWord::Schedule, Some(name.clone()), None),
            Sender::Agent(peer) => {
                (SenderWord::Agent, peer.name.clone(), Some(peer.session.to_string()))
            }
        };
        TurnBody {
            turn: turn.number,
            uuid: turn.id.to_string(),
            outcome: if error.is_none() { OutcomeWord::Answered } else { OutcomeWord::Failed },
            sender,
            sender_name,
            sender_session_id,
            input: turn.input.iter().map(PartBody::from).collect(),
            response,
            error,
            snapshot_id: snapshot.map(|id| id.to_string()),
            commit: None,
            durable,
            cost: turn.cost.as_usd(),
            calls: turn.effects.len(),
            start_fuel: turn.start.map(|start| start.fuel),
            start_cost: turn.start.map(|start| start.cost.as_usd()),
            usage: UsageBody::from(&turn),
            started_at: turn.started_at.to_string(),
            duration_ms: millis(turn.duration),
            log: turn.log.into_iter().map(LogBody::from).collect(),
            log_dropped: turn.log_dropped,
            samples: turn.samples.into_iter().map(SampleBody::from).collect(),
        }
    }
}

impl From<LogLine> for LogBody {
    fn from(line: LogLine) -> LogBody {
        let (source, level) = match line.source {
            LogSource::Log(level) => (LogSourceWord::Log, Some(level.into())),
            LogSource::Stdout => (LogSourceWord::Stdout, None),
            LogSource::Stderr => (LogSourceWord::Stderr, None),
        };
        let fields = line.fields.into_iter().map(|(name, value)| (name, value.into())).collect();
        LogBody { source, level, message: line.message, fields }
    }
}

impl From<LogLevel> for LogLevelWord {
    fn from(level: LogLevel) -> LogLevelWord {
        match level {
            LogLevel::Trace => LogLevelWord::Trace,
            LogLevel::Debug => LogLevelWord::Debug,
            LogLevel::Info => LogLevelWord::Info,
            LogLevel::Warn => LogLevelWord::Warn,
            LogLevel::Error => LogLevelWord::Error,
        }
    }
}

/// Some turns of a session, in order. `next` is what to ask for as `after` or `cursor`; `null` at the end.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TurnPage {
    pub(crate) turns: Vec<TurnBody>,
    pub(crate) count: usize,
    pub(crate) next: Option<u64>,
    /// The same, by the name that it has in all lists.
    #[serde(rename = "nextCursor")]
    pub(crate) next_cursor: Option<u64>,
}
