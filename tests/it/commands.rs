//! A program that knows nothing of Dormouse serves ephemeral sessions.

use std::time::Duration;

use dormouse::{
    CommandError, ComponentKind, CreateError, Delta, Durability, FailureCode, FinishedTurn,
    LogSource, NewSession, Part, Pattern, SendError, SessionHandle, SessionReadError, Statefulness,
    Status, TurnOutcome, UpgradeError,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use futures::StreamExt;
use serde_json::json;

async fn session(test: &TestHost, change: impl FnOnce(&mut NewSession)) -> SessionHandle {
    test.session_with(&guests::PLAIN_PROGRAM, |new| {
        new.pattern = Pattern::Ephemeral;
        new.require_durable = true;
        change(new);
    })
    .await
}

async fn answer(test: &TestHost, prompt: &str) -> String {
    session(test, |_| {}).await.send(prompt).await.unwrap().text()
}

async fn fails(test: &TestHost, prompt: &str) -> (FailureCode, String, FinishedTurn) {
    let ended = match session(test, |_| {}).await.send(prompt).await {
        Err(SendError::Failed(ended)) => *ended,
        other => panic!("{prompt}: {other:?}"),
    };
    assert_eq!(ended.session.state.status(), Status::Error);
    let TurnOutcome::Failed(failure) = &ended.turn.outcome else { panic!("{prompt}") };
    (failure.code, failure.message.clone(), ended)
}

#[tokio::test]
async fn a_program_gets_the_prompt_as_input_and_argument_and_prints_its_reply() {
    let test = TestHost::new().await;
    let uploaded =
        test.host.agents().upload("mine", "1", guests::PLAIN_PROGRAM.bytes).await.unwrap();
    assert_eq!(uploaded.agent.component.exports.kind(), Some(ComponentKind::Command));
    assert_eq!(uploaded.agent.component.statefulness, Statefulness::Stateless);

    let new = |env| NewSession {
        config: json!({ "env": env, "model": "m" }).as_object().unwrap().clone(),
        ..NewSession::with_agent("mine".parse().unwrap())
    };
    let variables = json!({ "LANG": "C", "EMPTY": "" });
    let session = test.host.sessions().create(new(variables)).await.unwrap();
    let reply = session.send("größe \"x\"").await.unwrap();
    assert_eq!(
        reply.text(),
        "input \"größe \\\"x\\\"\"\narguments [\"mine\", \"größe \\\"x\\\"\"]\n\
         variables [(\"EMPTY\", \"\"), (\"LANG\", \"C\")]\n"
    );
    assert!(reply.turn.fuel > 0 && reply.turn.log.is_empty(), "{:?}", reply.turn);

    let invalid = test.host.sessions().create(new(json!({ "LANG": 1 }))).await;
    let Err(CreateError::Invalid(error)) = invalid else { panic!("it was created") };
    assert_eq!(error.field, "config.env");
    test.shut_down().await;
}

#[tokio::test]
async fn a_long_prompt_is_the_input_alone_and_a_large_environment_is_refused_at_creation() {
    let test = TestHost::new().await;
    for (length, is_argument) in [(1024, true), (1025, false), (1 << 20, false)] {
        let prompt = "x".repeat(length);
        let text = session(&test, |_| {}).await.send(prompt.clone()).await;
        let text = match text {
            Ok(reply) => reply.text(),
            // It prints more than it may.
            Err(SendError::Failed(ended)) if length == 1 << 20 => {
                let TurnOutcome::Failed(failure) = ended.turn.outcome else { unreachable!() };
                assert_eq!(failure.code, FailureCode::AgentFailed, "{failure:?}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let input = format!("input {prompt:?}\n");
        assert!(text.starts_with(&input), "the input is whole");
        let arguments = text[input.len()..].lines().next().unwrap();
        assert_eq!(arguments.contains(&prompt), is_argument, "{length}: {arguments}");
    }
    let agent = test.upload(&guests::PLAIN_PROGRAM).await;
    let mut new = NewSession::with_agent(agent).pattern(Pattern::Ephemeral);
    new.config.insert("env".to_owned(), json!({ "LONG": "x".repeat(1024) }));
    let Err(CreateError::Invalid(error)) = test.host.sessions().create(new).await else {
        panic!("it was created");
    };
    assert!(error.field == "config.env" && error.problem.contains("1024"), "{error:?}");
    test.shut_down().await;
}

#[tokio::test]
async fn an_ephemeral_session_of_a_program_completes_with_nothing_to_lose() {
    let test = TestHost::new().await;
    let session = session(&test, |_| {}).await;
    session.wake().await.unwrap();
    let reply = session.send("hello").await.unwrap();
    assert!(reply.is_durable());
    let TurnOutcome::Answered { snapshot, durable, .. } =
        session.turn(1).await.unwrap().unwrap().outcome
    else {
        panic!("it was answered");
    };
    assert_eq!((snapshot, durable), (None, true));
    let after = session.info().await.unwrap().session;
    assert_eq!(
        (after.state.status(), after.unsaved_turns, after.head),
        (Status::Completed, 0, None)
    );
    assert!(matches!(session.send("again").await, Err(SendError::Denied(_))));
    assert_eq!(test.host.stats().residents, 0);

    test.advance(Duration::from_secs(61));
    eventually("it is removed", async || {
        matches!(session.info().await, Err(SessionReadError::NotFound(_)))
    })
    .await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_program_serves_no_session_that_lives_longer() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::PLAIN_PROGRAM).await;
    for pattern in [Pattern::LongRunning, Pattern::Hybrid, Pattern::SingleContainer] {
        let new = NewSession::with_agent(agent.clone()).pattern(pattern);
        let refused = test.host.sessions().create(new).await.map(|session| session.id());
        assert!(
            matches!(&refused, Err(CreateError::PatternUnsupported { pattern: told, .. }) if *told == pattern),
            "{refused:?}"
        );
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_program_takes_no_session_over_and_is_saved_at_no_other_time() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::PLAIN_PROGRAM).await;
    let counter = test.bundled("counter", Pattern::Hybrid).await;
    let refused = counter.upgrade(agent).await;
    let Err(UpgradeError::Command(CommandError::NotUpgraded(why))) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("command"), "{why}");
    assert_eq!(counter.send("hi").await.unwrap().text(), "turn 1: hi");

    let late = session(&test, |new| {
        new.require_durable = false;
        new.durability = Durability::Sleep;
    })
    .await;
    assert!(late.send("exit 0").await.unwrap().is_durable());
    assert_eq!(late.info().await.unwrap().session.unsaved_turns, 0);
    test.shut_down().await;
}

#[tokio::test]
async fn what_a_program_prints_is_streamed_while_it_runs_and_is_the_reply() {
    let test = TestHost::new().await;
    let session = session(&test, |_| {}).await;
    let streaming = session.stream("lines 30000").await.unwrap();
    let deltas: Vec<String> = streaming
        .deltas()
        .map(|delta| match delta {
            Delta::Text(text) => text,
            Delta::Event { .. } => panic!("a program has no events"),
        })
        .collect()
        .await;
    let text = streaming.reply().await.unwrap().text();
    assert_eq!(text.lines().count(), 30_000);
    assert_eq!(deltas[0], "line 1\n");
    assert_eq!(deltas.concat(), text);
    test.shut_down().await;
}

#[tokio::test]
async fn a_character_that_is_printed_in_two_halves_is_one() {
    let test = TestHost::new().await;
    let session = session(&test, |_| {}).await;
    let streaming = session.stream("split").await.unwrap();
    let deltas: Vec<Delta> = streaming.deltas().collect().await;
    assert_eq!(deltas, ["half ", "€"].map(|text| Delta::Text(text.to_owned())));
    assert_eq!(streaming.reply().await.unwrap().text(), "half €");
    test.shut_down().await;
}

#[tokio::test]
async fn what_is_no_text_is_the_reply_as_a_blob() {
    let test = TestHost::new().await;
    let reply = session(&test, |_| {}).await.send("binary").await.unwrap();
    let media_type = "application/octet-stream".to_owned();
    let blob = Part::Blob { media_type, data: b"PNG\xff\x00\xfe".to_vec() };
    assert_eq!(reply.content(), [blob]);
    test.shut_down().await;
}

#[tokio::test]
async fn input_that_was_read_to_its_end_stays_at_its_end() {
    let test = TestHost::new().await;
    assert_eq!(answer(&test, "twice").await, "5 bytes, then 0");
    let long = session(&test, |new| {
        new.config.insert("env".to_owned(), json!({ "ORDER": "twice" }));
    })
    .await;
    let read = long.send("x".repeat(1_000_000)).await.unwrap().text();
    assert_eq!(read, "1000000 bytes, then 0");
    assert_eq!(answer(&test, "time a b a").await, "2 words in 2030, in no 0 s");
    test.shut_down().await;
}

#[tokio::test]
async fn an_exit_is_an_answer_or_a_failure_and_never_a_trap() {
    let test = TestHost::new().await;
    assert_eq!(answer(&test, "exit 0").await, "so far\n");

    let (code, message, ended) = fails(&test, "exit 3").await;
    assert_eq!(code, FailureCode::AgentFailed);
    // Programs tell WASI of a status other than 0 as 1, until their library uses `exit-with-code`.
    let statuses = ["1", "3"]
        .map(|status| format!("leaving with 3 (the command exited with status {status})"));
    assert!(statuses.contains(&message), "{message}");
    let log: Vec<_> = ended.turn.log.iter().map(|line| (line.source, &*line.message)).collect();
    let written = ["working", "leaving with 3"].map(|line| (LogSource::Stderr, line));
    assert_eq!(log, written);

    let (code, message, _) = fails(&test, "fail").await;
    assert_eq!(code, FailureCode::AgentFailed);
    assert_eq!(message, "Error: \"it was told to fail\" (the command exited with status 1)");
    test.shut_down().await;
}

#[tokio::test]
async fn a_program_is_held_to_the_limits_of_any_agent() {
    let test = TestHost::with(|options| {
        options.limits.max_fuel_per_turn = 300_000_000;
        options.limits.max_memory_bytes = 32 << 20;
    })
    .await;
    let (code, message, _) = fails(&test, "panic").await;
    assert_eq!(code, FailureCode::AgentTrapped);
    assert!(message.contains("it was told to panic (the agent trapped"), "{message}");
    assert_eq!(fails(&test, "loop").await.0, FailureCode::FuelExhausted);
    assert_eq!(fails(&test, "allocate").await.0, FailureCode::MemoryExceeded);

    let session = session(&test, |new| new.max_fuel_per_turn = Some(u64::MAX / 4)).await;
    let looping = session.stream("loop").await.unwrap();
    eventually("the loop runs", async || session.info().await.unwrap().running_turn == Some(1))
        .await;
    session.force_kill().await.unwrap();
    let Err(SendError::Failed(ended)) = looping.reply().await else { panic!("it was answered") };
    let TurnOutcome::Failed(failure) = &ended.turn.outcome else { panic!("it was answered") };
    assert_eq!(failure.code, FailureCode::TurnKilled);
    test.shut_down().await;
}

#[tokio::test]
async fn a_program_that_prints_more_than_a_turn_may_fails_and_is_not_cut_without_a_word() {
    let test = TestHost::new().await;
    assert_eq!(answer(&test, "bytes 1048576").await.len(), 1 << 20);
    let (code, message, few) = fails(&test, "bytes 1048577").await;
    assert_eq!(code, FailureCode::AgentFailed);
    assert_eq!(message, "the reply of the agent is larger than 1048576 bytes");
    let (code, _, many) = fails(&test, "bytes 100000000").await;
    assert_eq!(code, FailureCode::AgentFailed);
    // It ends where the bound is, not where its print ends.
    assert!(many.turn.fuel < 2 * few.turn.fuel, "{} {}", many.turn.fuel, few.turn.fuel);
    test.shut_down().await;
}

#[tokio::test]
async fn a_program_is_sent_text_and_nothing_else() {
    let test = TestHost::new().await;
    let parts = vec![Part::Text("exit".to_owned()), Part::Json("0".to_owned())];
    let reply = session(&test, |_| {}).await.send(parts).await.unwrap();
    assert!(reply.text().starts_with("input \"exit\\n0\""), "{}", reply.text());

    let blob = Part::Blob { media_type: "image/png".to_owned(), data: vec![0] };
    let Err(SendError::Failed(ended)) = session(&test, |_| {}).await.send(vec![blob]).await else {
        panic!("it was answered");
    };
    let TurnOutcome::Failed(failure) = &ended.turn.outcome else { panic!("it was answered") };
    assert_eq!(failure.code, FailureCode::AgentInvalid);
    assert!(failure.message.contains("reads text"), "{failure:?}");
    test.shut_down().await;
}
