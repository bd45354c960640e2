//! `POST …/message` with one answer: its shape, and what is refused before a turn begins.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_test_guests::unimaged;
use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::{is_error, names, runs};

#[tokio::test]
async fn the_answer_has_every_field_of_the_contract() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let (status, answer) = server.client.message(&id, "two").await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(names(&answer), ["latency", "response", "result", "session"].into());
    assert_eq!(answer["response"], json!({ "role": "assistant", "content": "turn 2: two" }));
    assert_eq!(answer["latency"], 0, "the clock stands still");

    let result = &answer["result"];
    let expected =
        ["durable", "num_turns", "snapshotId", "total_cost_usd", "turn", "usage", "uuid"];
    assert_eq!(names(result), expected.into());
    assert_eq!((&result["turn"], &result["num_turns"]), (&json!(2), &json!(1)));
    assert_eq!(result["durable"], true);
    assert_eq!(result["uuid"].as_str().unwrap().len(), 36);
    let usage = &result["usage"];
    let expected = ["cache_read_input_tokens", "fuel", "input_tokens", "output_tokens"];
    assert_eq!(names(usage), expected.into());
    assert!(usage["fuel"].as_u64().unwrap() > 0);
    assert!(result["total_cost_usd"].as_f64().unwrap() > 0.0);

    let session = &answer["session"];
    assert_eq!(session["id"], id.as_str());
    assert_eq!(session["sessionId"], result["snapshotId"]);
    assert_eq!((&session["numTurns"], &session["status"]), (&json!(2), &json!("active")));
    assert_eq!(
        (&session["residency"], &session["runningTurn"]),
        (&json!("resident"), &Value::Null)
    );
    let (_, read) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(&read, session);
    server.shut_down().await;
}

#[tokio::test]
async fn the_session_adds_up_what_its_turns_have_used() {
    let server = TestServer::new().await;
    let id = server.session(&guests::SPENDS_FUEL, json!({})).await;
    let (mut fuel, mut heads) = (0, Vec::new());
    for prompt in ["spend 10", "spend 100000", "nothing"] {
        let (_, answer) = server.client.message(&id, prompt).await.unwrap();
        fuel += answer["result"]["usage"]["fuel"].as_u64().unwrap();
        assert_eq!(answer["session"]["totalFuel"], fuel);
        heads.push(answer["session"]["sessionId"].as_str().unwrap().to_owned());
    }
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    let (_, turns) = server.client.get(&format!("/api/sessions/{id}/turns")).await.unwrap();
    let turns = turns["turns"].as_array().unwrap();
    let cost: f64 = turns.iter().map(|turn| turn["cost"].as_f64().unwrap()).sum();
    // The instance was started once, which is a line of its own.
    assert_eq!((&session["numStarts"], &turns[1]["startFuel"]), (&json!(1), &Value::Null));
    assert_eq!(session["totalStartFuel"], turns[0]["startFuel"]);
    let cost = cost + turns[0]["startCost"].as_f64().unwrap();
    assert!((session["totalCost"].as_f64().unwrap() - cost).abs() < 1e-12);
    heads.dedup();
    assert_eq!(heads.len(), 3, "sessionId changes with every turn");
    server.shut_down().await;
}

#[tokio::test]
async fn the_latency_is_the_time_that_the_turn_took() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::WAITS_FOR_THE_CLOCK, limits).await;
    let waiting = super::under_way(&server, &id, "wait", 1).await;
    // The guest may look at the clock for the first time only now, so it is turned until it saw.
    let begun = server.test.clock.now();
    dormouse_tests::test_host::eventually("the guest has seen the clock turn", async || {
        server.advance(Duration::from_millis(7));
        waiting.is_finished()
    })
    .await;
    let (status, answer) = waiting.await.unwrap();
    assert_eq!(status, 200, "{answer}");
    let turned = server.test.clock.now().since(begun).as_millis();
    let latency = answer["latency"].as_u64().unwrap();
    assert!(
        latency >= 7 && u128::from(latency) <= turned && latency % 7 == 0,
        "{latency} of {turned}"
    );
    server.shut_down().await;
}

#[tokio::test]
async fn an_answer_that_is_not_all_text_comes_with_its_parts() {
    let server = TestServer::new().await;
    let id = server.session(&guests::REPLIES_WITH, json!({})).await;
    let response = async |prompt: &str| {
        let (status, answer) = server.client.message(&id, prompt).await.unwrap();
        assert_eq!(status, 200, "{answer}");
        answer["response"].clone()
    };
    let json = response("json {\"a\": [1]}").await;
    assert_eq!(json["parts"], json!([{ "type": "json", "json": { "a": [1] } }]));
    let blob = response("blob 3").await;
    let expected =
        json!([{ "type": "blob", "mediaType": "application/octet-stream", "data": "AQEB" }]);
    assert_eq!(blob["parts"], expected);
    assert_eq!(response("empty").await, json!({ "role": "assistant", "content": "" }));
    assert_eq!(response("parts 2").await.get("parts"), None, "text alone needs no parts");
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_cannot_be_saved_says_so() {
    let server = TestServer::new().await;
    let id = server.session(&unimaged(&guests::COUNTS_WITHOUT_SAVING), json!({})).await;
    let (_, answer) = server.client.message(&id, "one").await.unwrap();
    assert_eq!(
        (&answer["result"]["durable"], &answer["result"]["snapshotId"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(
        (&answer["session"]["unsavedTurns"], &answer["session"]["sessionId"]),
        (&json!(1), &json!(""))
    );
    server.shut_down().await;
}

#[tokio::test]
async fn a_message_that_is_no_message_is_refused_and_begins_no_turn() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let path = format!("/api/sessions/{id}/message");
    for (body, field) in [
        (json!({}), "prompt"),
        (json!({ "prompt": "" }), "prompt"),
        (json!({ "prompt": null }), "prompt"),
        (json!({ "prompt": 7 }), "prompt"),
        (json!({ "prompt": ["hello"] }), "prompt"),
        (json!({ "prompt": "x", "streaming": "no" }), "streaming"),
        (json!({ "prompt": "x", "onBusy": 7 }), "onBusy"),
        (json!({ "prompt": "x", "onBusy": "other" }), "onBusy"),
    ] {
        let refused = server.client.post(&path, &body).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        assert_eq!(refused.1["field"], field, "{body}");
    }
    let too_large = json!({ "prompt": "x".repeat((1 << 20) + 1), "streaming": false });
    is_error(&server.client.post(&path, &too_large).await.unwrap(), 413, "message_too_large");
    let (_, status) = server.client.get(&format!("/api/sessions/{id}/status")).await.unwrap();
    assert_eq!(status["numTurns"], 0);
    let largest = "x".repeat(1 << 20);
    assert_eq!(server.client.ask(&id, &largest).await.unwrap().len(), (1 << 20) + 8);
    server.shut_down().await;
}

#[tokio::test]
async fn messages_to_one_session_are_answered_in_the_order_of_their_arrival() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::WAITS_FOR_THE_CLOCK, limits).await;
    let ask = |prompt: &str| {
        let (client, id, prompt) = (server.client.clone(), id.clone(), prompt.to_owned());
        tokio::spawn(async move { client.ask(&id, &prompt).await.unwrap() })
    };
    let first = ask("wait");
    runs(&server, &id, 1).await;
    let mut others = Vec::new();
    for n in 0..5 {
        others.push(ask(&format!("message {n}")));
        dormouse_tests::test_host::eventually("it waits", async || {
            server.test.host.stats().queued == n + 1
        })
        .await;
    }
    dormouse_tests::test_host::eventually("the first is answered", async || {
        server.advance(Duration::from_millis(1));
        first.is_finished()
    })
    .await;
    first.await.unwrap();
    for (n, answer) in others.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), format!("turn {}: message {n}", n + 2));
    }
    server.shut_down().await;
}
