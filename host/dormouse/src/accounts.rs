//! What sessions may spend together, while turns run: those of a family, of a user, and of a principal.
//!
//! The store adds up what each commit has spent of an account. Between the begin of a turn and its commit nobody but
//! this knows what the turn may spend: it *holds* that of the account, and others get what nobody holds. A turn
//! that needs more than is free waits in line, as long as one that holds some of it goes on; where all of them
//! wait, nobody would ever give anything back, so the first in line is told that there is no more.
//!
//! Invariant: what an account has spent and what turns hold of it are together never more than its limits, but
//! for what was spent before a limit was lowered.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::quotas::Quotas;
use crate::turn::admission::Standing;
use dormouse_domain::account::{Account, AccountChange, AccountId, AccountLimits, Amounts};
use dormouse_domain::id::Principal;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::session::Session;
use dormouse_store::{StatisticsQuery, Store, StoreError};

/// The accounts of which turns hold something.
pub(crate) struct Accounts {
    store: Arc<dyn Store>,
    /// What all sessions of one user, and of one principal, may spend.
    each_user: Option<NanoUsd>,
    each_principal: Option<NanoUsd>,
    open: Mutex<HashMap<AccountKey, Open>>,
    /// Held while an account is read, so that nothing is spent of it meanwhile: who spends has a hold of it.
    reading: tokio::sync::Mutex<()>,
}

/// Who shares an account.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AccountKey {
    /// A session and its forks. The store has what they may spend, and have spent.
    Family(AccountId),
    /// The sessions of a user of a principal. The statistics have what they have spent.
    User(Principal, String),
    /// The sessions of a principal.
    Principal(Principal),
}

/// An account of which somebody holds something, or is about to.
struct Open {
    limits: AccountLimits,
    spent: Amounts,
    holds: BTreeMap<u64, Held>,
    line: VecDeque<Waiter>,
    next: u64,
}

/// What one turn holds.
#[derive(Default)]
struct Held {
    amounts: Amounts,
    waits: bool,
}

struct Waiter {
    hold: u64,
    more: Amounts,
    answer: oneshot::Sender<Result<(), Short>>,
}

/// There is not as much, or not before others give something back who wait themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    /// What nobody holds.
    pub(crate) left: Amounts,
    /// Whether everything is spent that the account may spend.
    pub(crate) spent: Option<SpentLimit>,
}

/// The limit of an account of which nothing is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpentLimit {
    Money(NanoUsd),
    Fuel(u64),
}

/// What one turn holds of one account. It is given back when this is dropped.
pub(crate) struct Hold {
    accounts: Arc<Accounts>,
    account: AccountKey,
    id: u64,
}

impl Accounts {
    /// The accounts of this store, by these quotas.
    pub(crate) fn new(store: Arc<dyn Store>, quotas: &Quotas) -> Accounts {
        Accounts {
            store,
            each_user: quotas.budget_per_user,
            each_principal: quotas.budget_per_principal,
            open: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// The accounts that a session shares with others, in the order in which turns hold of them.
    pub(crate) fn of(&self, session: &Session) -> impl Iterator<Item = AccountKey> + use<> {
        let user = session.profile.user_id.clone().filter(|_| self.each_user.is_some());
        let user = user.map(|user| AccountKey::User(session.owner.clone(), user));
        let principal = self.each_principal.map(|_| AccountKey::Principal(session.owner.clone()));
        session.account.map(AccountKey::Family).into_iter().chain(user).chain(principal)
    }

    /// Hold of an account what the next steps ask for: nothing yet.
    ///
    /// # Errors
    /// The account is not there, or cannot be read.
    pub(crate) async fn hold(self: &Arc<Self>, account: AccountKey) -> Result<Hold, StoreError> {
        if let Some(hold) = self.held(&account) {
            return Ok(hold);
        }
        let _reading = self.reading.lock().await;
        if let Some(hold) = self.held(&account) {
            return Ok(hold);
        }
        let Standing { limits, spent } = self.read(&account).await?;
        let holds = BTreeMap::from([(0, Held::default())]);
        let opened = Open { limits, spent, holds, line: VecDeque::new(), next: 1 };
        self.lock().insert(account.clone(), opened);
        Ok(Hold { accounts: Arc::clone(self), account, id: 0 })
    }

    async fn read(&self, account: &AccountKey) -> Result<Standing, StoreError> {
        let (query, money) = match account {
            AccountKey::Family(id) => {
                let read = self.store.account(*id).await?;
                let Account { limits, spent, .. } = read.ok_or(StoreError::AccountNotFound(*id))?;
                return Ok(Standing { limits, spent });
            }
            AccountKey::User(owner, user) => {
                let user_id = Some(user.clone());
                (StatisticsQuery { user_id, ..StatisticsQuery::of(owner.clone()) }, self.each_user)
            }
            AccountKey::Principal(owner) => {
                (StatisticsQuery::of(owner.clone()), self.each_principal)
            }
        };
        let total = self.store.statistics(query).await?.total();
        let spent = Amounts { money: total.live.cost + total.removed.cost, fuel: 0 };
        Ok(Standing { limits: AccountLimits { money, fuel: None }, spent })
    }

    fn held(self: &Arc<Self>, account: &AccountKey) -> Option<Hold> {
        let mut open = self.lock();
        let entry = open.get_mut(account)?;
        let id = entry.next;
        entry.next += 1;
        entry.holds.insert(id, Held::default());
        Some(Hold { accounts: Arc::clone(self), account: account.clone(), id })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountKey, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// What nobody holds. `None`: there is no limit.
    fn free(&self) -> AccountLimits {
        let held = self.holds.values().fold(Amounts::default(), |sum, held| sum.plus(held.amounts));
        self.less(held)
    }

    /// What one hold could have more if all others gave back what they hold.
    fn reach(&self, hold: u64) -> AccountLimits {
        let own = self.holds.get(&hold).map_or_else(Amounts::default, |held| held.amounts);
        self.less(own)
    }

    fn less(&self, held: Amounts) -> AccountLimits {
        let gone = self.spent.plus(held);
        AccountLimits {
            money: self.limits.money.map(|max| NanoUsd((max - gone.money).0.max(0))),
            fuel: self.limits.fuel.map(|max| max.saturating_sub(gone.fuel)),
        }
    }

    fn short(&self) -> Short {
        let left = at_most(Amounts::MAX, self.free());
        let spent = match (self.limits.money, self.limits.fuel) {
            (Some(max), _) if self.spent.money >= max => Some(SpentLimit::Money(max)),
            (_, Some(max)) if self.spent.fuel >= max => Some(SpentLimit::Fuel(max)),
            _ => None,
        };
        Short { left, spent }
    }

    fn add(&mut self, hold: u64, more: Amounts) {
        if let Some(held) = self.holds.get_mut(&hold) {
            held.amounts = held.amounts.plus(more);
        }
    }

    /// Serve those who wait, in order, as far as there is enough.
    fn serve(&mut self) {
        while let Some((place, answer)) = self.next_served() {
            let Some(Waiter { hold, more, answer: told }) = self.line.remove(place) else { return };
            if answer.is_ok() {
                self.add(hold, more);
            }
            let Some(held) = self.holds.get_mut(&hold) else { continue };
            held.waits = false;
            if told.send(answer).is_err() && answer.is_ok() {
                // It has stopped waiting in this moment.
                held.amounts = held.amounts.minus(more);
            }
        }
    }

    /// Who is served next, by the place in line, and with what. `None`: they go on waiting.
    fn next_served(&self) -> Option<(usize, Result<(), Short>)> {
        let first = self.line.front()?;
        let free = self.free();
        if fits(first.more, free) {
            return Some((0, Ok(())));
        }
        if !fits(first.more, self.reach(first.hold)) {
            return Some((0, Err(self.short())));
        }
        if self.somebody_goes_on() {
            return None;
        }
        // Nobody gives anything back before one of those is served who hold something.
        let holds = |waiter: &Waiter| {
            let held = self.holds.get(&waiter.hold);
            held.is_some_and(|held| held.amounts != Amounts::default())
        };
        let place = |wanted: &dyn Fn(&Waiter) -> bool| self.line.iter().position(wanted);
        if let Some(place) = place(&|waiter| holds(waiter) && fits(waiter.more, free)) {
            return Some((place, Ok(())));
        }
        Some((place(&holds).unwrap_or(0), Err(self.short())))
    }

    /// Whether somebody who holds something does not wait.
    fn somebody_goes_on(&self) -> bool {
        self.holds.values().any(|held| !held.waits && held.amounts != Amounts::default())
    }
}

impl Hold {
    /// The account.
    pub(crate) fn account(&self) -> &AccountKey {
        &self.account
    }

    /// What the account may spend and has spent, whatever is held.
    pub(crate) fn standing(&self) -> Standing {
        self.with(|open| Standing { limits: open.limits, spent: open.spent })
    }

    /// Hold so much more, whether there is as much or not: it is spent already.
    pub(crate) fn take(&self, more: Amounts) {
        self.with(|open| open.add(self.id, more));
    }

    /// What this holds.
    pub(crate) fn amounts(&self) -> Amounts {
        self.with(|open| {
            open.holds.get(&self.id).map_or_else(Amounts::default, |held| held.amounts)
        })
    }

    /// What this can hold more at once.
    pub(crate) fn free(&self) -> AccountLimits {
        self.with(|open| if open.line.is_empty() { open.free() } else { NOTHING })
    }

    /// Hold so much more. Waits in line while others hold what is missing.
    ///
    /// # Errors
    /// There will not be as much, or all who hold some of it wait.
    pub(crate) async fn more(&self, more: Amounts) -> Result<(), Short> {
        let answer = self.with(|open| {
            if open.line.is_empty() && fits(more, open.free()) {
                open.add(self.id, more);
                return Ok(None);
            }
            if !fits(more, open.reach(self.id)) {
                return Err(open.short());
            }
            let (answer, told) = oneshot::channel();
            if let Some(held) = open.holds.get_mut(&self.id) {
                held.waits = true;
            }
            open.line.push_back(Waiter { hold: self.id, more, answer });
            open.serve();
            Ok(Some(told))
        })?;
        let Some(told) = answer else { return Ok(()) };
        let _in_line = InLine(self);
        metrics::counter!("dormouse_budget_waits_total").increment(1);
        told.await.unwrap_or_else(|_| Err(self.with(|open| open.short())))
    }

    /// Give back all but so much.
    pub(crate) fn keep(&self, amounts: Amounts) {
        self.with(|open| {
            if let Some(held) = open.holds.get_mut(&self.id) {
                held.amounts = held.amounts.least(amounts);
            }
            open.serve();
        });
    }

    /// What it held is spent, so much of it: a commit has added this to the account.
    pub(crate) fn changed(&self, change: AccountChange) {
        self.with(|open| {
            open.spent = open.spent.plus(change.spent);
            open.limits = open.limits.changed(change);
            if let Some(held) = open.holds.get_mut(&self.id) {
                held.amounts = Amounts::default();
            }
            open.serve();
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Open) -> T) -> T {
        let mut open = self.accounts.lock();
        let entry = open.get_mut(&self.account);
        act(entry.expect("an account is open as long as somebody has a hold of it"))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut open = self.accounts.lock();
        let Some(entry) = open.get_mut(&self.account) else { return };
        entry.holds.remove(&self.id);
        entry.serve();
        if entry.holds.is_empty() {
            open.remove(&self.account);
        }
    }
}

/// A turn that waits. Whoever stops waiting leaves the line.
struct InLine<'h>(&'h Hold);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.with(|open| {
            open.line.retain(|waiter| waiter.hold != self.0.id);
            if let Some(held) = open.holds.get_mut(&self.0.id) {
                held.waits = false;
            }
            open.serve();
        });
    }
}

/// Nothing is free.
const NOTHING: AccountLimits = AccountLimits { money: Some(NanoUsd(0)), fuel: Some(0) };

fn fits(amounts: Amounts, left: AccountLimits) -> bool {
    left.money.is_none_or(|left| amounts.money <= left)
        && left.fuel.is_none_or(|left| amounts.fuel <= left)
}

fn at_most(amounts: Amounts, left: AccountLimits) -> Amounts {
    Amounts {
        money: left.money.map_or(amounts.money, |left| left.min(amounts.money)),
        fuel: left.fuel.map_or(amounts.fuel, |left| left.min(amounts.fuel)),
    }
}

#[cfg(test)]
mod tests;
