//! Asking language models.
//!
//! The host knows the providers and their keys, and pays them from the budget of the session. A turn that
//! is run again after a crash of the host gets the answers that were paid for.
//!
//! ```
//! # use dormouse_sdk::{model::Answer, prelude::*, testing::MockHost};
//! #[derive(Default)]
//! struct Translator;
//!
//! impl Agent for Translator {
//!     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
//!         let answer = host
//!             .model()
//!             .chat("claude-haiku-4-5")
//!             .system("Translate into French.")
//!             .user(turn.text())
//!             .max_tokens(1_000)
//!             .forward()
//!             .send()?;
//!         Ok(Reply::text(answer.text()))
//!     }
//! }
//!
//! let mut mock = MockHost::new().with_answer(Answer::of_text("Bonjour"));
//! assert_eq!(mock.turn(&mut Translator, "Hello").unwrap(), Reply::text("Bonjour"));
//! assert_eq!(mock.streamed_text(), "Bonjour");
//! assert_eq!(mock.model_requests()[0].max_tokens, Some(1_000));
//! ```
//!
//! An agent that keeps a [`Conversation`] in its state goes on with it in the next turn. [`Chat::run`] lets
//! the model use [`Tools`] until it is done.

mod answer;
mod conversation;
mod error;
mod request;
mod tools;

pub use answer::{Answer, StopReason, TokenUsage};
pub use conversation::{
    Content, Conversation, Image, Message, Role, Thinking, ToolCall, ToolResult,
};
pub use error::Error;
pub use request::{Chat, Format, Request, Tool, ToolChoice};
pub use tools::{DEFAULT_ROUNDS, RunError, Tools};

use crate::Host;

/// The language models of the host. From [`Host::model`].
#[derive(Clone, Copy, Debug)]
pub struct Models<'a> {
    host: &'a Host,
}

impl<'a> Models<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Models { host }
    }

    /// Begins a request to the model of this name, as the host has it configured. An empty name is the host's
    /// default.
    pub fn chat(&self, model: impl Into<String>) -> Chat<'a> {
        Chat::new(*self, model.into())
    }

    /// Asks for one completion and waits for it.
    ///
    /// # Errors
    ///
    /// As [`Error`] has them.
    pub fn send(&self, request: &Request) -> Result<Answer, Error> {
        self.host.backend().ask_model(request)
    }
}
