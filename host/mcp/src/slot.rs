//! What is known of one server of one owner: its connection, and whether it works.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::connection::{Connection, Way};
use crate::error::McpError;
use crate::servers::Inner;
use crate::stdio::Work;
use dormouse_base::circuit::Circuit;
use dormouse_base::shares::{Callers, FairSemaphore, Share};
use dormouse_domain::id::Principal;

/// Calls that are under way with one server at a time.
const MAX_CALLS: usize = 16;
/// How long a call waits for others at most.
const CALL_WAIT: Duration = Duration::from_secs(30);

/// A server of an owner.
pub(crate) struct Slot {
    work: Work,
    way: Way,
    allowed: Option<BTreeSet<String>>,
    call_timeout: Duration,
    circuit: Mutex<Circuit>,
    calls: FairSemaphore,
    /// Held while a connection is made: whoever comes meanwhile waits for it.
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    /// The server is being asked whether it is there.
    is_checked: AtomicBool,
    _share: Share,
}

impl Slot {
    pub(crate) fn new(
        work: Work,
        way: Way,
        allowed: Option<BTreeSet<String>>,
        call_timeout: Duration,
        callers: Callers,
        share: Share,
    ) -> Slot {
        Slot {
            work,
            way,
            allowed,
            call_timeout,
            // One failure is enough: to start a process again and again costs more than to wait.
            circuit: Mutex::new(Circuit::opened_by(1)),
            calls: FairSemaphore::new(MAX_CALLS, callers),
            connection: tokio::sync::Mutex::default(),
            is_checked: AtomicBool::new(false),
            _share: share,
        }
    }

    pub(crate) fn server(&self) -> &str {
        &self.work.server
    }

    pub(crate) fn owner(&self) -> &Principal {
        &self.work.owner
    }

    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    pub(crate) fn allowed(&self) -> Option<&BTreeSet<String>> {
        self.allowed.as_ref()
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Nobody uses it, and nothing is known that would be missed.
    pub(crate) fn is_forgotten(self: &Arc<Self>, now: Duration) -> bool {
        let is_closed = || self.connection.try_lock().is_ok_and(|held| held.is_none());
        Arc::strong_count(self) == 1 && is_closed() && self.circuit().wait(now).is_none()
    }

    /// When the connection was last used, where there is one that nobody uses now.
    pub(crate) fn idle_since(&self) -> Option<Duration> {
        let held = self.connection.try_lock().ok()?;
        held.as_ref().filter(|it| Arc::strong_count(it) == 1).map(|it| it.used())
    }

    /// End the connection, if nobody uses it now.
    pub(crate) fn end_idle(&self) {
        if let Ok(mut held) = self.connection.try_lock()
            && held.as_ref().is_some_and(|it| Arc::strong_count(it) == 1)
        {
            *held = None;
        }
    }

    /// Ask the server for something, for this caller.
    pub(crate) async fn ask<T, F>(
        self: &Arc<Self>,
        servers: &Arc<Inner>,
        caller: &Principal,
        asking: impl FnOnce(Arc<Connection>) -> F,
    ) -> Result<T, McpError>
    where
        F: Future<Output = Result<T, McpError>>,
    {
        let clock = &self.work.clock;
        let _permit = tokio::select! {
            permit = self.calls.wait(caller) => permit,
            () = clock.sleep_until(clock.now().after(CALL_WAIT)) => {
                return Err(McpError::Busy { retry_after: CALL_WAIT });
            }
        };
        let connection = self.connection(servers).await?;
        let answered = asking(connection.clone()).await;
        self.note(servers, &answered, connection).await;
        answered
    }

    async fn connection(
        self: &Arc<Self>,
        servers: &Arc<Inner>,
    ) -> Result<Arc<Connection>, McpError> {
        let mut held = self.connection.lock().await;
        if let Some(known) = held.as_ref().filter(|it| it.is_open()) {
            return Ok(known.clone());
        }
        *held = None;
        if let Some(retry_after) = self.circuit().wait(self.work.clock.monotonic()) {
            let (server, problem) = (self.server().to_owned(), "it has failed before".to_owned());
            return Err(McpError::Unavailable { server, problem, retry_after });
        }
        let place = servers.place(self)?;
        match Connection::open(&self.way, self.work.clone(), place).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *held = Some(connection.clone());
                servers.watch(end_when_idle(
                    Arc::downgrade(self),
                    Arc::downgrade(&connection),
                    servers.idle(),
                ));
                Ok(connection)
            }
            Err(error) => {
                // What its owner has on its way says nothing of a server.
                if !matches!(error, McpError::Busy { .. }) {
                    self.circuit().fail(self.work.clock.monotonic());
                }
                Err(error)
            }
        }
    }

    /// What an answer says of its server.
    async fn note<T>(
        self: &Arc<Self>,
        servers: &Inner,
        answered: &Result<T, McpError>,
        connection: Arc<Connection>,
    ) {
        match answered {
            Ok(_)
            | Err(
                McpError::Refused { .. }
                | McpError::TooLarge { .. }
                | McpError::Protocol { .. }
                | McpError::UnknownTool { .. },
            ) => self.circuit().close(),
            Err(McpError::Broken { .. } | McpError::Unavailable { .. }) => {
                self.fail(&connection).await;
            }
            Err(McpError::TimedOut { .. }) => {
                if !self.is_checked.swap(true, Ordering::Relaxed) {
                    servers.watch(check(self.clone(), connection));
                }
            }
            Err(
                McpError::NotPermitted { .. }
                | McpError::InvalidArguments(_)
                | McpError::OutOfMemory { .. }
                | McpError::Busy { .. },
            ) => {}
        }
    }

    /// This connection does not work: the next that asks makes a new one, after a rest.
    async fn fail(&self, connection: &Arc<Connection>) {
        let mut held = self.connection.lock().await;
        // Several calls may fail with one connection: that is one failure.
        if held.as_ref().is_some_and(|it| Arc::ptr_eq(it, connection)) {
            *held = None;
            self.circuit().fail(self.work.clock.monotonic());
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call took too long. A server that answers a ping has a slow tool; one that does not hangs.
async fn check(slot: Arc<Slot>, connection: Arc<Connection>) {
    if connection.ping().await.is_err() {
        tracing::warn!(server = slot.server(), "an MCP server hangs: it is ended");
        slot.fail(&connection).await;
    }
    slot.is_checked.store(false, Ordering::Relaxed);
}

/// End a connection once nobody has used it for so long.
async fn end_when_idle(slot: Weak<Slot>, connection: Weak<Connection>, idle: Duration) {
    loop {
        let (Some(slot_now), Some(connection_now)) = (slot.upgrade(), connection.upgrade()) else {
            return;
        };
        let clock = slot_now.work.clock.clone();
        let unused = clock.monotonic().saturating_sub(connection_now.used());
        drop(connection_now);
        if unused >= idle {
            slot_now.end_idle();
        }
        drop(slot_now);
        // One that is in use, or was ended meanwhile, is looked at again.
        let wait = idle.saturating_sub(unused).max(Duration::from_secs(1));
        clock.sleep_until(clock.now().after(wait)).await;
    }
}
