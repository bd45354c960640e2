//! `POST /api/sessions`: every field, and how it is kept.

use dormouse_tests::TestServer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{names, send};

const FIELDS: [&str; 71] = [
    "abortRequested",
    "accountId",
    "agent",
    "changedAt",
    "checkpoint",
    "completedAt",
    "config",
    "consecutiveFailures",
    "context",
    "conversationId",
    "createdAt",
    "currentTool",
    "description",
    "durability",
    "durationMs",
    "egress",
    "errorReason",
    "forceKillRequested",
    "gracePeriodMs",
    "group",
    "id",
    "idleDeadline",
    "keepStateMs",
    "lastActivityAt",
    "lastError",
    "lastSleptAt",
    "lastWokenAt",
    "mailWaiting",
    "maxBudgetUsd",
    "maxFuel",
    "maxFuelPerTurn",
    "maxIdleTimeMs",
    "maxLifetimeMs",
    "maxMemoryBytes",
    "maxTurns",
    "metadata",
    "model",
    "numCalls",
    "numStarts",
    "numTurns",
    "owner",
    "parent",
    "pattern",
    "peers",
    "projectId",
    "residency",
    "residentMs",
    "resumeFallback",
    "runningTurn",
    "sessionId",
    "sleepAfterMs",
    "startedAt",
    "stateRemovedAt",
    "status",
    "storageBytes",
    "tags",
    "terminatedAt",
    "terminationReason",
    "threadKey",
    "toolsUsed",
    "totalCachedTokens",
    "totalCost",
    "totalFuel",
    "totalInputTokens",
    "totalOutputTokens",
    "totalStartFuel",
    "totalTokens",
    "turnTimeoutMs",
    "unavailableTools",
    "unsavedTurns",
    "userId",
];

async fn created(server: &TestServer, body: &Value) -> Value {
    let (status, session) = server.client.post("/api/sessions", body).await.unwrap();
    assert_eq!(status, 201, "{session}");
    session
}

#[tokio::test]
async fn a_session_that_asks_for_nothing_has_every_field_and_its_default() {
    let server = TestServer::new().await;
    let session = created(&server, &json!({})).await;
    assert_eq!(names(&session), FIELDS.into());
    for (field, expected) in [
        ("sessionId", json!("")),
        ("pattern", json!("ephemeral")),
        ("status", json!("initializing")),
        ("residency", json!("asleep")),
        ("createdAt", json!("2030-01-01T00:00:00.000Z")),
        ("lastActivityAt", json!("2030-01-01T00:00:00.000Z")),
        ("config", json!({})),
        ("context", json!({})),
        ("metadata", json!({})),
        ("model", json!({ "name": "offline", "provider": "offline" })),
        ("tags", json!([])),
        ("toolsUsed", json!([])),
        ("unavailableTools", json!([])),
        ("totalCost", json!(0.0)),
        ("totalTokens", json!(0)),
        ("numTurns", json!(0)),
        ("abortRequested", json!(false)),
        ("accountId", json!(null)),
        ("numCalls", json!(0)),
        ("forceKillRequested", json!(false)),
    ] {
        assert_eq!(session[field], expected, "{field}");
    }
    for field in [
        "conversationId",
        "startedAt",
        "completedAt",
        "terminatedAt",
        "terminationReason",
        "errorReason",
        "currentTool",
        "runningTurn",
        "maxIdleTimeMs",
        "maxLifetimeMs",
        "maxBudgetUsd",
        "maxTurns",
        "maxFuel",
        "sleepAfterMs",
        "keepStateMs",
        "lastWokenAt",
        "lastSleptAt",
        "stateRemovedAt",
        "description",
        "userId",
        "threadKey",
        "projectId",
        "checkpoint",
        "parent",
    ] {
        assert_eq!(session[field], Value::Null, "{field}");
    }
    assert_eq!(session["agent"]["name"], "assistant");
    let id = uuid_of(&session);
    assert_eq!(
        server.client.get(&format!("/api/sessions/{id}")).await.unwrap(),
        (200_u16.try_into().unwrap(), session)
    );
    server.shut_down().await;
}

/// The id, which is a UUID of version 7.
fn uuid_of(session: &Value) -> String {
    let id = session["id"].as_str().unwrap().to_owned();
    let groups: Vec<_> = id.split('-').map(str::len).collect();
    assert_eq!((groups, &id[14..15]), (vec![8, 4, 4, 4, 12], "7"), "{id}");
    id
}

#[tokio::test]
async fn the_id_comes_first_so_that_a_shell_finds_it() {
    let server = TestServer::new().await;
    let request = server.client.request(Method::POST, "/api/sessions");
    let text = request.json(&json!({})).send().await.unwrap().text().await.unwrap();
    assert!(text.starts_with("{\"id\":\""), "{text}");
    server.shut_down().await;
}

#[tokio::test]
async fn every_field_is_kept_and_returned() {
    let server = TestServer::new().await;
    let asked = json!({
        "pattern": "hybrid",
        "config": {
            "model": "claude-3-5-sonnet-20241022",
            "systemPrompt": "You are helpful",
            "allowedTools": ["Read", "Write"],
            "workingDirectory": "/app/workspace",
            "customAgents": { "ann": { "systemPrompt": "s", "allowedTools": [], "model": "m" } },
            "env": { "KEY": "value" },
            "ofAnotherVersion": [1, 2.5, null, { "deep": true }],
        },
        "conversationId": "conversation",
        "maxIdleTimeMs": 1_800_000,
        "maxLifetimeMs": 86_400_000,
        "maxBudgetUsd": 0.5,
        "maxTurns": 10,
        "maxFuel": 1_000_000_000,
        "maxFuelPerTurn": 100_000_000,
        "maxMemoryBytes": 33_554_432,
        "turnTimeoutMs": 5_000,
        "sleepAfterMs": 7_000,
        "keepStateMs": 86_400_000,
        "tags": ["one", "two"],
        "description": "Fix the bug",
        "userId": "user",
        "threadKey": "thread",
        "projectId": "project",
        "context": { "thread": { "title": "t" } },
        "metadata": { "any": ["thing"] },
    });
    let mut body = asked.clone();
    body["agent"] = json!("counter");
    body["requireDurable"] = json!(true);
    let session = created(&server, &body).await;
    let (_, read) =
        server.client.get(&format!("/api/sessions/{}", uuid_of(&session))).await.unwrap();
    for (field, value) in asked.as_object().unwrap() {
        assert_eq!(&session[field], value, "{field}");
        assert_eq!(&read[field], value, "{field}");
    }
    assert_eq!(session["agent"]["name"], "counter");
    server.shut_down().await;
}

#[tokio::test]
async fn limits_at_the_top_win_over_those_of_the_configuration_which_is_kept_as_sent() {
    let server = TestServer::new().await;
    let config = json!({ "maxTurns": 10, "maxBudgetUsd": 2.5, "maxIdleTimeMs": 9000 });
    let session = created(&server, &json!({ "config": config, "maxTurns": 3 })).await;
    assert_eq!(session["config"], config);
    assert_eq!((&session["maxTurns"], &session["maxBudgetUsd"]), (&json!(3), &json!(2.5)));
    assert_eq!(session["maxIdleTimeMs"], 9000);
    server.shut_down().await;
}

#[tokio::test]
async fn the_id_of_a_conversation_comes_back_as_it_was_sent() {
    let server = TestServer::new().await;
    for id in [json!("17"), json!(17), json!(-3), json!(9_007_199_254_740_993_u64), json!(1.5)] {
        let session = created(&server, &json!({ "conversationId": id })).await;
        assert_eq!(session["conversationId"], id);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn null_fields_ask_for_nothing() {
    let server = TestServer::new().await;
    let body = json!({
        "pattern": null, "config": null, "tags": null, "maxTurns": null, "agent": null,
        "template": null, "unknown": null,
    });
    assert_eq!(names(&created(&server, &body).await), FIELDS.into());
    server.shut_down().await;
}

#[tokio::test]
async fn a_request_without_a_body_creates_a_session() {
    let server = TestServer::new().await;
    let answer = send(server.client.request(Method::POST, "/api/sessions")).await;
    assert_eq!((answer.status.as_u16(), &answer.body["pattern"]), (201, &json!("ephemeral")));
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_that_should_resume_another_starts_anew_and_says_so() {
    let server = TestServer::new().await;
    let body = json!({ "config": { "resumeSessionId": "0190" } });
    let session = created(&server, &body).await;
    assert_eq!(session["resume"], json!({ "outcome": "not_found" }));
    assert_eq!(session["config"]["resumeSessionId"], "0190");
    let without = created(&server, &json!({ "config": { "resumeSessionId": "" } })).await;
    assert_eq!(without.get("resume"), None);
    server.shut_down().await;
}

#[tokio::test]
async fn the_deepest_document_that_is_taken_comes_back_as_it_was_sent() {
    let server = TestServer::new().await;
    let (mut taken, mut refused) = (0, 0);
    for depth in 100..140 {
        let context = format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
        let body =
            format!("{{\"agent\":\"counter\",\"pattern\":\"hybrid\",\"context\":{context}}}");
        let request = server.client.request(Method::POST, "/api/sessions");
        let request = request.header("content-type", "application/json").body(body);
        let response = request.send().await.unwrap();
        let (status, id) = (response.status(), response.headers()["x-request-id"].clone());
        let text = response.text().await.unwrap();
        if status == 400 {
            assert!(text.contains("\"code\":\"invalid_json\""), "{depth} {id:?}: {text}");
            refused += 1;
            continue;
        }
        assert_eq!(status, 201, "{depth}: {text}");
        taken += 1;
        assert!(text.contains(&context), "{depth}: {text}");
        let id = text.strip_prefix("{\"id\":\"").unwrap()[..36].to_owned();
        let path = format!("/api/sessions/{id}");
        let message = json!({ "prompt": "hello", "streaming": false });
        let request = server.client.request(Method::POST, &format!("{path}/message"));
        let answer = request.json(&message).send().await.unwrap().text().await.unwrap();
        assert!(answer.contains("turn 1: hello") && answer.contains(&context), "{answer}");
        let request = server.client.request(Method::POST, &format!("{path}/sleep"));
        assert_eq!(request.send().await.unwrap().status(), 200);
        let read = server.client.request(Method::GET, &path).send().await.unwrap();
        assert!(read.text().await.unwrap().contains(&context), "{depth}");
    }
    assert!(taken > 20 && refused > 10, "{taken} were taken, {refused} refused");
    server.shut_down().await;
}
