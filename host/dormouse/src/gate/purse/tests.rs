//! A turn never spends more than it may, and no call is made that could.

use std::future::{pending, ready};
use std::sync::Arc;

use super::*;
use crate::accounts::tests::{ID, accounts, money};
use proptest::prelude::*;

/// Three dollars for a million tokens of a request, fifteen for one of an answer.
const PRICE: TokenPrice = TokenPrice {
    input: NanoUsd(3_000),
    output: NanoUsd(15_000),
    cache_read: NanoUsd(300),
    cache_write: NanoUsd(3_750),
    cache_write_long: NanoUsd(6_000),
};

#[tokio::test]
async fn a_call_that_could_cost_more_than_is_left_is_refused() {
    let price =
        TokenPrice { input: NanoUsd(0), output: NanoUsd(1_000_000_000), ..TokenPrice::default() };
    let left = price.most(0, 300);
    let mut purse = Purse::new(FuelPrice(NanoUsd(0)), 1, Some((left, left)), Vec::new());
    let refused = purse.reserve(&price, 0, Some(301), 0, ready(())).await.unwrap_err();
    assert!(refused.why.contains("maxBudgetUsd"), "{refused:?}");
    assert_eq!(refused.shortage, Shortage::Session);
    let all = purse.reserve(&price, 0, None, 0, ready(())).await.unwrap();
    assert_eq!((all.max_tokens, all.amount), (Some(300), left));
    assert!(purse.reserve(&price, 0, None, 0, ready(())).await.is_err(), "nothing is left");
    purse.settle(all.amount, NanoUsd(0));
    assert!(purse.reserve(&price, 0, Some(256), 0, ready(())).await.is_ok());
}

#[tokio::test]
async fn an_answer_of_less_than_256_tokens_is_not_asked_for() {
    let price = TokenPrice { output: NanoUsd(1_000_000_000), ..TokenPrice::default() };
    let left = price.most(0, 255);
    let mut purse = Purse::new(FuelPrice(NanoUsd(0)), 1, Some((left, left)), Vec::new());
    assert!(purse.reserve(&price, 0, None, 0, ready(())).await.is_err());
    assert!(
        purse.reserve(&price, 0, Some(255), 0, ready(())).await.is_ok(),
        "unless the agent wants it"
    );
}

/// Of a turn without fuel that spends with its family, of which somebody else holds so much.
async fn beside(limit: i64, other: i64) -> (Purse, Hold) {
    let accounts = accounts(limit).await;
    let held = accounts.hold(ID).await.unwrap();
    held.more(money(other)).await.unwrap();
    let hold = Arc::clone(&accounts).hold(ID).await.unwrap();
    (Purse::new(FuelPrice(NanoUsd(0)), 0, None, vec![hold]), held)
}

/// A thousandth of a cent for a token of an answer.
const TOKEN: TokenPrice = TokenPrice {
    input: NanoUsd(0),
    output: NanoUsd(10_000_000_000),
    cache_read: NanoUsd(0),
    cache_write: NanoUsd(0),
    cache_write_long: NanoUsd(0),
};

#[tokio::test]
async fn a_call_that_says_no_tokens_waits_for_what_the_budget_affords() {
    let (mut purse, other) = beside(10_000_000, 7_000_000).await;
    let reserving = tokio::spawn(async move { purse.reserve(&TOKEN, 0, None, 0, pending()).await });
    tokio::task::yield_now().await;
    assert!(!reserving.is_finished());
    drop(other);
    assert_eq!(reserving.await.unwrap().unwrap().max_tokens, Some(1_000));
}

#[tokio::test]
async fn where_nobody_gives_back_the_rest_an_answer_is_shorter_or_refused_as_held() {
    let (mut purse, _other) = beside(10_000_000, 7_000_000).await;
    let reserved = purse.reserve(&TOKEN, 0, None, 0, ready(())).await.unwrap();
    assert_eq!(reserved.max_tokens, Some(300));
    let refused = purse.reserve(&TOKEN, 0, None, 0, ready(())).await.unwrap_err();
    assert_eq!(refused.shortage, Shortage::Held, "{refused:?}");
    assert!(refused.why.contains("other turns hold the rest"), "{refused:?}");
    let refused = purse.reserve(&TOKEN, 0, Some(701), 0, ready(())).await.unwrap_err();
    assert_eq!(refused.shortage, Shortage::Session, "{refused:?}");
}

#[tokio::test]
async fn what_a_call_has_cost_beyond_its_reservation_nobody_else_gets() {
    let (mut purse, other) = beside(10_000_000, 0).await;
    let reserved = purse.reserve(&TOKEN, 0, Some(300), 0, ready(())).await.unwrap();
    purse.settle(reserved.amount, NanoUsd(5_000_000));
    assert_eq!(other.free().money, Some(NanoUsd(5_000_000)));
}

proptest! {
    #[test]
    fn fuel_and_calls_never_come_to_more_than_there_was(
        left in 0..50_000_000_i64,
        fuel_price in 0..10_000_000_i64,
        calls in prop::collection::vec((0..2_000_u64, prop::option::of(1..2_000_u32), 0..=100_u64, 0..2_000_000_u64), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let left = NanoUsd(left);
            let price = FuelPrice(NanoUsd(fuel_price));
            let fuel = price.affordable(left).min(20_000_000);
            let mut purse = Purse::new(price, fuel, Some((left, left)), Vec::new());
            let (mut used, mut spent) = (0_u64, NanoUsd(0));
            for (bytes, wanted, share, steps) in calls {
                let may = purse.fuel_left(used).unwrap_or(fuel).min(fuel - used);
                used += steps.min(may);
                if let Ok(reserved) = purse.reserve(&PRICE, bytes, wanted, used, ready(())).await {
                    let cost = NanoUsd(reserved.amount.0 * i64::try_from(share).unwrap() / 100);
                    purse.settle(reserved.amount, cost);
                    spent += cost;
                }
            }
            used += purse.fuel_left(used).unwrap_or(fuel).min(fuel - used);
            prop_assert!(spent + price.cost(used) <= left, "{spent} and {used} of {left}");
            Ok(())
        })?;
    }
}
