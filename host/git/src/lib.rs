//! The history of a file tree as a git repository, which stock clients clone and fetch over HTTP.
//!
//! The repository is a view. Nothing of it is stored: blobs, trees and commits are computed of the trees of
//! [`dormouse_workspace`] when somebody asks, and a bounded [`Cache`] remembers their ids. There is nothing to push to.
//!
//! ```text
//!   History ── Revision { tree, parent, … } ──▶ Repository ── advertisement ──▶ GET  …/info/refs
//!                                                  │   ▲   └─ upload_pack ────▶ POST …/git-upload-pack
//!                                                  ▼   │
//!                                                  Cache
//! ```
//! | here | in git |
//! | --- | --- |
//! | a revision | a commit; its id follows from the revision and those before it alone, on each host and at each time |
//! | a file | a blob, `100644`: there is no bit for what can be run |
//! | a symbolic link | a blob, `120000` |
//! | a directory | a tree; one without files is not there |
//! | a file with several names | several files |
//! | times, and who may what | nothing |
//!
//! What git would refuse in a tree, or what could harm whoever clones it, is left out (module `name`): `.git` and what any
//! file system takes for it, `.gitmodules`, links into `.git` and in the place of what git reads, `.gitattributes` that
//! git does not read, and paths of 4,096 bytes and more. So a guest can neither attack the client nor spoil the clone.
//!
//! What it costs: the commit of a new revision costs what differs from its parent; files that differ are hashed, and each
//! directory above them with all its names. Without the cache (after a start, say) all revisions are gone through once,
//! and each content is hashed once. A fetch goes twice through the revisions that it sends. It holds in memory ids, the
//! tree of one revision and a MiB of one file; [`Limits`] bound all of it.
//!
//! What clients may use: both versions of the protocol that are in use, `--depth`, `--unshallow`, `--filter=blob:none` and
//! `--filter=blob:limit=`. Objects are sent whole, not as differences.
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::Arc;
//!
//! use dormouse_git::{
//!     Cache, History, HistoryError, Limits, Protocol, Repository, Revision, RevisionId,
//! };
//!
//! struct Revisions(HashMap<RevisionId, Revision>);
//!
//! impl History for Revisions {
//!     fn revision(&self, id: &RevisionId) -> Result<Revision, HistoryError> {
//!         self.0.get(id).cloned().ok_or(HistoryError::Missing(*id))
//!     }
//! }
//!
//! let history = Arc::new(Revisions(HashMap::new()));
//! let repository = Repository::new(history, None, Cache::new(1 << 20), Limits::default());
//! let body = repository.advertisement(Protocol::of(Some("version=2")))?;
//! assert!(body.starts_with(b"000eversion 2\n"));
//! # Ok::<(), dormouse_git::Error>(())
//! ```
//! Invariants: equal revisions have equal ids, whatever the cache holds. What a client sends is bounded before it is
//! worked on. Nothing here reads a clock, waits, or knows of a store, of a session or of HTTP.

#![deny(missing_docs)]

mod cache;
mod directory;
mod error;
mod history;
mod limits;
mod name;
mod object;
mod pack;
mod packet;
mod plan;
mod repository;
mod request;
mod snapshot;
mod upload;
mod walk;

pub use cache::Cache;
pub use error::{Error, error_body};
pub use history::{History, HistoryError, Revision, RevisionId, Signature};
pub use limits::Limits;
pub use object::ObjectId;
pub use repository::Repository;
pub use upload::{Answer, Protocol};

/// The type of the body of an advertisement.
pub const ADVERTISEMENT_TYPE: &str = "application/x-git-upload-pack-advertisement";
/// The type of the body of a request.
pub const REQUEST_TYPE: &str = "application/x-git-upload-pack-request";
/// The type of the body of an answer.
pub const RESULT_TYPE: &str = "application/x-git-upload-pack-result";
/// The most bytes of the message of a commit.
pub const MAX_MESSAGE: usize = 64 << 10;
