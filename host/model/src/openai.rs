//! OpenAI's Chat Completions, and what others serve under that name: Ollama, vLLM, OpenRouter and their kin.
//!
//! What surprises: usage comes in an event without choices, if at all; calls of tools come without their index
//! or their id, or whole in one event; errors come inside of streams and documents that began with 200; a
//! stream may end without `[DONE]`.

mod request;
mod stream;

use std::io;
use std::sync::Arc;

use super::endpoint::{Answer, Endpoint, InvalidEndpoint, KeyHeader, Refusal, Secret};
use super::events;
use super::provider::{CallFailure, Forward, Provider, ProviderFuture};
use dormouse_domain::model::{ModelAnswer, ModelError, ModelRequest};
use request::Dialect;
use stream::Assembly;

/// The public address of OpenAI.
pub const OPENAI: &str = "https://api.openai.com/v1";

/// A provider that speaks OpenAI's Chat Completions.
#[derive(Clone, Debug)]
pub struct OpenAi {
    endpoint: Endpoint,
    dialect: Dialect,
}

impl OpenAi {
    /// The provider of this name, at this address, with this key.
    ///
    /// # Errors
    /// Where the address or the key cannot be used.
    pub fn new(name: &str, base: &str, key: Option<Secret>) -> Result<OpenAi, InvalidEndpoint> {
        let endpoint = Endpoint::new(name, base, "chat/completions", key, KeyHeader::Bearer)?;
        Ok(OpenAi { endpoint, dialect: Dialect::of(base) })
    }

    async fn call(
        &self,
        request: Arc<ModelRequest>,
        forward: Forward<'_>,
    ) -> Result<ModelAnswer, CallFailure> {
        let dialect = self.dialect;
        let mut assembly = Assembly::new(&self.endpoint, &request);
        let write = move |into: &mut dyn io::Write| request::write(&request, dialect, into);
        match self.endpoint.post(write, refused).await? {
            Answer::Stream(bytes) => {
                let read = events::each(bytes, |data| assembly.event(data, &mut *forward)).await;
                assembly.end(read)
            }
            Answer::Document(document) => assembly.document(&document, forward),
        }
    }
}

impl Provider for OpenAi {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn ask<'a>(&'a self, request: Arc<ModelRequest>, forward: Forward<'a>) -> ProviderFuture<'a> {
        Box::pin(self.call(request, forward))
    }
}

/// What a refusal means.
fn refused(refusal: &Refusal) -> ModelError {
    let Refusal { status, kind, code, message, retry_after, .. } = refusal;
    let (message, retry_after) = (message.clone(), *retry_after);
    if code == "context_length_exceeded" {
        return ModelError::ContextTooLong(message);
    }
    // No money is left there: to ask again is of no use.
    if code == "insufficient_quota" || kind == "insufficient_quota" {
        return refusal.not_allowed();
    }
    if matches!(code.as_str(), "content_filter" | "content_policy_violation") {
        return ModelError::Refused(message);
    }
    match status.as_u16() {
        429 => ModelError::RateLimited { retry_after },
        503 | 529 => ModelError::Overloaded { retry_after },
        401..=403 => refusal.not_allowed(),
        413 => ModelError::ContextTooLong(message),
        400 | 404 | 422 => ModelError::Invalid(message),
        status => ModelError::Unavailable(format!("it answers {status}: {message}")),
    }
}
