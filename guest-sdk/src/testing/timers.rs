//! The timers of a session under test. They never go off: a test sends their turns.

use std::time::{Duration, SystemTime};

use super::world::Backend;
use crate::timers::{Error, Timer, When};

/// The most timers of a session, as each host has it.
const MAX_TIMERS: usize = 64;

impl Backend {
    pub(crate) fn set_timer(&self, name: &str, when: When<'_>, message: &str) -> Result<(), Error> {
        let now = self.0.borrow().now;
        // When the next time of a schedule comes, no test needs to know: a minute later.
        let (due, schedule) = match when {
            When::At(time) => (time, None),
            When::After(delay) => (now + delay, None),
            When::Each(schedule) => (now + Duration::from_secs(60), Some(schedule.to_owned())),
        };
        if schedule.as_ref().is_some_and(|schedule| {
            !schedule.starts_with('@') && schedule.split_whitespace().count() != 5
        }) {
            return Err(Error::Invalid("a schedule has five fields".to_owned()));
        }
        let (name, message) = (name.to_owned(), message.to_owned());
        let timers = &mut self.0.borrow_mut().timers;
        if timers.len() >= MAX_TIMERS && !timers.contains_key(&name) {
            return Err(Error::TooMany(64));
        }
        timers.insert(name.clone(), Timer { name, due, schedule, message });
        Ok(())
    }

    pub(crate) fn cancel_timer(&self, name: &str) -> bool {
        self.0.borrow_mut().timers.remove(name).is_some()
    }

    pub(crate) fn timers(&self) -> Vec<Timer> {
        self.0.borrow().timers.values().cloned().collect()
    }
}

/// When all tests begin.
pub(super) const NOW: SystemTime = SystemTime::UNIX_EPOCH;
