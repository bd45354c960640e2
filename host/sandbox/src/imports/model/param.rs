//! A request as it lies in the memory of a guest: of texts and lists only their places and sizes are read.

use wasmtime::component::{ComponentType, Lift, WasmList};

use crate::imports::contract::model::{Forward, Role};
use crate::imports::text::GuestText;

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct RequestParam {
    pub(super) model: GuestText,
    pub(super) system: Option<GuestText>,
    pub(super) messages: WasmList<MessageParam>,
    pub(super) tools: WasmList<ToolParam>,
    #[component(name = "tool-choice")]
    pub(super) tool_choice: ToolChoiceParam,
    #[component(name = "max-tokens")]
    pub(super) max_tokens: Option<u32>,
    pub(super) temperature: Option<f64>,
    pub(super) stop: WasmList<GuestText>,
    pub(super) seed: Option<u64>,
    pub(super) format: FormatParam,
    pub(super) forward: Forward,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct MessageParam {
    pub(super) role: Role,
    pub(super) content: WasmList<ContentParam>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum ContentParam {
    #[component(name = "text")]
    Text(GuestText),
    #[component(name = "image")]
    Image(ImageParam),
    #[component(name = "tool-call")]
    ToolCall(ToolCallParam),
    #[component(name = "tool-result")]
    ToolResult(ToolResultParam),
    #[component(name = "thinking")]
    Thinking(ThinkingParam),
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ImageParam {
    #[component(name = "media-type")]
    pub(super) media_type: GuestText,
    pub(super) data: WasmList<u8>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ToolCallParam {
    pub(super) id: GuestText,
    pub(super) name: GuestText,
    pub(super) arguments: GuestText,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ToolResultParam {
    pub(super) call: GuestText,
    pub(super) content: GuestText,
    #[component(name = "is-error")]
    pub(super) is_error: bool,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ThinkingParam {
    pub(super) text: GuestText,
    pub(super) block: GuestText,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct ToolParam {
    pub(super) name: GuestText,
    pub(super) description: GuestText,
    pub(super) schema: GuestText,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum ToolChoiceParam {
    #[component(name = "auto")]
    Auto,
    #[component(name = "none")]
    None,
    #[component(name = "any")]
    Any,
    #[component(name = "named")]
    Named(GuestText),
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum FormatParam {
    #[component(name = "text")]
    Text,
    #[component(name = "schema")]
    Schema(GuestText),
}
