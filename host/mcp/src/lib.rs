//! Asks the MCP servers of sessions: their tools are listed, and called.
//!
//! ```text
//!  McpServers ─▶ session   which servers may this session ask?
//!             ─▶ slot      one connection for each server and owner; left alone for a while where it failed
//!             ─▶ connection  lists and calls, each with its time, by the official SDK (rmcp)
//!             ─▶ screen    what a server sends without being asked gets no further
//!             ─▶ stdio     a process of the operator's choice ─ or ─ http_client, by the way out of the host (egress)
//!             ◀─ scan      what is too large or too deep is thrown away before a parser sees it
//!             ◀─ content, tools  results and descriptions, within bounds
//! ```
//! Invariants: a session starts no process but those that the operator lists. All HTTP goes through `dormouse-egress`. Of
//! two owners neither uses the connection of the other, unless the operator says that a server is shared. A call is made
//! once: nothing here repeats one. Nothing that a server says is trusted, but for whether its own tools may be repeated.
//!
//! Knows no session but by its servers, no turn and no journal: who calls keeps account of it.

#![deny(missing_docs)]

mod connection;
mod content;
mod error;
mod failure;
mod http_client;
mod options;
mod process;
mod refused;
mod scan;
mod screen;
mod servers;
mod session;
mod slot;
mod stdio;
mod tools;

pub use content::{MAX_PARTS, MAX_RESULT, McpResult};
pub use error::McpError;
pub use options::{
    InvalidMcp, Launch, MAX_CALL_TIMEOUT, MAX_SERVERS, McpOptions, McpServer, ServerAddress,
};
pub use servers::{McpServers, McpTools};
pub use session::{MAX_SESSION_SERVERS, NotPermitted, SessionServers};
pub use tools::{
    MAX_ARGUMENTS, MAX_DESCRIPTION, MAX_LISTING, MAX_NAME, MAX_SCHEMA, MAX_TOOLS, McpTool,
    ToolClass, is_server_name, split_name,
};
