//! Fields that the host does not know: a near miss of a known name is refused, any other is told.

use dormouse_tests::{TestServer, client};
use reqwest::Method;
use serde_json::{Value, json};

use super::send;

async fn refused(server: &TestServer, path: &str, body: Value) -> (String, String) {
    let (status, answer) = server.client.post(path, &body).await.unwrap();
    assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("unknown_field")), "{answer}");
    let word = |name: &str| answer[name].as_str().unwrap().to_owned();
    (word("field"), word("meant"))
}

#[tokio::test]
async fn a_misspelt_field_is_refused_on_every_route_and_nothing_happens() {
    let server = TestServer::new().await;
    let id = server.counter(json!({ "pattern": "hybrid" })).await;
    let create = "/api/sessions";
    let of = |rest: &str| format!("/api/sessions/{id}/{rest}");
    for (path, body, field, meant) in [
        (create.to_owned(), json!({ "maxBudgetUSD": 0.001 }), "maxBudgetUSD", "maxBudgetUsd"),
        (create.to_owned(), json!({ "maxTurnz": 3 }), "maxTurnz", "maxTurns"),
        (create.to_owned(), json!({ "max_turns": 1 }), "max_turns", "maxTurns"),
        (
            create.to_owned(),
            json!({ "resumeSessionId": id }),
            "resumeSessionId",
            "config.resumeSessionId",
        ),
        (
            create.to_owned(),
            json!({ "config": { "maxBudgetUSD": 1 } }),
            "config.maxBudgetUSD",
            "config.maxBudgetUsd",
        ),
        (of("message"), json!({ "prompt": "hello", "streamin": false }), "streamin", "streaming"),
        (of("fork"), json!({ "counts": 2 }), "counts", "count"),
        (of("rewind"), json!({ "snapshotID": "x" }), "snapshotID", "snapshotId"),
        (of("resume"), json!({ "snapshot_id": "x" }), "snapshot_id", "snapshotId"),
        (of("terminate"), json!({ "raeson": "x" }), "raeson", "reason"),
        (of("upgrade"), json!({ "agents": "x" }), "agents", "agent"),
        (
            "/api/templates".to_owned(),
            json!({ "name": "t", "sessionId": id, "descripton": "x" }),
            "descripton",
            "description",
        ),
        (
            "/api/agent/stream".to_owned(),
            json!({ "message": "hello", "session_id": id }),
            "session_id",
            "sessionId",
        ),
    ] {
        let found = refused(&server, &path, body).await;
        assert_eq!((found.0.as_str(), found.1.as_str()), (field, meant), "{path}");
    }
    let (_, sessions) = server.client.get(create).await.unwrap();
    assert_eq!((&sessions["total"], &sessions["sessions"][0]["numTurns"]), (&json!(1), &json!(0)));
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_unknown_otherwise_is_told_in_the_answer() {
    let server = TestServer::new().await;
    let client = &server.client;
    let body = json!({
        "agent": "counter", "pattern": "hybrid", "models": [], "tools": {}, "nothing": null,
        "config": { "anything": 1 },
    });
    let (_, created) = client.post("/api/sessions", &body).await.unwrap();
    assert_eq!(created["ignored"], json!(["models", "tools"]));
    assert_eq!(created["config"], json!({ "anything": 1 }));
    let path = format!("/api/sessions/{}/message", created["id"].as_str().unwrap());
    let body = json!({ "prompt": "hello", "streaming": false, "strem": true });
    let (_, answer) = client.post(&path, &body).await.unwrap();
    assert_eq!((&answer["ignored"], &answer["result"]["turn"]), (&json!(["strem"]), &json!(1)));
    let request = client.request(Method::POST, &path).json(&json!({ "prompt": "hi", "strem": 1 }));
    let events = client::events(request.send().await.unwrap()).await.unwrap();
    assert_eq!(events.last().unwrap()["ignored"], json!(["strem"]));
    let (_, answer) =
        client.post(&path, &json!({ "prompt": "ok", "streaming": false })).await.unwrap();
    assert_eq!(answer.get("ignored"), None);
    server.shut_down().await;
}

#[tokio::test]
async fn a_misspelt_parameter_of_a_query_is_refused_on_every_route_that_takes_some() {
    let server = TestServer::new().await;
    let client = &server.client;
    let id = server.counter(json!({})).await;
    let of = |rest: &str| format!("/api/sessions/{id}/{rest}");
    for (path, field, meant) in [
        ("/api/sessions?statuss=active".to_owned(), "statuss", "status"),
        ("/api/sessions?page_size=1".to_owned(), "page_size", "pageSize"),
        ("/api/agents?limti=1".to_owned(), "limti", "limit"),
        ("/api/events?After=1".to_owned(), "After", "after"),
        (of("turns?limits=1"), "limits", "limit"),
        (of("events?aftr=1&limit=2&afterr=1"), "afterr", "after"),
        (of("audit?lim-it=1"), "lim-it", "limit"),
    ] {
        let (status, answer) = client.get(&path).await.unwrap();
        assert_eq!((status.as_u16(), &answer["code"]), (400, &json!("unknown_field")), "{answer}");
        assert_eq!((&answer["field"], &answer["meant"]), (&json!(field), &json!(meant)), "{path}");
    }
    let upload = client
        .request(Method::POST, "/api/agents?name=mine&verson=1")
        .header("content-type", "application/wasm");
    let answer = super::send(upload.body("x")).await;
    assert_eq!((answer.status.as_u16(), &answer.body["meant"]), (400, &json!("version")));
    server.shut_down().await;
}

#[tokio::test]
async fn parameters_that_say_nothing_are_ignored_and_those_that_say_two_things_refused() {
    let server = TestServer::new().await;
    let id = server.counter(json!({ "tags": ["a", "b"] })).await;
    for query in ["?_=&utm_source=", "?status=&pageSize=", "?tags=a&tag=b&tags=", "?tag=a&tag=b"] {
        let (status, list) = server.client.get(&format!("/api/sessions{query}")).await.unwrap();
        assert_eq!((status.as_u16(), &list["total"]), (200, &json!(1)), "{query}: {list}");
    }
    for path in [
        "/api/sessions?pageSize=1&pageSize=2".to_owned(),
        format!("/api/sessions/{id}/turns?limit=1&limit=1"),
    ] {
        let answer = server.client.get(&path).await.unwrap();
        super::is_error(&answer, 400, "invalid_field");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_path_that_is_no_text_is_answered_as_any_other_that_names_nothing() {
    let server = TestServer::new().await;
    let mut asked = 0;
    for route in dormouse_http::routes() {
        if !route.path.contains('{') {
            continue;
        }
        let parameters: Vec<&str> = route.path.split('/').collect();
        let path: Vec<&str> =
            parameters.iter().map(|it| if it.starts_with('{') { "%ff" } else { it }).collect();
        let request = server.client.request(route.method.clone(), &path.join("/"));
        let answer = send(request.json(&json!({}))).await;
        assert!(answer.status.is_client_error(), "{} {}", route.method, route.path);
        let code = answer.body["code"].as_str();
        assert!(code.is_some(), "{} {}: {}", route.method, route.path, answer.body);
        asked += 1;
    }
    assert!(asked > 30, "{asked}");
    server.shut_down().await;
}
