//! What a turn spent its time on.

use schemars::JsonSchema;
use serde::Serialize;

use super::session::millis;
use super::usage::{AskBody, CallBody};
use super::value::{Id, Time, Word};
use dormouse::{Bill, EffectKind, EffectRecord, FailureCode, Provenance, Span, SpanKind, Trace};

/// The trace of a turn. It is kept with the turn, and exact to the millisecond.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Trace")]
pub(crate) struct TraceBody {
    turn: u64,
    #[schemars(with = "Id")]
    uuid: String,
    /// When the agent was called.
    #[schemars(with = "Time")]
    started_at: String,
    /// How often the turn was begun: more than once where a host has ended in the middle of it.
    attempts: u32,
    /// In the order of the stages. Calls lie within `guest`.
    spans: Vec<SpanBody>,
}

/// One part of a turn.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "name", rename_all = "lowercase", rename_all_fields = "camelCase")]
#[schemars(rename = "Span")]
enum SpanBody {
    /// An instance was made for the turn.
    Wake {
        #[serde(flatten)]
        time: SpanTime,
        fuel: Option<u64>,
        cost_usd: Option<f64>,
    },
    /// The agent worked, and waited for its calls.
    Guest {
        #[serde(flatten)]
        time: SpanTime,
        fuel: u64,
        /// Why the turn failed, if it did.
        #[schemars(with = "Option<Word<FailureCode>>")]
        code: Option<&'static str>,
    },
    /// One attempt at a call of a model.
    Model {
        #[serde(flatten)]
        time: SpanTime,
        /// Whether the attempt at the turn that was kept has made the call, or has its answer from an earlier one.
        #[schemars(with = "Word<Provenance>")]
        provenance: &'static str,
        /// What the agent had used when it asked.
        fuel: u64,
        cost_usd: f64,
        #[schemars(with = "Word<Bill>")]
        bill: &'static str,
        #[serde(flatten)]
        call: CallBody,
    },
    /// One attempt at a question to the agent of another session.
    Ask {
        #[serde(flatten)]
        time: SpanTime,
        /// Whether the attempt at the turn that was kept has asked, or has the answer from an earlier one.
        #[schemars(with = "Word<Provenance>")]
        provenance: &'static str,
        /// What the agent had used when it asked.
        fuel: u64,
        #[serde(flatten)]
        ask: AskBody,
    },
    /// The turn was written, with its state.
    Commit {
        #[serde(flatten)]
        time: SpanTime,
        #[schemars(with = "Option<Id>")]
        snapshot_id: Option<String>,
        durable: bool,
    },
}

/// When something was, and how long it took.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct SpanTime {
    /// After the agent was called; less than 0 where it was before.
    start_ms: i64,
    /// `null`: nobody knows.
    duration_ms: Option<u64>,
}

impl From<Trace> for TraceBody {
    fn from(trace: Trace) -> TraceBody {
        TraceBody {
            turn: trace.turn,
            uuid: trace.id.to_string(),
            started_at: trace.started_at.to_string(),
            attempts: trace.attempts,
            spans: trace.spans.into_iter().map(SpanBody::from).collect(),
        }
    }
}

impl SpanBody {
    /// One attempt at an effect.
    fn of(effect: EffectRecord, time: SpanTime) -> SpanBody {
        let (provenance, fuel) = (effect.provenance.as_str(), effect.fuel);
        match effect.kind {
            EffectKind::Model => SpanBody::Model {
                time,
                provenance,
                fuel,
                cost_usd: effect.cost.as_usd(),
                bill: effect.bill.as_str(),
                call: effect.into(),
            },
            EffectKind::Ask => SpanBody::Ask { time, provenance, fuel, ask: effect.into() },
        }
    }
}

impl From<Span> for SpanBody {
    fn from(span: Span) -> SpanBody {
        let time = SpanTime { start_ms: span.start_ms, duration_ms: span.duration.map(millis) };
        match span.kind {
            SpanKind::Wake(start) => SpanBody::Wake {
                time,
                fuel: start.map(|start| start.fuel),
                cost_usd: start.map(|start| start.cost.as_usd()),
            },
            SpanKind::Guest { fuel, failure } => {
                SpanBody::Guest { time, fuel, code: failure.map(FailureCode::as_str) }
            }
            SpanKind::Effect(effect) => SpanBody::of(effect, time),
            SpanKind::Commit { snapshot, durable } => {
                SpanBody::Commit { time, snapshot_id: snapshot.map(|id| id.to_string()), durable }
            }
        }
    }
}
