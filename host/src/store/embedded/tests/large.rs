//! Large values, and what is left behind.

use super::audit::settle;
use super::*;
use crate::event::Cursor;
use crate::store::embedded::{cell, keys};
use crate::store::{Store, StoreError};

const LARGE: usize = 1 << 20;

#[tokio::test]
async fn large_heads_and_turns_have_files_that_go_when_nothing_points_to_them() {
    let root = tempfile::tempdir().expect("there is room");
    let values = root.path().join("values");
    let store = Embedded::open(root.path(), Options { keep_snapshots: 1, ..small() });
    let store = store.expect("it opens");
    let first = session(1);
    store.create_sessions(new(first.clone()), Vec::new()).await.expect("it is created");
    let large = turn(&first, LARGE, LARGE);
    store.commit_turn(large.clone()).await.expect("it is committed");
    assert_eq!(files(&values).len(), 2, "a head and a turn");

    let updated = next(&large.session);
    store.update_session(updated.clone(), None, Vec::new()).await.expect("it is committed");
    let dormant = store.dormant(first.id).await.expect("it reads").expect("it is there");
    assert_eq!((&dormant.session, &dormant.head), (&updated, &large.snapshot));

    let larger = turn(&updated, 1, LARGE + 1);
    store.commit_turn(larger.clone()).await.expect("it is committed");
    assert_eq!(files(&values).len(), 2, "the first head is gone");
    store.close().await.expect("it closes");

    let store = Embedded::open(root.path(), Options { keep_snapshots: 1, ..small() });
    let store = store.expect("it opens");
    let dormant = store.dormant(first.id).await.expect("it reads").expect("it is there");
    assert_eq!(dormant.head, larger.snapshot);
    assert_eq!(store.turns(first.id, 0, 9).await.expect("it reads"), [large.turn, larger.turn]);
    let small = turn(&larger.session, 1, 1);
    store.commit_turn(small.clone()).await.expect("it is committed");
    assert_eq!(files(&values).len(), 1, "the head is in its row");
    let mut fresh = next(&small.session);
    fresh.head = None;
    store.update_session(fresh, None, Vec::new()).await.expect("it is committed");
    assert_eq!(store.dormant(first.id).await.expect("it reads").and_then(|d| d.head), None);
    store.delete_session(first.id, Vec::new()).await.expect("it is deleted");
    settle(&store).await;
    store.close().await.expect("it closes");
    assert_eq!(files(&values), [""; 0]);
}

#[tokio::test]
async fn a_large_record_and_large_events_are_kept_too() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut first = session(1);
    first.profile.config.insert("prompt".to_owned(), "x".repeat(LARGE).into());
    let large = event(&first, EventKind::SessionCreated).with("text", "y".repeat(LARGE));
    store.create_sessions(new(first.clone()), vec![large.clone()]).await.expect("it is created");
    store.close().await.expect("it closes");
    let store = open(root.path());
    assert_eq!(store.session(first.id).await.expect("it reads"), Some(first.clone()));
    let events = store.session_events(first.id, Cursor(0), 9).await.expect("it reads");
    assert_eq!(events.into_iter().map(|logged| logged.event).collect::<Vec<_>>(), [large]);
    let mut labels = next(&first);
    labels.profile.tags = vec!["z".repeat(cell::FRONT)];
    let refused = store.update_session(labels, None, Vec::new()).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

#[tokio::test]
async fn files_of_commits_that_were_refused_or_never_made_are_removed() {
    let root = tempfile::tempdir().expect("there is room");
    let values = root.path().join("values");
    let store = open(root.path());
    let first = session(1);
    let refused = store.commit_turn(turn(&first, LARGE, LARGE)).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))));
    assert_eq!(files(&values), [""; 0]);
    store.create_sessions(new(first.clone()), Vec::new()).await.expect("it is created");
    let kept = turn(&first, 1, LARGE);
    store.commit_turn(kept.clone()).await.expect("it is committed");
    store.close().await.expect("it closes");

    let known = files(&values);
    let orphan = format!("{}-{:016x}", first.id.0.simple(), 99);
    for name in [orphan.as_str(), "half-written.new", "not ours.txt"] {
        std::fs::write(values.join(name), b"left behind").expect("it can be written");
    }
    let store = open(root.path());
    assert_eq!(files(&values), [known, vec!["not ours.txt".to_owned()]].concat());
    let head = store.dormant(first.id).await.expect("it reads").and_then(|dormant| dormant.head);
    assert_eq!(head, kept.snapshot);
}

#[tokio::test]
async fn pages_of_the_largest_values_do_not_become_files_of_sled() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    for number in 0..60 {
        let mut first = session(number);
        first.profile.config.insert("p".to_owned(), "x".repeat(cell::BODY - 200).into());
        first.profile.tags = vec!["t".repeat(cell::FRONT - 400)];
        store.create_sessions(new(first.clone()), Vec::new()).await.expect("it is created");
        for _ in 0..4 {
            let commit = turn(&first, cell::ROW - 400, cell::DATA - 400);
            first = commit.session.clone();
            store.commit_turn(commit).await.expect("it is committed");
        }
        if number % 3 == 0 {
            store.delete_session(first.id, Vec::new()).await.expect("it is deleted");
        }
        assert_eq!(files(&root.path().join("sled/blobs")), [""; 0]);
    }
    assert_eq!(files(&root.path().join("values")), [""; 0], "all of it was small enough");
}

#[tokio::test]
async fn a_session_with_very_many_turns_is_removed_bit_by_bit_also_across_a_restart() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let (mut first, other) = (session(1), session(2));
    let id = first.id;
    store.create_sessions(new(first.clone()), Vec::new()).await.expect("it is created");
    store.create_sessions(new(other.clone()), Vec::new()).await.expect("it is created");
    store.commit_turn(turn(&other, 1, 1)).await.expect("it is committed");
    let mut commits = Vec::new();
    for _ in 0..1500 {
        let commit = turn(&first, 1, 1);
        first = commit.session.clone();
        commits.push(commit);
    }
    // So few at once that they are sent in their order.
    for some in commits.chunks(25) {
        let done = futures::future::join_all(some.iter().map(|c| store.commit_turn(c.clone())));
        assert!(done.await.iter().all(Result::is_ok));
    }
    let all = store.events_after(Cursor(0), usize::MAX).await.expect("it reads").len();
    store.delete_session(id, Vec::new()).await.expect("it is deleted");
    assert_eq!(store.turns(id, 0, usize::MAX).await.expect("it reads"), []);
    let events = store.session_events(id, Cursor(0), usize::MAX).await.expect("it reads");
    assert_eq!(events, []);
    let taken = store.create_sessions(new(session(1)), Vec::new()).await;
    assert!(matches!(taken, Ok(()) | Err(StoreError::Conflict(_))));
    drop(store);

    let store = open(root.path());
    settle(&store).await;
    let left: Vec<_> = inside(&store).disk.prefix(&keys::rows(id)).collect();
    assert_eq!(left.len(), 0);
    assert_eq!(store.turns(other.id, 0, 9).await.expect("it reads").len(), 1);
    let kept = store.events_after(Cursor(0), usize::MAX).await.expect("it reads").len();
    assert_eq!(kept, all, "the log keeps the events of deleted sessions");
}
