//! Accounts: each change is made to what the commits before have left, so those of several sessions add up.

use super::super::commit::EncodedWrite;
use super::super::engine::Class;
use super::super::keys;
use super::super::tables::accounts;
use super::CommitGroup;
use crate::StoreError;
use dormouse_domain::account::{Account, AccountChange, AccountId};

impl CommitGroup<'_> {
    /// Whether there is no account of this id.
    pub(in super::super) fn expect_new_account(&mut self, id: AccountId) -> Result<(), StoreError> {
        let key = accounts::account(id);
        if self.row(&key)?.is_none() { Ok(()) } else { Err(StoreError::Conflict(id.0)) }
    }

    /// Whether an account can be changed: it is there, or comes with these changes.
    pub(super) fn expect_account(
        &mut self,
        id: AccountId,
        changes: &[EncodedWrite],
    ) -> Result<(), StoreError> {
        let comes = |change: &EncodedWrite| matches!(change, EncodedWrite::NewAccount(account) if account.id == id);
        if changes.iter().any(comes) {
            return Ok(());
        }
        match self.account(id)? {
            Some(_) => Ok(()),
            None => Err(StoreError::AccountNotFound(id)),
        }
    }

    /// Give an account its row.
    pub(super) fn put_account(&mut self, account: &Account) {
        let key = accounts::account(account.id);
        if account.members == 0 {
            self.rows.remove(key);
        } else {
            self.rows.place(Class::Inline, &key, accounts::encode(account));
        }
    }

    /// Change an account. One that an earlier change of the transaction has removed stays away.
    pub(super) fn change_account(&mut self, id: AccountId, change: AccountChange) {
        if let Ok(Some(mut account)) = self.account(id) {
            account.apply(change);
            self.put_account(&account);
        }
    }

    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let key = accounts::account(id);
        let Some(value) = self.row(&key)? else { return Ok(None) };
        accounts::decode(&key, &value)
            .map(Some)
            .map_err(|_| StoreError::Damaged(keys::describe(&key)))
    }
}
