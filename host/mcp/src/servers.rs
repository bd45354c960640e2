//! All MCP servers of a host: who may ask which, over which connection.
//!
//! ```text
//!  session's servers, name ─▶ Slot of (server, owner) ─▶ circuit: is it left alone? ─▶ place ─▶ Connection
//!                                                  │ failed, hung, idle: dropped; asked again: made anew
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::connection::{Connection, Way};
use crate::content::McpResult;
use crate::error::{McpError, told};
use crate::http_client::HttpClient;
use crate::options::{InvalidMcp, McpOptions, McpServer, ServerAddress};
use crate::scan::MAX_MESSAGE;
use crate::session::{OwnServer, SessionServer, SessionServers};
use crate::slot::Slot;
use crate::stdio::Work;
use crate::tools::{McpTool, arguments};
use dormouse_base::clock::Clock;
use dormouse_base::memory::MemoryBudget;
use dormouse_base::memory::pool::Pool;
use dormouse_base::shares::{Callers, Share, Shares};
use dormouse_domain::egress::EgressPolicy;
use dormouse_domain::id::Principal;
use dormouse_egress::Egress;

/// The most HTTP sessions with servers at a time.
const MAX_HTTP: u64 = 1_024;
/// The most servers of owners that something is known of.
const MAX_SLOTS: u64 = 4_096;
/// How long a call may take to a server that a session names itself.
const OWN_CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// When it is worth while to try again where others have all places.
const BUSY_RETRY: Duration = Duration::from_secs(5);

/// The MCP servers of a host. All clones are the same.
#[derive(Clone)]
pub struct McpServers(Arc<Inner>);

pub(crate) struct Inner {
    options: McpOptions,
    egress: Arc<Egress>,
    clock: Clock,
    memory: Pool,
    processes: Shares,
    http: Shares,
    known: Shares,
    callers: Callers,
    slots: Mutex<HashMap<SlotKey, Arc<Slot>>>,
    /// The runtime that serves connections.
    runtime: Handle,
}

/// Whose connection to what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SlotKey {
    name: String,
    server: SessionServer,
    /// `None`: all owners share it.
    owner: Option<Principal>,
}

/// The tools of the servers of a session.
#[derive(Clone, Debug, Default)]
pub struct McpTools {
    /// Each tool, with the name of its server.
    pub tools: Vec<(String, McpTool)>,
    /// The servers that have not listed theirs, and why.
    pub unavailable: Vec<(String, McpError)>,
}

impl fmt::Debug for McpServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.options.servers.keys()).finish()
    }
}

impl McpServers {
    /// The servers of a host that is made on the runtime that serves connections. Nothing is started yet. What servers
    /// send is charged to a part of `memory` that the owners share.
    ///
    /// # Errors
    /// [`InvalidMcp`]
    pub fn new(
        options: McpOptions,
        egress: Arc<Egress>,
        clock: Clock,
        memory: &MemoryBudget,
        callers: &Callers,
    ) -> Result<McpServers, InvalidMcp> {
        options.check()?;
        let shares = |all| Shares::new(all, callers.clone());
        Ok(McpServers(Arc::new(Inner {
            processes: shares(options.max_processes as u64),
            http: shares(MAX_HTTP),
            known: shares(MAX_SLOTS),
            memory: Pool::new(memory, MAX_MESSAGE as u64, callers.clone()),
            callers: callers.clone(),
            options,
            egress,
            clock,
            slots: Mutex::default(),
            runtime: Handle::current(),
        })))
    }

    /// What the operator says of servers: for [`SessionServers::read`].
    #[must_use]
    pub fn options(&self) -> &McpOptions {
        &self.0.options
    }

    /// The tools of all servers of a session of this owner. They are asked at the same time; one that is not there keeps
    /// nobody from the tools of the others.
    pub async fn list(&self, owner: &Principal, servers: &SessionServers) -> McpTools {
        let asked = servers
            .names()
            .map(|name| async move { (name.to_owned(), self.tools(owner, servers, name).await) });
        let mut all = McpTools::default();
        for (server, listed) in futures::future::join_all(asked).await {
            match listed {
                Ok(tools) => all.tools.extend(tools.into_iter().map(|tool| (server.clone(), tool))),
                Err(error) => all.unavailable.push((server, error)),
            }
        }
        all
    }

    /// The tools of one server of a session of this owner.
    ///
    /// # Errors
    /// [`McpError`]
    pub async fn tools(
        &self,
        owner: &Principal,
        servers: &SessionServers,
        server: &str,
    ) -> Result<Vec<McpTool>, McpError> {
        let slot = self.slot(owner, servers, server)?;
        let (inner, owner) = (self.0.clone(), owner.clone());
        let listed = on(&self.0.runtime, async move {
            let allowed = slot.allowed();
            let asking = |it: Arc<Connection>| async move { it.listing(allowed).await };
            slot.ask(&inner, &owner, asking).await
        })
        .await;
        count("list", &listed);
        Ok(listed?.tools.clone())
    }

    /// Call a tool of a server of a session of this owner, with arguments that are one JSON object. A call that is dropped
    /// is cancelled at the server.
    ///
    /// # Errors
    /// [`McpError`]; [`McpError::may_have_happened`] says whether the tool may have been at work.
    pub async fn call(
        &self,
        owner: &Principal,
        servers: &SessionServers,
        server: &str,
        tool: &str,
        arguments_json: &str,
    ) -> Result<McpResult, McpError> {
        let slot = self.slot(owner, servers, server)?;
        let arguments = arguments(arguments_json)?;
        let (inner, owner, tool) = (self.0.clone(), owner.clone(), tool.to_owned());
        let called = on(&self.0.runtime, async move {
            let own = &slot;
            let asking = |connection: Arc<Connection>| async move {
                let listing = connection.listing(own.allowed()).await?;
                let own_name = listing.tool(own.server(), &tool)?.own_name.clone();
                connection.call(own_name, arguments, own.call_timeout()).await
            };
            slot.ask(&inner, &owner, asking).await
        })
        .await;
        count("call", &called);
        called
    }

    fn slot(
        &self,
        owner: &Principal,
        servers: &SessionServers,
        name: &str,
    ) -> Result<Arc<Slot>, McpError> {
        let not_permitted = || McpError::NotPermitted { server: told(name) };
        let server = servers.get(name).ok_or_else(not_permitted)?;
        let asked = match server {
            // The operator may have taken it away since the session was created.
            SessionServer::OfOperator => {
                Asked::OfOperator(self.0.options.servers.get(name).ok_or_else(not_permitted)?)
            }
            SessionServer::Own(own) => Asked::Own(own),
        };
        let owner = match asked {
            Asked::OfOperator(server) if server.is_shared => None,
            Asked::OfOperator(_) | Asked::Own(_) => Some(owner.clone()),
        };
        self.0.slot(SlotKey { name: name.to_owned(), server: server.clone(), owner }, asked)
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, HashMap<SlotKey, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, key: SlotKey, asked: Asked<'_>) -> Result<Arc<Slot>, McpError> {
        let mut slots = self.slots();
        if let Some(known) = slots.get(&key) {
            return Ok(known.clone());
        }
        let owner = key.owner.clone().unwrap_or_else(everybody);
        // Those that would not be missed make room.
        let now = self.clock.monotonic();
        slots.retain(|_, slot| !slot.is_forgotten(now));
        let share = self.known.take(&owner, 1).ok_or(McpError::Busy { retry_after: BUSY_RETRY })?;
        let slot = Arc::new(self.new_slot(&key.name, owner, asked, share));
        slots.insert(key, slot.clone());
        Ok(slot)
    }

    fn new_slot(&self, name: &str, owner: Principal, asked: Asked<'_>, share: Share) -> Slot {
        let (way, allowed, call_timeout) = match asked {
            Asked::Own(OwnServer { url, headers, policy }) => {
                let policy = Some(Arc::new(policy.clone()));
                (self.http(&owner, url, headers, policy), None, OWN_CALL_TIMEOUT)
            }
            Asked::OfOperator(server) => {
                let way = match &server.at {
                    ServerAddress::Http { url, headers } => self.http(&owner, url, headers, None),
                    ServerAddress::Process(launch) => Way::Process(Arc::new(launch.clone())),
                };
                (way, server.tools.clone(), server.call_timeout)
            }
        };
        let work = Work {
            server: name.into(),
            owner,
            clock: self.clock.clone(),
            memory: self.memory.clone(),
        };
        Slot::new(work, way, allowed, call_timeout, self.callers.clone(), share)
    }

    fn http(
        &self,
        owner: &Principal,
        url: &str,
        headers: &[(String, String)],
        policy: Option<Arc<EgressPolicy>>,
    ) -> Way {
        let (egress, owner) = (self.egress.clone(), owner.clone());
        let client = HttpClient { egress, owner, headers: headers.into(), policy };
        Way::Http { url: url.to_owned(), client }
    }

    /// A place for a connection of this server. Where its owner has no more, the one that its owner has not used for the
    /// longest is ended.
    pub(crate) fn place(&self, slot: &Slot) -> Result<Share, McpError> {
        let shares = self.places(slot);
        let taken = shares.take(slot.owner(), 1).or_else(|| {
            let others: Vec<Arc<Slot>> = self.slots().values().cloned().collect();
            let same = others
                .iter()
                .filter(|it| it.owner() == slot.owner() && std::ptr::eq(self.places(it), shares));
            let idle = same.filter_map(|it| it.idle_since().map(|since| (since, it)));
            let (_, longest) = idle.min_by_key(|(since, _)| *since)?;
            longest.end_idle();
            shares.take(slot.owner(), 1)
        });
        taken.ok_or(McpError::Busy { retry_after: BUSY_RETRY })
    }

    fn places(&self, slot: &Slot) -> &Shares {
        match slot.way() {
            Way::Process(_) => &self.processes,
            Way::Http { .. } => &self.http,
        }
    }

    /// How long a server that nobody asks is kept.
    pub(crate) fn idle(&self) -> Duration {
        self.options.idle
    }

    /// Look after a connection on the runtime that serves them.
    pub(crate) fn watch(&self, watching: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(watching);
    }
}

/// What a session asks.
#[derive(Clone, Copy)]
enum Asked<'s> {
    OfOperator(&'s McpServer),
    Own(&'s OwnServer),
}

/// Do this on another runtime, unless it is dropped.
async fn on<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = Result<T, McpError>> + Send + 'static,
) -> Result<T, McpError> {
    let mut tasks = JoinSet::new();
    tasks.spawn_on(work, runtime);
    match tasks.join_next().await {
        Some(Ok(done)) => done,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) | None => Err(McpError::Busy { retry_after: BUSY_RETRY }),
    }
}

fn count<T>(what: &'static str, done: &Result<T, McpError>) {
    let outcome = match done {
        Ok(_) => "answered",
        Err(error) => error.as_str(),
    };
    metrics::counter!("dormouse_mcp_requests_total", "request" => what, "outcome" => outcome)
        .increment(1);
}

fn everybody() -> Principal {
    Principal(String::new())
}
