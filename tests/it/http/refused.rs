//! `POST /api/sessions`: what is refused, and by what name.

use dormouse_test_guests as guests;
use dormouse_test_guests::unimaged;
use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::is_error;

async fn created(server: &TestServer, body: &Value) -> Value {
    let (status, session) = server.client.post("/api/sessions", body).await.unwrap();
    assert_eq!(status, 201, "{session}");
    session
}

#[tokio::test]
async fn a_field_that_is_out_of_bounds_or_of_another_type_is_named() {
    let server = TestServer::new().await;
    let long = "x".repeat(201);
    let cases = [
        ("maxTurns", json!(0)),
        ("maxTurns", json!(-1)),
        ("maxTurns", json!(1.5)),
        ("maxTurns", json!("10")),
        ("maxTurns", json!(1e300)),
        ("maxBudgetUsd", json!(0)),
        ("maxBudgetUsd", json!(-0.5)),
        ("maxBudgetUsd", json!(1e30)),
        ("maxBudgetUsd", json!("1")),
        ("maxFuel", json!(0)),
        ("maxFuelPerTurn", json!(0)),
        ("maxMemoryBytes", json!(0)),
        ("maxMemoryBytes", json!(u64::MAX)),
        ("turnTimeoutMs", json!(0)),
        ("turnTimeoutMs", json!([])),
        ("maxIdleTimeMs", json!(0)),
        ("maxLifetimeMs", json!(0)),
        ("sleepAfterMs", json!(-1)),
        ("tags", json!("one")),
        ("tags", json!([1])),
        ("tags", json!([""])),
        ("tags", json!([long])),
        ("tags", json!(vec!["t"; 33])),
        ("description", json!(7)),
        ("description", json!("x".repeat(4001))),
        ("userId", json!("")),
        ("userId", json!(long)),
        ("userId", json!(7)),
        ("threadKey", json!(long)),
        ("projectId", json!(long)),
        ("conversationId", json!(true)),
        ("conversationId", json!({})),
        ("conversationId", json!(long)),
        ("config", json!([])),
        ("config", json!({ "big": "x".repeat(256 << 10) })),
        ("context", json!("text")),
        ("context", json!({ "big": "x".repeat(65_536) })),
        ("metadata", json!({ "big": "x".repeat(65_536) })),
        ("requireDurable", json!("yes")),
        ("agent", json!(7)),
    ];
    for (field, value) in cases {
        let refused = server.client.post("/api/sessions", &json!({ field: value })).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        assert_eq!(refused.1["field"], field, "{}", refused.1);
        assert!(refused.1["error"].as_str().unwrap().starts_with(field), "{}", refused.1);
    }
    let config = json!({ "config": { "maxTurns": -1 } });
    let refused = server.client.post("/api/sessions", &config).await.unwrap();
    is_error(&refused, 400, "invalid_field");
    assert_eq!(refused.1["field"], "config.maxTurns");
    let (_, list) = server.client.get("/api/sessions").await.unwrap();
    assert_eq!(list["total"], 0, "a refused session leaves nothing behind");
    server.shut_down().await;
}

#[tokio::test]
async fn an_invalid_pattern_is_answered_as_it_is_documented() {
    let server = TestServer::new().await;
    for pattern in [json!("weekly"), json!(7), json!("")] {
        let body = json!({ "pattern": pattern });
        let (status, mut refused) = server.client.post("/api/sessions", &body).await.unwrap();
        assert!(refused.as_object_mut().unwrap().remove("requestId").is_some());
        let expected = json!({
            "error": "Invalid pattern",
            "code": "invalid_pattern",
            "validPatterns": ["ephemeral", "long-running", "hybrid", "single-container"],
        });
        assert_eq!((status.as_u16(), refused), (400, expected));
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_this_version_does_not_do_is_refused_and_never_ignored() {
    let server = TestServer::new().await;
    for field in ["workspace"] {
        let refused = server.client.post("/api/sessions", &json!({ field: "x" })).await.unwrap();
        is_error(&refused, 400, "not_supported");
        assert_eq!(refused.1["field"], field);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn an_agent_is_chosen_by_name_by_version_and_by_digest_and_must_be_there() {
    let server = TestServer::new().await;
    let (_, agent) = server.client.upload("mine", "7", guests::SPENDS_FUEL.bytes).await.unwrap();
    let digest = agent["digest"].as_str().unwrap();
    for reference in ["mine", "mine@7", "local/mine", "local/mine@7", digest] {
        let session = created(&server, &json!({ "agent": reference })).await;
        let expected =
            json!({ "owner": "local", "name": "mine", "version": "7", "digest": digest });
        assert_eq!(session["agent"], expected, "{reference}");
    }
    for reference in ["nobody", "mine@8", "a b"] {
        let body = json!({ "agent": reference });
        let refused = server.client.post("/api/sessions", &body).await.unwrap();
        is_error(&refused, 404, "agent_not_found");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn who_requires_durability_gets_no_agent_that_does_not_save_its_state() {
    let server = TestServer::new().await;
    let agent = server.test.upload(&unimaged(&guests::COUNTS_WITHOUT_SAVING)).await.to_string();
    let body = json!({ "agent": agent, "requireDurable": true });
    is_error(&server.client.post("/api/sessions", &body).await.unwrap(), 422, "not_durable");
    let body = json!({ "agent": agent, "requireDurable": false });
    created(&server, &body).await;
    server.shut_down().await;
}
