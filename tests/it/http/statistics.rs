//! `GET /api/sessions/stats/summary`.

use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::names;

async fn summary(server: &TestServer, query: &str) -> Value {
    let path = format!("/api/sessions/stats/summary{query}");
    let (status, summary) = server.client.get(&path).await.unwrap();
    assert_eq!(status, 200, "{summary}");
    summary
}

#[tokio::test]
async fn what_sessions_come_to_is_never_null_and_removing_one_subtracts_nothing() {
    let server = TestServer::new().await;
    let empty = summary(&server, "").await;
    let expected = [
        "activeSessions",
        "avgSessionDuration",
        "byPattern",
        "byStatus",
        "completedSessions",
        "errorSessions",
        "totalCost",
        "totalSessions",
        "totalTokens",
    ];
    assert_eq!(names(&empty), expected.into());
    assert!(empty.as_object().unwrap().values().all(|value| !value.is_null()));

    let hybrid =
        server.counter(json!({ "pattern": "hybrid", "userId": "ann", "tags": ["a"] })).await;
    let once = server.counter(json!({ "pattern": "ephemeral", "userId": "ben" })).await;
    for id in [&hybrid, &once] {
        server.client.ask(id, "hello").await.unwrap();
    }
    let both = summary(&server, "").await;
    assert_eq!((&both["totalSessions"], &both["activeSessions"]), (&json!(2), &json!(1)));
    assert_eq!(both["byStatus"], json!({ "active": 1, "completed": 1 }));
    let pattern = &both["byPattern"]["hybrid"];
    assert_eq!(names(pattern), ["avgCost", "avgDuration", "avgTokens", "count"].into());
    assert!(both["totalCost"].as_f64().unwrap() > 0.0);
    for (query, count) in
        [("?userId=ann", 1), ("?tags=a,b", 1), ("?pattern=ephemeral", 1), ("?userId=ben&tags=a", 0)]
    {
        assert_eq!(summary(&server, query).await["totalSessions"], count, "{query}");
    }
    server.client.delete(&format!("/api/sessions/{hybrid}")).await.unwrap();
    let after = summary(&server, "").await;
    assert_eq!(after["activeSessions"], 0, "none is active that is gone");
    for field in ["totalSessions", "totalCost", "byPattern"] {
        assert_eq!(after[field], both[field], "{field}");
    }
    server.shut_down().await;
}
