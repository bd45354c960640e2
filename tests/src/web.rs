//! A server on loopback that plays the web: it answers each request as a test says, and notes what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// What is done about a request.
#[derive(Clone, Debug)]
pub enum Page {
    /// It is answered with this status, media type and body.
    Is(u16, &'static str, Vec<u8>),
    /// It is sent on to this address.
    Moved(String),
    /// It is answered with this body again and again, as long as anybody reads.
    NeverEnds(&'static str),
    /// Nothing is sent until the test lets it go on: then it is answered with this text.
    Waits(String),
}

impl Page {
    /// A page in HTML.
    #[must_use]
    pub fn html(body: &str) -> Page {
        Page::Is(200, "text/html; charset=utf-8", body.as_bytes().to_vec())
    }

    /// A text.
    #[must_use]
    pub fn text(body: &str) -> Page {
        Page::Is(200, "text/plain", body.as_bytes().to_vec())
    }
}

/// A running server, which ends with the test.
pub struct Web {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Vec<String>>,
    written: AtomicUsize,
    goes_on: Notify,
    is_let_go: Mutex<bool>,
}

impl Web {
    /// A server that does with each path as `play` says. It is told how many requests came before.
    pub async fn start(play: impl Fn(&str, usize) -> Page + Send + Sync + 'static) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let (kept, play) = (Arc::clone(&shared), Arc::new(play));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, play) = (Arc::clone(&kept), Arc::clone(&play));
                tokio::spawn(async move { serve(stream, &shared, &*play).await });
            }
        });
        Web { address, shared }
    }

    /// The address of this path.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The requests that have come, each with its head and its body.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.asked).clone()
    }

    /// How many bytes of bodies it has written.
    #[must_use]
    pub fn written(&self) -> usize {
        self.shared.written.load(Ordering::SeqCst)
    }

    /// Let all go on that wait, now and later.
    pub fn let_go(&self) {
        *lock(&self.shared.is_let_go) = true;
        self.shared.goes_on.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(
    mut stream: TcpStream,
    shared: &Shared,
    play: &(impl Fn(&str, usize) -> Page + Send + Sync),
) {
    let Some(request) = read(&mut stream).await else { return };
    let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
    let before = {
        let mut asked = lock(&shared.asked);
        asked.push(request);
        asked.len() - 1
    };
    let (status, headers, body) = match play(&path, before) {
        Page::Is(status, media_type, body) => {
            let headers = match media_type {
                "" => String::new(),
                _ => format!("content-type: {media_type}\r\n"),
            };
            (status, headers, body)
        }
        Page::Moved(to) => (302, format!("location: {to}\r\n"), Vec::new()),
        Page::NeverEnds(piece) => {
            let head = "HTTP/1.1 200 x\r\ncontent-type: text/plain\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes()).await;
            while sent.is_ok() {
                sent = stream.write_all(piece.as_bytes()).await;
                shared.written.fetch_add(piece.len(), Ordering::SeqCst);
            }
            return;
        }
        Page::Waits(text) => {
            wait(shared).await;
            (200, "content-type: text/plain\r\n".to_owned(), text.into_bytes())
        }
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\n{headers}content-length: {length}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    for piece in body.chunks(64 << 10) {
        if stream.write_all(piece).await.is_err() {
            return;
        }
        shared.written.fetch_add(piece.len(), Ordering::SeqCst);
    }
    let _ = stream.shutdown().await;
}

async fn wait(shared: &Shared) {
    loop {
        let goes_on = shared.goes_on.notified();
        tokio::pin!(goes_on);
        // Registered before the look: what happens in between is not missed.
        goes_on.as_mut().enable();
        if *lock(&shared.is_let_go) {
            return;
        }
        goes_on.await;
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines().map(str::to_ascii_lowercase);
            let length =
                |line: String| line.strip_prefix("content-length: ")?.parse::<usize>().ok();
            if body.len() >= lines.filter_map(length).sum() {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}
