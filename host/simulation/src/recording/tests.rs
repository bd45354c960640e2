//! What a recording answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use dormouse_domain::model::{ModelContent, ModelRequest, StopReason, TokenUsage, ToolCall};

/// Answers with how often it was asked.
#[derive(Default)]
struct Counts(AtomicUsize);

impl Models for Counts {
    fn ask<'a>(&'a self, _: CallPlace, _: RequestDigest, _: &'a ModelCall) -> Asking<'a> {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        let answer = LiveAnswer { answer: Ok(says(&format!("live {asked}"))), cost: NanoUsd(7) };
        Box::pin(std::future::ready(Ok(answer)))
    }
}

fn says(text: &str) -> ModelAnswer {
    ModelAnswer {
        content: vec![ModelContent::Text(text.to_owned())],
        stop: StopReason::End,
        usage: None,
        model: "m".to_owned(),
    }
}

fn place(at: Tick, member: Member, number: u32) -> CallPlace {
    CallPlace { at, role: 0, member, number }
}

fn recorded(at: CallPlace, request: u8, text: &str) -> RecordedCall {
    let answer = Ok(says(text));
    RecordedCall { place: at, request: [request; 32], answer, cost: NanoUsd(5), is_own: true }
}

fn call() -> ModelCall {
    ModelCall { request: ModelRequest::default(), forward: false }
}

/// What is answered to a request.
async fn asked(answers: &Answers, at: CallPlace, request: u8) -> Result<(String, bool), NoAnswer> {
    let call = answers.answer(at, [request; 32], &call()).await?;
    Ok((call.answer.expect("it is answered").text(), call.is_own))
}

#[tokio::test]
async fn a_world_that_is_run_again_gets_the_recorded_answers_and_has_to_ask_the_same() {
    let calls = [recorded(place(0, 3, 0), 1, "a"), recorded(place(0, 3, 1), 1, "b")];
    let answers = Answers::new(None).recorded(calls.clone(), 1);
    assert_eq!(asked(&answers, place(0, 3, 0), 1).await, Ok(("a".to_owned(), true)));
    assert!(answers.left_of(0).is_some_and(|who| who.contains("member 3")));
    assert_eq!(asked(&answers, place(0, 3, 1), 1).await, Ok(("b".to_owned(), true)));
    assert_eq!(answers.left_of(0), None);

    let answers = Answers::new(Some(Arc::new(Counts::default()))).recorded(calls, 1);
    let other = asked(&answers, place(0, 3, 0), 2).await;
    assert!(matches!(other, Err(NoAnswer::Differs(_))), "{other:?}");

    // Nobody is asked live in a tick that was recorded.
    let models = Arc::new(Counts::default());
    let answers = Answers::new(Some(models)).recorded([], 1);
    let nothing = asked(&answers, place(0, 3, 0), 2).await;
    assert!(matches!(nothing, Err(NoAnswer::Differs(_))), "{nothing:?}");
}

#[tokio::test]
async fn whoever_asks_the_same_in_a_fork_gets_the_same_answer_whenever_it_asks() {
    let models = Arc::new(Counts::default());
    let since = || {
        [
            recorded(place(4, 3, 0), 1, "first"),
            recorded(place(5, 3, 0), 1, "second"),
            recorded(place(5, 4, 0), 2, "of another"),
        ]
    };
    let answers = Answers::new(Some(models.clone())).inherited(since(), []);
    // Somebody else who asks for the same asks live.
    assert_eq!(asked(&answers, place(4, 4, 0), 1).await, Ok(("live 0".to_owned(), true)));
    assert_eq!(asked(&answers, place(7, 3, 0), 1).await, Ok(("first".to_owned(), false)));
    assert_eq!(asked(&answers, place(8, 3, 1), 1).await, Ok(("second".to_owned(), false)));
    assert_eq!(asked(&answers, place(9, 3, 0), 1).await, Ok(("live 1".to_owned(), true)));
    assert_eq!(asked(&answers, place(9, 4, 0), 2).await, Ok(("of another".to_owned(), false)));

    // After a restart it counts what it had asked before.
    let before = [(place(7, 3, 0), [1; 32])];
    let answers = Answers::new(Some(models)).inherited(since(), before);
    assert_eq!(asked(&answers, place(8, 3, 1), 1).await, Ok(("second".to_owned(), false)));
}

#[tokio::test]
async fn what_was_answered_in_a_tick_that_was_cut_off_is_taken_where_the_same_is_asked() {
    let open = [recorded(place(1, 3, 0), 1, "a"), recorded(place(1, 3, 1), 2, "b")];
    let answers = Answers::new(Some(Arc::new(Counts::default()))).recorded([], 1).open(open);
    assert_eq!(asked(&answers, place(1, 3, 0), 1).await, Ok(("a".to_owned(), true)));
    // Something was done to the world since, and it asks for something else.
    assert_eq!(asked(&answers, place(1, 3, 1), 7).await, Ok(("live 0".to_owned(), true)));
    assert_eq!(answers.left_of(1), None);
}

#[tokio::test]
async fn a_fork_that_is_run_again_counts_each_call_once() {
    let since = [recorded(place(4, 3, 0), 1, "first"), recorded(place(5, 3, 0), 1, "second")];
    // It has asked once in its log, and in the tick that was cut off once more, which was inherited, and then live.
    let logged = [RecordedCall { is_own: false, ..recorded(place(4, 3, 0), 1, "first") }];
    let open = [recorded(place(5, 3, 1), 1, "live before")];
    let answers = Answers::new(None).recorded(logged, 5).open(open).inherited(since, []);
    assert_eq!(asked(&answers, place(4, 3, 0), 1).await, Ok(("first".to_owned(), false)));
    assert_eq!(asked(&answers, place(5, 3, 0), 1).await, Ok(("second".to_owned(), false)));
    assert_eq!(asked(&answers, place(5, 3, 1), 1).await, Ok(("live before".to_owned(), true)));
}

#[test]
fn calls_are_read_as_they_were_written_and_not_otherwise() {
    let tool = ToolCall { id: "1".into(), name: "t".into(), arguments: "{}".into() };
    let full = ModelAnswer {
        content: vec![ModelContent::Text("x\n\"".into()), ModelContent::ToolCall(tool)],
        stop: StopReason::ToolUse,
        usage: Some(TokenUsage { input: 1, output: 2, ..TokenUsage::default() }),
        model: "m".into(),
    };
    let mut calls = vec![recorded(place(0, 1, 0), 1, "a"), recorded(place(0, 1, 1), 2, "b")];
    calls[0].answer = Ok(full);
    calls.push(RecordedCall {
        answer: Err(ModelError::Refused("no".into())),
        is_own: false,
        ..recorded(place(1, 0, 0), 3, "")
    });
    let mut file = Vec::new();
    write_calls(&calls, &mut file).expect("memory");
    assert_eq!(read_calls(file.as_slice()), Ok(calls.clone()));

    let text = String::from_utf8(file).expect("text");
    let lines: Vec<&str> = text.lines().collect();
    for (wrong, told) in [
        (lines[0].replace("\"member\":1", "\"member\":-1"), "line 1"),
        (lines[0].replace("\"answer\"", "\"other\""), "line 1"),
        (lines[0].replace("\"request\":\"01", "\"request\":\"0g"), "line 1: it is no call"),
        (format!("{}\n{}", lines[1], lines[0]), "line 2: it is not behind the one before"),
        (format!("{}\n{}", lines[0], lines[0]), "line 2: it is not behind the one before"),
    ] {
        let read = read_calls(wrong.as_bytes());
        assert!(read.as_ref().is_err_and(|error| error.starts_with(told)), "{read:?}");
    }
}
