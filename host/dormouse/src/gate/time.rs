//! The time that the calls of a turn take: it is not the agent's, and no limit of the turn counts it. What the turn
//! waits for before a call, and between two attempts, is the turn's own: so no turn waits in line for ever.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use dormouse_base::clock::Clock;

/// How long calls of a turn have taken, and whether the turn is in an effect. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct EffectTime(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Whether the guest waits for an effect.
    is_in_effect: bool,
    /// When the call has begun that is under way, by the monotonic clock.
    since: Option<Duration>,
    /// What those took that are over.
    total: Duration,
}

/// An effect that a guest waits for.
pub(crate) struct InEffect(EffectTime);

/// A call under way.
pub(crate) struct InCall {
    time: EffectTime,
    clock: Clock,
}

impl EffectTime {
    /// An effect begins. It is over when what this returns is dropped.
    pub(crate) fn effect(&self) -> InEffect {
        self.lock().is_in_effect = true;
        InEffect(self.clone())
    }

    /// A call leaves. It is over when what this returns is dropped.
    pub(crate) fn call(&self, clock: &Clock) -> InCall {
        self.lock().since = Some(clock.monotonic());
        self.0.changed.notify_waiters();
        InCall { time: self.clone(), clock: clock.clone() }
    }

    /// What the calls took that are over.
    pub(crate) fn total(&self) -> Duration {
        self.lock().total
    }

    /// Whether the guest waits for an effect.
    pub(crate) fn is_in_effect(&self) -> bool {
        self.lock().is_in_effect
    }

    /// Whether a call is under way.
    pub(crate) fn is_in_call(&self) -> bool {
        self.lock().since.is_some()
    }

    /// Wait until no call is under way.
    pub(crate) async fn over(&self) {
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            // Registered before the look: what happens in between is not missed.
            changed.as_mut().enable();
            if !self.is_in_call() {
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
        let InEffect(time) = self;
        time.lock().is_in_effect = false;
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        let now = self.clock.monotonic();
        let mut state = self.time.lock();
        let since = state.since.take();
        state.total += since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        drop(state);
        self.time.0.changed.notify_waiters();
    }
}
