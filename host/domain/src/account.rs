//! Accounts: what several sessions may spend together.
//!
//! A session that nobody has forked spends on its own: its limits and its usage are its account. With the first fork
//! both share one, and so does each further fork of any of them: a *family*. Its limits take the place of the
//! sessions' own limits of money and fuel.

use crate::id::{Principal, SessionId};
use crate::limits::NanoUsd;
use crate::session::Session;

/// The name of an account: the session that was forked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub SessionId);

/// What several sessions share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name.
    pub id: AccountId,
    /// Who owns the sessions that share it.
    pub owner: Principal,
    /// What they may spend together.
    pub limits: AccountLimits,
    /// What they have spent together.
    pub spent: Amounts,
    /// How many sessions share it. It goes with the last.
    pub members: u64,
}

/// The account that this session opens: with its limits, and with what it has spent.
#[must_use]
pub fn own(session: &Session) -> Account {
    let limits = &session.profile.limits;
    Account {
        id: AccountId(session.id),
        owner: session.owner.clone(),
        limits: AccountLimits { money: limits.max_budget, fuel: limits.max_fuel },
        spent: Amounts { money: session.usage.cost, fuel: session.usage.fuel },
        members: 1,
    }
}

/// What the sessions of an account may spend together. `None`: there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// Money.
    pub money: Option<NanoUsd>,
    /// Fuel.
    pub fuel: Option<u64>,
}

impl AccountLimits {
    /// These as amounts: more than anybody has where there is no limit.
    #[must_use]
    pub fn amounts(self) -> Amounts {
        let AccountLimits { money, fuel } = self;
        Amounts {
            money: money.unwrap_or(Amounts::MAX.money),
            fuel: fuel.unwrap_or(Amounts::MAX.fuel),
        }
    }

    /// These after a change.
    #[must_use]
    pub fn changed(self, change: AccountChange) -> AccountLimits {
        let LimitsChange { money, fuel } = change.limits;
        let (money, fuel) = (money.unwrap_or(self.money), fuel.unwrap_or(self.fuel));
        AccountLimits {
            money: money.map(|max| NanoUsd((max - change.granted.money).0.max(0))),
            fuel: fuel.map(|max| max.saturating_sub(change.granted.fuel)),
        }
    }
}

/// Amounts of what an account counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Money.
    pub money: NanoUsd,
    /// Fuel.
    pub fuel: u64,
}

impl Amounts {
    /// More than anybody has.
    pub const MAX: Amounts = Amounts { money: NanoUsd(i64::MAX), fuel: u64::MAX };

    /// These without the others, and never less than nothing.
    #[must_use]
    pub fn minus(self, other: Amounts) -> Amounts {
        Amounts {
            money: NanoUsd((self.money - other.money).0.max(0)),
            fuel: self.fuel.saturating_sub(other.fuel),
        }
    }

    /// The lesser of each.
    #[must_use]
    pub fn least(self, other: Amounts) -> Amounts {
        Amounts { money: self.money.min(other.money), fuel: self.fuel.min(other.fuel) }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Amounts) -> Amounts {
        Amounts { money: self.money + other.money, fuel: self.fuel.saturating_add(other.fuel) }
    }
}

/// What one commit does to an account. It names no state that the account had: changes of several sessions are
/// applied in the order of their commits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountChange {
    /// What was spent.
    pub spent: Amounts,
    /// How many sessions come to it, or leave it.
    pub members: i64,
    /// Which of its limits are others from now on.
    pub limits: LimitsChange,
    /// What is taken off its limits, because it is somebody else's from now on.
    pub granted: Amounts,
}

/// Which limits of an account are others from now on. `None`: it stays as it is by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsChange {
    /// Money; `Some(None)`: from now on there is no limit.
    pub money: Option<Option<NanoUsd>>,
    /// The same of fuel.
    pub fuel: Option<Option<u64>>,
}

impl LimitsChange {
    /// Whether all stay as they are.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == LimitsChange::default()
    }
}

impl Account {
    /// Apply a change.
    pub fn apply(&mut self, change: AccountChange) {
        self.spent = self.spent.plus(change.spent);
        self.members = self.members.saturating_add_signed(change.members);
        self.limits = self.limits.changed(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_one_limit_leaves_what_others_have_made_of_the_other() {
        let before = AccountLimits { money: Some(NanoUsd(10)), fuel: Some(5) };
        let granted = Amounts { money: NanoUsd(4), fuel: 0 };
        let granted = before.changed(AccountChange { granted, ..AccountChange::default() });
        let limits = LimitsChange { money: None, fuel: Some(None) };
        let after = granted.changed(AccountChange { limits, ..AccountChange::default() });
        assert_eq!(after, AccountLimits { money: Some(NanoUsd(6)), fuel: None });
    }
}
