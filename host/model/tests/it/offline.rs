//! The offline model, as whoever asks providers has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dormouse_domain::model::{MAX_ANSWER_BYTES, ModelError, ModelTool, ToolChoice};
use dormouse_model::Offline;

use crate::{ask, request};

const MODEL: &str = "offline";

fn tool(name: &str, schema: &str) -> ModelTool {
    let (name, schema) = (name.to_owned(), schema.to_owned());
    ModelTool { name, description: String::new(), schema }
}

#[tokio::test]
async fn a_long_request_holds_up_nobody_else_of_the_thread() {
    let script = format!("#script\n{}", "say a\n".repeat(200_000));
    let went_on = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&went_on);
    tokio::spawn(async move { seen.store(true, Ordering::SeqCst) });
    let (answer, forwarded) = ask(&Offline, &request(MODEL, &script)).await;
    assert!(went_on.load(Ordering::SeqCst));
    assert_eq!(answer.unwrap().text().len(), 2 * 200_000 - 1);
    assert_eq!(forwarded.len(), 2 * 200_000 - 1);
}

#[tokio::test]
async fn a_long_text_is_read_once_for_all_tools() {
    let mut asked = request(MODEL, &"word ".repeat(400_000));
    asked.tools = (0..1_000).map(|number| tool(&format!("tool-{number}"), "{}")).collect();
    assert!(ask(&Offline, &asked).await.0.unwrap().text().starts_with("you said: word"));
}

#[tokio::test]
async fn an_answer_is_no_larger_than_that_of_any_provider() {
    let many: Vec<String> = (0..100).map(|number| format!("\"{number}\"")).collect();
    let properties: Vec<_> =
        many.iter().map(|name| format!("{name}:{{\"type\":\"string\"}}")).collect();
    let schema =
        format!(r#"{{"properties":{{{}}},"required":[{}]}}"#, properties.join(","), many.join(","));
    let mut asked = request(MODEL, &"x".repeat(1 << 20));
    asked.tools.push(tool("Read", &schema));
    asked.tool_choice = ToolChoice::Any;
    let large = request(MODEL, &"x".repeat(MAX_ANSWER_BYTES));
    let script = request(MODEL, &format!("#script\n{}", "call a\n".repeat(100_000)));
    for asked in [asked, large, script] {
        let failed = ask(&Offline, &asked).await.0.unwrap_err();
        assert!(matches!(failed.error, ModelError::Invalid(_)), "{failed:?}");
    }
}
