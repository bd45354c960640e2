//! Why a session takes no messages, and what its owner can do about it.

use std::fmt;

use super::limits::Limit;
use super::session::Session;
use super::state::{Cause, Reason, Status};

/// The session is over, about to end, or in error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotActive {
    /// Its status.
    pub status: Status,
    /// Why it has that, where there is a reason: a [`Cause`], or what a caller gave.
    pub reason: Option<Reason>,
    /// The limit that it has reached, where that is the reason.
    pub limit: Option<Limit>,
}

impl std::error::Error for NotActive {}

impl NotActive {
    /// This session is not active: it has this status, or is about to have it.
    #[must_use]
    pub fn of(session: &Session, status: Status) -> NotActive {
        let reason = session.state.reason().cloned();
        let limits = &session.profile.limits;
        let limit = match reason.as_ref().and_then(Reason::cause) {
            Some(Cause::MaxTurns) => limits.max_turns.map(Limit::Turns),
            Some(Cause::BudgetExceeded) => limits.max_budget.map(Limit::Budget),
            Some(Cause::FuelExhausted) => limits.max_fuel.map(Limit::Fuel),
            Some(Cause::LifetimeExceeded) => limits.max_lifetime.map(Limit::Lifetime),
            Some(Cause::IdleTimeout) => limits.max_idle.map(Limit::Idle),
            Some(
                Cause::Stopped
                | Cause::ForceKilled
                | Cause::Crashed
                | Cause::TurnFailed
                | Cause::ConsecutiveFailures
                | Cause::StateLost
                | Cause::SnapshotCorrupt
                | Cause::RecordDamaged
                | Cause::StateExpired
                | Cause::GroupEnded,
            )
            | None => None,
        };
        NotActive { status, reason, limit }
    }

    /// What the owner can do to go on.
    #[must_use]
    pub fn way_out(&self) -> &'static str {
        match (self.status, self.reason.as_ref().and_then(Reason::cause)) {
            (Status::Error, Some(Cause::StateLost)) => {
                "POST …/resume lets it go on from its last snapshot"
            }
            (Status::Error, Some(Cause::SnapshotCorrupt)) => {
                "POST …/resume with a snapshotId lets it go on from there; GET …/snapshots lists them"
            }
            (Status::Error, Some(Cause::RecordDamaged)) => {
                "the operator of the host can repair the store or restore a backup"
            }
            (Status::Error, Some(Cause::StateExpired)) => {
                "its state was removed because nobody had used it for so long; POST …/resume lets it begin \
                 again, from nothing"
            }
            (Status::Stopping, _) => {
                "it ends when its running turn is over; create another session"
            }
            (Status::Completed | Status::Terminated, _) => {
                "it is over; create another session, with config.resumeSessionId to go on from its \
                 state"
            }
            (
                Status::Error
                | Status::Initializing
                | Status::Active
                | Status::Idle
                | Status::Paused,
                _,
            ) => "POST …/resume lets it take messages again",
        }
    }
}

/// One sentence. It begins as the contract of the API says.
impl fmt::Display for NotActive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session is not active: it is {}", self.status)?;
        match (&self.limit, &self.reason) {
            (Some(limit), Some(reason)) => write!(f, " ({reason}: it has reached its {limit})")?,
            (None, Some(reason)) => write!(f, " ({reason})")?,
            (_, None) => {}
        }
        write!(f, "; {}", self.way_out())
    }
}
