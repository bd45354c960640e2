//! One connection: HTTP/1.1 by hand, a request at a time, as cheap as can be.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long one answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest answer that is read.
const MAX_ANSWER: usize = 32 << 20;
const MAX_HEADERS: usize = 32;

/// A connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    /// What each request begins with, after its first line.
    headers: String,
    request: String,
    answer: Vec<u8>,
}

/// An answer whose head has been read.
struct Head {
    status: u16,
    /// Where the body begins.
    start: usize,
    /// Where it ends.
    end: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection> {
        Connection::with_headers(address, format!("host: {address}\r\n")).await
    }

    /// A connection whose requests have this key.
    pub(crate) async fn open_with_key(address: SocketAddr, key: &str) -> Result<Connection> {
        let headers = format!("host: {address}\r\nauthorization: Bearer {key}\r\n");
        Connection::with_headers(address, headers).await
    }

    async fn with_headers(address: SocketAddr, headers: String) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.context("the host accepts connections")?;
        stream.set_nodelay(true)?;
        let (request, answer) = (String::new(), Vec::with_capacity(4096));
        Ok(Connection { stream, headers, request, answer })
    }

    /// GET this path. The body of the answer.
    pub(crate) async fn get(&mut self, path: &str) -> Result<&[u8]> {
        self.ask("GET", path, "").await
    }

    /// POST a JSON document to this path, or nothing. The body of the answer.
    pub(crate) async fn post(&mut self, path: &str, json: &str) -> Result<&[u8]> {
        self.ask("POST", path, json).await
    }

    /// Create a session. Its id.
    pub(crate) async fn create(&mut self, json: &str) -> Result<String> {
        let body = self.ask("POST", "/api/sessions", json).await?;
        let session: Value = serde_json::from_slice(body)?;
        Ok(session["id"].as_str().context("a session has an id")?.to_owned())
    }

    /// Send a JSON document, or nothing. The status of the answer, whatever it is.
    pub(crate) async fn status(&mut self, method: &str, path: &str, json: &str) -> Result<u16> {
        Ok(self.answered(method, path, json).await?.status)
    }

    async fn ask(&mut self, method: &str, path: &str, json: &str) -> Result<&[u8]> {
        let head = self.answered(method, path, json).await?;
        let body = &self.answer[head.start..head.end];
        if !(200..300).contains(&head.status) {
            bail!("{method} {path}: {} {}", head.status, String::from_utf8_lossy(body));
        }
        Ok(body)
    }

    async fn answered(&mut self, method: &str, path: &str, json: &str) -> Result<Head> {
        self.request.clear();
        write!(self.request, "{method} {path} HTTP/1.1\r\n{}", self.headers)?;
        if !json.is_empty() {
            self.request.push_str("content-type: application/json\r\n");
        }
        if method != "GET" {
            write!(self.request, "content-length: {}\r\n", json.len())?;
        }
        write!(self.request, "\r\n{json}")?;
        let exchange = self.exchange();
        let head = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        head.with_context(|| format!("{method} {path} is not answered"))?
    }

    async fn exchange(&mut self) -> Result<Head> {
        self.stream.write_all(self.request.as_bytes()).await?;
        self.answer.clear();
        let mut head = None;
        loop {
            if head.is_none() {
                head = read_head(&self.answer)?;
            }
            if let Some(head) = head.take_if(|head| self.answer.len() >= head.end) {
                return Ok(head);
            }
            ensure!(self.answer.len() < MAX_ANSWER, "the answer is too long");
            let read = self.stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "the host has closed the connection");
        }
    }
}

fn read_head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = response.parse(bytes)? else { return Ok(None) };
    let length = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("content-length"));
    let length = length.context("answers have a length")?.value;
    let length: usize = std::str::from_utf8(length)?.parse()?;
    ensure!(length <= MAX_ANSWER, "the answer is too long");
    let status = response.code.context("answers have a status")?;
    Ok(Some(Head { status, start, end: start + length }))
}
