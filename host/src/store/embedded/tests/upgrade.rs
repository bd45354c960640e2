//! A directory of the first layout, in which each session had one snapshot, in its own value.

use minicbor::Encoder;
use sled::Batch;

use super::audit::{audit, settle};
use super::*;
use crate::store::codec::{self, Kind};
use crate::store::embedded::cell::SessionCell;
use crate::store::embedded::disk::Disk;
use crate::store::embedded::keys;
use crate::store::{Depth, Store};

/// A snapshot as format 1 wrote it, with its data.
fn old_row(snapshot: &Snapshot) -> Vec<u8> {
    let mut row = Encoder::new(Vec::new());
    row.array(8).and_then(|row| row.bytes(snapshot.id.0.as_bytes())).expect("it can be written");
    match snapshot.parent {
        Some(parent) => row.bytes(parent.0.as_bytes()).map(drop),
        None => row.null().map(drop),
    }
    .expect("it can be written");
    row.u64(snapshot.turn)
        .and_then(|row| row.bytes(&snapshot.agent.0))
        .and_then(|row| row.i64(snapshot.taken_at.0))
        .and_then(|row| row.u64(snapshot.monotonic_ns))
        .and_then(|row| row.u64(snapshot.random_position))
        .expect("it can be written");
    match &snapshot.state {
        GuestState::Portable { version, data } => row
            .array(2)
            .and_then(|row| row.u32(0)?.array(2)?.u32(*version)?.bytes(data))
            .expect("it can be written"),
        GuestState::Image { data, .. } => row
            .array(2)
            .and_then(|row| row.u32(1)?.array(1)?.bytes(data))
            .expect("it can be written"),
    };
    row.into_writer()
}

/// The value of a session as format 1 had it: front, body, and the head with its name.
fn old_value(disk: &Disk, session: &Session, part: &[u8]) -> Vec<u8> {
    let key = keys::session(session.id);
    let value = disk.get(&key).expect("it reads").expect("it is there");
    let value = codec::unseal(Kind::Session, &key, &value).expect("it is whole").into_owned();
    assert_eq!(SessionCell::read(&value).expect("it decodes").snapshots, []);
    let (front, body) = (codec::encode_front(session), codec::encode_body(session));
    let framed = |bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("it is small");
        [&length.to_le_bytes(), bytes].concat()
    };
    let head = session.head.map_or(Vec::new(), |head| [head.0.as_bytes(), part].concat());
    let old = [framed(&front), framed(&[&[0], &body[..]].concat()), head].concat();
    codec::seal_as(1, &key, &[&old])
}

const SMALL: usize = 100;
const LARGE: usize = 50_000;

/// A directory of the first layout: sessions without a head, with a small one, with two large ones
/// of the same data, with a damaged one, and with one that has lost its file.
async fn first_layout(root: &Path) -> Vec<TurnCommit> {
    let store = open(root);
    let turns: Vec<TurnCommit> = [0, SMALL, LARGE, LARGE, 1, LARGE + 1]
        .iter()
        .zip(1..)
        .map(|(size, number)| {
            let mut commit = turn(&session(number), 1, *size);
            if *size == 0 {
                commit.session.head = None;
                commit.snapshot = None;
            }
            if number == 2 {
                let data = Bytes::from(vec![3; SMALL]);
                commit.snapshot.as_mut().expect("one").state =
                    GuestState::Image { data, chunks: Vec::new() };
            }
            commit
        })
        .collect();
    for commit in &turns {
        let first = session(commit.session.id.0.as_u64_pair().1);
        store.create_sessions(new(first), Vec::new()).await.expect("it is created");
    }
    store.close().await.expect("it closes");

    let disk = Disk::open(root, 8 << 20).expect("sled opens");
    let mut batch = Batch::default();
    for (commit, number) in turns.iter().zip(1_u64..) {
        let mut part = vec![0];
        if let Some(snapshot) = &commit.snapshot {
            let row = old_row(snapshot);
            if row.len() > 16 << 10 {
                let name = format!("{}-{number:016x}", commit.session.id.0.simple());
                let sealed = codec::seal_as(1, name.as_bytes(), &[&row]);
                if number != 6 {
                    std::fs::write(root.join("values").join(&name), sealed).expect("it is written");
                }
                let key = keys::file(&name);
                batch.insert(key.as_slice(), codec::seal_as(1, &key, &[]));
                part = [&[1], name.as_bytes()].concat();
            } else {
                part.extend(row);
            }
        }
        if number == 5 {
            part.truncate(part.len() - 1);
        }
        let key = keys::session(commit.session.id);
        batch.insert(&key, old_value(&disk, &commit.session, &part));
    }
    batch.insert(keys::FORMAT, codec::seal_as(1, keys::FORMAT, &[&[1]]));
    disk.write(batch).expect("it is written");
    turns
}

#[tokio::test]
async fn a_store_of_the_first_layout_is_moved_and_goes_on() {
    let root = tempfile::tempdir().expect("there is room");
    let turns = first_layout(root.path()).await;
    for round in 0..2 {
        let store = open(root.path());
        for (commit, number) in turns.iter().zip(1..) {
            let id = commit.session.id;
            let dormant = store.dormant(id).await.expect("it reads").expect("it is there");
            assert_eq!(dormant.session, commit.session, "{number}, {round}");
            if number < 5 {
                assert_eq!((dormant.head, dormant.damage), (commit.snapshot.clone(), None));
                let Some(snapshot) = &commit.snapshot else { continue };
                let kept = store.snapshot(snapshot.id, Depth::Whole).await.expect("it reads");
                let kept = kept.expect("it is there");
                assert_eq!((kept.session, &kept.snapshot), (id, snapshot));
                let summaries = store.snapshots(id).await.expect("it reads");
                assert_eq!(summaries.len(), 1);
            } else {
                assert_eq!(dormant.head, None);
                assert!(dormant.damage.is_some());
                assert_eq!(store.snapshots(id).await.expect("it reads"), []);
            }
        }
        store.close().await.expect("it closes");
    }
    let store = open(root.path());
    for commit in &turns {
        let more = turn(&commit.session, 1, LARGE);
        store.commit_turn(more.clone()).await.expect("it goes on");
        let dormant = store.dormant(more.session.id).await.expect("it reads").expect("there");
        assert_eq!(dormant.head, more.snapshot);
        store.delete_session(more.session.id, Vec::new()).await.expect("it is deleted");
    }
    settle(&store).await;
    assert_eq!(audit(&store, root.path()), super::audit::Census::default());
    assert_eq!(files(&root.path().join("values")), [""; 0]);
}

#[tokio::test]
async fn a_move_that_was_cut_off_goes_on() {
    let root = tempfile::tempdir().expect("there is room");
    let turns = first_layout(root.path()).await;
    open(root.path()).close().await.expect("it closes");
    // As if only some of the batches had been written: the layout comes with the last.
    let disk = Disk::open(root.path(), 8 << 20).expect("sled opens");
    let mut batch = Batch::default();
    batch.insert(keys::FORMAT, codec::seal_as(1, keys::FORMAT, &[&[1]]));
    disk.write(batch).expect("it is written");
    drop(disk);
    let store = open(root.path());
    for commit in &turns[..4] {
        let dormant = store.dormant(commit.session.id).await.expect("it reads").expect("there");
        assert_eq!(dormant.head, commit.snapshot);
    }
}
