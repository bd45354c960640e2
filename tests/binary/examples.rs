//! The examples that talk to a server, against the real binary.

use std::path::Path;
use std::process::Command;

use dormouse_tests::Server;
use serde_json::json;

use crate::DORMOUSE;

#[path = "../../examples/patterns.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod patterns;

fn start(directory: &Path) -> Server {
    Server::start(DORMOUSE, &directory.join("data"), &[]).unwrap()
}

#[tokio::test]
async fn the_four_patterns_are_played_in_rust() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    patterns::play(&patterns::Api::new(server.base(), None)).await.unwrap();
    let (_, sessions) = server.client().get("/api/sessions").await.unwrap();
    let found = sessions["sessions"].as_array().unwrap();
    let patterns: Vec<_> = found.iter().rev().map(|session| &session["pattern"]).collect();
    assert_eq!(patterns, ["ephemeral", "long-running", "hybrid", "single-container"]);
}

/// Run an example with node, and return what it prints.
fn node(server: &Server, example: &str, arguments: &[&str]) -> String {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/javascript");
    let output = Command::new("node")
        .arg(directory.join(example))
        .args(arguments)
        .env("DORMOUSE_SERVER", server.base())
        .output()
        .expect("node is there");
    assert!(output.status.success(), "{example}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[ignore = "needs node 20"]
fn the_four_patterns_are_played_in_javascript() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    for (example, expected) in [
        ("ephemeral.mjs", "turn 1: summarize this\nit is completed, and used some fuel\n"),
        ("hybrid.mjs", "noted as 1\nit is asleep\n1. buy milk\n"),
        ("single-container.mjs", "it is over: built\n"),
        ("long-running.mjs", "> what is my name\nYour name is Ada.\nand then: "),
    ] {
        let printed = node(&server, example, &[]);
        assert!(printed.contains(expected), "{example}: {printed}");
    }
}

#[tokio::test]
#[ignore = "needs node 20"]
async fn a_host_is_watched_and_cleaned_up_in_javascript() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let client = server.client();
    let hybrid = json!({ "agent": "counter", "pattern": "hybrid" });
    let (kept, ended) =
        (client.create(&hybrid).await.unwrap(), client.create(&hybrid).await.unwrap());
    client.post(&format!("/api/sessions/{ended}/terminate"), &json!({})).await.unwrap();
    let (_, page) = client.get("/api/events?limit=200").await.unwrap();
    let events = page["count"].to_string();

    let watched = node(&server, "monitor.mjs", &[&events]);
    assert!(watched.starts_with("2 sessions; the newest:\n"), "{watched}");
    let line = format!("session.terminated  {ended}");
    assert!(watched.lines().last().unwrap().ends_with(&line), "{watched}");

    assert_eq!(node(&server, "cleanup.mjs", &[]), "sessions removed: 0\n");
    assert_eq!(node(&server, "cleanup.mjs", &["0"]), "sessions removed: 1\n");
    let (_, left) = client.get("/api/sessions").await.unwrap();
    assert_eq!((&left["total"], &left["sessions"][0]["id"]), (&json!(1), &json!(kept)));
}
