//! What an operator does with the data directory, while a host runs on it and while none does.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use dormouse_tests::Server;
use dormouse_tests::test_host::eventually;
use serde_json::{Value, json};

use crate::{DORMOUSE, run};

/// How a command of an operator has ended.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) said: String,
    pub(crate) complained: String,
}

impl Done {
    /// The document that it printed.
    pub(crate) fn json(&self) -> Value {
        let parsed = serde_json::from_str(&self.said);
        parsed.unwrap_or_else(|_| panic!("no JSON: {}\n{}", self.said, self.complained))
    }
}

/// Run `dormouse` with these arguments on this data directory.
pub(crate) fn operate(data: &Path, arguments: &[&str]) -> Done {
    let data = data.to_str().unwrap();
    let all = [arguments, &["--data-dir", data, "--log-level", "warn"]].concat();
    let output = run(&all, Path::new("/"));
    Done {
        code: output.status.code().unwrap(),
        said: String::from_utf8(output.stdout).unwrap(),
        complained: String::from_utf8(output.stderr).unwrap(),
    }
}

/// That all is well with it.
pub(crate) fn is_well(data: &Path) -> Value {
    let checked = operate(data, &["store", "check", "--json"]);
    assert_eq!(checked.code, 0, "{}{}", checked.said, checked.complained);
    checked.json()
}

#[tokio::test]
async fn check_stat_and_compact_do_the_same_with_a_host_and_without() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let mut sessions = Vec::new();
    for _ in 0..5 {
        let id = server
            .client()
            .create(&json!({ "agent": "counter", "pattern": "hybrid" }))
            .await
            .unwrap();
        server.client().ask(&id, "hello").await.unwrap();
        sessions.push(id);
    }
    let (status, _) =
        server.client().delete(&format!("/api/sessions/{}", sessions[0])).await.unwrap();
    assert!(status.is_success());

    eventually("what the session has left is removed", async || {
        is_well(&data)["read"]["snapshots"] == 4
    })
    .await;
    let report = is_well(&data);
    for (name, number) in [("sessions", 4), ("turns", 4), ("snapshots", 4), ("agents", 17)] {
        assert_eq!(report["read"][name], number, "{name}: {report}");
    }
    let stat = operate(&data, &["store", "stat", "--json"]).json();
    assert_eq!(stat["sessions"], 4);
    assert!(stat["diskBytes"].as_u64() > stat["log"]["bytes"].as_u64(), "{stat}");
    assert!(stat["log"]["last"].as_u64() > Some(0), "{stat}");
    let compacted = operate(&data, &["store", "compact"]);
    assert!(compacted.code == 0 && compacted.said.contains("takes"), "{}", compacted.complained);
    assert_eq!(server.client().ask(&sessions[1], "again").await.unwrap(), "turn 2: again");
    for refused in [
        operate(&data, &["store", "repair", "--quarantine"]),
        operate(&data, &["restore", data.to_str().unwrap()]),
    ] {
        assert_eq!(refused.code, 1, "{}", refused.said);
        let pid = server.pid().to_string();
        assert!(refused.complained.contains(&pid), "{}", refused.complained);
    }
    assert_eq!(server.terminate().unwrap(), Some(0));
    let report = is_well(&data);
    assert_eq!((&report["read"]["sessions"], &report["read"]["turns"]), (&json!(4), &json!(5)));
    let told = operate(&data, &["store", "check"]);
    assert!(told.said.contains("4 sessions, 5 turns") && told.said.contains("all is well"));
    assert_eq!(operate(&data, &["store", "stat"]).code, 0);
    assert_eq!(operate(&data, &["store", "compact"]).code, 0);
    let mended = operate(&data, &["store", "repair", "--quarantine"]);
    assert_eq!(mended.code, 0, "{}", mended.complained);
    assert!(mended.said.contains("nothing was changed"), "{}", mended.said);
}

#[test]
fn where_there_is_no_store_none_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("nothing");
    let backup = directory.path().join("backup");
    let (from, to) = (backup.to_str().unwrap(), backup.to_str().unwrap());
    for arguments in [
        &["store", "check"][..],
        &["store", "stat"],
        &["store", "compact"],
        &["store", "repair", "--quarantine"],
        &["backup", to],
        &["restore", from],
    ] {
        let refused = operate(&data, arguments);
        assert_eq!(refused.code, 1, "{arguments:?}");
        assert!(!refused.complained.is_empty(), "{arguments:?}");
        assert!(!data.exists() && !backup.exists(), "{arguments:?}");
    }
    // What is taken out is to be kept: whoever repairs says so.
    assert_eq!(operate(&data, &["store", "repair"]).code, 2);
    assert_eq!(operate(&data, &["store"]).code, 2);
}

#[tokio::test]
async fn the_control_socket_takes_neither_much_nor_forever_nor_after_the_end() {
    let directory = tempfile::tempdir().unwrap();
    // Longer than the path of a socket may be.
    let data = directory.path().join("long".repeat(40)).join("data");
    std::fs::create_dir_all(data.parent().unwrap()).unwrap();
    std::fs::create_dir(&data).unwrap();
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let socket = data.join("control");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(operate(&data, &["store", "stat"]).code, 0);

    std::os::unix::fs::symlink(&data, directory.path().join("d")).unwrap();
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(directory.path().join("d/control")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        // It may have stopped reading, and ended the connection.
        let _ = stream.write_all(line.as_bytes());
        let mut answer = String::new();
        let _ = BufReader::new(stream).read_line(&mut answer);
        answer
    };
    for line in ["{}\n", "\n", "GET / HTTP/1.1\r\n\r\n", "{\"command\":\"repair\"}\n"] {
        let answer: Value = serde_json::from_str(&ask(line)).unwrap();
        assert!(answer["refused"]["error"].is_string(), "{line}: {answer}");
    }
    // More than a request may have, in one line.
    let long = format!("{{\"command\":\"backup\",\"directory\":\"{}\"}}\n", "x".repeat(100_000));
    assert!(!ask(&long).contains("backup\":{"));
    let stat: Value = serde_json::from_str(&ask("{\"command\":\"stat\"}\n")).unwrap();
    assert_eq!(stat["stat"]["sessions"], 0, "{stat}");
    // Those who say nothing do not keep others out for ever.
    let silent: Vec<_> =
        (0..20).map(|_| UnixStream::connect(directory.path().join("d/control")).unwrap()).collect();
    assert_eq!(operate(&data, &["store", "stat"]).code, 0);
    drop(silent);

    server.kill().unwrap();
    assert!(socket.exists(), "who is killed removes nothing");
    assert_eq!(operate(&data, &["store", "stat"]).code, 0, "the lock of the dead is no obstacle");
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    assert_eq!(operate(&data, &["store", "stat"]).code, 0);
    assert_eq!(server.terminate().unwrap(), Some(0));
    eventually("the socket is gone", async || !socket.exists()).await;
}
