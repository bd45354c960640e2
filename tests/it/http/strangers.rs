//! To everybody but its owner a session answers in all respects as one that does not exist, and what a
//! stranger sends takes nothing from the owner.

use std::time::Duration;

use dormouse::Principal;
use dormouse_http::ApiKey;
use dormouse_test_guests as guests;
use dormouse_tests::{TestHost, TestServer};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::send;

async fn with_keys(test: TestHost) -> TestServer {
    let key = |name: &str, key: &str| ApiKey::new(Principal(name.to_owned()), key);
    let keys = vec![key("ann", "key-of-ann"), key("ben", "key-of-ben")];
    TestServer::of(test, |api| api.keys = keys).await
}

/// How long an answer may take: a message that waits for a turn without end was taken.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The answer to this caller, without the id of the request.
async fn ask(
    server: &TestServer,
    caller: &str,
    method: Method,
    path: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let request = server.client.request(method, path).json(body).bearer_auth(caller);
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, send(request)).await;
    let answer = answer.unwrap_or_else(|_| panic!("{caller} has got no answer of {path}"));
    let mut body = answer.body;
    body.as_object_mut().and_then(|body| body.remove("requestId"));
    (answer.status, body)
}

/// Every route that names a session.
fn routes() -> Vec<(Method, &'static str, Value)> {
    let post = |path, body| (Method::POST, path, body);
    let nothing = || json!({});
    let snapshot = || json!({ "snapshotId": "0190f4c6-0000-7000-8000-000000000001" });
    let mut routes: Vec<_> = [
        "",
        "/status",
        "/snapshots",
        "/audit",
        "/turns",
        "/turns/1",
        "/turns/1/trace",
        "/usage",
        "/events",
    ]
    .into_iter()
    .map(|path| (Method::GET, path, nothing()))
    .collect();
    routes.extend([
        post("/message", json!({ "prompt": "hello", "streaming": false })),
        post("/message", json!({ "prompt": "hello" })),
        post("/sleep", nothing()),
        post("/wake", nothing()),
        post("/pause", nothing()),
        post("/resume", nothing()),
        post("/resume", snapshot()),
        post("/stop", nothing()),
        post("/terminate", nothing()),
        post("/force-kill", nothing()),
        post("/fork", nothing()),
        post("/rewind", snapshot()),
        post("/upgrade", json!({ "agent": "counter" })),
        post("/complete", nothing()),
        post("/extend", nothing()),
        (Method::PATCH, "", json!({ "tags": ["mine"] })),
        (Method::DELETE, "", nothing()),
    ]);
    routes
}

#[tokio::test]
async fn a_session_of_somebody_else_answers_as_one_that_does_not_exist() {
    let server = with_keys(TestHost::new().await).await;
    let new = json!({ "agent": "counter", "pattern": "hybrid" });
    let sessions = "/api/sessions";
    let (_, resident) = ask(&server, "key-of-ann", Method::POST, sessions, &new).await;
    let (_, asleep) = ask(&server, "key-of-ann", Method::POST, sessions, &new).await;
    let (resident, asleep) = (resident["id"].as_str().unwrap(), asleep["id"].as_str().unwrap());
    let message = json!({ "prompt": "one", "streaming": false });
    let path = format!("/api/sessions/{resident}/message");
    assert_eq!(ask(&server, "key-of-ann", Method::POST, &path, &message).await.0, 200);

    let nobody = "0190f4c6-0000-7000-8000-000000000000";
    for (method, path, body) in routes() {
        let of = async |caller, id: &str| {
            let path = format!("/api/sessions/{id}{path}");
            let (status, body) = ask(&server, caller, method.clone(), &path, &body).await;
            (status, body.to_string().replace(id, "ID"))
        };
        let expected = of("key-of-ben", nobody).await;
        assert_eq!(expected.0, 404, "{method} {path}");
        for id in [resident, asleep] {
            assert_eq!(of("key-of-ben", id).await, expected, "{method} {path}");
        }
    }
    // Nothing of that has reached them.
    for id in [resident, asleep] {
        let path = format!("/api/sessions/{id}");
        let (status, body) = ask(&server, "key-of-ann", Method::GET, &path, &json!({})).await;
        assert_eq!((status.as_u16(), &body["abortRequested"]), (200, &json!(false)), "{body}");
        assert!(["active", "initializing"].contains(&body["status"].as_str().unwrap()), "{body}");
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_stranger_takes_no_place_in_the_queue_of_a_session() {
    let test = TestHost::with(|options| options.max_queued_messages = 2).await;
    let ann = test.host.acting_as(Principal("ann".to_owned()));
    ann.agents().upload("sleeps_in_turn", "1", guests::SLEEPS_IN_TURN.bytes).await.unwrap();
    let server = with_keys(test).await;
    let new = json!({ "agent": "sleeps_in_turn@1", "pattern": "long-running" });
    let (status, session) = ask(&server, "key-of-ann", Method::POST, "/api/sessions", &new).await;
    assert_eq!(status, 201, "{session}");
    let id = session["id"].as_str().unwrap().to_owned();
    let handle = ann.sessions().get(id.parse().unwrap());
    let busy = handle.stream("sleep 86400000").await.unwrap();
    assert_eq!(busy.output().begun().await, Some(1));

    let path = format!("/api/sessions/{id}");
    let message = json!({ "prompt": "hello", "streaming": false });
    for _ in 0..100 {
        for (way, body) in [("message", &message), ("pause", &json!({})), ("sleep", &json!({}))] {
            let path = format!("{path}/{way}");
            assert_eq!(ask(&server, "key-of-ben", Method::POST, &path, body).await.0, 404);
        }
    }
    assert_eq!(server.test.host.stats().queued, 0);
    // Two messages and an order of the owner have their places.
    let one = handle.stream("one").await.unwrap();
    let two = handle.stream("two").await.unwrap();
    assert!(handle.stream("three").await.is_err());
    server.advance(Duration::from_secs(120));
    assert!(busy.reply().await.is_err());
    assert_eq!(one.reply().await.unwrap().text(), "turn 1: one");
    assert_eq!(two.reply().await.unwrap().text(), "turn 2: two");
    server.shut_down().await;
}
