//! Whether a turn may run, and what it may spend. Pure.

use crate::clock::Timestamp;
use crate::session::limits::FuelPrice;
use crate::session::record::Session;
use crate::session::state::Status;

use super::record::FailureCode;

/// Why no turn is begun. Nothing was spent and nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The session is over, about to end, or in error.
    #[error("the session is {0}: it takes no messages")]
    NotActive(Status),
    /// The session takes no messages until it is resumed.
    #[error("the session is paused: resume it first")]
    Paused,
    /// The money that is left buys no fuel.
    #[error("the session has spent its budget")]
    BudgetExceeded,
    /// All turns are used, although the session has not ended.
    #[error("the session has used all its turns")]
    TurnsExceeded,
    /// All fuel is used, although the session has not ended.
    #[error("the session has used all its fuel")]
    FuelExceeded,
}

/// What a turn may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The fuel it may use.
    pub(crate) fuel: u64,
    /// What it means when the turn uses it up.
    pub(crate) exhausted: FailureCode,
    /// When it must be over.
    pub(crate) deadline: Timestamp,
}

impl Grant {
    /// What is left of it once the money for the start of the instance is spent. It may be nothing.
    pub(crate) fn after_start(self, session: &Session, price: FuelPrice, start_fuel: u64) -> Grant {
        let mut session = session.clone();
        session.usage.cost += price.cost(start_fuel);
        match affordable(&session, price) {
            Some(left) if left < self.fuel => {
                Grant { fuel: left, exhausted: FailureCode::BudgetExceeded, ..self }
            }
            Some(_) | None => self,
        }
    }
}

/// Decide whether a turn of this session may run now.
pub(crate) fn admit(session: &Session, price: FuelPrice, now: Timestamp) -> Result<Grant, Denied> {
    match session.state.status() {
        Status::Initializing | Status::Active | Status::Idle => {}
        Status::Paused => return Err(Denied::Paused),
        status @ (Status::Stopping | Status::Completed | Status::Error | Status::Terminated) => {
            return Err(Denied::NotActive(status));
        }
    }
    let limits = &session.profile.limits;
    if limits.max_turns.is_some_and(|max| session.usage.turns >= max) {
        return Err(Denied::TurnsExceeded);
    }
    let (mut fuel, mut exhausted) = (limits.max_fuel_per_turn, FailureCode::FuelExhausted);
    if let Some(max) = limits.max_fuel {
        let left = max.saturating_sub(session.usage.fuel);
        if left == 0 {
            return Err(Denied::FuelExceeded);
        }
        fuel = fuel.min(left);
    }
    if let Some(left) = affordable(session, price) {
        if left == 0 {
            return Err(Denied::BudgetExceeded);
        }
        if left < fuel {
            (fuel, exhausted) = (left, FailureCode::BudgetExceeded);
        }
    }
    Ok(Grant { fuel, exhausted, deadline: now.after(limits.turn_timeout) })
}

/// Whether a session of this status takes messages.
pub(crate) fn is_open(status: Status) -> bool {
    matches!(status, Status::Initializing | Status::Active | Status::Idle)
}

/// The fuel that the money which is left buys. `None`: money does not bound it.
pub(crate) fn affordable(session: &Session, price: FuelPrice) -> Option<u64> {
    let max = session.profile.limits.max_budget?;
    let left = max.0.saturating_sub(session.usage.cost.0);
    if price.0.0 == 0 && left > 0 {
        return None;
    }
    Some(if left <= 0 { 0 } else { price.affordable(crate::session::limits::NanoUsd(left)) })
}
