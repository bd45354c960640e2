//! The client of MCP servers, against servers that misbehave (`server.py`) and against public ones.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod http;
mod owners;
mod public;
mod stdio;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dormouse_base::clock::{Clock, ManualClock};
use dormouse_base::memory::MemoryBudget;
use dormouse_base::shares::Callers;
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::id::Principal;
use dormouse_domain::turn::Part;
use dormouse_egress::{Egress, EgressOptions};
use dormouse_mcp::{
    Launch, McpError, McpOptions, McpResult, McpServer, McpServers, McpTool, ServerAddress,
    SessionServers,
};
use tempfile::TempDir;

/// The servers of a host, and what servers have noted.
struct World {
    servers: McpServers,
    egress: Arc<Egress>,
    clock: ManualClock,
    memory: MemoryBudget,
    notes: TempDir,
}

/// What a host is made of. Its owners are several.
struct Making {
    options: McpOptions,
    egress: EgressOptions,
    notes: TempDir,
}

impl Making {
    fn new() -> Making {
        Making {
            options: McpOptions::default(),
            egress: EgressOptions::default(),
            notes: TempDir::new().unwrap(),
        }
    }

    /// With a process of this name that does as this says.
    fn with_process(self, name: &str, how: &str) -> Making {
        let at = ServerAddress::Process(self.launch(how));
        self.with(name, McpServer::at(at))
    }

    fn launch(&self, how: &str) -> Launch {
        let notes = self.notes.path().display().to_string();
        let command = ["python3", SERVER, "stdio", how, &notes].map(str::to_owned).to_vec();
        Launch { command, env: BTreeMap::new(), directory: None }
    }

    fn with(mut self, name: &str, server: McpServer) -> Making {
        self.options.servers.insert(name.to_owned(), server);
        self
    }

    fn make(self) -> World {
        let (clock, memory) = (ManualClock::new(), MemoryBudget::new(1 << 30));
        let callers = Callers::several();
        let egress = Arc::new(Egress::new(self.egress, &memory, &callers).unwrap());
        let servers =
            McpServers::new(self.options, egress.clone(), Clock::manual(&clock), &memory, &callers);
        World { servers: servers.unwrap(), egress, clock, memory, notes: self.notes }
    }
}

const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server.py");

fn owner(name: &str) -> Principal {
    Principal(name.to_owned())
}

impl World {
    /// The servers of a session with this in its configuration, that may reach all that the operator allows.
    fn session(&self, servers: &str) -> SessionServers {
        let policy: EgressPolicy = "*:*".parse().unwrap();
        let servers = serde_json::from_str(servers).unwrap();
        SessionServers::read(&servers, self.servers.options(), &self.egress, &policy).unwrap()
    }

    /// All servers of the operator.
    fn all(&self) -> SessionServers {
        let names = self.servers.options().servers.keys();
        let entries: Vec<String> = names.map(|name| format!("\"{name}\":{{}}")).collect();
        self.session(&format!("{{{}}}", entries.join(",")))
    }

    async fn tools(&self, server: &str) -> Result<Vec<McpTool>, McpError> {
        self.servers.tools(&owner("ann"), &self.all(), server).await
    }

    /// Call a tool without arguments, for ann.
    async fn call(&self, server: &str, tool: &str) -> Result<McpResult, McpError> {
        self.call_for("ann", server, tool, "{}").await
    }

    async fn call_for(
        &self,
        who: &str,
        server: &str,
        tool: &str,
        arguments: &str,
    ) -> Result<McpResult, McpError> {
        self.servers.call(&owner(who), &self.all(), server, tool, arguments).await
    }

    /// What a tool says, in its only part.
    async fn says(&self, server: &str, tool: &str) -> String {
        text(&self.call(server, tool).await.unwrap()).to_owned()
    }

    /// Call a tool on another task.
    fn calling(
        &self,
        server: &str,
        tool: &str,
    ) -> tokio::task::JoinHandle<Result<McpResult, McpError>> {
        let (servers, session) = (self.servers.clone(), self.all());
        let (server, tool) = (server.to_owned(), tool.to_owned());
        tokio::spawn(
            async move { servers.call(&owner("ann"), &session, &server, &tool, "{}").await },
        )
    }

    fn path(&self, note: &str) -> PathBuf {
        self.notes.path().join(note)
    }

    /// Until a server has noted this.
    async fn noted(&self, note: &str) {
        let path = self.path(note);
        until(|| path.exists()).await;
    }

    /// How often servers have counted this.
    fn counted(&self, note: &str) -> usize {
        std::fs::read(self.path(note)).map_or(0, |counted| counted.len())
    }

    fn turn(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Turn the clock until this is so: what is waited for may begin to wait only now.
    async fn turn_until(&self, seconds: u64, is_so: impl Fn() -> bool) {
        until(|| {
            self.turn(seconds);
            is_so()
        })
        .await;
    }
}

/// Give other tasks and processes time until this is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    let clock = Clock::real();
    while !is_so() {
        clock.back_off(Duration::from_millis(2)).await;
    }
}

fn text(result: &McpResult) -> &str {
    let [Part::Text(text)] = result.content.as_slice() else { panic!("{result:?}") };
    text
}

/// Whether a process is there and has not ended.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    status.is_ok_and(|status| !status.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
}
