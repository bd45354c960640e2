//! Models as a component sees them: the import `model`, which is in a component only if it asks one.

use std::time::Duration;

use super::{Backend, imports::model as wire};
use crate::model::{
    Answer, Content, Error, Format, Image, Message, Request, Role, StopReason, Thinking,
    TokenUsage, Tool, ToolCall, ToolChoice, ToolResult,
};

impl Backend {
    pub(crate) fn ask_model(&self, request: &Request) -> Result<Answer, Error> {
        wire::chat(&wire::Request::from(request)).map(Answer::from).map_err(Error::from)
    }
}

impl From<&Request> for wire::Request {
    fn from(request: &Request) -> Self {
        wire::Request {
            model: request.model.clone(),
            system: request.system.clone(),
            messages: request.messages.iter().map(wire::Message::from).collect(),
            tools: request.tools.iter().map(wire::Tool::from).collect(),
            tool_choice: match &request.tool_choice {
                ToolChoice::Auto => wire::ToolChoice::Auto,
                ToolChoice::None => wire::ToolChoice::None,
                ToolChoice::Any => wire::ToolChoice::Any,
                ToolChoice::Named(name) => wire::ToolChoice::Named(name.clone()),
            },
            max_tokens: request.max_tokens,
            temperature: request.temperature,
            stop: request.stop.clone(),
            seed: request.seed,
            format: match &request.format {
                Format::Text => wire::Format::Text,
                Format::Schema(schema) => wire::Format::Schema(schema.to_string()),
            },
            forward: match request.forward {
                true => wire::Forward::Text,
                false => wire::Forward::None,
            },
        }
    }
}

impl From<&Tool> for wire::Tool {
    fn from(tool: &Tool) -> Self {
        wire::Tool {
            name: tool.name.clone(),
            description: tool.description.clone(),
            schema: tool.schema.to_string(),
        }
    }
}

impl From<&Message> for wire::Message {
    fn from(message: &Message) -> Self {
        wire::Message {
            role: match message.role {
                Role::User => wire::Role::User,
                Role::Assistant => wire::Role::Assistant,
            },
            content: message.content.iter().cloned().map(wire::Content::from).collect(),
        }
    }
}

impl From<Content> for wire::Content {
    fn from(content: Content) -> Self {
        match content {
            Content::Text(text) => wire::Content::Text(text),
            Content::Image(Image { media_type, data }) => {
                wire::Content::Image(wire::Image { media_type, data })
            }
            Content::ToolCall(ToolCall { id, name, arguments }) => {
                wire::Content::ToolCall(wire::ToolCall { id, name, arguments })
            }
            Content::ToolResult(ToolResult { call, content, is_error }) => {
                wire::Content::ToolResult(wire::ToolResult { call, content, is_error })
            }
            Content::Thinking(Thinking { text, block }) => {
                wire::Content::Thinking(wire::Thinking { text, block })
            }
        }
    }
}

impl From<wire::Content> for Content {
    fn from(content: wire::Content) -> Self {
        match content {
            wire::Content::Text(text) => Content::Text(text),
            wire::Content::Image(wire::Image { media_type, data }) => {
                Content::Image(Image { media_type, data })
            }
            wire::Content::ToolCall(wire::ToolCall { id, name, arguments }) => {
                Content::ToolCall(ToolCall { id, name, arguments })
            }
            wire::Content::ToolResult(wire::ToolResult { call, content, is_error }) => {
                Content::ToolResult(ToolResult { call, content, is_error })
            }
            wire::Content::Thinking(wire::Thinking { text, block }) => {
                Content::Thinking(Thinking { text, block })
            }
        }
    }
}

impl From<wire::Answer> for Answer {
    fn from(answer: wire::Answer) -> Self {
        Answer {
            content: answer.content.into_iter().map(Content::from).collect(),
            stop: match answer.stop {
                wire::StopReason::End => StopReason::End,
                wire::StopReason::ToolUse => StopReason::ToolUse,
                wire::StopReason::MaxTokens => StopReason::MaxTokens,
                wire::StopReason::StopSequence => StopReason::StopSequence,
                wire::StopReason::Pause => StopReason::Pause,
                wire::StopReason::Refusal => StopReason::Refusal,
            },
            usage: answer.usage.map(|usage| TokenUsage {
                input: usage.input,
                output: usage.output,
                cache_read: usage.cache_read,
                cache_write: usage.cache_write,
                cache_write_long: usage.cache_write_long,
            }),
            model: answer.model,
        }
    }
}

impl From<wire::Error> for Error {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::RateLimited(after) => Error::RateLimited(after.map(Duration::from_millis)),
            wire::Error::Overloaded(after) => Error::Overloaded(after.map(Duration::from_millis)),
            wire::Error::Invalid(why) => Error::Invalid(why),
            wire::Error::Refused(why) => Error::Refused(why),
            wire::Error::ContextTooLong(why) => Error::ContextTooLong(why),
            wire::Error::BudgetExceeded(why) => Error::BudgetExceeded(why),
            wire::Error::NotAllowed(why) => Error::NotAllowed(why),
            wire::Error::Unavailable(why) => Error::Unavailable(why),
            wire::Error::Interrupted(partial) => Error::Interrupted(partial),
            wire::Error::UnknownOutcome => Error::UnknownOutcome,
        }
    }
}
