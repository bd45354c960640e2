//! Simulations, whose host is killed in the middle of them again and again.

use std::time::Duration;

use dormouse_tests::provider::{Play, ProviderServer};
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

/// 1,000 people who think, each of whom hears the rumour once.
fn thinking() -> Value {
    let people: Vec<Value> = (0..1_000)
        .map(|number| match number {
            0..20 => json!({ "rumour": "The bridge is closed." }),
            _ => json!({}),
        })
        .collect();
    json!({
        "name": "rumour",
        "seed": 3,
        "ticks": 24,
        "schedule": "by-event",
        "members": [{
            "role": "people", "agent": "persona", "count": 1_000, "each": people,
            "columns": ["heard", "told"], "topology": { "kind": "small-world", "k": 6, "p": 0.1 },
        }],
        "aggregates": [{ "name": "reach", "of": "people.heard", "is": "mean" }],
    })
}

#[tokio::test]
async fn a_world_that_thinks_pays_for_no_noted_answer_twice_however_often_its_host_is_killed() {
    let kills = std::env::var("DORMOUSE_SIMULATION_KILLS").ok();
    let kills = kills.and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let provider = ProviderServer::start(|asked| {
        let says =
            if asked.text.bytes().map(u64::from).sum::<u64>() % 10 < 8 { "Yes." } else { "No." };
        Play::SaysLater(Duration::from_millis(20), says.to_owned())
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let options = [
        "--providers",
        &format!(
            "loopback.kind=openai,loopback.url={},loopback.models=m,loopback.max-calls=16",
            provider.url
        ),
        "--default-model",
        "m",
    ];
    let mut server = Server::start(DORMOUSE, &data, &options).unwrap();
    let spec = json!({ "spec": thinking(), "start": true });
    let made = ask(&server.client(), Method::POST, "/api/simulations", spec).await;
    let path = format!("/api/simulations/{}", made["id"].as_str().unwrap());
    let (mut random, mut in_calls) = (1_u64, 0);
    for _ in 0..kills {
        random = random * 48_271 % 2_147_483_647;
        let until = provider.answered().len() + (random % 40) as usize;
        for _ in 0..500 {
            if provider.answered().len() >= until && provider.open() > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        in_calls += u64::from(provider.open() > 0);
        server.kill().unwrap();
        server = Server::start(DORMOUSE, &data, &options).unwrap();
    }
    assert!(in_calls * 3 >= kills, "of {kills} kills {in_calls} were in the middle of a call");
    let client = server.client();
    let completed = async |path: &str| {
        for _ in 0..600 {
            let shown = ask(&client, Method::GET, path, json!({})).await;
            match shown["status"].as_str() {
                Some("completed") => return shown,
                Some("running") => tokio::time::sleep(Duration::from_millis(200)).await,
                _ => panic!("{shown}"),
            }
        }
        panic!("{path} does not come to its end");
    };
    let killed = completed(&path).await;
    let made = killed["calls"]["made"].as_u64().unwrap();
    let asked = provider.asked().len() as u64;
    assert!(made > 500 && asked - made <= kills * 16, "{asked} were asked for {made} answers");

    // Undisturbed it comes to the same.
    let spec = json!({ "spec": thinking(), "start": true });
    let undisturbed = ask(&client, Method::POST, "/api/simulations", spec).await;
    let undisturbed = format!("/api/simulations/{}", undisturbed["id"].as_str().unwrap());
    let undisturbed = completed(&undisturbed).await;
    assert_eq!(undisturbed["fingerprint"], killed["fingerprint"]);
    let asked = provider.asked().len();
    let verified = ask(&client, Method::POST, &format!("{path}/verify"), json!({})).await;
    assert_eq!(verified["verified"], true, "{verified}");
    assert_eq!(provider.asked().len(), asked, "a recording is replayed without a call");

    // Somebody is told something else: only whoever that reaches asks again.
    let set = json!({ "role": "people", "members": [700], "config": { "name": "Ann" } });
    let fork = json!({ "at": 1, "branches": [{ "set": [set] }] });
    let fork = ask(&client, Method::POST, &format!("{path}/fork"), fork).await;
    let fork = format!("/api/simulations/{}", fork["simulations"][0]["id"].as_str().unwrap());
    ask(&client, Method::POST, &format!("{fork}/start"), json!({})).await;
    let fork = completed(&fork).await;
    let calls = &fork["calls"];
    let (again, inherited) =
        (calls["made"].as_u64().unwrap(), calls["inherited"].as_u64().unwrap());
    assert_eq!(again, (provider.asked().len() - asked) as u64);
    assert!((1..50).contains(&again) && inherited > 400, "{calls}");
    assert_eq!(server.terminate().unwrap(), Some(0));
}

#[tokio::test]
async fn an_experiment_comes_to_the_same_table_however_often_its_host_is_killed() {
    let kills = std::env::var("DORMOUSE_SIMULATION_KILLS").ok();
    let kills = kills.and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let experiment = || {
        json!({
            "spec": world(20),
            "parameters": { "traders.count": [1_000, 2_000, 3_000], "ticks": { "from": 10, "to": 40, "count": 4 } },
            "replicates": 5 * kills,
        })
    };
    let made = ask(&server.client(), Method::POST, "/api/experiments", experiment()).await;
    let (path, runs) =
        (format!("/api/experiments/{}", made["id"].as_str().unwrap()), made["runs"].as_u64());
    assert_eq!(runs, Some(60 * kills));
    let (mut random, mut last, mut in_the_middle) = (1_u64, 0, 0);
    for _ in 0..kills {
        random = random * 48_271 % 2_147_483_647;
        tokio::time::sleep(Duration::from_millis(50 + random % 400)).await;
        let shown = ask(&server.client(), Method::GET, &path, json!({})).await;
        let done = shown["done"].as_u64().unwrap();
        assert!(done >= last, "what was told is lost: {last} and then {shown}");
        last = done;
        in_the_middle += u64::from(shown["status"] == "running");
        server.kill().unwrap();
        server = Server::start(DORMOUSE, &data, &[]).unwrap();
    }
    assert!(in_the_middle * 2 >= kills, "of {kills} kills {in_the_middle} were in the middle");
    let client = server.client();
    let table = async |path: &str| {
        for _ in 0..600 {
            let shown = ask(&client, Method::GET, path, json!({})).await;
            match shown["status"].as_str() {
                Some("completed") => {
                    let path = format!("{path}/results.csv");
                    let table = client.request(Method::GET, &path).send().await.unwrap();
                    return table.text().await.unwrap();
                }
                Some("running") => tokio::time::sleep(Duration::from_millis(200)).await,
                _ => panic!("{shown}"),
            }
        }
        panic!("{path} does not come to its end");
    };
    let killed = table(&path).await;
    assert_eq!(killed.lines().count() as u64, 1 + 60 * kills);
    let simulations = ask(&client, Method::GET, "/api/simulations", json!({})).await;
    assert_eq!(simulations["total"], 0, "worlds of runs are left");
    let undisturbed = ask(&client, Method::POST, "/api/experiments", experiment()).await;
    let undisturbed = format!("/api/experiments/{}", undisturbed["id"].as_str().unwrap());
    assert_eq!(table(&undisturbed).await, killed);
    assert_eq!(server.terminate().unwrap(), Some(0));
}
