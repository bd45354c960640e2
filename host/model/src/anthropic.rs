//! Anthropic's Messages.
//!
//! What surprises: `error` events come inside of streams that began with 200; `input_tokens` has no cached
//! tokens in it; blocks of thinking go back as they came, or the request is refused.

mod request;
mod stream;

use std::io;
use std::sync::Arc;

use super::endpoint::{Answer, Endpoint, InvalidEndpoint, KeyHeader, Refusal, Secret};
use super::events;
use super::provider::{CallFailure, Forward, Provider, ProviderFuture};
use dormouse_domain::model::{ModelAnswer, ModelError, ModelRequest};
use stream::Assembly;

/// The public address.
pub const ANTHROPIC: &str = "https://api.anthropic.com/v1";
const VERSION: &str = "2023-06-01";

/// A provider that speaks Anthropic's Messages.
#[derive(Clone, Debug)]
pub struct Anthropic {
    endpoint: Endpoint,
}

impl Anthropic {
    /// The provider of this name, at this address, with this key.
    ///
    /// # Errors
    /// Where the address or the key cannot be used.
    pub fn new(name: &str, base: &str, key: Option<Secret>) -> Result<Anthropic, InvalidEndpoint> {
        let endpoint = Endpoint::new(name, base, "messages", key, KeyHeader::ApiKey)?;
        Ok(Anthropic { endpoint: endpoint.with_header("anthropic-version", VERSION) })
    }

    async fn call(
        &self,
        request: Arc<ModelRequest>,
        forward: Forward<'_>,
    ) -> Result<ModelAnswer, CallFailure> {
        let mut assembly = Assembly::new(&self.endpoint, &request);
        let write = move |into: &mut dyn io::Write| request::write(&request, into);
        match self.endpoint.post(write, refused).await? {
            Answer::Stream(bytes) => {
                let read = events::each(bytes, |data| assembly.event(data, &mut *forward)).await;
                assembly.end(read)
            }
            Answer::Document(document) => assembly.document(&document, forward),
        }
    }
}

impl Provider for Anthropic {
    fn name(&self) -> &str {
        self.endpoint.name()
    }

    fn ask<'a>(&'a self, request: Arc<ModelRequest>, forward: Forward<'a>) -> ProviderFuture<'a> {
        Box::pin(self.call(request, forward))
    }
}

/// What a refusal means.
fn refused(refusal: &Refusal) -> ModelError {
    of_kind(&refusal.kind, refusal)
}

/// What an error of this kind means, in a refusal or in a stream.
fn of_kind(kind: &str, refusal: &Refusal) -> ModelError {
    let Refusal { status, message, retry_after, .. } = refusal;
    let (message, retry_after) = (message.clone(), *retry_after);
    match kind {
        "rate_limit_error" => ModelError::RateLimited { retry_after },
        "overloaded_error" => ModelError::Overloaded { retry_after },
        "invalid_request_error" if message.contains("prompt is too long") => {
            ModelError::ContextTooLong(message)
        }
        "request_too_large" => ModelError::ContextTooLong(message),
        "invalid_request_error" | "not_found_error" => ModelError::Invalid(message),
        "authentication_error" | "permission_error" | "billing_error" => refusal.not_allowed(),
        _ => match status.as_u16() {
            429 => ModelError::RateLimited { retry_after },
            503 | 529 => ModelError::Overloaded { retry_after },
            401..=403 => refusal.not_allowed(),
            413 => ModelError::ContextTooLong(message),
            400 | 404 | 422 => ModelError::Invalid(message),
            status => ModelError::Unavailable(format!("it answers {status}: {message}")),
        },
    }
}
