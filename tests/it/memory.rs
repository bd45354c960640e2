//! Agents that grow into memory which the host does not have now: their turns wait for it and are run
//! again, nobody sees that they were run before, and what cannot be had in time costs the session
//! nothing.

use std::time::Duration;

use dormouse::{
    BuildError, Durability, FailureCode, Host, HostOptions, NanoUsd, NewSession, Pattern,
    SendError, SessionHandle, Status, TurnOutcome, TurnStream, Unavailable,
};
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{TestHost, TestServer};
use futures::future::{join_all, try_join_all};
use serde_json::json;

const BUDGET: u64 = 64 << 20;

async fn host() -> TestHost {
    TestHost::with(|options| options.memory_budget = BUDGET).await
}

/// A session whose turn holds this much memory until it is ended.
struct Hog {
    session: SessionHandle,
    turn: TurnStream,
}

impl Hog {
    async fn holding(test: &TestHost, bytes: u64) -> Hog {
        let session = test
            .session_with(&guests::GROWS_MEMORY, |new| {
                new.turn_timeout = Some(Duration::from_secs(90_000));
            })
            .await;
        let turn = session.stream(format!("hold {bytes}")).await.unwrap();
        eventually("it holds its memory", async || test.host.stats().memory_used > bytes).await;
        Hog { session, turn }
    }

    async fn end(self) {
        self.session.terminate("enough").await.unwrap();
        assert!(matches!(self.turn.reply().await, Err(SendError::Failed(_))));
    }
}

async fn waits(test: &TestHost) {
    eventually("it waits for memory", async || test.host.stats().waiting == 1).await;
}

/// How the turn failed, and what was billed for it.
async fn failure(turn: TurnStream) -> (FailureCode, u64, NanoUsd) {
    let Err(SendError::Failed(ended)) = turn.reply().await else { panic!("it was answered") };
    let TurnOutcome::Failed(failure) = ended.turn.outcome else { panic!() };
    (failure.code, ended.turn.fuel, ended.turn.cost)
}

#[tokio::test]
async fn a_turn_that_finds_no_memory_waits_for_it_and_nobody_sees_that_it_was_run_twice() {
    let test = host().await;
    let alone = test.session(&guests::GROWS_MEMORY).await;
    let undisturbed = alone.send("grow 30000000").await.unwrap();
    alone.delete().await.unwrap();

    let hog = Hog::holding(&test, 40_000_000).await;
    let session = test.session(&guests::GROWS_MEMORY).await;
    let turn = session.stream("grow 30000000").await.unwrap();
    waits(&test).await;
    assert_eq!(session.info().await.unwrap().running_turn, Some(1));
    // Whoever waits holds nothing that others could use.
    let other = test.session(&guests::GROWS_MEMORY).await;
    assert!(test.host.stats().memory_used < 45_000_000, "{}", test.host.stats().memory_used);
    hog.end().await;
    let reply = turn.reply().await.unwrap();
    assert_eq!(reply.text(), "holding 30000000 bytes");
    assert_eq!((reply.turn.number, reply.turn.fuel), (1, undisturbed.turn.fuel));
    assert_eq!(reply.turn.log, undisturbed.turn.log);
    assert_eq!(reply.session.session.usage, undisturbed.session.session.usage);
    assert_eq!(other.send("hello").await.unwrap().text(), "turn 1: hello");
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_finds_no_memory_in_time_is_not_billed_and_does_not_count() {
    let test = host().await;
    let hog = Hog::holding(&test, 40_000_000).await;
    let session = test.session_with(&guests::GROWS_MEMORY, |new| new.max_turns = Some(2)).await;
    session.send("one").await.unwrap();
    let before = session.info().await.unwrap().session;
    for tried in 1..=6 {
        let turn = session.stream("grow 30000000").await.unwrap();
        waits(&test).await;
        test.advance(Duration::from_secs(30));
        assert_eq!(failure(turn).await, (FailureCode::OutOfMemory, 0, NanoUsd(0)));
        let after = session.info().await.unwrap().session;
        assert_eq!(after.state.status(), Status::Active);
        assert_eq!((after.consecutive_failures, after.head), (0, before.head));
        assert_eq!((after.usage.turns, after.usage.uncounted), (1, tried));
        assert_eq!((after.usage.fuel, after.usage.cost), (before.usage.fuel, before.usage.cost));
    }
    hog.end().await;
    // Each number is used once, and the turn is the second of the two that are allowed.
    let reply = session.send("grow 30000000").await.unwrap();
    assert_eq!(reply.turn.number, 8);
    assert_eq!(reply.session.session.usage.turns, 2);
    assert_eq!(reply.session.session.state.status(), Status::Terminated);
    let numbers: Vec<u64> =
        session.turns(0, 100).await.unwrap().entries.iter().map(|turn| turn.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(test.host.store().check().await.unwrap().is_well());
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_has_streamed_is_not_run_again_but_given_up() {
    let test = host().await;
    let hog = Hog::holding(&test, 40_000_000).await;
    let session = test.session(&guests::GROWS_MEMORY).await;
    let turn = session.stream("stream 30000000").await.unwrap();
    assert_eq!(failure(turn).await, (FailureCode::OutOfMemory, 0, NanoUsd(0)));
    let session = session.info().await.unwrap().session;
    assert_eq!((session.usage.turns, session.consecutive_failures), (0, 0));
    hog.end().await;
    test.shut_down().await;
}

#[tokio::test]
async fn all_are_answered_that_grow_into_more_than_there_is_for_them_together() {
    let test = host().await;
    let sessions = join_all((0..8).map(|_| test.session(&guests::GROWS_MEMORY))).await;
    let turns = sessions.iter().map(|session| session.send("grow 30000000"));
    for reply in try_join_all(turns).await.unwrap() {
        assert_eq!((reply.text().as_str(), reply.turn.number), ("holding 30000000 bytes", 1));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_whose_state_no_snapshot_holds_grows_over_the_budget_rather_than_lose_it() {
    let test = host().await;
    let session =
        test.session_with(&guests::GROWS_MEMORY, |new| new.durability = Durability::Sleep).await;
    session.send("one").await.unwrap();
    let hog = Hog::holding(&test, 40_000_000).await;
    let reply = session.send("grow 30000000").await.unwrap();
    assert_eq!(reply.text(), "holding 30000000 bytes");
    hog.end().await;
    test.shut_down().await;
}

#[tokio::test]
async fn want_of_memory_is_503_with_a_time_to_try_again() {
    let server = TestServer::of(host().await, |_| {}).await;
    let hog = Hog::holding(&server.test, 40_000_000).await;
    let id = server.session(&guests::GROWS_MEMORY, json!({})).await;
    let path = format!("/api/sessions/{id}/message");
    let body = json!({ "prompt": "stream 30000000", "streaming": false });
    let request = server.client.request(reqwest::Method::POST, &path).json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let body: serde_json::Value = response.json().await.unwrap();
    assert_eq!((&body["code"], &body["cost"]), (&json!("out_of_memory"), &json!(0.0)));
    assert_eq!(body["session"]["numTurns"], 0);

    let body = json!({ "prompt": "stream 30000000" });
    let request = server.client.request(reqwest::Method::POST, &path).json(&body);
    let stream = request.send().await.unwrap().text().await.unwrap();
    let last = stream.trim_end().lines().last().unwrap();
    let last: serde_json::Value =
        serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&last["type"], &last["code"]), (&json!("error"), &json!("out_of_memory")));
    assert_eq!(last["discarded"], true);
    hog.end().await;
    server.shut_down().await;
}

#[tokio::test]
async fn sessions_that_sleep_are_charged_for_what_is_kept_of_them_in_memory() {
    let server = TestServer::with(|options| options.memory_budget = 4 << 20, |_| {}).await;
    let host = &server.test.host;
    let label = |place: usize, session: usize| format!("{session:028}{place:04}");
    let mut created = Vec::new();
    let refused = loop {
        let tags: Vec<String> = (0..32).map(|place| label(place, created.len())).collect();
        let body = json!({ "agent": "counter", "tags": tags });
        let (status, body) = server.client.post("/api/sessions", &body).await.unwrap();
        if status != 201 {
            break (status, body);
        }
        created.push(body["id"].as_str().unwrap().to_owned());
    };
    assert_eq!((refused.0.as_u16(), &refused.1["code"]), (507, &json!("too_many_sessions")));
    assert!((200..400).contains(&created.len()), "{}", created.len());
    let stats = host.stats();
    assert!(stats.memory_used >= stats.store.index_bytes, "{stats:?}");
    assert!(stats.store.index_bytes <= 1 << 20, "{stats:?}");
    for id in &created[..100] {
        server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    }
    let after = host.stats();
    assert!(after.store.index_bytes < stats.store.index_bytes - 100 * 1_024, "{after:?}");
    server.counter(json!({})).await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_host_without_memory_for_any_agent_says_so_when_it_is_to_start() {
    let least = HostOptions::MIN_MEMORY_BUDGET;
    let small = |options: &mut HostOptions| options.memory_budget = least - 1;
    let refused = Host::builder().in_memory().configure(small).build().await.err().unwrap();
    assert!(matches!(refused, BuildError::MemoryBudget { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("at least {least} bytes")), "{refused}");

    let test = TestHost::with(|options| options.memory_budget = least).await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    for turn in 1..=3 {
        assert_eq!(session.send("hello").await.unwrap().text(), format!("turn {turn}: hello"));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_message_is_refused_at_once_where_the_index_leaves_no_memory_for_its_agent() {
    let least = HostOptions::MIN_MEMORY_BUDGET;
    let server = TestServer::with(|options| options.memory_budget = least, |_| {}).await;
    let local = server.test.bundled("counter", Pattern::LongRunning).await;
    let mut created = Vec::new();
    for owner in ["ann", "ben"] {
        let host = server.test.acting_as(owner).host;
        let tags = |number| (0..32).map(|tag| format!("{owner}{number:020}{tag:08}")).collect();
        let new = |number| NewSession { tags: tags(number), ..NewSession::agent("counter") };
        loop {
            match host.sessions().create(new(created.len())).await {
                Ok(session) => created.push(session),
                Err(error) => break assert_eq!(error.code(), "too_many_sessions"),
            }
        }
    }
    // The clock stands: to wait for memory would be to wait for ever.
    let refused = local.send("hello").await.unwrap_err();
    assert!(matches!(refused, SendError::Unavailable(Unavailable::OutOfMemory)), "{refused}");
    assert!(refused.to_string().contains("raise `memory-budget`"), "{refused}");
    let id = local.id().to_string();
    let (status, body) = server.client.message(&id, "hello").await.unwrap();
    assert_eq!((status.as_u16(), &body["code"]), (503, &json!("out_of_memory")), "{body}");

    for session in &created {
        session.delete().await.unwrap();
    }
    assert_eq!(server.client.ask(&id, "hello").await.unwrap(), "turn 1: hello");
    server.shut_down().await;
}
