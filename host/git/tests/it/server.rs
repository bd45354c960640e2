//! An HTTP server for one repository: as much of HTTP as git needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use dormouse_git::{ADVERTISEMENT_TYPE, Error, Protocol, RESULT_TYPE, Repository};
use flate2::read::GzDecoder;

/// A server that lives as long as the process.
pub struct Server {
    state: Arc<State>,
    port: u16,
}

struct State {
    repository: Mutex<Repository>,
    sent: AtomicUsize,
    errors: Mutex<Vec<Error>>,
}

struct Request {
    line: String,
    protocol: Protocol,
    body: Vec<u8>,
}

impl Server {
    pub fn new(repository: Repository) -> Server {
        let state = Arc::new(State {
            repository: Mutex::new(repository),
            sent: AtomicUsize::new(0),
            errors: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(&state, stream.unwrap()));
            }
        });
        Server { state, port }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/git/session.git", self.port)
    }

    /// Serve another repository, or this one after it has changed.
    pub fn set(&self, repository: Repository) {
        *self.state.repository.lock().unwrap() = repository;
    }

    /// How many bytes of bodies were sent since somebody asked last.
    pub fn sent(&self) -> usize {
        self.state.sent.swap(0, Ordering::Relaxed)
    }

    pub fn errors(&self) -> Vec<Error> {
        std::mem::take(&mut *self.state.errors.lock().unwrap())
    }
}

fn serve(state: &State, stream: TcpStream) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let Some(request) = read(&mut reader, &stream) else { return };
    let repository = state.repository.lock().unwrap().clone();
    let mut out = stream;
    if request.line.starts_with("GET /git/session.git/info/refs?service=git-upload-pack ") {
        head(&mut out, ADVERTISEMENT_TYPE);
        let body = repository.advertisement(request.protocol);
        let body = body.unwrap_or_else(|error| state.noted(error));
        state.send(&mut out, &body);
    } else if request.line.starts_with("POST /git/session.git/git-upload-pack ") {
        head(&mut out, RESULT_TYPE);
        match repository.upload_pack(request.protocol, &request.body) {
            Err(error) => {
                let body = state.noted(error);
                state.send(&mut out, &body);
            }
            Ok(answer) => {
                for piece in answer {
                    match piece {
                        Ok(piece) => state.send(&mut out, &piece),
                        Err(error) => drop(state.noted(error)),
                    }
                }
            }
        }
    } else {
        let _ = out.write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n");
    }
}

impl State {
    fn noted(&self, error: Error) -> bytes::Bytes {
        let body = error.body();
        self.errors.lock().unwrap().push(error);
        body
    }

    fn send(&self, out: &mut TcpStream, bytes: &[u8]) {
        assert!(bytes.len() <= 64 << 10 && !bytes.is_empty());
        self.sent.fetch_add(bytes.len(), Ordering::Relaxed);
        let _ = out.write_all(bytes);
    }
}

fn head(out: &mut TcpStream, content_type: &str) {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n"
    );
    let _ = out.write_all(head.as_bytes());
}

fn read(reader: &mut BufReader<TcpStream>, mut out: &TcpStream) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let (mut length, mut is_chunked, mut is_packed, mut protocol) = (0, false, false, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "transfer-encoding" => is_chunked = value == "chunked",
            "content-encoding" => is_packed = value == "gzip",
            "git-protocol" => protocol = Some(value.to_owned()),
            "expect" => out.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while is_chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend(&chunk[..size]);
        is_chunked = size > 0;
    }
    if is_packed {
        let mut plain = Vec::new();
        GzDecoder::new(&*body).read_to_end(&mut plain).unwrap();
        body = plain;
    }
    Some(Request { line, protocol: Protocol::of(protocol.as_deref()), body })
}
