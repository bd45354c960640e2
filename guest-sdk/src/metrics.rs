//! Sampling named numbers.

use std::fmt;

use crate::Host;

/// The numbers that an agent notes with its turn. From [`Host::metrics`].
///
/// The host keeps them with the turn, also of one that fails; whoever may read the session reads the samples of a name as
/// a series.
///
/// ```
/// # use dormouse_sdk::{prelude::*, testing::MockHost};
/// #[derive(Default)]
/// struct Reader;
///
/// impl Agent for Reader {
///     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
///         let words = turn.text().split_whitespace().count();
///         host.metrics().sample("words", words as f64)?;
///         Ok(Reply::text("read"))
///     }
/// }
/// # let mut mock = MockHost::new();
/// # mock.turn(&mut Reader, "one two three").unwrap();
/// # assert_eq!(mock.samples()[0].name, "words");
/// # assert_eq!(mock.samples()[0].value, 3.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Metrics<'a> {
    host: &'a Host,
}

/// Why a number was not sampled. The turn has the samples that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The name or the value is none. The text says what to change.
    Invalid(String),
    /// The turn has so many samples already, the most that it may have.
    TooManySamples(u32),
    /// The turn has sampled under so many names already, the most that it may use.
    TooManyNames(u32),
}

impl<'a> Metrics<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Metrics { host }
    }

    /// Samples a finite number under a name of 1 to 64 bytes: letters and digits of ASCII, `_`, `.` and `-`.
    ///
    /// # Errors
    ///
    /// [`Error`]: as it says.
    pub fn sample(&self, name: &str, value: f64) -> Result<(), Error> {
        self.host.backend().sample(name, value)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(reason) => f.write_str(reason),
            Error::TooManySamples(most) => write!(f, "a turn has at most {most} samples"),
            Error::TooManyNames(most) => write!(f, "a turn samples under at most {most} names"),
        }
    }
}

impl std::error::Error for Error {}
