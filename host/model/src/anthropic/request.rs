//! A request as Anthropic's Messages have it.

use std::io;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::documents::object;
use dormouse_domain::model::{
    AnswerFormat, ModelContent, ModelError, ModelMessage, ModelRequest, ModelRole, ModelTool,
    Thinking, ToolCall, ToolChoice, ToolResult,
};

/// The most tokens of an answer, where nobody says: the interface demands a number.
const MAX_TOKENS: u32 = 8_192;
/// A conversation that goes on finds what was sent before in the cache.
const EPHEMERAL: CacheControl = CacheControl { kind: "ephemeral" };

/// Write the document of a request.
pub(super) fn write(request: &ModelRequest, into: &mut dyn io::Write) -> Result<(), ModelError> {
    let body = Body::of(request)?;
    serde_json::to_writer(into, &body).map_err(|error| ModelError::Invalid(error.to_string()))
}

/// The tool by which a model gives an answer of a schema: the interface has no other way that all models know.
/// None of the agent's has its name.
pub(super) fn answer_tool(request: &ModelRequest) -> String {
    let is_free = |name: &String| request.tools.iter().all(|tool| tool.name != *name);
    let names = (1..).map(|number| format!("answer_{number}"));
    let mut names = std::iter::once("answer".to_owned()).chain(names);
    names.find(is_free).unwrap_or_default()
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    messages: Vec<Message<'a>>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<[Block<'a>; 1]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Part<'a> {
    Block(Block<'a>),
    /// Thinking, as it came.
    Thinking(&'a RawValue),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text {
        text: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse {
        id: &'a str,
        name: &'a str,
        input: &'a RawValue,
    },
    ToolResult {
        tool_use_id: &'a str,
        content: &'a str,
        is_error: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

#[derive(Clone, Copy, Serialize)]
struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "base64")]
struct Source<'a> {
    media_type: &'a str,
    #[serde(serialize_with = "base64")]
    data: &'a [u8],
}

#[derive(Serialize)]
struct Tool<'a> {
    name: String,
    description: &'a str,
    input_schema: &'a RawValue,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Choice<'a> {
    Auto,
    None,
    Any,
    Tool {
        name: &'a str,
    },
    #[serde(rename = "tool")]
    Answer {
        name: String,
    },
}

impl<'a> Body<'a> {
    fn of(request: &'a ModelRequest) -> Result<Body<'a>, ModelError> {
        let tools = tools(request)?;
        let system = |text| [Block::Text { text, cache_control: Some(EPHEMERAL) }];
        Ok(Body {
            model: &request.model,
            max_tokens: request.max_tokens.unwrap_or(MAX_TOKENS),
            messages: messages(&request.messages)?,
            stream: true,
            system: request.system.as_deref().map(system),
            tool_choice: (!tools.is_empty()).then(|| tool_choice(request)),
            tools,
            temperature: request.temperature,
            stop_sequences: &request.stop,
        })
    }
}

/// The conversation. A message of which nothing is left is left out, unless nothing would be left at all.
fn messages(messages: &[ModelMessage]) -> Result<Vec<Message<'_>>, ModelError> {
    let mut told = Vec::with_capacity(messages.len());
    for message in messages {
        let parts = message.content.iter().filter(|part| says_something(part)).map(part);
        let content = parts.collect::<Result<Vec<_>, _>>()?;
        let role = match message.role {
            ModelRole::User => "user",
            ModelRole::Assistant => "assistant",
        };
        if !content.is_empty() || messages.len() == 1 {
            told.push(Message { role, content });
        }
    }
    if told.len() > 1
        && let Some(last) = told.last_mut()
    {
        let marks = last.content.iter_mut().rev().filter_map(Part::cache_control);
        for mark in marks.take(1) {
            *mark = Some(EPHEMERAL);
        }
    }
    Ok(told)
}

/// Texts without a character that can be seen are refused, and end a conversation for good.
fn says_something(part: &ModelContent) -> bool {
    match part {
        ModelContent::Text(text) => !text.trim().is_empty(),
        ModelContent::Image { .. }
        | ModelContent::ToolCall(_)
        | ModelContent::ToolResult(_)
        | ModelContent::Thinking(_) => true,
    }
}

fn part(part: &ModelContent) -> Result<Part<'_>, ModelError> {
    let cache_control = None;
    Ok(Part::Block(match part {
        ModelContent::Text(text) => Block::Text { text, cache_control },
        ModelContent::Image { media_type, data } => {
            Block::Image { source: Source { media_type, data }, cache_control }
        }
        ModelContent::ToolCall(ToolCall { id, name, arguments }) => {
            Block::ToolUse { id, name, input: object("the arguments of a tool call", arguments)? }
        }
        ModelContent::ToolResult(ToolResult { call, content, is_error }) => {
            Block::ToolResult { tool_use_id: call, content, is_error: *is_error, cache_control }
        }
        ModelContent::Thinking(Thinking { block, .. }) => {
            return Ok(Part::Thinking(object("a block of thinking", block)?));
        }
    }))
}

impl Part<'_> {
    /// The mark of a part that may have one. Thinking must not.
    fn cache_control(&mut self) -> Option<&mut Option<CacheControl>> {
        match self {
            Part::Block(
                Block::Text { cache_control, .. }
                | Block::Image { cache_control, .. }
                | Block::ToolResult { cache_control, .. },
            ) => Some(cache_control),
            Part::Block(Block::ToolUse { .. }) | Part::Thinking(_) => None,
        }
    }
}

fn tools(request: &ModelRequest) -> Result<Vec<Tool<'_>>, ModelError> {
    let mut tools = request.tools.iter().map(tool).collect::<Result<Vec<_>, _>>()?;
    if let AnswerFormat::Schema(schema) = &request.format {
        let description = "Give the answer. Call this once, and last.";
        let input_schema = object("the schema of the answer", schema)?;
        tools.push(Tool { name: answer_tool(request), description, input_schema });
    }
    Ok(tools)
}

fn tool(ModelTool { name, description, schema }: &ModelTool) -> Result<Tool<'_>, ModelError> {
    let input_schema = object("the schema of a tool", schema)?;
    Ok(Tool { name: name.clone(), description, input_schema })
}

fn tool_choice(request: &ModelRequest) -> Choice<'_> {
    if matches!(request.format, AnswerFormat::Schema(_)) {
        return match request.tools.is_empty() {
            true => Choice::Answer { name: answer_tool(request) },
            false => Choice::Any,
        };
    }
    match &request.tool_choice {
        ToolChoice::Auto => Choice::Auto,
        ToolChoice::None => Choice::None,
        ToolChoice::Any => Choice::Any,
        ToolChoice::Named(name) => Choice::Tool { name },
    }
}

fn base64<S: Serializer>(data: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(data, &STANDARD))
}
