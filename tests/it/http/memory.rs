//! What answers and bodies take of the host's memory, and how long a client may leave them there.

use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::TestServer;
use dormouse_tests::test_host::eventually;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::send;

/// Short enough to be over soon, and long enough to be seen.
const SOON: Duration = Duration::from_secs(1);

const HOUR: Duration = Duration::from_secs(3600);

const MIB: u64 = 1 << 20;

/// The most that an agent may reply with.
const REPLY: u64 = 4 * MIB;

/// A session with one turn whose reply is as large as replies may be.
async fn with_a_large_turn(server: &TestServer) -> String {
    let id = server.session(&guests::REPLIES_WITH, json!({})).await;
    let reply = server.client.ask(&id, &format!("bytes {REPLY}")).await.unwrap();
    assert_eq!(reply.len() as u64, REPLY);
    id
}

/// A connection that has sent this and never reads.
async fn begin(server: &TestServer, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

fn get(server: &TestServer, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", server.address()).into()
}

fn post(server: &TestServer, path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        server.address(),
        body.len()
    )
    .into()
}

/// A GET by HTTP/2, from a client that lets the server send nothing.
fn get_without_window(server: &TestServer, path: &str) -> Vec<u8> {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        frame
    };
    let text = |name: u8, text: &str| {
        let mut header = vec![name, text.len() as u8];
        header.extend_from_slice(text.as_bytes());
        header
    };
    let headers = [vec![0x82, 0x86], text(0x04, path), text(0x01, server.address())].concat();
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        // The window of each stream begins with nothing.
        frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]),
        frame(1, 5, 1, &headers),
    ]
    .concat()
}

fn used(server: &TestServer) -> u64 {
    server.test.host.stats().memory_used
}

#[tokio::test]
async fn readers_that_do_not_read_hold_a_part_of_the_memory_and_no_more() {
    let budget = 256 * MIB;
    let server =
        TestServer::with(|host| host.memory_budget = budget, |api| api.stall_timeout = HOUR).await;
    let id = with_a_large_turn(&server).await;
    let other = server.counter(json!({})).await;
    let before = used(&server);
    let request = get(&server, &format!("/api/sessions/{id}/turns?limit=200"));
    let mut readers = Vec::new();
    let (mut served, mut refused) = (0, 0);
    for _ in 0..40 {
        let mut reader = begin(&server, &request).await;
        let mut status = [0; 12];
        reader.read_exact(&mut status).await.unwrap();
        match &status[9..] {
            b"200" => served += 1,
            b"503" => refused += 1,
            other => panic!("{other:?}"),
        }
        let held = used(&server).saturating_sub(before);
        assert!(held <= budget / 4, "{held} bytes are held");
        readers.push(reader);
    }
    assert!(served >= 12 && refused >= 12, "{served} served, {refused} refused");
    assert!(used(&server) - before >= served / 2 * REPLY, "what they hold is charged");
    let refusal = server.client.get(&format!("/api/sessions/{id}/turns/1")).await.unwrap();
    super::is_error(&refusal, 503, "overloaded");
    // Who asks for something small is answered.
    let (status, page) = server.client.get(&format!("/api/sessions/{other}/turns")).await.unwrap();
    assert_eq!((status.as_u16(), &page["count"]), (200, &json!(0)));
    drop(readers);
    eventually("the memory is given back", async || used(&server) <= before).await;
    assert_eq!(server.client.ask(&other, "hello").await.unwrap(), "turn 1: hello");
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected_and_its_answer_forgotten() {
    let patient = |api: &mut dormouse_http::ApiOptions| {
        (api.stall_timeout, api.keep_alive, api.heartbeat) = (SOON, HOUR, HOUR);
    };
    let server = TestServer::with(|_| {}, patient).await;
    let id = with_a_large_turn(&server).await;
    let before = used(&server);
    let session = format!("/api/sessions/{id}");
    let (turns, message) = (format!("{session}/turns"), format!("{session}/message"));
    let large = |streaming| json!({ "prompt": format!("bytes {REPLY}"), "streaming": streaming });
    for request in [
        get(&server, &turns),
        get(&server, &format!("{turns}/1")),
        post(&server, &message, &large(false)),
        post(&server, &message, &large(true)),
        get_without_window(&server, &turns),
    ] {
        let _reader = begin(&server, &request).await;
        eventually("its answer is there", async || used(&server) > before + MIB).await;
        eventually("its answer is forgotten", async || used(&server) <= before + MIB).await;
    }
    // By HTTP/2 a client can read all that comes, and hold back what it asked for.
    let mut reader = begin(&server, &get_without_window(&server, &turns)).await;
    let mut read = Vec::new();
    let _ = reader.read_to_end(&mut read).await;
    assert!(read.len() < 1000, "{}", read.len());
    server.shut_down().await;
}

#[tokio::test]
async fn a_page_of_turns_ends_with_its_bytes_and_the_next_goes_on() {
    let server = TestServer::new().await;
    let id = server.session(&guests::REPLIES_WITH, json!({})).await;
    for megabytes in [1, 2, 3, 3, 1] {
        server.client.ask(&id, &format!("bytes {}", megabytes * MIB)).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let path = format!("/api/sessions/{id}/turns?limit=200&after={after}");
        let (_, page) = server.client.get(&path).await.unwrap();
        let numbers = page["turns"].as_array().unwrap().iter().map(|turn| turn["turn"].clone());
        pages.push(numbers.collect::<Vec<_>>());
        after = page["next"].clone();
    }
    let numbers = |page: &[u64]| page.iter().map(|number| json!(number)).collect::<Vec<_>>();
    assert_eq!(pages, [&[1, 2][..], &[3], &[4], &[5]].map(numbers));
    let session = server.test.host.sessions().get(id.parse().unwrap());
    let page = session.turns(2, 200).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (1, Some(3)));
    server.shut_down().await;
}

#[tokio::test]
async fn a_page_of_sessions_ends_with_its_bytes_and_says_where_the_list_goes_on() {
    let server = TestServer::new().await;
    let much = json!({ "much": "x".repeat(60_000) });
    let mut ids = Vec::new();
    for _ in 0..60 {
        let fields = json!({ "context": much, "metadata": much, "tags": ["large"] });
        ids.push(server.counter(fields).await);
        server.counter(json!({})).await;
    }
    ids.reverse();
    let (mut found, mut pages, mut after) = (Vec::new(), 0, String::new());
    loop {
        let path = format!("/api/sessions?tags=large&pageSize=200&after={after}");
        let (_, page) = server.client.get(&path).await.unwrap();
        assert_eq!(page["total"], 60);
        let sessions = page["sessions"].as_array().unwrap();
        found.extend(sessions.iter().map(|session| session["id"].as_str().unwrap().to_owned()));
        pages += 1;
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, ids);
    assert!(pages >= 2);
    server.shut_down().await;
}

#[tokio::test]
async fn bodies_that_trickle_in_take_no_place_from_others() {
    let server =
        TestServer::with(|_| {}, |api| (api.max_requests, api.body_timeout) = (2, HOUR)).await;
    let head = |path: &str, kind: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: 1000\r\n\r\n{{",
            server.address()
        )
    };
    let mut slow = Vec::new();
    for _ in 0..8 {
        for (path, kind) in [
            ("/api/sessions", "application/json"),
            ("/api/agents?name=a&version=1", "application/wasm"),
        ] {
            slow.push(begin(&server, head(path, kind).as_bytes()).await);
        }
    }
    eventually("what has come of the bodies is charged", async || used(&server) > 0).await;
    let id = server.session(&guests::SPENDS_FUEL, json!({})).await;
    assert_eq!(server.client.message(&id, "1").await.unwrap().0, 200);
    let upload = server.client.upload("mine", "1", guests::REPLIES_WITH.bytes).await.unwrap();
    assert_eq!(upload.0, 201, "{}", upload.1);
    server.shut_down().await;
}

#[tokio::test]
async fn a_document_that_is_larger_in_memory_than_the_budget_is_refused_for_good() {
    let server = TestServer::with(|host| host.memory_budget = 16 * MIB, |_| {}).await;
    // Two megabytes that would become a hundred and sixty.
    let request = server.client.request(Method::POST, "/api/sessions");
    let zeros = format!("{{\"zeros\":[{}0]}}", "0,".repeat(1_000_000));
    let answer = send(request.header("content-type", "application/json").body(zeros)).await;
    super::is_error(&(answer.status, answer.body), 413, "body_too_large");
    assert_eq!(server.client.post("/api/sessions", &json!({})).await.unwrap().0, 201);
    server.shut_down().await;
}
