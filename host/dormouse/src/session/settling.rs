//! Waiting until a host has nothing left to do before its clock goes on: for tests, which turn it.
//!
//! Costs nothing while nobody waits: changes are counted only then.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, watch};

use dormouse_domain::time::Timestamp;

/// How far the timekeeper is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounds {
    /// Rounds that have begun.
    begun: u64,
    /// Rounds that have ended.
    ended: u64,
    /// The time that is due next, as the last round has found out.
    next: Timestamp,
}

/// What those who wait are told.
pub(crate) struct Settling {
    waiting: AtomicUsize,
    changes: AtomicU64,
    changed: Notify,
    rounds: watch::Receiver<Rounds>,
    teller: Mutex<Option<watch::Sender<Rounds>>>,
}

impl Default for Settling {
    fn default() -> Settling {
        let (teller, rounds) =
            watch::channel(Rounds { begun: 0, ended: 0, next: Timestamp::NEVER });
        Settling {
            waiting: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            changed: Notify::new(),
            rounds,
            teller: Mutex::new(Some(teller)),
        }
    }
}

/// While it lives, somebody waits.
pub(crate) struct SettleWaiter<'s>(&'s Settling);

impl Drop for SettleWaiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells how far the timekeeper is. When it is dropped, nobody waits for it any more.
pub(crate) struct Teller(watch::Sender<Rounds>);

impl Teller {
    /// A round begins: it looks at the clock after this.
    pub(crate) fn begin(&self) {
        self.0.send_modify(|rounds| rounds.begun += 1);
    }

    /// The round has ended, and this is due next.
    pub(crate) fn end(&self, next: Timestamp) {
        self.0.send_modify(|rounds| (rounds.ended, rounds.next) = (rounds.begun, next));
    }
}

impl Settling {
    /// For the timekeeper, once.
    pub(crate) fn teller(&self) -> Option<Teller> {
        self.teller.lock().unwrap_or_else(PoisonError::into_inner).take().map(Teller)
    }

    /// Note that a driver has come or gone, or waits for something else.
    pub(crate) fn note_change(&self) {
        // In one order with those who wait: they count themselves before they look.
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.changes.fetch_add(1, Ordering::SeqCst);
            self.changed.notify_waiters();
        }
    }

    /// Somebody waits, from now on.
    pub(crate) fn begin(&self) -> SettleWaiter<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        SettleWaiter(self)
    }

    /// How many changes there have been.
    pub(crate) fn seen(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Returns when there have been more changes than these.
    pub(crate) async fn changed_since(&self, seen: u64) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.seen() != seen {
                return;
            }
            changed.await;
        }
    }

    /// Have the timekeeper make a round that begins after this, and return what is due next after it.
    /// `None`: the timekeeper has gone.
    pub(crate) async fn whole_round(&self, deadlines: &Notify) -> Option<Timestamp> {
        let mut rounds = self.rounds.clone();
        let begun = rounds.borrow_and_update().begun;
        deadlines.notify_one();
        let ended = rounds.wait_for(|rounds| rounds.ended > begun).await.ok()?;
        Some(ended.next)
    }
}
