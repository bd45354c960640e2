//! Damage is found, and does no harm.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::support::{NEW, Shelf, at, commit, dump, put, reopen, workspace};
use dormouse_workspace::{
    BlobError, BlobId, CheckError, DiffQuery, Error, Quotas, Tree, Workspace, check, diff, edges,
};

/// A tree that has a blob of each kind, also such as stand on others.
fn tree(shelf: &Arc<Shelf>) -> Tree {
    let mut it = workspace(shelf);
    at(&mut it, |it, root| {
        let (file, _) = it.open(root, "large", NEW).unwrap();
        for at in [0, 5, 6, 17] {
            it.write(&file, at * 65_536, &[at as u8 + 1; 65_536]).unwrap();
        }
        it.close(file);
    });
    put(&mut it, "small", b"small").unwrap();
    at(&mut it, |it, root| {
        it.make_directory(root, "d").unwrap();
        it.symlink("d", root, "l").unwrap();
        it.link(root, "small", root, "d/hard").unwrap();
    });
    for number in 0..200 {
        put(&mut it, &format!("d/with-a-rather-long-name-{number}"), &[1; 900]).unwrap();
    }
    commit(&mut it, shelf).tree
}

#[test]
fn damage_in_any_byte_of_any_blob_is_found() {
    let shelf = Arc::new(Shelf::default());
    let root = tree(&shelf).id().unwrap();
    let good = dump(&reopen(&shelf, root));
    for id in shelf.ids() {
        let bytes = shelf.get(&id);
        // Each byte of the small ones, and some of the large.
        let step = (bytes.len() / 12).max(1);
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            shelf.set(&id, Some(Bytes::from(damaged)));
            let found = check(&reopen(&shelf, root));
            let is_it =
                |fault: &BlobError| matches!(fault, BlobError::Damaged { id: it, .. } if *it == id);
            assert!(matches!(&found, Err(CheckError::Blob(fault)) if is_it(fault)), "{found:?}");
        }
        shelf.set(&id, None);
        let missing = Err(CheckError::Blob(BlobError::Missing(id)));
        assert_eq!(check(&reopen(&shelf, root)), missing);
        shelf.set(&id, Some(bytes));
    }
    check(&reopen(&shelf, root)).unwrap();
    assert_eq!(dump(&reopen(&shelf, root)), good);
}

/// Blobs that somebody made: their names are right, what they say is not. Whatever is done with them comes to an end.
#[test]
fn foreign_blobs_do_no_harm() {
    let shelf = Arc::new(Shelf::default());
    let tree = tree(&shelf);
    let ids = shelf.ids();
    let mut sound = 0;
    for id in &ids {
        let bytes = shelf.get(id);
        for trial in 0..12 {
            let mut foreign = bytes.to_vec();
            let at = trial * 31 % bytes.len().min(1000);
            foreign[at] ^= 1 << (trial % 8);
            let forged = forge(&shelf, &ids, *id, foreign);
            let root = forged[&tree.id().unwrap()];
            let foreign = reopen(&shelf, root);
            sound += usize::from(check(&foreign).is_ok());
            use_all(&foreign, &tree);
            forged.values().for_each(|id| shelf.set(id, None));
        }
    }
    // Bytes of a file and times may be any.
    assert!((1..ids.len() * 12).contains(&sound), "{sound}");
}

/// Put these bytes in the place of a blob, and name them in all that named it. The names of before and after.
fn forge(shelf: &Shelf, ids: &[BlobId], id: BlobId, bytes: Vec<u8>) -> HashMap<BlobId, BlobId> {
    let mut forged = HashMap::from([(id, BlobId::of(&bytes))]);
    shelf.set(&BlobId::of(&bytes), Some(bytes.into()));
    loop {
        let is_open = |id: &&BlobId| {
            let edges = edges(id, &shelf.get(id)).unwrap();
            !forged.contains_key(id) && edges.iter().any(|edge| forged.contains_key(edge))
        };
        let Some(above) = ids.iter().find(is_open) else { return forged };
        let mut bytes = shelf.get(above).to_vec();
        for at in (3..3 + usize::from(bytes[2]) * 32).step_by(32) {
            let edge = BlobId(bytes[at..at + 32].try_into().unwrap());
            if let Some(other) = forged.get(&edge) {
                bytes[at..at + 32].copy_from_slice(&other.0);
            }
        }
        forged.insert(*above, BlobId::of(&bytes));
        shelf.set(&BlobId::of(&bytes), Some(bytes.into()));
    }
}

/// Do something of everything: it may fail, and must not panic.
fn use_all(foreign: &Tree, good: &Tree) {
    let _ = check(foreign);
    let _ = diff(good, foreign, &DiffQuery { limit: 10, after: None });
    let _ = diff(foreign, good, &DiffQuery { limit: 10, after: None });
    let _ = foreign.read("large", 100_000, 100);
    let _ = foreign.read("small", 0, 100);
    let Ok(mut workspace) = Workspace::new(foreign.clone(), Quotas::default()) else { return };
    let root = workspace.root();
    let _ = workspace.make_directory(&root, "d/new");
    let _ = workspace.rename(&root, "d", &root, "e");
    let _ = workspace.unlink(&root, "small");
    let _ = put(&mut workspace, "large", b"now small");
    let _ = workspace.commit();
}

#[test]
fn a_change_that_a_blob_stops_spoils_the_workspace_until_it_is_rolled_back() {
    let shelf = Arc::new(Shelf::default());
    let root = tree(&shelf).id().unwrap();
    let mut it = Workspace::new(reopen(&shelf, root), Quotas::default()).unwrap();
    let blobs: Vec<(BlobId, Bytes)> =
        shelf.ids().into_iter().map(|id| (id, shelf.get(&id))).collect();
    for (id, bytes) in &blobs {
        // Chunks, and the names in `d`.
        if bytes.len() > 60_000 || bytes[1] == 3 {
            shelf.set(id, None);
        }
    }
    let handle = it.root();
    let (file, _) = it.open(&handle, "large", NEW).unwrap();
    // To read does not spoil anything, nor to look for where something is to be changed.
    assert!(matches!(it.open(&handle, "d/new", NEW), Err(Error::Io(BlobError::Missing(_)))));
    assert!(matches!(it.read(&file, 0, 10), Err(Error::Io(BlobError::Missing(_)))));
    it.make_directory(&handle, "new").unwrap();
    let fault = it.write(&file, 5, b"x").unwrap_err();
    assert!(matches!(fault, Error::Io(BlobError::Missing(_))));
    assert_eq!(it.make_directory(&handle, "newer"), Err(fault.clone()));
    assert_eq!(it.commit().err().map(Error::Io), Some(fault));
    it.rollback();
    blobs.into_iter().for_each(|(id, bytes)| shelf.set(&id, Some(bytes)));
    put(&mut it, "large", b"now small").unwrap();
    check(&commit(&mut it, &shelf).tree).unwrap();
}
