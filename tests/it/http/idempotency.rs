//! `Idempotency-Key`: however often a request comes, it is carried out once.

use std::time::Duration;

use dormouse::ManualClock;
use dormouse_test_guests as guests;
use dormouse_tests::client::Request;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{TestHost, TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{Answer, Event, Events, is_error, runs, send, under_way};

fn post(server: &TestServer, path: &str, key: &str, body: &Value) -> Request {
    server.client.request(Method::POST, path).header("idempotency-key", key).json(body)
}

fn message(server: &TestServer, id: &str, key: &str, prompt: &str) -> Request {
    let body = json!({ "prompt": prompt, "streaming": false });
    post(server, &format!("/api/sessions/{id}/message"), key, &body)
}

/// Send a message with a key in a task.
fn sending(server: &TestServer, id: &str, key: &str, prompt: &str) -> JoinHandle<Answer> {
    let request = message(server, id, key, prompt);
    tokio::spawn(async move { send(request).await })
}

fn is_replayed(answer: &Answer) -> bool {
    answer.headers.get("idempotent-replayed").is_some_and(|value| value == "true")
}

async fn turns(server: &TestServer, id: &str) -> usize {
    let (_, turns) = server.client.get(&format!("/api/sessions/{id}/turns")).await.unwrap();
    turns["turns"].as_array().unwrap().len()
}

#[tokio::test]
async fn the_same_key_answers_the_same_turn_also_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let server = TestServer::of(TestHost::on(directory.path(), &clock).await, |_| {}).await;
    let id = server.counter(json!({})).await;
    let first = send(message(&server, &id, "k-1", "one")).await;
    assert_eq!((first.status.as_u16(), is_replayed(&first)), (200, false));
    server.client.ask(&id, "two").await.unwrap();
    let quoted = send(message(&server, &id, "\"k-1\"", "one")).await;
    server.shut_down().await;

    let server = TestServer::of(TestHost::on(directory.path(), &clock).await, |_| {}).await;
    let restarted = send(message(&server, &id, "k-1", "one")).await;
    for again in [quoted, restarted] {
        assert_eq!((again.status.as_u16(), is_replayed(&again)), (200, true), "{}", again.body);
        assert_eq!(again.body["response"], first.body["response"]);
        assert_eq!(again.body["result"], first.body["result"]);
        assert_eq!(again.body["session"]["numTurns"], 2, "the session is as it is now");
    }
    assert_eq!(turns(&server, &id).await, 2);
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_failed_is_not_tried_again() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    let first = send(message(&server, &id, "k", "trap")).await;
    let again = send(message(&server, &id, "k", "trap")).await;
    assert_eq!((is_replayed(&first), is_replayed(&again)), (false, true));
    for failed in [&first, &again] {
        is_error(&(failed.status, failed.body.clone()), 502, "agent_trapped");
    }
    for field in ["code", "error", "turn", "cost"] {
        assert_eq!(again.body[field], first.body[field], "{field}");
    }
    assert_eq!(turns(&server, &id).await, 1);
    server.shut_down().await;
}

#[tokio::test]
async fn a_key_names_one_message_to_one_session() {
    let server = TestServer::new().await;
    let (id, other) = (server.counter(json!({})).await, server.counter(json!({})).await);
    assert_eq!(send(message(&server, &id, "k", "one")).await.status, 200);
    for (id, prompt) in [(&id, "two"), (&other, "one")] {
        let refused = send(message(&server, id, "k", prompt)).await;
        is_error(&(refused.status, refused.body), 422, "idempotency_key_reused");
    }
    assert_eq!((turns(&server, &id).await, turns(&server, &other).await), (1, 0));
    for key in ["", "a b", "\"\"", &"x".repeat(256)] {
        let refused = send(message(&server, &id, key, "one")).await;
        assert_eq!(refused.body["field"], "Idempotency-Key", "{key}");
        is_error(&(refused.status, refused.body), 400, "invalid_field");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn who_sends_a_message_again_while_its_turn_runs_follows_that_turn() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::WAITS_FOR_THE_CLOCK, limits).await;
    let first = sending(&server, &id, "k", "wait");
    super::runs(&server, &id, 1).await;
    let path = format!("/api/sessions/{id}/message");
    let streaming = post(&server, &path, "k", &json!({ "prompt": "wait" })).send().await.unwrap();
    assert_eq!(streaming.headers()["idempotent-replayed"], "true");
    let others: Vec<_> = (0..20).map(|_| sending(&server, &id, "k", "wait")).collect();
    let refused = send(message(&server, &id, "k", "something else")).await;
    is_error(&(refused.status, refused.body), 422, "idempotency_key_reused");
    eventually("the turn is over", async || {
        server.advance(Duration::from_millis(1));
        first.is_finished()
    })
    .await;
    let first = first.await.unwrap();
    assert_eq!((first.status.as_u16(), is_replayed(&first)), (200, false));
    for other in others {
        let other = other.await.unwrap();
        assert_eq!((other.status.as_u16(), is_replayed(&other)), (200, true), "{}", other.body);
        assert_eq!(other.body["result"], first.body["result"]);
    }
    let events = Events::of(streaming).rest().await;
    let [deltas @ .., message, done] = events.as_slice() else { panic!("{events:?}") };
    let text: String = deltas.iter().map(Event::text).collect();
    assert_eq!(text, "one two three four five six");
    assert_eq!(message.data["data"], first.body["response"]);
    assert_eq!(done.data["turn"], 1);
    assert_eq!(turns(&server, &id).await, 1);
    server.shut_down().await;
}

#[tokio::test]
async fn who_follows_a_message_that_waits_is_refused_as_that_one_is() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let looping = under_way(&server, &id, "loop", 1).await;
    let both = [sending(&server, &id, "k", "wait"), sending(&server, &id, "k", "wait")];
    eventually("one waits", async || server.test.host.stats().queued == 1).await;
    let other = send(message(&server, &id, "k", "another")).await;
    is_error(&(other.status, other.body), 422, "idempotency_key_reused");
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    looping.await.unwrap();
    for waiting in both {
        let refused = waiting.await.unwrap();
        is_error(&(refused.status, refused.body), 409, "session_not_active");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_that_began_no_turn_leaves_its_key_free() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.post(&format!("/api/sessions/{id}/pause"), &json!({})).await.unwrap();
    let refused = send(message(&server, &id, "k", "one")).await;
    is_error(&(refused.status, refused.body), 409, "session_paused");
    server.client.post(&format!("/api/sessions/{id}/resume"), &json!({})).await.unwrap();
    let answered = send(message(&server, &id, "k", "another")).await;
    assert_eq!((answered.status.as_u16(), is_replayed(&answered)), (200, false));
    server.shut_down().await;
}

#[tokio::test]
async fn a_stream_of_a_turn_that_is_over_tells_what_came_of_it() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    let path = format!("/api/sessions/{id}/message");
    for (key, prompt, kinds) in
        [("a", "one", &["message", "done"][..]), ("b", "trap", &["error"][..])]
    {
        let first = post(&server, &path, key, &json!({ "prompt": prompt })).send().await.unwrap();
        let first = Events::of(first).rest().await;
        let again = post(&server, &path, key, &json!({ "prompt": prompt })).send().await.unwrap();
        assert_eq!(again.headers()["idempotent-replayed"], "true");
        let again = Events::of(again).rest().await;
        assert_eq!(again.iter().map(Event::kind).collect::<Vec<_>>(), kinds);
        assert_eq!(again.last().unwrap().data["turn"], first.last().unwrap().data["turn"]);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_key_whose_session_is_gone_says_so() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    send(message(&server, &id, "k", "one")).await;
    server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    let gone = send(message(&server, &id, "k", "one")).await;
    is_error(&(gone.status, gone.body), 404, "session_not_found");
    let body = json!({ "agent": "counter", "pattern": "hybrid" });
    let created = send(post(&server, "/api/sessions", "c", &body)).await.body;
    let path = format!("/api/sessions/{}", created["id"].as_str().unwrap());
    server.client.delete(&path).await.unwrap();
    let gone = send(post(&server, "/api/sessions", "c", &body)).await;
    is_error(&(gone.status, gone.body), 410, "session_gone");
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_is_created_once_however_many_ask_for_it_with_one_key() {
    let server = TestServer::new().await;
    let body = json!({ "agent": "counter", "pattern": "hybrid" });
    let creating: Vec<_> = (0..20)
        .map(|_| {
            let request = post(&server, "/api/sessions", "k", &body);
            tokio::spawn(async move { send(request).await })
        })
        .collect();
    let (mut ids, mut fresh) = (Vec::new(), 0);
    for created in creating {
        let created = created.await.unwrap();
        assert_eq!(created.status, 201, "{}", created.body);
        fresh += usize::from(!is_replayed(&created));
        ids.push(created.body["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!((ids.len(), fresh), (1, 1));
    let other = json!({ "agent": "echo", "pattern": "hybrid" });
    let refused = send(post(&server, "/api/sessions", "k", &other)).await;
    is_error(&(refused.status, refused.body), 422, "idempotency_key_reused");
    server.shut_down().await;
}

#[tokio::test]
async fn one_call_with_a_key_makes_one_session_and_one_turn() {
    let server = TestServer::new().await;
    let body = json!({ "agent": "counter", "message": "hello" });
    let mut ids = Vec::new();
    for _ in 0..3 {
        let stream = post(&server, "/api/agent/stream", "k", &body).send().await.unwrap();
        ids.push(stream.headers()["x-session-id"].to_str().unwrap().to_owned());
        let events = Events::of(stream).rest().await;
        assert_eq!(events[0].data["session_id"], ids[0].as_str());
        assert_eq!(events[events.len() - 2].data["data"]["content"], "turn 1: hello");
    }
    ids.dedup();
    assert_eq!((ids.len(), turns(&server, &ids[0]).await), (1, 1));
    server.shut_down().await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_and_not_before() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    send(message(&server, &id, "k", "one")).await;
    server.advance(Duration::from_secs(24 * 3600 - 1));
    assert!(is_replayed(&send(message(&server, &id, "k", "one")).await));
    let last = tokio::sync::Mutex::new(serde_json::Value::Null);
    eventually("the key is forgotten", || async {
        server.advance(Duration::from_secs(3600));
        let answer = send(message(&server, &id, "k", "one")).await;
        let is_new = !is_replayed(&answer);
        *last.lock().await = answer.body;
        is_new
    })
    .await;
    assert_eq!(last.into_inner()["response"]["content"], "turn 2: one");
    server.shut_down().await;
}

#[tokio::test]
async fn a_key_names_the_open_session_of_a_thread_also_when_that_has_ended() {
    let server = TestServer::new().await;
    let body = json!({ "agent": "counter", "pattern": "hybrid", "threadKey": "t" });
    let open = server.client.create(&body).await.unwrap();
    let first = post(&server, "/api/sessions", "k", &body);
    let first = send(first).await;
    assert_eq!((first.status.as_u16(), first.body["id"].as_str()), (200, Some(open.as_str())));
    server.client.post(&format!("/api/sessions/{open}/terminate"), &json!({})).await.unwrap();
    let again = send(post(&server, "/api/sessions", "k", &body)).await;
    assert_eq!(again.body["id"].as_str(), Some(open.as_str()));
    assert!(is_replayed(&again));
    assert_eq!(server.client.get("/api/sessions").await.unwrap().1["total"], 1);
    server.shut_down().await;
}

#[tokio::test]
async fn a_key_that_comes_to_two_sessions_at_once_begins_a_turn_of_one() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let one = server.session(&guests::LOOPS_FOREVER, limits).await;
    let other = server.counter(json!({})).await;
    let looping = sending(&server, &one, "k", "loop");
    runs(&server, &one, 1).await;
    for _ in 0..2 {
        let refused = send(message(&server, &other, "k", "two")).await;
        is_error(&(refused.status, refused.body), 422, "idempotency_key_reused");
    }
    assert_eq!(turns(&server, &other).await, 0);
    server.client.post(&format!("/api/sessions/{one}/force-kill"), &json!({})).await.unwrap();
    assert_eq!(looping.await.unwrap().status, 409);
    let refused = send(message(&server, &other, "k", "two")).await;
    is_error(&(refused.status, refused.body), 422, "idempotency_key_reused");

    // A message that has begun no turn leaves the key to another session.
    server.client.post(&format!("/api/sessions/{other}/pause"), &json!({})).await.unwrap();
    assert_eq!(send(message(&server, &other, "free", "three")).await.status, 409);
    let third = server.counter(json!({})).await;
    assert_eq!(send(message(&server, &third, "free", "three")).await.status, 200);
    server.shut_down().await;
}
