//! A process that may have few files open.

use std::net::TcpStream;
use std::process::Command;

use dormouse_tests::Server;
use dormouse_tests::process::without_settings;
use dormouse_tests::test_host::eventually;
use serde_json::json;

use crate::DORMOUSE;
use crate::operator::is_well;

/// The binary, where so many files may be open.
fn limited(files: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n {files} && exec \"$0\" \"$@\""), DORMOUSE]);
    command
}

#[tokio::test]
async fn more_clients_than_there_are_descriptors_end_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::spawn(limited(600), &data).unwrap();
    let told = "connections   88 at most";
    eventually("the banner tells", async || server.printed().join("\n").contains(told)).await;
    let address = server.base().strip_prefix("http://").unwrap().to_owned();
    let client = server.client();
    let id = client.create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
    let mut clients = Vec::new();
    for turn in 1..=20 {
        clients.extend((0..40).map(|_| TcpStream::connect(&address).unwrap()));
        // Each wakes the session from the disk.
        let reply = server.client().ask(&id, "hello").await.unwrap();
        assert_eq!(reply, format!("turn {turn}: hello"));
        let sleep = format!("/api/sessions/{id}/sleep");
        assert_eq!(server.client().post(&sleep, &json!({})).await.unwrap().0, 200);
    }
    assert_eq!(server.client().get("/readyz").await.unwrap().0, 200);
    assert_eq!(server.terminate().unwrap(), Some(0));
    is_well(&data);
}

#[test]
fn a_limit_that_is_too_low_is_told_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    // A server that starts all the same does not run for ever.
    let mut command = Command::new("timeout");
    command.args(["60", "sh", "-c", "ulimit -n 300 && exec \"$0\" \"$@\"", DORMOUSE]);
    without_settings(&mut command);
    let data = directory.path().join("data");
    let ended = command.arg("--data-dir").arg(data).output().unwrap();
    assert!(!ended.status.success());
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        said.contains("the limit of open files is 300") && said.contains("ulimit -n"),
        "{said}"
    );
}
