//! `dormouse keys`: on a host that runs, and on a data directory that none has open.

use std::path::Path;

use dormouse_tests::Server;
use dormouse_tests::test_host::eventually;
use serde_json::Value;

use crate::operator::{is_well, operate};
use crate::{DORMOUSE, run};

/// Create a key, and return what is told of it.
fn create(data: &Path, arguments: &[&str]) -> Value {
    let done = operate(data, &[&["keys", "create"], arguments, &["--json"]].concat());
    assert_eq!(done.code, 0, "{}", done.complained);
    done.json()
}

#[tokio::test]
async fn keys_are_created_listed_and_revoked_with_a_host_and_without() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // Nobody has started a host on it yet.
    let refused = operate(&data, &["keys", "create", "ann"]);
    assert_eq!(refused.code, 1);
    assert!(refused.complained.contains("--role admin"), "{}", refused.complained);
    let root = create(&data, &["root", "--role", "admin"]);
    assert_eq!(operate(&data, &["keys", "list", "--json"]).json()[0]["id"], root["id"]);

    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    eventually("the banner says that a key is needed", async || {
        server.printed().iter().any(|line| line.contains("each caller needs one"))
    })
    .await;
    assert_eq!(server.client().get("/api/sessions").await.unwrap().0, 401);
    let secret = |key: &Value| key["secret"].as_str().unwrap().to_owned();
    let as_root = server.client().with_key(&secret(&root));
    assert_eq!(as_root.get("/api/keys").await.unwrap().1["count"], 1);
    let ann = create(&data, &["ann", "--expires", "30d"]);
    assert_eq!((&ann["role"], ann["expiresAt"].is_string()), (&"user".into(), true), "{ann}");
    let as_ann = server.client().with_key(&secret(&ann));
    assert_eq!(as_ann.get("/api/sessions").await.unwrap().0, 200);
    let listed = operate(&data, &["keys", "list"]);
    assert!(listed.said.contains("ann") && listed.said.contains("root"), "{}", listed.said);
    let id = ann["id"].as_str().unwrap();
    let revoked = operate(&data, &["keys", "revoke", id]);
    assert_eq!(revoked.code, 0, "{}", revoked.complained);
    assert_eq!(as_ann.get("/api/sessions").await.unwrap().0, 401);
    let twice = operate(&data, &["keys", "revoke", id]);
    assert!(twice.code == 1 && twice.complained.contains(id), "{}", twice.complained);
    assert_eq!(operate(&data, &["keys", "revoke", "x"]).code, 1);
    server.terminate().unwrap();

    let left = operate(&data, &["keys", "list", "--json"]).json();
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
    assert!(left[0]["lastUsedAt"].is_string(), "{left}");
    is_well(&data);
}

#[tokio::test]
async fn a_server_that_others_can_reach_starts_with_a_key_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let arguments =
        ["--data-dir", data.to_str().unwrap(), "--listen", "0.0.0.0:0", "--log-level", "warn"];
    let refused = run(&arguments, directory.path());
    let complained = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(complained.contains("dormouse keys create"), "{complained}");
    let root = create(&data, &["root", "--role", "admin"]);
    let server = Server::start(DORMOUSE, &data, &["--listen", "0.0.0.0:0"]).unwrap();
    let client = server.client();
    assert_eq!(client.get("/api/sessions").await.unwrap().0, 401);
    let root = client.with_key(root["secret"].as_str().unwrap());
    let (_, keys) = root.get("/api/keys").await.unwrap();
    let path = format!("/api/keys/{}", keys["keys"][0]["id"].as_str().unwrap());
    assert_eq!(root.delete(&path).await.unwrap().0, 200);
    assert_eq!(client.get("/api/sessions").await.unwrap().0, 401, "it is not open without one");
    server.terminate().unwrap();
}
