//! A test turns the clock, waits until the host has settled, and finds what was due done: every time.

use std::time::Duration;

use dormouse::{
    Cause, Cursor, EventBody, FailureCode, NewSession, Pattern, Residency, SendError, SleepCause,
    Status, TurnOutcome,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;

#[tokio::test]
async fn the_obvious_test_with_a_clock_turned_by_hand_passes_a_hundred_times() {
    let test = TestHost::new().await;
    for _ in 0..100 {
        let new = NewSession::agent("counter").pattern(Pattern::Hybrid);
        let session = test.host.sessions().create(new).await.unwrap();
        session.send("hello").await.unwrap();
        test.advance(Duration::from_secs(61));
        test.host.settle().await;
        assert_eq!(session.info().await.unwrap().residency, Residency::Asleep);
        // That it sleeps is told by then, and since when it was idle.
        let events = session.events(Cursor(0), 100).await.unwrap();
        let slept = events.entries.last().map(|logged| logged.event.clone()).unwrap();
        let idle = EventBody::SessionSlept { cause: SleepCause::Idle, idle_minutes: Some(1) };
        assert_eq!(slept.body, idle);
    }
    test.shut_down().await;
}

#[tokio::test]
async fn what_is_due_is_done_for_many_sessions_and_for_turns_whose_time_is_up() {
    let test = TestHost::new().await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        let mut new = NewSession::agent("counter").pattern(Pattern::LongRunning);
        new.max_idle = Some(Duration::from_secs(90));
        idle.push(test.host.sessions().create(new).await.unwrap());
    }
    let sleeper = test
        .session_with(&guests::SLEEPS_IN_TURN, |new| {
            new.turn_timeout = Some(Duration::from_secs(60))
        })
        .await;
    let turn = sleeper.stream("sleep 86400000").await.unwrap();
    assert_eq!(turn.output().begun().await, Some(1));
    // A turn that has time left is not waited for.
    test.host.settle().await;
    assert_eq!(sleeper.info().await.unwrap().running_turn, Some(1));

    test.advance(Duration::from_secs(60));
    test.host.settle().await;
    assert_eq!(sleeper.info().await.unwrap().running_turn, None);
    let Err(SendError::Failed(ended)) = turn.reply().await else { panic!() };
    let TurnOutcome::Failed(failure) = ended.turn.outcome else { panic!() };
    assert_eq!(failure.code, FailureCode::TurnTimeout);

    test.advance(Duration::from_secs(30));
    test.host.settle().await;
    for session in &idle {
        let state = session.info().await.unwrap().session.state.clone();
        assert_eq!(state.status(), Status::Terminated);
        assert_eq!(state.reason().and_then(|reason| reason.cause()), Some(Cause::IdleTimeout));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_when_the_session_is_created() {
    let test = TestHost::new().await;
    let refused = test.host.sessions().create(NewSession::agent("no such name!")).await;
    let error = refused.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("agent is 'no such name!'"), "{error}");
    test.shut_down().await;
}
