//! A provider of language models on loopback, in OpenAI's dialect, as cheap as can be: a thread of its own, and
//! connections that are kept.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What it says.
pub(super) const ANSWER: &str = "loopback ";
/// The tokens of an answer, at four bytes each.
const ANSWER_TOKENS: u64 = 150;
/// How long it takes for a token that it reads anew, and for one that it writes, where it is [`Pace::Scaled`]: a
/// tenth of 10,000 read and 80 written a second.
const READ: Duration = Duration::from_micros(10);
const WRITTEN: Duration = Duration::from_micros(1_250);
/// What OpenAI says of its cache: prefixes of so many tokens at least, in steps of so many.
const CACHED_LEAST: u64 = 1_024;
const CACHED_STEP: u64 = 128;
/// Requests whose prefixes it knows.
const KNOWN: usize = 256;

/// How fast it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At once, and it caches nothing.
    AtOnce,
    /// A tenth of the time that models take; a prefix that it has read before costs no time.
    Scaled,
}

/// A running provider. It ends with the process.
pub(super) struct Provider {
    /// Where it is asked.
    pub(super) url: String,
    shared: Arc<Shared>,
}

struct Shared {
    pace: Pace,
    asked: AtomicU64,
    /// The number of the first request, from 1, that it does not answer.
    silent_from: AtomicU64,
    /// When it began to write the last answer.
    answered_at: Mutex<Instant>,
    known: Mutex<Vec<Vec<u8>>>,
}

impl Provider {
    pub(super) fn start(pace: Pace) -> Result<Provider> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let shared = Arc::new(Shared {
            pace,
            asked: AtomicU64::new(0),
            silent_from: AtomicU64::new(u64::MAX),
            answered_at: Mutex::new(Instant::now()),
            known: Mutex::default(),
        });
        let served = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(serve(stream, Arc::clone(&served)));
                }
            });
        });
        Ok(Provider { url, shared })
    }

    /// The arguments of a host that asks this provider for every model, at the list price of `model` where a request
    /// names none.
    pub(super) fn arguments(&self, model: &str) -> [String; 4] {
        let url = &self.url;
        let provider = format!(
            "loopback.kind=openai,loopback.url={url},loopback.models=*,loopback.max-calls=1000"
        );
        ["--providers".to_owned(), provider, "--default-model".to_owned(), model.to_owned()]
    }

    /// How often it was asked.
    pub(super) fn asked(&self) -> u64 {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// When it began to write its last answer.
    pub(super) fn answered_at(&self) -> Instant {
        *self.shared.answered_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Say nothing to this request from now on, counted from 1, nor to any later one. `None`: answer all that come.
    pub(super) fn be_silent_at(&self, further: Option<u64>) {
        let from = further.map_or(u64::MAX, |further| self.asked() + further);
        self.shared.silent_from.store(from, Ordering::SeqCst);
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    // A client that goes away, or says what is no request, is served no more.
    let _ = answer_all(&mut stream, &shared).await;
}

async fn answer_all(stream: &mut TcpStream, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    while let Some(length) = read(stream, &mut bytes).await? {
        let number = shared.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let (usage, takes) = shared.usage(&bytes[length.0..length.1])?;
        bytes.drain(..length.1);
        if number >= shared.silent_from.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let answer = answer(&usage);
        *shared.answered_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// Read a request: where its body begins and ends. `None`: no further one comes.
async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Option<(usize, usize)>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("a request has a length")?.trim().parse()?;
            let begin = end + 4;
            if bytes.len() >= begin + length {
                return Ok(Some((begin, begin + length)));
            }
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

impl Shared {
    /// The tokens of a call, and how long it takes.
    fn usage(&self, body: &[u8]) -> Result<(Value, Duration)> {
        if self.pace == Pace::AtOnce {
            return Ok((
                json!({ "prompt_tokens": 100, "completion_tokens": ANSWER_TOKENS }),
                Duration::ZERO,
            ));
        }
        let body: Value = serde_json::from_slice(body)?;
        let messages = body["messages"].to_string().into_bytes();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let longest = known.iter().map(|before| common(before, &messages)).max().unwrap_or(0);
        let (prompt, longest) = (tokens(messages.len())?, tokens(longest)?);
        let cached = if longest < CACHED_LEAST { 0 } else { longest - longest % CACHED_STEP };
        known.truncate(KNOWN);
        known.insert(0, messages);
        let read = u32::try_from(prompt - cached)?;
        let takes = READ * read + WRITTEN * u32::try_from(ANSWER_TOKENS)?;
        let usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": ANSWER_TOKENS,
            "prompt_tokens_details": { "cached_tokens": cached },
        });
        Ok((usage, takes))
    }
}

fn tokens(bytes: usize) -> Result<u64> {
    Ok(u64::try_from(bytes)?.div_ceil(4))
}

/// How many bytes both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

fn answer(usage: &Value) -> String {
    let text = ANSWER.repeat(usize::try_from(ANSWER_TOKENS).unwrap_or(0) * 4 / ANSWER.len());
    let delta = json!({ "choices": [{ "index": 0, "delta": { "content": text } }] });
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] });
    let usage = json!({ "choices": [], "usage": usage });
    let body = format!("data: {delta}\n\ndata: {end}\n\ndata: {usage}\n\ndata: [DONE]\n\n");
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}
