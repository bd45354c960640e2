//! Whether a turn may run, and what it may spend. Pure.

use dormouse_domain::account::{AccountLimits, Amounts};
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
    /// What is left of the budget that the session shares with its forks, their turns hold: until they are over.
    #[error(
        "turns of its forks hold what is left of the budget that the session shares with them; try again when \
         they are over"
    )]
    BudgetHeld,
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
        standing: Standing,
        price: FuelPrice,
        start_fuel: u64,
    ) -> TurnGrant {
        let start = Amounts { money: price.cost(start_fuel), fuel: 0 };
        let standing = standing.after(start);
        match (standing.affordable(price), standing.limits.money) {
            (Some(left), Some(max)) if left < self.fuel => {
                TurnGrant { fuel: left, fuel_limit: Limit::Budget(max), ..self }
            }
            (Some(_) | None, _) => self,
        }
    }
}

/// What a session may spend of money and fuel over its life, alone or with those that it shares an account with,
/// and what of that is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limits: AccountLimits,
    pub(crate) spent: Amounts,
}

impl Standing {
    /// Of a session that spends on its own.
    pub(crate) fn own(session: &Session) -> Standing {
        let limits = &session.profile.limits;
        Standing {
            limits: AccountLimits { money: limits.max_budget, fuel: limits.max_fuel },
            spent: Amounts { money: session.usage.cost, fuel: session.usage.fuel },
        }
    }

    /// The same once so much more is spent.
    pub(crate) fn after(self, more: Amounts) -> Standing {
        Standing { spent: self.spent.plus(more), ..self }
    }

    /// The money that is left, never less than nothing. `None`: there is no limit.
    pub(crate) fn money_left(self) -> Option<NanoUsd> {
        self.limits.money.map(|max| NanoUsd((max - self.spent.money).0.max(0)))
    }

    /// The fuel that is left. `None`: there is no limit.
    pub(crate) fn fuel_left(self) -> Option<u64> {
        self.limits.fuel.map(|max| max.saturating_sub(self.spent.fuel))
    }

    /// The fuel that the money which is left buys. `None`: money does not bound it.
    pub(crate) fn affordable(self, price: FuelPrice) -> Option<u64> {
        let left = self.money_left()?;
        if price.0.0 == 0 && left.0 > 0 {
            return None;
        }
        Some(if left.0 == 0 { 0 } else { price.affordable(left) })
    }
}

/// Whose money was too little for a call, so that it was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shortage {
    /// What the session may spend, alone or with its family.
    Session,
    /// What the sessions of its user or of its owner may spend: its operator may raise it.
    Operator,
    /// Nobody's: other turns hold what is missing, and give it back when they are over.
    Held,
}

/// Decide whether a turn of this session may run now, which stands so.
pub(crate) fn admit(
    session: &Session,
    standing: Standing,
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
    if let (Some(left), Some(max)) = (standing.fuel_left(), standing.limits.fuel) {
        if left == 0 {
            return Err(TurnDenied::FuelExceeded(Limit::Fuel(max)));
        }
        if left < fuel {
            (fuel, fuel_limit) = (left, Limit::Fuel(max));
        }
    }
    if let (Some(left), Some(max)) = (standing.affordable(price), standing.limits.money) {
        if left == 0 {
            return Err(TurnDenied::BudgetExceeded(Limit::Budget(max)));
        }
        if left < fuel {
            (fuel, fuel_limit) = (left, Limit::Budget(max));
        }
    }
    let (deadline, time_limit) = time_of(session, now);
    Ok(TurnGrant { fuel, fuel_limit, deadline, time_limit })
}

/// What a turn may spend that was admitted before, with so much fuel, and is run again from now on.
pub(crate) fn reopened(session: &Session, fuel: u64, now: Timestamp) -> TurnGrant {
    let (deadline, time_limit) = time_of(session, now);
    TurnGrant { fuel, fuel_limit: Limit::FuelPerTurn(fuel), deadline, time_limit }
}

/// When a turn must be over that begins now, and by which limit.
fn time_of(session: &Session, now: Timestamp) -> (Timestamp, Limit) {
    let timeout = session.profile.limits.turn_timeout;
    let (deadline, limit) = (now.after(timeout), Limit::TurnTimeout(timeout));
    match deadline::end_of_life(session) {
        Some((end, lifetime)) if end < deadline => (end, Limit::Lifetime(lifetime)),
        Some(_) | None => (deadline, limit),
    }
}

/// Whether a session of this status takes messages.
pub(crate) fn is_open(status: Status) -> bool {
    matches!(status, Status::Initializing | Status::Active | Status::Idle)
}
