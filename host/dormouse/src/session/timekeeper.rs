//! Sees to it that what is due happens: deadlines of the records, and the times at which residents go to sleep.
//!
//! One task. It sleeps until the earliest of all due times and is told when an earlier one appears,
//! so that a host whose sessions sleep uses no processor time. It walks no sessions: the store and
//! the residents keep what is due in order.
//!
//! The timekeeper waits for no driver that is at work: a session whose turn runs for an hour delays no other. Such a
//! driver does what is due when it is done with its work. Of drivers that start for what is due, [`BATCH`] are at work
//! at a time: each commits for itself, grouped with the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::oneshot::error::RecvError;
use uuid::Uuid;

use dormouse_domain::event::SleepCause;
use dormouse_domain::time::Timestamp;
use dormouse_store::StoreError;

use super::registry::{Done, PostedDue, Registry};
use super::request::{CommandError, CommandResult, Unavailable};
use super::services::Services;
use dormouse_domain::id::SessionId;

/// Drivers that were started for what is due and are at work at the same time.
const BATCH: usize = 256;

/// Wait this long after something has failed.
const RETRY: Duration = Duration::from_secs(1);

/// Do what is due, for ever. Ends when it is dropped.
pub(crate) async fn keep(registry: Arc<Registry>) {
    let services = registry.services();
    let _dying = Dying(services.clone());
    let Some(teller) = services.settling.teller() else { return };
    let mut timekeeper = Timekeeper::new(&registry);
    loop {
        // Registered before the look: a deadline that appears meanwhile is not missed.
        let nearer = services.deadlines.notified();
        tokio::pin!(nearer);
        nearer.as_mut().enable();
        services.next_look.store(Timestamp::NEVER.0, Ordering::SeqCst);
        services.lag.begin(services.clock.now());
        teller.begin();
        let mut next = match timekeeper.round().await {
            Ok(next) => {
                let next = next.unwrap_or(Timestamp::NEVER);
                services.lag.end(next);
                next
            }
            Err(error) => {
                tracing::error!(%error, "what is due could not be found out");
                services.clock.now().after(RETRY)
            }
        };
        services.next_look.store(next.0, Ordering::SeqCst);
        teller.end(next);
        loop {
            tokio::select! {
                () = &mut nearer => break,
                () = services.clock.sleep_until(next) => break,
                Some(done) = timekeeper.busy.next() => {
                    if has_failed(done) {
                        timekeeper.has_looked = false;
                        next = next.min(services.clock.now().after(RETRY));
                    }
                }
            }
        }
    }
}

/// What one round leaves to the next.
struct Timekeeper<'a> {
    registry: &'a Arc<Registry>,
    /// What is due for sessions whose drivers are at work.
    busy: FuturesUnordered<Done>,
    /// All that was due when the host has started was looked at, and is done or may not be done yet.
    has_looked: bool,
}

impl Timekeeper<'_> {
    fn new(registry: &Arc<Registry>) -> Timekeeper<'_> {
        Timekeeper { registry, busy: FuturesUnordered::new(), has_looked: false }
    }

    /// Do what is due now. Returns when something is due next.
    async fn round(&mut self) -> Result<Option<Timestamp>, StoreError> {
        let services = self.registry.services();
        let now = services.clock.now();
        // Asked before the removals are: one that is left alone now is looked at again then.
        let held_until = services.removals_held_until();
        while let Some(eviction) = services.residents.due(now) {
            self.registry.evict(eviction, SleepCause::Idle);
        }
        let since = services.due_since(std::mem::take(&mut self.has_looked));
        let mut after = since.map(|since| (since, SessionId(Uuid::nil())));
        let (mut started, mut failed) = (VecDeque::with_capacity(BATCH), false);
        loop {
            let due = services.store.due(after, now, BATCH).await?;
            let Some(last) = due.last() else { break };
            after = Some(*last);
            for (_, id) in due {
                if started.len() == BATCH {
                    failed |= first_has_failed(&mut started).await;
                }
                match self.registry.post_due(id) {
                    Ok(PostedDue::Started(done)) => started.push_back(done),
                    Ok(PostedDue::Waits(done)) => self.busy.push(done),
                    Err(error) => failed |= has_failed(Ok(Err(error))),
                }
            }
        }
        while !started.is_empty() {
            failed |= first_has_failed(&mut started).await;
        }
        self.has_looked = !failed;
        let again = failed.then(|| now.after(RETRY));
        let stored = services.store.next_due(now).await?;
        let next = earlier(stored, services.residents.next_due());
        Ok(earlier(earlier(next, again), held_until))
    }
}

/// Wait for the first of these. Answers whether it is to be tried again.
async fn first_has_failed(started: &mut VecDeque<Done>) -> bool {
    match started.pop_front() {
        Some(done) => has_failed(done.await),
        None => false,
    }
}

/// Whether what was due for a session is to be tried again.
fn has_failed(done: Result<CommandResult, RecvError>) -> bool {
    match done {
        // The driver was told before, and has not come to it yet; or it has died.
        Err(_) => false,
        Ok(Ok(_)) => false,
        // Deleted by its owner meanwhile.
        Ok(Err(CommandError::Unavailable(Unavailable::NotFound(_)))) => false,
        Ok(Err(error)) => {
            tracing::warn!(%error, "what was due for a session could not be done");
            metrics::counter!("dormouse_deadline_failures_total").increment(1);
            true
        }
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// How far the timekeeper is behind: the time of its next look, or of the one that it is at.
pub(crate) struct Lag(AtomicI64);

impl Default for Lag {
    fn default() -> Lag {
        Lag(AtomicI64::new(Timestamp::NEVER.0))
    }
}

impl Lag {
    /// How long something has been due that was not looked at.
    pub(crate) fn at(&self, now: Timestamp) -> Duration {
        now.since(Timestamp(self.0.load(Ordering::Relaxed)))
    }

    /// The timekeeper begins to look now, and is behind for as long as it takes.
    fn begin(&self, now: Timestamp) {
        self.0.fetch_min(now.0, Ordering::Relaxed);
    }

    /// The timekeeper has looked, and does so again at this time.
    fn end(&self, next: Timestamp) {
        self.0.store(next.0, Ordering::Relaxed);
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
