//! What the commands of clients do without a server, with a wrong key, and with rubbish on either side.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::{Host, Ran, command};

const ID: &str = "0198c0de-0000-7000-8000-000000000000";

/// A call of each command.
const CALLS: [&[&str]; 9] = [
    &["sessions"],
    &["sessions", "show", ID],
    &["sessions", "sleep", ID],
    &["agents"],
    &["agents", "show", "counter"],
    &["events"],
    &["events", "--follow"],
    &["stats"],
    &["talk", "counter", "hello"],
];

fn run(arguments: &[&str], server: &str) -> Ran {
    let mut command = command(arguments);
    command.env("DORMOUSE_SERVER", server);
    Ran::of(command)
}

#[test]
fn without_a_server_each_command_says_how_to_start_one() {
    // Nobody listens on a port that was just given back.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = format!("http://127.0.0.1:{port}");
    for call in CALLS {
        let ran = run(call, &server);
        assert_eq!((ran.code, ran.out.as_str()), (3, ""), "{ran:?}");
        let expected = format!("dormouse: no server answers at {server} (Connection refused");
        assert!(ran.err.starts_with(&expected) && ran.err.contains("dormouse serve"), "{ran:?}");
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
}

#[test]
fn a_wrong_key_is_refused_and_the_right_one_is_taken_from_the_environment() {
    let key = Ran::of(command(&["key", "ann"])).out;
    let line = key.lines().find_map(|line| line.trim().strip_prefix("api-keys = [\"")).unwrap();
    let accepted = line.trim_end_matches("\"]");
    let secret = key.lines().map(str::trim).find(|line| line.starts_with("dm_")).unwrap();
    let host = Host::with(&["--api-keys", accepted]);
    for call in CALLS {
        for wrong in [&[][..], &["--key", "wrong"], &["--key", ""]] {
            let ran = host.run(&[call, wrong].concat());
            assert!(ran.code == 1 && ran.err.contains("(unauthorized)"), "{ran:?}");
            assert!(ran.err.contains("DORMOUSE_KEY"), "{ran:?}");
        }
    }
    let mut with_key = host.command(&["talk", "counter", "hello"]);
    with_key.env("DORMOUSE_KEY", secret);
    assert_eq!(Ran::of(with_key).out, "turn 1: hello\n");
    let unsendable = host.run(&["sessions", "--key", "a\nb"]);
    assert!(unsendable.code == 2 && !unsendable.err.contains("a\nb"), "{unsendable:?}");
    // They are no settings of a host, which refuses what it does not know.
    let mut config = command(&["config"]);
    config.env("DORMOUSE_KEY", secret).env("DORMOUSE_SERVER", host.server.base());
    let config = Ran::of(config);
    assert!(config.code == 0 && !config.out.contains(secret), "{config:?}");
    let mut help = command(&["sessions", "--help"]);
    help.env("DORMOUSE_KEY", secret);
    assert!(!Ran::of(help).out.contains(secret));
}

#[test]
fn rubbish_on_the_command_line_is_refused_before_anybody_is_asked() {
    for rubbish in [
        &["sessions", "show", "../../etc"][..],
        &["sessions", "show", ""],
        &["sessions", "show"],
        &["sessions", "dance", ID],
        &["sessions", "--limit", "0"],
        &["sessions", "--limit", "many"],
        &["agents", "show", "a b"],
        &["agents", "show", "../sessions"],
        &["agents", "upload", "x.wasm"],
        &["events", "--after", "-1"],
        &["events", "--session", "x"],
        &["events", "--follow", "--limit", "3"],
        &["talk", "a", "b", "c"],
        &["sessions", "--server", "https://127.0.0.1:1"],
        &["sessions", "--server", "ftp://127.0.0.1:1"],
        &["sessions", "--server", "127.0.0.1:1"],
        &["sessions", "--server", "\u{1b}[31m"],
    ] {
        let ran = run(rubbish, "http://127.0.0.1:1");
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{rubbish:?}: {ran:?}");
        assert!(!ran.err.is_empty() && !ran.err.contains('\u{1b}'), "{rubbish:?}: {ran:?}");
    }
}

#[test]
fn what_answers_and_is_no_dormouse_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let page = |status: &str, body: &str| {
        let length = body.len();
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}")
    };
    let answers = [
        (page("200 OK", "<html>\u{1b}[31m"), 1),
        (page("200 OK", "{}"), 1),
        (page("200 OK", "[]"), 1),
        (page("404 Not Found", "nothing"), 1),
        (page("302 Found", ""), 1),
        (page("500 Oh", "{\"error\": 7}"), 1),
        ("rubbish\u{1b}[31m\r\n\r\n".to_owned(), 3),
        (String::new(), 3),
        ("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned(), 3),
    ];
    let codes: Vec<i32> = answers.iter().map(|(_, code)| *code).collect();
    let serving = std::thread::spawn(move || {
        for (answer, _) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            // As much of the request as comes at once: it is small.
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for code in codes {
        let ran = run(&["sessions"], &server);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{ran:?}");
        assert!(ran.err.contains(&server) && !ran.err.contains('\u{1b}'), "{ran:?}");
    }
    serving.join().unwrap();
}
