//! What a session may spend, and what it has spent.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

/// An amount of money in billionths of a US dollar.
///
/// Integers, so that nothing drifts; every entry is rounded up, so that cheap things are not free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// From a JSON number of US dollars; `None` where it is negative, not finite or over nine billion.
    #[must_use]
    pub fn from_usd(usd: f64) -> Option<NanoUsd> {
        let nano = (usd * 1e9).ceil();
        #[expect(clippy::cast_possible_truncation, reason = "checked against the range first")]
        (0.0..9.0e18).contains(&nano).then_some(NanoUsd(nano as i64))
    }

    /// What [`NanoUsd::as_usd`] has made this number of; `None` where it is negative or no number. Exact
    /// up to two million US dollars: above that a JSON number has not all digits.
    #[must_use]
    pub fn nearest_usd(usd: f64) -> Option<NanoUsd> {
        let nano = (usd * 1e9).round();
        #[expect(clippy::cast_possible_truncation, reason = "what is too large is the largest")]
        (nano >= 0.0).then_some(NanoUsd(nano as i64))
    }

    /// As a JSON number of US dollars.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a number for people to read")]
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for NanoUsd {
    type Output = NanoUsd;

    fn add(self, other: NanoUsd) -> NanoUsd {
        NanoUsd(self.0.saturating_add(other.0))
    }
}

impl Sub for NanoUsd {
    type Output = NanoUsd;

    fn sub(self, other: NanoUsd) -> NanoUsd {
        NanoUsd(self.0.saturating_sub(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = NanoUsd>>(each: I) -> NanoUsd {
        each.fold(NanoUsd(0), NanoUsd::add)
    }
}

impl AddAssign for NanoUsd {
    fn add_assign(&mut self, other: NanoUsd) {
        *self = *self + other;
    }
}

impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${:.9}", self.as_usd())
    }
}

/// What fuel costs: nano-USD for 10⁹ units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuelPrice(pub NanoUsd);

impl FuelPrice {
    /// The price of this much fuel, rounded up.
    #[must_use]
    pub fn cost(self, fuel: u64) -> NanoUsd {
        let nano = (u128::from(fuel) * u128::from(self.0.0.unsigned_abs())).div_ceil(1_000_000_000);
        NanoUsd(i64::try_from(nano).unwrap_or(i64::MAX))
    }

    /// The most fuel that this much money buys.
    #[must_use]
    pub fn affordable(self, money: NanoUsd) -> u64 {
        if self.0.0 == 0 {
            return u64::MAX;
        }
        let fuel = u128::from(money.0.max(0).unsigned_abs()) * 1_000_000_000
            / u128::from(self.0.0.unsigned_abs());
        u64::try_from(fuel).unwrap_or(u64::MAX)
    }
}

/// What a session may spend.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Turns over the whole life; failed turns count, as far as [`Usage::turns`] counts them.
    pub max_turns: Option<u64>,
    /// Money over the whole life.
    pub max_budget: Option<NanoUsd>,
    /// Fuel over the whole life.
    pub max_fuel: Option<u64>,
    /// Fuel of one turn, saving its state included.
    pub max_fuel_per_turn: u64,
    /// Linear memory of the agent, in bytes.
    pub max_memory_bytes: u64,
    /// How long one turn may take.
    pub turn_timeout: Duration,
    /// How long the session may go without a message.
    pub max_idle: Option<Duration>,
    /// How long before the end of `max_idle` an event warns of it, at most half of that. `None`:
    /// [`IDLE_GRACE`](crate::deadline::IDLE_GRACE).
    pub idle_grace: Option<Duration>,
    /// How long the session may live.
    pub max_lifetime: Option<Duration>,
    /// How long after a turn the instance stays in memory. `None`: as long as memory allows.
    pub sleep_after: Option<Duration>,
    /// How long its state is kept while nobody uses it. `None`: as long as the session.
    pub state_kept: Option<Duration>,
}

/// A limit of which a session has nothing left, with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// [`Limits::max_turns`]
    Turns(u64),
    /// [`Limits::max_fuel`]
    Fuel(u64),
    /// [`Limits::max_budget`]
    Budget(NanoUsd),
}

/// A limit of a session, with its value: as it is named where it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::max_turns`]
    Turns(u64),
    /// [`Limits::max_budget`]
    Budget(NanoUsd),
    /// What all sessions of its user may spend, by the configuration of the host.
    UserBudget(NanoUsd),
    /// What all sessions of its owner may spend, by the configuration of the host.
    PrincipalBudget(NanoUsd),
    /// [`Limits::max_fuel`]
    Fuel(u64),
    /// [`Limits::max_fuel_per_turn`]
    FuelPerTurn(u64),
    /// [`Limits::turn_timeout`]
    TurnTimeout(Duration),
    /// [`Limits::max_idle`]
    Idle(Duration),
    /// [`Limits::max_lifetime`]
    Lifetime(Duration),
}

/// `maxTurns of 3`: the name as in the API, or in the configuration.
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Turns(turns) => write!(f, "maxTurns of {turns}"),
            Limit::Budget(money) => write!(f, "maxBudgetUsd of {}", money.as_usd()),
            Limit::UserBudget(money) => {
                write!(f, "max-budget-usd-per-user of {}", money.as_usd())
            }
            Limit::PrincipalBudget(money) => {
                write!(f, "max-budget-usd-per-principal of {}", money.as_usd())
            }
            Limit::Fuel(fuel) => write!(f, "maxFuel of {fuel}"),
            Limit::FuelPerTurn(fuel) => write!(f, "maxFuelPerTurn of {fuel}"),
            Limit::TurnTimeout(time) => write!(f, "turnTimeoutMs of {}", time.as_millis()),
            Limit::Idle(time) => write!(f, "maxIdleTimeMs of {}", time.as_millis()),
            Limit::Lifetime(time) => write!(f, "maxLifetimeMs of {}", time.as_millis()),
        }
    }
}

/// What a session has spent. It only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Turns that count: answered, failed and killed ones.
    pub turns: u64,
    /// Turns that were begun and do not count: the agent found the message invalid or declined it, or
    /// the host had no memory for the turn. Each has its number and its record all the same.
    pub uncounted: u64,
    /// Money, with that for the starts.
    pub cost: NanoUsd,
    /// Fuel of its turns.
    pub fuel: u64,
    /// Instances that were started for its turns: for the first, and for each after a sleep.
    pub starts: u64,
    /// Fuel of the starts: in no turn's fuel, because a session that never sleeps uses none of it.
    pub start_fuel: u64,
    /// Money for the starts.
    pub start_cost: NanoUsd,
    /// Tokens that models have read, without those from their caches.
    pub input_tokens: u64,
    /// Tokens that models have written.
    pub output_tokens: u64,
    /// Tokens that models have read from their caches.
    pub cached_tokens: u64,
    /// Calls to the outside world that were begun, each attempt counted.
    pub calls: u64,
    /// Bytes that these have sent and received.
    pub call_bytes: u64,
}

impl Usage {
    /// All tokens of models.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let read = self.input_tokens.saturating_add(self.cached_tokens);
        read.saturating_add(self.output_tokens)
    }

    /// The number of the last turn that was begun; 0 before the first. No number is used twice.
    #[must_use]
    pub fn last_turn(&self) -> u64 {
        self.turns.saturating_add(self.uncounted)
    }

    /// The number of the turn that is begun next.
    #[must_use]
    pub fn next_turn(&self) -> u64 {
        self.last_turn().saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_smallest_amount_of_fuel_is_not_free() {
        assert_eq!(FuelPrice(NanoUsd(1)).cost(1), NanoUsd(1));
        assert_eq!(FuelPrice(NanoUsd(0)).cost(u64::MAX), NanoUsd(0));
    }

    #[test]
    fn dollars_that_are_no_amount_are_refused() {
        for usd in [-0.01, f64::NAN, f64::INFINITY, 1e10] {
            assert_eq!(NanoUsd::from_usd(usd), None, "{usd}");
        }
        assert_eq!(NanoUsd::from_usd(0.5), Some(NanoUsd(500_000_000)));
    }

    proptest! {
        #[test]
        fn affordable_fuel_never_costs_more_than_the_money(price in 0..i64::MAX, money in 0..i64::MAX) {
            let price = FuelPrice(NanoUsd(price));
            prop_assert!(price.cost(price.affordable(NanoUsd(money))) <= NanoUsd(money));
        }
    }
}
