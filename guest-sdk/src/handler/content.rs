//! The parts that messages and replies consist of.

use serde::{Serialize, de::DeserializeOwned};

/// One part of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Plain text or Markdown.
    Text(String),
    /// One JSON document.
    Json(Json),
    /// Anything else.
    Blob(Blob),
}

/// Bytes with a media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// What the bytes are, such as `image/png`.
    pub media_type: String,
    /// The bytes.
    pub data: Vec<u8>,
}

/// A JSON document in its text form.
///
/// It stays text until it is decoded, so an agent that hands it on does so unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// Encodes a value.
    ///
    /// # Errors
    ///
    /// When the value has no form in JSON, such as a map with keys that are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Json)
    }

    /// Decodes the document.
    ///
    /// # Errors
    ///
    /// When the document is not of the shape of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.0)
    }

    /// The document as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes over a document that is known to be JSON: the host checks what it passes in and what
    /// an agent passes out.
    pub fn from_text(document: impl Into<String>) -> Self {
        Json(document.into())
    }

    /// The document as text, without a copy.
    pub fn into_text(self) -> String {
        self.0
    }
}

impl Part {
    /// A part of text.
    pub fn text(text: impl Into<String>) -> Self {
        Part::Text(text.into())
    }

    /// A part of JSON.
    ///
    /// # Errors
    ///
    /// When the value has no form in JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Json::encode(value).map(Part::Json)
    }

    /// A part of bytes.
    pub fn blob(media_type: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Part::Blob(Blob { media_type: media_type.into(), data: data.into() })
    }

    /// The text, if this is a part of text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Part::Text(text) => Some(text),
            Part::Json(_) | Part::Blob(_) => None,
        }
    }
}

/// The parts of text, joined by line breaks. One part is not copied.
pub(crate) fn joined_text(parts: &[Part]) -> std::borrow::Cow<'_, str> {
    let mut texts = parts.iter().filter_map(Part::as_text);
    let Some(first) = texts.next() else {
        return "".into();
    };
    let Some(second) = texts.next() else {
        return first.into();
    };
    let mut joined = format!("{first}\n{second}");
    for text in texts {
        joined.push('\n');
        joined.push_str(text);
    }
    joined.into()
}
