//! Whether a turn may run, and what it may spend. Pure.

use dormouse_domain::deadline;
use dormouse_domain::inactive::NotActive;
use dormouse_domain::limits::{FuelPrice, Limit, NanoUsd, Spent};
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;

/// Why the session begins no turn. Nothing was spent and nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnDenied {
    /// The session is over, about to end, or in error.
    #[error(transparent)]
    NotActive(#[from] NotActive),
    /// The session takes no messages until it is resumed.
    #[error("the session is paused: resume it first")]
    Paused,
    /// The money that is left buys no fuel.
    #[error("the session has spent its {0}")]
    BudgetExceeded(Limit),
    /// All turns are used, although the session has not ended.
    #[error("the session has used its {0}")]
    TurnsExceeded(Limit),
    /// All fuel is used, although the session has not ended.
    #[error("the session has used its {0}")]
    FuelExceeded(Limit),
}

impl From<Spent> for TurnDenied {
    fn from(spent: Spent) -> TurnDenied {
        match spent {
            Spent::Turns(max) => TurnDenied::TurnsExceeded(Limit::Turns(max)),
            Spent::Fuel(max) => TurnDenied::FuelExceeded(Limit::Fuel(max)),
            Spent::Budget(max) => TurnDenied::BudgetExceeded(Limit::Budget(max)),
        }
    }
}

/// The fuel and the time that a turn may spend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnGrant {
    /// The fuel it may use.
    pub(crate) fuel: u64,
    /// Which limit the turn has reached when it uses that up.
    pub(crate) fuel_limit: Limit,
    /// When it must be over.
    pub(crate) deadline: Timestamp,
    /// Which limit it has reached then.
    pub(crate) time_limit: Limit,
}

impl TurnGrant {
    /// The part of the grant that is left once the money for the start of the instance is spent. It may be nothing.
    pub(crate) fn after_start(
        self,
        session: &Session,
        price: FuelPrice,
        start_fuel: u64,
    ) -> TurnGrant {
        let spent = session.usage.cost + price.cost(start_fuel);
        match (affordable_after(session, price, spent), session.profile.limits.max_budget) {
            (Some(left), Some(max)) if left < self.fuel => {
                TurnGrant { fuel: left, fuel_limit: Limit::Budget(max), ..self }
            }
            (Some(_) | None, _) => self,
        }
    }
}

/// Decide whether a turn of this session may run now.
pub(crate) fn admit(
    session: &Session,
    price: FuelPrice,
    now: Timestamp,
) -> Result<TurnGrant, TurnDenied> {
    match session.state.status() {
        Status::Initializing | Status::Active | Status::Idle => {}
        Status::Paused => return Err(TurnDenied::Paused),
        status @ (Status::Stopping | Status::Completed | Status::Error | Status::Terminated) => {
            return Err(NotActive::of(session, status).into());
        }
    }
    let limits = &session.profile.limits;
    if let Some(max) = limits.max_turns.filter(|max| session.usage.turns >= *max) {
        return Err(TurnDenied::TurnsExceeded(Limit::Turns(max)));
    }
    let mut fuel = limits.max_fuel_per_turn;
    let mut fuel_limit = Limit::FuelPerTurn(fuel);
    if let Some(max) = limits.max_fuel {
        let left = max.saturating_sub(session.usage.fuel);
        if left == 0 {
            return Err(TurnDenied::FuelExceeded(Limit::Fuel(max)));
        }
        if left < fuel {
            (fuel, fuel_limit) = (left, Limit::Fuel(max));
        }
    }
    if let (Some(left), Some(max)) = (affordable(session, price), limits.max_budget) {
        if left == 0 {
            return Err(TurnDenied::BudgetExceeded(Limit::Budget(max)));
        }
        if left < fuel {
            (fuel, fuel_limit) = (left, Limit::Budget(max));
        }
    }
    let timeout = limits.turn_timeout;
    let (mut deadline, mut time_limit) = (now.after(timeout), Limit::TurnTimeout(timeout));
    if let Some((end, lifetime)) = deadline::end_of_life(session)
        && end < deadline
    {
        (deadline, time_limit) = (end, Limit::Lifetime(lifetime));
    }
    Ok(TurnGrant { fuel, fuel_limit, deadline, time_limit })
}

/// Whether a session of this status takes messages.
pub(crate) fn is_open(status: Status) -> bool {
    matches!(status, Status::Initializing | Status::Active | Status::Idle)
}

/// The fuel that the money which is left buys. `None`: money does not bound it.
pub(crate) fn affordable(session: &Session, price: FuelPrice) -> Option<u64> {
    affordable_after(session, price, session.usage.cost)
}

/// The same once the session has spent this much.
fn affordable_after(session: &Session, price: FuelPrice, spent: NanoUsd) -> Option<u64> {
    let max = session.profile.limits.max_budget?;
    let left = max.0.saturating_sub(spent.0);
    if price.0.0 == 0 && left > 0 {
        return None;
    }
    Some(if left <= 0 { 0 } else { price.affordable(NanoUsd(left)) })
}
