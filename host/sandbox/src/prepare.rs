//! From the bytes of a component to code that can be instantiated.
//!
//! ```text
//! bytes ─ cached? ──yes──▶ load ─▶ link ─▶ code
//!            │ no
//!            ▼
//!         compile ─▶ load ─▶ link ─▶ try ─▶ keep ─▶ code
//! ```
//!
//! What is compiled is the instrumented form of a component, of which images can be taken; or the
//! component itself where that cannot be or need not, with the reason. The digest is always that of the component.
//!
//! The time of what runs here is linear in the size of the component and of its compiled form. All else
//! is done where it can be killed, by `compile`. What is in the cache has been all the way before, with
//! these very settings, and is not tried again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tracing::Span;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::code::{Code, Findings};
use super::compile::{Compiled, Owner};
use super::component;
use super::fault::{Fault, bounded};
use super::guest::StartConditions;
use super::instance::Grant;
use super::refusal::Refusal;
use super::snapshot::Unpinned;
use super::{Inner, Prepared};
use dormouse_domain::agent::{Digest, StartRandomness};
use dormouse_domain::effect::EffectError;
use dormouse_domain::time::Timestamp;

/// Where the code of a component may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeSource {
    /// The cache, where it is there.
    Cache,
    /// The component itself.
    Component,
}

/// Prepare a component of this owner.
pub(super) async fn prepare(
    inner: Arc<Inner>,
    source: CodeSource,
    bytes: Bytes,
    owner: Owner,
) -> Result<Prepared, Refusal> {
    let (digest, cached) = {
        let (inner, bytes) = (inner.clone(), bytes.clone());
        blocking(move || {
            let digest = Digest::of(&bytes);
            let cached = match source {
                CodeSource::Cache => load_cached(&inner, digest),
                CodeSource::Component => None,
            };
            (digest, cached)
        })
        .await?
    };
    if let Some((component, findings)) = cached {
        let code = link(&inner, &component, &findings)?;
        return Ok(prepared(digest, code, Duration::ZERO, true));
    }
    inner.compilation.unless_stopped(make(&inner, digest, bytes, owner)).await
}

/// Compile a component, try it, and keep its compiled form.
async fn make(
    inner: &Arc<Inner>,
    digest: Digest,
    bytes: Bytes,
    owner: Owner,
) -> Result<Prepared, Refusal> {
    component::look(&bytes, inner.max_component_bytes)?;
    let begun = inner.shared.clock.monotonic();
    let Compiled { code, unimaged } = inner.compilation.compile(bytes, owner).await?;
    let compile_time = inner.shared.clock.monotonic().saturating_sub(begun);
    metrics::histogram!("dormouse_compile_seconds").record(compile_time.as_secs_f64());

    let (component, compiled) = {
        let inner = inner.clone();
        blocking(move || {
            let loaded = load(&inner, &code);
            loaded
                .map(|component| (component, code))
                .map_err(|error| Refusal::CompileFailed(bounded(format!("{error:#}"))))
        })
        .await??
    };
    let (code, findings) = find_out(inner, &component, unimaged).await?;
    if inner.cache.is_some() {
        let inner = inner.clone();
        blocking(move || {
            let kept = findings.before(&compiled);
            inner.cache.iter().for_each(|cache| cache.keep(digest, &kept));
        })
        .await?;
    }
    Ok(prepared(digest, code, compile_time, false))
}

fn prepared(digest: Digest, code: Code, compile_time: Duration, from_cache: bool) -> Prepared {
    Prepared { digest, component: code.info(), compile_time, from_cache, code: Arc::new(code) }
}

/// Link a component that was just compiled, and try it.
async fn find_out(
    inner: &Arc<Inner>,
    component: &Component,
    unimaged: Option<String>,
) -> Result<(Code, Findings), Refusal> {
    let mut findings = Findings {
        unimaged,
        start: StartConditions::Session,
        start_fuel: 0,
        start_randomness: StartRandomness::None,
        unpinned: Unpinned::default(),
    };
    let mut code = link(inner, component, &findings)?;
    if findings.unimaged.is_none() {
        let grant = trial(inner, 0);
        if !code.starts_alone(&grant).await.map_err(unstarted)? {
            findings.start = StartConditions::Alike;
            code = link(inner, component, &findings)?;
        }
        // Each is found once: it is left out from then on.
        while let Some(pin) = code.failing_pin(&grant).await.map_err(unstarted)? {
            findings.unpinned.insert(pin);
            code = link(inner, component, &findings)?;
        }
    }
    let first = code.try_out(trial(inner, 0)).await.map_err(unstarted)?;
    findings.start_fuel = first.start_fuel();
    if first.has_drawn_alike() {
        findings.start_randomness = StartRandomness::Shared;
    }
    drop(first);
    code = link(inner, component, &findings)?;
    if findings.unimaged.is_none() {
        let mut other = code.try_out(trial(inner, 1)).await.map_err(unstarted)?;
        if !other.is_pristine().await.map_err(unstarted)? {
            let reason = "its instances do not all start in the same state";
            findings.unimaged = Some(reason.to_owned());
            code = link(inner, component, &findings)?;
        }
    }
    Ok((code, findings))
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

fn load_cached(inner: &Inner, digest: Digest) -> Option<(Component, Findings)> {
    let cache = inner.cache.as_ref()?;
    let kept = cache.load(digest)?;
    let (findings, compiled) = Findings::split(&kept)?;
    match load(inner, compiled) {
        Ok(component) => Some((component, findings)),
        Err(error) => {
            tracing::warn!(%digest, %error, "a compiled form does not load; it is made again");
            cache.forget(digest);
            None
        }
    }
}

fn link(inner: &Inner, component: &Component, findings: &Findings) -> Result<Code, Refusal> {
    let pooled = Engine::same(component.engine(), &inner.engines.pooled);
    let linker = if pooled { &inner.pooled } else { &inner.on_demand };
    Code::link(component, linker, inner.shared.clone(), findings)
}

/// What an instance is granted that only tries whether one can be made. No two are granted the same.
fn trial(inner: &Inner, number: u8) -> Grant {
    Grant {
        max_memory_bytes: inner.shared.max_memory_bytes,
        seed: [number; 32],
        turn: u64::from(number),
        attempt: 0,
        now: Timestamp(i64::from(number)),
        monotonic_ns: u64::from(number),
        files: None,
    }
}

/// What it means for an upload that no instance could be made.
fn unstarted(fault: Fault) -> Refusal {
    match fault {
        Fault::Busy | Fault::HostOutOfMemory { .. } => Refusal::Busy,
        Fault::Host(error) | Fault::Effect(EffectError::Host(error)) => Refusal::Host(error),
        Fault::StartTooLong { limit } => Refusal::StartTooLong { limit },
        Fault::Failed(_)
        | Fault::Trapped(_)
        | Fault::Effect(_)
        | Fault::FuelExhausted
        | Fault::MemoryExceeded { .. }
        | Fault::ReplyTooLarge { .. }
        | Fault::StateTooLarge { .. }
        | Fault::SaveFailed(_)
        | Fault::RestoreFailed(_)
        | Fault::SnapshotDamaged(_)
        | Fault::SnapshotUnusable(_) => Refusal::DoesNotStart(fault.to_string()),
    }
}

impl Findings {
    /// The findings, and the compiled form after them.
    fn before(&self, compiled: &[u8]) -> Vec<u8> {
        let reason = self.unimaged.as_deref().unwrap_or_default();
        let mut kept = Vec::with_capacity(compiled.len() + reason.len() + HEAD);
        // 0 and 1 were those of a form that told less.
        kept.push(match (self.start, self.start_randomness) {
            (StartConditions::Session, _) => 2,
            (StartConditions::Alike, StartRandomness::None) => 3,
            (StartConditions::Alike, StartRandomness::Shared) => 4,
        });
        kept.extend(self.start_fuel.to_le_bytes());
        kept.extend(self.unpinned.bits().to_le_bytes());
        let length = u16::try_from(reason.len()).unwrap_or(0);
        kept.extend(length.to_le_bytes());
        kept.extend(&reason.as_bytes()[..usize::from(length)]);
        kept.extend(compiled);
        kept
    }

    /// The findings and the compiled form that were kept together.
    fn split(kept: &[u8]) -> Option<(Findings, &[u8])> {
        let (head, rest) = kept.split_at_checked(HEAD)?;
        let (kind, head) = head.split_first()?;
        let (start, start_randomness) = match kind {
            2 => (StartConditions::Session, StartRandomness::None),
            3 => (StartConditions::Alike, StartRandomness::None),
            4 => (StartConditions::Alike, StartRandomness::Shared),
            _ => return None,
        };
        let (fuel, head) = head.split_first_chunk()?;
        let start_fuel = u64::from_le_bytes(*fuel);
        let (unpinned, length) = head.split_first_chunk()?;
        let unpinned = Unpinned::of_bits(u64::from_le_bytes(*unpinned));
        let length = u16::from_le_bytes(length.try_into().ok()?);
        let (reason, compiled) = rest.split_at_checked(usize::from(length))?;
        let reason = std::str::from_utf8(reason).ok()?;
        let unimaged = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
        Some((Findings { unimaged, start, start_fuel, start_randomness, unpinned }, compiled))
    }
}

/// The length of what stands before the reason: the start, its fuel, the pins that are left out, and how
/// long the reason is.
const HEAD: usize = 1 + 8 + 8 + 2;

/// Run this on a blocking thread. A panic there is a refusal.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let request = Span::current();
    let working = tokio::task::spawn_blocking(move || request.in_scope(work));
    working.await.map_err(|error| Refusal::Host(error.to_string()))
}
