//! Each way that a turn can fail, with its status, its code and its bill.

use std::time::Duration;

use dormouse::NanoUsd;
use dormouse_test_guests::{self as guests, TestGuest};
use dormouse_tests::TestServer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{is_error, runs};

/// That this is the failure of a turn, with what every such failure has.
#[track_caller]
fn is_failure(answer: &(StatusCode, Value), status: u16, code: &str, turn: u64) {
    is_error(answer, status, code);
    let body = &answer.1;
    assert_eq!(body["turn"], turn, "{body}");
    assert!(body["cost"].as_f64().unwrap() > 0.0, "{body}");
    assert_eq!(body["session"]["numTurns"], turn, "{body}");
    assert_eq!(body.get("discarded"), None, "{body}");
}

/// That a sentence names this limit with its value.
#[track_caller]
fn names(answer: &(StatusCode, Value), limit: &str) {
    assert!(answer.1["error"].as_str().unwrap().contains(limit), "{}", answer.1);
}

/// The second turn of a session fails: so there is something that must stay as it was.
async fn fails(
    server: &TestServer,
    guest: &TestGuest,
    fields: Value,
    prompt: &str,
) -> (String, (StatusCode, Value)) {
    let id = server.session(guest, fields).await;
    let (_, before) = server.client.message(&id, "one").await.unwrap();
    let answer = server.client.message(&id, prompt).await.unwrap();
    assert_eq!(answer.1["session"]["sessionId"], before["session"]["sessionId"], "{}", answer.1);
    let (_, turn) = server.client.get(&format!("/api/sessions/{id}/turns/2")).await.unwrap();
    assert_eq!((&turn["outcome"], &turn["cost"]), (&json!("failed"), &answer.1["cost"]));
    assert_eq!(turn["error"], json!({ "code": answer.1["code"], "error": answer.1["error"] }));
    (id, answer)
}

#[tokio::test]
async fn an_agent_that_fails_on_purpose_is_422_with_its_own_words() {
    let server = TestServer::new().await;
    let prompt = "failed the moon is down";
    let (id, failed) = fails(&server, &guests::FAILS_WHEN_TOLD, json!({}), prompt).await;
    is_failure(&failed, 422, "agent_failed", 2);
    assert!(failed.1["error"].as_str().unwrap().contains("the moon is down"), "{}", failed.1);
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_that_is_invalid_or_declined_has_a_code_of_its_own_and_does_not_count() {
    let server = TestServer::new().await;
    let limits = json!({ "maxTurns": 2 });
    let (id, failed) = fails(&server, &guests::FAILS_WHEN_TOLD, limits, "invalid no date").await;
    is_error(&failed, 422, "agent_invalid");
    assert!(failed.1["error"].as_str().unwrap().contains("no date"), "{}", failed.1);
    for turn in 3..=12 {
        let (prompt, status, code) = match turn % 2 {
            0 => ("invalid no date", 422, "agent_invalid"),
            _ => ("declined", 409, "agent_declined"),
        };
        let answer = server.client.message(&id, prompt).await.unwrap();
        is_error(&answer, status, code);
        let body = &answer.1;
        assert_eq!((&body["turn"], &body["session"]["numTurns"]), (&json!(turn), &json!(1)));
        assert_eq!(body["session"]["status"], "active");
        assert!(body["cost"].as_f64().unwrap() > 0.0, "it is billed all the same: {body}");
    }
    // It has left no trace, and the second turn that counts is the last that is allowed.
    let (_, last) = server.client.message(&id, "two").await.unwrap();
    assert_eq!(last["response"]["content"], "turn 2: two");
    assert_eq!((&last["result"]["turn"], &last["session"]["numTurns"]), (&json!(13), &json!(2)));
    assert_eq!(last["session"]["terminationReason"], "max_turns");
    server.shut_down().await;
}

#[tokio::test]
async fn an_ephemeral_session_waits_for_a_message_that_its_agent_can_handle() {
    let server = TestServer::new().await;
    let fields = json!({ "pattern": "ephemeral" });
    let id = server.session(&guests::FAILS_WHEN_TOLD, fields).await;
    let answer = server.client.message(&id, "invalid no date").await.unwrap();
    is_error(&answer, 422, "agent_invalid");
    assert_eq!(answer.1["session"]["status"], "initializing");
    assert_eq!(server.client.ask(&id, "one").await.unwrap(), "turn 1: one");
    server.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_traps_is_502() {
    let server = TestServer::new().await;
    for prompt in ["trap", "panic", "exit 1"] {
        let (id, failed) = fails(&server, &guests::TRAPS_WHEN_TOLD, json!({}), prompt).await;
        is_failure(&failed, 502, "agent_trapped", 2);
        assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_504() {
    let server = TestServer::new().await;
    let limits = json!({ "turnTimeoutMs": 30_000, "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    server.client.ask(&id, "one").await.unwrap();
    let looping = super::under_way(&server, &id, "loop", 2).await;
    server.advance(Duration::from_secs(30));
    let failed = looping.await.unwrap();
    is_failure(&failed, 504, "turn_timeout", 2);
    names(&failed, "turnTimeoutMs of 30000");
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_uses_its_fuel_is_402_and_the_session_goes_on() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": 50_000_000 });
    let (id, failed) = fails(&server, &guests::LOOPS_FOREVER, limits, "loop").await;
    is_failure(&failed, 402, "fuel_exhausted", 2);
    names(&failed, "maxFuelPerTurn of 50000000");
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_uses_the_fuel_of_its_session_is_402_and_ends_it() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuel": 50_000_000 });
    let (id, failed) = fails(&server, &guests::LOOPS_FOREVER, limits, "loop").await;
    is_failure(&failed, 402, "fuel_exhausted", 2);
    let session = &failed.1["session"];
    assert_eq!(
        (&session["status"], &session["terminationReason"]),
        (&json!("terminated"), &json!("fuel_exhausted"))
    );
    assert_eq!(session["totalFuel"], 50_000_000);
    names(&failed, "maxFuel of 50000000");
    let refused = server.client.message(&id, "more").await.unwrap();
    is_error(&refused, 409, "session_not_active");
    names(&refused, "terminated (fuel_exhausted: it has reached its maxFuel of 50000000)");
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_uses_the_money_of_its_session_is_402_and_ends_it() {
    let server = TestServer::with(|host| host.fuel_price = NanoUsd(1_000_000_000), |_| {}).await;
    let limits = json!({ "maxBudgetUsd": 0.005 });
    let (id, failed) = fails(&server, &guests::LOOPS_FOREVER, limits, "loop").await;
    is_failure(&failed, 402, "budget_exceeded", 2);
    let session = &failed.1["session"];
    assert_eq!(
        (&session["status"], &session["terminationReason"]),
        (&json!("terminated"), &json!("budget_exceeded"))
    );
    assert!(session["totalCost"].as_f64().unwrap() <= 0.005, "{session}");
    names(&failed, "maxBudgetUsd of 0.005");
    let refused = server.client.message(&id, "more").await.unwrap();
    is_error(&refused, 409, "session_not_active");
    names(&refused, "maxBudgetUsd of 0.005");
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_needs_too_much_memory_is_413() {
    let server = TestServer::new().await;
    let limits = json!({ "maxMemoryBytes": 25_165_824 });
    let (id, failed) = fails(&server, &guests::ALLOCATES_FOREVER, limits, "allocate").await;
    is_failure(&failed, 413, "memory_exceeded", 2);
    names(&failed, "maxMemoryBytes of 25165824");
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_is_killed_is_409() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let looping = super::under_way(&server, &id, "loop", 1).await;
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    // It may have been killed before it had used any fuel.
    let killed = looping.await.unwrap();
    is_error(&killed, 409, "turn_killed");
    assert_eq!(killed.1["turn"], 1);
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_that_waited_when_its_session_ended_is_told_so() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let speak = |prompt: &'static str| {
        let (client, id) = (server.client.clone(), id.clone());
        tokio::spawn(async move { client.message(&id, prompt).await.unwrap() })
    };
    let looping = speak("loop");
    runs(&server, &id, 1).await;
    let waiting = speak("wait");
    dormouse_tests::test_host::eventually("it waits", async || {
        server.test.host.stats().queued == 1
    })
    .await;
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    is_failure(&looping.await.unwrap(), 409, "turn_killed", 1);
    let refused = waiting.await.unwrap();
    is_error(&refused, 409, "session_not_active");
    assert_eq!(refused.1["status"], "terminated");
    server.shut_down().await;
}

#[tokio::test]
async fn the_fifth_failure_in_a_row_puts_the_session_into_error() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    for turn in 1..=5 {
        let failed = server.client.message(&id, "trap").await.unwrap();
        is_failure(&failed, 502, "agent_trapped", turn);
        let status = if turn < 5 { "initializing" } else { "error" };
        assert_eq!(failed.1["session"]["status"], status, "turn {turn}");
    }
    let refused = server.client.message(&id, "hello").await.unwrap();
    is_error(&refused, 409, "session_not_active");
    assert_eq!(
        (&refused.1["status"], &refused.1["reason"]),
        (&json!("error"), &json!("consecutive_failures"))
    );
    names(&refused, "Session is not active: it is error (consecutive_failures); POST …/resume");
    let (_, status) = server.client.get(&format!("/api/sessions/{id}/status")).await.unwrap();
    assert_eq!(status["reason"], "consecutive_failures");
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(
        (&session["errorReason"], &session["terminationReason"]),
        (&json!("consecutive_failures"), &Value::Null)
    );
    // The way out that the refusal names is one.
    server.client.post(&format!("/api/sessions/{id}/resume"), &json!({})).await.unwrap();
    assert_eq!(server.client.ask(&id, "hello").await.unwrap(), "turn 1: hello");
    server.shut_down().await;
}

#[tokio::test]
async fn the_turn_that_has_spent_most_of_a_budget_says_so_and_no_other_does() {
    let server = TestServer::with(|host| host.fuel_price = NanoUsd(1_000_000_000), |_| {}).await;
    let cost = async |id: &str| {
        let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
        session["totalCost"].as_f64().unwrap()
    };
    let free = server.counter(json!({})).await;
    for _ in 0..2 {
        server.client.ask(&free, "hello").await.unwrap();
    }
    // What two turns cost is nine tenths of it.
    let budget = cost(&free).await / 0.9;
    let id = server.counter(json!({ "maxBudgetUsd": budget })).await;
    let warnings = async || {
        let (_, page) = server.client.get(&format!("/api/sessions/{id}/events")).await.unwrap();
        let mut events = page["events"].as_array().unwrap().clone();
        events.retain(|event| event["event_type"] == "session.budget-warning");
        events
    };
    server.client.ask(&id, "hello").await.unwrap();
    assert_eq!(warnings().await, Vec::<Value>::new());
    server.client.ask(&id, "hello").await.unwrap();
    let told = warnings().await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["payload"]["cost"].as_f64(), Some(cost(&id).await), "{told:?}");
    // The next turn uses up what is left, or is refused; either way nobody is warned again.
    server.client.message(&id, "hello").await.unwrap();
    assert_eq!(warnings().await.len(), 1);
    server.shut_down().await;
}
