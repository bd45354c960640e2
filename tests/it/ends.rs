//! How sessions end: by themselves, by their limits, by their owners.

use std::time::Duration;

use dormouse::{
    CommandError, NewSession, Pattern, SendError, SessionHandle, SessionReadError, Status,
    Unavailable,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;

async fn status(session: &SessionHandle) -> (Status, String) {
    let state = session.info().await.unwrap().session.state.clone();
    (state.status(), state.reason().map(|reason| reason.0.clone()).unwrap_or_default())
}

async fn created(test: &TestHost, change: impl FnOnce(&mut NewSession)) -> SessionHandle {
    let mut new = NewSession::with_agent("counter".parse().unwrap());
    change(&mut new);
    test.host.sessions().create(new).await.unwrap()
}

#[tokio::test]
async fn an_ephemeral_session_is_removed_a_minute_after_its_end() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Ephemeral).await;
    session.send("only").await.unwrap();
    test.advance(Duration::from_secs(59));
    assert_eq!(status(&session).await.0, Status::Completed);
    test.advance(Duration::from_secs(2));
    eventually("it is removed", async || {
        matches!(session.info().await, Err(SessionReadError::NotFound(_)))
    })
    .await;
    test.shut_down().await;
}

#[tokio::test]
async fn an_ephemeral_session_whose_turn_fails_is_in_error_and_is_removed_as_well() {
    let test = TestHost::new().await;
    let session =
        test.session_with(&guests::TRAPS_WHEN_TOLD, |new| new.pattern = Pattern::Ephemeral).await;
    assert!(session.send("trap").await.is_err());
    assert_eq!(status(&session).await, (Status::Error, "turn_failed".to_owned()));
    test.advance(Duration::from_secs(61));
    eventually("it is removed", async || session.info().await.is_err()).await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_long_running_session_that_nobody_speaks_to_is_terminated() {
    let test = TestHost::new().await;
    let session = created(&test, |new| {
        new.pattern = Pattern::LongRunning;
        new.max_idle = Some(Duration::from_secs(100));
    })
    .await;
    test.advance(Duration::from_secs(90));
    session.send("still there").await.unwrap();
    test.advance(Duration::from_secs(90));
    assert_eq!(status(&session).await.0, Status::Active);
    test.advance(Duration::from_secs(11));
    eventually("it is terminated", async || status(&session).await.0 == Status::Terminated).await;
    assert_eq!(status(&session).await.1, "idle_timeout");
    eventually("its instance is gone", async || test.host.stats().residents == 0).await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_hybrid_session_that_nobody_speaks_to_is_idle_and_the_next_message_makes_it_active() {
    let test = TestHost::new().await;
    let session = created(&test, |new| {
        new.pattern = Pattern::Hybrid;
        new.max_idle = Some(Duration::from_secs(100));
    })
    .await;
    session.send("one").await.unwrap();
    test.advance(Duration::from_secs(101));
    eventually("it is idle", async || status(&session).await.0 == Status::Idle).await;
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    assert_eq!(status(&session).await.0, Status::Active);
    test.shut_down().await;
}

#[tokio::test]
async fn a_lifetime_ends_a_session_however_busy_it_is() {
    let test = TestHost::new().await;
    let session = created(&test, |new| {
        new.pattern = Pattern::Hybrid;
        new.max_lifetime = Some(Duration::from_secs(100));
    })
    .await;
    for _ in 0..3 {
        session.send("hello").await.unwrap();
        test.advance(Duration::from_secs(33));
    }
    test.advance(Duration::from_secs(1));
    eventually("it is terminated", async || status(&session).await.0 == Status::Terminated).await;
    assert_eq!(status(&session).await.1, "lifetime_exceeded");
    test.shut_down().await;
}

#[tokio::test]
async fn a_deadline_that_came_while_the_host_was_down_is_met_after_its_start() {
    let directory = tempfile::tempdir().unwrap();
    let clock = dormouse::ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let session = created(&test, |new| {
        new.pattern = Pattern::LongRunning;
        new.max_idle = Some(Duration::from_secs(100));
    })
    .await;
    let ephemeral = created(&test, |_| {}).await;
    ephemeral.send("only").await.unwrap();
    let (id, ephemeral_id) = (session.id(), ephemeral.id());
    drop((session, ephemeral));
    test.shut_down().await;

    clock.advance(Duration::from_secs(1000));
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    eventually("it is terminated", async || status(&session).await.0 == Status::Terminated).await;
    // A removal waits for an hour, against a wrong clock.
    let ephemeral = test.host.sessions().get(ephemeral_id);
    assert_eq!(status(&ephemeral).await.0, Status::Completed);
    test.advance(Duration::from_secs(3601));
    eventually("it is removed", async || ephemeral.info().await.is_err()).await;
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_can_say_that_its_session_is_complete() {
    let test = TestHost::new().await;
    let session = test.session(&guests::COMPLETES_WHEN_TOLD).await;
    session.send("one").await.unwrap();
    session.send("done").await.unwrap();
    assert_eq!(status(&session).await.0, Status::Completed);
    assert!(matches!(session.send("more").await, Err(SendError::Denied(_))));
    test.shut_down().await;
}

#[tokio::test]
async fn a_stop_lets_the_running_turn_finish() {
    let test = TestHost::new().await;
    let session =
        test.session_with(&guests::SLEEPS_IN_TURN, |new| new.pattern = Pattern::LongRunning).await;
    let sleeping = session.stream("sleep 300").await.unwrap();
    eventually("the turn runs", async || session.info().await.unwrap().running_turn == Some(1))
        .await;
    let stopping = session.stop().await.unwrap();
    assert!(stopping.abort_requested);
    sleeping.reply().await.unwrap();
    eventually("it is terminated", async || status(&session).await.0 == Status::Terminated).await;
    assert_eq!(status(&session).await.1, "stopped");
    test.shut_down().await;
}

#[tokio::test]
async fn a_stop_ends_a_turn_that_does_not_finish_within_five_seconds() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::LOOPS_FOREVER, |new| new.max_fuel_per_turn = Some(u64::MAX / 4))
        .await;
    let looping = session.stream("loop").await.unwrap();
    eventually("the turn runs", async || session.info().await.unwrap().running_turn == Some(1))
        .await;
    session.stop().await.unwrap();
    let ended = tokio::spawn(looping.reply());
    eventually("the clock ends it", async || {
        test.advance(Duration::from_secs(1));
        ended.is_finished()
    })
    .await;
    assert!(matches!(ended.await.unwrap(), Err(SendError::Failed(_))));
    eventually("it is terminated", async || status(&session).await.0 == Status::Terminated).await;
    test.shut_down().await;
}

#[tokio::test]
async fn what_is_over_stays_as_it_ended_and_does_not_complete() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    session.terminate("enough").await.unwrap();
    assert_eq!(status(&session).await, (Status::Terminated, "enough".to_owned()));
    for again in
        [session.terminate("again").await, session.stop().await, session.force_kill().await]
    {
        assert_eq!(again.unwrap().session.state.reason().unwrap().0, "enough");
    }
    let refused = session.complete().await;
    let Err(CommandError::InvalidTransition(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!((refused.from, refused.allowed), (Status::Terminated, Vec::<&str>::new()));
    assert_eq!(session.turns(0, 10).await.unwrap().entries, []);
    test.shut_down().await;
}

#[tokio::test]
async fn a_deleted_session_is_gone_with_its_turns_even_while_it_runs() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::LOOPS_FOREVER, |new| new.max_fuel_per_turn = Some(u64::MAX / 4))
        .await;
    session.send("one").await.unwrap();
    let looping = session.stream("loop").await.unwrap();
    eventually("the turn runs", async || session.info().await.unwrap().running_turn == Some(2))
        .await;
    session.delete().await.unwrap();
    assert!(looping.reply().await.is_err());
    assert!(matches!(session.info().await, Err(SessionReadError::NotFound(_))));
    assert!(session.turns(0, 10).await.is_err());
    assert!(matches!(
        session.delete().await,
        Err(CommandError::Unavailable(Unavailable::NotFound(_)))
    ));
    assert_eq!(test.host.stats().residents, 0);
    test.shut_down().await;
}
