//! Handles, times, and going back.

use std::sync::Arc;

use crate::support::{NEW, START, Shelf, at, commit, dump, put, reopen, workspace};
use dormouse_workspace::{Error, NewTime, OpenOptions, check};

#[test]
fn a_rollback_goes_back_to_the_last_commit_and_ends_all_handles() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    put(&mut it, "kept", b"kept").unwrap();
    let tree = commit(&mut it, &shelf).tree;
    let before = dump(&tree);
    let root = it.root();
    let (file, _) = it.open(&root, "kept", NEW).unwrap();
    it.write(&file, 0, b"lost").unwrap();
    put(&mut it, "new", &[7; 300_000]).unwrap();
    it.unlink(&root, "kept").unwrap();
    assert!(it.is_changed() && it.held_bytes() > 300_000);
    it.rollback();
    assert!(!it.is_changed());
    assert_eq!((it.open_handles(), it.held_bytes()), (0, 0));
    assert_eq!(it.read(&file, 0, 4), Err(Error::BadDescriptor));
    assert_eq!(it.write(&file, 0, b"x"), Err(Error::BadDescriptor));
    assert_eq!(it.stat(&root), Err(Error::BadDescriptor));
    it.close(file);
    it.close(root);
    assert_eq!(it.usage(), tree.usage().unwrap());
    assert_eq!(dump(it.head()), before);
    let again = commit(&mut it, &shelf);
    assert_eq!(again.root, tree.id().unwrap());
    assert_eq!(dump(&reopen(&shelf, again.root)), before);
}

#[test]
fn a_commit_of_what_has_changed_since_is_not_taken() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    put(&mut it, "a", b"a").unwrap();
    let commit = it.commit().unwrap();
    shelf.put(&commit);
    put(&mut it, "b", b"b").unwrap();
    assert!(!it.committed(&commit));
    it.rollback();
    assert!(!it.committed(&commit));
    assert!(it.head().stat("a", true).is_err());
}

#[test]
fn a_workspace_takes_neither_handles_nor_commits_of_another() {
    let shelf = Arc::new(Shelf::default());
    let (mut one, mut two) = (workspace(&shelf), workspace(&shelf));
    put(&mut one, "f", b"x").unwrap();
    put(&mut two, "f", b"x").unwrap();
    let root = one.root();
    assert_eq!(two.stat(&root), Err(Error::BadDescriptor));
    assert_eq!(two.unlink(&root, "f"), Err(Error::BadDescriptor));
    two.close(root);
    assert_eq!(one.open_handles(), 1);
    let commit = one.commit().unwrap();
    shelf.put(&commit);
    assert!(!two.committed(&commit));
}

#[test]
fn a_file_without_a_name_lives_as_long_as_it_is_open() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    put(&mut it, "f", &vec![7; 500_000]).unwrap();
    commit(&mut it, &shelf);
    let root = it.root();
    let (file, _) = it.open(&root, "f", NEW).unwrap();
    let other = it.duplicate(&file).unwrap();
    let identity = it.stat(&file).unwrap().identity;
    it.unlink(&root, "f").unwrap();
    put(&mut it, "g", b"another").unwrap();
    assert_ne!(it.stat_at(&root, "g", false).unwrap().identity.ino, identity.ino);
    let commit = commit(&mut it, &shelf);
    // What it needs is in no tree any more: the host is told.
    assert_eq!(commit.open.len(), 1);
    check(&commit.tree).unwrap();
    it.close(file);
    let stat = it.stat(&other).unwrap();
    assert_eq!((stat.identity, stat.links, stat.size), (identity, 0, 500_000));
    assert_eq!(it.read(&other, 499_999, 9).unwrap(), [7]);
    it.close(other);
    assert_eq!(it.commit().unwrap().open, []);
    put(&mut it, "h", b"takes the number").unwrap();
    let again = it.stat_at(&root, "h", false).unwrap().identity;
    assert_eq!(again.ino, identity.ino);
    assert_ne!(again.born, identity.born);
}

#[test]
fn nothing_is_made_in_a_directory_that_is_removed() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    it.make_directory(&root, "d").unwrap();
    let directory = OpenOptions { directory: true, ..OpenOptions::default() };
    let (d, _) = it.open(&root, "d", directory).unwrap();
    put(&mut it, "f", b"x").unwrap();
    it.make_directory(&root, "e").unwrap();
    it.remove_directory(&root, "d").unwrap();
    assert_eq!(it.open(&d, "new", NEW).unwrap_err(), Error::NoEntry);
    assert_eq!(it.make_directory(&d, "new"), Err(Error::NoEntry));
    assert_eq!(it.symlink("x", &d, "new"), Err(Error::NoEntry));
    assert_eq!(it.link(&root, "f", &d, "new"), Err(Error::NoEntry));
    assert_eq!(it.rename(&root, "f", &d, "new"), Err(Error::NoEntry));
    assert_eq!(it.rename(&root, "e", &d, "new"), Err(Error::NoEntry));
    assert_eq!(it.read_directory(&d, None, 9).unwrap(), []);
    assert_eq!(it.stat(&d).unwrap().links, 0);
    check(&commit(&mut it, &shelf).tree).unwrap();
}

#[test]
fn times_are_those_of_the_caller_and_each_change_has_one_of_its_own() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    it.set_time(START + 1000);
    // A clock that was put back does not turn the order of changes around.
    it.set_time(START);
    put(&mut it, "a", b"x").unwrap();
    put(&mut it, "b", b"x").unwrap();
    let a = it.stat_at(&root, "a", false).unwrap();
    let b = it.stat_at(&root, "b", false).unwrap();
    assert!(a.identity.born > START + 1000);
    assert!(b.identity.born > a.modified && b.modified < START + 2000);
    it.set_times_at(&root, "a", true, NewTime::At(5), NewTime::Keep).unwrap();
    let set = it.stat_at(&root, "a", false).unwrap();
    assert_eq!((set.accessed, set.modified), (5, a.modified));
    assert!(set.changed > b.changed);
    let (file, _) = it.open(&root, "b", NEW).unwrap();
    it.set_times(&file, NewTime::Now, NewTime::At(u64::MAX)).unwrap();
    assert_eq!(it.stat(&file).unwrap().modified, u64::MAX);
    it.close(file);
    let tree = commit(&mut it, &shelf).tree;
    assert_eq!(tree.stat("a", true).unwrap(), set);
    assert_eq!(tree.stat("b", true).unwrap().modified, u64::MAX);
    let mut next = dormouse_workspace::Workspace::new(tree, Default::default()).unwrap();
    put(&mut next, "c", b"x").unwrap();
    let c = at(&mut next, |it, root| it.stat_at(root, "c", false)).unwrap();
    assert!(c.identity.born > set.changed && c.modified < START + 2000);
}

#[test]
fn trees_and_workspaces_go_from_thread_to_thread() {
    fn goes<T: Send + Sync>() {}
    goes::<dormouse_workspace::Tree>();
    goes::<dormouse_workspace::Workspace>();
    goes::<dormouse_workspace::Commit>();
    goes::<dormouse_workspace::Handle>();
}
