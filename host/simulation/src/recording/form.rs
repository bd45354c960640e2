//! The form of recorded calls: a line of JSON for each, in the order of their places.

use std::io::{self, BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::RecordedCall;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::model::{
    ModelAnswer, ModelContent, ModelError, StopReason, Thinking, TokenUsage, ToolCall, ToolResult,
};
use dormouse_domain::simulation::{CallPlace, Member, Role, Tick};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CallForm {
    tick: Tick,
    role: Role,
    member: Member,
    call: u32,
    request: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ErrorForm>,
    nano_usd: i64,
    is_own: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnswerForm {
    content: Vec<ContentForm>,
    stop: StopForm,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageForm>,
    model: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ContentForm {
    Text(String),
    #[serde(rename_all = "camelCase")]
    Image {
        media_type: String,
        data: String,
    },
    ToolCall {
        id: String,
        name: String,
        arguments: String,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        call: String,
        content: String,
        is_error: bool,
    },
    Thinking {
        text: String,
        block: String,
    },
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum StopForm {
    End,
    ToolUse,
    MaxTokens,
    StopSequence,
    Pause,
    Refusal,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UsageForm {
    input: u64,
    output: u64,
    cache_read: u64,
    cache_write: u64,
    cache_write_long: u64,
}

/// What a request that cannot be answered is told.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ErrorForm {
    Invalid(String),
    Refused(String),
    ContextTooLong(String),
}

/// Write calls, a line each.
///
/// # Errors
/// The file cannot be written.
pub fn write_calls<'c>(
    calls: impl IntoIterator<Item = &'c RecordedCall>,
    file: &mut impl Write,
) -> io::Result<()> {
    for call in calls {
        serde_json::to_writer(&mut *file, &CallForm::from(call))?;
        file.write_all(b"\n")?;
    }
    Ok(())
}

/// Read calls that were written.
///
/// # Errors
/// A line is none. The text says which, and what is wrong.
pub fn read_calls(file: impl BufRead) -> Result<Vec<RecordedCall>, String> {
    let mut calls: Vec<RecordedCall> = Vec::new();
    for (number, line) in (1..).zip(file.lines()) {
        let wrong = |what: &dyn std::fmt::Display| format!("line {number}: {what}");
        let line = line.map_err(|error| wrong(&error))?;
        let form: CallForm = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
        let call = form.call().ok_or_else(|| wrong(&"it is no call"))?;
        if calls.last().is_some_and(|last| last.place >= call.place) {
            return Err(wrong(&"it is not behind the one before"));
        }
        calls.push(call);
    }
    Ok(calls)
}

/// An answer as it is hashed: the same bytes for the same answer.
pub(crate) fn canonical(answer: &Result<ModelAnswer, ModelError>) -> Vec<u8> {
    // What is written has a form in JSON.
    match answer {
        Ok(answer) => serde_json::to_vec(&AnswerForm::from(answer)).unwrap_or_default(),
        Err(error) => serde_json::to_vec(&ErrorForm::from(error)).unwrap_or_default(),
    }
}

impl From<&RecordedCall> for CallForm {
    fn from(call: &RecordedCall) -> CallForm {
        let CallPlace { at, role, member, number } = call.place;
        CallForm {
            tick: at,
            role,
            member,
            call: number,
            request: blake3::Hash::from_bytes(call.request).to_hex().to_string(),
            answer: call.answer.as_ref().ok().map(AnswerForm::from),
            error: call.answer.as_ref().err().map(ErrorForm::from),
            nano_usd: call.cost.0,
            is_own: call.is_own,
        }
    }
}

impl CallForm {
    fn call(self) -> Option<RecordedCall> {
        let CallForm { tick: at, role, member, call: number, request, answer, error, .. } = self;
        let answer = match (answer, error) {
            (Some(answer), None) => Ok(answer.answer()?),
            (None, Some(error)) => Err(error.error()),
            _ => return None,
        };
        Some(RecordedCall {
            place: CallPlace { at, role, member, number },
            request: *blake3::Hash::from_hex(request).ok()?.as_bytes(),
            answer,
            cost: NanoUsd(self.nano_usd),
            is_own: self.is_own,
        })
    }
}

impl From<&ModelAnswer> for AnswerForm {
    fn from(answer: &ModelAnswer) -> AnswerForm {
        AnswerForm {
            content: answer.content.iter().map(ContentForm::from).collect(),
            stop: answer.stop.into(),
            usage: answer.usage.map(UsageForm::from),
            model: answer.model.clone(),
        }
    }
}

impl AnswerForm {
    fn answer(self) -> Option<ModelAnswer> {
        let content = self.content.into_iter().map(ContentForm::content);
        Some(ModelAnswer {
            content: content.collect::<Option<_>>()?,
            stop: self.stop.into(),
            usage: self.usage.map(TokenUsage::from),
            model: self.model,
        })
    }
}

impl From<&ModelContent> for ContentForm {
    fn from(content: &ModelContent) -> ContentForm {
        match content {
            ModelContent::Text(text) => ContentForm::Text(text.clone()),
            ModelContent::Image { media_type, data } => {
                ContentForm::Image { media_type: media_type.clone(), data: BASE64.encode(data) }
            }
            ModelContent::ToolCall(ToolCall { id, name, arguments }) => ContentForm::ToolCall {
                id: id.clone(),
                name: name.clone(),
                arguments: arguments.clone(),
            },
            ModelContent::ToolResult(ToolResult { call, content, is_error }) => {
                ContentForm::ToolResult {
                    call: call.clone(),
                    content: content.clone(),
                    is_error: *is_error,
                }
            }
            ModelContent::Thinking(Thinking { text, block }) => {
                ContentForm::Thinking { text: text.clone(), block: block.clone() }
            }
        }
    }
}

impl ContentForm {
    fn content(self) -> Option<ModelContent> {
        Some(match self {
            ContentForm::Text(text) => ModelContent::Text(text),
            ContentForm::Image { media_type, data } => {
                ModelContent::Image { media_type, data: BASE64.decode(data).ok()? }
            }
            ContentForm::ToolCall { id, name, arguments } => {
                ModelContent::ToolCall(ToolCall { id, name, arguments })
            }
            ContentForm::ToolResult { call, content, is_error } => {
                ModelContent::ToolResult(ToolResult { call, content, is_error })
            }
            ContentForm::Thinking { text, block } => {
                ModelContent::Thinking(Thinking { text, block })
            }
        })
    }
}

impl From<StopReason> for StopForm {
    fn from(stop: StopReason) -> StopForm {
        match stop {
            StopReason::End => StopForm::End,
            StopReason::ToolUse => StopForm::ToolUse,
            StopReason::MaxTokens => StopForm::MaxTokens,
            StopReason::StopSequence => StopForm::StopSequence,
            StopReason::Pause => StopForm::Pause,
            StopReason::Refusal => StopForm::Refusal,
        }
    }
}

impl From<StopForm> for StopReason {
    fn from(stop: StopForm) -> StopReason {
        match stop {
            StopForm::End => StopReason::End,
            StopForm::ToolUse => StopReason::ToolUse,
            StopForm::MaxTokens => StopReason::MaxTokens,
            StopForm::StopSequence => StopReason::StopSequence,
            StopForm::Pause => StopReason::Pause,
            StopForm::Refusal => StopReason::Refusal,
        }
    }
}

impl From<TokenUsage> for UsageForm {
    fn from(usage: TokenUsage) -> UsageForm {
        let TokenUsage { input, output, cache_read, cache_write, cache_write_long } = usage;
        UsageForm { input, output, cache_read, cache_write, cache_write_long }
    }
}

impl From<UsageForm> for TokenUsage {
    fn from(usage: UsageForm) -> TokenUsage {
        let UsageForm { input, output, cache_read, cache_write, cache_write_long } = usage;
        TokenUsage { input, output, cache_read, cache_write, cache_write_long }
    }
}

impl From<&ModelError> for ErrorForm {
    fn from(error: &ModelError) -> ErrorForm {
        match error {
            ModelError::Refused(why) => ErrorForm::Refused(why.clone()),
            ModelError::ContextTooLong(why) => ErrorForm::ContextTooLong(why.clone()),
            // Of the others, a world that is well records none.
            error => ErrorForm::Invalid(match error {
                ModelError::Invalid(why) => why.clone(),
                error => error.to_string(),
            }),
        }
    }
}

impl ErrorForm {
    fn error(self) -> ModelError {
        match self {
            ErrorForm::Invalid(why) => ModelError::Invalid(why),
            ErrorForm::Refused(why) => ModelError::Refused(why),
            ErrorForm::ContextTooLong(why) => ModelError::ContextTooLong(why),
        }
    }
}
