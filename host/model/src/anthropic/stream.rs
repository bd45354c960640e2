//! An answer, assembled from the events of a stream.

use std::collections::BTreeMap;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::of_kind;
use super::request::answer_tool;
use crate::endpoint::{Endpoint, Refusal};
use crate::events::{End, Next};
use crate::parts::Parts;
use crate::provider::{CallFailure, Charge, Forward};
use dormouse_domain::model::{
    AnswerFormat, MAX_ANSWER_BYTES, ModelAnswer, ModelError, ModelRequest, StopReason, TokenUsage,
};

/// What a block of an answer takes beside its text, in bytes, at most.
const PIECE: usize = 256;

/// What has come of an answer.
pub(super) struct Assembly<'a> {
    endpoint: &'a Endpoint,
    model: String,
    /// How many messages the conversation has.
    messages: usize,
    /// The tool by which the model gives an answer of a schema.
    answer_tool: Option<String>,
    blocks: BTreeMap<u64, Block>,
    bytes: usize,
    usage: Option<TokenUsage>,
    stop: Option<StopReason>,
    /// What was forwarded.
    partial: String,
    failed: Option<CallFailure>,
    /// The provider has begun to answer: what comes of it may be billed.
    has_begun: bool,
    is_over: bool,
}

enum Block {
    Text(String),
    ToolUse {
        id: String,
        name: String,
        arguments: String,
    },
    Thinking {
        text: String,
        signature: String,
    },
    /// Thinking that nobody can read, as it came.
    Sealed(Value),
    /// A kind of block that was not asked for.
    Other,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(endpoint: &'a Endpoint, request: &ModelRequest) -> Assembly<'a> {
        let has_schema = matches!(request.format, AnswerFormat::Schema(_));
        Assembly {
            endpoint,
            model: request.model.clone(),
            messages: request.messages.len(),
            answer_tool: has_schema.then(|| answer_tool(request)),
            blocks: BTreeMap::new(),
            bytes: 0,
            usage: None,
            stop: None,
            partial: String::new(),
            failed: None,
            has_begun: false,
            is_over: false,
        }
    }

    /// Take the next event.
    pub(super) fn event(&mut self, data: &str, forward: Forward<'_>) -> Next {
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            let told = self.endpoint.told(data);
            return self.fail(format!("an event is no JSON: {told}"));
        };
        match event["type"].as_str().unwrap_or_default() {
            "message_start" => {
                self.has_begun = true;
                if let Some(model) = event["message"]["model"].as_str() {
                    model.clone_into(&mut self.model);
                }
                self.count(&event["message"]["usage"]);
            }
            "content_block_start" => self.begin(&event, forward),
            "content_block_delta" => self.grow(&event, forward),
            "message_delta" => {
                self.stop = event["delta"]["stop_reason"].as_str().map(stop_reason).or(self.stop);
                self.count(&event["usage"]);
            }
            "message_stop" => {
                self.is_over = true;
                return Next::Enough;
            }
            "error" => {
                let text = |name: &str| event["error"][name].as_str().unwrap_or_default();
                let refusal = Refusal {
                    provider: self.endpoint.name().to_owned(),
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    kind: text("type").to_owned(),
                    code: String::new(),
                    message: self.endpoint.told(text("message")),
                    retry_after: None,
                };
                let error = of_kind(&refusal.kind, &refusal);
                self.failed = Some(refusal.failure(error));
                return Next::Enough;
            }
            // `ping`, `content_block_stop`, and what comes to be.
            _ => {}
        }
        if self.bytes > MAX_ANSWER_BYTES {
            return self.fail(format!("the answer is larger than {MAX_ANSWER_BYTES} bytes"));
        }
        Next::More
    }

    /// The answer, once the stream has come to this end.
    pub(super) fn end(mut self, end: End) -> Result<ModelAnswer, CallFailure> {
        let unavailable = |why| CallFailure::unknown(ModelError::Unavailable(why));
        let broken = match (self.failed.take(), end) {
            (Some(failure), _) => Some(failure),
            (None, End::Broken(why)) => Some(unavailable(why)),
            (None, End::Closed | End::Enough) if !self.is_over && self.stop.is_none() => {
                Some(unavailable("the answer ends before its end".to_owned()))
            }
            (None, End::Closed | End::Enough) => None,
        };
        match broken {
            Some(failure) => Err(self.failure(failure)),
            None => Ok(self.answer()),
        }
    }

    /// An answer that came as one document.
    pub(super) fn document(
        mut self,
        document: &Value,
        forward: Forward<'_>,
    ) -> Result<ModelAnswer, CallFailure> {
        let start = json!({ "type": "message_start", "message": document });
        let delta =
            json!({ "type": "message_delta", "delta": document, "usage": document["usage"] });
        let blocks = document["content"].as_array().into_iter().flatten().enumerate();
        let blocks = blocks.map(|(index, block)| {
            json!({ "type": "content_block_start", "index": index, "content_block": block })
        });
        let error = (document["type"] == "error").then(|| document.clone());
        for event in error.into_iter().chain([start]).chain(blocks).chain([delta]) {
            if self.event(&event.to_string(), &mut *forward) == Next::Enough {
                break;
            }
        }
        self.end(End::Closed)
    }

    fn begin(&mut self, event: &Value, forward: Forward<'_>) {
        self.has_begun = true;
        let block = &event["content_block"];
        let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        let begun = match block["type"].as_str().unwrap_or_default() {
            "text" => {
                self.forward(&text("text"), forward);
                Block::Text(text("text"))
            }
            "tool_use" => {
                // Empty where the arguments follow as deltas.
                let input = block["input"].as_object().filter(|input| !input.is_empty());
                let arguments = input.map_or_else(String::new, |_| block["input"].to_string());
                Block::ToolUse { id: text("id"), name: text("name"), arguments }
            }
            "thinking" => Block::Thinking { text: text("thinking"), signature: text("signature") },
            "redacted_thinking" => Block::Sealed(block.clone()),
            _ => Block::Other,
        };
        self.bytes += PIECE + block.to_string().len();
        self.blocks.insert(event["index"].as_u64().unwrap_or(0), begun);
    }

    fn grow(&mut self, event: &Value, forward: Forward<'_>) {
        let delta = &event["delta"];
        let piece = |name: &str| delta[name].as_str().unwrap_or_default();
        let index = event["index"].as_u64().unwrap_or(0);
        let Some(block) = self.blocks.get_mut(&index) else { return };
        match (block, delta["type"].as_str().unwrap_or_default()) {
            (Block::Text(text), "text_delta") => {
                text.push_str(piece("text"));
                self.bytes += piece("text").len();
                self.forward(piece("text"), forward);
            }
            (Block::ToolUse { arguments, .. }, "input_json_delta") => {
                arguments.push_str(piece("partial_json"));
                self.bytes += piece("partial_json").len();
            }
            (Block::Thinking { text, .. }, "thinking_delta") => {
                text.push_str(piece("thinking"));
                self.bytes += piece("thinking").len();
            }
            (Block::Thinking { signature, .. }, "signature_delta") => {
                signature.push_str(piece("signature"));
                self.bytes += piece("signature").len();
            }
            // Citations, and what comes to be.
            _ => {}
        }
    }

    fn forward(&mut self, text: &str, forward: Forward<'_>) {
        if !text.is_empty() {
            self.partial.push_str(text);
            forward(text);
        }
    }

    /// Take what is told of tokens. The counts of later events hold for all of the call.
    fn count(&mut self, usage: &Value) {
        if !usage.is_object() {
            return;
        }
        let known = self.usage.get_or_insert_default();
        let told = |value: &Value, count: &mut u64| {
            if let Some(told) = value.as_u64() {
                *count = told;
            }
        };
        told(&usage["input_tokens"], &mut known.input);
        told(&usage["output_tokens"], &mut known.output);
        told(&usage["cache_read_input_tokens"], &mut known.cache_read);
        told(&usage["cache_creation_input_tokens"], &mut known.cache_write);
        if let Some(long) = usage["cache_creation"]["ephemeral_1h_input_tokens"].as_u64() {
            known.cache_write_long = long;
            known.cache_write = known.cache_write.saturating_sub(long);
        }
    }

    fn fail(&mut self, why: String) -> Next {
        self.failed = Some(CallFailure::unknown(ModelError::Unavailable(why)));
        Next::Enough
    }

    /// An error in place of an answer is billed as it says; one in the middle of an answer, with what has come.
    fn failure(self, CallFailure { error, charge }: CallFailure) -> CallFailure {
        let charge = match self.usage {
            Some(usage) => Charge::AtLeast(usage),
            None if self.has_begun => Charge::Unknown,
            None => charge,
        };
        let error = match self.partial.is_empty() {
            true => error,
            false => ModelError::Interrupted { partial: self.partial },
        };
        CallFailure { error, charge }
    }

    fn answer(self) -> ModelAnswer {
        let mut parts = Parts::new(self.messages, self.stop.unwrap_or(StopReason::End));
        for block in self.blocks.into_values() {
            match block {
                Block::Text(text) => parts.text(text),
                Block::ToolUse { name, arguments, .. }
                    if Some(&name) == self.answer_tool.as_ref() =>
                {
                    parts.text(arguments);
                }
                Block::ToolUse { id, name, arguments } => parts.call(id, name, arguments),
                // It was cut off, and is refused without its signature.
                Block::Thinking { signature, .. }
                    if signature.is_empty() && self.stop == Some(StopReason::MaxTokens) => {}
                Block::Thinking { text, signature } => {
                    let block =
                        json!({ "type": "thinking", "thinking": text, "signature": signature });
                    parts.thinking(text, block.to_string());
                }
                Block::Sealed(block) => parts.thinking(String::new(), block.to_string()),
                Block::Other => {}
            }
        }
        parts.answer(self.usage, self.model)
    }
}

fn stop_reason(word: &str) -> StopReason {
    match word {
        "tool_use" => StopReason::ToolUse,
        "max_tokens" | "model_context_window_exceeded" => StopReason::MaxTokens,
        "stop_sequence" => StopReason::StopSequence,
        "pause_turn" => StopReason::Pause,
        "refusal" => StopReason::Refusal,
        _ => StopReason::End,
    }
}
