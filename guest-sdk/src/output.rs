//! Streaming parts of the answer while the turn runs.
//!
//! What is streamed is provisional: when the turn fails, clients are told to discard it. Streaming
//! never waits for a reader.

use std::fmt;

use serde::Serialize;

use crate::Host;

/// The stream of a turn. From [`Host::output`].
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    host: &'a Host,
}

impl<'a> Output<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Output { host }
    }

    /// Streams a piece of text.
    ///
    /// # Errors
    ///
    /// [`Error::TooLarge`] when the turn has streamed all that it may.
    pub fn text(&self, delta: impl AsRef<str>) -> Result<(), Error> {
        self.host.backend().stream_text(delta.as_ref())
    }

    /// Streams a named event with a value.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the value has no form in JSON, [`Error::TooLarge`] when the turn has
    /// streamed all that it may.
    pub fn event<T: Serialize + ?Sized>(&self, name: &str, data: &T) -> Result<(), Error> {
        let document =
            serde_json::to_string(data).map_err(|error| Error::Invalid(error.to_string()))?;
        self.host.backend().stream_event(name, &document)
    }
}

/// Why a part was not taken. It was then not sent at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The turn has streamed all that one turn may: this many bytes.
    TooLarge(u64),
    /// The data of an event is not a JSON document. The text says where.
    Invalid(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::TooLarge(bytes) => write!(f, "the turn may stream {bytes} bytes and no more"),
            Error::Invalid(reason) => write!(f, "the event is not a JSON document: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
