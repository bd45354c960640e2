//! The timers of a session.

use schemars::JsonSchema;
use serde::Serialize;

use super::value::Time;
use dormouse::{Schedule, Timer, Timers};

/// The timers of a session, in the order of their names.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Timers")]
pub(crate) struct TimersBody {
    timers: Vec<TimerBody>,
    count: usize,
}

/// A timer that an agent has set: when it is due, its session gets a turn.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Timer")]
struct TimerBody {
    name: String,
    /// When it is due next.
    #[schemars(with = "Time")]
    due_at: String,
    /// When it is due again: five fields of cron, in UTC. `null`: it is due once.
    schedule: Option<String>,
    /// What its agent is sent.
    message: String,
    /// The turn that has set it.
    set_in_turn: u64,
}

impl TimersBody {
    pub(crate) fn of(timers: &Timers) -> TimersBody {
        let timers: Vec<TimerBody> = timers.all().iter().map(TimerBody::from).collect();
        TimersBody { count: timers.len(), timers }
    }
}

impl From<&Timer> for TimerBody {
    fn from(timer: &Timer) -> TimerBody {
        TimerBody {
            name: timer.name.clone(),
            due_at: timer.due.to_string(),
            schedule: timer.schedule.as_ref().map(Schedule::as_str).map(str::to_owned),
            message: timer.message.clone(),
            set_in_turn: timer.set_in,
        }
    }
}
