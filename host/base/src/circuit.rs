//! Leaves something alone that does not work, and tries it now and then, and not each time.

use std::time::Duration;

/// How long something is left alone: at first, and at most.
const REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Whether one thing works, as far as the last attempts tell.
///
/// A number of failures in a row open it for a second; then one attempt is let through, which closes it, or opens it for
/// twice as long, up to a minute.
#[derive(Clone, Copy, Debug)]
pub struct Circuit {
    /// Failures in a row that open it.
    threshold: u32,
    failures: u32,
    /// By the monotonic clock of the host: when the next attempt is let through.
    open_until: Option<Duration>,
    /// An attempt is under way that shows whether it works again.
    is_tried: bool,
}

impl Circuit {
    /// One that so many failures in a row open.
    #[must_use]
    pub fn opened_by(threshold: u32) -> Circuit {
        Circuit { threshold, failures: 0, open_until: None, is_tried: false }
    }

    /// How long it is left alone yet, at this time of the monotonic clock. `None`: it may be tried.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Option<Duration> {
        match self.open_until {
            None => None,
            Some(until) if until > now => Some(until - now),
            Some(_) => self.is_tried.then_some(REST),
        }
    }

    /// An attempt begins: where it is open, all others wait until that one has ended.
    pub fn begin(&mut self) {
        self.is_tried = true;
    }

    /// An attempt has ended, whatever it has shown.
    pub fn end(&mut self) {
        self.is_tried = false;
    }

    /// It works.
    pub fn close(&mut self) {
        *self = Circuit::opened_by(self.threshold);
    }

    /// It does not work, at this time of the monotonic clock.
    pub fn fail(&mut self, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if let Some(beyond) = self.failures.checked_sub(self.threshold) {
            let rest = REST.saturating_mul(1 << beyond.min(6)).min(LONGEST_REST);
            self.open_until = Some(now.saturating_add(rest));
        }
    }

    /// How many failures in a row there were.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }
}
