//! Providers, played by a server on loopback that answers as their documents and their users say they do.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod anthropic;
mod offline;
mod openai;
mod provider_server;

use std::sync::Arc;

use dormouse_domain::model::{ModelAnswer, ModelContent, ModelMessage, ModelRequest, ModelRole};
use dormouse_model::{CallFailure, Provider};

/// A request of one message.
fn request(model: &str, text: &str) -> ModelRequest {
    ModelRequest {
        model: model.to_owned(),
        messages: vec![user(vec![ModelContent::Text(text.to_owned())])],
        ..ModelRequest::default()
    }
}

fn user(content: Vec<ModelContent>) -> ModelMessage {
    ModelMessage { role: ModelRole::User, content }
}

fn assistant(content: Vec<ModelContent>) -> ModelMessage {
    ModelMessage { role: ModelRole::Assistant, content }
}

/// Make a call. What came of it, and what was forwarded.
async fn ask(
    provider: &dyn Provider,
    request: &ModelRequest,
) -> (Result<ModelAnswer, CallFailure>, String) {
    let mut forwarded = String::new();
    let answer =
        provider.ask(Arc::new(request.clone()), &mut |text| forwarded.push_str(text)).await;
    (answer, forwarded)
}
