//! The form of blobs, which stays: what was stored yesterday is read tomorrow.

use std::sync::Arc;

use crate::support::{NEW, Shelf, at, commit, dump, put, workspace};
use dormouse_workspace::{Blobs, Cache, Source, Tree, Workspace, check};

/// Something of everything: large and small files, holes, links of both kinds, a directory of many names.
fn everything(it: &mut Workspace) {
    at(it, |it, root| {
        it.make_directories(root, "many/deep").unwrap();
        it.symlink("many/deep", root, "link").unwrap();
        let (file, _) = it.open(root, "large", NEW).unwrap();
        for chunk in [0, 3, 17] {
            it.write(&file, chunk * 65_536, &[chunk as u8 + 1; 70_000]).unwrap();
        }
        it.close(file);
    });
    for number in 0..300 {
        put(it, &format!("many/{number}"), &[7; 100]).unwrap();
    }
    put(it, "middle", &[9; 3000]).unwrap();
    at(it, |it, root| it.link(root, "middle", root, "many/deep/hard")).unwrap();
}

#[test]
fn the_form_of_blobs_is_what_it_was() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    everything(&mut it);
    let tree = commit(&mut it, &shelf).tree;
    let root = tree.id().unwrap().to_string();
    // Whoever changes the form gives it another version, and reads this one as before.
    assert_eq!(root, "dd6be3687ac94296a7096d34c9a94a90e63006761d96cae65af769d81f5fd647");
    let content = |path| tree.content_id(path).unwrap().unwrap().to_string();
    assert_eq!(
        content("large"),
        "221b2773c73ee3f8d64282906b84170e6f44bc2f34701ff74dbe5022c8a183bf"
    );
    assert_eq!(
        content("many/7"),
        "4b470fec79116bfac14a2872230eba6d7881d83509657c3808352b296d4d140f"
    );
}

#[test]
fn a_cache_without_room_changes_nothing_but_the_time() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    everything(&mut it);
    let with_room = commit(&mut it, &shelf).tree;
    let blobs = Arc::clone(&shelf) as Arc<dyn Blobs>;
    let without = Tree::open(Source::new(blobs, Cache::new(0)), with_room.id().unwrap());
    assert_eq!(dump(&without), dump(&with_room));
    check(&without).unwrap();
    let mut it = Workspace::new(without, Default::default()).unwrap();
    at(&mut it, |it, root| it.rename(root, "many", root, "moved")).unwrap();
    assert_eq!(commit(&mut it, &shelf).changes.added, 303);
}
