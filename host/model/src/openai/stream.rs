//! An answer, assembled from the events of a stream.

use reqwest::StatusCode;
use serde_json::Value;

use super::refused;
use crate::endpoint::{Endpoint, Refusal};
use crate::events::{End, Next};
use crate::parts::Parts;
use crate::provider::{CallFailure, Charge, Forward};
use dormouse_domain::model::{
    MAX_ANSWER_BYTES, ModelAnswer, ModelError, ModelRequest, StopReason, TokenUsage,
};

/// What a piece of an answer takes beside its text, in bytes, at most.
const PIECE: usize = 128;

/// What has come of an answer.
pub(super) struct Assembly<'a> {
    endpoint: &'a Endpoint,
    model: String,
    /// How many messages the conversation has.
    messages: usize,
    text: String,
    calls: Vec<Call>,
    bytes: usize,
    usage: Option<TokenUsage>,
    stop: Option<StopReason>,
    failed: Option<CallFailure>,
    /// The provider has begun to answer, if only to think: what comes of it may be billed.
    has_begun: bool,
}

/// A call of a tool, as far as it has come.
#[derive(Default)]
struct Call {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl<'a> Assembly<'a> {
    pub(super) fn new(endpoint: &'a Endpoint, request: &ModelRequest) -> Assembly<'a> {
        Assembly {
            endpoint,
            model: request.model.clone(),
            messages: request.messages.len(),
            text: String::new(),
            calls: Vec::new(),
            bytes: 0,
            usage: None,
            stop: None,
            failed: None,
            has_begun: false,
        }
    }

    /// Take the next event.
    pub(super) fn event(&mut self, data: &str, forward: Forward<'_>) -> Next {
        if data.trim() == "[DONE]" {
            return Next::Enough;
        }
        let Ok(event) = serde_json::from_str::<Value>(data) else {
            let told = self.endpoint.told(data);
            return self.fail(format!("an event is no JSON: {told}"));
        };
        self.take(&event, "delta", forward)
    }

    /// An answer that came as one document.
    pub(super) fn document(
        mut self,
        document: &Value,
        forward: Forward<'_>,
    ) -> Result<ModelAnswer, CallFailure> {
        self.take(document, "message", forward);
        self.end(End::Closed)
    }

    /// The answer, once the stream has come to this end.
    pub(super) fn end(mut self, end: End) -> Result<ModelAnswer, CallFailure> {
        let unavailable = |why| CallFailure::unknown(ModelError::Unavailable(why));
        let broken = match (self.failed.take(), end) {
            (Some(failure), _) => Some(failure),
            (None, End::Broken(why)) => Some(unavailable(why)),
            (None, End::Closed | End::Enough) if self.stop.is_none() => {
                Some(unavailable("the answer ends before its end".to_owned()))
            }
            (None, End::Closed | End::Enough) => None,
        };
        match broken {
            Some(failure) => Err(self.failure(failure)),
            None => Ok(self.answer()),
        }
    }

    /// Take an event, or a whole answer, whose choice has its message under this name.
    fn take(&mut self, event: &Value, message: &str, forward: Forward<'_>) -> Next {
        if let Some(error) = event.get("error").filter(|error| !error.is_null()) {
            self.failed = Some(self.refusal(error));
            return Next::Enough;
        }
        if let Some(model) = event["model"].as_str().filter(|model| !model.is_empty()) {
            model.clone_into(&mut self.model);
        }
        self.count(&event["usage"]);
        let choice = &event["choices"][0];
        self.has_begun |= choice.is_object();
        let message = &choice[message];
        for name in ["content", "refusal"] {
            if let Some(text) = message[name].as_str().filter(|text| !text.is_empty()) {
                self.bytes += text.len();
                self.text.push_str(text);
                forward(text);
            }
        }
        if message["refusal"].as_str().is_some_and(|text| !text.is_empty()) {
            self.stop = Some(StopReason::Refusal);
        }
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            self.call(call);
        }
        if let Some(word) = choice["finish_reason"].as_str()
            && self.stop != Some(StopReason::Refusal)
        {
            self.stop = Some(stop_reason(word));
        }
        if self.bytes > MAX_ANSWER_BYTES {
            return self.fail(format!("the answer is larger than {MAX_ANSWER_BYTES} bytes"));
        }
        Next::More
    }

    /// A piece of a call of a tool, or all of it. It belongs to the last call of its index, unless that has another
    /// id: some give each call the same index. Without an index it belongs to the call of its id; without an id as
    /// well, it begins a call where it has a name, and goes on with the last where it has none.
    fn call(&mut self, told: &Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (index, id) = (told["index"].as_u64(), text(&told["id"]));
        let name = text(&told["function"]["name"]);
        let arguments = match &told["function"]["arguments"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            // Ollama has sent objects.
            other => other.to_string(),
        };
        self.bytes += PIECE + id.len() + name.len() + arguments.len();
        let known = match (index, id.is_empty()) {
            (Some(_), has_none) => {
                let last = self.calls.iter().rposition(|call| call.index == index);
                let is_of = |call: &Call| has_none || call.id.is_empty() || call.id == id;
                last.filter(|place| is_of(&self.calls[*place]))
            }
            (None, false) => self.calls.iter().position(|call| call.id == id),
            (None, true) if name.is_empty() => self.calls.len().checked_sub(1),
            (None, true) => None,
        };
        let call = match known {
            Some(place) => &mut self.calls[place],
            None => {
                self.calls.push(Call { index, ..Call::default() });
                let last = self.calls.len() - 1;
                &mut self.calls[last]
            }
        };
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name.is_empty() {
            call.name = name;
        }
        call.arguments.push_str(&arguments);
    }

    fn count(&mut self, usage: &Value) {
        let Some(prompt) = usage["prompt_tokens"].as_u64() else { return };
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or(0);
        self.usage = Some(TokenUsage {
            input: prompt.saturating_sub(cached),
            output: usage["completion_tokens"].as_u64().unwrap_or(0),
            cache_read: cached.min(prompt),
            ..TokenUsage::default()
        });
    }

    /// What an error means that comes in place of an answer, or in the middle of one.
    fn refusal(&self, error: &Value) -> CallFailure {
        let text = |name: &str| match &error[name] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let message = error.as_str().map_or_else(|| text("message"), str::to_owned);
        let code = text("code");
        let status = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
        let refusal = Refusal {
            provider: self.endpoint.name().to_owned(),
            status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            kind: text("type"),
            code,
            message: self.endpoint.told(&message),
            retry_after: None,
        };
        refusal.failure(refused(&refusal))
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
        let error = match self.text.is_empty() {
            true => error,
            false => ModelError::Interrupted { partial: self.text },
        };
        CallFailure { error, charge }
    }

    fn answer(self) -> ModelAnswer {
        let mut parts = Parts::new(self.messages, self.stop.unwrap_or(StopReason::End));
        parts.text(self.text);
        for Call { id, name, arguments, .. } in self.calls {
            parts.call(id, name, arguments);
        }
        parts.answer(self.usage, self.model)
    }
}

fn stop_reason(word: &str) -> StopReason {
    match word {
        "tool_calls" | "function_call" => StopReason::ToolUse,
        "length" => StopReason::MaxTokens,
        "content_filter" => StopReason::Refusal,
        _ => StopReason::End,
    }
}
