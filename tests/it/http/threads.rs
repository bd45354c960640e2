//! Threads: `POST /api/sessions` with a `threadKey`.

use std::time::Duration;

use dormouse_tests::TestServer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::is_error;

/// Create a session of a thread of the notepad.
async fn thread(server: &TestServer, fields: Value) -> (StatusCode, Value) {
    let mut body = json!({ "agent": "notepad", "pattern": "hybrid", "threadKey": "john-app" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.client.post("/api/sessions", &body).await.unwrap()
}

#[tokio::test]
async fn a_thread_goes_on_in_its_open_session_for_the_same_user_alone() {
    let server = TestServer::new().await;
    let (created, first) = thread(&server, json!({ "userId": "john" })).await;
    let (found, again) = thread(&server, json!({ "userId": "john" })).await;
    assert_eq!((created.as_u16(), found.as_u16()), (201, 200));
    assert_eq!(first["id"], again["id"]);
    let (status, other) = thread(&server, json!({ "userId": "jane" })).await;
    assert_eq!(status, 201);
    let (status, nobody) = thread(&server, json!({})).await;
    assert_eq!(status, 201);
    assert_ne!(other["id"], first["id"]);
    assert_eq!(thread(&server, json!({})).await.1["id"], nobody["id"]);
    assert_eq!(first["maxIdleTimeMs"], 45 * 60_000, "a thread that nobody goes on with is idle");
    server.shut_down().await;
}

#[tokio::test]
async fn a_thread_whose_session_has_ended_goes_on_from_its_state_for_seven_days() {
    let server = TestServer::new().await;
    let (_, first) = thread(&server, json!({})).await;
    let id = first["id"].as_str().unwrap();
    server.client.ask(id, "add milk").await.unwrap();
    server.client.post(&format!("/api/sessions/{id}/stop"), &json!({})).await.unwrap();
    server.advance(Duration::from_secs(6 * 24 * 3600));
    let (status, next) = thread(&server, json!({})).await;
    assert_eq!((status.as_u16(), &next["resume"]["outcome"]), (201, &json!("resumed")), "{next}");
    let id = next["id"].as_str().unwrap();
    assert!(server.client.ask(id, "list").await.unwrap().contains("milk"));
    server.client.post(&format!("/api/sessions/{id}/stop"), &json!({})).await.unwrap();
    server.advance(Duration::from_secs(8 * 24 * 3600));
    let (status, fresh) = thread(&server, json!({})).await;
    let lost = json!({ "outcome": "not_found" });
    assert_eq!((status.as_u16(), &fresh["resume"]), (201, &lost), "it is told that it starts anew");
    server.shut_down().await;
}

#[tokio::test]
async fn many_who_open_a_thread_at_once_get_one_session() {
    let server = TestServer::new().await;
    let opened = futures::future::join_all((0..20).map(|_| thread(&server, json!({})))).await;
    let created = opened.iter().filter(|(status, _)| *status == 201).count();
    assert_eq!(created, 1);
    assert!(opened.iter().all(|(_, session)| session["id"] == opened[0].1["id"]));
    server.shut_down().await;
}

#[tokio::test]
async fn another_user_does_not_go_on_from_the_state_of_a_session_and_the_attempt_is_audited() {
    let server = TestServer::new().await;
    let of = server.counter(json!({ "userId": "ann" })).await;
    server.client.ask(&of, "one").await.unwrap();
    let resume = async |user: Value| {
        let body = json!({
            "pattern": "hybrid", "userId": user, "config": { "resumeSessionId": of },
        });
        server.client.post("/api/sessions", &body).await.unwrap()
    };
    is_error(&resume(json!("ben")).await, 403, "not_owner");
    let (_, audit) = server.client.get(&format!("/api/sessions/{of}/audit")).await.unwrap();
    assert_eq!(audit["events"][0]["payload"]["outcome"], "not_owner");
    let (status, inherited) = resume(json!(null)).await;
    assert_eq!((status.as_u16(), &inherited["userId"]), (201, &json!("ann")));
    server.shut_down().await;
}

#[tokio::test]
async fn a_thread_of_nobody_goes_on_however_many_sessions_of_users_it_has() {
    let server = TestServer::new().await;
    let (_, nobody) = thread(&server, json!({})).await;
    for user in 0..205 {
        let (status, _) = thread(&server, json!({ "userId": user.to_string() })).await;
        assert_eq!(status, 201);
    }
    let (status, again) = thread(&server, json!({})).await;
    assert_eq!((status.as_u16(), &again["id"]), (200, &nobody["id"]));
    server.shut_down().await;
}
