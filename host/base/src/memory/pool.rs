//! A part of the memory budget that principals share: so whatever one principal has on its way, there is
//! memory for what another sends. Bodies, answers, and messages that wait have a part each.

use super::{Account, MemoryBudget};
use crate::shares::{Callers, Share, Shares};
use dormouse_domain::id::Principal;

/// Of how much of the budget one part is at most.
const PART: u64 = 4;

/// A part of the memory budget.
#[derive(Clone)]
pub struct Pool {
    budget: MemoryBudget,
    shares: Shares,
    small: u64,
}

/// Why something was not charged. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeRefused {
    /// The principal would have more than its share of the part.
    Share,
    /// The whole budget is spent.
    Budget,
}

impl Pool {
    /// A part of this budget; large enough for two of the largest things that may be in it, in bytes.
    pub fn new(budget: &MemoryBudget, largest: u64, callers: Callers) -> Pool {
        let all = (budget.limit() / PART).max(largest.saturating_mul(2));
        Pool { budget: budget.clone(), shares: Shares::new(all, callers), small: 0 }
    }

    /// The same, where a charge that comes to no more than so many bytes is never refused.
    pub fn with_small(self, small: u64) -> Pool {
        Pool { small, ..self }
    }

    /// The most bytes that anything can be charged here, however little others hold.
    pub fn most(&self) -> u64 {
        self.shares.all().min(self.budget.limit()).max(self.small)
    }

    /// Nothing yet, for this principal.
    pub fn of(&self, principal: &Principal) -> Charge {
        let (share, account) = (self.shares.of(principal), self.budget.account());
        Charge { share, account, small: self.small }
    }

    /// Whether this principal would get anything.
    pub fn has_some(&self, principal: &Principal) -> bool {
        self.shares.has_some(principal)
    }
}

/// Memory that is charged until this is dropped.
pub struct Charge {
    share: Share,
    account: Account,
    small: u64,
}

impl Charge {
    /// Charge so many bytes more.
    ///
    /// # Errors
    /// [`ChargeRefused`]
    pub fn grow(&mut self, bytes: u64) -> Result<(), ChargeRefused> {
        if self.account.held().saturating_add(bytes) <= self.small {
            self.force(bytes);
            return Ok(());
        }
        if !self.share.grow(bytes) {
            return Err(ChargeRefused::Share);
        }
        self.account.charge(bytes).map_err(|_| {
            self.share.shrink(bytes);
            ChargeRefused::Budget
        })
    }

    /// Charge so many bytes more, whatever there is: they are there already.
    pub fn force(&mut self, bytes: u64) {
        self.share.force(bytes);
        self.account.overdraw(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(limit: u64, small: u64) -> (MemoryBudget, Pool) {
        let budget = MemoryBudget::new(limit);
        let pool = Pool::new(&budget, 0, Callers::several()).with_small(small);
        (budget, pool)
    }

    #[test]
    fn what_is_refused_is_charged_neither_to_the_principal_nor_to_the_budget() {
        let (budget, pool) = pool(400, 0);
        let (ann, ben) = (Principal("ann".to_owned()), Principal("ben".to_owned()));
        let mut its = pool.of(&ann);
        assert_eq!(its.grow(40), Ok(()));
        assert_eq!(its.grow(20), Err(ChargeRefused::Share));
        assert_eq!(budget.used(), 40);
        let mut guests = budget.account();
        guests.charge(360).expect("it fits");
        assert_eq!(pool.of(&ben).grow(30), Err(ChargeRefused::Budget));
        drop(guests);
        assert_eq!(its.grow(10), Ok(()));
        assert_eq!(pool.of(&ben).grow(50), Ok(()), "the half that is left is free");
    }

    #[test]
    fn what_is_small_is_charged_beyond_what_there_is() {
        let (budget, pool) = pool(400, 500);
        let mut charge = pool.of(&Principal::local());
        assert_eq!(charge.grow(500), Ok(()));
        assert_eq!((charge.grow(1), budget.used()), (Err(ChargeRefused::Share), 500));
    }

    #[test]
    fn what_is_larger_than_the_part_or_the_budget_is_known_to_fit_never() {
        assert_eq!(pool(400, 0).1.most(), 100, "a part");
        assert_eq!(pool(400, 500).1.most(), 500, "what is small is never refused");
        let budget = MemoryBudget::new(400);
        assert_eq!(
            Pool::new(&budget, 300, Callers::one()).most(),
            400,
            "two of 300, and not so much"
        );
    }

    #[test]
    fn what_is_there_already_is_charged_beyond_what_there_is() {
        let (budget, pool) = pool(4_000, 0);
        let mut charge = pool.of(&Principal::local());
        charge.force(5_000);
        assert_eq!(budget.used(), 5_000);
        assert!(!pool.has_some(&Principal::local()));
        drop(charge);
        assert_eq!(budget.used(), 0);
        assert!(pool.has_some(&Principal::local()));
    }
}
