//! What clients see of a session whose state was removed, and of the limits that they did not ask for.

use std::time::Duration;

use dormouse::{Change, LimitsPatch, Pattern};
use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::is_error;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn notepad(server: &TestServer, fields: Value) -> Value {
    let mut body = json!({ "agent": "notepad", "pattern": "hybrid" });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    server.client.post("/api/sessions", &body).await.unwrap().1
}

async fn session(server: &TestServer, id: &str) -> Value {
    server.client.get(&format!("/api/sessions/{id}")).await.unwrap().1
}

async fn pass(server: &TestServer, time: Duration) {
    server.advance(time);
    server.test.host.settle().await;
}

#[tokio::test]
async fn a_session_says_that_its_state_is_gone_and_how_to_go_on() {
    let server = TestServer::new().await;
    let created = notepad(&server, json!({ "threadKey": "t", "userId": "ann" })).await;
    let id = created["id"].as_str().unwrap();
    assert_eq!(
        (&created["keepStateMs"], &created["storageBytes"]),
        (&json!(604_800_000), &json!(0))
    );
    server.client.ask(id, "add milk").await.unwrap();
    let before = session(&server, id).await;
    assert!(before["storageBytes"].as_u64().unwrap() > 0, "{before}");
    pass(&server, 7 * DAY + DAY / 8).await;

    let after = session(&server, id).await;
    assert_eq!(after["stateRemovedAt"], json!(server.test.clock.now().to_string()));
    assert_eq!((&after["sessionId"], &after["storageBytes"]), (&json!(""), &json!(0)));
    assert_eq!(
        (&after["status"], &after["errorReason"]),
        (&json!("error"), &json!("state_expired"))
    );
    assert_eq!(
        (&after["numTurns"], &after["totalCost"]),
        (&before["numTurns"], &before["totalCost"])
    );
    let (status, list) = server.client.get("/api/sessions?status=error").await.unwrap();
    assert_eq!((status.as_u16(), &list["sessions"][0]["id"]), (200, &json!(id)), "it stays listed");

    let message = json!({ "prompt": "list", "streaming": false });
    let path = format!("/api/sessions/{id}/message");
    let refused = server.client.post(&path, &message).await.unwrap();
    is_error(&refused, 409, "session_not_active");
    assert_eq!(refused.1["reason"], "state_expired");
    assert!(refused.1["error"].as_str().unwrap().contains("/resume"), "{refused:?}");
    let fork = server.client.post(&format!("/api/sessions/{id}/fork"), &json!({})).await.unwrap();
    is_error(&fork, 409, "state_expired");
    assert_eq!(fork.1["stateRemovedAt"], after["stateRemovedAt"]);

    // Its thread begins anew, and says so.
    let next = notepad(&server, json!({ "threadKey": "t", "userId": "ann" })).await;
    assert_ne!(next["id"], after["id"]);
    assert_eq!(next["resume"], json!({ "outcome": "not_found" }));
    let resumed = server.client.post(&format!("/api/sessions/{id}/resume"), &json!({})).await;
    let session = &resumed.unwrap().1["session"];
    assert_eq!((&session["status"], &session["stateRemovedAt"]), (&json!("active"), &Value::Null));
    assert!(!server.client.ask(id, "list").await.unwrap().contains("milk"));
    server.shut_down().await;
}

#[tokio::test]
async fn how_long_a_state_is_kept_is_asked_for_and_changed() {
    let server = TestServer::new().await;
    let short = notepad(&server, json!({ "keepStateMs": 3_600_000 })).await;
    let kept = notepad(&server, json!({ "config": { "keepStateMs": 3_600_000 } })).await;
    let [short, kept] = [&short["id"], &kept["id"]].map(|id| id.as_str().unwrap().to_owned());
    for id in [&short, &kept] {
        server.client.ask(id, "add milk").await.unwrap();
    }
    let patch = json!({ "keepStateMs": null });
    let patched = server.client.patch(&format!("/api/sessions/{kept}"), &patch).await.unwrap();
    assert_eq!(patched.1["keepStateMs"], Value::Null);
    pass(&server, Duration::from_secs(3_660)).await;
    assert_eq!(session(&server, &short).await["errorReason"], "state_expired");
    assert!(server.client.ask(&kept, "list").await.unwrap().contains("milk"));
    let body = json!({ "keepStateMs": 0 });
    is_error(&server.client.post("/api/sessions", &body).await.unwrap(), 400, "invalid_field");
    server.shut_down().await;
}

#[tokio::test]
async fn limits_that_nobody_asks_for_are_those_of_the_user_the_project_and_the_pattern() {
    let limits = |turns, idle: u64| LimitsPatch {
        max_turns: Change::Set(turns),
        max_idle: Change::Set(Duration::from_secs(idle)),
        ..LimitsPatch::default()
    };
    let set = |options: &mut dormouse::HostOptions| {
        let overrides = &mut options.limits.overrides;
        overrides.patterns.insert(Pattern::LongRunning, limits(9, 90));
        overrides.projects.insert("x".to_owned(), limits(7, 70));
        let of_ann = LimitsPatch { max_idle: Change::Clear, ..limits(5, 50) };
        overrides.users.insert("ann".to_owned(), of_ann);
    };
    let server = TestServer::with(set, |_| {}).await;
    let of = async |fields: Value| {
        let session = session(&server, &server.counter(fields).await).await;
        (session["maxTurns"].clone(), session["maxIdleTimeMs"].clone())
    };
    assert_eq!(of(json!({})).await, (json!(9), json!(90_000)));
    assert_eq!(of(json!({ "pattern": "ephemeral" })).await, (Value::Null, Value::Null));
    assert_eq!(of(json!({ "projectId": "x" })).await, (json!(7), json!(70_000)));
    let both = json!({ "projectId": "x", "userId": "ann" });
    assert_eq!(of(both).await, (json!(5), Value::Null));
    assert_eq!(of(json!({ "userId": "ann", "maxTurns": 3 })).await, (json!(3), Value::Null));
    server.shut_down().await;
}
