//! Schedules: when the host sends a message to a session by itself, and to which.
//!
//! A schedule belongs to its owner and outlives each session that it has created. Here stands what becomes of it, as
//! pure steps from one record to the next; each step is one commit.
//!
//! Invariants:
//! - At most one run goes on. A time that comes meanwhile is noted as skipped.
//! - A run has begun when the record has it with its session; the same record says when the schedule is due next. So
//!   a time is never run twice, and of several times that have passed, one is run.
//! - Runs are numbered, and the message of a run has a key that follows from the number ([`SessionSchedule::run_key`]):
//!   however often it is sent, it begins one turn.

mod patch;
mod run;

pub use patch::{SchedulePatch, ScheduleSwitch};
pub use run::{RunOutcome, ScheduleRun};

use crate::creation::{InvalidField, NewSession};
use crate::id::{Principal, ScheduleId, SessionId};
use crate::time::Timestamp;
use crate::timer::Schedule;
use crate::turn::{IdempotencyKey, Part};

/// The most schedules that an owner has.
pub const MAX_SCHEDULES: usize = 1_000;
/// The most characters of the name of a schedule.
pub const MAX_SCHEDULE_NAME: usize = 100;
/// The most runs that are kept of a schedule.
pub const MAX_RUNS: usize = 100;
/// Failures in a row that stop a schedule of which nobody says how many do.
pub const DEFAULT_MAX_FAILURES: u32 = 5;
/// The most failures in a row that a schedule can be told to bear.
pub const MOST_FAILURES: u32 = 1_000;
/// The most times that are noted as skipped while one run goes on: those after them are skipped too.
const MAX_SKIPPED: usize = 20;
/// What the keys of the messages of schedules begin with. The keys of callers have no blank.
const RUN_KEY: &str = "schedule ";

/// What is done at each time: a session gets a message.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledWork {
    /// The session that is created for it, or found by its thread.
    pub session: NewSession,
    /// The message.
    pub message: Vec<Part>,
}

/// What a schedule is called, when it is due, and what it bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleTerms {
    /// Its name: the sender of its messages is called by it. Others may have the same.
    pub name: String,
    /// When it is due.
    pub cron: Schedule,
    /// Failures in a row that stop it.
    pub max_failures: u32,
}

/// A schedule, but for its work.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionSchedule {
    /// Its id.
    pub id: ScheduleId,
    /// Whose it is, and whose sessions are.
    pub owner: Principal,
    /// Counts the changes of the record, from 1.
    pub revision: u64,
    /// What it is called, when it is due, and what it bears.
    pub terms: ScheduleTerms,
    /// Whether it runs.
    pub status: ScheduleStatus,
    /// How many runs in a row have failed.
    pub failures: u32,
    /// The number of the last run, or of the last time that was skipped.
    pub last_run: u64,
    /// The newest runs, [`MAX_RUNS`] at most, the oldest first.
    pub runs: Vec<ScheduleRun>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its owner has changed it last.
    pub changed_at: Timestamp,
}

/// Whether a schedule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleStatus {
    /// It does.
    Active {
        /// When it is due next.
        due: Timestamp,
    },
    /// Its owner has paused it.
    Paused,
    /// It has stopped by itself. Its owner can make it active again.
    Stopped(StopCause),
}

/// Why a schedule has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// As many runs in a row have failed as it bears.
    MaxFailures,
    /// No time that it names comes any more.
    NeverDue,
}

impl StopCause {
    /// All of them.
    pub const ALL: [StopCause; 2] = [StopCause::MaxFailures, StopCause::NeverDue];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StopCause::MaxFailures => "max_failures",
            StopCause::NeverDue => "never_due",
        }
    }
}

impl ScheduleStatus {
    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ScheduleStatus::Active { .. } => "active",
            ScheduleStatus::Paused => "paused",
            ScheduleStatus::Stopped(_) => "stopped",
        }
    }

    /// When the schedule is due next.
    #[must_use]
    pub fn due(self) -> Option<Timestamp> {
        match self {
            ScheduleStatus::Active { due } => Some(due),
            ScheduleStatus::Paused | ScheduleStatus::Stopped(_) => None,
        }
    }
}

impl ScheduleTerms {
    /// # Errors
    /// [`InvalidField`] names the field that is out of bounds.
    pub fn check(&self) -> Result<(), InvalidField> {
        let length = self.name.chars().count();
        if !(1..=MAX_SCHEDULE_NAME).contains(&length) || self.name.chars().any(char::is_control) {
            let problem =
                format!("must be 1 to {MAX_SCHEDULE_NAME} characters, and no control characters");
            return Err(InvalidField::new("name", problem));
        }
        if !(1..=MOST_FAILURES).contains(&self.max_failures) {
            let problem = format!("must be 1 to {MOST_FAILURES}");
            return Err(InvalidField::new("maxFailures", problem));
        }
        Ok(())
    }

    /// Due at the first time after this one.
    fn active(&self, now: Timestamp) -> ScheduleStatus {
        match self.cron.next(now) {
            Some(due) => ScheduleStatus::Active { due },
            None => ScheduleStatus::Stopped(StopCause::NeverDue),
        }
    }
}

impl SessionSchedule {
    /// A new schedule, which is due at the first of its times from now on.
    #[must_use]
    pub fn new(
        id: ScheduleId,
        owner: Principal,
        terms: ScheduleTerms,
        now: Timestamp,
    ) -> SessionSchedule {
        SessionSchedule {
            id,
            owner,
            revision: 1,
            status: terms.active(now),
            terms,
            failures: 0,
            last_run: 0,
            runs: Vec::new(),
            created_at: now,
            changed_at: now,
        }
    }

    /// The run that goes on.
    #[must_use]
    pub fn running(&self) -> Option<&ScheduleRun> {
        self.runs.iter().rev().find(|run| run.is_running())
    }

    /// The key of the message of the run of this number. No caller can send a message with it.
    #[must_use]
    pub fn run_key(&self, number: u64) -> IdempotencyKey {
        SessionSchedule::key_of(self.id, &self.owner, number)
    }

    /// The same, of a schedule that is there no more.
    #[must_use]
    pub fn key_of(id: ScheduleId, owner: &Principal, number: u64) -> IdempotencyKey {
        IdempotencyKey { owner: owner.clone(), key: format!("{RUN_KEY}{id} {number}") }
    }

    /// The record once a run has begun in this session, for this due time.
    #[must_use]
    pub fn begun(&self, due: Timestamp, session: SessionId, now: Timestamp) -> SessionSchedule {
        let mut next = self.taken(due, now);
        next.note(due, RunOutcome::Running { session }, now);
        next
    }

    /// The record once a run was refused before it had a session. The code is the stable word of the refusal.
    #[must_use]
    pub fn refused(&self, due: Timestamp, code: &str, now: Timestamp) -> SessionSchedule {
        let mut next = self.taken(due, now);
        next.note(due, RunOutcome::Refused { session: None, code: code.to_owned() }, now);
        next.count(true);
        next
    }

    /// The record once the run of this number has come to this. `None`: it does not go on.
    #[must_use]
    pub fn ended(
        &self,
        number: u64,
        outcome: RunOutcome,
        now: Timestamp,
    ) -> Option<SessionSchedule> {
        let mut next = SessionSchedule { revision: self.revision + 1, ..self.seen_at(now) };
        let run = next.runs.iter_mut().find(|run| run.number == number && run.is_running())?;
        let is_failure = outcome.is_failure();
        (run.outcome, run.ended_at) = (outcome, Some(now));
        next.count(is_failure);
        Some(next)
    }

    /// The record as it is at this time: times that have come while a run goes on are skipped. The next commit keeps
    /// it.
    #[must_use]
    pub fn seen_at(&self, now: Timestamp) -> SessionSchedule {
        let mut seen = self.clone();
        if seen.running().is_none() {
            return seen;
        }
        for _ in 0..MAX_SKIPPED {
            let ScheduleStatus::Active { due } = seen.status else { return seen };
            if due > now {
                return seen;
            }
            seen.status = seen.terms.active(due);
            seen.note(due, RunOutcome::Skipped, now);
        }
        if seen.status.due().is_some_and(|due| due <= now) {
            seen.status = seen.terms.active(now);
        }
        seen
    }

    /// The next record, in which this due time is over: one of the schedule's own, or one at which its owner has asked
    /// for a run.
    fn taken(&self, due: Timestamp, now: Timestamp) -> SessionSchedule {
        let mut next = SessionSchedule { revision: self.revision + 1, ..self.clone() };
        if next.status == (ScheduleStatus::Active { due }) {
            next.status = next.terms.active(now);
        }
        next
    }

    fn note(&mut self, due: Timestamp, outcome: RunOutcome, now: Timestamp) {
        self.last_run += 1;
        let ended_at = Some(now).filter(|_| !matches!(outcome, RunOutcome::Running { .. }));
        self.runs.push(ScheduleRun {
            number: self.last_run,
            due,
            begun_at: now,
            ended_at,
            outcome,
        });
        while self.runs.len() > MAX_RUNS {
            let oldest = self.runs.iter().position(|run| !run.is_running());
            self.runs.remove(oldest.unwrap_or(0));
        }
    }

    /// Count what a run has come to. So many failures in a row stop a schedule that is active.
    fn count(&mut self, is_failure: bool) {
        self.failures = if is_failure { self.failures.saturating_add(1) } else { 0 };
        if self.failures >= self.terms.max_failures && self.status.due().is_some() {
            self.status = ScheduleStatus::Stopped(StopCause::MaxFailures);
        }
    }
}

/// Whether a key is that of the message of a run.
#[must_use]
pub fn is_run_key(key: &IdempotencyKey) -> bool {
    key.key.starts_with(RUN_KEY)
}

#[cfg(test)]
mod tests;
