//! Removes what is too old of what is kept for a time only: idempotency keys, and where it is so configured
//! snapshots, turns and events.
//!
//! One task. It walks all sessions a few at a time, eight times in the shortest of these times, so
//! that nothing stays much longer than it should.

use std::sync::Arc;
use std::time::Duration;

use super::services::Services;
use dormouse_domain::message::IDEMPOTENCY_KEY_LIFETIME;
use dormouse_store::Retention;

/// The longest and the shortest time between two walks.
const OFTEN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// Remove what is too old, for ever. Ends when it is dropped.
pub(crate) async fn keep(services: Arc<Services>, retention: Retention) {
    let Retention { snapshots_for, turns_for, events_for, .. } = retention;
    let history = [snapshots_for, turns_for, events_for].into_iter().flatten();
    let shortest = history.fold(IDEMPOTENCY_KEY_LIFETIME, Duration::min);
    let Some(upkeep) = services.store.upkeep() else { return };
    let pause = (shortest / 8).clamp(OFTEN.0, OFTEN.1);
    loop {
        services.clock.sleep_until(services.clock.now().after(pause)).await;
        let now = services.clock.now();
        if let Err(error) = upkeep.expire(now).await {
            tracing::warn!(%error, "what is too old could not be removed");
        }
    }
}
