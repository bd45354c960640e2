//! Wakes the agent later.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::Host;

/// The timers of the session. From [`Host::timers`].
///
/// A timer sends the session a turn with [`Sender::Timer`](crate::Sender::Timer), whether it sleeps or not, also when
/// the host was down at that time. Timers are kept with the turn that sets them: a turn that fails has set none.
///
/// ```
/// # use dormouse_sdk::{prelude::*, testing::MockHost};
/// #[derive(Default)]
/// struct Watcher;
///
/// impl Agent for Watcher {
///     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
///         match &turn.sender {
///             Sender::Timer(name) => Ok(Reply::text(format!("{name}: {}", turn.text()))),
///             _ => {
///                 host.timers().each("mail", "*/15 * * * *", "look for new mail")?;
///                 Ok(Reply::text("I look every quarter of an hour."))
///             }
///         }
///     }
/// }
/// # let mut mock = MockHost::new();
/// # mock.turn(&mut Watcher, "watch").unwrap();
/// # assert_eq!(mock.host().timers().list()[0].message, "look for new mail");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Timers<'a> {
    host: &'a Host,
}

/// A timer of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timer {
    /// Its name.
    pub name: String,
    /// When it is due next.
    pub due: SystemTime,
    /// When it is due again, in five fields of cron. `None`: it is due once.
    pub schedule: Option<String>,
    /// What the agent is sent.
    pub message: String,
}

/// When a timer is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum When<'a> {
    At(SystemTime),
    After(Duration),
    Each(&'a str),
}

/// Why a timer was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The text says what to change.
    Invalid(String),
    /// The session has so many timers already, the most that it may have.
    TooMany(u32),
}

impl<'a> Timers<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Timers { host }
    }

    /// Send this message at this time, in place of what the timer of this name was to send.
    ///
    /// # Errors
    ///
    /// [`Error`]: as it says; all timers stay as they are.
    pub fn at(&self, name: &str, time: SystemTime, message: &str) -> Result<(), Error> {
        self.host.backend().set_timer(name, When::At(time), message)
    }

    /// The same, so long after now: a second at least.
    ///
    /// # Errors
    ///
    /// As [`Timers::at`].
    pub fn after(&self, name: &str, delay: Duration, message: &str) -> Result<(), Error> {
        self.host.backend().set_timer(name, When::After(delay), message)
    }

    /// The same, again and again: `schedule` is minute, hour, day of the month, month and day of the week, in UTC, as
    /// in `0 9 * * MON-FRI`.
    ///
    /// # Errors
    ///
    /// As [`Timers::at`].
    pub fn each(&self, name: &str, schedule: &str, message: &str) -> Result<(), Error> {
        self.host.backend().set_timer(name, When::Each(schedule), message)
    }

    /// Cancel the timer of this name. Answers whether there was one.
    pub fn cancel(&self, name: &str) -> bool {
        self.host.backend().cancel_timer(name)
    }

    /// All timers of the session, in the order of their names, with what this turn has changed.
    pub fn list(&self) -> Vec<Timer> {
        self.host.backend().timers()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(reason) => f.write_str(reason),
            Error::TooMany(most) => write!(f, "a session has at most {most} timers"),
        }
    }
}

impl std::error::Error for Error {}
