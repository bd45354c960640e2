//! Agents are uploaded, refused, listed and removed.

use std::time::Duration;

use dormouse::{AgentError, NewSession, Refusal, StoreError, UploadState};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;

#[tokio::test]
async fn an_agent_that_the_host_has_never_seen_is_uploaded_and_answers() {
    let test = TestHost::new().await;
    let uploaded = test.host.agents().upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    assert!(uploaded.created);
    assert!(uploaded.agent.component.imports.iter().any(|import| import.starts_with("wasi:")));
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
    assert_eq!(
        names,
        [
            "assistant",
            "counter",
            "dilemma",
            "echo",
            "epidemic",
            "exclusion",
            "fib",
            "flock",
            "ising",
            "monitor",
            "moran",
            "notepad",
            "oscillators",
            "persona",
            "predators",
            "schelling",
            "wealth"
        ]
    );
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
async fn why_an_upload_in_the_background_was_refused_is_remembered_for_ten_minutes() {
    let test = TestHost::new().await;
    let agents = test.host.agents();
    let bad: dormouse::AgentSelector = "bad@1".parse().unwrap();
    agents.upload_in_background("bad", "1", b"#!/bin/sh".as_slice()).await.unwrap();
    eventually("it is refused", async || {
        let state = agents.upload_status(bad.clone()).await.unwrap().state;
        matches!(state, UploadState::Refused(AgentError::Refused(Refusal::NotWasm)))
    })
    .await;
    let reserved = agents.upload_in_background("counter", "1", guests::SPENDS_FUEL.bytes).await;
    assert!(matches!(reserved, Err(AgentError::Reserved(_))), "{reserved:?}");

    // What is right goes in its place.
    agents.upload_in_background("bad", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    let uploaded = agents.upload("bad", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    let status = agents.upload_status(bad).await.unwrap();
    assert!(matches!(status.state, UploadState::Ready(agent) if *agent == uploaded.agent));

    let worse: dormouse::AgentSelector = "worse".parse().unwrap();
    assert!(agents.upload("worse", "1", b"#!/bin/sh".as_slice()).await.is_err());
    let status = agents.upload_status(worse.clone()).await.unwrap();
    assert!(matches!(status.state, UploadState::Refused(_)), "{status:?}");
    test.advance(Duration::from_secs(600));
    let gone = agents.upload_status(worse).await;
    assert!(matches!(gone, Err(AgentError::NotFound(_))), "{gone:?}");
    test.shut_down().await;
}
