//! The answer of an agent.

use std::borrow::Cow;

use serde::{Serialize, de::DeserializeOwned};

use super::content::{Blob, Json, Part, joined_text};

/// The answer of an agent to one turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// What the sender gets: the whole answer, including what was streamed before.
    pub content: Vec<Part>,
    /// Whether the session has reached its end. A complete session takes no more turns.
    pub complete: bool,
}

impl Reply {
    /// An answer without any part.
    pub fn empty() -> Self {
        Reply::default()
    }

    /// An answer of the given parts.
    pub fn new(content: impl Into<Vec<Part>>) -> Self {
        Reply { content: content.into(), complete: false }
    }

    /// An answer of one text.
    pub fn text(text: impl Into<String>) -> Self {
        Reply::new([Part::text(text)])
    }

    /// An answer of one JSON document.
    ///
    /// # Errors
    ///
    /// When the value has no form in JSON.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Reply::new([Part::json(value)?]))
    }

    /// The same answer with one part more.
    #[must_use]
    pub fn with(mut self, part: Part) -> Self {
        self.content.push(part);
        self
    }

    /// The same answer, as the last one of the session.
    #[must_use]
    pub fn completing(mut self) -> Self {
        self.complete = true;
        self
    }

    /// The parts of text, joined by line breaks.
    pub fn as_text(&self) -> Cow<'_, str> {
        joined_text(&self.content)
    }

    /// Decodes the first JSON document of the answer, if there is one.
    ///
    /// # Errors
    ///
    /// When the document is not of the shape of `T`.
    pub fn as_json<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.content
            .iter()
            .find_map(|part| match part {
                Part::Json(json) => Some(json),
                Part::Text(_) | Part::Blob(_) => None,
            })
            .map(Json::decode)
            .transpose()
    }
}

impl From<Part> for Reply {
    fn from(part: Part) -> Self {
        Reply::new([part])
    }
}

impl From<Blob> for Reply {
    fn from(blob: Blob) -> Self {
        Reply::new([Part::Blob(blob)])
    }
}
