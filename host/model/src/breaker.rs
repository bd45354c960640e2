//! Asks a provider that does not work now and then, and not each time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures in a row after which a provider is taken for broken.
const FAILURES: u32 = 5;
/// How long it is left alone then: at first, and at most.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Whether a provider works, as far as its last calls tell.
///
/// Five failures in a row open it for a second; then one call is let through, which closes it, or opens it
/// for twice as long, up to a minute.
#[derive(Debug, Default)]
pub struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    failures: u32,
    /// By the monotonic clock of the host: when the next call is let through.
    open_until: Option<Duration>,
    /// A call is under way that tries whether the provider works again.
    is_tried: bool,
}

/// A provider is left alone for this much longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// How long.
    pub retry_after: Duration,
}

impl Breaker {
    /// Ask for a call, at this time of the monotonic clock. Each call that is let through ends with
    /// [`Breaker::note`].
    ///
    /// # Errors
    /// Where the provider is left alone.
    pub fn admit(&self, now: Duration) -> Result<(), Open> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.open_until {
            None => Ok(()),
            Some(until) if until > now => Err(Open { retry_after: until - now }),
            Some(_) if state.is_tried => Err(Open { retry_after: REST }),
            Some(_) => {
                state.is_tried = true;
                Ok(())
            }
        }
    }

    /// A call is over at this time. `works`: whether the provider does; `None` where the call did not show it.
    pub fn note(&self, now: Duration, works: Option<bool>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_tried = false;
        match works {
            None => {}
            Some(true) => *state = State::default(),
            Some(false) => {
                state.failures = state.failures.saturating_add(1);
                if let Some(beyond) = state.failures.checked_sub(FAILURES) {
                    let rest = REST.saturating_mul(1 << beyond.min(6)).min(LONGEST_REST);
                    state.open_until = Some(now.saturating_add(rest));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_closes_it() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            breaker.note(at(0), Some(false));
        }
        breaker.note(at(0), Some(true));
        for _ in 0..5 {
            assert_eq!(breaker.admit(at(0)), Ok(()));
            breaker.note(at(0), Some(false));
        }
        assert_eq!(breaker.admit(at(400)), Err(Open { retry_after: at(600) }));
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
        assert!(breaker.admit(at(1_000)).is_err(), "one call tries it");
        breaker.note(at(1_000), Some(true));
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
    }

    #[test]
    fn it_stays_open_twice_as_long_after_each_failure_up_to_a_minute() {
        let breaker = Breaker::default();
        let mut now = at(0);
        let mut rests = Vec::new();
        for _ in 0..5 {
            breaker.note(now, Some(false));
        }
        for _ in 0..8 {
            let Open { retry_after } = breaker.admit(now).unwrap_err();
            rests.push(retry_after.as_secs());
            now += retry_after;
            assert_eq!(breaker.admit(now), Ok(()));
            breaker.note(now, Some(false));
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 60, 60]);
    }

    #[test]
    fn a_call_that_shows_nothing_lets_the_next_try() {
        let breaker = Breaker::default();
        for _ in 0..5 {
            breaker.note(at(0), Some(false));
        }
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
        breaker.note(at(1_000), None);
        assert_eq!(breaker.admit(at(1_000)), Ok(()));
    }
}
