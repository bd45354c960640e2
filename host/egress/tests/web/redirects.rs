//! Redirects: each hop is checked as the first request was.

use dormouse_egress::{Arrival, EgressError, EgressSecret, PolicyOwner};

use super::server::{Play, Server, response};
use super::{EgressRequest, Names, Way, get, policy, text};

fn to(location: &str) -> Play {
    Play::Writes(response(302, &format!("Location: {location}\r\n"), "moved"))
}

#[tokio::test]
async fn a_redirect_is_a_response_for_who_does_not_follow() {
    let server = Server::start(to("http://169.254.169.254/latest/meta-data/")).await;
    let answered = Way::to("127.0.0.0/8").send(&get(server.at("127.0.0.1", "/"))).await.unwrap();
    assert_eq!((answered.status, text(&answered)), (302, "moved"));
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_not_followed() {
    let names = Names::of(&[
        ("a.example", &[&["127.0.0.1"]]),
        ("metadata.example", &[&["169.254.169.254"]]),
    ]);
    let way = Way::to("127.0.0.0/8").knowing(names);
    for location in [
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.example/",
        "http://[::ffff:169.254.169.254]/",
        "http://0xa9fea9fe/",
        "//10.0.0.1/",
    ] {
        let server = Server::start(to(location)).await;
        let failed = way.follow(get(server.at("a.example", "/"))).await.err().unwrap();
        assert!(matches!(failed.0, EgressError::PrivateAddress { .. }), "{location}: {failed:?}");
        assert_eq!(failed.1, Arrival::MayHaveArrived, "the first request has");
    }
}

#[tokio::test]
async fn a_redirect_to_what_is_no_url_of_the_web_is_not_followed() {
    let way = Way::to("127.0.0.0/8");
    for location in ["file:///etc/passwd", "http://user:password@127.0.0.1/", "javascript:1"] {
        let server = Server::start(to(location)).await;
        let failed = way.follow(get(server.at("127.0.0.1", "/"))).await.err().unwrap();
        assert!(matches!(failed.0, EgressError::InvalidUrl(_)), "{location}: {failed:?}");
    }
    let server = Server::start(to("http://[/")).await;
    let failed = way.follow(get(server.at("127.0.0.1", "/"))).await.err().unwrap();
    assert_eq!(failed.0, EgressError::InvalidRedirect);
}

#[tokio::test]
async fn each_hop_is_checked_by_both_policies() {
    let end = Server::start(Play::Writes(response(200, "", "end"))).await;
    let server = Server::start(to(&end.at("127.0.0.1", "/x"))).await;
    let all = format!("127.0.0.1:{},127.0.0.1:{}", server.address.port(), end.address.port());
    let first = format!("127.0.0.1:{}", server.address.port());
    for (operator, session, owner) in [
        (&all, &all, None),
        (&first, &all, Some(PolicyOwner::Operator)),
        (&all, &first, Some(PolicyOwner::Session)),
    ] {
        let mut way = Way::with("127.0.0.0/8", |options| options.policy = policy(operator));
        way.session = policy(session);
        let followed = way.follow(get(server.at("127.0.0.1", "/"))).await;
        match (owner, followed) {
            (None, Ok(followed)) => {
                assert_eq!(text(&followed.response), "end");
                assert_eq!(followed.url, end.at("127.0.0.1", "/x"));
            }
            (Some(expected), Err((EgressError::NotAllowed { owner, .. }, arrival))) => {
                assert_eq!((owner, arrival), (expected, Arrival::MayHaveArrived));
            }
            (_, followed) => panic!("{operator} and {session}: {followed:?}"),
        }
    }
}

#[tokio::test]
async fn redirects_that_go_round_have_an_end() {
    let server = Server::start(to("/again")).await;
    let failed = Way::to("127.0.0.0/8").follow(get(server.at("127.0.0.1", "/"))).await;
    assert_eq!(failed.err(), Some((EgressError::TooManyRedirects, Arrival::MayHaveArrived)));
    assert_eq!(server.connections(), 11);
}

#[tokio::test]
async fn a_secret_does_not_go_along_to_another_origin() {
    let end = Server::start(Play::Echoes).await;
    let server = Server::start(to(&end.at("127.0.0.1", "/"))).await;
    let targets = vec!["127.0.0.1:*".parse().unwrap()];
    let secret = EgressSecret::new("KEY", "not-for-everybody", targets).unwrap();
    let way = Way::with("127.0.0.0/8", |options| options.secrets = vec![secret]);
    let mut request = EgressRequest::new("POST", server.at("127.0.0.1", "/"))
        .with_header("x-key", "{{secret:KEY}}")
        .with_header("cookie", "a=b")
        .with_header("accept", "text/plain");
    request.body = "body".into();
    way.follow(request).await.unwrap();
    assert!(server.asked().concat().contains("x-key: not-for-everybody"));
    let asked = end.asked().concat();
    assert!(asked.starts_with("GET /") && asked.contains("accept: text/plain"), "{asked}");
    assert!(
        !asked.contains("key") && !asked.contains("cookie") && !asked.contains("body"),
        "{asked}"
    );
}
