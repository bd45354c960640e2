//! Quotas hold at each change, and what is given back can be used again.

use std::sync::Arc;

use crate::support::{NEW, Shelf, at, commit, put, with_quotas};
use dormouse_workspace::{Error, QuotaKind, Quotas, Usage, Workspace};

fn small(shelf: &Arc<Shelf>) -> Workspace {
    with_quotas(shelf, Quotas { bytes: 100, names: 3, file_bytes: 80 })
}

const BYTES: Error = Error::Quota(QuotaKind::Bytes);
const NAMES: Error = Error::Quota(QuotaKind::Names);
const FILE: Error = Error::Quota(QuotaKind::FileBytes);

#[test]
fn a_quota_is_exact_and_given_back() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = small(&shelf);
    put(&mut workspace, "f", &[1; 80]).unwrap();
    put(&mut workspace, "g", &[1; 20]).unwrap();
    at(&mut workspace, |it, root| {
        let (file, _) = it.open(root, "g", NEW).unwrap();
        assert_eq!(it.append(&file, b"!"), Err(BYTES));
        assert_eq!(it.write(&file, 20, b"!"), Err(BYTES));
        assert_eq!(it.set_size(&file, 21), Err(BYTES));
        // To write over what is there costs nothing.
        it.write(&file, 10, &[2; 10]).unwrap();
        assert_eq!(it.symlink("g", root, "l"), Err(BYTES));
        it.set_size(&file, 10).unwrap();
        it.symlink("g", root, "l").unwrap();
        assert_eq!(it.make_directory(root, "d"), Err(NAMES));
        assert_eq!(it.link(root, "f", root, "h"), Err(NAMES));
        assert_eq!(it.open(root, "new", NEW).unwrap_err(), NAMES);
        it.close(file);
        let (file, _) = it.open(root, "f", NEW).unwrap();
        assert_eq!(it.append(&file, b"!"), Err(FILE));
        assert_eq!(it.set_size(&file, u64::MAX), Err(FILE));
        assert_eq!(it.write(&file, u64::MAX, b"!"), Err(FILE));
        assert_eq!(it.write(&file, u64::MAX - 1, b"!"), Err(FILE));
        it.close(file);
    });
    assert_eq!(workspace.usage(), Usage { bytes: 91, names: 3 });
    at(&mut workspace, |it, root| it.unlink(root, "f")).unwrap();
    assert_eq!(workspace.usage(), Usage { bytes: 11, names: 2 });
    assert_eq!(BYTES.wasi_name(), "insufficient-space");
    assert_eq!(NAMES.wasi_name(), "insufficient-space");
    assert_eq!(FILE.wasi_name(), "file-too-large");
}

#[test]
fn a_file_that_is_unlinked_counts_until_it_is_closed_and_is_in_no_commit() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = small(&shelf);
    let root = workspace.root();
    let (file, _) = workspace.open(&root, "f", NEW).unwrap();
    workspace.write(&file, 0, &[1; 60]).unwrap();
    workspace.unlink(&root, "f").unwrap();
    assert_eq!(workspace.usage(), Usage { bytes: 60, names: 1 });
    assert_eq!(put(&mut workspace, "g", &[1; 60]), Err(BYTES));
    let tree = commit(&mut workspace, &shelf).tree;
    assert_eq!(tree.usage().unwrap(), Usage { bytes: 0, names: 1 });
    assert_eq!(workspace.usage(), Usage { bytes: 60, names: 2 });
    workspace.write(&file, 0, b"still here").unwrap();
    assert_eq!(workspace.read(&file, 0, 10).unwrap(), b"still here");
    workspace.close(file);
    assert_eq!(workspace.usage(), Usage { bytes: 0, names: 1 });
    put(&mut workspace, "g", &[1; 60]).unwrap();
}

#[test]
fn a_tree_beyond_the_quotas_shrinks_and_does_not_grow() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = with_quotas(&shelf, Quotas::default());
    put(&mut workspace, "f", &[1; 1000]).unwrap();
    workspace.set_quotas(Quotas { bytes: 100, names: 0, file_bytes: 50 });
    at(&mut workspace, |it, root| {
        let (file, _) = it.open(root, "f", NEW).unwrap();
        assert_eq!(it.append(&file, b"!"), Err(FILE));
        it.set_size(&file, 900).unwrap();
        it.write(&file, 5, b"!").unwrap();
        it.close(file);
        assert_eq!(it.make_directory(root, "d"), Err(NAMES));
    });
}
