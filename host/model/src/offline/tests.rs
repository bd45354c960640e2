//! What the offline model answers.

use super::*;
use dormouse_domain::model::{ModelError, Thinking, ToolResult};

fn message(role: ModelRole, content: Vec<ModelContent>) -> ModelMessage {
    ModelMessage { role, content }
}

fn user(text: &str) -> ModelMessage {
    message(ModelRole::User, vec![ModelContent::Text(text.to_owned())])
}

fn returned(call: &str, content: &str) -> ModelMessage {
    let (call, content) = (call.to_owned(), content.to_owned());
    let result = ToolResult { call, content, is_error: false };
    message(ModelRole::User, vec![ModelContent::ToolResult(result)])
}

fn said(answer: ModelAnswer) -> ModelMessage {
    message(ModelRole::Assistant, answer.content)
}

async fn ask(request: &ModelRequest) -> (Result<ModelAnswer, CallFailure>, String) {
    let mut forwarded = String::new();
    let request = Arc::new(request.clone());
    let answer = Offline.ask(request, &mut |text| forwarded.push_str(text)).await;
    (answer, forwarded)
}

fn conversation(messages: Vec<ModelMessage>) -> ModelRequest {
    ModelRequest { messages, ..ModelRequest::default() }
}

fn tool(name: &str, schema: &str) -> ModelTool {
    let (name, schema) = (name.to_owned(), schema.to_owned());
    ModelTool { name, description: String::new(), schema }
}

#[tokio::test]
async fn what_a_conversation_has_said_is_remembered_and_forwarded_word_by_word() {
    let mut messages = vec![user("my name is Ada.")];
    let (answer, forwarded) = ask(&conversation(messages.clone())).await;
    let answer = answer.unwrap();
    assert_eq!(answer.text(), forwarded);
    let usage = TokenUsage { input: 4, output: tokens(forwarded.len()), ..TokenUsage::default() };
    assert_eq!(answer.usage, Some(usage));
    messages.extend([said(answer), user("what is my name?")]);
    assert_eq!(ask(&conversation(messages)).await.1, "Your name is Ada.");
}

#[tokio::test]
async fn a_script_is_followed_answer_by_answer() {
    let script =
        "look at it\n#script\nthink hm\ncall Read {\"path\": \"a\"}\n---\nsay one\nsay two";
    let mut messages = vec![user(script)];
    let (answer, _) = ask(&conversation(messages.clone())).await;
    let answer = answer.unwrap();
    let [ModelContent::Thinking(Thinking { text, .. }), ModelContent::ToolCall(call)] =
        &*answer.content
    else {
        panic!("{answer:?}")
    };
    assert_eq!((&**text, &*call.name, &*call.arguments), ("hm", "Read", "{\"path\": \"a\"}"));
    assert_eq!(answer.stop, StopReason::ToolUse);
    let id = call.id.clone();
    messages.extend([said(answer), returned(&id, "hello")]);
    let (answer, forwarded) = ask(&conversation(messages.clone())).await;
    assert_eq!(forwarded, "one\ntwo");
    messages.extend([said(answer.unwrap()), returned(&id, "again")]);
    assert_eq!(ask(&conversation(messages)).await.1, "done");
}

#[test]
fn a_script_can_fail_and_a_line_that_is_none_is_told() {
    let failing = |line: &str| {
        let answer = Offline::answer(&conversation(vec![user(&format!("#script\n{line}"))]));
        answer.unwrap_err().error
    };
    assert_eq!(failing("fail overloaded"), ModelError::Overloaded { retry_after: None });
    for line in ["sing", "call Read [1]"] {
        let ModelError::Invalid(why) = failing(line) else { panic!() };
        assert!(why.contains(&format!("`{line}`")), "{why}");
    }
}

#[tokio::test]
async fn a_tool_that_the_user_names_is_asked_for_and_its_result_is_told() {
    let schema = r#"{"properties": {"path": {"type": "string"}}, "required": ["path"]}"#;
    let tools = vec![tool("List", "{}"), tool("Read", schema)];
    let mut messages = vec![user("please Read it")];
    let request = ModelRequest { tools: tools.clone(), ..conversation(messages.clone()) };
    let answer = ask(&request).await.0.unwrap();
    let [ModelContent::ToolCall(call)] = &*answer.content else { panic!("{answer:?}") };
    assert_eq!((&*call.name, &*call.arguments), ("Read", r#"{"path":"please Read it"}"#));
    let id = call.id.clone();
    messages.extend([said(answer), returned(&id, "hello")]);
    let request = ModelRequest { tools, ..conversation(messages) };
    assert_eq!(ask(&request).await.1, "The tools returned: hello");
}
