//! Limits of time: whatever else is due or at work, each session ends by its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use dormouse::{
    Cause, Fork, ManualClock, NewSession, Pattern, SendError, SessionHandle, SessionId,
    SessionQuery, Status,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use tokio::task::JoinSet;

const MINUTE: Duration = Duration::from_secs(60);

async fn has_ended(session: &SessionHandle, cause: Cause) -> bool {
    let state = session.info().await.unwrap().session.state.clone();
    state.status() == Status::Terminated && state.reason().and_then(|it| it.cause()) == Some(cause)
}

/// How many sessions have this status.
async fn count(test: &TestHost, status: Status) -> usize {
    let query = SessionQuery { status: Some(status), limit: 1, ..SessionQuery::default() };
    test.host.sessions().list(query).await.unwrap().total
}

/// So many sessions whose lifetime is over at once, while others are spoken to without a pause.
async fn end_together(sessions: usize) {
    let test = TestHost::new().await;
    let limited = NewSession {
        max_lifetime: Some(MINUTE),
        ..NewSession::agent("counter").pattern(Pattern::Hybrid)
    };
    let parent = test.host.sessions().create(limited).await.unwrap();
    for _ in 0..sessions / 250 {
        parent.fork(Fork { count: 250, ..Fork::default() }).await.unwrap();
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut neighbours = JoinSet::new();
    for _ in 0..4 {
        let (session, over) = (test.bundled("counter", Pattern::LongRunning).await, over.clone());
        neighbours.spawn(async move {
            let mut turns = 0;
            while !over.load(Ordering::SeqCst) {
                turns += 1;
                let reply = session.send("go on").await.unwrap();
                assert_eq!(reply.text(), format!("turn {turns}: go on"));
            }
            turns
        });
    }
    test.advance(MINUTE);
    eventually("all have ended", async || count(&test, Status::Terminated).await == 1 + sessions)
        .await;
    over.store(true, Ordering::SeqCst);
    let turns: u64 = neighbours.join_all().await.into_iter().sum();
    assert!(turns > 0, "nobody was answered meanwhile");
    test.host.settle().await;
    assert_eq!(test.host.timekeeper_lag(), Duration::ZERO);
    assert_eq!((count(&test, Status::Active).await, test.host.stats().queued), (4, 0));
    test.shut_down().await;
}

#[tokio::test]
async fn sessions_whose_limits_fall_due_at_once_all_end_while_others_are_spoken_to() {
    end_together(2_500).await;
}

/// `cargo test --release --workspace --test it -- --ignored --exact
/// deadlines::a_hundred_thousand_sessions_whose_limits_fall_due_at_once_all_end`
#[tokio::test]
#[ignore = "takes half a minute in a debug build"]
async fn a_hundred_thousand_sessions_whose_limits_fall_due_at_once_all_end() {
    end_together(100_000).await;
}

#[tokio::test]
async fn a_turn_that_goes_on_delays_no_deadline_of_another_session() {
    let test = TestHost::new().await;
    let busy = test
        .session_with(&guests::SLEEPS_IN_TURN, |new| {
            new.max_idle = Some(MINUTE);
            new.turn_timeout = Some(60 * MINUTE);
        })
        .await;
    let turn = busy.stream("sleep 86400000").await.unwrap();
    assert_eq!(turn.output().begun().await, Some(1));
    // The idle limit of the first comes in the middle of its turn, which it waits for; it comes again and again.
    for _ in 0..100 {
        let other = NewSession {
            max_idle: Some(MINUTE),
            ..NewSession::agent("counter").pattern(Pattern::LongRunning)
        };
        let other = test.host.sessions().create(other).await.unwrap();
        test.advance(MINUTE / 2);
        test.host.settle().await;
        test.advance(MINUTE / 2);
        test.host.settle().await;
        assert!(has_ended(&other, Cause::IdleTimeout).await);
        assert_eq!(busy.info().await.unwrap().running_turn, Some(1));
        if test.clock.now() >= busy.info().await.unwrap().session.created_at.after(50 * MINUTE) {
            break;
        }
    }
    // Whoever has to reach it still can.
    busy.terminate("enough").await.unwrap();
    assert!(matches!(turn.reply().await, Err(SendError::Failed(_))));
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_whose_creator_went_away_ends_by_its_limit_as_any_other() {
    // Until its creation is dropped between the commit and the answer.
    loop {
        let test = TestHost::new().await;
        let Some(id) = created_and_dropped(&test).await else {
            test.shut_down().await;
            continue;
        };
        test.advance(MINUTE);
        let session = test.host.sessions().get(id);
        eventually("it ends", async || has_ended(&session, Cause::LifetimeExceeded).await).await;
        return test.shut_down().await;
    }
}

/// Create a session that lives for a minute, and drop the creation as soon as the session is there. `None`: it was
/// faster.
async fn created_and_dropped(test: &TestHost) -> Option<SessionId> {
    let limited = NewSession {
        max_lifetime: Some(MINUTE),
        ..NewSession::agent("counter").pattern(Pattern::Hybrid)
    };
    let sessions = test.host.sessions();
    let mut creating = Box::pin(sessions.create(limited));
    while !poll_fn(|context| Poll::Ready(creating.as_mut().poll(context).is_ready())).await {
        tokio::task::yield_now().await;
        let query = SessionQuery { limit: 1, ..SessionQuery::default() };
        if let Some(info) = sessions.list(query).await.unwrap().sessions.pop() {
            return Some(info.session.id);
        }
    }
    None
}

#[tokio::test]
async fn removals_that_wait_after_a_restart_delay_no_deadline_and_happen_in_the_end() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::on(directory.path(), &clock).await;
    for _ in 0..300 {
        let session = test.bundled("counter", Pattern::Ephemeral).await;
        session.complete().await.unwrap();
    }
    test.shut_down().await;
    clock.advance(60 * MINUTE);
    let test = TestHost::on(directory.path(), &clock).await;
    test.host.settle().await;
    assert_eq!(count(&test, Status::Completed).await, 300);
    let limited = NewSession {
        max_lifetime: Some(MINUTE),
        ..NewSession::agent("counter").pattern(Pattern::Hybrid)
    };
    let session = test.host.sessions().create(limited).await.unwrap();
    test.advance(MINUTE);
    test.host.settle().await;
    assert!(has_ended(&session, Cause::LifetimeExceeded).await);
    assert_eq!(count(&test, Status::Completed).await, 300);
    test.advance(60 * MINUTE);
    test.host.settle().await;
    assert_eq!(count(&test, Status::Completed).await, 0);
    test.shut_down().await;
}
