//! A disk that is really full, and one that cannot be written to: a small file system in memory, which
//! is mounted in a name space of its own, so that it is gone with the test whatever happens.
//!
//! Where the machine does not allow that, the tests say so and pass; with `CI` in the environment they
//! fail.

use std::path::{Path, PathBuf};
use std::process::Command;

use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, Server};
use serde_json::json;

use crate::operator::{is_well, operate};
use crate::{DORMOUSE, run};

/// Says that this process may mount, because it has been started for that.
const INSIDE: &str = "DORMOUSE_TEST_MAY_MOUNT";

/// The log has slots of 64 MiB.
const SIZE: &str = "size=320m";

/// A disk for this process alone.
struct Disk(PathBuf);

impl Disk {
    /// Mount one, and run the rest of the test of this name in a process that sees it. `None` where
    /// there is nothing left to do.
    fn mount(test: &str) -> Option<Disk> {
        let directory = std::env::temp_dir().join(format!("dormouse-disk-{}", std::process::id()));
        if std::env::var_os(INSIDE).is_none() {
            run_inside(test);
            return None;
        }
        std::fs::create_dir_all(&directory).unwrap();
        mount(&["-t", "tmpfs", "-o", SIZE, "tmpfs"], &directory);
        Some(Disk(directory))
    }

    fn data(&self) -> PathBuf {
        self.0.join("data")
    }

    /// Leave this much free, and nothing more.
    fn fill(&self, leave: u64) {
        let ballast = std::fs::File::create(self.0.join("ballast")).unwrap();
        let mode = rustix::fs::FallocateFlags::empty();
        // The host takes some space itself meanwhile.
        for _ in 0..1000 {
            let free = rustix::fs::statvfs(&self.0).unwrap();
            let free = free.f_bavail * free.f_frsize;
            let length = free.saturating_sub(leave).max(1);
            if rustix::fs::fallocate(&ballast, mode, 0, length).is_ok() {
                return;
            }
        }
        panic!("the disk is not filled");
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still has it open is killed soon; the name space goes with this process.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
        let _ = std::fs::remove_dir(&self.0);
    }
}

fn mount(arguments: &[&str], directory: &Path) {
    let status = Command::new("mount").args(arguments).arg(directory).status().unwrap();
    assert!(status.success(), "mount {arguments:?}");
}

/// Run this test again, in a name space in which mounting is allowed and seen by nobody else.
fn run_inside(test: &str) {
    let unshare = || {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "--propagation", "private"]);
        command
    };
    let probe = tempfile::tempdir().unwrap();
    let mut mounting = unshare();
    mounting.args(["mount", "-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(probe.path());
    let refused = match mounting.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Some(format!("`unshare` does not run: {error}")),
    };
    if let Some(why) = refused {
        let why = format!("{test} needs a disk of its own, and this machine mounts none: {why}");
        assert!(std::env::var_os("CI").is_none(), "{why}");
        println!("left out: {why}");
        return;
    }
    let mut command = unshare();
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{test} has failed on its own disk");
    // A name that no test has would run nothing, and succeed.
    assert!(said.contains("test result: ok. 1 passed"), "no test is called {test}");
}

/// How a message was answered: the number of its turn, or the word of the refusal.
async fn say(client: &Client, session: &str, length: usize) -> Result<u64, (u16, String)> {
    let prompt = "x".repeat(length);
    let (status, answer) = client.message(session, &prompt).await.unwrap();
    match status.as_u16() {
        200 => Ok(answer["result"]["turn"].as_u64().unwrap()),
        status => Err((status, answer["code"].as_str().unwrap_or_default().to_owned())),
    }
}

async fn stored_turns(client: &Client, session: &str) -> u64 {
    let (status, session) = client.get(&format!("/api/sessions/{session}")).await.unwrap();
    assert_eq!(status.as_u16(), 200, "{session}");
    session["numTurns"].as_u64().unwrap()
}

/// With room that the host keeps free; and without, until log and memory are full of what cannot be
/// applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_turns_loses_none_and_goes_on_when_there_is_space() {
    let name = "disk::a_full_disk_refuses_turns_loses_none_and_goes_on_when_there_is_space";
    let Some(disk) = Disk::mount(name) else { return };
    let data = disk.data();
    for (reserve, leave) in [("64MiB", 0), ("0", 1 << 20)] {
        let options = ["--min-free-disk", reserve];
        let server = Server::start(DORMOUSE, &data, &options).unwrap();
        let client = server.client();
        let session =
            client.create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
        let mut answered = say(&client, &session, 10).await.unwrap();
        disk.fill(leave);
        let refusal = loop {
            match say(&client, &session, 30_000).await {
                Ok(turn) => answered = turn,
                Err(refusal) => break refusal,
            }
            assert!(answered < 5_000, "the disk is never full");
        };
        println!("with {reserve}: {answered} turns, and then {refusal:?}");
        assert_eq!(refusal, (507, "disk_full".to_owned()));
        assert!(leave == 0 || answered > 100, "the log takes what it has room for");
        // It reads, and says how it is.
        assert_eq!(stored_turns(&client, &session).await, answered);
        let (status, turns) =
            client.get(&format!("/api/sessions/{session}/turns?limit=1")).await.unwrap();
        assert_eq!(status.as_u16(), 200, "{turns}");
        let stat = operate(&data, &["store", "stat", "--json"]).json();
        assert!(stat["freeBytes"].as_u64() < Some(64 << 20), "{stat}");
        assert_eq!(say(&client, &session, 30_000).await, Err((507, "disk_full".to_owned())));

        // Killed and started again on the full disk.
        server.kill().unwrap();
        let server = Server::start(DORMOUSE, &data, &options).unwrap();
        let client = server.client();
        assert_eq!(stored_turns(&client, &session).await, answered);

        disk.empty();
        eventually("turns are taken again", async || {
            say(&client, &session, 10).await.is_ok_and(|turn| {
                assert_eq!(turn, answered + 1, "nothing was lost and nothing is there twice");
                true
            })
        })
        .await;
        assert_eq!(server.terminate().unwrap(), Some(0));
        is_well(&data);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_to_is_refused_with_what_to_do() {
    let name = "disk::a_directory_that_cannot_be_written_to_is_refused_with_what_to_do";
    let Some(disk) = Disk::mount(name) else { return };
    let data = disk.data();
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let session =
        server.client().create(&json!({ "agent": "counter", "pattern": "hybrid" })).await.unwrap();
    assert_eq!(server.client().ask(&session, "one").await.unwrap(), "turn 1: one");
    assert_eq!(server.terminate().unwrap(), Some(0));

    mount(&["-o", "remount,ro"], &disk.0);
    let path = data.to_str().unwrap();
    let refused = run(&["--data-dir", path, "--listen", "127.0.0.1:0"], Path::new("/"));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be written to") && said.contains("mount"), "{said}");

    mount(&["-o", "remount,rw"], &disk.0);
    let server = Server::start(DORMOUSE, &data, &[]).unwrap();
    assert_eq!(server.client().ask(&session, "two").await.unwrap(), "turn 2: two");
    assert_eq!(server.terminate().unwrap(), Some(0));
}
