//! One request and one response: what is on the wire, and what a guest sees of it.

use std::time::Duration;

use dormouse_base::memory::MemoryBudget;
use dormouse_egress::{Arrival, EgressError, EgressTimeout};

use super::server::{Play, Server, response};
use super::{EgressRequest, Way, get, text};

#[tokio::test]
async fn a_request_arrives_as_it_was_made_and_its_response_comes_back() {
    let made = response(201, "X-Two: 1\r\nX-Two: 2\r\nConnection: close\r\n", "made");
    let server = Server::start(Play::Writes(made)).await;
    let url = server.at("127.0.0.1", "/a%20b?c=d#e");
    let mut request = EgressRequest::new("POST", url).with_header("X-One", b"\xe9t\xe9");
    request.body = "body".into();
    let answered = Way::to("127.0.0.0/8").send(&request).await.unwrap();
    let asked = server.asked().concat();
    let lines: Vec<&str> = asked.lines().collect();
    assert_eq!(lines[0], "POST /a%20b?c=d HTTP/1.1");
    assert_eq!(lines.last(), Some(&"body"));
    assert!(lines.contains(&format!("host: {}", server.address).as_str()), "{asked}");
    assert!(lines.contains(&"content-length: 4") && asked.contains("x-one: "), "{asked}");
    assert!(
        asked.contains("user-agent: dormouse/") && !asked.contains("accept-encoding"),
        "{asked}"
    );
    assert_eq!((answered.status, text(&answered), answered.is_cut), (201, "made", false));
    let told = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    let expected = [told("x-two", "1"), told("x-two", "2"), told("content-length", "4")];
    assert_eq!(answered.headers, expected);
}

#[tokio::test]
async fn what_is_compressed_is_handed_on_as_it_is() {
    let packed = response(200, "content-encoding: gzip\r\n", "\u{1f}no gzip at all");
    let server = Server::start(Play::Writes(packed)).await;
    let answered = Way::to("127.0.0.0/8").send(&get(server.at("127.0.0.1", "/"))).await.unwrap();
    assert_eq!(text(&answered), "\u{1f}no gzip at all");
    assert_eq!(answered.header("content-encoding"), Some(b"gzip".as_slice()));
}

#[tokio::test]
async fn each_request_has_a_connection_of_its_own() {
    // Behind the response is one more, for whoever asks next.
    let two = [response(200, "", "own"), response(200, "", "poison")].concat();
    let server = Server::start(Play::Keeps(two)).await;
    let way = Way::to("127.0.0.0/8");
    for _ in 0..3 {
        let answered = way.send(&get(server.at("127.0.0.1", "/"))).await.unwrap();
        assert_eq!(text(&answered), "own");
    }
    assert_eq!(server.connections(), 3);
}

#[tokio::test]
async fn a_server_that_takes_the_request_and_breaks_off_is_asked_once() {
    for bytes in [
        b"".as_slice(),
        b"no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n12",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
    ] {
        let server = Server::start(Play::Writes(bytes.to_vec())).await;
        let (error, arrival) = Way::to("127.0.0.0/8").problem(&server.at("127.0.0.1", "/")).await;
        let shown = String::from_utf8_lossy(bytes);
        assert!(matches!(error, EgressError::Broken { .. }), "{shown}: {error}");
        assert_eq!((arrival, server.connections()), (Arrival::MayHaveArrived, 1), "{shown}");
    }
}

#[tokio::test]
async fn headers_of_a_response_have_a_bound() {
    let header = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes));
    let server = Server::start(Play::Writes(response(200, &header(100 << 10), ""))).await;
    let (error, arrival) = Way::to("127.0.0.0/8").problem(&server.at("127.0.0.1", "/")).await;
    assert_eq!((error, arrival), (EgressError::ResponseHeadersTooLarge, Arrival::MayHaveArrived));
    for headers in [header(1 << 20), "x: y\r\n".repeat(1_000)] {
        let server = Server::start(Play::Writes(response(200, &headers, ""))).await;
        let (error, _) = Way::to("127.0.0.0/8").problem(&server.at("127.0.0.1", "/")).await;
        assert!(matches!(error, EgressError::Broken { .. }), "{error}");
    }
    let endless = Play::NeverEnds(b"HTTP/1.1 200 OK\r\nx: ".to_vec(), vec![b'y'; 1 << 10]);
    let server = Server::start(endless).await;
    let (error, _) = Way::to("127.0.0.0/8").problem(&server.at("127.0.0.1", "/")).await;
    assert!(matches!(error, EgressError::Broken { .. }), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_has_an_end_in_each_part_of_the_exchange() {
    let hang = Play::FallsSilent(Vec::new());
    let silent = Play::FallsSilent(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec());
    let trickles = Play::Trickles(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n".to_vec());
    let endless = Play::NeverEnds(Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n".to_vec());
    let short = Duration::from_millis(50);
    for (play, part) in [
        (hang.clone(), EgressTimeout::FirstByte),
        (endless, EgressTimeout::FirstByte),
        (silent, EgressTimeout::BetweenBytes),
        (trickles, EgressTimeout::Total),
        (hang, EgressTimeout::Total),
    ] {
        let server = Server::start(play).await;
        let mut request = get(server.at("127.0.0.1", "/"));
        match part {
            EgressTimeout::FirstByte => {
                (request.times.connect, request.times.first_byte) = (short, short);
            }
            EgressTimeout::BetweenBytes => request.times.between_bytes = short,
            _ => request.times.total = short,
        }
        let (error, arrival) = Way::to("127.0.0.0/8").send(&request).await.err().unwrap();
        let is_part = matches!(&error, EgressError::TimedOut { timeout, .. } if *timeout == part);
        assert!(is_part && arrival == Arrival::MayHaveArrived, "{part:?}: {error}");
    }
}

#[tokio::test]
async fn one_principal_whose_requests_hang_leaves_places_to_others() {
    let server = Server::playing("127.0.0.1:0", |asked| match asked.contains("/hangs") {
        true => Play::FallsSilent(Vec::new()),
        false => Play::Writes(response(200, "", "served")),
    });
    let server = server.await;
    let way = Way::with("127.0.0.0/8", |options| {
        (options.max_exchanges, options.max_exchanges_per_host) = (2, 2);
    });
    let hanging = get(server.at("127.0.0.1", "/hangs"));
    let mut short = get(server.at("127.0.0.1", "/"));
    short.times.total = Duration::from_millis(50);
    let mut hangs = std::pin::pin!(way.send_for("ann", &hanging));
    let served = async {
        let (error, arrival) = way.send_for("ann", &short).await.err().unwrap();
        assert!(matches!(error, EgressError::TimedOut { .. }), "{error}");
        assert_eq!(arrival, Arrival::NotSent, "it had no place");
        short.times.total = Duration::from_secs(60);
        way.send_for("ben", &short).await.unwrap()
    };
    tokio::select! {
        biased;
        _ = &mut hangs => panic!("it hangs"),
        answered = served => assert_eq!(text(&answered), "served"),
    }
}

#[tokio::test]
async fn memory_of_a_response_is_charged_as_it_comes_and_given_back_with_it() {
    let server = Server::start(Play::Writes(response(200, "", &"x".repeat(1 << 20)))).await;
    let url = server.at("127.0.0.1", "/");
    let way = Way::to("127.0.0.0/8");
    let answered = way.send(&get(&url)).await.unwrap();
    assert!(way.memory.used() >= 1 << 20, "{}", way.memory.used());
    drop(answered);
    assert_eq!(way.memory.used(), 0);
    let little = Way::of(&MemoryBudget::new(1 << 20), "127.0.0.0/8", |_| {});
    let (error, arrival) = little.problem(&url).await;
    assert_eq!((error, arrival), (EgressError::OutOfMemory, Arrival::MayHaveArrived));
    assert_eq!(little.memory.used(), 0);
}
