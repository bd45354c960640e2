//! Why a model did not answer.

use std::{fmt, time::Duration};

/// Why there is no answer. The host has asked again where that was of use, before the agent is told.
///
/// With `?` it fails the turn, as each [`std::error::Error`] does, and the message of the failure begins with
/// the word for it: `budget-exceeded: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The provider takes no more requests of this host for now. With the time after which it is of use to
    /// ask again, where the provider says so.
    RateLimited(Option<Duration>),
    /// The provider has too much to do. The same.
    Overloaded(Option<Duration>),
    /// The request is wrong. The text says what to change.
    Invalid(String),
    /// The provider does not take this request, by its rules of use.
    Refused(String),
    /// The conversation is longer than the model takes.
    ContextTooLong(String),
    /// The call could cost more than what is left of a budget. Nobody was asked.
    BudgetExceeded(String),
    /// The session may not use this model, or the host has no provider for it.
    NotAllowed(String),
    /// The provider cannot be reached, or does not work.
    Unavailable(String),
    /// The answer broke off after this text of it had been forwarded.
    Interrupted(String),
    /// Nobody knows what became of the call. It is billed with what it could have cost.
    UnknownOutcome,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = |time: &Option<Duration>| match time {
            Some(time) => format!("; ask again in {} s", time.as_secs_f64().ceil()),
            None => String::new(),
        };
        match self {
            Error::RateLimited(time) => {
                write!(f, "rate-limited: the provider takes no more requests{}", after(time))
            }
            Error::Overloaded(time) => {
                write!(f, "overloaded: the provider has too much to do{}", after(time))
            }
            Error::Invalid(why) => write!(f, "invalid: {why}"),
            Error::Refused(why) => write!(f, "refused: {why}"),
            Error::ContextTooLong(why) => write!(f, "context-too-long: {why}"),
            Error::BudgetExceeded(why) => write!(f, "budget-exceeded: {why}"),
            Error::NotAllowed(why) => write!(f, "not-allowed: {why}"),
            Error::Unavailable(why) => write!(f, "unavailable: {why}"),
            Error::Interrupted(_) => f.write_str("interrupted: the answer broke off"),
            Error::UnknownOutcome => {
                f.write_str("unknown-outcome: nobody knows what became of the call")
            }
        }
    }
}

impl std::error::Error for Error {}
