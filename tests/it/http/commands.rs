//! A program that knows nothing of Dormouse, over HTTP.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Event, Events, is_error};

const PROGRAM: guests::TestGuest = guests::PLAIN_PROGRAM;

async fn session(server: &TestServer) -> String {
    server.session(&PROGRAM, json!({ "pattern": "ephemeral", "requireDurable": true })).await
}

#[tokio::test]
async fn a_program_is_uploaded_as_a_command() {
    let server = TestServer::new().await;
    let (status, agent) = server.client.upload("mine", "1", PROGRAM.bytes).await.unwrap();
    assert_eq!(status, 201, "{agent}");
    assert_eq!((&agent["kind"], &agent["statefulness"]), (&json!("command"), &json!("stateless")));
    assert_eq!(agent["unsavedReason"], Value::Null);
    let (_, found) = server.client.get("/api/agents/mine").await.unwrap();
    assert_eq!(found, agent, "it is stored as it was told");
    server.shut_down().await;
}

#[tokio::test]
async fn a_program_answers_whole_and_as_a_stream() {
    let server = TestServer::new().await;
    let id = session(&server).await;
    let (status, answer) = server.client.message(&id, "lines 3").await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let said = json!({ "role": "assistant", "content": "line 1\nline 2\nline 3\n" });
    assert_eq!(answer["response"], said);
    assert_eq!(
        (&answer["result"]["durable"], &answer["result"]["snapshotId"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(
        (&answer["session"]["status"], &answer["session"]["unsavedTurns"]),
        (&json!("completed"), &json!(0))
    );
    let (_, turn) = server.client.get(&format!("/api/sessions/{id}/turns/1")).await.unwrap();
    assert_eq!((&turn["durable"], &turn["snapshotId"]), (&json!(true), &json!(null)));

    let id = session(&server).await;
    let path = format!("/api/sessions/{id}/message");
    let request = server.client.request(Method::POST, &path).json(&json!({ "prompt": "lines 3" }));
    let events = Events::of(request.send().await.unwrap()).rest().await;
    let [deltas @ .., message, done] = events.as_slice() else { panic!("{events:?}") };
    // Lines that are ready at the same time come as one event.
    let deltas: String = deltas.iter().map(Event::text).collect();
    assert_eq!(deltas, "line 1\nline 2\nline 3\n");
    assert_eq!(message.data["data"], said);
    assert_eq!(done.data["session"]["status"], "completed");
    server.shut_down().await;
}

#[tokio::test]
async fn a_program_that_fails_is_told_by_its_status_whole_and_as_a_stream() {
    let server = TestServer::new().await;
    let id = session(&server).await;
    let failed = server.client.message(&id, "exit 3").await.unwrap();
    is_error(&failed, 422, "agent_failed");
    let told = failed.1["error"].as_str().unwrap();
    assert!(told.starts_with("leaving with 3 ("), "{told}");
    assert_eq!(failed.1["session"]["status"], "error");

    let id = session(&server).await;
    let events = server.client.stream(&id, "exit 3").await.unwrap();
    let [delta, error] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(delta["data"]["event"]["delta"]["text"], "so far\n");
    assert_eq!((&error["code"], &error["discarded"]), (&json!("agent_failed"), &json!(true)));
    server.shut_down().await;
}

#[tokio::test]
async fn a_program_in_a_session_that_it_cannot_serve_is_refused_with_what_to_do() {
    let server = TestServer::new().await;
    let agent = server.test.upload(&PROGRAM).await.to_string();
    for pattern in ["long-running", "hybrid", "single-container"] {
        let body = json!({ "agent": agent, "pattern": pattern });
        let refused = server.client.post("/api/sessions", &body).await.unwrap();
        is_error(&refused, 422, "pattern_unsupported");
        assert_eq!(
            (&refused.1["pattern"], &refused.1["validPatterns"]),
            (&json!(pattern), &json!(["ephemeral"]))
        );
    }
    for env in [json!("LANG=C"), json!({ "LANG": 1 }), json!({ "A=B": "" })] {
        let body = json!({ "agent": agent, "config": { "env": env } });
        let refused = server.client.post("/api/sessions", &body).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        assert_eq!(refused.1["field"], "config.env");
    }
    let (_, list) = server.client.get("/api/sessions").await.unwrap();
    assert_eq!(list["total"], 0, "a refused session leaves nothing behind");
    server.shut_down().await;
}

#[tokio::test]
async fn one_call_makes_a_session_and_asks_the_program() {
    let server =
        TestServer::with(|host| host.default_agent = "plain_program@1".parse().unwrap(), |_| {})
            .await;
    server.test.upload(&PROGRAM).await;
    let body = json!({ "message": "hello", "config": { "env": { "LANG": "C" } } });
    let request = server.client.request(Method::POST, "/api/agent/stream").json(&body);
    let events = Events::of(request.send().await.unwrap()).rest().await;
    let said = events[events.len() - 2].data["data"]["content"].as_str().unwrap();
    assert!(said.contains("input \"hello\"") && said.contains("(\"LANG\", \"C\")"), "{said}");
    server.shut_down().await;
}
