//! Whether the host takes work, how many drivers are at work, and whether a task of it has died.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The state of the tasks of a host.
#[derive(Default)]
pub(crate) struct Liveness {
    closed: AtomicBool,
    drivers: AtomicUsize,
    left: Notify,
    /// A task has panicked: a defect of the host, told to whoever shuts it down.
    panicked: AtomicBool,
    died: Notify,
}

impl Liveness {
    /// Take no more work.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether no more work is taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Count a driver that starts.
    pub(crate) fn driver_started(&self) {
        self.drivers.fetch_add(1, Ordering::SeqCst);
    }

    /// Count a driver that has left.
    pub(crate) fn driver_left(&self) {
        if self.drivers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.left.notify_waiters();
        }
    }

    /// Returns when no driver is at work.
    pub(crate) async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Registered before the look: a driver that leaves in between is not missed.
            left.as_mut().enable();
            if self.drivers.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }

    /// Note that a task of the host has died, which only a defect can cause.
    pub(crate) fn note_panic(&self) {
        self.panicked.store(true, Ordering::SeqCst);
        self.died.notify_waiters();
    }

    /// Whether a task of the host has died.
    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.load(Ordering::SeqCst)
    }

    /// Returns when a task of the host has died.
    pub(crate) async fn task_died(&self) {
        loop {
            let died = self.died.notified();
            tokio::pin!(died);
            died.as_mut().enable();
            if self.has_panicked() {
                return;
            }
            died.await;
        }
    }
}
