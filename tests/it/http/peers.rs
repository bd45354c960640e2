//! Peers over HTTP: named on create, changed by a patch, and told apart in turns.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use serde_json::{Value, json};

async fn get(server: &TestServer, path: &str) -> Value {
    let (status, body) = server.client.get(path).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn a_session_names_its_peers_and_their_turns_name_it() {
    let server = TestServer::new().await;
    let ann = server.session(&guests::WRITES_TO_PEERS, json!({ "pattern": "hybrid" })).await;
    let peers = json!({ "boss": ann });
    let bob = server.session(&guests::WRITES_TO_PEERS, json!({ "peers": peers })).await;
    let (of_ann, of_bob) = (format!("/api/sessions/{ann}"), format!("/api/sessions/{bob}"));
    let told = get(&server, &of_bob).await;
    assert_eq!((&told["peers"], &told["mailWaiting"]), (&peers, &json!(0)));
    assert_eq!(get(&server, &of_ann).await["peers"], json!({}));
    let patch = json!({ "peers": { "clerk": bob } });
    let (status, patched) = server.client.patch(&of_ann, &patch).await.unwrap();
    assert_eq!((status.as_u16(), &patched["peers"]), (200, &patch["peers"]), "{patched}");

    assert_eq!(server.client.message(&ann, "send clerk file this").await.unwrap().0, 200);
    let turns = format!("{of_bob}/turns");
    let has_come = async || get(&server, &turns).await["count"] == 1;
    eventually("the mail has come", has_come).await;
    let turn = get(&server, &turns).await["turns"][0].take();
    assert_eq!((&turn["sender"], &turn["senderName"]), (&json!("agent"), &json!("boss")), "{turn}");
    assert_eq!(turn["senderSessionId"], json!(ann));

    let (_, paused) = server.client.post(&format!("{of_bob}/pause"), &json!({})).await.unwrap();
    assert_eq!(paused["session"]["status"], "paused", "{paused}");
    assert_eq!(server.client.message(&ann, "send clerk and this").await.unwrap().0, 200);
    assert_eq!(get(&server, &of_bob).await["mailWaiting"], 1);
    let (_, none) = server.client.patch(&of_ann, &json!({ "peers": null })).await.unwrap();
    assert_eq!(none["peers"], json!({}), "{none}");
}

#[tokio::test]
async fn peers_that_are_no_sessions_of_the_caller_are_refused_by_name() {
    let server = TestServer::new().await;
    let id = server.counter(json!({ "pattern": "hybrid" })).await;
    let nobody = "01900000-0000-7000-0000-000000000404";
    let many: serde_json::Map<String, Value> =
        (0..65).map(|number| (format!("p{number}"), json!(id))).collect();
    for peers in [
        json!({ "ann": nobody }),
        json!({ "ann": "no id" }),
        json!({ "ann": 7 }),
        json!([id]),
        json!({ "": id }),
        json!({ id.clone(): id }),
        json!({ "x".repeat(129): id }),
        Value::Object(many),
    ] {
        let body = json!({ "agent": "counter", "peers": peers });
        let (status, refused) = server.client.post("/api/sessions", &body).await.unwrap();
        assert_eq!(
            (status.as_u16(), &refused["code"]),
            (400, &json!("invalid_field")),
            "{refused}"
        );
        assert!(refused["field"].as_str().unwrap().starts_with("peers"), "{refused}");
        let path = format!("/api/sessions/{id}");
        let (status, refused) =
            server.client.patch(&path, &json!({ "peers": peers })).await.unwrap();
        assert_eq!(
            (status.as_u16(), &refused["code"]),
            (400, &json!("invalid_field")),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_question_is_a_span_of_its_turn_and_a_line_that_costs_nothing() {
    let server = TestServer::new().await;
    let bob = server.session(&guests::WRITES_TO_PEERS, json!({})).await;
    let peers = json!({ "peers": { "clerk": bob } });
    let ann = server.session(&guests::WRITES_TO_PEERS, peers).await;
    let (status, _) = server.client.message(&ann, "ask clerk how many?").await.unwrap();
    assert_eq!(status, 200);
    let trace = get(&server, &format!("/api/sessions/{ann}/turns/1/trace")).await;
    let spans = trace["spans"].as_array().unwrap();
    let span = spans.iter().find(|span| span["name"] == "ask").unwrap();
    assert_eq!((&span["peer"], &span["outcome"]), (&json!("clerk"), &json!("answered")), "{span}");
    assert_eq!((&span["provenance"], &span["sentBytes"]), (&json!("live"), &json!(9)), "{span}");
    let usage = get(&server, &format!("/api/sessions/{ann}/usage")).await;
    let lines = usage["lines"].as_array().unwrap();
    let line = lines.iter().find(|line| line["kind"] == "ask").unwrap();
    assert_eq!((&line["peer"], &line["costNanoUsd"]), (&json!("clerk"), &json!(0)), "{line}");
    assert_eq!(usage["totals"]["calls"], 1, "{usage}");
}
