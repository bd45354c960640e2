//! What the tests share: sessions whose turns are revisions, and a stock git.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use dormouse_git::{
    Cache, History, HistoryError, Limits, Repository, Revision, RevisionId, Signature,
};
use dormouse_workspace::{
    BlobError, BlobId, Blobs, FileType, Handle, OpenOptions, Quotas, Source, Tree, Workspace,
};
use tempfile::TempDir;

/// When everything begins: in 2026, in seconds.
pub const START: u64 = 1_767_225_600;

/// Numbers that follow from a seed.
pub struct Random(pub u64);

impl Random {
    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

/// Blobs and revisions in memory. It counts what is read.
#[derive(Default)]
pub struct Shelf {
    blobs: Mutex<HashMap<BlobId, Bytes>>,
    revisions: Mutex<HashMap<RevisionId, Revision>>,
    bytes_read: AtomicUsize,
    revisions_read: AtomicUsize,
}

impl Blobs for Shelf {
    fn blob(&self, id: &BlobId) -> Result<Bytes, BlobError> {
        let blob = self.blobs.lock().unwrap().get(id).cloned().ok_or(BlobError::Missing(*id))?;
        self.bytes_read.fetch_add(blob.len(), Ordering::Relaxed);
        Ok(blob)
    }
}

impl History for Shelf {
    fn revision(&self, id: &RevisionId) -> Result<Revision, HistoryError> {
        self.revisions_read.fetch_add(1, Ordering::Relaxed);
        let revisions = self.revisions.lock().unwrap();
        revisions.get(id).cloned().ok_or(HistoryError::Missing(*id))
    }
}

impl Shelf {
    pub fn bytes_read(&self) -> usize {
        self.bytes_read.load(Ordering::Relaxed)
    }

    pub fn revisions_read(&self) -> usize {
        self.revisions_read.load(Ordering::Relaxed)
    }

    /// Take all blobs of this many bytes and more away.
    pub fn lose_blobs(&self, from: usize) {
        self.blobs.lock().unwrap().retain(|_, blob| blob.len() < from);
    }

    pub fn lose_revision(&self, id: &RevisionId) {
        self.revisions.lock().unwrap().remove(id);
    }
}

/// A session: a workspace, and a revision for each turn.
pub struct Session {
    pub shelf: Arc<Shelf>,
    source: Source,
    pub workspace: Workspace,
    pub head: Option<RevisionId>,
    turns: u64,
}

impl Session {
    pub fn new() -> Session {
        Session::on(&Arc::new(Shelf::default()))
    }

    pub fn on(shelf: &Arc<Shelf>) -> Session {
        let blobs = Arc::clone(shelf) as Arc<dyn Blobs>;
        let source = Source::new(blobs, dormouse_workspace::Cache::new(1 << 20));
        let tree = Tree::empty(source.clone(), START * 1_000_000_000);
        let quotas = Quotas { bytes: 10 << 30, names: 1 << 20, file_bytes: 10 << 30 };
        let workspace = Workspace::new(tree, quotas).unwrap();
        Session { shelf: Arc::clone(shelf), source, workspace, head: None, turns: 0 }
    }

    /// What the workspace has now is a revision.
    pub fn turn(&mut self, message: &str) -> RevisionId {
        let commit = self.workspace.commit().unwrap();
        let mut blobs = self.shelf.blobs.lock().unwrap();
        blobs.extend(commit.blobs.iter().map(|blob| (blob.id, blob.bytes.clone())));
        drop(blobs);
        assert!(self.workspace.committed(&commit));
        self.turns += 1;
        let parent = self.head;
        let mut key = parent.map_or(vec![], |it| it.0.to_vec());
        key.extend(commit.root.0);
        key.extend(message.as_bytes());
        let id = RevisionId(BlobId::of(&key).0);
        let signature = Signature { name: "An agent".into(), email: "agent@example.org".into() };
        let revision = Revision {
            tree: Tree::open(self.source.clone(), commit.root),
            parent,
            message: message.into(),
            author: signature.clone(),
            committer: signature,
            time: START + self.turns,
        };
        self.shelf.revisions.lock().unwrap().insert(id, revision);
        self.head = Some(id);
        id
    }

    /// Go back to a revision.
    pub fn rewind(&mut self, to: RevisionId) {
        let tree = self.tree(&to);
        let quotas = Quotas { bytes: 10 << 30, names: 1 << 20, file_bytes: 10 << 30 };
        self.workspace = Workspace::new(tree, quotas).unwrap();
        self.head = Some(to);
    }

    pub fn tree(&self, id: &RevisionId) -> Tree {
        self.shelf.revisions.lock().unwrap()[id].tree.clone()
    }

    /// The repository, with a cache of its own.
    pub fn repository(&self) -> Repository {
        self.repository_with(&Cache::new(16 << 20))
    }

    pub fn repository_with(&self, cache: &Cache) -> Repository {
        let history = Arc::clone(&self.shelf) as Arc<dyn History>;
        Repository::new(history, self.head, cache.clone(), Limits::default())
    }

    pub fn put(&mut self, path: &str, bytes: &[u8]) {
        let options =
            OpenOptions { create: true, write: true, truncate: true, ..OpenOptions::default() };
        self.at(|it, root| {
            if let Some((above, _)) = path.rsplit_once('/') {
                it.make_directories(root, above).unwrap();
            }
            let (file, _) = it.open(root, path, options).unwrap();
            for (number, piece) in (0_u64..).zip(bytes.chunks(1 << 20)) {
                it.write(&file, number << 20, piece).unwrap();
            }
            it.close(file);
        });
    }

    pub fn remove(&mut self, path: &str) {
        self.at(|it, root| it.remove_all(root, path).unwrap());
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.at(|it, root| it.symlink(target, root, path).unwrap());
    }

    /// Do something at the root.
    pub fn at<T>(&mut self, what: impl FnOnce(&mut Workspace, &Handle) -> T) -> T {
        let root = self.workspace.root();
        let result = what(&mut self.workspace, &root);
        self.workspace.close(root);
        result
    }
}

/// What a clone has at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    File(Vec<u8>),
    Link(String),
}

pub type Files = BTreeMap<String, Found>;

/// All files and links of a tree.
pub fn files_of(tree: &Tree) -> Files {
    let mut files = Files::new();
    let mut todo = vec![String::new()];
    while let Some(above) = todo.pop() {
        let here = if above.is_empty() { "." } else { &*above };
        for entry in tree.read_directory(here, None, usize::MAX).unwrap() {
            let path = if above.is_empty() {
                entry.name.to_string()
            } else {
                format!("{above}/{}", entry.name)
            };
            match entry.file_type {
                FileType::Directory => todo.push(path),
                FileType::Symlink => {
                    let target = tree.read_link(&path).unwrap().to_string();
                    files.insert(path, Found::Link(target));
                }
                FileType::Regular => {
                    let mut bytes = Vec::new();
                    let size = tree.stat(&path, false).unwrap().size;
                    while (bytes.len() as u64) < size {
                        bytes.extend(
                            tree.read_ino(entry.ino, bytes.len() as u64, usize::MAX).unwrap(),
                        );
                    }
                    files.insert(path, Found::File(bytes));
                }
            }
        }
    }
    files
}

/// All files and links in a folder, but for those of git itself.
pub fn files_in(folder: &Path) -> Files {
    let mut files = Files::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(above) = todo.pop() {
        for entry in std::fs::read_dir(&above).unwrap() {
            let entry = entry.unwrap();
            let path = entry.path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            let file_type = entry.file_type().unwrap();
            if name == ".git" {
                continue;
            } else if file_type.is_dir() {
                todo.push(path);
            } else if file_type.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                files.insert(name, Found::Link(target.to_str().unwrap().to_owned()));
            } else {
                files.insert(name, Found::File(std::fs::read(&path).unwrap()));
            }
        }
    }
    files
}

/// A stock git, and a folder for its clones.
pub struct Git {
    folder: TempDir,
    version: &'static str,
}

impl Git {
    /// One that speaks this version of the protocol.
    pub fn new(version: &'static str) -> Git {
        Git { folder: TempDir::new().unwrap(), version }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Run it in a clone, or for `.` where clones are.
    pub fn run(&self, clone: &str, arguments: &[&str]) -> Output {
        let protocol = format!("protocol.version={}", self.version);
        let output = Command::new("git")
            .args(["-c", &protocol, "-c", "advice.detachedHead=false", "-c", "gc.auto=0"])
            .args(["-c", "core.autocrlf=false"])
            .args(arguments)
            .current_dir(self.path(clone))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C")
            .output();
        output.unwrap_or_else(|error| panic!("these tests need git on the path: {error}"))
    }

    /// The same where it has to succeed. Returns what it prints.
    pub fn ok(&self, clone: &str, arguments: &[&str]) -> String {
        let output = self.run(clone, arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "git {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// The same where it has to fail. Returns what it complains of.
    pub fn fails(&self, clone: &str, arguments: &[&str]) -> String {
        let output = self.run(clone, arguments);
        assert!(!output.status.success(), "git {arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Clone, and let git look at all objects.
    pub fn clone(&self, url: &str, name: &str) -> PathBuf {
        self.ok(".", &["-c", "fetch.fsckObjects=true", "clone", url, name]);
        self.check(name);
        self.path(name)
    }

    pub fn check(&self, name: &str) {
        let output = self.run(name, &["fsck", "--strict", "--full", "--no-dangling"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        let is_bad = |line: &&str| line.contains("error") || line.contains("warning");
        assert_eq!(said.lines().find(is_bad), None);
    }
}
