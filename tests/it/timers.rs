//! Agents that wake themselves.

use std::time::Duration;

use dormouse::{
    Fork, ManualClock, Pattern, Residency, Sender, SessionHandle, Status, TurnOutcome, TurnRecord,
    text_of,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

async fn tell(session: &SessionHandle, script: &str) -> Value {
    let reply = session.send(script).await.unwrap();
    serde_json::from_str(&reply.text()).unwrap()
}

/// What the timers of the session have sent until now.
async fn sent(session: &SessionHandle) -> Value {
    tell(session, "sent").await[0].take()
}

/// Wait until all that is due has been done, turns included.
pub(crate) async fn rest(test: &TestHost, session: &SessionHandle) {
    loop {
        test.host.settle().await;
        // A turn that runs may go on for as long as it has time.
        if session.info().await.unwrap().running_turn.is_none() {
            return;
        }
        let is_over = async || session.info().await.unwrap().running_turn.is_none();
        eventually("the turn is over", is_over).await;
    }
}

async fn turns(session: &SessionHandle) -> Vec<TurnRecord> {
    session.turns(0, 100).await.unwrap().entries
}

#[tokio::test]
async fn a_timer_wakes_a_session_that_sleeps_with_a_turn_of_its_own() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SETS_TIMERS).await;
    assert_eq!(tell(&session, "after tea 300 it is ready").await, json!(["set"]));
    session.sleep().await.unwrap();
    test.advance(299 * SECOND);
    rest(&test, &session).await;
    assert_eq!(turns(&session).await.len(), 1);
    test.advance(SECOND);
    rest(&test, &session).await;
    let turns = turns(&session).await;
    let [_, woken] = &*turns else { panic!("{turns:?}") };
    assert_eq!(woken.sender, Sender::Timer("tea".to_owned()));
    assert_eq!(text_of(&woken.input), "it is ready");
    let TurnOutcome::Answered { content, .. } = &woken.outcome else { panic!("{woken:?}") };
    assert_eq!(text_of(content), "woken");
    assert_eq!(sent(&session).await, json!(["tea: it is ready"]));
    assert_eq!(tell(&session, "list").await, json!([[]]), "it is gone");
    test.shut_down().await;
}

#[tokio::test]
async fn what_a_schedule_has_missed_while_the_host_was_down_comes_once() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.session(&guests::SETS_TIMERS).await;
    let id = session.id();
    tell(&session, "each mail look").await;
    for _ in 0..2 {
        test.advance(MINUTE);
        rest(&test, &session).await;
    }
    assert_eq!(sent(&session).await, json!(["mail: look", "mail: look"]));
    drop(session);
    test.shut_down().await;
    clock.advance(90 * MINUTE);

    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    rest(&test, &session).await;
    assert_eq!(sent(&session).await.as_array().unwrap().len(), 3);
    test.advance(MINUTE);
    rest(&test, &session).await;
    assert_eq!(sent(&session).await.as_array().unwrap().len(), 4);
    test.shut_down().await;
}

#[tokio::test]
async fn timers_are_kept_with_their_turn_and_seen_within_it() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SETS_TIMERS).await;
    session.send("after tea 60 ready\nfail").await.unwrap_err();
    let now = test.clock.now().0 / 1_000;
    let script = "list\nafter tea 60 ready\nlist\ncancel tea\ncancel tea\nbad\nlist";
    let told = tell(&session, script).await;
    let refused = told[5].as_str().unwrap().to_owned();
    assert!(refused.contains("no day is ever like that"), "{refused}");
    let set = json!([["tea", now + 60, null, "ready"]]);
    assert_eq!(told, json!([[], "set", set, true, false, refused, []]));
    test.advance(2 * MINUTE);
    rest(&test, &session).await;
    assert_eq!(sent(&session).await, json!([]));
    test.shut_down().await;
}

#[tokio::test]
async fn a_timer_whose_turn_fails_has_sent_it_all_the_same() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SETS_TIMERS).await;
    tell(&session, "after bad 60 fail\nafter good 60 work").await;
    test.advance(MINUTE);
    rest(&test, &session).await;
    assert_eq!(sent(&session).await, json!(["good: work"]));
    let outcomes: Vec<bool> = turns(&session)
        .await
        .iter()
        .map(|turn| matches!(turn.outcome, TurnOutcome::Answered { .. }))
        .collect();
    assert_eq!(outcomes, [true, false, true, true]);
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_wakes_itself_at_once_does_so_once_a_second() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SETS_TIMERS).await;
    tell(&session, "after busy 0 again").await;
    for woken in 0..3 {
        rest(&test, &session).await;
        assert_eq!(turns(&session).await.len(), 1 + woken);
        test.advance(SECOND);
    }
    rest(&test, &session).await;
    test.shut_down().await;
}

#[tokio::test]
async fn timers_wait_while_a_session_is_paused_and_end_with_it() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SETS_TIMERS).await;
    tell(&session, "each mail look").await;
    session.pause().await.unwrap();
    test.advance(10 * MINUTE);
    rest(&test, &session).await;
    assert_eq!(turns(&session).await.len(), 1);
    session.resume(None).await.unwrap();
    rest(&test, &session).await;
    assert_eq!(sent(&session).await, json!(["mail: look"]));
    session.terminate("enough").await.unwrap();
    test.advance(10 * MINUTE);
    rest(&test, &session).await;
    assert_eq!(turns(&session).await.len(), 3);
    test.shut_down().await;
}

#[tokio::test]
async fn a_fork_has_no_timers_and_a_rewind_cancels_those_that_were_set_since() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SETS_TIMERS).await;
    tell(&session, "after old 60 old\nafter moved 60 before").await;
    let before = session.info().await.unwrap().session.head.unwrap();
    tell(&session, "after new 60 new\nafter moved 120 after\ncancel old").await;
    let forks = session.fork(Fork::default()).await.unwrap();
    let fork = test.host.sessions().get(forks[0].session.id);
    assert_eq!(tell(&fork, "list").await, json!([[]]));
    // In a fork, what its parent's state was taken after says nothing of its own turns.
    let start = fork.snapshots().await.unwrap().last().unwrap().id;
    tell(&fork, "after forked 60 work").await;
    fork.rewind(start).await.unwrap();
    assert_eq!(tell(&fork, "list").await, json!([[]]));

    session.rewind(before).await.unwrap();
    assert_eq!(tell(&session, "list").await, json!([[]]), "what was cancelled stays so");
    tell(&session, "after kept 60 kept").await;
    let kept = session.info().await.unwrap().session.head.unwrap();
    tell(&session, "after new 60 new").await;
    session.rewind(kept).await.unwrap();
    test.advance(MINUTE);
    rest(&test, &session).await;
    assert_eq!(sent(&session).await, json!(["kept: kept"]));
    test.shut_down().await;
}

#[tokio::test]
async fn a_hybrid_session_that_rests_becomes_active_by_its_timer() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::SETS_TIMERS, |new| {
            new.pattern = Pattern::Hybrid;
            new.max_idle = Some(MINUTE);
        })
        .await;
    tell(&session, "after later 600 work").await;
    test.advance(2 * MINUTE);
    rest(&test, &session).await;
    let info = session.info().await.unwrap();
    assert_eq!((info.session.state.status(), info.residency), (Status::Idle, Residency::Asleep));
    test.advance(8 * MINUTE);
    rest(&test, &session).await;
    assert_eq!(session.info().await.unwrap().session.state.status(), Status::Active);
    assert_eq!(sent(&session).await, json!(["later: work"]));
    test.shut_down().await;
}
