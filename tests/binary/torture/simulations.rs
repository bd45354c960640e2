//! Simulations, whose host is killed in the middle of them again and again.

use std::time::Duration;

use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, Server};
use reqwest::Method;
use serde_json::{Value, json};

use crate::DORMOUSE;

/// How often the host is killed. `DORMOUSE_SIMULATION_KILLS` says otherwise.
const KILLS: u64 = 12;

async fn ask(client: &Client, method: Method, path: &str, body: Value) -> Value {
    let response = client.request(method, path).json(&body).send().await.unwrap();
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {body}");
    body
}

fn world(ticks: u64) -> Value {
    json!({
        "name": "economy",
        "seed": 9,
        "ticks": ticks,
        "members": [{
            "role": "traders", "agent": "wealth", "count": 3000, "rows": 1000,
            "attributes": { "wealth": { "integers": [0, 9] } },
        }],
        "aggregates": [{ "name": "gini", "of": "traders.wealth", "is": "gini", "every": 10 }],
    })
}

#[tokio::test]
async fn a_simulation_comes_to_the_same_however_often_its_host_is_killed() {
    let kills = std::env::var("DORMOUSE_SIMULATION_KILLS").ok();
    let kills = kills.and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let ticks = kills * 60;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let spec = json!({ "spec": world(ticks) });
    let made = ask(&server.client(), Method::POST, "/api/simulations", spec).await;
    let path = format!("/api/simulations/{}", made["id"].as_str().unwrap());
    let mut random = 1_u64;
    let mut last = 0;
    for _ in 0..kills {
        let shown = ask(&server.client(), Method::GET, &path, json!({})).await;
        let behind = shown["ticks"].as_u64().unwrap();
        assert!(behind >= last, "what was told is lost: {last} and then {shown}");
        last = behind;
        if shown["status"] != "running" && shown["status"] != "completed" {
            // The host that was killed may have told it, and not this one.
            ask(&server.client(), Method::POST, &format!("{path}/start"), json!({})).await;
        }
        random = random * 48_271 % 2_147_483_647;
        tokio::time::sleep(Duration::from_millis(200 + random % 1_800)).await;
        server.kill().unwrap();
        server = Server::start(DORMOUSE, &data, &[]).unwrap();
    }
    let client = server.client();
    let is_over = async || {
        let shown = ask(&client, Method::GET, &path, json!({})).await;
        assert!(shown["status"] == "running" || shown["status"] == "completed", "{shown}");
        shown["status"] == "completed"
    };
    for _ in 0..60 {
        if is_over().await {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    eventually("it is completed", is_over).await;
    let killed = ask(&client, Method::GET, &path, json!({})).await;

    let spec = json!({ "spec": world(ticks), "start": true });
    let undisturbed = ask(&client, Method::POST, "/api/simulations", spec).await;
    let undisturbed = format!("/api/simulations/{}", undisturbed["id"].as_str().unwrap());
    let mut shown = Value::Null;
    for _ in 0..120 {
        shown = ask(&client, Method::GET, &undisturbed, json!({})).await;
        if shown["status"] != "running" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert_eq!(
        (&shown["status"], &shown["fingerprint"]),
        (&json!("completed"), &killed["fingerprint"])
    );
    let verified = ask(&client, Method::POST, &format!("{path}/verify"), json!({})).await;
    assert_eq!(verified["verified"], true, "{verified}");
    assert_eq!(server.terminate().unwrap(), Some(0));
}
