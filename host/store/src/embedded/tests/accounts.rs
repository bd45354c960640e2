//! Accounts: what sessions spend adds up, and what a repair makes of an account that is damaged.

use std::sync::Arc;

use super::journal::{commit, rows, tamper, told};
use super::*;
use crate::embedded::engine::Class;
use crate::embedded::{tables, upkeep};
use crate::read::ReadAccounts;
use crate::{Store, StoreError};
use dormouse_domain::account::{Account, AccountChange, AccountId, AccountLimits, Amounts};
use dormouse_domain::limits::NanoUsd;

/// The account of the session of this number.
fn account(number: u64, members: u64) -> Account {
    Account {
        id: AccountId(session_id(number)),
        owner: Principal::local(),
        limits: AccountLimits { money: Some(NanoUsd(100)), fuel: None },
        spent: Amounts::default(),
        members,
    }
}

/// Sessions of these numbers that share the account of the first, and have spent this.
async fn family(store: &Embedded, numbers: &[u64], cost: i64) {
    for (place, number) in numbers.iter().enumerate() {
        let mut session = session(*number);
        session.account = Some(AccountId(session_id(numbers[0])));
        session.profile.limits.max_budget = Some(NanoUsd(70));
        (session.usage.cost, session.usage.fuel) = (NanoUsd(cost), 5);
        let creation = Transaction::create(new(session), Vec::new());
        let account = account(numbers[0], numbers.len() as u64);
        let made =
            if place == 0 { Transaction::new_account(account) } else { Transaction::default() };
        commit(store, creation.and(made)).await;
    }
}

#[tokio::test]
async fn what_a_hundred_sessions_spend_at_once_adds_up() {
    let root = tempfile::tempdir().expect("there is room");
    let store = Arc::new(open(root.path()));
    commit(&store, Transaction::new_account(account(1, 100))).await;
    let spent = Amounts { money: NanoUsd(7), fuel: 3 };
    let spend = |store: Arc<Embedded>| async move {
        let change = AccountChange { spent, ..AccountChange::default() };
        store.commit(Transaction::change_account(account(1, 100).id, change)).await
    };
    let all: Vec<_> = (0..100).map(|_| tokio::spawn(spend(Arc::clone(&store)))).collect();
    for one in all {
        one.await.expect("it does not panic").expect("it is committed");
    }
    let found = store.account(account(1, 100).id).await.expect("it reads").expect("it is there");
    assert_eq!(found.spent, Amounts { money: NanoUsd(700), fuel: 300 });
    let leave = AccountChange { members: -50, ..AccountChange::default() };
    let leave = || Transaction::change_account(account(1, 100).id, leave);
    commit(&store, leave().and(leave())).await;
    assert_eq!(store.account(account(1, 100).id).await.expect("it reads"), None);
    let gone = store.commit(leave()).await;
    assert!(matches!(gone, Err(StoreError::AccountNotFound(id)) if id == account(1, 100).id));
    assert_eq!(rows(&store, b"f"), 0);
}

#[tokio::test]
async fn members_are_compared_with_sessions_and_a_damaged_account_is_made_of_these() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    family(&store, &[1, 2, 3], 11).await;
    family(&store, &[4, 5], 11).await;
    family(&store, &[6], 11).await;
    store.close().await.expect("it closes");
    assert_eq!(told(root.path()), [""; 0]);
    let store = open(root.path());
    let spent = Amounts { money: NanoUsd(50), fuel: 60 };
    let change = AccountChange { members: 2, spent, ..AccountChange::default() };
    commit(&store, Transaction::change_account(account(1, 3).id, change)).await;
    store.close().await.expect("it closes");
    let key = |number: u64| tables::accounts::account(AccountId(session_id(number))).to_vec();
    tamper(root.path(), |_, batch| {
        batch.put(Class::Inline, key(4), b"nothing".to_vec());
        batch.delete(key(6));
    });
    let store = open(root.path());
    let read = store.account(account(4, 2).id).await;
    let name = |number: u64| format!("account/{}", session_id(number));
    assert!(matches!(read, Err(StoreError::Damaged(key)) if key == name(4)));
    let spending = store.commit(Transaction::change_account(account(4, 2).id, change)).await;
    assert!(matches!(spending, Err(StoreError::Damaged(key)) if key == name(4)));
    store.close().await.expect("it closes");

    let expected = [
        format!("{}: its checksum does not fit", name(4)),
        format!("{}: it has 5 members, and 3 sessions name it", name(1)),
        format!("{}: it is not there, and 1 sessions name it", name(6)),
    ];
    assert_eq!(told(root.path()), expected);
    upkeep::repair(root.path(), small()).expect("it is repaired");
    assert_eq!(told(root.path()), [""; 0]);
    let store = open(root.path());
    let read = |number: u64| store.account(AccountId(session_id(number)));
    let kept = Account { spent, ..account(1, 3) };
    assert_eq!(read(1).await.expect("it reads"), Some(kept), "what was spent stays");
    let made = |number: u64, members: u8| Account {
        spent: Amounts { money: NanoUsd(11 * i64::from(members)), fuel: 5 * u64::from(members) },
        limits: AccountLimits { money: Some(NanoUsd(70)), fuel: None },
        ..account(number, members.into())
    };
    assert_eq!(read(4).await.expect("it reads"), Some(made(4, 2)));
    assert_eq!(read(6).await.expect("it reads"), Some(made(6, 1)));
}
