//! What a turn spent its time on.

use schemars::JsonSchema;
use serde::Serialize;

use super::session::millis;
use super::usage::{AskCallBody, CallBody, CalledBody, HttpCallBody, ModelCallBody, ToolCallBody};
use super::value::{Id, Time, Word};
use dormouse::{Bill, FailureCode, Provenance, Span, SpanKind, Trace};

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
        span: CallSpan,
        #[serde(flatten)]
        called: ModelCallBody,
    },
    /// One attempt at a call of a tool of the host.
    Tool {
        #[serde(flatten)]
        span: CallSpan,
        #[serde(flatten)]
        called: ToolCallBody,
    },
    /// One request that the agent has sent over HTTP by itself.
    Http {
        #[serde(flatten)]
        span: CallSpan,
        #[serde(flatten)]
        called: HttpCallBody,
    },
    /// One attempt at a question to the agent of another session.
    Ask {
        #[serde(flatten)]
        span: CallSpan,
        #[serde(flatten)]
        called: AskCallBody,
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

/// What is told of each attempt at a call.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
struct CallSpan {
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
            SpanKind::Effect(effect) => {
                let span = CallSpan {
                    time,
                    provenance: effect.provenance.as_str(),
                    fuel: effect.fuel,
                    cost_usd: effect.cost.as_usd(),
                    bill: effect.bill.as_str(),
                    call: CallBody::of(&effect),
                };
                match effect.target.into() {
                    CalledBody::Model(called) => SpanBody::Model { span, called },
                    CalledBody::Tool(called) => SpanBody::Tool { span, called },
                    CalledBody::Http(called) => SpanBody::Http { span, called },
                    CalledBody::Ask(called) => SpanBody::Ask { span, called },
                }
            }
            SpanKind::Commit { snapshot, durable } => {
                SpanBody::Commit { time, snapshot_id: snapshot.map(|id| id.to_string()), durable }
            }
        }
    }
}
