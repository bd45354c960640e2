//! Sessions that have gone to sleep, of which no event tells yet.
//!
//! A sleep must not wait for a disk: it is noted here, and told in the background, many at a time, with a note
//! in the record of the session. A session that wakes before that tells of it with its next commit. Bounded;
//! what a crash or the bound loses is the event and that note, and nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::Notify;

use super::services::Services;
use dormouse_domain::event::{Event, EventBody, SleepCause};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::residence::Residence;
use dormouse_domain::session::Session;
use dormouse_domain::time::Timestamp;
use dormouse_store::Transaction;

/// How many sleeps are remembered. A wake of a session that is not tells of no sleep.
const MAX_SLEPT: usize = 10_000;
/// How many are told together.
const BATCH: usize = 256;
/// How long to gather, in real time: whoever wakes at once tells of it in a commit that comes anyway.
const GATHER: Duration = Duration::from_millis(50);

/// How a session went to sleep.
#[derive(Clone, Debug)]
pub(crate) struct Sleep {
    /// The owner of the session.
    pub(crate) owner: Principal,
    /// When.
    pub(crate) at: Timestamp,
    /// Why.
    pub(crate) cause: SleepCause,
    /// How long it had been of no use.
    pub(crate) idle: Duration,
    /// When it had an instance, with the one that is gone.
    pub(crate) residence: Residence,
}

impl Sleep {
    fn event(&self, id: SessionId) -> Event {
        let idle_minutes = Some(self.idle.as_secs() / 60);
        let body = EventBody::SessionSlept { cause: self.cause, idle_minutes };
        Event::owned(&self.owner, id, self.at, body)
    }
}

#[derive(Default)]
struct Notes {
    waiting: HashMap<SessionId, Sleep>,
    /// The sleeps that are being told now.
    telling: HashMap<SessionId, Sleep>,
}

/// Sessions whose sleep no event tells of yet.
#[derive(Default)]
pub(crate) struct PendingSleepEvents {
    notes: Mutex<Notes>,
    /// There is something to tell.
    noted: Notify,
    /// Somebody waits for it to be told.
    hurried: Notify,
    /// Something was told.
    told: Notify,
}

impl PendingSleepEvents {
    /// Remember that a session has gone to sleep.
    pub(crate) fn note(&self, id: SessionId, sleep: Sleep) {
        let mut notes = self.lock();
        if notes.waiting.len() < MAX_SLEPT {
            notes.waiting.insert(id, sleep);
            drop(notes);
            self.noted.notify_one();
        }
    }

    /// When a session had an instance that has gone to sleep, where the store may not know it yet. `None`: it
    /// knows.
    pub(crate) fn residence(&self, id: SessionId) -> Option<Residence> {
        let notes = self.lock();
        let sleep = notes.waiting.get(&id).or_else(|| notes.telling.get(&id))?;
        Some(sleep.residence)
    }

    /// The events of a wake, with that of the sleep before it where nothing has told of it. Waits while
    /// that is being told, so that they stay in order.
    pub(crate) async fn woken_events(&self, session: &Session, now: Timestamp) -> Vec<Event> {
        let id = session.id;
        self.until(|notes| !notes.telling.contains_key(&id)).await;
        let slept = self.lock().waiting.remove(&id);
        let mut events: Vec<Event> = slept.into_iter().map(|sleep| sleep.event(id)).collect();
        events.push(Event::session(session, now, EventBody::SessionWoken));
        events
    }

    /// Returns when all that was noted is told.
    pub(crate) async fn hurry(&self) {
        self.hurried.notify_one();
        self.until(|notes| notes.waiting.is_empty() && notes.telling.is_empty()).await;
    }

    async fn until(&self, mut done: impl FnMut(&Notes) -> bool) {
        loop {
            let told = self.told.notified();
            tokio::pin!(told);
            told.as_mut().enable();
            if done(&self.lock()) {
                return;
            }
            told.await;
        }
    }

    /// Some sleeps that are to be told. Until what comes back is dropped, whoever wakes one of these sessions waits.
    fn take(&self) -> Telling<'_> {
        let mut notes = self.lock();
        let batch: Vec<_> =
            notes.waiting.iter().take(BATCH).map(|(id, sleep)| (*id, sleep.clone())).collect();
        for (id, sleep) in &batch {
            notes.waiting.remove(id);
            notes.telling.insert(*id, sleep.clone());
        }
        Telling { slept: self, batch }
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sleeps that are being told.
struct Telling<'a> {
    slept: &'a PendingSleepEvents,
    batch: Vec<(SessionId, Sleep)>,
}

impl Drop for Telling<'_> {
    /// Also where the task that tells them has been ended: nobody waits for that any more.
    fn drop(&mut self) {
        self.slept.lock().telling.clear();
        self.slept.told.notify_waiters();
    }
}

/// Tell of sleeps, for ever. Ends when it is dropped.
pub(crate) async fn tell(services: Arc<Services>) {
    let slept = &services.slept;
    loop {
        slept.noted.notified().await;
        tokio::select! {
            () = services.clock.back_off(GATHER) => {}
            () = slept.hurried.notified() => {}
        }
        loop {
            let telling = slept.take();
            if telling.batch.is_empty() {
                break;
            }
            let logs = telling.batch.iter().map(|(id, sleep)| {
                let events = vec![sleep.event(*id)];
                services.store.commit(Transaction::slept(*id, sleep.residence, events))
            });
            for error in join_all(logs).await.into_iter().filter_map(Result::err) {
                // Deleted meanwhile, or the disk is full: the sleep itself is as good as any.
                tracing::debug!(%error, "a sleep could not be told of");
            }
        }
        slept.told.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[tokio::test]
    async fn nobody_waits_for_a_sleep_to_be_told_by_a_host_that_has_ended() {
        let slept = PendingSleepEvents::default();
        let id = SessionId(Uuid::from_u128(1));
        let sleep = Sleep {
            owner: Principal::local(),
            at: Timestamp(1),
            cause: SleepCause::Idle,
            idle: Duration::ZERO,
            residence: Residence::default(),
        };
        slept.note(id, sleep);
        let telling = slept.take();
        assert_eq!(telling.batch.len(), 1);
        let waiting = slept.until(|notes| !notes.telling.contains_key(&id));
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending(), "it is being told");
        drop(telling);
        assert!(futures::poll!(&mut waiting).is_ready());
    }
}
