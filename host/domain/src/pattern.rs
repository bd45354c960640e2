//! The four hosting patterns.

use std::fmt;
use std::str::FromStr;

/// How a session is hosted: what happens after a turn, and when it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// One turn, then it completes; removed a minute after it has ended.
    #[default]
    Ephemeral,
    /// Stays resident while memory allows; an idle limit ends it.
    LongRunning,
    /// Sleeps soon after each turn; an idle limit makes it `idle`, not over.
    Hybrid,
    /// A coordinator and its members, hosted like a long-running session.
    SingleContainer,
}

impl Pattern {
    /// All patterns, in the order of the documentation.
    pub const ALL: [Pattern; 4] =
        [Pattern::Ephemeral, Pattern::LongRunning, Pattern::Hybrid, Pattern::SingleContainer];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Pattern::Ephemeral => "ephemeral",
            Pattern::LongRunning => "long-running",
            Pattern::Hybrid => "hybrid",
            Pattern::SingleContainer => "single-container",
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no hosting pattern.
#[derive(Debug, thiserror::Error)]
#[error("there is no such hosting pattern")]
pub struct UnknownPattern;

impl FromStr for Pattern {
    type Err = UnknownPattern;

    fn from_str(text: &str) -> Result<Pattern, UnknownPattern> {
        Pattern::ALL.into_iter().find(|pattern| pattern.as_str() == text).ok_or(UnknownPattern)
    }
}
