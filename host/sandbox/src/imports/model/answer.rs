//! Handing over an answer.

use crate::imports::contract::model::{self as wire, Error};
use dormouse_domain::model::{
    ModelAnswer, ModelContent, ModelError, StopReason, Thinking, TokenUsage, ToolCall, ToolResult,
};
use std::time::Duration;

/// How much is handed over: parts, and bytes.
pub(super) fn size(answered: &Result<ModelAnswer, ModelError>) -> (usize, usize) {
    match answered {
        Ok(answer) => {
            let bytes: usize = answer.content.iter().map(bytes).sum();
            (1 + answer.content.len(), answer.model.len() + bytes)
        }
        Err(error) => (1, error_text(error).map_or(0, str::len)),
    }
}

fn bytes(content: &ModelContent) -> usize {
    match content {
        ModelContent::Text(text) => text.len(),
        ModelContent::Image { media_type, data } => media_type.len() + data.len(),
        ModelContent::ToolCall(ToolCall { id, name, arguments }) => {
            id.len() + name.len() + arguments.len()
        }
        ModelContent::ToolResult(ToolResult { call, content, is_error: _ }) => {
            call.len() + content.len()
        }
        ModelContent::Thinking(Thinking { text, block }) => text.len() + block.len(),
    }
}

fn error_text(error: &ModelError) -> Option<&str> {
    match error {
        ModelError::Invalid(text)
        | ModelError::Refused(text)
        | ModelError::ContextTooLong(text)
        | ModelError::BudgetExceeded(text)
        | ModelError::NotAllowed(text)
        | ModelError::Unavailable(text)
        | ModelError::Interrupted { partial: text } => Some(text),
        ModelError::RateLimited { .. }
        | ModelError::Overloaded { .. }
        | ModelError::UnknownOutcome => None,
    }
}

pub(super) fn lower(answer: ModelAnswer) -> wire::Answer {
    let ModelAnswer { content, stop, usage, model } = answer;
    wire::Answer {
        content: content.into_iter().map(lower_content).collect(),
        stop: match stop {
            StopReason::End => wire::StopReason::End,
            StopReason::ToolUse => wire::StopReason::ToolUse,
            StopReason::MaxTokens => wire::StopReason::MaxTokens,
            StopReason::StopSequence => wire::StopReason::StopSequence,
            StopReason::Pause => wire::StopReason::Pause,
            StopReason::Refusal => wire::StopReason::Refusal,
        },
        usage: usage.map(|usage| {
            let TokenUsage { input, output, cache_read, cache_write, cache_write_long } = usage;
            wire::Usage { input, output, cache_read, cache_write, cache_write_long }
        }),
        model,
    }
}

fn lower_content(content: ModelContent) -> wire::Content {
    match content {
        ModelContent::Text(text) => wire::Content::Text(text),
        ModelContent::Image { media_type, data } => {
            wire::Content::Image(wire::Image { media_type, data })
        }
        ModelContent::ToolCall(ToolCall { id, name, arguments }) => {
            wire::Content::ToolCall(wire::ToolCall { id, name, arguments })
        }
        ModelContent::ToolResult(ToolResult { call, content, is_error }) => {
            wire::Content::ToolResult(wire::ToolResult { call, content, is_error })
        }
        ModelContent::Thinking(Thinking { text, block }) => {
            wire::Content::Thinking(wire::Thinking { text, block })
        }
    }
}

pub(super) fn lower_error(error: ModelError) -> Error {
    match error {
        ModelError::RateLimited { retry_after } => {
            Error::RateLimited(retry_after.map(milliseconds))
        }
        ModelError::Overloaded { retry_after } => Error::Overloaded(retry_after.map(milliseconds)),
        ModelError::Invalid(why) => Error::Invalid(why),
        ModelError::Refused(why) => Error::Refused(why),
        ModelError::ContextTooLong(why) => Error::ContextTooLong(why),
        ModelError::BudgetExceeded(why) => Error::BudgetExceeded(why),
        ModelError::NotAllowed(why) => Error::NotAllowed(why),
        ModelError::Unavailable(why) => Error::Unavailable(why),
        ModelError::Interrupted { partial } => Error::Interrupted(partial),
        ModelError::UnknownOutcome => Error::UnknownOutcome,
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
