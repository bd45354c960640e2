//! Anthropic's Messages.

use std::time::Duration;

use dormouse_domain::model::{
    AnswerFormat, MAX_TEXT_BYTES, ModelContent, ModelError, ModelTool, StopReason, Thinking,
    TokenUsage, ToolCall, ToolResult,
};
use dormouse_model::{Anthropic, Charge, Provider, Secret};
use serde_json::{Value, json};

use crate::provider_server::{ProviderServer, Scripted};
use crate::{ask, assistant, request, user};

const MODEL: &str = "claude-sonnet-4-5";

async fn provider(answers: Vec<Scripted>) -> (ProviderServer, Anthropic) {
    let server = ProviderServer::start(answers).await;
    let key = Some(Secret::new("sk-ant-secret"));
    let provider = Anthropic::new("anthropic", &server.base, key).unwrap();
    (server, provider)
}

fn start() -> Value {
    json!({ "type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "content": [],
        "model": "claude-sonnet-4-5-20250929", "stop_reason": null, "usage": {
            "input_tokens": 25, "output_tokens": 1,
            "cache_creation_input_tokens": 100, "cache_read_input_tokens": 50,
            "cache_creation": { "ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 40 },
        },
    }})
}

fn block(index: u64, block: Value) -> Value {
    json!({ "type": "content_block_start", "index": index, "content_block": block })
}

fn delta(index: u64, delta: Value) -> Value {
    json!({ "type": "content_block_delta", "index": index, "delta": delta })
}

fn text(index: u64, text: &str) -> Value {
    delta(index, json!({ "type": "text_delta", "text": text }))
}

fn end(reason: &str) -> [Value; 2] {
    let stop = json!({ "stop_reason": reason, "stop_sequence": null });
    [
        json!({ "type": "message_delta", "delta": stop, "usage": { "output_tokens": 30 } }),
        json!({ "type": "message_stop" }),
    ]
}

/// An answer of these events, between its start and its end.
fn answer(events: Vec<Value>, reason: &str) -> Scripted {
    let all: Vec<Value> = [start()].into_iter().chain(events).chain(end(reason)).collect();
    Scripted::documents(&all)
}

#[tokio::test]
async fn an_answer_is_assembled_and_its_text_forwarded() {
    let events = vec![
        block(0, json!({ "type": "text", "text": "" })),
        json!({ "type": "ping" }),
        text(0, "Let me "),
        text(0, "look."),
        json!({ "type": "content_block_stop", "index": 0 }),
        block(1, json!({ "type": "tool_use", "id": "toolu_1", "name": "Read", "input": {} })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": "" })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": "{\"path\": \"a" })),
        delta(1, json!({ "type": "input_json_delta", "partial_json": ".txt\"}" })),
        json!({ "type": "an_event_of_the_future" }),
    ];
    let (server, provider) = provider(vec![answer(events, "tool_use")]).await;
    let mut asked = request(MODEL, "what is in a.txt?");
    asked.system = Some("Be brief.".to_owned());
    asked.max_tokens = Some(500);
    asked.tools.push(ModelTool {
        name: "Read".to_owned(),
        description: "Reads a file".to_owned(),
        schema: r#"{"type": "object"}"#.to_owned(),
    });
    let (answer, forwarded) = ask(&provider, &asked).await;
    let answer = answer.unwrap();
    assert_eq!(forwarded, "Let me look.");
    let call = ToolCall {
        id: "toolu_1".to_owned(),
        name: "Read".to_owned(),
        arguments: "{\"path\": \"a.txt\"}".to_owned(),
    };
    assert_eq!(answer.content, [ModelContent::Text(forwarded), ModelContent::ToolCall(call)]);
    assert_eq!((answer.stop, &*answer.model), (StopReason::ToolUse, "claude-sonnet-4-5-20250929"));
    // The tokens of the cache are not among those of the input.
    let usage =
        TokenUsage { input: 25, output: 30, cache_read: 50, cache_write: 60, cache_write_long: 40 };
    assert_eq!(answer.usage, Some(usage));

    let got = &server.got()[0];
    assert!(got.head.starts_with("post /v1/messages http/1.1\r\n"), "{}", got.head);
    assert!(got.head.contains("x-api-key: sk-ant-secret"), "{}", got.head);
    assert!(got.head.contains("anthropic-version: 2023-06-01"), "{}", got.head);
    let ephemeral = json!({ "type": "ephemeral" });
    let expected = json!({
        "model": MODEL, "max_tokens": 500, "stream": true,
        "system": [{ "type": "text", "text": "Be brief.", "cache_control": ephemeral }],
        "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "what is in a.txt?" }] },
        ],
        "tools": [{
            "name": "Read", "description": "Reads a file", "input_schema": { "type": "object" },
        }],
        "tool_choice": { "type": "auto" },
    });
    assert_eq!(got.body, expected);
}

#[tokio::test]
async fn thinking_goes_back_as_it_came_with_the_result_of_the_tool() {
    let sealed = json!({ "type": "redacted_thinking", "data": "EmwKAhgB" });
    let events = vec![
        block(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "Hm, " })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "a file." })),
        delta(0, json!({ "type": "signature_delta", "signature": "EqQBCgIYAhIM" })),
        block(1, sealed.clone()),
        block(2, json!({ "type": "tool_use", "id": "toolu_1", "name": "Read", "input": {} })),
    ];
    let answers = vec![answer(events, "tool_use"), answer(Vec::new(), "end_turn")];
    let (server, provider) = provider(answers).await;
    let mut asked = request(MODEL, "look");
    let (first, forwarded) = ask(&provider, &asked).await;
    let first = first.unwrap();
    assert_eq!(forwarded, "");
    assert!(
        matches!(&first.content[0], ModelContent::Thinking(Thinking { text, .. }) if text == "Hm, a file.")
    );
    let (call, content) = ("toolu_1".to_owned(), "gone".to_owned());
    let result = ModelContent::ToolResult(ToolResult { call, content, is_error: true });
    asked.messages.extend([assistant(first.content), user(vec![result])]);
    ask(&provider, &asked).await.0.unwrap();
    let thinking =
        json!({ "type": "thinking", "thinking": "Hm, a file.", "signature": "EqQBCgIYAhIM" });
    let call = json!({ "type": "tool_use", "id": "toolu_1", "name": "Read", "input": {} });
    let result = json!({
        "type": "tool_result", "tool_use_id": "toolu_1", "content": "gone", "is_error": true,
        "cache_control": { "type": "ephemeral" },
    });
    let messages = &server.got()[1].body["messages"];
    assert_eq!(messages[1]["content"], json!([thinking, sealed, call]));
    assert_eq!(messages[2]["content"], json!([result]));
}

#[tokio::test]
async fn an_error_inside_of_a_stream_is_a_failure() {
    let error = json!({ "type": "error", "error": {
        "type": "overloaded_error", "message": "Overloaded",
    }});
    let cut = vec![
        start(),
        block(0, json!({ "type": "text", "text": "" })),
        text(0, "Once"),
        error.clone(),
    ];
    let answers = vec![Scripted::documents([&error]), Scripted::documents(&cut)];
    let (_server, provider) = provider(answers).await;
    let (failed, _) = ask(&provider, &request(MODEL, "hello")).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.error, ModelError::Overloaded { retry_after: None });
    assert_eq!(failed.charge, Charge::Nothing);
    let (failed, forwarded) = ask(&provider, &request(MODEL, "hello")).await;
    let failed = failed.unwrap_err();
    assert_eq!(forwarded, "Once");
    assert_eq!(failed.error, ModelError::Interrupted { partial: forwarded });
    assert!(matches!(failed.charge, Charge::AtLeast(usage) if usage.input == 25));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_answer() {
    let begun = [start(), block(0, json!({ "type": "text", "text": "" })), text(0, "Once")];
    let closed = Scripted::documents(&begun);
    let answers = vec![closed.clone(), closed.cut(), Scripted::events([]).cut()];
    let (_server, provider) = provider(answers).await;
    for _ in 0..2 {
        let failed = ask(&provider, &request(MODEL, "hello")).await.0.unwrap_err();
        assert_eq!(failed.error, ModelError::Interrupted { partial: "Once".to_owned() });
        assert!(matches!(failed.charge, Charge::AtLeast(_)));
    }
    let failed = ask(&provider, &request(MODEL, "hello")).await.0.unwrap_err();
    assert!(matches!(failed.error, ModelError::Unavailable(_)), "{failed:?}");
    assert_eq!(failed.charge, Charge::Unknown);
}

#[tokio::test]
async fn refusals_are_told_by_their_kind_and_without_the_key() {
    let refusal = |status: &str, kind: &str, message: &str| {
        let error = json!({ "type": kind, "message": message });
        Scripted::document(status, &json!({ "type": "error", "error": error }))
    };
    let soon = Some(Duration::from_secs(7));
    let long = "prompt is too long: 250000 tokens > 200000 maximum";
    let cases = [
        (
            refusal("429 x", "rate_limit_error", "slow"),
            ModelError::RateLimited { retry_after: soon },
        ),
        (
            refusal("529 x", "overloaded_error", "busy"),
            ModelError::Overloaded { retry_after: soon },
        ),
        (
            refusal("400 x", "invalid_request_error", long),
            ModelError::ContextTooLong(long.to_owned()),
        ),
        (
            refusal("404 x", "not_found_error", "model: x"),
            ModelError::Invalid("model: x".to_owned()),
        ),
        (
            refusal("401 x", "authentication_error", "invalid x-api-key: sk-ant-secret"),
            ModelError::NotAllowed(
                "anthropic does not serve this host (401); the operator's log says why".to_owned(),
            ),
        ),
        (
            refusal("410 x", "gone", "no more"),
            ModelError::Unavailable("it answers 410: no more".to_owned()),
        ),
    ];
    let (answers, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let (_server, provider) = provider(answers).await;
    for expected in expected {
        let failed = ask(&provider, &request(MODEL, "hello")).await.0.unwrap_err();
        assert_eq!((failed.error, failed.charge), (expected, Charge::Nothing));
    }
    assert!(!format!("{provider:?}").contains("secret"));
    assert_eq!(provider.name(), "anthropic");
}

#[tokio::test]
async fn what_a_gateway_says_after_it_may_have_passed_the_request_on_may_have_been_paid() {
    let statuses = ["408 x", "500 x", "502 x", "504 x", "524 x"];
    let answers = statuses.map(|status| Scripted::raw(status, "text/html", "<html>sorry</html>"));
    let (_server, provider) = provider(answers.into()).await;
    for status in statuses {
        let failed = ask(&provider, &request(MODEL, "hello")).await.0.unwrap_err();
        assert!(matches!(failed.error, ModelError::Unavailable(_)), "{failed:?}");
        assert_eq!(failed.charge, Charge::Unknown, "{status}");
    }
}

#[tokio::test]
async fn what_breaks_off_after_its_start_may_have_been_paid() {
    let error = json!({ "type": "error", "error": { "type": "api_error", "message": "died" } });
    let silent = json!({ "type": "message_start", "message": { "model": MODEL } });
    let answers = vec![
        Scripted::documents([&error]),
        Scripted::documents([&silent, &error]),
        Scripted::events(["no document"]),
    ];
    let (_server, provider) = provider(answers).await;
    for _ in 0..3 {
        let failed = ask(&provider, &request(MODEL, "hello")).await.0.unwrap_err();
        assert!(matches!(failed.error, ModelError::Unavailable(_)), "{failed:?}");
        assert_eq!(failed.charge, Charge::Unknown);
    }
}

#[tokio::test]
async fn a_pause_and_a_refusal_of_the_model_are_told() {
    let answers = vec![answer(Vec::new(), "pause_turn"), answer(Vec::new(), "refusal")];
    let (_server, provider) = provider(answers).await;
    for stop in [StopReason::Pause, StopReason::Refusal] {
        assert_eq!(ask(&provider, &request(MODEL, "hello")).await.0.unwrap().stop, stop);
    }
}

#[tokio::test]
async fn an_answer_of_a_schema_comes_as_its_document() {
    let events = vec![
        block(0, json!({ "type": "tool_use", "id": "toolu_1", "name": "answer", "input": {} })),
        delta(0, json!({ "type": "input_json_delta", "partial_json": "{\"ok\": true}" })),
    ];
    let (server, provider) = provider(vec![answer(events, "tool_use")]).await;
    let mut asked = request(MODEL, "is it?");
    asked.format = AnswerFormat::Schema(r#"{"type": "object"}"#.to_owned());
    let answer = ask(&provider, &asked).await.0.unwrap();
    assert_eq!((&*answer.text(), answer.stop), ("{\"ok\": true}", StopReason::End));
    assert_eq!(server.got()[0].body["tool_choice"], json!({ "type": "tool", "name": "answer" }));
}

#[tokio::test]
async fn an_answer_of_a_schema_that_was_cut_off_is_told_as_such() {
    let begun = || {
        vec![
            block(0, json!({ "type": "tool_use", "id": "toolu_1", "name": "answer", "input": {} })),
            delta(0, json!({ "type": "input_json_delta", "partial_json": "{\"ok\": tr" })),
        ]
    };
    let answers = vec![answer(begun(), "max_tokens"), answer(begun(), "refusal")];
    let (_server, provider) = provider(answers).await;
    let mut asked = request(MODEL, "is it?");
    asked.format = AnswerFormat::Schema(r#"{"type": "object"}"#.to_owned());
    for stop in [StopReason::MaxTokens, StopReason::Refusal] {
        let answer = ask(&provider, &asked).await.0.unwrap();
        assert_eq!((&*answer.text(), answer.stop), ("{\"ok\": tr", stop));
    }
}

#[tokio::test]
async fn a_tool_of_the_agent_may_have_the_name_of_an_answer() {
    let events =
        vec![block(0, json!({ "type": "tool_use", "id": "t", "name": "answer", "input": {} }))];
    let (server, provider) = provider(vec![answer(events, "tool_use")]).await;
    let mut asked = request(MODEL, "is it?");
    asked.format = AnswerFormat::Schema(r#"{"type": "object"}"#.to_owned());
    asked.tools.push(ModelTool {
        name: "answer".to_owned(),
        description: "Answers the door".to_owned(),
        schema: "{}".to_owned(),
    });
    let answer = ask(&provider, &asked).await.0.unwrap();
    assert!(matches!(&*answer.content, [ModelContent::ToolCall(_)]), "{answer:?}");
    let tools = &server.got()[0].body["tools"];
    assert_ne!(tools[0]["name"], tools[1]["name"]);
}

#[tokio::test]
async fn what_a_model_says_can_always_go_back() {
    let tool = |index: u64, id: &str, name: &str| {
        block(index, json!({ "type": "tool_use", "id": id, "name": name, "input": {} }))
    };
    let arguments = |index: u64, json: &str| {
        delta(index, json!({ "type": "input_json_delta", "partial_json": json }))
    };
    let malformed = vec![
        block(0, json!({ "type": "text", "text": "" })),
        tool(1, "a", "Read"),
        arguments(1, "{\"path\": "),
        tool(2, "b", "Read"),
        arguments(2, "[1]"),
        tool(3, "", "Read"),
        tool(4, "c", ""),
    ];
    let thinking = json!({ "type": "thinking", "thinking": "Hm", "signature": "" });
    let cut = vec![block(0, thinking), tool(1, "a", "Read"), arguments(1, "{\"path\": ")];
    let long = "x".repeat(MAX_TEXT_BYTES + 1);
    let answers = vec![
        answer(malformed, "tool_use"),
        answer(cut, "max_tokens"),
        answer(vec![tool(0, "c", "")], "tool_use"),
        answer(vec![block(0, json!({ "type": "text", "text": long }))], "end_turn"),
    ];
    let (_server, provider) = provider(answers).await;
    let call = |id: &str| {
        let (id, name, arguments) = (id.to_owned(), "Read".to_owned(), "{}".to_owned());
        ModelContent::ToolCall(ToolCall { id, name, arguments })
    };
    let text = |text: &str| ModelContent::Text(text.to_owned());
    let expected = [
        (vec![call("a"), call("b"), call("call_1_2")], StopReason::ToolUse),
        (vec![], StopReason::MaxTokens),
        (vec![], StopReason::End),
        (vec![text(&long[1..]), text("x")], StopReason::End),
    ];
    for expected in expected {
        let answer = ask(&provider, &request(MODEL, "look")).await.0.unwrap();
        assert!((answer.content, answer.stop) == expected, "{:?}", expected.1);
    }
}

#[tokio::test]
async fn only_what_may_be_marked_for_the_cache_is() {
    let thinking = |block: &str| {
        let (text, block) = (String::new(), block.to_owned());
        ModelContent::Thinking(Thinking { text, block })
    };
    let done = || answer(Vec::new(), "end_turn");
    let (server, provider) = provider(vec![done(), done()]).await;
    let mut asked = request(MODEL, "look");
    let sealed = r#"{"type":"redacted_thinking","data":"E"}"#;
    asked.messages.push(assistant(vec![ModelContent::Text("I".to_owned()), thinking(sealed)]));
    ask(&provider, &asked).await.0.unwrap();
    let messages = &server.got()[0].body["messages"];
    assert_eq!(messages[1]["content"][1], json!({ "type": "redacted_thinking", "data": "E" }));
    assert_eq!(messages[1]["content"][0]["cache_control"], json!({ "type": "ephemeral" }));
    asked.messages[1] = assistant(vec![thinking("5")]);
    let failed = ask(&provider, &asked).await.0.unwrap_err();
    assert!(matches!(failed.error, ModelError::Invalid(_)), "{failed:?}");
}

#[tokio::test]
async fn texts_without_a_character_stay_at_home() {
    let (server, provider) = provider(vec![answer(Vec::new(), "end_turn")]).await;
    let text = |text: &str| ModelContent::Text(text.to_owned());
    let mut asked = request(MODEL, "look");
    asked.messages.extend([assistant(vec![text(" \n")]), user(vec![text(""), text("again")])]);
    ask(&provider, &asked).await.0.unwrap();
    let messages = &server.got()[0].body["messages"];
    let again =
        json!({ "type": "text", "text": "again", "cache_control": { "type": "ephemeral" } });
    assert_eq!(messages[1], json!({ "role": "user", "content": [again] }));
}

#[tokio::test]
async fn an_answer_that_comes_as_one_document_is_one() {
    let mut document = start()["message"].take();
    document["content"] = json!([{ "type": "text", "text": "hello" }]);
    document["stop_reason"] = json!("end_turn");
    let (_server, provider) = provider(vec![Scripted::document("200 OK", &document)]).await;
    let (answer, forwarded) = ask(&provider, &request(MODEL, "hello")).await;
    assert_eq!((answer.unwrap().text(), &*forwarded), ("hello".to_owned(), "hello"));
}
