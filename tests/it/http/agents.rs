//! `/api/agents`: upload, refuse, list, show, remove.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use reqwest::Method;
use serde_json::json;

use super::{is_error, names, send};

#[tokio::test]
async fn an_upload_is_answered_with_what_is_known_of_the_agent() {
    let server = TestServer::new().await;
    let bytes = guests::SPENDS_FUEL.bytes;
    let (status, agent) = server.client.upload("mine", "1.0", bytes).await.unwrap();
    assert_eq!(status, 201, "{agent}");
    let expected = [
        "bundled",
        "capabilities",
        "compileMs",
        "digest",
        "imports",
        "kind",
        "name",
        "owner",
        "size",
        "startFuel",
        "startRandomness",
        "state",
        "statefulness",
        "unsavedReason",
        "uploadedAt",
        "version",
        "visibility",
    ];
    assert_eq!(names(&agent), expected.into());
    assert_eq!((&agent["name"], &agent["version"]), (&json!("mine"), &json!("1.0")));
    assert_eq!((&agent["owner"], &agent["visibility"]), (&json!("local"), &json!("private")));
    assert_eq!((&agent["kind"], &agent["size"]), (&json!("agent"), &json!(bytes.len())));
    assert_eq!(agent["digest"].as_str().unwrap().len(), 64);
    assert_eq!(
        (&agent["statefulness"], &agent["unsavedReason"]),
        (&json!("portable"), &json!(null))
    );
    assert_eq!((&agent["startRandomness"], &agent["state"]), (&json!("none"), &json!("ready")));
    assert_eq!(
        (&agent["bundled"], &agent["uploadedAt"]),
        (&json!(false), &json!("2030-01-01T00:00:00.000Z"))
    );
    let imports = agent["imports"].as_array().unwrap();
    assert!(imports.iter().any(|import| import.as_str().unwrap().starts_with("wasi:")), "{agent}");
    server.shut_down().await;
}

#[tokio::test]
async fn the_same_bytes_again_are_the_same_agent_and_other_bytes_are_a_conflict() {
    let server = TestServer::new().await;
    let upload = async |version: &str, guest: &guests::TestGuest| {
        server.client.upload("mine", version, guest.bytes).await.unwrap()
    };
    let (created, first) = upload("1", &guests::SPENDS_FUEL).await;
    let (repeated, again) = upload("1", &guests::SPENDS_FUEL).await;
    assert_eq!((created.as_u16(), repeated.as_u16()), (201, 200));
    assert_eq!(first, again);

    let conflict = upload("1", &guests::LOOPS_FOREVER).await;
    is_error(&conflict, 409, "agent_exists");
    assert_eq!(conflict.1["digest"], first["digest"]);

    let (_, second) = upload("2", &guests::LOOPS_FOREVER).await;
    let digest = first["digest"].as_str().unwrap();
    for (reference, expected) in [("mine", &second), ("mine@1", &first), (digest, &first)] {
        let (status, found) = server.client.get(&format!("/api/agents/{reference}")).await.unwrap();
        assert_eq!((status.as_u16(), &found), (200, expected), "{reference}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn the_list_has_those_that_come_with_the_host_and_those_that_were_uploaded() {
    let server = TestServer::new().await;
    let (_, uploaded) = server.client.upload("mine", "1", guests::SPENDS_FUEL.bytes).await.unwrap();
    let (status, list) = server.client.get("/api/agents").await.unwrap();
    assert_eq!(status, 200);
    let agents = list["agents"].as_array().unwrap();
    let found: Vec<_> = agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect();
    assert_eq!(
        found,
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
            "mine",
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
    assert_eq!(list["count"], found.len());
    assert_eq!(agents[9], uploaded);
    assert!(agents.iter().all(|agent| agent["bundled"] == (agent["name"] != "mine")));
    server.shut_down().await;
}

#[tokio::test]
async fn an_agent_in_use_is_not_removed_and_the_refusal_counts_its_sessions() {
    let server = TestServer::new().await;
    let one = server.session(&guests::SPENDS_FUEL, json!({})).await;
    let other = server.session(&guests::SPENDS_FUEL, json!({})).await;
    let refused = server.client.delete("/api/agents/spends_fuel@1").await.unwrap();
    is_error(&refused, 409, "agent_in_use");
    assert_eq!(refused.1["sessions"], 2);

    for id in [one, other] {
        server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    }
    let (status, removed) = server.client.delete("/api/agents/spends_fuel@1").await.unwrap();
    assert_eq!((status.as_u16(), &removed["name"]), (200, &json!("spends_fuel")));
    let gone = server.client.get("/api/agents/spends_fuel@1").await.unwrap();
    is_error(&gone, 404, "agent_not_found");
    assert_eq!(gone.1["agent"], "spends_fuel@1");
    let twice = server.client.delete("/api/agents/spends_fuel@1").await.unwrap();
    is_error(&twice, 404, "agent_not_found");
    server.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_comes_with_the_host_stays() {
    let server = TestServer::new().await;
    is_error(&server.client.delete("/api/agents/counter").await.unwrap(), 403, "agent_bundled");
    assert_eq!(server.client.get("/api/agents/counter").await.unwrap().0, 200);
    server.shut_down().await;
}

#[tokio::test]
async fn what_cannot_name_an_agent_names_none() {
    let server = TestServer::new().await;
    for reference in
        ["nobody", "nobody@1", &"0".repeat(64), "a%20b", "%2e%2e%2fetc", "@", "%00", "%ff"]
    {
        let path = format!("/api/agents/{reference}");
        is_error(&server.client.get(&path).await.unwrap(), 404, "agent_not_found");
        is_error(&server.client.delete(&path).await.unwrap(), 404, "agent_not_found");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn an_upload_needs_a_name_and_a_version_that_are_some() {
    let server = TestServer::new().await;
    let upload = async |query: &str| {
        let request = server.client.request(Method::POST, &format!("/api/agents{query}"));
        let request = request.header("content-type", "application/wasm");
        let answer = send(request.body(guests::SPENDS_FUEL.bytes)).await;
        (answer.status, answer.body)
    };
    for (query, field) in [("", "name"), ("?version=1", "name"), ("?name=a", "version")] {
        let refused = upload(query).await;
        is_error(&refused, 400, "invalid_field");
        assert_eq!(refused.1["field"], field);
    }
    for query in ["?name=a%2Fb&version=1", "?name=..&version=1", "?name=a&version=1%0A"] {
        is_error(&upload(query).await, 400, "invalid_name");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn what_is_no_agent_is_refused_for_what_it_lacks() {
    let server = TestServer::new().await;
    let half = &guests::SPENDS_FUEL.bytes[..guests::SPENDS_FUEL.bytes.len() / 2];
    let cases: [(&'static [u8], &str); 6] = [
        (b"", "not_a_component"),
        (b"#!/bin/sh\necho hello\n", "not_a_component"),
        (b"\0asm\x01\0\0\0", "not_a_component"),
        (b"\0asm\x0d\0\x01\0", "not_an_agent"),
        (b"\0asm\x0d\0\x01\0\xff\xff", "invalid_component"),
        (half, "invalid_component"),
    ];
    for (bytes, code) in cases {
        is_error(&server.client.upload("bad", "1", bytes).await.unwrap(), 422, code);
    }
    // For some minutes the host remembers why.
    let (status, told) = server.client.get("/api/agents/bad").await.unwrap();
    assert_eq!((status.as_u16(), &told["state"]), (200, &json!("refused")), "{told}");
    server.advance(Duration::from_secs(600));
    is_error(&server.client.get("/api/agents/bad").await.unwrap(), 404, "agent_not_found");
    server.shut_down().await;
}

#[tokio::test]
async fn an_upload_that_nobody_waits_for_is_refused_as_one_that_somebody_waits_for() {
    let server = TestServer::new().await;
    let (status, mut waited) = server.client.upload("bad", "1", "#!/bin/sh").await.unwrap();
    assert_eq!(status, 422, "{waited}");
    let (status, _, begun) = server.client.upload_async("bad", "2", "#!/bin/sh").await.unwrap();
    assert_eq!(status, 202, "{begun}");
    let look = async || server.client.get("/api/agents/bad@2").await.unwrap();
    eventually("it is refused", async || look().await.1["state"] == "refused").await;
    let (status, mut told) = look().await;
    assert_eq!(status, 200);
    for field in ["error", "code"] {
        assert_eq!(told[field], waited[field].take(), "{told}");
        assert!(told[field].take().is_string());
    }
    assert_eq!((&told["name"], &told["version"]), (&json!("bad"), &json!("2")));
    assert_eq!(told["digest"], begun["digest"]);
    server.shut_down().await;
}

#[tokio::test]
async fn each_import_that_the_host_does_not_have_is_named() {
    let server = TestServer::new().await;
    // A real agent, in which the names of two interfaces are misspelled.
    let mut bytes = guests::SPENDS_FUEL.bytes.to_vec();
    for (known, unknown) in
        [("wasi:cli/exit@", "wasi:cli/evil@"), ("wasi:cli/stderr@", "wasi:cli/stdeer@")]
    {
        let places: Vec<_> = (0..bytes.len() - known.len())
            .filter(|at| bytes[*at..].starts_with(known.as_bytes()))
            .collect();
        assert!(!places.is_empty(), "the fixture does not import {known}");
        for at in places {
            bytes[at..at + known.len()].copy_from_slice(unknown.as_bytes());
        }
    }
    let refused = server.client.upload("bad", "1", bytes).await.unwrap();
    is_error(&refused, 422, "missing_imports");
    let missing = refused.1["missingImports"].as_array().unwrap();
    let sentence = refused.1["error"].as_str().unwrap();
    for unknown in ["wasi:cli/evil@", "wasi:cli/stdeer@"] {
        let named = missing.iter().filter_map(|import| import.as_str());
        assert!(named.filter(|import| import.starts_with(unknown)).count() == 1, "{missing:?}");
        assert!(sentence.contains(unknown), "{sentence}");
    }
    assert_eq!(missing.len(), 2, "{missing:?}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_component_that_is_larger_than_the_host_takes_is_refused() {
    let server = TestServer::with(|host| host.max_component_bytes = 1000, |_| {}).await;
    let refused = server.client.upload("big", "1", vec![0; 1001]).await.unwrap();
    is_error(&refused, 413, "body_too_large");
    assert_eq!(refused.1["limit"], 1000);
    is_error(
        &server.client.upload("big", "1", vec![0; 1000]).await.unwrap(),
        422,
        "not_a_component",
    );
    server.shut_down().await;
}

#[tokio::test]
async fn an_upload_of_another_content_type_is_refused() {
    let server = TestServer::new().await;
    for kind in [None, Some("application/json"), Some("application/octet-stream"), Some("\u{e4}")] {
        let mut request = server.client.request(Method::POST, "/api/agents?name=a&version=1");
        if let Some(kind) = kind {
            request = request.header("content-type", kind.as_bytes());
        }
        let answer = send(request.body(guests::SPENDS_FUEL.bytes)).await;
        is_error(&(answer.status, answer.body), 415, "unsupported_media_type");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn the_pages_of_agents_have_every_agent_once() {
    let server = TestServer::new().await;
    for version in ["1", "2", "3"] {
        server.client.upload("mine", version, guests::SPENDS_FUEL.bytes).await.unwrap();
    }
    let (_, whole) = server.client.get("/api/agents").await.unwrap();
    assert_eq!(whole["next"], json!(null));
    let (mut found, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let path = format!("/api/agents?limit=2&after={after}");
        let (_, page) = server.client.get(&path).await.unwrap();
        let agents = page["agents"].as_array().unwrap();
        assert!((1..=2).contains(&agents.len()));
        found.extend(agents.iter().cloned());
        after = page["next"].clone();
    }
    assert_eq!(&found, whole["agents"].as_array().unwrap());
    server.shut_down().await;
}
