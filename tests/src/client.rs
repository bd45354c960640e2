//! A client of the HTTP API, as an application would write it. It holds each answer to the description of the
//! API.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use crate::description::Answer;

/// Speaks to a host on loopback.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Client {
    /// A client of the host at this base, such as `http://127.0.0.1:3333`.
    #[must_use]
    pub fn new(base: &str) -> Client {
        // The host has TLS for models, and so no client is made without a provider of it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let http = http.build().expect("a client that needs no certificates");
        Client { http, base: base.to_owned(), key: None }
    }

    /// The same client, which calls with this key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Client {
        Client { key: Some(key.to_owned()), ..self.clone() }
    }

    /// A request to a path.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let request = self.http.request(method, format!("{}{path}", self.base));
        Request(match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        })
    }

    /// GET a path: the status and the JSON of the answer.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, Value)> {
        answer(self.request(Method::GET, path).send().await?).await
    }

    /// POST a JSON document: the status and the JSON of the answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        answer(self.request(Method::POST, path).json(body).send().await?).await
    }

    /// PATCH a path with a JSON document: the status and the JSON of the answer.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<(StatusCode, Value)> {
        answer(self.request(Method::PATCH, path).json(body).send().await?).await
    }

    /// DELETE a path: the status and the JSON of the answer.
    pub async fn delete(&self, path: &str) -> Result<(StatusCode, Value)> {
        answer(self.request(Method::DELETE, path).send().await?).await
    }

    /// Upload a component.
    pub async fn upload(
        &self,
        name: &str,
        version: &str,
        component: impl Into<reqwest::Body>,
    ) -> Result<(StatusCode, Value)> {
        answer(self.uploading(name, version).body(component).send().await?).await
    }

    /// Upload a component, and do not wait until it is compiled. Returns the headers as well.
    pub async fn upload_async(
        &self,
        name: &str,
        version: &str,
        component: impl Into<reqwest::Body>,
    ) -> Result<(StatusCode, HeaderMap, Value)> {
        let request = self.uploading(name, version).header("prefer", "wait=10, Respond-Async");
        let response = request.body(component).send().await?;
        let headers = response.headers().clone();
        let (status, body) = answer(response).await?;
        Ok((status, headers, body))
    }

    fn uploading(&self, name: &str, version: &str) -> Request {
        let path = format!("/api/agents?name={name}&version={version}");
        self.request(Method::POST, &path).header("content-type", "application/wasm")
    }

    /// Create a session and return its id.
    pub async fn create(&self, body: &Value) -> Result<String> {
        let (status, session) = self.post("/api/sessions", body).await?;
        anyhow::ensure!(status == StatusCode::CREATED, "{status}: {session}");
        Ok(session["id"].as_str().context("a session has an id")?.to_owned())
    }

    /// Send a message, and wait for the answer as one JSON document.
    pub async fn message(&self, session: &str, prompt: &str) -> Result<(StatusCode, Value)> {
        let path = format!("/api/sessions/{session}/message");
        self.post(&path, &json!({ "prompt": prompt, "streaming": false })).await
    }

    /// Send a message that succeeds, and return the text of the answer.
    pub async fn ask(&self, session: &str, prompt: &str) -> Result<String> {
        let (status, answer) = self.message(session, prompt).await?;
        anyhow::ensure!(status == StatusCode::OK, "{status}: {answer}");
        Ok(answer["response"]["content"].as_str().context("text")?.to_owned())
    }

    /// Send a message as a stream: the data of each event.
    pub async fn stream(&self, session: &str, prompt: &str) -> Result<Vec<Value>> {
        let path = format!("/api/sessions/{session}/message");
        let request = self.request(Method::POST, &path).json(&json!({ "prompt": prompt }));
        let response = request.send().await?;
        anyhow::ensure!(response.status() == StatusCode::OK, "{}", response.status());
        events(response).await
    }
}

/// A request that is being made.
pub struct Request(RequestBuilder);

impl Request {
    /// The same, with a header.
    #[must_use]
    pub fn header<K, V>(self, name: K, value: V) -> Request
    where
        HeaderName: TryFrom<K>,
        <HeaderName as TryFrom<K>>::Error: Into<http::Error>,
        HeaderValue: TryFrom<V>,
        <HeaderValue as TryFrom<V>>::Error: Into<http::Error>,
    {
        Request(self.0.header(name, value))
    }

    /// The same, with this key.
    #[must_use]
    pub fn bearer_auth(self, key: &str) -> Request {
        Request(self.0.bearer_auth(key))
    }

    /// The same, with this JSON document as its body.
    #[must_use]
    pub fn json(self, body: &(impl Serialize + ?Sized)) -> Request {
        Request(self.0.json(body))
    }

    /// The same, with this body.
    #[must_use]
    pub fn body(self, body: impl Into<Body>) -> Request {
        Request(self.0.body(body))
    }

    /// The same, which gives up after so long.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Request {
        Request(self.0.timeout(timeout))
    }

    /// Send it. The answer is held to the description of the API: its head now, its body as it is read.
    ///
    /// # Errors
    /// Those of the connection.
    ///
    /// # Panics
    /// The answer is not as described.
    pub async fn send(self) -> reqwest::Result<Response> {
        let (http, request) = self.0.build_split();
        let request = request?;
        let (method, path) = (request.method().clone(), request.url().path().to_owned());
        let response = http.execute(request).await?;
        let answer = Answer::new(&method, &path, response.status(), response.headers());
        Ok(watched(response, answer))
    }
}

/// The same response, whose body is held to the description as it is read.
fn watched(response: Response, answer: Answer) -> Response {
    let mut watched = http::Response::builder().status(response.status());
    watched.headers_mut().expect("it has no error").extend(response.headers().clone());
    let pieces = Box::pin(response.bytes_stream());
    let pieces = futures::stream::unfold((pieces, answer), async |(mut pieces, mut answer)| {
        match pieces.next().await {
            Some(Ok(piece)) => {
                answer.read(&piece);
                Some((Ok(piece), (pieces, answer)))
            }
            Some(Err(error)) => Some((Err(error), (pieces, answer))),
            None => {
                answer.end();
                None
            }
        }
    });
    let body = Body::wrap_stream(pieces);
    watched.body(body).expect("the status and the headers are good").into()
}

/// The data of each server-sent event of a response.
pub async fn events(response: Response) -> Result<Vec<Value>> {
    let mut text = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk?);
    }
    let text = String::from_utf8(text)?;
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

async fn answer(response: Response) -> Result<(StatusCode, Value)> {
    let status = response.status();
    let text = response.text().await?;
    let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok((status, value))
}
