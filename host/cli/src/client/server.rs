//! The server that a command asks: its address, the key of the caller, and one request after the other.

use std::error::Error;
use std::time::Duration;

use clap::{Arg, ArgMatches};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, Url};
use serde_json::Value;

use super::error::ClientError;
use super::stream::Events;
use super::terminal::in_one_line;

/// The variables that these commands go by. They are no settings of a host.
pub(crate) const VARIABLES: [&str; 2] = ["DORMOUSE_SERVER", "DORMOUSE_KEY"];

/// Where a host listens unless its settings say otherwise.
const DEFAULT: &str = "http://127.0.0.1:3333";

/// How long a server may take to accept a connection. It may take any time to answer: a turn and a
/// compilation take minutes.
const CONNECT: Duration = Duration::from_secs(5);

/// The most bytes of an answer: more than the largest reply of an agent, however it is escaped.
const MAX_ANSWER: usize = 64 << 20;

/// A server, and who asks it.
pub(super) struct Server {
    http: Client,
    base: Url,
    key: Option<String>,
}

/// The options that name the server and the key.
pub(super) fn options() -> [Arg; 2] {
    let [server, key] = VARIABLES;
    [
        Arg::new("server")
            .long("server")
            .value_name("URL")
            .env(server)
            .default_value(DEFAULT)
            .global(true)
            .help_heading("Server")
            .help("Where the host listens"),
        Arg::new("key")
            .long("key")
            .value_name("KEY")
            .env(key)
            .hide_env_values(true)
            .global(true)
            .help_heading("Server")
            .help("The API key, if the host needs one. Other users of this machine can see options: prefer the variable"),
    ]
}

impl Server {
    /// The server that the command line or the environment names.
    pub(super) fn of(given: &ArgMatches) -> Result<Server, ClientError> {
        let named = given.get_one::<String>("server").map_or(DEFAULT, String::as_str);
        let wrong = |problem: &str| {
            let named = in_one_line(named);
            ClientError::Usage(format!("the server '{named}' {problem}, such as {DEFAULT}"))
        };
        let base = Url::parse(named).map_err(|_| wrong("must be the URL of a host"))?;
        match base.scheme() {
            "http" => {}
            "https" => return Err(wrong("needs TLS, which this program does not speak: use http")),
            _ => return Err(wrong("must begin with http://")),
        }
        let key = given.get_one::<String>("key").filter(|key| !key.is_empty()).cloned();
        // The server is on this machine or near it: a proxy of the environment is for other things.
        let http = Client::builder().no_proxy().connect_timeout(CONNECT).redirect(Policy::none());
        // No client is made without a provider of TLS, which the host has for models; this one trusts nobody by it,
        // and reads no certificates of the machine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = http.tls_certs_only([]);
        let http = http.build().map_err(|error| ClientError::Usage(cause(&error)))?;
        Ok(Server { http, base, key })
    }

    /// The address of the server, as people write it.
    pub(super) fn name(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Whether the server is another than the one that is asked where nobody names one.
    pub(super) fn is_named(&self) -> bool {
        self.name() != DEFAULT
    }

    /// GET a path with a query.
    pub(super) async fn get(&self, path: &str, query: &Query) -> Result<Value, ClientError> {
        let response = self.send(self.request(Method::GET, path, query)).await?;
        self.document(response).await
    }

    /// POST a JSON document.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let request = self.request(Method::POST, path, &Query::default()).json(body);
        let response = self.send(request).await?;
        self.document(response).await
    }

    /// DELETE a path.
    pub(super) async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        let response = self.send(self.request(Method::DELETE, path, &Query::default())).await?;
        self.document(response).await
    }

    /// Upload a component under this name and version, and wait until the host has compiled it.
    pub(super) async fn upload(
        &self,
        name: &str,
        version: &str,
        component: Vec<u8>,
    ) -> Result<Value, ClientError> {
        let query = Query::default().with("name", name).with("version", version);
        let request = self.request(Method::POST, "/api/agents", &query);
        let request = request.header("content-type", "application/wasm").body(component);
        let response = self.send(request).await?;
        self.document(response).await
    }

    /// POST a JSON document that is answered with a stream.
    pub(super) async fn post_stream(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<Events, ClientError> {
        let request = self.request(Method::POST, path, &Query::default()).json(body);
        Ok(Events::of(self.send(request).await?, self.name()))
    }

    /// GET a path that is answered with a stream.
    pub(super) async fn get_stream(
        &self,
        path: &str,
        query: &Query,
    ) -> Result<Events, ClientError> {
        let request = self.request(Method::GET, path, query).header("accept", "text/event-stream");
        Ok(Events::of(self.send(request).await?, self.name()))
    }

    fn request(&self, method: Method, path: &str, query: &Query) -> RequestBuilder {
        let mut url = self.base.clone();
        // An URL of HTTP always has segments; each is escaped.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/').skip(1));
        }
        if !query.0.is_empty() {
            url.query_pairs_mut().extend_pairs(&query.0);
        }
        let request = self.http.request(method, url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Send a request. An answer that says no is an error.
    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unanswered(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let Ok(Value::Object(mut body)) = self.document(response).await else {
            return Err(self.not_dormouse(format!("it answers {status}")));
        };
        match (body.remove("error"), body.remove("code")) {
            (Some(Value::String(error)), Some(Value::String(code))) => {
                Err(ClientError::Refused { error, code, more: Value::Object(body) })
            }
            _ => Err(self.not_dormouse(format!("it answers {status}"))),
        }
    }

    /// The answer, which is a JSON document.
    async fn document(&self, mut response: Response) -> Result<Value, ClientError> {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= MAX_ANSWER => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Err(self.not_dormouse("its answer is too long")),
                Ok(None) => break,
                Err(error) => return Err(self.lost(cause(&error))),
            }
        }
        serde_json::from_slice(&body).map_err(|_| self.not_dormouse("its answer is not JSON"))
    }

    fn unanswered(&self, error: &reqwest::Error) -> ClientError {
        if error.is_builder() {
            // The key is the one thing that a request of this program has from outside as it is.
            return ClientError::Usage("the key has characters that no key has".to_owned());
        }
        if error.is_connect() {
            return ClientError::Unreachable { server: self.name(), cause: cause(error) };
        }
        self.lost(cause(error))
    }

    /// The connection ended too early.
    pub(super) fn lost(&self, cause: impl Into<String>) -> ClientError {
        ClientError::Lost { server: self.name(), cause: cause.into() }
    }

    /// The answer is none of a Dormouse server.
    pub(super) fn not_dormouse(&self, problem: impl Into<String>) -> ClientError {
        ClientError::NotDormouse { server: self.name(), problem: problem.into() }
    }
}

/// The parameters of a query.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// The same, with one more parameter.
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Query {
        self.0.push((name, value.to_string()));
        self
    }

    /// The same, with the values that the command line has for this option.
    pub(super) fn with_given(
        mut self,
        name: &'static str,
        given: &ArgMatches,
        option: &str,
    ) -> Query {
        for value in given.get_many::<String>(option).into_iter().flatten() {
            self = self.with(name, value);
        }
        self
    }
}

/// The innermost cause of an error, which says most.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    in_one_line(&cause.to_string())
}
