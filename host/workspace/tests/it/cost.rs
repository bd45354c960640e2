//! What a commit, a fork and a first look cost.

use std::sync::Arc;

use crate::support::{NEW, Shelf, at, commit, put, read, reopen, workspace};
use dormouse_workspace::{CHUNK, Commit, Quotas, Tree, Workspace, check};

fn bytes(commit: &Commit) -> usize {
    commit.blobs.iter().map(|blob| blob.bytes.len()).sum()
}

/// Bytes of which no two chunks are equal.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![seed as u8; length];
    for (number, block) in (0_u64..).zip(bytes.chunks_mut(4096)) {
        let stamp = (seed * 1_000_003 + number).to_le_bytes();
        let count = block.len().min(8);
        block[..count].copy_from_slice(&stamp[..count]);
    }
    bytes
}

/// A file of this many bytes, written in pieces.
fn put_large(workspace: &mut Workspace, path: &str, length: usize) {
    at(workspace, |it, root| {
        let (file, _) = it.open(root, path, NEW).unwrap();
        for piece in 0..length.div_ceil(1 << 20) {
            let offset = piece << 20;
            let count = (length - offset).min(1 << 20);
            it.write(&file, offset as u64, &noise(count, offset as u64)).unwrap();
        }
        it.close(file);
    });
}

/// 100 MB in some thousand files of all sizes.
fn large(shelf: &Arc<Shelf>) -> Tree {
    let mut workspace = workspace(shelf);
    for directory in 0..30 {
        at(&mut workspace, |it, root| it.make_directory(root, &format!("d{directory}"))).unwrap();
        for file in 0..100 {
            let path = format!("d{directory}/f{file}");
            put(&mut workspace, &path, &noise(200 + 97 * file, file as u64)).unwrap();
        }
    }
    put_large(&mut workspace, "large", 85 << 20);
    assert!(workspace.usage().bytes > 100_000_000);
    let held = workspace.held_bytes();
    assert!((85 << 20..150 << 20).contains(&held), "{held}");
    let commit = commit(&mut workspace, shelf);
    assert_eq!(workspace.held_bytes(), 0);
    println!("100 MB in {} names: {} blobs", workspace.usage().names, commit.blobs.len());
    commit.tree
}

#[test]
fn one_byte_of_a_large_file_is_one_chunk_and_its_way() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = workspace(&shelf);
    put_large(&mut workspace, "large", 100 << 20);
    commit(&mut workspace, &shelf);
    at(&mut workspace, |it, root| {
        let (file, _) = it.open(root, "large", NEW).unwrap();
        it.write(&file, 50 << 20, b"!").unwrap();
        it.close(file);
    });
    assert!(workspace.held_bytes() < 2 * CHUNK, "{}", workspace.held_bytes());
    let commit = commit(&mut workspace, &shelf);
    println!("one byte of 100 MB: {} blobs, {} bytes", commit.blobs.len(), bytes(&commit));
    assert!(commit.blobs.len() <= 5, "{}", commit.blobs.len());
    assert!(bytes(&commit) < 70 << 10, "{}", bytes(&commit));
    assert_eq!(commit.changes.changed, 1);
    assert_eq!(commit.tree.read("large", (50 << 20) - 1, 3).unwrap()[1], b'!');
}

#[test]
fn one_file_more_in_a_large_directory_is_a_few_blobs() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = workspace(&shelf);
    at(&mut workspace, |it, root| it.make_directory(root, "many")).unwrap();
    for number in 0..50_000 {
        put(&mut workspace, &format!("many/file{number:05}"), b"small").unwrap();
    }
    let first = commit(&mut workspace, &shelf);
    println!("50,000 small files: {} blobs, {} bytes", first.blobs.len(), bytes(&first));
    assert!(first.blobs.len() < 5_000, "{}", first.blobs.len());
    put(&mut workspace, "many/file12345.new", b"new").unwrap();
    let second = commit(&mut workspace, &shelf);
    println!("one more: {} blobs, {} bytes", second.blobs.len(), bytes(&second));
    assert!(second.blobs.len() <= 12, "{}", second.blobs.len());
    assert!(bytes(&second) < 64 << 10, "{}", bytes(&second));
    assert_eq!((second.changes.added, second.changes.list.len()), (1, 1));
    at(&mut workspace, |it, root| it.unlink(root, "many/file12345.new")).unwrap();
    let third = commit(&mut workspace, &shelf);
    assert_eq!(third.changes.removed, 1);
    assert!(third.blobs.len() <= 12, "{}", third.blobs.len());
    // The time of the directory differs; its names are those of before.
    let firsts: Vec<_> = first.blobs.iter().map(|blob| blob.id).collect();
    let new = third.blobs.iter().filter(|blob| !firsts.contains(&blob.id)).count();
    assert!(new <= 6, "{new}");
}

#[test]
fn a_small_workspace_is_one_blob() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = workspace(&shelf);
    for number in 0..10 {
        put(&mut workspace, &format!("file{number}"), &[number; 500]).unwrap();
    }
    let commit = commit(&mut workspace, &shelf);
    println!("10 small files: {} blob, {} bytes", commit.blobs.len(), bytes(&commit));
    assert_eq!(commit.blobs.len(), 1);
}

#[test]
fn a_large_tree_wakes_as_an_empty_one() {
    let shelf = Arc::new(Shelf::default());
    let root = large(&shelf).id().unwrap();
    let before = (shelf.reads(), shelf.bytes_read());
    let tree = reopen(&shelf, root);
    assert_eq!(shelf.reads(), before.0);
    assert_eq!(read(&tree, "d17/f42"), noise(200 + 97 * 42, 42));
    let (reads, bytes) = (shelf.reads() - before.0, shelf.bytes_read() - before.1);
    println!("one file of 100 MB: {reads} blobs, {bytes} bytes");
    assert!(reads <= 8 && bytes < 128 << 10, "{reads} {bytes}");
    assert!(tree.content_id("large").unwrap().is_some());
    assert!(shelf.bytes_read() - before.1 < 256 << 10, "the contents were read");

    let forks: Vec<Workspace> =
        (0..100).map(|_| Workspace::new(tree.clone(), Quotas::default()).unwrap()).collect();
    assert!(shelf.reads() - before.0 <= 16);
    assert!(forks.iter().all(|fork| fork.usage().bytes > 100_000_000));
    check(&tree).unwrap();
}

#[test]
fn what_is_only_read_is_bounded_by_the_cache() {
    let shelf = Arc::new(Shelf::default());
    let mut it = workspace(&shelf);
    put_large(&mut it, "large", 20 << 20);
    let root = commit(&mut it, &shelf).root;
    let cache = dormouse_workspace::Cache::new(4 << 20);
    let blobs = Arc::clone(&shelf) as Arc<dyn dormouse_workspace::Blobs>;
    let tree = Tree::open(dormouse_workspace::Source::new(blobs, cache.clone()), root);
    let mut workspace = Workspace::new(tree, Quotas::default()).unwrap();
    at(&mut workspace, |it, root| {
        let options = dormouse_workspace::OpenOptions::default();
        let (file, _) = it.open(root, "large", options).unwrap();
        for piece in 0..20 {
            it.read(&file, piece << 20, 1 << 20).unwrap();
        }
        it.close(file);
    });
    assert!(cache.held_bytes() <= 4 << 20, "{}", cache.held_bytes());
    assert_eq!(workspace.held_bytes(), 0);
}

#[test]
fn zeros_take_no_room() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = workspace(&shelf);
    at(&mut workspace, |it, root| {
        let (file, _) = it.open(root, "sparse", NEW).unwrap();
        it.set_size(&file, 1 << 30).unwrap();
        it.write(&file, 512 << 20, b"in the middle").unwrap();
        it.write(&file, 1 << 20, &[0; 200_000]).unwrap();
        it.close(file);
    });
    let commit = commit(&mut workspace, &shelf);
    assert!(commit.blobs.len() <= 6 && bytes(&commit) < 4096, "{}", bytes(&commit));
    assert_eq!(workspace.usage().bytes, 1 << 30);
    assert_eq!(
        reopen(&shelf, commit.root).read("sparse", 512 << 20, 13).unwrap(),
        b"in the middle"
    );
}

#[test]
fn equal_contents_have_equal_ids_however_they_came_about() {
    let shelf = Arc::new(Shelf::default());
    let mut workspace = workspace(&shelf);
    for length in [0, 1, 2000, 3000, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK, 300 * CHUNK + 5] {
        let contents = noise(length, length as u64);
        put(&mut workspace, "once", &contents).unwrap();
        at(&mut workspace, |it, root| {
            let (file, _) = it.open(root, "pieces", NEW).unwrap();
            it.write(&file, 0, &noise(40 * CHUNK, 7)).unwrap();
            it.set_size(&file, length as u64 / 3).unwrap();
            it.set_size(&file, length as u64).unwrap();
            it.close(file);
        });
        commit(&mut workspace, &shelf);
        at(&mut workspace, |it, root| {
            let (file, _) = it.open(root, "pieces", NEW).unwrap();
            for (number, piece) in contents.chunks(10_007).enumerate().rev() {
                it.write(&file, number as u64 * 10_007, piece).unwrap();
            }
            it.close(file);
        });
        let tree = commit(&mut workspace, &shelf).tree;
        let once = tree.content_id("once").unwrap().unwrap();
        assert_eq!(tree.content_id("pieces").unwrap(), Some(once), "{length}");
        put(&mut workspace, "pieces", b"other").unwrap();
        let tree = commit(&mut workspace, &shelf).tree;
        assert_ne!(tree.content_id("pieces").unwrap(), Some(once));
    }
}
