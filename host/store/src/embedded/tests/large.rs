//! Large values, and what is left behind.

use super::audit::{Census, audit, settle};
use super::*;
use crate::embedded::engine::PackKind;
use crate::embedded::keys;
use crate::embedded::tables::{sessions, snapshots};
use crate::{Store, StoreError};
use dormouse_domain::event::Cursor;

const LARGE: usize = 1 << 20;

/// How many large values are kept apart from the others.
fn large_packs(store: &Embedded) -> u64 {
    let stat = inside(store).disk.stat();
    stat.kinds.get(&PackKind::Large).map_or(0, |kind| kind.packs)
}

#[tokio::test]
async fn large_heads_and_turns_are_kept_and_go_when_nothing_points_to_them() {
    let root = tempfile::tempdir().expect("there is room");
    let keeping_one = || Embedded::open(root.path(), keeping_snapshots(1)).expect("it opens");
    let store = keeping_one();
    let first = session(1);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    let large = turn(&first, LARGE, LARGE);
    store.commit(Transaction::turn(large.clone())).await.expect("it is committed");
    assert_eq!(large_packs(&store), 2, "the head, and the turn");

    let updated = next(&large.session);
    store
        .commit(Transaction::update(updated.clone(), None, Vec::new()))
        .await
        .expect("it is committed");
    let wake_state = store.wake_state(first.id).await.expect("it reads").expect("it is there");
    assert_eq!((&wake_state.session, &wake_state.head), (&updated, &large.snapshot));

    let larger = turn(&updated, 1, LARGE + 1);
    store.commit(Transaction::turn(larger.clone())).await.expect("it is committed");
    store.close().await.expect("it closes");

    let store = keeping_one();
    assert_eq!(large_packs(&store), 2, "the first head is gone, and the turn is not");
    let wake_state = store.wake_state(first.id).await.expect("it reads").expect("it is there");
    assert_eq!(wake_state.head, larger.snapshot);
    assert_eq!(
        store.turns(first.id, 0, most(9)).await.expect("it reads").entries,
        [large.turn, larger.turn].map(std::sync::Arc::unwrap_or_clone)
    );
    let small = turn(&larger.session, 1, 1);
    store.commit(Transaction::turn(small.clone())).await.expect("it is committed");
    let mut fresh = next(&small.session);
    fresh.head = None;
    store.commit(Transaction::update(fresh, None, Vec::new())).await.expect("it is committed");
    assert_eq!(store.wake_state(first.id).await.expect("it reads").and_then(|d| d.head), None);
    store.commit(Transaction::remove_session(first.id, Vec::new())).await.expect("it is deleted");
    settle(&store).await;
    store.close().await.expect("it closes");
    let store = keeping_one();
    assert_eq!(large_packs(&store), 0);
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn large_turns_lie_between_small_ones_and_the_log_does_not_have_their_bytes() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut now = session(1);
    store.commit(Transaction::create(new(now.clone()), Vec::new())).await.expect("it is created");
    let mut turns = Vec::new();
    for bytes in [1, 1, LARGE, 1, LARGE, LARGE, 1, 1, 1] {
        let commit = turn(&now, bytes, 1);
        store.commit(Transaction::turn(commit.clone())).await.expect("it is committed");
        now = Session::clone(&commit.session);
        turns.push(std::sync::Arc::unwrap_or_clone(commit.turn));
        let overlay = inside(&store).disk.stat().overlay_bytes;
        assert!(overlay < LARGE / 2, "what is not applied yet has {overlay} bytes");
    }
    assert_eq!(large_packs(&store), 3, "each is staged");
    let mut store = store;
    for is_last in [false, true] {
        let all = store.turns(now.id, 0, most(99)).await.expect("it reads").entries;
        assert_eq!(all, turns);
        for expected in &turns {
            let one = store.turn(now.id, expected.number).await.expect("it reads");
            assert_eq!(one.as_ref(), Some(expected));
        }
        audit(&store);
        store.close().await.expect("it closes");
        if !is_last {
            store = open(root.path());
        }
    }
}

#[tokio::test]
async fn a_large_turn_goes_when_it_is_not_to_be_kept_any_more() {
    let keep = Retention { turns: 4, ..Retention::default() };
    let store = Embedded::temporary(Options { retention: keep, ..small() }).expect("it opens");
    let mut now = session(1);
    store.commit(Transaction::create(new(now.clone()), Vec::new())).await.expect("it is created");
    for number in 1..=40 {
        let commit = turn(&now, if number % 2 == 0 { LARGE } else { 1 }, 1);
        store.commit(Transaction::turn(commit.clone())).await.expect("it is committed");
        now = Session::clone(&commit.session);
    }
    let kept = store.turns(now.id, 0, most(99)).await.expect("it reads").entries;
    let kept: Vec<u64> = kept.iter().map(|turn| turn.number).collect();
    assert!((4..=8).contains(&kept.len()) && kept.last() == Some(&40), "{kept:?}");
    assert!(kept.is_sorted_by(|one, next| one + 1 == *next), "without a gap: {kept:?}");
}

#[tokio::test]
async fn a_large_record_and_large_events_are_kept_too() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let mut first = session(1);
    first.profile.config.insert("prompt".to_owned(), "x".repeat(LARGE).into());
    let large = event(
        &first,
        EventBody::SessionTerminated { reason: dormouse_domain::state::Reason("y".repeat(LARGE)) },
    );
    store
        .commit(Transaction::create(new(first.clone()), vec![large.clone()]))
        .await
        .expect("it is created");
    store.close().await.expect("it closes");
    let store = open(root.path());
    assert_eq!(store.session(first.id).await.expect("it reads"), Some(first.clone()));
    let events =
        store.session_events(first.id, Cursor(0), most(9)).await.expect("it reads").entries;
    assert_eq!(events.into_iter().map(|logged| logged.event).collect::<Vec<_>>(), [large]);
    let mut labels = next(&first);
    labels.profile.tags = vec!["z".repeat(sessions::FRONT)];
    let refused = store.commit(Transaction::update(labels, None, Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

#[tokio::test]
async fn large_values_of_commits_that_were_refused_are_removed() {
    let store = temporary();
    let first = session(1);
    let refused = store.commit(Transaction::turn(turn(&first, LARGE, LARGE))).await;
    assert!(matches!(refused, Err(StoreError::NotFound(_))));
    assert_eq!(large_packs(&store), 0);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    let kept = turn(&first, 1, LARGE);
    store.commit(Transaction::turn(kept.clone())).await.expect("it is committed");
    assert_eq!(large_packs(&store), 1);
    // The same bytes again are not kept twice.
    let mut again = turn(&kept.session, 1, LARGE);
    again.snapshot.as_mut().expect("it has one").turn = 2;
    store.commit(Transaction::turn(again)).await.expect("it is committed");
    assert_eq!(large_packs(&store), 1);
}

#[tokio::test]
async fn a_commit_that_no_log_could_take_is_refused_and_loses_nothing() {
    let store = temporary();
    let first = session(1);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    let refused = store.commit(Transaction::turn(turn(&first, 13 << 20, 1))).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    store.commit(Transaction::turn(turn(&first, 1, 1))).await.expect("it goes on");
}

#[tokio::test]
async fn groups_of_small_commits_to_large_sessions_fit_into_the_smallest_slot() {
    let store = temporary();
    let sessions: Vec<_> = (0..6).map(session).collect();
    for first in &sessions {
        let mut first = first.clone();
        first.profile.config.insert("prompt".to_owned(), "x".repeat(11 << 19).into());
        store.commit(Transaction::create(new(first), Vec::new())).await.expect("it is created");
    }
    let log = |session: &Session| vec![event(session, EventBody::SessionStarted)];
    let logs = sessions.iter().map(|it| store.commit(Transaction::log(it.id, log(it))));
    let done = futures::future::join_all(logs).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
}

#[tokio::test]
async fn pages_of_the_largest_fronts_do_not_become_files_of_sled() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    for number in 0..60 {
        let mut first = session(number);
        first.profile.tags = vec!["t".repeat(sessions::FRONT - 400)];
        store
            .commit(Transaction::create(new(first.clone()), Vec::new()))
            .await
            .expect("it is created");
        for _ in 0..4 {
            let commit = turn(&first, 10, snapshots::DATA - 400);
            first = Session::clone(&commit.session);
            store.commit(Transaction::turn(commit)).await.expect("it is committed");
        }
        if number % 3 == 0 {
            store
                .commit(Transaction::remove_session(first.id, Vec::new()))
                .await
                .expect("it is deleted");
        }
    }
    store.close().await.expect("it closes");
    let files = std::fs::read_dir(root.path().join("store/sled/blobs")).expect("it is there");
    assert_eq!(files.count(), 0);
}

#[tokio::test]
async fn a_session_with_very_many_turns_is_removed_bit_by_bit_also_across_a_restart() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let (mut first, other) = (session(1), session(2));
    let id = first.id;
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    store.commit(Transaction::create(new(other.clone()), Vec::new())).await.expect("it is created");
    store.commit(Transaction::turn(turn(&other, 1, 1))).await.expect("it is committed");
    let mut commits = Vec::new();
    for _ in 0..1500 {
        let commit = turn(&first, 1, 1);
        first = Session::clone(&commit.session);
        commits.push(commit);
    }
    // So few at once that they are sent in their order.
    for some in commits.chunks(25) {
        let done = futures::future::join_all(
            some.iter().map(|c| store.commit(Transaction::turn(c.clone()))),
        );
        assert!(done.await.iter().all(Result::is_ok));
    }
    let all =
        store.events_after(Cursor(0), most(usize::MAX)).await.expect("it reads").entries.len();
    store.commit(Transaction::remove_session(id, Vec::new())).await.expect("it is deleted");
    assert_eq!(store.turns(id, 0, most(usize::MAX)).await.expect("it reads").entries, []);
    let events =
        store.session_events(id, Cursor(0), most(usize::MAX)).await.expect("it reads").entries;
    assert_eq!(events, []);
    let taken = store.commit(Transaction::create(new(session(1)), Vec::new())).await;
    assert!(matches!(taken, Ok(()) | Err(StoreError::Conflict(_))));
    drop(store);

    let store = open(root.path());
    settle(&store).await;
    let left: Vec<_> = inside(&store).disk.prefix(&keys::rows(id)).collect();
    assert_eq!(left.len(), 0);
    assert_eq!(store.turns(other.id, 0, most(9)).await.expect("it reads").entries.len(), 1);
    let kept =
        store.events_after(Cursor(0), most(usize::MAX)).await.expect("it reads").entries.len();
    assert_eq!(kept, all, "the log keeps the events of deleted sessions");
}
