//! Configure a host and start it.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use std::time::Duration;
use tokio::sync::Semaphore;

use crate::catalog::{self, Catalog};
use crate::faults::{Faults, InjectedFaults};
use crate::gate::Outside;
use crate::host::SessionTimer;
use crate::host::threads::ThreadLocks;
use crate::host::{Host, HostInner};
use crate::keys::{self, KeyRing};
use crate::quotas::Quotas;
use crate::session::registry::Registry;
use crate::session::services::{Services, SessionOptions};
use crate::session::{delivery, expiry, left_open, schedules, slept, timekeeper};
use crate::turn::settlement::Rules;
use crate::workspaces::WorkspaceLimits;
use crate::worlds::Worlds;
use dormouse_base::clock::{Clock, ManualClock};
use dormouse_base::memory::MemoryBudget;
use dormouse_base::shares::Callers;
use dormouse_domain::agent::AgentSelector;
use dormouse_domain::creation::DefaultLimits;
use dormouse_domain::limits::{FuelPrice, NanoUsd};
use dormouse_egress::{Egress, EgressOptions, InvalidEgress};
use dormouse_mcp::{InvalidMcp, McpOptions, McpServers};
use dormouse_model as model;
use dormouse_sandbox::{CacheOptions, Compiler, Sandbox, SandboxError, SandboxOptions};
use dormouse_simulation::Places;
use dormouse_store::embedded::{self, Embedded, OpenError};
use dormouse_store::{Retention, Store, StoreError};

/// Instances that are made at the same time, for each thread that runs guests. More would only hold
/// more states in memory: some are read from the disk while others are written to their instances.
const MAKING_PER_THREAD: usize = 8;

/// The configuration of a host. Every value has a default.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The agent of sessions that name none.
    pub default_agent: AgentSelector,
    /// Limits of sessions that ask for none, also by pattern, user and project, and the most memory that one
    /// may ask for.
    pub limits: DefaultLimits,
    /// The price of 10⁹ units of fuel.
    pub fuel_price: NanoUsd,
    /// Instances in memory at most. Each takes six memory maps of the kernel's `vm.max_map_count`.
    pub max_residents: u32,
    /// Instances in memory at most of the sessions with one `userId` of a principal: one more puts the one to
    /// sleep that has been idle the longest. `None`: any number.
    pub max_residents_per_user: Option<NonZeroU32>,
    /// Instances of members of simulated worlds at most, all worlds together: besides those of sessions.
    pub max_world_instances: u32,
    /// Bytes that guests, their snapshots in flight, the first images of agents, messages in flight and
    /// the index of all sessions may take together; the index may take half of it, and messages a
    /// quarter. At least [`HostOptions::MIN_MEMORY_BUDGET`].
    pub memory_budget: u64,
    /// The largest component that can be uploaded, in bytes.
    pub max_component_bytes: u64,
    /// Snapshots that are older than this are not resumed from, except those of threads.
    pub stale_after: Duration,
    /// Messages that wait for one session at most; one more is refused.
    pub max_queued_messages: usize,
    /// Failed turns in a row that put a session into `error`.
    pub max_consecutive_failures: u32,
    /// How long the running turn of a session may go on once the session is stopped.
    pub stop_grace: Duration,
    /// How long running turns may go on once the host is shut down.
    pub shutdown_grace: Duration,
    /// Threads that run guests.
    pub guest_threads: usize,
    /// Bytes of disk that must stay free; below it, changes are refused and reads go on.
    pub min_free_disk: u64,
    /// How much of the past of sessions is kept.
    pub retention: Retention,
    /// How much one principal may have, and how often its users may send messages.
    pub quotas: Quotas,
    /// What the workspaces of sessions may hold.
    pub workspaces: WorkspaceLimits,
}

impl Default for HostOptions {
    fn default() -> HostOptions {
        HostOptions {
            default_agent: catalog::default_agent(),
            limits: DefaultLimits::default(),
            fuel_price: NanoUsd(1_000_000),
            max_residents: 2_000,
            max_residents_per_user: NonZeroU32::new(5),
            max_world_instances: 1_000,
            memory_budget: MemoryBudget::default_limit(),
            max_component_bytes: 64 << 20,
            stale_after: Duration::from_secs(24 * 3600),
            max_queued_messages: 64,
            max_consecutive_failures: 5,
            stop_grace: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(30),
            guest_threads: std::thread::available_parallelism().map_or(1, usize::from),
            min_free_disk: 64 * 1024 * 1024,
            retention: Retention::default(),
            quotas: Quotas::default(),
            workspaces: WorkspaceLimits::default(),
        }
    }
}

/// The least memory for commits that are not applied yet, in bytes: some of the largest commits.
const SMALLEST_OVERLAY: usize = 32 << 20;
/// The least memory that the index of the store keeps of itself, in bytes.
const SMALLEST_CACHE: u64 = 16 << 20;

impl HostOptions {
    /// The smallest memory budget, in bytes: in less, not even the smallest agent starts.
    pub const MIN_MEMORY_BUDGET: u64 = 4 << 20;

    /// How the store of such a host is opened.
    #[must_use]
    pub fn store_options(&self) -> embedded::Options {
        let default = embedded::Options::default();
        // Neither is charged to the budget, so both follow it: with a small one they are small as well.
        let overlay = usize::try_from(self.memory_budget / 4).unwrap_or(usize::MAX);
        embedded::Options {
            overlay_bytes: overlay.clamp(SMALLEST_OVERLAY, default.overlay_bytes),
            cache_bytes: (self.memory_budget / 8).clamp(SMALLEST_CACHE, default.cache_bytes),
            reserve_bytes: Arc::new(self.min_free_disk.into()),
            retention: self.retention,
            ..default
        }
    }
}

/// Why a host did not start.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The data directory cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The machine does not allow what the sandbox needs.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// [`HostOptions::memory_budget`] is below its minimum.
    #[error(
        "a memory budget of {given} bytes is too small for any agent: give the host at least {least} bytes, \
         and more where it has many sessions",
        least = HostOptions::MIN_MEMORY_BUDGET
    )]
    MemoryBudget {
        /// The memory budget that the host was given, in bytes.
        given: u64,
    },
    /// The keys of the API cannot be read.
    #[error("the keys of the API could not be read: {0}")]
    Keys(StoreError),
    /// What agents may reach over HTTP cannot be arranged so.
    #[error("the way to the web cannot be made: {0}")]
    Egress(#[from] InvalidEgress),
    /// The MCP servers cannot be.
    #[error("the MCP servers cannot be configured so: {0}")]
    Mcp(#[from] InvalidMcp),
    /// The turns that the end of a host has cut off cannot be read.
    #[error("the turns that were cut off could not be read: {0}")]
    OpenTurns(StoreError),
    /// The mail that waits cannot be found.
    #[error("the mail that waits could not be found: {0}")]
    Mail(StoreError),
    /// The schedules cannot be read.
    #[error("the schedules could not be read: {0}")]
    Schedules(StoreError),
    /// The simulations cannot be read.
    #[error("the simulations could not be read: {0}")]
    Simulations(StoreError),
    /// Opening the store has panicked: a defect, or a damaged disk.
    #[error("opening the store has failed unexpectedly")]
    Unexpected,
}

enum Data {
    Temporary,
    Directory(PathBuf),
    Given(Arc<dyn Store>),
}

/// Configures a host. Made by [`Host::builder`].
pub struct HostBuilder {
    data: Data,
    clock: Clock,
    compiler: Compiler,
    cache: Option<(PathBuf, [u8; 32])>,
    options: HostOptions,
    models: model::Catalog,
    egress: EgressOptions,
    mcp: McpOptions,
    faults: InjectedFaults,
}

impl Default for HostBuilder {
    fn default() -> HostBuilder {
        HostBuilder {
            data: Data::Directory(PathBuf::from("data")),
            clock: Clock::real(),
            compiler: Compiler::InProcess,
            cache: None,
            options: HostOptions::default(),
            models: model::Catalog::new(Vec::new()),
            egress: EgressOptions::default(),
            mcp: McpOptions::default(),
            faults: InjectedFaults::default(),
        }
    }
}

impl HostBuilder {
    /// Keep everything in a temporary directory that goes with the host: for tests. Room for 256
    /// instances unless [`HostBuilder::configure`] says otherwise, because each takes four gibibytes
    /// of address space, and a test program may have many hosts.
    #[must_use]
    pub fn in_memory(mut self) -> HostBuilder {
        self.data = Data::Temporary;
        self.options.max_residents = 256;
        self.options.max_world_instances = 128;
        self
    }

    /// Keep everything in this directory. It is made where it is not there. Default: `data`.
    #[must_use]
    pub fn data_dir(mut self, directory: impl AsRef<Path>) -> HostBuilder {
        self.data = Data::Directory(directory.as_ref().to_owned());
        self
    }

    /// Keep everything in this store, which the host closes when it shuts down. Whoever made it sees to
    /// what it keeps of the past, and [`Host::store`] answers as far as it has an upkeep. Compiled agents
    /// are kept nowhere unless [`HostBuilder::compiled_cache`] says so.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> HostBuilder {
        self.data = Data::Given(store);
        self
    }

    /// Go by a clock that is turned by hand: for tests.
    #[must_use]
    pub fn manual_clock(mut self, clock: &ManualClock) -> HostBuilder {
        self.clock = Clock::manual(clock);
        self
    }

    /// Compile uploads in a child process of this program, so that a hostile component can take
    /// neither memory nor time from the host. The program is called with the argument `compile` and
    /// must then call [`crate::compile_child`]. Default: in this process.
    #[must_use]
    pub fn compile_in_child(mut self, program: impl AsRef<Path>) -> HostBuilder {
        self.compiler = Compiler::Child { program: program.as_ref().to_owned() };
        self
    }

    /// Keep compiled agents in this directory instead of the data directory, for hosts that share
    /// them: tests above all. Whoever knows the key and can write to the directory can run code as
    /// this process.
    #[must_use]
    pub fn compiled_cache(mut self, directory: impl AsRef<Path>, key: [u8; 32]) -> HostBuilder {
        self.cache = Some((directory.as_ref().to_owned(), key));
        self
    }

    /// Replace all options.
    #[must_use]
    pub fn options(mut self, options: HostOptions) -> HostBuilder {
        self.options = options;
        self
    }

    /// Change some options.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut HostOptions)) -> HostBuilder {
        change(&mut self.options);
        self
    }

    /// The providers of the language models that agents may ask. Default: none, so that the offline model answers
    /// for every name, and costs nothing.
    #[must_use]
    pub fn models(mut self, models: model::Catalog) -> HostBuilder {
        self.models = models;
        self
    }

    /// What agents may reach over HTTP, where their session allows it too. Default: nothing.
    #[must_use]
    pub fn egress(mut self, egress: EgressOptions) -> HostBuilder {
        self.egress = egress;
        self
    }

    /// The MCP servers that sessions may name. Default: none.
    #[must_use]
    pub fn mcp(mut self, mcp: McpOptions) -> HostBuilder {
        self.mcp = mcp;
        self
    }

    /// Let things go wrong on purpose, to test what is built on the host: commits of its store, calls of the
    /// providers of models, the wall clocks of guests. Default: nothing does, and nobody is asked.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::sync::Arc;
    ///
    /// use dormouse::{CommitAttempt, CommitFault, CommitKind, Faults, Host};
    ///
    /// /// No turn can be written, as on a disk that is full.
    /// struct NoTurns;
    ///
    /// impl Faults for NoTurns {
    ///     fn commit(&self, commit: CommitAttempt) -> Option<CommitFault> {
    ///         (commit.kind == CommitKind::Turn).then_some(CommitFault::Full)
    ///     }
    /// }
    ///
    /// let host = Host::builder().in_memory().faults(Arc::new(NoTurns)).build().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn faults(mut self, faults: Arc<dyn Faults>) -> HostBuilder {
        self.faults = InjectedFaults::new(faults);
        self
    }

    /// Open the store and start the host.
    ///
    /// # Errors
    /// [`BuildError`], which says what to do.
    pub async fn build(self) -> Result<Host, BuildError> {
        let HostBuilder { data, clock, compiler, cache, options, models, egress, mcp, faults } =
            self;
        if options.memory_budget < HostOptions::MIN_MEMORY_BUDGET {
            return Err(BuildError::MemoryBudget { given: options.memory_budget });
        }
        let memory = MemoryBudget::new(options.memory_budget);
        // Before the store is opened: what cannot be made so leaves everything as it is.
        let callers = Callers::several();
        let egress = Arc::new(Egress::new(egress, &memory, &callers)?);
        let mcp = McpServers::new(mcp, egress.clone(), clock.clone(), &memory, &callers)?;
        let store_options = options.store_options();
        let (store, data_dir) = match data {
            Data::Temporary => {
                (open(move || Embedded::temporary(store_options), &memory).await?, None)
            }
            Data::Directory(directory) => {
                let path = directory.clone();
                let opened = open(move || Embedded::open(&path, store_options), &memory).await?;
                (opened, Some(directory))
            }
            Data::Given(store) => (store, None),
        };
        let store = faults.in_store(store);
        let cache = cache
            .or_else(|| data_dir.map(|directory| (directory.join("compiled"), store.secret())))
            .map(|(dir, key)| CacheOptions { dir, key });
        let sandbox = Sandbox::new(SandboxOptions {
            max_instances: options.max_residents.saturating_add(options.max_world_instances),
            max_memory_bytes: options.limits.max_memory_bytes,
            max_component_bytes: options.max_component_bytes,
            guest_threads: options.guest_threads,
            memory: memory.clone(),
            clock: clock.clone(),
            compiler,
            cache,
        })?;
        let catalog = Arc::new(Catalog::new(sandbox.clone(), store.clone(), clock.clone()));
        let keys = KeyRing::load(store.clone(), clock.clone()).await.map_err(BuildError::Keys)?;
        let keys = Arc::new(keys);
        let services = Arc::new(Services::new(
            store.clone(),
            sandbox.clone(),
            catalog.clone(),
            Outside::new(clock.clone(), Arc::new(models), egress, mcp, faults),
            clock.clone(),
            memory.clone(),
            SessionOptions {
                max_residents: usize::try_from(options.max_residents).unwrap_or(usize::MAX),
                max_residents_per_user: options.max_residents_per_user,
                max_instantiations: options
                    .guest_threads
                    .saturating_mul(MAKING_PER_THREAD)
                    .max(MAKING_PER_THREAD),
                max_queued_messages: options.max_queued_messages,
                quotas: options.quotas,
                stop_grace: options.stop_grace,
                limits: options.limits.clone(),
                rules: Rules {
                    price: FuelPrice(options.fuel_price),
                    max_consecutive_failures: options.max_consecutive_failures,
                },
                workspaces: WorkspaceLimits {
                    cache_bytes: options.workspaces.cache_bytes.min(options.memory_budget / 16),
                    ..options.workspaces
                },
            },
        ));
        let registry = Registry::new(services.clone());
        // Before anybody can ask for anything: these turns come first, and what they have spent is spent.
        for id in store.open_turns().await.map_err(BuildError::OpenTurns)? {
            let key = left_open::note(&services, id).await;
            registry.reopen_turn(id, key);
        }
        // Behind these, because they may have taken mail.
        let mail = services.mailboxes.load().await.map_err(BuildError::Mail)?;
        let delivering = delivery::deliver(&registry, mail);
        schedules::load(&services).await.map_err(BuildError::Schedules)?;
        let keeping = expiry::keep(services.clone(), options.retention);
        let timekeeper = timekeeper::keep(registry.clone());
        let telling = slept::tell(services.clone());
        let uses = keys::keep(keys.clone());
        let timekeeper = sandbox
            .runtime()
            .spawn(async { tokio::join!(timekeeper, keeping, telling, uses, delivering).0 });
        let asleep = store.upkeep().map_or(0, |upkeep| upkeep.stats().open_sessions);
        let session_timer = SessionTimer::new(clock.monotonic(), asleep);
        let places = Places {
            instances: Arc::new(Semaphore::new(options.max_world_instances as usize)),
            all: options.max_world_instances,
            max_memory_bytes: options.limits.max_memory_bytes,
            memory: memory.clone(),
            threads: options.guest_threads,
            shares: None,
        };
        let of_worlds = (sandbox.clone(), catalog.clone());
        let spending = (services.outside.clone(), services.accounts.clone());
        let worlds = (store.clone(), clock.clone());
        let worlds = Arc::new(Worlds::new(worlds, of_worlds, spending, places));
        let spent = Arc::downgrade(&worlds);
        services.accounts.note_others(spent);
        worlds.load().await.map_err(BuildError::Simulations)?;
        worlds.go_on();
        let inner = HostInner {
            options,
            clock,
            store,
            catalog,
            keys,
            services,
            registry,
            memory,
            threads: ThreadLocks::default(),
            worlds,
            session_timer,
            timekeeper,
            schedule_keeper: OnceLock::new(),
        };
        Ok(Host::new(inner))
    }
}

/// Open the store that comes with the host, where that may block.
async fn open(
    open: impl FnOnce() -> Result<Embedded, OpenError> + Send + 'static,
    memory: &MemoryBudget,
) -> Result<Arc<dyn Store>, BuildError> {
    let opening = tokio::task::spawn_blocking(open);
    let store = opening.await.map_err(|_| BuildError::Unexpected)??;
    store.charge_to(memory);
    Ok(Arc::new(store))
}
