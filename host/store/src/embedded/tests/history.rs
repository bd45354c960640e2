//! What is kept of the past of a session, what sessions share, and what becomes of it.

use std::sync::Arc;

use super::audit::{Census, audit, settle};
use super::*;
use crate::{MAX_SESSION_RECORDS, SnapshotDetail, Store, StoreError};
use dormouse_domain::event::{Cursor, EventKind, ResumeOutcome};
use dormouse_domain::session::BeforeUpgrade;
use dormouse_domain::snapshot::Chunk;

fn chunk(number: u8) -> Chunk {
    let data = vec![number; 3000 + usize::from(number)];
    let size = u32::try_from(data.len()).expect("it is small");
    Chunk { digest: Digest::of(&[number]), size, data: Some(Bytes::from(data)) }
}

/// An image of these chunks.
pub(super) fn image(data: usize, chunks: &[u8]) -> GuestState {
    let chunks = chunks.iter().map(|number| chunk(*number)).collect();
    GuestState::Image { data: Bytes::from(vec![9; data]), chunks }
}

/// The same state without the data of its chunks.
fn outline(mut state: GuestState) -> GuestState {
    if let GuestState::Image { chunks, .. } = &mut state {
        chunks.iter_mut().for_each(|chunk| chunk.data = None);
    }
    state
}

/// A turn that leaves this state.
pub(super) fn turn_to(before: &Session, state: GuestState) -> TurnCommit {
    let mut commit = turn(before, 1, 1);
    commit.snapshot.as_mut().expect("it has one").state = state;
    commit
}

/// A session with this snapshot of another one as its own.
pub(super) fn fork(number: u64, of: &Snapshot) -> NewSessionRecord {
    let mut session = session(number);
    let id = SnapshotId(uuid(1 << 60 | number));
    session.head = Some(id);
    session.parent = Some(of.id);
    NewSessionRecord {
        session: session.into(),
        head: Some(Snapshot { id, parent: Some(of.id), ..of.clone() }),
    }
}

pub(super) fn template(name: &str, snapshot: &Snapshot) -> Template {
    Template {
        name: name.to_owned(),
        owner: Principal::local(),
        description: Some("warm".to_owned()),
        agent: agent_ref("echo", "1", b"echo"),
        snapshot: snapshot.clone(),
        created_at: Timestamp(7),
    }
}

fn keeping(root: &Path, keep_snapshots: usize) -> Embedded {
    Embedded::open(root, keeping_snapshots(keep_snapshots)).expect("it opens")
}

async fn created(store: &Embedded, number: u64) -> Session {
    let session = session(number);
    store
        .commit(Transaction::create(new(session.clone()), Vec::new()))
        .await
        .expect("it is created");
    session
}

pub(super) async fn take(store: &Embedded, commit: TurnCommit) -> (Session, Snapshot) {
    store.commit(Transaction::turn(commit.clone())).await.expect("it is committed");
    (Session::clone(&commit.session), commit.snapshot.expect("it has one"))
}

pub(super) async fn whole(store: &Embedded, id: SnapshotId) -> Option<Snapshot> {
    store.snapshot(id, SnapshotDetail::Full).await.expect("it reads").map(|kept| kept.snapshot)
}

async fn names(store: &Embedded, id: SessionId) -> Vec<SnapshotId> {
    let snapshots = store.snapshots(id).await.expect("it reads");
    snapshots.into_iter().map(|summary| summary.id).collect()
}

#[tokio::test]
async fn the_newest_snapshots_are_kept_and_the_head_whatever_its_age() {
    let root = tempfile::tempdir().expect("there is room");
    let store = keeping(root.path(), 3);
    let mut now = created(&store, 1).await;
    let mut all = Vec::new();
    for size in 1..=5 {
        let (session, snapshot) = take(&store, turn(&now, 1, size * 9000)).await;
        now = session;
        all.push(snapshot);
    }
    assert_eq!(names(&store, now.id).await, [all[4].id, all[3].id, all[2].id]);
    assert_eq!(whole(&store, all[1].id).await, None);
    assert_eq!(whole(&store, all[2].id).await.as_ref(), Some(&all[2]));
    let summary = &store.snapshots(now.id).await.expect("it reads")[0];
    assert_eq!((summary.turn, summary.parent, summary.size), (5, Some(all[3].id), 45_000));

    // Back to the oldest, which is now the head; and one that it may go back to.
    let mut back = next(&now);
    back.head = Some(all[2].id);
    back.before_upgrade = Some(BeforeUpgrade {
        agent: back.profile.agent.clone(),
        head: Some(all[3].id),
        head_parent: None,
        state_bytes: None,
    });
    store
        .commit(Transaction::update(back.clone(), None, Vec::new()))
        .await
        .expect("it is committed");
    let wake_state = store.wake_state(now.id).await.expect("it reads").expect("it is there");
    assert_eq!((wake_state.session, wake_state.head.as_ref()), (back.clone(), Some(&all[2])));
    let (upgraded, newest) = take(&store, turn(&back, 1, 10)).await;
    assert_eq!(names(&store, now.id).await, [newest.id, all[4].id, all[3].id]);
    let (upgraded, newer) = take(&store, turn(&upgraded, 1, 10)).await;
    assert_eq!(names(&store, now.id).await, [newer.id, newest.id, all[3].id]);
    let unnamed = Session { before_upgrade: None, ..upgraded };
    let (_, last) = take(&store, turn(&unnamed, 1, 10)).await;
    assert_eq!(names(&store, now.id).await, [last.id, newer.id, newest.id]);
    assert_eq!(audit(&store).snapshots, 3);
    store.close().await.expect("it closes");

    let store = keeping(root.path(), 1);
    assert_eq!(names(&store, now.id).await.len(), 3, "until the next commit");
    let current = store.session(now.id).await.expect("it reads").expect("it is there");
    let (_, only) = take(&store, turn(&current, 1, 10)).await;
    assert_eq!(names(&store, now.id).await, [only.id]);
    assert_eq!(audit(&store), Census { snapshots: 1, ..Census::default() });
}

#[tokio::test]
async fn a_head_that_is_not_there_is_refused() {
    let store = temporary();
    let now = created(&store, 1).await;
    let mut lost = next(&now);
    lost.head = Some(SnapshotId(uuid(404)));
    let refused = store.commit(Transaction::update(lost, None, Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::SnapshotGone)));
    let (now, head) = take(&store, turn(&now, 1, 1)).await;
    let mut fresh = next(&now);
    fresh.head = None;
    store
        .commit(Transaction::update(fresh.clone(), None, Vec::new()))
        .await
        .expect("it is committed");
    let wake_state = store.wake_state(now.id).await.expect("it reads").expect("it is there");
    assert_eq!((wake_state.head, wake_state.damage), (None, None));
    assert_eq!(names(&store, now.id).await, [head.id], "it can be gone back to");
    // The name of a snapshot means one state.
    let mut again = next(&fresh);
    again.head = Some(head.id);
    let twice = store.commit(Transaction::update(again, Some(head), Vec::new())).await;
    assert!(matches!(twice, Err(StoreError::Conflict(_))));
}

#[tokio::test]
async fn the_same_chunks_are_kept_once_and_go_with_the_last_that_has_them() {
    let root = tempfile::tempdir().expect("there is room");
    let store = keeping(root.path(), 2);
    let now = created(&store, 1).await;
    let (now, first) = take(&store, turn_to(&now, image(40_000, &[1, 2, 2, 3]))).await;
    assert_eq!(whole(&store, first.id).await.as_ref(), Some(&first));
    let census = audit(&store);
    assert_eq!(census.blobs, 4, "its data and three chunks");

    let mut second = turn_to(&now, outline(image(10, &[3, 2])));
    let GuestState::Image { chunks, .. } = &mut second.snapshot.as_mut().expect("one").state else {
        panic!("it is an image");
    };
    chunks.push(chunk(4));
    let (now, second) = take(&store, second).await;
    let expected = Snapshot { state: image(10, &[3, 2, 4]), ..second.clone() };
    assert_eq!(whole(&store, second.id).await, Some(expected));
    let outlined = store.snapshot(second.id, SnapshotDetail::Metadata).await.expect("it reads");
    assert_eq!(outlined.expect("it is there").snapshot.state, outline(image(10, &[3, 2, 4])));
    let census = audit(&store);
    assert_eq!(census.blobs, 5);

    // What comes again although it is there is not kept twice, nor is its file.
    let (now, _) = take(&store, turn_to(&now, image(10, &[2, 3]))).await;
    let census = audit(&store);
    assert_eq!(census.blobs, 3, "the first snapshot is gone");
    let (now, _) = take(&store, turn(&now, 1, 1)).await;
    let (now, last) = take(&store, turn(&now, 1, 1)).await;
    assert_eq!(audit(&store).blobs, 0);

    let lost = turn_to(&now, outline(image(10, &[2])));
    let refused = store.commit(Transaction::turn(lost)).await;
    assert!(matches!(refused, Err(StoreError::SnapshotGone)));
    let half = turn_to(&now, image(40_000, &[5]));
    let mut half_lost = half.clone();
    let GuestState::Image { chunks, .. } = &mut half_lost.snapshot.as_mut().expect("one").state
    else {
        panic!("it is an image");
    };
    chunks.push(Chunk { data: None, ..chunk(6) });
    assert!(matches!(
        store.commit(Transaction::turn(half_lost)).await,
        Err(StoreError::SnapshotGone)
    ));
    assert_eq!(store.session(now.id).await.expect("it reads").and_then(|s| s.head), Some(last.id));
    assert_eq!(audit(&store).blobs, 0, "nothing of it is left");
    take(&store, half).await;
}

#[tokio::test]
async fn a_list_of_very_many_chunks_is_a_tree_of_blobs() {
    let root = tempfile::tempdir().expect("there is room");
    let store = keeping(root.path(), 1);
    let now = created(&store, 1).await;
    let many: Vec<Chunk> = (0..5000_u32)
        .map(|number| {
            let data = number.to_le_bytes();
            Chunk { digest: Digest::of(&data), size: 4, data: Some(data.to_vec().into()) }
        })
        .collect();
    let state = GuestState::Image { data: Bytes::new(), chunks: many.clone() };
    let (now, first) = take(&store, turn_to(&now, state)).await;
    assert_eq!(
        audit(&store).blobs,
        5000 + 313 + 20 + 2 + 1,
        "the chunks, and the nodes above them"
    );
    let mut fewer = many[..4000].to_vec();
    fewer.iter_mut().for_each(|chunk| chunk.data = None);
    let state = GuestState::Image { data: Bytes::new(), chunks: fewer };
    let (now, second) = take(&store, turn_to(&now, state)).await;
    assert_eq!(whole(&store, first.id).await, None);
    let whole = whole(&store, second.id).await.expect("it is there");
    assert_eq!(
        whole.state,
        GuestState::Image { data: Bytes::new(), chunks: many[..4000].to_vec() }
    );
    settle(&store).await;
    assert_eq!(audit(&store).blobs, 4000 + 250 + 16 + 1);
    store.commit(Transaction::remove_session(now.id, Vec::new())).await.expect("it is deleted");
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn many_sessions_start_from_one_snapshot_in_one_commit_or_none_does() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let now = created(&store, 1).await;
    let (parent, head) = take(&store, turn_to(&now, image(30_000, &[1, 2]))).await;
    let from = store.snapshot(head.id, SnapshotDetail::Metadata).await.expect("it reads");
    let from = from.expect("it is there").snapshot;
    let forks: Vec<NewSessionRecord> =
        (100..100 + MAX_SESSION_RECORDS as u64).map(|n| fork(n, &from)).collect();
    let one_more = [forks.clone(), vec![fork(999, &from)]].concat();
    let refused = store.commit(Transaction::create(one_more, Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    let mut taken = forks.clone();
    taken[200] = fork(1, &from);
    let refused = store.commit(Transaction::create(taken, Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Conflict(id)) if id == now.id));
    let mut twice = forks.clone();
    Arc::make_mut(&mut twice[200].session).id = twice[3].session.id;
    let refused = store.commit(Transaction::create(twice, Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))));
    assert_eq!(store.stats().sessions, 1);

    let mut events: Vec<Event> = forks.iter().map(|fork| creation_of(&fork.session)).collect();
    events.push(event(&parent, EventBody::SessionForked { count: 256, from: None }));
    let before = store.stats();
    store.commit(Transaction::create(forks.clone(), events)).await.expect("they are created");
    let after = store.stats();
    assert_eq!((after.commits - before.commits, after.groups - before.groups), (1, 1));
    let census = audit(&store);
    assert_eq!((census.snapshots, census.blobs), (1 + MAX_SESSION_RECORDS, 3));

    // Each has its own events, and goes on by itself without what it came from.
    let own = store
        .session_events(forks[7].session.id, Cursor(0), most(9))
        .await
        .expect("it reads")
        .entries;
    assert_eq!(own.len(), 1);
    let own = store.session_events(now.id, Cursor(0), most(9)).await.expect("it reads").entries;
    assert_eq!(own.last().map(|logged| logged.event.kind()), Some(EventKind::SessionForked));
    store.commit(Transaction::remove_session(now.id, Vec::new())).await.expect("it is deleted");
    assert_eq!(whole(&store, head.id).await, None, "from that moment on");
    settle(&store).await;
    let wake_state =
        store.wake_state(forks[9].session.id).await.expect("it reads").expect("it is there");
    assert_eq!(wake_state.session, *forks[9].session);
    assert_eq!(wake_state.head.map(|head| head.state), Some(head.state));
    for fork in &forks {
        store
            .commit(Transaction::remove_session(fork.session.id, Vec::new()))
            .await
            .expect("it is deleted");
    }
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn a_template_outlives_its_session_and_holds_its_agent() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let component = Bytes::from_static(b"echo");
    let agent = super::agents::agent("echo", "1", &component);
    store
        .commit(Transaction::agent(agent.clone(), component, Vec::new()))
        .await
        .expect("it is kept");
    let now = created(&store, 1).await;
    let (_, head) = take(&store, turn_to(&now, image(20_000, &[1]))).await;
    let warm = template("warm", &Snapshot { state: outline(head.state.clone()), ..head.clone() });
    store.commit(Transaction::template(warm.clone())).await.expect("it is kept");
    store.commit(Transaction::template(warm.clone())).await.expect("it is replaced by the same");
    let other = Template { owner: Principal("other".to_owned()), ..warm.clone() };
    store.commit(Transaction::template(other.clone())).await.expect("it is kept");
    store.commit(Transaction::remove_session(now.id, Vec::new())).await.expect("it is deleted");
    settle(&store).await;
    store.close().await.expect("it closes");

    let store = open(root.path());
    let census = audit(&store);
    assert_eq!((census.templates, census.blobs), (2, 2));
    let local = Principal::local();
    let found = store.template(local.clone(), "warm".to_owned()).await.expect("it reads");
    assert_eq!(found.as_ref(), Some(&warm));
    let cold = template("cold", &Snapshot { state: image(1, &[]), ..head.clone() });
    store.commit(Transaction::template(cold.clone())).await.expect("it is kept");
    assert_eq!(
        store.templates(local.clone()).await.expect("it reads"),
        [cold.clone().into(), warm.clone().into()]
    );
    assert_eq!(store.templates(Principal("oth".to_owned())).await.expect("it reads"), []);
    let used = store.commit(Transaction::remove_agent(agent.reference.clone(), Vec::new())).await;
    assert!(matches!(used, Err(StoreError::AgentInUse(3))));

    let creation = fork(5, &warm.snapshot);
    store
        .commit(Transaction::create(vec![creation.clone()], Vec::new()))
        .await
        .expect("it is created");
    let wake_state = store.wake_state(creation.session.id).await.expect("it reads").expect("there");
    assert_eq!(wake_state.head.map(|head| head.state), Some(head.state));
    store
        .commit(Transaction::remove_session(creation.session.id, Vec::new()))
        .await
        .expect("it is deleted");
    for template in [&warm, &other, &cold] {
        let Template { owner, name, .. } = template.clone();
        store
            .commit(Transaction::remove_template(owner.clone(), name.clone()))
            .await
            .expect("it is removed");
        let gone = store.commit(Transaction::remove_template(owner.clone(), name.clone())).await;
        assert!(matches!(gone, Err(StoreError::TemplateNotFound(_))));
        assert_eq!(store.template(owner, name).await.expect("it reads"), None);
    }
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
    store
        .commit(Transaction::remove_agent(agent.reference, Vec::new()))
        .await
        .expect("it is removed");
    let long = Template { name: "n".repeat(600), ..cold };
    assert!(matches!(
        store.commit(Transaction::template(long)).await,
        Err(StoreError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn an_agent_stays_while_a_session_may_go_back_to_it() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let old = super::agents::agent("echo", "0", b"old");
    store
        .commit(Transaction::agent(old.clone(), Bytes::from_static(b"old"), Vec::new()))
        .await
        .expect("it is kept");
    let now = created(&store, 1).await;
    let mut upgraded = next(&now);
    upgraded.before_upgrade = Some(BeforeUpgrade {
        agent: old.reference.clone(),
        head: None,
        head_parent: None,
        state_bytes: None,
    });
    store
        .commit(Transaction::update(upgraded.clone(), None, Vec::new()))
        .await
        .expect("it is committed");
    store.close().await.expect("it closes");
    let store = open(root.path());
    let used = store.commit(Transaction::remove_agent(old.reference.clone(), Vec::new())).await;
    assert!(matches!(used, Err(StoreError::AgentInUse(1))));
    let settled = Session { before_upgrade: None, ..next(&upgraded) };
    store.commit(Transaction::update(settled, None, Vec::new())).await.expect("it is committed");
    store
        .commit(Transaction::remove_agent(old.reference, Vec::new()))
        .await
        .expect("it is removed");
}

#[tokio::test]
async fn what_happens_without_a_change_is_logged_too() {
    let store = temporary();
    let now = created(&store, 1).await;
    let attempt = event(
        &now,
        EventBody::ResumeAttempted { by: Principal::local(), outcome: ResumeOutcome::NotOwner },
    );
    store.commit(Transaction::log(now.id, vec![attempt.clone()])).await.expect("it is logged");
    let events = store.session_events(now.id, Cursor(0), most(9)).await.expect("it reads").entries;
    assert_eq!(events.into_iter().map(|logged| logged.event).collect::<Vec<_>>(), [attempt]);
    assert_eq!(store.session(now.id).await.expect("it reads"), Some(now));
    let missing = store.commit(Transaction::log(session_id(9), Vec::new())).await;
    assert!(matches!(missing, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn what_sessions_share_is_given_back_also_across_a_restart() {
    let root = tempfile::tempdir().expect("there is room");
    let mut store = keeping(root.path(), 256);
    let mut now = created(&store, 1).await;
    let other = created(&store, 2).await;
    for number in 0..250_u8 {
        let state = image(17_000 + usize::from(number), &[number, number / 2, number / 3]);
        let commit = turn_to(&now, state);
        (now, _) = take(&store, commit).await;
    }
    take(&store, turn_to(&other, image(17_000, &[3, 200]))).await;
    let whole = audit(&store);
    store.commit(Transaction::remove_session(now.id, Vec::new())).await.expect("it is deleted");
    for _ in 0..3 {
        // Dropped while it removes, and again.
        drop(store);
        store = keeping(root.path(), 256);
    }
    settle(&store).await;
    let left = audit(&store);
    assert_eq!(whole.snapshots, 251);
    assert_eq!((left.snapshots, left.remains, left.blobs), (1, 0, 3));
    store.commit(Transaction::remove_session(other.id, Vec::new())).await.expect("it is deleted");
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}
