//! A backup at full load is one moment of it, checked, and starts by itself.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dormouse_tests::{Client, Server};
use serde_json::json;

use crate::DORMOUSE;
use crate::operator::{is_well, operate};

const PAIRS: usize = 12;

/// Two sessions of one client, which speaks to the first and then to the second, and again. At every
/// moment the first has as many turns as the second, or one more.
#[derive(Clone)]
struct Pair {
    sessions: [String; 2],
    /// Rounds that were answered.
    rounds: u64,
}

async fn speak_once(client: &Client, pair: &mut Pair) {
    let n = pair.rounds + 1;
    for session in &pair.sessions {
        let prompt = format!("{n} {}", "word ".repeat(200));
        let answer = client.ask(session, &prompt).await.unwrap();
        assert!(answer.starts_with(&format!("turn {n}: {n} ")), "{answer}");
    }
    pair.rounds = n;
}

async fn speak(client: Client, mut pair: Pair, stop: Arc<AtomicBool>) -> Pair {
    while !stop.load(Ordering::Relaxed) {
        speak_once(&client, &mut pair).await;
    }
    pair
}

async fn turns(client: &Client, session: &str) -> u64 {
    let (status, session) = client.get(&format!("/api/sessions/{session}")).await.unwrap();
    assert_eq!(status.as_u16(), 200, "{session}");
    session["numTurns"].as_u64().unwrap()
}

/// Has every turn that was answered before it was begun, none from after it, and one moment.
async fn has_one_moment(data: &Path, before: &[Pair], after: &[Pair]) {
    let server = Server::start(DORMOUSE, data, &[]).unwrap();
    let client = server.client();
    for (before, after) in before.iter().zip(after) {
        let mut counts = [0; 2];
        for (count, session) in counts.iter_mut().zip(&before.sessions) {
            *count = turns(&client, session).await;
            assert!((before.rounds..=after.rounds + 1).contains(count), "{count}");
            let answer = client.ask(session, "and now").await.unwrap();
            assert_eq!(answer, format!("turn {}: and now", *count + 1));
        }
        let [first, second] = counts;
        assert!(first == second || first == second + 1, "{first} and {second}");
    }
    assert_eq!(server.terminate().unwrap(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_at_full_load_is_one_moment_and_starts() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let client = server.client();
    let mut pairs = Vec::new();
    for _ in 0..PAIRS {
        let body = json!({ "agent": "counter", "pattern": "hybrid" });
        let sessions = [client.create(&body).await.unwrap(), client.create(&body).await.unwrap()];
        pairs.push(Pair { sessions, rounds: 0 });
    }
    let mut backups = Vec::new();
    for name in ["first", "second"] {
        // Something has been answered before, and more is answered meanwhile.
        for pair in &mut pairs {
            speak_once(&client, pair).await;
        }
        let before = pairs.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let speaking: Vec<_> = pairs
            .drain(..)
            .map(|pair| tokio::spawn(speak(client.clone(), pair, Arc::clone(&stop))))
            .collect();
        let to = directory.path().join(name);
        let (from, into) = (data.clone(), to.clone());
        let backup = tokio::task::spawn_blocking(move || {
            operate(&from, &["backup", into.to_str().unwrap()])
        });
        let backup = backup.await.unwrap();
        stop.store(true, Ordering::Relaxed);
        for speaking in speaking {
            pairs.push(speaking.await.unwrap());
        }
        assert_eq!(backup.code, 0, "{}", backup.complained);
        assert!(backup.said.contains("every checksum is right"), "{}", backup.said);
        assert!(!to.join("compiled").exists());
        backups.push((to, before, pairs.clone()));
    }
    let again = operate(&data, &["backup", backups[0].0.to_str().unwrap()]);
    assert!(again.code == 1 && again.complained.contains("not empty"), "{}", again.complained);
    assert_eq!(server.terminate().unwrap(), Some(0));
    let offline = directory.path().join("offline");
    assert_eq!(operate(&data, &["backup", offline.to_str().unwrap()]).code, 0);

    // One is restored, in a directory where somebody has died; the other is started itself.
    let (backup, before, after) = &backups[0];
    let restored = directory.path().join("restored");
    std::fs::create_dir(&restored).unwrap();
    std::fs::write(restored.join("lock"), "1").unwrap();
    let done = operate(&restored, &["restore", backup.to_str().unwrap(), "--json"]);
    assert_eq!(done.code, 0, "{}", done.complained);
    assert_eq!(done.json()["sessions"], 2 * PAIRS);
    is_well(&restored);
    has_one_moment(&restored, before, after).await;
    let (backup, before, after) = &backups[1];
    has_one_moment(backup, before, after).await;
    is_well(backup);
    let restored = directory.path().join("restored offline");
    assert_eq!(operate(&restored, &["restore", offline.to_str().unwrap()]).code, 0);
    has_one_moment(&restored, &pairs, &pairs).await;
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let backup = directory.path().join("backup");
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let session =
        server.client().create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
    server.client().ask(&session, "one").await.unwrap();
    let done = operate(&data, &["backup", backup.to_str().unwrap()]);
    assert_eq!(done.code, 0, "{}", done.complained);
    assert_eq!(server.terminate().unwrap(), Some(0));

    let restored = directory.path().join("restored");
    let restore = |from: &Path| operate(&restored, &["restore", from.to_str().unwrap()]);
    for file in files_of(&backup) {
        let good = std::fs::read(&file).unwrap();
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        for bad in [Some(&bad[..]), Some(&good[..good.len() - 1]), None] {
            match bad {
                Some(bad) => std::fs::write(&file, bad).unwrap(),
                None => std::fs::remove_file(&file).unwrap(),
            }
            let refused = restore(&backup);
            assert_eq!(refused.code, 1, "{}: {}", file.display(), refused.said);
            assert!(refused.complained.contains("backup"), "{}", refused.complained);
            assert!(!restored.exists(), "{}", file.display());
            std::fs::write(&file, &good).unwrap();
        }
    }
    let refused = operate(&data, &["restore", backup.to_str().unwrap()]);
    assert!(refused.complained.contains("not empty"), "{}", refused.complained);
    let refused = restore(&data);
    assert!(refused.complained.contains("is not a backup"), "{}", refused.complained);
    assert!(!restored.exists());
    assert_eq!(restore(&backup).code, 0);
}

/// All files below a directory.
pub(crate) fn files_of(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_of(&path)) } else { found.push(path) }
    }
    found
}
