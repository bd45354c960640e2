//! A request as OpenAI's Chat Completions have it.

use std::fmt;
use std::io;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use reqwest::Url;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::documents::{document, object};
use dormouse_domain::model::{
    AnswerFormat, ModelContent, ModelError, ModelMessage, ModelRequest, ModelRole, ModelTool,
    ToolCall, ToolChoice, ToolResult,
};

/// The host of OpenAI's own address. Those of its regions lie below it.
const OPENAI_HOST: &str = "api.openai.com";

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
        let host = Url::parse(base).ok().and_then(|url| url.host_str().map(str::to_owned));
        let region = host.as_deref().and_then(|host| host.strip_suffix(OPENAI_HOST));
        match region {
            Some(region) if region.is_empty() || region.ends_with('.') => Dialect::OpenAi,
            Some(_) | None => Dialect::Others,
        }
    }
}

/// Write the document of a request.
pub(super) fn write(
    request: &ModelRequest,
    dialect: Dialect,
    into: &mut dyn io::Write,
) -> Result<(), ModelError> {
    let body = Body::of(request, dialect)?;
    serde_json::to_writer(into, &body).map_err(|error| ModelError::Invalid(error.to_string()))
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Function<Tool<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Message<'a> {
    System {
        content: &'a str,
    },
    User {
        content: UserContent<'a>,
    },
    Assistant {
        content: Option<Joined<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<Call<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: Joined<'a>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum UserContent<'a> {
    /// What every provider of this kind understands.
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: DataUrl<'a>,
}

struct DataUrl<'a> {
    media_type: &'a str,
    data: &'a [u8],
}

/// Texts that are one.
struct Joined<'a>(Vec<&'a str>);

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(flatten)]
    function: Function<Called<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct Function<T> {
    function: T,
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a RawValue,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named(Function<Name<'a>>),
}

#[derive(Serialize)]
struct Name<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "json_schema")]
struct Format<'a> {
    json_schema: Schema<'a>,
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'static str,
    schema: &'a RawValue,
    strict: bool,
}

impl<'a> Body<'a> {
    fn of(request: &'a ModelRequest, dialect: Dialect) -> Result<Body<'a>, ModelError> {
        let (max_tokens, max_completion_tokens) = match dialect {
            Dialect::OpenAi => (None, request.max_tokens),
            Dialect::Others => (request.max_tokens, None),
        };
        let response_format = match &request.format {
            AnswerFormat::Text => None,
            AnswerFormat::Schema(schema) => {
                let schema = object("the schema of the answer", schema)?;
                Some(Format { json_schema: Schema { name: "answer", schema, strict: true } })
            }
        };
        let has_tools = !request.tools.is_empty();
        Ok(Body {
            model: &request.model,
            messages: messages(request)?,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            max_tokens,
            max_completion_tokens,
            tools: request.tools.iter().map(tool).collect::<Result<_, _>>()?,
            tool_choice: has_tools.then(|| tool_choice(&request.tool_choice)),
            temperature: request.temperature,
            stop: &request.stop,
            seed: request.seed,
            response_format,
        })
    }
}

fn messages(request: &ModelRequest) -> Result<Vec<Message<'_>>, ModelError> {
    let system = request.system.iter().map(|content| Message::System { content });
    let mut told: Vec<Message<'_>> = system.collect();
    for message in &request.messages {
        match message.role {
            ModelRole::User => of_user(message, &mut told),
            ModelRole::Assistant => told.push(of_assistant(message)?),
        }
    }
    Ok(told)
}

/// The results of tools are messages of their own, and come first: they belong to the message before.
fn of_user<'a>(message: &'a ModelMessage, told: &mut Vec<Message<'a>>) {
    let mut parts = Vec::new();
    for part in &message.content {
        match part {
            ModelContent::Text(text) => parts.push(Part::Text { text }),
            ModelContent::Image { media_type, data } => {
                let url = DataUrl { media_type, data };
                parts.push(Part::ImageUrl { image_url: ImageUrl { url } });
            }
            ModelContent::ToolResult(ToolResult { call, content, is_error }) => {
                let failed = is_error.then_some("error: ");
                let content = Joined(failed.into_iter().chain([content.as_str()]).collect());
                told.push(Message::Tool { tool_call_id: call, content });
            }
            ModelContent::ToolCall(_) | ModelContent::Thinking(_) => {}
        }
    }
    let content = match &*parts {
        [] => return,
        [Part::Text { text }] => UserContent::Text(text),
        _ => UserContent::Parts(parts),
    };
    told.push(Message::User { content });
}

fn of_assistant(message: &ModelMessage) -> Result<Message<'_>, ModelError> {
    let (mut texts, mut tool_calls) = (Vec::new(), Vec::new());
    for part in &message.content {
        match part {
            ModelContent::Text(text) if text.is_empty() => {}
            ModelContent::Text(text) => texts.push(text.as_str()),
            ModelContent::ToolCall(ToolCall { id, name, arguments }) => {
                document("the arguments of a tool call", arguments)?;
                let function = Function { function: Called { name, arguments } };
                tool_calls.push(Call { id, function });
            }
            // These providers take no thinking back.
            ModelContent::Thinking(_)
            | ModelContent::Image { .. }
            | ModelContent::ToolResult(_) => {}
        }
    }
    let content = (!texts.is_empty()).then_some(Joined(texts));
    Ok(Message::Assistant { content, tool_calls })
}

fn tool(tool: &ModelTool) -> Result<Function<Tool<'_>>, ModelError> {
    let ModelTool { name, description, schema } = tool;
    let parameters = object("the schema of a tool", schema)?;
    Ok(Function { function: Tool { name, description, parameters } })
}

fn tool_choice(choice: &ToolChoice) -> Choice<'_> {
    match choice {
        ToolChoice::Auto => Choice::Word("auto"),
        ToolChoice::None => Choice::Word("none"),
        ToolChoice::Any => Choice::Word("required"),
        ToolChoice::Named(name) => Choice::Named(Function { function: Name { name } }),
    }
}

impl Serialize for DataUrl<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let DataUrl { media_type, data } = self;
        let data = Base64Display::new(data, &STANDARD);
        serializer.collect_str(&format_args!("data:{media_type};base64,{data}"))
    }
}

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|text| f.write_str(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_has_its_own_words_in_each_of_its_regions() {
        for (base, dialect) in [
            ("https://api.openai.com/v1", Dialect::OpenAi),
            ("https://eu.api.openai.com/v1/", Dialect::OpenAi),
            ("https://API.openai.com", Dialect::OpenAi),
            ("https://notapi.openai.com/v1", Dialect::Others),
            ("https://api.openai.com.example.org/v1", Dialect::Others),
            ("http://127.0.0.1:11434/v1", Dialect::Others),
        ] {
            assert_eq!(Dialect::of(base), dialect, "{base}");
        }
    }
}
