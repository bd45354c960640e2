//! What is damaged is set aside and named; everything else starts.

use std::sync::Arc;

use super::retention::without_state;
use super::*;
use crate::codec;
use crate::embedded::engine::{Batch, Class};
use crate::embedded::tables::blobs::BlobId;
use crate::embedded::tables::events;
use crate::embedded::tables::sessions::SessionCell;
use crate::embedded::tables::turns::Turns;
use crate::embedded::{OpenError, disk::Disk, keys};
use crate::{EventEntry, Page, SessionQuery, SnapshotDetail, Store, StoreError};
use dormouse_domain::event::Cursor;
use dormouse_domain::snapshot::Chunk;
use dormouse_domain::state::{Reason, State};

/// Change what is under a key, behind the back of the store.
fn tamper(root: &Path, change: impl FnOnce(&Disk, &mut Batch)) {
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    change(&disk, &mut batch);
    disk.write(batch).expect("it is written");
}

async fn with_three_sessions(root: &Path) {
    let store = open(root);
    for number in 1..=3 {
        let session = session(number);
        store
            .commit(Transaction::create(new(session.clone()), Vec::new()))
            .await
            .expect("it is created");
        store.commit(Transaction::turn(turn(&session, 10, 10))).await.expect("it is committed");
    }
    store.close().await.expect("it closes");
}

/// The value of a session, and how it is kept.
fn value(disk: &Disk, number: u64) -> (Class, Vec<u8>) {
    let key = keys::session(session_id(number));
    let sealed = disk.get(&key).expect("it reads").expect("it is there");
    let value = codec::unseal(codec::RecordKind::Session, &key, &sealed).expect("it is whole");
    let cell = SessionCell::read(&value.into_owned().into()).expect("it decodes");
    (SessionCell::class(&cell.front), sealed.to_vec())
}

#[tokio::test]
async fn a_record_without_a_front_is_set_aside_and_the_others_start() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |_, batch| {
        batch.put(Class::Head, keys::session(session_id(2)).to_vec(), "nothing");
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
        let update = store.commit(Transaction::update(next(&session(2)), None, Vec::new())).await;
        assert!(matches!(update, Err(StoreError::Damaged(_))));
        let taken = store.commit(Transaction::create(new(session(2)), Vec::new())).await;
        assert!(matches!(taken, Err(StoreError::Conflict(_))));
        store.close().await.expect("it closes");
    }
    let store = open(root.path());
    store
        .commit(Transaction::remove_session(session_id(2), Vec::new()))
        .await
        .expect("it can still be deleted");
    assert_eq!(store.session(session_id(2)).await.expect("it reads"), None);
    store.close().await.expect("it closes");
    assert_eq!(open(root.path()).stats().quarantined, 0);
}

#[tokio::test]
async fn a_record_of_which_only_the_front_can_be_read_is_in_error_and_takes_no_commit() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |disk, batch| {
        let (class, mut value) = value(disk, 2);
        let middle = value.len() - 40;
        value[middle] ^= 1;
        batch.put(class, keys::session(session_id(2)).to_vec(), value);
    });
    let store = open(root.path());
    assert_eq!((store.stats().sessions, store.stats().quarantined), (3, 0));
    let all = SessionQuery { limit: 9, ..SessionQuery::default() };
    let page = store.sessions(all).await.expect("it lists");
    let states: Vec<_> = page.sessions.iter().map(|session| session.state.clone()).collect();
    let damaged = State::Error(Reason::new("record_damaged"));
    assert_eq!((states, page.total), (vec![State::Active, damaged.clone(), State::Active], 3));
    let known = store.session(session_id(2)).await.expect("it reads").expect("it is there");
    assert_eq!(
        (known.owner.clone(), known.revision, known.state.clone()),
        (Principal::local(), 2, damaged)
    );
    let update = store.commit(Transaction::update(next(&known), None, Vec::new())).await;
    assert!(matches!(update, Err(StoreError::Damaged(_))));
    let head = known.head.expect("it has one");
    let kept = store.snapshot(head, SnapshotDetail::Full).await.expect("it reads");
    assert!(kept.is_some(), "its snapshots can be read");
    store
        .commit(Transaction::remove_session(session_id(2), Vec::new()))
        .await
        .expect("it can still be deleted");
    super::audit::settle(&store).await;
    assert_eq!(super::audit::audit(&store).snapshots, 2);
}

#[tokio::test]
async fn a_good_record_under_the_key_of_another_session_is_noticed() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |disk, batch| {
        let (class, value) = value(disk, 1);
        batch.put(class, keys::session(session_id(2)).to_vec(), value);
    });
    let store = open(root.path());
    assert_eq!((store.stats().sessions, store.stats().quarantined), (2, 1));
    assert!(matches!(store.wake_state(session_id(2)).await, Err(StoreError::Damaged(_))));
    assert!(store.wake_state(session_id(1)).await.expect("it reads").is_some());
}

#[tokio::test]
async fn damaged_turns_are_named_and_damaged_events_are_passed_over() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut now = session(1);
    store.commit(Transaction::create(new(now.clone()), Vec::new())).await.expect("it is created");
    for _ in 0..10 {
        let commit = turn(&now, 10, 10);
        now = Session::clone(&commit.session);
        store.commit(Transaction::turn(commit)).await.expect("it is committed");
    }
    store.close().await.expect("it closes");
    tamper(root.path(), |disk, batch| {
        let key = keys::turn(session_id(1), 8);
        let row = disk.get(&key).expect("it reads").expect("the first turns are a row");
        let row = codec::unseal(codec::RecordKind::Turn, &key, &row).expect("it is whole");
        assert_eq!(Turns::read(&row).expect("it decodes").iter().count(), 8);
        batch.put(Class::Rows, key.to_vec(), "nothing");
        batch.put(Class::Rows, keys::events(Cursor(10)).to_vec(), "nothing");
    });
    let store = open(root.path());
    let name = format!("session/{}/turns/8", session_id(1));
    let damaged = store.turn(session_id(1), 1).await;
    assert!(matches!(damaged, Err(StoreError::Damaged(key)) if key == name));
    assert!(matches!(store.turns(now.id, 0, most(99)).await, Err(StoreError::Damaged(_))));
    assert_eq!(store.turns(now.id, 8, most(99)).await.expect("it reads").entries.len(), 2);
    assert!(store.turn(now.id, 10).await.expect("it reads").is_some());
    assert_eq!(store.events_after(Cursor(0), most(9)).await.expect("it reads").entries, []);
    store.commit(Transaction::turn(turn(&now, 1, 1))).await.expect("it goes on");
    let events = store.events_after(Cursor(3), most(9)).await.expect("it reads").entries;
    assert_eq!(events.iter().map(|logged| logged.cursor.0).collect::<Vec<_>>(), [11]);
    assert_eq!(
        store.session_events(now.id, Cursor(0), most(9)).await.expect("it reads").entries,
        events
    );
}

#[tokio::test]
async fn an_event_of_an_unknown_kind_or_payload_is_passed_over_alone() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut now = session(1);
    store.commit(Transaction::create(new(now.clone()), Vec::new())).await.expect("it is created");
    for _ in 0..4 {
        let commit = turn(&now, 10, 10);
        now = Session::clone(&commit.session);
        store.commit(Transaction::turn(commit)).await.expect("it is committed");
    }
    store.close().await.expect("it closes");
    tamper(root.path(), |disk, batch| {
        let key = keys::events(Cursor(4));
        let sealed = disk.get(&key).expect("it reads").expect("the events are one piece");
        let piece = codec::unseal(codec::RecordKind::Events, &key, &sealed).expect("it is whole");
        let rows = events::read_events(&piece).expect("it decodes");
        let changed = |row: &[u8], from: &str, to: &str| {
            let at = row.windows(from.len()).position(|it| it == from.as_bytes()).expect(from);
            [&row[..at], to.as_bytes(), &row[at + from.len()..]].concat()
        };
        let mut piece = Vec::new();
        events::append_event(&mut piece, rows[0]);
        events::append_event(&mut piece, &changed(rows[1], "fuel", "wood"));
        events::append_event(&mut piece, rows[2]);
        events::append_event(&mut piece, &changed(rows[3], "completed", "perfected"));
        batch.put(Class::Rows, key.to_vec(), codec::seal(&key, &[&piece]));
    });
    let store = open(root.path());
    let cursors = |page: Page<EventEntry, Cursor>| {
        page.entries.iter().map(|logged| logged.cursor.0).collect::<Vec<_>>()
    };
    assert_eq!(cursors(store.events_after(Cursor(0), most(9)).await.expect("it reads")), [1, 3]);
    let page = store.events_after(Cursor(0), most(1)).await.expect("it reads");
    assert_eq!(page.next, Some(Cursor(1)));
    assert_eq!(cursors(store.events_after(Cursor(1), most(1)).await.expect("it reads")), [3]);
    store.commit(Transaction::turn(turn(&now, 1, 1))).await.expect("it goes on");
    let all = store.events_after(Cursor(0), most(9)).await.expect("it reads");
    assert_eq!(cursors(all.clone()), [1, 3, 5]);
    let own = store.session_events(now.id, Cursor(0), most(9)).await.expect("it reads");
    assert_eq!(own, all);
}

#[tokio::test]
async fn a_record_of_a_newer_format_keeps_the_store_from_opening() {
    let root = tempfile::tempdir().expect("there is room");
    with_three_sessions(root.path()).await;
    tamper(root.path(), |_, batch| {
        let key = keys::session(session_id(2));
        let value = codec::seal_as(codec::VERSION + 1, &key, &[b"from tomorrow"]);
        batch.put(SessionCell::class(&[0; 5]), key.to_vec(), value);
    });
    let refused = try_open(root.path()).expect_err("it must not open");
    assert!(matches!(&refused, OpenError::NewerFormat(_)), "{refused}");
    assert!(refused.to_string().contains("newer Dormouse"), "{refused}");
}

#[tokio::test]
async fn a_damaged_head_leaves_the_record_and_the_snapshots_before_it() {
    for damage in ["row", "no row", "bytes", "no bytes"] {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        let first = session(1);
        store
            .commit(Transaction::create(new(first.clone()), Vec::new()))
            .await
            .expect("it is created");
        let good = turn(&first, 1, 10);
        store.commit(Transaction::turn(good.clone())).await.expect("it is committed");
        let mut bad = turn(&good.session, 1, 50_000);
        let chunk = Chunk { digest: Digest::of(b"it"), size: 2, data: Some(Bytes::from("it")) };
        bad.snapshot.as_mut().expect("it has one").state =
            GuestState::Image { data: Bytes::from(vec![7; 50_000]), chunks: vec![chunk] };
        store.commit(Transaction::turn(bad.clone())).await.expect("it is committed");
        store.close().await.expect("it closes");

        let head = bad.session.head.expect("it has one");
        tamper(root.path(), |_, batch| {
            let row = keys::snapshot(first.id, head).to_vec();
            let content = keys::content(&BlobId::Chunk(Digest::of(b"it"))).to_vec();
            match damage {
                "row" => batch.put(Class::Head, row, "nothing"),
                "no row" => batch.delete(row),
                "bytes" => batch.put(Class::Rows, content, "something else"),
                _ => batch.delete(content),
            }
        });
        let store = open(root.path());
        let wake_state = store.wake_state(first.id).await.expect("it reads").expect("it is there");
        assert_eq!(
            (wake_state.session, wake_state.head),
            (Session::clone(&bad.session), None),
            "{damage}"
        );
        assert!(wake_state.damage.is_some(), "{damage}");
        let read = store.snapshot(head, SnapshotDetail::Full).await;
        assert!(matches!(read, Err(StoreError::Damaged(_))), "{damage}: {read:?}");
        let known = store.snapshots(first.id).await.expect("it reads");
        assert!(known.iter().any(|known| good.session.head == Some(known.id)), "{damage}");
        // It goes on from the one before, and what is damaged can still be removed.
        let mut back = next(&bad.session);
        back.head = good.session.head;
        store.commit(Transaction::update(back, None, Vec::new())).await.expect("it is committed");
        let wake_state = store.wake_state(first.id).await.expect("it reads").expect("it is there");
        assert_eq!((wake_state.head, wake_state.damage), (good.snapshot.clone(), None), "{damage}");
        let removal =
            Transaction::remove_state(without_state(&wake_state.session).into(), Vec::new());
        store.commit(removal).await.expect("its state is removed");
        assert_eq!(store.snapshots(first.id).await.expect("it reads"), [], "{damage}");
        store
            .commit(Transaction::remove_session(first.id, Vec::new()))
            .await
            .expect("it is deleted");
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
        store.commit(Transaction::template(template)).await.expect("it is kept");
    }
    store.close().await.expect("it closes");
    tamper(root.path(), |_, batch| {
        batch.put(Class::Rows, keys::template(&owner, "one"), "nothing");
    });
    let store = open(root.path());
    assert_eq!(store.stats().quarantined, 1);
    assert_eq!(store.template(owner.clone(), "one".to_owned()).await.expect("it reads"), None);
    assert_eq!(store.templates(owner).await.expect("it reads").len(), 1);
}
