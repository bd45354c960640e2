//! Changes of several directories at once.

use std::sync::Arc;

use crate::support::{NEW, Shelf, at, commit, put, workspace};
use dormouse_workspace::{Error, Usage, check};

#[test]
fn directories_are_made_with_those_above_them() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    it.make_directories(&root, "a/b//c/").unwrap();
    it.make_directories(&root, "a/b/c").unwrap();
    assert_eq!(it.usage(), Usage { bytes: 0, names: 3 });
    it.symlink("a/b", &root, "l").unwrap();
    it.make_directories(&root, "l/d").unwrap();
    assert_eq!(it.stat_at(&root, "a/b/d", false).map(|stat| stat.links), Ok(1));
    put(&mut it, "f", b"x").unwrap();
    assert_eq!(it.make_directories(&root, "f/g"), Err(Error::NotDirectory));
    assert_eq!(it.make_directories(&root, ""), Err(Error::NoEntry));
    assert_eq!(it.make_directories(&root, "/a"), Err(Error::NotPermitted));
    assert_eq!(it.make_directories(&root, "../a"), Err(Error::NotPermitted));
    assert_eq!(it.make_directories(&root, &"x/".repeat(300)), Err(Error::NameTooLong));
}

#[test]
fn what_is_removed_goes_with_all_that_is_in_it() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    for directory in 0..30 {
        it.make_directories(&root, &format!("d/{directory}/deep/deeper")).unwrap();
        for file in 0..20 {
            put(&mut it, &format!("d/{directory}/deep/{file}"), b"xyz").unwrap();
        }
    }
    put(&mut it, "stays", b"xyz").unwrap();
    it.link(&root, "stays", &root, "d/7/deep/deeper/hard").unwrap();
    it.symlink("../stays", &root, "d/link").unwrap();
    let before = commit(&mut it, &shelf).tree;
    let (open, _) = it.open(&root, "d/3/deep/3", NEW).unwrap();
    it.remove_all(&root, "d").unwrap();
    assert_eq!(it.usage(), Usage { bytes: 6, names: 2 });
    it.close(open);
    assert_eq!(it.usage(), Usage { bytes: 3, names: 1 });
    it.remove_all(&root, "stays").unwrap();
    for (path, error) in [("d", Error::NoEntry), (".", Error::Invalid), ("..", Error::NotPermitted)]
    {
        assert_eq!(it.remove_all(&root, path), Err(error), "{path}");
    }
    let commit = commit(&mut it, &shelf);
    assert_eq!(commit.changes.removed, before.usage().unwrap().names);
    assert_eq!(check(&commit.tree).unwrap().inodes, 1);
}

#[test]
fn the_memory_of_names_is_charged_for_and_given_back() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let many = |it: &mut dormouse_workspace::Workspace| {
        at(it, |it, root| {
            for number in 0..1000 {
                it.symlink(&"x".repeat(4000), root, &format!("{number}")).unwrap();
            }
        });
    };
    many(&mut it);
    let held = it.held_bytes();
    assert!((4_500_000..6_000_000).contains(&held), "{held}");
    commit(&mut it, &shelf);
    assert_eq!(it.held_bytes(), 0);
    at(&mut it, |it, root| it.make_directory(root, "new")).unwrap();
    let one = it.held_bytes();
    // What was there before takes no less when it goes; what comes instead is charged for.
    for number in 0..1000 {
        at(&mut it, |it, root| it.unlink(root, &format!("{number}"))).unwrap();
    }
    assert!(it.held_bytes() >= one);
    many(&mut it);
    assert!(it.held_bytes() >= held);
    // A file that comes and goes again and again takes nothing in the end.
    let before = it.held_bytes();
    for _ in 0..1000 {
        put(&mut it, "temporary", &[1; 5000]).unwrap();
        at(&mut it, |it, root| it.rename(root, "temporary", root, "new-name")).unwrap();
        at(&mut it, |it, root| it.unlink(root, "new-name")).unwrap();
    }
    assert!(it.held_bytes() <= before + 10_000, "{} {before}", it.held_bytes());
}
