//! What goes by number and by age, and what stays all the same.

use std::sync::Arc;
use std::time::Duration;

use super::audit::audit;
use super::*;
use crate::Store;
use crate::embedded::{keys, upkeep};
use crate::upkeep::Finding;
use dormouse_domain::event::Cursor;

const DAY: i64 = 24 * 3600 * 1000;

fn keeping(retention: Retention) -> Embedded {
    Embedded::temporary(Options { retention, ..small() }).expect("it opens")
}

/// The next record of a session, once its state is removed.
pub(super) fn without_state(before: &Session) -> Session {
    let mut session = next(before);
    session.set_head(None);
    session.before_upgrade = None;
    session.state_removed_at = Some(Timestamp(DAY));
    session
}

#[tokio::test]
async fn a_state_goes_with_all_that_it_alone_has_and_a_repair_leaves_its_session_as_it_is() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let (first, other) = (session(1), session(2));
    for session in [&first, &other] {
        let creation = Transaction::create(new(session.clone()), Vec::new());
        store.commit(creation).await.expect("it is created");
    }
    // Both have the same data in a blob, and the first one some of its own.
    let mut now = first;
    for size in [100_000, 200_000] {
        let commit = turn(&now, 1, size);
        now = Session::clone(&commit.session);
        store.commit(Transaction::turn(commit)).await.expect("it is committed");
    }
    store.commit(Transaction::turn(turn(&other, 1, 100_000))).await.expect("it is committed");
    super::audit::settle(&store).await;
    assert_eq!((audit(&store).snapshots, audit(&store).blobs), (3, 2));
    let without = without_state(&now);
    let removal = Transaction::remove_state(without.clone().into(), Vec::new());
    store.commit(removal).await.expect("it is committed");
    super::audit::settle(&store).await;
    assert_eq!((audit(&store).snapshots, audit(&store).blobs), (1, 1));
    store.close().await.expect("it closes");

    let report = upkeep::check(root.path(), small()).expect("it is checked");
    // The agents that they refer to are not there: that is all.
    let is_other = |finding: &&Finding| !finding.what.contains("its agent");
    assert_eq!(report.findings.iter().filter(is_other).count(), 0, "{:?}", report.findings);
    upkeep::repair(root.path(), small()).expect("it is repaired");
    let store = open(root.path());
    let repaired = store.session(without.id).await.expect("it reads").expect("it is there");
    assert_eq!(Session { revision: without.revision, ..repaired }, without);
    assert_eq!(numbers(&store, without.id).await, [1, 2]);
    store.close().await.expect("it closes");
}

/// A turn at this time, with a snapshot whose name was made then.
fn turn_at(before: &Session, time: i64) -> TurnCommit {
    let mut commit = turn(before, 100, 100);
    Arc::make_mut(&mut commit.turn).started_at = Timestamp(time);
    commit.events[0].occurred_at = Timestamp(time);
    let seconds = u64::try_from(time / 1000).expect("it is not negative");
    let low = u128::from(commit.session.usage.turns) << 64 | before.id.0.as_u128() & 0xffff;
    let moment = uuid::Timestamp::from_unix_time(seconds, 0, low, 75);
    let name = SnapshotId(Uuid::new_v7(moment));
    Arc::make_mut(&mut commit.session).head = Some(name);
    commit.snapshot.as_mut().expect("it has one").id = name;
    commit
}

async fn turns(store: &Embedded, mut now: Session, times: impl Iterator<Item = i64>) -> Session {
    for time in times {
        let commit = turn_at(&now, time);
        now = Session::clone(&commit.session);
        store.commit(Transaction::turn(commit)).await.expect("it is committed");
    }
    now
}

async fn numbers(store: &Embedded, id: SessionId) -> Vec<u64> {
    let turns = store.turns(id, 0, most(999)).await.expect("it reads").entries;
    turns.into_iter().map(|turn| turn.number).collect()
}

async fn cursors(store: &Embedded) -> Vec<u64> {
    let events = store.events_after(Cursor(0), most(9999)).await.expect("it reads").entries;
    events.into_iter().map(|logged| logged.cursor.0).collect()
}

async fn of_session(store: &Embedded, id: SessionId) -> Vec<u64> {
    let events = store.session_events(id, Cursor(0), most(9999)).await.expect("it reads").entries;
    events.into_iter().map(|logged| logged.cursor.0).collect()
}

#[tokio::test]
async fn the_newest_turns_and_events_are_kept_and_a_few_more() {
    let store = keeping(Retention { turns: 20, events: 60, ..Retention::default() });
    let first = session(1);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    let now = turns(&store, first, 0..1000).await;
    let kept = numbers(&store, now.id).await;
    assert_eq!(kept.last(), Some(&1000));
    assert!((20..=36).contains(&kept.len()), "{}", kept.len());
    assert!(kept.is_sorted_by(|a, b| a + 1 == *b), "without a gap: {kept:?}");
    assert_eq!(store.turn(now.id, 1).await.expect("it reads"), None);
    assert!(store.turn(now.id, 990).await.expect("it reads").is_some());

    let kept = cursors(&store).await;
    assert_eq!(kept.last(), Some(&1000));
    assert!((60..360).contains(&kept.len()), "{}", kept.len());
    let places = inside(&store).disk.fronts(&keys::places(now.id)).count();
    assert!((60 / 32..=360 / 32 + 2).contains(&places), "nor places of others: {places}");
}

#[tokio::test]
async fn there_is_a_place_for_each_event_that_is_kept() {
    let store = keeping(Retention { events: 100, ..Retention::default() });
    let session = session(1);
    store
        .commit(Transaction::create(new(session.clone()), Vec::new()))
        .await
        .expect("it is created");
    for round in 0..1500 {
        let events = vec![event(&session, EventBody::SessionStarted); 1 + round % 3];
        store.commit(Transaction::log(session.id, events)).await.expect("it is committed");
        assert_eq!(cursors(&store).await, of_session(&store, session.id).await, "{round}");
    }
    assert!(cursors(&store).await[0] > 1, "the first have gone");
}

#[tokio::test]
async fn what_is_too_old_goes_but_for_what_a_session_needs() {
    let age = Some(Duration::from_secs(7 * 24 * 3600));
    let keep =
        Retention { turns_for: age, snapshots_for: age, events_for: age, ..Retention::default() };
    let store = keeping(keep);
    let (old, mixed) = (session(1), session(2));
    for session in [&old, &mixed] {
        store
            .commit(Transaction::create(new(session.clone()), Vec::new()))
            .await
            .expect("it is created");
    }
    let old = turns(&store, old, (0..11).map(|n| n * 1000)).await;
    let mixed = turns(&store, mixed, (0..11).map(|day| day * DAY)).await;
    assert_eq!(numbers(&store, old.id).await.len(), 11);

    store.expire(Timestamp(10 * DAY)).await.expect("it is done");
    assert_eq!(numbers(&store, old.id).await, [0; 0]);
    // Those of the first three days lie in a row with five that are young enough.
    assert_eq!(numbers(&store, mixed.id).await.len(), 11);
    let snapshots = store.snapshots(old.id).await.expect("it reads");
    assert_eq!(snapshots.iter().map(|one| Some(one.id)).collect::<Vec<_>>(), [old.head]);
    assert_eq!(store.snapshots(mixed.id).await.expect("it reads").len(), 8);
    assert_eq!(audit(&store).snapshots, 9);
    let wake_state = store.wake_state(old.id).await.expect("it reads").expect("it is there");
    assert!(wake_state.head.is_some() && wake_state.damage.is_none());

    store.expire(Timestamp(16 * DAY)).await.expect("it is done");
    assert_eq!(numbers(&store, mixed.id).await, [10, 11]);
    store.expire(Timestamp(99 * DAY)).await.expect("it is done");
    assert_eq!(numbers(&store, mixed.id).await, [0; 0]);
    assert_eq!(store.snapshots(mixed.id).await.expect("it reads").len(), 1);
    let more = turns(&store, mixed, std::iter::once(99 * DAY)).await;
    assert_eq!(numbers(&store, more.id).await, [12]);
}
