//! What a check finds, and that a repair repairs it.

use std::sync::Arc;

use super::history::{image, template};
use super::*;
use crate::embedded::disk::Disk;
use crate::embedded::engine::{Batch, Class};
use crate::embedded::keys::{self, SessionRow};
use crate::embedded::tables;
use crate::embedded::tables::blobs;
use crate::embedded::tables::sessions::SessionCell;
use crate::embedded::upkeep;
use crate::upkeep::{CheckReport, Problem, RepairOutcome, UpkeepError};
use crate::{Store, codec};

/// Three sessions with twenty turns, the last with a large head, which a template shares; and the agent
/// of all of them.
async fn prepared() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let (agent, component) = (agents::agent("echo", "1", b"echo"), Bytes::from_static(b"echo"));
    assert_eq!(agent.reference, session(1).profile.agent);
    store.commit(Transaction::agent(agent, component, Vec::new())).await.expect("it is kept");
    for number in 1..=3 {
        let mut now = session(number);
        store
            .commit(Transaction::create(new(now.clone()), Vec::new()))
            .await
            .expect("it is created");
        for _ in 0..20 {
            let commit = turn(&now, 10, 10);
            now = Session::clone(&commit.session);
            store.commit(Transaction::turn(commit)).await.expect("it is committed");
        }
        if number == 3 {
            let mut commit = turn(&now, 10, 10);
            let snapshot = commit.snapshot.as_mut().expect("it has one");
            snapshot.state = image(30_000, &[1, 2, 3]);
            let shared = template("warm", snapshot);
            store.commit(Transaction::turn(commit)).await.expect("it is committed");
            store.commit(Transaction::template(shared)).await.expect("it is kept");
        }
    }
    store.close().await.expect("it closes");
    root
}

/// Change it behind the back of the store.
fn tamper(root: &Path, change: impl FnOnce(&Disk, &mut Batch)) {
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    change(&disk, &mut batch);
    disk.write(batch).expect("it is written");
}

fn check(root: &Path) -> CheckReport {
    upkeep::check(root, small()).expect("it reads")
}

fn key_of(disk: &Disk, prefix: &[u8], is_it: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let keys = disk.fronts(prefix).map(|entry| entry.expect("it reads").0);
    keys.filter(|key| is_it(key)).last().expect("there is one").to_vec()
}

fn row(disk: &Disk, number: u64, is_it: impl Fn(SessionRow) -> bool) -> Vec<u8> {
    let prefix = keys::rows(session_id(number));
    key_of(disk, &prefix, |key| keys::row_of(key).is_some_and(|(_, row)| is_it(row)))
}

fn is_snapshot(row: SessionRow) -> bool {
    matches!(row, SessionRow::Snapshot(_))
}

fn is_turns(row: SessionRow) -> bool {
    matches!(row, SessionRow::Turns(_))
}

#[tokio::test]
async fn of_a_whole_store_all_is_counted_and_nothing_is_wrong() {
    let root = prepared().await;
    let report = check(root.path());
    assert!(report.is_well(), "{:?}", report.findings);
    let read = report.read;
    assert_eq!((read.sessions, read.turns, read.snapshots), (3, 61, 48));
    assert_eq!((read.templates, read.agents, read.blobs, read.set_aside), (1, 1, 4, 0));
    let repaired = upkeep::repair(root.path(), small()).expect("there is nothing to do");
    assert_eq!(repaired, crate::upkeep::RepairReport::default());
}

#[test]
fn a_directory_of_a_layout_that_is_not_read_any_more_is_refused_and_stays() {
    let root = tempfile::tempdir().expect("there is room");
    let refused = upkeep::check(root.path(), small()).expect_err("there is no store");
    assert!(matches!(refused, UpkeepError::NoStore(_)), "{refused}");
    std::fs::create_dir(root.path().join("sled")).expect("it is made");
    let refused = upkeep::check(root.path(), small()).expect_err("it has another layout");
    assert!(matches!(refused, UpkeepError::Open(crate::embedded::OpenError::Earlier)), "{refused}");
    let refused = Embedded::open(root.path(), small()).map(drop).expect_err("a host cannot either");
    assert!(refused.to_string().contains("before 21 November 2026"), "{refused}");
    let left: Vec<_> = std::fs::read_dir(root.path()).expect("it reads").collect();
    assert!(left.iter().flatten().all(|entry| entry.file_name() != "store"), "{left:?}");
}

/// How something is damaged, what a check finds then, and what a repair makes of the session.
type Case = (&'static str, fn(&Disk, &mut Batch), Problem, Option<u64>, Option<RepairOutcome>);

const CASES: &[Case] = &[
    (
        "a head that is not there",
        |disk, batch| {
            let rows = disk.get(&keys::session(session_id(1))).expect("it reads");
            let rows = rows.expect("it is there");
            let key = keys::session(session_id(1));
            let value =
                codec::unseal(codec::RecordKind::Session, &key, &rows).expect("it is whole");
            let cell = SessionCell::read(&value.into_owned().into()).expect("it decodes");
            let head = codec::decode_front(&cell.front).expect("it decodes").head;
            batch.delete(keys::snapshot(session_id(1), head.expect("it has one")).to_vec());
        },
        Problem::Missing,
        Some(1),
        Some(RepairOutcome::Error),
    ),
    (
        "a snapshot that does not decode",
        |disk, batch| batch.put(Class::Head, row(disk, 1, is_snapshot), "nothing"),
        Problem::Damaged,
        Some(1),
        None,
    ),
    (
        "a snapshot that nobody lists",
        |disk, batch| {
            let from = row(disk, 2, is_snapshot);
            let value = disk.get(&from).expect("it reads").expect("it is there");
            let id = keys::snapshot_of(&from).expect("it is one");
            let key = keys::snapshot(session_id(1), id);
            let value =
                codec::unseal(codec::RecordKind::Snapshot, &from, &value).expect("it is whole");
            batch.put(Class::Head, key.to_vec(), codec::seal(&key, &[&value]));
        },
        Problem::Missing,
        Some(1),
        Some(RepairOutcome::Shortened),
    ),
    (
        "turns that do not decode",
        |disk, batch| batch.put(Class::Rows, row(disk, 2, is_turns), "nothing"),
        Problem::Damaged,
        Some(2),
        Some(RepairOutcome::Shortened),
    ),
    (
        "turns that are not there",
        |disk, batch| batch.delete(row(disk, 2, is_turns)),
        Problem::Damaged,
        Some(2),
        Some(RepairOutcome::Shortened),
    ),
    (
        "a record that does not decode",
        |_, batch| batch.put(Class::Head, keys::session(session_id(2)).to_vec(), "nothing"),
        Problem::Damaged,
        Some(2),
        Some(RepairOutcome::Lost),
    ),
    (
        "a record that is not there",
        |_, batch| batch.delete(keys::session(session_id(2)).to_vec()),
        Problem::Stray,
        Some(2),
        Some(RepairOutcome::Lost),
    ),
    (
        "a snapshot that is not found by its name",
        |disk, batch| batch.delete(key_of(disk, &[tables::snapshots::HOLDER], |_| true)),
        Problem::Miscounted,
        Some(3),
        Some(RepairOutcome::Shortened),
    ),
    (
        "a blob that is not there",
        |disk, batch| batch.delete(key_of(disk, &[keys::CONTENT], |_| true)),
        Problem::Missing,
        Some(3),
        Some(RepairOutcome::Error),
    ),
    (
        "a blob that is another",
        |disk, batch| {
            let key = key_of(disk, &[keys::CONTENT], |key| key[1] == b'd');
            batch.put(Class::Rows, key, "nothing");
        },
        Problem::Missing,
        Some(3),
        Some(RepairOutcome::Error),
    ),
    (
        "a use that was not counted",
        |disk, batch| {
            let key = key_of(disk, &[tables::blobs::BLOB], |_| true);
            let value = codec::seal(&key, &[&blobs::write_uses(1)]);
            batch.put(Class::Inline, key, value);
        },
        Problem::Miscounted,
        None,
        None,
    ),
    (
        "a blob that nothing uses",
        |_, batch| {
            let id = blobs::BlobId::Data(Digest::of(b"nothing"));
            batch.put(Class::Rows, keys::content(&id).to_vec(), "nothing");
        },
        Problem::Stray,
        None,
        None,
    ),
    (
        "a template that does not decode",
        |disk, batch| {
            batch.put(Class::Rows, key_of(disk, &[keys::TEMPLATE], |_| true), "nothing");
        },
        Problem::Damaged,
        None,
        None,
    ),
    (
        "a component that is another",
        |disk, batch| {
            batch.put(Class::Rows, key_of(disk, &[tables::agents::COMPONENT], |_| true), "nothing");
        },
        Problem::Damaged,
        None,
        None,
    ),
    (
        "a component that is not there",
        |disk, batch| batch.delete(key_of(disk, &[tables::agents::COMPONENT], |_| true)),
        Problem::Missing,
        None,
        None,
    ),
    (
        "an agent that is not there",
        |disk, batch| batch.delete(key_of(disk, &[keys::AGENT], |_| true)),
        Problem::Missing,
        Some(1),
        None,
    ),
    (
        "events that do not decode",
        |disk, batch| batch.put(Class::Rows, key_of(disk, &[keys::EVENTS], |_| true), "nothing"),
        Problem::Damaged,
        None,
        None,
    ),
    (
        "a key that nobody has written",
        |_, batch| batch.put(Class::Inline, "zzz", "nothing"),
        Problem::Damaged,
        None,
        None,
    ),
];

#[tokio::test]
async fn each_damage_is_found_and_repaired() {
    for (name, damage, problem, number, outcome) in CASES {
        let root = prepared().await;
        tamper(root.path(), damage);
        let report = check(root.path());
        let is_it = |finding: &&crate::upkeep::Finding| {
            finding.problem == *problem && finding.session == number.map(session_id)
        };
        assert!(report.findings.iter().any(|one| is_it(&one)), "{name}: {:?}", report.findings);
        if *name == "an agent that is not there" {
            // Whoever has the component uploads it again: nothing else can repair this.
            let left = upkeep::repair(root.path(), small()).expect("it is tried").left;
            assert!(
                left.len() == 4 && left.iter().all(|what| what.contains("its agent")),
                "{left:?}"
            );
            continue;
        }
        let repaired = upkeep::repair(root.path(), small());
        let repaired = repaired.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(repaired.problems > 0 && repaired.left.is_empty(), "{name}: {:?}", repaired.left);
        if let Some(outcome) = outcome {
            let became = repaired.sessions.iter().map(|one| (one.session, one.outcome));
            let expected = number.map(|number| (session_id(number), *outcome));
            assert_eq!(became.collect::<Vec<_>>(), Vec::from_iter(expected), "{name}");
        }
        let report = check(root.path());
        assert!(report.is_well(), "{name}: {:?}", report.findings);
        let store = open(root.path());
        for other in (1..=3).filter(|other| Some(*other) != *number) {
            let wake_state = store.wake_state(session_id(other)).await.expect("it reads");
            let wake_state = wake_state.expect("it is there");
            assert!(wake_state.damage.is_none() && wake_state.head.is_some(), "{name}: {other}");
        }
        store.close().await.expect("it closes");
    }
}
