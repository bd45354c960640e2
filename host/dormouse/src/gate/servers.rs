//! The MCP servers of a session: what `mcpServers` of its configuration names, and the operator and its own rules allow.

use std::time::Duration;

use super::tools::Called;
use super::{Gate, Outside};
use dormouse_domain::creation::InvalidField;
use dormouse_domain::effect::{EffectClass, EffectError};
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::model::ModelTool;
use dormouse_domain::session::{JsonObject, Session};
use dormouse_domain::tool::{
    AllowedTools, SERVER_TOOLS, ServerTool, ToolAnswer, ToolError, ToolListing, ToolRequest,
};
use dormouse_mcp::{McpError, McpTools, SessionServers, ToolClass, split_name};

/// How long a call of a tool of a server may take, whatever the operator says.
pub(super) const SERVER_TIMEOUT: Duration = Duration::from_secs(660);

/// A call of a tool of a server.
#[derive(Clone)]
pub(super) struct ServerCall {
    servers: SessionServers,
    /// The name of the server,
    pub(super) server: String,
    /// and that of its tool.
    tool: String,
    arguments: String,
}

impl Outside {
    /// The servers that a session with this configuration may ask, where `policy` is what it may reach.
    ///
    /// # Errors
    /// One of them it may not: which, and the setting that would allow it.
    pub(crate) fn servers(
        &self,
        config: &JsonObject,
        policy: &EgressPolicy,
    ) -> Result<SessionServers, InvalidField> {
        match config.get("mcpServers").filter(|servers| !servers.is_null()) {
            None => Ok(SessionServers::default()),
            Some(servers) => {
                let read = SessionServers::read(servers, self.mcp.options(), &self.egress, policy);
                read.map_err(|refused| InvalidField::new("config.mcpServers", refused.to_string()))
            }
        }
    }

    /// Whether this session names servers whose tools it may use.
    pub(crate) fn has_tool_servers(&self, session: &Session) -> bool {
        let servers =
            session.profile.config.get("mcpServers").and_then(|servers| servers.as_object());
        let allowed = AllowedTools::of(&session.profile.config);
        servers.is_some_and(|servers| !servers.is_empty()) && allowed.allows_servers()
    }
}

impl Gate {
    /// What may be done about a call of a tool of which nobody knows whether it was made. Of a tool of a server, that
    /// server says it, and the guest has asked for the list before: so the answer is the same when the turn is run again.
    pub(super) fn class_of(&self, request: &ToolRequest) -> EffectClass {
        match self.repeatable.contains(&request.name) {
            true => EffectClass::Pure,
            false => request.class(),
        }
    }

    /// The guest is told of these tools.
    pub(super) fn note_listing(&mut self, listing: &ToolListing) {
        let repeatable = listing.tools.iter().filter(|tool| tool.may_repeat);
        self.repeatable = repeatable.map(|it| it.tool.name.clone()).collect();
    }

    /// The tools of the servers of the session that it may use. One that does not answer keeps nobody from the tools of the
    /// others.
    ///
    /// # Errors
    /// The call of the guest ends.
    pub(super) async fn ask_servers_for_tools(&mut self) -> Result<ToolListing, EffectError> {
        let session = &self.session;
        let profile = &session.profile;
        let servers = match self.outside.servers(&profile.config, &profile.egress) {
            Ok(servers) => servers,
            // They were permitted when the session was created.
            Err(refused) => {
                let unavailable = vec![refused.to_string()];
                return Ok(ToolListing { tools: Vec::new(), unavailable });
            }
        };
        let in_call = self.time.call(&self.outside.clock);
        let McpTools { tools, unavailable } = self.outside.mcp.list(&session.owner, &servers).await;
        drop(in_call);
        let allowed = AllowedTools::of(&profile.config);
        let tools = tools.into_iter().map(|(server, tool)| ServerTool {
            may_repeat: tool.class == ToolClass::Repeatable,
            tool: ModelTool {
                name: tool.full_name(&server),
                description: tool.description,
                schema: tool.input_schema,
            },
        });
        Ok(ToolListing {
            tools: tools.filter(|it| allowed.allows(&it.tool.name)).collect(),
            unavailable: unavailable.into_iter().map(|(_, error)| error.to_string()).collect(),
        })
    }

    /// What this call asks of a server. `None`: it is of no server.
    pub(super) fn server_call(
        &self,
        request: &ToolRequest,
    ) -> Result<Option<ServerCall>, ToolError> {
        let ToolRequest { name, arguments } = request;
        if !name.starts_with(SERVER_TOOLS) {
            return Ok(None);
        }
        let (server, tool) = split_name(name).ok_or_else(|| ToolError::Unknown(name.clone()))?;
        let profile = &self.session.profile;
        let servers = self.outside.servers(&profile.config, &profile.egress);
        let servers = servers.map_err(|refused| ToolError::NotAllowed(refused.to_string()))?;
        let (server, tool, arguments) = (server.to_owned(), tool.to_owned(), arguments.clone());
        Ok(Some(ServerCall { servers, server, tool, arguments }))
    }
}

impl ServerCall {
    /// Make the call.
    pub(super) async fn run(self, outside: &Outside, session: &Session) -> Called {
        let ServerCall { servers, server, tool, arguments } = self;
        let called = outside.mcp.call(&session.owner, &servers, &server, &tool, &arguments).await;
        match called {
            Ok(result) => Ok(ToolAnswer { content: result.content, is_error: result.is_error }),
            Err(error) => Err(told(error)),
        }
    }
}

fn told(error: McpError) -> ToolError {
    let text = error.to_string();
    match error {
        McpError::NotPermitted { .. } => ToolError::NotAllowed(text),
        McpError::UnknownTool { tool, .. } => ToolError::Unknown(tool),
        McpError::InvalidArguments(_) | McpError::Refused { .. } => ToolError::Invalid(text),
        McpError::Unavailable { retry_after, .. } | McpError::Busy { retry_after, .. } => {
            ToolError::Unavailable { why: text, retry_after: Some(retry_after) }
        }
        McpError::TimedOut { .. } => ToolError::TimedOut(text),
        McpError::TooLarge { .. } => ToolError::TooLarge(text),
        McpError::Broken { .. } | McpError::OutOfMemory { .. } | McpError::Protocol { .. } => {
            ToolError::Unavailable { why: text, retry_after: None }
        }
    }
}
