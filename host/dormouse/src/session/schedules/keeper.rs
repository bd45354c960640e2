//! Has what is due started.
//!
//! One task, which waits for no run: it sleeps until the first schedule is due, and hands on each that may begin. Who
//! starts it, the façade knows.

use std::sync::Arc;

use super::super::services::Services;
use super::Claim;
use dormouse_domain::time::Timestamp;
use dormouse_store::{Bound, StoreError};

/// Records that are read together when the host starts.
const PAGE: Bound = Bound { entries: 1_000, bytes: 4 << 20 };

/// Take in the schedules that the store has.
pub(crate) async fn load(services: &Services) -> Result<(), StoreError> {
    let mut after = None;
    loop {
        let page = services.store.schedules(after, PAGE).await?;
        page.entries.iter().for_each(|schedule| services.schedules.put(schedule));
        match page.next {
            None => return Ok(()),
            next => after = next,
        }
    }
}

/// Have what is due started, for ever. Ends when it is dropped, or when `start` answers that there is no host any more.
pub(crate) async fn keep(services: Arc<Services>, start: impl Fn(Claim) -> bool) {
    let _dying = Dying(Arc::clone(&services));
    loop {
        // Registered before the look: what comes nearer meanwhile is not missed.
        let changed = services.schedules.changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        services.schedules.take_due(services.clock.now());
        while let Some(claim) = Claim::next(&services) {
            if !start(claim) {
                return;
            }
        }
        services.settling.note_change();
        let next = services.schedules.next_due().unwrap_or(Timestamp::NEVER);
        tokio::select! {
            () = changed => {}
            () = services.clock.sleep_until(next) => {}
        }
    }
}

/// Tells the host if the keeper panics: nothing would be due any more.
struct Dying(Arc<Services>);

impl Drop for Dying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.liveness.note_panic();
        }
    }
}
