//! Calls of language models: what is asked, what is answered, and what can go wrong. No provider is known here.

use std::time::Duration;

use crate::journal::EffectFailure;

/// The most messages of one request.
pub const MAX_MESSAGES: usize = 10_000;
/// The most tools of one request.
pub const MAX_TOOLS: usize = 1_000;
/// The most that a request may hold together, in bytes.
pub const MAX_REQUEST_BYTES: usize = 16 << 20;
/// The most bytes of one text of a request, or of one document in it: it is read at once. No part of an answer has
/// more, because it goes back with the next request.
pub const MAX_TEXT_BYTES: usize = 1 << 20;
/// The most that an answer may hold together, in bytes.
pub const MAX_ANSWER_BYTES: usize = 8 << 20;

/// A request for one completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelRequest {
    /// The name of the model, as its provider or the configuration has it.
    pub model: String,
    /// The instructions that come before the conversation.
    pub system: Option<String>,
    /// The conversation, the oldest message first. The last is of the user.
    pub messages: Vec<ModelMessage>,
    /// The tools that the model may ask for, in the order in which the provider sees them.
    pub tools: Vec<ModelTool>,
    /// Whether the model has to ask for a tool.
    pub tool_choice: ToolChoice,
    /// The most tokens of the answer. `None`: what the budget affords, or the provider's limit.
    pub max_tokens: Option<u32>,
    /// How much chance there is in the answer. `None`: as the provider has it.
    pub temperature: Option<f64>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    /// What makes two answers alike, where a provider heeds it.
    pub seed: Option<u64>,
    /// The form of the answer.
    pub format: AnswerFormat,
}

/// One message of a conversation with a model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelMessage {
    /// Who says it.
    pub role: ModelRole,
    /// What is said.
    pub content: Vec<ModelContent>,
}

/// Who says a message of a conversation with a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelRole {
    /// The agent, and the tools that it ran.
    User,
    /// The model.
    Assistant,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelContent {
    /// Text.
    Text(String),
    /// An image.
    Image {
        /// Its media type, such as `image/png`.
        media_type: String,
        /// Its bytes.
        data: Vec<u8>,
    },
    /// The model asks for a tool. Of an assistant alone.
    ToolCall(ToolCall),
    /// What the tool returned that the model has asked for. Of a user alone.
    ToolResult(ToolResult),
    /// What the model thought. It goes back as it came.
    Thinking(Thinking),
}

/// A model asks for a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// The name of the call, among those of the conversation.
    pub id: String,
    /// The name of the tool.
    pub name: String,
    /// The arguments: one JSON object, as text.
    pub arguments: String,
}

/// What a tool returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// The call that it belongs to.
    pub call: String,
    /// What it returned.
    pub content: String,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// What a model thought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thinking {
    /// What of it can be read. It may be empty.
    pub text: String,
    /// The block as the provider sent it, one JSON object: its provider refuses it where a byte is changed.
    pub block: String,
}

/// A tool that a model may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelTool {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The JSON schema of its arguments, as text.
    pub schema: String,
}

/// Whether a model has to ask for a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// It may.
    #[default]
    Auto,
    /// It must not.
    None,
    /// It must ask for one.
    Any,
    /// It must ask for this one.
    Named(String),
}

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AnswerFormat {
    /// As the model likes.
    #[default]
    Text,
    /// A JSON document of this schema, which is a JSON document itself.
    Schema(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelAnswer {
    /// What the model says: of an assistant.
    pub content: Vec<ModelContent>,
    /// Why it ends here.
    pub stop: StopReason,
    /// What it took. `None`: the provider does not say.
    pub usage: Option<TokenUsage>,
    /// The model that answered, as its provider names it.
    pub model: String,
}

impl ModelAnswer {
    /// The text of the answer, one part after the other.
    #[must_use]
    pub fn text(&self) -> String {
        let texts = self.content.iter().filter_map(|part| match part {
            ModelContent::Text(text) => Some(text.as_str()),
            ModelContent::Image { .. }
            | ModelContent::ToolCall(_)
            | ModelContent::ToolResult(_)
            | ModelContent::Thinking(_) => None,
        });
        texts.collect()
    }
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The model has said what it had to say.
    End,
    /// The model waits for the results of tools.
    ToolUse,
    /// The answer has as many tokens as it may have.
    MaxTokens,
    /// The answer has come to one of the texts at which it ends.
    StopSequence,
    /// The provider has paused a long turn: the conversation goes on once it is sent back with this answer.
    Pause,
    /// The model declined to answer.
    Refusal,
}

/// The tokens of a call. No token is in two of the counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenUsage {
    /// Of the request, without those that the provider read from or wrote to its cache.
    pub input: u64,
    /// Of the answer, with those of thinking.
    pub output: u64,
    /// Of the request, read from the provider's cache.
    pub cache_read: u64,
    /// Of the request, written to the provider's cache to stay there for minutes.
    pub cache_write: u64,
    /// Of the request, written to the provider's cache to stay there for an hour.
    pub cache_write_long: u64,
}

impl TokenUsage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: TokenUsage) -> TokenUsage {
        TokenUsage {
            input: self.input.saturating_add(other.input),
            output: self.output.saturating_add(other.output),
            cache_read: self.cache_read.saturating_add(other.cache_read),
            cache_write: self.cache_write.saturating_add(other.cache_write),
            cache_write_long: self.cache_write_long.saturating_add(other.cache_write_long),
        }
    }

    /// The tokens of the request that the model has read anew, and not from the provider's cache.
    #[must_use]
    pub fn uncached_input(&self) -> u64 {
        let written = self.cache_write.saturating_add(self.cache_write_long);
        self.input.saturating_add(written)
    }

    /// All tokens of the request.
    #[must_use]
    pub fn all_input(&self) -> u64 {
        let cached = self.cache_read.saturating_add(self.cache_write);
        self.input.saturating_add(cached).saturating_add(self.cache_write_long)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// The provider takes no more requests for now.
    #[error("the provider of the model takes no more requests for now")]
    RateLimited {
        /// When to ask again, where the provider says so.
        retry_after: Option<Duration>,
    },
    /// The provider has too much to do.
    #[error("the provider of the model is overloaded")]
    Overloaded {
        /// When to ask again, where the provider says so.
        retry_after: Option<Duration>,
    },
    /// The request is wrong. The text says what to change.
    #[error("{0}")]
    Invalid(String),
    /// The provider does not take the request, by its rules of use. The text is the provider's.
    #[error("the provider does not take the request: {0}")]
    Refused(String),
    /// The conversation is longer than the model takes.
    #[error("the conversation is longer than the model takes: {0}")]
    ContextTooLong(String),
    /// The call could cost more than what is left of the budget.
    #[error("the call could cost more than what is left of the budget: {0}")]
    BudgetExceeded(String),
    /// The session may not use this model. The text says why.
    #[error("{0}")]
    NotAllowed(String),
    /// The provider cannot be reached or does not work. The text says what happened.
    #[error("the provider of the model does not work: {0}")]
    Unavailable(String),
    /// The answer broke off after a part of it had been streamed.
    #[error("the answer of the model broke off")]
    Interrupted {
        /// The text that was streamed.
        partial: String,
    },
    /// Nobody knows what became of the call: the host ended in the middle of it, again and again.
    #[error("nobody knows what became of the call")]
    UnknownOutcome,
}

impl ModelError {
    /// What it is called in the ledger.
    #[must_use]
    pub fn failure(&self) -> EffectFailure {
        match self {
            ModelError::RateLimited { .. } => EffectFailure::RateLimited,
            ModelError::Overloaded { .. } => EffectFailure::Overloaded,
            ModelError::Invalid(_) => EffectFailure::Invalid,
            ModelError::Refused(_) => EffectFailure::Refused,
            ModelError::ContextTooLong(_) => EffectFailure::ContextTooLong,
            ModelError::BudgetExceeded(_) => EffectFailure::BudgetExceeded,
            ModelError::NotAllowed(_) => EffectFailure::NotAllowed,
            ModelError::Unavailable(_) => EffectFailure::Unavailable,
            ModelError::Interrupted { .. } => EffectFailure::Interrupted,
            ModelError::UnknownOutcome => EffectFailure::UnknownOutcome,
        }
    }
}
