//! Lists: by depth, by pattern, page by page.

use std::sync::Arc;

use crate::support::{Shelf, at, commit, put, workspace};
use dormouse_workspace::{Error, Glob, ListQuery, Tree};

fn tree() -> (Arc<Shelf>, Tree) {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    for directory in ["src", "src/deep", "src-old", "empty"] {
        at(&mut it, |it, root| it.make_directory(root, directory)).unwrap();
    }
    for file in ["README.md", "src/main.rs", "src/deep/a.rs", "src/deep/b.txt", "src-old/main.rs"] {
        put(&mut it, file, file.as_bytes()).unwrap();
    }
    at(&mut it, |it, root| it.symlink("src", root, "link")).unwrap();
    for number in 0..300 {
        put(&mut it, &format!("src/deep/n{number:03}"), b"").unwrap();
    }
    let tree = commit(&mut it, &shelf).tree;
    (shelf, tree)
}

fn query(path: &str, depth: usize, glob: Option<&str>, limit: usize) -> ListQuery {
    let glob = glob.map(|glob| glob.parse().unwrap());
    ListQuery { path: path.to_owned(), depth, glob, after: None, limit }
}

fn paths(tree: &Tree, mut query: ListQuery) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let page = tree.list(&query).unwrap();
        assert!(page.files.len() <= query.limit);
        all.extend(page.files.into_iter().map(|file| file.path));
        match page.next {
            None => return all,
            Some(next) => query.after = Some(next),
        }
    }
}

#[test]
fn a_list_has_what_is_asked_for_in_order() {
    let (_shelf, tree) = tree();
    let top = ["README.md", "empty", "link", "src", "src-old"];
    assert_eq!(paths(&tree, query(".", 1, None, 100)), top);
    let all = paths(&tree, query(".", usize::MAX, None, 1000));
    assert_eq!(all.len() as u64, tree.usage().unwrap().names);
    assert!(all.is_sorted_by(|one, two| one.split('/').lt(two.split('/'))));
    let rust = ["src/deep/a.rs", "src/main.rs", "src-old/main.rs"];
    assert_eq!(paths(&tree, query(".", 9, Some("**/*.rs"), 100)), rust);
    assert_eq!(paths(&tree, query(".", 9, Some("*.rs"), 100)), [""; 0]);
    assert_eq!(paths(&tree, query("link", 9, Some("*.rs"), 100)), ["main.rs"]);
    assert_eq!(
        paths(&tree, query("src", 2, Some("{main,deep/[ab]}.*"), 1)),
        ["deep/a.rs", "deep/b.txt", "main.rs"]
    );
    let missing = tree.list(&query("nowhere", 1, None, 1));
    assert_eq!(missing, Err(Error::NoEntry));
    assert_eq!(tree.list(&query("README.md", 1, None, 1)), Err(Error::NotDirectory));
}

#[test]
fn pages_of_any_size_are_together_the_whole_list() {
    let (_shelf, tree) = tree();
    let all = paths(&tree, query(".", 9, None, 1000));
    for limit in [1, 2, 7, 100] {
        assert_eq!(paths(&tree, query(".", 9, None, limit)), all, "{limit}");
    }
    // A cursor that is gone stands where it stood.
    let after = |after: &str| {
        paths(&tree, ListQuery { after: Some(after.to_owned()), ..query(".", 9, None, 1000) })
    };
    assert_eq!(after("src/deep/n299x"), after("src/deep/n299"));
    assert_eq!(after("src/deep/zzz"), after("src/deep/n299"));
    assert_eq!(after("zzz"), [""; 0]);
    assert_eq!(after(""), all);
}

#[test]
fn a_pattern_that_is_none_is_refused() {
    for pattern in ["[", "{a", "a[b-", &"*".repeat(2000)] {
        assert!(pattern.parse::<Glob>().is_err(), "{pattern}");
    }
}
