//! The servers of a session: what its configuration names, and what of that it may have.
//!
//! A session starts no process of its own choice. A process in `config.mcpServers` is one of the operator's, by its name;
//! a URL may be the session's own, where the rules of the operator and of the session allow it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::error::told;
use crate::options::{McpOptions, ServerAddress};
use crate::tools::is_server_name;
use dormouse_domain::egress::EgressPolicy;
use dormouse_egress::{Egress, EgressError, EgressRequest};

/// The most servers of one session.
pub const MAX_SESSION_SERVERS: usize = 16;

/// The servers that a session may ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionServers(BTreeMap<String, SessionServer>);

/// A server of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SessionServer {
    /// The operator's of this name.
    OfOperator,
    /// One that the session names by its URL.
    Own(OwnServer),
}

/// A server that a session names by its URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OwnServer {
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    /// What its session may reach.
    pub(crate) policy: EgressPolicy,
}

/// A server that a session cannot have. The texts go on behind the name of the field, and say which setting would allow it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// It is no description of servers.
    #[error(
        "must have an object for each name, {{}} for a server of the operator or {{\"type\": \"http\", \"url\": …, \
         \"headers\": {{…}}}}: {0}"
    )]
    Malformed(String),
    /// There are too many.
    #[error("must have at most {MAX_SESSION_SERVERS} servers")]
    TooMany,
    /// The name is none.
    #[error("has the name `{0}`: a name has letters, digits, - and _, no _ at an end and no __")]
    Name(String),
    /// The operator has no process of this name.
    #[error(
        "has `{name}`, which is no server of this host, and sessions start none: the operator can offer it \
         (mcp.{name}.command)"
    )]
    UnknownServer {
        /// The name.
        name: String,
    },
    /// The operator's process of this name is another.
    #[error(
        "has `{name}`, a server of this host, with another command than the operator's: leave `command`, `args` and `env` \
         out, or ask the operator (mcp.{name}.command)"
    )]
    OtherCommand {
        /// The name.
        name: String,
    },
    /// The transport is none that a host speaks.
    #[error("has `{name}`, whose type must be \"http\" (streamable HTTP) or \"stdio\"")]
    Transport {
        /// The name.
        name: String,
    },
    /// The URL cannot be reached, or not by this session.
    #[error("has `{name}`, whose URL cannot be asked: {error}")]
    Url {
        /// The name.
        name: String,
        /// Why, and the rule that would allow it.
        error: EgressError,
    },
}

/// An entry of `config.mcpServers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    r#type: Option<String>,
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

impl SessionServers {
    /// Read the servers of a session from its configuration: `servers` is the value of `config.mcpServers`. `policy` is
    /// what the session may reach.
    ///
    /// # Errors
    /// [`NotPermitted`]
    pub fn read(
        servers: &Value,
        options: &McpOptions,
        egress: &Egress,
        policy: &EgressPolicy,
    ) -> Result<SessionServers, NotPermitted> {
        let entries = BTreeMap::<String, Entry>::deserialize(servers)
            .map_err(|error| NotPermitted::Malformed(told(&error.to_string())))?;
        if entries.len() > MAX_SESSION_SERVERS {
            return Err(NotPermitted::TooMany);
        }
        let mut permitted = BTreeMap::new();
        for (name, entry) in entries {
            if !is_server_name(&name) {
                return Err(NotPermitted::Name(told(&name)));
            }
            let server = entry.permitted(&name, options, egress, policy)?;
            permitted.insert(name, server);
        }
        Ok(SessionServers(permitted))
    }

    /// The names of the servers, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&SessionServer> {
        self.0.get(name)
    }
}

impl Entry {
    fn permitted(
        self,
        name: &str,
        options: &McpOptions,
        egress: &Egress,
        policy: &EgressPolicy,
    ) -> Result<SessionServer, NotPermitted> {
        let is_http = match self.r#type.as_deref() {
            None => self.url.is_some(),
            Some("http" | "streamable-http") => true,
            Some("stdio") => false,
            Some(_) => return Err(NotPermitted::Transport { name: name.to_owned() }),
        };
        match (options.servers.get(name), self.url) {
            (Some(server), None) => {
                let own = [self.command].into_iter().flatten().chain(self.args).collect();
                match is_same(&server.at, &own, &self.env) {
                    true => Ok(SessionServer::OfOperator),
                    false => Err(NotPermitted::OtherCommand { name: name.to_owned() }),
                }
            }
            (_, Some(url)) if is_http => {
                let headers: Vec<(String, String)> = self.headers.into_iter().collect();
                let own = OwnServer { url, headers, policy: policy.clone() };
                let checked = egress.check(&own.probe(), policy);
                checked.map_err(|error| NotPermitted::Url { name: name.to_owned(), error })?;
                Ok(SessionServer::Own(own))
            }
            (None, None) | (_, Some(_)) => {
                Err(NotPermitted::UnknownServer { name: name.to_owned() })
            }
        }
    }
}

/// Whether an entry that says how a process is started says nothing else than the operator does.
fn is_same(at: &ServerAddress, command: &Vec<String>, env: &BTreeMap<String, String>) -> bool {
    let is_command = match at {
        ServerAddress::Process(launch) => command.is_empty() || *command == launch.command,
        ServerAddress::Http { .. } => command.is_empty(),
    };
    is_command && env.is_empty()
}

impl OwnServer {
    /// The request that all requests to the server are like.
    pub(crate) fn probe(&self) -> EgressRequest {
        let request = EgressRequest::new("POST", self.url.clone());
        self.headers.iter().fold(request, |request, (name, value)| request.with_header(name, value))
    }
}

#[cfg(test)]
mod tests {
    use dormouse_base::memory::MemoryBudget;
    use dormouse_base::shares::Callers;
    use dormouse_egress::{EgressOptions, PolicyOwner};

    use super::*;
    use crate::options::{Launch, McpServer};

    fn read(servers: &str, operator: &str, session: &str) -> Result<SessionServers, NotPermitted> {
        let policy = |text: &str| text.parse::<EgressPolicy>().expect("it is a policy");
        let egress = EgressOptions { policy: policy(operator), ..EgressOptions::default() };
        let egress = Egress::new(egress, &MemoryBudget::new(1 << 20), &Callers::one());
        let launch = Launch {
            command: vec!["npx".to_owned(), "files".to_owned()],
            env: BTreeMap::new(),
            directory: None,
        };
        let url = "http://127.0.0.1/mcp".to_owned();
        let remote = ServerAddress::Http { url, headers: Vec::new() };
        let servers_of_operator = [("files", ServerAddress::Process(launch)), ("remote", remote)];
        let options = McpOptions {
            servers: servers_of_operator
                .map(|(name, at)| (name.to_owned(), McpServer::at(at)))
                .into(),
            ..McpOptions::default()
        };
        let servers = serde_json::from_str(servers).expect("it is JSON");
        SessionServers::read(&servers, &options, &egress.expect("it is made"), &policy(session))
    }

    #[test]
    fn a_session_has_the_processes_of_the_operator_by_name_and_no_other() {
        for servers in [
            r#"{"files":{}}"#,
            r#"{"files":{"type":"stdio"}}"#,
            r#"{"files":{"command":"npx","args":["files"]}}"#,
            r#"{"files":{},"remote":{}}"#,
            "{}",
        ] {
            read(servers, "a.example", "a.example").expect(servers);
        }
        let other = |servers: &str| read(servers, "*", "*").expect_err(servers);
        for servers in [
            r#"{"files":{"command":"sh","args":["-c","id"]}}"#,
            r#"{"files":{"command":"npx"}}"#,
            r#"{"files":{"args":["files"]}}"#,
            r#"{"files":{"command":"npx","args":["files"],"env":{"LD_PRELOAD":"/x"}}}"#,
            r#"{"remote":{"command":"npx","args":["files"]}}"#,
        ] {
            let expected = |name: &str| NotPermitted::OtherCommand { name: name.to_owned() };
            let name = if servers.contains("remote") { "remote" } else { "files" };
            assert_eq!(other(servers), expected(name));
        }
        let unknown = NotPermitted::UnknownServer { name: "shell".to_owned() };
        assert_eq!(other(r#"{"shell":{"command":"sh"}}"#), unknown);
        assert_eq!(other(r#"{"shell":{}}"#), unknown);
        assert!(unknown.to_string().contains("mcp.shell.command"));
    }

    #[test]
    fn a_url_of_a_session_needs_a_rule_of_the_operator_and_one_of_the_session() {
        let servers = r#"{"x":{"type":"http","url":"https://mcp.example/x","headers":{"a":"b"}}}"#;
        let permitted = read(servers, "mcp.example", "POST mcp.example").expect("both allow it");
        assert_eq!(permitted.names().collect::<Vec<_>>(), ["x"]);
        for (operator, session, expected) in [
            ("a.example", "mcp.example", PolicyOwner::Operator),
            ("mcp.example", "GET mcp.example", PolicyOwner::Session),
        ] {
            let error = read(servers, operator, session).expect_err(operator);
            let NotPermitted::Url { error: EgressError::NotAllowed { owner, rule }, .. } = error
            else {
                panic!("{error}")
            };
            assert_eq!((owner, rule.to_string().as_str()), (expected, "POST mcp.example"));
        }
    }

    #[test]
    fn a_url_under_the_name_of_a_process_is_the_url_and_never_the_process() {
        let servers = r#"{"files":{"type":"http","url":"https://mcp.example/x"}}"#;
        let permitted = read(servers, "mcp.example", "mcp.example").expect("both allow it");
        assert!(matches!(permitted.get("files"), Some(SessionServer::Own(_))));
    }

    #[test]
    fn what_describes_no_server_says_what_to_write() {
        for (servers, expected) in [
            ("[]", "must have an object for each name"),
            (r#"{"files":{"comand":"npx"}}"#, "unknown field `comand`"),
            (r#"{"a__b":{}}"#, "no __"),
            (r#"{"x":{"type":"sse","url":"https://a.example"}}"#, "must be \"http\""),
            (r#"{"x":{"type":"http","url":"file:///etc/passwd"}}"#, "must begin with http"),
            (
                r#"{"x":{"url":"https://a.example","headers":{"a":"{{secret:NO}}"}}}"#,
                "no secret `NO`",
            ),
            (r#"{"x":{"url":"https://a.example","headers":{"host":"b"}}}"#, "written by the host"),
        ] {
            let error = read(servers, "*", "*").expect_err(servers).to_string();
            assert!(error.contains(expected), "{servers}: {error}");
        }
        let many: Vec<String> = (0..17).map(|n| format!("\"s{n}\":{{}}")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(read(&many, "*", "*"), Err(NotPermitted::TooMany));
    }
}
