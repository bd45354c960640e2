//! Responses whose bodies are read as they come.

use std::time::Duration;

use dormouse_domain::id::Principal;
use dormouse_egress::{
    BodyLimit, EgressError, EgressOptions, EgressSecret, EgressTimeout, Grant, LimitAction,
};

use super::server::{Play, Server};
use super::{EgressRequest, Names, Way, get, policy};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

fn taking(server: &Server, most: usize) -> EgressRequest {
    let mut request = get(server.at("127.0.0.1", "/"));
    request.limit = BodyLimit { most, action: LimitAction::Refuse };
    request
}

#[tokio::test]
async fn a_piece_is_there_before_the_body_is_complete() {
    let server = Server::start(Play::FallsSilent([HEAD, b"data: 1\n\n"].concat())).await;
    let way = Way::to("127.0.0.0/8");
    let mut stream = way.open(&taking(&server, 100)).await.unwrap();
    assert_eq!(
        (stream.status, stream.header("content-type")),
        (200, Some(&b"text/event-stream"[..]))
    );
    assert_eq!(stream.next().await.unwrap().unwrap(), &b"data: 1\n\n"[..]);
    drop(stream);
    assert_eq!(way.memory.used(), 0);
}

#[tokio::test]
async fn a_body_that_is_read_in_pieces_is_no_larger_than_its_reader_takes() {
    let server = Server::start(Play::NeverEnds(HEAD.to_vec(), vec![b'x'; 0x10000])).await;
    let way = Way::to("127.0.0.0/8");
    let mut stream = way.open(&taking(&server, 1 << 20)).await.unwrap();
    let failed = stream.collect().await.unwrap_err();
    assert_eq!(failed, EgressError::ResponseTooLarge { most: 1 << 20 });
    drop(stream);
    assert_eq!(way.memory.used(), 0);
    assert!(server.written() < 40 << 20, "{}", server.written());
}

#[tokio::test]
async fn a_body_that_falls_silent_or_does_not_end_in_time_is_given_up() {
    let trickles = Server::start(Play::Trickles(HEAD.to_vec())).await;
    let silent = Server::start(Play::FallsSilent(HEAD.to_vec())).await;
    let way = Way::with("127.0.0.0/8", |options| {
        options.times.between_bytes = Duration::from_millis(200);
        options.times.total = Duration::from_millis(400);
    });
    for (server, timeout) in
        [(trickles, EgressTimeout::Total), (silent, EgressTimeout::BetweenBytes)]
    {
        let mut stream = way.open(&taking(&server, 1 << 20)).await.unwrap();
        let failed = stream.collect().await.unwrap_err();
        assert!(
            matches!(failed, EgressError::TimedOut { timeout: it, .. } if it == timeout),
            "{failed}"
        );
    }
}

#[tokio::test]
async fn what_the_operator_grants_needs_no_rule_and_no_private_network_is_open_to_it() {
    let server = Server::start(Play::Writes(HEAD.to_vec())).await;
    let (request, nobody) = (taking(&server, 100), Principal::local());
    let closed = |options: &mut EgressOptions| options.policy = policy("api.example.com");
    let way = Way::with("127.0.0.0/8", closed);
    assert!(matches!(way.open(&request).await.err().unwrap().0, EgressError::NotAllowed { .. }));
    assert!(way.egress.open(&nobody, &request, Grant::Operator).await.is_ok());
    let way = Way::with("10.0.0.0/8", closed);
    let failed = way.egress.open(&nobody, &request, Grant::Operator).await.err().unwrap();
    assert!(matches!(failed.error, EgressError::PrivateAddress { .. }), "{failed}");
}

#[tokio::test]
async fn a_secret_that_comes_in_pieces_is_hidden() {
    let play = Play::NeverEnds(HEAD.to_vec(), b"<sk-0123456789>".to_vec());
    let server = Server::start(play).await;
    let secret = EgressSecret::new("KEY", "sk-0123456789", vec!["a.example:*".parse().unwrap()]);
    let names = Names::of(&[("a.example", &[&["127.0.0.1"]])]);
    let way = Way::with("127.0.0.0/8", |options| options.secrets = vec![secret.unwrap()]);
    let way = way.knowing(names);
    let mut stream = way.open(&get(server.at("a.example", "/"))).await.unwrap();
    let mut told = Vec::new();
    while told.len() < 1 << 20 {
        told.extend_from_slice(&stream.next().await.unwrap().unwrap());
    }
    let told = String::from_utf8(told).unwrap();
    assert!(!told.contains("sk-01") && told.starts_with("<{{secret:KEY}}><{{secret:KEY}}>"));
}
