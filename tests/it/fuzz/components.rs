//! Uploads that are broken: each is refused in so many words, or is an agent that harms nobody.

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::wasm::{self, broken};

/// Uploads that are sent together.
const AT_A_TIME: usize = 32;

/// What an upload that is no agent may be refused with.
const REFUSALS: [&str; 11] = [
    "not_a_component",
    "invalid_component",
    "too_complex",
    "not_an_agent",
    "wrong_signature",
    "missing_imports",
    "compile_failed",
    "does_not_start",
    "body_too_large",
    "component_too_large",
    "compile_memory",
];

/// A server, and a session on it that is there before and after.
async fn server() -> (TestServer, String) {
    let server = TestServer::with(
        |host| {
            host.limits.max_fuel_per_turn = 50_000_000;
            host.limits.max_memory_bytes = 32 << 20;
        },
        |_| {},
    )
    .await;
    let witness = server.counter(json!({})).await;
    (server, witness)
}

/// That this answer refuses an upload as it should be refused.
fn is_refusal(what: &str, (status, body): &(StatusCode, Value)) {
    assert!(matches!(status.as_u16(), 413 | 422), "{what}: {status}: {body}");
    assert!(REFUSALS.contains(&body["code"].as_str().unwrap()), "{what}: {body}");
    assert!(!body["requestId"].as_str().unwrap().is_empty(), "{what}: {body}");
    let sentence = body["error"].as_str().unwrap();
    assert!((10..4096).contains(&sentence.len()), "{what}: {body}");
    for secret in ["/root", "/work", "/tmp", "/rustc", ".cargo", "panicked", "backtrace"] {
        assert!(!sentence.contains(secret), "{what}: {body}");
    }
}

/// Speak to a component that was accepted. Whatever it does is told as an outcome.
async fn speak_to(server: &TestServer, what: &str, agent: &str) {
    let body = json!({ "agent": agent, "pattern": "long-running", "turnTimeoutMs": 60_000 });
    let id = server.client.create(&body).await.unwrap();
    for prompt in ["hello", "spend 10", "look"] {
        let (status, answer) = server.client.message(&id, prompt).await.unwrap();
        if status == 409 {
            // Its state was in memory alone, and went with the instance that trapped.
            assert_eq!(answer["code"], "session_not_active", "{what}: {answer}");
            assert_eq!(answer["status"], "error", "{what}: {answer}");
            continue;
        }
        let known = matches!(status.as_u16(), 200 | 402 | 413 | 422 | 502);
        assert!(known, "{what}: {status}: {answer}");
        assert_eq!(answer["session"]["id"], id.as_str(), "{what}: {answer}");
    }
    let (status, answer) = server.client.delete(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(status, 200, "{what}: {answer}");
    let (status, answer) = server.client.delete(&format!("/api/agents/{agent}")).await.unwrap();
    assert_eq!(status, 200, "{what}: {answer}");
}

async fn still_answers(server: &TestServer, witness: &str, turn: &mut u64) {
    *turn += 1;
    let answer = server.client.ask(witness, "alive?").await.unwrap();
    assert_eq!(answer, format!("turn {turn}: alive?"));
}

#[tokio::test]
async fn a_broken_component_is_refused_or_harms_nobody() {
    let (cases, mut random) = super::cases("components", 300);
    let (server, witness) = server().await;
    let whole = [guests::SPENDS_FUEL.bytes, guests::COUNTS_WITHOUT_SAVING.bytes];
    let (mut turn, mut accepted) = (0, 0);
    for case in 0..cases {
        let bytes = *random.pick(&whole);
        let bytes = broken(&mut random, bytes);
        let what = format!("case {case}, {} bytes", bytes.len());
        let version = case.to_string();
        let answer = server.client.upload("fuzz", &version, bytes).await.unwrap();
        if answer.0.is_success() {
            accepted += 1;
            speak_to(&server, &what, &format!("fuzz@{version}")).await;
        } else {
            is_refusal(&what, &answer);
        }
        if case % 25 == 0 {
            still_answers(&server, &witness, &mut turn).await;
        }
    }
    still_answers(&server, &witness, &mut turn).await;
    println!("components: {accepted} of {cases} were accepted");
    server.shut_down().await;
}

#[tokio::test]
async fn a_component_that_is_made_to_hurt_is_refused() {
    let (server, witness) = server().await;
    let bare = wasm::component(&[]);
    let many = |section: Vec<u8>, count| wasm::component(&vec![section; count]);
    let cases = [
        ("100 MB of zeros", "body_too_large", vec![0; 100_000_000]),
        ("64 MiB of zeros", "not_a_component", vec![0; 64 << 20]),
        ("a module", "not_a_component", wasm::module(&[])),
        ("a component of nothing", "not_an_agent", bare.clone()),
        ("a component in a component", "not_an_agent", wasm::nested(1)),
        ("17 components in one another", "too_complex", wasm::nested(17)),
        ("10,000 components in one another", "too_complex", wasm::nested(10_000)),
        ("1,000 components", "too_complex", many(wasm::section(4, &bare), 1_000)),
        ("1,000 modules", "too_complex", many(wasm::section(1, &wasm::module(&[])), 1_000)),
        ("300,000 functions", "too_complex", wasm::many_functions(300_000)),
        ("100,000 functions", "not_an_agent", wasm::many_functions(100_000)),
        ("a function of 100,000 blocks", "too_complex", wasm::deep_function(100_000)),
        ("a function of a million blocks", "too_complex", wasm::deep_function(1_000_000)),
        ("a type 50,000 deep", "invalid_component", wasm::deep_type(50_000)),
        ("a million empty sections", "not_an_agent", many(wasm::section(0, &[0]), 1_000_000)),
        (
            "an endless section",
            "invalid_component",
            [&bare[..], &[1], &[0xff; 4], &[0x0f]].concat(),
        ),
        ("an endless number", "invalid_component", [&bare[..], &[1], &[0xff; 100]].concat()),
    ];
    let mut turn = 0;
    for (what, code, bytes) in cases {
        let answer = server.client.upload("hurt", "1", bytes).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        is_refusal(what, &answer);
        assert_eq!(answer.1["code"], code, "{what}: {}", answer.1);
        still_answers(&server, &witness, &mut turn).await;
    }
    for id in 0..=12 {
        let answer = server.client.upload("hurt", "1", wasm::liar(id)).await.unwrap();
        is_refusal(&format!("four billion entries in section {id}"), &answer);
    }
    still_answers(&server, &witness, &mut turn).await;
    server.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_carries_something_made_to_hurt_is_refused_or_harms_nobody() {
    let (server, witness) = server().await;
    let cases = [
        ("5,000 functions", wasm::many_functions(5_000)),
        ("a function of 10,000 blocks", wasm::deep_function(10_000)),
        ("components in one another", wasm::component(&[wasm::section(4, &wasm::nested(5))])),
        ("a type 90 deep", wasm::component(&[wasm::section(4, &wasm::deep_type(90))])),
        ("a type 50,000 deep", wasm::component(&[wasm::section(4, &wasm::deep_type(50_000))])),
        ("nothing more", wasm::component(&[])),
    ];
    let mut turn = 0;
    for (n, (what, more)) in cases.into_iter().enumerate() {
        let bytes = wasm::extended(guests::SPENDS_FUEL.bytes, &more);
        let answer = server.client.upload("carrier", &n.to_string(), bytes).await.unwrap();
        println!("{what}: {} {}", answer.0, answer.1["error"]);
        if answer.0.is_success() {
            speak_to(&server, what, &format!("carrier@{n}")).await;
        } else {
            is_refusal(what, &answer);
        }
        still_answers(&server, &witness, &mut turn).await;
    }
    server.shut_down().await;
}

#[tokio::test]
async fn many_broken_uploads_at_a_time_are_all_answered() {
    let (cases, mut random) = super::cases("uploads at a time", AT_A_TIME);
    let (server, witness) = server().await;
    let mut turn = 0;
    for wave in 0..cases.div_ceil(AT_A_TIME) {
        let mut uploads = Vec::new();
        for n in 0..AT_A_TIME {
            let bytes = broken(&mut random, guests::SPENDS_FUEL.bytes);
            let (client, version) = (server.client.clone(), format!("{wave}.{n}"));
            uploads.push(tokio::spawn(async move {
                client.upload("many", &version, bytes).await.unwrap()
            }));
        }
        for upload in uploads {
            let (status, body) = upload.await.unwrap();
            // `busy` is for compilations that wait, and says when to come back.
            let known = status.is_success() || status.is_client_error() || body["code"] == "busy";
            assert!(known, "{status}: {body}");
        }
        still_answers(&server, &witness, &mut turn).await;
    }
    server.shut_down().await;
}
