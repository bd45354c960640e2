//! Too much at a time, no disk left, and the end of the server.

use dormouse::{Host, ManualClock};
use dormouse_test_guests as guests;
use dormouse_tests::test_host::{compiled_cache, eventually};
use dormouse_tests::{TestHost, TestServer};
use reqwest::Method;
use serde_json::json;

use super::{Events, is_error, runs, send};

const ENDLESS: u64 = u64::MAX / 4;

#[tokio::test]
async fn a_full_queue_is_429_and_says_when_to_try_again() {
    let server = TestServer::with(|host| host.max_queued_messages = 2, |_| {}).await;
    let id = server.session(&guests::LOOPS_FOREVER, json!({ "maxFuelPerTurn": ENDLESS })).await;
    let speak = |prompt: &'static str| {
        let (client, id) = (server.client.clone(), id.clone());
        tokio::spawn(async move { client.message(&id, prompt).await.unwrap() })
    };
    let mut answers = vec![speak("loop")];
    runs(&server, &id, 1).await;
    for waiting in 1..=2 {
        answers.push(speak("hello"));
        eventually("it waits", async || server.test.host.stats().queued == waiting).await;
    }
    for streaming in [false, true] {
        let request = server.client.request(Method::POST, &format!("/api/sessions/{id}/message"));
        let refused =
            send(request.json(&json!({ "prompt": "one more", "streaming": streaming }))).await;
        assert_eq!(refused.headers["retry-after"], "1");
        assert_eq!(refused.body["waiting"], 2);
        is_error(&(refused.status, refused.body), 429, "queue_full");
    }
    let other = server.counter(json!({})).await;
    assert_eq!(server.client.ask(&other, "hello").await.unwrap(), "turn 1: hello");
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    for answer in answers {
        assert_eq!(answer.await.unwrap().0, 409);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn one_request_too_many_is_503_and_health_is_still_told() {
    let server = TestServer::with(|_| {}, |api| api.max_requests = 1).await;
    let id = server.session(&guests::LOOPS_FOREVER, json!({ "maxFuelPerTurn": ENDLESS })).await;
    let request = server.client.request(Method::POST, &format!("/api/sessions/{id}/message"));
    let stream = Events::of(request.json(&json!({ "prompt": "loop" })).send().await.unwrap());
    let refused = send(server.client.request(Method::GET, "/api/sessions")).await;
    assert_eq!(refused.headers["retry-after"], "1");
    is_error(&(refused.status, refused.body), 503, "overloaded");
    assert_eq!(server.client.get("/healthz").await.unwrap().0, 200);
    // A reader that goes away gives its place back.
    drop(stream);
    eventually("there is room again", async || {
        server.client.get("/api/sessions").await.unwrap().0 == 200
    })
    .await;
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    server.shut_down().await;
}

#[tokio::test]
async fn on_a_full_disk_changes_are_507_and_reads_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let server = TestServer::of(TestHost::on(directory.path(), &clock).await, |_| {}).await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    // The agents that come with the host are kept when they are first asked for.
    let (_, agents) = server.client.get("/api/agents").await.unwrap();
    server.shut_down().await;

    let host = Host::builder()
        .data_dir(directory.path())
        .manual_clock(&clock)
        .compiled_cache(compiled_cache(), [7; 32])
        .configure(|options| options.min_free_disk = u64::MAX)
        .build()
        .await
        .unwrap();
    let server = TestServer::of(TestHost { host, clock }, |_| {}).await;
    let path = format!("/api/sessions/{id}");
    is_error(&server.client.message(&id, "two").await.unwrap(), 507, "disk_full");
    is_error(
        &server.client.post("/api/sessions", &json!({ "agent": "counter" })).await.unwrap(),
        507,
        "disk_full",
    );
    is_error(
        &server.client.upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap(),
        507,
        "disk_full",
    );
    is_error(
        &server.client.post(&format!("{path}/terminate"), &json!({})).await.unwrap(),
        507,
        "disk_full",
    );

    let get = async |path: &str| {
        let (status, answer) = server.client.get(path).await.unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    assert_eq!(get(&path).await["numTurns"], 1, "the turn that was not kept never happened");
    assert_eq!(get(&format!("{path}/turns")).await["count"], 1);
    assert_eq!(get("/api/sessions").await["total"], 1);
    assert_eq!(get("/api/agents").await, agents);
    assert!(get("/api/events").await["count"].as_u64().unwrap() > 0);
    get("/healthz").await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_server_that_shuts_down_lets_open_streams_finish() {
    let server = TestServer::new().await;
    let id = server.session(&guests::STREAMS_FOREVER, json!({})).await;
    let request = server.client.request(Method::POST, &format!("/api/sessions/{id}/message"));
    let mut stream = Events::of(request.json(&json!({ "prompt": "stream" })).send().await.unwrap());
    stream.next().await.unwrap();
    let (rest, ()) = tokio::join!(stream.rest(), server.shut_down());
    assert_eq!(rest.last().unwrap().kind(), "done");
}
