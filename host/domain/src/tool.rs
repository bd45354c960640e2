//! Tools that the host offers to agents: which of them a session has, what is asked of one, and what comes back.
//!
//! What a session may use is the word of whoever creates it (`allowedTools` of its configuration). What is not allowed
//! does not exist for its agent.

use std::time::Duration;

use serde_json::Value;

use crate::effect::EffectClass;
use crate::journal::EffectFailure;
use crate::model::ModelTool;
use crate::session::JsonObject;
use crate::turn::Part;

/// The most bytes of the name of a tool.
pub const MAX_TOOL_NAME: usize = 128;
/// The most bytes of the arguments of one call.
pub const MAX_ARGUMENTS: usize = 1 << 20;
/// The most names in `allowedTools`.
pub const MAX_ALLOWED_TOOLS: usize = 256;
/// The most names of tools that a session remembers to have used. Later ones are not noted.
pub const MAX_TOOLS_USED: usize = 256;
/// The key of the configuration of a session that says which tools it may use.
pub const ALLOWED_TOOLS: &str = "allowedTools";

/// What the names of the tools of MCP servers begin with: `mcp__server__tool`.
pub const SERVER_TOOLS: &str = "mcp__";

/// Tools of other systems that a client may ask for, and that no session here has: a sandbox has no shell. Those that use
/// files are tools of agents.
const ABSENT: [&str; 10] = [
    "Bash",
    "BashOutput",
    "KillBash",
    "KillShell",
    "LS",
    "LSP",
    "MultiEdit",
    "NotebookEdit",
    "NotebookRead",
    "WebSearch",
];

/// A tool that the host has itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostTool {
    /// Asks another session of the group to do something.
    Task,
    /// Reads a page of the web.
    WebFetch,
}

impl HostTool {
    /// All of them, in the order in which agents see them.
    pub const ALL: [HostTool; 2] = [HostTool::Task, HostTool::WebFetch];

    /// The name that agents and models call it by.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            HostTool::Task => "Task",
            HostTool::WebFetch => "WebFetch",
        }
    }

    /// The tool of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<HostTool> {
        HostTool::ALL.into_iter().find(|tool| tool.as_str() == name)
    }

    /// What may be done about a call of which nobody knows whether it was made.
    #[must_use]
    pub fn class(self) -> EffectClass {
        match self {
            // The session that is asked knows it by its key.
            HostTool::Task => EffectClass::Keyed,
            HostTool::WebFetch => EffectClass::Pure,
        }
    }
}

/// The tools that a session may use, of those that there are.
#[derive(Clone, Copy, Debug)]
pub enum AllowedTools<'a> {
    /// All: nothing was said of them.
    All,
    /// These.
    Only(&'a [Value]),
}

impl<'a> AllowedTools<'a> {
    /// What this configuration of a session says.
    #[must_use]
    pub fn of(config: &'a JsonObject) -> AllowedTools<'a> {
        match config.get(ALLOWED_TOOLS) {
            None | Some(Value::Null) => AllowedTools::All,
            Some(Value::Array(names)) => AllowedTools::Only(names),
            // No session is created so.
            Some(_) => AllowedTools::Only(&[]),
        }
    }

    /// Whether the tool of this name may be used. All tools of a server are allowed by its name: `mcp__github`, or
    /// `mcp__github__*`.
    #[must_use]
    pub fn allows(self, name: &str) -> bool {
        match self {
            AllowedTools::All => true,
            AllowedTools::Only(names) => names
                .iter()
                .filter_map(Value::as_str)
                .any(|allowed| allowed == name || is_server_of(allowed, name)),
        }
    }

    /// Whether any tool of any server may be used.
    #[must_use]
    pub fn allows_servers(self) -> bool {
        match self {
            AllowedTools::All => true,
            AllowedTools::Only(names) => {
                names.iter().filter_map(Value::as_str).any(|name| name.starts_with(SERVER_TOOLS))
            }
        }
    }

    /// The tools that are asked for by name and that the session does not have, where the host has these. Each once, in
    /// the order in which they are asked for. A name that nobody knows is perhaps that of a tool of the agent itself.
    #[must_use]
    pub fn unavailable(self, has: impl Fn(HostTool) -> bool) -> Vec<&'a str> {
        let AllowedTools::Only(names) = self else { return Vec::new() };
        let is_unavailable = |name: &str| match HostTool::named(name) {
            Some(tool) => !has(tool),
            None => ABSENT.contains(&name),
        };
        let mut unavailable = Vec::new();
        for name in names.iter().filter_map(Value::as_str) {
            if is_unavailable(name) && !unavailable.contains(&name) {
                unavailable.push(name);
            }
        }
        unavailable
    }

    /// Check `allowedTools` of the configuration of a new session.
    ///
    /// # Errors
    /// What it has to be.
    pub fn check(config: &JsonObject) -> Result<(), String> {
        let names = match config.get(ALLOWED_TOOLS) {
            None | Some(Value::Null) => return Ok(()),
            Some(Value::Array(names)) => names,
            Some(_) => return Err("must be a list of names of tools".to_owned()),
        };
        if names.len() > MAX_ALLOWED_TOOLS {
            return Err(format!("must be at most {MAX_ALLOWED_TOOLS} names"));
        }
        let is_name = |name: &Value| {
            name.as_str().is_some_and(|name| (1..=MAX_TOOL_NAME).contains(&name.len()))
        };
        match names.iter().all(is_name) {
            true => Ok(()),
            false => Err(format!("must be a list of names of 1 to {MAX_TOOL_NAME} bytes")),
        }
    }
}

/// A tool of a server that the session names.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerTool {
    /// What it is called, what it does, and what it wants.
    pub tool: ModelTool,
    /// Whether a call of which nobody knows whether it was made may be made again, as the server says.
    pub may_repeat: bool,
}

/// What the servers of a session have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolListing {
    /// Their tools, in order.
    pub tools: Vec<ServerTool>,
    /// Why a server has told none: a sentence for each such server.
    pub unavailable: Vec<String>,
}

impl ToolListing {
    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        let size = |tool: &ModelTool| tool.name.len() + tool.description.len() + tool.schema.len();
        let tools: usize = self.tools.iter().map(|it| size(&it.tool)).sum();
        let told: usize = self.unavailable.iter().map(String::len).sum();
        (tools + told) as u64
    }
}

/// Whether what is allowed is the server of the tool of this name.
fn is_server_of(allowed: &str, name: &str) -> bool {
    let server = allowed.strip_suffix("__*").unwrap_or(allowed);
    let is_server = server.strip_prefix(SERVER_TOOLS).is_some_and(|it| !it.contains("__"));
    is_server && name.strip_prefix(server).is_some_and(|tool| tool.starts_with("__"))
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolRequest {
    /// The name of the tool.
    pub name: String,
    /// Its arguments: one JSON object, as text.
    pub arguments: String,
}

impl ToolRequest {
    /// What may be done about it where nobody knows whether it was made.
    #[must_use]
    pub fn class(&self) -> EffectClass {
        // What is not known is refused before anything is done.
        HostTool::named(&self.name).map_or(EffectClass::Once, HostTool::class)
    }
}

/// The answer of a tool: also that it could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolAnswer {
    /// What it returned.
    pub content: Vec<Part>,
    /// Whether it failed. The content says how.
    pub is_error: bool,
}

impl ToolAnswer {
    /// What its content holds, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.content.iter().map(|part| part.len() as u64).sum()
    }
}

/// Why a tool has not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToolError {
    /// The session may not use the tool, or the tool may not do this. The text says why.
    #[error("{0}")]
    NotAllowed(String),
    /// There is no tool of this name.
    #[error("there is no tool `{0}`")]
    Unknown(String),
    /// The arguments are wrong. The text says what to change.
    #[error("{0}")]
    Invalid(String),
    /// The tool cannot be reached, or has too much to do.
    #[error("{why}")]
    Unavailable {
        /// What happened.
        why: String,
        /// When it is of use to ask again, where that is known.
        retry_after: Option<Duration>,
    },
    /// It took too long. The text says what.
    #[error("{0}")]
    TimedOut(String),
    /// Its answer is larger than answers may be. The text says how large they may be.
    #[error("{0}")]
    TooLarge(String),
    /// The call could cost more than what is left of a budget. The text says of which.
    #[error("{0}")]
    BudgetExceeded(String),
    /// Nobody knows what became of the call, and it may not be made again.
    #[error("nobody knows what became of the call")]
    UnknownOutcome,
}

impl ToolError {
    /// What it is called in the ledger.
    #[must_use]
    pub fn failure(&self) -> EffectFailure {
        match self {
            ToolError::NotAllowed(_) => EffectFailure::NotAllowed,
            ToolError::Unknown(_) => EffectFailure::UnknownTool,
            ToolError::Invalid(_) => EffectFailure::Invalid,
            ToolError::Unavailable { .. } => EffectFailure::Unavailable,
            ToolError::TimedOut(_) => EffectFailure::TimedOut,
            ToolError::TooLarge(_) => EffectFailure::TooLarge,
            ToolError::BudgetExceeded(_) => EffectFailure::BudgetExceeded,
            ToolError::UnknownOutcome => EffectFailure::UnknownOutcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(allowed: Value) -> JsonObject {
        JsonObject::from_iter([(ALLOWED_TOOLS.to_owned(), allowed)])
    }

    #[test]
    fn without_a_word_on_tools_all_are_allowed_and_with_one_only_those() {
        assert!(AllowedTools::of(&JsonObject::new()).allows("WebFetch"));
        assert!(AllowedTools::of(&config(Value::Null)).allows("WebFetch"));
        for (allowed, expected) in [
            (json!([]), false),
            (json!(["webfetch", "Web", "WebFetcher"]), false),
            (json!(["Read", "WebFetch"]), true),
        ] {
            let config = config(allowed.clone());
            assert_eq!(AllowedTools::of(&config).allows("WebFetch"), expected, "{allowed}");
        }
    }

    #[test]
    fn what_a_sandbox_does_not_have_is_told_once_and_tools_of_agents_are_not() {
        let asked = ["Bash", "WebFetch", "TodoWrite", "Read", "LS", "Bash", "my_tool"];
        let config = config(json!(asked));
        let allowed = AllowedTools::of(&config);
        assert_eq!(allowed.unavailable(|_| true), ["Bash", "LS"]);
        assert_eq!(allowed.unavailable(|_| false), ["Bash", "WebFetch", "LS"]);
        let files = self::config(json!(["Read", "Write", "Edit", "Glob", "Grep"]));
        assert!(AllowedTools::of(&files).unavailable(|_| false).is_empty());
        assert!(AllowedTools::of(&JsonObject::new()).unavailable(|_| false).is_empty());
    }

    #[test]
    fn names_have_bounds_and_are_texts() {
        let long = "a".repeat(MAX_TOOL_NAME + 1);
        let many = vec!["a"; MAX_ALLOWED_TOOLS + 1];
        for wrong in [json!("Read"), json!({}), json!([1]), json!([""]), json!([long]), json!(many)]
        {
            assert!(AllowedTools::check(&config(wrong.clone())).is_err(), "{wrong}");
        }
        for right in [json!(null), json!([]), json!(["Read"]), json!(vec!["a"; MAX_ALLOWED_TOOLS])]
        {
            assert_eq!(AllowedTools::check(&config(right)), Ok(()));
        }
    }
}
