//! The host as a library: everything that the API and the command line can do, and nothing else
//! does.

mod agents;
mod cleanup;
pub(crate) mod code;
mod events;
mod experiments;
mod group;
mod history;
mod keys;
mod message;
mod origin;
mod peers;
mod samples;
mod savings;
mod schedules;
mod session;
mod sessions;
mod simulations;
mod stats;
mod storage;
mod templates;
pub(crate) mod threads;
mod usage;
mod workspace;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tracing::Instrument;

pub use agents::Agents;
pub use cleanup::{CleanedUp, Cleanup, MAX_CLEANED_UP};
pub use experiments::{ExperimentHandle, ExperimentListing, Experiments, NewExperiment};
pub use history::{Fork, ForkError, MAX_FORKS, UpgradeError};
pub use keys::{CreatedKey, Keys};
pub use message::{Message, Reply, TurnStream};
pub use samples::{SampleBatch, SampleEntry};
pub use schedules::{NewSchedule, ScheduleError, ScheduleListing, Schedules};
pub use session::{SessionHandle, SessionReadError};
pub use sessions::{CreateError, CreatedSession, SessionListing, Sessions};
pub use simulations::{
    NewBranch, Simulation, SimulationDifference, SimulationError, SimulationHandle,
    SimulationListing, SimulationMembers, SimulationSurvey, Simulations,
};
pub(crate) use stats::SessionTimer;
pub use stats::{HostStats, SessionTime};
pub use storage::Storage;
pub use templates::{NewTemplate, TemplateError, Templates};
pub use usage::SessionUsage;

use crate::builder::{HostBuilder, HostOptions};
use crate::catalog::Catalog;
use crate::keys::KeyRing;
use crate::session::registry::Registry;
use crate::session::services::Services;
use crate::worlds::Worlds;
use dormouse_base::clock::Clock;
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::access::{Access, Action, Forbidden};
use dormouse_domain::id::Principal;
use dormouse_store::{Store, StoreError};
use threads::ThreadLocks;

/// A running host. Cheap to clone: all clones are the same host.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use dormouse::{Host, NewSession, Pattern};
///
/// let host = Host::builder().in_memory().build().await?;
/// let counter = NewSession::agent("counter").pattern(Pattern::Hybrid);
/// let session = host.sessions().create(counter).await?;
/// assert_eq!(session.send("hello").await?.text(), "turn 1: hello");
/// host.shut_down().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Host {
    inner: Arc<HostInner>,
    access: Access,
}

pub(crate) struct HostInner {
    pub(crate) options: HostOptions,
    pub(crate) clock: Clock,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) services: Arc<Services>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) memory: MemoryBudget,
    pub(crate) threads: ThreadLocks,
    pub(crate) worlds: Arc<Worlds>,
    pub(crate) session_timer: SessionTimer,
    pub(crate) timekeeper: JoinHandle<()>,
    /// Starts what is due of schedules. Set once the host is there.
    pub(crate) schedule_keeper: OnceLock<AbortHandle>,
}

impl Drop for HostInner {
    fn drop(&mut self) {
        // Uploads that are under way hold what the host was made of.
        self.services.sandbox.stop_compiling();
        self.registry.abandon();
        self.worlds.abandon();
        self.timekeeper.abort();
        self.schedule_keeper.get().inspect(|keeper| keeper.abort());
    }
}

impl Host {
    /// Configure a host.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::default()
    }

    pub(crate) fn new(inner: HostInner) -> Host {
        let host = Host::of(Arc::new(inner));
        let keeper = schedules::keep(&host);
        host.inner.schedule_keeper.get_or_init(|| keeper);
        host
    }

    /// Worlds whose members are rows of populations.
    #[must_use]
    pub fn simulations(&self) -> Simulations {
        Simulations::new(self.clone())
    }

    /// Experiments: one world with many parameters and seeds.
    #[must_use]
    pub fn experiments(&self) -> Experiments {
        Experiments::new(self.clone())
    }

    /// The host that this is of.
    fn of(inner: Arc<HostInner>) -> Host {
        Host { inner, access: Access::user(Principal::local()) }
    }

    /// Who answers for the language models that agents ask.
    #[must_use]
    pub fn models(&self) -> &dormouse_model::Catalog {
        &self.inner.services.models
    }

    /// The way of agents to the web, with what the operator allows.
    #[must_use]
    pub fn egress(&self) -> &dormouse_egress::Egress {
        &self.inner.services.outside.egress
    }

    /// The MCP servers that sessions may name.
    #[must_use]
    pub fn mcp(&self) -> &dormouse_mcp::McpServers {
        &self.inner.services.outside.mcp
    }

    /// The same host, called by another principal: what is created belongs to that principal, and what
    /// belongs to others does not exist.
    #[must_use]
    pub fn acting_as(&self, caller: Principal) -> Host {
        self.acting_for(Access::user(caller))
    }

    /// The same host, called by whoever has this access: a reader changes nothing, and an admin sees and
    /// changes what all principals have.
    #[must_use]
    pub fn acting_for(&self, access: Access) -> Host {
        Host { inner: self.inner.clone(), access }
    }

    /// The same host, called by whoever operates it: the principal `local`, as an admin.
    #[must_use]
    pub fn operating(&self) -> Host {
        self.acting_for(Access::operator())
    }

    /// The principal that calls: the owner of what is created.
    #[must_use]
    pub fn caller(&self) -> &Principal {
        &self.access.principal
    }

    /// The principal that calls, and what it may do.
    #[must_use]
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Whether the caller may do this.
    ///
    /// # Errors
    /// [`Forbidden`] names the role that may.
    pub fn may(&self, action: Action) -> Result<(), Forbidden> {
        self.access.may(action)
    }

    /// The keys of the API.
    #[must_use]
    pub fn keys(&self) -> Keys {
        Keys { ring: self.inner.keys.clone(), access: self.access.clone() }
    }

    /// The agents.
    #[must_use]
    pub fn agents(&self) -> Agents {
        Agents(self.clone())
    }

    /// The sessions.
    #[must_use]
    pub fn sessions(&self) -> Sessions {
        Sessions(self.clone())
    }

    /// The caller's templates.
    #[must_use]
    pub fn templates(&self) -> Templates {
        Templates(self.clone())
    }

    /// The caller's schedules.
    #[must_use]
    pub fn schedules(&self) -> Schedules {
        Schedules(self.clone())
    }

    /// The store: for who operates the host, not for its callers.
    #[must_use]
    pub fn store(&self) -> Storage {
        Storage(self.clone())
    }

    /// The clock of this host.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The configuration of this host.
    #[must_use]
    pub fn options(&self) -> &HostOptions {
        &self.inner.options
    }

    /// The memory budget that everything of this host is charged to.
    pub fn memory(&self) -> &MemoryBudget {
        &self.inner.memory
    }

    /// Numbers of this moment.
    #[must_use]
    pub fn stats(&self) -> HostStats {
        let store = self.inner.store.upkeep().map(|upkeep| upkeep.stats()).unwrap_or_default();
        let residents = self.inner.services.residents.instances();
        let (resident, now) = (residents as u64, self.inner.clock.monotonic());
        let asleep = store.open_sessions.saturating_sub(resident);
        HostStats {
            residents,
            queued: self.inner.registry.queued(),
            waiting: self.inner.memory.queue().len(),
            compiling: self.inner.services.sandbox.compiling(),
            memory_used: self.inner.memory.used(),
            memory_limit: self.inner.memory.limit(),
            memory_kept: self.inner.services.sandbox.kept_bytes(),
            timekeeper_lag: self.timekeeper_lag(),
            time: self.inner.session_timer.count(now, resident, asleep),
            store,
        }
    }

    /// How long what is due has been waiting for the timekeeper to look at it: deadlines of sessions, and sleeps of
    /// idle instances. Zero: it is in time.
    #[must_use]
    pub fn timekeeper_lag(&self) -> Duration {
        self.inner.services.lag.at(self.inner.clock.now())
    }

    /// Returns when the host cannot go on: the store has failed for good, or a task of the host has
    /// died. Pending for ever otherwise. The process should then end; the next start goes on from
    /// what is on the disk.
    pub async fn failed(&self) -> String {
        tokio::select! {
            error = self.inner.store.failed() => error.to_string(),
            () = self.inner.services.liveness.task_died() => "a task of the host has died".to_owned(),
        }
    }

    /// Returns when nothing is left to be done before the clock goes on: what is due has been done, down
    /// to its last commit, and no message or command is being handled, except for turns that run and have
    /// time left. For tests that turn the clock:
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// use dormouse::{Host, ManualClock, NewSession, Pattern, Residency};
    ///
    /// let clock = ManualClock::new();
    /// let host = Host::builder().in_memory().manual_clock(&clock).build().await?;
    /// let counter = NewSession::agent("counter").pattern(Pattern::Hybrid);
    /// let session = host.sessions().create(counter).await?;
    /// session.send("hello").await?;
    /// clock.advance(Duration::from_secs(61));
    /// host.settle().await;
    /// assert_eq!(session.info().await?.residency, Residency::Asleep);
    /// # Ok(()) }
    /// ```
    pub async fn settle(&self) {
        self.inner.registry.settle().await;
    }

    /// Let running turns finish, put everything to sleep, and let go of the files. Turns that run on
    /// for longer than the configured grace are killed.
    ///
    /// # Errors
    /// [`StoreError`] where the store could not be closed cleanly.
    ///
    /// # Panics
    /// If a task of the host has died of a panic, so that a test that caused it fails.
    pub async fn shut_down(&self) -> Result<(), StoreError> {
        self.inner.services.sandbox.stop_compiling();
        // What is due from now on is due after the next start.
        self.inner.schedule_keeper.get().inspect(|keeper| keeper.abort());
        self.inner.worlds.shut_down().await;
        self.inner.registry.shut_down(self.inner.options.shutdown_grace).await;
        self.inner.timekeeper.abort();
        if let Err(error) = self.inner.keys.save_uses().await {
            tracing::warn!(%error, "the last use of keys was not written");
        }
        let closed = self.inner.store.close().await;
        assert!(
            !self.inner.services.liveness.has_panicked(),
            "a task of the host has died of a panic"
        );
        closed
    }
}

/// Do this to its end, also where the caller goes away meanwhile: what the store knows of a change, memory has to
/// know as well.
async fn to_its_end<T: Send + 'static>(change: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(change.in_current_span()).await {
        Ok(changed) => changed,
        Err(died) => std::panic::resume_unwind(died.into_panic()),
    }
}
