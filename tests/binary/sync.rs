//! A killed process cannot show a missing sync, because the kernel keeps what was written. So the
//! host is traced: before each answer to a message, the file of the store must have been synced.
//!
//! Needs `strace`. Where it is not installed the test fails and says so, unless
//! `DORMOUSE_WITHOUT_STRACE=1` says that this is known.

use std::path::Path;
use std::process::Command;

use dormouse_tests::Server;
use serde_json::json;

use crate::DORMOUSE;

const MESSAGES: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_is_synced_before_each_answer() {
    if std::env::var_os("DORMOUSE_WITHOUT_STRACE").is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let trace = directory.path().join("trace");
    let mut command = Command::new("strace");
    command
        .args(["-f", "-y", "-s", "24", "-e", "signal=none"])
        .args(["-e", "trace=fsync,fdatasync,write,writev,sendto,sendmsg"])
        .arg("-o")
        .arg(&trace)
        .arg(DORMOUSE);
    let server = Server::spawn(command, &data).expect(
        "strace runs (Debian: apt-get install strace; to do without: DORMOUSE_WITHOUT_STRACE=1)",
    );
    let client = server.client();
    let body = json!({ "agent": "counter", "pattern": "hybrid" });
    let session = client.create(&body).await.unwrap();
    for n in 1..=MESSAGES {
        assert_eq!(client.ask(&session, "hello").await.unwrap(), format!("turn {n}: hello"));
    }
    // The trace is whole once the traced process has ended, and strace with it.
    assert_eq!(server.terminate_traced().unwrap(), Some(0));
    let trace = std::fs::read_to_string(trace).unwrap();
    let store = std::fs::canonicalize(&data).unwrap();
    let answers = answers_without_sync(&trace, &store);
    assert!(answers.total > MESSAGES, "only {} answers are in the trace", answers.total);
    // The answer to the creation is one of a change too; those of agents' upload came before.
    assert_eq!(answers.unsynced, Vec::<usize>::new());
}

struct Answers {
    total: u64,
    /// The lines of answers that no sync came before.
    unsynced: Vec<usize>,
}

/// Find each answer in the trace, and those since whose predecessor nothing was synced.
fn answers_without_sync(trace: &str, store: &Path) -> Answers {
    let store = store.to_str().unwrap();
    let mut answers = Answers { total: 0, unsynced: Vec::new() };
    // Per thread: a sync that has begun and not returned yet.
    let mut running = std::collections::HashMap::new();
    let mut synced = false;
    for (n, line) in trace.lines().enumerate() {
        let (thread, call) = line.split_once(char::is_whitespace).unwrap_or(("", line));
        let call = call.trim_start();
        let sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if sync && call.contains(store) {
            if call.contains("<unfinished") {
                running.insert(thread, ());
            } else {
                synced |= call.ends_with("= 0");
            }
        } else if call.contains("sync resumed") && running.remove(thread).is_some() {
            synced |= call.ends_with("= 0");
        } else if call.contains("\"HTTP/1.1 20") {
            answers.total += 1;
            if !std::mem::take(&mut synced) {
                answers.unsynced.push(n + 1);
            }
        }
    }
    answers
}

#[test]
fn an_answer_without_a_sync_before_it_is_found() {
    let trace = r#"7 fdatasync(9</d/db>) = 0
8 sendto(12<socket:[1]>, "HTTP/1.1 200 OK"..., 300, 0, NULL, 0) = 300
7 fdatasync(9</d/db> <unfinished ...>
8 sendto(12<socket:[1]>, "HTTP/1.1 200 OK"..., 300, 0, NULL, 0) = 300
7 <... fdatasync resumed>) = 0
8 sendto(12<socket:[1]>, "HTTP/1.1 200 OK"..., 300, 0, NULL, 0) = 300
7 fdatasync(9</elsewhere>) = 0
8 sendto(12<socket:[1]>, "HTTP/1.1 200 OK"..., 300, 0, NULL, 0) = 300
"#;
    let answers = answers_without_sync(trace, Path::new("/d"));
    assert_eq!((answers.total, answers.unsynced), (4, vec![4, 8]));
}
