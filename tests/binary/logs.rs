//! What the binary logs of a request and of its turn has the id of the request, and of the session.

use std::path::Path;
use std::process::Command;

use dormouse_tests::Server;
use reqwest::Method;
use serde_json::{Value, json};

use crate::DORMOUSE;

/// Speak to a binary that logs in this form, with ids of requests that it is told: what it has logged.
async fn logged(directory: &Path, form: &str) -> (String, String) {
    let log = directory.join("log");
    let mut command = Command::new("/bin/sh");
    let script = format!("exec \"$0\" \"$@\" 2>\"{}\"", log.display());
    let level = "warn,dormouse=debug,dormouse_http=debug,dormouse_sandbox=debug";
    command.args(["-c", &script, DORMOUSE, "--log", form, "--log-level", level]);
    let server = Server::spawn(command, &directory.join("data")).unwrap();
    let client = server.client();
    let ask = async |id: &str, path: &str, body: Value| {
        let request = client.request(Method::POST, path).header("x-request-id", id).json(&body);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    let session =
        ask("creating", "/api/sessions", json!({ "agent": "counter", "pattern": "hybrid" })).await;
    let id = session["id"].as_str().unwrap().to_owned();
    let path = format!("/api/sessions/{id}");
    ask("speaking", &format!("{path}/message"), json!({ "prompt": "hi", "streaming": false }))
        .await;
    ask("sleeping", &format!("{path}/sleep"), json!({})).await;
    assert_eq!(server.terminate().unwrap(), Some(0));
    (id, std::fs::read_to_string(log).unwrap())
}

#[tokio::test]
async fn each_line_in_json_that_is_about_a_request_names_it_and_its_session() {
    let directory = tempfile::tempdir().unwrap();
    let (session, log) = logged(directory.path(), "json").await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |message: &str, field: &str| {
        let line = lines.iter().find(|line| line["fields"]["message"] == message);
        let line = line.unwrap_or_else(|| panic!("{message} is not in {log}"));
        let spans = line["spans"].as_array().unwrap();
        spans.iter().find_map(|span| span.get(field)).cloned().unwrap_or_default()
    };
    // By the task of the session, which the request has started.
    assert_eq!(of("a turn is over", "request_id"), "speaking");
    assert_eq!(of("a turn is over", "session"), session.as_str());
    for (request, count) in [("creating", 1), ("speaking", 2), ("sleeping", 1)] {
        let has_both = |line: &&Value| {
            // A line that is about no request has no spans.
            let Some(spans) = line["spans"].as_array() else { return false };
            let has = |field: &str, value: &str| spans.iter().any(|span| span[field] == value);
            has("request_id", request) && has("session", &session)
        };
        let found = lines.iter().filter(has_both).count();
        assert!(found >= count, "{found} lines of {request} in {log}");
    }
}

#[tokio::test]
async fn each_line_for_people_that_is_about_a_request_names_it_and_its_session() {
    let directory = tempfile::tempdir().unwrap();
    let (session, log) = logged(directory.path(), "human").await;
    let line = log.lines().find(|line| line.contains("a turn is over"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("request_id=speaking"), "{line}");
    assert!(line.contains(&format!("session={session}")), "{line}");
}
