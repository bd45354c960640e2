//! Agents in JavaScript and Python, as everyday tools make them. They know nothing of sleeping, sleep
//! after every turn, and nobody sees it.
//!
//! `agents/build` has to be run before; then `cargo test -p dormouse-tests --test it -- --ignored`.

mod monitors;
mod populations;

use dormouse::{
    AgentSelector, FailureCode, ManualClock, NewSession, Pattern, SendError, SessionHandle,
    Statefulness, TurnOutcome,
};
use dormouse_test_guests::TestGuest;
use dormouse_tests::scripted::{NAMES, QUICKJS, STUBBED, scripted};
use dormouse_tests::{TestHost, TestServer};
use reqwest::Method;
use serde_json::json;
use tokio::sync::Mutex;

use crate::images::twins;

/// Twenty turns. Some fail, by an answer or by an exception.
const MESSAGES: [&str; 20] = [
    "list",
    "add buy milk",
    "add  Call Ann ",
    "ADD write it down",
    "list",
    "find ANN",
    "remove 1",
    "remove 7",
    "count",
    "load [",
    "when 2",
    "pick",
    "pick",
    "pick",
    r#"load ["one", " two ", "drei", "чотири"]"#,
    "load [5]",
    "pick",
    "when 1",
    "what?",
    "list",
];

/// What the agents have in common with the notepad in Rust.
const COMMON: [&str; 12] = [
    "list",
    "add buy milk",
    "add  Call Ann ",
    "add",
    " LIST",
    "find ann",
    "find nothing",
    "remove 1",
    "remove 0",
    "remove it",
    "count",
    "list",
];

fn built(name: &'static str) -> TestGuest {
    scripted(name).unwrap_or_else(|missing| panic!("{missing}"))
}

/// Upload one of the agents. Each is compiled by one test; the others wait, and find it in the cache.
async fn upload(test: &TestHost, name: &'static str) -> AgentSelector {
    static COMPILING: Mutex<()> = Mutex::const_new(());

    let _compiling = COMPILING.lock().await;
    let agent = test.upload(&built(name)).await;
    let start = test.host.agents().get(agent.clone()).await.unwrap().component.start_fuel;
    println!("{name} uses {start} units to start");
    agent
}

async fn session(test: &TestHost, name: &'static str) -> SessionHandle {
    let agent = upload(test, name).await;
    let new = NewSession {
        require_durable: true,
        ..NewSession::with_agent(agent).pattern(Pattern::Hybrid)
    };
    test.host.sessions().create(new).await.unwrap()
}

/// What the session answers, and then it sleeps.
async fn ask(session: &SessionHandle, text: &str) -> Result<String, (FailureCode, String)> {
    let answer = match session.send(text).await {
        Ok(reply) => {
            assert!(reply.is_durable(), "{text}: {:?}", reply.turn.log);
            Ok(reply.text())
        }
        Err(SendError::Failed(ended)) => match ended.turn.outcome {
            TurnOutcome::Failed(failure) => Err((failure.code, failure.message)),
            TurnOutcome::Answered { .. } => panic!("{text} failed with an answer"),
        },
        Err(error) => panic!("{text}: {error}"),
    };
    session.sleep().await.unwrap();
    answer
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn scripts_that_sleep_after_each_turn_answer_like_their_twins_that_never_do() {
    let all = async |test: &TestHost| {
        let mut agents = Vec::new();
        for name in NAMES {
            let agent = upload(test, name).await;
            let known = test.host.agents().get(agent.clone()).await.unwrap();
            assert_eq!(known.component.statefulness, Statefulness::Image, "{name}");
            agents.push(agent);
        }
        agents
    };
    let [awake, asleep] = twins(all, &MESSAGES).await;
    assert_eq!(awake.len(), NAMES.len() * MESSAGES.len());
    // Answers, fuel and logs.
    for (one, other) in awake.iter().zip(&asleep) {
        assert_eq!(one, other);
    }
    for (agent, text, seen) in &asleep {
        let fails = ["remove 7", "load [", "load [5]"].contains(&text.as_str());
        assert_eq!(seen.starts_with("Failure"), fails, "{agent}: {text}: {seen}");
    }
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_answers_as_the_same_agent_in_rust_does() {
    let test = TestHost::new().await;
    let rust = test.bundled("notepad", Pattern::LongRunning).await;
    let mut expected = Vec::new();
    for text in COMMON {
        expected.push(ask(&rust, text).await);
    }
    for name in NAMES {
        let session = session(&test, name).await;
        for (text, expected) in COMMON.iter().zip(&expected) {
            assert_eq!(&ask(&session, text).await, expected, "{name}: {text}");
        }
    }
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let mut sessions = Vec::new();
    for name in NAMES {
        let session = session(&test, name).await;
        session.send("add buy milk").await.unwrap();
        sessions.push((name, session.id()));
    }
    test.shut_down().await;

    let test = TestHost::on(directory.path(), &clock).await;
    for (name, id) in sessions {
        let session = test.host.sessions().get(id);
        assert_eq!(session.send("list").await.unwrap().text(), "1. buy milk", "{name}");
        assert_eq!(session.send("add more").await.unwrap().text(), "noted as 2", "{name}");
    }
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn an_exception_that_nobody_catches_fails_the_turn_and_says_what_it_was() {
    let test = TestHost::new().await;
    for (name, syntax, types) in [
        ("notepad-quickjs", "Unexpected end of JSON input", "not a function"),
        (
            "notepad-starlingmonkey",
            "`SyntaxError: JSON.parse: unexpected end of data",
            "`TypeError: text.trim is not a function`",
        ),
        (
            "notepad-python",
            "json.decoder.JSONDecodeError: Expecting value: line 1 column 2 (char 1)",
            "AttributeError: 'int' object has no attribute 'strip'",
        ),
    ] {
        let session = session(&test, name).await;
        assert_eq!(ask(&session, "add one").await.unwrap(), "noted as 1");
        for (text, expected) in [("load [", syntax), ("load [5]", types)] {
            let (code, message) = ask(&session, text).await.unwrap_err();
            assert_eq!(code, FailureCode::AgentTrapped);
            assert!(message.contains(expected), "{name}: {text}: {message}");
            assert_eq!(ask(&session, "list").await.unwrap(), "1. one", "{name}");
        }
        let failed = (FailureCode::AgentInvalid, "there is no note `2`".to_owned());
        assert_eq!(ask(&session, "remove 2").await, Err(failed), "{name}");
    }
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn the_randomness_of_a_script_is_that_of_its_session() {
    let test = TestHost::new().await;
    // QuickJS seeds `Math.random` when the component is built.
    for name in NAMES.into_iter().filter(|name| *name != QUICKJS) {
        let (one, other) = (session(&test, name).await, session(&test, name).await);
        let mut picked = [Vec::new(), Vec::new()];
        for (session, picked) in [&one, &other].into_iter().zip(&mut picked) {
            ask(session, r#"load ["a", "b", "c", "d", "e", "f", "g", "h"]"#).await.unwrap();
            for _ in 0..40 {
                picked.push(session.send("pick").await.unwrap().text());
            }
        }
        assert_ne!(picked[0], picked[1], "{name}");
    }
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_is_uploaded_and_used_over_http() {
    let server = TestServer::new().await;
    for name in NAMES {
        // Compiled, if that has not been done before.
        upload(&server.test, name).await;
        let (status, agent) = server.client.upload(name, "2", built(name).bytes).await.unwrap();
        assert_eq!(status, 201, "{agent}");
        assert_eq!(agent["statefulness"], "image", "{agent}");
        let new = json!({ "agent": format!("{name}@2"), "pattern": "hybrid" });
        let id = server.client.create(&new).await.unwrap();
        assert_eq!(server.client.ask(&id, "add buy milk").await.unwrap(), "noted as 1");
        let path = format!("/api/sessions/{id}/sleep");
        let slept = server.client.request(Method::POST, &path).send().await.unwrap();
        assert_eq!(slept.status(), 200);
        assert_eq!(server.client.ask(&id, "list").await.unwrap(), "1. buy milk");
        let (_, turn) = server.client.get(&format!("/api/sessions/{id}/turns/2")).await.unwrap();
        assert_eq!(turn["durable"], true, "{turn}");
    }
    server.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_whose_wasi_is_stubs_that_trap_sleeps_and_wakes_like_any_other() {
    let test = TestHost::new().await;
    let session = session(&test, STUBBED).await;
    assert_eq!(ask(&session, "one").await.unwrap(), "one");
    assert_eq!(ask(&session, "two").await.unwrap(), "one, two");
    let (code, _) = ask(&session, "time").await.unwrap_err();
    assert_eq!(code, FailureCode::AgentTrapped, "it has asked a stub");
    assert_eq!(ask(&session, "three").await.unwrap(), "one, two, three");
    test.shut_down().await;
}

#[tokio::test]
#[ignore = "needs `agents/build`"]
async fn a_script_whose_wasi_is_stubs_is_uploaded_and_used_over_http() {
    let server = TestServer::new().await;
    // Compiled, if that has not been done before.
    upload(&server.test, STUBBED).await;
    let (status, agent) = server.client.upload("stubbed", "2", built(STUBBED).bytes).await.unwrap();
    assert_eq!((status.as_u16(), &agent["statefulness"]), (201, &json!("image")), "{agent}");
    let new = json!({ "agent": "stubbed@2", "pattern": "hybrid", "requireDurable": true });
    let id = server.client.create(&new).await.unwrap();
    assert_eq!(server.client.ask(&id, "one").await.unwrap(), "one");
    let path = format!("/api/sessions/{id}/sleep");
    let slept = server.client.request(Method::POST, &path).send().await.unwrap();
    assert_eq!(slept.status(), 200);
    assert_eq!(server.client.ask(&id, "two").await.unwrap(), "one, two");
    server.shut_down().await;
}
