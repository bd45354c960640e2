//! A turn that the end of its host has cut off is over after the next start, and nobody is asked twice for what was
//! answered.

use std::path::Path;
use std::time::Duration;

use dormouse::{Bill, EffectOutcome, Provenance};
use dormouse::{
    FailureCode, HostBuilder, ManualClock, Message, OnBusy, SendError, SessionHandle, TurnOutcome,
    TurnRecord,
};
use dormouse_test_guests as guests;
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};

use super::{ANSWER, PRICE, answers, results, thinks};

mod scripts;

/// A provider that answers each request with a fresh number, but waits at the one of this number, from 1.
async fn waiting_at(number: usize) -> ProviderServer {
    ProviderServer::start(move |asked| match asked.number + 1 {
        n if n == number => Play::Waits(format!("number {n}")),
        n => Play::Says(format!("number {n}")),
    })
    .await
}

/// Begin this turn, and end the host once the provider was asked so often.
async fn cut_off(
    test: TestHost,
    session: SessionHandle,
    message: impl Into<Message>,
    provider: &ProviderServer,
    asked: usize,
) {
    let message = message.into();
    let turn = tokio::spawn(async move { session.send(message).await });
    eventually("the provider is asked", async || provider.asked().len() >= asked).await;
    // Its client goes, and nobody shuts the host down.
    turn.abort();
    let _ = turn.await;
    drop(test);
}

/// Start a host once the one before has let go of the directory.
async fn start(directory: &Path, clock: &ManualClock, provider: &ProviderServer) -> TestHost {
    TestHost::thinking(directory, clock, || provider.catalog(PRICE)).await
}

async fn turn_of(session: &SessionHandle, number: u64) -> TurnRecord {
    let is_over = async || session.turn(number).await.unwrap().is_some();
    eventually("the turn is over", is_over).await;
    session.turn(number).await.unwrap().unwrap()
}

fn content(turn: &TurnRecord) -> String {
    match &turn.outcome {
        TurnOutcome::Answered { content, .. } => dormouse::text_of(content),
        TurnOutcome::Failed(failure) => panic!("{failure:?}"),
    }
}

#[tokio::test]
async fn a_turn_that_was_cut_off_is_run_again_by_itself_and_pays_for_no_answer_twice() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = waiting_at(6).await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    let first = thinks(&session, "ask 1 before").await;
    assert_eq!(answers(&first), ["number 1"]);
    cut_off(test, session, "clock\nrandom\nask 9 question\nclock\nrandom", &provider, 6).await;
    clock.advance(Duration::from_secs(3_600));

    let test = start(directory.path(), &clock, &provider).await;
    // Not before: the host that ends would get the answer.
    provider.let_go();
    let session = test.host.sessions().get(id);
    let turn = turn_of(&session, 2).await;
    let told = answers(&results(&content(&turn)));
    // The sixth request was lost with its host, and was made again.
    let numbers = [2, 3, 4, 5, 7, 8, 9, 10, 11].map(|n| format!("number {n}"));
    assert_eq!(told, numbers);
    assert_eq!(provider.asked().len(), 11);
    // By the bill: the host that ends may see the clock go on before it is gone, and note that the call takes too long.
    let (lost, paid): (Vec<_>, Vec<_>) =
        turn.effects.iter().partition(|line| line.bill == Bill::Unknown);
    assert!(paid.iter().all(|line| line.outcome == EffectOutcome::Answered));
    assert_eq!((lost.len(), paid.len()), (1, 9));
    assert_eq!((lost[0].seq, lost[0].attempt), (5, 1));
    assert!(lost[0].cost > ANSWER, "what was reserved is paid");
    assert!(paid.iter().all(|line| (line.bill, line.cost) == (Bill::Exact, ANSWER)));
    let replayed = turn.effects.iter().filter(|line| line.provenance == Provenance::Replayed);
    assert_eq!(replayed.count(), 4);
    assert_eq!(turn.attempts, 2);
    let usage = session.info().await.unwrap().session.usage;
    assert_eq!((usage.turns, usage.calls), (2, 11));
    // The next turn goes on from there.
    assert_eq!(answers(&thinks(&session, "ask 1 after").await), ["number 12"]);
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_client_that_repeats_its_message_gets_the_one_answer() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = waiting_at(2).await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    let message = || Message::from("ask 3 question").idempotency_key("once");
    cut_off(test, session, message(), &provider, 2).await;

    let test = start(directory.path(), &clock, &provider).await;
    let session = test.host.sessions().get(id);
    let again = tokio::spawn(async move { session.send(message()).await });
    provider.let_go();
    let reply = again.await.unwrap().unwrap();
    assert_eq!(answers(&results(&reply.text())), ["number 1", "number 3", "number 4"]);
    assert!(reply.replayed);
    let session = test.host.sessions().get(id);
    assert_eq!(session.turns(0, 10).await.unwrap().entries.len(), 1);
    test.shut_down().await;
}

#[tokio::test]
async fn a_message_that_is_repeated_to_interrupt_does_not_end_its_own_turn() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    // The request that was lost, and the one that takes its place.
    let provider = ProviderServer::start(|asked| match asked.number + 1 {
        n @ (2 | 3) => Play::Waits(format!("number {n}")),
        n => Play::Says(format!("number {n}")),
    })
    .await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    let message = || Message::from("ask 3 question").idempotency_key("once");
    cut_off(test, session, message(), &provider, 2).await;

    let test = start(directory.path(), &clock, &provider).await;
    let session = test.host.sessions().get(id);
    let again = session.stream(message().on_busy(OnBusy::Interrupt)).await.unwrap();
    assert!(again.is_replay());
    eventually("it asks again", async || provider.asked().len() == 3).await;
    let rejected = session.stream(message().on_busy(OnBusy::Reject)).await.unwrap();
    assert!(rejected.is_replay());
    provider.let_go();
    let reply = again.reply().await.unwrap();
    assert_eq!(answers(&results(&reply.text())), ["number 1", "number 3", "number 4"]);
    assert_eq!(rejected.reply().await.unwrap().turn.number, reply.turn.number);
    assert_eq!(session.turns(0, 10).await.unwrap().entries.len(), 1);
    test.shut_down().await;
}

/// A host that has places for so many instances.
async fn start_with_places(
    places: u32,
    directory: &Path,
    clock: &ManualClock,
    provider: &ProviderServer,
) -> TestHost {
    let change = |builder: HostBuilder| {
        let builder = builder.models(provider.catalog(PRICE));
        builder.configure(|options| options.max_residents = places)
    };
    TestHost::built(directory, clock, change).await
}

#[tokio::test]
async fn a_turn_that_was_cut_off_and_is_ended_before_it_is_woken_pays_for_its_calls() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = waiting_at(2).await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    cut_off(test, session, "ask 2 question", &provider, 2).await;
    let test = start_with_places(0, directory.path(), &clock, &provider).await;
    test.host.settle().await;
    let session = test.host.sessions().get(id);
    session.terminate("enough").await.unwrap();
    let turn = turn_of(&session, 1).await;
    let bills: Vec<Bill> = turn.effects.iter().map(|line| line.bill).collect();
    assert_eq!(bills, [Bill::Exact, Bill::Unknown]);
    let cost = turn.effects.iter().fold(dormouse::NanoUsd(0), |sum, line| sum + line.cost);
    assert!(session.info().await.unwrap().session.usage.cost >= cost && cost > ANSWER);
    assert_eq!(provider.asked().len(), 2);
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn orderly_ends_of_hosts_count_for_no_attempt_of_a_turn_that_waits_to_be_woken() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = waiting_at(2).await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    cut_off(test, session, "ask 2 question", &provider, 2).await;
    for _ in 0..4 {
        let test = start_with_places(0, directory.path(), &clock, &provider).await;
        test.host.settle().await;
        test.shut_down().await;
    }
    provider.let_go();
    let test = start(directory.path(), &clock, &provider).await;
    let turn = turn_of(&test.host.sessions().get(id), 1).await;
    assert_eq!(answers(&results(&content(&turn))), ["number 1", "number 3"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_call_that_was_begun_three_times_without_an_answer_is_not_made_again_and_is_paid() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = ProviderServer::start(|asked| match asked.number {
        0 => Play::Says("one".to_owned()),
        _ => Play::Waits("never".to_owned()),
    })
    .await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    cut_off(test, session, "ask 2 question", &provider, 2).await;
    for asked in [3, 4] {
        let test = start(directory.path(), &clock, &provider).await;
        eventually("it asks again", async || provider.asked().len() == asked).await;
        drop(test);
    }
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.host.sessions().get(id);
    let turn = turn_of(&session, 1).await;
    let TurnOutcome::Failed(failure) = &turn.outcome else { panic!("{turn:?}") };
    assert_eq!(failure.code, FailureCode::AgentFailed);
    assert!(failure.message.contains("nobody knows"), "{}", failure.message);
    assert_eq!(provider.asked().len(), 4);
    assert_eq!(turn.effects.len(), 4);
    let usage = session.info().await.unwrap().session.usage;
    let cost = turn.effects.iter().fold(dormouse::NanoUsd(0), |sum, line| sum + line.cost);
    assert!(usage.cost >= cost && cost > ANSWER);
    assert_eq!(usage.turns, 1);
    test.shut_down().await;
}

#[tokio::test]
async fn a_host_that_shuts_down_leaves_a_turn_that_waits_for_a_model_to_its_journal() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = waiting_at(2).await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    let turn = tokio::spawn(async move { session.send("ask 2 question").await });
    eventually("the provider is asked", async || provider.asked().len() == 2).await;
    let ending = tokio::spawn(test.shut_down());
    eventually("it gives up", async || {
        clock.advance(Duration::from_secs(1));
        ending.is_finished()
    })
    .await;
    ending.await.unwrap();
    let told = turn.await.unwrap().unwrap_err();
    assert_eq!(told.code(), "shutting_down");

    provider.let_go();
    let test = start(directory.path(), &clock, &provider).await;
    let turn = turn_of(&test.host.sessions().get(id), 1).await;
    assert_eq!(answers(&results(&content(&turn))), ["number 1", "number 3"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_is_ended_in_a_call_pays_for_that_call_and_leaves_no_journal() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = waiting_at(2).await;
    let test = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let sending = session.clone();
    let turn = tokio::spawn(async move { sending.send("ask 2 question").await });
    eventually("the provider is asked", async || provider.asked().len() == 2).await;
    session.terminate("enough").await.unwrap();
    let told = turn.await.unwrap().unwrap_err();
    let SendError::Failed(ended) = told else { panic!("{told}") };
    let bills: Vec<Bill> = ended.turn.effects.iter().map(|line| line.bill).collect();
    assert_eq!(bills, [Bill::Exact, Bill::Unknown]);
    let id = session.id();
    test.shut_down().await;

    let test = start(directory.path(), &clock, &provider).await;
    assert_eq!(test.host.sessions().get(id).turns(0, 10).await.unwrap().entries.len(), 1);
    assert_eq!(provider.asked().len(), 2);
    test.shut_down().await;
}
