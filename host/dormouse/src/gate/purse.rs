//! What a turn may spend: its fuel, and the calls that it makes.
//!
//! Invariant: what the turn has spent and what is reserved for the call under way never come to more than what its
//! session may spend, alone or with those that it shares an account with.

use std::future::ready;
use std::pin::pin;

use super::calls::DEFAULT_TOKENS;
use crate::accounts::{AccountKey, Hold, Short};
use crate::turn::admission::Shortage;
use dormouse_domain::account::Amounts;
use dormouse_domain::limits::{FuelPrice, NanoUsd};
use dormouse_domain::price::TokenPrice;

/// Fuel that a guest keeps to do something with the answer to a call.
const KEPT_FUEL: u64 = 10_000_000;
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
    shared: Vec<Hold>,
    /// What its calls have cost, with what is reserved for the one under way, and the start of the instance.
    calls: NanoUsd,
}

/// What was reserved for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// What it may cost.
    pub(crate) amount: NanoUsd,
    /// The most tokens that its answer may have. `None`: as many as the provider gives.
    pub(crate) max_tokens: Option<u32>,
}

/// There is not as much money as a call may cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotReserved {
    /// What there is, and of what.
    pub(crate) why: String,
    /// Whose money is short.
    pub(crate) shortage: Shortage,
}

impl Purse {
    /// Of a turn with so much fuel. `own`: what is left of the session's own budget, and its limit. These hold the
    /// money for its fuel.
    pub(crate) fn new(
        price: FuelPrice,
        fuel: u64,
        own: Option<(NanoUsd, NanoUsd)>,
        shared: Vec<Hold>,
    ) -> Purse {
        Purse { price, fuel, own, shared, calls: NanoUsd(0) }
    }

    /// An attempt begins that may use so much fuel, and whose instance has cost this to start.
    pub(crate) fn begin(&mut self, fuel: u64, start: NanoUsd) {
        (self.fuel, self.calls) = (fuel, start);
    }

    /// A call was made before, and has cost this: nobody asks whether there is as much.
    pub(crate) fn pay(&mut self, cost: NanoUsd) {
        self.calls += cost;
        let needed = self.price.cost(self.fuel) + self.calls;
        for hold in &self.shared {
            hold.take(missing(hold, needed));
        }
    }

    /// Whether money bounds the turn.
    pub(crate) fn is_bounded(&self) -> bool {
        self.own.is_some() || self.shared.iter().any(is_bounded)
    }

    /// Reserve what a call may cost whose request has so many tokens: for as many of the answer as it wants, or where
    /// it does not say, for as many as there is money for. The guest has used so much fuel. Waits, as long as
    /// `patience` lasts, where others hold what is missing of an account.
    ///
    /// # Errors
    /// There is not as much.
    pub(crate) async fn reserve(
        &mut self,
        price: &TokenPrice,
        request_tokens: u64,
        wanted: Option<u32>,
        fuel_used: u64,
        patience: impl Future<Output = ()>,
    ) -> Result<Reservation, NotReserved> {
        if price.is_free() {
            return Ok(Reservation { amount: NanoUsd(0), max_tokens: wanted });
        }
        let Some(left) = self.money_left(fuel_used) else {
            let amount = price.most(request_tokens, wanted.unwrap_or(DEFAULT_TOKENS));
            self.calls += amount;
            return Ok(Reservation { amount, max_tokens: wanted });
        };
        let affordable = |money| price.affordable_tokens(request_tokens, money).max(LEAST_TOKENS);
        let tokens = wanted.unwrap_or_else(|| affordable(left).min(DEFAULT_TOKENS));
        let call = CallCost { price, request_tokens, fuel_used };
        let lack = match self.reserve_for(call, tokens, patience).await {
            Ok(reserved) => return Ok(reserved),
            Err(lack) => lack,
        };
        let fewer = affordable(lack.left);
        if wanted.is_none() && lack.is_held && fewer < tokens {
            // The others give nothing back: what they leave is enough for a shorter answer.
            if let Ok(reserved) = self.reserve_for(call, fewer, ready(())).await {
                return Ok(reserved);
            }
        }
        let amount = price.most(request_tokens, tokens);
        let shortage = self.shortage(price, request_tokens, Some(tokens), fuel_used);
        Err(NotReserved { why: lack.text(tokens, amount), shortage })
    }

    /// Whose money is short for such a call, whatever others hold. See [`Purse::reserve`].
    pub(crate) fn shortage(
        &self,
        price: &TokenPrice,
        request_tokens: u64,
        wanted: Option<u32>,
        fuel_used: u64,
    ) -> Shortage {
        let needed =
            self.gone(fuel_used) + price.most(request_tokens, wanted.unwrap_or(LEAST_TOKENS));
        let is_short = |left: Option<NanoUsd>| left.is_some_and(|left| needed > left);
        let of = |hold: &&Hold| is_short(hold.standing().money_left());
        match self.shared.iter().find(of).map(Hold::account) {
            _ if is_short(self.own.map(|(left, _)| left)) => Shortage::Session,
            Some(AccountKey::Family(_)) => Shortage::Session,
            Some(AccountKey::User(..) | AccountKey::Principal(_)) => Shortage::Operator,
            None => Shortage::Held,
        }
    }

    /// A call has cost this, for which that was reserved.
    pub(crate) fn settle(&mut self, reserved: NanoUsd, cost: NanoUsd) {
        self.calls = self.calls - reserved + cost;
        self.give_back();
        // It may have cost more.
        self.pay(NanoUsd(0));
    }

    /// Hold no more than the turn needs.
    fn give_back(&self) {
        for hold in &self.shared {
            hold.keep(self.needed());
        }
    }

    /// The turn does nothing until another one has answered, which may spend from the same accounts. The guest has used
    /// so much fuel.
    pub(crate) fn lend(&self, fuel_used: u64) {
        let fuel = fuel_used.saturating_add(KEPT_FUEL).min(self.fuel);
        for hold in &self.shared {
            hold.lend(Amounts { money: self.gone(fuel_used), fuel });
        }
    }

    /// The turn goes on, with as much as the other has left it.
    pub(crate) fn take_back(&self) {
        for hold in &self.shared {
            hold.take_back(self.needed());
        }
    }

    /// What the turn has spent on calls, and may spend on fuel.
    fn needed(&self) -> Amounts {
        Amounts { money: self.price.cost(self.fuel) + self.calls, fuel: self.fuel }
    }

    /// The fuel that the guest may use from here on, once it has used so much. `None`: as much as the turn was given.
    pub(crate) fn fuel_left(&self, fuel_used: u64) -> Option<u64> {
        let held = self.shared.iter().filter(|hold| hold.standing().limits.fuel.is_some());
        let held = held.map(|hold| hold.held().fuel).filter(|held| *held < self.fuel).min();
        let held = held.map(|held| held.saturating_sub(fuel_used));
        self.affordable_fuel(fuel_used).into_iter().chain(held).min()
    }

    /// The fuel that the guest can pay, once it has used so much. `None`: money does not bound it.
    fn affordable_fuel(&self, fuel_used: u64) -> Option<u64> {
        let shared = self.shared.iter().filter(|hold| is_bounded(hold));
        let shared = shared.map(|hold| hold.held().money);
        let all = shared.chain(self.own.map(|(left, _)| left)).min()?;
        if self.price.0.0 == 0 {
            return None;
        }
        let fuel = self.price.affordable(NanoUsd((all - self.calls).0.max(0)));
        Some(fuel.saturating_sub(fuel_used))
    }

    /// What the turn holds of accounts.
    pub(crate) fn into_holds(self) -> Vec<Hold> {
        self.shared
    }

    /// Money that a call may cost, if others hold nothing. `None`: as much as it likes.
    fn money_left(&self, fuel_used: u64) -> Option<NanoUsd> {
        let shared = self.shared.iter().filter_map(|hold| hold.standing().money_left());
        let all = shared.chain(self.own.map(|(left, _)| left)).min()?;
        Some(NanoUsd((all - self.gone(fuel_used)).0.max(0)))
    }

    /// What the turn has spent, and needs to go on.
    fn gone(&self, fuel_used: u64) -> NanoUsd {
        self.price.cost(fuel_used.saturating_add(KEPT_FUEL).min(self.fuel)) + self.calls
    }

    /// Reserve money for an answer of so many tokens, or hold what was held.
    async fn reserve_for(
        &mut self,
        call: CallCost<'_>,
        tokens: u32,
        patience: impl Future<Output = ()>,
    ) -> Result<Reservation, Lack> {
        let amount = call.price.most(call.request_tokens, tokens);
        let provided = self.provide(amount, call.fuel_used, patience).await;
        if provided.is_ok() {
            self.calls += amount;
        } else {
            self.give_back();
        }
        provided.map(|()| Reservation { amount, max_tokens: Some(tokens) })
    }

    /// See to it that there is so much money for a call. Waits, as long as `patience` lasts, where others hold what
    /// is missing.
    async fn provide(
        &self,
        amount: NanoUsd,
        fuel_used: u64,
        patience: impl Future<Output = ()>,
    ) -> Result<(), Lack> {
        let needed = self.gone(fuel_used) + amount;
        if let Some((left, limit)) = self.own
            && needed > left
        {
            let left = NanoUsd((amount - (needed - left)).0.max(0));
            let of = format!("the maxBudgetUsd of {}", limit.as_usd());
            return Err(Lack { left, of, is_held: false });
        }
        let mut patience = pin!(patience);
        for hold in &self.shared {
            let more = missing(hold, needed);
            if more.money.0 == 0 {
                continue;
            }
            let held = tokio::select! {
                biased;
                held = hold.more(more) => held,
                () = &mut patience => Err(Short { left: hold.free().amounts(), is_held: true }),
            };
            if let Err(Short { left, is_held }) = held {
                let had = amount - more.money;
                let left = NanoUsd(had.0.saturating_add(left.money.0).max(0));
                return Err(Lack { left, of: of_what(hold.account()).to_owned(), is_held });
            }
        }
        Ok(())
    }
}

/// A call that is to be paid, but for its answer.
#[derive(Clone, Copy)]
struct CallCost<'a> {
    price: &'a TokenPrice,
    request_tokens: u64,
    fuel_used: u64,
}

/// There is not enough money for a call.
struct Lack {
    /// What there is for it.
    left: NanoUsd,
    /// Of what.
    of: String,
    /// Others hold what is missing.
    is_held: bool,
}

impl Lack {
    fn text(&self, tokens: u32, amount: NanoUsd) -> String {
        let (left, of) = (self.left.as_usd(), &self.of);
        let held = if self.is_held { ", because other turns hold the rest" } else { "" };
        let amount = amount.as_usd();
        format!(
            "an answer of {tokens} tokens may cost {amount} with its request, and {left} is left of {of}{held}"
        )
    }
}

/// Whether an account has a limit of money.
fn is_bounded(hold: &Hold) -> bool {
    hold.standing().limits.money.is_some()
}

/// What this would have to hold more to hold so much money.
fn missing(hold: &Hold, needed: NanoUsd) -> Amounts {
    Amounts { money: NanoUsd((needed - hold.held().money).0.max(0)), fuel: 0 }
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
