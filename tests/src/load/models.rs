//! What the gate to the outside world costs: calls of models through it beside the same calls made directly, to a
//! provider on loopback that answers at once.

mod calls;
mod family;
mod first_token;
mod plain;
mod replay;

use std::path::Path;

use anyhow::Result;
use dormouse::model::{ModelContent, ModelMessage, ModelRequest, ModelRole};
use dormouse_test_guests as guests;

use super::Options;
use super::provider::{Pace, Provider};
use super::report::Report;
use super::running::Running;

/// The model that is asked: it has a list price.
pub(super) const MODEL: &str = "gpt-5-mini";
/// What is asked.
const QUESTION: &str = "How are you today? I am a message of some sixty characters.";
/// A session with the guest that asks models.
const THINKS: &str = r#"{"agent": "thinks", "pattern": "long-running"}"#;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let provider = Provider::start(Pace::AtOnce)?;
    calls::measure(options, report, &provider).await?;
    first_token::measure(options, report, &provider).await?;
    replay::measure(options, report, &provider).await?;
    family::measure(options, report, &provider).await?;
    plain::measure(options, report).await
}

/// A host that asks this provider, and has the guest that asks models.
async fn start(options: &Options, directory: &Path, provider: &Provider) -> Result<Running> {
    let running = again(options, directory, provider).await?;
    running.upload("thinks", &guests::THINKS).await?;
    Ok(running)
}

/// The same on a directory that has it.
async fn again(options: &Options, directory: &Path, provider: &Provider) -> Result<Running> {
    let arguments = provider.arguments(MODEL);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Running::start_with(&options.binary()?, directory, &arguments).await
}

/// The request that the guest makes when it is told to ask.
fn request() -> ModelRequest {
    let content = vec![ModelContent::Text(QUESTION.to_owned())];
    let message = ModelMessage { role: ModelRole::User, content };
    ModelRequest { model: MODEL.to_owned(), messages: vec![message], ..ModelRequest::default() }
}

/// The body of a message that has the guest follow these lines.
fn script(lines: &str, streaming: bool) -> String {
    serde_json::json!({ "prompt": lines, "streaming": streaming }).to_string()
}
