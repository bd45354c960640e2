//! A model that needs no key and no network: what examples, tests and the first run speak to.
//!
//! It is deterministic. It follows a [`script`], where the message of the user has one. Else, where it is
//! offered a tool that the message names, it asks for that; it tells what a tool returned; and it remembers
//! a few things that the conversation says.
//!
//! A token is four bytes, rounded up, of text and of arguments alike. What it does takes time and memory in
//! proportion to the request, off the threads that serve connections.

mod arguments;
mod conversation;
mod script;

use std::collections::HashSet;
use std::sync::Arc;

use super::parts::Parts;
use super::provider::{CallFailure, Forward, Provider, ProviderFuture};
use super::work::off_thread;
use dormouse_domain::model::{
    AnswerFormat, MAX_ANSWER_BYTES, ModelAnswer, ModelContent, ModelError, ModelMessage,
    ModelRequest, ModelRole, ModelTool, StopReason, TokenUsage, ToolCall, ToolChoice,
};
use script::Script;

/// The name of the provider, and of its model.
const OFFLINE: &str = "offline";
const BYTES_OF_TOKEN: usize = 4;
/// No tool has a longer name.
const MAX_NAME_BYTES: usize = 64;
/// Words that are forwarded before others have their turn.
const WORDS_AT_ONCE: usize = 1_000;

/// Answers by rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

/// What an answer is made of.
struct Said {
    content: Vec<ModelContent>,
    stop: StopReason,
}

impl Offline {
    fn answer(request: &ModelRequest) -> Result<ModelAnswer, CallFailure> {
        let asked = asked(&request.messages);
        let said = match Script::of(&asked.text) {
            Some(script) => script.answer(asked.answers),
            None => rule(request, &asked),
        };
        let Said { content, stop } = said.map_err(CallFailure::free)?;
        let input = request.system.iter().map(String::len).sum::<usize>()
            + request.messages.iter().flat_map(|message| &message.content).map(size).sum::<usize>();
        let usage = TokenUsage {
            input: tokens(input),
            output: tokens(content.iter().map(size).sum()),
            ..TokenUsage::default()
        };
        let mut parts = Parts::new(request.messages.len(), stop);
        for part in content {
            match part {
                ModelContent::Text(text) => parts.text(text),
                ModelContent::ToolCall(call) => parts.call(call.id, call.name, call.arguments),
                ModelContent::Thinking(thinking) => parts.thinking(thinking.text, thinking.block),
                ModelContent::Image { .. } | ModelContent::ToolResult(_) => {}
            }
        }
        Ok(parts.answer(Some(usage), OFFLINE.to_owned()))
    }

    async fn call(
        request: Arc<ModelRequest>,
        forward: Forward<'_>,
    ) -> Result<ModelAnswer, CallFailure> {
        let answer = off_thread(move || Offline::answer(&request)).await?;
        // As a model would: word by word.
        for (number, word) in answer.text().split_inclusive(' ').enumerate() {
            if number % WORDS_AT_ONCE == WORDS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            forward(word);
        }
        Ok(answer)
    }
}

impl Provider for Offline {
    fn name(&self) -> &str {
        OFFLINE
    }

    fn ask<'a>(&'a self, request: Arc<ModelRequest>, forward: Forward<'a>) -> ProviderFuture<'a> {
        Box::pin(Offline::call(request, forward))
    }
}

/// What the user has last asked for.
struct Asked {
    text: String,
    /// How many answers have come since then.
    answers: usize,
    /// What the tools have returned that the last of these has asked for.
    results: Vec<String>,
}

fn asked(messages: &[ModelMessage]) -> Asked {
    let says =
        |message: &ModelMessage| message.role == ModelRole::User && !text(message).is_empty();
    let last = messages.iter().rposition(says);
    let since = last.map_or(messages, |last| &messages[last + 1..]);
    let results = messages.last().into_iter().flat_map(|message| &message.content);
    let results = results.filter_map(|part| match part {
        ModelContent::ToolResult(result) => Some(result.content.clone()),
        _ => None,
    });
    Asked {
        text: last.map_or_else(String::new, |last| text(&messages[last])),
        answers: since.iter().filter(|message| message.role == ModelRole::Assistant).count(),
        results: results.collect(),
    }
}

fn rule(request: &ModelRequest, asked: &Asked) -> Result<Said, ModelError> {
    let says = |text| Said { content: vec![ModelContent::Text(text)], stop: StopReason::End };
    bound(asked.text.len())?;
    if let AnswerFormat::Schema(_) = request.format {
        let text = serde_json::json!({ "text": asked.text }).to_string();
        bound(text.len())?;
        return Ok(says(text));
    }
    if !asked.results.is_empty() {
        bound(asked.results.iter().map(String::len).sum())?;
        return Ok(says(format!("The tools returned: {}", asked.results.join("; "))));
    }
    if let Some(tool) = named(request, asked) {
        let call = ToolCall {
            id: format!("call_{}", request.messages.len()),
            name: tool.name.clone(),
            arguments: arguments::of(tool, &asked.text)?,
        };
        return Ok(Said { content: vec![ModelContent::ToolCall(call)], stop: StopReason::ToolUse });
    }
    let text = conversation::answer(request.system.as_deref(), &request.messages);
    bound(text.len())?;
    Ok(says(text))
}

/// Refuse a request whose answer would have so many bytes, where that is more than an answer may have.
fn bound(bytes: usize) -> Result<(), ModelError> {
    match bytes <= MAX_ANSWER_BYTES {
        true => Ok(()),
        false => Err(ModelError::Invalid(format!(
            "the offline model would answer with more than {MAX_ANSWER_BYTES} bytes"
        ))),
    }
}

/// The tool that the user names, or that has to be asked for.
fn named<'r>(request: &'r ModelRequest, asked: &Asked) -> Option<&'r ModelTool> {
    if asked.answers > 0 || request.tools.is_empty() {
        return None;
    }
    let words = asked.text.split(|c: char| !c.is_alphanumeric() && !"_-".contains(c));
    let words: HashSet<&str> = words.filter(|word| word.len() <= MAX_NAME_BYTES).collect();
    let mentioned = || request.tools.iter().find(|tool| words.contains(tool.name.as_str()));
    match &request.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Auto => mentioned(),
        ToolChoice::Any => mentioned().or(request.tools.first()),
        ToolChoice::Named(name) => request.tools.iter().find(|tool| tool.name == *name),
    }
}

/// The texts of a message.
fn text(message: &ModelMessage) -> String {
    let texts = message.content.iter().filter_map(|part| match part {
        ModelContent::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

fn size(part: &ModelContent) -> usize {
    match part {
        ModelContent::Text(text) => text.len(),
        ModelContent::Image { data, .. } => data.len(),
        ModelContent::ToolCall(call) => call.name.len() + call.arguments.len(),
        ModelContent::ToolResult(result) => result.content.len(),
        ModelContent::Thinking(thinking) => thinking.text.len(),
    }
}

fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_OF_TOKEN)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
