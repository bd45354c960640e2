//! From the bytes of a component to code that can be instantiated.
//!
//! ```text
//! bytes ─ cached? ──yes──▶ load ─▶ link ─▶ code
//!            │ no
//!            ▼
//!         inspect ─▶ compile ─▶ load ─▶ link ─▶ try once ─▶ keep ─▶ code
//! ```
//!
//! Everything that takes long runs on blocking threads. What is in the cache has been all the way
//! before, with these very settings, and is not tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::code::Code;
use super::component;
use super::fault::{Fault, bounded};
use super::instance::Grant;
use super::refusal::Refusal;
use super::{Inner, Prepared};
use crate::agent::{AgentKind, Digest};

/// Prepare a component.
pub(super) async fn prepare(inner: Arc<Inner>, bytes: Bytes) -> Result<Prepared, Refusal> {
    let begun = inner.shared.clock.monotonic();
    let (digest, cached) = {
        let (inner, bytes) = (inner.clone(), bytes.clone());
        blocking(move || {
            let digest = Digest::of(&bytes);
            (digest, load_cached(&inner, digest))
        })
        .await?
    };
    if let Some(component) = cached {
        let code = link(&inner, &component)?;
        return Ok(prepared(digest, code, Duration::ZERO, true));
    }

    inspect(&inner, bytes.clone()).await?;
    let compiled = inner.compilation.compile(bytes).await?;
    let compile_time = inner.shared.clock.monotonic().saturating_sub(begun);
    metrics::histogram!("dormouse_compile_seconds").record(compile_time.as_secs_f64());

    let (component, compiled) = {
        let inner = inner.clone();
        blocking(move || {
            let loaded = load(&inner, &compiled);
            loaded
                .map(|component| (component, compiled))
                .map_err(|error| Refusal::CompileFailed(bounded(format!("{error:#}"))))
        })
        .await??
    };
    let code = link(&inner, &component)?;
    try_once(&inner, &code).await?;
    if inner.cache.is_some() {
        let inner = inner.clone();
        blocking(move || inner.cache.iter().for_each(|cache| cache.keep(digest, &compiled)))
            .await?;
    }
    Ok(prepared(digest, code, compile_time, false))
}

fn prepared(digest: Digest, code: Code, compile_time: Duration, from_cache: bool) -> Prepared {
    Prepared {
        digest,
        kind: AgentKind::Agent,
        imports: code.imports(),
        capabilities: code.capabilities(),
        statefulness: code.statefulness(),
        compile_time,
        from_cache,
        code: Arc::new(code),
    }
}

async fn inspect(inner: &Arc<Inner>, bytes: Bytes) -> Result<(), Refusal> {
    let limit = inner.max_component_bytes;
    let features = inner.engines.on_demand.get_wasm_features();
    // A panic of the inspection is a flaw of ours, and still no reason to take the component.
    blocking(move || component::inspect(&bytes, limit, features)).await?
}

/// Load a compiled form into the pool, or where it does not fit, on demand.
fn load(inner: &Inner, compiled: &[u8]) -> wasmtime::Result<Component> {
    deserialize(&inner.engines.pooled, compiled).or_else(|error| {
        tracing::debug!(%error, "a component does not fit the pool");
        deserialize(&inner.engines.on_demand, compiled)
    })
}

#[expect(unsafe_code, reason = "wasmtime trusts compiled forms; these are ours, as told below")]
fn deserialize(engine: &Engine, compiled: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what our own compiler has just returned, or what the cache has proven to
    // be that, by a keyed hash over these very bytes.
    unsafe { Component::deserialize(engine, compiled) }
}

fn load_cached(inner: &Inner, digest: Digest) -> Option<Component> {
    let cache = inner.cache.as_ref()?;
    let compiled = cache.load(digest)?;
    match load(inner, &compiled) {
        Ok(component) => Some(component),
        Err(error) => {
            tracing::warn!(%digest, %error, "a compiled form does not load; it is made again");
            cache.forget(digest);
            None
        }
    }
}

fn link(inner: &Inner, component: &Component) -> Result<Code, Refusal> {
    let pooled = Engine::same(component.engine(), &inner.engines.pooled);
    let linker = if pooled { &inner.pooled } else { &inner.on_demand };
    Code::link(component, linker, inner.shared.clone())
}

/// Whether an instance can be made at all. Its memory image is made here too, once for all.
async fn try_once(inner: &Inner, code: &Code) -> Result<(), Refusal> {
    let grant = Grant {
        max_memory_bytes: inner.shared.max_memory_bytes,
        seed: [0; 32],
        random_position: 0,
        monotonic_ns: 0,
    };
    match code.instantiate(grant).await {
        Ok(_) => Ok(()),
        Err(Fault::Busy | Fault::HostOutOfMemory) => Err(Refusal::Busy),
        Err(Fault::Host(error)) => Err(Refusal::Host(error)),
        Err(
            fault @ (Fault::Failed(_)
            | Fault::Trapped(_)
            | Fault::FuelExhausted
            | Fault::MemoryExceeded { .. }
            | Fault::ReplyTooLarge { .. }
            | Fault::StateTooLarge { .. }
            | Fault::SaveFailed(_)
            | Fault::RestoreFailed(_)),
        ) => Err(Refusal::DoesNotStart(fault.to_string())),
    }
}

/// Run this on a blocking thread. A panic there is a refusal.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Refusal::Host(error.to_string()))
}
