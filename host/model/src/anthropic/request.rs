//! A request as Anthropic's Messages have it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use dormouse_domain::model::{
    AnswerFormat, ModelContent, ModelError, ModelMessage, ModelRequest, ModelRole, ModelTool,
    Thinking, ToolCall, ToolChoice, ToolResult,
};

/// The tool by which a model gives an answer of a schema: the interface has no other way that all models know.
pub(super) const ANSWER: &str = "answer";
/// The most tokens of an answer, where nobody says: the interface demands a number.
const MAX_TOKENS: u32 = 8_192;

/// The document of a request.
pub(super) fn body(request: &ModelRequest) -> Result<Value, ModelError> {
    let mut body = json!({
        "model": request.model,
        "max_tokens": request.max_tokens.unwrap_or(MAX_TOKENS),
        "messages": messages(&request.messages)?,
        "stream": true,
    });
    if let Some(system) = &request.system {
        body["system"] = json!([{ "type": "text", "text": system, "cache_control": ephemeral() }]);
    }
    let mut tools: Vec<Value> = request.tools.iter().map(tool).collect::<Result<_, _>>()?;
    if let AnswerFormat::Schema(schema) = &request.format {
        let schema = document("the schema of the answer", schema)?;
        let description = "Give the answer. Call this once, and last.";
        tools.push(json!({ "name": ANSWER, "description": description, "input_schema": schema }));
    }
    if !tools.is_empty() {
        body["tools"] = Value::Array(tools);
        body["tool_choice"] = tool_choice(request);
    }
    if let Some(temperature) = request.temperature {
        body["temperature"] = json!(temperature);
    }
    if !request.stop.is_empty() {
        body["stop_sequences"] = json!(request.stop);
    }
    Ok(body)
}

/// A conversation that goes on finds what was sent before in the cache.
fn ephemeral() -> Value {
    json!({ "type": "ephemeral" })
}

fn messages(messages: &[ModelMessage]) -> Result<Value, ModelError> {
    let mut told = Vec::with_capacity(messages.len());
    for message in messages {
        let content = message.content.iter().map(content).collect::<Result<Vec<_>, _>>()?;
        let role = match message.role {
            ModelRole::User => "user",
            ModelRole::Assistant => "assistant",
        };
        told.push(json!({ "role": role, "content": content }));
    }
    if told.len() > 1
        && let Some(block) =
            told.last_mut().and_then(|last| last["content"].as_array_mut()?.last_mut())
    {
        block["cache_control"] = ephemeral();
    }
    Ok(Value::Array(told))
}

fn content(content: &ModelContent) -> Result<Value, ModelError> {
    Ok(match content {
        ModelContent::Text(text) => json!({ "type": "text", "text": text }),
        ModelContent::Image { media_type, data } => json!({
            "type": "image",
            "source": { "type": "base64", "media_type": media_type, "data": STANDARD.encode(data) },
        }),
        ModelContent::ToolCall(ToolCall { id, name, arguments }) => {
            let input = document("the arguments of a tool call", arguments)?;
            json!({ "type": "tool_use", "id": id, "name": name, "input": input })
        }
        ModelContent::ToolResult(ToolResult { call, content, is_error }) => json!({
            "type": "tool_result", "tool_use_id": call, "content": content, "is_error": is_error,
        }),
        ModelContent::Thinking(Thinking { block, .. }) => document("a block of thinking", block)?,
    })
}

fn tool(tool: &ModelTool) -> Result<Value, ModelError> {
    let ModelTool { name, description, schema } = tool;
    let schema = document("the schema of a tool", schema)?;
    Ok(json!({ "name": name, "description": description, "input_schema": schema }))
}

fn tool_choice(request: &ModelRequest) -> Value {
    if matches!(request.format, AnswerFormat::Schema(_)) {
        return match request.tools.is_empty() {
            true => json!({ "type": "tool", "name": ANSWER }),
            false => json!({ "type": "any" }),
        };
    }
    match &request.tool_choice {
        ToolChoice::Auto => json!({ "type": "auto" }),
        ToolChoice::None => json!({ "type": "none" }),
        ToolChoice::Any => json!({ "type": "any" }),
        ToolChoice::Named(name) => json!({ "type": "tool", "name": name }),
    }
}

/// A document of the agent's.
fn document(what: &str, text: &str) -> Result<Value, ModelError> {
    serde_json::from_str(text)
        .map_err(|error| ModelError::Invalid(format!("{what} is no JSON document: {error}")))
}
