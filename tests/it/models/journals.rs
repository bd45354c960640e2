//! A journal that another build of the host has written, or that of another turn: what differs is found by name, and
//! what was noted is billed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dormouse::{
    Bill, Digest, FailureCode, HostOptions, ManualClock, Message, OpenError, SessionHandle,
    SessionId, Store, TurnOutcome, TurnRecord,
};
use dormouse_store::embedded::Embedded;
use dormouse_store::{Bound, Transaction};
use dormouse_test_guests as guests;
use dormouse_tests::faults::{Cut, CutOff};
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use serde_json::json;

use super::{PRICE, answers, results};

const SCRIPT: &str = "forward\nclock\nask 1 one\nrandom\nask 3 question\nspin 1000";

/// Start a host that can be cut off.
async fn start(
    directory: &Path,
    clock: &ManualClock,
    provider: &ProviderServer,
) -> (TestHost, Arc<CutOff>) {
    let faults = Arc::new(CutOff::default());
    let models = || provider.catalog(PRICE);
    (TestHost::faulty(directory, clock, models, faults.clone()).await, faults)
}

/// Begin a turn with this script, and end its host in the third call.
async fn cut_off(test: TestHost, session: SessionHandle, script: &'static str, faults: &CutOff) {
    faults.arm(Cut::InCall(2));
    let turn = tokio::spawn(async move { session.send(Message::from(script)).await });
    eventually("the host is cut off", async || faults.is_reached()).await;
    turn.abort();
    let _ = turn.await;
    drop(test);
}

/// The store that a host has left, once it has let go of it.
async fn open(directory: &Path) -> Arc<dyn Store> {
    loop {
        let directory = directory.to_owned();
        let open = move || Embedded::open(&directory, HostOptions::default().store_options());
        match tokio::task::spawn_blocking(open).await.unwrap() {
            Ok(store) => return Arc::new(store),
            Err(OpenError::Locked { .. }) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Cut a turn off in its third call, and change what its journal has of each effect before it is run again: by the
/// place of the effect, the fuel that its guest had used, and the digest of what it asked. Answers with what the
/// turn comes to.
async fn changed(
    provider: &ProviderServer,
    script: &'static str,
    change: impl Fn(u32, &mut u64, &mut Digest),
) -> TurnRecord {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let (test, faults) = start(directory.path(), &clock, provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    cut_off(test, session, script, &faults).await;
    rewrite(directory.path(), id, change).await;

    let (test, _) = start(directory.path(), &clock, provider).await;
    let session = test.host.sessions().get(id);
    eventually("the turn is over", async || session.turn(1).await.unwrap().is_some()).await;
    let turn = session.turn(1).await.unwrap().unwrap();
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
    turn
}

/// Change each entry of the journal of a session, while no host has the store.
async fn rewrite(directory: &Path, id: SessionId, change: impl Fn(u32, &mut u64, &mut Digest)) {
    let store = open(directory).await;
    let journal = store.journal(id, 0, Bound::entries(100)).await.unwrap().entries;
    assert_eq!(journal.len(), 3, "{journal:?}");
    for mut entry in journal {
        change(entry.seq, &mut entry.fuel, &mut entry.request);
        store.commit(Transaction::journal(id, entry)).await.unwrap();
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_journal_that_is_damaged_fails_its_turn_and_what_can_be_read_of_it_is_billed() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let provider = provider().await;
    let (test, faults) = start(directory.path(), &clock, &provider).await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    cut_off(test, session, SCRIPT, &faults).await;
    let store = open(directory.path()).await;
    // One is missing before it.
    let mut entry = store.journal(id, 0, Bound::entries(100)).await.unwrap().entries.remove(2);
    entry.seq = 5;
    store.commit(Transaction::journal(id, entry)).await.unwrap();
    store.close().await.unwrap();

    let (test, _) = start(directory.path(), &clock, &provider).await;
    let session = test.host.sessions().get(id);
    eventually("the turn is over", async || session.turn(1).await.unwrap().is_some()).await;
    let turn = session.turn(1).await.unwrap().unwrap();
    let TurnOutcome::Failed(failure) = &turn.outcome else { panic!("{turn:?}") };
    assert_eq!(failure.code, FailureCode::ReplayUnavailable);
    assert!(failure.message.contains("damaged"), "{}", failure.message);
    let reply = session.send("ask 1 question").await.unwrap();
    assert_eq!(
        (reply.turn.number, answers(&results(&reply.text()))),
        (2, vec!["the same".to_owned()])
    );
    test.shut_down().await;
}

async fn provider() -> ProviderServer {
    ProviderServer::start(|_| Play::Says("the same".to_owned())).await
}

fn told(turn: &TurnRecord) -> Vec<String> {
    let TurnOutcome::Answered { content, .. } = &turn.outcome else { panic!("{turn:?}") };
    answers(&results(&dormouse::text_of(content)))
}

#[tokio::test]
async fn a_journal_of_a_build_that_counts_fuel_otherwise_is_replayed_and_billed_as_it_was_counted()
{
    const MORE: u64 = 1_000_000;
    // Two hosts: what a guest reads of clocks and randomness may be longer in one, and cost more to print.
    let script = "forward\nask 1 one\nask 3 question\nspin 1000";
    let provider = provider().await;
    let as_it_was = changed(&provider, script, |_, _, _| {}).await;
    let otherwise = changed(&provider, script, |_, fuel, _| *fuel += MORE).await;
    assert_eq!(told(&as_it_was), ["the same"; 4]);
    assert_eq!(told(&otherwise), ["the same"; 4]);
    assert_eq!(otherwise.fuel, as_it_was.fuel + MORE);
    let earlier = changed(&provider, script, |_, fuel, _| *fuel /= 2).await;
    assert!(earlier.fuel < as_it_was.fuel, "{} {}", earlier.fuel, as_it_was.fuel);
}

#[tokio::test]
async fn a_turn_that_asks_something_else_when_it_is_run_again_fails_and_names_what_differs() {
    let provider = provider().await;
    let other = Digest::of(b"another request");
    let turn = changed(&provider, SCRIPT, |seq, _, request| {
        if seq == 2 {
            *request = other;
        }
    })
    .await;
    let TurnOutcome::Failed(failure) = &turn.outcome else { panic!("{turn:?}") };
    assert_eq!(failure.code, FailureCode::ReplayDiverged);
    let message = &failure.message;
    assert!(message.contains("effect 2 (model): another request"), "{message}");
    assert!(message.contains(&other.to_string()), "{message}");
    assert_eq!(turn.attempts, 4, "once, and three times against its journal");
    // What was paid for is billed, and nobody is asked again.
    let bills: Vec<Bill> = turn.effects.iter().map(|line| line.bill).collect();
    assert_eq!(bills, [Bill::Exact, Bill::Exact, Bill::Unknown]);
    assert_eq!(provider.asked().len(), 2);
}

#[tokio::test]
async fn a_call_that_was_refused_is_free_where_the_host_ends_before_it_is_made_again() {
    let overloaded = json!({ "error": { "message": "too much", "type": "overloaded_error" } });
    let provider = ProviderServer::start(move |asked| match asked.number {
        0 => Play::Refuses(529, overloaded.clone(), Some(25)),
        _ => Play::Says("at last".to_owned()),
    })
    .await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let start = async || {
        let faults = Arc::new(CutOff::default());
        let models = || provider.catalog(PRICE);
        (TestHost::faulty(directory.path(), &clock, models, faults.clone()).await, faults)
    };
    let (test, faults) = start().await;
    let session = test.session(&guests::THINKS).await;
    let id = session.id();
    // The first notes that the call leaves.
    faults.arm(Cut::AfterCommit(1));
    let turn = tokio::spawn(async move { session.send("ask 1 question").await });
    eventually("the host is cut off", async || faults.is_reached()).await;
    assert_eq!(provider.asked().len(), 1, "it waits before it asks again");
    turn.abort();
    let _ = turn.await;
    drop(test);

    let (test, _) = start().await;
    let session = test.host.sessions().get(id);
    eventually("the turn is over", async || session.turn(1).await.unwrap().is_some()).await;
    let bills = session.turn(1).await.unwrap().unwrap();
    let bills: Vec<_> = bills.effects.iter().map(|line| line.bill).collect();
    assert_eq!(bills, [Bill::Free, Bill::Exact]);
    test.shut_down().await;
}
