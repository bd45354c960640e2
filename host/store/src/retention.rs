//! How much of the past a store keeps.

use std::time::Duration;

/// What is kept of the past. What a session needs to go on stays in any case: its head, and what it
/// may go back to after an upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Snapshots of a session, the newest, its head among them: 1 to 256.
    pub snapshots: usize,
    /// How long snapshots are kept; `None`: as long as their number allows.
    pub snapshots_for: Option<Duration>,
    /// Turns of a session, the newest, and a few more: they go several at a time.
    pub turns: u64,
    /// How long turns are kept; `None`: as long as their number allows.
    pub turns_for: Option<Duration>,
    /// Events of the log, the newest, and some more: they go many at a time.
    pub events: u64,
    /// How long events are kept; `None`: as long as their number allows.
    pub events_for: Option<Duration>,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention {
            snapshots: 16,
            snapshots_for: None,
            turns: 10_000,
            turns_for: None,
            events: 10_000_000,
            events_for: None,
        }
    }
}

impl Retention {
    /// Whether anything goes by its age.
    pub(crate) fn by_age(&self) -> bool {
        self.snapshots_for.or(self.turns_for).or(self.events_for).is_some()
    }
}
