//! What operators ask for.

use std::sync::Arc;
use std::time::Duration;

use dormouse::{ManualClock, MemoryStore, Store};
use dormouse_base::telemetry::Metrics;
use dormouse_test_guests::{self as guests, unimaged};
use dormouse_tests::test_host::eventually;
use dormouse_tests::{TestHost, TestServer};
use reqwest::Method;
use serde_json::json;

use super::{is_error, send};

#[tokio::test]
async fn a_server_that_takes_work_is_healthy_and_ready_and_says_what_there_is() {
    let server = TestServer::new().await;
    let get = async |path: &str| server.client.get(path).await.unwrap();
    for path in ["/healthz", "/health"] {
        assert_eq!(get(path).await, (200_u16.try_into().unwrap(), json!({ "status": "ok" })));
    }
    let ready = json!({ "status": "ready", "timekeeperLagSeconds": 0.0 });
    assert_eq!(get("/readyz").await, (200_u16.try_into().unwrap(), ready));
    let (status, root) = get("/").await;
    assert_eq!((status.as_u16(), &root["name"]), (200, &json!("dormouse")));
    let told = root["api"].as_object().unwrap().values().chain(root["health"].as_array().unwrap());
    let routes = dormouse_http::routes();
    for path in told {
        assert!(routes.iter().any(|route| *path == route.path.as_str()), "{path}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_host_that_collects_no_metrics_says_so() {
    let server = TestServer::new().await;
    is_error(&server.client.get("/metrics").await.unwrap(), 404, "not_found");
    server.shut_down().await;
}

/// The value of a metric without labels.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

// The metrics are those of the process: no other test may ask for them.
#[tokio::test]
async fn the_metrics_count_residents_and_turns_and_fall_when_sessions_sleep() {
    let server = TestServer::with(|_| {}, |api| api.metrics = Metrics::install()).await;
    let metrics = async || {
        let answer = send(server.client.request(Method::GET, "/metrics")).await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
        answer.body.as_str().unwrap().to_owned()
    };
    let mut sessions = Vec::new();
    for _ in 0..3 {
        let id = server.counter(json!({})).await;
        server.client.ask(&id, "one").await.unwrap();
        sessions.push(id);
    }
    let text = metrics().await;
    for name in [
        "dormouse_residents",
        "dormouse_queued_messages",
        "dormouse_memory_used_bytes",
        "dormouse_memory_limit_bytes",
        "dormouse_store_sessions",
        "dormouse_store_open_sessions",
        "dormouse_timekeeper_lag_seconds",
        "dormouse_resident_seconds_total",
        "dormouse_asleep_seconds_total",
        "dormouse_store_disk_bytes",
        "dormouse_store_index_bytes",
        "dormouse_store_quarantined",
    ] {
        assert!(value(&text, name).is_some(), "{name} is not in {text}");
    }
    for name in [
        "dormouse_turns_total{",
        "dormouse_turn_seconds_bucket{",
        "dormouse_fuel_total",
        "dormouse_store_commits_total",
        "dormouse_http_requests_total{method=\"POST\",route=\"/api/sessions/{id}/message\",status=\"200\"} 3",
        "dormouse_http_request_seconds_bucket{route=\"/api/sessions\",le=",
    ] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    assert_eq!(value(&text, "dormouse_residents"), Some(3.0));
    assert_eq!(value(&text, "dormouse_store_sessions"), Some(3.0));
    let awake = value(&text, "dormouse_memory_used_bytes").unwrap();
    for (n, id) in sessions.iter().enumerate() {
        server.client.post(&format!("/api/sessions/{id}/sleep"), &json!({})).await.unwrap();
        assert_eq!(value(&metrics().await, "dormouse_residents"), Some((2 - n) as f64));
    }
    server.advance(Duration::from_secs(60));
    let text = metrics().await;
    assert_eq!(value(&text, "dormouse_asleep_seconds_total"), Some(180.0));
    assert_eq!(value(&text, "dormouse_resident_seconds_total"), Some(0.0));
    server.client.ask(&sessions[0], "two").await.unwrap();
    let broken = server.session(&unimaged(&guests::FAILS_TO_RESTORE), json!({})).await;
    server.client.ask(&broken, "one").await.unwrap();
    for id in [&sessions[0], &broken] {
        server.client.post(&format!("/api/sessions/{id}/sleep"), &json!({})).await.unwrap();
    }
    assert!(!server.client.message(&broken, "two").await.unwrap().0.is_success());
    let text = metrics().await;
    for name in ["dormouse_wake_idle_seconds_bucket{le=\"60\"}", "{reason=\"agent_failed\"}"] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    eventually("the memory of the guests is given back", async || {
        value(&metrics().await, "dormouse_memory_used_bytes").unwrap() < awake
    })
    .await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_host_that_is_behind_with_deadlines_is_not_ready_until_it_has_caught_up() {
    let (store, clock) = (Arc::new(MemoryStore::default()), ManualClock::new());
    let server = TestServer::of(TestHost::on_store(store.clone(), &clock).await, |_| {}).await;
    server.counter(json!({ "maxLifetimeMs": 30_000 })).await;
    server.test.host.settle().await;
    // Nobody finds out any more what is due.
    store.close().await.unwrap();
    clock.advance(Duration::from_secs(30));
    let ready = async || server.client.get("/readyz").await.unwrap();
    assert_eq!(ready().await.0, 200);
    clock.advance(Duration::from_secs(11));
    let behind = ready().await;
    is_error(&behind, 503, "timekeeper_behind");
    assert_eq!(behind.1["timekeeperLagSeconds"], 11.0);
    server.shut_down().await;
}
