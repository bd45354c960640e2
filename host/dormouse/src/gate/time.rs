//! The time that a turn spends in effects: it is not the agent's, and no limit of the turn counts it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use dormouse_base::clock::Clock;

/// How long a turn has waited for the outside world. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct EffectTime(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// When the effect has begun that is under way, by the monotonic clock.
    since: Option<Duration>,
    /// What those took that are over.
    total: Duration,
}

/// An effect under way.
pub(crate) struct InEffect {
    time: EffectTime,
    clock: Clock,
}

impl EffectTime {
    /// An effect begins. It is over when what this returns is dropped.
    pub(crate) fn enter(&self, clock: &Clock) -> InEffect {
        self.lock().since = Some(clock.monotonic());
        self.0.changed.notify_waiters();
        InEffect { time: self.clone(), clock: clock.clone() }
    }

    /// What the effects took that are over.
    pub(crate) fn total(&self) -> Duration {
        self.lock().total
    }

    /// Whether one is under way.
    pub(crate) fn is_in_effect(&self) -> bool {
        self.lock().since.is_some()
    }

    /// Wait until no effect is under way.
    pub(crate) async fn over(&self) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Registered before the look: what happens in between is not missed.
            changed.as_mut().enable();
            if !self.is_in_effect() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InEffect {
    fn drop(&mut self) {
        let now = self.clock.monotonic();
        let mut state = self.time.lock();
        let since = state.since.take();
        state.total += since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        drop(state);
        self.time.0.changed.notify_waiters();
    }
}
