//! Whatever ends in the middle, a mail comes once.

use std::sync::Arc;
use std::time::Duration;

use dormouse::{
    Change, LimitsPatch, ManualClock, Sender, SessionHandle, SessionPatch, TurnOutcome,
};
use dormouse_tests::faults::{Cut, CutOff};
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use serde_json::json;

use super::{ann_and_bob, mailed, received, tell, texts, waiting};
use crate::models::PRICE;

/// Send this, and end the host once it is cut off.
pub(super) async fn cut_off(
    test: TestHost,
    faults: &CutOff,
    session: SessionHandle,
    cut: Cut,
    orders: &str,
) {
    let orders = orders.to_owned();
    faults.arm(cut);
    let turn = tokio::spawn(async move { session.send(orders).await });
    eventually("the host is cut off", async || faults.is_reached()).await;
    turn.abort();
    let _ = turn.await;
    drop(test);
}

#[tokio::test]
async fn mail_that_is_committed_comes_after_the_next_start_and_other_mail_was_never_sent() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let (faults, models) =
        (Arc::new(CutOff::default()), || dormouse::model::Catalog::new(Vec::new()));
    let start = || TestHost::faulty(directory.path(), &clock, models, faults.clone());
    let test = start().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let (ann_id, bob_id) = (ann.id(), bob.id());
    drop(bob);
    cut_off(test, &faults, ann, Cut::BeforeCommit(0), "send bob never").await;
    for (cut, text, known) in [
        // Ann's turn is durable, and Bob is not told.
        (Cut::AfterCommit(0), "one", 1),
        // Bob's turn is not: it is made again.
        (Cut::BeforeCommit(1), "two", 2),
        // Bob's turn is durable, and the host does not know.
        (Cut::AfterCommit(1), "three", 3),
    ] {
        faults.arm(Cut::InCall(usize::MAX));
        let test = start().await;
        let ann = test.host.sessions().get(ann_id);
        cut_off(test, &faults, ann, cut, &format!("send bob {text}")).await;
        faults.arm(Cut::InCall(usize::MAX));
        let test = start().await;
        let bob = test.host.sessions().get(bob_id);
        let turns = mailed(&bob, known).await;
        assert_eq!(texts(&turns).last().unwrap(), text);
        test.shut_down().await;
    }
    let test = start().await;
    let bob = test.host.sessions().get(bob_id);
    assert_eq!(received(&bob).await, json!(["ann: one", "ann: two", "ann: three"]));
    assert_eq!(waiting(&bob).await, 0);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_is_run_again_is_told_of_its_mail_what_it_was_told_before() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = ProviderServer::start(|asked| match asked.number {
        0 => Play::Waits("never".to_owned()),
        _ => Play::Says("thought".to_owned()),
    })
    .await;
    let start = || TestHost::thinking(directory.path(), &clock, || provider.catalog(PRICE));
    let test = start().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let (ann_id, bob_id) = (ann.id(), bob.id());
    bob.pause().await.unwrap();
    for _ in 0..4 {
        tell(&ann, "many bob 64 mail").await;
    }
    let (asking, turn) = (ann.clone(), "send bob no room\nthink hard\nsend bob room");
    let turn = tokio::spawn(async move { asking.send(turn).await });
    eventually("the model is asked", async || !provider.asked().is_empty()).await;
    bob.resume(None).await.unwrap();
    mailed(&bob, 256).await;
    turn.abort();
    let _ = turn.await;
    drop((test, ann, bob));

    let test = start().await;
    provider.let_go();
    let ann = test.host.sessions().get(ann_id);
    let is_over = async || ann.turn(5).await.unwrap().is_some();
    eventually("it is run again", is_over).await;
    let turn = ann.turn(5).await.unwrap().unwrap();
    let TurnOutcome::Answered { content, .. } = &turn.outcome else { panic!("{turn:?}") };
    let told: serde_json::Value = serde_json::from_str(&dormouse::text_of(content)).unwrap();
    let full = "mailbox-full: so much mail waits for it already";
    assert_eq!(told, json!([full, { "Ok": "thought" }, "sent"]));
    assert_eq!(turn.attempts, 2);
    let bob = test.host.sessions().get(bob_id);
    assert_eq!(texts(&mailed(&bob, 257).await).last().unwrap(), "room");
    test.shut_down().await;
}

#[tokio::test]
async fn a_mail_whose_turn_has_a_journal_is_taken_by_that_turn_also_when_it_is_run_again() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = ProviderServer::start(|asked| match asked.number {
        0 => Play::Waits("never".to_owned()),
        _ => Play::Says("thought".to_owned()),
    })
    .await;
    let start = || TestHost::thinking(directory.path(), &clock, || provider.catalog(PRICE));
    let test = start().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let bob_id = bob.id();
    tell(&ann, "send bob run send ann before;think hard;send ann after\nsend bob next").await;
    eventually("the model is asked", async || !provider.asked().is_empty()).await;
    let ann_id = ann.id();
    mailed(&ann, 0).await;
    drop((test, ann, bob));

    let test = start().await;
    provider.let_go();
    let bob = test.host.sessions().get(bob_id);
    let turns = mailed(&bob, 2).await;
    assert_eq!(turns.iter().map(|turn| turn.attempts).collect::<Vec<_>>(), [2, 1]);
    let ann = test.host.sessions().get(ann_id);
    assert_eq!(texts(&mailed(&ann, 2).await), ["before", "after"]);
    assert_eq!(waiting(&bob).await, 0);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_of_a_timer_that_the_end_of_its_host_cuts_off_leaves_the_timer() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let start = || TestHost::built(directory.path(), &clock, |builder| builder);
    let test = start().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let (ann_id, bob_id) = (ann.id(), bob.id());
    let turn_timeout = Change::Set(Duration::from_secs(1_000_000));
    let limits = LimitsPatch { turn_timeout, ..LimitsPatch::default() };
    bob.change(SessionPatch { limits, ..SessionPatch::default() }).await.unwrap();
    tell(&bob, "later sleep;send ann woken").await;
    test.advance(Duration::from_secs(2));
    let sleeps = async || bob.info().await.unwrap().running_turn.is_some();
    eventually("the timer has sent its turn, which sleeps", sleeps).await;
    drop((test, ann, bob));

    let test = start().await;
    let (ann, bob) = (test.host.sessions().get(ann_id), test.host.sessions().get(bob_id));
    let is_over = async || {
        test.advance(Duration::from_secs(1));
        bob.turn(2).await.unwrap().is_some()
    };
    eventually("the timer wakes it again", is_over).await;
    let turn = bob.turn(2).await.unwrap().unwrap();
    assert!(matches!(turn.outcome, TurnOutcome::Answered { .. }), "{turn:?}");
    assert!(matches!(turn.sender, Sender::Timer(_)));
    assert_eq!(texts(&mailed(&ann, 1).await), ["woken"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_of_mail_that_the_end_of_its_host_cuts_off_leaves_the_mail() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let start = || TestHost::built(directory.path(), &clock, |builder| builder);
    let test = start().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let (ann_id, bob_id) = (ann.id(), bob.id());
    // However far the clock goes on until the agent sleeps.
    let turn_timeout = Change::Set(Duration::from_secs(1_000_000));
    let limits = LimitsPatch { turn_timeout, ..LimitsPatch::default() };
    bob.change(SessionPatch { limits, ..SessionPatch::default() }).await.unwrap();
    tell(&ann, "send bob run sleep;send ann woken").await;
    let sleeps = async || bob.info().await.unwrap().running_turn.is_some();
    eventually("the peer sleeps", sleeps).await;
    drop((test, ann, bob));

    let test = start().await;
    let (ann, bob) = (test.host.sessions().get(ann_id), test.host.sessions().get(bob_id));
    let is_over = async || {
        test.advance(Duration::from_secs(1));
        bob.turn(1).await.unwrap().is_some()
    };
    eventually("the peer wakes", is_over).await;
    assert!(matches!(mailed(&bob, 1).await[0].outcome, TurnOutcome::Answered { .. }));
    assert_eq!(texts(&mailed(&ann, 1).await), ["woken"]);
    test.shut_down().await;
}
