//! The result of a tool, as a guest gets it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::{Value, json};

use crate::error::McpError;
use dormouse_domain::turn::Part;

/// The most bytes of the parts of one result together.
pub const MAX_RESULT: usize = 1 << 20;
/// The most parts of one result.
pub const MAX_PARTS: usize = 64;
/// The most bytes of a media type.
const MAX_MEDIA_TYPE: usize = 255;
/// What is said of bytes of which nobody knows what they are.
const UNKNOWN_MEDIA_TYPE: &str = "application/octet-stream";

/// What a tool has answered.
#[derive(Clone, Debug, PartialEq)]
pub struct McpResult {
    /// The parts of the answer: texts, images and other files, and JSON.
    pub content: Vec<Part>,
    /// The tool says that it has failed; the parts say why.
    pub is_error: bool,
}

/// The result that a server has sent, within its bounds.
pub(crate) fn result(server: &str, sent: CallToolResult) -> Result<McpResult, McpError> {
    let too_large = || McpError::TooLarge { server: server.to_owned() };
    if sent.content.len() > MAX_PARTS {
        return Err(too_large());
    }
    let mut parts = Parts { server, content: Vec::new(), bytes: 0 };
    let structured = sent.structured_content.filter(|it| !says(&sent.content, it));
    for block in sent.content {
        parts.add(block)?;
    }
    if let Some(value) = structured {
        parts.push(Part::Json(value.to_string()))?;
    }
    Ok(McpResult { content: parts.content, is_error: sent.is_error.unwrap_or(false) })
}

/// Whether a text says the same as the structured content. The protocol asks servers for that, for clients that know
/// texts alone; nobody needs both.
fn says(content: &[ContentBlock], structured: &Value) -> bool {
    let [ContentBlock::Text(text)] = content else { return false };
    serde_json::from_str::<Value>(&text.text).is_ok_and(|value| value == *structured)
}

struct Parts<'s> {
    server: &'s str,
    content: Vec<Part>,
    bytes: usize,
}

impl Parts<'_> {
    fn add(&mut self, block: ContentBlock) -> Result<(), McpError> {
        let part = match block {
            ContentBlock::Text(text) => Part::Text(text.text),
            ContentBlock::Image(image) => self.blob(Some(image.mime_type), &image.data)?,
            ContentBlock::Audio(audio) => self.blob(Some(audio.mime_type), &audio.data)?,
            ContentBlock::Resource(resource) => match resource.resource {
                ResourceContents::TextResourceContents { text, .. } => Part::Text(text),
                ResourceContents::BlobResourceContents { mime_type, blob, .. } => {
                    self.blob(mime_type, &blob)?
                }
                // The types of the protocol may grow.
                _ => return Err(self.unknown()),
            },
            ContentBlock::ResourceLink(link) => Part::Json(
                json!({
                    "type": "resource_link",
                    "uri": link.uri,
                    "name": link.name,
                    "mimeType": link.mime_type,
                    "description": link.description,
                })
                .to_string(),
            ),
            _ => return Err(self.unknown()),
        };
        self.push(part)
    }

    fn blob(&self, media_type: Option<String>, data: &str) -> Result<Part, McpError> {
        let data = STANDARD.decode(data).map_err(|_| McpError::Protocol {
            server: self.server.to_owned(),
            problem: "a file in its answer is no base64".to_owned(),
        })?;
        let media_type = media_type.filter(|it| is_media_type(it));
        let media_type = media_type.unwrap_or_else(|| UNKNOWN_MEDIA_TYPE.to_owned());
        Ok(Part::Blob { media_type, data })
    }

    fn unknown(&self) -> McpError {
        let problem = "its answer has a part of an unknown type".to_owned();
        McpError::Protocol { server: self.server.to_owned(), problem }
    }

    fn push(&mut self, part: Part) -> Result<(), McpError> {
        self.bytes += match &part {
            Part::Text(text) | Part::Json(text) => text.len(),
            Part::Blob { media_type, data } => media_type.len() + data.len(),
        };
        if self.bytes > MAX_RESULT {
            return Err(McpError::TooLarge { server: self.server.to_owned() });
        }
        self.content.push(part);
        Ok(())
    }
}

/// Whether a text can be a media type in a header.
fn is_media_type(text: &str) -> bool {
    let is_good = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    (1..=MAX_MEDIA_TYPE).contains(&text.len()) && text.contains('/') && text.bytes().all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: Value) -> Result<McpResult, McpError> {
        result("files", serde_json::from_value(value).expect("it is a result"))
    }

    #[test]
    fn each_kind_of_content_is_a_part() {
        let result = of(json!({ "content": [
            { "type": "text", "text": "a\u{1b}[0m" },
            { "type": "image", "data": "AAEC", "mimeType": "image/png" },
            { "type": "audio", "data": "AAEC", "mimeType": "no\r\ntype" },
            { "type": "resource", "resource": { "uri": "file:///a", "text": "b" } },
            { "type": "resource", "resource": { "uri": "file:///a", "blob": "AAEC" } },
            { "type": "resource_link", "uri": "file:///c", "name": "c" },
        ], "structuredContent": { "d": 1 } }))
        .expect("it is within bounds");
        let blob = |media_type: &str| Part::Blob {
            media_type: media_type.to_owned(),
            data: vec![0, 1, 2],
        };
        assert_eq!(result.content[0], Part::Text("a\u{1b}[0m".to_owned()), "as it is");
        assert_eq!(result.content[1], blob("image/png"));
        assert_eq!(result.content[2], blob(UNKNOWN_MEDIA_TYPE));
        assert_eq!(result.content[3], Part::Text("b".to_owned()));
        assert_eq!(result.content[4], blob(UNKNOWN_MEDIA_TYPE));
        let Part::Json(link) = &result.content[5] else { panic!("it is JSON") };
        assert!(link.contains("file:///c"), "{link}");
        assert_eq!(result.content[6], Part::Json("{\"d\":1}".to_owned()));
        assert!(!result.is_error);
    }

    #[test]
    fn structured_content_that_a_text_says_too_is_there_once() {
        let result = of(json!({
            "content": [{ "type": "text", "text": "{ \"d\": 1 }" }],
            "structuredContent": { "d": 1 },
            "isError": true,
        }))
        .expect("it is within bounds");
        assert_eq!(result.content, [Part::Text("{ \"d\": 1 }".to_owned())]);
        assert!(result.is_error, "a tool that failed has answered");
    }

    #[test]
    fn a_result_with_too_many_bytes_or_parts_or_with_broken_files_is_refused() {
        let text = |length: usize| json!({ "type": "text", "text": "x".repeat(length) });
        let too_large = Err(McpError::TooLarge { server: "files".to_owned() });
        assert!(of(json!({ "content": [text(MAX_RESULT)] })).is_ok());
        assert_eq!(of(json!({ "content": [text(MAX_RESULT), text(1)] })), too_large);
        assert_eq!(of(json!({ "content": vec![text(1); MAX_PARTS + 1] })), too_large);
        let broken = json!({ "type": "image", "data": "!", "mimeType": "image/png" });
        assert!(matches!(of(json!({ "content": [broken] })), Err(McpError::Protocol { .. })));
    }
}
