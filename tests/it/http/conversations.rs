//! The façade of another session service: `/sessions/`.

use dormouse_tests::TestServer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, names, send};

const AGENT: &str = "550e8400-e29b-41d4-a716-446655440000";

async fn create(server: &TestServer, body: Value) -> Value {
    let answer = send(server.client.request(Method::POST, "/sessions/").json(&body)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

/// What `curl -X PATCH -d` sends: JSON that is said to be a form.
async fn patch(server: &TestServer, id: &str, body: &Value) -> Answer {
    let request = server.client.request(Method::PATCH, &format!("/sessions/{id}"));
    let form = request.header("content-type", "application/x-www-form-urlencoded");
    send(form.body(body.to_string())).await
}

#[tokio::test]
async fn a_session_is_kept_as_the_service_keeps_it() {
    let server = TestServer::new().await;
    let created = create(
        &server,
        json!({
            "agent_id": AGENT,
            "session_type": "development",
            "context": { "working_directory": "/project", "files_open": ["a.tsx"] },
            "runtime_backend": "local",
            "runtime_metadata": { "terminal_id": "term-123", "pid": 12345 },
        }),
    )
    .await;
    let id = created["id"].as_str().unwrap();
    let expected = json!({
        "id": id,
        "agent_id": AGENT,
        "session_type": "development",
        "status": "active",
        "context": { "working_directory": "/project", "files_open": ["a.tsx"] },
        "checkpoint": null,
        "runtime_backend": "local",
        "runtime_metadata": { "terminal_id": "term-123", "pid": 12345 },
        "created_at": "2030-01-01T00:00:00.000Z",
        "updated_at": "2030-01-01T00:00:00.000Z",
    });
    assert_eq!(created, expected);
    assert_eq!(server.client.get(&format!("/sessions/{id}")).await.unwrap().1, expected);
    let plain = create(&server, json!({ "agent_id": "echo" })).await;
    assert_eq!(
        (&plain["session_type"], &plain["runtime_backend"], &plain["runtime_metadata"]),
        (&json!("conversation"), &Value::Null, &json!({}))
    );
    let (_, ours) = server
        .client
        .get(&format!("/api/sessions/{}", plain["id"].as_str().unwrap()))
        .await
        .unwrap();
    assert_eq!(
        (&ours["agent"]["name"], &ours["maxIdleTimeMs"]),
        (&json!("echo"), &json!(2_700_000))
    );
    server.shut_down().await;
}

#[tokio::test]
async fn a_patch_needs_no_content_type_and_replaces_the_context_whole() {
    let server = TestServer::new().await;
    let created = create(&server, json!({ "agent_id": AGENT, "context": { "a": 1 } })).await;
    let id = created["id"].as_str().unwrap();
    let checkpoint = json!({ "step": 5, "state": { "files": ["a.ts"] } });
    for (body, field, value) in [
        (json!({ "context": { "b": 2 } }), "context", json!({ "b": 2 })),
        (json!({ "checkpoint": checkpoint }), "checkpoint", checkpoint.clone()),
        (json!({ "checkpoint": { "step": 6 } }), "checkpoint", json!({ "step": 6 })),
        (json!({ "runtime_metadata": { "pod": "p" } }), "runtime_metadata", json!({ "pod": "p" })),
        (json!({ "status": "paused" }), "status", json!("paused")),
        (json!({ "status": "active" }), "status", json!("active")),
        (json!({ "status": "crashed" }), "status", json!("crashed")),
        (json!({ "status": "active" }), "status", json!("active")),
        (json!({ "status": "completed" }), "status", json!("completed")),
    ] {
        let answer = patch(&server, id, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.body[field], value, "{body}");
        assert_eq!(answer.body["agent_id"], AGENT);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn the_list_is_a_bare_array_newest_first_by_the_label_of_the_agent() {
    let server = TestServer::new().await;
    let mut created = Vec::new();
    for agent in [AGENT, "other", AGENT] {
        created.push(create(&server, json!({ "agent_id": agent })).await["id"].clone());
    }
    let ids = async |path: &str| {
        let (status, list) = server.client.get(path).await.unwrap();
        assert_eq!(status, 200, "{list}");
        let list = list.as_array().unwrap().clone();
        list.into_iter().map(|mut session| session["id"].take()).collect::<Vec<Value>>()
    };
    let [one, two, three] = [&created[0], &created[1], &created[2]];
    assert_eq!(ids("/sessions/").await, [three, two, one].map(Clone::clone));
    assert_eq!(ids("/sessions/?limit=1").await, std::slice::from_ref(three));
    let filtered = ids(&format!("/sessions/?agent_id={AGENT}&limit=10")).await;
    assert_eq!(filtered, [three, one].map(Clone::clone));
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_as_a_detail() {
    let server = TestServer::new().await;
    let (status, none) = server.client.get("/sessions/nobody").await.unwrap();
    assert_eq!((status.as_u16(), &none["detail"]), (404, &json!("Session not found")));
    let answer = patch(&server, "nobody", &json!({ "status": "paused" })).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["detail"]),
        (404, &json!("Session not found"))
    );
    let (status, refused) =
        server.client.post("/sessions/", &json!({ "context": {} })).await.unwrap();
    assert_eq!(status, 422);
    assert!(refused["detail"].as_str().unwrap().contains("agent_id"));
    assert!(names(&refused).contains("requestId"));
    let session = create(&server, json!({ "agent_id": AGENT })).await;
    for status in [json!("idle"), json!({}), json!(7)] {
        let id = session["id"].as_str().unwrap();
        let answer = patch(&server, id, &json!({ "status": status })).await;
        assert_eq!((answer.status.as_u16(), &answer.body["code"]), (422, &json!("invalid_field")));
        assert!(answer.body["detail"].as_str().unwrap().contains("active, paused"), "{status}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn changes_of_two_clients_at_once_lose_neither() {
    let server = TestServer::new().await;
    let created = create(&server, json!({ "agent_id": AGENT })).await;
    let id = created["id"].as_str().unwrap();
    for round in 0..30 {
        let pod = json!({ "pod": round });
        let (metadata, kind) =
            (json!({ "runtime_metadata": pod }), json!({ "session_type": round.to_string() }));
        let (one, other) = tokio::join!(patch(&server, id, &metadata), patch(&server, id, &kind));
        assert_eq!((one.status.as_u16(), other.status.as_u16()), (200, 200));
        let (_, now) = server.client.get(&format!("/sessions/{id}")).await.unwrap();
        let expected = (&pod, &json!(round.to_string()), &json!(AGENT));
        assert_eq!((&now["runtime_metadata"], &now["session_type"], &now["agent_id"]), expected);
    }
    server.shut_down().await;
}
