//! Bodies that are larger than anybody wants them.

use dormouse_egress::{Arrival, BodyLimit, EgressError, LimitAction, MAX_RESPONSE_BODY};

use super::server::{Play, Server};
use super::{EgressRequest, Way, get};

/// Bodies without an end, and one of 50 MB.
fn plays() -> Vec<Play> {
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    let head = |headers: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n").into_bytes();
    vec![
        Play::NeverEnds(head(""), vec![b'x'; 0x10000]),
        Play::NeverEnds(head("transfer-encoding: chunked\r\n"), chunk),
        Play::NeverEnds(head("content-length: 50000000\r\n"), vec![b'x'; 50_000]),
    ]
}

fn taking(server: &Server, most: usize, action: LimitAction) -> EgressRequest {
    let mut request = get(server.at("127.0.0.1", "/"));
    request.limit = BodyLimit { most, action };
    request
}

#[tokio::test]
async fn a_body_that_is_too_large_is_no_response() {
    for play in plays() {
        let server = Server::start(play).await;
        let way = Way::to("127.0.0.0/8");
        for (most, told) in [(1_000, 1_000), (usize::MAX, MAX_RESPONSE_BODY)] {
            let request = taking(&server, most, LimitAction::Refuse);
            let failed = way.send(&request).await.err().unwrap();
            let expected = EgressError::ResponseTooLarge { most: told };
            assert_eq!(failed, (expected, Arrival::MayHaveArrived));
        }
        assert_eq!(way.memory.used(), 0);
        // What was read, and what lies in buffers.
        assert!(server.written() < 40 << 20, "{}", server.written());
    }
}

#[tokio::test]
async fn a_body_is_cut_where_its_caller_says_so() {
    for play in plays() {
        let server = Server::start(play).await;
        let way = Way::to("127.0.0.0/8");
        for most in [0, 1, 100_000] {
            let answered = way.send(&taking(&server, most, LimitAction::Cut)).await.unwrap();
            assert_eq!((answered.body.len(), answered.is_cut), (most, true));
            assert_eq!(answered.header("content-length"), None, "it would be wrong");
        }
    }
}

#[tokio::test]
async fn a_body_of_just_the_limit_is_whole() {
    let server = Server::start(Play::Writes(super::server::response(200, "", "exact"))).await;
    let way = Way::to("127.0.0.0/8");
    for action in [LimitAction::Refuse, LimitAction::Cut] {
        let answered = way.send(&taking(&server, 5, action)).await.unwrap();
        assert_eq!((answered.body.len(), answered.is_cut), (5, false));
    }
    let failed = way.send(&taking(&server, 4, LimitAction::Refuse)).await.err().unwrap();
    assert_eq!(failed.0, EgressError::ResponseTooLarge { most: 4 });
}

#[tokio::test]
async fn a_body_that_says_that_it_is_too_large_is_not_waited_for() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n".to_vec();
    let server = Server::start(Play::FallsSilent(head)).await;
    let mut request = taking(&server, 1_000, LimitAction::Refuse);
    request.times.total = std::time::Duration::from_secs(5);
    let failed = Way::to("127.0.0.0/8").send(&request).await.err().unwrap();
    assert_eq!(failed.0, EgressError::ResponseTooLarge { most: 1_000 });
}

#[tokio::test]
async fn a_length_without_a_body_is_no_large_body() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n".to_vec();
    let server = Server::start(Play::Writes(head)).await;
    let request = EgressRequest::new("HEAD", server.at("127.0.0.1", "/"));
    let answered = Way::to("127.0.0.0/8").send(&request).await.unwrap();
    assert_eq!(answered.header("content-length"), Some(b"50000000".as_slice()));
    assert!(answered.body.is_empty());
}
