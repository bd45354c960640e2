//! The files of sessions: kept once for all that have them, gone with the last, and there as long as somebody reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::audit::{Census, audit, settle};
use super::history::{fork, take, template, turn_to, whole};
use super::*;
use crate::read::ReadFiles;
use crate::{SnapshotDetail, Store, StoreError};
use dormouse_domain::snapshot::{FileBlob, Files};
use dormouse_workspace::{
    BlobError, Blobs, Cache, OpenOptions, Quotas, Source, Tree, Version, Workspace,
};

/// The blobs of a store.
struct Stored(Arc<Embedded>);

impl Blobs for Stored {
    fn blob(&self, id: &dormouse_workspace::BlobId) -> Result<Bytes, BlobError> {
        let found = self.0.file_blob(Digest(id.0)).expect("it reads");
        found.ok_or(BlobError::Missing(*id))
    }
}

/// Where trees are read from. Nothing is remembered.
fn source(store: &Arc<Embedded>) -> Source {
    Source::new(Arc::new(Stored(Arc::clone(store))), Cache::new(0))
}

/// The files after these are written, over those of a version.
fn written(store: &Arc<Embedded>, before: Option<&Files>, files: &[(&str, &[u8])]) -> Files {
    let source = source(store);
    let parent = before.map(|files| {
        let id = dormouse_workspace::BlobId(files.version.0);
        (id, Version::read(&source, &id).expect("it reads"))
    });
    let tree = match &parent {
        Some((_, version)) => Tree::open(source.clone(), version.tree),
        None => Tree::empty(source.clone(), 1),
    };
    let mut workspace = Workspace::new(tree, Quotas::default()).expect("it reads");
    let root = workspace.root();
    let options =
        OpenOptions { create: true, truncate: true, write: true, ..OpenOptions::default() };
    for (path, content) in files {
        let (file, _) = workspace.open(&root, path, options).expect("it opens");
        content.chunks(1 << 20).for_each(|piece| {
            workspace.append(&file, piece).expect("there is room");
        });
        workspace.close(file);
    }
    workspace.close(root);
    let commit = workspace.commit().expect("it commits");
    let version = Version {
        tree: commit.root,
        parent: parent.as_ref().map(|(id, _)| *id),
        number: parent.as_ref().map_or(0, |(_, version)| version.number + 1),
        bytes: 0,
        label: Bytes::from_static(b"{}"),
    };
    let version = version.blob();
    let digest = Digest(version.id.0);
    let blob = |blob: dormouse_workspace::NewBlob| FileBlob {
        digest: Digest(blob.id.0),
        edges: blob.edges.iter().map(|edge| Digest(edge.0)).collect(),
        bytes: blob.bytes,
    };
    Files { version: digest, blobs: commit.blobs.into_iter().chain([version]).map(blob).collect() }
}

/// A turn that leaves these files.
fn turn_with(before: &Session, files: Files) -> TurnCommit {
    let mut commit = turn_to(before, GuestState::Nothing);
    commit.snapshot.as_mut().expect("it has one").files = Some(files);
    commit
}

/// All files of a version, at the root of its tree.
fn files_of(
    store: &Arc<Embedded>,
    version: Digest,
) -> Result<BTreeMap<String, Vec<u8>>, dormouse_workspace::Error> {
    let source = source(store);
    let version = Version::read(&source, &dormouse_workspace::BlobId(version.0))?;
    let tree = Tree::open(source, version.tree);
    let mut files = BTreeMap::new();
    for entry in tree.read_directory(".", None, usize::MAX)? {
        let mut bytes = Vec::new();
        loop {
            let piece = tree.read_ino(entry.ino, bytes.len() as u64, usize::MAX)?;
            if piece.is_empty() {
                break;
            }
            bytes.extend(piece);
        }
        files.insert(entry.name.to_string(), bytes);
    }
    Ok(files)
}

/// Bytes that do not repeat.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

fn keeping(snapshots: usize) -> (tempfile::TempDir, Arc<Embedded>) {
    let root = tempfile::tempdir().expect("there is room");
    let store = Embedded::open(root.path(), keeping_snapshots(snapshots)).expect("it opens");
    (root, Arc::new(store))
}

async fn created(store: &Embedded, number: u64) -> Session {
    let session = session(number);
    store
        .commit(Transaction::create(new(session.clone()), Vec::new()))
        .await
        .expect("it is created");
    session
}

async fn remove(store: &Embedded, id: SessionId) {
    store.commit(Transaction::remove_session(id, Vec::new())).await.expect("it is deleted");
}

#[tokio::test]
async fn equal_files_are_kept_once_and_go_with_the_last_that_has_them() {
    let (root, store) = keeping(1);
    let (large, small) = (noise(1, 300_000), b"small".to_vec());
    let (one, other) = (created(&store, 1).await, created(&store, 2).await);
    let files = written(&store, None, &[("large", &large), ("small", &small)]);
    let version = files.version;
    let (one, head) = take(&store, turn_with(&one, files.clone())).await;
    let blobs = audit(&store).blobs;
    assert!(blobs > 7, "five chunks, and what leads to them: {blobs}");
    take(&store, turn_with(&other, files.clone())).await;
    assert_eq!(audit(&store).blobs, blobs, "they are shared");
    let kept = whole(&store, head.id).await.expect("it is there");
    assert_eq!(kept.files, Some(files.kept()), "their blobs are read one by one");
    assert_eq!(store.snapshots(one.id).await.expect("it reads")[0].files, Some(version));

    let expected = BTreeMap::from([("large".to_owned(), large), ("small".to_owned(), small)]);
    assert_eq!(files_of(&store, version), Ok(expected.clone()));
    remove(&store, one.id).await;
    settle(&store).await;
    assert_eq!(audit(&store).blobs, blobs);
    store.close().await.expect("it closes");
    drop(store);
    let store = Arc::new(Embedded::open(root.path(), keeping_snapshots(1)).expect("it opens"));
    assert_eq!(files_of(&store, version), Ok(expected));
    let from = store.snapshots(other.id).await.expect("it reads")[0].id;
    let from = store.snapshot(from, SnapshotDetail::Metadata).await.expect("it reads");
    let from = from.expect("it is there").snapshot;
    let warm = template("warm", &from);
    store.commit(Transaction::template(warm)).await.expect("it is kept");
    store
        .commit(Transaction::create(vec![fork(3, &from)], Vec::new()))
        .await
        .expect("it is forked");
    remove(&store, other.id).await;
    settle(&store).await;
    assert_eq!(audit(&store).blobs, blobs);
    remove(&store, session_id(3)).await;
    settle(&store).await;
    assert_eq!(audit(&store).blobs, blobs, "the template has them");
    store
        .commit(Transaction::remove_template(Principal::local(), "warm".to_owned()))
        .await
        .expect("it goes");
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
    assert!(files_of(&store, version).is_err());
}

#[tokio::test]
async fn one_byte_of_a_large_file_is_one_chunk_and_what_leads_to_it() {
    let (_root, store) = keeping(1);
    let now = created(&store, 1).await;
    let mut large = noise(7, 20_000_000);
    let files = written(&store, None, &[("large", &large)]);
    let (now, _) = take(&store, turn_with(&now, files.clone())).await;
    let blobs = audit(&store).blobs;
    assert!(blobs > 305, "{blobs}");
    large[11_000_000] ^= 1;
    let next = {
        let source = source(&store);
        let id = dormouse_workspace::BlobId(files.version.0);
        let version = Version::read(&source, &id).expect("it reads");
        let tree = Tree::open(source, version.tree);
        let mut workspace = Workspace::new(tree, Quotas::default()).expect("it reads");
        let root = workspace.root();
        let (file, _) = workspace.open(&root, "large", OpenOptions::default()).expect("it opens");
        workspace.write(&file, 11_000_000, &large[11_000_000..=11_000_000]).expect("it is there");
        let commit = workspace.commit().expect("it commits");
        assert!(commit.blobs.len() < 8, "{}", commit.blobs.len());
        let version = Version { tree: commit.root, parent: Some(id), number: 1, ..version };
        let blob = version.blob();
        let version = Digest(blob.id.0);
        let blobs = commit.blobs.into_iter().chain([blob]).map(|blob| FileBlob {
            digest: Digest(blob.id.0),
            edges: blob.edges.iter().map(|edge| Digest(edge.0)).collect(),
            bytes: blob.bytes,
        });
        Files { version, blobs: blobs.collect() }
    };
    let version = next.version;
    take(&store, turn_with(&now, next)).await;
    settle(&store).await;
    let more = audit(&store).blobs - blobs;
    assert!(more < 9, "the version before hangs below: {more}");
    assert_eq!(files_of(&store, version).expect("it reads")["large"], large);
    remove(&store, now.id).await;
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn a_commit_whose_files_are_not_there_is_refused_and_leaves_nothing() {
    let (_root, store) = keeping(4);
    let now = created(&store, 1).await;
    let files = written(&store, None, &[("a", &noise(3, 200_000))]);
    let gone = turn_with(&now, files.kept());
    let refused = store.commit(Transaction::turn(gone)).await;
    assert!(matches!(refused, Err(StoreError::SnapshotGone)), "{refused:?}");
    for lost in 0..files.blobs.len() {
        let mut part = files.clone();
        part.blobs.remove(lost);
        let refused = store.commit(Transaction::turn(turn_with(&now, part))).await;
        assert!(matches!(refused, Err(StoreError::SnapshotGone)), "{lost}: {refused:?}");
    }
    assert_eq!(audit(&store), Census::default());
    take(&store, turn_with(&now, files)).await;
    audit(&store);
}

#[tokio::test]
async fn what_somebody_reads_stays_until_they_have_read_it() {
    let (_root, store) = keeping(1);
    let content = noise(5, 500_000);
    let now = created(&store, 1).await;
    let files = written(&store, None, &[("a", &content)]);
    let version = files.version;
    let (now, _) = take(&store, turn_with(&now, files)).await;
    let lease = store.lease_files(version);
    remove(&store, now.id).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(files_of(&store, version).expect("it is spared")["a"], content);
    drop(lease);
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}

#[tokio::test]
async fn a_hundred_megabytes_of_files_are_one_commit() {
    let (_root, store) = keeping(1);
    let now = created(&store, 1).await;
    let contents: Vec<Vec<u8>> = (0..10).map(|seed| noise(seed + 1, 10_000_000)).collect();
    let names: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
    let all: Vec<(&str, &[u8])> =
        names.iter().zip(&contents).map(|(name, content)| (&**name, &**content)).collect();
    let files = written(&store, None, &all);
    let version = files.version;
    let (now, _) = take(&store, turn_with(&now, files)).await;
    let found = files_of(&store, version).expect("it reads");
    for (name, content) in &all {
        assert!(found[*name] == *content, "{name}");
    }
    remove(&store, now.id).await;
    settle(&store).await;
    assert_eq!(audit(&store), Census::default());
}
