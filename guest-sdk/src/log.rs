//! Writing to the log of the session.
//!
//! Operators and the owner of the session read it. It is bounded for each turn: what comes after
//! the bound is counted and dropped.

use std::fmt;

use crate::Host;

/// A line of the log in the making. From [`Host::log`].
///
/// ```
/// # use dormouse_sdk::{prelude::*, testing::MockHost};
/// # let mock = MockHost::new();
/// # let host = mock.host();
/// host.log().info("started");
/// host.log().field("file", "notes.md").field("bytes", 42).warn("the file is long");
/// # assert_eq!(mock.log_lines()[1].fields[1], ("bytes".to_owned(), "42".to_owned()));
/// ```
#[derive(Clone, Debug)]
#[must_use = "a line is written by its level: `trace`, `debug`, `info`, `warn` or `error`"]
pub struct Log<'a> {
    host: &'a Host,
    fields: Vec<(String, String)>,
}

impl<'a> Log<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        Log { host, fields: Vec::new() }
    }

    /// Adds a named value to the line.
    pub fn field(mut self, name: impl Into<String>, value: impl fmt::Display) -> Self {
        self.fields.push((name.into(), value.to_string()));
        self
    }

    /// Writes the line for those who look for an error in the agent, in all detail.
    pub fn trace(self, message: impl AsRef<str>) {
        self.write(Level::Trace, message);
    }

    /// Writes the line for those who look for an error in the agent.
    pub fn debug(self, message: impl AsRef<str>) {
        self.write(Level::Debug, message);
    }

    /// Writes a line about the usual course of things.
    pub fn info(self, message: impl AsRef<str>) {
        self.write(Level::Info, message);
    }

    /// Writes a line about what deserves attention.
    pub fn warn(self, message: impl AsRef<str>) {
        self.write(Level::Warn, message);
    }

    /// Writes a line about what went wrong.
    pub fn error(self, message: impl AsRef<str>) {
        self.write(Level::Error, message);
    }

    /// Writes the line at a level that is known only at run time.
    pub fn write(self, level: Level, message: impl AsRef<str>) {
        self.host.backend().log(level, message.as_ref(), &self.fields);
    }
}

/// How much a line of the log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For those who look for an error.
    Debug,
    /// The usual course of things.
    Info,
    /// Something that deserves attention.
    Warn,
    /// Something that went wrong.
    Error,
}
