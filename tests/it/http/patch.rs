//! `PATCH /api/sessions/{id}`, `complete` and `extend`.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{is_error, send};

async fn patch(server: &TestServer, id: &str, body: Value) -> Value {
    let (status, session) =
        server.client.patch(&format!("/api/sessions/{id}"), &body).await.unwrap();
    assert_eq!(status, 200, "{body}: {session}");
    session
}

/// The events of a session of a kind: their payloads.
async fn payloads(server: &TestServer, id: &str, kind: &str) -> Vec<Value> {
    let (_, page) = server.client.get(&format!("/api/sessions/{id}/events")).await.unwrap();
    let events = page["events"].as_array().unwrap().clone();
    let of_kind = events.into_iter().filter(|event| event["event_type"] == kind);
    of_kind.map(|mut event| event["payload"].take()).collect()
}

#[tokio::test]
async fn a_patch_changes_what_it_names_in_one_commit_with_one_event() {
    let server = TestServer::new().await;
    let id = server.counter(json!({ "context": { "a": 1, "b": { "c": 2 } } })).await;
    let after = patch(
        &server,
        &id,
        json!({
            "tags": ["x", "x"], "description": "what for", "conversationId": 7, "projectId": "p",
            "context": { "a": null, "b": { "d": 3 } }, "metadata": { "m": 1 },
            "checkpoint": { "step": 3 }, "maxTurns": 9, "unknown": 1,
        }),
    )
    .await;
    assert_eq!(after["context"], json!({ "b": { "c": 2, "d": 3 } }));
    assert_eq!((&after["tags"], &after["maxTurns"]), (&json!(["x"]), &json!(9)));
    assert_eq!(
        (&after["checkpoint"], &after["ignored"]),
        (&json!({ "step": 3 }), &json!(["unknown"]))
    );
    let updates = payloads(&server, &id, "session.updated").await;
    let fields = [
        "tags",
        "description",
        "conversationId",
        "projectId",
        "context",
        "metadata",
        "checkpoint",
        "limits",
    ];
    assert_eq!(updates, [json!({ "status": "initializing", "updates": fields })]);
    let cleared = patch(&server, &id, json!({ "checkpoint": null, "description": null })).await;
    assert_eq!((&cleared["checkpoint"], &cleared["description"]), (&Value::Null, &Value::Null));
    server.shut_down().await;
}

#[tokio::test]
async fn the_agent_reads_the_context_that_a_patch_has_made() {
    let server = TestServer::new().await;
    let id = server.session(&guests::DESCRIBES_ITS_SESSION, json!({ "context": { "a": 1 } })).await;
    patch(&server, &id, json!({ "context": { "b": "patched" } })).await;
    let told = server.client.ask(&id, "session").await.unwrap();
    assert!(told.contains("patched") && told.contains("\"a\""), "{told}");
    server.shut_down().await;
}

#[tokio::test]
async fn an_agent_sets_the_checkpoint_with_its_turn_and_a_turn_that_fails_does_not() {
    let server = TestServer::new().await;
    let id = server.session(&guests::DESCRIBES_ITS_SESSION, json!({})).await;
    let ask = async |text: &str| {
        let (_, answer) = server.client.message(&id, text).await.unwrap();
        serde_json::from_str::<Value>(answer["response"]["content"].as_str().unwrap()).unwrap()
    };
    assert_eq!(ask("checkpoint").await, Value::Null);
    for _ in 0..2 {
        // The second is no change.
        assert_eq!(ask("keep {\"step\":3}").await, json!({ "step": 3 }), "seen within the turn");
    }
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["checkpoint"], json!({ "step": 3 }));
    let updates = payloads(&server, &id, "session.updated").await;
    assert_eq!(updates, [json!({ "status": "active", "updates": ["checkpoint"] })]);
    let failed = server.client.message(&id, "keep-and-fail").await.unwrap();
    is_error(&failed, 422, "agent_failed");
    assert_eq!(ask("checkpoint").await, json!({ "step": 3 }));
    patch(&server, &id, json!({ "checkpoint": { "done": true } })).await;
    assert_eq!(ask("checkpoint").await, json!({ "step": 3, "done": true }));
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_sets_the_status_and_repeats_it_without_an_error() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    for (asked, status) in [
        ("idle", "idle"),
        ("active", "active"),
        ("paused", "paused"),
        ("active", "active"),
        ("crashed", "error"),
        ("active", "active"),
        ("error", "error"),
        ("active", "active"),
        ("completed", "completed"),
    ] {
        for _ in 0..2 {
            let after = patch(&server, &id, json!({ "status": asked })).await;
            assert_eq!(after["status"], status, "{asked}");
            if asked == "idle" {
                assert_eq!(after["residency"], "asleep");
            }
        }
        if status == "active" {
            assert!(server.client.ask(&id, "more").await.unwrap().ends_with("more"));
        }
    }
    let path = format!("/api/sessions/{id}");
    let refused = server.client.patch(&path, &json!({ "status": "paused" })).await.unwrap();
    is_error(&refused, 409, "invalid_transition");
    let labels = patch(&server, &id, json!({ "tags": ["over"] })).await;
    assert_eq!(labels["tags"], json!(["over"]), "labels of what is over can change");
    server.shut_down().await;
}

#[tokio::test]
async fn a_patch_that_is_refused_changes_nothing() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let path = format!("/api/sessions/{id}");
    let (_, before) = server.client.get(&path).await.unwrap();
    for (body, code) in [
        (json!({ "tags": ["a"], "status": "stopping" }), "invalid_status"),
        (json!({ "tags": ["a"], "context": { "a": "x".repeat(70_000) } }), "invalid_field"),
        (json!({ "tags": ["a"], "userId": "ann" }), "invalid_field"),
        (json!({ "tags": ["a"], "maxTurnz": 3 }), "unknown_field"),
    ] {
        is_error(&server.client.patch(&path, &body).await.unwrap(), 400, code);
    }
    assert_eq!(server.client.get(&path).await.unwrap().1, before);
    server.shut_down().await;
}

#[tokio::test]
async fn a_patch_is_for_the_revision_that_its_client_has_seen() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let path = format!("/api/sessions/{id}");
    let tag = send(server.client.request(Method::GET, &path)).await.headers["etag"].clone();
    let patch = |tag: &reqwest::header::HeaderValue| {
        let request = server.client.request(Method::PATCH, &path).header("if-match", tag);
        send(request.json(&json!({ "context": { "n": 1 } })))
    };
    let first = patch(&tag).await;
    assert_eq!(first.status, 200);
    assert_ne!(first.headers["etag"], tag);
    let second = patch(&tag).await;
    is_error(&(second.status, second.body), 412, "precondition_failed");
    assert_eq!(patch(&first.headers["etag"]).await.status, 200, "nothing has changed since");
    server.shut_down().await;
}

#[tokio::test]
async fn a_patch_that_terminates_kills_the_running_turn_and_any_other_waits_for_it() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let looping = super::under_way(&server, &id, "loop", 1).await;
    let path = format!("/api/sessions/{id}");
    let (client, waiting) = (server.client.clone(), path.clone());
    let waiting =
        tokio::spawn(async move { client.patch(&waiting, &json!({ "tags": ["after"] })).await });
    let ended = patch(&server, &id, json!({ "status": "terminated" })).await;
    assert_eq!(
        (&ended["status"], &ended["terminationReason"]),
        (&json!("terminated"), &json!("user_requested"))
    );
    is_error(&looping.await.unwrap(), 409, "turn_killed");
    assert_eq!(waiting.await.unwrap().unwrap().0, 200);
    assert_eq!(server.client.get(&path).await.unwrap().1["tags"], json!(["after"]));
    server.shut_down().await;
}

#[tokio::test]
async fn an_idle_limit_is_warned_of_once_and_put_off_by_an_extension() {
    let server = TestServer::new().await;
    let minutes = |minutes: u64| minutes * 60_000;
    let id = server.counter(json!({ "maxIdleTimeMs": minutes(45) })).await;
    server.client.ask(&id, "one").await.unwrap();
    server.advance(Duration::from_secs(40 * 60));
    server.test.host.settle().await;
    let warnings = async || payloads(&server, &id, "session.idle-warning").await;
    assert_eq!(warnings().await, [json!({ "minutesRemaining": 5 })]);
    server.advance(Duration::from_secs(60));
    server.test.host.settle().await;
    assert_eq!(warnings().await.len(), 1, "once");

    let path = format!("/api/sessions/{id}/extend");
    let (_, extended) = server.client.post(&path, &json!({})).await.unwrap();
    assert_eq!(extended["idleDeadline"], "2030-01-01T01:26:00.000Z", "{extended}");
    server.advance(Duration::from_secs(44 * 60));
    server.test.host.settle().await;
    assert_eq!(warnings().await.len(), 2, "of the new end");
    let (_, extended) = server.client.post(&path, &json!({ "minutes": 2 })).await.unwrap();
    assert_eq!(extended["session"]["idleDeadline"], "2030-01-01T01:27:00.000Z");
    server.advance(Duration::from_secs(2 * 60));
    server.test.host.settle().await;
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["terminationReason"], "idle_timeout");
    is_error(&server.client.post(&path, &json!({})).await.unwrap(), 409, "session_not_active");

    let limited = server.counter(json!({ "maxIdleTimeMs": 60_000 })).await;
    let path = format!("/api/sessions/{limited}/extend");
    let most = 30 * 24 * 60;
    assert_eq!(server.client.post(&path, &json!({ "minutes": most })).await.unwrap().0, 200);
    let refused = server.client.post(&path, &json!({ "minutes": most + 1 })).await.unwrap();
    is_error(&refused, 400, "invalid_field");

    let endless = server.counter(json!({})).await;
    let path = format!("/api/sessions/{endless}/extend");
    let (status, answer) = server.client.post(&path, &json!({})).await.unwrap();
    assert_eq!((status.as_u16(), &answer["idleDeadline"]), (200, &Value::Null));
    assert!(answer["message"].as_str().unwrap().contains("no idle limit"));
    for body in
        [json!({ "ms": 0 }), json!({ "ms": 1, "minutes": 1 }), json!({ "minutes": 99_999_999 })]
    {
        is_error(&server.client.post(&path, &body).await.unwrap(), 400, "invalid_field");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_warning_that_was_given_before_a_restart_is_not_given_again() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), dormouse::ManualClock::new());
    let test = dormouse_tests::TestHost::on(directory.path(), &clock).await;
    let mut new = dormouse::NewSession::agent("counter").pattern(dormouse::Pattern::LongRunning);
    new.max_idle = Some(Duration::from_secs(45 * 60));
    let id = test.host.sessions().create(new).await.unwrap().id();
    clock.advance(Duration::from_secs(41 * 60));
    test.host.settle().await;
    test.shut_down().await;
    let test = dormouse_tests::TestHost::on(directory.path(), &clock).await;
    clock.advance(Duration::from_secs(60));
    test.host.settle().await;
    let events = test.host.sessions().get(id).events(dormouse::Cursor(0), 100).await.unwrap();
    let warnings = events
        .entries
        .iter()
        .filter(|entry| entry.event.kind() == dormouse::EventKind::IdleWarning);
    assert_eq!(warnings.count(), 1);
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_is_completed_by_hand_once_its_turn_is_over() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let path = format!("/api/sessions/{id}/complete");
    for _ in 0..2 {
        let (status, answer) = server.client.post(&path, &json!({})).await.unwrap();
        assert_eq!((status.as_u16(), &answer["session"]["status"]), (200, &json!("completed")));
    }
    let ended = server.counter(json!({})).await;
    server.client.post(&format!("/api/sessions/{ended}/stop"), &json!({})).await.unwrap();
    let refused = server.client.post(&format!("/api/sessions/{ended}/complete"), &json!({})).await;
    is_error(&refused.unwrap(), 409, "invalid_transition");
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_tells_of_its_last_failure() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_ON_SECOND_TURN, json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    server.client.message(&id, "two").await.unwrap();
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["consecutiveFailures"], 1);
    let error = &session["lastError"];
    assert_eq!((&error["turn"], &error["code"]), (&json!(2), &json!("agent_trapped")));
    server.shut_down().await;
}

#[tokio::test]
async fn a_patch_that_terminates_for_a_revision_is_not_refused_for_the_turn_that_it_kills() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let looping = super::under_way(&server, &id, "loop", 1).await;
    let path = format!("/api/sessions/{id}");
    let tag = send(server.client.request(Method::GET, &path)).await.headers["etag"].clone();
    let request = server.client.request(Method::PATCH, &path).header("if-match", &tag);
    let ended = send(request.json(&json!({ "status": "terminated" }))).await;
    assert_eq!((ended.status.as_u16(), &ended.body["status"]), (200, &json!("terminated")));
    is_error(&looping.await.unwrap(), 409, "turn_killed");
    server.shut_down().await;
}

#[tokio::test]
async fn what_an_agent_may_reach_is_said_on_create_and_changed_by_a_patch() {
    let server = TestServer::new().await;
    let rules = |session: &Value| session["egress"].clone();
    let path = |id: &str| format!("/api/sessions/{id}");
    let id =
        server.counter(json!({ "egress": ["GET,POST API.example.com.", "*.example.org:*"] })).await;
    let (_, session) = server.client.get(&path(&id)).await.unwrap();
    assert_eq!(rules(&session), json!(["GET,POST api.example.com", "*.example.org:*"]));

    let after = patch(&server, &id, json!({ "egress": ["api.example.com:8443"] })).await;
    assert_eq!(rules(&after), json!(["api.example.com:8443"]));
    let updates = payloads(&server, &id, "session.updated").await;
    assert_eq!(updates[0]["updates"], json!(["egress"]));
    server.client.message(&id, "hello").await.unwrap();
    let fork = server.client.post(&format!("{}/fork", path(&id)), &json!({})).await.unwrap();
    assert_eq!(rules(&fork.1["sessions"][0]), json!(["api.example.com:8443"]));
    assert_eq!(rules(&patch(&server, &id, json!({ "egress": null })).await), json!([]));

    let many: Vec<String> = (0..65).map(|n| format!("h{n}.example")).collect();
    let long = vec![format!("{}.example", "a.".repeat(100)); 40];
    for (bad, told) in [
        (json!(["api.example.com/path"]), "is no host"),
        (json!(["get api.example.com"]), "is no method"),
        (json!(["GET"]), "has no host behind it"),
        (json!([7]), "egress"),
        (json!("*"), "egress"),
        (json!(many), "at most 64 rules"),
        (json!(long), "at most 8192 bytes"),
    ] {
        let body = json!({ "egress": bad });
        let answer = server.client.patch(&path(&id), &body).await.unwrap();
        is_error(&answer, 400, "invalid_field");
        assert!(answer.1["error"].as_str().unwrap().contains(told), "{answer:?}");
        let created = server.client.post("/api/sessions", &body).await.unwrap();
        is_error(&created, 400, "invalid_field");
        assert_eq!(created.1["error"], answer.1["error"]);
    }
}
