//! Whoever builds on a host can have its store, its providers and its clocks fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dormouse::{
    Bill, CallFault, CommitAttempt, CommitFault, CommitKind, Delta, EffectFailure, EffectOutcome,
    Faults, ManualClock, Message, NewSession, Timestamp,
};
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use futures::StreamExt;

use super::{PRICE, answers, results, thinks};

async fn host(provider: &ProviderServer, faults: impl Faults) -> (TestHost, tempfile::TempDir) {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let models = || provider.catalog(PRICE);
    let test = TestHost::faulty(directory.path(), &clock, models, Arc::new(faults)).await;
    (test, directory)
}

/// The first commits of this kind find the disk full, so many.
struct Full(CommitKind, AtomicUsize);

impl Faults for Full {
    fn commit(&self, commit: CommitAttempt) -> Option<CommitFault> {
        let left = |left: usize| left.checked_sub(1);
        let is_full = commit.kind == self.0
            && self.1.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok();
        is_full.then_some(CommitFault::Full)
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_noted_is_not_made() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) =
        host(&provider, Full(CommitKind::EffectBegun, AtomicUsize::new(1))).await;
    let session = test.session(&guests::THINKS).await;
    let told = session.send("ask 1 question").await.unwrap_err();
    assert!(provider.asked().is_empty(), "{told}");
    let turns = session.turns(0, 10).await.unwrap().entries;
    assert!(turns.iter().all(|turn| turn.effects.is_empty()), "nothing is billed: {turns:?}");
    assert_eq!(answers(&thinks(&session, "ask 1 question").await), ["number 1"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_whose_end_finds_no_room_on_the_disk_stays_open_until_it_does() {
    let provider = ProviderServer::counting().await;
    // More often than a turn is begun against its journal where the host ends each time.
    let (test, _directory) = host(&provider, Full(CommitKind::Turn, AtomicUsize::new(6))).await;
    let session = test.session(&guests::THINKS).await;
    let message = || Message::from("forward\nask 2 question").idempotency_key("once");
    let told = session.send(message()).await.unwrap_err();
    assert_eq!(told.code(), "disk_full");
    // No other message begins a turn as long as it cannot be ended. The host tries it by itself meanwhile.
    let other = || Message::from("forward\nask 1 other").idempotency_key("other");
    let stream = loop {
        let stream = session.stream(other()).await.unwrap();
        let deltas: Vec<Delta> = stream.deltas().collect().await;
        match stream.reply().await {
            Ok(reply) => break (deltas, reply),
            Err(told) => assert_eq!((told.code(), deltas.len()), ("disk_full", 0)),
        }
    };
    let (deltas, reply) = stream;
    let text = |delta: &Delta| match delta {
        Delta::Text(text) => text.clone(),
        Delta::Event { .. } => panic!("{delta:?}"),
    };
    assert_eq!(deltas.iter().map(text).collect::<String>(), "number 3", "of this turn alone");
    assert_eq!(answers(&results(&reply.text())), ["number 3"]);
    let reply = session.send(message()).await.unwrap();
    assert_eq!(answers(&results(&reply.text())), ["number 1", "number 2"]);
    assert!(reply.replayed);
    let turns = session.turns(0, 10).await.unwrap().entries;
    assert_eq!(turns.iter().map(|turn| turn.effects.len()).collect::<Vec<_>>(), [2, 1]);
    let usage = session.info().await.unwrap().session.usage;
    assert_eq!((usage.turns, usage.calls), (2, 3));
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_stays_open_is_ended_without_anybody_asking() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider, Full(CommitKind::Turn, AtomicUsize::new(1))).await;
    let session = test.session(&guests::THINKS).await;
    let told = session.send("ask 1 question").await.unwrap_err();
    assert_eq!(told.code(), "disk_full");
    eventually("it is over", async || session.turn(1).await.unwrap().is_some()).await;
    assert_eq!(session.turn(1).await.unwrap().unwrap().effects.len(), 1);
    assert_eq!(provider.asked().len(), 1);
    test.shut_down().await;
}

/// The first call of a provider fails so.
struct First(CallFault, AtomicUsize);

impl Faults for First {
    fn model_call(&self, provider: &str) -> Option<CallFault> {
        assert_eq!(provider, "loopback");
        (self.1.fetch_add(1, Ordering::SeqCst) == 0).then_some(self.0)
    }
}

#[tokio::test]
async fn a_call_that_fails_by_a_fault_is_made_again_and_both_stand_in_the_bill() {
    let faults = [
        (CallFault::Overloaded, EffectFailure::Overloaded, Bill::Free),
        (CallFault::Broken, EffectFailure::Unavailable, Bill::Unknown),
        (CallFault::Stalled, EffectFailure::Unavailable, Bill::Unknown),
    ];
    for (fault, failure, bill) in faults {
        let provider = ProviderServer::counting().await;
        let (test, _directory) = host(&provider, First(fault, AtomicUsize::new(0))).await;
        // The clock is also turned while the turn is woken and waits, which is its own time.
        let long = |new: &mut NewSession| new.turn_timeout = Some(Duration::from_secs(1 << 24));
        let session = test.session_with(&guests::THINKS, long).await;
        let sending = session.clone();
        let turn = tokio::spawn(async move { thinks(&sending, "ask 1 question").await });
        eventually("the turn is over", async || {
            if fault == CallFault::Stalled && provider.asked().is_empty() {
                test.advance(Duration::from_secs(60));
            }
            turn.is_finished()
        })
        .await;
        assert_eq!(answers(&turn.await.unwrap()), ["number 1"], "{fault:?}");
        let lines = session.turn(1).await.unwrap().unwrap().effects;
        let [failed, answered] = &*lines else { panic!("{lines:?}") };
        assert_eq!((failed.outcome, failed.bill), (EffectOutcome::Failed(failure), bill));
        assert_eq!(answered.outcome, EffectOutcome::Answered);
        test.shut_down().await;
    }
}

/// The wall clocks of guests are set an hour forward.
struct AnHourAhead;

impl Faults for AnHourAhead {
    fn wall_clock(&self, now: Timestamp) -> Timestamp {
        now.after(Duration::from_secs(3_600))
    }
}

#[tokio::test]
async fn a_guest_whose_wall_clock_jumps_is_told_so() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider, AnHourAhead).await;
    let session = test.session(&guests::THINKS).await;
    let told = thinks(&session, "clock").await;
    let ahead = test.clock.now().after(Duration::from_secs(3_600));
    assert_eq!(told[0]["wallMillis"], ahead.0);
    test.shut_down().await;
}
