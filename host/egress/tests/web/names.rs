//! Names, addresses and policies: what is not allowed is not connected to.

use std::io;
use std::net::IpAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dormouse_egress::{Arrival, EgressError, EgressTimeout, PolicyOwner, Resolver};

use super::server::{Play, Server, response};
use super::{Names, Way, get, policy, text};

async fn server() -> Server {
    Server::start(Play::Writes(response(200, "", "reached"))).await
}

#[tokio::test]
async fn a_name_that_resolves_to_a_private_address_is_not_connected_to_and_no_address_is_told() {
    let server = server().await;
    let private: &[&[&str]] = &[&["127.0.0.1", "::1", "10.1.2.3", "169.254.169.254"]];
    let way = Way::to("").knowing(Names::of(&[("evil.example", private)]));
    let (error, arrival) = way.problem(&server.at("evil.example", "/")).await;
    assert!(matches!(error, EgressError::PrivateAddress { .. }), "{error}");
    assert_eq!((arrival, server.connections()), (Arrival::NotSent, 0));
    let told = format!("{error} {error:?}");
    assert!(!told.contains("127.") && !told.contains("10.1") && !told.contains("169."), "{told}");
}

#[tokio::test]
async fn an_address_is_refused_in_whatever_spelling_it_stands_in_a_url() {
    let server = server().await;
    let way = Way::to("");
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "017700000001",
        "2130706433",
        "127.0.0.1.",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "[::]",
        "[::1]",
    ] {
        let (error, arrival) = way.problem(&server.at(host, "/")).await;
        assert!(matches!(error, EgressError::PrivateAddress { .. }), "{host}: {error}");
        assert_eq!(arrival, Arrival::NotSent);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn what_is_connected_to_is_what_was_checked_and_each_request_is_checked_anew() {
    let server = server().await;
    // The name is said to be at the listed address once, and at another behind the first answer.
    let names = Names::of(&[("rebinds.example", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let way = Way::to("127.0.0.1").knowing(names);
    let elsewhere = format!("127.0.0.2:{}", server.address.port());
    let elsewhere =
        Server::playing(&elsewhere, |_| Play::Writes(response(200, "", "private"))).await;
    let url = server.at("rebinds.example", "/");
    let answered = way.send(&get(&url)).await.unwrap();
    assert_eq!(text(&answered), "reached");
    let (error, _) = way.problem(&url).await;
    assert!(matches!(error, EgressError::PrivateAddress { .. }), "{error}");
    assert_eq!((server.connections(), elsewhere.connections()), (1, 0));
}

#[tokio::test]
async fn of_several_addresses_those_that_may_be_are_connected_to() {
    let server = server().await;
    let names = Names::of(&[("two.example", &[&["127.0.0.2", "127.0.0.1"]])]);
    let way = Way::to("127.0.0.1").knowing(names);
    let elsewhere = format!("127.0.0.2:{}", server.address.port());
    let elsewhere =
        Server::playing(&elsewhere, |_| Play::Writes(response(200, "", "private"))).await;
    let answered = way.send(&get(server.at("two.example", "/"))).await.unwrap();
    assert_eq!((text(&answered), elsewhere.connections()), ("reached", 0));
}

#[tokio::test]
async fn both_the_operator_and_the_session_must_allow_it() {
    let server = server().await;
    let port = server.address.port();
    let rule = format!("GET 127.0.0.1:{port}");
    let everything = || "*:*".to_owned();
    for (operator, session, owner) in [
        (rule.clone(), everything(), None),
        (everything(), rule.clone(), None),
        (String::new(), everything(), Some(PolicyOwner::Operator)),
        (everything(), String::new(), Some(PolicyOwner::Session)),
        (everything(), format!("POST 127.0.0.1:{port}"), Some(PolicyOwner::Session)),
        ("127.0.0.1".to_owned(), everything(), Some(PolicyOwner::Operator)),
        (format!("127.0.0.2:{port}"), everything(), Some(PolicyOwner::Operator)),
    ] {
        let mut way = Way::with("127.0.0.0/8", |options| options.policy = policy(&operator));
        way.session = policy(&session);
        let sent = way.send(&get(server.at("127.0.0.1", "/"))).await;
        match owner {
            None => assert!(sent.is_ok(), "{operator} and {session}"),
            Some(owner) => {
                let expected = EgressError::NotAllowed { owner, rule: rule.parse().unwrap() };
                assert_eq!(
                    sent.err(),
                    Some((expected, Arrival::NotSent)),
                    "{operator} and {session}"
                );
            }
        }
    }
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_name_that_nobody_knows_and_a_port_that_nobody_listens_on_are_told_apart() {
    let server = server().await;
    let way = Way::to("127.0.0.0/8").knowing(Names::of(&[]));
    let (error, arrival) = way.problem("http://nobody.example/").await;
    assert!(matches!(error, EgressError::UnknownHost { .. }), "{error}");
    assert_eq!(arrival, Arrival::NotSent);
    // Nobody listens there: it is bound to 127.0.0.1 alone.
    let (error, arrival) = way.problem(&server.at("127.0.0.3", "/")).await;
    assert!(matches!(error, EgressError::Unreachable { .. }), "{error}");
    assert_eq!(arrival, Arrival::NotSent);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_no_server_of_https() {
    let server = server().await;
    let way = Way::to("127.0.0.0/8");
    let url = server.at("127.0.0.1", "/").replace("http:", "https:");
    let (error, arrival) = way.problem(&url).await;
    assert!(matches!(error, EgressError::Insecure { .. }), "{error}");
    assert_eq!(arrival, Arrival::NotSent);
}

#[tokio::test]
async fn a_server_that_never_gets_to_speak_tls_has_an_end() {
    let server = Server::start(Play::FallsSilent(Vec::new())).await;
    let way = Way::with("127.0.0.0/8", |options| options.times.connect = Duration::from_millis(50));
    let url = server.at("127.0.0.1", "/").replace("http:", "https:");
    let (error, arrival) = way.problem(&url).await;
    let is_connect = matches!(error, EgressError::TimedOut { timeout: EgressTimeout::Connect, .. });
    assert!(is_connect && arrival == Arrival::NotSent, "{error}");
}

/// Looks names up for as long as the test wants.
struct NeverReady(Mutex<mpsc::Receiver<()>>);

impl Resolver for NeverReady {
    fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        let _ = self.0.lock().unwrap().recv();
        Err(io::ErrorKind::NotFound.into())
    }
}

#[tokio::test]
async fn a_name_that_takes_for_ever_to_resolve_has_an_end() {
    let (_until_here, ended) = mpsc::channel();
    let way = Way::with("", |options| options.times.connect = Duration::from_millis(20));
    let way = way.knowing(Arc::new(NeverReady(Mutex::new(ended))));
    let (error, arrival) = way.problem("http://slow.example/").await;
    let is_lookup = matches!(error, EgressError::TimedOut { timeout: EgressTimeout::Lookup, .. });
    assert!(is_lookup && arrival == Arrival::NotSent, "{error}");
}
