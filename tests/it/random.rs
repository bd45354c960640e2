//! Random bytes never come twice: whatever became of the turn that drew them first.

use dormouse::{
    Durability, Fork, Host, ManualClock, Pattern, SendError, SessionHandle, SnapshotId, TurnOutcome,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::compiled_cache;

use super::images::copy;

/// What a guest drew in one turn.
#[derive(Debug, PartialEq, Eq)]
struct Drawn {
    /// Of the host.
    host: String,
    /// Of the generator of the turn.
    turn: String,
    /// Of a generator that the guest keeps in memory.
    kept: String,
    /// The snapshot after it.
    snapshot: Option<SnapshotId>,
}

async fn draw(session: &SessionHandle) -> Drawn {
    let reply = session.send("draw").await.unwrap();
    let numbers: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
    let number = |name: &str| numbers[name].as_str().unwrap().to_owned();
    let TurnOutcome::Answered { snapshot, .. } = reply.turn.outcome else { panic!("{numbers}") };
    Drawn { host: number("host"), turn: number("turn"), kept: number("kept"), snapshot }
}

/// What the guest drew in a turn that failed.
async fn fail(session: &SessionHandle) -> String {
    match session.send("fail").await {
        Err(SendError::Failed(ended)) => ended.turn.log[0].message.clone(),
        other => panic!("{other:?}"),
    }
}

fn all_differ(mut drawn: Vec<String>) {
    let count = drawn.len();
    drawn.sort();
    drawn.dedup();
    assert_eq!(drawn.len(), count, "{drawn:?}");
}

#[tokio::test]
async fn what_a_failed_turn_has_drawn_no_other_turn_draws() {
    let test = TestHost::new().await;
    let session = test.session(&guests::DRAWS_RANDOM_NUMBERS).await;
    let mut drawn = vec![fail(&session).await, draw(&session).await.host];
    drawn.push(fail(&session).await);
    drawn.push(fail(&session).await);
    let last = draw(&session).await;
    drawn.extend([last.host, last.turn]);
    all_differ(drawn);
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_was_rewound_draws_what_it_has_never_drawn() {
    let test = TestHost::new().await;
    let session = test.session(&guests::DRAWS_RANDOM_NUMBERS).await;
    let first = draw(&session).await;
    let mut drawn = Vec::new();
    for _ in 0..3 {
        session.rewind(first.snapshot.unwrap()).await.unwrap();
        let next = draw(&session).await;
        drawn.extend([next.host, next.turn, draw(&session).await.host]);
    }
    drawn.extend([first.host, first.turn]);
    all_differ(drawn);
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_lost_its_state_draws_what_it_has_never_drawn() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::DRAWS_RANDOM_NUMBERS, |new| new.durability = Durability::Sleep)
        .await;
    let first = draw(&session).await;
    let failed = fail(&session).await;
    let state = session.info().await.unwrap().session.state.clone();
    assert_eq!(state.reason().unwrap().0, "state_lost");
    session.resume(None).await.unwrap();
    let second = draw(&session).await;
    all_differ(vec![first.host, first.turn, failed, second.host, second.turn]);
    test.shut_down().await;
}

#[tokio::test]
async fn the_generator_of_a_turn_is_that_of_no_fork_and_a_generator_in_memory_is_that_of_all() {
    let test = TestHost::new().await;
    let session = test.session(&guests::DRAWS_RANDOM_NUMBERS).await;
    let first = draw(&session).await;
    let forks = session.fork(Fork { count: 2, ..Fork::default() }).await.unwrap();
    let mut next = vec![draw(&session).await];
    for fork in forks {
        next.push(draw(&test.host.sessions().get(fork.session.id)).await);
    }
    all_differ(next.iter().flat_map(|drawn| [drawn.host.clone(), drawn.turn.clone()]).collect());
    // Which is why there is the other.
    assert!(next.iter().all(|drawn| drawn.kept == next[0].kept), "{next:?}");
    assert_ne!(first.kept, next[0].kept);
    test.shut_down().await;
}

#[tokio::test]
async fn the_number_for_hash_tables_is_that_of_one_turn() {
    let test = TestHost::new().await;
    let session = test.session(&guests::DRAWS_RANDOM_NUMBERS).await;
    let mut drawn = Vec::new();
    for _ in 0..3 {
        let reply = session.send("hash").await.unwrap();
        assert_eq!(reply.text().len(), 32, "{}", reply.text());
        drawn.push(reply.text());
    }
    all_differ(drawn);
    test.shut_down().await;
}

/// What is drawn in the first turn of this session, by a host on this directory.
async fn first_drawn(host: Host, id: dormouse::SessionId) -> String {
    let drawn = draw(&host.sessions().get(id)).await.host;
    host.shut_down().await.unwrap();
    drawn
}

#[tokio::test]
async fn a_turn_that_is_run_again_draws_other_bytes_unless_the_clock_is_turned_by_hand() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, other] = directories.each_ref().map(tempfile::TempDir::path);
    let clock = ManualClock::new();
    let test = TestHost::on(one, &clock).await;
    let agent = test.upload(&guests::DRAWS_RANDOM_NUMBERS).await;
    let new = dormouse::NewSession::with_agent(agent).pattern(Pattern::LongRunning);
    let sessions = [new.clone(), new].map(|new| {
        let sessions = test.host.sessions();
        async move { sessions.create(new).await.unwrap().id() }
    });
    let [first, second] = sessions;
    let (first, second) = (first.await, second.await);
    test.shut_down().await;
    // The same session before the same turn, as after a crash.
    copy(one, other);

    let by_hand =
        async |directory| first_drawn(TestHost::on(directory, &clock).await.host, first).await;
    assert_eq!(by_hand(one).await, by_hand(other).await);

    let real = async |directory: &std::path::Path| {
        let host = Host::builder().data_dir(directory).compiled_cache(compiled_cache(), [7; 32]);
        let host = host.configure(|options| options.max_residents = 64).build().await.unwrap();
        first_drawn(host, second).await
    };
    assert_ne!(real(one).await, real(other).await);
}
