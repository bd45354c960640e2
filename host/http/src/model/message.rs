//! The answer to a message, whole and as events of a stream.

use std::time::Duration;

use schemars::transform::Transform;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::agent_stream::{DoneBody, SystemInit, TextDelta};
use super::error::ErrorBody;
use super::ignored::Ignored;
use super::part::{PartBody, document};
use super::session::{SessionBody, millis};
use super::value::{Id, Word};
use crate::error::ApiError;
use dormouse::{BillSums, FailureCode, Part, Reply, SessionInfo, TurnOutcome, TurnRecord, text_of};

/// Who has said something.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Speaker {
    Assistant,
}

/// What an agent has said.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Said {
    role: Speaker,
    content: String,
    /// All parts, where text alone does not tell everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartBody>,
}

impl Said {
    /// From the parts of an answer.
    pub(crate) fn by_agent(content: &[Part]) -> Said {
        let all_text = content.iter().all(|part| matches!(part, Part::Text(_)));
        let parts = if all_text { &[] } else { content };
        Said {
            role: Speaker::Assistant,
            content: text_of(content),
            parts: parts.iter().map(PartBody::from).collect(),
        }
    }
}

/// What one turn has used.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Usage")]
pub(crate) struct UsageBody {
    input_tokens: u64,
    output_tokens: u64,
    cache_read_input_tokens: u64,
    fuel: u64,
}

impl From<&TurnRecord> for UsageBody {
    fn from(turn: &TurnRecord) -> UsageBody {
        let tokens = turn.effects.iter().map(BillSums::from).sum::<BillSums>().tokens;
        UsageBody {
            input_tokens: tokens.uncached_input(),
            output_tokens: tokens.output,
            cache_read_input_tokens: tokens.cache_read,
            fuel: turn.fuel,
        }
    }
}

/// The particulars of an answer. The names are those of the agent SDK that clients know.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Result")]
struct ResultBody {
    #[schemars(with = "Id")]
    uuid: String,
    turn: u64,
    total_cost_usd: f64,
    num_turns: u64,
    usage: UsageBody,
    #[serde(rename = "snapshotId")]
    #[schemars(with = "Option<Id>")]
    snapshot_id: Option<String>,
    durable: bool,
}

/// The answer to a message, as one document.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Reply")]
pub(crate) struct ReplyBody {
    response: Said,
    result: ResultBody,
    /// In milliseconds.
    latency: u64,
    session: SessionBody,
}

impl ReplyBody {
    /// The answer that took this long.
    pub(crate) fn new(reply: Reply, latency: Duration) -> ReplyBody {
        let (turn, durable) = (&reply.turn, reply.is_durable());
        let snapshot_id = match &turn.outcome {
            TurnOutcome::Answered { snapshot, .. } => snapshot.map(|id| id.to_string()),
            TurnOutcome::Failed(_) => None,
        };
        ReplyBody {
            response: Said::by_agent(reply.content()),
            result: ResultBody {
                uuid: turn.id.to_string(),
                turn: turn.number,
                total_cost_usd: turn.cost.as_usd(),
                num_turns: 1,
                usage: UsageBody::from(turn),
                snapshot_id,
                durable,
            },
            latency: millis(latency),
            session: reply.session.into(),
        }
    }
}

/// Which generation of clients a stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `POST …/message`
    Session,
    /// `POST /api/agent/stream`
    Agent {
        /// Whether the call has created the session.
        created: bool,
    },
}

/// An event of a stream.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StreamEvent<'a> {
    /// A piece of text, while the turn runs.
    #[serde(rename = "stream_event")]
    Delta { data: Wrapped<'a> },
    /// The same, for the later clients.
    #[serde(rename = "content_block_delta")]
    AgentDelta { data: TextDelta<'a> },
    /// The host has ended in the middle of the turn, and it is run again: what was streamed of it does not count, and
    /// comes anew from here on.
    TurnRestarted {
        turn: u64,
        /// Which attempt this is.
        attempt: u32,
    },
    /// The name of the session that the call has created.
    SessionCreated {
        #[schemars(with = "Id")]
        session_id: String,
    },
    /// What the agent has to work with.
    SystemInit { data: SystemInit },
    /// A named event of the agent. Clients that know only the contract pass over it.
    AgentEvent {
        name: &'a str,
        #[schemars(with = "serde_json::Value")]
        data: Box<RawValue>,
    },
    /// The whole answer, which is valid once it is followed by `done`.
    Message { data: Said },
    /// The end, where the turn was answered.
    Done(Box<AnsweredTurn>),
    /// The same, for the later clients.
    #[serde(rename = "done")]
    AgentDone(Box<DoneBody>),
    /// The end, where somebody has ended the turn: what was streamed does not count. For the later clients.
    Aborted {
        #[schemars(with = "Id")]
        session_id: String,
        #[schemars(with = "Word<FailureCode>")]
        code: &'static str,
        discarded: bool,
    },
    /// The end, where the turn failed: what was streamed does not count.
    Error {
        #[serde(flatten)]
        error: ErrorBody,
        discarded: bool,
    },
}

/// A piece of text, wrapped as the agent SDK does that clients know.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "stream_event")]
#[schemars(rename = "StreamedText", transform = TypeTag("stream_event"))]
pub(crate) struct Wrapped<'a> {
    event: Block<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "content_block_delta")]
#[schemars(inline, transform = TypeTag("content_block_delta"))]
struct Block<'a> {
    index: u32,
    delta: Text<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename = "text_delta")]
#[schemars(inline, transform = TypeTag("text_delta"))]
pub(super) struct Text<'a> {
    text: &'a str,
}

/// The tag of a struct, which its schema does not have by itself.
struct TypeTag(&'static str);

impl Transform for TypeTag {
    fn transform(&mut self, schema: &mut Schema) {
        let tag = json!({ "type": "string", "const": self.0 });
        let fields = schema.get_mut("properties").and_then(Value::as_object_mut);
        fields.map(|fields| fields.insert("type".to_owned(), tag));
        let required = schema.get_mut("required").and_then(Value::as_array_mut);
        if let Some(required) = required {
            required.push("type".into());
        }
    }
}

/// What an answered turn has taken, and the session after it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(inline)]
pub(crate) struct AnsweredTurn {
    turn: u64,
    latency: u64,
    usage: UsageBody,
    cost: f64,
    session: SessionBody,
    #[serde(skip_serializing_if = "Ignored::is_empty")]
    ignored: Ignored,
}

impl StreamEvent<'_> {
    /// A piece of text.
    pub(crate) fn text(dialect: Dialect, text: &str) -> StreamEvent<'_> {
        let delta = Text { text };
        match dialect {
            Dialect::Session => {
                StreamEvent::Delta { data: Wrapped { event: Block { index: 0, delta } } }
            }
            Dialect::Agent { .. } => StreamEvent::AgentDelta { data: TextDelta { delta } },
        }
    }

    /// A named event of the agent, with its JSON document.
    pub(crate) fn named<'a>(name: &'a str, data: &str) -> StreamEvent<'a> {
        StreamEvent::AgentEvent { name, data: document(data) }
    }

    /// The whole answer.
    pub(crate) fn message(content: &[Part]) -> StreamEvent<'static> {
        StreamEvent::Message { data: Said::by_agent(content) }
    }

    /// The end of a turn that was answered.
    pub(crate) fn done(
        turn: &TurnRecord,
        session: SessionInfo,
        latency: Duration,
        ignored: Ignored,
    ) -> StreamEvent<'static> {
        StreamEvent::Done(Box::new(AnsweredTurn {
            turn: turn.number,
            latency: millis(latency),
            usage: UsageBody::from(turn),
            cost: turn.cost.as_usd(),
            session: SessionBody::from(session).without_documents(),
            ignored,
        }))
    }

    /// The end of a turn that failed.
    pub(crate) fn error(error: &ApiError, request_id: &str) -> StreamEvent<'static> {
        StreamEvent::Error { error: error.body(request_id), discarded: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_of_text_is_wrapped_as_the_contract_has_it() {
        assert_eq!(
            serde_json::to_string(&StreamEvent::text(Dialect::Session, "hi")).unwrap(),
            "{\"type\":\"stream_event\",\"data\":{\"type\":\"stream_event\",\"event\":{\"type\":\
             \"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}}}"
        );
    }

    #[test]
    fn the_answer_and_a_failure_name_their_type() {
        let message = StreamEvent::message(&[Part::Text("hi".to_owned())]);
        assert_eq!(
            serde_json::to_string(&message).unwrap(),
            "{\"type\":\"message\",\"data\":{\"role\":\"assistant\",\"content\":\"hi\"}}"
        );
        let failure = StreamEvent::error(&ApiError::shutting_down(), "r");
        let failure = serde_json::to_value(&failure).unwrap();
        assert_eq!(failure["type"], "error");
        assert_eq!(
            (&failure["discarded"], &failure["code"]),
            (&true.into(), &"shutting_down".into())
        );
    }
}
