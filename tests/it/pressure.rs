//! More sessions than places, and more than there is memory for: everybody is served, principals in
//! turns and the sessions of one in the order in which they came, or told to try again.

use std::time::Duration;

use dormouse::{
    CommandError, EventKind, FailureCode, Host, NotActive, Pattern, Residency, SendError,
    SessionHandle, Status, TurnOutcome, TurnStream, Unavailable,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use futures::future::{join_all, try_join_all};

/// About what an idle instance of a small agent is charged: an overhead and a few pages.
const IDLE: u64 = 64 << 10;

/// With agents that are known already: to try out a new one takes a place, too.
async fn with_places(places: u32) -> TestHost {
    let test = TestHost::with(|options| options.max_residents = places).await;
    test.host.agents().list().await.unwrap();
    for guest in [&guests::SLEEPS_IN_TURN, &guests::LOOPS_FOREVER] {
        test.upload(guest).await;
    }
    test
}

async fn waiting(host: &Host, count: usize) {
    eventually("they stand in line", async || host.stats().waiting == count).await;
}

/// Whether the kernel can tell which pages of a memory are really there: Linux 6.7.
fn kernel_can_tell() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split('.').map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

/// A turn that goes on for a day, by a clock that is turned by hand, and keeps its place.
struct Busy {
    session: SessionHandle,
    turn: TurnStream,
}

impl Busy {
    async fn begin(test: &TestHost) -> Busy {
        let busy = Busy::speak(test).await;
        assert_eq!(busy.turn.output().begun().await, Some(1));
        busy
    }

    async fn speak(test: &TestHost) -> Busy {
        let session = test.session(&guests::SLEEPS_IN_TURN).await;
        let turn = session.stream("sleep 86400000").await.unwrap();
        Busy { session, turn }
    }

    async fn end(self) {
        self.session.terminate("enough").await.unwrap();
        assert!(matches!(self.turn.reply().await, Err(SendError::Failed(_))));
    }
}

#[tokio::test]
async fn idle_sessions_are_charged_what_they_hold_and_not_what_they_may_touch() {
    const SESSIONS: usize = 60;
    const BUDGET: u64 = 12 << 20;
    let test = TestHost::with(|options| options.memory_budget = BUDGET).await;
    let alone = test.bundled("counter", Pattern::LongRunning).await;
    alone.send("one").await.unwrap();
    let first_image = test.host.stats().memory_used;
    if !kernel_can_tell() {
        // Then each is charged for the whole of its memory, 17 pages of WebAssembly.
        assert!(first_image > 1 << 20, "{first_image}");
        return;
    }
    let mut sessions = vec![alone];
    for _ in 1..SESSIONS {
        let session = test.bundled("counter", Pattern::LongRunning).await;
        session.send("one").await.unwrap();
        sessions.push(session);
    }
    let all = SESSIONS as u64;
    eventually("all are idle", async || test.host.stats().memory_used < all * 2 * IDLE).await;
    let stats = test.host.stats();
    assert_eq!(stats.residents, SESSIONS, "nobody had to go");
    assert!(stats.memory_used > all * (IDLE / 4), "{}", stats.memory_used);
    for session in &sessions {
        assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
        assert!(test.host.stats().memory_used <= BUDGET);
    }
    for session in &sessions {
        session.sleep().await.unwrap();
    }
    // What is left are the first images of the agents.
    assert!(test.host.stats().memory_used < first_image, "{}", test.host.stats().memory_used);
    test.shut_down().await;
}

#[tokio::test]
async fn a_burst_of_four_times_as_many_sessions_as_places_is_answered_in_full() {
    let test = with_places(8).await;
    let created = (0..32).map(|_| test.bundled("counter", Pattern::LongRunning));
    let sessions = join_all(created).await;
    for round in 1..=4 {
        let replies = sessions.iter().map(|session| session.send("hello"));
        for reply in try_join_all(replies).await.unwrap() {
            assert_eq!(reply.text(), format!("turn {round}: hello"));
        }
        assert!(test.host.stats().residents <= 8);
    }
    assert_eq!(test.host.stats().waiting, 0);
    test.shut_down().await;
}

#[tokio::test]
async fn who_came_first_gets_the_first_place_that_is_free() {
    let test = with_places(1).await;
    let mut holder = Busy::begin(&test).await;
    let mut line = Vec::new();
    for n in 0..4 {
        let late = Busy::speak(&test).await;
        waiting(&test.host, n + 1).await;
        assert_eq!(late.session.info().await.unwrap().residency, Residency::Waking);
        line.push(late);
    }
    for (n, next) in line.into_iter().enumerate() {
        holder.end().await;
        assert_eq!(next.turn.output().begun().await, Some(1));
        // It runs, and all who came later still wait.
        waiting(&test.host, 3 - n).await;
        holder = next;
    }
    // A session that is idle makes room as well.
    let idle = test.bundled("counter", Pattern::LongRunning).await;
    let turn = idle.stream("one").await.unwrap();
    waiting(&test.host, 1).await;
    let last = Busy::speak(&test).await;
    waiting(&test.host, 2).await;
    holder.end().await;
    assert_eq!(turn.reply().await.unwrap().text(), "turn 1: one");
    assert_eq!(last.turn.output().begun().await, Some(1));
    assert_eq!(idle.info().await.unwrap().residency, Residency::Asleep);
    last.end().await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_principal_with_many_sessions_in_line_is_passed_by_another_with_one() {
    let test = with_places(1).await;
    let (hog, other) = (test.acting_as("hog"), test.acting_as("other"));
    for principal in [&hog, &other] {
        principal.upload(&guests::SLEEPS_IN_TURN).await;
    }
    let holder = Busy::begin(&test).await;
    let mut many = Vec::new();
    for n in 0..12 {
        many.push(Busy::speak(&hog).await);
        waiting(&test.host, n + 1).await;
    }
    let one = Busy::speak(&other).await;
    waiting(&test.host, 13).await;
    let first = many.remove(0);
    holder.end().await;
    assert_eq!(first.turn.output().begun().await, Some(1));
    first.end().await;
    let (its, next) = (one.turn.output(), many[0].turn.output());
    tokio::select! {
        begun = its.begun() => assert_eq!(begun, Some(1)),
        _ = next.begun() => panic!("the other was left out"),
    }
    waiting(&test.host, 11).await;
    // The others are served as before, in the order in which they came.
    let mut holder = one;
    for next in many {
        holder.end().await;
        assert_eq!(next.turn.output().begun().await, Some(1));
        holder = next;
    }
    holder.end().await;
    test.shut_down().await;
}

#[tokio::test]
async fn who_has_waited_for_too_long_is_told_to_try_again_and_nothing_has_changed() {
    let test = with_places(1).await;
    let holder = Busy::begin(&test).await;
    let late = test.bundled("counter", Pattern::LongRunning).await;
    let refused = late.stream("one").await.unwrap();
    waiting(&test.host, 1).await;
    test.advance(Duration::from_millis(29_999));
    assert_eq!(test.host.stats().waiting, 1);
    test.advance(Duration::from_millis(1));
    assert!(matches!(refused.reply().await, Err(SendError::Unavailable(Unavailable::OutOfMemory))));
    assert_eq!(test.host.stats().waiting, 0);
    let usage = late.info().await.unwrap().session.usage;
    assert_eq!((usage.turns, usage.fuel), (0, 0));

    let by_hand = tokio::spawn({
        let late = late.clone();
        async move { late.wake().await }
    });
    waiting(&test.host, 1).await;
    test.advance(Duration::from_secs(30));
    assert!(matches!(
        by_hand.await.unwrap(),
        Err(CommandError::Unavailable(Unavailable::OutOfMemory))
    ));
    holder.end().await;
    assert_eq!(late.send("one").await.unwrap().text(), "turn 1: one");
    test.shut_down().await;
}

#[tokio::test]
async fn nobody_waits_for_longer_than_the_turn_may_take() {
    let test = with_places(1).await;
    let holder = Busy::begin(&test).await;
    let short = test
        .session_with(&guests::LOOPS_FOREVER, |new| new.turn_timeout = Some(Duration::from_secs(5)))
        .await;
    let refused = short.stream("one").await.unwrap();
    waiting(&test.host, 1).await;
    test.advance(Duration::from_secs(5));
    assert!(matches!(refused.reply().await, Err(SendError::Unavailable(Unavailable::OutOfMemory))));
    assert_eq!(short.info().await.unwrap().session.usage.turns, 0);
    holder.end().await;
    test.shut_down().await;
}

#[tokio::test]
async fn who_is_killed_stopped_or_deleted_leaves_the_line() {
    let test = with_places(1).await;
    let holder = Busy::begin(&test).await;
    let sessions = join_all((0..4).map(|_| test.bundled("counter", Pattern::Hybrid))).await;
    let [killed, stopped, deleted, woken] = &sessions[..] else { unreachable!() };
    let mut turns = Vec::new();
    for (n, session) in [killed, stopped, deleted].into_iter().enumerate() {
        turns.push(session.stream("one").await.unwrap());
        waiting(&test.host, n + 1).await;
    }
    let by_hand = tokio::spawn({
        let woken = woken.clone();
        async move { woken.wake().await }
    });
    waiting(&test.host, 4).await;

    killed.terminate("enough").await.unwrap();
    waiting(&test.host, 3).await;
    deleted.delete().await.unwrap();
    waiting(&test.host, 2).await;
    woken.terminate("enough").await.unwrap();
    assert!(matches!(
        by_hand.await.unwrap(),
        Err(CommandError::NotActive(NotActive { status: Status::Stopping, .. }))
    ));
    waiting(&test.host, 1).await;
    stopped.stop().await.unwrap();
    waiting(&test.host, 0).await;

    for turn in turns {
        match turn.reply().await {
            Err(SendError::Failed(ended)) => {
                let TurnOutcome::Failed(failure) = ended.turn.outcome else { panic!() };
                assert_eq!((failure.code, ended.turn.fuel), (FailureCode::TurnKilled, 0));
            }
            other => panic!("{:?}", other.map(|reply| reply.text())),
        }
    }
    holder.end().await;
    test.shut_down().await;
}

#[tokio::test]
async fn who_waits_when_the_host_shuts_down_is_told_so() {
    let test = with_places(1).await;
    let holder = Busy::begin(&test).await;
    let late = test.bundled("counter", Pattern::LongRunning).await;
    let refused = late.stream("one").await.unwrap();
    waiting(&test.host, 1).await;
    let down = tokio::spawn({
        let host = test.host.clone();
        async move { host.shut_down().await }
    });
    assert!(matches!(
        refused.reply().await,
        Err(SendError::Unavailable(Unavailable::ShuttingDown))
    ));
    holder.session.force_kill().await.unwrap_err();
    eventually("the host is down", async || {
        test.advance(Duration::from_secs(30));
        down.is_finished()
    })
    .await;
    assert!(matches!(holder.turn.reply().await, Err(SendError::Failed(_))));
    down.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_is_denied_memory_waits_for_it_and_a_neighbour_that_grows_is_refused_itself() {
    let test = TestHost::with(|options| options.memory_budget = 16 << 20).await;
    let quick = test.bundled("counter", Pattern::LongRunning).await;
    quick.send("one").await.unwrap();
    let greedy = test.session(&guests::GROWS_MEMORY).await;
    // What the host never has is the fault of the one that asks for it; the others go on.
    let refused = greedy.send("grow 30000000").await;
    let Err(SendError::Failed(ended)) = refused else { panic!("it was answered") };
    let TurnOutcome::Failed(failure) = ended.turn.outcome else { panic!() };
    assert_eq!(failure.code, FailureCode::MemoryExceeded);
    assert_eq!(quick.send("two").await.unwrap().text(), "turn 2: two");

    // One that saves its state takes some 9 MB more for a moment: several of them find none, and go
    // over the budget one after the other.
    let created = (0..6).map(|_| test.session(&guests::GROWS_MEMORY));
    let holders = join_all(created).await;
    for holder in &holders {
        assert_eq!(holder.send("grow 4000000").await.unwrap().text(), "holding 4000000 bytes");
    }
    let replies = holders.iter().map(|session| session.send("hello"));
    for reply in try_join_all(replies).await.unwrap() {
        assert_eq!(reply.text(), "turn 2: hello");
        assert!(test.host.stats().memory_used <= (16 + 16) << 20);
    }
    assert_eq!(test.host.stats().waiting, 0);
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_is_asked_for_while_it_is_put_to_sleep_wakes_once() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    session.send("first").await.unwrap();
    for turn in 2..=40 {
        let (slept, reply, again) =
            tokio::join!(session.sleep(), session.send("hello"), session.wake());
        slept.unwrap();
        again.unwrap();
        assert_eq!(reply.unwrap().text(), format!("turn {turn}: hello"));
    }
    let events = session.events(dormouse::Cursor(0), 1_000).await.unwrap().entries;
    let count = |kind| events.iter().filter(|logged| logged.event.kind() == kind).count();
    assert_eq!(count(EventKind::SessionSlept), 39);
    assert_eq!(count(EventKind::SessionWoken), 39);
    test.shut_down().await;
}
