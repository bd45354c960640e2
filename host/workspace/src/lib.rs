//! Workspaces: the file tree of a session.
//!
//! A [`Tree`] is a snapshot of files: nobody changes it, and a copy of it costs nothing. A [`Workspace`] is a tree that
//! changes; it has what `wasi:filesystem` needs of one, within [`Quotas`]. What [`Workspace::commit`] brings are blobs
//! that name blobs, and only those that have changed.
//!
//! ```text
//!   Tree ──────────▶ Workspace ──commit──▶ Commit { blobs, tree, changes }
//!     ▲                 ▲  │                           │ the store keeps the blobs
//!     │                 │  └──rollback (O(1))          ▼
//!     └─────────────────┴────────committed───────── Tree
//! ```
//! The form in memory is the one that is stored: tries whose nodes are in memory where they have changed, and
//! otherwise are a [`BlobId`], read when somebody asks for them and kept in a bounded [`Cache`]. So a tree wakes
//! without reading anything, a fork copies an id, a rollback drops what has changed, and a commit visits what has
//! changed and nothing else.
//!
//! | trie | by | leaves |
//! | --- | --- | --- |
//! | the table of inodes (`table`) | number | 16 inodes, with what is small of their contents |
//! | the names in a directory (`names`) | name, in order | up to 64 names |
//! | the contents of a file (`content`) | position | chunks of 64 KiB; zeros take no room |
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use bytes::Bytes;
//! use dormouse_workspace::{
//!     BlobError, BlobId, Blobs, Cache, OpenOptions, Quotas, Source, Tree, Workspace,
//! };
//!
//! #[derive(Default)]
//! struct Store(Mutex<HashMap<BlobId, Bytes>>);
//!
//! impl Blobs for Store {
//!     fn blob(&self, id: &BlobId) -> Result<Bytes, BlobError> {
//!         self.0.lock().unwrap().get(id).cloned().ok_or(BlobError::Missing(*id))
//!     }
//! }
//!
//! let store = Arc::new(Store::default());
//! let source = Source::new(store.clone(), Cache::new(16 << 20));
//! let now = 1_767_225_600_000_000_000;
//! let mut workspace = Workspace::new(Tree::empty(source.clone(), now), Quotas::default())?;
//!
//! let root = workspace.root();
//! workspace.make_directories(&root, "notes/2026")?;
//! let options = OpenOptions { create: true, write: true, ..OpenOptions::default() };
//! let (file, _) = workspace.open(&root, "notes/2026/first.txt", options)?;
//! workspace.append(&file, b"It snows.")?;
//! workspace.close(file);
//!
//! let commit = workspace.commit()?;
//! store.0.lock().unwrap().extend(commit.blobs.iter().map(|blob| (blob.id, blob.bytes.clone())));
//! assert!(workspace.committed(&commit));
//! assert_eq!(commit.changes.added, 3);
//!
//! let tree = Tree::open(source, commit.root);
//! assert_eq!(tree.read("notes/2026/first.txt", 3, 100)?, b"snows.");
//! # Ok::<(), dormouse_workspace::Error>(())
//! ```
//! A [`Version`] names a tree and the version before it, so that a workspace has a history.
//!
//! Invariants: quotas hold at each change, and a change beyond them changes nothing. No path leads out of the
//! tree. What is read from blobs is checked against their ids and decoded within bounds. Nothing here reads a
//! clock, waits, or knows of a store, of a guest or of HTTP.

#![deny(missing_docs)]

mod blob;
mod check;
mod chunk;
mod commit;
mod content;
mod diff;
mod error;
mod inode;
mod listing;
mod names;
mod node;
mod path;
mod quota;
mod root;
mod source;
mod stored;
mod table;
mod tree;
mod version;
mod view;
mod workspace;

pub use blob::{BlobError, BlobId, Blobs, NewBlob};
pub use check::{CheckError, Checked, check};
pub use commit::Commit;
pub use content::{ContentId, InvalidContentId};
pub use diff::{Change, ChangeKind, Changes, DiffQuery, diff};
pub use error::{Error, QuotaKind};
pub use inode::{FileType, Ino};
pub use listing::{Glob, InvalidGlob, ListQuery, Listed, Page};
pub use quota::{Quotas, Usage};
pub use source::{Cache, Source};
pub use stored::edges;
pub use tree::Tree;
pub use version::Version;
pub use view::{DirectoryEntry, Identity, Stat};
pub use workspace::{Handle, NewTime, OpenOptions, Workspace};

/// The bytes of a chunk of a file.
pub const CHUNK: usize = 64 << 10;
/// The most blobs that a blob names.
pub const EDGES: usize = 16;
/// The most bytes of a name.
pub const MAX_NAME: usize = 255;
/// The most bytes of a path, and of the target of a symbolic link, with the zero byte that ends either in C.
pub const MAX_PATH: usize = 4096;
/// How deep directories lie below the root at most.
pub const MAX_DEPTH: u16 = 256;
/// The most symbolic links that one path leads through.
pub const MAX_FOLLOWED: u32 = 40;
/// The most names of one file.
pub const MAX_LINKS: usize = 64;
/// The most bytes of one file, whatever the quotas say: 1 TiB.
pub const MAX_FILE: u64 = 1 << 40;
/// The most bytes that one call reads.
pub const MAX_READ: usize = 1 << 20;
/// The most names in all directories of a tree, whatever the quotas say.
pub const MAX_NAMES: u64 = 1 << 24;
