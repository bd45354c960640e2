//! Sees to it that what is due happens: deadlines of the records, and the times at which residents go to sleep.
//!
//! One task. It sleeps until the earliest of all due times and is told when an earlier one appears,
//! so that a host whose sessions sleep uses no processor time. It walks no sessions: the store and
//! the residents keep what is due in order.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use dormouse_domain::event::SleepCause;
use dormouse_domain::time::Timestamp;
use dormouse_store::StoreError;

use super::registry::Registry;
use super::request::{Command, CommandError, Unavailable};
use super::services::Services;

/// Due sessions that are handled at the same time.
const BATCH: usize = 256;

/// Wait this long after the store has failed to say what is due.
const RETRY: Duration = Duration::from_secs(1);

/// Do what is due, for ever. Ends when it is dropped.
pub(crate) async fn keep(registry: Arc<Registry>) {
    let services = registry.services();
    let _dying = Dying(services.clone());
    let Some(teller) = services.settling.teller() else { return };
    // Whether all has been looked at that came due while the host was down.
    let mut has_caught_up = false;
    loop {
        // Registered before the look: a deadline that appears meanwhile is not missed.
        let nearer = services.deadlines.notified();
        tokio::pin!(nearer);
        nearer.as_mut().enable();
        services.next_look.store(Timestamp::NEVER.0, Ordering::SeqCst);
        teller.begin();
        let next = match round(&registry, &mut has_caught_up).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(%error, "what is due could not be found out");
                Some(services.clock.now().after(RETRY))
            }
        };
        let next = next.unwrap_or(Timestamp::NEVER);
        services.next_look.store(next.0, Ordering::SeqCst);
        teller.end(next);
        tokio::select! {
            () = nearer => {}
            () = services.clock.sleep_until(next) => {}
        }
    }
}

/// Do what is due now. Returns when something is due next.
async fn round(
    registry: &Arc<Registry>,
    has_caught_up: &mut bool,
) -> Result<Option<Timestamp>, StoreError> {
    let services = registry.services();
    let now = services.clock.now();
    // Asked before the removals are: one that is left alone now is looked at again then.
    let held_until = services.removals_held_until();
    while let Some(eviction) = services.residents.due(now) {
        registry.evict(eviction, SleepCause::Idle);
    }
    // What was left of the time before the start are removals that wait: there may be very many of them.
    let waits = *has_caught_up && held_until.is_some();
    let mut after = waits.then(|| services.last_before_start());
    let mut again = None;
    loop {
        let due = services.store.due(after, now, BATCH).await?;
        let Some(last) = due.last() else { break };
        after = Some(*last);
        // Given in the order of their deadlines; each driver commits for itself, grouped.
        let commands: Vec<_> =
            due.iter().map(|(_, id)| registry.post(*id, None, Command::Due)).collect();
        for (_, done) in commands.into_iter().flatten() {
            match done.await {
                Ok(Ok(_)) | Err(_) => {}
                // Deleted by its owner meanwhile.
                Ok(Err(CommandError::Unavailable(Unavailable::NotFound(_)))) => {}
                Ok(Err(error)) => {
                    tracing::warn!(%error, "what was due for a session could not be done");
                    again = Some(now.after(RETRY));
                }
            }
        }
    }
    *has_caught_up |= again.is_none();
    let stored = services.store.next_due(now).await?;
    let next = earlier(stored, services.residents.next_due());
    Ok(earlier(earlier(next, again), held_until))
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Tells the host if the timekeeper panics: nothing would be due any more.
struct Dying(Arc<Services>);

impl Drop for Dying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.liveness.note_panic();
        }
    }
}
