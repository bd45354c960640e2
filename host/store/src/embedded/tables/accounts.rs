//! Accounts: `f` session, the value an [`Account`]. Its name is the session that was forked first.
//!
//! An account is changed by the committer alone, which adds what commits say to what is there.

pub(super) mod check;

use async_trait::async_trait;
use bytes::Bytes;
use minicbor::{CborLen, Decode, Encode};

use super::super::Embedded;
use super::super::disk::Disk;
use super::super::keys::{self, of_session};
use super::super::upkeep::audit::Audit;
use super::{Table, malformed};
use crate::StoreError;
use crate::codec::{self, CodecError, RecordKind};
use crate::read::ReadAccounts;
use crate::upkeep::UpkeepError;
use dormouse_domain::account::{Account, AccountId, AccountLimits, Amounts};
use dormouse_domain::id::Principal;
use dormouse_domain::limits::NanoUsd;

/// The prefix of all accounts.
const ACCOUNT: u8 = b'f';

/// What is kept beside the name.
#[derive(Encode, Decode, CborLen)]
struct Row {
    #[n(0)]
    owner: String,
    #[n(1)]
    max_money: Option<i64>,
    #[n(2)]
    max_fuel: Option<u64>,
    #[n(3)]
    money: i64,
    #[n(4)]
    fuel: u64,
    #[n(5)]
    members: u64,
}

/// The accounts.
pub(super) struct AccountTable;

/// An account.
pub(in super::super) fn account(id: AccountId) -> [u8; 17] {
    of_session(ACCOUNT, id.0)
}

/// The value of an account, in its envelope.
pub(in super::super) fn encode(account: &Account) -> Vec<u8> {
    let row = Row {
        owner: account.owner.0.clone(),
        max_money: account.limits.money.map(|money| money.0),
        max_fuel: account.limits.fuel,
        money: account.spent.money.0,
        fuel: account.spent.fuel,
        members: account.members,
    };
    codec::seal(&self::account(account.id), &[&codec::to_cbor(&row)])
}

/// The account of this value.
pub(in super::super) fn decode(key: &[u8], value: &[u8]) -> Result<Account, CodecError> {
    let value = codec::unseal(RecordKind::Row, key, value)?;
    let row: Row = codec::from_cbor(&value)?;
    let id = keys::session_of(ACCOUNT, key).ok_or_else(|| malformed("its key is no account"))?;
    Ok(Account {
        id: AccountId(id),
        owner: Principal(row.owner),
        limits: AccountLimits { money: row.max_money.map(NanoUsd), fuel: row.max_fuel },
        spent: Amounts { money: NanoUsd(row.money), fuel: row.fuel },
        members: row.members,
    })
}

impl Table for AccountTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&ACCOUNT)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        Some(format!("account/{}", keys::session_of(ACCOUNT, key)?))
    }

    /// It is made again of the sessions that name it.
    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        check::see(audit, &decode(key, value)?);
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        if let Some(id) = keys::session_of(ACCOUNT, key) {
            check::lose(audit, AccountId(id));
        }
    }

    fn compare(&self, audit: &mut Audit) {
        check::compare(audit);
    }

    fn recount(&self, disk: &Disk) -> Result<(), UpkeepError> {
        check::recount(disk)
    }
}

#[async_trait]
impl ReadAccounts for Embedded {
    async fn account(&self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.read(move |shared| {
            let key = self::account(id);
            let Some(value) = shared.disk.get(&key)? else { return Ok(None) };
            decode(&key, &value).map(Some).map_err(|error| shared.damaged(&key, &error))
        })
        .await
    }
}
