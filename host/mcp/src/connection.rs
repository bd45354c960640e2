//! One connection with one server: a process, or an HTTP session.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, ClientRequest, Implementation,
    JsonObject, PaginatedRequestParams, PingRequest,
};
use rmcp::service::{RunningService, ServiceError};
use rmcp::transport::streamable_http_client::{
    StreamableHttpClientTransportConfig, StreamableHttpClientWorker,
};
use rmcp::transport::{Transport, WorkerTransport};
use rmcp::{ClientCacheConfig, RoleClient, ServiceExt};

use crate::content::{self, McpResult};
use crate::error::McpError;
use crate::failure;
use crate::http_client::HttpClient;
use crate::options::Launch;
use crate::process::ServerProcess;
use crate::screen::Screen;
use crate::stdio::{Stdio, Work};
use crate::tools::Listing;
use dormouse_base::shares::Share;

/// How long a server may take until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to list its tools.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a server may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a list is good. A server that says that it has changed is asked at once.
const LIST_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// The most pages of a list.
const MAX_PAGES: usize = 16;

/// A connection that is ready. It ends when it is dropped.
pub(crate) struct Connection {
    service: RunningService<RoleClient, ClientConfig>,
    work: Work,
    has_changed: Arc<AtomicBool>,
    listing: tokio::sync::Mutex<Option<(Duration, Arc<Listing>)>>,
    /// When it was last asked, in milliseconds of the monotonic clock.
    used: AtomicU64,
    /// The place among those of processes or of HTTP sessions. Free again once the connection is dropped.
    _place: Share,
}

/// How a connection is made.
pub(crate) enum Way {
    Process(Arc<Launch>),
    Http { url: String, client: HttpClient },
}

impl Connection {
    /// Start or reach a server, and agree on the protocol.
    pub(crate) async fn open(way: &Way, work: Work, place: Share) -> Result<Connection, McpError> {
        let has_changed = Arc::new(AtomicBool::new(false));
        let service = match way {
            Way::Process(launch) => {
                let (process, pipes) = ServerProcess::start(launch)
                    .map_err(|error| failure::not_started(&work.server, &error))?;
                let stdio = Stdio::new(process, pipes, &work);
                agree(Screen::new(stdio, has_changed.clone()), &work).await?
            }
            Way::Http { url, client } => {
                let config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
                let worker = StreamableHttpClientWorker::new(client.clone(), config);
                let transport = WorkerTransport::spawn(worker);
                agree(Screen::new(transport, has_changed.clone()), &work).await?
            }
        };
        // Lists are kept here, where a clock that is turned by hand says how old they are.
        service.peer().set_response_cache_config(ClientCacheConfig::disabled()).await;
        let connection = Connection {
            service,
            work,
            has_changed,
            listing: tokio::sync::Mutex::default(),
            used: AtomicU64::new(0),
            _place: place,
        };
        connection.note_use();
        Ok(connection)
    }

    /// Whether the server is there, as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        !self.service.peer().is_transport_closed()
    }

    /// When it was last asked, by the monotonic clock.
    pub(crate) fn used(&self) -> Duration {
        Duration::from_millis(self.used.load(Ordering::Relaxed))
    }

    fn note_use(&self) {
        let now = u64::try_from(self.work.clock.monotonic().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    /// Ask the server whether it is there.
    pub(crate) async fn ping(&self) -> Result<(), McpError> {
        let ping = ClientRequest::PingRequest(PingRequest::default());
        self.ask(PING_TIMEOUT, self.service.peer().send_request(ping)).await.map(drop)
    }

    /// The tools of the server, as it last listed them.
    pub(crate) async fn listing(
        &self,
        allowed: Option<&BTreeSet<String>>,
    ) -> Result<Arc<Listing>, McpError> {
        let mut known = self.listing.lock().await;
        let has_changed = self.has_changed.swap(false, Ordering::Relaxed);
        let now = self.work.clock.monotonic();
        if let Some((since, listing)) = &*known
            && !has_changed
            && now.saturating_sub(*since) < LIST_LIFETIME
        {
            return Ok(listing.clone());
        }
        *known = None;
        let listing = Arc::new(self.ask(LIST_TIMEOUT, self.pages(allowed)).await?);
        if listing.left_out > 0 {
            let (server, left_out) = (&self.work.server, listing.left_out);
            tracing::warn!(%server, left_out, "tools of an MCP server are too many, too large or misnamed");
        }
        *known = Some((now, listing.clone()));
        Ok(listing)
    }

    async fn pages(&self, allowed: Option<&BTreeSet<String>>) -> Result<Listing, ServiceError> {
        let mut listing = Listing::default();
        let mut cursor = None;
        for _ in 0..MAX_PAGES {
            let asked =
                cursor.take().map(|it| PaginatedRequestParams::default().with_cursor(Some(it)));
            let page = self.service.peer().list_tools(asked).await?;
            page.tools.into_iter().for_each(|tool| listing.add(tool, allowed));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(listing)
    }

    /// Call a tool by its own name. A call that is dropped is cancelled at the server.
    pub(crate) async fn call(
        &self,
        tool: String,
        arguments: JsonObject,
        within: Duration,
    ) -> Result<McpResult, McpError> {
        let call = CallToolRequestParams::new(tool).with_arguments(arguments);
        let sent = self.ask(within, self.service.peer().call_tool(call)).await?;
        content::result(&self.work.server, sent)
    }

    async fn ask<T>(
        &self,
        within: Duration,
        asking: impl Future<Output = Result<T, ServiceError>>,
    ) -> Result<T, McpError> {
        self.note_use();
        let deadline = self.work.clock.now().after(within);
        let answered = tokio::select! {
            answered = asking => answered.map_err(|error| failure::of_request(&self.work.server, error)),
            () = self.work.clock.sleep_until(deadline) => {
                Err(McpError::TimedOut { server: self.work.server.to_string(), after: within })
            }
        };
        self.note_use();
        answered
    }
}

/// Agree on the protocol with a server.
async fn agree<T: Transport<RoleClient> + 'static>(
    transport: Screen<T>,
    work: &Work,
) -> Result<RunningService<RoleClient, ClientConfig>, McpError> {
    let own = Implementation::new("dormouse", env!("CARGO_PKG_VERSION"));
    let client = ClientConfig::new(ClientCapabilities::default(), own);
    let deadline = work.clock.now().after(START_TIMEOUT);
    tokio::select! {
        agreed = client.serve(transport) => {
            agreed.map_err(|error| failure::of_start(&work.server, error))
        }
        () = work.clock.sleep_until(deadline) => {
            let problem = format!("it was not ready in {} s", START_TIMEOUT.as_secs());
            Err(failure::unavailable(&work.server, problem))
        }
    }
}
