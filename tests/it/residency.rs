//! Sessions sleep and wake, and nobody sees it.

use std::num::NonZeroU32;
use std::time::Duration;

use dormouse::{
    CommandError, Cursor, EventKind, NewSession, NotActive, Pattern, Residency, SendError,
    SessionHandle, SessionId, SessionPatch, Statefulness, Status, Timestamp, TurnDenied,
    Unavailable,
};
use dormouse_test_guests as guests;
use dormouse_test_guests::unimaged;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;

#[tokio::test]
async fn a_session_that_is_put_to_sleep_has_no_instance_and_goes_on_where_it_was() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Hybrid).await;
    session.send("one").await.unwrap();
    assert_eq!(test.host.stats().residents, 1);
    assert_eq!(session.sleep().await.unwrap().residency, Residency::Asleep);
    assert_eq!(test.host.stats().residents, 0);
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    assert_eq!(test.host.stats().residents, 1);
    test.shut_down().await;
}

#[tokio::test]
async fn sleeping_after_each_turn_changes_no_answer_and_no_fuel() {
    let test = TestHost::new().await;
    let awake = test.bundled("notepad", Pattern::LongRunning).await;
    let sleeper = test.bundled("notepad", Pattern::LongRunning).await;
    for text in ["add milk", "add bread", "list", "find milk", "remove 1", "count", "list"] {
        let one = awake.send(text).await.unwrap();
        let other = sleeper.send(text).await.unwrap();
        assert_eq!(one.text(), other.text(), "{text}");
        sleeper.sleep().await.unwrap();
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_can_be_woken_before_anybody_speaks_to_it() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Hybrid).await;
    session.send("one").await.unwrap();
    session.sleep().await.unwrap();
    assert_eq!(session.wake().await.unwrap().residency, Residency::Resident);
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn a_hybrid_session_falls_asleep_by_itself_and_a_long_running_one_does_not() {
    let test = TestHost::new().await;
    let hybrid = test.bundled("counter", Pattern::Hybrid).await;
    let long_running = test.bundled("counter", Pattern::LongRunning).await;
    hybrid.send("one").await.unwrap();
    long_running.send("one").await.unwrap();
    eventually("both are resident", async || test.host.stats().residents == 2).await;
    test.advance(Duration::from_secs(59));
    assert_eq!(hybrid.info().await.unwrap().residency, Residency::Resident);
    test.advance(Duration::from_secs(2));
    eventually("the hybrid sleeps", async || {
        hybrid.info().await.unwrap().residency == Residency::Asleep
    })
    .await;
    assert_eq!(long_running.info().await.unwrap().residency, Residency::Resident);
    assert_eq!(hybrid.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn sleeping_and_waking_are_told_in_the_log_of_events_with_the_next_commit() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Hybrid).await;
    session.send("one").await.unwrap();
    session.sleep().await.unwrap();
    session.send("two").await.unwrap();
    slept_and_woken_once(&session).await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_wake_by_hand_is_told_as_well_when_its_driver_has_gone_before_the_next_message() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Hybrid).await;
    session.send("one").await.unwrap();
    session.sleep().await.unwrap();
    session.wake().await.unwrap();
    test.host.settle().await;
    session.send("two").await.unwrap();
    slept_and_woken_once(&session).await;
    test.shut_down().await;
}

/// That two turns are told, and between them one sleep and one wake.
async fn slept_and_woken_once(session: &SessionHandle) {
    let events = session.events(Cursor(0), 100).await.unwrap().entries;
    let kinds: Vec<_> = events.iter().map(|logged| logged.event.kind()).collect();
    assert_eq!(
        kinds,
        [
            EventKind::SessionCreated,
            EventKind::TurnStarted,
            EventKind::SessionStarted,
            EventKind::TurnCompleted,
            EventKind::SessionSlept,
            EventKind::SessionWoken,
            EventKind::TurnStarted,
            EventKind::TurnCompleted,
        ]
    );
    assert!(events.windows(2).all(|pair| pair[0].cursor < pair[1].cursor));
}

/// When a session says that it woke and slept, and for how long it was in memory, in seconds since `start`.
async fn residence(session: &SessionHandle, start: Timestamp) -> (u64, Option<u64>, u64) {
    let residence = session.info().await.unwrap().residence;
    let since = |at: Timestamp| at.since(start).as_secs();
    let woken = residence.woken_at.map(since).unwrap();
    (woken, residence.slept_at.map(since), residence.resident.as_secs())
}

#[tokio::test]
async fn a_session_tells_when_it_woke_and_slept_and_for_how_long_it_was_in_memory() {
    let directory = tempfile::tempdir().unwrap();
    let clock = dormouse::ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let (session, start) = (test.bundled("counter", Pattern::Hybrid).await, clock.now());
    let id = session.id();
    test.advance(Duration::from_secs(10));
    session.send("one").await.unwrap();
    assert_eq!(residence(&session, start).await, (10, None, 0));
    test.advance(Duration::from_secs(30));
    assert_eq!(residence(&session, start).await, (10, None, 30), "it is in memory still");
    test.advance(Duration::from_secs(30));
    test.host.settle().await;
    assert_eq!(residence(&session, start).await, (10, Some(70), 60));
    test.advance(Duration::from_secs(930));
    session.send("two").await.unwrap();
    session
        .change(SessionPatch { tags: Some(vec!["t".to_owned()]), ..SessionPatch::default() })
        .await
        .unwrap();
    test.advance(Duration::from_secs(5));
    session.sleep().await.unwrap();
    assert_eq!(residence(&session, start).await, (1000, Some(1005), 65), "also before it is told");
    session
        .change(SessionPatch { tags: Some(Vec::new()), ..SessionPatch::default() })
        .await
        .unwrap();
    assert_eq!(residence(&session, start).await, (1000, Some(1005), 65));
    drop(session);
    test.shut_down().await;

    resides_over_restarts(directory.path(), &clock, id, start).await;
}

/// That what was noted stays over restarts, and that what nobody could note has ended with the last turn.
async fn resides_over_restarts(
    directory: &std::path::Path,
    clock: &dormouse::ManualClock,
    id: SessionId,
    start: Timestamp,
) {
    let test = TestHost::on(directory, clock).await;
    let session = test.host.sessions().get(id);
    assert_eq!(residence(&session, start).await, (1000, Some(1005), 65));
    test.advance(Duration::from_secs(995));
    session.send("three").await.unwrap();
    test.advance(Duration::from_secs(8));
    session.send("four").await.unwrap();
    test.advance(Duration::from_secs(20));
    drop(session);
    test.shut_down().await;

    let test = TestHost::on(directory, clock).await;
    let session = test.host.sessions().get(id);
    assert_eq!(residence(&session, start).await, (2000, Some(2008), 73));
    drop(session);
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_tells_how_much_its_state_takes() {
    let test = TestHost::new().await;
    let session = test.bundled("notepad", Pattern::Hybrid).await;
    let bytes = async || session.info().await.unwrap().session.state_bytes;
    assert_eq!(bytes().await, None);
    session.send("add milk").await.unwrap();
    let first = session.snapshots().await.unwrap().remove(0);
    assert_eq!(bytes().await, Some(first.size));
    session.send(format!("add {}", "x".repeat(100_000)).as_str()).await.unwrap();
    assert!(bytes().await.unwrap() > first.size);
    session.rewind(first.id).await.unwrap();
    assert_eq!(bytes().await, Some(first.size));
    test.shut_down().await;
}

#[tokio::test]
async fn when_places_run_short_the_longest_idle_session_sleeps_first() {
    let test = TestHost::with(|options| options.max_residents = 3).await;
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let session = test.bundled("counter", Pattern::LongRunning).await;
        session.send("one").await.unwrap();
        sessions.push(session);
    }
    // The first is spoken to again, so the second is now the longest idle.
    sessions[0].send("two").await.unwrap();
    let newcomer = test.bundled("counter", Pattern::LongRunning).await;
    newcomer.send("one").await.unwrap();
    assert_eq!(test.host.stats().residents, 3);
    let residency = async |n: usize| sessions[n].info().await.unwrap().residency;
    assert_eq!(residency(0).await, Residency::Resident);
    assert_eq!(residency(1).await, Residency::Asleep);
    assert_eq!(residency(2).await, Residency::Resident);
    assert_eq!(sessions[1].send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn when_places_run_short_the_principal_that_has_the_most_of_them_makes_room() {
    let test = TestHost::with(|options| options.max_residents = 4).await;
    let (small, large) = (test.acting_as("small"), test.acting_as("large"));
    let few = small.bundled("counter", Pattern::LongRunning).await;
    few.send("one").await.unwrap();
    let at_work = async || {
        let session = large.session(&guests::SLEEPS_IN_TURN).await;
        let turn = session.stream("sleep 86400000").await.unwrap();
        assert_eq!(turn.output().begun().await, Some(1));
        (session, turn)
    };
    // Of its three, two are at work and one is idle: as few as the other has, and for a shorter time.
    let mut busy = vec![at_work().await, at_work().await];
    let mut idle = Vec::new();
    for _ in 0..5 {
        let session = large.bundled("counter", Pattern::LongRunning).await;
        session.send("one").await.unwrap();
        // Its reply is there before its instance is idle.
        test.host.settle().await;
        idle.push(session);
    }
    assert_eq!(test.host.stats().residents, 4);
    assert_eq!(few.info().await.unwrap().residency, Residency::Resident);
    let residency = async |n: usize| idle[n].info().await.unwrap().residency;
    assert_eq!(residency(3).await, Residency::Asleep);
    assert_eq!(residency(4).await, Residency::Resident);
    // Where nothing else can go, the idle one of the smaller goes all the same.
    busy.push(at_work().await);
    assert_eq!(few.info().await.unwrap().residency, Residency::Resident);
    busy.push(at_work().await);
    assert_eq!(few.info().await.unwrap().residency, Residency::Asleep);
    for (session, turn) in busy {
        session.terminate("enough").await.unwrap();
        assert!(turn.reply().await.is_err());
    }
    assert_eq!(few.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

/// A session of this user, or of none.
async fn of_user(test: &TestHost, user: Option<&str>) -> SessionHandle {
    let new = NewSession { user_id: user.map(str::to_owned), ..NewSession::agent("counter") };
    test.host.sessions().create(new.pattern(Pattern::LongRunning)).await.unwrap()
}

#[tokio::test]
async fn one_session_more_than_a_user_may_have_in_memory_puts_the_longest_idle_of_that_user_to_sleep()
 {
    let test = TestHost::with(|options| options.max_residents_per_user = NonZeroU32::new(2)).await;
    let mut sessions = Vec::new();
    for user in [Some("jane"), None, Some("john"), Some("john"), None, None] {
        let session = of_user(&test, user).await;
        session.send("one").await.unwrap();
        test.host.settle().await;
        sessions.push(session);
    }
    let of_another = test.acting_as("another");
    let also_john = of_user(&of_another, Some("john")).await;
    also_john.send("one").await.unwrap();
    assert_eq!(test.host.stats().residents, 7, "nobody has more than two");
    // The first of john's is spoken to again, so the second is now the longest idle.
    sessions[2].send("two").await.unwrap();
    test.host.settle().await;
    let third = of_user(&test, Some("john")).await;
    third.send("one").await.unwrap();
    assert_eq!(test.host.stats().residents, 7);
    let residency = async |session: &SessionHandle| session.info().await.unwrap().residency;
    assert_eq!(residency(&sessions[3]).await, Residency::Asleep);
    assert_eq!(residency(&sessions[2]).await, Residency::Resident);
    assert_eq!(residency(&sessions[0]).await, Residency::Resident, "another user");
    assert_eq!(sessions[3].send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn where_all_sessions_of_a_user_are_in_a_turn_a_message_waits_until_one_is_over() {
    let test = TestHost::with(|options| options.max_residents_per_user = NonZeroU32::new(1)).await;
    let busy = test
        .session_with(&guests::SLEEPS_IN_TURN, |new| new.user_id = Some("john".to_owned()))
        .await;
    let turn = busy.stream("sleep 86400000").await.unwrap();
    assert_eq!(turn.output().begun().await, Some(1));
    let waiting = of_user(&test, Some("john")).await;
    let message = waiting.stream("one").await.unwrap();
    let woken = of_user(&test, Some("john")).await;
    let wake = tokio::spawn(async move { woken.wake().await });
    // Those of others do not wait behind it.
    of_user(&test, Some("jane")).await.send("one").await.unwrap();
    of_user(&test, None).await.send("one").await.unwrap();
    assert_eq!(waiting.info().await.unwrap().residency, Residency::Asleep);
    busy.terminate("enough").await.unwrap();
    assert!(turn.reply().await.is_err());
    assert_eq!(message.reply().await.unwrap().text(), "turn 1: one");
    wake.await.unwrap().unwrap();
    test.host.settle().await;
    assert_eq!(test.host.stats().residents, 3, "one of john's is in memory");
    test.shut_down().await;
}

#[tokio::test]
async fn a_message_that_waits_for_a_place_of_its_user_waits_for_as_long_as_its_turn_may_take() {
    let test = TestHost::with(|options| options.max_residents_per_user = NonZeroU32::new(1)).await;
    let busy = test
        .session_with(&guests::SLEEPS_IN_TURN, |new| {
            new.user_id = Some("john".to_owned());
            new.turn_timeout = Some(Duration::from_secs(3600));
        })
        .await;
    let turn = busy.stream("sleep 86400000").await.unwrap();
    assert_eq!(turn.output().begun().await, Some(1));
    let waiting = of_user(&test, Some("john")).await;
    let message = waiting.stream("one").await.unwrap();
    eventually("it waits", async || waiting.info().await.unwrap().running_turn == Some(1)).await;
    test.advance(Duration::from_secs(119));
    test.host.settle().await;
    assert_eq!(waiting.info().await.unwrap().running_turn, Some(1));
    test.advance(Duration::from_secs(1));
    let refused = message.reply().await;
    assert!(matches!(refused, Err(SendError::Unavailable(Unavailable::OutOfMemory))));
    assert_eq!(waiting.info().await.unwrap().session.usage.turns, 0, "nothing was begun");
    busy.terminate("enough").await.unwrap();
    assert!(turn.reply().await.is_err());
    test.shut_down().await;
}

#[tokio::test]
async fn when_memory_runs_short_idle_sessions_sleep_and_everybody_is_served() {
    let test = TestHost::with(|options| options.memory_budget = 64 << 20).await;
    let mut sessions = Vec::new();
    for n in 0..6 {
        let session = test.session(&guests::GROWS_MEMORY).await;
        session.send("grow 15000000").await.unwrap_or_else(|error| panic!("{n}: {error}"));
        sessions.push(session);
        assert!(test.host.stats().memory_used <= 64 << 20);
    }
    assert!(test.host.stats().residents < 6);
    for session in &sessions {
        session.send("hello").await.unwrap();
    }
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_does_not_save_its_state_works_stays_resident_and_says_so() {
    let test = TestHost::new().await;
    let uploaded = test
        .host
        .agents()
        .upload("unsaved", "1", unimaged(&guests::COUNTS_WITHOUT_SAVING).bytes)
        .await
        .unwrap();
    let Statefulness::Unsaved(why) = &uploaded.agent.component.statefulness else {
        panic!("{:?}", uploaded.agent.component.statefulness);
    };
    assert!(why.contains("table.set"), "{why}");
    let session = test
        .session_with(&unimaged(&guests::COUNTS_WITHOUT_SAVING), |new| {
            new.pattern = Pattern::Hybrid;
        })
        .await;
    let reply = session.send("one").await.unwrap();
    assert!(!reply.is_durable());
    assert_eq!(reply.session.session.unsaved_turns, 1);
    assert_eq!(reply.session.session.head, None);

    assert!(matches!(session.sleep().await, Err(CommandError::Unsaved(1))));
    test.advance(Duration::from_secs(600));
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");

    let durable = test
        .host
        .sessions()
        .create(dormouse::NewSession {
            agent: Some("unsaved@1".to_owned()),
            require_durable: true,
            ..dormouse::NewSession::default()
        })
        .await;
    assert!(matches!(durable, Err(dormouse::CreateError::NotDurable(_))));
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_whose_unsaved_state_is_lost_goes_into_error_and_never_on() {
    let directory = tempfile::tempdir().unwrap();
    let clock = dormouse::ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.session(&unimaged(&guests::COUNTS_WITHOUT_SAVING)).await;
    session.send("one").await.unwrap();
    let id = session.id();
    drop(session);
    test.shut_down().await;

    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    let refused = session.send("two").await;
    assert!(matches!(
        refused,
        Err(SendError::Denied(TurnDenied::NotActive(NotActive { status: Status::Error, .. })))
    ));
    let state = session.info().await.unwrap().session.state.clone();
    assert_eq!(state.reason().unwrap().0, "state_lost");
    test.shut_down().await;
}

#[tokio::test]
async fn the_clocks_of_a_guest_go_on_over_a_sleep_and_its_random_bytes_do_not_come_again() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TELLS_THE_TIME).await;
    let tell = async || {
        let text = session.send("time").await.unwrap().text();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wall = told["wallMillis"].as_i64().unwrap();
        let monotonic = told["monotonicNanos"].as_i64().unwrap();
        (wall, monotonic, told["random"].as_str().unwrap().to_owned())
    };
    let (wall, monotonic, random) = tell().await;
    assert_eq!(wall, test.clock.now().0);
    session.sleep().await.unwrap();
    test.advance(Duration::from_secs(5));
    let (later, later_monotonic, other) = tell().await;
    assert_eq!(later - wall, 5_000);
    assert!(later_monotonic >= monotonic, "{later_monotonic} after {monotonic}");
    assert_ne!(random, other);
    test.shut_down().await;
}

#[tokio::test]
async fn the_monotonic_clock_of_a_guest_does_not_show_when_its_instance_was_made() {
    let test = TestHost::new().await;
    let told = async |is_woken: bool| {
        let session = test.session(&guests::TELLS_THE_TIME).await;
        test.advance(Duration::from_secs(1));
        if is_woken {
            session.wake().await.unwrap();
        }
        test.advance(Duration::from_secs(2));
        let text = session.send("time").await.unwrap().text();
        let told: serde_json::Value = serde_json::from_str(&text).unwrap();
        told["monotonicNanos"].as_u64().unwrap()
    };
    assert_eq!(told(false).await, 3_000_000_000);
    assert_eq!(told(true).await, 3_000_000_000);
    test.shut_down().await;
}
