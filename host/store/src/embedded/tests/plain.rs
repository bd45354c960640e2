//! Directories of the layouts before the engine: what they had is there afterwards.

mod first;
mod old;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::old::{Plain, age, everything, owner};
use super::agents::agent;
use super::audit::{Census, audit, audit_with, settle};
use super::history::{image, template};
use super::*;
use crate::codec;
use crate::embedded::blob::BlobId;
use crate::embedded::disk::Disk;
use crate::embedded::{OpenError, keys, plain, recovery};
use crate::{Depth, Logged, SessionQuery, Store, StoreError};
use dormouse_domain::event::Cursor;
use dormouse_domain::state::Reason;

const OLD: [&str; 4] = ["components", "sled", "store.new", "values"];

/// Fill a store with some of everything: small and large, alone and shared.
async fn furnish(root: &Path) {
    let store = open(root);
    for version in ["1", "2"] {
        let mut agent = agent("echo", version, b"echo");
        agent.imports =
            vec!["wasi:io/streams@0.2.0".to_owned(); if version == "2" { 2000 } else { 1 }];
        let uploaded = Event {
            subject: dormouse_domain::event::Subject::Agent {
                name: "echo".to_owned(),
                owner: None,
            },
            ..event(&session(1), EventKind::TurnCompleted)
        };
        store.put_agent(agent, Bytes::from_static(b"echo"), vec![uploaded]).await.expect("kept");
    }
    let mut one = session(1);
    one.profile.tags = vec!["t".repeat(8084)];
    let mut two = session(2);
    store.create_sessions(new(one.clone()), Vec::new()).await.expect("it is created");
    store.create_sessions(new(two.clone()), Vec::new()).await.expect("it is created");
    for number in 1..=45 {
        let answer = match number {
            7 => 30_000,
            20 => 300_000,
            _ => 10,
        };
        let mut commit = turn(&one, answer, if number > 42 { 50_000 } else { 10 });
        let name = if number == 5 { "x".repeat(300_000) } else { "x".repeat(number * 20) };
        commit.events.push(event(&one, EventKind::TurnCompleted).with("name", name));
        one = commit.session.clone();
        store.commit_turn(commit).await.expect("it is committed");
        if number % 4 == 0 {
            let mut commit = turn(&two, 10, 10);
            let chunks: Vec<u8> = if number == 44 { (0..240).collect() } else { vec![1, 2] };
            commit.snapshot.as_mut().expect("it has one").state = image(20_000, &chunks);
            two = commit.session.clone();
            store.commit_turn(commit).await.expect("it is committed");
        }
    }
    let front = codec::encode_front(&one).len();
    assert!((8184..=8192).contains(&front), "as large as it could be: {front}");
    let mut three = session(3);
    three.context.insert("notes".to_owned(), "n".repeat(20_000).into());
    store.create_sessions(new(three), Vec::new()).await.expect("it is created");
    for (name, of) in [("one", &one), ("two", &two)] {
        let head = of.head.expect("it has one");
        let kept = store.snapshot(head, Depth::Outline).await.expect("it reads").expect("there");
        store.put_template(template(name, &kept.snapshot)).await.expect("it is kept");
    }
    store.close().await.expect("it closes");
}

/// A furnished directory of layout 2, and the same of the present one.
async fn second_layout() -> (tempfile::TempDir, tempfile::TempDir) {
    let (present, old) = (tempfile::tempdir(), tempfile::tempdir());
    let (present, old) = (present.expect("there is room"), old.expect("there is room"));
    furnish(present.path()).await;
    age(present.path(), old.path());
    (old, present)
}

fn keys_of(root: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    everything(&Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens"))
}

fn has(root: &Path, name: &str) -> bool {
    root.join(name).exists()
}

#[tokio::test]
async fn a_store_of_the_second_layout_becomes_what_it_would_be_now_and_goes_on() {
    let (old, present) = second_layout().await;
    let secret = open(present.path()).secret();
    let store = open(old.path());
    assert_eq!(store.secret(), secret);
    assert_eq!((store.stats().sessions, store.stats().quarantined), (3, 0));
    let census = audit(&store);
    assert_eq!((census.templates, census.remains), (2, 0));
    assert!(census.blobs > 200, "{census:?}");
    store.close().await.expect("it closes");
    assert!(!OLD.iter().any(|name| has(old.path(), name)));
    assert!(!has(old.path(), "earlier"), "all of it could be carried over");
    let (is, should) = (keys_of(old.path()), keys_of(present.path()));
    let names = |all: &[(Vec<u8>, Vec<u8>)]| -> Vec<_> {
        all.iter().map(|(key, value)| (keys::describe(key), value.len())).collect()
    };
    assert_eq!(names(&is), names(&should));
    assert!(is == should, "every value is the same");

    let store = open(old.path());
    for number in 1..=2 {
        let now = store.session(session_id(number)).await.expect("it reads").expect("it is there");
        store.commit_turn(turn(&now, 10, 50_000)).await.expect("it goes on");
    }
    audit(&store);
    for number in 1..=3 {
        store.delete_session(session_id(number), Vec::new()).await.expect("it is deleted");
    }
    for name in ["one", "two"] {
        assert!(store.delete_template(Principal::local(), name.to_owned()).await.expect("it goes"));
    }
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn a_session_that_was_being_removed_leaves_nothing() {
    let (old, _) = second_layout().await;
    let plain = Plain::open(old.path(), 2);
    plain.db.remove(keys::session(session_id(2))).expect("it is removed");
    plain.put(&keys::gone(session_id(2)), &[]);
    drop(plain);
    let store = open(old.path());
    settle(&store).await;
    let census = audit(&store);
    assert_eq!((census.remains, store.stats().sessions), (0, 2));
    assert!(store.session(session_id(2)).await.expect("it reads").is_none());
    assert_eq!(inside(&store).disk.prefix(&keys::rows(session_id(2))).count(), 0);
}

#[tokio::test]
async fn damaged_records_and_turns_are_set_aside_and_the_others_are_there() {
    let (old, present) = second_layout().await;
    let plain = Plain::open(old.path(), 2);
    plain.set(&keys::session(session_id(2)), b"nothing".to_vec());
    plain.set(&keys::turn(session_id(1), 3), b"nothing".to_vec());
    let file = |plain: &Plain, key: &[u8]| {
        let value = plain.db.get(key).expect("it reads").expect("it is there");
        let name = &value[codec::OVERHEAD + 1..];
        old.path().join("values").join(std::str::from_utf8(name).expect("it is a name"))
    };
    std::fs::remove_file(file(&plain, &keys::turn(session_id(1), 20))).expect("it goes");
    let of_three = format!("{}-", owner(session_id(3)));
    let values = std::fs::read_dir(old.path().join("values")).expect("it reads");
    let bodies = values.map(|entry| entry.expect("it reads").path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&of_three))
    });
    assert_eq!(bodies.map(std::fs::remove_file).filter(Result::is_ok).count(), 1);
    let place = plain.find(&keys::places(session_id(1)), |key, _| keys::number(key) == Some(4));
    plain.set(&place, b"nothing".to_vec());
    drop(plain);

    let before = open(present.path());
    for round in 0..2 {
        let store = open(old.path());
        // A session, two turns, a place.
        assert_eq!((store.stats().sessions, store.stats().quarantined), (2, 4), "{round}");
        assert!(matches!(store.session(session_id(2)).await, Err(StoreError::Damaged(_))));
        let turns = store.turns(session_id(2), 0, most(99)).await.expect("it reads").entries;
        assert_eq!(turns.len(), 11, "its turns can be read still");
        let events = store
            .session_events(session_id(2), Cursor(0), most(99))
            .await
            .expect("it reads")
            .entries;
        assert_eq!(events.len(), 11, "and its events");
        let numbers: Vec<u64> = store
            .turns(session_id(1), 0, most(99))
            .await
            .expect("it reads")
            .entries
            .iter()
            .map(|turn| turn.number)
            .collect();
        let left: Vec<u64> = (1..=45).filter(|number| ![3, 20].contains(number)).collect();
        assert_eq!(numbers, left);
        let all = SessionQuery { limit: 9, ..SessionQuery::default() };
        let page = store.sessions(all).await.expect("it lists");
        let three = &page.sessions[0];
        assert_eq!(
            (three.id, &three.state),
            (session_id(3), &State::Error(Reason::new("record_damaged")))
        );
        let update = store.update_session(next(three), None, Vec::new()).await;
        assert!(matches!(update, Err(StoreError::Damaged(_))));
        // Nothing of the log is missing.
        let events = store.events_after(Cursor(0), most(999)).await.expect("it reads").entries;
        assert_eq!(
            events,
            before.events_after(Cursor(0), most(999)).await.expect("it reads").entries
        );
        store.close().await.expect("it closes");
    }
    assert!(!OLD.iter().any(|name| has(old.path(), name)));
    let kept = ["sled", "values"];
    assert!(kept.iter().all(|name| has(&old.path().join("earlier"), name)), "they are kept");
    let store = open(old.path());
    for number in 1..=3 {
        store.delete_session(session_id(number), Vec::new()).await.expect("it is deleted");
    }
    settle(&store).await;
    let census = audit(&store);
    assert_eq!((census.snapshots, census.remains), (0, 0));
}

#[tokio::test]
async fn what_needs_a_damaged_blob_is_damaged_and_nothing_else() {
    let (old, _) = second_layout().await;
    let data = Digest::of(&[7; 50_000]);
    Plain::open(old.path(), 2).damage_blob(&BlobId::Data(data));
    let store = open(old.path());
    let one = store.dormant(session_id(1)).await.expect("it reads").expect("it is there");
    assert!(one.head.is_none() && one.damage.is_some());
    let kept = store.snapshots(session_id(1)).await.expect("it reads");
    assert_eq!(kept.len(), 13, "those before are there");
    let two = store.dormant(session_id(2)).await.expect("it reads").expect("it is there");
    assert!(two.head.is_some() && two.damage.is_none());
    assert_eq!(store.stats().quarantined, 1, "a template");
    audit_with(&store, 3);
    // Whoever brings it again has it.
    let mut four = session(4);
    store.create_sessions(new(four.clone()), Vec::new()).await.expect("it is created");
    let commit = turn(&four, 1, 50_000);
    four = commit.session.clone();
    store.commit_turn(commit.clone()).await.expect("it is committed");
    store.delete_session(session_id(1), Vec::new()).await.expect("it is deleted");
    settle(&store).await;
    let dormant = store.dormant(four.id).await.expect("it reads").expect("it is there");
    assert_eq!((dormant.head, dormant.damage), (commit.snapshot, None));
    audit(&store);
}

#[tokio::test]
async fn a_lost_chunk_lets_go_of_the_others() {
    let (old, _) = second_layout().await;
    Plain::open(old.path(), 2).damage_blob(&BlobId::Chunk(Digest::of(&[200])));
    let store = open(old.path());
    let two = store.dormant(session_id(2)).await.expect("it reads").expect("it is there");
    assert!(two.head.is_none() && two.damage.is_some());
    audit_with(&store, 1);
    let kept = store.snapshots(session_id(2)).await.expect("it reads");
    assert_eq!(kept.len(), 10);
    let good = store.snapshot(kept[0].id, Depth::Whole).await.expect("it reads").expect("there");
    assert_eq!(good.snapshot.state, image(20_000, &[1, 2]));
}

#[tokio::test]
async fn damaged_events_are_passed_over_and_the_next_have_the_cursors_after_them() {
    let (old, present) = second_layout().await;
    let plain = Plain::open(old.path(), 2);
    let pieces: Vec<u64> = plain
        .db
        .scan_prefix([keys::EVENTS])
        .map(|entry| keys::number(&entry.expect("it reads").0).expect("it has a cursor"))
        .collect();
    let end = pieces[pieces.len() - 1];
    let mut lost = Vec::new();
    for at in [10, pieces.len() - 1] {
        plain.set(&keys::events(Cursor(pieces[at])), b"nothing".to_vec());
        lost.extend(pieces[at - 1] + 1..=pieces[at]);
    }
    let log = std::fs::read_dir(old.path().join("values")).expect("it reads");
    let log = log.map(|entry| entry.expect("it reads").path()).filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-"))
    });
    assert_eq!(log.map(std::fs::remove_file).filter(Result::is_ok).count(), 1);
    drop(plain);
    let mut should =
        open(present.path()).events_after(Cursor(0), most(999)).await.expect("it reads").entries;
    let apart = |logged: &Logged| {
        let name = logged.event.payload.get("name").and_then(|name| name.as_str());
        name.is_some_and(|name| name.len() == 300_000)
    };
    lost.extend(should.iter().filter(|logged| apart(logged)).map(|logged| logged.cursor.0));
    assert!(lost.len() >= 3 && should.len() as u64 == end);
    should.retain(|logged| !lost.contains(&logged.cursor.0));
    let store = open(old.path());
    assert_eq!(store.events_after(Cursor(0), most(999)).await.expect("it reads").entries, should);
    store
        .log(session_id(3), vec![event(&session(3), EventKind::TurnCompleted)])
        .await
        .expect("it goes on");
    let more = store.events_after(Cursor(end - 2), most(9)).await.expect("it reads").entries;
    assert_eq!(more.last().map(|event| event.cursor), Some(Cursor(end + 1)));
    let own =
        store.session_events(session_id(3), Cursor(0), most(9)).await.expect("it reads").entries;
    assert_eq!(own.len(), 1);
}

#[tokio::test]
async fn agents_without_a_component_are_there_and_a_damaged_one_keeps_all_components() {
    let (old, _) = second_layout().await;
    let plain = Plain::open(old.path(), 2);
    let other = old.path().join("components").join(format!("{}.wasm", Digest::of(b"other")));
    std::fs::write(&other, b"other").expect("it is written");
    let echo = old.path().join("components").join(format!("{}.wasm", Digest::of(b"echo")));
    std::fs::write(&echo, b"damaged").expect("it is written");
    let version = |version: &str| {
        let reference = agent_ref("echo", version, b"echo");
        keys::agent_without_owner(&reference.name, &reference.version)
    };
    plain.set(&version("1"), b"nothing".to_vec());
    drop(plain);
    let store = open(old.path());
    assert_eq!(inside(&store).index().agents.count_with(Digest::of(b"echo")), 1);
    assert_eq!(store.stats().quarantined, 1);
    assert_eq!(store.component(Digest::of(b"echo")).await.expect("it reads"), None);
    let kept = store.component(Digest::of(b"other")).await.expect("it reads");
    assert_eq!(kept, Some(Bytes::from_static(b"other")));
}

#[tokio::test]
async fn what_a_newer_version_has_written_is_refused_and_stays_as_it_is() {
    let (old, present) = second_layout().await;
    let refused = |change: &dyn Fn(&Plain), name: &str| {
        let copy = tempfile::tempdir().expect("there is room");
        age(present.path(), copy.path());
        let plain = Plain::open(copy.path(), 2);
        change(&plain);
        drop(plain);
        let refused = try_open(copy.path()).expect_err("it must not open");
        assert!(!has(copy.path(), "store") && !has(copy.path(), "store.new"), "{name}");
        assert!(has(copy.path(), "sled") && has(copy.path(), "values"), "{name}");
        refused
    };
    let key = keys::session(session_id(2));
    let newer = codec::seal_as(codec::VERSION + 1, &key, &[b"from tomorrow"]);
    let error = refused(&|plain| plain.set(&key, newer.clone()), "a record");
    assert!(matches!(error, OpenError::NewerFormat(_)), "{error}");
    let error = refused(&|plain| plain.put(keys::FORMAT, &[3]), "the layout");
    assert!(matches!(error, OpenError::NewerFormat(_)), "{error}");
    let error = refused(&|plain| plain.set(keys::SECRET, b"nothing".to_vec()), "the secret");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    let error = refused(&|plain| drop(plain.db.remove(keys::FORMAT)), "no layout");
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
    // The folder without which nobody knows what is in the others.
    std::fs::remove_dir_all(old.path().join("sled")).expect("it goes");
    let error = try_open(old.path()).expect_err("it must not open");
    assert!(matches!(error, OpenError::Refused(_)), "{error}");
    std::fs::create_dir(old.path().join("sled")).expect("it is made");
    let error = try_open(old.path()).expect_err("it must not open");
    assert!(matches!(error, OpenError::Refused(_)), "{error}");
    assert!(has(old.path(), "values") && !has(old.path(), "store"));
}

#[tokio::test]
async fn a_directory_whose_sled_has_lost_everything_is_refused_and_the_files_stay() {
    let (old, _) = second_layout().await;
    let log = old.path().join("sled/db");
    let length = std::fs::metadata(&log).expect("it is there").len();
    let noise = vec![7; usize::try_from(length).expect("it is small")];
    std::fs::write(&log, noise).expect("it is written");
    let files = std::fs::read_dir(old.path().join("values")).expect("it reads").count();
    for _ in 0..2 {
        try_open(old.path()).expect_err("it must not open");
        assert!(!has(old.path(), "store") && !has(old.path(), "store.new"));
        let left = std::fs::read_dir(old.path().join("values")).expect("it reads").count();
        assert_eq!(left, files);
    }
}

#[tokio::test]
async fn an_old_directory_that_was_only_just_made_is_an_empty_store() {
    let root = tempfile::tempdir().expect("there is room");
    let plain = Plain::open(root.path(), 2);
    plain.db.remove(keys::FORMAT).expect("it is removed");
    drop(plain);
    let store = open(root.path());
    assert_eq!(store.stats().sessions, 0);
    assert!(!OLD.iter().any(|name| has(root.path(), name)));
}

#[tokio::test]
async fn it_is_begun_again_where_it_was_cut_off() {
    let (old, present) = second_layout().await;
    let should = keys_of(present.path());
    // A disk that fails somewhere in between leaves everything as it was.
    let options = small();
    let refused = plain::convert_to(old.path(), &options, || {
        let disk = Disk::open_in(old.path(), "store.new", &options, Arc::new(|_| {}))?;
        disk.faults.fail.store(true, Ordering::SeqCst);
        Ok(disk)
    });
    let refused = refused.expect_err("it cannot be written");
    assert!(matches!(&refused, OpenError::Refused(_)), "{refused}");
    assert!(refused.to_string().contains("it is as it was"), "{refused}");
    assert!(!has(old.path(), "store") && !has(old.path(), "store.new"));

    // Cut off while the new store was being made: some of it is there, or all but its name.
    copy(present.path().join("store"), old.path().join("store.new"));
    std::fs::remove_dir_all(old.path().join("store.new/packs")).expect("it goes");
    let saved = tempfile::tempdir().expect("there is room");
    for name in ["sled", "values", "components"] {
        copy(old.path().join(name), saved.path().join(name));
    }
    plain::convert(old.path(), &options).expect("it is done");

    // Cut off behind the rename: the new store is what counts, and the others go.
    assert!(has(old.path(), "store") && has(old.path(), "sled") && !has(old.path(), "store.new"));
    let disk = Disk::open(old.path(), &options, Arc::new(|_| {})).expect("it opens");
    recovery::bring_up(&disk).expect("it gets the present layout");
    drop(disk);
    assert!(keys_of(old.path()) == should);
    let store = open(old.path());
    store.delete_session(session_id(1), Vec::new()).await.expect("it is deleted");
    store.close().await.expect("it closes");
    assert!(!OLD.iter().any(|name| has(old.path(), name)));

    // Cut off while the others were being removed.
    std::fs::remove_dir_all(saved.path().join("sled")).expect("it goes");
    for name in ["values", "components"] {
        copy(saved.path().join(name), old.path().join(name));
    }
    let store = open(old.path());
    assert!(store.session(session_id(1)).await.expect("it reads").is_none());
    assert_eq!(store.stats().sessions, 2);
    assert!(!OLD.iter().any(|name| has(old.path(), name)));
}

/// Copy a folder.
fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    std::fs::create_dir(&to).expect("it is made");
    for entry in std::fs::read_dir(from).expect("it reads") {
        let entry = entry.expect("it reads");
        let to = to.as_ref().join(entry.file_name());
        if entry.path().is_dir() {
            copy(entry.path(), to);
        } else {
            std::fs::copy(entry.path(), to).expect("it is copied");
        }
    }
}
