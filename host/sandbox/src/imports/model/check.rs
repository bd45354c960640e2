//! What a request has to be besides what its types say. Pure.

use std::collections::HashSet;

use crate::handle::is_media_type;
use dormouse_domain::json;
use dormouse_domain::model::{
    AnswerFormat, ModelContent, ModelMessage, ModelRequest, ModelRole, ModelTool, ToolChoice,
};

/// The longest name of a model.
const MAX_MODEL: usize = 255;
/// The longest name of a tool that all providers take.
const MAX_TOOL_NAME: usize = 64;
/// The highest temperature that any provider takes.
const MAX_TEMPERATURE: f64 = 2.0;

/// Check a request. An error says what to change.
pub(super) fn check(request: &ModelRequest) -> Result<(), String> {
    if request.model.len() > MAX_MODEL {
        return Err(format!("the name of a model has at most {MAX_MODEL} bytes"));
    }
    if request.messages.is_empty() {
        return Err("the request has no message: give at least one".to_owned());
    }
    for (place, message) in (1..).zip(&request.messages) {
        check_message(message).map_err(|why| format!("message {place}: {why}"))?;
    }
    check_tools(request)?;
    if request.max_tokens == Some(0) {
        return Err("max-tokens is 0: leave it out, or allow at least one token".to_owned());
    }
    if request.temperature.is_some_and(|value| !(0.0..=MAX_TEMPERATURE).contains(&value)) {
        return Err(format!("the temperature is not between 0 and {MAX_TEMPERATURE}"));
    }
    if request.stop.iter().any(String::is_empty) {
        return Err("a stop text is empty: leave it out".to_owned());
    }
    match &request.format {
        AnswerFormat::Text => Ok(()),
        AnswerFormat::Schema(schema) => object(schema, "the schema of the answer"),
    }
}

fn check_message(message: &ModelMessage) -> Result<(), String> {
    if message.content.is_empty() {
        return Err("it has no content: leave the message out".to_owned());
    }
    for (place, content) in (1..).zip(&message.content) {
        check_content(message.role, content).map_err(|why| format!("part {place}: {why}"))?;
    }
    Ok(())
}

fn check_content(role: ModelRole, content: &ModelContent) -> Result<(), String> {
    let only = |whose: ModelRole, what: &str| {
        let name = match whose {
            ModelRole::User => "user",
            ModelRole::Assistant => "assistant",
        };
        let is_theirs = role == whose;
        if is_theirs { Ok(()) } else { Err(format!("{what} stands in a message of the {name}")) }
    };
    match content {
        ModelContent::Text(_) => Ok(()),
        ModelContent::Image { media_type, data: _ } => {
            only(ModelRole::User, "an image")?;
            if is_media_type(media_type) {
                Ok(())
            } else {
                Err("the media type of the image is none, such as `image/png` is".to_owned())
            }
        }
        ModelContent::ToolCall(call) => {
            only(ModelRole::Assistant, "a tool call")?;
            if call.id.is_empty() || call.name.is_empty() {
                return Err("the tool call has no id or no name".to_owned());
            }
            object(&call.arguments, "the arguments of the tool call")
        }
        ModelContent::ToolResult(result) => {
            only(ModelRole::User, "a tool result")?;
            if result.call.is_empty() {
                return Err("the tool result names no call".to_owned());
            }
            Ok(())
        }
        ModelContent::Thinking(thinking) => {
            only(ModelRole::Assistant, "thinking")?;
            object(&thinking.block, "the block of thinking")
        }
    }
}

fn check_tools(request: &ModelRequest) -> Result<(), String> {
    let mut names = HashSet::new();
    for ModelTool { name, description: _, schema } in &request.tools {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if name.is_empty() || name.len() > MAX_TOOL_NAME || !name.bytes().all(plain) {
            return Err(format!(
                "the name of a tool has 1 to {MAX_TOOL_NAME} letters of ASCII, digits, `_` and `-`"
            ));
        }
        if !names.insert(name.as_str()) {
            return Err(format!("two tools have the name `{name}`"));
        }
        object(schema, &format!("the schema of the tool `{name}`"))?;
    }
    match &request.tool_choice {
        ToolChoice::Auto | ToolChoice::None => Ok(()),
        ToolChoice::Any if names.is_empty() => {
            Err("the model has to ask for a tool, and the request offers none".to_owned())
        }
        ToolChoice::Any => Ok(()),
        ToolChoice::Named(name) if names.contains(name.as_str()) => Ok(()),
        ToolChoice::Named(_) => {
            Err("the model has to ask for a tool that the request does not offer".to_owned())
        }
    }
}

fn document(text: &str, what: &str) -> Result<(), String> {
    json::check(text).map_err(|error| format!("{what} is no JSON document: {error}"))
}

fn object(text: &str, what: &str) -> Result<(), String> {
    document(text, what)?;
    // It is well formed: its first character tells what it is.
    if text.trim_start().starts_with('{') { Ok(()) } else { Err(format!("{what} is no object")) }
}
