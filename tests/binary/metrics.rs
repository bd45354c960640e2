//! What a host counts of its turns and sessions. The metrics are those of a process, so each test has one of its own.

use dormouse_test_guests as guests;
use dormouse_tests::process::Server;
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, ProviderServer};
use reqwest::Method;
use serde_json::{Value, json};

use crate::DORMOUSE;

/// The value of a metric without labels; 0 before it was first counted.
async fn metric(client: &Client, name: &str) -> f64 {
    let page = client.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().unwrap())
}

async fn upload(client: &Client, guest: &guests::TestGuest) {
    let (status, body) = client.upload(guest.name, "1", guest.bytes).await.unwrap();
    assert!(status.is_success(), "{body}");
}

async fn resume(client: &Client, session: &str) -> String {
    let config = json!({ "resumeSessionId": session });
    let new = json!({ "agent": "converses", "pattern": "long-running", "config": config });
    client.create(&new).await.unwrap()
}

#[tokio::test]
async fn what_a_session_has_in_its_state_that_it_resumes_is_counted_as_saved_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    let client = server.client();
    upload(&client, &guests::CONVERSES).await;
    let session = resume(&client, "").await;
    client.ask(&session, "my name is Ada").await.unwrap();
    let told = client.ask(&session, "what is my name?").await.unwrap();
    assert!(told.contains("Ada"), "{told}");
    let (_, usage) = client.get(&format!("/api/sessions/{session}/usage")).await.unwrap();
    let total = |name: &str| usage["totals"][name].as_f64().unwrap();
    let tokens = total("inputTokens") + total("outputTokens") + total("cachedTokens");
    assert!(tokens > 0.0, "{usage}");
    let cost = total("costNanoUsd") - (total("startCostUsd") * 1e9).round();

    let resumed = resume(&client, &session).await;
    assert_eq!(metric(&client, "dormouse_resume_saved_tokens_total").await, tokens);
    assert_eq!(metric(&client, "dormouse_resume_saved_nano_usd_total").await, cost);
    // Its own turns come after the state that it began with.
    let (_, body) = client.get(&format!("/api/sessions/{resumed}")).await.unwrap();
    let first: Value = body["sessionId"].clone();
    let told = client.ask(&resumed, "what is my name?").await.unwrap();
    assert!(told.contains("Ada"), "{told}");
    resume(&client, first.as_str().unwrap()).await;
    assert_eq!(metric(&client, "dormouse_resume_saved_tokens_total").await, tokens);
}

#[tokio::test]
async fn the_names_of_what_agents_sample_are_nowhere_in_the_metrics_of_the_host() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
    let client = server.client();
    upload(&client, &guests::SAMPLES_NUMBERS).await;
    let session = client.create(&json!({ "agent": "samples_numbers" })).await.unwrap();
    client.ask(&session, "tell_tale 1").await.unwrap();
    let (_, found) = client.get(&format!("/api/sessions/{session}/metrics")).await.unwrap();
    assert_eq!(found["samples"][0]["name"], "tell_tale", "{found}");
    let page = client.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("dormouse_residents") && !page.contains("tell_tale"), "{page}");
}

#[tokio::test]
async fn a_host_tells_how_long_a_turn_that_was_cut_off_took_to_be_taken_up() {
    let provider = ProviderServer::start(|asked| match asked.number {
        2 => Play::Waits("never".to_owned()),
        n => Play::Says(format!("number {n}")),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let models = format!("loopback.kind=openai,loopback.url={},loopback.models=*", provider.url);
    let arguments = ["--providers", &models, "--default-model", "gpt-5-mini"];
    let start = || Server::start(DORMOUSE, &directory.path().join("data"), &arguments).unwrap();
    let server = start();
    let client = server.client();
    upload(&client, &guests::THINKS).await;
    let new = json!({ "agent": "thinks", "pattern": "long-running" });
    let session = client.create(&new).await.unwrap();
    let (sender, id) = (client.clone(), session.clone());
    let sending = tokio::spawn(async move { sender.ask(&id, "ask 4 question").await });
    eventually("the provider is asked", async || provider.asked().len() == 3).await;
    server.kill().unwrap();
    assert!(sending.await.unwrap().is_err());

    let server = start();
    let client = server.client();
    let turns = format!("/api/sessions/{session}/turns");
    eventually("the turn is over", async || {
        client.get(&turns).await.unwrap().1["count"].as_u64() == Some(1)
    })
    .await;
    assert_eq!(metric(&client, "dormouse_replay_seconds_count").await, 1.0);
}

#[tokio::test]
async fn the_money_that_a_host_counts_is_what_its_sessions_are_billed_to_the_nano_dollar() {
    let provider = ProviderServer::counting().await;
    let directory = tempfile::tempdir().unwrap();
    let models = format!("loopback.kind=openai,loopback.url={},loopback.models=*", provider.url);
    let arguments = ["--providers", &models, "--default-model", "gpt-5-mini"];
    let server = Server::start(DORMOUSE, &directory.path().join("data"), &arguments).unwrap();
    let client = server.client();
    upload(&client, &guests::THINKS).await;
    let (mut billed, mut starts) = (0.0, 0.0);
    for script in ["ask 3 question", "spin 100000", "ask 1 question\nspin x"] {
        let new = json!({ "agent": "thinks", "pattern": "long-running" });
        let session = client.create(&new).await.unwrap();
        // One of them fails, and is billed all the same.
        let _ = client.ask(&session, script).await;
        let (_, usage) = client.get(&format!("/api/sessions/{session}/usage")).await.unwrap();
        billed += usage["totals"]["costNanoUsd"].as_f64().unwrap();
        starts += (usage["totals"]["startCostUsd"].as_f64().unwrap() * 1e9).round();
    }
    let of = async |kind: &str| {
        metric(&client, &format!("dormouse_spent_nano_usd_total{{kind=\"{kind}\"}}")).await
    };
    let (fuel, model, start) = (of("fuel").await, of("model").await, of("start").await);
    assert!(fuel > 0.0 && model > 0.0 && start > 0.0, "{fuel} {model} {start}");
    assert_eq!((fuel + model + start, start), (billed, starts));
}
