//! What is damaged is set aside and named; everything else starts.

use sled::Batch;

use super::*;
use crate::event::Cursor;
use crate::store::codec;
use crate::store::embedded::{OpenError, disk::Disk, keys};
use crate::store::{SessionQuery, Store, StoreError};

/// Change what is under a key, behind the back of the store.
fn tamper(root: &Path, change: impl FnOnce(&Disk, &mut Batch)) {
    let disk = Disk::open(root, 8 << 20).expect("sled opens");
    let mut batch = Batch::default();
    change(&disk, &mut batch);
    disk.write(batch).expect("it is written");
}

async fn with_three_sessions(root: &Path) {
    let store = open(root);
    for number in 1..=3 {
        let session = session(number);
        store.create_session(session.clone(), Vec::new()).await.expect("it is created");
        store.commit_turn(turn(&session, 10, 10)).await.expect("it is committed");
    }
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn a_damaged_record_is_set_aside_and_the_others_start() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |disk, batch| {
        let key = keys::session(session_id(2));
        let mut value = disk.get(&key).expect("it reads").expect("it is there").to_vec();
        let middle = value.len() / 2;
        value[middle] ^= 1;
        batch.insert(&key, value);
    });
    for _ in 0..2 {
        let store = open(root.path());
        assert_eq!(store.stats().quarantined, 1);
        let all = SessionQuery { limit: 9, ..SessionQuery::default() };
        let page = store.sessions(all).await.expect("it lists");
        let ids: Vec<_> = page.sessions.iter().map(|session| session.id).collect();
        assert_eq!((ids, page.total), (vec![session_id(3), session_id(1)], 2));
        let damaged = store.session(session_id(2)).await;
        let name = format!("aside/session/{}", session_id(2));
        assert!(matches!(damaged, Err(StoreError::Damaged(key)) if key == name));
        let update = store.update_session(next(&session(2)), Vec::new()).await;
        assert!(matches!(update, Err(StoreError::Damaged(_))));
        let taken = store.create_session(session(2), Vec::new()).await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))));
        assert_eq!(store.turns(session_id(2), 0, 9).await.expect("it reads").len(), 1);
        store.close().await.expect("it closes");
    }
    let store = open(root.path());
    store.delete_session(session_id(2), Vec::new()).await.expect("it can still be deleted");
    assert_eq!(store.session(session_id(2)).await.expect("it reads"), None);
    store.close().await.expect("it closes");
    assert_eq!(open(root.path()).stats().quarantined, 0);
}

#[tokio::test]
async fn a_good_record_under_the_key_of_another_session_is_noticed() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |disk, batch| {
        let value = disk.get(&keys::session(session_id(1))).expect("it reads");
        batch.insert(&keys::session(session_id(2)), value.expect("it is there"));
    });
    let store = open(root.path());
    assert_eq!((store.stats().sessions, store.stats().quarantined), (2, 1));
    assert!(matches!(store.dormant(session_id(2)).await, Err(StoreError::Damaged(_))));
    assert!(store.dormant(session_id(1)).await.expect("it reads").is_some());
}

#[tokio::test]
async fn a_damaged_turn_is_named_and_damaged_events_are_passed_over() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |_, batch| {
        batch.insert(&keys::turn(session_id(1), 1), "nothing");
        batch.insert(&keys::events(Cursor(2)), "nothing");
    });
    let store = open(root.path());
    let name = format!("session/{}/turn/1", session_id(1));
    let damaged = store.turn(session_id(1), 1).await;
    assert!(matches!(damaged, Err(StoreError::Damaged(key)) if key == name));
    let events = store.events_after(Cursor(0), 9).await.expect("it reads");
    assert_eq!(events.iter().map(|logged| logged.cursor.0).collect::<Vec<_>>(), [1, 3]);
    store.commit_turn(turn(&turn(&session(2), 1, 1).session, 1, 1)).await.expect("it goes on");
    let events = store.events_after(Cursor(3), 9).await.expect("it reads");
    assert_eq!(events.iter().map(|logged| logged.cursor.0).collect::<Vec<_>>(), [4]);
}

#[tokio::test]
async fn a_record_of_a_newer_format_keeps_the_store_from_opening() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |_, batch| {
        let key = keys::session(session_id(2));
        batch.insert(&key, codec::seal_as(codec::VERSION + 1, &key, &[b"from tomorrow"]));
    });
    let refused = try_open(root.path()).expect_err("it must not open");
    assert!(matches!(&refused, OpenError::NewerFormat(_)), "{refused}");
    assert!(refused.to_string().contains("newer Dormouse"), "{refused}");
}
