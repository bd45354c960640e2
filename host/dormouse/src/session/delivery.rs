//! Mail that waits when a host starts: its recipients are told, some at a time.

use std::sync::Arc;
use std::time::Duration;

use super::registry::Registry;
use dormouse_domain::id::SessionId;

/// So many sessions are told at once, and more when fewer drivers than that are at work.
const BATCH: usize = 256;
/// How long to wait until that is looked at again,
const PAUSE: Duration = Duration::from_millis(50);
/// and how often, before more are told all the same.
const PAUSES: usize = 40;

/// Tell the first of these sessions that mail waits for them. What this returns tells the others.
pub(crate) fn deliver(
    registry: &Arc<Registry>,
    sessions: Vec<SessionId>,
) -> impl Future<Output = ()> + Send + use<> {
    let (first, rest) = sessions.split_at(sessions.len().min(BATCH));
    first.iter().for_each(|id| registry.post_mail(*id));
    let (registry, rest) = (Arc::downgrade(registry), rest.to_vec());
    async move {
        for batch in rest.chunks(BATCH) {
            for _ in 0..PAUSES {
                let Some(registry) = registry.upgrade() else { return };
                if registry.services().liveness.drivers() < BATCH {
                    break;
                }
                let clock = registry.services().clock.clone();
                drop(registry);
                clock.back_off(PAUSE).await;
            }
            let Some(registry) = registry.upgrade() else { return };
            batch.iter().for_each(|id| registry.post_mail(*id));
        }
    }
}
