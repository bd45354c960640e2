//! Messages that wait: what they take of the host's memory is shared among principals, so whatever one
//! principal sends, over however many sessions, a message of another is taken.

use dormouse::{Pattern, Principal, SendError, SessionHandle, TurnStream};
use dormouse_http::ApiKey;
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, TestHost, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

/// A quarter of it, 16 MiB, is for messages.
const BUDGET: u64 = 64 << 20;

/// Bytes of a message: of two principals, one has room for 16 of them, and not for 17.
const LARGE: usize = 500_000;

/// A host with one place, which a turn has that goes on for a day: so all other messages wait.
struct Busy {
    test: TestHost,
    session: SessionHandle,
    turn: TurnStream,
}

impl Busy {
    async fn new() -> Busy {
        let test = TestHost::with(|options| {
            options.max_residents = 1;
            options.memory_budget = BUDGET;
        })
        .await;
        // To try out a new agent takes a place, too.
        test.host.agents().list().await.unwrap();
        let session = test.session(&guests::SLEEPS_IN_TURN).await;
        let turn = session.stream("sleep 86400000").await.unwrap();
        assert_eq!(turn.output().begun().await, Some(1));
        Busy { test, session, turn }
    }

    async fn waiting(&self, count: usize) {
        eventually("they wait", async || self.test.host.stats().waiting == count).await;
    }

    async fn end(self) -> TestHost {
        self.session.terminate("enough").await.unwrap();
        assert!(matches!(self.turn.reply().await, Err(SendError::Failed(_))));
        self.test
    }
}

#[tokio::test]
async fn one_principal_fills_its_share_and_a_message_of_another_is_taken() {
    let busy = Busy::new().await;
    let (ann, ben) = (busy.test.acting_as("ann"), busy.test.acting_as("ben"));
    let large = "x".repeat(LARGE);
    let mut sent = Vec::new();
    let refused = loop {
        let session = ann.bundled("counter", Pattern::LongRunning).await;
        match session.stream(large.clone()).await {
            Ok(turn) => sent.push(turn),
            Err(error) => break error,
        }
        busy.waiting(sent.len()).await;
    };
    assert_eq!((refused.code(), sent.len()), ("share_spent", 16), "{refused}");

    let session = ben.bundled("counter", Pattern::LongRunning).await;
    let its = session.stream(large.clone()).await.expect("there is room for it");
    busy.waiting(17).await;
    busy.end().await;
    // Nothing is lost, and what was given back can be had again.
    let all = sent.len();
    for turn in sent {
        assert_eq!(turn.reply().await.unwrap().text(), format!("turn 1: {large}"));
    }
    assert_eq!(its.reply().await.unwrap().text(), format!("turn 1: {large}"));
    let session = ann.bundled("counter", Pattern::LongRunning).await;
    let mut again = Vec::new();
    for _ in 0..all {
        again.push(session.stream(large.clone()).await.unwrap());
    }
    for turn in again {
        turn.reply().await.unwrap();
    }
    ann.shut_down().await;
}

#[tokio::test]
async fn many_small_messages_are_charged_for_what_the_host_keeps_of_each() {
    let test = TestHost::with(|options| {
        options.memory_budget = BUDGET;
        options.max_queued_messages = 10_000;
    })
    .await;
    let session = test.session(&guests::SLEEPS_IN_TURN).await;
    let turn = session.stream("sleep 86400000").await.unwrap();
    assert_eq!(turn.output().begun().await, Some(1));
    let before = test.host.stats().memory_used;
    let mut sent = Vec::new();
    let refused = loop {
        match session.stream("x").await {
            Ok(turn) => sent.push(turn),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.code(), "share_spent");
    assert!((100..2_000).contains(&sent.len()), "{}", sent.len());
    assert!(test.host.stats().memory_used - before > BUDGET / 8 - (64 << 10));
    session.terminate("enough").await.unwrap();
    eventually("all is given back", async || test.host.stats().memory_used < before).await;
    test.shut_down().await;
}

async fn post(client: &Client, prompt: &str, id: &str) -> (u16, Value, bool) {
    let request = client.request(Method::POST, &format!("/api/sessions/{id}/message"));
    let response = request.json(&json!({ "prompt": prompt, "streaming": false })).send().await;
    let response = response.unwrap();
    let retry = response.headers().contains_key("retry-after");
    (response.status().as_u16(), response.json().await.unwrap(), retry)
}

#[tokio::test]
async fn one_key_fills_its_share_and_a_message_of_another_key_is_taken() {
    let busy = Busy::new().await;
    let key = |name: &str| ApiKey::new(Principal(name.to_owned()), &format!("key of {name}"));
    let keys = vec![key("ann"), key("ben")];
    let test = busy.test.acting_as("local");
    let server = TestServer::of(test, |api| api.keys = keys).await;
    let (ann, ben) = (server.client.with_key("key of ann"), server.client.with_key("key of ben"));
    let new = json!({ "agent": "counter", "pattern": "long-running" });
    let large = "x".repeat(LARGE);
    let mut sent = Vec::new();
    let (status, answer, retry) = loop {
        let id = ann.create(&new).await.unwrap();
        let (client, prompt) = (ann.clone(), large.clone());
        let posted = tokio::spawn(async move { post(&client, &prompt, &id).await });
        let count = sent.len() + 1;
        eventually("it waits or is refused", async || {
            posted.is_finished() || busy.test.host.stats().waiting == count
        })
        .await;
        if posted.is_finished() {
            break posted.await.unwrap();
        }
        sent.push(posted);
    };
    assert_eq!((status, &answer["code"], sent.len()), (429, &json!("share_spent"), 16), "{answer}");
    assert!(retry && answer["error"].as_str().unwrap().contains("send this one again"), "{answer}");

    let id = ben.create(&new).await.unwrap();
    let prompt = large.clone();
    let its = tokio::spawn(async move { post(&ben, &prompt, &id).await });
    busy.waiting(17).await;
    busy.end().await;
    for posted in sent.into_iter().chain([its]) {
        let (status, answer, _) = posted.await.unwrap();
        assert_eq!((status, &answer["result"]["turn"]), (200, &json!(1)), "{answer}");
    }
    drop(ann);
    server.shut_down().await;
}
