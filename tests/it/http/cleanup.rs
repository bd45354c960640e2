//! `POST /api/sessions/cleanup`.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::is_error;

async fn clean_up(server: &TestServer, body: Value) -> Value {
    let (status, answer) = server.client.post("/api/sessions/cleanup", &body).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    answer
}

#[tokio::test]
async fn a_cleanup_removes_what_is_over_and_old_and_counts_it_first_where_asked() {
    let server = TestServer::new().await;
    let stop = async |id: &str| {
        server.client.post(&format!("/api/sessions/{id}/stop"), &json!({})).await.unwrap();
    };
    let old = server.counter(json!({ "userId": "ann" })).await;
    stop(&old).await;
    let open = server.counter(json!({})).await;
    server.advance(Duration::from_secs(10));
    let young = server.counter(json!({})).await;
    stop(&young).await;
    let wanted = json!({ "olderThanMs": 5_000, "dryRun": true });
    let counted = clean_up(&server, wanted).await;
    assert_eq!(
        (&counted["count"], &counted["ids"], &counted["more"]),
        (&json!(1), &json!([old]), &json!(false))
    );
    let others = clean_up(&server, json!({ "olderThanMs": 0, "userId": "ben" })).await;
    assert_eq!(others["count"], 0);
    let removed = clean_up(&server, json!({ "olderThanMs": 5_000 })).await;
    assert_eq!((&removed["count"], &removed["dryRun"]), (&json!(1), &json!(false)));
    let (_, left) = server.client.get("/api/sessions").await.unwrap();
    let left = left["sessions"].as_array().unwrap();
    let left: Vec<&str> = left.iter().map(|session| session["id"].as_str().unwrap()).collect();
    assert_eq!(left, [&young, &open]);
    let none = server.client.post("/api/sessions/cleanup", &json!({})).await.unwrap();
    is_error(&none, 400, "invalid_field");
    server.shut_down().await;
}

#[tokio::test]
async fn a_session_that_is_answering_is_not_cleaned_up() {
    let server = TestServer::new().await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let looping = super::under_way(&server, &id, "loop", 1).await;
    let idle = server.counter(json!({})).await;
    server.advance(Duration::from_secs(10));
    let asked = json!({ "olderThanMs": 1_000, "status": "initializing" });
    let cleaned = clean_up(&server, asked).await;
    assert_eq!((&cleaned["count"], &cleaned["ids"]), (&json!(1), &json!([idle])));
    server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    looping.await.unwrap();
    server.shut_down().await;
}

#[tokio::test]
async fn one_call_removes_five_hundred_and_says_whether_there_are_more() {
    let server = TestServer::new().await;
    for _ in 0..501 {
        let id = server.counter(json!({})).await;
        server.client.post(&format!("/api/sessions/{id}/terminate"), &json!({})).await.unwrap();
    }
    server.advance(Duration::from_secs(1));
    for (count, more) in [(500, true), (1, false), (0, false)] {
        let cleaned = clean_up(&server, json!({ "olderThanMs": 0 })).await;
        assert_eq!((&cleaned["count"], &cleaned["more"]), (&json!(count), &json!(more)));
    }
    server.shut_down().await;
}
