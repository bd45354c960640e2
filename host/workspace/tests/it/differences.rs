//! What differs between trees.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::support::{Shelf, at, commit, put, read, workspace};
use dormouse_workspace::{Change, ChangeKind, Changes, DiffQuery, FileType, Tree, diff};

fn all(old: &Tree, new: &Tree) -> Vec<(ChangeKind, String)> {
    let query = DiffQuery { limit: usize::MAX, after: None };
    let changes = diff(old, new, &query).unwrap();
    let count = |kind| changes.list.iter().filter(|change| change.kind == kind).count() as u64;
    assert_eq!(changes.added, count(ChangeKind::Added));
    assert_eq!(changes.changed, count(ChangeKind::Changed));
    assert_eq!(changes.removed, count(ChangeKind::Removed));
    assert_eq!(changes.next, None);
    changes.list.into_iter().map(|change| (change.kind, change.path)).collect()
}

fn strings(changes: &[(ChangeKind, String)]) -> Vec<String> {
    let sign = |kind| match kind {
        ChangeKind::Added => '+',
        ChangeKind::Changed => '~',
        ChangeKind::Removed => '-',
    };
    changes.iter().map(|(kind, path)| format!("{}{path}", sign(*kind))).collect()
}

/// What differs, the long way: all paths of both.
pub fn by_hand(old: &Tree, new: &Tree) -> Vec<(ChangeKind, String)> {
    let (old, new) = (contents(old), contents(new));
    let mut found = BTreeMap::new();
    for (path, content) in &old {
        match new.get(path) {
            None => found.insert(path.clone(), ChangeKind::Removed),
            Some(other) if other != content => found.insert(path.clone(), ChangeKind::Changed),
            Some(_) => None,
        };
    }
    for path in new.keys().filter(|path| !old.contains_key(*path)) {
        found.insert(path.clone(), ChangeKind::Added);
    }
    found.into_iter().map(|(path, kind)| (kind, path.join("/"))).collect()
}

fn contents(tree: &Tree) -> BTreeMap<Vec<String>, (FileType, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![Vec::new()];
    while let Some(path) = todo.pop() {
        let joined = format!("./{}", path.join("/"));
        for entry in tree.read_directory(&joined, None, usize::MAX).unwrap() {
            let mut below: Vec<String> = path.clone();
            below.push(entry.name.to_string());
            let joined = below.join("/");
            let content = match entry.file_type {
                FileType::Directory => Vec::new(),
                FileType::Symlink => tree.read_link(&joined).unwrap().as_bytes().to_vec(),
                FileType::Regular => read(tree, &joined),
            };
            if entry.file_type == FileType::Directory {
                todo.push(below.clone());
            }
            found.insert(below, (entry.file_type, content));
        }
    }
    found
}

#[test]
fn each_path_that_differs_is_told_and_no_other() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    for directory in ["a", "a/deep", "b", "stays"] {
        at(&mut it, |it, root| it.make_directory(root, directory)).unwrap();
    }
    for file in ["a/one", "a/deep/two", "b/three", "stays/four", "stays/five", "six"] {
        put(&mut it, file, file.as_bytes()).unwrap();
    }
    at(&mut it, |it, root| it.link(root, "six", root, "stays/hard")).unwrap();
    let old = commit(&mut it, &shelf).tree;
    put(&mut it, "stays/four", b"other").unwrap();
    // Written anew with the same bytes: no difference.
    put(&mut it, "stays/five", b"stays/five").unwrap();
    // One file with two names.
    put(&mut it, "six", b"seven").unwrap();
    at(&mut it, |it, root| {
        it.rename(root, "a", root, "moved").unwrap();
        it.unlink(root, "b/three").unwrap();
        it.remove_directory(root, "b").unwrap();
        it.symlink("moved", root, "b").unwrap();
    });
    let commit = commit(&mut it, &shelf);
    let expected = [
        "-a",
        "-a/deep",
        "-a/deep/two",
        "-a/one",
        "~b",
        "-b/three",
        "+moved",
        "+moved/deep",
        "+moved/deep/two",
        "+moved/one",
        "~six",
        "~stays/four",
        "~stays/hard",
    ];
    let found = all(&old, &commit.tree);
    assert_eq!(strings(&found), expected);
    assert_eq!(found, by_hand(&old, &commit.tree));
    let Changes { added, changed, removed, list, next } = commit.changes;
    assert_eq!((added, changed, removed, list.len(), next), (4, 4, 5, 13, None));
    assert_eq!(
        list[4],
        Change { path: "b".to_owned(), kind: ChangeKind::Changed, file_type: FileType::Symlink }
    );
    assert_eq!(all(&old, &old), []);
}

#[test]
fn pages_of_differences_are_together_all_of_them() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    let old = commit(&mut it, &shelf).tree;
    at(&mut it, |it, root| it.make_directory(root, "d")).unwrap();
    for number in 0..50 {
        put(&mut it, &format!("d/{number}"), b"x").unwrap();
        put(&mut it, &format!("d-{number}"), b"x").unwrap();
    }
    let new = commit(&mut it, &shelf).tree;
    let whole = all(&old, &new);
    for limit in [1, 3, 100] {
        let (mut after, mut paths) = (None, Vec::new());
        loop {
            let changes = diff(&old, &new, &DiffQuery { limit, after }).unwrap();
            assert_eq!(changes.added, 101);
            paths.extend(changes.list.into_iter().map(|change| (change.kind, change.path)));
            after = changes.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paths, whole, "{limit}");
    }
}

#[test]
fn a_difference_costs_what_differs() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    for directory in 0..20 {
        at(&mut it, |it, root| it.make_directory(root, &format!("d{directory}"))).unwrap();
        for file in 0..200 {
            put(&mut it, &format!("d{directory}/f{file}"), &[file; 3000]).unwrap();
        }
    }
    let old = commit(&mut it, &shelf).root;
    put(&mut it, "d7/f7", b"other").unwrap();
    let new = commit(&mut it, &shelf).root;
    let [old, new] = [old, new].map(|root| crate::support::reopen(&shelf, root));
    let before = shelf.reads();
    assert_eq!(strings(&all(&old, &new)), ["~d7/f7"]);
    let reads = shelf.reads() - before;
    println!("one of 4,000 files differs: {reads} blobs read");
    assert!(reads <= 20, "{reads}");
}
