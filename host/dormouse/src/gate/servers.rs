//! The MCP servers of a session: what `mcpServers` of its configuration names, and the operator and its own rules allow.

use super::Outside;
use dormouse_domain::creation::InvalidField;
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::session::JsonObject;
use dormouse_mcp::SessionServers;

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
}
