//! Agents that wait for each other's answers.

use std::sync::Arc;
use std::time::Duration;

use dormouse::{
    Bill, EffectOutcome, EffectTarget, ManualClock, Provenance, SessionHandle, TurnOutcome,
    TurnRecord, text_of,
};
use dormouse_test_guests as guests;
use dormouse_tests::faults::{Cut, CutOff};
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use serde_json::{Value, json};

use super::crashes::cut_off;
use super::{ann_and_bob, introduce, mailed, tell, writer};
use crate::models::PRICE;

const CYCLE: &str = "cycle: the session waits for an answer of this one";

/// The answer of a peer that has run orders.
fn answered(told: &Value) -> Value {
    let answer = told["answer"].as_str().unwrap_or_else(|| panic!("{told}"));
    serde_json::from_str(answer).unwrap()
}

/// A turn, once it is over.
async fn turn(session: &SessionHandle, number: u64) -> TurnRecord {
    let is_over = async || session.turn(number).await.unwrap().is_some();
    eventually("the turn is over", is_over).await;
    session.turn(number).await.unwrap().unwrap()
}

fn results(turn: &TurnRecord) -> Value {
    let TurnOutcome::Answered { content, .. } = &turn.outcome else { panic!("{turn:?}") };
    serde_json::from_str(&text_of(content)).unwrap()
}

/// A provider that answers its first request when it is let go.
async fn waiting() -> ProviderServer {
    ProviderServer::start(|asked| match asked.number {
        0 => Play::Waits("late".to_owned()),
        _ => Play::Says("thought".to_owned()),
    })
    .await
}

#[tokio::test]
async fn a_question_is_a_turn_of_the_peer_and_its_reply_the_answer() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    bob.send("received").await.unwrap();
    bob.sleep().await.unwrap();
    assert_eq!(tell(&ann, "ask bob hello").await, json!([{ "answer": "taken: hello" }]));
    let asked = mailed(&bob, 1).await.remove(0);
    assert_eq!(text_of(&asked.input), "hello");
    let turn = ann.turn(1).await.unwrap().unwrap();
    let [line] = &*turn.effects else { panic!("{turn:?}") };
    assert_eq!(line.outcome, EffectOutcome::Answered);
    assert_eq!(line.target, EffectTarget::Ask { peer: "bob".to_owned() });
    assert_eq!((line.bill, line.cost.0), (Bill::Free, 0));
    assert_eq!((line.sent, line.received), (5, 12));
    test.shut_down().await;
}

#[tokio::test]
async fn a_question_that_would_close_a_ring_of_waits_is_refused_at_once() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let cat = writer(&test, &[("ann", &ann)]).await;
    introduce(&bob, &[("ann", &ann), ("cat", &cat)]).await;
    introduce(&ann, &[("bob", &bob), ("me", &ann)]).await;
    assert_eq!(tell(&ann, "ask me hello").await, json!([CYCLE]));
    let told = tell(&ann, "ask bob run ask ann hello").await;
    assert_eq!(answered(&told[0]), json!([CYCLE]));
    let told = tell(&ann, "ask bob run ask cat run ask ann hello").await;
    let of_bob = answered(&told[0]);
    assert_eq!(answered(&of_bob[0]), json!([CYCLE]));
    // Nobody waits any more.
    assert_eq!(tell(&bob, "ask ann hello").await, json!([{ "answer": "taken: hello" }]));
    test.shut_down().await;
}

#[tokio::test]
async fn whoever_does_not_answer_says_why() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let told = tell(&ann, "ask bob run fail\nask who hello\nmuch bob 1048577").await;
    assert_eq!(
        told,
        json!([
            "failed: agent_failed: as it was told",
            "unknown-peer: this agent knows nobody by that name",
            "too-large: it may have 1048576 bytes",
        ])
    );
    bob.pause().await.unwrap();
    let told = tell(&ann, "ask bob hello").await;
    assert_eq!(told, json!(["paused: the session answers nobody until it is resumed"]));
    bob.resume(None).await.unwrap();
    assert_eq!(tell(&ann, "ask bob run complete").await, json!([{ "answer": "done" }]));
    let told = tell(&ann, "ask bob hello").await;
    assert_eq!(told, json!(["ended: the session takes no mail any more"]));
    bob.delete().await.unwrap();
    let told = tell(&ann, "ask bob hello").await;
    assert_eq!(told, json!(["unknown-peer: this agent knows nobody by that name"]));
    test.shut_down().await;
}

#[tokio::test]
async fn a_question_has_a_deadline_after_which_the_peer_goes_on() {
    let (directory, clock, provider) =
        (tempfile::tempdir().unwrap(), ManualClock::new(), waiting().await);
    let test = TestHost::thinking(directory.path(), &clock, || provider.catalog(PRICE)).await;
    let (ann, bob) = ann_and_bob(&test).await;
    let asking = ann.clone();
    let asked = tokio::spawn(async move { tell(&asking, "patiently bob 5 run think").await });
    eventually("the peer thinks", async || !provider.asked().is_empty()).await;
    test.advance(Duration::from_secs(5));
    let told = asked.await.unwrap();
    assert_eq!(told, json!(["timed-out: there was no answer in time"]));
    provider.let_go();
    assert_eq!(results(&turn(&bob, 1).await), json!([{ "Ok": "late" }]));
    test.shut_down().await;
}

#[tokio::test]
async fn the_time_until_an_answer_is_not_the_time_of_the_turn_that_asks() {
    let (directory, clock, provider) =
        (tempfile::tempdir().unwrap(), ManualClock::new(), waiting().await);
    let test = TestHost::thinking(directory.path(), &clock, || provider.catalog(PRICE)).await;
    let bob = writer(&test, &[]).await;
    let ann = test
        .session_with(&guests::WRITES_TO_PEERS, |new| {
            new.turn_timeout = Some(Duration::from_secs(1));
            new.peers = super::named(&[("bob", &bob)]);
        })
        .await;
    let asking = ann.clone();
    let asked = tokio::spawn(async move { tell(&asking, "ask bob run think").await });
    eventually("the peer thinks", async || !provider.asked().is_empty()).await;
    test.advance(Duration::from_secs(30));
    provider.let_go();
    assert_eq!(answered(&asked.await.unwrap()[0]), json!([{ "Ok": "late" }]));
    test.shut_down().await;
}

#[tokio::test]
async fn a_host_that_ends_while_a_peer_answers_has_the_question_answered_once() {
    let (directory, clock, provider) =
        (tempfile::tempdir().unwrap(), ManualClock::new(), waiting().await);
    let start = || TestHost::thinking(directory.path(), &clock, || provider.catalog(PRICE));
    let test = start().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let (ann_id, bob_id) = (ann.id(), bob.id());
    let asked = tokio::spawn(async move { ann.send("ask bob run think").await });
    eventually("the peer thinks", async || !provider.asked().is_empty()).await;
    asked.abort();
    let _ = asked.await;
    drop((test, bob));

    let test = start().await;
    provider.let_go();
    let (ann, bob) = (test.host.sessions().get(ann_id), test.host.sessions().get(bob_id));
    let of_ann = turn(&ann, 1).await;
    assert_eq!(answered(&results(&of_ann)[0]), json!([{ "Ok": "thought" }]));
    assert_eq!((of_ann.attempts, of_ann.effects.len()), (2, 2));
    let of_bob = mailed(&bob, 1).await.remove(0);
    assert_eq!(of_bob.attempts, 2);
    test.shut_down().await;
}

#[tokio::test]
async fn an_answer_that_the_end_of_a_host_has_kept_from_its_asker_is_told_by_the_next() {
    // The commits are: the question is noted, the peer's turn, the answer is noted, the turn that asks.
    for cut in [Cut::AfterCommit(0), Cut::AfterCommit(1), Cut::AfterCommit(2), Cut::BeforeCommit(3)]
    {
        let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let faults = Arc::new(CutOff::default());
        let models = || dormouse::model::Catalog::new(Vec::new());
        let start = || TestHost::faulty(directory.path(), &clock, models, faults.clone());
        let test = start().await;
        let (ann, bob) = ann_and_bob(&test).await;
        let (ann_id, bob_id) = (ann.id(), bob.id());
        drop(bob);
        cut_off(test, &faults, ann, cut, "ask bob hello").await;
        faults.arm(Cut::InCall(usize::MAX));
        let test = start().await;
        let (ann, bob) = (test.host.sessions().get(ann_id), test.host.sessions().get(bob_id));
        let of_ann = turn(&ann, 1).await;
        assert_eq!(results(&of_ann), json!([{ "answer": "taken: hello" }]), "{cut:?}");
        let replayed = of_ann.effects.iter().any(|line| line.provenance == Provenance::Replayed);
        assert_eq!(replayed, matches!(cut, Cut::AfterCommit(2) | Cut::BeforeCommit(3)), "{cut:?}");
        assert_eq!(super::received(&bob).await, json!(["ann: hello"]), "{cut:?}");
        test.shut_down().await;
    }
}
