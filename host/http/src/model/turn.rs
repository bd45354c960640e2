//! A turn as the history tells of it.

use serde::Serialize;

use super::message::{Said, UsageBody};
use super::part::PartBody;
use super::session::millis;
use dormouse::{LogLevel, LogLine, LogSource, Sender, TurnOutcome, TurnRecord};

/// A turn, answered or failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TurnBody {
    turn: u64,
    uuid: String,
    outcome: &'static str,
    sender: &'static str,
    input: Vec<PartBody>,
    response: Option<Said>,
    error: Option<FailureBody>,
    snapshot_id: Option<String>,
    durable: bool,
    cost: f64,
    /// What it took to start the instance, besides. `null`: the instance was there.
    start_fuel: Option<u64>,
    start_cost: Option<f64>,
    usage: UsageBody,
    started_at: String,
    duration_ms: u64,
    log: Vec<LogBody>,
    log_dropped: u64,
}

/// Why a turn failed.
#[derive(Debug, Serialize)]
struct FailureBody {
    code: &'static str,
    error: String,
}

/// One line that an agent wrote.
#[derive(Debug, Serialize)]
struct LogBody {
    source: &'static str,
    level: Option<&'static str>,
    message: String,
    fields: serde_json::Map<String, serde_json::Value>,
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
        TurnBody {
            turn: turn.number,
            uuid: turn.id.to_string(),
            outcome: if error.is_none() { "answered" } else { "failed" },
            sender: match turn.sender {
                Sender::User => "user",
            },
            input: turn.input.iter().map(PartBody::from).collect(),
            response,
            error,
            snapshot_id: snapshot.map(|id| id.to_string()),
            durable,
            cost: turn.cost.as_usd(),
            start_fuel: turn.start.map(|start| start.fuel),
            start_cost: turn.start.map(|start| start.cost.as_usd()),
            usage: UsageBody::from(&turn),
            started_at: turn.started_at.to_string(),
            duration_ms: millis(turn.duration),
            log: turn.log.into_iter().map(LogBody::from).collect(),
            log_dropped: turn.log_dropped,
        }
    }
}

impl From<LogLine> for LogBody {
    fn from(line: LogLine) -> LogBody {
        let (source, level) = match line.source {
            LogSource::Log(level) => ("log", Some(name(level))),
            LogSource::Stdout => ("stdout", None),
            LogSource::Stderr => ("stderr", None),
        };
        let fields = line.fields.into_iter().map(|(name, value)| (name, value.into())).collect();
        LogBody { source, level, message: line.message, fields }
    }
}

fn name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

/// Some turns of a session, in order. `next` is what to ask for as `after` or `cursor`; `null` at the end.
#[derive(Debug, Serialize)]
pub(crate) struct TurnPage {
    pub(crate) turns: Vec<TurnBody>,
    pub(crate) count: usize,
    pub(crate) next: Option<u64>,
    /// The same, by the name that it has in all lists.
    #[serde(rename = "nextCursor")]
    pub(crate) next_cursor: Option<u64>,
}
