//! `dormouse talk`

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use dormouse_test_guests::{FAILS_WHEN_TOLD, PLAIN_PROGRAM, REPLIES_WITH};
use serde_json::{Value, json};

use super::{Host, Running, command};

/// The id of the session in a line that says how to go on.
fn session_in(told: &str) -> String {
    let line = told.lines().find(|line| line.starts_with("go on with: ")).expect("it is told");
    let words: Vec<&str> = line.split(' ').collect();
    let at = words.iter().position(|word| *word == "--session").unwrap();
    words[at + 1].to_owned()
}

#[test]
fn a_message_is_an_argument_or_a_pipe_and_the_session_goes_on() {
    let host = Host::start();
    let first = host.run(&["talk", "counter", "hello"]);
    assert_eq!((first.code, first.out.as_str()), (0, "turn 1: hello\n"), "{first:?}");
    let id = session_in(&first.err);
    assert!(first.err.contains(&format!(" --server {}", host.server.base())), "{first:?}");
    let second = host.pipe(&["talk", "--session", &id], "two\nlines\n");
    assert_eq!((second.code, second.out.as_str()), (0, "turn 2: two\nlines\n"), "{second:?}");
    let third = host.json(&["talk", "--session", &id, "three"]);
    assert_eq!(third["response"]["content"], "turn 3: three");
    assert_eq!(third["session"]["pattern"], "hybrid");
}

#[test]
fn an_answer_that_is_streamed_is_told_once() {
    let host = Host::start();
    // The default agent of the server streams word by word.
    let id = session_in(&host.pipe(&["talk"], "my name is Ada").err);
    let said = host.run(&["talk", "--session", &id, "what is my name"]);
    assert_eq!(said.out, "Your name is Ada.\n");
}

#[test]
fn what_an_agent_says_does_not_steer_the_terminal() {
    let host = Host::start();
    let said = host.run(&["talk", "echo", "a\u{1b}[31mb\u{9b}c\td"]);
    assert_eq!(said.out, "a\u{fffd}[31mb\u{fffd}c\td\n", "{said:?}");
    let raw = host.json(&["talk", "echo", "a\u{1b}b"]);
    assert_eq!(raw["response"]["content"], "a\u{1b}b");
}

#[test]
fn a_program_that_keeps_nothing_gets_a_session_for_each_message() {
    let host = Host::start();
    std::fs::write(host.directory.path().join("plain.wasm"), PLAIN_PROGRAM.bytes).unwrap();
    assert_eq!(host.run(&["agents", "upload", "plain.wasm", "--version", "1"]).code, 0);
    let said = host.run(&["talk", "plain", "lines 2"]);
    assert_eq!((said.code, said.out.as_str()), (0, "line 1\nline 2\n\n"), "{said:?}");
    assert!(!said.err.contains("go on with"), "{said:?}");
    let failed = host.run(&["talk", "plain", "exit 3"]);
    assert!(failed.code == 1 && failed.err.contains("(agent_failed)"), "{failed:?}");
}

#[test]
fn what_goes_wrong_is_told_with_its_code() {
    let host = Host::start();
    for (name, guest) in [("fails", FAILS_WHEN_TOLD), ("replies", REPLIES_WITH)] {
        std::fs::write(host.directory.path().join("agent.wasm"), guest.bytes).unwrap();
        let upload = ["agents", "upload", "agent.wasm", "--name", name, "--version", "1"];
        assert_eq!(host.run(&upload).code, 0);
    }
    let failed = host.run(&["talk", "fails", "failed on purpose"]);
    assert!(failed.code == 1 && failed.err.contains("(agent_failed)"), "{failed:?}");
    let parts = host.run(&["talk", "replies", "blob 10"]);
    assert!(parts.out.contains("[a part of type blob: see --json]"), "{parts:?}");
    let unknown = host.run(&["talk", "nobody", "hello"]);
    assert!(unknown.code == 1 && unknown.err.contains("(agent_not_found)"), "{unknown:?}");
    let pattern = host.run(&["talk", "counter", "hello", "--pattern", "weekly"]);
    assert!(pattern.code == 1 && pattern.err.contains("validPatterns: ephemeral, "), "{pattern:?}");

    let sessions = || host.json(&["sessions"])["total"].clone();
    let before = sessions();
    for empty in [host.run(&["talk", "counter"]), host.run(&["talk", "counter", ""])] {
        assert_eq!((empty.code, empty.err.as_str()), (2, "dormouse: the message is empty\n"));
    }
    let id = "0198c0de-0000-7000-8000-000000000000";
    let both = host.run(&["talk", "--session", id, "counter", "hello"]);
    assert!(both.code == 2 && both.err.contains("leave the agent out"), "{both:?}");
    let gone = host.run(&["talk", "--session", id, "hello"]);
    assert!(gone.code == 1 && gone.err.contains("(session_not_found)"), "{gone:?}");
    assert_eq!(sessions(), before, "a message that cannot be sent creates no session");
}

#[tokio::test]
async fn a_session_that_has_ended_is_no_place_to_go_on() {
    let host = Host::start();
    let said = host.run(&["talk", "counter", "hello", "--pattern", "ephemeral"]);
    assert_eq!(said.out, "turn 1: hello\n");
    assert!(said.err.contains("is completed") && !said.err.contains("go on with"), "{said:?}");
    let ended = json!({ "agent": "counter", "pattern": "hybrid" });
    let id = host.server.client().create(&ended).await.unwrap();
    assert_eq!(host.run(&["sessions", "stop", &id]).code, 0);
    let refused = host.run(&["talk", "--session", &id, "hello"]);
    assert!(refused.code == 1 && refused.err.contains("(session_not_active)"), "{refused:?}");
}

/// The bytes that a server answers with, after it has read the request.
fn answer(listener: &TcpListener, bytes: &str) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    // As much of the request as comes at once: it is small.
    let _ = stream.read(&mut [0; 4096]).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

#[test]
fn an_answer_is_written_while_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let mut talk = Running::start(command(&["talk", "x", "hello", "--server", &server]));
    let session = json!({ "id": "s", "agent": { "name": "x", "version": "1" } }).to_string();
    let length = session.len();
    answer(
        &listener,
        &format!(
            "HTTP/1.1 201 Created\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{session}"
        ),
    );
    let event = |data: Value| format!("data: {data}\n\n");
    let delta = |text: &str| {
        event(json!({ "type": "stream_event", "data": { "event": { "delta": { "text": text } } } }))
    };
    let mut stream = answer(
        &listener,
        &format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", delta("one ")),
    );
    let mut first = [0; 4];
    talk.stdout.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"one ", "the rest has not been sent");
    let message = event(json!({ "type": "message", "data": { "content": "one two" } }));
    let done = event(json!({ "type": "done", "session": { "status": "active" } }));
    stream.write_all(format!("{}{message}{done}", delta("two")).as_bytes()).unwrap();
    assert_eq!(talk.line(), "two\n");
    assert_eq!(talk.end(), 0);
}

#[test]
fn an_answer_that_breaks_off_says_that_the_turn_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let mut talk = Running::start(command(&["talk", "x", "hello", "--server", &server]));
    let session = "{\"id\":\"s\",\"agent\":{}}";
    let length = session.len();
    answer(
        &listener,
        &format!(
            "HTTP/1.1 201 Created\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{session}"
        ),
    );
    drop(answer(&listener, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n: alive\n\n"));
    talk.told("go on with: dormouse talk --session s");
    talk.told("the turn goes on, and its history will have it");
    assert_eq!(talk.end(), 3);
}
