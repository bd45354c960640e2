//! Snapshots over HTTP: listed, forked, rewound, resumed from, kept as templates.

use dormouse::Host;
use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{is_error, names};

async fn post(server: &TestServer, path: &str, body: Value) -> (StatusCode, Value) {
    server.client.post(path, &body).await.unwrap()
}

async fn head(server: &TestServer, id: &str) -> String {
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    session["sessionId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn snapshots_are_listed_newest_first_and_the_head_is_marked() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    server.client.ask(&id, "two").await.unwrap();
    let (status, list) = server.client.get(&format!("/api/sessions/{id}/snapshots")).await.unwrap();
    assert_eq!((status.as_u16(), &list["count"]), (200, &json!(2)));
    let (new, old) = (&list["snapshots"][0], &list["snapshots"][1]);
    let expected = [
        "agentDigest",
        "bytes",
        "commit",
        "head",
        "id",
        "lastResumedAt",
        "parent",
        "reason",
        "resumable",
        "resumeFailures",
        "takenAt",
        "turn",
    ];
    assert_eq!(names(new), expected.into());
    assert_eq!(new["id"], json!(head(&server, &id).await));
    assert_eq!((&new["head"], &old["head"]), (&json!(true), &json!(false)));
    assert_eq!((&new["parent"], &old["parent"]), (&old["id"], &Value::Null));
    assert_eq!((&new["turn"], &old["turn"]), (&json!(2), &json!(1)));
    assert_eq!((&new["resumable"], &new["reason"]), (&json!(true), &Value::Null));
    server.advance(std::time::Duration::from_secs(24 * 3600 + 1));
    let (_, list) = server.client.get(&format!("/api/sessions/{id}/snapshots")).await.unwrap();
    let stale = &list["snapshots"][0];
    assert_eq!((&stale["resumable"], &stale["reason"]), (&json!(false), &json!("stale")));
    server.shut_down().await;
}

/// The snapshots of a session, newest first, each with what has come of going on from it.
async fn tried(server: &TestServer, id: &str) -> Vec<(Value, Value, Value, Value)> {
    let (_, list) = server.client.get(&format!("/api/sessions/{id}/snapshots")).await.unwrap();
    let tried = |one: &Value| {
        let [resumable, reason] = ["resumable", "reason"].map(|name| one[name].clone());
        let [failures, last] = ["resumeFailures", "lastResumedAt"].map(|name| one[name].clone());
        (resumable, reason, failures, last)
    };
    list["snapshots"].as_array().unwrap().iter().map(tried).collect()
}

#[tokio::test]
async fn snapshots_tell_when_sessions_went_on_from_them_and_how_often_one_could_not() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    server.client.ask(&id, "two").await.unwrap();
    let (newest, start) = (head(&server, &id).await, json!("2030-01-01T00:00:00.000Z"));
    let fresh = (json!(true), json!(null), json!(0), json!(null));
    assert_eq!(tried(&server, &id).await, [fresh.clone(), fresh.clone()]);
    let resume = async |agent: &str| {
        let body = json!({ "agent": agent, "config": { "resumeSessionId": newest } });
        post(&server, "/api/sessions", body).await
    };
    assert_eq!(resume("counter").await.0, 201);
    let resumed = (json!(true), json!(null), json!(0), start.clone());
    assert_eq!(tried(&server, &id).await, [resumed, fresh.clone()]);
    is_error(&resume("echo").await, 409, "other_agent");
    server.advance(std::time::Duration::from_secs(24 * 3600 + 1));
    assert_eq!(resume("counter").await.1["resume"]["outcome"], "stale");
    let stale = |failures: u32, last| (json!(false), json!("stale"), json!(failures), last);
    assert_eq!(tried(&server, &id).await, [stale(2, start), stale(0, json!(null))]);

    let fork = post(&server, &format!("/api/sessions/{id}/fork"), json!({})).await;
    assert_eq!(fork.0, 201);
    let forked = json!("2030-01-02T00:00:01.000Z");
    assert_eq!(tried(&server, &id).await[0], stale(2, forked.clone()));
    let rewind = json!({ "snapshotId": newest });
    post(&server, &format!("/api/sessions/{id}/rewind"), rewind).await;
    assert_eq!(tried(&server, &id).await[1], stale(2, forked), "and so did the session itself");
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_is_forked_and_rewound() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let first = head(&server, &id).await;
    server.client.ask(&id, "two").await.unwrap();

    let (status, forked) =
        post(&server, &format!("/api/sessions/{id}/fork"), json!({ "count": 3 })).await;
    assert_eq!((status.as_u16(), &forked["count"]), (201, &json!(3)));
    for fork in forked["sessions"].as_array().unwrap() {
        assert_eq!(fork["parent"], json!(head(&server, &id).await));
        assert_ne!(fork["sessionId"], fork["parent"]);
        let answer = server.client.ask(fork["id"].as_str().unwrap(), "three").await.unwrap();
        assert_eq!(answer, "turn 3: three");
    }
    let early = json!({ "snapshotId": first });
    let (status, forked) = post(&server, &format!("/api/sessions/{id}/fork"), early.clone()).await;
    assert_eq!(status, 201);
    let fork = forked["sessions"][0]["id"].as_str().unwrap();
    assert_eq!(server.client.ask(fork, "else").await.unwrap(), "turn 2: else");

    let (status, rewound) = post(&server, &format!("/api/sessions/{id}/rewind"), early).await;
    assert_eq!((status.as_u16(), &rewound["success"]), (200, &json!(true)));
    assert_ne!(rewound["session"]["sessionId"], json!(first));
    assert_eq!(server.client.ask(&id, "again").await.unwrap(), "turn 2: again");
    server.shut_down().await;
}

#[tokio::test]
async fn what_cannot_be_forked_or_rewound_is_told_why() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let (fork, rewind) = (format!("/api/sessions/{id}/fork"), format!("/api/sessions/{id}/rewind"));
    for count in [json!(0), json!(257), json!(-1), json!("many")] {
        let refused = post(&server, &fork, json!({ "count": count })).await;
        is_error(&refused, 400, "invalid_field");
    }
    is_error(&post(&server, &rewind, json!({})).await, 400, "invalid_field");
    is_error(&post(&server, &rewind, json!({ "snapshotId": "x" })).await, 400, "invalid_field");
    let nobody = json!({ "snapshotId": "0190f4c6-0000-7000-8000-000000000000" });
    is_error(&post(&server, &rewind, nobody.clone()).await, 404, "snapshot_not_found");
    is_error(&post(&server, &fork, nobody.clone()).await, 404, "snapshot_not_found");
    // That of another session is none of this one's.
    let other = server.counter(json!({})).await;
    server.client.ask(&other, "one").await.unwrap();
    let foreign = json!({ "snapshotId": head(&server, &other).await });
    is_error(&post(&server, &rewind, foreign).await, 404, "snapshot_not_found");
    let gone = post(&server, "/api/sessions/0190f4c6-0000-7000-8000-000000000000/fork", json!({}));
    is_error(&gone.await, 404, "session_not_found");
    let open = post(&server, &format!("/api/sessions/{id}/resume"), json!({})).await;
    is_error(&open, 409, "invalid_transition");
    server.shut_down().await;
}

#[tokio::test]
async fn a_new_session_resumes_from_a_snapshot_and_says_so() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let from = head(&server, &id).await;
    let body = json!({ "pattern": "long-running", "config": { "resumeSessionId": from } });
    let (status, session) = post(&server, "/api/sessions", body).await;
    assert_eq!(status, 201);
    assert_eq!(session["resume"], json!({ "outcome": "resumed", "from": from }));
    assert_eq!(session["parent"], json!(from));
    let resumed = session["id"].as_str().unwrap();
    assert_eq!(server.client.ask(resumed, "two").await.unwrap(), "turn 2: two");
    let (_, audit) = server.client.get(&format!("/api/sessions/{resumed}/audit")).await.unwrap();
    assert_eq!(audit["events"][0]["event_type"], "session.resume-attempted");
    assert_eq!(audit["events"][0]["payload"]["outcome"], "resumed");
    server.shut_down().await;
}

#[tokio::test]
async fn templates_are_made_listed_used_and_removed() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let (status, made) = post(
        &server,
        "/api/templates",
        json!({ "name": "warm", "sessionId": id, "description": "has counted" }),
    )
    .await;
    assert_eq!(status, 201);
    let expected = ["agent", "bytes", "createdAt", "description", "from", "name"];
    assert_eq!(names(&made), expected.into());
    let (_, list) = server.client.get("/api/templates").await.unwrap();
    assert_eq!(list, json!({ "templates": [made], "count": 1 }));
    let (status, session) =
        post(&server, "/api/sessions", json!({ "template": "warm", "pattern": "hybrid" })).await;
    assert_eq!(status, 201);
    let started = session["id"].as_str().unwrap();
    assert_eq!(server.client.ask(started, "two").await.unwrap(), "turn 2: two");

    let missing = |body: Value| post(&server, "/api/templates", body);
    is_error(&missing(json!({ "sessionId": id })).await, 400, "invalid_field");
    is_error(&missing(json!({ "name": "x" })).await, 400, "invalid_field");
    is_error(&missing(json!({ "name": "a b", "sessionId": id })).await, 400, "invalid_name");
    is_error(&missing(json!({ "name": "x", "sessionId": "y" })).await, 404, "snapshot_not_found");
    let (status, _) = server.client.delete("/api/templates/warm").await.unwrap();
    assert_eq!(status, 200);
    for refused in [
        server.client.get("/api/templates/warm").await.unwrap(),
        server.client.delete("/api/templates/warm").await.unwrap(),
        server.client.post("/api/sessions", &json!({ "template": "warm" })).await.unwrap(),
    ] {
        is_error(&refused, 404, "template_not_found");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_is_upgraded_or_told_why_not() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let host: &Host = &server.test.host;
    for guest in [&guests::FAILS_WHEN_TOLD, &guests::FAILS_TO_RESTORE] {
        host.agents().upload(guest.name, "1", guest.bytes).await.unwrap();
    }
    let path = format!("/api/sessions/{id}/upgrade");
    is_error(&post(&server, &path, json!({})).await, 400, "invalid_field");
    is_error(&post(&server, &path, json!({ "agent": "nobody" })).await, 404, "agent_not_found");
    let refused = post(&server, &path, json!({ "agent": guests::FAILS_TO_RESTORE.name })).await;
    is_error(&refused, 422, "upgrade_failed");
    let (status, after) =
        post(&server, &path, json!({ "agent": guests::FAILS_WHEN_TOLD.name })).await;
    assert_eq!(status, 200, "{after}");
    assert_eq!(after["session"]["agent"]["name"], guests::FAILS_WHEN_TOLD.name);
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_is_paused_and_resumed() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let (status, paused) = post(&server, &format!("/api/sessions/{id}/pause"), json!({})).await;
    assert_eq!((status.as_u16(), &paused["session"]["status"]), (200, &json!("paused")));
    let (status, body) = server.client.message(&id, "two").await.unwrap();
    is_error(&(status, body), 409, "session_paused");
    let (status, resumed) = post(&server, &format!("/api/sessions/{id}/resume"), json!({})).await;
    assert_eq!((status.as_u16(), &resumed["session"]["status"]), (200, &json!("active")));
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    server.shut_down().await;
}
