//! What the operator says of MCP servers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::tools::{MAX_NAME, is_server_name};

/// The most servers that an operator lists.
pub const MAX_SERVERS: usize = 64;
/// The longest that a call may be given.
pub const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// What the operator says of MCP servers.
#[derive(Clone, Debug)]
pub struct McpOptions {
    /// The servers that sessions may name, by their names.
    pub servers: BTreeMap<String, McpServer>,
    /// The most processes of servers at a time. Each of several owners has half of those that are free.
    pub max_processes: usize,
    /// How long a server that nobody asks is kept: then its process is ended, or its HTTP session closed.
    pub idle: Duration,
}

impl Default for McpOptions {
    fn default() -> McpOptions {
        McpOptions { servers: BTreeMap::new(), max_processes: 32, idle: Duration::from_secs(600) }
    }
}

/// A server of the operator.
#[derive(Clone, Debug)]
pub struct McpServer {
    /// How it is reached.
    pub at: ServerAddress,
    /// The names of the tools that exist for agents, as the server names them. `None`: all.
    pub tools: Option<BTreeSet<String>>,
    /// Whether all owners share one process or HTTP session. Otherwise each owner has one of its own: what a server
    /// remembers of one owner, another could see.
    pub is_shared: bool,
    /// How long a call may take, [`MAX_CALL_TIMEOUT`] at most.
    pub call_timeout: Duration,
}

impl McpServer {
    /// A server at this address, with what is usual otherwise: two minutes for a call, all tools, not shared.
    #[must_use]
    pub fn at(at: ServerAddress) -> McpServer {
        let call_timeout = Duration::from_secs(120);
        McpServer { at, tools: None, is_shared: false, call_timeout }
    }
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum ServerAddress {
    /// By standard input and output of a process.
    Process(Launch),
    /// By streamable HTTP.
    Http {
        /// Where requests are sent to. No rule of egress needs to allow it: the operator has named it.
        url: String,
        /// Headers of each request. Values may have placeholders of secrets.
        headers: Vec<(String, String)>,
    },
}

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The environment of the process. Nothing else is in it but `PATH`, as the host has it.
    pub env: BTreeMap<String, String>,
    /// The directory that it works in. `None`: that of the host.
    pub directory: Option<PathBuf>,
}

/// Options that no servers can be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMcp {
    /// There are too many servers.
    #[error("there are more than {MAX_SERVERS} MCP servers")]
    TooMany,
    /// A name that the names of tools cannot have in them.
    #[error(
        "`{0}` is no name of an MCP server: it has at most {MAX_NAME} letters, digits, - and _, no _ at an end and no __"
    )]
    Name(String),
    /// A process without a program.
    #[error("the MCP server `{0}` has no command")]
    NoCommand(String),
    /// A call that may take no time, or too much.
    #[error("a call of the MCP server `{name}` may take from 1 to {} seconds", MAX_CALL_TIMEOUT.as_secs())]
    CallTimeout {
        /// The server.
        name: String,
    },
}

impl McpOptions {
    pub(crate) fn check(&self) -> Result<(), InvalidMcp> {
        if self.servers.len() > MAX_SERVERS {
            return Err(InvalidMcp::TooMany);
        }
        for (name, server) in &self.servers {
            if !is_server_name(name) {
                return Err(InvalidMcp::Name(name.clone()));
            }
            let has_command = match &server.at {
                ServerAddress::Process(launch) => !launch.command.is_empty(),
                ServerAddress::Http { .. } => true,
            };
            if !has_command {
                return Err(InvalidMcp::NoCommand(name.clone()));
            }
            if !(Duration::from_secs(1)..=MAX_CALL_TIMEOUT).contains(&server.call_timeout) {
                return Err(InvalidMcp::CallTimeout { name: name.clone() });
            }
        }
        Ok(())
    }
}
