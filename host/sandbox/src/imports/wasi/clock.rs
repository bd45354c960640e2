//! The clocks of an instance while it is not called: while it starts, takes a state back, or saves one.
//!
//! A call has clocks of its own, those of its world. What the world has told the guest counts here too:
//! the monotonic clock of an instance never goes back.

use std::time::Duration;

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use dormouse_base::clock::Clock;
use dormouse_domain::time::Timestamp;

/// How fine the wall clock of a guest is.
pub(crate) const WALL_RESOLUTION: Duration = Duration::from_millis(1);
/// How fine its monotonic clock is, in nanoseconds.
pub(crate) const MONOTONIC_RESOLUTION: u64 = 1;

/// The clocks of one instance. They go on from what the instance was granted.
pub(crate) struct GuestClock {
    clock: Clock,
    /// What the host's monotonic clock said when the instance was made,
    origin: Duration,
    /// and what the two clocks of the guest said then.
    now: Timestamp,
    offset: u64,
}

impl GuestClock {
    /// Clocks that start at `now` and at `offset` nanoseconds.
    pub(crate) fn new(clock: Clock, now: Timestamp, offset: u64) -> GuestClock {
        GuestClock { origin: clock.monotonic(), clock, now, offset }
    }

    /// What the wall clock says.
    pub(crate) fn now(&self) -> Timestamp {
        self.now.after(self.elapsed())
    }

    /// What the monotonic clock says, in nanoseconds.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        let elapsed = u64::try_from(self.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.offset.saturating_add(elapsed)
    }

    /// The guest was told that its monotonic clock says this: from now on that clock says no less.
    pub(crate) fn note_told(&mut self, monotonic_ns: u64) {
        let ahead = monotonic_ns.saturating_sub(self.monotonic_ns());
        self.offset = self.offset.saturating_add(ahead);
    }

    fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.origin)
    }
}

/// Clocks that stand: 2000-01-01T00:00:00Z, and the beginning of time. Every instance that starts alike
/// sees them while it starts.
pub(crate) struct StandingClock;

impl StandingClock {
    /// What the wall clock says. Snapshots depend on it: it never changes.
    pub(crate) const NOW: Timestamp = Timestamp(946_684_800_000);
    /// What the monotonic clock says, in nanoseconds.
    pub(crate) const MONOTONIC_NS: u64 = 0;
}

// What the engine's own functions would read, of which a guest can call none.

impl HostMonotonicClock for StandingClock {
    fn resolution(&self) -> u64 {
        MONOTONIC_RESOLUTION
    }

    fn now(&self) -> u64 {
        StandingClock::MONOTONIC_NS
    }
}

impl HostWallClock for StandingClock {
    fn resolution(&self) -> Duration {
        WALL_RESOLUTION
    }

    fn now(&self) -> Duration {
        since_epoch(StandingClock::NOW)
    }
}

/// A time as WASI says it, which knows none before 1970.
pub(crate) fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(time.0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_base::clock::ManualClock;

    #[test]
    fn the_clocks_go_on_from_what_was_granted() {
        let manual = ManualClock::new();
        let clock = GuestClock::new(Clock::manual(&manual), Timestamp(7), 5);
        assert_eq!((clock.now(), clock.monotonic_ns()), (Timestamp(7), 5));
        manual.advance(Duration::from_millis(2));
        assert_eq!((clock.now(), clock.monotonic_ns()), (Timestamp(9), 2_000_005));
    }

    #[test]
    fn the_monotonic_clock_says_no_less_than_a_world_has_told() {
        let manual = ManualClock::new();
        let mut clock = GuestClock::new(Clock::manual(&manual), Timestamp(0), 5);
        clock.note_told(3);
        assert_eq!(clock.monotonic_ns(), 5);
        clock.note_told(8_000_000);
        assert_eq!(clock.monotonic_ns(), 8_000_000);
        manual.advance(Duration::from_millis(1));
        assert_eq!(clock.monotonic_ns(), 9_000_000);
    }
}
