//! The HTTP API of a host inside the test, over a real socket of the loopback.

use std::time::Duration;

use dormouse::HostOptions;
use dormouse_http::{ApiOptions, serve};
use dormouse_test_guests::TestGuest;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{Client, TestHost};

/// A [`TestHost`] that is served on a free port.
pub struct TestServer {
    /// The host behind it.
    pub test: TestHost,
    /// A client of it.
    pub client: Client,
    address: String,
    shutdown: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl TestServer {
    /// Serve a host.
    pub async fn new() -> TestServer {
        TestServer::with(|_| {}, |_| {}).await
    }

    /// Serve a host with some options of its own and of the API changed.
    pub async fn with(
        host: impl FnOnce(&mut HostOptions),
        api: impl FnOnce(&mut ApiOptions),
    ) -> TestServer {
        TestServer::of(TestHost::with(host).await, api).await
    }

    /// Serve this host, with some options of the API changed.
    pub async fn of(test: TestHost, change: impl FnOnce(&mut ApiOptions)) -> TestServer {
        let mut options = ApiOptions::default();
        change(&mut options);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shutdown = CancellationToken::new();
        let serving =
            tokio::spawn(serve(test.host.clone(), vec![listener], options, shutdown.clone()));
        let client = Client::new(&format!("http://{address}"));
        TestServer { test, client, address, shutdown, serving }
    }

    /// Where it listens: `127.0.0.1:41234`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Turn the clock of the host.
    pub fn advance(&self, by: Duration) {
        self.test.advance(by);
    }

    /// Create a session with a fixture, long-running unless `fields` say otherwise. Returns its id.
    pub async fn session(&self, guest: &TestGuest, fields: Value) -> String {
        let agent = self.test.upload(guest).await.to_string();
        self.create(json!({ "agent": agent, "pattern": "long-running" }), fields).await
    }

    /// Create a session with the bundled counter, long-running unless `fields` say otherwise.
    pub async fn counter(&self, fields: Value) -> String {
        self.create(json!({ "agent": "counter", "pattern": "long-running" }), fields).await
    }

    async fn create(&self, mut body: Value, fields: Value) -> String {
        if let (Value::Object(body), Value::Object(fields)) = (&mut body, fields) {
            body.extend(fields);
        }
        self.client.create(&body).await.expect("the session is created")
    }

    /// Send these very bytes on a connection of their own, and read until the server closes it.
    pub async fn raw(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).await.expect("it listens");
        stream.write_all(request).await.expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("it answers");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Stop serving, and shut the host down. Fails the test if either has failed.
    pub async fn shut_down(self) {
        drop(self.client);
        self.shutdown.cancel();
        self.serving.await.expect("no panic").expect("it served");
        self.test.shut_down().await;
    }
}
