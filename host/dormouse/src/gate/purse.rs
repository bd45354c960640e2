//! What a turn may spend: its fuel, and the calls that it makes.
//!
//! Invariant: what the turn has spent and what is reserved for the call under way never come to more than what its
//! session may spend, alone or with those that it shares an account with.

use crate::accounts::{AccountKey, Hold, Short};
use dormouse_domain::account::Amounts;
use dormouse_domain::limits::{FuelPrice, NanoUsd};
use dormouse_domain::price::TokenPrice;

/// Fuel that a guest keeps to do something with the answer to a call.
const KEPT_FUEL: u64 = 10_000_000;
/// The most tokens of an answer, where nobody says.
const DEFAULT_TOKENS: u32 = 8_192;
/// An answer that may have fewer tokens is not worth asking for.
const LEAST_TOKENS: u32 = 256;

/// What one turn may spend.
pub(crate) struct Purse {
    price: FuelPrice,
    /// The fuel that the turn was given.
    fuel: u64,
    /// So much money is left of the session's own budget, which has this limit. `None`: it has none.
    own: Option<(NanoUsd, NanoUsd)>,
    /// What the turn holds of accounts that its session shares.
    shared: Vec<Shared>,
    /// What its calls have cost, with what is reserved for the one under way, and the start of the instance.
    calls: NanoUsd,
}

struct Shared {
    held: NanoUsd,
    hold: Hold,
}

/// What was reserved for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// What it may cost.
    pub(crate) amount: NanoUsd,
    /// The most tokens that its answer may have. `None`: as many as the provider gives.
    pub(crate) max_tokens: Option<u32>,
}

impl Purse {
    /// Of a turn with so much fuel. `own`: what is left of the session's own budget, and its limit. It holds the money
    /// for its fuel of each of these accounts.
    pub(crate) fn new(
        price: FuelPrice,
        fuel: u64,
        own: Option<(NanoUsd, NanoUsd)>,
        holds: Vec<Hold>,
    ) -> Purse {
        let held = price.cost(fuel);
        let shared = holds.into_iter().map(|hold| Shared { held, hold }).collect();
        Purse { price, fuel, own, shared, calls: NanoUsd(0) }
    }

    /// So much more is held of each account than for the fuel.
    pub(crate) fn holding(mut self, more: NanoUsd) -> Purse {
        self.shared.iter_mut().for_each(|shared| shared.held += more);
        self
    }

    /// An attempt begins that may use so much fuel, and whose instance has cost this to start.
    pub(crate) fn begin(&mut self, fuel: u64, start: NanoUsd) {
        (self.fuel, self.calls) = (fuel, start);
    }

    /// A call was made before, and has cost this: nobody asks whether there is as much.
    pub(crate) fn pay(&mut self, cost: NanoUsd) {
        self.calls += cost;
        let needed = self.price.cost(self.fuel) + self.calls;
        for Shared { held, hold } in self.shared.iter_mut().filter(|shared| shared.held < needed) {
            hold.take(Amounts { money: needed - *held, fuel: 0 });
            *held = needed;
        }
    }

    /// Whether money bounds the turn.
    pub(crate) fn is_bounded(&self) -> bool {
        self.own.is_some() || self.shared.iter().any(Shared::is_bounded)
    }

    /// Reserve what a call may cost that asks for `bytes`: for as many tokens as it wants, or where it does not
    /// say, for as many as there is money for. The guest has used so much fuel. Waits where others hold what is
    /// missing of an account.
    ///
    /// # Errors
    /// There is not as much. The text says what there is.
    pub(crate) async fn reserve(
        &mut self,
        price: &TokenPrice,
        bytes: u64,
        wanted: Option<u32>,
        fuel_used: u64,
    ) -> Result<Reservation, String> {
        let most = |tokens: u32| price.most(bytes, tokens);
        if price.is_free() {
            return Ok(Reservation { amount: NanoUsd(0), max_tokens: wanted });
        }
        let Some(free) = self.free(fuel_used) else {
            let amount = most(wanted.unwrap_or(DEFAULT_TOKENS));
            self.calls += amount;
            return Ok(Reservation { amount, max_tokens: wanted });
        };
        let tokens = wanted.unwrap_or_else(|| {
            price.affordable_tokens(bytes, free).clamp(LEAST_TOKENS, DEFAULT_TOKENS)
        });
        let amount = most(tokens);
        if let Err((left, of)) = self.provide(amount, fuel_used).await {
            return Err(format!(
                "an answer of {tokens} tokens may cost {} with its request, and {} is left of {of}",
                amount.as_usd(),
                left.as_usd(),
            ));
        }
        self.calls += amount;
        Ok(Reservation { amount, max_tokens: Some(tokens) })
    }

    /// A call has cost this, for which that was reserved.
    pub(crate) fn settle(&mut self, reserved: NanoUsd, cost: NanoUsd) {
        self.calls = self.calls - reserved + cost;
        let needed = self.price.cost(self.fuel) + self.calls;
        for Shared { held, hold } in self.shared.iter_mut().filter(|shared| shared.held > needed) {
            *held = needed;
            hold.keep(Amounts { money: needed, fuel: self.fuel });
        }
    }

    /// The fuel that the guest may use from here on, once it has used so much. `None`: money does not bound it.
    pub(crate) fn fuel_left(&self, fuel_used: u64) -> Option<u64> {
        let shared = self.shared.iter().filter(|shared| shared.is_bounded());
        let all = shared.map(|shared| shared.held).chain(self.own.map(|(left, _)| left)).min()?;
        if self.price.0.0 == 0 {
            return None;
        }
        let fuel = self.price.affordable(NanoUsd((all - self.calls).0.max(0)));
        Some(fuel.saturating_sub(fuel_used))
    }

    /// What the turn holds of accounts.
    pub(crate) fn into_holds(self) -> Vec<Hold> {
        self.shared.into_iter().map(|shared| shared.hold).collect()
    }

    /// Money that a call may cost at once. `None`: as much as it likes.
    fn free(&self, fuel_used: u64) -> Option<NanoUsd> {
        let shared = self.shared.iter().filter_map(Shared::all);
        let all = shared.chain(self.own.map(|(left, _)| left)).min()?;
        Some(NanoUsd((all - self.gone(fuel_used)).0.max(0)))
    }

    /// What the turn has spent, and needs to go on.
    fn gone(&self, fuel_used: u64) -> NanoUsd {
        self.price.cost(fuel_used.saturating_add(KEPT_FUEL).min(self.fuel)) + self.calls
    }

    /// See to it that there is so much money for a call. Waits where others hold what is missing.
    ///
    /// # Errors
    /// There is not. Has what there is, and of what.
    async fn provide(&mut self, amount: NanoUsd, fuel_used: u64) -> Result<(), (NanoUsd, String)> {
        let needed = self.gone(fuel_used) + amount;
        let missing = |left: NanoUsd| NanoUsd((needed - left).0.max(0));
        if let Some((left, limit)) = self.own
            && needed > left
        {
            let of = format!("the maxBudgetUsd of {}", limit.as_usd());
            return Err((NanoUsd((amount - missing(left)).0.max(0)), of));
        }
        for Shared { held, hold } in self.shared.iter_mut().filter(|shared| shared.held < needed) {
            let more = missing(*held);
            match hold.more(Amounts { money: more, fuel: 0 }).await {
                Ok(()) => *held += more,
                Err(Short { left, .. }) => {
                    let left = NanoUsd((amount - more + left.money).0.max(0));
                    return Err((left, of_what(hold.account()).to_owned()));
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    fn is_bounded(&self) -> bool {
        self.hold.standing().limits.money.is_some()
    }

    /// What it holds, and could hold more at once. `None`: there is no limit.
    fn all(&self) -> Option<NanoUsd> {
        Some(self.held + self.hold.free().money?)
    }
}

fn of_what(account: &AccountKey) -> &'static str {
    match account {
        AccountKey::Family(_) => "what the session may spend with its forks",
        AccountKey::User(..) => "what the sessions of its user may spend",
        AccountKey::Principal(_) => "what the sessions of its owner may spend",
    }
}

#[cfg(test)]
mod tests;
