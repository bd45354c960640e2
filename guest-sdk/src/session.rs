//! What an agent may know of the session that it serves.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::Host;

/// The session that an agent serves. From [`Host::session`].
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    host: &'a Host,
}

impl<'a> Session<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Session { host }
    }

    /// The id of the session.
    pub fn id(&self) -> String {
        self.host.backend().id()
    }

    /// How the session is hosted.
    pub fn pattern(&self) -> Pattern {
        self.host.backend().pattern()
    }

    /// The configuration under a key, or `None` if the creator of the session gave none.
    ///
    /// ```
    /// # use dormouse_sdk::{prelude::*, testing::MockHost};
    /// # let mock = MockHost::new().with_config("retries", 3);
    /// # let host = mock.host();
    /// # fn of(host: &Host) -> Result<()> {
    /// let retries: u32 = host.session().config("retries")?.unwrap_or(1);
    /// let anything: Option<Value> = host.session().config("retries")?;
    /// # assert_eq!(retries, 3);
    /// # assert_eq!(anything, Some(json!(3)));
    /// # Ok(())
    /// # }
    /// # of(host).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// When the value is not of the shape of `T`.
    pub fn config<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, serde_json::Error> {
        match self.host.backend().config(key)? {
            Some(value) => serde_json::from_value(value).map(Some),
            None => Ok(None),
        }
    }

    /// What the session may spend over its whole life.
    pub fn limits(&self) -> Limits {
        self.host.backend().limits()
    }

    /// What the session had spent when this turn began.
    pub fn usage(&self) -> Usage {
        self.host.backend().usage()
    }

    /// The context document of the session, a JSON object that its clients keep up to date.
    ///
    /// # Errors
    ///
    /// When the document is not of the shape of `T`.
    pub fn context<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.host.backend().context())
    }

    /// The checkpoint of the session, which the agent or its clients have set, or `None`.
    ///
    /// ```
    /// # use dormouse_sdk::{prelude::*, testing::MockHost};
    /// # let mock = MockHost::new();
    /// # let host = mock.host();
    /// # fn of(host: &Host) -> Result<()> {
    /// host.session().set_checkpoint(&json!({ "step": 3 }))?;
    /// let checkpoint: Option<Value> = host.session().checkpoint()?;
    /// # assert_eq!(checkpoint, Some(json!({ "step": 3 })));
    /// # Ok(())
    /// # }
    /// # of(host).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// When the checkpoint is not of the shape of `T`.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, serde_json::Error> {
        self.host.backend().checkpoint().map(|text| serde_json::from_str(&text)).transpose()
    }

    /// Sets the checkpoint of the session, in the place of the last. It is kept with the turn: when the
    /// turn fails, the last one stays.
    ///
    /// # Errors
    ///
    /// [`CheckpointError::Invalid`] when the value has no form as a JSON object,
    /// [`CheckpointError::TooLarge`] when it has more bytes than a checkpoint may take.
    pub fn set_checkpoint<T: Serialize + ?Sized>(
        &self,
        checkpoint: &T,
    ) -> Result<(), CheckpointError> {
        let text = serde_json::to_string(checkpoint)
            .map_err(|error| CheckpointError::Invalid(error.to_string()))?;
        self.host.backend().set_checkpoint(&text)
    }
}

/// Why a checkpoint was not set. The last one stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckpointError {
    /// It has more bytes than this.
    TooLarge(u64),
    /// It is not a JSON object. The text says why.
    Invalid(String),
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckpointError::TooLarge(bytes) => write!(f, "a checkpoint may take {bytes} bytes"),
            CheckpointError::Invalid(reason) => {
                write!(f, "the checkpoint is not a JSON object: {reason}")
            }
        }
    }
}

impl std::error::Error for CheckpointError {}

/// How a session is hosted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// One turn, then gone.
    Ephemeral,
    /// Stays until somebody ends it.
    LongRunning,
    /// Sleeps between bursts of work.
    Hybrid,
    /// A coordinator and its members, in one session.
    SingleContainer,
}

impl Pattern {
    /// The name that the REST API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Pattern::Ephemeral => "ephemeral",
            Pattern::LongRunning => "long-running",
            Pattern::Hybrid => "hybrid",
            Pattern::SingleContainer => "single-container",
        }
    }
}

/// An amount of money, in billionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NanoUsd(pub u64);

/// What a session may spend over its whole life. `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many turns.
    pub turns: Option<u64>,
    /// How much money.
    pub cost: Option<NanoUsd>,
    /// How much fuel.
    pub fuel: Option<u64>,
    /// The most fuel that one turn may use.
    pub fuel_per_turn: u64,
    /// The most linear memory that the agent may hold, in bytes.
    pub memory: u64,
}

/// What a session had spent when a turn began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Turns, failed ones included, but not those that the agent answered with
    /// [`Error::Invalid`](crate::Error::Invalid) or [`Error::Declined`](crate::Error::Declined).
    pub turns: u64,
    /// Money.
    pub cost: NanoUsd,
    /// Fuel.
    pub fuel: u64,
    /// Tokens that models read.
    pub input_tokens: u64,
    /// Tokens that models wrote.
    pub output_tokens: u64,
    /// Tokens that models had read before.
    pub cached_tokens: u64,
}
