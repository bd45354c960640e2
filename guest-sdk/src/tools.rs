//! Calls tools that the host has.

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{Host, handler::Part, model::Tool};

/// The tools of the host that the session may use. From [`Host::tools`].
///
/// Which there are is decided when the session is created (`allowedTools`). A turn that is run again after a crash of the
/// host gets the answers that tools have given. [`Tools::of_host`](crate::model::Tools::of_host) has a model use them.
///
/// ```
/// # use dormouse_sdk::{prelude::*, testing::MockHost, tools};
/// #[derive(Default)]
/// struct Reader;
///
/// impl Agent for Reader {
///     fn handle(&mut self, turn: &Turn, host: &Host) -> Result<Reply> {
///         let page = host.tools().call("WebFetch", &json!({ "url": turn.text() }))?;
///         Ok(Reply::text(format!("{} bytes", page.text().len())))
///     }
/// }
///
/// let mut mock = MockHost::new().with_tool("WebFetch", |arguments| {
///     assert_eq!(arguments["url"], "https://example.com/");
///     Ok(tools::Answer::of_text("Example Domain"))
/// });
/// let reply = mock.turn(&mut Reader, "https://example.com/").unwrap();
/// assert_eq!(reply, Reply::text("14 bytes"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HostTools<'a> {
    host: &'a Host,
}

/// What a tool returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What it returns.
    pub content: Vec<Part>,
    /// Whether it could not do what it was asked for. The content says why: a model can read it.
    pub is_error: bool,
}

impl Answer {
    /// An answer of this text, for tests.
    pub fn of_text(text: impl Into<String>) -> Self {
        Answer { content: vec![Part::text(text)], is_error: false }
    }

    /// An answer that says why the tool has failed, for tests.
    pub fn of_error(text: impl Into<String>) -> Self {
        Answer { is_error: true, ..Answer::of_text(text) }
    }

    /// All of it as text: texts and JSON as they are, and of anything else what it is, a line break between.
    pub fn text(&self) -> String {
        let lines = self.content.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Json(json) => json.as_str().to_owned(),
            Part::Blob(blob) => format!("[{}, {} bytes]", blob.media_type, blob.data.len()),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Why a tool has not answered.
///
/// With `?` it fails the turn, as each [`std::error::Error`] does, and the message of the failure begins with the word for
/// it: `not-allowed: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The session may not use this tool, or the tool may not do this for it. The text says why.
    NotAllowed(String),
    /// The host has no tool of this name.
    Unknown,
    /// The arguments are wrong. The text says what to change.
    Invalid(String),
    /// The tool cannot be reached, or has too much to do.
    Unavailable {
        /// What happened.
        reason: String,
        /// After which time it is of use to call again, where that is known.
        retry_after: Option<Duration>,
    },
    /// The tool took too long. The text says what for.
    TimedOut(String),
    /// The answer is larger than answers may be. The text says how large they may be.
    TooLarge(String),
    /// The call could cost more than what is left of a budget. Nothing was done.
    BudgetExceeded(String),
    /// Nobody knows what became of the call, and it may not be made again.
    UnknownOutcome,
}

impl<'a> HostTools<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        HostTools { host }
    }

    /// The tools that the session may use, always in the same order. They can be offered to a model as they are.
    pub fn list(&self) -> Vec<Tool> {
        self.host.backend().tools()
    }

    /// Calls the tool of this name with these arguments, which have the form of a JSON object, and waits for its answer.
    ///
    /// # Errors
    ///
    /// As [`Error`] has them. A tool that could not do what it was asked for answers: see [`Answer::is_error`].
    pub fn call(&self, name: &str, arguments: &impl Serialize) -> Result<Answer, Error> {
        let arguments = serde_json::to_string(arguments);
        let arguments = arguments.map_err(|error| Error::Invalid(error.to_string()))?;
        self.call_with_text(name, &arguments)
    }

    /// The same with arguments that are JSON already.
    pub(crate) fn call_with_text(&self, name: &str, arguments: &str) -> Result<Answer, Error> {
        self.host.backend().call_tool(name, arguments)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotAllowed(why) => write!(f, "not-allowed: {why}"),
            Error::Unknown => f.write_str("unknown: the host has no tool of this name"),
            Error::Invalid(why) => write!(f, "invalid: {why}"),
            Error::Unavailable { reason, retry_after: None } => write!(f, "unavailable: {reason}"),
            Error::Unavailable { reason, retry_after: Some(after) } => {
                let seconds = after.as_secs_f64().ceil();
                write!(f, "unavailable: {reason}; call again in {seconds} s")
            }
            Error::TimedOut(why) => write!(f, "timed-out: {why}"),
            Error::TooLarge(why) => write!(f, "too-large: {why}"),
            Error::BudgetExceeded(why) => write!(f, "budget-exceeded: {why}"),
            Error::UnknownOutcome => {
                f.write_str("unknown-outcome: nobody knows what became of the call")
            }
        }
    }
}

impl std::error::Error for Error {}
