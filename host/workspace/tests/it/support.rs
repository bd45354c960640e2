//! What the tests share: blobs in memory, and short ways to say what is done.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dormouse_workspace::{
    BlobError, BlobId, Blobs, Cache, Commit, Error, FileType, Handle, Ino, MAX_READ, OpenOptions,
    Quotas, Source, Tree, Workspace, edges,
};

/// When everything begins: in 2026.
pub const START: u64 = 1_767_225_600_000_000_000;

/// Blobs in memory. It counts how often one is read.
#[derive(Default)]
pub struct Shelf {
    blobs: Mutex<HashMap<BlobId, Bytes>>,
    reads: AtomicUsize,
    bytes_read: AtomicUsize,
}

impl Blobs for Shelf {
    fn blob(&self, id: &BlobId) -> Result<Bytes, BlobError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let blob = self.blobs.lock().unwrap().get(id).cloned().ok_or(BlobError::Missing(*id))?;
        self.bytes_read.fetch_add(blob.len(), Ordering::Relaxed);
        Ok(blob)
    }
}

impl Shelf {
    /// Take what a commit brings. Each edge is there already, as the store needs it.
    pub fn put(&self, commit: &Commit) {
        let mut blobs = self.blobs.lock().unwrap();
        for blob in &commit.blobs {
            assert_eq!(blob.id, BlobId::of(&blob.bytes));
            assert_eq!(edges(&blob.id, &blob.bytes), Ok(blob.edges.clone()));
            assert!(blob.edges.len() <= dormouse_workspace::EDGES);
            assert!(
                blob.edges.iter().all(|edge| blobs.contains_key(edge)),
                "an edge leads nowhere"
            );
            blobs.insert(blob.id, blob.bytes.clone());
        }
        assert!(blobs.contains_key(&commit.root));
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub fn bytes_read(&self) -> usize {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub fn ids(&self) -> Vec<BlobId> {
        let mut ids: Vec<BlobId> = self.blobs.lock().unwrap().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Change the bytes of a blob, or take it away.
    pub fn set(&self, id: &BlobId, bytes: Option<Bytes>) {
        let mut blobs = self.blobs.lock().unwrap();
        match bytes {
            None => blobs.remove(id),
            Some(bytes) => blobs.insert(*id, bytes),
        };
    }

    pub fn get(&self, id: &BlobId) -> Bytes {
        self.blobs.lock().unwrap()[id].clone()
    }
}

/// A cache that is small enough for nodes to leave it.
pub fn source(shelf: &Arc<Shelf>) -> Source {
    Source::new(Arc::clone(shelf) as Arc<dyn Blobs>, Cache::new(256 << 10))
}

/// An empty workspace with quotas that nobody meets.
pub fn workspace(shelf: &Arc<Shelf>) -> Workspace {
    let quotas = Quotas { bytes: 10 << 30, names: 1 << 20, file_bytes: 10 << 30 };
    with_quotas(shelf, quotas)
}

pub fn with_quotas(shelf: &Arc<Shelf>, quotas: Quotas) -> Workspace {
    Workspace::new(Tree::empty(source(shelf), START), quotas).unwrap()
}

/// Commit, and let the blobs be kept.
pub fn commit(workspace: &mut Workspace, shelf: &Shelf) -> Commit {
    let commit = workspace.commit().unwrap();
    shelf.put(&commit);
    assert!(workspace.committed(&commit));
    assert!(!workspace.is_changed());
    commit
}

/// The same tree, read anew.
pub fn reopen(shelf: &Arc<Shelf>, root: BlobId) -> Tree {
    Tree::open(source(shelf), root)
}

pub const NEW: OpenOptions = OpenOptions {
    follow: true,
    create: true,
    exclusive: false,
    truncate: false,
    directory: false,
    write: true,
};

/// Make a file with these bytes, or put them over what is there.
pub fn put(workspace: &mut Workspace, path: &str, bytes: &[u8]) -> Result<(), Error> {
    at(workspace, |it, root| {
        let (file, _) = it.open(root, path, OpenOptions { truncate: true, ..NEW })?;
        let written = it.write(&file, 0, bytes);
        it.close(file);
        written
    })
}

/// Do something at the root.
pub fn at<T>(workspace: &mut Workspace, what: impl FnOnce(&mut Workspace, &Handle) -> T) -> T {
    let root = workspace.root();
    let result = what(workspace, &root);
    workspace.close(root);
    result
}

/// All bytes of a file.
pub fn read(tree: &Tree, path: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = tree.read(path, bytes.len() as u64, usize::MAX).unwrap();
        if more.is_empty() {
            return bytes;
        }
        assert!(more.len() <= MAX_READ);
        bytes.extend(more);
    }
}

/// All of a tree, as text: paths, types, sizes, names, contents by their digest, and which names are one file.
pub fn dump(tree: &Tree) -> String {
    let mut text = String::new();
    let mut seen = BTreeMap::new();
    let mut todo = vec![".".to_owned()];
    while let Some(path) = todo.pop() {
        for entry in tree.read_directory(&path, None, usize::MAX).unwrap().iter().rev() {
            let path = format!("{path}/{}", entry.name);
            let stat = tree.stat(&path, false).unwrap();
            let number = number(&mut seen, entry.ino);
            write!(text, "{path} {number} {} {}", stat.links, stat.modified).unwrap();
            match entry.file_type {
                FileType::Directory => todo.push(path),
                FileType::Symlink => text += &tree.read_link(&path).unwrap(),
                FileType::Regular => {
                    let bytes = read(tree, &path);
                    assert_eq!(bytes.len() as u64, stat.size);
                    write!(text, " {}", BlobId::of(&bytes)).unwrap();
                }
            }
            text.push('\n');
        }
    }
    text
}

/// The numbers of inodes, by when they were seen first.
fn number(seen: &mut BTreeMap<Ino, usize>, ino: Ino) -> usize {
    let next = seen.len();
    *seen.entry(ino).or_insert(next)
}

/// How many cases a property is tried with, unless `PROPTEST_CASES` says it.
pub fn cases(usual: u32) -> proptest::test_runner::Config {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    proptest::test_runner::Config {
        cases: asked.unwrap_or(usual),
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..proptest::test_runner::Config::default()
    }
}
