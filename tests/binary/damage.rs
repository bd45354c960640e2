//! Damage on the disk: a start that is refused says why, whom it concerns and what to run; `store check`
//! finds it; `store repair --quarantine` mends it, and the sessions that are not concerned go on.

use std::path::{Path, PathBuf};
use std::process::Command;

use dormouse_tests::process::without_settings;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, Server};
use serde_json::{Value, json};

use crate::DORMOUSE;
use crate::backup::files_of;
use crate::operator::{is_well, operate};

/// A data directory of sessions with three turns each, that nobody has open.
struct Prepared {
    directory: tempfile::TempDir,
    counters: Vec<String>,
    /// Has so large a state that it lies in blobs.
    notepad: String,
}

impl Prepared {
    async fn new() -> Prepared {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(DORMOUSE, &directory.path().join("data"), &[]).unwrap();
        let client = server.client();
        let mut counters = Vec::new();
        for _ in 0..4 {
            let id =
                client.create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
            for n in 1..=3 {
                assert_eq!(client.ask(&id, "hello").await.unwrap(), format!("turn {n}: hello"));
            }
            counters.push(id);
        }
        let body = json!({ "agent": "notepad", "pattern": "hybrid", "maxFuelPerTurn": 100_000_000_000_u64 });
        let notepad = client.create(&body).await.unwrap();
        for n in 1..=3 {
            // Nothing that compresses well.
            let mut random = n;
            let letters = std::iter::repeat_with(|| {
                random = random * 48_271_u64 % 2_147_483_647;
                char::from(b'a' + u8::try_from(random % 26).unwrap())
            });
            let note: String = letters.take(300_000).collect();
            let answer = client.ask(&notepad, &format!("add {note}")).await.unwrap();
            assert_eq!(answer, format!("noted as {n}"));
        }
        assert_eq!(server.terminate().unwrap(), Some(0));
        let prepared = Prepared { directory, counters, notepad };
        is_well(&prepared.data());
        prepared
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A copy, to be damaged.
    fn copy(&self, name: &str) -> PathBuf {
        let copy = self.directory.path().join(name);
        copy_directory(&self.data(), &copy);
        copy
    }
}

fn copy_directory(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// The bytes of an id, as keys have them.
fn bytes_of(id: &str) -> Vec<u8> {
    let digits: Vec<u8> = id.bytes().filter(|byte| *byte != b'-').collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Flip a bit behind the last place in the packs where this key stands.
fn flip_behind(data: &Path, key: &[u8]) {
    let mut found = None;
    for file in files_of(&data.join("store/packs")) {
        let bytes = std::fs::read(&file).unwrap();
        let places = bytes.windows(key.len()).enumerate().filter(|(_, window)| *window == key);
        if let Some((at, _)) = places.max_by_key(|(at, _)| *at) {
            found = Some((file, bytes, at));
        }
    }
    let (file, mut bytes, at) = found.expect("the key is in a pack");
    bytes[at + key.len() + 20] ^= 4;
    std::fs::write(file, bytes).unwrap();
}

/// Flip a bit where these bytes stand first in the log.
fn flip_in_log(data: &Path, text: &[u8]) {
    for file in files_of(&data.join("store/log")) {
        let mut bytes = std::fs::read(&file).unwrap();
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            bytes[at] ^= 4;
            std::fs::write(file, bytes).unwrap();
            return;
        }
    }
    panic!("the log does not have it");
}

/// How a start ends that is refused.
fn refused(data: &Path) -> String {
    // One that is not refused must not go on for ever.
    let mut command = Command::new("timeout");
    without_settings(&mut command);
    command.args(["60", DORMOUSE, "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// What a check finds: the sessions that are concerned.
fn check(data: &Path) -> Vec<String> {
    let told = operate(data, &["store", "check"]);
    assert_eq!(told.code, 1, "{}{}", told.said, told.complained);
    assert!(told.said.contains("dormouse store repair --quarantine"), "{}", told.said);
    let report = operate(data, &["store", "check", "--json"]);
    assert_eq!(report.code, 1);
    let report = report.json();
    assert!(report["problems"].as_u64() > Some(0), "{report}");
    let sessions = report["sessions"].as_array().unwrap();
    sessions.iter().map(|session| session.as_str().unwrap().to_owned()).collect()
}

/// Mend it: what became of the sessions that were concerned.
fn repair(data: &Path) -> Vec<(String, String)> {
    let done = operate(data, &["store", "repair", "--quarantine", "--json"]);
    assert_eq!(done.code, 0, "{}{}", done.said, done.complained);
    is_well(data);
    let done = done.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let sessions = done["sessions"].as_array().unwrap();
    sessions.iter().map(|one| (text(&one["session"]), text(&one["outcome"]))).collect()
}

async fn status(client: &Client, id: &str) -> Value {
    let (status, session) = client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(status.as_u16(), 200, "{session}");
    session
}

/// The sessions that were not concerned go on where they were.
async fn go_on<'a>(client: &Client, sessions: impl IntoIterator<Item = &'a String>) {
    for id in sessions {
        assert_eq!(client.ask(id, "on").await.unwrap(), "turn 4: on", "{id}");
    }
}

async fn is_in_error(client: &Client, id: &str, reason: &str) {
    let session = status(client, id).await;
    assert_eq!(session["status"], "error", "{session}");
    let (status, answer) = client.message(id, "hello").await.unwrap();
    assert_eq!(status.as_u16(), 409, "{answer}");
    assert!(session.to_string().contains(reason), "{session}");
}

#[tokio::test]
async fn of_flipped_bits_each_session_bears_its_own() {
    let prepared = Prepared::new().await;
    let data = prepared.copy("flipped");
    let [first, second, others @ ..] = &prepared.counters[..] else { panic!("there are four") };
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let snapshots = format!("/api/sessions/{first}/snapshots");
    let (_, snapshots) = server.client().get(&snapshots).await.unwrap();
    let snapshot = |n: usize| snapshots["snapshots"][n]["id"].as_str().unwrap().to_owned();
    let (head, before) = (snapshot(0), snapshot(1));
    assert_eq!(server.terminate().unwrap(), Some(0));

    // The head of the first, and the record of the second.
    let row = [b"r".as_slice(), &bytes_of(first), b"h", &bytes_of(&head)].concat();
    flip_behind(&data, &row);
    flip_behind(&data, &[b"s".as_slice(), &bytes_of(second)].concat());
    let mut both = [first.clone(), second.clone()];
    both.sort();
    assert_eq!(check(&data), both);
    assert_eq!(repair(&data), both.map(|id| (id, "error".to_owned())));
    assert!(!files_of(&data.join("store/quarantine")).is_empty(), "the damaged packs are kept");

    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let client = server.client();
    is_in_error(&client, first, "snapshot_corrupt").await;
    let (status, answer) = client
        .post(&format!("/api/sessions/{first}/resume"), &json!({ "snapshotId": before }))
        .await
        .unwrap();
    assert_eq!(status.as_u16(), 200, "{answer}");
    assert_eq!(client.ask(first, "from before").await.unwrap(), "turn 3: from before");
    is_in_error(&client, second, "record_damaged").await;
    let resume = format!("/api/sessions/{second}/resume");
    let (status, answer) = client.post(&resume, &json!({})).await.unwrap();
    assert_eq!(status.as_u16(), 200, "{answer}");
    go_on(&client, [second]).await;
    go_on(&client, others).await;
    assert_eq!(client.ask(&prepared.notepad, "count").await.unwrap(), "3 in the list");
    assert_eq!(server.terminate().unwrap(), Some(0));
    is_well(&data);
}

#[tokio::test]
async fn a_lost_pack_is_refused_with_whom_it_concerns_until_it_is_mended() {
    let prepared = Prepared::new().await;
    let data = prepared.copy("lost");
    // Besides components, two values are large: the state of the notepad, and the turn that made it so large.
    let key = bytes_of(&prepared.notepad);
    let packs = files_of(&data.join("store/packs"));
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let client = server.client();
    assert_eq!(client.ask(&prepared.notepad, "add a short note").await.unwrap(), "noted as 4");
    assert_eq!(server.terminate().unwrap(), Some(0));
    assert_eq!(key.len(), 16);
    let is_large = |pack: &&PathBuf| pack.file_name().unwrap().to_str().unwrap().starts_with("l-");
    let mut large: Vec<&PathBuf> = packs.iter().filter(is_large).collect();
    large.sort();
    let newest_large = large[large.len() - 2];
    let away = prepared.directory.path().join("away");
    std::fs::rename(newest_large, &away).unwrap();

    let said = refused(&data);
    assert!(said.contains("dormouse store repair --quarantine"), "{said}");
    assert!(said.contains("dormouse restore"), "{said}");
    assert!(said.contains(&prepared.notepad), "{said}");
    assert_eq!(check(&data), std::slice::from_ref(&prepared.notepad));
    // Put back, all is well again.
    std::fs::rename(&away, newest_large).unwrap();
    is_well(&data);
    std::fs::rename(newest_large, &away).unwrap();

    assert_eq!(repair(&data), [(prepared.notepad.clone(), "error".to_owned())]);
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    is_in_error(&server.client(), &prepared.notepad, "snapshot_corrupt").await;
    go_on(&server.client(), &prepared.counters).await;
    assert_eq!(server.terminate().unwrap(), Some(0));
    is_well(&data);
}

#[tokio::test]
async fn an_old_log_or_index_that_is_copied_back_is_refused_until_it_is_mended() {
    let prepared = Prepared::new().await;
    let changed = &prepared.counters[0];
    for part in ["log", "sled"] {
        let data = prepared.copy(part);
        let server = Server::start(DORMOUSE, &data, &[]).unwrap();
        assert_eq!(server.client().ask(changed, "more").await.unwrap(), "turn 4: more");
        // What was copied is old only once a later part of the log says so.
        eventually("the turn is in the index", async || {
            let log = operate(&data, &["store", "stat", "--json"]).json()["log"].clone();
            log["last"] == log["applied"]
        })
        .await;
        assert_eq!(server.client().ask(changed, "more").await.unwrap(), "turn 5: more");
        assert_eq!(server.terminate().unwrap(), Some(0));
        let part_of = |data: &Path| data.join("store").join(part);
        std::fs::remove_dir_all(part_of(&data)).unwrap();
        copy_directory(&part_of(&prepared.data()), &part_of(&data));

        let said = refused(&data);
        assert!(said.contains("old one") && said.contains("dormouse restore"), "{part}: {said}");
        // The index has all of it, or else the log.
        assert_eq!((check(&data), repair(&data)), (Vec::new(), Vec::new()));
        let server = Server::start(DORMOUSE, &data, &[]).unwrap();
        let client = server.client();
        assert_eq!(client.ask(changed, "on").await.unwrap(), "turn 6: on");
        go_on(&client, &prepared.counters[1..]).await;
        assert_eq!(server.terminate().unwrap(), Some(0));
        is_well(&data);
    }
}

/// Of a group in the middle of the log, that was not applied yet.
#[tokio::test]
async fn a_damaged_log_puts_those_into_error_whose_turns_are_lost() {
    let prepared = Prepared::new().await;
    let [first, second, others @ ..] = &prepared.counters[..] else { panic!("there are four") };
    // Each second what there is is applied, and not needed in the log any more.
    for attempt in 0..20 {
        let data = prepared.copy(&format!("log {attempt}"));
        let server = Server::start(DORMOUSE, &data, &[]).unwrap();
        for session in [first, second] {
            for prompt in ["mark me", "and more"] {
                server.client().ask(session, prompt).await.unwrap();
            }
        }
        server.kill().unwrap();
        flip_in_log(&data, b"mark me");
        if operate(&data, &["store", "check"]).code == 0 {
            continue;
        }
        let said = refused(&data);
        let both = [first.clone(), second.clone()];
        assert!(both.iter().all(|id| said.contains(id)), "{said}");
        assert_eq!(check(&data), both);
        assert_eq!(repair(&data), both.clone().map(|id| (id, "error".to_owned())));
        let server = Server::start(DORMOUSE, &data, &[]).unwrap();
        let client = server.client();
        for session in &both {
            is_in_error(&client, session, "state_lost").await;
            let resume = format!("/api/sessions/{session}/resume");
            let (status, answer) = client.post(&resume, &json!({})).await.unwrap();
            assert_eq!(status.as_u16(), 200, "{answer}");
        }
        go_on(&client, both.iter().chain(others)).await;
        assert_eq!(server.terminate().unwrap(), Some(0));
        is_well(&data);
        return;
    }
    panic!("the log was never needed");
}

#[tokio::test]
async fn an_index_that_is_lost_is_beyond_repair_and_a_backup_is_not() {
    let prepared = Prepared::new().await;
    let backup = prepared.directory.path().join("backup");
    assert_eq!(operate(&prepared.data(), &["backup", backup.to_str().unwrap()]).code, 0);
    let data = prepared.copy("no index");
    std::fs::remove_dir_all(data.join("store/sled")).unwrap();
    let said = refused(&data);
    assert!(said.contains("index") && said.contains("dormouse restore"), "{said}");
    assert_eq!(operate(&data, &["store", "check"]).code, 1);
    let hopeless = operate(&data, &["store", "repair", "--quarantine"]);
    assert!(hopeless.code == 1 && hopeless.complained.contains("dormouse restore"));
    let again = prepared.directory.path().join("again");
    assert_eq!(operate(&again, &["restore", backup.to_str().unwrap()]).code, 0);
    let server = Server::start(DORMOUSE, &again, &[]).unwrap();
    go_on(&server.client(), &prepared.counters).await;
}
