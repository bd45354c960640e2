//! The API as an application sees it: over a real socket, with a client that knows nothing of Rust.

mod agents;
mod assistant;
mod busy;
mod cleanup;
mod commands;
mod connections;
mod containers;
mod conversations;
mod create;
mod description;
mod experiments;
mod failures;
mod follow;
mod git;
mod groups;
mod guard;
mod health;
mod history;
mod idempotency;
mod json;
mod keys;
mod lifecycle;
mod listing;
mod mcp;
mod memory;
mod messages;
mod names;
mod operations;
mod patch;
mod peers;
mod readers;
mod reconnect;
mod refused;
mod retention;
mod samples;
mod schedules;
mod simulations;
mod snapshots;
mod statistics;
mod strangers;
mod streams;
mod tenants;
mod threads;
mod timers;
mod tools;
mod unknown;
mod usage;
mod workspace;

use std::collections::BTreeSet;

use dormouse_tests::TestServer;
use dormouse_tests::client::Request;
use dormouse_tests::test_host::eventually;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;

/// An answer, whole.
struct Answer {
    status: StatusCode,
    headers: reqwest::header::HeaderMap,
    body: Value,
}

async fn send(request: Request) -> Answer {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, headers, body }
}

/// That this is an error of this status and code, in the shape that all errors have.
#[track_caller]
fn is_error(answer: &(StatusCode, Value), status: u16, code: &str) {
    let (found, body) = answer;
    assert_eq!((found.as_u16(), body["code"].as_str()), (status, Some(code)), "{body}");
    assert!(body["error"].as_str().is_some_and(|sentence| !sentence.is_empty()), "{body}");
    assert!(body["requestId"].as_str().is_some_and(|id| !id.is_empty()), "{body}");
    tells_nothing_of_the_host(&body.to_string());
}

/// That no path, no backtrace and no place in the source of the host is in a text.
#[track_caller]
fn tells_nothing_of_the_host(text: &str) {
    for secret in
        ["/root", "/home", "/tmp", "/work/", "/proc", "/rustc", ".cargo", "/src/", "backtrace"]
    {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// The names of the fields of an object.
fn names(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Wait until this turn of a session runs.
async fn runs(server: &TestServer, id: &str, turn: u64) {
    eventually("the turn runs", async || {
        let (_, status) = server.client.get(&format!("/api/sessions/{id}/status")).await.unwrap();
        status["runningTurn"] == turn
    })
    .await;
}

/// Send a message whose turn, of this number, runs on; the answer comes through the task.
async fn under_way(
    server: &TestServer,
    id: &str,
    prompt: &'static str,
    turn: u64,
) -> JoinHandle<(StatusCode, Value)> {
    let (client, session) = (server.client.clone(), id.to_owned());
    let answer = tokio::spawn(async move { client.message(&session, prompt).await.unwrap() });
    runs(server, id, turn).await;
    answer
}

/// One server-sent event.
#[derive(Debug, PartialEq)]
struct Event {
    id: String,
    data: Value,
}

impl Event {
    fn kind(&self) -> &str {
        self.data["type"].as_str().unwrap()
    }

    /// The text of a delta.
    fn text(&self) -> &str {
        let data = &self.data["data"];
        let delta = data.get("event").unwrap_or(data).get("delta").unwrap();
        delta["text"].as_str().unwrap()
    }

    /// The number in the id, after the turn and the attempt.
    fn seq(&self) -> u64 {
        self.id.rsplit('.').next().unwrap().parse().unwrap()
    }
}

/// Reads the events of a stream as they come, and holds each to the form that is promised.
struct Events {
    response: Response,
    read: Vec<u8>,
}

impl Events {
    fn of(response: Response) -> Events {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-cache");
        Events { response, read: Vec::new() }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = self.read.drain(..end + 2).collect();
                let event = std::str::from_utf8(&event[..end]).unwrap();
                if event.starts_with(':') {
                    continue;
                }
                let (id, data) = event.split_once('\n').unwrap();
                let id = id.strip_prefix("id: ").unwrap().to_owned();
                let data = data.strip_prefix("data: ").unwrap();
                assert!(!data.contains('\n'), "an event takes one line: {data}");
                return Some(Event { id, data: serde_json::from_str(data).unwrap() });
            }
            match self.response.chunk().await.unwrap() {
                Some(chunk) => self.read.extend_from_slice(&chunk),
                None => {
                    assert!(self.read.is_empty(), "the stream ends within an event");
                    return None;
                }
            }
        }
    }

    async fn rest(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}
