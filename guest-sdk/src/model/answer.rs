//! What a model answers.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::conversation::{Content, Message, Role, ToolCall};

/// An answer of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What the model says, in order.
    pub content: Vec<Content>,
    /// Why it ends here.
    pub stop: StopReason,
    /// What it took. `None`: the provider does not say.
    pub usage: Option<TokenUsage>,
    /// The model that answered, as its provider names it.
    pub model: String,
}

impl Answer {
    /// An answer of this text alone, for tests.
    pub fn of_text(text: impl Into<String>) -> Self {
        Answer::of([Content::Text(text.into())], StopReason::End)
    }

    /// An answer that asks for a tool, for tests. The call is named as the tool is.
    pub fn of_tool_call(tool: &str, arguments: &serde_json::Value) -> Self {
        let (name, arguments) = (tool.to_owned(), arguments.to_string());
        let call = ToolCall { id: name.clone(), name, arguments };
        Answer::of([Content::ToolCall(call)], StopReason::ToolUse)
    }

    /// An answer of this content, for tests.
    pub fn of(content: impl IntoIterator<Item = Content>, stop: StopReason) -> Self {
        let content = content.into_iter().collect();
        Answer { content, stop, usage: None, model: "mock".to_owned() }
    }

    /// The text of the answer, one part after the other.
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|part| match part {
            Content::Text(text) => Some(text.as_str()),
            Content::Image(_)
            | Content::ToolCall(_)
            | Content::ToolResult(_)
            | Content::Thinking(_) => None,
        });
        texts.collect()
    }

    /// Reads the text of the answer as a JSON document: see [`Chat::schema`](super::Chat::schema).
    ///
    /// # Errors
    ///
    /// When the text is none, or not of the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.text())
    }

    /// The tools that the model asks for, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.content.iter().filter_map(|part| match part {
            Content::ToolCall(call) => Some(call),
            Content::Text(_)
            | Content::Image(_)
            | Content::ToolResult(_)
            | Content::Thinking(_) => None,
        })
    }

    /// The answer as a message, for the conversation to go on.
    pub fn message(&self) -> Message {
        Message { role: Role::Assistant, content: self.content.clone() }
    }
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model has said what it had to say.
    End,
    /// The model waits for the results of the tools that it asked for.
    ToolUse,
    /// The answer has as many tokens as it may have.
    MaxTokens,
    /// The answer came to one of the texts at which it ends.
    StopSequence,
    /// The provider paused a long answer: it goes on once the answer is sent back.
    Pause,
    /// The model declined to answer, or to answer further.
    Refusal,
}

/// The tokens that a call took. No token is in two of the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Of the request, without those that were read from or written to the provider's cache.
    pub input: u64,
    /// Of the answer, with those of thinking.
    pub output: u64,
    /// Of the request, read from the provider's cache.
    pub cache_read: u64,
    /// Of the request, written to the provider's cache for minutes.
    pub cache_write: u64,
    /// Of the request, written to the provider's cache for an hour.
    pub cache_write_long: u64,
}
