//! Why an agent does not answer.

use std::fmt;

/// What fallible operations of an agent return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an agent does not answer a turn. The state of the session is then as before the turn.
///
/// Every [`std::error::Error`] becomes [`Error::Failed`] with `?`. For that reason this type is not
/// a [`std::error::Error`] itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// What was sent cannot be handled as it is. The text says what to change. The client gets it as
    /// `422 agent_invalid`; the turn is billed, and counts neither as a failure nor as one of the
    /// session's `maxTurns`.
    Invalid(String),
    /// The agent does not do what the host asked for. No fault of anybody: `409 agent_declined`, which
    /// is billed and counted as [`Error::Invalid`] is.
    Declined,
    /// Anything else. The text says what went wrong: `422 agent_failed`. Several failures in a row put
    /// the session into `error`.
    Failed(String),
}

impl Error {
    /// The sender can do better: the text says how.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::Invalid(message.into())
    }

    /// The agent does not do what the host asked for.
    pub fn declined() -> Self {
        Error::Declined
    }

    /// Something went wrong: the text says what.
    pub fn failed(message: impl Into<String>) -> Self {
        Error::Failed(message.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(message) | Error::Failed(message) => f.write_str(message),
            Error::Declined => f.write_str("declined"),
        }
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Error::Failed(message)
    }
}
