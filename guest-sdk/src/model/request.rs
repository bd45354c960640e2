//! What a model is asked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    Models,
    answer::Answer,
    conversation::{Content, Conversation, Image, Message, Role},
    error::Error,
};

/// A request for one completion. [`Models::chat`] makes one step by step.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The name of the model, as the host has it configured.
    pub model: String,
    /// Instructions that come before the conversation.
    pub system: Option<String>,
    /// The conversation, the oldest message first: at least one.
    pub messages: Vec<Message>,
    /// The tools that are offered.
    pub tools: Vec<Tool>,
    /// Whether the model has to ask for a tool.
    pub tool_choice: ToolChoice,
    /// The most tokens of the answer. `None`: what the budget affords, or the provider's own limit.
    pub max_tokens: Option<u32>,
    /// How much chance there is in the answer, from 0 to 2. `None`: as the provider has it.
    pub temperature: Option<f64>,
    /// Texts at which the answer ends.
    pub stop: Vec<String>,
    /// Makes answers to the same request alike, where a provider heeds it.
    pub seed: Option<u64>,
    /// The form of the answer.
    pub format: Format,
    /// Whether the text of the answer goes to the stream of the turn as it comes.
    pub forward: bool,
}

/// A tool that is offered to a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// Its name: 1 to 64 letters of ASCII, digits, `_` and `-`.
    pub name: String,
    /// What it is for, and when to use it.
    pub description: String,
    /// The JSON schema of its arguments, an object.
    pub schema: Value,
}

impl Tool {
    /// A tool with a schema of its arguments.
    pub fn new(name: impl Into<String>, description: impl Into<String>, schema: Value) -> Self {
        Tool { name: name.into(), description: description.into(), schema }
    }
}

/// Whether a model has to ask for a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As the model likes.
    #[default]
    Text,
    /// A JSON document of this schema.
    Schema(Value),
}

/// A request in the making. From [`Models::chat`].
#[derive(Clone, Debug)]
#[must_use = "a request is made by `send` or `run`"]
pub struct Chat<'a> {
    models: Models<'a>,
    pub(super) request: Request,
}

impl<'a> Chat<'a> {
    pub(super) fn new(models: Models<'a>, model: String) -> Self {
        Chat { models, request: Request { model, ..Request::default() } }
    }

    /// Sets the instructions that come before the conversation.
    pub fn system(mut self, text: impl Into<String>) -> Self {
        self.request.system = Some(text.into());
        self
    }

    /// Adds a text of the user.
    pub fn user(self, text: impl Into<String>) -> Self {
        self.message(Message::user(text))
    }

    /// Adds an image of the user.
    pub fn image(self, media_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        let image = Image { media_type: media_type.into(), data: data.into() };
        self.message(Message { role: Role::User, content: vec![Content::Image(image)] })
    }

    /// Adds a message.
    pub fn message(mut self, message: Message) -> Self {
        self.request.messages.push(message);
        self
    }

    /// Adds all messages of a conversation.
    pub fn conversation(mut self, conversation: &Conversation) -> Self {
        self.request.messages.extend_from_slice(&conversation.messages);
        self
    }

    /// Offers a tool. [`Chat::run`] runs tools besides.
    pub fn tool(mut self, tool: Tool) -> Self {
        self.request.tools.push(tool);
        self
    }

    /// Sets whether the model has to ask for a tool.
    pub fn tool_choice(mut self, choice: ToolChoice) -> Self {
        self.request.tool_choice = choice;
        self
    }

    /// Sets the most tokens of an answer.
    pub fn max_tokens(mut self, tokens: u32) -> Self {
        self.request.max_tokens = Some(tokens);
        self
    }

    /// Sets how much chance there is in an answer, from 0 to 2.
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.request.temperature = Some(temperature);
        self
    }

    /// Adds a text at which an answer ends.
    pub fn stop(mut self, text: impl Into<String>) -> Self {
        self.request.stop.push(text.into());
        self
    }

    /// Makes answers to the same request alike, where a provider heeds it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.request.seed = Some(seed);
        self
    }

    /// Asks for a JSON document of this schema: [`Answer::json`] reads it.
    pub fn schema(mut self, schema: Value) -> Self {
        self.request.format = Format::Schema(schema);
        self
    }

    /// Has the text of the answer go to the stream of the turn as it comes.
    pub fn forward(mut self) -> Self {
        self.request.forward = true;
        self
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// As [`Error`] has them.
    pub fn send(self) -> Result<Answer, Error> {
        self.ask()
    }

    /// Asks, and keeps the request to ask again.
    pub(super) fn ask(&self) -> Result<Answer, Error> {
        self.models.send(&self.request)
    }
}
