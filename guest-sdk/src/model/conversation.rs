//! What is said in a conversation with a model. All of it is serde's, so that an agent can keep it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A conversation, the oldest message first. An agent keeps it in its state to go on with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages.
    pub messages: Vec<Message>,
}

impl Conversation {
    /// A conversation without a message.
    pub fn new() -> Self {
        Conversation::default()
    }

    /// Adds a text of the user.
    pub fn user(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Message::user(text))
    }

    /// Adds a message. One without content, which no provider takes, is left out.
    pub fn push(&mut self, message: Message) -> &mut Self {
        if !message.content.is_empty() {
            self.messages.push(message);
        }
        self
    }
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said: at least one part.
    pub content: Vec<Content>,
}

impl Message {
    /// A text of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Message { role: Role::User, content: vec![Content::Text(text.into())] }
    }

    /// A text of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Message { role: Role::Assistant, content: vec![Content::Text(text.into())] }
    }
}

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The agent, its users, and the tools that it ran.
    User,
    /// The model.
    Assistant,
}

/// A part of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// Text.
    Text(String),
    /// An image. In messages of the user only.
    Image(Image),
    /// The model asks for a tool. In messages of the assistant only.
    ToolCall(ToolCall),
    /// What a tool returned. In messages of the user only.
    ToolResult(ToolResult),
    /// What the model thought. In messages of the assistant only.
    Thinking(Thinking),
}

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its media type, such as `image/png`.
    pub media_type: String,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// The model asks for a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The name of this call.
    pub id: String,
    /// The name of the tool. A model may ask for one that it was not offered.
    pub name: String,
    /// The arguments: one JSON object, as text. Nobody has checked it against the schema.
    pub arguments: String,
}

impl ToolCall {
    /// Reads the arguments.
    ///
    /// # Errors
    ///
    /// When they are not of the shape of `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.arguments)
    }

    /// What the tool returned.
    pub fn result(&self, content: impl Into<String>) -> ToolResult {
        ToolResult { call: self.id.clone(), content: content.into(), is_error: false }
    }

    /// Why the tool failed.
    pub fn failure(&self, content: impl Into<String>) -> ToolResult {
        ToolResult { is_error: true, ..self.result(content) }
    }
}

/// What a tool returned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The [`ToolCall::id`] that it answers.
    pub call: String,
    /// What the tool returned, in any form that the model reads.
    pub content: String,
    /// Whether the tool failed.
    pub is_error: bool,
}

/// What a model thought. It goes back unchanged: its provider refuses a conversation with another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thinking {
    /// What of it can be read. It may be empty.
    pub text: String,
    /// The block as its provider sent it.
    pub block: String,
}
