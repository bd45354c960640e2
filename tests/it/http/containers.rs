//! The façade of containers, and `POST /api/sessions/resume-preview`.

use std::time::Duration;

use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::names;

async fn container(server: &TestServer, thread: &str) -> String {
    let fields = json!({
        "pattern": "hybrid", "threadKey": thread, "projectId": "my-react-app", "userId": "john",
    });
    server.counter(fields).await
}

#[tokio::test]
async fn open_sessions_are_containers_of_their_threads() {
    let server = TestServer::new().await;
    let id = container(&server, "john@example.com-my-react-app").await;
    server.client.ask(&id, "hello").await.unwrap();
    let over = server.counter(json!({})).await;
    server.client.post(&format!("/api/sessions/{over}/stop"), &json!({})).await.unwrap();
    server.advance(Duration::from_secs(10 * 60 + 30));
    let (status, list) = server.client.get("/api/v1/containers/sessions").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(names(&list), ["data", "sessions", "success", "timestamp"].into());
    let expected = json!([{
        "containerId": id,
        "threadId": "john@example.com-my-react-app",
        "repositoryName": "my-react-app",
        "isActive": true,
        "lastActivityAt": "2030-01-01T00:00:00.000Z",
        "createdAt": "2030-01-01T00:00:00.000Z",
        "idleMinutes": 10,
        "timeRemaining": 35,
    }]);
    assert_eq!((&list["data"]["sessions"], &list["sessions"]), (&expected, &expected));
    assert_eq!((&list["data"]["total"], &list["success"]), (&json!(1), &json!(true)));
    let (_, stats) = server.client.get("/api/v1/containers/stats").await.unwrap();
    assert_eq!(
        stats["data"],
        json!({
            "activeContainers": 1, "totalSessions": 1,
            "oldestSession": "2030-01-01T00:00:00.000Z", "averageIdleTime": 10,
        })
    );
    server.shut_down().await;
}

#[tokio::test]
async fn a_container_is_extended_and_cleaned_up_and_its_state_is_kept() {
    let server = TestServer::new().await;
    let id = container(&server, "t").await;
    server.client.ask(&id, "one").await.unwrap();
    let post = async |id: &str, what: &str| {
        let path = format!("/api/v1/containers/{id}/{what}");
        let answer = super::send(server.client.request(reqwest::Method::POST, &path)).await;
        (answer.status.as_u16(), answer.body)
    };
    server.advance(Duration::from_secs(30 * 60));
    let (status, extended) = post(&id, "extend").await;
    assert_eq!((status, &extended["success"]), (200, &json!(true)));
    assert_eq!(names(&extended), ["message", "success", "timestamp"].into());
    let (_, list) = server.client.get("/api/v1/containers/sessions").await.unwrap();
    assert_eq!(list["sessions"][0]["timeRemaining"], 45);
    let (status, cleaned) = post(&id, "cleanup").await;
    assert_eq!((status, &cleaned["success"]), (200, &json!(true)));
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["residency"], "asleep");
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "turn 2: two");
    let endless = server.counter(json!({})).await;
    let (_, told) = post(&endless, "extend").await;
    assert!(told["message"].as_str().unwrap().contains("no idle limit"));
    for what in ["extend", "cleanup"] {
        let (status, none) = post("nobody", what).await;
        assert_eq!((status, &none["success"]), (404, &json!(false)));
        assert!(none["error"].is_string() && none["timestamp"].is_string());
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_preview_wakes_the_session_of_its_thread() {
    let server = TestServer::new().await;
    let id = container(&server, "t").await;
    server.client.ask(&id, "one").await.unwrap();
    server.client.post(&format!("/api/sessions/{id}/sleep"), &json!({})).await.unwrap();
    let resume = async |body: Value| {
        server.client.post("/api/sessions/resume-preview", &body).await.unwrap()
    };
    let (status, woken) = resume(json!({ "chatThreadId": "t", "clientId": "john" })).await;
    let expected = json!({
        "sessionId": id, "containerId": id, "containerIp": "127.0.0.1", "status": "running",
    });
    assert_eq!((status.as_u16(), woken), (201, expected));
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["residency"], "resident");
    for (thread, client) in [("other", "john"), ("t", "jane")] {
        let (status, none) = resume(json!({ "chatThreadId": thread, "clientId": client })).await;
        assert_eq!((status.as_u16(), &none["statusCode"]), (404, &json!(404)));
        assert!(none["message"].as_str().unwrap().ends_with("not found"));
    }
    server.shut_down().await;
}
