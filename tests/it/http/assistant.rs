//! The default agent with a model behind it, and what a session says of that model.

use dormouse::ManualClock;
use dormouse::model::TokenPrice;
use dormouse_tests::provider::Play;
use dormouse_tests::{ProviderServer, TestHost, TestServer};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Event, Events, is_error};

/// A host whose models are those of this provider. It lives as long as the directory.
async fn served(provider: &ProviderServer, price: TokenPrice) -> (TestServer, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let models = || provider.catalog(price);
    let test = TestHost::thinking(directory.path(), &ManualClock::new(), models).await;
    (TestServer::of(test, |_| {}).await, directory)
}

async fn session(server: &TestServer, config: Value) -> String {
    let new = json!({ "pattern": "long-running", "config": config });
    server.client.create(&new).await.unwrap()
}

fn said(role: &str, content: &str) -> Value {
    json!({ "role": role, "content": content })
}

#[tokio::test]
async fn its_model_gets_the_instructions_and_all_that_was_said() {
    let provider = ProviderServer::counting().await;
    let (server, _directory) = served(&provider, TokenPrice::default()).await;
    let config = json!({ "model": "m-1", "systemPrompt": "Be brief.", "temperature": 0.5 });
    let id = session(&server, config).await;
    for (question, answer) in [("first", "number 1"), ("second", "number 2")] {
        assert_eq!(server.client.ask(&id, question).await.unwrap(), answer);
        server.client.post(&format!("/api/sessions/{id}/sleep"), &json!({})).await.unwrap();
    }
    let asked = &provider.asked()[1].body;
    assert_eq!((&asked["model"], &asked["temperature"]), (&json!("m-1"), &json!(0.5)));
    let expected = [
        said("system", "Be brief."),
        said("user", "first"),
        said("assistant", "number 1"),
        said("user", "second"),
    ];
    assert_eq!(asked["messages"], json!(expected));
    server.shut_down().await;
}

#[tokio::test]
async fn its_words_reach_the_client_while_the_provider_still_speaks() {
    let (begin, rest) = ("Once upon ".to_owned(), "a time".to_owned());
    let provider = ProviderServer::start(move |_| Play::Pauses(begin.clone(), rest.clone())).await;
    let (server, _directory) = served(&provider, TokenPrice::default()).await;
    let id = session(&server, json!({})).await;
    let request = server.client.request(Method::POST, &format!("/api/sessions/{id}/message"));
    let response = request.json(&json!({ "prompt": "a story" })).send().await.unwrap();
    let mut events = Events::of(response);
    let mut told = String::new();
    while told != "Once upon " {
        told.push_str(events.next().await.unwrap().text());
    }
    assert!(provider.answered().is_empty());
    provider.let_go();
    let events = events.rest().await;
    let [deltas @ .., message, done] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!(deltas.iter().map(Event::text).collect::<String>(), "a time");
    assert_eq!(message.data["data"], said("assistant", "Once upon a time"));
    assert_eq!(done.kind(), "done");
    server.shut_down().await;
}

#[tokio::test]
async fn it_fails_in_the_words_of_its_model() {
    let refusal = json!({ "error": { "message": "not that" } });
    let provider = ProviderServer::start(move |_| Play::Refuses(400, refusal.clone(), None)).await;
    let (server, _directory) = served(&provider, crate::models::PRICE).await;
    let id = session(&server, json!({})).await;
    let refused = server.client.message(&id, "hi").await.unwrap();
    is_error(&refused, 422, "agent_invalid");
    assert!(refused.1["error"].as_str().unwrap().contains("not that"), "{}", refused.1);
    let poor = session(&server, json!({ "maxBudgetUsd": 0.001 })).await;
    is_error(&server.client.message(&poor, "hi").await.unwrap(), 402, "budget_exceeded");
    assert_eq!(provider.asked().len(), 1);
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_says_which_model_answers_its_agent() {
    let provider = ProviderServer::counting().await;
    let (server, _directory) = served(&provider, TokenPrice::default()).await;
    let models = [
        (json!({}), json!({ "name": "loopback-1", "provider": "loopback" })),
        (json!({ "model": "m-1" }), json!({ "name": "m-1", "provider": "loopback" })),
        (json!({ "model": "offline" }), json!({ "name": "offline", "provider": "offline" })),
        (json!({ "model": "m".repeat(256) }), json!(null)),
        (json!({ "model": { "name": "m-1" } }), json!(null)),
    ];
    for (config, model) in models {
        let new = json!({ "pattern": "long-running", "config": config });
        let (_, created) = server.client.post("/api/sessions", &new).await.unwrap();
        assert_eq!(created["model"], model, "{config}");
        let path = format!("/api/sessions/{}", created["id"].as_str().unwrap());
        assert_eq!(server.client.get(&path).await.unwrap().1["model"], model);
        let (_, listed) = server.client.get("/api/sessions?limit=1").await.unwrap();
        assert_eq!(listed["sessions"][0]["model"], model);
    }
    server.shut_down().await;

    // Without providers the offline model answers for every name.
    let server = TestServer::new().await;
    let id = session(&server, json!({ "model": "m-1" })).await;
    let (_, told) = server.client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(told["model"], json!({ "name": "m-1", "provider": "offline" }));
    server.shut_down().await;
}
