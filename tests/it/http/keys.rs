//! Keys of the API: created, used, revoked; what each role may do; quotas and rates of who calls.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

use dormouse::{Cursor, EventKind, ManualClock, NewKey, NewSession, Principal, Role};
use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, TestHost, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{is_error, names, send};

const KEYS: &str = "/api/keys";

/// Create a key over HTTP: a client that calls with it, and the answer.
async fn create(by: &Client, body: Value) -> (Client, Value) {
    let (status, key) = by.post(KEYS, &body).await.unwrap();
    assert_eq!(status, 201, "{key}");
    (by.with_key(key["secret"].as_str().unwrap()), key)
}

/// A server with an admin, and a key for each of these principals.
async fn with_keys<const N: usize>(server: &TestServer, users: [&str; N]) -> (Client, [Client; N]) {
    let (root, _) = create(&server.client, json!({ "principal": "root", "role": "admin" })).await;
    let mut clients = Vec::new();
    for user in users {
        clients.push(create(&root, json!({ "principal": user })).await.0);
    }
    (root, clients.try_into().ok().unwrap())
}

/// The path of the key of this principal that does not end by itself, of which it has one.
async fn path_of(by: &Client, principal: &str) -> String {
    let (_, list) = by.get(KEYS).await.unwrap();
    let mut keys = list["keys"].as_array().unwrap().iter();
    let is_meant = |key: &&Value| key["principal"] == principal && key["expiresAt"].is_null();
    let key = keys.find(is_meant).unwrap();
    format!("{KEYS}/{}", key["id"].as_str().unwrap())
}

#[tokio::test]
async fn from_the_first_key_on_each_caller_needs_one() {
    let server = TestServer::new().await;
    let open = server.client.clone();
    assert_eq!(open.get(KEYS).await.unwrap().1, json!({ "keys": [], "count": 0 }));
    is_error(
        &open.post(KEYS, &json!({ "principal": "ann" })).await.unwrap(),
        409,
        "first_key_must_be_admin",
    );
    let (root, key) = create(&open, json!({ "principal": "root", "role": "admin" })).await;
    let expected =
        ["createdAt", "expiresAt", "id", "lastUsedAt", "principal", "role", "secret"].into();
    assert_eq!(names(&key), expected);
    let (id, secret) = (key["id"].as_str().unwrap(), key["secret"].as_str().unwrap());
    assert!(secret.starts_with(&format!("dm_{id}_")) && secret.len() == 84, "{secret}");

    is_error(&open.get("/api/sessions").await.unwrap(), 401, "unauthorized");
    assert_eq!(open.get("/healthz").await.unwrap().0, 200);
    let (status, list) = root.get(KEYS).await.unwrap();
    assert_eq!((status.as_u16(), &list["count"]), (200, &json!(1)));
    assert!(list["keys"][0].get("secret").is_none(), "{list}");
    assert_eq!(list["keys"][0]["lastUsedAt"], "2030-01-01T00:00:00.000Z");

    // The last key of all can go, and then there is none.
    let (status, revoked) = root.delete(&format!("{KEYS}/{id}")).await.unwrap();
    assert_eq!((status.as_u16(), &revoked["id"]), (200, &json!(id)));
    assert_eq!(open.get("/api/sessions").await.unwrap().0, 200);
    server.shut_down().await;
}

#[tokio::test]
async fn a_server_that_needs_keys_is_open_to_nobody_without_one() {
    let server = TestServer::with(|_| {}, |api| api.needs_keys = true).await;
    is_error(&server.client.get("/api/sessions").await.unwrap(), 401, "unauthorized");
    let keys = server.test.host.operating().keys();
    let root = keys.create(NewKey::of("root").role(Role::Admin)).await.unwrap();
    let client = server.client.with_key(root.secret.as_str());
    assert_eq!(client.get("/api/sessions").await.unwrap().0, 200);
    let path = format!("{KEYS}/{}", root.key.id);
    assert_eq!(client.delete(&path).await.unwrap().0, 200);
    is_error(&client.get("/api/sessions").await.unwrap(), 401, "unauthorized");
    is_error(&server.client.get("/api/sessions").await.unwrap(), 401, "unauthorized");
    server.shut_down().await;
}

#[tokio::test]
async fn a_wrong_a_revoked_and_an_expired_key_are_answered_the_same() {
    let server = TestServer::new().await;
    let (root, [ann]) = with_keys(&server, ["ann"]).await;
    let session = json!({ "agent": "counter", "pattern": "hybrid" });
    let id = ann.create(&session).await.unwrap();
    let (other, key) =
        create(&root, json!({ "principal": "ann", "expiresAt": "2030-01-01T01:00:00+00:00" }))
            .await;
    assert_eq!(key["expiresAt"], "2030-01-01T01:00:00.000Z");
    assert_eq!(other.get(&format!("/api/sessions/{id}")).await.unwrap().0, 200, "they share it");

    server.advance(Duration::from_secs(3600));
    let refusal = async |client: &Client| {
        let answer = send(client.request(Method::GET, "/api/sessions")).await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        let mut body = answer.body;
        body.as_object_mut().unwrap().remove("requestId");
        (answer.status, body)
    };
    let expired = refusal(&other).await;
    is_error(&ann.post(KEYS, &json!({ "principal": "eve" })).await.unwrap(), 403, "forbidden");
    let path = path_of(&root, "ann").await;
    assert_eq!(root.delete(&path).await.unwrap().0, 200);
    let revoked = refusal(&ann).await;
    let wrong = refusal(&server.client.with_key("dm_0000000000000000_00")).await;
    assert_eq!((expired.0, &expired, &revoked), (StatusCode::UNAUTHORIZED, &revoked, &wrong));
    is_error(&root.delete(&path).await.unwrap(), 404, "key_not_found");
    is_error(&root.delete("/api/keys/x").await.unwrap(), 404, "key_not_found");
    // Revoking touches no data.
    let (again, _) = create(&root, json!({ "principal": "ann" })).await;
    assert_eq!(again.get(&format!("/api/sessions/{id}")).await.unwrap().0, 200);
    let past = json!({ "principal": "ann", "expiresAt": "2030-01-01T01:00:00Z" });
    is_error(&root.post(KEYS, &past).await.unwrap(), 400, "invalid_field");
    is_error(&root.post(KEYS, &json!({ "principal": "a b" })).await.unwrap(), 400, "invalid_field");
    is_error(&root.post(KEYS, &json!({})).await.unwrap(), 400, "invalid_field");
    server.shut_down().await;
}

#[tokio::test]
async fn the_last_admin_stays_as_long_as_there_are_other_keys() {
    let server = TestServer::new().await;
    let (root, [_ann]) = with_keys(&server, ["ann"]).await;
    let path = path_of(&root, "root").await;
    is_error(&root.delete(&path).await.unwrap(), 409, "last_admin");
    create(&root, json!({ "principal": "other", "role": "admin" })).await;
    assert_eq!(root.delete(&path).await.unwrap().0, 200);
    server.shut_down().await;
}

#[tokio::test]
async fn a_reader_reads_what_its_principal_has_and_changes_nothing() {
    let server = TestServer::new().await;
    let (root, [ann]) = with_keys(&server, ["ann"]).await;
    let (reader, _) = create(&root, json!({ "principal": "ann", "role": "reader" })).await;
    let id = ann.create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
    ann.ask(&id, "one").await.unwrap();
    let path = format!("/api/sessions/{id}");
    assert_eq!(reader.get(&format!("{path}/turns")).await.unwrap().1["count"], 1);
    assert_eq!(reader.get("/api/sessions").await.unwrap().1["total"], 1);
    let refused = reader.message(&id, "two").await.unwrap();
    is_error(&refused, 403, "forbidden");
    assert_eq!((&refused.1["role"], &refused.1["neededRole"]), (&json!("reader"), &json!("user")));
    is_error(&reader.delete(&path).await.unwrap(), 403, "forbidden");
    is_error(&reader.get(KEYS).await.unwrap(), 403, "forbidden");
    assert_eq!(ann.get(&path).await.unwrap().1["numTurns"], 1);

    // A program that embeds the host is refused by the library itself.
    let host = server.test.host.acting_as(Principal("ann".to_owned()));
    let mut access = host.access().clone();
    access.role = Role::Reader;
    let host = host.acting_for(access);
    let session = host.sessions().get(id.parse().unwrap());
    assert_eq!(session.info().await.unwrap().session.usage.turns, 1);
    assert_eq!(session.send("two").await.unwrap_err().code(), "forbidden");
    assert_eq!(session.stop().await.unwrap_err().code(), "forbidden");
    assert_eq!(session.terminate("no").await.unwrap_err().code(), "forbidden");
    assert_eq!(session.sleep().await.unwrap_err().code(), "forbidden");
    assert_eq!(session.delete().await.unwrap_err().code(), "forbidden");
    assert_eq!(session.fork(Default::default()).await.unwrap_err().code(), "forbidden");
    let agent = "counter".parse().unwrap();
    assert_eq!(session.upgrade(agent).await.unwrap_err().code(), "forbidden");
    let new = NewSession::agent("counter");
    assert_eq!(host.sessions().create(new).await.err().unwrap().code(), "forbidden");
    let bytes = guests::SPENDS_FUEL.bytes;
    assert_eq!(host.agents().upload("mine", "1", bytes).await.unwrap_err().code(), "forbidden");
    assert_eq!(
        host.agents().remove("ann/mine".parse().unwrap()).await.unwrap_err().code(),
        "forbidden"
    );
    assert_eq!(host.templates().delete("t").await.unwrap_err().code(), "forbidden");
    server.shut_down().await;
}

#[tokio::test]
async fn an_admin_sees_and_changes_what_all_principals_have() {
    let server = TestServer::new().await;
    let local = server.counter(json!({})).await;
    let (root, [ann, ben]) = with_keys(&server, ["ann", "ben"]).await;
    let new = json!({ "agent": "counter", "pattern": "hybrid" });
    let (of_ann, of_ben) = (ann.create(&new).await.unwrap(), ben.create(&new).await.unwrap());
    assert_eq!(ann.upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap().0, 201);
    let template = json!({ "name": "warm", "sessionId": of_ann });
    ann.ask(&of_ann, "one").await.unwrap();
    assert_eq!(ann.post("/api/templates", &template).await.unwrap().0, 201);

    let (_, all) = root.get("/api/sessions").await.unwrap();
    assert_eq!(all["total"], 3, "those of `local` as well: {all}");
    let (_, some) = root.get("/api/sessions?owner=ann").await.unwrap();
    assert_eq!((&some["total"], &some["sessions"][0]["id"]), (&json!(1), &json!(of_ann)));
    assert_eq!(some["sessions"][0]["owner"], "ann");
    assert_eq!(root.get("/api/sessions?owner=root").await.unwrap().1["total"], 0);
    is_error(&ann.get("/api/sessions?owner=ben").await.unwrap(), 403, "forbidden");
    assert_eq!(ann.get("/api/sessions?owner=ann").await.unwrap().1["total"], 1);
    assert_eq!(root.ask(&of_ann, "two").await.unwrap(), "turn 2: two");
    assert_eq!(root.ask(&local, "mine").await.unwrap(), "turn 1: mine");
    assert_eq!(root.delete(&format!("/api/sessions/{of_ben}")).await.unwrap().0, 200);
    let (status, forked) =
        root.post(&format!("/api/sessions/{of_ann}/fork"), &json!({})).await.unwrap();
    assert_eq!((status.as_u16(), &forked["sessions"][0]["owner"]), (201, &json!("ann")));

    let listed = |agents: &Value| agents.to_string().contains("\"mine\"");
    assert!(listed(&root.get("/api/agents").await.unwrap().1));
    assert!(!listed(&ben.get("/api/agents").await.unwrap().1));
    let public = json!({ "visibility": "public" });
    assert_eq!(root.patch("/api/agents/ann/mine", &public).await.unwrap().0, 200);
    assert!(listed(&ben.get("/api/agents").await.unwrap().1));
    assert_eq!(root.delete("/api/agents/ann/mine").await.unwrap().0, 200);
    assert_eq!(root.get("/api/templates").await.unwrap().1["count"], 0, "its own");
    assert_eq!(root.get("/api/templates?owner=ann").await.unwrap().1["count"], 1);
    assert_eq!(root.delete("/api/templates/warm?owner=ann").await.unwrap().0, 200);

    let own = root.create(&new).await.unwrap();
    assert_eq!(root.get(&format!("/api/sessions/{own}")).await.unwrap().1["owner"], "root");
    is_error(&ann.get(&format!("/api/sessions/{own}")).await.unwrap(), 404, "session_not_found");
    let told = async |client: &Client, query: &str| {
        let (_, events) = client.get(&format!("/api/events?limit=200{query}")).await.unwrap();
        events.to_string()
    };
    let (all, of) = (told(&root, "").await, told(&root, "&owner=ann").await);
    assert!([&of_ann, &of_ben, &own, &local].iter().all(|id| all.contains(*id)), "{all}");
    assert!(of.contains(&of_ann) && !of.contains(&own), "{of}");
    server.shut_down().await;
}

#[tokio::test]
async fn what_was_done_to_keys_is_in_the_log_of_events_of_the_admin() {
    let server = TestServer::new().await;
    let (root, [ann]) = with_keys(&server, ["ann"]).await;
    let path = path_of(&root, "ann").await;
    let id = path.rsplit('/').next().unwrap();
    assert_eq!(root.delete(&path).await.unwrap().0, 200);
    let (again, _) = create(&root, json!({ "principal": "ann" })).await;
    let (_, events) = root.get("/api/events?limit=200").await.unwrap();
    let of_keys = events["events"].as_array().unwrap().iter();
    let of_keys: Vec<_> = of_keys.filter(|event| event["aggregate_type"] == "key").collect();
    let kinds: Vec<_> = of_keys.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["key.created", "key.created", "key.revoked", "key.created"]);
    assert_eq!(of_keys[2]["aggregate_id"], id);
    assert_eq!(of_keys[2]["payload"], json!({ "principal": "ann", "role": "user" }));
    assert_eq!(ann.get("/api/events").await.unwrap().0, 401);
    let (_, seen) = again.get("/api/events?limit=200").await.unwrap();
    assert!(!seen.to_string().contains("key."), "{seen}");
    server.shut_down().await;
}

#[tokio::test]
async fn keys_outlive_the_host_and_so_does_when_they_were_used() {
    let (clock, directory) = (ManualClock::new(), tempfile::tempdir().unwrap());
    let server = TestServer::of(TestHost::on(directory.path(), &clock).await, |_| {}).await;
    let (root, key) = create(&server.client, json!({ "principal": "root", "role": "admin" })).await;
    clock.advance(Duration::from_secs(5));
    assert_eq!(root.get(KEYS).await.unwrap().0, 200);
    server.shut_down().await;
    let server = TestServer::of(TestHost::on(directory.path(), &clock).await, |_| {}).await;
    is_error(&server.client.get(KEYS).await.unwrap(), 401, "unauthorized");
    let keys = server.test.host.operating().keys();
    let used = keys.list().unwrap()[0].last_used_at.unwrap();
    assert_eq!(used.to_string(), "2030-01-01T00:00:05.000Z");
    let again = server.client.with_key(key["secret"].as_str().unwrap());
    assert_eq!(again.get(KEYS).await.unwrap().0, 200);
    server.shut_down().await;
}

#[tokio::test]
async fn when_a_key_was_used_is_written_a_minute_later_and_by_no_request() {
    let store = std::sync::Arc::new(dormouse::MemoryStore::default());
    let clock = ManualClock::new();
    let server = TestServer::of(TestHost::on_store(store.clone(), &clock).await, |_| {}).await;
    let (root, _) = create(&server.client, json!({ "principal": "root", "role": "admin" })).await;
    let stored = async || {
        use dormouse_store::read::ReadKeys;
        store.keys().await.unwrap().keys[0].last_used_at
    };
    for _ in 0..3 {
        assert_eq!(root.get(KEYS).await.unwrap().0, 200);
    }
    let used = clock.now();
    clock.advance(Duration::from_secs(59));
    server.test.host.settle().await;
    assert_eq!(stored().await, None, "not before a minute");
    eventually("the last use is written", async || {
        clock.advance(Duration::from_secs(60));
        stored().await == Some(used)
    })
    .await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_principal_sends_so_many_requests_in_a_minute() {
    let rate = NonZeroU32::new(3);
    let server = TestServer::with(|_| {}, |api| api.max_requests_per_minute = rate).await;
    let keys = server.test.host.operating().keys();
    keys.create(NewKey::of("root").role(Role::Admin)).await.unwrap();
    let mut clients = Vec::new();
    for name in ["ann", "ann", "ben"] {
        let created = keys.create(NewKey::of(name)).await.unwrap();
        clients.push(server.client.with_key(created.secret.as_str()));
    }
    for client in [0, 1, 0] {
        assert_eq!(clients[client].get("/api/sessions").await.unwrap().0, 200);
    }
    let refused = send(clients[1].request(Method::GET, "/api/sessions")).await;
    assert_eq!(refused.headers["retry-after"], "20");
    is_error(&(refused.status, refused.body), 429, "rate_limited");
    assert_eq!(clients[2].get("/api/sessions").await.unwrap().0, 200, "a rate of its own");
    server.advance(Duration::from_secs(20));
    assert_eq!(clients[1].get("/api/sessions").await.unwrap().0, 200);
    is_error(&clients[0].get("/api/sessions").await.unwrap(), 429, "rate_limited");
    server.shut_down().await;
}

#[tokio::test]
async fn a_user_of_a_principal_sends_so_many_messages_in_a_minute() {
    let rate = NonZeroU32::new(2);
    let server =
        TestServer::with(|host| host.quotas.messages_per_minute_per_user = rate, |_| {}).await;
    let (one, same) = (
        server.counter(json!({ "userId": "u" })).await,
        server.counter(json!({ "userId": "u" })).await,
    );
    let (other, none) =
        (server.counter(json!({ "userId": "v" })).await, server.counter(json!({})).await);
    server.client.ask(&one, "1").await.unwrap();
    server.client.ask(&same, "2").await.unwrap();
    let path = format!("/api/sessions/{one}/message");
    for streaming in [false, true] {
        let body = json!({ "prompt": "3", "streaming": streaming });
        let refused = send(server.client.request(Method::POST, &path).json(&body)).await;
        assert_eq!(refused.headers["retry-after"], "30");
        is_error(&(refused.status, refused.body), 429, "rate_limited");
    }
    for n in 1..=3 {
        server.client.ask(&none, "of no user").await.unwrap();
        let (status, _) = server.client.message(&other, "of another user").await.unwrap();
        assert_eq!(status.as_u16(), if n <= 2 { 200 } else { 429 }, "a rate of its own");
    }
    server.advance(Duration::from_secs(30));
    assert_eq!(server.client.ask(&one, "4").await.unwrap(), "turn 2: 4");
    server.shut_down().await;
}

#[tokio::test]
async fn a_principal_and_a_user_of_it_have_so_many_sessions() {
    let server = TestServer::with(
        |host| {
            host.quotas.sessions_per_principal = NonZeroU64::new(4);
            host.quotas.sessions_per_user = NonZeroU64::new(2);
        },
        |_| {},
    )
    .await;
    let (_, [ann, ben]) = with_keys(&server, ["ann", "ben"]).await;
    let new = |user: Option<&str>| json!({ "agent": "counter", "userId": user });
    let refused = async |client: &Client, body: &Value| {
        let answer = send(client.request(Method::POST, "/api/sessions").json(body)).await;
        assert!(answer.headers.contains_key("retry-after"));
        is_error(&(answer.status, answer.body), 429, "quota_exceeded");
    };
    let first = ann.create(&new(Some("u"))).await.unwrap();
    ann.create(&new(Some("u"))).await.unwrap();
    refused(&ann, &new(Some("u"))).await;
    ann.create(&new(Some("v"))).await.unwrap();
    // A fork is a session as any other.
    let fork = ann.post(&format!("/api/sessions/{first}/fork"), &json!({})).await.unwrap();
    is_error(&fork, 429, "quota_exceeded");
    ann.create(&new(None)).await.unwrap();
    refused(&ann, &new(None)).await;
    ben.create(&new(Some("u"))).await.unwrap();
    assert_eq!(ann.delete(&format!("/api/sessions/{first}")).await.unwrap().0, 200);
    // Of many that come at once, as many are created as there is room for.
    let body = json!({ "agent": "counter" });
    let at_once = (0..8).map(|_| ann.post("/api/sessions", &body));
    let created = futures::future::join_all(at_once).await;
    let created = created.into_iter().filter(|answer| answer.as_ref().unwrap().0 == 201);
    assert_eq!(created.count(), 1);
    server.shut_down().await;
}

#[tokio::test]
async fn an_event_of_a_key_is_one_of_its_admins() {
    let test = TestHost::new().await;
    let keys = test.host.operating().keys();
    let created = keys.create(NewKey::of("root").role(Role::Admin)).await.unwrap();
    let root = test.host.acting_for(keys.authenticate(created.secret.as_str()).unwrap());
    let events = root.events_after(Cursor(0), 10).await.unwrap().events;
    let kinds: Vec<_> = events.iter().map(|logged| logged.event.kind()).collect();
    assert_eq!(kinds, [EventKind::KeyCreated]);
    let owner = events[0].event.owner.as_ref().and_then(|owner| owner.principal()).unwrap();
    assert_eq!(*owner, Principal::local(), "the operator has created it");
    let ann = test.host.acting_as(Principal("ann".to_owned()));
    assert!(ann.events_after(Cursor(0), 10).await.unwrap().events.is_empty());
    test.shut_down().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_follows_the_log_no_longer() {
    let server = TestServer::new().await;
    let (root, [ann]) = with_keys(&server, ["ann"]).await;
    let path = path_of(&root, "ann").await;
    let stream = ann.request(Method::GET, "/api/events?follow=true").send().await.unwrap();
    let mut events = super::Events::of(stream);
    ann.create(&json!({ "agent": "counter" })).await.unwrap();
    while events.next().await.unwrap().data["event_type"] != "session.created" {}
    assert_eq!(root.delete(&path).await.unwrap().0, 200);
    let other = create(&root, json!({ "principal": "ann" })).await.0;
    other.create(&json!({ "agent": "counter" })).await.unwrap();
    assert!(events.next().await.is_none(), "it ends with the next event, and does not tell of it");
    server.shut_down().await;
}
