//! The sandbox: everything that knows wasmtime.
//!
//! A [`Sandbox`] turns a component into [`Code`], code into [`Instance`]s, and calls those. It knows
//! nothing of sessions, of HTTP or of the store: an instance is made with a [`Grant`] and called with a
//! [`Call`], and what its guest may know and do besides goes through the [`World`] of the call.
//!
//! Invariants: no name of wasmtime leaves this room; a guest reaches nothing that is not an import in
//! `imports/`; what a guest uses is bounded and accounted for, in fuel, memory, handles and bytes; no
//! guest and no compiler runs on the caller's threads.

mod bindings;
mod cache;
mod call;
mod code;
mod command;
mod compile;
mod component;
mod engine;
mod entry;
pub mod environment;
mod fault;
mod files;
mod fuel;
mod guest;
mod handle;
mod imports;
mod instance;
mod memory;
mod prepare;
mod refusal;
mod snapshot;
#[cfg(test)]
mod tests;
mod ticker;
mod view;
mod world;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use wasmtime::component::Linker;

pub use cache::CacheOptions;
pub use call::{AgentAnswer, Call, CallTrace, GuestResult};
pub use code::Code;
pub use compile::{Compiler, compile_child};
pub use fault::{Fault, GuestFailure};
pub use files::FileGrant;
pub use instance::{Grant, Instance, Moment, Population};
pub use memory::OVERHEAD;
pub use refusal::Refusal;
pub use snapshot::Saved;
pub use view::{View, ViewError};
pub use world::{EffectFuture, EffectReply, NotSent, SendFuture, SessionView, SoFar, World};

use cache::Cache;
use code::SandboxShared;
use compile::Compilation;
use dormouse_base::clock::Clock;
use dormouse_base::memory::MemoryBudget;
use dormouse_domain::agent::{ComponentInfo, Digest};
use dormouse_domain::id::Principal;
use engine::Engines;
use guest::Guest;
use prepare::CodeSource;
use ticker::Ticker;

/// Threads for what blocks, and is over soon: hashing, the cache, loading of compiled forms, images.
/// Nothing whose time a component can choose runs there: agents are loaded however many are compiled.
const BLOCKING_THREADS: usize = 8;

/// After how many polls a guest thread looks for timers and for work from elsewhere. The usual 61
/// would be as many milliseconds where all threads run guests that loop.
const FAIR_INTERVAL: u32 = 4;

/// How a sandbox is set up.
#[derive(Clone)]
pub struct SandboxOptions {
    /// Instances that may exist at a time.
    pub max_instances: u32,
    /// The most memory of one instance, in bytes.
    pub max_memory_bytes: u64,
    /// The largest component that is taken, in bytes.
    pub max_component_bytes: u64,
    /// Threads that guests run on.
    pub guest_threads: usize,
    /// The budget that pays for the memory that guests hold.
    pub memory: MemoryBudget,
    /// The clock that guests see.
    pub clock: Clock,
    /// How components are compiled.
    pub compiler: Compiler,
    /// Where compiled forms are kept. `None`: nowhere.
    pub cache: Option<CacheOptions>,
}

/// Why a sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Most often there is not enough address space for so many instances.
    #[error("the WebAssembly engine does not start: {0}; fewer or smaller instances may help")]
    Engine(String),
    /// The system has no threads left.
    #[error("the threads for guests do not start: {0}")]
    Thread(std::io::Error),
    /// The directory of the cache cannot be used.
    #[error("the cache of compiled agents in {} cannot be used: {error}", dir.display())]
    Cache {
        /// The directory.
        dir: PathBuf,
        /// What happened.
        error: std::io::Error,
    },
}

/// Runs guests. Cheap to clone; the last clone ends its threads without waiting for them.
#[derive(Clone)]
pub struct Sandbox(Arc<Inner>);

impl std::fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sandbox").finish_non_exhaustive()
    }
}

struct Inner {
    engines: Engines,
    /// What guests on the pool may import,
    pooled: Linker<Guest>,
    /// and those whose memory is made on demand.
    on_demand: Linker<Guest>,
    compilation: Compilation,
    cache: Option<Cache>,
    max_component_bytes: u64,
    shared: Arc<SandboxShared>,
    handle: Handle,
    /// Present until it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // This may be an async thread, even one of its own: nothing is waited for.
            runtime.shutdown_background();
        }
    }
}

/// An agent that is ready to be instantiated, and what is known of it.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The digest of the component.
    pub digest: Digest,
    /// What is known of the component.
    pub component: ComponentInfo,
    /// How long it took to inspect and to compile. Zero where its compiled form was at hand.
    pub compile_time: Duration,
    /// Whether its compiled form came from the cache.
    pub from_cache: bool,
    /// The code.
    pub code: Arc<Code>,
}

impl Sandbox {
    /// Set up a sandbox, with threads of its own.
    ///
    /// # Errors
    /// A [`SandboxError`] where the system does not give what the options ask for.
    pub fn new(options: SandboxOptions) -> Result<Sandbox, SandboxError> {
        let engines = Engines::new(options.max_instances, options.max_memory_bytes)?;
        let link = |engine| {
            imports::linker(engine).map_err(|error| SandboxError::Engine(format!("{error:#}")))
        };
        let settings = engine::settings(&engines.on_demand);
        let cache = options.cache.as_ref().map(|cache| Cache::open(cache, settings)).transpose()?;
        let ticker = Ticker::start(vec![engines.pooled.clone(), engines.on_demand.clone()])?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(options.guest_threads.max(1))
            .max_blocking_threads(BLOCKING_THREADS)
            .event_interval(FAIR_INTERVAL)
            .global_queue_interval(FAIR_INTERVAL)
            .thread_name("dormouse-guest")
            .enable_all()
            .build()
            .map_err(SandboxError::Thread)?;
        Ok(Sandbox(Arc::new(Inner {
            pooled: link(&engines.pooled)?,
            on_demand: link(&engines.on_demand)?,
            compilation: Compilation::new(options.compiler, engines.on_demand.clone()),
            engines,
            cache,
            max_component_bytes: options.max_component_bytes,
            shared: Arc::new(SandboxShared {
                ticker,
                memory: options.memory,
                clock: options.clock,
                max_memory_bytes: options.max_memory_bytes,
            }),
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })))
    }

    /// The runtime for everything that calls guests. [`Code::instantiate`], [`Instance::restore`] and
    /// [`Instance::run`] run the guest on the thread that awaits them: await them here.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.0.handle
    }

    /// Bytes that free places of the pool keep from the instances before, for the next: beyond what is
    /// charged to anybody.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        let metrics = self.0.engines.pooled.pooling_allocator_metrics();
        metrics.map_or(0, |pool| pool.unused_memory_bytes_resident() as u64)
    }

    /// Components that are compiled or wait for it.
    #[must_use]
    pub fn compiling(&self) -> usize {
        self.0.compilation.len()
    }

    /// Kill what compiles, and compile nothing any more: the host shuts down. What is compiled already can
    /// still be loaded and run.
    pub fn stop_compiling(&self) {
        self.0.compilation.stop();
    }

    /// Inspect, compile and link a component, or take its compiled form from the cache. Runs on
    /// threads of the sandbox; when this future is dropped, a compiling child is killed.
    ///
    /// Owners take turns where several compile. `None` is the host itself.
    ///
    /// # Errors
    /// A [`Refusal`] that says what to change.
    pub async fn prepare(
        &self,
        component: Bytes,
        owner: Option<Principal>,
    ) -> Result<Prepared, Refusal> {
        self.prepare_from(CodeSource::Cache, component, owner).await
    }

    /// The same without the cache: as long as a component takes that was never seen before.
    ///
    /// # Errors
    /// As [`Sandbox::prepare`].
    pub async fn prepare_anew(
        &self,
        component: Bytes,
        owner: Option<Principal>,
    ) -> Result<Prepared, Refusal> {
        self.prepare_from(CodeSource::Component, component, owner).await
    }

    /// Forget the compiled form of a component that no agent has any more.
    pub async fn forget(&self, component: Digest) {
        let inner = self.0.clone();
        let forget = move || inner.cache.iter().for_each(|cache| cache.forget(component));
        if let Err(error) = self.0.handle.spawn_blocking(forget).await {
            tracing::warn!(%error, "a compiled form could not be deleted");
        }
    }

    async fn prepare_from(
        &self,
        source: CodeSource,
        component: Bytes,
        owner: Option<Principal>,
    ) -> Result<Prepared, Refusal> {
        let task = prepare::prepare(self.0.clone(), source, component, owner);
        let task = AbortOnDropHandle::new(self.0.handle.spawn(task.in_current_span()));
        let prepared = task.await.map_err(|error| Refusal::Host(error.to_string()))??;
        let Prepared { digest, from_cache, .. } = &prepared;
        tracing::debug!(%digest, from_cache, "an agent is ready");
        Ok(prepared)
    }
}
