//! What a host leaves behind, and how the next one goes on.

use std::sync::Arc;
use std::time::Duration;

use dormouse::{
    Cursor, EventEntry, EventKind, Fork, ManualClock, MemoryStore, Pattern, Residency, SendError,
    Status, StoreError, Unavailable,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;

#[tokio::test]
async fn sessions_go_on_where_they_were_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let session = test.bundled("counter", Pattern::Hybrid).await;
        for _ in 0..=n {
            session.send("hello").await.unwrap();
        }
        ids.push(session.id());
    }
    test.shut_down().await;

    let test = TestHost::on(directory.path(), &clock).await;
    for (n, id) in ids.into_iter().enumerate() {
        let session = test.host.sessions().get(id);
        assert_eq!(session.turns(0, 100).await.unwrap().entries.len(), n + 1);
        assert_eq!(session.send("again").await.unwrap().text(), format!("turn {}: again", n + 2));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_host_runs_on_a_store_in_memory_and_another_goes_on_with_it() {
    let (store, clock) = (MemoryStore::default(), ManualClock::new());
    let after = store.reopen();
    let test = TestHost::on_store(Arc::new(store), &clock).await;
    let session = test.bundled("counter", Pattern::Hybrid).await;
    let agent = test.upload(&guests::LOOPS_FOREVER).await;
    session.send("hello").await.unwrap();
    clock.advance(Duration::from_secs(61));
    test.host.settle().await;
    assert_eq!(session.info().await.unwrap().residency, Residency::Asleep);
    assert_eq!(session.send("again").await.unwrap().text(), "turn 2: again");
    let forks = session.fork(Fork { count: 2, ..Fork::default() }).await.unwrap();
    let unkept = test.host.store().check().await;
    assert!(matches!(unkept, Err(StoreError::NoUpkeep)));
    test.shut_down().await;

    let test = TestHost::on_store(Arc::new(after), &clock).await;
    for id in forks.iter().map(|fork| fork.session.id).chain([session.id()]) {
        let session = test.host.sessions().get(id);
        assert_eq!(session.send("more").await.unwrap().text(), "turn 3: more");
        session.terminate("done").await.unwrap();
        session.delete().await.unwrap();
    }
    test.host.agents().remove(agent).await.unwrap();
    let events = test.host.operating().events_after(Cursor(0), 1_000).await.unwrap();
    let deleted = |event: &&EventEntry| event.event.kind() == EventKind::SessionDeleted;
    assert_eq!(events.events.iter().filter(deleted).count(), 3);
    test.shut_down().await;
}

#[tokio::test]
async fn a_second_host_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let second = dormouse::Host::builder().data_dir(directory.path()).build().await;
    let message = second.err().expect("it is refused").to_string();
    assert!(message.contains("another host of this process"), "{message}");
    test.shut_down().await;
    TestHost::on(directory.path(), &clock).await.shut_down().await;
}

#[tokio::test]
async fn a_shut_down_lets_running_turns_finish_and_answers_what_waits() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SLEEPS_IN_TURN).await;
    let running = session.stream("sleep 200").await.unwrap();
    let waiting = session.stream("wait").await.unwrap();
    // The guest is called: what has not come as far is sent away.
    assert_eq!(running.output().begun().await, Some(1));
    test.host.shut_down().await.unwrap();
    assert!(running.reply().await.is_ok());
    assert!(matches!(
        waiting.reply().await,
        Err(SendError::Unavailable(Unavailable::ShuttingDown))
    ));
    assert!(matches!(
        session.stream("late").await,
        Err(SendError::Unavailable(Unavailable::ShuttingDown))
    ));
}

#[tokio::test]
async fn dropping_a_host_in_mid_turn_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test
        .session_with(&guests::LOOPS_FOREVER, |new| new.max_fuel_per_turn = Some(u64::MAX / 4))
        .await;
    session.send("one").await.unwrap();
    let id = session.id();
    let looping = session.stream("loop").await.unwrap();
    eventually("the turn runs", async || session.info().await.unwrap().running_turn == Some(2))
        .await;
    drop((looping, session, test));
    // The directory is free again as soon as the loop has ended.
    let next = loop {
        let build =
            dormouse::Host::builder().data_dir(directory.path()).manual_clock(&clock).build();
        match build.await {
            Ok(host) => break host,
            Err(dormouse::BuildError::Store(dormouse::OpenError::Locked { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let session = next.sessions().get(id);
    assert_eq!(session.info().await.unwrap().session.state.status(), Status::Active);
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    next.shut_down().await.unwrap();
}
