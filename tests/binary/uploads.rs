//! Uploads whose compilation takes as long as the test wants: by a compiler that waits behind a gate.

use dormouse::{AgentError, Principal, Refusal, StoreError, UploadState};
use dormouse_http::ApiKey;
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, Gate, TestServer};
use serde_json::json;

use crate::DORMOUSE;

#[tokio::test]
async fn a_client_that_hangs_up_finds_the_agent_and_nothing_is_compiled_twice() {
    let gate = Gate::new(DORMOUSE);
    let server = TestServer::of(gate.host().await, |_| {}).await;
    let upload = |client: Client| async move {
        client.upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap()
    };
    let hangs_up = tokio::spawn(upload(Client::new(&format!("http://{}", server.address()))));
    eventually("it is compiled", async || gate.begun().len() == 1).await;
    hangs_up.abort();
    assert!(hangs_up.await.unwrap_err().is_cancelled());

    let again = tokio::spawn(upload(server.client.clone()));
    let (status, told) = server.client.get("/api/agents/mine").await.unwrap();
    assert_eq!((status.as_u16(), &told["state"]), (200, &json!("compiling")), "{told}");
    gate.open();
    let (status, agent) = again.await.unwrap();
    assert!(status.is_success(), "{agent}");
    assert_eq!(server.client.get("/api/agents/mine@1").await.unwrap().1, agent);
    let (status, same) = upload(server.client.clone()).await;
    assert_eq!((status.as_u16(), &same), (200, &agent));
    assert_eq!(gate.begun(), [guests::SPENDS_FUEL.bytes.len()]);
    server.shut_down().await;
}

#[tokio::test]
async fn an_upload_that_is_not_waited_for_shows_that_it_lives_to_its_owner_alone() {
    let gate = Gate::new(DORMOUSE);
    let key = |name: &str| ApiKey::new(Principal(name.to_owned()), &format!("key-of-{name}"));
    let server =
        TestServer::of(gate.host().await, |api| api.keys = vec![key("ann"), key("ben")]).await;
    let (ann, ben) = (server.client.with_key("key-of-ann"), server.client.with_key("key-of-ben"));
    let before = server.test.host.stats().memory_used;

    let component = guests::SPENDS_FUEL.bytes;
    let (status, headers, begun) = ann.upload_async("mine", "1", component).await.unwrap();
    assert_eq!(status, 202, "{begun}");
    assert_eq!(headers["preference-applied"], "respond-async");
    assert_eq!(headers["location"], "/api/agents/mine@1");
    assert_eq!(begun.as_object().unwrap().len(), 4, "{begun}");
    assert_eq!((&begun["name"], &begun["version"]), (&json!("mine"), &json!("1")));
    assert_eq!(begun["state"], "compiling");

    eventually("it is compiled", async || gate.begun().len() == 1).await;
    // Its bytes are charged until it is done.
    assert!(server.test.host.stats().memory_used >= before + component.len() as u64);
    assert_eq!(ann.get("/api/agents/mine").await.unwrap().1, begun);
    assert_eq!(ann.get("/api/agents/ann/mine@1").await.unwrap().1, begun);
    for reference in ["mine", "mine@1", "ann/mine", "ann/mine@1"] {
        let (status, body) = ben.get(&format!("/api/agents/{reference}")).await.unwrap();
        assert_eq!((status.as_u16(), &body["code"]), (404, &json!("agent_not_found")), "{body}");
    }
    let session = ann.post("/api/sessions", &json!({ "agent": "mine@1" })).await.unwrap();
    assert_eq!((session.0.as_u16(), &session.1["code"]), (404, &json!("agent_not_found")));

    // The same again joins it; other bytes are a conflict, whether the client waits or not.
    assert_eq!(ann.upload_async("mine", "1", component).await.unwrap().2, begun);
    let other = ann.upload("mine", "1", guests::LOOPS_FOREVER.bytes).await.unwrap();
    assert_eq!((other.0.as_u16(), &other.1["code"]), (409, &json!("agent_exists")));
    assert_eq!(other.1["digest"], begun["digest"]);
    let (status, _, other) =
        ann.upload_async("mine", "1", guests::LOOPS_FOREVER.bytes).await.unwrap();
    assert_eq!((status.as_u16(), &other["code"]), (409, &json!("agent_exists")));

    gate.open();
    eventually("it is ready", async || {
        ann.get("/api/agents/mine").await.unwrap().1["state"] == "ready"
    })
    .await;
    let (_, ready) = ann.get("/api/agents/mine").await.unwrap();
    assert_eq!((&ready["digest"], &ready["owner"]), (&begun["digest"], &json!("ann")));
    let (status, _, again) = ann.upload_async("mine", "1", component).await.unwrap();
    assert_eq!((status.as_u16(), &again["state"]), (202, &json!("ready")));
    assert_eq!(gate.begun().len(), 1);
    server.shut_down().await;
}

#[tokio::test]
async fn an_upload_in_the_background_is_no_agent_until_it_is_ready() {
    let gate = Gate::new(DORMOUSE);
    let test = gate.host().await;
    let agents = test.host.agents();
    gate.open();
    let bundled = agents.list().await.unwrap();
    gate.close();
    let compiled = gate.begun().len();

    let mine = || "mine@1".parse().unwrap();
    let begin = async |guest: &guests::TestGuest| {
        agents.upload_in_background("mine", "1", guest.bytes).await
    };
    let begun = begin(&guests::SPENDS_FUEL).await.unwrap();
    assert!(matches!(begun.state, UploadState::Compiling));
    let again = begin(&guests::SPENDS_FUEL).await.unwrap();
    assert_eq!(again.reference, begun.reference);
    let status = agents.upload_status(mine()).await.unwrap();
    assert!(matches!(status.state, UploadState::Compiling), "{status:?}");
    assert!(matches!(agents.get(mine()).await, Err(AgentError::NotFound(_))));
    assert_eq!(agents.list().await.unwrap(), bundled);
    let other = begin(&guests::LOOPS_FOREVER).await;
    assert!(matches!(other, Err(AgentError::Store(StoreError::AgentExists(_)))), "{other:?}");
    let stranger = test.acting_as("stranger");
    let unknown = stranger.host.agents().upload_status(mine()).await;
    assert!(matches!(unknown, Err(AgentError::NotFound(_))), "{unknown:?}");

    gate.open();
    let waited = agents.upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    let status = agents.upload_status(mine()).await.unwrap();
    assert!(matches!(status.state, UploadState::Ready(agent) if *agent == waited.agent));
    assert_eq!(gate.begun().len(), compiled + 1);
    test.shut_down().await;
}

#[tokio::test]
async fn a_principal_with_many_uploads_delays_another_by_one_at_most() {
    let gate = Gate::new(DORMOUSE);
    let test = gate.host().await;
    let (many, few) = (test.acting_as("many"), test.acting_as("few"));
    let (slow, small) = (guests::SPENDS_FUEL.bytes, guests::REPLIES_WITH.bytes);
    assert_ne!(slow.len(), small.len());
    for version in 0..16 {
        let version = version.to_string();
        let begun = many.host.agents().upload_in_background("slow", &version, slow).await;
        assert!(matches!(begun.unwrap().state, UploadState::Compiling));
    }
    let refused = many.host.agents().upload("slow", "16", slow).await;
    let is_full = matches!(refused, Err(AgentError::Refused(Refusal::QueueFull { limit: 16 })));
    assert!(is_full, "{refused:?}");
    eventually("all of them are in the queue", async || test.host.stats().compiling == 16).await;

    few.host.agents().upload_in_background("small", "1", small).await.unwrap();
    eventually("it is in the queue", async || test.host.stats().compiling == 17).await;
    gate.open();
    few.host.agents().upload("small", "1", small).await.unwrap();
    assert_eq!(gate.begun()[..2], [slow.len(), small.len()]);
    // The others are given up.
    test.shut_down().await;
}

#[tokio::test]
async fn a_host_that_shuts_down_waits_for_no_upload() {
    let gate = Gate::new(DORMOUSE);
    let test = gate.host().await;
    let agents = test.host.agents();
    agents.upload_in_background("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    eventually("it is compiled", async || gate.begun().len() == 1).await;
    // The gate is closed.
    test.shut_down().await;
    let status = agents.upload("mine", "1", guests::SPENDS_FUEL.bytes).await;
    assert!(status.is_err(), "{status:?}");
}
