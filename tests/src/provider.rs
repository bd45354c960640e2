//! A server that plays a provider of models, in the dialect of OpenAI: it answers each request as the test says, and
//! keeps what it was asked and what it has answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dormouse::model::{Catalog, Entry, ModelPattern, OpenAi, TokenPrice};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// How many came before.
    pub number: usize,
    /// The path that it came to.
    pub path: String,
    /// The text of its last message.
    pub text: String,
    /// All of it.
    pub body: Value,
}

/// What is done about a request.
#[derive(Clone, Debug)]
pub enum Play {
    /// It is answered with this text, word by word, and with the tokens that it took.
    Says(String),
    /// The same without a word of tokens.
    SaysWithoutUsage(String),
    /// It is answered with this document and status, to be asked again after so many seconds where it says so.
    Refuses(u16, Value, Option<u32>),
    /// It is answered with these bytes after the head of an answer.
    Raw(&'static str, Vec<u8>),
    /// This text is sent, and then the connection is closed.
    Breaks(String),
    /// It is answered with this text after so long.
    SaysLater(Duration, String),
    /// Nothing is sent until the test lets it go on: then it is answered with this text.
    Waits(String),
    /// The first text is sent, and the second once the test lets it go on.
    Pauses(String, String),
}

/// Tokens that each answer says it took: of the request, and of the answer.
pub const TOKENS: (u64, u64) = (100, 50);

/// A running provider, which ends with the test.
pub struct ProviderServer {
    /// Where it is asked.
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    goes_on: Notify,
}

#[derive(Default)]
struct Log {
    asked: Vec<Asked>,
    /// The numbers of the requests that were answered as a whole, with what was said.
    answered: Vec<(usize, String)>,
    /// How many are not over yet.
    open: usize,
    is_let_go: bool,
}

impl ProviderServer {
    /// A provider that does with each request as `play` says.
    pub async fn start(play: impl Fn(&Asked) -> Play + Send + Sync + 'static) -> ProviderServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared::default());
        let (kept, play) = (Arc::clone(&shared), Arc::new(play));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept), Arc::clone(&play)));
            }
        });
        ProviderServer { url, shared }
    }

    /// A provider that answers each request with a number that it has not answered with before.
    pub async fn counting() -> ProviderServer {
        ProviderServer::start(|asked| Play::Says(format!("number {}", asked.number + 1))).await
    }

    /// What it was asked.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.lock().asked.clone()
    }

    /// The texts of the requests that were answered as a whole, with the answers.
    #[must_use]
    pub fn answered(&self) -> Vec<(String, String)> {
        let log = self.shared.lock();
        log.answered.iter().map(|(n, said)| (log.asked[*n].text.clone(), said.clone())).collect()
    }

    /// The numbers of the requests that were answered as a whole.
    #[must_use]
    pub fn answered_numbers(&self) -> Vec<usize> {
        self.shared.lock().answered.iter().map(|(number, _)| *number).collect()
    }

    /// How many requests it has that are not over yet.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.lock().open
    }

    /// Let all go on that wait, now and later.
    pub fn let_go(&self) {
        self.shared.lock().is_let_go = true;
        self.shared.goes_on.notify_waiters();
    }

    /// The providers of a host that asks this one for every model, at this price, also where they name none.
    #[must_use]
    pub fn catalog(&self, price: TokenPrice) -> Catalog {
        let provider = OpenAi::new("loopback", &self.url, None).expect("it is an address");
        let all = || ModelPattern::new("*");
        let catalog = Catalog::new(vec![Entry {
            provider: Arc::new(provider),
            models: vec![all()],
            prices: vec![(all(), price)],
            max_calls: 1_000,
        }]);
        catalog.with_default("loopback-1").expect("it has every model")
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until_let_go(&self) {
        loop {
            let goes_on = self.goes_on.notified();
            tokio::pin!(goes_on);
            goes_on.as_mut().enable();
            if self.lock().is_let_go {
                return;
            }
            goes_on.await;
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    shared: Arc<Shared>,
    play: Arc<impl Fn(&Asked) -> Play + Send + Sync>,
) {
    let Some((path, body)) = read(&mut stream).await else { return };
    let asked = {
        let mut log = shared.lock();
        let asked = Asked { number: log.asked.len(), path, text: last_text(&body), body };
        log.asked.push(asked.clone());
        log.open += 1;
        asked
    };
    let (bytes, said) = match play(&asked) {
        Play::Says(text) => (stream_of(&text, true), Some(text)),
        Play::SaysWithoutUsage(text) => (stream_of(&text, false), Some(text)),
        Play::Refuses(status, document, retry_after) => {
            (refusal(status, &document, retry_after), None)
        }
        Play::Raw(head, body) => ([head.as_bytes(), &body].concat(), None),
        Play::Breaks(text) => (cut(&text), None),
        Play::SaysLater(after, text) => {
            let is_there = is_there_until(&mut stream, tokio::time::sleep(after)).await;
            (stream_of(&text, true), is_there.then_some(text))
        }
        Play::Pauses(begin, rest) => {
            if stream.write_all(&cut(&begin)).await.is_err() {
                return;
            }
            shared.until_let_go().await;
            (rest_of(&rest, true).into_bytes(), Some(begin + &rest))
        }
        Play::Waits(text) => {
            let is_there = is_there_until(&mut stream, shared.until_let_go()).await;
            (stream_of(&text, true), is_there.then_some(text))
        }
    };
    // A client that has gone has not got it.
    let written = stream.write_all(&bytes).await.is_ok() && stream.shutdown().await.is_ok();
    let mut log = shared.lock();
    log.open -= 1;
    if let (Some(said), true) = (said, written) {
        log.answered.push((asked.number, said));
    }
}

/// Whether the client is there until this has happened. Where it is not, what is written to it may seem to arrive.
async fn is_there_until(stream: &mut TcpStream, happens: impl Future<Output = ()>) -> bool {
    tokio::select! {
        () = happens => true,
        // It sends nothing behind its request.
        _ = stream.read_u8() => false,
    }
}

/// The path of a request, and its document.
async fn read(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let path = head.split(' ').nth(1)?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
        let body = &bytes[end + 4..];
        if body.len() >= length.trim().parse::<usize>().ok()? {
            return Some((path.to_owned(), serde_json::from_slice(body).ok()?));
        }
    }
}

/// The text of the last message of a request.
fn last_text(body: &Value) -> String {
    let content = body["messages"].as_array().and_then(|messages| messages.last());
    match content.map(|message| &message["content"]) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part["text"].as_str()).collect()
        }
        _ => String::new(),
    }
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

fn event(choices: &Value, more: &Value) -> String {
    let mut document = json!({ "id": "1", "model": "loopback-1", "choices": choices });
    if let (Some(document), Some(more)) = (document.as_object_mut(), more.as_object()) {
        document.extend(more.clone());
    }
    format!("data: {document}\n\n")
}

fn words(text: &str) -> String {
    let word = |word| event(&json!([{ "index": 0, "delta": { "content": word } }]), &json!({}));
    text.split_inclusive(' ').map(word).collect()
}

fn stream_of(text: &str, with_usage: bool) -> Vec<u8> {
    format!("{STREAM}{}", rest_of(text, with_usage)).into_bytes()
}

/// An answer that ends with this text, from where it begins.
fn rest_of(text: &str, with_usage: bool) -> String {
    let stop = json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]);
    let (prompt, completion) = TOKENS;
    let usage = json!({ "usage": { "prompt_tokens": prompt, "completion_tokens": completion } });
    let usage = if with_usage { event(&json!([]), &usage) } else { String::new() };
    let end = event(&stop, &json!({}));
    format!("{}{end}{usage}data: [DONE]\n\n", words(text))
}

fn cut(text: &str) -> Vec<u8> {
    format!("{STREAM}{}", words(text)).into_bytes()
}

fn refusal(status: u16, document: &Value, retry_after: Option<u32>) -> Vec<u8> {
    let retry = retry_after.map_or(String::new(), |after| format!("retry-after: {after}\r\n"));
    let head = format!("HTTP/1.1 {status} No\r\ncontent-type: application/json\r\n{retry}");
    format!("{head}connection: close\r\n\r\n{document}").into_bytes()
}
