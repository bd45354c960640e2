//! Secrets: values on the wire to their hosts, and placeholders everywhere else.

use dormouse_egress::{Arrival, BodyLimit, EgressError, EgressSecret, LimitAction};

use super::server::{Play, Server, response};
use super::{Names, Way, get};

const VALUE: &str = "sk-0123456789/\"quoted\"";

fn way(host: &str) -> Way {
    let secret = EgressSecret::new("KEY", VALUE, vec![host.parse().unwrap()]).unwrap();
    let names = Names::of(&[("a.example", &[&["127.0.0.1"]]), ("b.example", &[&["127.0.0.1"]])]);
    Way::with("127.0.0.0/8", |options| options.secrets = vec![secret]).knowing(names)
}

#[tokio::test]
async fn a_server_that_echoes_a_secret_tells_it_to_no_guest() {
    let server = Server::start(Play::Echoes).await;
    let request = get(server.at("a.example", "/{{secret:KEY}}"))
        .with_header("authorization", "Bearer {{secret:KEY}}");
    let answered = way("a.example:*").send(&request).await.unwrap();
    let asked = server.asked().concat();
    assert!(asked.contains(&format!("authorization: Bearer {VALUE}")), "{asked}");
    assert!(asked.starts_with("GET /%7B%7Bsecret:KEY%7D%7D "), "only in headers: {asked}");
    let body = super::text(&answered);
    assert!(!body.contains("sk-") && body.contains("Bearer {{secret:KEY}}"), "{body}");
    let echoed = answered.header("x-echo-authorization").unwrap();
    assert_eq!(echoed, b"Bearer {{secret:KEY}}");
    assert_eq!(answered.header("content-length"), None, "it would be wrong");
}

#[tokio::test]
async fn a_server_that_kept_a_secret_tells_it_in_no_later_response_and_in_no_form() {
    let way = way("a.example:*");
    let json = VALUE.replace('"', "\\\"");
    for (body, large) in [(VALUE, false), (json.as_str(), false), (VALUE, true)] {
        let filling = if large { "x".repeat(1 << 20) } else { String::new() };
        let kept = response(200, "", &format!("{filling}<{body}>"));
        let server = Server::start(Play::Writes(kept)).await;
        let answered = way.send(&get(server.at("a.example", "/"))).await.unwrap();
        assert!(super::text(&answered).ends_with("<{{secret:KEY}}>"));
        // It is not hidden where it does not belong.
        let answered = way.send(&get(server.at("b.example", "/"))).await.unwrap();
        assert!(super::text(&answered).ends_with(&format!("<{body}>")));
    }
}

#[tokio::test]
async fn no_limit_of_a_body_cuts_a_secret_so_that_its_beginning_is_left() {
    let way = way("a.example:*");
    let server = Server::start(Play::Writes(response(200, "", &format!("<{VALUE}>")))).await;
    for most in 1..VALUE.len() + 2 {
        let mut request = get(server.at("a.example", "/"));
        request.limit = BodyLimit { most, action: LimitAction::Cut };
        let answered = way.send(&request).await.unwrap();
        let expected = "<{{secret:KEY}}>";
        assert_eq!(super::text(&answered), &expected[..most.min(expected.len())], "{most}");
    }
}

#[tokio::test]
async fn a_secret_goes_to_none_but_its_hosts() {
    let server = Server::start(Play::Echoes).await;
    let way = way("a.example:*");
    for (url, name) in [
        (server.at("b.example", "/"), "KEY"),
        (server.at("127.0.0.1", "/"), "KEY"),
        (server.at("a.example", "/"), "OTHER"),
    ] {
        let request = get(url).with_header("x", format!("{{{{secret:{name}}}}}"));
        let (error, arrival) = way.send(&request).await.err().unwrap();
        match error {
            EgressError::SecretNotForHost { .. } => assert_eq!(name, "KEY"),
            EgressError::UnknownSecret { .. } => assert_eq!(name, "OTHER"),
            error => panic!("{error}"),
        }
        assert_eq!(arrival, Arrival::NotSent);
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_secret_is_not_sent_in_the_clear_to_a_public_address() {
    let secret = EgressSecret::new("KEY", VALUE, vec!["a.example".parse().unwrap()]).unwrap();
    let way = Way::with("127.0.0.0/8", |options| options.secrets = vec![secret]);
    // One of several addresses is not listed, so a connection could go there.
    let way = way.knowing(Names::of(&[("a.example", &[&["127.0.0.1", "1.1.1.1"]])]));
    let request = get("http://a.example/").with_header("x", "{{secret:KEY}}");
    let failed = way.send(&request).await.err().unwrap();
    let expected = EgressError::SecretNeedsTls { name: "KEY".to_owned() };
    assert_eq!(failed, (expected, Arrival::NotSent));
}

#[tokio::test]
async fn a_compressed_response_of_a_host_with_secrets_is_refused() {
    let way = way("a.example:*");
    for headers in ["content-encoding: gzip\r\n", "Content-Encoding: identity, br\r\n"] {
        let server = Server::start(Play::Writes(response(200, headers, "packed"))).await;
        let request = get(server.at("a.example", "/")).with_header("Accept-Encoding", "gzip");
        let (error, arrival) = way.send(&request).await.err().unwrap();
        assert!(matches!(error, EgressError::CompressedResponse { .. }), "{error}");
        assert_eq!(arrival, Arrival::MayHaveArrived);
        assert!(server.asked().concat().contains("accept-encoding: identity\r\n"));
    }
}
