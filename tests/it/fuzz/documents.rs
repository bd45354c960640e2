//! Bodies that are broken: each is answered, as JSON, and no answer is the host's fault.

use dormouse_tests::TestServer;
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Random;

/// Values that a field does not expect.
fn strange(random: &mut Random) -> Value {
    match random.below(20) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(-1),
        3 => json!(0),
        4 => json!(u64::MAX),
        5 => json!(i64::MIN),
        6 => json!(1e308),
        7 => json!(5e-324),
        8 => json!(0.1),
        9 => json!(""),
        10 => json!("\0"),
        11 => json!("\u{feff}\u{202e}\u{10ffff}"),
        12 => json!("x".repeat(random.below(10_000))),
        13 => json!([]),
        14 => json!({}),
        15 => json!([null, [], {}, "a", 1]),
        16 => json!({ "__proto__": { "a": 1 }, "": "" }),
        17 => json!(["a", "a", "a"]),
        18 => json!(random.number()),
        _ => (0..random.below(100)).fold(json!(1), |inner, _| json!([inner])),
    }
}

fn valid(random: &mut Random) -> Map<String, Value> {
    let body = match random.below(4) {
        0 => json!({ "prompt": "hello", "streaming": false }),
        1 => json!({ "reason": "enough" }),
        2 => json!({ "message": "hello", "config": { "maxTurns": 1 } }),
        _ => json!({
            "agent": "counter", "pattern": "long-running", "conversationId": 7, "maxTurns": 3,
            "config": { "model": "m", "maxBudgetUsd": 1.5, "env": { "A": "b" }, "resumeSessionId": "x" },
            "maxBudgetUsd": 0.5, "maxFuel": 1e9, "maxIdleTimeMs": 1000, "maxLifetimeMs": 5000,
            "turnTimeoutMs": 1000, "maxMemoryBytes": 30_000_000, "sleepAfterMs": 0, "tags": ["a"],
            "description": "d", "userId": "u", "threadKey": "t", "projectId": "p", "context": {},
            "metadata": { "a": [1] }, "requireDurable": true,
        }),
    };
    let Value::Object(body) = body else { unreachable!("all of them are objects") };
    body
}

/// A body that was valid once, or never.
fn body(random: &mut Random) -> Vec<u8> {
    let mut fields = valid(random);
    for _ in 0..random.below(3) {
        let names: Vec<String> = fields.keys().cloned().collect();
        let name = random.pick(&names).clone();
        fields.insert(name, strange(random));
    }
    if random.one_in(8) {
        fields.insert(String::from_utf8_lossy(&random.bytes(5)).into_owned(), strange(random));
    }
    let mut text = serde_json::to_vec(&fields).unwrap();
    match random.below(10) {
        0 => text.truncate(random.below(text.len())),
        1 => {
            let at = random.below(text.len());
            text[at] = random.byte();
        }
        2 => {
            // Twice the same names, with other values.
            text.pop();
            text.extend_from_slice(b",\"prompt\":7,\"prompt\":\"x\",\"pattern\":\"hybrid\"}");
        }
        3 => {
            let at = random.below(text.len() + 1);
            text.splice(at..at, [0xff, 0xfe, 0xc3, 0x28]);
        }
        4 => {
            let at = random.below(text.len() + 1);
            text.splice(at..at, [0]);
        }
        5 => {
            let depth = random.below(200_000);
            let (open, close) = *random.pick(&[("[", "]"), ("{\"a\":", "}")]);
            text = [
                &b"{\"config\":"[..],
                open.repeat(depth).as_bytes(),
                b"1",
                close.repeat(depth).as_bytes(),
                b"}",
            ]
            .concat();
        }
        6 => {
            let digits = "9".repeat(1 + random.below(5_000));
            let form = *random.pick(&["", ".", "e", "-"]);
            text = match form {
                "-" => format!("{{\"maxTurns\":-{digits}}}"),
                "" => format!("{{\"maxTurns\":{digits}}}"),
                form => format!("{{\"conversationId\":1{form}{digits}}}"),
            }
            .into_bytes();
        }
        7 if random.one_in(3) => {
            let size = random.below(500);
            text = random.bytes(size);
        }
        _ => {}
    }
    text
}

#[tokio::test]
async fn any_body_is_answered_and_none_is_the_hosts_fault() {
    let (cases, mut random) = super::cases("bodies", 1500);
    let server = TestServer::with(|host| host.limits.max_fuel_per_turn = 50_000_000, |_| {}).await;
    let mut target = server.counter(json!({})).await;
    let (mut taken, mut refused) = (0, 0);
    for case in 0..cases {
        let path = match random.below(5) {
            0 | 1 => "/api/sessions".to_owned(),
            2 => format!("/api/sessions/{target}/message"),
            3 => format!("/api/sessions/{target}/terminate"),
            _ => "/api/agent/stream".to_owned(),
        };
        let bytes = body(&mut random);
        let what = format!(
            "case {case}: {path}: {}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(2_000)])
        );
        let request =
            server.client.request(Method::POST, &path).header("content-type", "application/json");
        let response =
            request.body(bytes).send().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let status = response.status();
        let is_stream = response.headers()["content-type"] == "text/event-stream";
        let text = response.text().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        assert!(status.is_success() || status.is_client_error(), "{what}: {status}: {text}");
        if status.is_success() {
            taken += 1;
        } else {
            refused += 1;
            let answer: Value = serde_json::from_str(&text)
                .unwrap_or_else(|error| panic!("{what}: {error}: {text}"));
            for field in ["error", "code", "requestId"] {
                assert!(
                    answer[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{what}: {text}"
                );
            }
            assert!(text.len() < 20_000, "{what}: an answer of {} bytes", text.len());
        }
        if is_stream {
            assert!(
                text.contains("\"type\":\"done\"") || text.contains("\"type\":\"error\""),
                "{what}: {text}"
            );
        }
        if path.ends_with("/terminate") && status.is_success() {
            target = server.counter(json!({})).await;
        }
    }
    println!("bodies: {taken} were taken, {refused} refused");
    let fresh = server.counter(json!({})).await;
    assert_eq!(server.client.ask(&fresh, "alive?").await.unwrap(), "turn 1: alive?");
    server.shut_down().await;
}

#[tokio::test]
async fn any_query_and_any_path_is_answered_and_none_is_the_hosts_fault() {
    let (cases, mut random) = super::cases("paths", 500);
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    server.client.ask(&id, "hello").await.unwrap();
    let paths = [
        "/api/sessions".to_owned(),
        format!("/api/sessions/{id}"),
        format!("/api/sessions/{id}/turns"),
        format!("/api/sessions/{id}/turns/1"),
        format!("/api/sessions/{id}/events"),
        "/api/events".to_owned(),
        "/api/agents".to_owned(),
        "/api/agents/counter".to_owned(),
        "/".to_owned(),
    ];
    let names = ["page", "pageSize", "after", "limit", "pattern", "status", "tags", "userId", "x"];
    for case in 0..cases {
        let mut path = random.pick(&paths).clone();
        for _ in 0..random.below(3) {
            let junk: String =
                (0..random.below(12)).map(|_| format!("%{:02x}", random.byte())).collect();
            let at = random.below(path.len()) + 1;
            path.insert_str(at, &junk);
        }
        for (n, _) in (0..random.below(4)).enumerate() {
            let value = match random.below(4) {
                0 => random.number().to_string(),
                1 => (0..random.below(20)).map(|_| format!("%{:02x}", random.byte())).collect(),
                2 => "-1".to_owned(),
                _ => "9".repeat(random.below(40)),
            };
            path += &format!("{}{}={value}", if n == 0 { "?" } else { "&" }, random.pick(&names));
        }
        let request = server.client.request(Method::GET, &path);
        let response =
            request.send().await.unwrap_or_else(|error| panic!("case {case}: {path}: {error:?}"));
        let (status, text) = (response.status(), response.text().await.unwrap());
        assert!(
            status.is_success() || status.is_client_error(),
            "case {case}: {path}: {status}: {text}"
        );
        let answer: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("case {case}: {path}: {error}: {text}"));
        assert!(status.is_success() || answer["code"].is_string(), "case {case}: {path}: {text}");
    }
    assert_eq!(server.client.ask(&id, "alive?").await.unwrap(), "turn 2: alive?");
    server.shut_down().await;
}
