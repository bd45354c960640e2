//! What a name means depends on who says it: two keys, and agents of the same names.

use dormouse::Principal;
use dormouse_http::ApiKey;
use dormouse_test_guests as guests;
use dormouse_tests::{Client, TestServer};
use serde_json::{Value, json};

use super::{is_error, names};

struct Two {
    server: TestServer,
    ann: Client,
    ben: Client,
}

impl Two {
    async fn new() -> Two {
        let key = |name: &str| ApiKey::new(Principal(name.to_owned()), &format!("key of {name}"));
        let keys = vec![key("ann"), key("ben")];
        let server = TestServer::with(|_| {}, |api| api.keys = keys).await;
        let (ann, ben) =
            (server.client.with_key("key of ann"), server.client.with_key("key of ben"));
        Two { server, ann, ben }
    }

    async fn shut_down(self) {
        drop((self.ann, self.ben));
        self.server.shut_down().await;
    }
}

async fn upload(client: &Client, name: &str, version: &str, guest: &guests::TestGuest) -> Value {
    let (status, agent) = client.upload(name, version, guest.bytes).await.unwrap();
    assert_eq!(status, 201, "{agent}");
    agent
}

/// The agent of a session that is created with these fields.
async fn serving(client: &Client, fields: Value) -> Value {
    let (status, session) = client.post("/api/sessions", &fields).await.unwrap();
    assert_eq!(status, 201, "{session}");
    session["agent"].clone()
}

/// The names in a list of agents, each with its owner.
async fn listed(client: &Client) -> Vec<String> {
    let (_, list) = client.get("/api/agents").await.unwrap();
    let agents = list["agents"].as_array().unwrap();
    let name = |agent: &Value| {
        let owner = agent["owner"].as_str().map(|owner| format!("{owner}/")).unwrap_or_default();
        let (name, version) = (agent["name"].as_str().unwrap(), agent["version"].as_str().unwrap());
        assert_eq!(agent["bundled"], agent["owner"].is_null());
        format!("{owner}{name}@{version}")
    };
    agents.iter().filter(|agent| agent["bundled"] == false).map(name).collect()
}

#[tokio::test]
async fn a_name_never_means_what_somebody_else_has_uploaded() {
    let two = Two::new().await;
    let anns = upload(&two.ann, "mine", "1", &guests::SPENDS_FUEL).await;
    let bens = upload(&two.ben, "mine", "2", &guests::LOOPS_FOREVER).await;
    upload(&two.ben, "mine", "0", &guests::LOOPS_FOREVER).await;
    assert_eq!((&anns["owner"], &bens["owner"]), (&json!("ann"), &json!("ben")));
    for reference in ["mine", "mine@1", "ann/mine", "ann/mine@1", anns["digest"].as_str().unwrap()]
    {
        let agent = serving(&two.ann, json!({ "agent": reference })).await;
        assert_eq!((&agent["owner"], &agent["digest"]), (&json!("ann"), &anns["digest"]));
    }
    assert_eq!(serving(&two.ben, json!({ "agent": "mine" })).await["digest"], bens["digest"]);
    for reference in
        ["mine@2", "mine@0", "ben/mine", "ben/mine@2", bens["digest"].as_str().unwrap()]
    {
        let refused = two.ann.post("/api/sessions", &json!({ "agent": reference })).await.unwrap();
        is_error(&refused, 404, "agent_not_found");
        let path = format!("/api/agents/{reference}");
        for refused in [
            two.ann.get(&path).await.unwrap(),
            two.ann.delete(&path).await.unwrap(),
            two.ann.patch(&path, &json!({ "visibility": "public" })).await.unwrap(),
        ] {
            is_error(&refused, 404, "agent_not_found");
        }
    }
    assert_eq!(listed(&two.ann).await, ["ann/mine@1"]);
    assert_eq!(listed(&two.ben).await, ["ben/mine@2", "ben/mine@0"]);
    two.shut_down().await;
}

#[tokio::test]
async fn the_names_of_the_host_are_its_own() {
    let two = Two::new().await;
    for name in
        ["assistant", "counter", "Counter", "as.sis-tant", "dormouse-agent", &"a".repeat(64)]
    {
        let refused = two.ben.upload(name, "999", guests::SPENDS_FUEL.bytes).await.unwrap();
        is_error(&refused, 409, "reserved_name");
        assert_eq!(refused.1["name"], *name);
    }
    let (_, counter) = two.ann.get("/api/agents/counter").await.unwrap();
    assert_eq!(
        (&counter["owner"], &counter["bundled"], &counter["visibility"]),
        (&json!(null), &json!(true), &json!("public"))
    );
    assert_eq!(serving(&two.ann, json!({})).await["name"], "assistant");
    for refused in [
        two.ann.delete("/api/agents/counter").await.unwrap(),
        two.ann.patch("/api/agents/counter", &json!({ "visibility": "private" })).await.unwrap(),
    ] {
        is_error(&refused, 403, "agent_bundled");
    }
    is_error(&two.ann.get("/api/agents/counter@999").await.unwrap(), 404, "agent_not_found");
    two.shut_down().await;
}

#[tokio::test]
async fn nobody_learns_that_somebody_else_has_the_same_bytes() {
    let two = Two::new().await;
    let first = upload(&two.ann, "secret", "1", &guests::SPENDS_FUEL).await;
    let second = upload(&two.ben, "secret", "1", &guests::SPENDS_FUEL).await;
    assert_eq!(names(&first), names(&second));
    assert_eq!(first["digest"], second["digest"]);
    let digest = first["digest"].as_str().unwrap();
    let (_, shown) = two.ben.get(&format!("/api/agents/{digest}")).await.unwrap();
    assert_eq!(shown["owner"], "ben");
    let conflict = two.ben.upload("secret", "1", guests::LOOPS_FOREVER.bytes).await.unwrap();
    is_error(&conflict, 409, "agent_exists");
    assert_eq!(two.ben.delete("/api/agents/secret").await.unwrap().0, 200);
    is_error(&two.ben.get(&format!("/api/agents/{digest}")).await.unwrap(), 404, "agent_not_found");
    let id = two.ann.create(&json!({ "agent": "secret", "pattern": "hybrid" })).await.unwrap();
    assert_eq!(two.ann.ask(&id, "still there").await.unwrap(), "turn 1: still there");
    two.shut_down().await;
}

#[tokio::test]
async fn a_public_agent_is_used_by_its_full_name_and_private_again_serves_on() {
    let two = Two::new().await;
    upload(&two.ann, "mine", "1.9", &guests::LOOPS_FOREVER).await;
    upload(&two.ann, "mine", "1.10", &guests::SPENDS_FUEL).await;
    let path = "/api/agents/mine@1.10";
    for (body, code) in
        [(json!({}), "invalid_field"), (json!({ "visibility": "shared" }), "invalid_field")]
    {
        is_error(&two.ann.patch(path, &body).await.unwrap(), 400, code);
    }
    let (status, agent) = two.ann.patch(path, &json!({ "visibility": "public" })).await.unwrap();
    assert_eq!((status.as_u16(), &agent["visibility"]), (200, &json!("public")));

    assert_eq!(listed(&two.ben).await, ["ann/mine@1.10"]);
    is_error(&two.ben.get("/api/agents/mine").await.unwrap(), 404, "agent_not_found");
    is_error(&two.ben.get("/api/agents/ann/mine@1.9").await.unwrap(), 404, "agent_not_found");
    for reference in ["ann/mine", "ann%2Fmine%401.10", agent["digest"].as_str().unwrap()] {
        let (status, shown) = two.ben.get(&format!("/api/agents/{reference}")).await.unwrap();
        assert_eq!((status.as_u16(), &shown), (200, &agent), "{reference}");
    }
    for refused in [
        two.ben.delete("/api/agents/ann/mine").await.unwrap(),
        two.ben.patch("/api/agents/ann/mine", &json!({ "visibility": "private" })).await.unwrap(),
    ] {
        is_error(&refused, 403, "not_owner");
    }
    let id = two.ben.create(&json!({ "agent": "ann/mine", "pattern": "hybrid" })).await.unwrap();
    assert_eq!(two.ben.ask(&id, "one").await.unwrap(), "turn 1: one");
    let warm = json!({ "name": "warm", "sessionId": id });
    assert_eq!(two.ben.post("/api/templates", &warm).await.unwrap().0, 201);

    two.ann.patch(path, &json!({ "visibility": "private" })).await.unwrap();
    is_error(&two.ben.get("/api/agents/ann/mine").await.unwrap(), 404, "agent_not_found");
    is_error(
        &two.ben.post("/api/sessions", &json!({ "agent": "ann/mine" })).await.unwrap(),
        404,
        "agent_not_found",
    );
    two.ben.post(&format!("/api/sessions/{id}/sleep"), &json!({})).await.unwrap();
    assert_eq!(two.ben.ask(&id, "two").await.unwrap(), "turn 2: two");
    let (_, forked) = two.ben.post(&format!("/api/sessions/{id}/fork"), &json!({})).await.unwrap();
    assert_eq!(forked["sessions"][0]["agent"]["owner"], "ann");
    for fields in [json!({ "template": "warm" }), json!({ "config": { "resumeSessionId": id } })] {
        let agent = serving(&two.ben, fields).await;
        assert_eq!((&agent["owner"], &agent["version"]), (&json!("ann"), &json!("1.10")));
    }
    let refused = two.ann.delete(path).await.unwrap();
    is_error(&refused, 409, "agent_in_use");
    assert_eq!(refused.1["sessions"], 5);
    two.shut_down().await;
}

#[tokio::test]
async fn what_happens_to_agents_is_told_to_their_owners_alone() {
    let two = Two::new().await;
    upload(&two.ann, "mine", "1", &guests::SPENDS_FUEL).await;
    two.ann.patch("/api/agents/mine", &json!({ "visibility": "public" })).await.unwrap();
    two.ann.get("/api/agents/counter").await.unwrap();
    two.ann.delete("/api/agents/mine").await.unwrap();
    let told = async |client: &Client| {
        let (_, page) = client.get("/api/events").await.unwrap();
        let events = page["events"].as_array().unwrap();
        let one = |event: &Value| format!("{} {}", event["event_type"], event["aggregate_id"]);
        (events.iter().map(one).collect::<Vec<_>>(), page["next"].clone())
    };
    let (anns, next) = told(&two.ann).await;
    let mut of_ann = anns.iter().filter(|event| event.contains("mine"));
    for kind in ["agent.uploaded", "agent.updated", "agent.deleted"] {
        assert_eq!(*of_ann.next().unwrap(), format!("\"{kind}\" \"ann/mine@1\""));
    }
    let (bens, same) = told(&two.ben).await;
    assert!(!bens.iter().any(|event| event.contains("mine")), "{bens:?}");
    assert!(bens.iter().any(|event| event.contains("counter@")), "{bens:?}");
    assert_eq!(same, next, "both go on after the same event");
    two.shut_down().await;
}

#[tokio::test]
async fn templates_and_threads_of_one_are_nothing_to_the_other() {
    let two = Two::new().await;
    let mut ids = Vec::new();
    for client in [&two.ann, &two.ben] {
        let body =
            json!({ "agent": "counter", "pattern": "hybrid", "threadKey": "t", "userId": "u" });
        let id = client.create(&body).await.unwrap();
        client.ask(&id, "hello").await.unwrap();
        ids.push(id);
    }
    let warm = json!({ "name": "warm", "sessionId": ids[0] });
    assert_eq!(two.ann.post("/api/templates", &warm).await.unwrap().0, 201);
    is_error(&two.ben.get("/api/templates/warm").await.unwrap(), 404, "template_not_found");
    is_error(&two.ben.delete("/api/templates/warm").await.unwrap(), 404, "template_not_found");
    let refused = two.ben.post("/api/sessions", &json!({ "template": "warm" })).await.unwrap();
    is_error(&refused, 404, "template_not_found");
    is_error(&two.ben.post("/api/templates", &warm).await.unwrap(), 403, "not_owner");
    let own = json!({ "name": "warm", "sessionId": ids[1] });
    assert_eq!(two.ben.post("/api/templates", &own).await.unwrap().0, 201);
    let (_, anns) = two.ann.get("/api/templates/warm").await.unwrap();
    let (_, bens) = two.ben.get("/api/templates/warm").await.unwrap();
    assert_ne!(anns["from"], bens["from"]);
    let (_, list) = two.ben.get("/api/sessions?userId=u").await.unwrap();
    assert_eq!((&list["total"], &list["sessions"][0]["id"]), (&json!(1), &json!(ids[1])));
    let resumed = json!({ "config": { "resumeSessionId": ids[0] } });
    is_error(&two.ben.post("/api/sessions", &resumed).await.unwrap(), 403, "not_owner");
    two.shut_down().await;
}
