//! What sessions may spend together, while turns run: those of a family, of a user, and of a principal.
//!
//! The store adds up what each commit has spent of an account. Between the begin of a turn and its commit nobody but
//! this knows what the turn may spend: it *holds* that of the account, and others get what nobody holds. A turn
//! that needs more than is free waits in line, as long as one that holds some of it goes on, or waits for another
//! account where somebody goes on; where all of them wait, nobody would ever give anything back, so the first in
//! line that holds some of it is told that there is no more.
//!
//! Invariant: what an account has spent and what turns hold of it are together never more than its limits, but
//! for what was spent before a limit was lowered, and for calls that have cost more than was reserved for them.

mod hold;
mod open;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use async_trait::async_trait;

use crate::quotas::Quotas;
use crate::turn::admission::Standing;
use dormouse_domain::account::{Account, AccountId, AccountLimits, Amounts};
use dormouse_domain::id::Principal;
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::session::Session;
use dormouse_store::{StatisticsQuery, Store, StoreError};

pub(crate) use hold::Hold;
pub(crate) use open::Short;
use open::{Holder, OpenAccounts};

/// The accounts of which turns hold something.
pub(crate) struct Accounts {
    store: Arc<dyn Store>,
    /// What all sessions of one user, and of one principal, may spend.
    each_user: Option<NanoUsd>,
    each_principal: Option<NanoUsd>,
    /// What principals spend that no session does.
    others: OnceLock<Weak<dyn SpentElsewhere>>,
    open: Mutex<OpenAccounts>,
    /// What is locked while an account is read, so that nothing is spent of it meanwhile, because who spends has a hold
    /// of it; and while its limits change.
    alone: Mutex<HashMap<AccountKey, Weak<tokio::sync::Mutex<()>>>>,
}

/// Whoever knows what principals spend that no session does.
#[async_trait]
pub(crate) trait SpentElsewhere: Send + Sync {
    /// What this principal has spent.
    async fn spent_by(&self, principal: &Principal) -> Result<NanoUsd, StoreError>;
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

impl Accounts {
    /// The accounts of this store, by these quotas.
    pub(crate) fn new(store: Arc<dyn Store>, quotas: &Quotas) -> Accounts {
        Accounts {
            store,
            each_user: quotas.budget_per_user,
            each_principal: quotas.budget_per_principal,
            others: OnceLock::new(),
            open: Mutex::default(),
            alone: Mutex::default(),
        }
    }

    /// Hold nothing yet of each account that a session shares with others, in the order in which turns hold of them.
    ///
    /// # Errors
    /// An account is not there, or cannot be read.
    pub(crate) async fn hold_for(
        self: &Arc<Self>,
        session: &Session,
    ) -> Result<Vec<Hold>, StoreError> {
        let user = session.profile.user_id.clone().filter(|_| self.each_user.is_some());
        let user = user.map(|user| AccountKey::User(session.owner.clone(), user));
        let principal = self.each_principal.map(|_| AccountKey::Principal(session.owner.clone()));
        let family = session.account.map(AccountKey::Family);
        self.hold_each(family.into_iter().chain(user).chain(principal)).await
    }

    /// Hold nothing yet of what a principal may spend with all that is its. `None`: as much as it likes.
    ///
    /// # Errors
    /// The account cannot be read.
    pub(crate) async fn hold_of_principal(
        self: &Arc<Self>,
        principal: &Principal,
    ) -> Result<Option<Hold>, StoreError> {
        match self.each_principal {
            Some(_) => self.hold(AccountKey::Principal(principal.clone())).await.map(Some),
            None => Ok(None),
        }
    }

    /// Whoever else has spent something of principals.
    pub(crate) fn note_others(&self, others: Weak<dyn SpentElsewhere>) {
        // There is one for each host.
        let _ = self.others.set(others);
    }

    /// Hold nothing yet of an account.
    ///
    /// # Errors
    /// The account is not there, or cannot be read.
    pub(crate) async fn hold(self: &Arc<Self>, account: AccountKey) -> Result<Hold, StoreError> {
        let holder = self.lock().holder();
        self.hold_as(holder, account).await
    }

    /// Hold nothing yet of each of these accounts, for one turn.
    async fn hold_each(
        self: &Arc<Self>,
        accounts: impl Iterator<Item = AccountKey>,
    ) -> Result<Vec<Hold>, StoreError> {
        let holder = self.lock().holder();
        let mut holds = Vec::new();
        for account in accounts {
            holds.push(self.hold_as(holder, account).await?);
        }
        Ok(holds)
    }

    async fn hold_as(
        self: &Arc<Self>,
        holder: Holder,
        account: AccountKey,
    ) -> Result<Hold, StoreError> {
        if !self.lock().join(&account, holder) {
            let alone = self.alone(&account);
            let _alone = alone.lock().await;
            if !self.lock().join(&account, holder) {
                let standing = self.read(&account).await?;
                let mut open = self.lock();
                open.open(account.clone(), standing);
                open.join(&account, holder);
            }
        }
        Ok(Hold { accounts: Arc::clone(self), account, holder })
    }

    /// See [`Accounts::alone`].
    fn alone(&self, account: &AccountKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut all = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(account).and_then(Weak::upgrade) {
            return known;
        }
        all.retain(|_, alone| alone.strong_count() > 0);
        let new = Arc::default();
        all.insert(account.clone(), Arc::downgrade(&new));
        new
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
        let elsewhere = match (account, self.others.get().and_then(Weak::upgrade)) {
            (AccountKey::Principal(owner), Some(others)) => others.spent_by(owner).await?,
            _ => NanoUsd(0),
        };
        let spent = total.live.cost + total.removed.cost + elsewhere;
        let spent = Amounts { money: spent, fuel: 0 };
        Ok(Standing { limits: AccountLimits { money, fuel: None }, spent })
    }

    fn lock(&self) -> MutexGuard<'_, OpenAccounts> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(crate) mod tests;
