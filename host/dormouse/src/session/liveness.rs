//! Whether the host takes work, which drivers are at work, and whether a task of it has died.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// The state of the tasks of a host.
#[derive(Default)]
pub(crate) struct Liveness {
    /// Closed: the host takes no more work.
    drivers: TaskTracker,
    /// Cancelled: a task has panicked, a defect of the host, told to the caller that shuts the host down.
    panicked: CancellationToken,
}

impl Liveness {
    /// Take no more work.
    pub(crate) fn close(&self) {
        self.drivers.close();
    }

    /// Whether no more work is taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.drivers.is_closed()
    }

    /// Count a driver that starts, for as long as it holds this token.
    pub(crate) fn driver_started(&self) -> TaskTrackerToken {
        self.drivers.token()
    }

    /// How many drivers are at work.
    pub(crate) fn drivers(&self) -> usize {
        self.drivers.len()
    }

    /// Returns when no driver is at work and no more work is taken.
    pub(crate) async fn all_left(&self) {
        self.drivers.wait().await;
    }

    /// Note that a task of the host has died, which only a defect can cause.
    pub(crate) fn note_panic(&self) {
        self.panicked.cancel();
    }

    /// Whether a task of the host has died.
    pub(crate) fn has_panicked(&self) -> bool {
        self.panicked.is_cancelled()
    }

    /// Returns when a task of the host has died.
    pub(crate) async fn task_died(&self) {
        self.panicked.cancelled().await;
    }
}
