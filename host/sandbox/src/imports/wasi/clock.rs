//! The clocks of a guest: the host's time of day, and a monotonic clock that outlives its instance.

use std::time::Duration;

use wasmtime_wasi::{HostMonotonicClock, HostWallClock};

use dormouse_base::clock::Clock;

/// The clocks of one instance.
#[derive(Clone)]
pub(crate) struct GuestClock {
    clock: Clock,
    /// What the host's monotonic clock said when the instance was made,
    origin: Duration,
    /// and what the guest's said then.
    offset: u64,
}

impl GuestClock {
    /// A clock whose monotonic side starts at `offset` nanoseconds.
    pub(crate) fn new(clock: Clock, offset: u64) -> GuestClock {
        GuestClock { origin: clock.monotonic(), clock, offset }
    }

    /// What the monotonic clock says, in nanoseconds.
    pub(crate) fn monotonic_ns(&self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_sub(self.origin);
        self.offset.saturating_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl HostMonotonicClock for GuestClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.monotonic_ns()
    }
}

/// Clocks that stand: 2000-01-01T00:00:00Z, and the beginning of time.
pub(super) struct StandingClock;

/// Snapshots depend on it: it never changes.
const STANDING: Duration = Duration::from_secs(946_684_800);

impl HostMonotonicClock for StandingClock {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        0
    }
}

impl HostWallClock for StandingClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        STANDING
    }
}

impl HostWallClock for GuestClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.clock.now().0).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_base::clock::ManualClock;

    #[test]
    fn the_monotonic_clock_goes_on_from_its_offset() {
        let manual = ManualClock::new();
        let clock = GuestClock::new(Clock::manual(&manual), 5);
        assert_eq!(clock.monotonic_ns(), 5);
        manual.advance(Duration::from_millis(2));
        assert_eq!(clock.monotonic_ns(), 2_000_005);
    }
}
