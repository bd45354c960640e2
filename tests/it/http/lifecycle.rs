//! What is asked of one session besides messages.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_test_guests::unimaged;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use super::{is_error, names, send};

const NOBODY: &str = "0190f4c6-0000-7000-8000-000000000000";

/// An order that succeeds: the whole answer.
async fn order(server: &TestServer, id: &str, order: &str) -> Value {
    let answer =
        send(server.client.request(Method::POST, &format!("/api/sessions/{id}/{order}"))).await;
    assert_eq!(answer.status, 200, "{order}: {}", answer.body);
    answer.body
}

#[tokio::test]
async fn the_status_of_a_session_has_what_a_client_polls_for() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let (status, found) = server.client.get(&format!("/api/sessions/{id}/status")).await.unwrap();
    assert_eq!(status, 200);
    let expected = [
        "abortRequested",
        "currentTool",
        "forceKillRequested",
        "lastActivityAt",
        "numTurns",
        "reason",
        "residency",
        "runningTurn",
        "status",
        "success",
        "totalCost",
        "totalTokens",
    ];
    assert_eq!(names(&found), expected.into());
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    for field in expected.into_iter().filter(|field| !["reason", "success"].contains(field)) {
        assert_eq!(found[field], session[field], "{field}");
    }
    assert_eq!((&found["success"], &found["status"]), (&json!(true), &json!("active")));
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_sleeps_and_wakes_by_hand_and_goes_on_where_it_was() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let slept = order(&server, &id, "sleep").await;
    assert_eq!(names(&slept), ["message", "session", "success"].into());
    assert_eq!(
        (&slept["success"], &slept["session"]["residency"]),
        (&json!(true), &json!("asleep"))
    );
    assert_eq!(slept["session"]["status"], "active", "sleep is no status");
    let woken = order(&server, &id, "wake").await;
    assert_eq!(
        (&woken["success"], &woken["session"]["residency"]),
        (&json!(true), &json!("resident"))
    );
    order(&server, &id, "sleep").await;
    order(&server, &id, "sleep").await;
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_whose_state_would_be_lost_is_not_put_to_sleep() {
    let server = TestServer::new().await;
    let id = server.session(&unimaged(&guests::COUNTS_WITHOUT_SAVING), json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let refused =
        server.client.post(&format!("/api/sessions/{id}/sleep"), &json!({})).await.unwrap();
    is_error(&refused, 409, "state_unsaved");
    assert_eq!(refused.1["unsavedTurns"], 1);
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}

#[tokio::test]
async fn stop_force_kill_and_terminate_answer_with_the_session_that_they_ended() {
    let server = TestServer::new().await;
    for (way, reason) in [("stop", "stopped"), ("force-kill", "force_killed")] {
        let id = server.counter(json!({})).await;
        server.client.ask(&id, "one").await.unwrap();
        let ended = order(&server, &id, way).await;
        assert_eq!(names(&ended), ["message", "session", "success"].into());
        assert_eq!(ended["success"], true);
        assert!(!ended["message"].as_str().unwrap().is_empty());
        let session = &ended["session"];
        assert_eq!(
            (&session["status"], &session["terminationReason"]),
            (&json!("terminated"), &json!(reason))
        );
        assert_eq!(session["terminatedAt"], "2030-01-01T00:00:00.000Z");
        assert_eq!(
            (&session["completedAt"], &session["residency"]),
            (&Value::Null, &json!("asleep"))
        );
        let killed = way == "force-kill";
        assert_eq!(
            (&session["abortRequested"], &session["forceKillRequested"]),
            (&json!(true), &json!(killed))
        );
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_termination_has_the_reason_of_the_caller_or_that_of_a_user() {
    let server = TestServer::new().await;
    let terminate = async |body: Option<Value>| {
        let id = server.counter(json!({})).await;
        let mut request =
            server.client.request(Method::POST, &format!("/api/sessions/{id}/terminate"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        send(request).await
    };
    for (body, reason) in [
        (None, "user_requested"),
        (Some(json!({})), "user_requested"),
        (Some(json!({ "reason": null })), "user_requested"),
        (Some(json!({ "reason": "done for today ä" })), "done for today ä"),
    ] {
        let ended = terminate(body).await;
        assert_eq!(ended.status, 200, "{}", ended.body);
        assert_eq!(names(&ended.body), ["reason", "session"].into());
        assert_eq!(ended.body["reason"], reason);
        assert_eq!(ended.body["session"]["terminationReason"], reason);
        assert_eq!(ended.body["session"]["status"], "terminated");
    }
    for reason in [json!(""), json!(7), json!("x".repeat(201))] {
        let refused = terminate(Some(json!({ "reason": reason }))).await;
        assert_eq!(refused.body["field"], "reason");
        is_error(&(refused.status, refused.body), 400, "invalid_field");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_over_takes_no_message_and_is_ended_again_without_a_change() {
    let server = TestServer::new().await;
    let terminated = server.counter(json!({})).await;
    order(&server, &terminated, "terminate").await;
    let completed = server.counter(json!({ "pattern": "ephemeral" })).await;
    server.client.ask(&completed, "only").await.unwrap();
    for (id, status) in [(&terminated, "terminated"), (&completed, "completed")] {
        let (code, mut refused) = server.client.message(id, "more").await.unwrap();
        refused.as_object_mut().unwrap().remove("requestId").unwrap();
        let reason = if status == "terminated" { json!("user_requested") } else { json!(null) };
        let error = refused.as_object_mut().unwrap().remove("error").unwrap();
        let error = error.as_str().unwrap();
        assert!(error.starts_with("Session is not active: it is "), "{error}");
        assert!(error.contains("create another session"), "{error}");
        let expected = json!({ "code": "session_not_active", "status": status, "reason": reason });
        assert_eq!((code.as_u16(), refused), (409, expected));
        for way in ["stop", "terminate", "force-kill"] {
            let again = order(&server, id, way).await;
            assert_eq!(
                (&again["session"]["status"], &again["session"]["terminationReason"]),
                (&json!(status), &reason),
                "{way}"
            );
        }
        let wake =
            server.client.post(&format!("/api/sessions/{id}/wake"), &json!({})).await.unwrap();
        is_error(&wake, 409, "session_not_active");
        assert_eq!(wake.1["status"], status);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_stop_waits_for_the_running_turn_and_says_that_it_does() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::WAITS_FOR_THE_CLOCK, limits).await;
    let waiting = super::under_way(&server, &id, "wait", 1).await;
    let stopping = order(&server, &id, "stop").await;
    assert_eq!(
        (&stopping["success"], &stopping["session"]["runningTurn"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(stopping["session"]["abortRequested"], true);
    assert_eq!(stopping["session"]["status"], "stopping", "its turn still runs");
    // Less than the five seconds of grace, over and over, until the guest has seen the clock turn.
    eventually("the turn finishes", async || {
        server.advance(Duration::from_millis(1));
        waiting.is_finished()
    })
    .await;
    let (status, answer) = waiting.await.unwrap();
    assert_eq!(
        (status.as_u16(), &answer["response"]["content"]),
        (200, &json!("one two three four five six"))
    );
    eventually("the session has ended", async || {
        let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
        session["status"] == "terminated" && session["terminationReason"] == "stopped"
    })
    .await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_that_is_not_there_is_404_at_every_endpoint() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let deleted = server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(deleted, (200_u16.try_into().unwrap(), json!({ "success": true, "id": id })));
    let upper = id.to_uppercase();
    for id in [&id, NOBODY, "me", "..%2f..%2fetc", &"x".repeat(500), &upper, "%00"] {
        for (method, rest) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::GET, "/status"),
            (Method::GET, "/turns"),
            (Method::GET, "/turns/1"),
            (Method::GET, "/events"),
            (Method::POST, "/message"),
            (Method::POST, "/sleep"),
            (Method::POST, "/wake"),
            (Method::POST, "/stop"),
            (Method::POST, "/force-kill"),
            (Method::POST, "/terminate"),
            (Method::POST, "/complete"),
            (Method::POST, "/extend"),
            (Method::PATCH, ""),
        ] {
            let mut request =
                server.client.request(method.clone(), &format!("/api/sessions/{id}{rest}"));
            if method == Method::POST {
                request = request.json(&json!({ "prompt": "hello", "streaming": false }));
            } else if method == Method::PATCH {
                request = request.json(&json!({ "tags": [] }));
            }
            let answer = send(request).await;
            assert_eq!(answer.body["error"], "Session not found", "{rest}: {}", answer.body);
            assert!(answer.body["id"].as_str().unwrap().chars().count() <= 64);
            is_error(&(answer.status, answer.body), 404, "session_not_found");
        }
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_is_deleted_even_while_it_runs() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let looping = super::under_way(&server, &id, "loop", 1).await;
    let (status, _) = server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(status, 200);
    let (status, answer) = looping.await.unwrap();
    assert!(status.is_client_error(), "{status}: {answer}");
    is_error(
        &server.client.get(&format!("/api/sessions/{id}")).await.unwrap(),
        404,
        "session_not_found",
    );
    server.shut_down().await;
}

#[tokio::test]
async fn an_ephemeral_session_is_removed_a_minute_after_its_answer() {
    let server = TestServer::new().await;
    let id = server.counter(json!({ "pattern": "ephemeral" })).await;
    let (_, answer) = server.client.message(&id, "only").await.unwrap();
    assert_eq!(answer["session"]["status"], "completed");
    assert_eq!(answer["session"]["completedAt"], "2030-01-01T00:00:00.000Z");
    assert_eq!(answer["session"]["terminatedAt"], Value::Null);
    server.advance(Duration::from_secs(61));
    eventually("it is removed", async || {
        server.client.get(&format!("/api/sessions/{id}")).await.unwrap().0 == 404
    })
    .await;
    server.shut_down().await;
}

#[tokio::test]
async fn each_answer_with_a_session_has_its_entity_tag() {
    let server = TestServer::new().await;
    let id = server.counter(json!({ "maxIdleTimeMs": 600_000 })).await;
    server.client.ask(&id, "one").await.unwrap();
    let path = format!("/api/sessions/{id}");
    let (_, snapshots) = server.client.get(&format!("{path}/snapshots")).await.unwrap();
    let snapshot = json!({ "snapshotId": snapshots["snapshots"][0]["id"] });
    let nothing = json!({});
    for (way, body) in [
        ("sleep", &nothing),
        ("wake", &nothing),
        ("pause", &nothing),
        ("resume", &nothing),
        ("rewind", &snapshot),
        ("extend", &nothing),
        ("complete", &nothing),
        ("stop", &nothing),
        ("force-kill", &nothing),
        ("terminate", &nothing),
    ] {
        let request = server.client.request(Method::POST, &format!("{path}/{way}")).json(body);
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{way}: {}", answer.body);
        let now = send(server.client.request(Method::GET, &path)).await;
        assert_eq!(answer.headers["etag"], now.headers["etag"], "{way}");
    }
    server.shut_down().await;
}
