//! Timers, as the host has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Backend;
use crate::{
    bindings::handler::dormouse::agent::timers as imports,
    timers::{Error, Timer, When},
};

impl Backend {
    pub(crate) fn set_timer(&self, name: &str, when: When<'_>, message: &str) -> Result<(), Error> {
        let when = match when {
            When::At(time) => imports::When::At(millis(time)),
            When::After(delay) => {
                imports::When::After(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX))
            }
            When::Each(schedule) => imports::When::Each(schedule.to_owned()),
        };
        imports::set(name, &when, message).map_err(|error| match error {
            imports::Error::Invalid(reason) => Error::Invalid(reason),
            imports::Error::TooMany(most) => Error::TooMany(most),
        })
    }

    pub(crate) fn cancel_timer(&self, name: &str) -> bool {
        imports::cancel(name)
    }

    pub(crate) fn timers(&self) -> Vec<Timer> {
        let timer = |timer: imports::Timer| Timer {
            name: timer.name,
            due: UNIX_EPOCH + Duration::from_millis(timer.due),
            schedule: timer.schedule,
            message: timer.message,
        };
        imports::list().into_iter().map(timer).collect()
    }
}

/// Milliseconds since 1970; 0 for a time before.
fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
