use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    Host,
    model::{Error as ModelError, Thinking},
    testing::MockHost,
};

fn ask(host: &Host, conversation: &mut Conversation, rounds: u32) -> Result<Answer, RunError> {
    let schema = json!({ "type": "object" });
    let mut count = 0;
    let mut tools = Tools::new()
        .tool(Tool::new("count", "Counts.", schema.clone()), |(): ()| {
            count += 1;
            Ok(count)
        })
        .tool(Tool::new("greet", "Greets.", schema.clone()), |arguments: Value| {
            Ok(format!("Hello, {}!", arguments["name"].as_str().unwrap_or("you")))
        })
        .tool(Tool::new("fail", "Fails.", schema), |_: Value| {
            Err::<(), _>(crate::Error::failed("no luck"))
        })
        .rounds(rounds);
    host.model().chat("m").system("s").forward().run(conversation, &mut tools)
}

fn results(message: &Message) -> Vec<(&str, bool)> {
    let result = |part| match part {
        &Content::ToolResult(ToolResult { ref content, is_error, .. }) => {
            (content.as_str(), is_error)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(message.role, Role::User);
    message.content.iter().map(result).collect()
}

fn conversation() -> Conversation {
    let mut conversation = Conversation::new();
    conversation.user("Begin.");
    conversation
}

#[test]
fn tools_are_run_until_the_model_asks_for_none_and_their_errors_go_to_the_model() {
    let call = |id: &str, name: &str, arguments: &str| {
        let [id, name, arguments] = [id, name, arguments].map(str::to_owned);
        Content::ToolCall(ToolCall { id, name, arguments })
    };
    let calls = [
        call("1", "greet", r#"{"name":"Ada"}"#),
        call("2", "fail", "{}"),
        call("3", "unknown", "{}"),
        call("4", "count", "{}"),
        call("5", "count", "null"),
    ];
    let mock = MockHost::new()
        .with_answer(Answer::of(calls, StopReason::ToolUse))
        .with_answer(Answer::of_text("done"));
    let mut conversation = conversation();
    let answer = ask(mock.host(), &mut conversation, 5).expect("it is done");
    assert_eq!((answer.text().as_str(), mock.streamed_text().as_str()), ("done", "done"));

    let told = results(&conversation.messages[2]);
    assert_eq!(
        told[..3],
        [
            ("Hello, Ada!", false),
            ("no luck", true),
            ("there is no tool of the name `unknown`", true),
        ]
    );
    assert!(told[3].1 && told[3].0.starts_with("the arguments are not as the schema says"));
    assert_eq!(told[4], ("1", false));
    let requests = mock.model_requests();
    assert_eq!(requests[1].messages, conversation.messages[..3]);
    assert_eq!((requests[1].tools.len(), requests[1].system.as_deref()), (3, Some("s")));
    assert_eq!(conversation.messages[3], Message::assistant("done"));
}

#[test]
fn a_paused_answer_is_sent_back_and_what_the_model_thought_goes_back_as_it_came() {
    let thinking = Content::Thinking(Thinking {
        text: "hm".to_owned(),
        block: r#"{"type":"thinking","signature":"c2ln"}"#.to_owned(),
    });
    let paused = Answer::of([thinking, Content::Text("so far".to_owned())], StopReason::Pause);
    let mock =
        MockHost::new().with_answer(paused.clone()).with_answer(Answer::of_text("and the rest"));
    let mut conversation = conversation();
    let answer = ask(mock.host(), &mut conversation, 5).expect("it is done");
    assert_eq!(answer.text(), "and the rest");
    let again = &mock.model_requests()[1].messages;
    assert_eq!(again[..], [Message::user("Begin."), paused.message()]);
    // An agent keeps it as JSON or CBOR.
    let kept = serde_json::to_string(&conversation).expect("it has a form in JSON");
    assert_eq!(serde_json::from_str::<Conversation>(&kept).expect("it is one"), conversation);
}

#[test]
fn a_model_that_is_never_done_is_asked_so_many_times_and_no_more() {
    let more = || Answer::of_tool_call("greet", &json!({}));
    let mock = MockHost::new().with_answer(more()).with_answer(more()).with_answer(more());
    let mut conversation = conversation();
    let ended = ask(mock.host(), &mut conversation, 2);
    assert_eq!(ended, Err(RunError::TooManyRounds(2)));
    assert_eq!(mock.model_requests().len(), 2);
    // Each call has its result: the conversation can go on.
    assert_eq!(results(&conversation.messages[4]), [("Hello, you!", false)]);
}

#[test]
fn a_call_in_an_answer_that_was_cut_off_is_not_run_and_the_conversation_can_go_on() {
    let answer =
        Answer { stop: StopReason::MaxTokens, ..Answer::of_tool_call("count", &json!({})) };
    let mock = MockHost::new().with_answer(answer);
    let mut conversation = conversation();
    let answer = ask(mock.host(), &mut conversation, 5).expect("it is an answer");
    assert_eq!(answer.stop, StopReason::MaxTokens);
    let told = results(&conversation.messages[2]);
    assert_eq!(told, [("not run: the answer ended before its end", true)]);
}

#[test]
fn an_error_of_the_model_ends_the_run_and_its_word_begins_the_failure_of_the_turn() {
    let budget = ModelError::BudgetExceeded("0.01 USD are left".to_owned());
    let mock = MockHost::new().with_model_error(budget.clone());
    let ended = ask(mock.host(), &mut conversation(), 5).expect_err("it has ended");
    assert_eq!(ended, RunError::Model(budget));
    let failure = crate::Error::from(ended);
    assert_eq!(failure, crate::Error::failed("budget-exceeded: 0.01 USD are left"));

    let late = ModelError::RateLimited(Some(Duration::from_millis(1_500)));
    assert_eq!(
        late.to_string(),
        "rate-limited: the provider takes no more requests; ask again in 2 s"
    );
    let none = MockHost::new();
    let unanswered = none.host().model().chat("m").user("hello").send();
    assert!(matches!(unanswered, Err(ModelError::Unavailable(_))));
}
