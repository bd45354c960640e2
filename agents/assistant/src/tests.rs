//! What the assistant asks a model, and what it makes of the answer.

use super::*;
use dormouse_sdk::model::{Answer, Content, Message, Role, StopReason};
use dormouse_sdk::testing::MockHost;

fn said(text: &str) -> Answer {
    Answer::of_text(text)
}

fn say(mock: &mut MockHost, assistant: &mut Assistant, text: &str) -> String {
    mock.turn(assistant, text).unwrap().as_text().into_owned()
}

#[test]
fn a_model_is_asked_as_the_configuration_says_and_its_answer_is_streamed() {
    let mut mock = MockHost::new()
        .with_config("model", "m-1")
        .with_config("systemPrompt", "Be brief.")
        .with_config("maxTokens", 100)
        .with_config("temperature", 1)
        .with_answer(said("Hi!"));
    assert_eq!(say(&mut mock, &mut Assistant::default(), "Hello"), "Hi!");
    assert_eq!(mock.streamed_text(), "Hi!");
    let [asked] = &mock.model_requests()[..] else { panic!() };
    assert_eq!((asked.model.as_str(), asked.system.as_deref()), ("m-1", Some("Be brief.")));
    assert_eq!((asked.max_tokens, asked.temperature), (Some(100), Some(1.0)));
}

#[test]
fn instructions_that_a_client_adds_to_a_preset_are_instructions_and_a_wrong_field_is_told() {
    let preset = json!({ "type": "preset", "preset": "claude_code", "append": "Be brief." });
    let mut mock = MockHost::new().with_config("systemPrompt", preset).with_answer(said("Hi!"));
    say(&mut mock, &mut Assistant::default(), "Hello");
    let asked = mock.model_requests();
    assert_eq!((asked[0].model.as_str(), asked[0].system.as_deref()), ("", Some("Be brief.")));
    let mut mock = MockHost::new().with_config("maxTokens", "many");
    let Err(Error::Invalid(why)) = mock.turn(&mut Assistant::default(), "Hello") else { panic!() };
    assert!(why.starts_with("config.maxTokens: "), "{why}");
}

#[test]
fn a_conversation_goes_on_also_across_an_upgrade() {
    let mut mock = MockHost::new().with_answer(said("one")).with_answer(said("two"));
    let mut assistant = Assistant::default();
    say(&mut mock, &mut assistant, "first");
    let mut assistant = mock.reload(&assistant).unwrap();
    say(&mut mock, &mut assistant, "second");
    let asked = mock.model_requests();
    let expected = [Message::user("first"), Message::assistant("one"), Message::user("second")];
    assert_eq!(asked[1].messages, expected);
}

#[test]
fn images_and_json_reach_the_model_and_other_bytes_are_refused() {
    let mut mock = MockHost::new().with_answer(said("A cat."));
    let mut assistant = Assistant::default();
    let json = Part::json(&json!({ "a": 1 })).unwrap();
    let parts = [Part::text("What is it?"), Part::blob("image/png", [1, 2]), json];
    mock.send(&mut assistant, Turn::new(parts)).unwrap();
    let [Content::Text(_), Content::Image(image), Content::Text(json)] =
        &mock.model_requests()[0].messages[0].content[..]
    else {
        panic!()
    };
    assert_eq!((image.media_type.as_str(), json.as_str()), ("image/png", r#"{"a":1}"#));
    for parts in [vec![Part::blob("audio/mpeg", [1])], vec![Part::text("")]] {
        let refused = mock.send(&mut assistant, Turn::new(parts));
        assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    }
}

#[test]
fn an_answer_in_pieces_is_one_answer() {
    let pause = Answer::of([Content::Text("To ".to_owned())], StopReason::Pause);
    let mock = || MockHost::new().with_answer(pause.clone()).with_answer(said("be."));
    assert_eq!(say(&mut mock(), &mut Assistant::default(), "Go on"), "To be.");
    let refused = mock().with_config("maxTurns", 1).turn(&mut Assistant::default(), "Go on");
    assert!(matches!(refused, Err(Error::Failed(_))), "{refused:?}");
}

#[test]
fn what_a_model_says_to_its_failure_is_told() {
    let budget = model::Error::BudgetExceeded("nothing is left".to_owned());
    let refused = MockHost::new().with_model_error(budget).turn(&mut Assistant::default(), "hi");
    assert_eq!(refused, Err(Error::failed("budget-exceeded: nothing is left")));
    let rules = model::Error::Refused("by the rules".to_owned());
    let refused = MockHost::new().with_model_error(rules).turn(&mut Assistant::default(), "hi");
    assert_eq!(refused, Err(Error::invalid("refused: by the rules")));
}

#[test]
fn what_is_too_long_for_a_model_is_forgotten_by_halves() {
    let too_long = || model::Error::ContextTooLong("too long".to_owned());
    let mut mock = MockHost::new();
    let mut assistant = Assistant::default();
    for number in ["one", "two", "three"] {
        mock = mock.with_answer(said(number));
        say(&mut mock, &mut assistant, number);
    }
    mock = mock.with_model_error(too_long()).with_model_error(too_long()).with_answer(said("four"));
    assert_eq!(say(&mut mock, &mut assistant, "four"), "four");
    let lengths: Vec<_> = mock.model_requests().iter().map(|asked| asked.messages.len()).collect();
    assert_eq!(lengths, [1, 3, 5, 7, 3, 1]);
    mock = mock.with_model_error(too_long()).with_model_error(too_long());
    let refused = mock.turn(&mut assistant, "five");
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
}

#[test]
fn a_history_beyond_its_bound_loses_its_older_half_before_anybody_is_asked() {
    let (mut mock, mut assistant) = (MockHost::new(), Assistant::default());
    let long = "x".repeat(1 << 20);
    for number in 0..9 {
        if number > 0 {
            // There is no summary: it goes on as it is.
            mock = mock.with_model_error(model::Error::Overloaded(None));
        }
        mock = mock.with_answer(said("ok"));
        say(&mut mock, &mut assistant, &long);
    }
    let mut asked = mock.model_requests();
    asked.retain(|asked| asked.forward);
    assert_eq!((asked[7].messages.len(), asked[8].messages.len()), (7, 9));
    assert!(asked.iter().all(|asked| asked.messages[0].role == Role::User));
}

#[test]
fn a_conversation_that_has_grown_long_is_summarized_before_it_goes_on() {
    let mut mock = MockHost::new().with_answer(said("ok"));
    let mut assistant = Assistant::default();
    say(&mut mock, &mut assistant, &"x".repeat(COMPACTED_AT));
    mock = mock.with_answer(said("It was about x.")).with_answer(said("y it is"));
    assert_eq!(say(&mut mock, &mut assistant, "and y?"), "y it is");
    let asked = mock.model_requests();
    let [_, summary, next] = asked.as_slice() else { panic!("{} requests", asked.len()) };
    assert_eq!((summary.forward, &summary.tool_choice), (false, &ToolChoice::None));
    assert_eq!(summary.messages.len(), 3);
    assert_eq!(next.messages.len(), 3);
    assert!(told(&next.messages[0]).contains("It was about x."));
}

#[test]
fn a_todo_list_is_kept_over_sleeps_and_summaries_and_shown_in_the_checkpoint() {
    let list = json!([
        { "content": "Look for mail", "status": "in_progress", "activeForm": "Looking for mail" },
        { "content": "Answer it", "status": "pending" },
    ]);
    let mut mock = MockHost::new()
        .with_checkpoint(json!({ "mine": 1 }))
        .with_answer(Answer::of_tool_call("TodoWrite", &json!({ "todos": list })))
        .with_answer(said("I have a plan."));
    let mut assistant = Assistant::default();
    assert_eq!(say(&mut mock, &mut assistant, "Take care of my mail"), "I have a plan.");
    assert_eq!(mock.checkpoint(), Some(json!({ "mine": 1, "todos": list })));
    let mut assistant = mock.reload(&assistant).unwrap();
    mock = mock
        .with_answer(said("ok"))
        .with_answer(said("It was about mail."))
        .with_answer(said("Bye."));
    say(&mut mock, &mut assistant, &"x".repeat(COMPACTED_AT));
    say(&mut mock, &mut assistant, "and now?");
    let first = told(&mock.model_requests().pop().unwrap().messages[0]);
    assert!(first.contains("- [~] Look for mail\n- [ ] Answer it"), "{first}");
}

#[test]
fn the_state_that_the_todo_list_was_first_saved_in_is_still_read() {
    #[derive(Default, Serialize, Deserialize)]
    struct Earlier {
        history: History,
        todos: Vec<Value>,
    }
    impl Agent for Earlier {
        const STATE_VERSION: u32 = 2;

        fn handle(&mut self, _turn: &Turn, _host: &Host) -> Result<Reply> {
            Err(Error::declined())
        }
    }
    let todos = vec![
        json!({ "content": "Look for mail", "status": "in_progress", "activeForm": "Looking" }),
        json!({ "content": "Answer it", "status": "pending" }),
    ];
    let saved = state::save(&Earlier { history: History::default(), todos }).unwrap();
    let assistant: Assistant = state::restore(&saved).unwrap();
    let expected = "Your todo list:\n- [~] Look for mail\n- [ ] Answer it";
    assert_eq!(assistant.todos.reminder().as_deref(), Some(expected));
}

#[test]
fn tools_are_offered_as_the_session_allows_them() {
    let directory = tempfile::tempdir().unwrap();
    let offered = |mock: MockHost| {
        let mut mock = mock
            .with_tool("WebFetch", |_| Ok(dormouse_sdk::tools::Answer::of_text("a page")))
            .with_answer(said("ok"));
        say(&mut mock, &mut Assistant::default(), "hi");
        let asked = mock.model_requests().remove(0);
        asked.tools.into_iter().map(|tool| tool.name).collect::<Vec<_>>()
    };
    let files = || MockHost::new().with_workspace(directory.path());
    let all = ["TodoWrite", "Read", "Write", "Edit", "Glob", "Grep", "WebFetch"];
    assert_eq!(offered(files()), all);
    // The host leaves out what it has and does not allow.
    assert_eq!(offered(files().with_config("allowedTools", ["Read"])), ["Read", "WebFetch"]);
    assert_eq!(offered(files().with_config("allowedTools", Value::Null)), all);
    assert_eq!(offered(files().with_config("allowedTools", [""; 0])), ["WebFetch"]);
    // A session without a workspace has no files.
    assert_eq!(offered(MockHost::new()), ["TodoWrite", "WebFetch"]);
}

#[test]
fn a_model_finds_and_mends_a_bug_in_the_workspace() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mean.rs");
    let bug =
        "fn mean(of: &[f64]) -> f64 {\n    of.iter().sum::<f64>() / (of.len() - 1) as f64\n}\n";
    std::fs::write(&file, bug).unwrap();
    let mut mock = MockHost::new().with_workspace(directory.path());
    for (tool, arguments) in [
        ("Grep", json!({ "pattern": "fn mean" })),
        ("Read", json!({ "file_path": "mean.rs" })),
        // What the file does not have is told, and the model does better.
        ("Edit", json!({ "file_path": "mean.rs", "old_string": "len - 1", "new_string": "len" })),
        (
            "Edit",
            json!({ "file_path": "mean.rs", "old_string": "(of.len() - 1)", "new_string": "of.len()" }),
        ),
        ("Write", json!({ "file_path": "notes/done.md", "content": "The mean is mended.\n" })),
    ] {
        mock = mock.with_answer(Answer::of_tool_call(tool, &arguments));
    }
    let mut mock = mock.with_answer(said("It divides by the length now."));
    say(&mut mock, &mut Assistant::default(), "The mean of 1, 2 and 3 is 2, and it says 3.");
    let mended = bug.replace("(of.len() - 1)", "of.len()");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mended);
    let notes = std::fs::read_to_string(directory.path().join("notes/done.md")).unwrap();
    assert_eq!(notes, "The mean is mended.\n");
    let asked = mock.model_requests().pop().unwrap();
    let results = asked.messages.iter().flat_map(|message| &message.content);
    let results: Vec<_> = results
        .filter_map(|part| match part {
            Content::ToolResult(result) => Some((result.is_error, result.content.as_str())),
            _ => None,
        })
        .collect();
    let failed: Vec<_> = results.iter().map(|(is_error, _)| *is_error).collect();
    assert_eq!(failed, [false, false, true, false, false], "{results:?}");
    assert!(results[0].1.ends_with("mean.rs\n"), "{results:?}");
    assert!(results[1].1.contains("     2\t    of.iter()"), "{results:?}");
}

#[test]
fn a_long_conversation_is_compacted_to_the_summary_of_the_model_and_a_short_one_is_not() {
    let mut mock = MockHost::new().with_answer(said("ok")).with_answer(said("It was about x."));
    let mut assistant = Assistant::default();
    assert_eq!(mock.compact(&mut assistant), Err(Error::declined()));
    say(&mut mock, &mut assistant, &"x".repeat(COMPACTED_FROM));
    assert_eq!(mock.compact(&mut assistant), Ok(Reply::text("It was about x.")));
    assert_eq!(assistant.history, History::from_summary("It was about x."));
    assert!(!mock.model_requests()[1].forward);
}

#[test]
fn what_the_first_version_was_told_is_a_conversation_about_it() {
    #[derive(Default, Serialize, Deserialize)]
    struct AssistantV1 {
        turns: u64,
        memory: MemoryV1,
    }
    #[derive(Default, Serialize, Deserialize)]
    struct MemoryV1 {
        name: Option<String>,
        facts: Vec<String>,
    }
    impl Agent for AssistantV1 {
        fn handle(&mut self, _turn: &Turn, _host: &Host) -> Result<Reply> {
            Err(Error::declined())
        }
    }
    let memory =
        MemoryV1 { name: Some("Ada".to_owned()), facts: vec!["tea is at four".to_owned()] };
    let saved = state::save(&AssistantV1 { turns: 2, memory }).unwrap();
    let mut assistant: Assistant = state::restore(&saved).unwrap();
    let mut mock = MockHost::new().with_answer(said("Ada."));
    say(&mut mock, &mut assistant, "What is my name?");
    let texts: Vec<_> = mock.model_requests()[0].messages.iter().map(told).collect();
    assert_eq!(
        (texts[0].as_str(), texts[2].as_str()),
        ("My name is Ada.", "Remember that tea is at four")
    );
}

fn told(message: &Message) -> String {
    Answer::of(message.content.clone(), StopReason::End).text()
}
