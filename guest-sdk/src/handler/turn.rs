//! One call of an agent.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use serde::de::DeserializeOwned;

use super::content::{Json, Part, joined_text};

/// One serialized call of an agent.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Turn {
    /// Unique among all turns of all sessions. The same turn has the same id when it is run again
    /// after a crash of the host.
    pub id: String,
    /// The number of this turn within the session, from 1. A failed turn uses up its number.
    pub number: u64,
    /// Who sent it.
    pub sender: Sender,
    /// What was sent: at least one part.
    pub content: Vec<Part>,
    /// When the host gives up on the turn.
    pub deadline: SystemTime,
    /// The fuel that the turn may use, saving the state included.
    pub fuel: u64,
}

/// Who sent a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A client of the REST API, or the program that embeds the host.
    User,
    /// The agent of another session, by the name that this one has for it, or else by its id: an address for
    /// [`Peers::send`](crate::peers::Peers::send).
    Agent(String),
    /// A timer that this session set, by its name.
    Timer(String),
    /// The host. [`crate::Agent`] has a method for each request, so `handle` does not see it.
    Host(Request),
}

/// What the host itself asks of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make the state smaller where that is possible.
    Compact,
}

impl Turn {
    /// A turn of a user as tests need it: numbered 1, with fuel enough and a deadline far away.
    pub fn new(content: impl Into<Vec<Part>>) -> Self {
        Turn {
            id: "turn-1".to_owned(),
            number: 1,
            sender: Sender::User,
            content: content.into(),
            deadline: SystemTime::UNIX_EPOCH + Duration::from_secs(u32::MAX.into()),
            fuel: u64::MAX,
        }
    }

    /// The parts of text, joined by line breaks. Empty if there is none.
    pub fn text(&self) -> Cow<'_, str> {
        joined_text(&self.content)
    }

    /// Decodes the first JSON document of the turn, if there is one.
    ///
    /// # Errors
    ///
    /// When the document is not of the shape of `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
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
