//! Who pays for what the host keeps for a world: what is under way between its members, what they see, who stands next to whom.
//!
//! What instances hand over is charged as it comes, on whichever thread that is. At the end of a tick only what is kept stays
//! charged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dormouse_base::memory::{Account, MemoryBudget};

/// An account that several threads charge.
pub(super) struct SharedAccount(Mutex<Account>);

impl SharedAccount {
    pub(super) fn new(budget: &MemoryBudget) -> SharedAccount {
        SharedAccount(Mutex::new(budget.account()))
    }

    /// Charge so many bytes more.
    ///
    /// # Errors
    /// The budget is spent: with what it could not give.
    pub(super) fn charge(&self, bytes: u64) -> Result<(), u64> {
        self.lock().charge(bytes).map_err(|_| bytes)
    }

    /// Charge so many bytes more, until what comes back is dropped.
    ///
    /// # Errors
    /// As [`SharedAccount::charge`].
    pub(super) fn charged(self: &Arc<Self>, bytes: u64) -> Result<Charged, u64> {
        self.charge(bytes)?;
        Ok(Charged { account: self.clone(), bytes })
    }

    /// Of all that was charged, only this much is left.
    pub(super) fn keep(&self, bytes: u64) {
        let mut account = self.lock();
        let less = account.held().saturating_sub(bytes);
        account.give_back(less);
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is charged for a while.
pub struct Charged {
    account: Arc<SharedAccount>,
    bytes: u64,
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.account.lock().give_back(self.bytes);
    }
}
