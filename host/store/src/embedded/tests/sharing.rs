//! Blobs name blobs: what a commit counts, what is released when nothing names it, and what is not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::audit::{Census, audit, audit_with, settle};
use super::history::{fork, take, turn_to, whole};
use super::*;
use crate::embedded::commit::{Commit, Draft};
use crate::embedded::committer::Work;
use crate::embedded::disk::Disk;
use crate::embedded::engine::{Batch, Class};
use crate::embedded::leases::Lease;
use crate::embedded::tables::blobs::{self, BlobId, blob_of, chunk_tree};
use crate::embedded::tables::snapshots::{ChunkList, Content, SnapshotCell};
use crate::embedded::{keys, recovery, upkeep};
use crate::upkeep::Problem;
use crate::{SnapshotDetail, Store, StoreError, codec};
use dormouse_base::clock::{Clock, ManualClock};
use dormouse_domain::snapshot::Chunk;

/// As many chunks as 100 MB of memory have.
const MANY: u32 = 1600;

fn chunk(number: u32) -> Chunk {
    let data = Bytes::copy_from_slice(&number.to_le_bytes());
    Chunk { digest: Digest::of(&data), size: 4, data: Some(data) }
}

/// A state of so many chunks, with others at some places.
fn state(count: u32, changed: &[(usize, u32)]) -> GuestState {
    let mut chunks: Vec<Chunk> = (0..count).map(chunk).collect();
    for (at, number) in changed {
        chunks[*at] = chunk(*number);
    }
    GuestState::Image { data: Bytes::from(vec![9; 60_000]), chunks }
}

async fn created(store: &Embedded, number: u64) -> Session {
    let first = session(number);
    store.commit(Transaction::create(new(first.clone()), Vec::new())).await.expect("it is created");
    first
}

async fn remove(store: &Embedded, id: SessionId) {
    store.commit(Transaction::remove_session(id, Vec::new())).await.expect("it is deleted");
}

fn counts(store: &Embedded) -> u64 {
    store.stats().counts
}

/// What is listed to be released.
fn unused(store: &Embedded) -> BTreeSet<BlobId> {
    let entries = inside(store).disk.fronts(&[blobs::UNUSED]).collect::<Vec<_>>();
    entries.into_iter().filter_map(|entry| blob_of(&entry.expect("it reads").0)).collect()
}

/// The root of the tree of a snapshot.
fn root_of(store: &Embedded, session: SessionId, snapshot: SnapshotId) -> BlobId {
    let key = keys::snapshot(session, snapshot);
    let value = inside(store).disk.get(&key).expect("it reads").expect("it is there");
    let value = codec::unseal(codec::RecordKind::Snapshot, &key, &value).expect("it is whole");
    match SnapshotCell::read(&value).expect("it decodes").chunks {
        ChunkList::Tree(root) => BlobId::Node(root),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_turn_that_changes_three_pages_of_100_mb_changes_at_most_300_counts() {
    let store = Embedded::temporary(keeping_snapshots(1)).expect("it opens");
    let now = created(&store, 1).await;
    let (mut now, _) = take(&store, turn_to(&now, state(MANY, &[]))).await;
    settle(&store).await;
    for round in 1..=3_u32 {
        let before = counts(&store);
        let places =
            [7, 800, 1599].map(|at| (at, 10_000 * round + u32::try_from(at).expect("small")));
        let (session, head) = take(&store, turn_to(&now, state(MANY, &places))).await;
        // With what the snapshot of the turn before had alone.
        settle(&store).await;
        let changed = counts(&store) - before;
        assert!((100..=300).contains(&changed), "{changed}");
        assert_eq!(whole(&store, head.id).await, Some(head));
        now = session;
    }
    let nodes = 100 + 7 + 1;
    assert_eq!(audit(&store).blobs, 1600 + nodes + 1);
}

#[tokio::test]
async fn what_forks_share_is_counted_once_for_each_and_not_by_its_chunks() {
    let store = temporary();
    let now = created(&store, 1).await;
    let (now, head) = take(&store, turn_to(&now, state(MANY, &[]))).await;
    let outline = store.snapshot(head.id, SnapshotDetail::Metadata).await.expect("it reads");
    let outline = outline.expect("it is there").snapshot;
    let before = counts(&store);
    let forks: Vec<_> = (100..200).map(|number| fork(number, &outline)).collect();
    store.commit(Transaction::create(forks.clone(), Vec::new())).await.expect("they are created");
    assert_eq!(counts(&store) - before, 2, "its data and its root");
    remove(&store, now.id).await;
    settle(&store).await;
    assert_eq!(audit(&store).blobs, 1600 + 108 + 1);
    for fork in &forks {
        remove(&store, fork.session.id).await;
    }
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn a_turn_of_a_small_session_lists_nothing_and_has_no_nodes() {
    let store = Embedded::temporary(keeping_snapshots(1)).expect("it opens");
    let mut now = created(&store, 1).await;
    for (size, expected) in [(10, 0), (16_000, 0), (20_000, 1), (20_001, 2), (20_002, 2)] {
        let before = counts(&store);
        now = take(&store, turn(&now, 1, size)).await.0;
        assert_eq!(counts(&store) - before, expected, "{size}");
        assert_eq!(unused(&store), BTreeSet::new());
    }
    let few = state(16, &[]);
    take(&store, turn_to(&now, few)).await;
    let contents = inside(&store).disk.fronts(&[keys::CONTENT, b'n']).count();
    assert_eq!(contents, 0);
}

#[tokio::test]
async fn what_is_read_is_released_when_it_has_been_read() {
    let root = tempfile::tempdir().expect("there is room");
    let store = open(root.path());
    let now = created(&store, 1).await;
    let (now, head) = take(&store, turn_to(&now, state(400, &[]))).await;
    let tree = root_of(&store, now.id, head.id);
    let data = BlobId::Data(Digest::of(&[9; 60_000]));
    let shared = inside(&store);
    let mut reader = Lease::new(&shared.leases);
    assert!(reader.add(tree) && reader.add(data));
    remove(&store, now.id).await;
    while shared.index().any_gone() {
        tokio::task::yield_now().await;
    }
    assert_eq!(unused(&store), [tree, data].into(), "they are listed, and all below is there");
    let read = chunk_tree::read(tree, |id| Ok::<_, codec::CodecError>(bytes_of(&shared, *id)));
    let chunks = read.expect("it is whole");
    chunks.iter().for_each(|chunk| drop(bytes_of(&shared, BlobId::Chunk(chunk.digest))));
    assert_eq!(audit(&store).blobs, 401 + 25 + 2 + 1 - 2, "two are not counted any more");
    drop((shared, reader));
    // Nothing is committed: the lease wakes the committer when it is returned.
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

fn bytes_of(shared: &EmbeddedShared, id: BlobId) -> Bytes {
    let bytes = shared.disk.get(&keys::content(&id)).expect("it reads");
    bytes.unwrap_or_else(|| panic!("{id:?} is gone"))
}

#[tokio::test]
async fn what_a_commit_leaves_out_because_the_store_has_it_is_there_when_it_comes() {
    let store = temporary();
    let now = created(&store, 1).await;
    let (now, head) = take(&store, turn_to(&now, state(400, &[]))).await;
    // It brings all of its state, and the store has it.
    let new = fork(2, &head);
    let shared = inside(&store);
    let draft = Draft::new(Transaction::create(vec![new.clone()], Vec::new()), Some(&shared));
    let encoded = draft.expect("it is encoded").into_encoded();
    assert!(encoded.shares.contents.ids().is_empty());
    remove(&store, now.id).await;
    while shared.index().any_gone() {
        tokio::task::yield_now().await;
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    let commit = Commit { encoded, since: std::time::Duration::ZERO, answer };
    let queue = held(&store.queue).clone().expect("it is open");
    queue.send(Work::Commit(Box::new(commit))).await.expect("it is open");
    answered.await.expect("it is answered").expect("it is committed");
    assert_eq!(whole(&store, new.head.as_ref().expect("one").id).await, new.head);
    settle(&store).await;
    assert_eq!(audit(&store).blobs, 401 + 25 + 2 + 1);
}

#[tokio::test]
async fn what_is_named_again_comes_off_the_list() {
    let store = temporary();
    let now = created(&store, 1).await;
    let (now, head) = take(&store, turn_to(&now, state(400, &[]))).await;
    let tree = root_of(&store, now.id, head.id);
    let shared = inside(&store);
    let mut reader = Lease::new(&shared.leases);
    reader.add(tree);
    remove(&store, now.id).await;
    while shared.index().any_gone() {
        tokio::task::yield_now().await;
    }
    assert_eq!(unused(&store), [tree].into());
    let other = created(&store, 2).await;
    let before = counts(&store);
    let (other, again) = take(&store, turn_to(&other, state(400, &[]))).await;
    assert_eq!(counts(&store) - before, 2, "its root, and its data, which was gone");
    assert_eq!(unused(&store), BTreeSet::new());
    drop((shared, reader));
    assert_eq!(whole(&store, again.id).await, Some(again));
    remove(&store, other.id).await;
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn wherever_a_release_is_cut_off_nothing_is_lost_and_it_goes_on() {
    let mut cuts = 0;
    for sync in 1.. {
        let root = tempfile::tempdir().expect("there is room");
        let store = open(root.path());
        let (one, two) = (created(&store, 1).await, created(&store, 2).await);
        let (one, _) = take(&store, turn_to(&one, state(MANY, &[]))).await;
        let (_, kept) = take(&store, turn_to(&two, state(MANY, &[(3, 5000), (900, 5001)]))).await;
        inside(&store).disk.faults.fail_in.store(sync, Ordering::SeqCst);
        let removed = store.commit(Transaction::remove_session(one.id, Vec::new())).await;
        settle_or_fail(&store).await;
        let has_failed = store.close().await.is_err();
        drop(store);
        let report = upkeep::check(root.path(), small()).expect("it reads");
        assert!(
            report.findings.iter().all(|finding| finding.what.contains("its agent")),
            "after {sync} syncs: {:?}",
            report.findings
        );
        let store = open(root.path());
        if removed.is_err() && store.session(one.id).await.expect("it reads").is_some() {
            remove(&store, one.id).await;
        }
        settle(&store).await;
        assert_eq!(whole(&store, kept.id).await, Some(kept));
        assert_eq!(audit(&store).blobs, 1600 + 108 + 1, "{sync}");
        store.close().await.expect("it closes");
        if !has_failed {
            break;
        }
        cuts += 1;
    }
    assert!(cuts >= 4, "it is released in {cuts} pieces");
}

/// The same as `settle`, until the store has failed.
async fn settle_or_fail(store: &Embedded) {
    let failed = store.failed();
    tokio::select! {
        biased;
        _ = failed => {}
        () = settle(store) => {}
    }
}

/// Change it behind the back of the store.
fn tamper(root: &Path, change: impl FnOnce(&Disk, &mut Batch)) {
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    let mut batch = Batch::default();
    change(&disk, &mut batch);
    disk.write(batch).expect("it is written");
}

/// Two sessions whose states differ in one chunk, and the roots of both.
async fn two(root: &Path) -> [(Session, Snapshot, BlobId); 2] {
    let store = open(root);
    let mut all = Vec::new();
    for (number, changed) in [(1, &[][..]), (2, &[(3, 5000)][..])] {
        let now = created(&store, number).await;
        let (now, head) = take(&store, turn_to(&now, state(400, changed))).await;
        let tree = root_of(&store, now.id, head.id);
        all.push((now, head, tree));
    }
    store.close().await.expect("it closes");
    all.try_into().expect("there are two")
}

#[tokio::test]
async fn a_count_that_cannot_be_read_is_not_taken_for_none() {
    let root = tempfile::tempdir().expect("there is room");
    let [(one, ..), (two, head, _)] = two(root.path()).await;
    // The second node of the lowest level has chunks 16 to 31, and both states.
    let shared = BlobId::Chunk(chunk(17).digest);
    let nodes = |disk: &Disk| {
        let keys = disk.fronts(&[blobs::BLOB, b'n']).map(|entry| entry.expect("it reads").0);
        keys.collect::<Vec<_>>()
    };
    tamper(root.path(), |disk, batch| {
        batch.put(Class::Inline, keys::blob(&shared).to_vec(), "nothing");
        for key in nodes(disk) {
            batch.put(Class::Inline, key, "nothing");
        }
    });
    let store = open(root.path());
    remove(&store, one.id).await;
    settle(&store).await;
    assert_eq!(whole(&store, head.id).await.as_ref(), Some(&head));
    // It goes on, and what it names stays as well.
    let (two, again) = take(&store, turn_to(&two, state(400, &[(3, 5000), (20, 5001)]))).await;
    assert_eq!(whole(&store, again.id).await.as_ref(), Some(&again));
    store.close().await.expect("it closes");
    let report = upkeep::check(root.path(), small()).expect("it reads");
    assert!(report.findings.iter().any(|finding| finding.problem == Problem::Damaged));

    let repaired = upkeep::repair(root.path(), small()).expect("it is done");
    assert!(repaired.left.iter().all(|what| what.contains("its agent")), "{:?}", repaired.left);
    let store = open(root.path());
    assert_eq!(whole(&store, again.id).await, Some(again));
    assert_eq!(audit(&store).snapshots, 2);
    remove(&store, two.id).await;
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn a_damaged_node_makes_the_states_above_it_unreadable_and_no_others() {
    let root = tempfile::tempdir().expect("there is room");
    let [(one, head, _), (two, other, tree)] = two(root.path()).await;
    tamper(root.path(), |_, batch| {
        batch.put(Class::Rows, keys::content(&tree).to_vec(), "nothing");
    });
    let name = keys::describe(&keys::content(&tree));
    let store = open(root.path());
    let wake_state = store.wake_state(two.id).await.expect("it reads").expect("it is there");
    let damage = wake_state.damage.expect("it is told");
    assert!(wake_state.head.is_none() && damage.contains(&name), "{damage}");
    let read = store.snapshot(other.id, SnapshotDetail::Full).await;
    assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
    assert_eq!(whole(&store, head.id).await.as_ref(), Some(&head));
    // It can be removed, and what hangs below it is left to a repair.
    remove(&store, two.id).await;
    while inside(&store).index().any_gone() {
        tokio::task::yield_now().await;
    }
    assert_eq!(unused(&store), [tree].into());
    take(&store, turn(&one, 1, 1)).await;
    store.close().await.expect("it closes");

    let report = upkeep::check(root.path(), small()).expect("it reads");
    assert!(report.findings.iter().any(|it| it.what.starts_with(&name)), "{:?}", report.findings);
    let repaired = upkeep::repair(root.path(), small()).expect("it is done");
    assert!(repaired.left.iter().all(|what| what.contains("its agent")), "{:?}", repaired.left);
    let store = open(root.path());
    assert_eq!(whole(&store, head.id).await, Some(head));
    assert_eq!(unused(&store), BTreeSet::new());
    assert_eq!(audit(&store).blobs, 400 + 25 + 2 + 1 + 1);
}

#[tokio::test]
async fn what_could_not_be_read_when_it_was_to_be_released_is_released_once_it_can_be_read() {
    let root = tempfile::tempdir().expect("there is room");
    let [(one, ..), (two, _, tree)] = two(root.path()).await;
    let mut node = Bytes::new();
    tamper(root.path(), |disk, batch| {
        node = disk.get(&keys::content(&tree)).expect("it reads").expect("it is there");
        batch.put(Class::Rows, keys::content(&tree).to_vec(), "nothing");
    });
    let clock = ManualClock::new();
    let options = Options { clock: Clock::manual(&clock), ..small() };
    let store = Embedded::open(root.path(), options).expect("it opens");
    remove(&store, two.id).await;
    while inside(&store).index().any_gone() {
        tokio::task::yield_now().await;
    }
    assert_eq!(unused(&store), [tree].into(), "it cannot be read");
    let mut batch = Batch::default();
    batch.put(Class::Rows, keys::content(&tree).to_vec(), node);
    inside(&store).disk.write(batch).expect("it is written");
    let (one, _) = take(&store, turn(&one, 1, 1)).await;
    assert_eq!(unused(&store), [tree].into(), "it is not tried with each group");
    clock.advance(Duration::from_secs(1));
    take(&store, turn(&one, 2, 2)).await;
    settle(&store).await;
    assert_eq!(unused(&store), BTreeSet::new());
    store.close().await.expect("it closes");
}

#[tokio::test]
async fn a_chunk_that_is_not_there_is_told_of_each_state_above_it() {
    let root = tempfile::tempdir().expect("there is room");
    let [(one, ..), (two, ..)] = two(root.path()).await;
    tamper(root.path(), |_, batch| {
        batch.delete(keys::content(&BlobId::Chunk(chunk(17).digest)).to_vec());
    });
    let report = upkeep::check(root.path(), small()).expect("it reads");
    let missing = report.findings.iter().filter(|it| it.what.contains("blobs cannot be read"));
    let sessions: Vec<_> = missing.filter_map(|it| it.session).collect();
    assert_eq!(sessions, [one.id, two.id]);
    let repaired = upkeep::repair(root.path(), small()).expect("it is done");
    assert!(repaired.left.iter().all(|what| what.contains("its agent")), "{:?}", repaired.left);
    let store = open(root.path());
    assert_eq!(audit_with(&store, 0), Census::default(), "nothing of both is left");
}

#[tokio::test]
async fn lists_of_an_earlier_layout_are_read_shared_and_given_back() {
    let root = tempfile::tempdir().expect("there is room");
    let all = two(root.path()).await;
    age(root.path());
    let report = upkeep::check(root.path(), small()).expect("it reads");
    assert!(
        report.findings.iter().all(|finding| finding.what.contains("its agent")),
        "before it is opened: {:?}",
        report.findings
    );
    let store = open(root.path());
    assert_eq!(audit(&store).blobs, 401 + 1 + 2, "two lists, and no nodes");
    for (_, head, _) in &all {
        assert_eq!(whole(&store, head.id).await.as_ref(), Some(head));
    }
    let [(one, _, _), (two, head, _)] = all;
    let outline = store.snapshot(head.id, SnapshotDetail::Metadata).await.expect("it reads");
    let new = fork(3, &outline.expect("it is there").snapshot);
    store.commit(Transaction::create(vec![new.clone()], Vec::new())).await.expect("it is created");
    let (two, changed) = take(&store, turn_to(&two, state(400, &[(3, 5000), (20, 5001)]))).await;
    remove(&store, one.id).await;
    settle(&store).await;
    assert_eq!(audit(&store).snapshots, 3);
    assert_eq!(whole(&store, changed.id).await, Some(changed));
    let forked = store.wake_state(new.session.id).await.expect("it reads").expect("it is there");
    assert_eq!(forked.head.map(|head| head.state), Some(head.state));
    store.close().await.expect("it closes");

    let repaired = upkeep::repair(root.path(), small()).expect("it is done");
    assert!(repaired.left.iter().all(|what| what.contains("its agent")), "{:?}", repaired.left);
    let store = open(root.path());
    for id in [two.id, new.session.id] {
        remove(&store, id).await;
    }
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

/// Make it a directory of layout 5: the row of a snapshot counted for each of its chunks.
fn age(root: &Path) {
    tamper(root, |disk, batch| {
        let mut uses = std::collections::BTreeMap::<BlobId, u64>::new();
        for prefix in [[blobs::BLOB, b'n'], [keys::CONTENT, b'n']] {
            let nodes = disk.fronts(&prefix);
            nodes.for_each(|entry| batch.delete(entry.expect("it reads").0));
        }
        for entry in disk.prefix(&[keys::ROWS]) {
            let (key, sealed) = entry.expect("it reads");
            let value =
                codec::unseal(codec::RecordKind::Snapshot, &key, &sealed).expect("it is whole");
            let cell = SnapshotCell::read(&value).expect("it decodes");
            let (ChunkList::Tree(root), Content::Blob(data)) = (cell.chunks, cell.data) else {
                panic!("{cell:?}")
            };
            let get = |id: &BlobId| {
                let form = disk.get(&keys::content(id)).expect("it reads");
                Ok::<_, codec::CodecError>(form.expect("it is there"))
            };
            let chunks = chunk_tree::read(BlobId::Node(root), get).expect("it decodes");
            let list = codec::encode_chunks(&chunks);
            let id = BlobId::List(Digest::of(&list));
            let own = chunks.iter().map(|chunk| BlobId::Chunk(chunk.digest));
            let own: BTreeSet<_> = own.chain([id, BlobId::Data(data)]).collect();
            own.into_iter().for_each(|id| *uses.entry(id).or_default() += 1);
            batch.put(Class::Rows, keys::content(&id).to_vec(), list);
            let mut old = Vec::new();
            let chunks = ChunkList::Blob(id.digest());
            SnapshotCell { chunks, ..cell }.write(&mut old);
            batch.put(Class::Head, key.clone(), codec::seal(&key, &[&old]));
        }
        for (id, uses) in uses {
            let key = keys::blob(&id);
            let value = codec::seal(&key, &[&blobs::write_uses(uses)]);
            batch.put(Class::Inline, key.to_vec(), value);
        }
        batch.put(Class::Inline, keys::FORMAT, codec::seal(keys::FORMAT, &[&[5]]));
    });
    let disk = Disk::open(root, &small(), Arc::new(|_| {})).expect("it opens");
    recovery::refuse_later(&disk).expect("it is an earlier one");
}
