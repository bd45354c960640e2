//! What readers see and when, what survives, and who may write.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use super::faults::Gate;
use super::*;
use crate::embedded::OpenError;
use crate::{SessionQuery, SnapshotDetail, Store, StoreError};
use dormouse_domain::event::Cursor;

/// Waits until a commit is at the gate, written and not synced. Returns what opens it.
async fn reached(gate: Gate) -> Sender<()> {
    let waiting = tokio::task::spawn_blocking(move || {
        gate.reached.recv().expect("the commit gets there");
        gate.release
    });
    waiting.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_synced_is_visible_to_no_reader() {
    let store = std::sync::Arc::new(temporary());
    let first = session(1);
    let id = first.id;
    store
        .commit(Transaction::create(new(first.clone()), vec![creation_of(&first)]))
        .await
        .expect("it is created");
    let shared = inside(&store);
    let gate = shared.disk.faults.gate();
    let commit = turn(&first, 10, 10);
    let committing = tokio::spawn({
        let (store, commit) = (store.clone(), commit.clone());
        async move { store.commit(Transaction::turn(commit)).await }
    });
    let release = reached(gate).await;

    assert_eq!(store.session(id).await.expect("it reads"), Some(first.clone()));
    assert!(store.wake_state(id).await.expect("it reads").expect("it is there").head.is_none());
    assert_eq!(store.turn(id, 1).await.expect("it reads"), None);
    assert_eq!(store.turns(id, 0, most(9)).await.expect("it reads").entries, []);
    assert_eq!(store.events_after(Cursor(0), most(9)).await.expect("it reads").entries.len(), 1);
    assert_eq!(
        store.session_events(id, Cursor(0), most(9)).await.expect("it reads").entries.len(),
        1
    );
    let active = SessionQuery {
        status: Some(commit.session.state.status()),
        limit: 9,
        ..SessionQuery::default()
    };
    assert_eq!(store.sessions(active.clone()).await.expect("it reads").total, 0);

    release.send(()).expect("the committer waits");
    committing.await.expect("no panic").expect("it is committed");
    let wake_state = store.wake_state(id).await.expect("it reads").expect("it is there");
    assert_eq!(
        (wake_state.session, wake_state.head),
        (Session::clone(&commit.session), commit.snapshot)
    );
    assert_eq!(
        store.turns(id, 0, most(9)).await.expect("it reads").entries,
        [Arc::unwrap_or_clone(commit.turn)]
    );
    assert_eq!(
        store.session_events(id, Cursor(0), most(9)).await.expect("it reads").entries.len(),
        2
    );
    assert_eq!(store.sessions(active).await.expect("it reads").total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_removed_is_there_until_its_removal_is_durable() {
    let store = Embedded::temporary(keeping_snapshots(1)).expect("it opens");
    let store = std::sync::Arc::new(store);
    let first = session(1);
    let id = first.id;
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    let before = turn(&first, 1, 50_000);
    store.commit(Transaction::turn(before.clone())).await.expect("it is committed");
    let (old, head) = (before.session.head.expect("it has one"), before.snapshot.clone());
    let gate = inside(&store).disk.faults.gate();
    let commit = turn(&before.session, 1, 50_001);
    let new_head = commit.session.head.expect("it has one");
    let committing = tokio::spawn({
        let (store, commit) = (store.clone(), commit.clone());
        async move { store.commit(Transaction::turn(commit)).await }
    });
    let release = reached(gate).await;

    let wake_state = store.wake_state(id).await.expect("it reads").expect("it is there");
    assert_eq!(
        (wake_state.session, wake_state.head),
        (Session::clone(&before.session), head.clone())
    );
    let kept = store.snapshot(old, SnapshotDetail::Full).await.expect("it reads");
    assert_eq!(kept.map(|kept| kept.snapshot), head);
    assert!(store.snapshot(new_head, SnapshotDetail::Full).await.expect("it reads").is_none());
    let names = store.snapshots(id).await.expect("it reads");
    assert_eq!(names.iter().map(|summary| summary.id).collect::<Vec<_>>(), [old]);

    release.send(()).expect("the committer waits");
    committing.await.expect("no panic").expect("it is committed");
    assert!(store.snapshot(old, SnapshotDetail::Full).await.expect("it reads").is_none());
    let kept = store.snapshot(new_head, SnapshotDetail::Full).await.expect("it reads");
    assert_eq!(kept.map(|kept| kept.snapshot), commit.snapshot);
    let names = store.snapshots(id).await.expect("it reads");
    assert_eq!(names.iter().map(|summary| summary.id).collect::<Vec<_>>(), [new_head]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_being_created_or_deleted_is_not_so_before_it_is_durable() {
    let store = std::sync::Arc::new(temporary());
    let (old, young) = (session(1), session(2));
    store.commit(Transaction::create(new(old.clone()), Vec::new())).await.expect("it is created");
    let gate = inside(&store).disk.faults.gate();
    let committing = tokio::spawn({
        let (store, old, young) = (store.clone(), old.clone(), young.clone());
        async move {
            // Whichever comes first waits at the gate, and the other one behind it.
            tokio::join!(
                store.commit(Transaction::create(new(young), Vec::new())),
                store.commit(Transaction::remove_session(old.id, Vec::new()))
            )
        }
    });
    let release = reached(gate).await;
    assert_eq!(store.session(young.id).await.expect("it reads"), None);
    assert_eq!(store.session(old.id).await.expect("it reads"), Some(old.clone()));
    release.send(()).expect("the committer waits");
    let (created, deleted) = committing.await.expect("no panic");
    created.and(deleted).expect("both are committed");
    assert_eq!(store.session(young.id).await.expect("it reads"), Some(young));
    assert_eq!(store.session(old.id).await.expect("it reads"), None);
}

#[tokio::test]
async fn of_two_writers_of_one_session_only_one_succeeds() {
    let store = temporary();
    let first = session(1);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    let (one, other) = (turn(&first, 1, 1), turn(&first, 2, 2));
    let (one, other) =
        tokio::join!(store.commit(Transaction::turn(one)), store.commit(Transaction::turn(other)));
    assert!(one.is_ok());
    assert!(matches!(other, Err(StoreError::Conflict(id)) if id == first.id));
    let again = store.commit(Transaction::create(new(first.clone()), Vec::new())).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_group_takes_many_commits_of_a_session_and_refuses_just_those_that_conflict() {
    let store = std::sync::Arc::new(temporary());
    let mut now = session(1);
    let other = session(2);
    store.commit(Transaction::create(new(now.clone()), Vec::new())).await.expect("it is created");
    // Held, so that all that follows gathers behind it and makes one group.
    let gate = inside(&store).disk.faults.gate();
    let holding = tokio::spawn({
        let store = store.clone();
        async move { store.commit(Transaction::create(new(other), Vec::new())).await }
    });
    let release = reached(gate).await;
    let stale = now.clone();
    let turns: Vec<TurnCommit> = (0..5)
        .map(|_| {
            let commit = turn(&now, 10, 10);
            now = Session::clone(&commit.session);
            commit
        })
        .collect();
    let before = store.stats();
    let commits =
        futures::future::join_all(turns.iter().map(|c| store.commit(Transaction::turn(c.clone()))));
    // They are begun in this order: all are queued when the gate opens.
    let (done, conflict, missing, ()) = tokio::join!(
        commits,
        store.commit(Transaction::update(next(&stale), None, Vec::new())),
        store.commit(Transaction::update(next(&session(3)), None, Vec::new())),
        async { release.send(()).expect("the committer waits") },
    );
    holding.await.expect("no panic").expect("it is created");
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    assert!(matches!(conflict, Err(StoreError::Conflict(_))));
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
    let after = store.stats();
    assert_eq!((after.commits - before.commits, after.groups - before.groups), (6, 2));
    assert_eq!(store.session(now.id).await.expect("it reads"), Some(now.clone()));
    let kept = store.turns(now.id, 0, most(9)).await.expect("it reads").entries;
    assert_eq!(
        kept,
        turns.into_iter().map(|commit| Arc::unwrap_or_clone(commit.turn)).collect::<Vec<_>>()
    );
    let cursors = store.events_after(Cursor(0), most(99)).await.expect("it reads").entries;
    let cursors: Vec<u64> = cursors.iter().map(|logged| logged.cursor.0).collect();
    assert_eq!(cursors, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_and_what_was_durable_is_read() {
    let store = temporary();
    let first = session(1);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    inside(&store).disk.faults.fail.store(true, Ordering::SeqCst);
    let failed = store.commit(Transaction::turn(turn(&first, 1, 1))).await;
    assert!(matches!(failed, Err(StoreError::Unknown(_))));
    let later = store.commit(Transaction::create(new(session(2)), Vec::new())).await;
    assert!(matches!(later, Err(StoreError::Unknown(_))));
    let large = store.commit(Transaction::turn(turn(&first, 1 << 20, 1))).await;
    assert!(matches!(large, Err(StoreError::Unknown(_))));
    assert!(matches!(store.failed().await, StoreError::Unknown(_)));
    assert_eq!(store.session(first.id).await.expect("it reads"), Some(first.clone()));
    assert_eq!(store.turns(first.id, 0, most(9)).await.expect("it reads").entries, []);
    assert!(matches!(store.close().await, Err(StoreError::Unknown(_))));
}

#[tokio::test]
async fn a_panic_of_the_committer_is_a_failed_write() {
    let store = temporary();
    inside(&store).disk.faults.panic.store(true, Ordering::SeqCst);
    let failed = store.commit(Transaction::create(new(session(1)), Vec::new())).await;
    assert!(matches!(failed, Err(StoreError::Unknown(_))), "{failed:?}");
    assert!(matches!(store.failed().await, StoreError::Unknown(_)));
}

#[tokio::test]
async fn a_directory_is_used_by_one_store_at_a_time() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    match try_open(root.path()) {
        Err(error @ OpenError::Locked { .. }) => {
            let text = error.to_string();
            assert!(text.contains("in use by another host of this process"), "{text}");
            assert!(text.contains(root.path().to_str().expect("it is text")), "{text}");
        }
        other => panic!("it must not open: {other:?}"),
    }
    store.close().await.expect("it closes");
    try_open(root.path()).expect("it opens once the other has closed");
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_is_refused() {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    let refused = try_open(file.path());
    assert!(matches!(refused, Err(OpenError::NotADirectory(path)) if path == file.path()));
}

#[tokio::test]
async fn a_store_that_has_closed_says_so_and_its_secret_stays() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let secret = store.secret();
    store.close().await.expect("it closes");
    store.close().await.expect("closing twice is closing once");
    let read = store.session(session_id(1)).await;
    assert!(matches!(read, Err(StoreError::Closed)));
    let write = store.commit(Transaction::create(new(session(1)), Vec::new())).await;
    assert!(matches!(write, Err(StoreError::Closed)));
    assert_eq!(open(root.path()).secret(), secret);
    assert_ne!(temporary().secret(), secret);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_the_store_was_dropped_without_closing_it() {
    let root = tempfile::tempdir().expect("there is room");
    let mut last = session(1);
    let store = open(root.path());
    store.commit(Transaction::create(new(last.clone()), Vec::new())).await.expect("it is created");
    drop(store);
    for _ in 0..3 {
        let store = open(root.path());
        assert_eq!(store.session(last.id).await.expect("it reads"), Some(last.clone()));
        let commit = turn(&last, 100, 100);
        last = Session::clone(&commit.session);
        store.commit(Transaction::turn(commit)).await.expect("it is committed");
        drop(store);
    }
}

#[tokio::test]
async fn the_directory_of_a_temporary_store_goes_with_it() {
    let store = temporary();
    store.commit(Transaction::create(new(session(1)), Vec::new())).await.expect("it is created");
    let root = {
        let shared = inside(&store);
        shared._temporary.as_ref().expect("it is temporary").path().to_owned()
    };
    assert!(root.exists());
    store.close().await.expect("it closes");
    assert!(!root.exists());
}

#[tokio::test]
async fn the_end_of_the_log_moves_when_events_can_be_read() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut end = store.end();
    assert_eq!(*end.borrow_and_update(), Cursor(0));
    let first = session(1);
    let events = vec![creation_of(&first); 3];
    store.commit(Transaction::create(new(first.clone()), events)).await.expect("it is created");
    assert_eq!(*end.borrow_and_update(), Cursor(3));
    store
        .commit(Transaction::update(next(&first), None, Vec::new()))
        .await
        .expect("it is committed");
    assert!(!end.has_changed().expect("it is open"), "nothing was told");
    store.close().await.expect("it closes");
    assert!(end.changed().await.is_err(), "nothing comes any more");

    let store = open(root.path());
    assert_eq!(*store.end().borrow(), Cursor(3));
}
