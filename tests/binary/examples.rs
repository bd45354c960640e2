//! The examples that talk to a server, against the real binary.

use std::path::Path;
use std::process::Command;

use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, Server};
use reqwest::Method;
use serde_json::{Value, json};

use crate::DORMOUSE;

#[path = "../../examples/patterns.rs"]
#[expect(dead_code, reason = "its `main` is for people")]
mod patterns;

/// As the examples tell people to.
const LOOPBACK: [&str; 4] = ["--egress", "GET 127.0.0.1:*", "--egress-private", "127.0.0.1"];

fn start(directory: &Path) -> Server {
    Server::start(DORMOUSE, &directory.join("data"), &LOOPBACK).unwrap()
}

/// The one session of this pattern.
async fn session(client: &Client, pattern: &str) -> Value {
    let (_, found) = client.get(&format!("/api/sessions?pattern={pattern}")).await.unwrap();
    assert_eq!(found["total"], 1, "{found}");
    let id = found["sessions"][0]["id"].as_str().unwrap();
    let (_, session) = client.get(&format!("/api/sessions/{id}")).await.unwrap();
    session
}

/// A file of the session's workspace.
async fn file(client: &Client, session: &Value, path: &str) -> String {
    let id = session["id"].as_str().unwrap();
    let path = format!("/api/sessions/{id}/workspace/{path}");
    client.request(Method::GET, &path).send().await.unwrap().text().await.unwrap()
}

/// What each turn of the session was sent by, and what was answered.
async fn turns(client: &Client, session: &Value) -> Vec<(String, String)> {
    let id = session["id"].as_str().unwrap();
    let (_, page) = client.get(&format!("/api/sessions/{id}/turns")).await.unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let turns = page["turns"].as_array().unwrap().iter();
    turns.map(|turn| (text(&turn["sender"]), text(&turn["response"]["content"]))).collect()
}

#[tokio::test]
async fn the_four_patterns_do_in_rust_what_they_say() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    let (client, api) = (server.client(), patterns::Api::new(server.base(), None));

    patterns::ephemeral(&api).await.unwrap();
    let job = session(&client, "ephemeral").await;
    let used = json!(["Grep", "Read", "Edit", "Write"]);
    assert_eq!((&job["status"], &job["toolsUsed"]), (&json!("completed"), &used));
    assert_eq!((&job["numCalls"], job["totalCost"].as_f64() > Some(0.0)), (&json!(5), true));
    let mended = file(&client, &job, "src/mean.rs").await;
    assert!(mended.contains("of.iter().sum::<f64>() / of.len() as f64"), "{mended}");
    assert!(file(&client, &job, "CHANGES.md").await.starts_with("- mean: "));

    patterns::hybrid(&api).await.unwrap();
    let manager = session(&client, "hybrid").await;
    let statuses: Vec<_> = manager["checkpoint"]["todos"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&statuses[0]["status"], &statuses[1]["status"]),
        (&json!("completed"), &json!("in_progress"))
    );
    assert!(manager["numStarts"].as_u64() >= Some(3), "it has slept twice: {manager}");
    let said = turns(&client, &manager).await.pop().unwrap().1;
    assert_eq!(said, "I remember:\n- we launch on Friday");

    patterns::single_container(&api).await.unwrap();
    let (_, found) = client.get("/api/sessions?pattern=single-container").await.unwrap();
    let game: Vec<_> = found["sessions"].as_array().unwrap().iter().collect();
    let of = |name: &Value| *game.iter().find(|it| it["group"]["name"] == *name).unwrap();
    let (referee, ann, bob) = (of(&Value::Null), of(&json!("ann")), of(&json!("bob")));
    assert_eq!((&referee["toolsUsed"], &bob["toolsUsed"]), (&json!(["Task"]), &json!(["Task"])));
    let asked: Vec<_> = turns(&client, ann).await.into_iter().map(|(_, said)| said).collect();
    assert_eq!(asked, ["e4", "Agreed."]);
    let said = turns(&client, bob).await.pop().unwrap().1;
    assert_eq!(said, "e5, and Ann agrees to a draw.");
    assert_eq!(referee["accountId"], bob["accountId"]);
    for session in [referee, ann, bob] {
        let id = session["id"].as_str().unwrap();
        let path = format!("/api/sessions/{id}");
        eventually("it ends", async || {
            client.get(&path).await.unwrap().1["status"] == "terminated"
        })
        .await;
    }

    patterns::long_running(&api).await.unwrap();
    let monitor = session(&client, "long-running").await;
    let said = turns(&client, &monitor).await;
    let watched = "The tools returned: inbox is watched; lines for now: 1".to_owned();
    assert_eq!(said[0], ("user".to_owned(), watched));
    let reported = "The tools returned: + From Ann: tea at four?".to_owned();
    assert_eq!(said.last(), Some(&("timer".to_owned(), reported)));
    assert_eq!(monitor["toolsUsed"], json!(["WebFetch", "watch", "news"]));
}

#[tokio::test]
async fn the_four_patterns_are_played_on_a_host_that_nobody_has_configured() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    patterns::play(&patterns::Api::new(server.base(), None)).await.unwrap();
    let (_, sessions) = server.client().get("/api/sessions").await.unwrap();
    let found = sessions["sessions"].as_array().unwrap();
    let patterns: Vec<_> = found.iter().rev().map(|session| &session["pattern"]).collect();
    assert_eq!(patterns[..3], ["ephemeral", "long-running", "hybrid"]);
    assert_eq!(patterns[3..], ["single-container"; 3], "the referee and two players");
}

/// Run an example with node. Whether it did what it is for, and what it prints.
fn run(server: &Server, example: &str, arguments: &[&str]) -> (bool, String) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/javascript");
    let output = Command::new("node")
        .arg(directory.join(example))
        .args(arguments)
        .env("DORMOUSE_SERVER", server.base())
        .output()
        .expect("node is there");
    let printed = String::from_utf8(output.stdout).unwrap();
    (output.status.success(), printed + &String::from_utf8_lossy(&output.stderr))
}

fn node(server: &Server, example: &str, arguments: &[&str]) -> String {
    let (is_well, printed) = run(server, example, arguments);
    assert!(is_well, "{example}: {printed}");
    printed
}

#[test]
#[ignore = "needs node 20"]
fn the_four_patterns_do_in_javascript_what_they_say() {
    let directory = tempfile::tempdir().unwrap();
    let server = start(directory.path());
    for (example, expected) in [
        (
            "ephemeral.mjs",
            vec![
                "A mean divides by how many values there are, not by one less.",
                "  of.iter().sum::<f64>() / of.len() as f64\n",
                "it is completed; it asked the model 5 times, used Grep,Read,Edit,Write, and cost $0.00000",
                "and then: ",
                "(session_not_active)\n",
            ],
        ),
        (
            "hybrid.mjs",
            vec![
                "it is asleep; its list:\n  [ ] Write the text\n",
                "it is asleep; its list:\n  [x] Write the text\n  [ ] Draw the picture\n",
                "I remember:\n- we launch on Friday\n",
            ],
        ),
        (
            "single-container.mjs",
            vec![
                "After e4 e5 it is a draw.\n",
                "ann had 2 turns:\n  asked by coordinator: e4\n  asked by bob: Agreed.\n",
                "bob had 1 turns:\n  asked by coordinator: e5, and Ann agrees to a draw.\n",
                "the referee used Task, and it is over for all: draw\n",
            ],
        ),
        (
            "long-running.mjs",
            vec![
                "inbox is watched; lines for now: 1\nit is asleep, a mail has come,",
                "a turn of the timer inbox: The tools returned: + From Ann: tea at four?\n",
            ],
        ),
    ] {
        let printed = node(&server, example, &[]);
        for expected in expected {
            assert!(printed.contains(expected), "{example}: {printed}");
        }
    }
}

#[test]
#[ignore = "needs node 20"]
fn an_example_that_the_host_has_to_allow_says_how() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    let (is_well, printed) = run(&server, "long-running.mjs", &[]);
    assert!(
        !is_well && printed.contains("DORMOUSE_EGRESS_PRIVATE=127.0.0.1 cargo run"),
        "{printed}"
    );
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
