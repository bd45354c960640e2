//! The addresses that the binary listens on.

use std::net::{Ipv6Addr, TcpListener};
use std::process::Command;

use dormouse_tests::{Client, Server};

use crate::DORMOUSE;

#[tokio::test]
async fn localhost_is_reached_by_both_of_its_addresses() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(DORMOUSE, &data, &["--listen", "localhost:0"]).unwrap();
    let port = server.base().rsplit(':').next().unwrap().to_owned();
    let mut bases = vec![format!("http://127.0.0.1:{port}")];
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        bases.push(format!("http://[::1]:{port}"));
    }
    for base in bases {
        assert_eq!(Client::new(&base).get("/api/sessions").await.unwrap().0, 200, "{base}");
    }
    assert_eq!(server.terminate().unwrap(), Some(0));
}

#[test]
fn of_several_addresses_each_that_others_can_reach_needs_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(DORMOUSE);
    dormouse_tests::process::without_settings(&mut command);
    command.current_dir(directory.path()).args(["--listen", "localhost:0,0.0.0.0:0"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("to listen on 0.0.0.0:0"), "{said}");
}
