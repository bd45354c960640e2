//! A directory of the first layout, in which each session had one snapshot, in its own value.

use super::super::audit::{Census, audit, audit_with, settle};
use super::super::*;
use super::old::{Plain, owner, row_with_data};
use crate::codec;
use crate::embedded::keys;
use crate::{Depth, Store};

const SMALL: usize = 100;
const LARGE: usize = 50_000;

/// A directory of the first layout: sessions without a head, with a small one, with two large ones
/// of the same data, with a damaged one, and with one that has lost its file.
fn first_layout(root: &Path) -> Vec<TurnCommit> {
    let mut plain = Plain::open(root, 1);
    plain.put(keys::SECRET, &[5; 32]);
    let mut turns = Vec::new();
    for (size, number) in [0, SMALL, LARGE, LARGE, 1, LARGE + 1].into_iter().zip(1..) {
        let mut commit = turn(&session(number), 1, size);
        if size == 0 {
            commit.session.head = None;
            commit.snapshot = None;
        }
        if number == 2 {
            let data = Bytes::from(vec![3; SMALL]);
            commit.snapshot.as_mut().expect("one").state =
                GuestState::Image { data, chunks: Vec::new() };
        }
        let id = commit.session.id;
        let mut head = Vec::new();
        if let Some(snapshot) = &commit.snapshot {
            head = plain.part(&owner(id), &row_with_data(snapshot), 16 << 10);
        }
        if number == 5 {
            head.truncate(head.len() - 1);
        }
        if number == 6 {
            let name = std::str::from_utf8(&head[1..]).expect("it is a name");
            std::fs::remove_file(root.join("values").join(name)).expect("it goes");
        }
        plain.first(&commit.session, &head);
        let part = [&[0], &codec::encode_turn(&commit.turn)[..]].concat();
        plain.put(&keys::turn(id, 1), &part);
        turns.push(commit);
    }
    turns
}

#[tokio::test]
async fn a_store_of_the_first_layout_has_its_heads_and_goes_on() {
    let root = tempfile::tempdir().expect("there is room");
    let turns = first_layout(root.path());
    for round in 0..2 {
        let store = open(root.path());
        assert_eq!(store.secret(), [5; 32]);
        for (commit, number) in turns.iter().zip(1..) {
            let id = commit.session.id;
            let dormant = store.dormant(id).await.expect("it reads").expect("it is there");
            assert_eq!(dormant.session, commit.session, "{number}, {round}");
            assert_eq!(store.turn(id, 1).await.expect("it reads").as_ref(), Some(&commit.turn));
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
    audit_with(&store, 2);
    for commit in &turns {
        let more = turn(&commit.session, 1, LARGE);
        store.commit_turn(more.clone()).await.expect("it goes on");
        let dormant = store.dormant(more.session.id).await.expect("it reads").expect("there");
        assert_eq!(dormant.head, more.snapshot);
        store.delete_session(more.session.id, Vec::new()).await.expect("it is deleted");
    }
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}
