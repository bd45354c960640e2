//! Counts again what the store counts, from everything that it has.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::Store;
use crate::codec::{self, RecordKind};
use crate::embedded::keys;
use crate::embedded::tables;
use crate::embedded::tables::blobs;
use crate::embedded::tables::blobs::BlobId;
use crate::embedded::tables::blobs::node::Node;
use crate::embedded::tables::sessions::SessionCell;
use crate::embedded::tables::snapshots::SnapshotCell;
use crate::embedded::tables::snapshots::{ChunkList, Content};
use crate::embedded::tables::templates::TemplateCell;

/// What there is of history.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    pub(super) snapshots: usize,
    pub(super) templates: usize,
    pub(super) blobs: usize,
    /// Keys of sessions that are being removed, and what they have left.
    pub(super) remains: usize,
}

/// Panics where a number is wrong, something is missing, or something is left over. Nothing may be
/// under way.
pub(super) fn audit(store: &Embedded) -> Census {
    audit_with(store, 0)
}

/// The same where so many snapshots are damaged, and refer to nothing.
pub(super) fn audit_with(store: &Embedded, damaged: usize) -> Census {
    let shared = inside(store);
    let all = |prefix: &[u8]| {
        let entries: Result<Vec<_>, _> = shared.disk.prefix(prefix).collect();
        entries.expect("it reads")
    };
    let mut census = Census::default();
    let counted: BTreeMap<Vec<u8>, u64> = all(b"b")
        .into_iter()
        .map(|(key, value)| {
            let value = codec::unseal(RecordKind::Note, &key, &value).expect("it is whole");
            (key.to_vec(), blobs::read_uses(&value).expect("it decodes"))
        })
        .collect();
    census.blobs = counted.len();

    let bytes_of = |id: BlobId| {
        let bytes = shared.disk.get(&keys::content(&id)).expect("it reads");
        bytes.unwrap_or_else(|| panic!("{id:?} is lost"))
    };
    let mut uses: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    let mut add = |own: BTreeSet<BlobId>| {
        for id in own {
            *uses.entry(keys::blob(&id).to_vec()).or_default() += 1;
        }
    };
    for (key, form) in all(&[keys::CONTENT, b'n']) {
        let node = Node::decode(&form).expect("it decodes");
        assert_eq!(keys::content(&Node::id(&form)).as_slice(), &*key, "it has its own name");
        add(node.edges.into_iter().collect());
    }
    for (key, bytes) in all(&[keys::CONTENT, b'f']) {
        let id = dormouse_workspace::BlobId::of(&bytes);
        assert_eq!(keys::content(&BlobId::File(Digest(id.0))).as_slice(), &*key);
        let edges = dormouse_workspace::edges(&id, &bytes).expect("it decodes");
        add(edges.into_iter().map(|edge| BlobId::File(Digest(edge.0))).collect());
    }
    let mut count = |cell: &SnapshotCell<'_>| {
        let mut own = BTreeSet::new();
        let files = codec::decode_files(cell.outline).expect("it decodes");
        own.extend(files.map(BlobId::File));
        if let Content::Blob(digest) = cell.data {
            own.insert(BlobId::Data(digest));
        }
        let list = match cell.chunks {
            ChunkList::Inline(list) => list.to_vec(),
            ChunkList::Blob(digest) => {
                own.insert(BlobId::List(digest));
                bytes_of(BlobId::List(digest)).to_vec()
            }
            ChunkList::Tree(digest) => {
                own.insert(BlobId::Node(digest));
                Vec::new()
            }
        };
        let chunks = codec::decode_chunks(&list).expect("it decodes");
        own.extend(chunks.into_iter().map(|chunk| BlobId::Chunk(chunk.digest)));
        add(own);
    };
    let mut kept = BTreeSet::new();
    for (key, value) in all(b"s") {
        let value = codec::unseal(RecordKind::Session, &key, &value).expect("it is whole");
        let id = keys::session_of(keys::SESSION, &key).expect("it is a session");
        let cell = SessionCell::read(&value.into_owned().into()).expect("it decodes");
        kept.extend(cell.snapshots.into_iter().map(|kept| (id, kept.id)));
    }
    let mut rows = BTreeSet::new();
    let mut unreadable = 0;
    for (key, value) in all(b"r") {
        let id = SessionId(Uuid::from_slice(&key[1..17]).expect("it is an id"));
        census.remains += usize::from(shared.index().known(id).is_none());
        let Some(snapshot) = keys::snapshot_of(&key) else { continue };
        let value = codec::unseal(RecordKind::Snapshot, &key, &value).expect("it is whole");
        rows.insert((id, snapshot));
        match SnapshotCell::read(&value) {
            Ok(cell) => count(&cell),
            Err(_) => unreadable += 1,
        }
    }
    assert_eq!(unreadable, damaged, "snapshots that do not decode");
    census.snapshots = rows.len();
    census.remains += all(b"x").len();
    for (key, _) in all(b"j") {
        let id = keys::session_in(&key).expect("it is of a session");
        census.remains += usize::from(shared.index().known(id).is_none());
    }
    assert_eq!(rows, kept, "a session names the snapshots that it has");
    let holders: BTreeSet<_> = all(b"h").into_iter().map(|(key, _)| key.to_vec()).collect();
    let expected = rows.iter().map(|(_, snapshot)| keys::holder(*snapshot).to_vec()).collect();
    assert_eq!(holders, expected, "each snapshot is found by its name, and no other");
    for (key, value) in all(b"t") {
        census.templates += 1;
        let value = codec::unseal(RecordKind::Template, &key, &value).expect("it is whole");
        count(&TemplateCell::read(&value).expect("it decodes").snapshot);
    }
    assert_eq!(uses, counted, "each use of a blob is counted");
    let contents = shared.disk.fronts(&[keys::CONTENT]).map(|entry| {
        let key = entry.expect("it reads").0;
        [&[tables::blobs::BLOB], &key[1..]].concat()
    });
    let unused = all(&[blobs::UNUSED]).into_iter();
    let mut kept: BTreeSet<Vec<u8>> =
        unused.map(|(key, _)| [&[blobs::BLOB], &key[1..]].concat()).collect();
    kept.extend(counted.keys().cloned());
    assert!(contents.eq(kept), "the bytes of each blob are there, and no others");
    if damaged == 0 {
        // What operators are told says the same. Few tests keep the agents of their sessions.
        let report = shared.check().expect("it reads");
        let told = report.findings.iter().filter(|finding| !finding.what.contains("its agent"));
        assert_eq!(told.collect::<Vec<_>>(), Vec::<&crate::upkeep::Finding>::new());
    }
    census
}

/// Wait until the committer has removed what deleted sessions have left behind, and has released the blobs
/// that nothing names.
pub(super) async fn settle(store: &Embedded) {
    let is_busy = |shared: &EmbeddedShared| {
        shared.index().any_gone() || shared.disk.first_fronts(&[blobs::UNUSED], 1).next().is_some()
    };
    while held(&store.shared).as_deref().is_some_and(is_busy) {
        tokio::task::yield_now().await;
    }
    // The group that has emptied the list may not be applied as a whole yet: one behind it is not before it is.
    let behind = Transaction::default();
    store.commit(behind).await.expect("it is committed");
}
