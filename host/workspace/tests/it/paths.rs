//! No path leads out of the tree, and none does more work than is bounded.

use std::sync::Arc;

use crate::support::{NEW, Shelf, at, commit, put, workspace};
use dormouse_workspace::{
    Error, FileType, Handle, MAX_DEPTH, MAX_LINKS, OpenOptions, Workspace, check,
};

fn open(workspace: &mut Workspace, root: &Handle, path: &str) -> Result<FileType, Error> {
    let options = OpenOptions { follow: true, ..OpenOptions::default() };
    let (handle, file_type) = workspace.open(root, path, options)?;
    workspace.close(handle);
    Ok(file_type)
}

#[test]
fn no_path_leads_out_of_the_directory_that_it_begins_at() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    it.make_directory(&root, "a").unwrap();
    it.make_directory(&root, "a/b").unwrap();
    it.symlink("../..", &root, "a/b/up").unwrap();
    it.symlink("../../..", &root, "a/b/out").unwrap();
    let directory = OpenOptions { directory: true, ..OpenOptions::default() };
    let (a, _) = it.open(&root, "a", directory).unwrap();
    let same = it.stat_at(&root, "a/b/up", true).unwrap().identity;
    assert_eq!(same, it.stat(&root).unwrap().identity);
    // The same link leads out of `a`.
    assert_eq!(it.stat_at(&a, "b/up", true), Err(Error::NotPermitted));
    for path in ["a/b/out", "..", "a/../..", "/", "/a", "a/../../a", "../a"] {
        assert_eq!(it.stat_at(&root, path, true), Err(Error::NotPermitted), "{path}");
        assert_eq!(it.open(&root, path, NEW).unwrap_err(), Error::NotPermitted, "{path}");
    }
    assert_eq!(it.symlink("/etc/passwd", &root, "l"), Err(Error::NotPermitted));
    assert_eq!(it.rename(&root, "a", &root, "a/b/c"), Err(Error::Invalid));
    assert_eq!(it.rename(&root, "a", &root, "../a"), Err(Error::NotPermitted));
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    it.make_directory(&root, &"n".repeat(255)).unwrap();
    assert_eq!(it.make_directory(&root, &"n".repeat(256)), Err(Error::NameTooLong));
    assert_eq!(it.make_directory(&root, &"é".repeat(128)), Err(Error::NameTooLong));
    assert_eq!(it.make_directory(&root, "a\0b"), Err(Error::Invalid));
    assert_eq!(it.make_directory(&root, ""), Err(Error::NoEntry));
    let long = format!("{}x", "./".repeat(2048));
    assert_eq!(it.make_directory(&root, &long), Err(Error::NameTooLong));
    assert_eq!(it.symlink(&long, &root, "l"), Err(Error::NameTooLong));
    // Names that differ in case are different names.
    it.make_directory(&root, "A").unwrap();
    it.make_directory(&root, "a").unwrap();
    let names = it.read_directory(&root, None, 10).unwrap();
    let names: Vec<&str> = names.iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["A", "a", &"n".repeat(255)]);
}

#[test]
fn links_that_go_round_come_to_an_end() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    it.symlink("b", &root, "a").unwrap();
    it.symlink("a", &root, "b").unwrap();
    assert_eq!(open(&mut it, &root, "a"), Err(Error::Loop));
    // Each link doubles the way: refused after 40 links.
    it.make_directory(&root, "d").unwrap();
    it.symlink("d/.", &root, "l0").unwrap();
    for number in 1..60 {
        let before = number - 1;
        it.symlink(&format!("l{before}/../l{before}"), &root, &format!("l{number}")).unwrap();
    }
    assert_eq!(open(&mut it, &root, "l4"), Ok(FileType::Directory));
    assert_eq!(open(&mut it, &root, "l59"), Err(Error::Loop));
}

#[test]
fn directories_lie_no_deeper_than_is_allowed_however_they_come_there() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let directory = OpenOptions { directory: true, ..OpenOptions::default() };
    let root = it.root();
    let chain = |it: &mut Workspace, name: &str, depth: u16| {
        let mut here = it.root();
        for _ in 0..depth {
            it.make_directory(&here, name).unwrap();
            let (next, _) = it.open(&here, name, directory).unwrap();
            it.close(std::mem::replace(&mut here, next));
        }
        here
    };
    let bottom = chain(&mut it, "a", MAX_DEPTH);
    assert_eq!(it.make_directory(&bottom, "a"), Err(Error::NameTooLong));
    let (file, _) = it.open(&bottom, "file", NEW).unwrap();
    it.close(file);
    let middle = chain(&mut it, "b", MAX_DEPTH / 2);
    it.make_directory(&root, "c").unwrap();
    it.make_directory(&root, "c/c").unwrap();
    // 128 deep, and another 128 below: just fits, and not one more.
    it.rename(&root, "b", &middle, "again").unwrap_err();
    it.make_directory(&root, "e").unwrap();
    assert_eq!(it.rename(&root, "e", &bottom, "e"), Err(Error::NameTooLong));
    assert_eq!(it.rename(&root, "a", &root, "c/a"), Err(Error::NameTooLong));
    it.rename(&root, "c", &middle, "c").unwrap();
    assert_eq!(it.rename(&root, "b", &root, "e/b"), Ok(()));
    let tree = commit(&mut it, &shelf).tree;
    check(&tree).unwrap();
    let page = tree.list(&dormouse_workspace::ListQuery {
        path: ".".to_owned(),
        depth: usize::MAX,
        glob: None,
        after: None,
        limit: 10_000,
    });
    assert_eq!(page.unwrap().files.len() as u64, tree.usage().unwrap().names);
}

#[test]
fn a_directory_can_be_moved_deep_again_once_it_is_empty() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    let deep = vec!["x"; usize::from(MAX_DEPTH) - 1];
    for length in 1..=deep.len() {
        it.make_directory(&root, &deep[..length].join("/")).unwrap();
    }
    it.make_directory(&root, "y").unwrap();
    it.make_directory(&root, "y/y").unwrap();
    let target = format!("{}/y", deep.join("/"));
    assert_eq!(it.rename(&root, "y", &root, &target), Err(Error::NameTooLong));
    it.remove_directory(&root, "y/y").unwrap();
    it.rename(&root, "y", &root, &target).unwrap();
    check(&commit(&mut it, &shelf).tree).unwrap();
}

/// Names that part from each other at each half byte: the highest trie that there is.
#[test]
fn names_that_are_alike_as_long_as_can_be_need_no_large_stack() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let names: Vec<String> = (0..255)
        .flat_map(|length| ["1", "b", ""].map(|end| "a".repeat(length) + end))
        .filter(|name| !name.is_empty())
        .collect();
    // On the stack of a guest.
    let small = |it: &mut Workspace,
                 work: fn(&mut Workspace, &Handle, &str) -> Result<(), Error>| {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(256 << 10);
            let work = || {
                at(it, |it, root| names.iter().try_for_each(|name| work(it, root, name))).unwrap();
                let left = at(it, |it, root| it.read_directory(root, Some("aaa"), 9999)).unwrap();
                assert!(left.is_empty() || left.len() > 700, "{}", left.len());
            };
            thread.spawn_scoped(scope, work).unwrap().join().unwrap();
        });
    };
    small(&mut it, Workspace::make_directory);
    let tree = commit(&mut it, &shelf).tree;
    assert_eq!(check(&tree).unwrap().usage.names, names.len() as u64);
    small(&mut it, Workspace::remove_directory);
    assert_eq!(check(&commit(&mut it, &shelf).tree).unwrap().inodes, 1);
}

#[test]
fn nothing_takes_the_place_of_a_directory_that_it_lies_in() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let root = it.root();
    it.make_directories(&root, "a/b").unwrap();
    put(&mut it, "a/f", b"x").unwrap();
    for old in ["a/b", "a/f"] {
        assert_eq!(it.rename(&root, old, &root, "a"), Err(Error::NotEmpty), "{old}");
    }
    assert_eq!(it.rename(&root, "a", &root, "a/b"), Err(Error::Invalid));
    assert_eq!(it.rename(&root, ".", &root, "c"), Err(Error::Busy));
    assert_eq!(it.rename(&root, "a", &root, "."), Err(Error::Busy));
    it.rename(&root, "a", &root, "a").unwrap();
    assert_eq!(it.usage().names, 3);
}

#[test]
fn a_file_has_no_more_names_than_is_allowed() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    put(&mut it, "f", b"x").unwrap();
    at(&mut it, |it, root| {
        for number in 1..MAX_LINKS {
            it.link(root, "f", root, &format!("{number}")).unwrap();
        }
        assert_eq!(it.link(root, "f", root, "more"), Err(Error::TooManyLinks));
        assert_eq!(it.stat_at(root, "f", false).unwrap().links, MAX_LINKS as u64);
        assert_eq!(it.link(root, ".", root, "more"), Err(Error::NotPermitted));
    });
    assert_eq!(it.usage().bytes, 1);
    check(&commit(&mut it, &shelf).tree).unwrap();
}
