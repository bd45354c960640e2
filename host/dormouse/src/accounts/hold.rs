//! What one turn holds of one account.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::open::{Holder, OpenAccounts, Short};
use super::{AccountKey, Accounts};
use crate::turn::admission::Standing;
use dormouse_domain::account::{AccountChange, AccountLimits, Amounts};

/// What one turn holds of one account. It is given back when this is dropped.
pub(crate) struct Hold {
    pub(super) accounts: Arc<Accounts>,
    pub(super) account: AccountKey,
    pub(super) holder: Holder,
}

impl Hold {
    /// The account.
    pub(crate) fn account(&self) -> &AccountKey {
        &self.account
    }

    /// What the account may spend and has spent, whatever is held.
    pub(crate) fn standing(&self) -> Standing {
        self.with(|open| open.standing(&self.account))
    }

    /// How much this holds.
    pub(crate) fn held(&self) -> Amounts {
        self.with(|open| open.held(&self.account, self.holder))
    }

    /// Hold so much more, whether there is as much or not: it is spent already.
    pub(crate) fn take(&self, more: Amounts) {
        self.with(|open| open.take(&self.account, self.holder, more));
    }

    /// What nobody holds of the account. `None`: there is no limit.
    pub(crate) fn free(&self) -> AccountLimits {
        self.with(|open| open.free(&self.account))
    }

    /// Hold so much more. Waits in line while others hold what is missing. Who stops waiting holds what it held, or
    /// that and what it has asked for.
    ///
    /// # Errors
    /// There will not be as much, or all who hold some of it wait: for this account, or for others.
    pub(crate) async fn more(&self, more: Amounts) -> Result<(), Short> {
        let asked = self.with(|open| open.ask(&self.account, self.holder, more))?;
        let Some(told) = asked else { return Ok(()) };
        let _in_line = InLine(self);
        metrics::counter!("dormouse_budget_waits_total").increment(1);
        told.await.expect("who stands in line is told before it leaves the line")
    }

    /// Give back all but so much.
    pub(crate) fn keep(&self, amounts: Amounts) {
        self.with(|open| open.keep(&self.account, self.holder, amounts));
    }

    /// Do nothing until another turn has answered, which may need what this holds: all but what is spent is free for
    /// others until then.
    pub(crate) fn lend(&self, spent: Amounts) {
        self.with(|open| open.lend(&self.account, self.holder, spent));
    }

    /// Whether somebody does nothing until another turn has answered, so that what it may need counts as spent.
    pub(crate) fn is_lent(&self) -> bool {
        self.with(|open| open.is_lent(&self.account))
    }

    /// Go on, and hold so much, as far as others have left it.
    pub(crate) fn take_back(&self, wanted: Amounts) {
        self.with(|open| open.take_back(&self.account, self.holder, wanted));
    }

    /// Change the account alone, until what this returns is dropped: whoever sets a limit, or takes something off it.
    /// In which order such changes are committed matters, so they are noted here in the same order.
    pub(crate) async fn changing(&self) -> OwnedMutexGuard<()> {
        self.accounts.alone(&self.account).lock_owned().await
    }

    /// What it held is spent, so much of it: a commit has added this to the account.
    pub(crate) fn changed(&self, change: AccountChange) {
        self.with(|open| open.changed(&self.account, self.holder, change));
    }

    fn with<T>(&self, act: impl FnOnce(&mut OpenAccounts) -> T) -> T {
        act(&mut self.accounts.lock())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.with(|open| open.leave(&self.account, self.holder));
    }
}

/// A turn that waits. Whoever stops waiting leaves the line.
struct InLine<'h>(&'h Hold);

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let InLine(hold) = self;
        hold.with(|open| open.leave_line(&hold.account, hold.holder));
    }
}
