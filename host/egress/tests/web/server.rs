//! A server on loopback that answers as a test says, and notes what it was asked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a server does with a request.
#[derive(Clone)]
pub enum Play {
    /// It writes these bytes and closes the connection.
    Writes(Vec<u8>),
    /// It writes these bytes and keeps the connection, for whatever comes next.
    Keeps(Vec<u8>),
    /// It writes the first bytes, and then the second again and again, as long as anybody reads.
    NeverEnds(Vec<u8>, Vec<u8>),
    /// It writes the first bytes, and then a byte now and then.
    Trickles(Vec<u8>),
    /// It writes these bytes, and then nothing, and keeps the connection.
    FallsSilent(Vec<u8>),
    /// It sends the head of the request back, as the body and, of each header, as a header.
    Echoes,
}

/// A server. It ends with the test.
pub struct Server {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    written: Arc<AtomicUsize>,
}

impl Server {
    /// A server on 127.0.0.1 that plays this to everybody.
    pub async fn start(play: Play) -> Server {
        Server::playing("127.0.0.1:0", move |_| play.clone()).await
    }

    /// A server that asks `play` what to do with each request.
    pub async fn playing(
        address: &str,
        play: impl Fn(&str) -> Play + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            connections: Arc::default(),
            written: Arc::default(),
        };
        let (asked, written) = (server.asked.clone(), server.written.clone());
        let (connections, play) = (server.connections.clone(), Arc::new(play));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                let (asked, written, play) = (asked.clone(), written.clone(), play.clone());
                tokio::spawn(async move { serve(stream, &asked, &written, &*play).await });
            }
        });
        server
    }

    /// The URL of this path at this host.
    pub fn at(&self, host: &str, path: &str) -> String {
        format!("http://{host}:{}{path}", self.address.port())
    }

    /// The requests that have come, each with its head and its body.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// How many connections have come.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many bytes it has written.
    pub fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }
}

async fn serve(
    mut stream: TcpStream,
    asked: &Mutex<Vec<String>>,
    written: &AtomicUsize,
    play: &(impl Fn(&str) -> Play + Send + Sync),
) {
    while let Some(request) = read(&mut stream).await {
        asked.lock().unwrap().push(request.clone());
        match play(&request) {
            Play::Writes(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Play::Keeps(bytes) => {
                let _ = stream.write_all(&bytes).await;
            }
            Play::NeverEnds(head, piece) => {
                let _ = stream.write_all(&head).await;
                while stream.write_all(&piece).await.is_ok() {
                    written.fetch_add(piece.len(), Ordering::SeqCst);
                }
                return;
            }
            Play::Trickles(head) => {
                let _ = stream.write_all(&head).await;
                while stream.write_all(b".").await.is_ok() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                return;
            }
            Play::FallsSilent(bytes) => {
                let _ = stream.write_all(&bytes).await;
                while stream.read_u8().await.is_ok() {}
                return;
            }
            Play::Echoes => {
                let _ = stream.write_all(&echo(&request)).await;
                let _ = stream.shutdown().await;
                return;
            }
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        // TLS, which nobody speaks here.
        if bytes.first() == Some(&0x16) {
            return Some("TLS".to_owned());
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.lines().map(str::to_ascii_lowercase);
            let lengths = lines.filter_map(|line| {
                line.strip_prefix("content-length: ").and_then(|it| it.parse::<usize>().ok())
            });
            if body.len() >= lengths.sum::<usize>() {
                return Some(text);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn echo(request: &str) -> Vec<u8> {
    let head = request.split("\r\n\r\n").next().unwrap();
    let headers: String = head.lines().skip(1).map(|line| format!("x-echo-{line}\r\n")).collect();
    format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{head}", head.len()).into_bytes()
}

/// A whole response with this body.
pub fn response(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}
