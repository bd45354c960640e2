//! OpenAI's Chat Completions, and what others serve under that name.

use std::time::Duration;

use dormouse_domain::model::{
    AnswerFormat, MAX_ANSWER_BYTES, ModelContent, ModelError, ModelTool, StopReason, TokenUsage,
    ToolCall, ToolResult,
};
use dormouse_model::{Charge, OpenAi, Secret};
use serde_json::{Value, json};

use crate::provider_server::{ProviderServer, Scripted};
use crate::{ask, assistant, request, user};

const MODEL: &str = "gpt-4o";

async fn provider(answers: Vec<Scripted>) -> (ProviderServer, OpenAi) {
    let server = ProviderServer::start(answers).await;
    let provider = OpenAi::new("openai", &server.base, Some(Secret::new("sk-secret"))).unwrap();
    (server, provider)
}

fn chunk(delta: Value, finish_reason: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
    json!({ "id": "c", "object": "chat.completion.chunk", "model": "gpt-4o-2024-08-06", "choices": [choice] })
        .to_string()
}

fn events(chunks: &[String]) -> Scripted {
    Scripted::events(chunks.iter().map(String::as_str))
}

fn call(id: &str, name: &str, arguments: &str) -> ModelContent {
    let (id, name, arguments) = (id.to_owned(), name.to_owned(), arguments.to_owned());
    ModelContent::ToolCall(ToolCall { id, name, arguments })
}

#[tokio::test]
async fn an_answer_is_assembled_and_usage_comes_without_a_choice() {
    let usage = json!({ "choices": [], "usage": {
        "prompt_tokens": 100, "completion_tokens": 20,
        "prompt_tokens_details": { "cached_tokens": 64 },
    }});
    let chunks = [
        chunk(json!({ "role": "assistant", "content": "" }), None),
        chunk(json!({ "content": "Let me look." }), None),
        chunk(
            json!({ "tool_calls": [
                { "index": 0, "id": "call_a", "type": "function", "function": { "name": "Read", "arguments": "" } },
            ]}),
            None,
        ),
        chunk(
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"path\":" } }] }),
            None,
        ),
        chunk(
            json!({ "tool_calls": [
                { "index": 1, "id": "call_b", "function": { "name": "List", "arguments": "{}" } },
            ]}),
            None,
        ),
        chunk(
            json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "\"a\"}" } }] }),
            None,
        ),
        chunk(json!({}), Some("tool_calls")),
        usage.to_string(),
        "[DONE]".to_owned(),
    ];
    let (server, provider) = provider(vec![events(&chunks)]).await;
    let mut asked = request(MODEL, "what is there?");
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
    let calls = [call("call_a", "Read", "{\"path\":\"a\"}"), call("call_b", "List", "{}")];
    assert_eq!(answer.content[1..], calls);
    assert_eq!((answer.stop, &*answer.model), (StopReason::ToolUse, "gpt-4o-2024-08-06"));
    let usage = TokenUsage { input: 36, output: 20, cache_read: 64, ..TokenUsage::default() };
    assert_eq!(answer.usage, Some(usage));
    let got = &server.got()[0];
    assert!(got.head.starts_with("post /v1/chat/completions "), "{}", got.head);
    assert!(got.head.contains("authorization: bearer sk-secret"), "{}", got.head);
    let expected = json!({
        "model": MODEL, "max_tokens": 500, "stream": true,
        "stream_options": { "include_usage": true },
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "what is there?" },
        ],
        "tools": [{ "type": "function", "function": {
            "name": "Read", "description": "Reads a file", "parameters": { "type": "object" },
        }}],
        "tool_choice": "auto",
    });
    assert_eq!(got.body, expected);
}

#[tokio::test]
async fn calls_of_tools_are_found_without_index_and_without_id() {
    let whole = |name: &str, arguments: Value| json!({ "tool_calls": [{ "function": { "name": name, "arguments": arguments } }] });
    let chunks = [
        chunk(whole("Read", json!("{\"path\":\"a\"}")), None),
        chunk(whole("Read", json!({ "path": "b" })), Some("stop")),
    ];
    let (_server, provider) = provider(vec![events(&chunks)]).await;
    let answer = ask(&provider, &request(MODEL, "look")).await.0.unwrap();
    let calls = [
        call("call_1_0", "Read", "{\"path\":\"a\"}"),
        call("call_1_1", "Read", "{\"path\":\"b\"}"),
    ];
    assert_eq!(answer.content, calls);
    // It said `stop`, it gave no usage, and it did not say that it is done.
    assert_eq!((answer.stop, answer.usage), (StopReason::ToolUse, None));
}

#[tokio::test]
async fn calls_of_tools_are_told_apart_by_their_ids_where_all_have_the_same_index() {
    let begin = |id: &str| json!({ "tool_calls": [{ "index": 0, "id": id, "function": { "name": "Read", "arguments": "" } }] });
    let more = |arguments: &str| json!({ "tool_calls": [{ "index": 0, "function": { "arguments": arguments } }] });
    let chunks = [
        chunk(begin("a"), None),
        chunk(more("{\"path\":"), None),
        chunk(more("1}"), None),
        chunk(begin("b"), None),
        chunk(more("{\"path\":2}"), Some("tool_calls")),
    ];
    let (_server, provider) = provider(vec![events(&chunks)]).await;
    let answer = ask(&provider, &request(MODEL, "look")).await.0.unwrap();
    let calls = [call("a", "Read", "{\"path\":1}"), call("b", "Read", "{\"path\":2}")];
    assert_eq!(answer.content, calls);
}

#[tokio::test]
async fn what_a_model_says_can_always_go_back() {
    let tool = |id: &str, name: &str, arguments: &str| json!({ "id": id, "function": { "name": name, "arguments": arguments } });
    let said = |calls: Vec<Value>, stop: &str| {
        events(&[chunk(json!({ "tool_calls": calls }), Some(stop))])
    };
    let answers = vec![
        said(vec![tool("a", "Read", "{\"path\": "), tool("b", "", "{}")], "tool_calls"),
        said(vec![tool("a", "Read", "{}"), tool("b", "Read", "{\"path\": ")], "length"),
        said(vec![tool("b", "", "{}")], "tool_calls"),
    ];
    let (_server, provider) = provider(answers).await;
    let expected = [StopReason::ToolUse, StopReason::MaxTokens];
    for stop in expected {
        let answer = ask(&provider, &request(MODEL, "look")).await.0.unwrap();
        assert_eq!((answer.content, answer.stop), (vec![call("a", "Read", "{}")], stop));
    }
    let answer = ask(&provider, &request(MODEL, "look")).await.0.unwrap();
    assert_eq!((answer.content, answer.stop), (vec![], StopReason::End));
}

#[tokio::test]
async fn thinking_that_was_streamed_may_have_been_paid() {
    let error = json!({ "error": { "message": "slow down", "code": 429 } });
    let thought = chunk(json!({ "reasoning_content": "Hm." }), None);
    let answers = vec![events(&[thought, error.to_string()]), events(&[error.to_string()])];
    let (_server, provider) = provider(answers).await;
    for charge in [Charge::Unknown, Charge::Nothing] {
        let failed = ask(&provider, &request(MODEL, "hi")).await.0.unwrap_err();
        assert_eq!(failed.error, ModelError::RateLimited { retry_after: None });
        assert_eq!(failed.charge, charge);
    }
}

#[tokio::test]
async fn lines_of_a_stream_that_nobody_knows_are_passed_over() {
    let done = chunk(json!({ "content": "hello" }), Some("stop"));
    let body = format!(
        "\u{feff}: hi\r\nnonsense\r\nx-trace: 1\r\nretry: soon\r\ndata:{done}\r\n\r\ndata: [DONE]\n\n"
    );
    let (_server, provider) =
        provider(vec![Scripted::raw("200 OK", "text/event-stream", &body)]).await;
    assert_eq!(ask(&provider, &request(MODEL, "hi")).await.0.unwrap().text(), "hello");
}

#[tokio::test]
async fn documents_of_the_agent_go_out_as_they_were_written() {
    let done = events(&[chunk(json!({ "content": "ok" }), Some("stop"))]);
    let (server, provider) = provider(vec![done]).await;
    let schema = r#"{"type": "object", "b": 12345678901234567890123, "a": {"":0}, "a": {"":0}}"#;
    let mut asked = request(MODEL, "hi");
    asked.tools.push(ModelTool {
        name: "Read".to_owned(),
        description: "Reads".to_owned(),
        schema: schema.to_owned(),
    });
    asked.format = AnswerFormat::Schema(schema.to_owned());
    ask(&provider, &asked).await.0.unwrap();
    assert_eq!(server.got()[0].text.matches(schema).count(), 2, "{}", server.got()[0].text);
}

#[tokio::test]
async fn an_answer_that_comes_as_one_document_is_one() {
    let document = json!({ "model": "llama3", "choices": [{
        "index": 0, "finish_reason": "length", "message": { "role": "assistant", "content": "hello" },
    }], "usage": { "prompt_tokens": 3, "completion_tokens": 1 }});
    let (_server, provider) = provider(vec![Scripted::document("200 OK", &document)]).await;
    let (answer, forwarded) = ask(&provider, &request("llama3", "hi")).await;
    let answer = answer.unwrap();
    assert_eq!((&*answer.text(), &*forwarded), ("hello", "hello"));
    assert_eq!((answer.stop, &*answer.model), (StopReason::MaxTokens, "llama3"));
}

#[tokio::test]
async fn errors_in_place_of_an_answer_and_in_the_middle_of_one_are_failures() {
    let error =
        json!({ "error": { "message": "The engine died", "type": "internal", "code": 500 } });
    let old = json!({ "object": "error", "error": "no slot is free" });
    let begun = [chunk(json!({ "content": "Once" }), None), error.to_string()];
    let answers = vec![
        Scripted::document("200 OK", &error),
        Scripted::document("200 OK", &old),
        events(&begun),
    ];
    let (_server, provider) = provider(answers).await;
    for why in ["it answers 500: The engine died", "it answers 500: no slot is free"] {
        let failed = ask(&provider, &request(MODEL, "hi")).await.0.unwrap_err();
        assert_eq!(failed.error, ModelError::Unavailable(why.to_owned()));
        assert_eq!(failed.charge, Charge::Unknown);
    }
    let failed = ask(&provider, &request(MODEL, "hi")).await.0.unwrap_err();
    assert_eq!(failed.error, ModelError::Interrupted { partial: "Once".to_owned() });
    assert_eq!(failed.charge, Charge::Unknown);
}

#[tokio::test]
async fn refusals_are_told_by_their_kind() {
    let refusal = |status: &str, code: &str, message: &str| {
        let error = json!({ "message": message, "type": "x", "code": code });
        Scripted::document(status, &json!({ "error": error }))
    };
    let soon = Some(Duration::from_secs(7));
    let told = |text: &str| text.to_owned();
    let cases = [
        (
            refusal("429 x", "rate_limit_exceeded", "slow"),
            ModelError::RateLimited { retry_after: soon },
        ),
        (
            refusal("429 x", "insufficient_quota", "pay"),
            ModelError::NotAllowed(told(
                "openai does not serve this host (429); the operator's log says why",
            )),
        ),
        (
            refusal("400 x", "context_length_exceeded", "long"),
            ModelError::ContextTooLong(told("long")),
        ),
        (refusal("404 x", "model_not_found", "which?"), ModelError::Invalid(told("which?"))),
        (
            refusal("401 x", "invalid_api_key", "no: sk-secret"),
            ModelError::NotAllowed(told(
                "openai does not serve this host (401); the operator's log says why",
            )),
        ),
        (refusal("503 x", "", "later"), ModelError::Overloaded { retry_after: soon }),
    ];
    let (answers, expected): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let (_server, provider) = provider(answers).await;
    for expected in expected {
        let failed = ask(&provider, &request(MODEL, "hi")).await.0.unwrap_err();
        assert_eq!((failed.error, failed.charge), (expected, Charge::Nothing));
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told_in_few_words() {
    let html = format!("<html>{}</html>", "x".repeat(100_000));
    let answers = vec![
        Scripted::raw("200 OK", "text/html", &html),
        Scripted::events(["{\"choices\": ["]),
        Scripted::events([]),
    ];
    let (_server, provider) = provider(answers).await;
    for _ in 0..3 {
        let failed = ask(&provider, &request(MODEL, "hi")).await.0.unwrap_err();
        let ModelError::Unavailable(why) = failed.error else { panic!("{failed:?}") };
        assert!(why.len() < 1_000, "{}", why.len());
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let piece = chunk(json!({ "content": "x".repeat(1 << 20) }), None);
    let nothing = chunk(json!({ "tool_calls": vec![json!({}); 100_000] }), None);
    let answers = vec![events(&vec![piece; 16]), events(&[nothing])];
    let (_server, provider) = provider(answers).await;
    let (failed, forwarded) = ask(&provider, &request(MODEL, "hi")).await;
    assert!(matches!(failed.unwrap_err().error, ModelError::Interrupted { .. }));
    assert!(forwarded.len() <= MAX_ANSWER_BYTES + (1 << 20), "{}", forwarded.len());
    assert!(ask(&provider, &request(MODEL, "hi")).await.0.is_err());
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_not_paid() {
    let (server, _) = provider(Vec::new()).await;
    let gone = OpenAi::new("gone", "http://127.0.0.1:9/v1", None).unwrap();
    let failed = ask(&gone, &request(MODEL, "hi")).await.0.unwrap_err();
    assert_eq!(failed.error, ModelError::Unavailable("gone: it cannot be reached".to_owned()));
    assert_eq!((failed.charge, server.got().len()), (Charge::NotReached, 0));
}

#[tokio::test]
async fn a_conversation_goes_back_in_the_words_of_the_interface() {
    let done = || events(&[chunk(json!({ "content": "ok" }), Some("stop"))]);
    let (server, provider) = provider(vec![done(), done()]).await;
    let image = ModelContent::Image { media_type: "image/png".to_owned(), data: vec![1, 2, 3] };
    let returned = |call: &str, content: &str, is_error| {
        let (call, content) = (call.to_owned(), content.to_owned());
        ModelContent::ToolResult(ToolResult { call, content, is_error })
    };
    let mut asked = request(MODEL, "look");
    asked.messages.extend([
        assistant(vec![
            ModelContent::Text("I look.".to_owned()),
            call("a", "Read", "{}"),
            call("b", "Read", "{}"),
        ]),
        user(vec![returned("a", "hello", false), returned("b", "gone", true)]),
        assistant(vec![ModelContent::Text("It says hello.".to_owned())]),
        user(vec![ModelContent::Text("and this?".to_owned()), image]),
    ]);
    asked.format = AnswerFormat::Schema(r#"{"type": "object"}"#.to_owned());
    ask(&provider, &asked).await.0.unwrap();
    let tool_call = |id: &str| json!({ "id": id, "type": "function", "function": { "name": "Read", "arguments": "{}" } });
    let got = &server.got()[0].body;
    let expected = json!([
        { "role": "user", "content": "look" },
        { "role": "assistant", "content": "I look.", "tool_calls": [tool_call("a"), tool_call("b")] },
        { "role": "tool", "tool_call_id": "a", "content": "hello" },
        { "role": "tool", "tool_call_id": "b", "content": "error: gone" },
        { "role": "assistant", "content": "It says hello." },
        { "role": "user", "content": [
            { "type": "text", "text": "and this?" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,AQID" } },
        ]},
    ]);
    assert_eq!(got["messages"], expected);
    assert_eq!(got["response_format"]["json_schema"]["strict"], true);
    asked.messages.push(assistant(vec![call("c", "Read", "{")]));
    let failed = ask(&provider, &asked).await.0.unwrap_err();
    assert!(matches!(failed.error, ModelError::Invalid(_)), "{failed:?}");
    assert_eq!(server.got().len(), 1);
}
