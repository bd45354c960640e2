//! A server that plays a provider: it keeps the requests that it gets, and answers each with what it was given.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// One answer, byte for byte; after it the connection is closed.
#[derive(Clone)]
pub struct Scripted(Vec<u8>);

impl Scripted {
    /// A stream of these events, each one line of data.
    pub fn events<'a>(events: impl IntoIterator<Item = &'a str>) -> Scripted {
        let body: String = events.into_iter().map(|data| format!("data: {data}\n\n")).collect();
        Scripted::raw("200 OK", "text/event-stream", &body)
    }

    /// A stream of these JSON documents.
    pub fn documents<'a>(documents: impl IntoIterator<Item = &'a Value>) -> Scripted {
        let texts: Vec<String> = documents.into_iter().map(Value::to_string).collect();
        Scripted::events(texts.iter().map(String::as_str))
    }

    /// A document with this status.
    pub fn document(status: &str, document: &Value) -> Scripted {
        Scripted::raw(status, "application/json", &document.to_string())
    }

    pub fn raw(status: &str, media_type: &str, body: &str) -> Scripted {
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nretry-after: 7\r\n");
        Scripted(format!("{head}connection: close\r\n\r\n{body}").into_bytes())
    }

    /// The same, which says that more comes than does.
    pub fn cut(mut self) -> Scripted {
        let text = String::from_utf8(self.0).unwrap();
        self.0 = text.replacen("connection: close", "content-length: 1000000", 1).into_bytes();
        self
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Got {
    /// The first line and the headers, in lower case.
    pub head: String,
    pub body: Value,
    /// The body as it was written.
    pub text: String,
}

/// A running server, which ends with the test.
pub struct ProviderServer {
    pub base: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl ProviderServer {
    /// A server that answers the first request with the first of these, and so on.
    pub async fn start(answers: Vec<Scripted>) -> ProviderServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let got = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&got);
        tokio::spawn(async move {
            for Scripted(answer) in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                kept.lock().unwrap().push(request);
                // A client that has seen enough may be gone.
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
            }
        });
        ProviderServer { base, got }
    }

    /// The requests so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

async fn read(stream: &mut TcpStream) -> Got {
    let mut bytes = Vec::new();
    loop {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "the request ends in the middle");
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() >= length.parse::<usize>().unwrap() {
            let (body, text) = (serde_json::from_str(body).unwrap(), body.to_owned());
            return Got { head, body, text };
        }
    }
}
