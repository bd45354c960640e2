//! The clocks of a guest in a turn, and what it has read of them: a turn that is run again reads the same.

use std::time::Duration;

use crate::faults::InjectedFaults;
use dormouse_base::clock::Clock;
use dormouse_domain::journal::{MAX_READINGS_BYTES, Readings};
use dormouse_domain::time::Timestamp;

/// The most readings that are remembered from one effect to the next.
const MAX_READINGS: usize = MAX_READINGS_BYTES / size_of::<u64>();
/// How far the monotonic clock goes on with each reading beyond that, in nanoseconds.
const STEP: u64 = 1_000;

/// The clocks of a turn.
///
/// What is read is remembered until [`Tape::take`]. Up to [`Tape::play`]ed readings the clocks say what they said
/// before; behind them they are live, and never earlier than that.
pub(crate) struct Tape {
    clock: Clock,
    faults: InjectedFaults,
    /// What the host's monotonic clock said when the guest's said `monotonic`, and went on from there.
    origin: Duration,
    live_from: u64,
    wall: Timestamp,
    monotonic: u64,
    readings: Readings,
    /// Readings to come, where the turn was run before.
    played: Option<Played>,
    is_remembering: bool,
}

struct Played {
    readings: Readings,
    wall: usize,
    monotonic: usize,
    /// Something was read that was not before.
    is_overrun: bool,
}

impl Tape {
    /// The clocks of a turn that begins at this time, when the guest's monotonic clock says this in nanoseconds.
    /// `is_remembering`: whether the turn may have effects.
    pub(crate) fn new(
        clock: Clock,
        faults: InjectedFaults,
        started_at: Timestamp,
        monotonic: u64,
        is_remembering: bool,
    ) -> Tape {
        Tape {
            origin: clock.monotonic(),
            clock,
            faults,
            live_from: monotonic,
            wall: started_at,
            monotonic,
            readings: Readings::default(),
            played: None,
            is_remembering,
        }
    }

    /// What the wall clock says.
    pub(crate) fn now(&mut self) -> Timestamp {
        if !self.is_remembering {
            return self.live_wall();
        }
        let now = match &mut self.played {
            Some(played) => match played.readings.wall.get(played.wall) {
                Some(later) => {
                    played.wall += 1;
                    Timestamp(self.wall.0.saturating_add(*later))
                }
                None => {
                    played.is_overrun |= !is_full(&played.readings);
                    self.wall
                }
            },
            None if is_full(&self.readings) => self.wall,
            None => self.live_wall().max(self.wall),
        };
        if !is_full(&self.readings) {
            self.readings.wall.push(now.0.saturating_sub(self.wall.0));
        }
        self.wall = now;
        now
    }

    /// What the monotonic clock says, in nanoseconds.
    pub(crate) fn monotonic_ns(&mut self) -> u64 {
        if !self.is_remembering {
            return self.live();
        }
        let now = match &mut self.played {
            Some(played) => match played.readings.monotonic.get(played.monotonic) {
                Some(later) => {
                    played.monotonic += 1;
                    self.monotonic.saturating_add(*later)
                }
                None => {
                    played.is_overrun |= !is_full(&played.readings);
                    self.monotonic.saturating_add(STEP)
                }
            },
            None if is_full(&self.readings) => self.monotonic.saturating_add(STEP),
            None => self.live().max(self.monotonic),
        };
        if !is_full(&self.readings) {
            self.readings.monotonic.push(now.saturating_sub(self.monotonic));
        }
        self.monotonic = now;
        now
    }

    fn live_wall(&self) -> Timestamp {
        self.faults.wall_clock(self.clock.now())
    }

    fn live(&self) -> u64 {
        let elapsed = self.clock.monotonic().saturating_sub(self.origin);
        self.live_from.saturating_add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Say from here on what was read before, up to the next effect. `None`: go on live.
    pub(crate) fn play(&mut self, readings: Option<&Readings>) {
        let was_played = self.played.is_some();
        self.played = readings.map(|readings| Played {
            readings: readings.clone(),
            wall: 0,
            monotonic: 0,
            is_overrun: false,
        });
        if was_played && self.played.is_none() {
            (self.origin, self.live_from) = (self.clock.monotonic(), self.monotonic);
        }
    }

    /// Whether just so much was read as before. Live, it was.
    pub(crate) fn is_as_before(&self) -> bool {
        self.played.as_ref().is_none_or(|played| {
            let Readings { wall, monotonic } = &played.readings;
            !played.is_overrun && played.wall == wall.len() && played.monotonic == monotonic.len()
        })
    }

    /// What was read since the last time that this was asked.
    pub(crate) fn take(&mut self) -> Readings {
        std::mem::take(&mut self.readings)
    }
}

fn is_full(readings: &Readings) -> bool {
    readings.wall.len() + readings.monotonic.len() >= MAX_READINGS
}

#[cfg(test)]
mod tests {
    use super::*;
    use dormouse_base::clock::ManualClock;

    const START: Timestamp = Timestamp(1_000);

    fn tape(clock: &ManualClock) -> Tape {
        Tape::new(Clock::manual(clock), InjectedFaults::default(), START, 5, true)
    }

    #[test]
    fn a_turn_that_is_run_again_reads_what_it_has_read_and_goes_on_live_behind_that() {
        let clock = ManualClock::new();
        let mut first = tape(&clock);
        let read = |tape: &mut Tape| (tape.now(), tape.monotonic_ns());
        let one = read(&mut first);
        clock.advance(Duration::from_millis(7));
        let two = read(&mut first);
        assert_eq!(two.1, one.1 + 7_000_000);
        let readings = first.take();
        clock.advance(Duration::from_secs(3_600));

        let mut again = tape(&clock);
        again.play(Some(&readings));
        assert_eq!((read(&mut again), read(&mut again)), (one, two));
        assert!(again.is_as_before());
        assert_eq!(again.take(), readings);
        again.play(None);
        clock.advance(Duration::from_millis(1));
        let live = read(&mut again);
        assert_eq!(live, (clock.now(), two.1 + 1_000_000), "it goes on from what was told");
    }

    #[test]
    fn who_reads_more_or_less_than_before_is_found() {
        let clock = ManualClock::new();
        let mut first = tape(&clock);
        first.now();
        let readings = first.take();
        let mut less = tape(&clock);
        less.play(Some(&readings));
        assert!(!less.is_as_before());
        less.now();
        assert!(less.is_as_before());
        less.monotonic_ns();
        assert!(!less.is_as_before());
    }

    #[test]
    fn beyond_the_bound_the_clocks_go_on_by_steps_live_and_again() {
        let clock = ManualClock::new();
        let many = MAX_READINGS + 10;
        let mut first = tape(&clock);
        let all: Vec<u64> = (0..many).map(|_| first.monotonic_ns()).collect();
        let readings = first.take();
        assert_eq!(readings.monotonic.len(), MAX_READINGS);
        assert_eq!(all[many - 1], all[MAX_READINGS - 1] + 10 * STEP);
        let mut again = tape(&clock);
        again.play(Some(&readings));
        assert!((0..many).map(|_| again.monotonic_ns()).eq(all));
        assert!(again.is_as_before());
    }
}
