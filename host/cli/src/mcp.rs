//! The MCP servers that sessions may name, as the configuration says it.
//!
//! In the file they are tables, `[mcp.files]`. No value of a secret stands in any of them: an environment names the
//! variables that it takes from that of the server, and headers have placeholders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::models::Unusable;
use super::models::providers::entries;
use super::value;
use dormouse::mcp::{Launch, McpOptions, McpServer, ServerAddress, is_server_name};

/// What is shown where nothing is configured.
const NONE: &str = "none";
/// Servers that the banner names at most.
const NAMED: usize = 5;
/// What one table may say.
const SETTINGS: &str =
    "command, env.NAME, env-pass, cwd, url, headers.NAME, tools, instance, call-timeout";

/// What the configuration says of MCP servers.
#[derive(Clone, Debug)]
pub(super) struct McpSettings {
    pub(super) servers: Vec<ServerSetting>,
    pub(super) max_processes: usize,
    pub(super) idle: Duration,
}

impl Default for McpSettings {
    fn default() -> McpSettings {
        let McpOptions { max_processes, idle, .. } = McpOptions::default();
        McpSettings { servers: Vec::new(), max_processes, idle }
    }
}

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerSetting {
    name: String,
    at: Address,
    tools: BTreeSet<String>,
    instance: Instance,
    call_timeout: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Process {
        command: Vec<String>,
        env: BTreeMap<String, String>,
        /// The names of variables that are as the server has them.
        env_pass: Vec<String>,
        cwd: Option<PathBuf>,
    },
    Http {
        url: String,
        headers: BTreeMap<String, String>,
    },
}

/// Who has a process or an HTTP session together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Instance {
    /// The sessions of one owner.
    #[default]
    Owner,
    /// All sessions of the host.
    Shared,
}

impl McpSettings {
    /// The options of a host that is configured so. `variable` reads the environment.
    ///
    /// # Errors
    /// A variable that a server is to have is not set.
    pub(super) fn options(
        &self,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<McpOptions, Unusable> {
        let server = |setting: &ServerSetting| {
            let server = setting.server(variable).map_err(|problem| Unusable {
                setting: "mcp",
                problem: format!("has the server {}: {problem}", setting.name),
            });
            server.map(|server| (setting.name.clone(), server))
        };
        Ok(McpOptions {
            servers: self.servers.iter().map(server).collect::<Result<_, _>>()?,
            max_processes: self.max_processes,
            idle: self.idle,
        })
    }
}

/// The servers in one line, for the start of a host.
pub(super) fn summary(servers: &BTreeMap<String, McpServer>) -> String {
    let shown: Vec<&str> = servers.keys().take(NAMED).map(String::as_str).collect();
    match servers.len().saturating_sub(NAMED) {
        0 if shown.is_empty() => "no MCP servers (see mcp)".to_owned(),
        0 => format!("MCP servers {}", shown.join(", ")),
        more => format!("MCP servers {} and {more} more", shown.join(", ")),
    }
}

impl ServerSetting {
    fn server(&self, variable: &dyn Fn(&str) -> Option<String>) -> Result<McpServer, String> {
        let at = match &self.at {
            Address::Process { command, env, env_pass, cwd } => {
                let mut env = env.clone();
                for name in env_pass {
                    let value = variable(name);
                    let value =
                        value.ok_or(format!("its env-pass names {name}, which is not set"))?;
                    env.insert(name.clone(), value);
                }
                let (command, directory) = (command.clone(), cwd.clone());
                ServerAddress::Process(Launch { command, env, directory })
            }
            Address::Http { url, headers } => ServerAddress::Http {
                url: url.clone(),
                headers: headers.clone().into_iter().collect(),
            },
        };
        let usual = McpServer::at(at);
        Ok(McpServer {
            tools: (!self.tools.is_empty()).then(|| self.tools.clone()),
            is_shared: self.instance == Instance::Shared,
            call_timeout: self.call_timeout.unwrap_or(usual.call_timeout),
            ..usual
        })
    }

    /// The entries that are read as this.
    fn entries(&self) -> Vec<String> {
        let mut said: Vec<(String, String)> = Vec::new();
        let mut say = |setting: &str, value: String| said.push((setting.to_owned(), value));
        match &self.at {
            Address::Process { command, env, env_pass, cwd } => {
                say("command", command.join(" "));
                env.iter().for_each(|(name, value)| say(&format!("env.{name}"), value.clone()));
                if !env_pass.is_empty() {
                    say("env-pass", env_pass.join(" "));
                }
                cwd.iter().for_each(|cwd| say("cwd", cwd.display().to_string()));
            }
            Address::Http { url, headers } => {
                say("url", url.clone());
                let all = headers.iter();
                all.for_each(|(name, value)| say(&format!("headers.{name}"), value.clone()));
            }
        }
        if !self.tools.is_empty() {
            say("tools", Vec::from_iter(self.tools.iter().cloned()).join(" "));
        }
        match self.instance {
            Instance::Owner => {}
            Instance::Shared => say("instance", "shared".to_owned()),
        }
        self.call_timeout.iter().for_each(|time| say("call-timeout", value::show_duration(*time)));
        said.iter().map(|(setting, value)| format!("{}.{setting}={value}", self.name)).collect()
    }
}

/// What is known of a server while its entries are read.
#[derive(Default)]
struct Draft {
    name: String,
    command: Vec<String>,
    env: BTreeMap<String, String>,
    env_pass: Vec<String>,
    cwd: Option<PathBuf>,
    url: Option<String>,
    headers: BTreeMap<String, String>,
    tools: BTreeSet<String>,
    instance: Instance,
    call_timeout: Option<Duration>,
}

/// Read a list of settings of servers, each `NAME.SETTING=VALUE`.
///
/// # Errors
/// What the entry must be that is none, or what a server lacks. No value is repeated: one may be a secret that stands
/// where none belongs.
pub(super) fn read(text: &str) -> Result<Vec<ServerSetting>, String> {
    let mut drafts: Vec<Draft> = Vec::new();
    for (path, value) in entries(text) {
        set(&mut drafts, path, value)
            .map_err(|problem| format!("has the entry '{path}': {problem}"))?;
    }
    drafts.into_iter().map(Draft::finish).collect()
}

/// The list that is read as these.
pub(super) fn show_all(servers: &[ServerSetting]) -> String {
    let entries: Vec<String> = servers.iter().flat_map(ServerSetting::entries).collect();
    if entries.is_empty() { NONE.to_owned() } else { entries.join(",") }
}

fn set(drafts: &mut Vec<Draft>, path: &str, value: &str) -> Result<(), String> {
    let (name, setting) = path.split_once('.').ok_or("it must be NAME.SETTING=VALUE")?;
    if !is_server_name(name) {
        let problem = "the name of a server has at most 64 letters, digits, - and _, no _ at an end and no __";
        return Err(problem.to_owned());
    }
    let known = drafts.iter().position(|draft| draft.name == name).unwrap_or_else(|| {
        drafts.push(Draft { name: name.to_owned(), ..Draft::default() });
        drafts.len() - 1
    });
    drafts[known].set(setting, value)
}

impl Draft {
    fn set(&mut self, setting: &str, value: &str) -> Result<(), String> {
        let words = || value.split_whitespace().map(str::to_owned);
        match setting.split_once('.').unwrap_or((setting, "")) {
            ("command", "") => self.command = words().collect(),
            ("env", name @ ("" | "PATH")) => {
                return Err(format!("'{name}' is no name that can be set"));
            }
            ("env", name) => drop(self.env.insert(name.to_owned(), value.to_owned())),
            ("env-pass", "") => self.env_pass = words().collect(),
            ("cwd", "") => self.cwd = Some(PathBuf::from(value)),
            ("url", "") => self.url = Some(value.to_owned()),
            ("headers", name @ "") => return Err(format!("'{name}' is no name of a header")),
            ("headers", name) => drop(self.headers.insert(name.to_owned(), value.to_owned())),
            ("tools", "") => self.tools = words().collect(),
            ("instance", "") => {
                self.instance = match value {
                    "owner" => Instance::Owner,
                    "shared" => Instance::Shared,
                    _ => return Err("must be owner or shared".to_owned()),
                }
            }
            ("call-timeout", "") => self.call_timeout = Some(value::positive_duration(value)?),
            _ => return Err(format!("there is no setting {setting}; there are {SETTINGS}")),
        }
        Ok(())
    }

    fn finish(self) -> Result<ServerSetting, String> {
        let Draft { name, command, env, env_pass, cwd, url, headers, .. } = self;
        let is_of_process = !env.is_empty() || !env_pass.is_empty() || cwd.is_some();
        let at = match (command.is_empty(), url) {
            (false, None) if headers.is_empty() => Address::Process { command, env, env_pass, cwd },
            (true, Some(url)) if !is_of_process => Address::Http { url, headers },
            (true, None) => return Err(format!("has no {name}.command and no {name}.url")),
            (false, Some(_)) => {
                return Err(format!("has {name}.command and {name}.url: one of them is meant"));
            }
            (false, None) => return Err(format!("has {name}.headers, which go with {name}.url")),
            (true, Some(_)) => {
                return Err(format!(
                    "has {name}.env, {name}.env-pass or {name}.cwd, which go with {name}.command"
                ));
            }
        };
        let (tools, instance, call_timeout) = (self.tools, self.instance, self.call_timeout);
        Ok(ServerSetting { name, at, tools, instance, call_timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "files.command=npx files-server /srv,files.env.A=b c,files.env-pass=TOKEN,\
                        files.cwd=/srv,files.tools=list read,files.instance=shared,\
                        files.call-timeout=30s,\
                        remote.url=https://mcp.example/x,\
                        remote.headers.authorization=Bearer {{secret:x}}";

    fn settings(text: &str) -> McpSettings {
        McpSettings { servers: read(text).expect("it reads"), ..McpSettings::default() }
    }

    #[test]
    fn servers_read_back_as_what_they_are_shown_as() {
        assert_eq!(show_all(&read(BOTH).expect("it reads")), BOTH);
        assert_eq!(read(NONE), Ok(Vec::new()));
        assert_eq!(show_all(&[]), NONE);
    }

    #[test]
    fn a_host_has_the_servers_of_the_configuration_with_variables_of_the_environment() {
        let options = settings(BOTH).options(&|_| Some("secret".to_owned())).expect("it is set");
        let files = &options.servers["files"];
        let ServerAddress::Process(launch) = &files.at else { panic!("{files:?}") };
        assert_eq!(launch.command, ["npx", "files-server", "/srv"]);
        assert_eq!((launch.env["A"].as_str(), launch.env["TOKEN"].as_str()), ("b c", "secret"));
        assert!(files.is_shared && files.call_timeout == Duration::from_secs(30));
        assert_eq!(files.tools.as_ref().map(BTreeSet::len), Some(2));
        assert!(!options.servers["remote"].is_shared && options.servers["remote"].tools.is_none());
        let unusable = settings(BOTH).options(&|_| None).unwrap_err();
        let expected = "has the server files: its env-pass names TOKEN, which is not set";
        assert_eq!((unusable.setting, unusable.problem.as_str()), ("mcp", expected));
        assert_eq!(summary(&options.servers), "MCP servers files, remote");
        assert_eq!(summary(&BTreeMap::new()), "no MCP servers (see mcp)");
    }

    #[test]
    fn what_is_no_server_says_what_it_lacks_and_repeats_no_value() {
        for (list, expected) in [
            ("a", "must be NAME.SETTING=VALUE"),
            ("a__b.command=x", "no __"),
            ("a.key=sk-1", "there is no setting key"),
            ("a.env.PATH=sk-1", "no name that can be set"),
            ("a.instance=sk-1", "must be owner or shared"),
            ("a.call-timeout=sk-1", "must be"),
            ("a.tools=x", "has no a.command and no a.url"),
            ("a.command=x,a.url=sk-1", "one of them is meant"),
            ("a.command=x,a.headers.b=sk-1", "go with a.url"),
            ("a.url=x,a.env.b=sk-1", "go with a.command"),
        ] {
            let problem = read(list).expect_err(list);
            assert!(problem.contains(expected) && !problem.contains("sk-"), "{list}: {problem}");
        }
    }
}
