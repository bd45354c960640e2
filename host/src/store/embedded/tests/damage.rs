//! What is damaged is set aside and named; everything else starts.

use sled::Batch;

use super::*;
use crate::event::Cursor;
use crate::store::codec;
use crate::store::embedded::{OpenError, disk::Disk, keys};
use crate::store::{Depth, SessionQuery, Store, StoreError};

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
        store.create_sessions(new(session.clone()), Vec::new()).await.expect("it is created");
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
        let update = store.update_session(next(&session(2)), None, Vec::new()).await;
        assert!(matches!(update, Err(StoreError::Damaged(_))));
        let taken = store.create_sessions(new(session(2)), Vec::new()).await;
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

#[tokio::test]
async fn a_damaged_head_leaves_the_record_and_the_snapshots_before_it() {
    for damage in ["row", "no row", "blob", "no blob", "file", "no file", "cut file"] {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        let first = session(1);
        store.create_sessions(new(first.clone()), Vec::new()).await.expect("it is created");
        let good = turn(&first, 1, 10);
        store.commit_turn(good.clone()).await.expect("it is committed");
        let bad = turn(&good.session, 1, 50_000);
        store.commit_turn(bad.clone()).await.expect("it is committed");
        store.close().await.expect("it closes");

        let head = bad.session.head.expect("it has one");
        let value = &files(&root.path().join("values"))[0];
        let value = root.path().join("values").join(value);
        let bytes = std::fs::read(&value).expect("it reads");
        tamper(root.path(), |disk, batch| {
            let row = keys::snapshot(first.id, head);
            let (blob, _) = disk.prefix(b"b").next().expect("there is one").expect("it reads");
            match damage {
                "row" => batch.insert(row.as_slice(), "nothing"),
                "no row" => batch.remove(row.as_slice()),
                "blob" => batch.insert(blob, "nothing"),
                "no blob" => batch.remove(blob),
                "file" => {
                    let mut bytes = bytes.clone();
                    bytes[30_000] ^= 1;
                    std::fs::write(&value, bytes).expect("it is written");
                }
                "no file" => std::fs::remove_file(&value).expect("it is removed"),
                _ => std::fs::write(&value, &bytes[..40_000]).expect("it is written"),
            }
        });
        let store = open(root.path());
        let dormant = store.dormant(first.id).await.expect("it reads").expect("it is there");
        assert_eq!((dormant.session, dormant.head), (bad.session.clone(), None), "{damage}");
        assert!(dormant.damage.is_some(), "{damage}");
        let read = store.snapshot(head, Depth::Whole).await;
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{damage}: {read:?}");
        let known = store.snapshots(first.id).await.expect("it reads");
        assert!(known.iter().any(|known| good.session.head == Some(known.id)), "{damage}");
        // It goes on from the one before, and what is damaged can still be removed.
        let mut back = next(&bad.session);
        back.head = good.session.head;
        store.update_session(back, None, Vec::new()).await.expect("it is committed");
        let dormant = store.dormant(first.id).await.expect("it reads").expect("it is there");
        assert_eq!((dormant.head, dormant.damage), (good.snapshot.clone(), None), "{damage}");
        store.delete_session(first.id, Vec::new()).await.expect("it is deleted");
        super::audit::settle(&store).await;
        assert_eq!(inside(&store).disk.prefix(&keys::rows(first.id)).count(), 0, "{damage}");
        store.close().await.expect("it closes");
    }
}

#[tokio::test]
async fn a_damaged_template_is_set_aside_and_the_others_start() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let snapshot = turn(&session(1), 1, 10).snapshot.expect("it has one");
    let owner = Principal::local();
    for name in ["one", "two"] {
        let template = Template {
            name: name.to_owned(),
            owner: owner.clone(),
            description: None,
            agent: agent_ref("echo", "1", b"echo"),
            snapshot: snapshot.clone(),
            created_at: Timestamp(1),
        };
        store.put_template(template).await.expect("it is kept");
    }
    store.close().await.expect("it closes");
    tamper(root.path(), |_, batch| {
        batch.insert(keys::template(&owner, "one"), "nothing");
    });
    let store = open(root.path());
    assert_eq!(store.stats().quarantined, 1);
    assert_eq!(store.template(owner.clone(), "one".to_owned()).await.expect("it reads"), None);
    assert_eq!(store.templates(owner).await.expect("it reads").len(), 1);
}
