//! The numbers that agents sample, as clients read them.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use serde_json::{Value, json};

use super::is_error;

async fn get(server: &TestServer, path: &str) -> Value {
    let (status, body) = server.client.get(path).await.unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

#[tokio::test]
async fn the_samples_of_a_session_are_a_series_in_pages_and_part_of_their_turns() {
    let server = TestServer::new().await;
    let id = server.session(&guests::SAMPLES_NUMBERS, json!({})).await;
    let metrics = format!("/api/sessions/{id}/metrics");
    let empty = json!({ "samples": [], "count": 0, "next": 0, "nextCursor": 0, "more": false });
    assert_eq!(get(&server, &metrics).await, empty);
    assert_eq!(server.client.message(&id, "words 12\nerrors 0.25\nwords 7").await.unwrap().0, 200);

    let turn = get(&server, &format!("/api/sessions/{id}/turns/1")).await;
    let at = server.test.clock.now().to_string();
    let sample = |name: &str, value: f64| json!({ "name": name, "value": value, "at": at });
    let all = [sample("words", 12.0), sample("errors", 0.25), sample("words", 7.0)];
    assert_eq!(turn["samples"], json!(all));

    let first = get(&server, &format!("{metrics}?name=words&limit=1")).await;
    let entry = |value: f64| json!({ "turn": 1, "name": "words", "value": value, "at": at });
    assert_eq!(first["samples"], json!([entry(12.0)]));
    assert_eq!((&first["count"], &first["more"]), (&json!(1), &json!(true)));
    let second = get(&server, &format!("{metrics}?name=words&after={}", first["next"])).await;
    assert_eq!(second["samples"], json!([entry(7.0)]));
    assert_eq!((&second["more"], &second["next"]), (&json!(false), &second["nextCursor"]));
    server.shut_down().await;
}

#[tokio::test]
async fn a_filter_that_is_not_known_is_refused_and_a_name_that_nothing_has_finds_nothing() {
    let server = TestServer::new().await;
    let id = server.session(&guests::SAMPLES_NUMBERS, json!({})).await;
    let metrics = format!("/api/sessions/{id}/metrics");
    let refused = server.client.get(&format!("{metrics}?metric=words")).await.unwrap();
    is_error(&refused, 400, "unknown_filter");
    assert_eq!(get(&server, &format!("{metrics}?name=a%20b")).await["count"], 0);
    server.shut_down().await;
}
