//! What has come of one time of a schedule.

use crate::id::SessionId;
use crate::time::Timestamp;
use crate::turn::FailureCode;

/// One time of a schedule, and what has come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRun {
    /// Counted from 1 within the schedule.
    pub number: u64,
    /// When it was due, or when its owner has asked for it.
    pub due: Timestamp,
    /// When the host has come to it.
    pub begun_at: Timestamp,
    /// When it was over. `None`: it goes on.
    pub ended_at: Option<Timestamp>,
    /// What has come of it.
    pub outcome: RunOutcome,
}

/// What has come of one time of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// The session has the message, or will get it.
    Running {
        /// The session.
        session: SessionId,
    },
    /// The session has answered.
    Answered {
        /// The session.
        session: SessionId,
        /// The number of its turn.
        turn: u64,
    },
    /// The turn has failed.
    Failed {
        /// The session.
        session: SessionId,
        /// The number of its turn.
        turn: u64,
        /// Why.
        code: FailureCode,
    },
    /// There was no turn: the session was not created, or did not take the message.
    Refused {
        /// The session, where there is one.
        session: Option<SessionId>,
        /// The stable word of the refusal.
        code: String,
    },
    /// Nothing was done: another run went on.
    Skipped,
}

impl ScheduleRun {
    /// Whether it goes on.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.outcome, RunOutcome::Running { .. })
    }
}

impl RunOutcome {
    /// The stable word for it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            RunOutcome::Running { .. } => "running",
            RunOutcome::Answered { .. } => "answered",
            RunOutcome::Failed { .. } => "failed",
            RunOutcome::Refused { .. } => "refused",
            RunOutcome::Skipped => "skipped",
        }
    }

    /// The session that it has to do with.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        match self {
            RunOutcome::Running { session }
            | RunOutcome::Answered { session, .. }
            | RunOutcome::Failed { session, .. } => Some(*session),
            RunOutcome::Refused { session, .. } => *session,
            RunOutcome::Skipped => None,
        }
    }

    /// The number of the turn of that session.
    #[must_use]
    pub fn turn(&self) -> Option<u64> {
        match self {
            RunOutcome::Answered { turn, .. } | RunOutcome::Failed { turn, .. } => Some(*turn),
            RunOutcome::Running { .. } | RunOutcome::Refused { .. } | RunOutcome::Skipped => None,
        }
    }

    /// The stable word of what went wrong.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            RunOutcome::Failed { code, .. } => Some(code.as_str()),
            RunOutcome::Refused { code, .. } => Some(code),
            RunOutcome::Running { .. } | RunOutcome::Answered { .. } | RunOutcome::Skipped => None,
        }
    }

    /// Whether it counts as a failure.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        self.code().is_some()
    }
}
