//! Connections: how long they may say nothing, how much they may say that no request accounts for, and who
//! gets a place when there are too many.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What a client may begin with and not go on: nothing, half of what says that it speaks HTTP/2, all
/// of that and no request, and half a head.
const BEGINNINGS: [&[u8]; 4] = [
    b"",
    b"PRI * HTTP/2.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    b"GET /healthz HTTP/1.1\r\nhost: localh",
];

/// Short enough to be over soon, in tests where something is to be given up.
const SOON: Duration = Duration::from_millis(50);

const HOUR: Duration = Duration::from_secs(3600);

/// What a client that speaks HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Frames of HTTP/2 that belong to no request.
const FRAMES: [(&str, &[u8]); 5] = [
    ("PING", b"\0\0\x08\x06\0\0\0\0\0 a ping "),
    ("SETTINGS", b"\0\0\0\x04\0\0\0\0\0"),
    ("WINDOW_UPDATE", b"\0\0\x04\x08\0\0\0\0\0\0\0\0\x01"),
    ("PRIORITY", b"\0\0\x05\x02\0\0\0\0\x01\0\0\0\0\0"),
    ("a frame of no known kind", b"\0\0\0\xfa\0\0\0\0\0"),
];

async fn connect(server: &TestServer, begin: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(begin).await.unwrap();
    stream
}

/// Wait until the server ends the connection, whatever it says before. Gives up after two minutes, by
/// panicking.
async fn ends(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let reading = stream.read_to_end(&mut rest);
    // A reset ends it as well.
    let ended = tokio::time::timeout(Duration::from_secs(120), reading).await;
    assert!(ended.is_ok(), "the server has not ended the connection");
}

fn get(server: &TestServer, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", server.address())
}

/// One request on this connection, and the beginning of its answer. The connection stays open.
async fn ask(stream: &mut TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer[..length]).into_owned()
}

#[tokio::test]
async fn a_client_that_sends_no_whole_request_is_given_up() {
    let server = TestServer::with(
        |_| {},
        |api| (api.head_timeout, api.keep_alive, api.heartbeat) = (SOON, HOUR, HOUR),
    )
    .await;
    for begin in BEGINNINGS {
        ends(connect(&server, begin).await).await;
    }
    server.shut_down().await;
}

#[tokio::test]
async fn between_requests_a_connection_waits_longer_than_within_one() {
    let server =
        TestServer::with(|_| {}, |api| (api.head_timeout, api.keep_alive) = (SOON, HOUR)).await;
    let mut idle = connect(&server, b"").await;
    let answer = ask(&mut idle, &get(&server, "/healthz")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // This one says nothing from now on, and is given up.
    ends(connect(&server, b"").await).await;
    let answer = ask(&mut idle, &get(&server, "/healthz")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    idle.write_all(b"GET /healthz HT").await.unwrap();
    ends(idle).await;
    server.shut_down().await;
}

#[tokio::test]
async fn a_connection_that_nobody_uses_ends() {
    let server =
        TestServer::with(|_| {}, |api| (api.head_timeout, api.keep_alive) = (HOUR, SOON)).await;
    let mut idle = connect(&server, b"").await;
    let answer = ask(&mut idle, &get(&server, "/healthz")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ends(idle).await;
    server.shut_down().await;
}

/// Write these bytes again and again, until the server ends the connection. What comes of it by then is
/// returned.
async fn flood(server: &TestServer, begin: &[u8], bytes: &'static [u8]) -> String {
    let (mut read, mut write) = connect(server, begin).await.into_split();
    let writing = tokio::spawn(async move {
        // It may be answered by a reset.
        while write.write_all(bytes.repeat(100).as_slice()).await.is_ok() {}
    });
    let mut answer = Vec::new();
    let reading = read.read_to_end(&mut answer);
    let ended = tokio::time::timeout(Duration::from_secs(120), reading).await;
    writing.abort();
    assert!(ended.is_ok(), "the server has not ended the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// A server that gives nobody up for being slow.
async fn patient() -> TestServer {
    TestServer::with(
        |_| {},
        |api| {
            (api.head_timeout, api.keep_alive, api.heartbeat) = (HOUR, HOUR, HOUR);
            api.body_timeout = HOUR;
        },
    )
    .await
}

#[tokio::test]
async fn a_client_loses_its_connection_that_sends_more_frames_than_requests_account_for() {
    let server = patient().await;
    for (name, frame) in FRAMES {
        println!("{name}");
        flood(&server, PREFACE, frame).await;
    }
    let id = server.counter(json!({})).await;
    assert_eq!(server.client.ask(&id, "hello").await.unwrap(), "turn 1: hello");
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_whose_head_or_chunk_has_no_end_is_refused() {
    let server = patient().await;
    let answer = flood(&server, b"GET /healthz HTTP/1.1\r\nx-long: ", b"xxxxxxxxx").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    let chunked = "POST /api/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                   transfer-encoding: chunked\r\n\r\n1;extension=";
    let chunked = chunked.replace("localhost", server.address());
    let answer = flood(&server, chunked.as_bytes(), b"xxxxxxxxx").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_that_asks_much_by_one_connection_may_send_frames_for_each_request() {
    let server = patient().await;
    let mut stream = connect(&server, PREFACE).await;
    let get = |stream: u32| {
        // `GET` by `http` of a path, from an authority, whose lengths stand before them.
        let (path, name) = ("/healthz", server.address());
        let [path_length, name_length] = [path, name].map(|it| u8::try_from(it.len()).unwrap());
        let fields = [&[0x82, 0x86, 0x04, path_length], path.as_bytes(), &[0x01, name_length]];
        let fields = [&fields.concat(), name.as_bytes()].concat();
        let length = u8::try_from(fields.len()).unwrap();
        let (stream, ping) = (stream.to_be_bytes(), FRAMES[0].1);
        let head = [&[0, 0, length, 1, 5], &stream[..], &fields].concat();
        [head, ping.repeat(4)].concat()
    };
    let mut answer = Vec::new();
    for number in (1..2000).step_by(2) {
        stream.write_all(&get(number)).await.unwrap();
        // The host answers the last of the pings, and the request.
        while count(&answer, b" a ping ") < 4 || count(&answer, b"\"status\"") < 1 {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "the server has ended the connection after {number}");
            answer.extend_from_slice(&piece[..length]);
        }
        answer.clear();
    }
    server.shut_down().await;
}

/// How often something stands in what was answered.
fn count(answer: &[u8], wanted: &[u8]) -> usize {
    answer.windows(wanted.len()).filter(|window| window == &wanted).count()
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let server = TestServer::with(
        |_| {},
        |api| (api.max_connections, api.head_timeout) = (BEGINNINGS.len(), HOUR),
    )
    .await;
    let mut silent = Vec::new();
    for begin in BEGINNINGS.into_iter().cycle().take(10 * BEGINNINGS.len()) {
        silent.push(connect(&server, begin).await);
    }
    let id = server.counter(json!({})).await;
    assert_eq!(server.client.ask(&id, "hello").await.unwrap(), "turn 1: hello");
    for stream in silent.drain(..8 * BEGINNINGS.len()) {
        ends(stream).await;
    }
    server.shut_down().await;
}

#[tokio::test]
async fn where_all_clients_wait_for_the_server_its_operator_is_still_answered() {
    let server = TestServer::with(|_| {}, |api| api.max_connections = 2).await;
    let limits = json!({ "maxFuelPerTurn": u64::MAX / 4, "turnTimeoutMs": 3_600_000 });
    let id = server.session(&guests::LOOPS_FOREVER, limits).await;
    let path = format!("/api/sessions/{id}/message");
    let begin = || server.client.request(reqwest::Method::POST, &path);
    let body = json!({ "prompt": "loop" });
    // The second waits for the first.
    let busy = begin().json(&body).send().await.unwrap();
    let second = tokio::spawn(begin().json(&json!({ "prompt": "x", "streaming": false })).send());
    dormouse_tests::test_host::eventually("it waits", async || server.test.host.stats().queued > 0)
        .await;
    for path in ["/healthz", "/readyz"] {
        let answer = server.raw(get(&server, path).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    let answer = server.raw(get(&server, "/api/sessions").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("\"code\":\"overloaded\"") && answer.contains("retry-after"));
    let session = server.test.host.sessions().get(id.parse().unwrap());
    session.force_kill().await.unwrap();
    drop(busy);
    second.await.unwrap().unwrap();
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_that_says_that_it_sends_no_more_gets_its_answer() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let body = "{\"prompt\":\"hello\",\"streaming\":false}";
    let request = format!(
        "POST /api/sessions/{id}/message HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    );
    let mut stream = connect(&server, request.as_bytes()).await;
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("turn 1: hello"), "{answer}");
    server.shut_down().await;
}
