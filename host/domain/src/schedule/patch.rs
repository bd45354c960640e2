//! What the owner of a schedule changes of it.

use super::{ScheduleStatus, SessionSchedule};
use crate::creation::{InvalidField, NewSession};
use crate::time::Timestamp;
use crate::timer::Schedule;
use crate::turn::Part;

/// What is changed. `None`: it stays.
#[derive(Clone, Debug, Default)]
pub struct SchedulePatch {
    /// The name.
    pub name: Option<String>,
    /// When it is due: from now on, not from when it was due last.
    pub cron: Option<Schedule>,
    /// Failures in a row that stop it.
    pub max_failures: Option<u32>,
    /// Whether it runs.
    pub status: Option<ScheduleSwitch>,
    /// The session.
    pub session: Option<NewSession>,
    /// The message.
    pub message: Option<Vec<Part>>,
}

/// Whether a schedule is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleSwitch {
    /// It is due at the first of its times from now on. Failures until now are forgotten.
    Active,
    /// It runs no more. A run that goes on is not ended.
    Paused,
}

impl ScheduleSwitch {
    /// All of them.
    pub const ALL: [ScheduleSwitch; 2] = [ScheduleSwitch::Active, ScheduleSwitch::Paused];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ScheduleSwitch::Active => "active",
            ScheduleSwitch::Paused => "paused",
        }
    }
}

impl SessionSchedule {
    /// The record once its owner has changed this of it. Its work is not in it.
    ///
    /// # Errors
    /// [`InvalidField`] names the field that is out of bounds.
    pub fn patched(
        &self,
        patch: &SchedulePatch,
        now: Timestamp,
    ) -> Result<SessionSchedule, InvalidField> {
        let revision = self.revision + 1;
        let mut next = SessionSchedule { revision, changed_at: now, ..self.seen_at(now) };
        if let Some(name) = &patch.name {
            next.terms.name.clone_from(name);
        }
        if let Some(most) = patch.max_failures {
            next.terms.max_failures = most;
        }
        if let Some(cron) = &patch.cron {
            next.terms.cron = cron.clone();
        }
        next.terms.check()?;
        let is_active = next.status.due().is_some();
        match patch.status {
            Some(ScheduleSwitch::Active) if !is_active => {
                next.failures = 0;
                next.status = next.terms.active(now);
            }
            Some(ScheduleSwitch::Paused) => next.status = ScheduleStatus::Paused,
            Some(ScheduleSwitch::Active) | None if is_active && patch.cron.is_some() => {
                next.status = next.terms.active(now);
            }
            Some(ScheduleSwitch::Active) | None => {}
        }
        Ok(next)
    }
}
