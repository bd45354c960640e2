//! What an answer is made of, so that it can go back: an agent sends what a model has said with its next request,
//! and a part that no provider takes would end the conversation for good.
//!
//! A text without a character is left out, and a long one is several. Arguments of a tool that are no JSON object
//! are `{}`: the tool says what is missing. Where the answer was cut off such a call is left out, and so is one
//! without the name of a tool. A call without an id gets one that no other call of the conversation has.

use dormouse_domain::json;
use dormouse_domain::model::{
    MAX_TEXT_BYTES, ModelAnswer, ModelContent, StopReason, Thinking, TokenUsage, ToolCall,
};

/// An answer that is put together.
pub(crate) struct Parts {
    content: Vec<ModelContent>,
    stop: StopReason,
    /// How many messages the conversation has.
    messages: usize,
    /// How many calls the model has made, with those that are left out.
    calls: usize,
}

impl Parts {
    /// Nothing yet, of an answer to a conversation of so many messages that ends for this reason.
    pub(crate) fn new(messages: usize, stop: StopReason) -> Parts {
        Parts { content: Vec::new(), stop, messages, calls: 0 }
    }

    pub(crate) fn text(&mut self, text: String) {
        if text.len() <= MAX_TEXT_BYTES {
            self.content.extend(Some(text).filter(|text| !text.is_empty()).map(ModelContent::Text));
            return;
        }
        let mut rest = &*text;
        while !rest.is_empty() {
            let end = rest.floor_char_boundary(MAX_TEXT_BYTES);
            self.content.push(ModelContent::Text(rest[..end].to_owned()));
            rest = &rest[end..];
        }
    }

    pub(crate) fn thinking(&mut self, text: String, block: String) {
        if text.len().max(block.len()) <= MAX_TEXT_BYTES {
            self.content.push(ModelContent::Thinking(Thinking { text, block }));
        }
    }

    /// A call of a tool. Without arguments it has none to give.
    pub(crate) fn call(&mut self, id: String, name: String, arguments: String) {
        let number = self.calls;
        self.calls += 1;
        let is_object = is_object(&arguments);
        let is_told = !name.is_empty() && name.len().max(id.len()) <= MAX_TEXT_BYTES;
        if !is_told || (self.stop == StopReason::MaxTokens && !is_object) {
            return;
        }
        let arguments = if is_object { arguments } else { "{}".to_owned() };
        let id = if id.is_empty() { format!("call_{}_{number}", self.messages) } else { id };
        self.content.push(ModelContent::ToolCall(ToolCall { id, name, arguments }));
    }

    /// The answer. The model waits for tools exactly where it has asked for some, unless it was ended otherwise.
    pub(crate) fn answer(self, usage: Option<TokenUsage>, model: String) -> ModelAnswer {
        let has_calls = self.content.iter().any(|part| matches!(part, ModelContent::ToolCall(_)));
        let stop = match (self.stop, has_calls) {
            (StopReason::End, true) => StopReason::ToolUse,
            (StopReason::ToolUse, false) => StopReason::End,
            (stop, _) => stop,
        };
        ModelAnswer { content: self.content, stop, usage, model }
    }
}

/// Whether a text is a JSON object that may stand in a request.
pub(crate) fn is_object(text: &str) -> bool {
    let is_short = text.len() <= MAX_TEXT_BYTES;
    is_short && text.trim_start().starts_with('{') && json::check(text).is_ok()
}
