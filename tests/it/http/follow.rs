//! The log of events as a stream, and that of one session.

use std::time::Duration;

use dormouse::{HostOptions, Principal};
use dormouse_http::{ApiKey, ApiOptions};
use dormouse_tests::client::Request;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Event, Events, is_error, send};

/// A request for the log from here on, as a stream.
fn follow(client: &Client, path: &str) -> Request {
    client.request(Method::GET, path).header("accept", "text/event-stream")
}

/// The events of a stream until one of this kind, in whose id stands its cursor.
async fn until(events: &mut Events, kind: &str) -> Vec<Event> {
    let mut found = Vec::new();
    loop {
        let event = events.next().await.expect("the stream goes on");
        assert_eq!(event.id, event.data["id"].to_string());
        let is_last = event.data["event_type"] == kind;
        found.push(event);
        if is_last {
            return found;
        }
    }
}

fn told(events: Vec<Event>) -> Vec<Value> {
    events.into_iter().map(|event| event.data).collect()
}

async fn page(client: &Client, path: &str) -> Vec<Value> {
    let (status, mut page) = client.get(path).await.unwrap();
    assert_eq!((status.as_u16(), &page["more"]), (200, &json!(false)), "{page}");
    serde_json::from_value(page["events"].take()).unwrap()
}

#[tokio::test]
async fn a_reader_gets_what_has_happened_and_then_each_event_as_it_happens() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let response = follow(&server.client, "/api/events?after=0").send().await.unwrap();
    let mut events = Events::of(response);
    let mut all = told(until(&mut events, "session.created").await);
    server.client.ask(&id, "one").await.unwrap();
    all.extend(told(until(&mut events, "session.turn.completed").await));
    server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    all.extend(told(until(&mut events, "session.deleted").await));
    assert_eq!(all, page(&server.client, "/api/events?limit=200").await);
    server.shut_down().await;
}

#[tokio::test]
async fn a_reader_that_lost_the_connection_misses_nothing() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let response = follow(&server.client, "/api/events").send().await.unwrap();
    let before = told(until(&mut Events::of(response), "session.created").await);
    server.client.ask(&id, "one").await.unwrap();
    let last = before.last().unwrap()["id"].to_string();
    // A client that reconnects by itself sends the query that it began with.
    let again = follow(&server.client, "/api/events?after=0").header("last-event-id", &last);
    let mut again = Events::of(again.send().await.unwrap());
    let after = told(until(&mut again, "session.turn.completed").await);
    assert_eq!([before, after].concat(), page(&server.client, "/api/events?limit=200").await);
    server.shut_down().await;
}

#[tokio::test]
async fn the_events_of_one_session_are_followed_until_it_is_removed() {
    let server = TestServer::new().await;
    let (id, other) = (server.counter(json!({})).await, server.counter(json!({})).await);
    let path = format!("/api/sessions/{id}/events");
    let follow = server.client.request(Method::GET, &format!("{path}?follow=true&after=0"));
    let mut events = Events::of(follow.send().await.unwrap());
    let mut all = told(until(&mut events, "session.created").await);
    server.client.ask(&other, "one").await.unwrap();
    server.client.ask(&id, "one").await.unwrap();
    all.extend(told(until(&mut events, "session.turn.completed").await));
    assert_eq!(all, page(&server.client, &path).await);
    server.client.delete(&format!("/api/sessions/{other}")).await.unwrap();
    server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    all.extend(told(until(&mut events, "session.deleted").await));
    assert!(all.iter().all(|event| event["aggregate_id"] == *id), "{all:?}");
    let missing = server.client.get(&format!("{path}?follow=true")).await.unwrap();
    is_error(&missing, 404, "session_not_found");
    server.shut_down().await;
}

/// A key for each of two owners.
async fn of_two(host: impl FnOnce(&mut HostOptions)) -> (TestServer, Client, Client) {
    let key =
        |name: &str| ApiKey::new(Principal(name.to_owned()), &format!("key-of-{name}-{name}"));
    let api = |api: &mut ApiOptions| {
        api.keys = vec![key("ann"), key("ben")];
        // A server finds out with the next write that a reader has gone.
        api.heartbeat = Duration::from_millis(20);
    };
    let server = TestServer::with(host, api).await;
    let client = |name: &str| server.client.with_key(&format!("key-of-{name}-{name}"));
    let (ann, ben) = (client("ann"), client("ben"));
    (server, ann, ben)
}

#[tokio::test]
async fn a_reader_is_told_of_its_own_sessions_alone() {
    let (server, ann, ben) = of_two(|_| {}).await;
    let counter = json!({ "agent": "counter", "pattern": "hybrid" });
    let (of_ann, of_ben) =
        (ann.create(&counter).await.unwrap(), ben.create(&counter).await.unwrap());
    let mut events = Events::of(follow(&ben, "/api/events").send().await.unwrap());
    let told = told(until(&mut events, "session.created").await);
    assert!(told.last().unwrap()["aggregate_id"] == *of_ben, "{told:?}");
    assert!(told.iter().all(|event| event["aggregate_id"] != *of_ann), "{told:?}");
    let path = format!("/api/sessions/{of_ann}/events?follow=true");
    is_error(&ben.get(&path).await.unwrap(), 404, "session_not_found");
    server.shut_down().await;
}

#[tokio::test]
async fn readers_are_bounded_and_one_owner_leaves_room_for_another() {
    let (server, ann, ben) = of_two(|host| host.memory_budget = 1 << 30).await;
    let mut open = Vec::new();
    let refused = loop {
        let response = follow(&ann, "/api/events").send().await.unwrap();
        if response.status() != 200 {
            break response;
        }
        open.push(response);
        assert!(open.len() <= 128, "half of the readers is for others");
    };
    assert_eq!(open.len(), 128);
    assert_eq!(refused.headers()["retry-after"], "1");
    let status = refused.status();
    is_error(&(status, refused.json().await.unwrap()), 429, "too_many_streams");
    assert_eq!(follow(&ben, "/api/events").send().await.unwrap().status(), 200);
    drop(open);
    eventually("a place is free again", async || {
        follow(&ann, "/api/events").send().await.unwrap().status() == 200
    })
    .await;
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_no_cursor_is_refused() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    for path in ["/api/events".to_owned(), format!("/api/sessions/{id}/events?follow=true")] {
        for last in ["", "x", "-1", "1.1.1", "99999999999999999999"] {
            let refused = send(follow(&server.client, &path).header("last-event-id", last)).await;
            assert_eq!(refused.body["field"], "Last-Event-ID", "{last}");
            is_error(&(refused.status, refused.body), 400, "invalid_field");
        }
    }
    for query in ["follow=1", "follow=x", "after=x"] {
        let refused = server.client.get(&format!("/api/events?{query}")).await.unwrap();
        is_error(&refused, 400, "invalid_field");
    }
    // A cursor beyond the end waits for the log to come there.
    let response = follow(&server.client, "/api/events?after=18446744073709551615").send().await;
    assert_eq!(response.unwrap().status(), 200);
    server.shut_down().await;
}
