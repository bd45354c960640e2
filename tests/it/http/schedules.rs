//! `/api/schedules`, as an application sees it.

use std::time::Duration;

use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use reqwest::Method;
use serde_json::{Value, json};

async fn ask(server: &TestServer, method: Method, path: &str, body: Value) -> (u16, Value) {
    let mut request = server.client.request(method, path);
    if !body.is_null() {
        request = request.json(&body);
    }
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn get(server: &TestServer, path: &str) -> Value {
    let (status, body) = ask(server, Method::GET, path, Value::Null).await;
    assert_eq!(status, 200, "{body}");
    body
}

fn report() -> Value {
    json!({
        "name": "report",
        "cron": "0 9 * * MON-FRI",
        "prompt": "the report, please",
        "session": {
            "agent": "counter",
            "pattern": "hybrid",
            "tags": ["nightly"],
            "config": { "model": "m", "maxTurns": 3 },
            "maxBudgetUsd": 0.5,
        },
        "maxFailures": 2,
    })
}

#[tokio::test]
async fn a_schedule_is_created_shown_changed_run_and_deleted() {
    let server = TestServer::new().await;
    let (status, made) = ask(&server, Method::POST, "/api/schedules", report()).await;
    assert_eq!((status, &made["status"]), (201, &json!("active")), "{made}");
    let path = format!("/api/schedules/{}", made["id"].as_str().unwrap());
    let shown = get(&server, &path).await;
    assert_eq!((&shown["prompt"], &shown["cron"]), (&report()["prompt"], &report()["cron"]));
    let expected = json!({
        "agent": "counter",
        "pattern": "hybrid",
        "durability": "turn",
        "requireDurable": false,
        "tags": ["nightly"],
        "config": { "model": "m", "maxTurns": 3 },
        "maxTurns": 3,
        "maxBudgetUsd": 0.5,
    });
    assert_eq!(shown["session"], expected);
    let list = get(&server, "/api/schedules?limit=10").await;
    assert_eq!((&list["count"], &list["total"]), (&json!(1), &json!(1)));
    assert_eq!((&list["schedules"][0]["id"], &list["next"]), (&made["id"], &json!(null)));

    let (status, run) = ask(&server, Method::POST, &format!("{path}/run"), Value::Null).await;
    assert_eq!((status, &run["outcome"], &run["run"]), (200, &json!("running"), &json!(1)));
    let runs = format!("{path}/runs");
    let is_over = async || get(&server, &runs).await["runs"][0]["outcome"] == "answered";
    eventually("the run is over", is_over).await;
    let runs = get(&server, &runs).await;
    let session = runs["runs"][0]["sessionId"].as_str().unwrap();
    let told = get(&server, &format!("/api/sessions/{session}/turns")).await;
    assert_eq!(told["turns"][0]["sender"], "schedule");
    assert_eq!(get(&server, &format!("/api/sessions/{session}")).await["tags"], json!(["nightly"]));

    let patch = json!({ "status": "paused", "name": "later", "cron": "@hourly" });
    let (status, paused) = ask(&server, Method::PATCH, &path, patch).await;
    assert_eq!(
        (status, &paused["status"], &paused["dueAt"]),
        (200, &json!("paused"), &json!(null))
    );
    let (_, active) = ask(&server, Method::PATCH, &path, json!({ "status": "active" })).await;
    assert_eq!((&active["name"], &active["status"]), (&json!("later"), &json!("active")));
    assert!(active["dueAt"].is_string());
    server.advance(Duration::from_secs(3600));
    let has_run = async || get(&server, &path).await["lastRun"]["run"] == 2;
    eventually("it is due", has_run).await;

    let (status, _) = ask(&server, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, 200);
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/runs")),
        (Method::DELETE, path.clone()),
        (Method::POST, format!("{path}/run")),
        (Method::GET, "/api/schedules/nothing".to_owned()),
    ] {
        let (status, body) = ask(&server, method, &path, Value::Null).await;
        assert_eq!((status, &body["code"]), (404, &json!("schedule_not_found")), "{path}");
    }
    let events = get(&server, "/api/events").await;
    let kinds: Vec<&str> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["aggregate_type"] == "schedule")
        .map(|event| event["event_type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["schedule.created", "schedule.run", "schedule.run", "schedule.deleted"]);
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_schedule_is_named() {
    let server = TestServer::new().await;
    let with = |name: &str, value: Value| {
        let mut body = report();
        body[name] = value;
        body
    };
    for (body, code, field) in [
        (with("name", json!(null)), "invalid_field", json!("name")),
        (with("cron", json!("0 0 30 2 *")), "invalid_field", json!("cron")),
        (with("cron", json!("each day")), "invalid_field", json!("cron")),
        (with("prompt", json!("")), "invalid_field", json!("prompt")),
        (with("maxFailures", json!(0)), "invalid_field", json!("maxFailures")),
        (with("session", json!([])), "invalid_field", json!("session")),
        (with("session", json!({ "tags": 7 })), "invalid_field", json!("session.tags")),
        (with("session", json!({ "patern": "hybrid" })), "unknown_field", json!("session.patern")),
        (with("agent", json!("counter")), "unknown_field", json!("agent")),
        (with("session", json!({ "agent": "nobody" })), "agent_not_found", json!(null)),
        (with("session", json!({ "template": "none" })), "template_not_found", json!(null)),
    ] {
        let (status, told) = ask(&server, Method::POST, "/api/schedules", body.clone()).await;
        assert!((400..500).contains(&status), "{body}: {told}");
        assert_eq!((&told["code"], &told["field"]), (&json!(code), &field), "{body}: {told}");
    }
    let (_, made) = ask(&server, Method::POST, "/api/schedules", report()).await;
    let path = format!("/api/schedules/{}", made["id"].as_str().unwrap());
    let (status, told) = ask(&server, Method::PATCH, &path, json!({ "status": "stopped" })).await;
    assert_eq!((status, &told["field"]), (400, &json!("status")), "{told}");
    server.shut_down().await;
}
