//! One address of a provider: requests go to it, and streams of events come back, within bounds.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde_json::Value;

use crate::body::BodyRoom;
use crate::provider::{CallFailure, Charge};
use dormouse_domain::model::{MAX_ANSWER_BYTES, ModelError};

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a provider may send nothing once its stream has begun. Before, a model is loaded, or thinks.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a provider may take to say why it refuses a request.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a call may take. Who makes it sees to that.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(600);
/// The most of a refusal that is read, in bytes.
const MAX_REFUSAL_BYTES: usize = 64 << 10;
/// The most of a stream that is read, in bytes: an event of one token has a frame of some two hundred.
const MAX_STREAM_BYTES: usize = 8 * MAX_ANSWER_BYTES;
/// The most of a refusal that is told, in bytes.
const MAX_TOLD_BYTES: usize = 500;

/// A key of a provider. It is never shown.
#[derive(Clone)]
pub struct Secret(Arc<str>);

impl Secret {
    /// This key.
    #[must_use]
    pub fn new(key: &str) -> Secret {
        Secret(key.trim().into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Where a provider is asked, and with which key.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    name: String,
    client: Client,
    url: Url,
    headers: HeaderMap,
    key: Option<Secret>,
    bodies: BodyRoom,
    silence: Duration,
}

/// An address or a key that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// The address is none.
    #[error("`{0}` is no address: it begins with http:// or https://")]
    Url(String),
    /// The key has characters that no header can have.
    #[error("the key of `{0}` has characters that no key has")]
    Key(String),
    /// TLS cannot be set up.
    #[error("no client for HTTPS can be made: {0}")]
    Client(String),
}

/// How a provider takes its key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyHeader {
    /// `authorization: Bearer …`
    Bearer,
    /// `x-api-key: …`
    ApiKey,
}

impl Endpoint {
    /// The provider of this name, at `path` below this address, such as `https://api.example.org/v1`.
    pub(crate) fn new(
        name: &str,
        base: &str,
        path: &str,
        key: Option<Secret>,
        header: KeyHeader,
    ) -> Result<Endpoint, InvalidEndpoint> {
        let invalid = || InvalidEndpoint::Url(base.to_owned());
        let url = format!("{}/{path}", base.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|_| invalid())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(invalid());
        }
        let mut headers = HeaderMap::new();
        if let Some(Secret(key)) = &key {
            let (name_of_header, text) = match header {
                KeyHeader::Bearer => (AUTHORIZATION, format!("Bearer {key}")),
                KeyHeader::ApiKey => (HeaderName::from_static("x-api-key"), key.to_string()),
            };
            let value = HeaderValue::from_str(&text);
            let mut value = value.map_err(|_| InvalidEndpoint::Key(name.to_owned()))?;
            value.set_sensitive(true);
            headers.insert(name_of_header, value);
        }
        let (name, client, bodies) = (name.to_owned(), client()?, BodyRoom::new());
        Ok(Endpoint { name, client, url, headers, key, bodies, silence: SILENCE_TIMEOUT })
    }

    /// The same with one header more in each request.
    pub(crate) fn with_header(mut self, name: &'static str, value: &'static str) -> Endpoint {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// The name of the provider.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Send the request that `write` writes. What the provider refuses is told by `refused`, from the status and the
    /// document of the refusal, where it is one.
    pub(crate) async fn post(
        &self,
        write: impl Fn(&mut dyn io::Write) -> Result<(), ModelError> + Send + Sync + 'static,
        refused: impl Fn(&Refusal) -> ModelError,
    ) -> Result<Answer, CallFailure> {
        let body = self.bodies.body(write).await.map_err(CallFailure::free)?;
        let request = self.client.post(self.url.clone()).headers(self.headers.clone());
        let request = request.header(CONTENT_TYPE, "application/json");
        let request = request.header(ACCEPT, "text/event-stream, application/json");
        let request = request.header(CONTENT_LENGTH, body.size());
        let sent = request.body(body.into_stream()).send().await;
        let response = sent.map_err(|error| self.not_sent(&error))?;
        if !response.status().is_success() {
            let refusal = self.refusal(response).await;
            let error = refused(&refusal);
            return Err(refusal.failure(error));
        }
        let is_stream = media_type(&response).is_some_and(|it| it == "text/event-stream");
        let chunks = response.bytes_stream();
        if is_stream {
            let chunks = unless_silent(bounded(chunks, MAX_STREAM_BYTES), self.silence);
            return Ok(Answer::Stream(Box::pin(chunks)));
        }
        // A document may come when all of the answer is there: nothing says how long that takes.
        let body = collect(bounded(chunks, MAX_ANSWER_BYTES)).await;
        let body =
            body.map_err(|Broken(why)| CallFailure::unknown(ModelError::Unavailable(why)))?;
        match serde_json::from_slice(&body) {
            Ok(document) => Ok(Answer::Document(document)),
            Err(_) => {
                let told = self.told(&String::from_utf8_lossy(&body));
                let error = format!("it answers with something that is no JSON: {told}");
                Err(CallFailure::unknown(ModelError::Unavailable(error)))
            }
        }
    }

    /// A text of the provider as it may be told: short, and without the key.
    pub(crate) fn told(&self, text: &str) -> String {
        let text = match &self.key {
            Some(Secret(key)) if !key.is_empty() => text.replace(&**key, "[key]"),
            _ => text.to_owned(),
        };
        let end =
            (0..=MAX_TOLD_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        text[..end.unwrap_or(0)].trim().to_owned()
    }

    async fn refusal(&self, response: Response) -> Refusal {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(retry_after);
        let body = collect(bounded(response.bytes_stream(), MAX_REFUSAL_BYTES));
        let body = tokio::time::timeout(REFUSAL_TIMEOUT, body).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let document: Option<Value> = serde_json::from_slice(&body).ok();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let error = document.as_ref().map(|it| &it["error"]);
        let message = error.and_then(|error| text(&error["message"]).or_else(|| text(error)));
        let message = message.unwrap_or_else(|| match &document {
            Some(document) => document.to_string(),
            None => "no document says why".to_owned(),
        });
        let word = |name| error.and_then(|error| text(&error[name])).unwrap_or_default();
        Refusal {
            provider: self.name.clone(),
            status,
            kind: word("type"),
            code: word("code"),
            message: self.told(&message),
            retry_after,
        }
    }

    /// The request did not reach the provider, or nobody knows.
    fn not_sent(&self, error: &reqwest::Error) -> CallFailure {
        // The address may hold a key of the operator's in its query.
        let why = if error.is_connect() {
            "it cannot be reached"
        } else if error.is_timeout() {
            "it does not answer in time"
        } else {
            "the connection broke"
        };
        tracing::debug!(provider = self.name, why, "a model is not asked");
        let error_told = ModelError::Unavailable(format!("{}: {why}", self.name));
        let charge = if error.is_connect() { Charge::NotReached } else { Charge::Unknown };
        CallFailure { error: error_told, charge }
    }
}

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Broken(String);

/// The bytes of a body, as they come.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Broken>> + Send>>;

/// What a provider answers.
pub(crate) enum Answer {
    /// Events.
    Stream(Chunks),
    /// One document.
    Document(Value),
}

/// What a provider refuses a request with.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// The name of the provider.
    pub(crate) provider: String,
    pub(crate) status: StatusCode,
    /// `error.type`
    pub(crate) kind: String,
    /// `error.code`
    pub(crate) code: String,
    /// What may be told of it.
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// The provider does not serve this host. Why is between the two: the provider may name the account, or a part
    /// of the key.
    pub(crate) fn not_allowed(&self) -> ModelError {
        let Refusal { provider, status, message, .. } = self;
        let status = status.as_u16();
        tracing::warn!(provider, status, message, "a provider of models does not serve this host");
        ModelError::NotAllowed(format!(
            "{provider} does not serve this host ({status}); the operator's log says why"
        ))
    }

    /// The failure of the call that was refused with this.
    pub(crate) fn failure(&self, error: ModelError) -> CallFailure {
        let charge = if self.is_free(&error) { Charge::Nothing } else { Charge::Unknown };
        CallFailure { error, charge }
    }

    /// Whether the provider bills nothing for sure: it has said what is wrong with the request, or that it does
    /// not take it now. A gateway that gives up waiting may have passed it on.
    fn is_free(&self, error: &ModelError) -> bool {
        match error {
            ModelError::Unavailable(_)
            | ModelError::Interrupted { .. }
            | ModelError::UnknownOutcome => {
                self.status.is_client_error() && self.status != StatusCode::REQUEST_TIMEOUT
            }
            ModelError::RateLimited { .. }
            | ModelError::Overloaded { .. }
            | ModelError::Invalid(_)
            | ModelError::Refused(_)
            | ModelError::ContextTooLong(_)
            | ModelError::BudgetExceeded(_)
            | ModelError::NotAllowed(_) => true,
        }
    }
}

/// A client of its own for each endpoint: its connections belong to the runtime that made them, and a process
/// may have hosts on several runtimes, of which one ends before the other.
fn client() -> Result<Client, InvalidEndpoint> {
    let failed = |error: reqwest::Error| InvalidEndpoint::Client(error.to_string());
    Client::builder()
        .tls_backend_preconfigured(tls()?)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .build()
        .map_err(failed)
}

/// What all clients of a process share: the roots are read once.
fn tls() -> Result<rustls::ClientConfig, InvalidEndpoint> {
    static TLS: OnceLock<Result<rustls::ClientConfig, String>> = OnceLock::new();
    let tls = TLS.get_or_init(|| {
        let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(versions.with_root_certificates(roots).with_no_client_auth())
    });
    tls.clone().map_err(InvalidEndpoint::Client)
}

fn media_type(response: &Response) -> Option<String> {
    let text = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    Some(text.split(';').next()?.trim().to_ascii_lowercase())
}

/// Seconds: no provider sends a date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let seconds: f64 = value.to_str().ok()?.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The bytes of a body, up to so many.
fn bounded(
    chunks: impl Stream<Item = reqwest::Result<Bytes>> + Send,
    most: usize,
) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    let mut left = most;
    chunks.map(move |chunk| {
        let chunk = chunk.map_err(|_| Broken("the connection broke".to_owned()))?;
        let much = || Broken(format!("it sends over {most} bytes"));
        left = left.checked_sub(chunk.len()).ok_or_else(much)?;
        Ok(chunk)
    })
}

/// The same, which breaks off where nothing has come for so long after it has begun.
fn unless_silent(
    chunks: impl Stream<Item = Result<Bytes, Broken>> + Send,
    silence: Duration,
) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    stream::unfold((Box::pin(chunks), false), move |(mut chunks, has_begun)| async move {
        let next = match has_begun {
            false => Ok(chunks.next().await),
            true => tokio::time::timeout(silence, chunks.next()).await,
        };
        let next = next.unwrap_or_else(|_| Some(Err(Broken("it fell silent".to_owned()))));
        next.map(|chunk| (chunk, (chunks, true)))
    })
}

async fn collect(chunks: impl Stream<Item = Result<Bytes, Broken>>) -> Result<Vec<u8>, Broken> {
    let mut body = Vec::new();
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk?);
    }
    Ok(body)
}

#[cfg(test)]
mod tests;
