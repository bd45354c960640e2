//! Reading a request, as far as it may be read: each text and each list is paid for before it is touched, and
//! counted against what a request may hold.

use wasmtime::StoreContextMut;
use wasmtime::component::{Lift, WasmList};

use super::param::{
    ContentParam, FormatParam, ImageParam, MessageParam, RequestParam, ToolChoiceParam, ToolParam,
};
use crate::fuel::charge;
use crate::guest::Guest;
use crate::imports::contract::model::{Forward, Role};
use crate::imports::price;
use crate::imports::text::GuestText;
use crate::instance::is_too_much;
use dormouse_domain::effect::ModelCall;
use dormouse_domain::model::{
    AnswerFormat, MAX_MESSAGES, MAX_REQUEST_BYTES, MAX_TEXT_BYTES, MAX_TOOLS, ModelContent,
    ModelMessage, ModelRequest, ModelRole, ModelTool, Thinking, ToolCall, ToolChoice, ToolResult,
};

/// What a message, a part, a tool or a stop text counts besides its bytes: at least what it takes in memory.
const ELEMENT: usize = 128;
/// The most texts at which an answer ends.
const MAX_STOP: usize = 16;
/// Bytes of an image that are copied at a time.
const PIECE: usize = 1 << 20;

/// Why there is no request.
pub(super) enum Unread {
    /// It is larger than it may be, or wrong. Says what to change.
    Invalid(String),
    /// The guest ends here.
    Trap(wasmtime::Error),
}

impl From<wasmtime::Error> for Unread {
    fn from(error: wasmtime::Error) -> Unread {
        if is_too_much(&error) { too_large() } else { Unread::Trap(error) }
    }
}

/// Read a request. With it: how many of its bytes are JSON documents.
pub(super) async fn read(
    store: &mut StoreContextMut<'_, Guest>,
    request: RequestParam,
) -> Result<(ModelCall, usize), Unread> {
    let mut reader = Reader { store, left: MAX_REQUEST_BYTES, json: 0 };
    let format = match request.format {
        FormatParam::Text => AnswerFormat::Text,
        FormatParam::Schema(schema) => AnswerFormat::Schema(reader.json(&schema).await?),
    };
    let tool_choice = match request.tool_choice {
        ToolChoiceParam::Auto => ToolChoice::Auto,
        ToolChoiceParam::None => ToolChoice::None,
        ToolChoiceParam::Any => ToolChoice::Any,
        ToolChoiceParam::Named(name) => ToolChoice::Named(reader.text(&name).await?),
    };
    let system = match request.system {
        Some(system) => Some(reader.text(&system).await?),
        None => None,
    };
    let read = ModelRequest {
        model: reader.text(&request.model).await?,
        system,
        tools: reader.tools(request.tools).await?,
        messages: reader.messages(request.messages).await?,
        tool_choice,
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        stop: reader.stop(request.stop).await?,
        seed: request.seed,
        format,
    };
    let forward = match request.forward {
        Forward::None => false,
        Forward::Text => true,
    };
    Ok((ModelCall { request: read, forward }, reader.json))
}

struct Reader<'r, 's> {
    store: &'r mut StoreContextMut<'s, Guest>,
    /// Bytes that the request may hold besides what was read of it.
    left: usize,
    /// Bytes of JSON that were read.
    json: usize,
}

impl Reader<'_, '_> {
    async fn messages(
        &mut self,
        messages: WasmList<MessageParam>,
    ) -> Result<Vec<ModelMessage>, Unread> {
        at_most(messages.len(), MAX_MESSAGES, "messages")?;
        let mut read = Vec::new();
        for place in 0..messages.len() {
            let MessageParam { role, content } = self.element(&messages, place).await?;
            let role = match role {
                Role::User => ModelRole::User,
                Role::Assistant => ModelRole::Assistant,
            };
            read.push(ModelMessage { role, content: self.content(content).await? });
        }
        Ok(read)
    }

    async fn content(
        &mut self,
        content: WasmList<ContentParam>,
    ) -> Result<Vec<ModelContent>, Unread> {
        let mut read = Vec::new();
        for place in 0..content.len() {
            read.push(match self.element(&content, place).await? {
                ContentParam::Text(text) => ModelContent::Text(self.text(&text).await?),
                ContentParam::Image(ImageParam { media_type, data }) => ModelContent::Image {
                    media_type: self.text(&media_type).await?,
                    data: self.bytes(&data).await?,
                },
                ContentParam::ToolCall(call) => ModelContent::ToolCall(ToolCall {
                    id: self.text(&call.id).await?,
                    name: self.text(&call.name).await?,
                    arguments: self.json(&call.arguments).await?,
                }),
                ContentParam::ToolResult(result) => ModelContent::ToolResult(ToolResult {
                    call: self.text(&result.call).await?,
                    content: self.text(&result.content).await?,
                    is_error: result.is_error,
                }),
                ContentParam::Thinking(thinking) => ModelContent::Thinking(Thinking {
                    text: self.text(&thinking.text).await?,
                    block: self.json(&thinking.block).await?,
                }),
            });
        }
        Ok(read)
    }

    async fn tools(&mut self, tools: WasmList<ToolParam>) -> Result<Vec<ModelTool>, Unread> {
        at_most(tools.len(), MAX_TOOLS, "tools")?;
        let mut read = Vec::new();
        for place in 0..tools.len() {
            let tool = self.element(&tools, place).await?;
            read.push(ModelTool {
                name: self.text(&tool.name).await?,
                description: self.text(&tool.description).await?,
                schema: self.json(&tool.schema).await?,
            });
        }
        Ok(read)
    }

    async fn stop(&mut self, stop: WasmList<GuestText>) -> Result<Vec<String>, Unread> {
        at_most(stop.len(), MAX_STOP, "stop texts")?;
        let mut read = Vec::new();
        for place in 0..stop.len() {
            let text = self.element(&stop, place).await?;
            read.push(self.text(&text).await?);
        }
        Ok(read)
    }

    /// An element of a list, which has more than this.
    async fn element<T: Lift + Send>(
        &mut self,
        list: &WasmList<T>,
        place: usize,
    ) -> Result<T, Unread> {
        self.count(ELEMENT)?;
        charge(self.store, price::FIELD).await?;
        let element = list.get(&mut *self.store, place);
        Ok(element.unwrap_or_else(|| Err(wasmtime::Error::msg("a list ends too early")))?)
    }

    async fn text(&mut self, text: &GuestText) -> Result<String, Unread> {
        self.any_text(text, price::BYTE).await
    }

    /// A text that is checked to be JSON.
    async fn json(&mut self, text: &GuestText) -> Result<String, Unread> {
        let json = self.any_text(text, price::JSON_BYTE).await?;
        self.json += json.len();
        Ok(json)
    }

    async fn any_text(&mut self, text: &GuestText, each: u64) -> Result<String, Unread> {
        let units = text.len();
        if units > MAX_TEXT_BYTES {
            return Err(Unread::Invalid(format!(
                "one text of the request has {units} bytes; {MAX_TEXT_BYTES} may be: give it in several parts"
            )));
        }
        self.count(units)?;
        charge(self.store, price::of(units, each)).await?;
        let text = text.read(&*self.store)?.into_owned();
        // In UTF-8 it may have more bytes than it has units in the guest.
        let more = text.len().saturating_sub(units);
        self.count(more)?;
        charge(self.store, price::of(more, each)).await?;
        Ok(text)
    }

    async fn bytes(&mut self, list: &WasmList<u8>) -> Result<Vec<u8>, Unread> {
        self.count(list.len())?;
        let mut bytes = Vec::with_capacity(list.len());
        while bytes.len() < list.len() {
            let end = list.len().min(bytes.len() + PIECE);
            charge(self.store, price::of(end - bytes.len(), price::BYTE)).await?;
            bytes.extend_from_slice(&list.as_le_slice(&*self.store)[bytes.len()..end]);
        }
        Ok(bytes)
    }

    /// Count bytes that are about to be read, and pay for the memory that they will lie in.
    fn count(&mut self, bytes: usize) -> Result<(), Unread> {
        self.left = self.left.checked_sub(bytes).ok_or_else(too_large)?;
        let held = (MAX_REQUEST_BYTES - self.left) as u64;
        self.store.data_mut().memory.hold(held).map_err(wasmtime::Error::new)?;
        Ok(())
    }
}

fn at_most(count: usize, most: usize, what: &str) -> Result<(), Unread> {
    if count <= most {
        return Ok(());
    }
    Err(Unread::Invalid(format!("the request has {count} {what}; {most} may be: leave some out")))
}

fn too_large() -> Unread {
    Unread::Invalid(format!(
        "the request holds more than {MAX_REQUEST_BYTES} bytes; leave old messages out, or make images smaller"
    ))
}
