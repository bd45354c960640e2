//! Turns and events, in pages.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::{is_error, names};

async fn page(server: &TestServer, path: &str) -> Value {
    let (status, page) = server.client.get(path).await.unwrap();
    assert_eq!(status, 200, "{page}");
    page
}

fn kinds(page: &Value) -> Vec<&str> {
    let events = page["events"].as_array().unwrap();
    events.iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_turn_that_was_answered_is_told_with_all_that_is_known_of_it() {
    let server = TestServer::new().await;
    let id = server.session(&guests::PRINTS_FOREVER, json!({})).await;
    let (_, answer) = server.client.message(&id, "print 2").await.unwrap();
    let turn = page(&server, &format!("/api/sessions/{id}/turns/1")).await;
    let expected = [
        "calls",
        "commit",
        "cost",
        "durable",
        "durationMs",
        "error",
        "input",
        "log",
        "logDropped",
        "outcome",
        "response",
        "samples",
        "sender",
        "senderName",
        "senderSessionId",
        "snapshotId",
        "startCost",
        "startFuel",
        "startedAt",
        "turn",
        "usage",
        "uuid",
    ];
    assert_eq!(names(&turn), expected.into());
    let result = &answer["result"];
    for (field, other) in [
        ("uuid", "uuid"),
        ("turn", "turn"),
        ("cost", "total_cost_usd"),
        ("usage", "usage"),
        ("snapshotId", "snapshotId"),
        ("durable", "durable"),
    ] {
        assert_eq!(turn[field], result[other], "{field}");
    }
    assert_eq!(turn["response"], answer["response"]);
    assert_eq!(
        (&turn["outcome"], &turn["sender"], &turn["error"]),
        (&json!("answered"), &json!("user"), &Value::Null)
    );
    assert_eq!(turn["input"], json!([{ "type": "text", "text": "print 2" }]));
    assert_eq!(
        (&turn["startedAt"], &turn["durationMs"]),
        (&json!("2030-01-01T00:00:00.000Z"), &json!(0))
    );
    let line = |n| json!({ "source": "stdout", "level": null, "message": format!("line {n}"), "fields": {} });
    assert_eq!((&turn["log"], &turn["logDropped"]), (&json!([line(1), line(2)]), &json!(0)));
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_failed_is_told_with_its_reason_and_its_log() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    let (_, failed) = server.client.message(&id, "panic").await.unwrap();
    let turn = page(&server, &format!("/api/sessions/{id}/turns/1")).await;
    assert_eq!((&turn["outcome"], &turn["response"]), (&json!("failed"), &Value::Null));
    assert_eq!(turn["error"], json!({ "code": failed["code"], "error": failed["error"] }));
    assert_eq!((&turn["snapshotId"], &turn["durable"]), (&Value::Null, &json!(false)));
    assert!(turn["log"].to_string().contains("told to panic"), "{}", turn["log"]);
    server.shut_down().await;
}

#[tokio::test]
async fn the_log_of_an_agent_has_levels_and_fields() {
    let server = TestServer::new().await;
    let id = server.session(&guests::LOGS_FOREVER, json!({})).await;
    server.client.ask(&id, "log 1").await.unwrap();
    let turn = page(&server, &format!("/api/sessions/{id}/turns/1")).await;
    let line = &turn["log"][0];
    assert_eq!(
        (&line["source"], &line["level"], &line["message"]),
        (&json!("log"), &json!("info"), &json!("a line"))
    );
    assert_eq!(names(&line["fields"]), ["line"].into());
    server.shut_down().await;
}

#[tokio::test]
async fn the_pages_of_turns_have_every_turn_once_and_say_what_to_ask_for_next() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    for n in 1..=5 {
        server.client.ask(&id, &format!("message {n}")).await.unwrap();
    }
    let (mut after, mut found) = (json!(0), Vec::new());
    while after != Value::Null {
        let page = page(&server, &format!("/api/sessions/{id}/turns?after={after}&limit=2")).await;
        assert_eq!(names(&page), ["count", "next", "nextCursor", "turns"].into());
        let turns = page["turns"].as_array().unwrap();
        assert_eq!(page["count"], turns.len());
        found.extend(turns.iter().map(|turn| turn["turn"].as_u64().unwrap()));
        after = page["next"].clone();
    }
    assert_eq!(found, [1, 2, 3, 4, 5]);
    let all = page(&server, &format!("/api/sessions/{id}/turns")).await;
    assert_eq!((&all["count"], &all["next"]), (&json!(5), &Value::Null));
    let beyond = page(&server, &format!("/api/sessions/{id}/turns?after=5")).await;
    assert_eq!(beyond, json!({ "turns": [], "count": 0, "next": null, "nextCursor": null }));
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_is_not_there_is_404() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    for number in ["0", "2", "-1", "x", "18446744073709551615", "18446744073709551616"] {
        let path = format!("/api/sessions/{id}/turns/{number}");
        is_error(&server.client.get(&path).await.unwrap(), 404, "turn_not_found");
    }
    for query in ["after=x", "after=-1", "limit=x"] {
        let path = format!("/api/sessions/{id}/turns?{query}");
        let refused = server.client.get(&path).await.unwrap();
        is_error(&refused, 400, "invalid_field");
        assert_eq!(refused.1["field"], query.split('=').next().unwrap());
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_happened_to_a_session_is_told_in_order_and_in_pages() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    server.client.message(&id, "trap").await.unwrap();
    server.client.post(&format!("/api/sessions/{id}/terminate"), &json!({})).await.unwrap();
    let events = format!("/api/sessions/{id}/events");
    let all = page(&server, &events).await;
    assert_eq!(names(&all), ["count", "events", "more", "next", "nextCursor"].into());
    let expected = [
        "session.created",
        "session.turn.started",
        "session.started",
        "session.turn.completed",
        "session.turn.started",
        "session.turn.failed",
        "session.terminated",
    ];
    assert_eq!(kinds(&all), expected);
    for event in all["events"].as_array().unwrap() {
        let fields =
            ["aggregate_id", "aggregate_type", "event_type", "id", "occurred_at", "payload"];
        assert_eq!(names(event), fields.into());
        assert_eq!(
            (&event["aggregate_type"], &event["aggregate_id"]),
            (&json!("session"), &json!(id))
        );
        assert_eq!(event["occurred_at"], "2030-01-01T00:00:00.000Z");
    }
    let (mut after, mut found) = (json!(0), Vec::new());
    loop {
        let page = page(&server, &format!("{events}?after={after}&limit=3")).await;
        if page["count"] == 0 {
            assert_eq!(page["next"], after, "who has read all asks for the same again");
            break;
        }
        found.extend(page["events"].as_array().unwrap().clone());
        after = page["next"].clone();
    }
    assert_eq!(Value::Array(found), all["events"]);
    server.shut_down().await;
}

#[tokio::test]
async fn the_log_of_all_events_has_sessions_and_agents() {
    let server = TestServer::new().await;
    let id = server.session(&guests::SPENDS_FUEL, json!({})).await;
    let other = server.session(&guests::SPENDS_FUEL, json!({})).await;
    for id in [&id, &other] {
        server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    }
    server.client.delete("/api/agents/spends_fuel@1").await.unwrap();
    let all = page(&server, "/api/events").await;
    let expected = [
        "agent.uploaded",
        "session.created",
        "session.created",
        "session.deleted",
        "session.deleted",
        "agent.deleted",
    ];
    assert_eq!(kinds(&all), expected);
    let events = all["events"].as_array().unwrap();
    assert_eq!(
        (&events[0]["aggregate_type"], &events[0]["aggregate_id"]),
        (&json!("agent"), &json!("local/spends_fuel@1"))
    );
    let rest = page(&server, &format!("/api/events?after={}&limit=2", events[1]["id"])).await;
    assert_eq!(rest["events"], json!(events[2..4]));
    assert_eq!(rest["next"], events[3]["id"]);
    server.shut_down().await;
}
