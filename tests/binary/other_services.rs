//! Clients of other services of sessions, moved to this host with nothing changed but addresses and ids: the blocks of
//! the documents of those services, as they stand.

use std::path::Path;
use std::process::Command;

use dormouse_tests::Server;
use serde_json::{Value, json};

use crate::DORMOUSE;
use crate::blocks::{blocks, shell};

const PATTERNS: &str = "tests/fixtures/clients/hosting-patterns.md";
const CONVERSATIONS: &str = "tests/fixtures/clients/conversations.md";
const CONTAINERS: &str = "tests/fixtures/clients/containers.md";

/// The addresses that the documents name.
const ADDRESSES: [&str; 2] = ["http://localhost:3333", "http://localhost:8011"];
/// The session that the document of conversations names.
const CONVERSATION: &str = "660e8400-e29b-41d4-a716-446655440001";
/// Its agent.
const AGENT: &str = "550e8400-e29b-41d4-a716-446655440000";

fn start(directory: &Path) -> Server {
    Server::start(DORMOUSE, &directory.join("data"), &[]).unwrap()
}

fn at(server: &Server, text: &str) -> String {
    ADDRESSES.iter().fold(text.to_owned(), |text, address| text.replace(address, server.base()))
}

/// The calls of a document, each with the comment above it, or with an empty one.
fn calls(document: &str) -> Vec<(String, String)> {
    let mut calls: Vec<(String, String)> = Vec::new();
    for block in blocks(document, "bash") {
        let mut about = String::new();
        for line in block.lines() {
            match line.strip_prefix("# ") {
                Some(comment) => about = comment.to_owned(),
                None if line.starts_with("curl ") || line.contains(" /api/") => {
                    calls.push((std::mem::take(&mut about), line.to_owned()));
                }
                None if line.is_empty() => {}
                None => calls.last_mut().unwrap().1.push_str(&format!("\n{line}")),
            }
        }
    }
    calls
}

/// Make a call, and return the document that answers.
fn call(server: &Server, command: &str) -> Value {
    let said = shell(&at(server, command), Path::new("."));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said}"))
}

#[test]
fn calls_of_a_service_in_four_patterns_are_answered_as_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let calls = calls(PATTERNS);
    let about: Vec<&str> = calls.iter().map(|(about, _)| about.as_str()).collect();
    let expected = [
        "Create ephemeral session",
        "List all sessions",
        "Get session stats",
        "Execute message in session",
        "",
    ];
    assert_eq!(about, expected);

    let created = call(&server, &calls[0].1);
    let id = created["id"].as_str().unwrap();
    assert_eq!((&created["pattern"], &created["maxBudgetUsd"]), (&json!("ephemeral"), &json!(0.5)));
    assert_eq!(created["config"]["allowedTools"], json!(["Read", "Write"]));
    let listed = call(&server, &calls[1].1);
    assert_eq!((&listed["total"], &listed["sessions"][0]["id"]), (&json!(1), &json!(id)));
    assert_eq!(call(&server, &calls[2].1)["totalSessions"], 1);
    let answer = call(&server, &calls[3].1.replace("SESSION_ID", id));
    let content = answer["response"]["content"].as_str().unwrap();
    assert!(content.starts_with("you said: Hello, how are you?\n"), "{content}");
    assert!(content.ends_with("My instructions are: You are a helpful assistant"), "{content}");
    assert_eq!(answer["session"]["status"], "completed");
    assert_eq!(call(&server, &calls[4].1.replace("sess_abc123", id))["numTurns"], 1);
    assert_eq!(call(&server, &calls[4].1)["code"], "session_not_found");
}

#[test]
#[ignore = "needs node 20"]
fn a_script_of_a_service_in_four_patterns_runs_as_it_stands() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let blocks = blocks(PATTERNS, "javascript");
    assert_eq!(blocks.len(), 3);
    let script = at(&server, &blocks.join("\n"));
    let output =
        Command::new("node").args(["--input-type=module", "--eval", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    let [cost, turns, active, total] = lines[..] else { panic!("{printed}") };
    let number = |line: &str, label: &str| -> f64 {
        line.strip_prefix(label).and_then(|rest| rest.trim().parse().ok()).expect("a number")
    };
    assert!(number(cost, "Cost:") > 0.0);
    assert_eq!(turns, "Turns: 1");
    assert_eq!(active, "Active sessions: 0");
    assert_eq!(number(total, "Total cost:"), number(cost, "Cost:"));
}

#[test]
fn calls_of_a_service_of_conversations_are_answered_as_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let mut id = String::new();
    let mut played = Vec::new();
    for (about, command) in calls(CONVERSATIONS) {
        let creates = command.contains("-X POST");
        // What is over is not changed any more: the other end is played on another session.
        if about.starts_with("Mark as crashed") {
            let command =
                format!("curl -X POST {}/sessions/ -d '{{\"agent_id\":\"a\"}}'", ADDRESSES[1]);
            id = call(&server, &command)["id"].as_str().unwrap().to_owned();
        }
        let answer = call(&server, &command.replace(CONVERSATION, &id));
        if creates {
            id = answer["id"].as_str().unwrap().to_owned();
            assert_eq!((&answer["agent_id"], &answer["status"]), (&json!(AGENT), &json!("active")));
        } else if let Some(listed) = answer.as_array() {
            assert!(!listed.is_empty());
            let of_agent = |session: &Value| session["agent_id"] == AGENT;
            assert_eq!(listed.iter().all(of_agent), command.contains("agent_id="), "{command}");
        } else {
            assert_eq!(answer["id"], id.as_str(), "{command}: {answer}");
            let sent = command.split_once("-d '").map(|(_, body)| body.trim_end_matches('\''));
            let sent: Value = sent.map_or(json!({}), |body| serde_json::from_str(body).unwrap());
            for (field, value) in sent.as_object().unwrap() {
                assert_eq!(&answer[field], value, "{command}");
            }
        }
        played.push(command);
    }
    assert_eq!(played.len(), 15);
}

#[tokio::test]
async fn calls_of_a_service_of_containers_are_answered_as_they_stand() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let (_, thread) = server
        .client()
        .post(
            "/api/sessions",
            &json!({ "pattern": "hybrid", "threadKey": "john@example.com-my-react-app" }),
        )
        .await
        .unwrap();
    let calls = calls(CONTAINERS);
    assert_eq!(calls.len(), 4);
    for (_, line) in calls {
        let line = line.replace("{containerId}", thread["id"].as_str().unwrap());
        let (method, path) = line.split_once(' ').unwrap();
        let answer = call(&server, &format!("curl -X {method} {}{path}", server.base()));
        assert_eq!(answer["success"], true, "{line}: {answer}");
        assert!(answer["timestamp"].is_string(), "{line}: {answer}");
    }
}
