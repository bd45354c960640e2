//! Turns that share an account wait for each other, never for ever, and never spend more than there is.

use super::*;
use dormouse_domain::account::{Account, AccountChange};
use dormouse_domain::id::{Principal, SessionId};
use dormouse_store::memory::MemoryStore;
use dormouse_store::{Retention, Transaction};
use tokio::task::JoinHandle;
use uuid::Uuid;

const FAMILY: AccountId = AccountId(SessionId(Uuid::from_u128(7)));
pub(crate) const ID: AccountKey = AccountKey::Family(FAMILY);

/// An account that may spend so much money, and has spent nothing.
pub(crate) async fn accounts(money: i64) -> Arc<Accounts> {
    within(money, &Quotas::default()).await
}

/// The same of a host with quotas.
async fn within(money: i64, quotas: &Quotas) -> Arc<Accounts> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Retention::default()));
    let account = Account {
        id: FAMILY,
        owner: Principal::local(),
        limits: AccountLimits { money: Some(NanoUsd(money)), fuel: None },
        spent: Amounts::default(),
        members: 1,
    };
    store.commit(Transaction::new_account(account)).await.unwrap();
    Arc::new(Accounts::new(store, quotas))
}

/// What a turn holds of the family and of its owner: nothing yet.
async fn both(accounts: &Arc<Accounts>) -> (Arc<Hold>, Arc<Hold>) {
    let keys = [ID, AccountKey::Principal(Principal::local())];
    let mut holds = accounts.hold_each(keys.into_iter()).await.unwrap().into_iter().map(Arc::new);
    (holds.next().unwrap(), holds.next().unwrap())
}

pub(crate) fn money(money: i64) -> Amounts {
    Amounts { money: NanoUsd(money), fuel: 0 }
}

/// Ask for so much more, on a task of its own. It has asked when this returns.
async fn asking(hold: &Arc<Hold>, amount: i64) -> JoinHandle<Result<(), Short>> {
    let hold = Arc::clone(hold);
    let asking = tokio::spawn(async move { hold.more(money(amount)).await });
    tokio::task::yield_now().await;
    asking
}

#[tokio::test]
async fn turns_wait_for_what_others_hold_in_the_order_in_which_they_came() {
    let accounts = accounts(100).await;
    let one = accounts.hold(ID).await.unwrap();
    one.more(money(80)).await.unwrap();
    let two = Arc::new(accounts.hold(ID).await.unwrap());
    let three = Arc::new(accounts.hold(ID).await.unwrap());
    let large = asking(&two, 90).await;
    let small = asking(&three, 10).await;
    assert!(
        !large.is_finished() && !small.is_finished(),
        "the small one does not pass the large one"
    );
    one.changed(AccountChange { spent: money(5), ..AccountChange::default() });
    assert_eq!(large.await.unwrap(), Ok(()));
    assert!(!small.is_finished());
    drop(one);
    two.keep(money(85));
    assert_eq!(small.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn what_is_spent_is_told_apart_from_what_is_held() {
    let accounts = accounts(100).await;
    let one = accounts.hold(ID).await.unwrap();
    let short = one.more(money(101)).await.unwrap_err();
    assert_eq!((short.left.money, short.is_held), (NanoUsd(100), false));
}

#[tokio::test]
async fn two_who_each_hold_what_the_other_waits_for_do_not_wait_for_ever() {
    let accounts = accounts(100).await;
    let one = Arc::new(accounts.hold(ID).await.unwrap());
    let two = Arc::new(accounts.hold(ID).await.unwrap());
    one.more(money(50)).await.unwrap();
    two.more(money(50)).await.unwrap();
    let first = asking(&one, 10).await;
    assert!(!first.is_finished());
    let second = asking(&two, 10).await;
    let short = first.await.unwrap().unwrap_err();
    assert!(short.is_held, "the first in line is told");
    drop(one);
    assert_eq!(second.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn who_holds_something_is_served_before_one_who_holds_nothing_where_nobody_else_goes_on() {
    let accounts = accounts(100).await;
    let one = Arc::new(accounts.hold(ID).await.unwrap());
    one.more(money(60)).await.unwrap();
    let new = Arc::new(accounts.hold(ID).await.unwrap());
    let waiting = asking(&new, 90).await;
    assert_eq!(one.more(money(40)).await, Ok(()), "it would wait for itself");
    drop(one);
    assert_eq!(waiting.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn two_who_wait_for_each_other_in_two_accounts_do_not_wait_for_ever() {
    let principals = Quotas { budget_per_principal: Some(NanoUsd(90)), ..Quotas::default() };
    let accounts = within(100, &principals).await;
    let (one, two) = (both(&accounts).await, both(&accounts).await);
    for hold in [&two.0, &two.1] {
        hold.more(money(30)).await.unwrap();
    }
    one.0.more(money(65)).await.unwrap();
    let first = asking(&one.1, 65).await;
    assert!(!first.is_finished(), "the other goes on");
    let second = asking(&two.0, 20).await;
    assert!(second.await.unwrap().unwrap_err().is_held, "the other waits as well");
    assert!(!first.is_finished(), "now it goes on");
    drop(two);
    assert_eq!(first.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn who_waits_for_one_who_waits_for_one_that_goes_on_is_served_in_the_end() {
    let principals = Quotas { budget_per_principal: Some(NanoUsd(90)), ..Quotas::default() };
    let accounts = within(100, &principals).await;
    let (one, two) = (both(&accounts).await, both(&accounts).await);
    let other = accounts.hold(AccountKey::Principal(Principal::local())).await.unwrap();
    other.more(money(60)).await.unwrap();
    one.0.more(money(65)).await.unwrap();
    let first = asking(&one.1, 65).await;
    let second = asking(&two.0, 50).await;
    assert!(!first.is_finished() && !second.is_finished());
    drop(other);
    assert_eq!(first.await.unwrap(), Ok(()));
    assert!(!second.is_finished());
    drop(one);
    assert_eq!(second.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn who_stops_waiting_leaves_the_line_and_holds_nothing() {
    let accounts = accounts(100).await;
    let one = accounts.hold(ID).await.unwrap();
    one.more(money(100)).await.unwrap();
    let gone = Arc::new(accounts.hold(ID).await.unwrap());
    let waiting = asking(&gone, 50).await;
    waiting.abort();
    assert!(waiting.await.is_err());
    let three = Arc::new(accounts.hold(ID).await.unwrap());
    let all = asking(&three, 100).await;
    drop(one);
    assert_eq!(all.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn an_account_that_nobody_holds_is_read_again() {
    let accounts = accounts(100).await;
    let one = accounts.hold(ID).await.unwrap();
    one.more(money(100)).await.unwrap();
    drop(one);
    assert!(accounts.lock().is_empty());
    let change = AccountChange { spent: money(30), ..AccountChange::default() };
    accounts.store.commit(Transaction::change_account(FAMILY, change)).await.unwrap();
    assert_eq!(accounts.hold(ID).await.unwrap().free().money, Some(NanoUsd(70)));
}
