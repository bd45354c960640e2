//! The history of a session's files, as a stock git has it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use dormouse::Principal;
use dormouse_http::ApiKey;
use dormouse_test_guests as guests;
use dormouse_tests::{Client, TestServer};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

/// A stock git, which knows nothing of this machine but its folder.
struct Git(TempDir);

impl Git {
    fn new() -> Git {
        Git(TempDir::new().unwrap())
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let output = Command::new("git")
            .args(["-c", "advice.detachedHead=false", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.0.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .output()
            .await;
        output.unwrap_or_else(|error| panic!("this test needs git on the path: {error}"))
    }

    async fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    async fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(!output.status.success(), "git {arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn files(&self, clone: &str) -> BTreeMap<String, Vec<u8>> {
        let (mut files, root) = (BTreeMap::new(), self.0.path().join(clone));
        read(&root, &root, &mut files);
        files
    }
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if name == ".git" {
            continue;
        }
        if path.is_dir() {
            read(root, &path, files);
        } else {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}

fn url(server: &TestServer, id: &str) -> String {
    format!("http://{}/git/{id}.git", server.address())
}

/// The files that the API has of a snapshot.
async fn files_of(server: &TestServer, id: &str, snapshot: &str) -> BTreeMap<String, Vec<u8>> {
    let path = format!("/api/sessions/{id}/workspace.tar?snapshot={snapshot}");
    let archive = server.client.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(archive.status(), 200);
    let archive = archive.bytes().await.unwrap();
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
            files.insert(path, bytes);
        }
    }
    files
}

async fn snapshots(server: &TestServer, id: &str) -> Vec<Value> {
    let path = format!("/api/sessions/{id}/snapshots?commits=true");
    let (_, body) = server.client.get(&path).await.unwrap();
    body["snapshots"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_clone_has_a_commit_for_each_turn_that_has_changed_files() {
    let server = TestServer::new().await;
    let id = server
        .session(&guests::KEEPS_FILES, json!({ "pattern": "hybrid", "threadKey": "mail" }))
        .await;
    let git = Git::new();
    git.ok(&["clone", &url(&server, &id), "empty"]).await;
    let path = format!("/api/sessions/{id}/workspace/src/main.rs");
    server.client.request(Method::PUT, &path).body("fn main() {}").send().await.unwrap();
    for turn in 1..=40 {
        let orders = match turn % 4 {
            0 => "turns".to_owned(),
            1 => format!("mkdir d{turn}\nwrite d{turn}/f {turn}\nfill large {}", turn * 10_000),
            2 => format!("poke large {turn}\nappend log {turn}"),
            _ => format!("clear d{}\nwrite a {turn}\nwrite b {turn}", turn - 2),
        };
        server.client.ask(&id, &orders).await.unwrap();
    }
    git.ok(&["clone", &url(&server, &id), "clone"]).await;
    let said = git.ok(&["-C", "clone", "fsck", "--strict", "--full"]).await;
    assert!(!said.contains("error") && !said.contains("warning"), "{said}");
    let log = git.ok(&["-C", "clone", "log", "--reverse", "--format=%H %ae %s"]).await;
    let log: Vec<&str> = log.lines().collect();
    assert_eq!(log.len(), 1 + 30);
    assert!(
        log[0].ends_with(&format!("{id}@dormouse.invalid From outside: 2 files")),
        "{}",
        log[0]
    );
    assert!(log[1].ends_with("Turn 1: 3 files"), "{}", log[1]);
    assert!(log[30].ends_with("Turn 39: 4 files"), "{}", log[30]);
    let body = git.ok(&["-C", "clone", "log", "-1", "--format=%b"]).await;
    assert!(body.starts_with("0 added, 2 changed, 2 removed\n"), "{body}");
    assert!(body.contains(&format!("Session: {id}\nThread: mail\nSnapshot: ")), "{body}");

    let kept = snapshots(&server, &id).await;
    let mut checked = 0;
    for snapshot in &kept {
        let (commit, snapshot) = (snapshot["commit"].as_str().unwrap(), snapshot["id"].as_str());
        git.ok(&["-C", "clone", "checkout", "--quiet", commit]).await;
        assert_eq!(git.files("clone"), files_of(&server, &id, snapshot.unwrap()).await);
        checked += 1;
    }
    assert_eq!(checked, 16);
    let (_, turn) =
        server.client.get(&format!("/api/sessions/{id}/turns/39?commits=true")).await.unwrap();
    assert!(log[30].starts_with(turn["commit"].as_str().unwrap()), "{turn}");

    // What comes next is fetched alone, also after the host has slept.
    server.client.post(&format!("/api/sessions/{id}/sleep"), &json!({})).await.unwrap();
    server.client.ask(&id, "write new 1").await.unwrap();
    git.ok(&["-C", "clone", "checkout", "--quiet", "main"]).await;
    git.ok(&["-C", "clone", "pull", "--ff-only"]).await;
    assert_eq!(git.files("clone")["new"], b"1");
    let same = git.ok(&["-C", "clone", "rev-list", "--count", "HEAD"]).await;
    assert_eq!(same, "32");
    server.shut_down().await;
}

#[tokio::test]
async fn rewind_fork_and_resume_take_a_commit() {
    let server = TestServer::new().await;
    let id = server.session(&guests::KEEPS_FILES, json!({ "pattern": "hybrid" })).await;
    for text in ["write a one", "write a two", "turns", "write a three"] {
        server.client.ask(&id, text).await.unwrap();
    }
    let git = Git::new();
    git.ok(&["clone", &url(&server, &id), "clone"]).await;
    let two = git.ok(&["-C", "clone", "rev-parse", "HEAD~1"]).await;
    let newest = snapshots(&server, &id).await;
    assert_eq!((&newest[1]["commit"], &newest[2]["commit"]), (&json!(two), &json!(two)));

    let body = json!({ "commit": two });
    let (_, forked) = server.client.post(&format!("/api/sessions/{id}/fork"), &body).await.unwrap();
    let fork = forked["sessions"][0]["id"].as_str().unwrap();
    assert_eq!(server.client.ask(fork, "read a\nturns").await.unwrap(), "two\n3");
    let config = json!({ "resumeSessionId": format!("{id}@{two}") });
    let resumed = server
        .client
        .create(&json!({ "agent": "keeps_files", "pattern": "hybrid", "config": config }))
        .await
        .unwrap();
    assert_eq!(server.client.ask(&resumed, "read a\nturns").await.unwrap(), "two\n3");
    // A fork begins with the history of where it comes from.
    server.client.ask(fork, "write a own").await.unwrap();
    git.ok(&["clone", &url(&server, fork), "fork"]).await;
    assert_eq!(git.ok(&["-C", "fork", "rev-parse", "HEAD~1"]).await, two);

    let (status, _) =
        server.client.post(&format!("/api/sessions/{id}/rewind"), &body).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(server.client.ask(&id, "read a\nturns").await.unwrap(), "two\n3");
    git.ok(&["-C", "clone", "fetch"]).await;
    assert_eq!(git.ok(&["-C", "clone", "rev-parse", "origin/main"]).await, two);

    let none = "0123456789012345678901234567890123456789";
    for action in ["rewind", "fork"] {
        let path = format!("/api/sessions/{id}/{action}");
        let (status, refused) =
            server.client.post(&path, &json!({ "commit": none })).await.unwrap();
        assert_eq!((status.as_u16(), &refused["code"]), (404, &json!("commit_not_found")));
        let both = json!({ "commit": two, "snapshotId": newest[0]["id"] });
        let (status, _) = server.client.post(&path, &both).await.unwrap();
        assert_eq!(status, 400);
    }
    server.shut_down().await;
}

#[tokio::test]
async fn a_client_of_git_shows_its_key_as_a_password_and_a_stranger_finds_nothing() {
    let key = |name: &str| ApiKey::new(Principal(name.to_owned()), &format!("key-of-{name}"));
    let server = TestServer::with(|_| {}, |api| api.keys = vec![key("ann"), key("ben")]).await;
    let ann = server.client.with_key("key-of-ann");
    let id = ann.create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
    let path = format!("/api/sessions/{id}/workspace/secret");
    ann.request(Method::PUT, &path).body("of ann").send().await.unwrap();
    let git = Git::new();
    let with = |key: &str| url(&server, &id).replace("http://", &format!("http://any:{key}@"));
    git.ok(&["clone", &with("key-of-ann"), "ann"]).await;
    assert_eq!(git.files("ann")["secret"], b"of ann");
    let header = "http.extraHeader=Authorization: Bearer key-of-ann";
    git.ok(&["-c", header, "clone", &url(&server, &id), "bearer"]).await;
    for (url, told) in [
        (with("key-of-ben"), "not found"),
        (with("wrong"), "Authentication failed"),
        (url(&server, &id), "could not read Username"),
        (with("key-of-ann").replace(&id, "0190f4c6-0000-7000-8000-000000000000"), "not found"),
        (with("key-of-ann").replace(&id, "x"), "not found"),
    ] {
        let said = git.fails(&["clone", &url, "stranger"]).await;
        assert!(said.contains(told), "{url}: {said}");
    }
    git.ok(&[
        "-C",
        "ann",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "commit",
        "--allow-empty",
        "-m",
        "x",
    ])
    .await;
    let said = git.fails(&["-C", "ann", "push"]).await;
    assert!(said.contains("403"), "{said}");
    server.shut_down().await;
}

#[tokio::test]
async fn a_reader_may_clone_and_a_clone_counts_as_activity() {
    let server = TestServer::new().await;
    let id = server
        .session(
            &guests::KEEPS_FILES,
            json!({ "pattern": "long-running", "maxIdleTimeMs": 3_600_000 }),
        )
        .await;
    server.client.ask(&id, "write a one").await.unwrap();
    let key = async |by: &Client, role: &str| {
        let new = json!({ "principal": "local", "role": role });
        let (status, key) = by.post("/api/keys", &new).await.unwrap();
        assert_eq!(status, 201, "{key}");
        key["secret"].as_str().unwrap().to_owned()
    };
    let client = server.client.with_key(&key(&server.client, "admin").await);
    let reader = key(&client, "reader").await;
    let deadline = async || {
        let (_, session) = client.get(&format!("/api/sessions/{id}")).await.unwrap();
        session["idleDeadline"].as_str().unwrap().to_owned()
    };
    let before = deadline().await;
    server.advance(std::time::Duration::from_secs(1_800));
    let git = Git::new();
    let url = url(&server, &id).replace("http://", &format!("http://r:{reader}@"));
    git.ok(&["clone", &url, "clone"]).await;
    assert_eq!(git.files("clone")["a"], b"one");
    assert!(deadline().await > before);
    server.shut_down().await;
}

#[tokio::test]
async fn rubbish_is_answered_and_serves_nobody() {
    let server = TestServer::new().await;
    let id = server.session(&guests::KEEPS_FILES, json!({ "pattern": "hybrid" })).await;
    server.client.ask(&id, "write a one").await.unwrap();
    let post = async |kind: &str, encoding: Option<&str>, body: Vec<u8>| {
        let request =
            server.client.request(Method::POST, &format!("/git/{id}.git/git-upload-pack"));
        let mut request = request.header("content-type", kind).header("git-protocol", "version=2");
        if let Some(encoding) = encoding {
            request = request.header("content-encoding", encoding);
        }
        let answer = request.body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap())
    };
    let kind = "application/x-git-upload-pack-request";
    assert_eq!(post("text/plain", None, b"0000".to_vec()).await.0, 415);
    assert_eq!(post(kind, Some("gzip"), b"not packed".to_vec()).await.0, 400);
    let (status, told) = post(kind, None, b"zzzz".to_vec()).await;
    assert!(status == 200 && told[4..].starts_with(b"ERR "), "{told:?}");
    assert_eq!(post(kind, None, vec![b'0'; 9 << 20]).await.0, 413);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![b'0'; 64 << 20]).unwrap();
    assert_eq!(post(kind, Some("gzip"), packed.finish().unwrap()).await.0, 413);
    let path = format!("/git/{id}.git/info/refs?service=git-receive-pack");
    assert_eq!(server.client.get(&path).await.unwrap().0, 403);
    server.shut_down().await;
}
