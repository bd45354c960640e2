//! How large requests and answers of models are: in bytes, and in the most tokens that a provider may count.

use dormouse_domain::model::{AnswerFormat, ModelContent, ModelError, ModelRequest};

/// Tokens that a provider adds to each message: its role, and where it begins and ends.
const MESSAGE_TOKENS: u64 = 8;
/// The same to each part of a message.
const PART_TOKENS: u64 = 8;
/// The same to each call of a tool and each result of one: providers show them to the model as documents.
const TOOL_PART_TOKENS: u64 = 40;
/// The same to each tool that is offered.
const TOOL_TOKENS: u64 = 80;
/// The most tokens of an image, by a part of the name of the model. Providers make a large image smaller before they
/// count, so its bytes say nothing. gpt-4o-mini: 2,833 and 5,667 for each of 8 tiles. Claude: 4,784. Other models of
/// OpenAI: 85 and 170 for each of 8 tiles, or 2.46 for each of 1,536 patches.
const IMAGE_TOKENS: [(&str, u64); 6] = [
    ("4o-mini", 48_200),
    ("claude", 4_800),
    ("gpt", 4_800),
    ("o1", 4_800),
    ("o3", 4_800),
    ("o4", 4_800),
];
/// The same of any other model: as many as Qwen takes for the largest image.
const OTHER_IMAGE_TOKENS: u64 = 16_400;

/// The bytes of what a request says.
pub(crate) fn size_of_request(request: &ModelRequest) -> u64 {
    let said = request.messages.iter().map(|message| size_of_content(&message.content));
    said.fold(size_of_frame(request), u64::saturating_add)
}

/// The bytes of a request without its messages.
fn size_of_frame(request: &ModelRequest) -> u64 {
    let system = request.system.iter().map(String::len);
    let tools = request.tools.iter();
    let tools = tools.map(|tool| tool.name.len() + tool.description.len() + tool.schema.len());
    let stop = request.stop.iter().map(String::len);
    let schema = match &request.format {
        AnswerFormat::Text => 0,
        AnswerFormat::Schema(schema) => schema.len(),
    };
    system.chain(tools).chain(stop).chain([schema]).map(|bytes| bytes as u64).sum()
}

/// The bytes of what is said.
pub(super) fn size_of_content(content: &[ModelContent]) -> u64 {
    content.iter().map(size_of_part).fold(0, u64::saturating_add)
}

/// The bytes of an answer that is none.
pub(super) fn size_of_error(error: &ModelError) -> u64 {
    match error {
        ModelError::Interrupted { partial } => partial.len() as u64,
        ModelError::RateLimited { .. }
        | ModelError::Overloaded { .. }
        | ModelError::Invalid(_)
        | ModelError::Refused(_)
        | ModelError::ContextTooLong(_)
        | ModelError::BudgetExceeded(_)
        | ModelError::NotAllowed(_)
        | ModelError::Unavailable(_)
        | ModelError::UnknownOutcome => 0,
    }
}

/// The most tokens that a provider may count for what a request to this model says: a token has a byte at least.
pub(crate) fn tokens_of_request(request: &ModelRequest, model: &str) -> u64 {
    let image = IMAGE_TOKENS.iter().find(|(name, _)| model.contains(name));
    let image = image.map_or(OTHER_IMAGE_TOKENS, |(_, tokens)| *tokens);
    let of_part = |part: &ModelContent| match part {
        ModelContent::Text(_) | ModelContent::Thinking(_) => size_of_part(part) + PART_TOKENS,
        ModelContent::Image { .. } => image + PART_TOKENS,
        ModelContent::ToolCall(_) | ModelContent::ToolResult(_) => {
            size_of_part(part) + TOOL_PART_TOKENS
        }
    };
    let said = request.messages.iter().map(|message| {
        message.content.iter().map(of_part).fold(MESSAGE_TOKENS, u64::saturating_add)
    });
    let tools = (request.tools.len() as u64).saturating_mul(TOOL_TOKENS);
    said.fold(size_of_frame(request).saturating_add(tools), u64::saturating_add)
}

fn size_of_part(part: &ModelContent) -> u64 {
    let bytes = match part {
        ModelContent::Text(text) => text.len(),
        ModelContent::Image { media_type, data } => media_type.len() + data.len(),
        ModelContent::ToolCall(call) => call.id.len() + call.name.len() + call.arguments.len(),
        ModelContent::ToolResult(result) => result.call.len() + result.content.len(),
        ModelContent::Thinking(thinking) => thinking.text.len().max(thinking.block.len()),
    };
    bytes as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_domain::model::{ModelMessage, ModelRole};

    fn request(messages: Vec<ModelMessage>) -> ModelRequest {
        ModelRequest { messages, ..ModelRequest::default() }
    }

    fn said(content: ModelContent) -> ModelMessage {
        ModelMessage { role: ModelRole::User, content: vec![content] }
    }

    #[test]
    fn each_message_counts_more_than_its_bytes() {
        let one = said(ModelContent::Text("a".to_owned()));
        let request = request(vec![one; 10_000]);
        assert_eq!(size_of_request(&request), 10_000);
        assert!(tokens_of_request(&request, "gpt-5") >= 50_000, "a provider adds four to each");
    }

    #[test]
    fn an_answer_that_broke_off_counts_what_was_had_of_it() {
        let partial = "a word".to_owned();
        assert_eq!(size_of_error(&ModelError::Interrupted { partial }), 6);
    }

    #[test]
    fn an_image_counts_what_the_dearest_provider_takes_for_it_whatever_its_bytes() {
        let image = |bytes| ModelContent::Image {
            media_type: "image/webp".to_owned(),
            data: vec![0; bytes],
        };
        let tokens = |model, bytes| tokens_of_request(&request(vec![said(image(bytes))]), model);
        assert!(tokens("claude-sonnet-4-5", 200) >= 1_600);
        assert!(tokens("openai/gpt-4o-mini", 200) >= 2_833 + 8 * 5_667);
        assert!(tokens("qwen2.5-vl", 200) >= 16_384);
        assert_eq!(tokens("gpt-5", 200), tokens("gpt-5", 5 << 20));
    }
}
