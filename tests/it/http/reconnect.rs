//! `GET …/events` as a stream: for who lost the connection in mid-turn, or came late.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use dormouse_tests::client::Request;
use dormouse_tests::test_host::eventually;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Event, Events, is_error, send};

fn events(server: &TestServer, id: &str, last: Option<&str>) -> Request {
    let request = server.client.request(Method::GET, &format!("/api/sessions/{id}/events"));
    let request = request.header("accept", "text/event-stream");
    match last {
        Some(last) => request.header("last-event-id", last),
        None => request,
    }
}

async fn connect(server: &TestServer, id: &str, last: Option<&str>) -> Events {
    Events::of(events(server, id, last).send().await.unwrap())
}

/// A session whose first turn has streamed three words and waits for the clock.
async fn waiting(server: &TestServer) -> (String, Events) {
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::WAITS_FOR_THE_CLOCK, limits).await;
    let request = server.client.request(Method::POST, &format!("/api/sessions/{id}/message"));
    let stream = request.json(&json!({ "prompt": "wait" })).send().await.unwrap();
    (id, Events::of(stream))
}

/// Turn the clock until the turn has seen it and is over.
async fn let_it_go_on(server: &TestServer, id: &str) {
    eventually("the turn is over", async || {
        server.advance(std::time::Duration::from_millis(1));
        server.client.get(&format!("/api/sessions/{id}/turns/1")).await.unwrap().0 == 200
    })
    .await;
}

fn told(events: &[Event]) -> Vec<(&str, &str)> {
    let told = |event: &Event| if event.kind() == "stream_event" { "delta" } else { "end" };
    events.iter().map(|event| (event.id.as_str(), told(event))).collect()
}

#[tokio::test]
async fn a_reader_that_lost_the_connection_goes_on_after_the_last_event_it_has() {
    let server = TestServer::new().await;
    let (id, mut first) = waiting(&server).await;
    assert!("one two three ".starts_with(first.next().await.unwrap().text()));
    drop(first);

    let mut again = connect(&server, &id, Some("1.1.2")).await;
    let three = again.next().await.unwrap();
    assert_eq!((three.text(), three.id.as_str()), ("three ", "1.1.3"));
    let_it_go_on(&server, &id).await;
    let rest = again.rest().await;
    let [deltas @ .., message, done] = rest.as_slice() else { panic!("{rest:?}") };
    let text: String = deltas.iter().map(Event::text).collect();
    assert_eq!(text, "four five six");
    assert_eq!((deltas.last().unwrap().seq(), message.seq(), done.seq()), (6, 7, 8));
    assert_eq!(message.data["data"]["content"], "one two three four five six");
    assert_eq!((done.kind(), &done.data["turn"]), ("done", &json!(1)));
    assert_eq!(done.data["session"]["numTurns"], 1);
    server.shut_down().await;
}

/// The session that the last event of a stream tells. How long it has been in memory goes on meanwhile.
fn session_of(done: &Event) -> Value {
    let mut session = done.data["session"].clone();
    assert!(session["residentMs"].take().is_u64(), "{session}");
    session
}

#[tokio::test]
async fn a_reader_that_comes_late_follows_the_running_turn_from_its_beginning() {
    let server = TestServer::new().await;
    let (id, mut first) = waiting(&server).await;
    first.next().await.unwrap();
    let late = connect(&server, &id, None).await;
    let_it_go_on(&server, &id).await;
    let late = late.rest().await;
    let [deltas @ .., message, done] = late.as_slice() else { panic!("{late:?}") };
    let text: String = deltas.iter().map(Event::text).collect();
    assert_eq!(text, "one two three four five six");
    // However text was joined for each of them: what has the same id is the same event.
    let first = first.rest().await;
    let [.., its_message, its_done] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(message, its_message);
    // Each is told for how long itself has waited.
    assert_eq!((&done.id, session_of(done)), (&its_done.id, session_of(its_done)));
    assert_eq!((message.id.as_str(), done.id.as_str()), ("1.1.7", "1.1.8"));
    server.shut_down().await;
}

#[tokio::test]
async fn after_the_turn_a_reader_gets_what_was_committed() {
    let server = TestServer::new().await;
    let (id, first) = waiting(&server).await;
    let_it_go_on(&server, &id).await;
    let first = first.rest().await;
    let again = connect(&server, &id, Some("1.1.2")).await.rest().await;
    assert_eq!(told(&again), [("1.1.3", "end"), ("1.1.4", "end")]);
    let [.., message, done] = first.as_slice() else { panic!("{first:?}") };
    assert_eq!(again[0].data, message.data);
    assert_eq!((again[1].kind(), session_of(&again[1])), ("done", session_of(done)));
    server.shut_down().await;
}

#[tokio::test]
async fn after_a_turn_that_failed_a_reader_is_told_the_failure() {
    let server = TestServer::new().await;
    let id = server.session(&guests::TRAPS_WHEN_TOLD, json!({})).await;
    let failed = server.client.message(&id, "trap").await.unwrap();
    let again = connect(&server, &id, Some("1.1.1")).await.rest().await;
    let [error] = again.as_slice() else { panic!("{again:?}") };
    assert_eq!((error.kind(), &error.data["discarded"]), ("error", &json!(true)));
    for field in ["code", "error", "turn", "cost", "session"] {
        assert_eq!(error.data[field], failed.1[field], "{field}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_reader_of_a_turn_that_is_killed_is_told_so() {
    let server = TestServer::new().await;
    let (id, mut first) = waiting(&server).await;
    first.next().await.unwrap();
    let reader = connect(&server, &id, None).await;
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    for stream in [first, reader] {
        let events = stream.rest().await;
        let error = events.last().unwrap();
        assert_eq!((error.kind(), &error.data["code"]), ("error", &json!("turn_killed")));
        assert_eq!(error.data["session"]["numTurns"], 1);
        assert!(events.iter().all(|event| event.kind() != "message"));
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_reader_of_an_earlier_turn_gets_that_turn_while_another_runs() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    server.client.ask(&id, "one").await.unwrap();
    let looping = super::under_way(&server, &id, "loop", 2).await;
    let earlier = connect(&server, &id, Some("1.1.0")).await.rest().await;
    let [message, done] = earlier.as_slice() else { panic!("{earlier:?}") };
    assert_eq!(message.data["data"]["content"], "turn 1: one");
    assert_eq!(done.data["turn"], 1);
    server.client.post(&format!("/api/sessions/{id}/force-kill"), &json!({})).await.unwrap();
    looping.await.unwrap();
    server.shut_down().await;
}

#[tokio::test]
async fn where_nothing_runs_there_is_nothing_to_follow() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let nothing = send(events(&server, &id, None)).await;
    assert_eq!((nothing.status.as_u16(), nothing.body), (204, json!("")));
    let missing = send(events(&server, &id, Some("2.1.1"))).await;
    is_error(&(missing.status, missing.body), 404, "turn_not_found");
    for last in ["", "1", "1.1", "1.0.1", "x.1.1", "0.1.1", "1.1.1.1", "1.1.99999999999999999999"] {
        let refused = send(events(&server, &id, Some(last))).await;
        assert_eq!(refused.body["field"], "Last-Event-ID", "{last}");
        is_error(&(refused.status, refused.body), 400, "invalid_field");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_place_far_beyond_the_end_of_a_turn_gets_its_end() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "one").await.unwrap();
    let last = format!("1.1.{}", u64::MAX);
    let events = connect(&server, &id, Some(&last)).await.rest().await;
    assert_eq!(events.iter().map(Event::kind).collect::<Vec<_>>(), ["message", "done"]);
    server.shut_down().await;
}
