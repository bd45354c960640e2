//! `POST …/message` as a stream, and `POST /api/agent/stream`.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::{Event, Events, is_error, names, send};

async fn begin(server: &TestServer, id: &str, prompt: &str) -> Response {
    let path = format!("/api/sessions/{id}/message");
    let request = server.client.request(Method::POST, &path);
    request.json(&json!({ "prompt": prompt })).send().await.unwrap()
}

async fn stream(server: &TestServer, id: &str, prompt: &str) -> Vec<Event> {
    Events::of(begin(server, id, prompt).await).rest().await
}

#[tokio::test]
async fn a_stream_has_the_deltas_the_message_and_the_end() {
    let server = TestServer::new().await;
    let id = server.client.create(&json!({ "pattern": "long-running" })).await.unwrap();
    let response = begin(&server, &id, "my name is Ada").await;
    assert_eq!(response.headers()["x-session-id"], id.as_str());
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let events = Events::of(response).rest().await;
    let [deltas @ .., message, done] = events.as_slice() else { panic!("{events:?}") };

    assert!(!deltas.is_empty(), "{events:?}");
    let text: String = deltas.iter().map(Event::text).collect();
    for delta in deltas {
        let shape = json!({ "type": "stream_event", "data": { "type": "stream_event", "event": {
            "type": "content_block_delta", "index": 0,
            "delta": { "type": "text_delta", "text": delta.text() },
        } } });
        assert_eq!(delta.data, shape);
    }
    let said = json!({ "role": "assistant", "content": text });
    assert_eq!(message.data, json!({ "type": "message", "data": said }));

    assert_eq!(names(&done.data), ["cost", "latency", "session", "turn", "type", "usage"].into());
    assert_eq!((done.kind(), &done.data["turn"]), ("done", &json!(1)));
    assert!(done.data["cost"].as_f64().unwrap() > 0.0);
    assert!(done.data["usage"]["fuel"].as_u64().unwrap() > 0);
    let (_, mut session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    for large in ["config", "context", "metadata"] {
        session.as_object_mut().unwrap().remove(large).unwrap();
    }
    assert_eq!(done.data["session"], session);
    server.shut_down().await;
}

#[tokio::test]
async fn the_ids_of_a_stream_are_its_turn_its_attempt_and_a_number_that_grows() {
    let server = TestServer::new().await;
    let id = server.client.create(&json!({ "pattern": "long-running" })).await.unwrap();
    for turn in 1..=2 {
        let events = stream(&server, &id, "what do you remember").await;
        let numbers: Vec<u64> = events.iter().map(Event::seq).collect();
        assert!(numbers[0] > 0 && numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        let is_named = |event: &Event| event.id == format!("{turn}.1.{}", event.seq());
        assert!(events.iter().all(is_named), "{events:?}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn no_delta_is_larger_than_four_kibibytes_and_nothing_is_lost() {
    let server = TestServer::new().await;
    let id = server.client.create(&json!({ "pattern": "long-running" })).await.unwrap();
    // The assistant repeats it as one word.
    let word = "ä€".repeat(5_000);
    let events = stream(&server, &id, &format!("remember {word}")).await;
    let [deltas @ .., message, _] = events.as_slice() else { panic!("{events:?}") };
    assert!(deltas.len() >= word.len() / 4096);
    assert!(deltas.iter().all(|delta| (1..=4096).contains(&delta.text().len())));
    let text: String = deltas.iter().map(Event::text).collect();
    assert!(text.contains(&word));
    assert_eq!(message.data["data"]["content"], text);
    server.shut_down().await;
}

#[tokio::test]
async fn a_mebibyte_of_deltas_reaches_a_reader() {
    let server = TestServer::new().await;
    let id = server.session(&guests::STREAMS_FOREVER, json!({})).await;
    let events = stream(&server, &id, "stream").await;
    let [deltas @ .., message, done] = events.as_slice() else { panic!("{}", events.len()) };
    let bytes: usize = deltas.iter().map(|delta| delta.text().len()).sum();
    assert_eq!(message.data["data"]["content"], format!("streamed {bytes} bytes: too-large"));
    assert!(bytes > 1_000_000 && done.kind() == "done", "{bytes}");
    server.shut_down().await;
}

/// The pieces in which the server sends the answer to a message, as HTTP tells them.
async fn chunks(server: &TestServer, id: &str, prompt: &str) -> Vec<String> {
    let body = json!({ "prompt": prompt }).to_string();
    let request = format!(
        "POST /api/sessions/{id}/message HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    let answer = server.raw(request.as_bytes()).await;
    let (head, mut rest) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let mut chunks = Vec::new();
    loop {
        let (size, after) = rest.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return chunks;
        }
        chunks.push(after[..size].to_owned());
        rest = after[size..].strip_prefix("\r\n").unwrap();
    }
}

#[tokio::test]
async fn a_client_that_takes_each_chunk_for_whole_lines_understands_a_stream() {
    let server = TestServer::new().await;
    let id = server.client.create(&json!({ "pattern": "long-running" })).await.unwrap();
    for (prompt, least) in [("my name is Ada", 3), ("what is my name", 3), ("tell me more", 3)] {
        let mut events = Vec::new();
        // What clients in the field do: no line is ever carried over to the next chunk.
        for chunk in chunks(&server, &id, prompt).await {
            assert!(chunk.ends_with("\n\n"), "a chunk is a whole event: {chunk}");
            for line in chunk.split('\n') {
                if let Some(data) = line.strip_prefix("data: ") {
                    events.push(serde_json::from_str::<Value>(data).unwrap());
                }
            }
        }
        let text: String = events
            .iter()
            .filter(|event| event["type"] == "stream_event")
            .map(|event| event["data"]["event"]["delta"]["text"].as_str().unwrap())
            .collect();
        let message = events.iter().find(|event| event["type"] == "message").unwrap();
        assert_eq!(message["data"]["content"], text);
        assert_eq!(events.last().unwrap()["type"], "done");
        assert!(events.len() >= least, "{events:?}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_fails_ends_its_stream_with_what_failed_and_that_nothing_counts() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    let events = stream(&server, &id, "trap").await;
    let [error] = events.as_slice() else { panic!("{events:?}") };
    let expected = ["code", "cost", "discarded", "error", "requestId", "session", "turn", "type"];
    assert_eq!(names(&error.data), expected.into());
    assert_eq!((error.kind(), &error.data["code"]), ("error", &json!("agent_trapped")));
    assert_eq!((&error.data["discarded"], &error.data["turn"]), (&json!(true), &json!(1)));
    assert!(error.data["cost"].as_f64().unwrap() > 0.0);
    assert_eq!(error.data["session"]["numTurns"], 1);
    assert_eq!(error.id, "1.1.1");
    super::tells_nothing_of_the_host(&error.data.to_string());
    server.shut_down().await;
}

#[tokio::test]
async fn deltas_that_came_before_a_failure_are_followed_by_an_error_and_by_no_message() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": 50_000_000_u64 });
    let id = server.session(&guests::WAITS_FOR_THE_CLOCK, limits).await;
    let events = stream(&server, &id, "wait").await;
    let [deltas @ .., error] = events.as_slice() else { panic!("{events:?}") };
    let text: String = deltas.iter().map(Event::text).collect();
    assert_eq!(text, "one two three ");
    assert_eq!(
        (&error.data["code"], &error.data["discarded"]),
        (&json!("fuel_exhausted"), &json!(true))
    );
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_wrong_before_the_agent_is_called_is_plain_json() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.post(&format!("/api/sessions/{id}/terminate"), &json!({})).await.unwrap();
    let nobody = "0190f4c6-0000-7000-8000-000000000000";
    for (id, status, code) in
        [(id.as_str(), 409, "session_not_active"), (nobody, 404, "session_not_found")]
    {
        let answer = send(
            server
                .client
                .request(Method::POST, &format!("/api/sessions/{id}/message"))
                .json(&json!({ "prompt": "hello" })),
        )
        .await;
        assert_eq!(answer.headers["content-type"], "application/json");
        is_error(&(answer.status, answer.body), status, code);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_reader_that_goes_away_does_not_stop_the_turn() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::WAITS_FOR_THE_CLOCK, limits).await;
    let mut events = Events::of(begin(&server, &id, "wait").await);
    assert!("one two three ".starts_with(events.next().await.unwrap().text()));
    drop(events);
    let path = format!("/api/sessions/{id}/turns/1");
    dormouse_tests::test_host::eventually("the turn is over", async || {
        server.advance(std::time::Duration::from_millis(1));
        server.client.get(&path).await.unwrap().0 == 200
    })
    .await;
    let (_, turn) = server.client.get(&path).await.unwrap();
    assert_eq!(turn["response"]["content"], "one two three four five six");
    server.shut_down().await;
}

async fn call(server: &TestServer, body: Value) -> (String, Vec<Event>) {
    let request = server.client.request(Method::POST, "/api/agent/stream").json(&body);
    let response = request.send().await.unwrap();
    let id = response.headers()["x-session-id"].to_str().unwrap().to_owned();
    (id, Events::of(response).rest().await)
}

#[tokio::test]
async fn one_call_creates_a_session_and_speaks_to_it_and_the_next_goes_on() {
    let server = TestServer::new().await;
    let body = json!({ "message": "one", "agent": "counter",
                       "config": { "maxTurns": 2, "own": true } });
    let (id, events) = call(&server, body).await;
    assert_eq!(events.last().unwrap().data["session_id"], id.as_str());
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["config"], json!({ "maxTurns": 2, "own": true }));
    assert_eq!((&session["maxTurns"], &session["pattern"]), (&json!(2), &json!("hybrid")));

    let (same, events) = call(&server, json!({ "message": "two", "sessionId": id })).await;
    assert_eq!(same, id);
    assert_eq!(events[events.len() - 2].data["data"]["content"], "turn 2: two");
    assert!(events.iter().all(|event| event.kind() != "session_created"), "{events:?}");
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["status"], "terminated");

    let body = json!({ "message": "hello", "sessionId": "", "pattern": "ephemeral" });
    let (fresh, _) = call(&server, body).await;
    assert_ne!(fresh, id);
    let (_, session) = server.client.get(&format!("/api/sessions/{fresh}")).await.unwrap();
    assert_eq!(session["status"], "completed");
    server.shut_down().await;
}

#[tokio::test]
async fn one_call_tells_its_events_as_the_later_clients_know_them() {
    let server = TestServer::new().await;
    let messages = json!([
        { "role": "user", "content": "hello" },
        { "role": "assistant", "content": "hello yourself" },
        { "role": "user", "content": [{ "type": "text", "text": "my name is Ada" }] },
    ]);
    let body = json!({ "messages": messages, "config": { "model": "m-1" }, "conversationId": 7 });
    let (id, events) = call(&server, body).await;
    let [created, init, deltas @ .., message, done] = events.as_slice() else {
        panic!("{events:?}")
    };
    assert_eq!(created.data, json!({ "type": "session_created", "session_id": id }));
    assert_eq!((init.kind(), &init.data["data"]["model"]), ("system_init", &json!("m-1")));
    assert_eq!((created.id.as_str(), init.id.as_str()), ("1.1.0", "1.1.0"));
    let text: String = deltas.iter().map(Event::text).collect();
    assert!(!text.is_empty() && deltas.iter().all(|delta| delta.kind() == "content_block_delta"));
    assert_eq!(message.data["data"], json!({ "role": "assistant", "content": text }));
    let (_, session) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!((&session["conversationId"], &session["numTurns"]), (&json!(7), &json!(1)));
    let expected = [
        "cost",
        "is_error",
        "latency",
        "message_id",
        "num_turns",
        "permission_denials",
        "sdk_session_id",
        "session_id",
        "timestamp",
        "tools_used",
        "turn",
        "type",
        "usage",
    ];
    assert_eq!((names(&done.data), done.kind()), (expected.into(), "done"));
    assert_eq!(done.data["sdk_session_id"], session["sessionId"]);
    assert_eq!((&done.data["is_error"], &done.data["num_turns"]), (&json!(false), &json!(1)));
    let expected =
        ["cache_creation_tokens", "cache_read_tokens", "fuel", "input_tokens", "output_tokens"];
    assert_eq!(names(&done.data["usage"]), expected.into());
    server.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_somebody_ends_is_aborted_for_the_later_clients() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let body = json!({ "message": "loop", "sessionId": id });
    let request = server.client.request(Method::POST, "/api/agent/stream").json(&body);
    let stream = Events::of(request.send().await.unwrap());
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    let events = stream.rest().await;
    let expected = json!({ "type": "aborted", "session_id": id, "code": "turn_killed",
                           "discarded": true });
    assert_eq!(events.last().unwrap().data, expected);
    server.shut_down().await;
}

#[tokio::test]
async fn one_call_is_refused_as_its_parts_would_be() {
    let server = TestServer::new().await;
    let call = async |body: Value| server.client.post("/api/agent/stream", &body).await.unwrap();
    is_error(&call(json!({})).await, 400, "invalid_field");
    is_error(&call(json!({ "message": "x", "pattern": "weekly" })).await, 400, "invalid_pattern");
    is_error(&call(json!({ "message": "x", "agent": "nobody" })).await, 404, "agent_not_found");
    is_error(&call(json!({ "message": "x", "sessionId": "me" })).await, 404, "session_not_found");
    is_error(&call(json!({ "message": "x", "sessionId": 7 })).await, 400, "invalid_field");
    for messages in [
        json!([]),
        json!([{ "role": "assistant", "content": "x" }]),
        json!([{ "role": "user", "content": [{ "type": "image" }] }]),
        json!([{ "role": "user", "content": "" }]),
        json!("x"),
    ] {
        is_error(&call(json!({ "messages": messages })).await, 400, "invalid_field");
    }
    let (_, list) = server.client.get("/api/sessions").await.unwrap();
    assert_eq!(list["total"], 0, "a call that is refused creates nothing");
    server.shut_down().await;
}

#[tokio::test]
async fn a_stream_that_has_nothing_to_say_says_so_now_and_then() {
    let often = std::time::Duration::from_millis(5);
    let server = TestServer::with(|_| {}, |api| api.heartbeat = often).await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let mut response = begin(&server, &id, "loop").await;
    for _ in 0..3 {
        assert_eq!(response.chunk().await.unwrap().unwrap(), ": alive\n\n");
    }
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    let events = Events::of(response).rest().await;
    assert_eq!(events.last().unwrap().data["code"], "turn_killed");
    server.shut_down().await;
}
