//! A request as OpenAI's Chat Completions have it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::OPENAI;
use dormouse_domain::model::{
    AnswerFormat, ModelContent, ModelError, ModelMessage, ModelRequest, ModelRole, ModelTool,
    ToolCall, ToolChoice, ToolResult,
};

/// In which words a provider takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// OpenAI's own, which has given up `max_tokens`.
    OpenAi,
    /// That of everybody else.
    Others,
}

impl Dialect {
    /// The dialect at this address.
    pub(super) fn of(base: &str) -> Dialect {
        match base.trim_end_matches('/') == OPENAI {
            true => Dialect::OpenAi,
            false => Dialect::Others,
        }
    }
}

/// The document of a request.
pub(super) fn body(request: &ModelRequest, dialect: Dialect) -> Result<Value, ModelError> {
    let mut body = json!({
        "model": request.model,
        "messages": messages(request)?,
        "stream": true,
        "stream_options": { "include_usage": true },
    });
    if let Some(tokens) = request.max_tokens {
        let name = match dialect {
            Dialect::OpenAi => "max_completion_tokens",
            Dialect::Others => "max_tokens",
        };
        body[name] = json!(tokens);
    }
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
        body["tools"] = Value::Array(tools);
        body["tool_choice"] = tool_choice(&request.tool_choice);
    }
    if let Some(temperature) = request.temperature {
        body["temperature"] = json!(temperature);
    }
    if !request.stop.is_empty() {
        body["stop"] = json!(request.stop);
    }
    if let Some(seed) = request.seed {
        body["seed"] = json!(seed);
    }
    if let AnswerFormat::Schema(schema) = &request.format {
        let schema = document("the schema of the answer", schema)?;
        let named = json!({ "name": "answer", "schema": schema, "strict": true });
        body["response_format"] = json!({ "type": "json_schema", "json_schema": named });
    }
    Ok(body)
}

fn messages(request: &ModelRequest) -> Result<Value, ModelError> {
    let system = request.system.iter().map(|text| json!({ "role": "system", "content": text }));
    let mut told: Vec<Value> = system.collect();
    for message in &request.messages {
        match message.role {
            ModelRole::User => told.extend(of_user(message)),
            ModelRole::Assistant => told.push(of_assistant(message)?),
        }
    }
    Ok(Value::Array(told))
}

/// The results of tools are messages of their own, and come first: they belong to the message before.
fn of_user(message: &ModelMessage) -> Vec<Value> {
    let mut told = Vec::new();
    let mut parts = Vec::new();
    for part in &message.content {
        match part {
            ModelContent::Text(text) => parts.push(json!({ "type": "text", "text": text })),
            ModelContent::Image { media_type, data } => {
                let url = format!("data:{media_type};base64,{}", STANDARD.encode(data));
                parts.push(json!({ "type": "image_url", "image_url": { "url": url } }));
            }
            ModelContent::ToolResult(ToolResult { call, content, is_error }) => {
                let content = if *is_error { format!("error: {content}") } else { content.clone() };
                told.push(json!({ "role": "tool", "tool_call_id": call, "content": content }));
            }
            ModelContent::ToolCall(_) | ModelContent::Thinking(_) => {}
        }
    }
    match &*parts {
        [] => {}
        // What every provider of this kind understands.
        [only] if only["type"] == "text" => {
            told.push(json!({ "role": "user", "content": only["text"] }));
        }
        _ => told.push(json!({ "role": "user", "content": parts })),
    }
    told
}

fn of_assistant(message: &ModelMessage) -> Result<Value, ModelError> {
    let (mut text, mut calls) = (String::new(), Vec::new());
    for part in &message.content {
        match part {
            ModelContent::Text(piece) => text.push_str(piece),
            ModelContent::ToolCall(ToolCall { id, name, arguments }) => {
                document("the arguments of a tool call", arguments)?;
                let function = json!({ "name": name, "arguments": arguments });
                calls.push(json!({ "id": id, "type": "function", "function": function }));
            }
            // These providers take no thinking back.
            ModelContent::Thinking(_)
            | ModelContent::Image { .. }
            | ModelContent::ToolResult(_) => {}
        }
    }
    let content = if text.is_empty() { Value::Null } else { Value::String(text) };
    let mut told = json!({ "role": "assistant", "content": content });
    if !calls.is_empty() {
        told["tool_calls"] = Value::Array(calls);
    }
    Ok(told)
}

fn tool(tool: &ModelTool) -> Result<Value, ModelError> {
    let ModelTool { name, description, schema } = tool;
    let parameters = document("the schema of a tool", schema)?;
    let function = json!({ "name": name, "description": description, "parameters": parameters });
    Ok(json!({ "type": "function", "function": function }))
}

fn tool_choice(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Any => json!("required"),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}

/// A document of the agent's.
fn document(what: &str, text: &str) -> Result<Value, ModelError> {
    serde_json::from_str(text)
        .map_err(|error| ModelError::Invalid(format!("{what} is no JSON document: {error}")))
}
