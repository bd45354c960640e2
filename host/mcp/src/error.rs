//! Why a tool has no result.

use std::time::Duration;

use crate::content::MAX_RESULT;
use crate::tools::MAX_ARGUMENTS;

/// Why a server has not listed its tools, or a tool has no result. The texts are for the agent and for its author. What
/// a server says of itself in them is short, and has no control characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum McpError {
    /// The session names no such server. Nothing was sent.
    #[error("this session has no MCP server `{server}`: name it in config.mcpServers")]
    NotPermitted {
        /// The name that was asked for.
        server: String,
    },
    /// The server has no such tool, or the operator does not allow it. Nothing was sent.
    #[error("the MCP server `{server}` has no tool `{tool}`")]
    UnknownTool {
        /// The server.
        server: String,
        /// The name that was asked for.
        tool: String,
    },
    /// The arguments are no JSON object, or too large, or too deep. Nothing was sent.
    #[error("the arguments of a tool are one JSON object of at most {MAX_ARGUMENTS} bytes: {0}")]
    InvalidArguments(String),
    /// The server cannot be started or reached, or is left alone because it could not be before. No call was sent: it can
    /// be made again later.
    #[error("the MCP server `{server}` is not available: {problem}")]
    Unavailable {
        /// The server.
        server: String,
        /// What is wrong.
        problem: String,
        /// When it is worth while to try again.
        retry_after: Duration,
    },
    /// The owner has as many servers at work as it may, or as many calls wait for this server as may. Nothing was sent.
    #[error("too many MCP servers or calls are at work: try again later")]
    Busy {
        /// When it is worth while to try again.
        retry_after: Duration,
    },
    /// The server did not answer in time. It was told that nobody waits any more, but may have done what was asked for.
    #[error("the MCP server `{server}` did not answer in {} s", after.as_secs())]
    TimedOut {
        /// The server.
        server: String,
        /// How long it had.
        after: Duration,
    },
    /// The connection broke while the call was under way: it may have been done.
    #[error("the MCP server `{server}` broke off before it answered: {problem}")]
    Broken {
        /// The server.
        server: String,
        /// What is known of it.
        problem: String,
    },
    /// The server has answered, with more than is taken. Nothing of it is kept.
    #[error(
        "the MCP server `{server}` answered with more than {MAX_RESULT} bytes, too many values or too many parts"
    )]
    TooLarge {
        /// The server.
        server: String,
    },
    /// There is no memory for the answer. Nothing of it is kept.
    #[error("there is no memory for the answer of the MCP server `{server}`")]
    OutOfMemory {
        /// The server.
        server: String,
    },
    /// The server has answered that it does not do it: the error of the protocol, not of the tool.
    #[error("the MCP server `{server}` refused (error {code}): {message}")]
    Refused {
        /// The server.
        server: String,
        /// The code of the server, such as -32602.
        code: i32,
        /// What it says.
        message: String,
    },
    /// The server does not speak the protocol, or asks for what no host gives. It may have done what was asked for.
    #[error("the MCP server `{server}` does not keep to the protocol: {problem}")]
    Protocol {
        /// The server.
        server: String,
        /// What is wrong.
        problem: String,
    },
}

impl McpError {
    /// The word for it in metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            McpError::NotPermitted { .. } => "not_permitted",
            McpError::UnknownTool { .. } => "unknown_tool",
            McpError::InvalidArguments(_) => "invalid",
            McpError::Unavailable { .. } => "unavailable",
            McpError::Busy { .. } => "busy",
            McpError::TimedOut { .. } => "timed_out",
            McpError::Broken { .. } => "broken",
            McpError::TooLarge { .. } => "too_large",
            McpError::OutOfMemory { .. } => "out_of_memory",
            McpError::Refused { .. } => "refused",
            McpError::Protocol { .. } => "protocol",
        }
    }

    /// Whether the tool may have been at work although there is no result: such a call is repeated only where the class of
    /// the tool says so ([`crate::ToolClass`]).
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match self {
            McpError::NotPermitted { .. }
            | McpError::UnknownTool { .. }
            | McpError::InvalidArguments(_)
            | McpError::Unavailable { .. }
            | McpError::Busy { .. }
            | McpError::Refused { .. } => false,
            McpError::TimedOut { .. }
            | McpError::Broken { .. }
            | McpError::TooLarge { .. }
            | McpError::OutOfMemory { .. }
            | McpError::Protocol { .. } => true,
        }
    }
}

/// The most characters of what a server says of itself.
const MAX_TOLD: usize = 300;

/// What a server says, as people may see it: short, and without a character that steers a terminal.
pub(crate) fn told(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_TOLD).collect()
}
