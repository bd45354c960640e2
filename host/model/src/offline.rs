//! A model that needs no key and no network: what examples, tests and the first run speak to.
//!
//! It is deterministic. It follows a [`script`], where the message of the user has one. Else, where it is
//! offered a tool that the message names, it asks for that; it tells what a tool returned; and it remembers
//! a few things that the conversation says.
//!
//! A token is four bytes, rounded up, of text and of arguments alike.

mod conversation;
mod script;

use super::provider::{CallFailure, Forward, Provider, ProviderFuture};
use dormouse_domain::model::{
    AnswerFormat, ModelAnswer, ModelContent, ModelMessage, ModelRequest, ModelRole, ModelTool,
    StopReason, TokenUsage, ToolCall, ToolChoice,
};
use script::Script;

/// The name of the provider, and of its model.
const OFFLINE: &str = "offline";
const BYTES_OF_TOKEN: usize = 4;

/// Answers by rule.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

/// What an answer is made of.
struct Said {
    content: Vec<ModelContent>,
    stop: StopReason,
}

impl Offline {
    fn call(request: &ModelRequest, forward: Forward<'_>) -> Result<ModelAnswer, CallFailure> {
        let asked = asked(&request.messages);
        let said = match Script::of(&asked.text) {
            Some(script) => script.answer(asked.answers)?,
            None => rule(request, &asked),
        };
        for part in &said.content {
            if let ModelContent::Text(text) = part {
                // As a model would: word by word.
                text.split_inclusive(' ').for_each(&mut *forward);
            }
        }
        let input = request.system.iter().map(String::len).sum::<usize>()
            + request.messages.iter().flat_map(|message| &message.content).map(size).sum::<usize>();
        let usage = TokenUsage {
            input: tokens(input),
            output: tokens(said.content.iter().map(size).sum()),
            ..TokenUsage::default()
        };
        let Said { content, stop } = said;
        Ok(ModelAnswer { content, stop, usage: Some(usage), model: OFFLINE.to_owned() })
    }
}

impl Provider for Offline {
    fn name(&self) -> &str {
        OFFLINE
    }

    fn ask<'a>(&'a self, request: &'a ModelRequest, forward: Forward<'a>) -> ProviderFuture<'a> {
        Box::pin(async move { Offline::call(request, forward) })
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

fn rule(request: &ModelRequest, asked: &Asked) -> Said {
    if let AnswerFormat::Schema(_) = request.format {
        let text = serde_json::json!({ "text": asked.text }).to_string();
        return Said { content: vec![ModelContent::Text(text)], stop: StopReason::End };
    }
    if !asked.results.is_empty() {
        let told = format!("The tools returned: {}", asked.results.join("; "));
        return Said { content: vec![ModelContent::Text(told)], stop: StopReason::End };
    }
    match named(request, asked) {
        Some(tool) => {
            let call = ToolCall {
                id: format!("call_{}", request.messages.len()),
                name: tool.name.clone(),
                arguments: arguments(tool, &asked.text),
            };
            Said { content: vec![ModelContent::ToolCall(call)], stop: StopReason::ToolUse }
        }
        None => {
            let text = conversation::answer(request.system.as_deref(), &request.messages);
            Said { content: vec![ModelContent::Text(text)], stop: StopReason::End }
        }
    }
}

/// The tool that the user names, or that has to be asked for.
fn named<'r>(request: &'r ModelRequest, asked: &Asked) -> Option<&'r ModelTool> {
    if asked.answers > 0 {
        return None;
    }
    let is_word = |name: &str| {
        asked
            .text
            .split(|c: char| !c.is_alphanumeric() && !"_-".contains(c))
            .any(|word| word == name)
    };
    match &request.tool_choice {
        ToolChoice::None => None,
        ToolChoice::Auto => request.tools.iter().find(|tool| is_word(&tool.name)),
        ToolChoice::Any => {
            request.tools.iter().find(|tool| is_word(&tool.name)).or(request.tools.first())
        }
        ToolChoice::Named(name) => request.tools.iter().find(|tool| tool.name == *name),
    }
}

/// The JSON object in the text, or the text as each argument that has to be there and may be a text.
fn arguments(tool: &ModelTool, asked: &str) -> String {
    if let (Some(start), Some(end)) = (asked.find('{'), asked.rfind('}'))
        && let Some(object) = asked.get(start..=end)
        && serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(object).is_ok()
    {
        return object.to_owned();
    }
    let schema: serde_json::Value = serde_json::from_str(&tool.schema).unwrap_or_default();
    let required = schema["required"].as_array().into_iter().flatten();
    let arguments = required.filter_map(|name| {
        let name = name.as_str()?;
        (schema["properties"][name]["type"] == "string").then(|| (name.to_owned(), asked.into()))
    });
    serde_json::Value::Object(arguments.collect()).to_string()
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
