//! What becomes of a message while the session is busy, or has changed: `onBusy`, `If-Match`, the bound of the
//! queue; and how the body of a message may come.

use std::num::NonZeroU32;
use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{is_error, send, under_way};

/// A session that does not end a turn by itself.
async fn looper(server: &TestServer) -> String {
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4, "maxTurns": 10 });
    server.session(&guests::LOOPS_FOREVER, limits).await
}

fn sending(
    server: &TestServer,
    id: &str,
    prompt: &str,
    on_busy: &str,
) -> JoinHandle<(StatusCode, Value)> {
    let (client, path) = (server.client.clone(), format!("/api/sessions/{id}/message"));
    let body = json!({ "prompt": prompt, "streaming": false, "onBusy": on_busy });
    tokio::spawn(async move { client.post(&path, &body).await.unwrap() })
}

async fn queued(server: &TestServer, count: usize) {
    eventually("it waits", async || server.test.host.stats().queued == count).await;
}

#[tokio::test]
async fn a_message_that_is_not_to_wait_is_refused_while_a_turn_runs() {
    let server = TestServer::new().await;
    let id = looper(&server).await;
    let answered = sending(&server, &id, "one", "reject").await.unwrap();
    assert_eq!(answered.1["response"]["content"], "turn 1: one");
    let looping = under_way(&server, &id, "loop", 2).await;
    let refused = sending(&server, &id, "two", "reject").await.unwrap();
    is_error(&refused, 409, "turn_in_progress");
    assert_eq!(refused.1["turn"], 2);
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    is_error(&looping.await.unwrap(), 409, "turn_killed");
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_that_interrupts_is_next_and_those_that_wait_keep_their_order() {
    let server = TestServer::new().await;
    let id = looper(&server).await;
    let looping = under_way(&server, &id, "loop", 1).await;
    let first = sending(&server, &id, "first", "queue");
    queued(&server, 1).await;
    let second = sending(&server, &id, "second", "queue");
    queued(&server, 2).await;
    let newest = sending(&server, &id, "newest", "interrupt");
    let interrupted = looping.await.unwrap();
    is_error(&interrupted, 409, "turn_interrupted");
    assert_eq!(
        (&interrupted.1["turn"], &interrupted.1["session"]["status"]),
        (&json!(1), &json!("initializing"))
    );
    let mut answers = Vec::new();
    for answer in [newest, first, second] {
        let (status, answer) = answer.await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answers.push((answer["result"]["turn"].as_u64(), answer["response"]["content"].clone()));
    }
    assert_eq!(
        answers,
        [
            (Some(2), json!("turn 1: newest")),
            (Some(3), json!("turn 2: first")),
            (Some(4), json!("turn 3: second")),
        ]
    );
    let (_, status) = server.client.get(&format!("/api/sessions/{id}/status")).await.unwrap();
    assert_eq!(
        (&status["status"], &status["forceKillRequested"]),
        (&json!("active"), &json!(false))
    );
    server.shut_down().await;
}

#[tokio::test]
async fn a_user_that_interrupts_again_and_again_puts_no_session_into_error() {
    let server = TestServer::new().await;
    let id = looper(&server).await;
    let mut running = under_way(&server, &id, "loop", 1).await;
    for turn in 2..=12 {
        let next = sending(&server, &id, "loop", "interrupt");
        is_error(&running.await.unwrap(), 409, "turn_interrupted");
        super::runs(&server, &id, turn).await;
        running = next;
    }
    let last = sending(&server, &id, "enough", "interrupt").await.unwrap();
    is_error(&running.await.unwrap(), 409, "turn_interrupted");
    assert_eq!(last.1["response"]["content"], "turn 1: enough");
    assert_eq!(
        (&last.1["session"]["numTurns"], &last.1["session"]["status"]),
        (&json!(1), &json!("active"))
    );
    server.shut_down().await;
}

#[tokio::test]
async fn a_thousand_clients_of_one_session_are_answered_or_told_that_its_queue_is_full() {
    let server = TestServer::new().await;
    let id = looper(&server).await;
    let looping = under_way(&server, &id, "loop", 1).await;
    let path = format!("/api/sessions/{id}/message");
    let clients: Vec<_> = (0..1_000)
        .map(|n| {
            let body = json!({ "prompt": format!("client {n}"), "streaming": false });
            let request = server.client.request(Method::POST, &path).json(&body);
            tokio::spawn(async move { send(request).await })
        })
        .collect();
    let room = server.test.host.options().max_queued_messages;
    eventually("all but those that wait are refused", async || {
        clients.iter().filter(|client| client.is_finished()).count() == 1_000 - room
    })
    .await;
    let limits = json!({ "prompt": "go on", "streaming": false, "onBusy": "interrupt" });
    is_error(&server.client.post(&path, &limits).await.unwrap(), 429, "queue_full");
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    is_error(&looping.await.unwrap(), 409, "turn_killed");
    let mut waited = 0;
    for client in clients {
        let answer = client.await.unwrap();
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.headers["retry-after"], "1");
            is_error(&(answer.status, answer.body), 429, "queue_full");
        } else {
            is_error(&(answer.status, answer.body), 409, "session_not_active");
            waited += 1;
        }
    }
    assert_eq!(waited, room);
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_for_a_revision_that_is_gone_begins_no_turn() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let read = send(server.client.request(Method::GET, &format!("/api/sessions/{id}"))).await;
    let tag = read.headers["etag"].to_str().unwrap().to_owned();
    let message = |tag: &str| {
        let path = format!("/api/sessions/{id}/message");
        let request = server.client.request(Method::POST, &path).header("if-match", tag);
        send(request.json(&json!({ "prompt": "x", "streaming": false })))
    };
    let answered = message(&tag).await;
    assert_eq!(answered.body["response"]["content"], "turn 1: x");
    let now = answered.headers["etag"].to_str().unwrap().to_owned();
    assert_ne!(now, tag);
    let refused = message(&tag).await;
    assert_eq!(refused.body["etag"], now.as_str());
    is_error(&(refused.status, refused.body), 412, "precondition_failed");
    let unknown = message("7").await;
    is_error(&(unknown.status, unknown.body), 400, "invalid_field");
    assert_eq!(message(&now).await.body["response"]["content"], "turn 2: x");
    assert_eq!(message("*").await.body["response"]["content"], "turn 3: x");
    server.shut_down().await;
}

#[tokio::test]
async fn a_body_is_json_without_a_content_type_and_where_it_is_said_to_be_text() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let path = format!("/api/sessions/{id}/message");
    let body = json!({ "prompt": "x", "streaming": false }).to_string();
    let post = |kind: Option<&str>, origin: Option<&str>| {
        let mut request = server.client.request(Method::POST, &path).body(body.clone());
        for (name, value) in [("content-type", kind), ("origin", origin)] {
            request = value.into_iter().fold(request, |request, value| request.header(name, value));
        }
        send(request)
    };
    for kind in [None, Some("text/plain"), Some("text/plain;charset=UTF-8")] {
        assert_eq!(post(kind, None).await.status, 200, "{kind:?}");
        let foreign = post(kind, Some("https://evil.example")).await;
        is_error(&(foreign.status, foreign.body), 403, "foreign_origin");
    }
    let form = post(Some("application/x-www-form-urlencoded"), None).await;
    is_error(&(form.status, form.body), 415, "unsupported_media_type");
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_that_interrupts_cannot_be_for_a_revision_and_ends_nothing() {
    let server = TestServer::new().await;
    let id = looper(&server).await;
    let looping = under_way(&server, &id, "loop", 1).await;
    let path = format!("/api/sessions/{id}/message");
    let request = server.client.request(Method::POST, &path).header("if-match", "\"1\"");
    let body = json!({ "prompt": "now", "streaming": false, "onBusy": "interrupt" });
    let refused = send(request.json(&body)).await;
    is_error(&(refused.status, refused.body), 400, "invalid_field");
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["runningTurn"], 1);
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    is_error(&looping.await.unwrap(), 409, "turn_killed");
    server.shut_down().await;
}

#[tokio::test]
async fn one_call_with_a_message_that_is_refused_leaves_no_session() {
    let server = TestServer::new().await;
    let body = json!({ "agent": "counter", "message": "x".repeat((1 << 20) + 1) });
    let refused = server.client.post("/api/agent/stream", &body).await.unwrap();
    is_error(&refused, 413, "message_too_large");
    assert_eq!(server.client.get("/api/sessions").await.unwrap().1["total"], 0);
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_of_a_user_who_has_sent_enough_ends_no_turn() {
    let rate = NonZeroU32::new(2);
    let server =
        TestServer::with(|host| host.quotas.messages_per_minute_per_user = rate, |_| {}).await;
    let fields = json!({ "maxFuelPerTurn": u64::MAX / 4, "userId": "u" });
    let id = server.session(&guests::LOOPS_FOREVER, fields).await;
    server.client.ask(&id, "one").await.unwrap();
    let looping = under_way(&server, &id, "loop", 2).await;
    let refused = sending(&server, &id, "enough", "interrupt").await.unwrap();
    is_error(&refused, 429, "rate_limited");
    let (_, status) = server.client.get(&format!("/api/sessions/{id}/status")).await.unwrap();
    assert_eq!(status["runningTurn"], 2, "it goes on");
    server.advance(Duration::from_secs(30));
    let (status, answer) = sending(&server, &id, "now", "interrupt").await.unwrap();
    assert_eq!(status, 200, "{answer}");
    is_error(&looping.await.unwrap(), 409, "turn_interrupted");
    // It was counted once.
    is_error(&sending(&server, &id, "more", "queue").await.unwrap(), 429, "rate_limited");
    server.advance(Duration::from_secs(30));
    assert_eq!(sending(&server, &id, "more", "queue").await.unwrap().0, 200);
    server.shut_down().await;
}
