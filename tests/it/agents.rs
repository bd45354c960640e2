//! Agents are uploaded, refused, listed and removed.

use dormouse::{AgentError, NewSession, Principal, Refusal, StoreError};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::fuzz::wasm::{extended, many_functions};

#[tokio::test]
async fn an_agent_that_the_host_has_never_seen_is_uploaded_and_answers() {
    let test = TestHost::new().await;
    let uploaded = test.host.agents().upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    assert!(uploaded.created);
    assert!(uploaded.agent.imports.iter().any(|import| import.starts_with("wasi:")));
    let new = NewSession::with_agent("mine".parse().unwrap());
    let session = test.host.sessions().create(new).await.unwrap();
    assert_eq!(session.send("hello").await.unwrap().text(), "turn 1: hello");
    test.shut_down().await;
}

#[tokio::test]
async fn the_same_bytes_again_change_nothing_and_other_bytes_are_refused() {
    let test = TestHost::new().await;
    let agents = test.host.agents();
    let first = agents.upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    let again = agents.upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    assert!(first.created && !again.created);
    assert_eq!(first.agent, again.agent);
    let other = agents.upload("mine", "1", guests::LOOPS_FOREVER.bytes).await;
    assert!(matches!(other, Err(AgentError::Store(StoreError::AgentExists(_)))));
    let next = agents.upload("mine", "2", guests::LOOPS_FOREVER.bytes).await.unwrap();
    assert_eq!(agents.get("mine".parse().unwrap()).await.unwrap(), next.agent);
    assert_eq!(agents.get("mine@1".parse().unwrap()).await.unwrap(), first.agent);
    let digest = first.agent.reference.digest.to_string();
    assert_eq!(agents.get(digest.parse().unwrap()).await.unwrap(), first.agent);
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_is_removed_only_when_no_session_refers_to_it() {
    let test = TestHost::new().await;
    let session = test.session(&guests::SPENDS_FUEL).await;
    let agent: dormouse::AgentSelector = "spends_fuel@1".parse().unwrap();
    let refused = test.host.agents().remove(agent.clone()).await;
    assert!(matches!(refused, Err(AgentError::Store(StoreError::AgentInUse(1)))), "{refused:?}");
    session.delete().await.unwrap();
    test.host.agents().remove(agent.clone()).await.unwrap();
    assert!(matches!(test.host.agents().get(agent).await, Err(AgentError::NotFound(_))));
    test.shut_down().await;
}

#[tokio::test]
async fn the_agents_that_come_with_the_host_are_there_and_stay() {
    let test = TestHost::new().await;
    let listed = test.host.agents().list().await.unwrap();
    let names: Vec<_> = listed.iter().map(|agent| agent.reference.name.as_str()).collect();
    assert_eq!(names, ["assistant", "counter", "echo", "fib", "notepad"]);
    let removed = test.host.agents().remove("counter".parse().unwrap()).await;
    assert!(matches!(removed, Err(AgentError::Bundled(_))));
    test.shut_down().await;
}

#[tokio::test]
async fn what_is_no_agent_is_refused_with_what_is_wrong() {
    let test = TestHost::new().await;
    let refusal =
        async |bytes: &[u8]| match test.host.agents().upload("bad", "1", bytes.to_vec()).await {
            Err(AgentError::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        };
    assert!(matches!(refusal(b"").await, Refusal::NotWasm));
    assert!(matches!(refusal(b"#!/bin/sh\necho hello\n").await, Refusal::NotWasm));
    assert!(matches!(refusal(b"\0asm\x01\0\0\0").await, Refusal::CoreModule));
    assert!(matches!(refusal(b"\0asm\x0d\0\x01\0").await, Refusal::NoHandler));
    let half = &guests::SPENDS_FUEL.bytes[..guests::SPENDS_FUEL.bytes.len() / 2];
    let truncated = refusal(half).await.to_string();
    assert!(!truncated.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_principal_with_many_uploads_delays_another_by_one_at_most() {
    let test = TestHost::new().await;
    let acting_as = |name: &str| test.host.acting_as(Principal(name.to_owned()));
    let (many, few) = (acting_as("many").agents(), acting_as("few").agents());
    // One is compiled, and takes long; as many wait as may; the last is told to come back.
    let mut uploads: FuturesUnordered<_> = (0..18)
        .map(|number| {
            let slow = many_functions(120_000 + number);
            let bytes = extended(guests::SPENDS_FUEL.bytes, &slow);
            let (many, version) = (many.clone(), number.to_string());
            async move { many.upload("slow", &version, bytes).await }
        })
        .collect();
    let refused = uploads.next().await.unwrap();
    let is_full = matches!(refused, Err(AgentError::Refused(Refusal::QueueFull { limit: 16 })));
    assert!(is_full, "{refused:?}");

    let small = few.upload("small", "1", guests::SPENDS_FUEL.bytes);
    tokio::pin!(small);
    let mut done = 0;
    loop {
        tokio::select! {
            biased;
            small = &mut small => {
                small.unwrap();
                break;
            }
            slow = uploads.next() => {
                slow.unwrap().unwrap();
                done += 1;
            }
        }
    }
    // The one that was compiled when it came, and at most one that was begun before it stood in line.
    assert!(done <= 2, "{done} went before");
    drop(uploads);
    test.shut_down().await;
}
