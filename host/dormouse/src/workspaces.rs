//! Workspaces: the files of sessions, between the store that keeps them and the instances that change them.
//!
//! The head of a session names a version of its workspace, beside the state of its guest: both are of one moment, and come
//! and go together. So a turn that fails has changed no file, and whoever goes back to a snapshot, forks it or keeps it as a template has the files of
//! that moment.
//!
//! ```text
//!  head ──▶ version ──▶ tree          an instance is given the tree, and reads what its guest asks for
//!              │                      what its turn has changed becomes a version that follows this one
//!              ▼                      the commit of the turn brings both
//!           version before ──▶ tree
//! ```

mod archive;
mod change;
mod git;
mod view;

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Handle, RuntimeFlavor};

use dormouse_domain::agent::Digest;
use dormouse_domain::id::SnapshotId;
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::{FileBlob, FileChanges, Files};
use dormouse_domain::time::Timestamp;
use dormouse_store::read::FilesLease;
use dormouse_store::{Store, StoreError};
use dormouse_workspace::{
    BlobError, BlobId, Blobs, Cache, Changes, Commit, Quotas, Source, Tree, Version,
};

pub use archive::{Archive, ArchiveError, unpack};
pub(crate) use change::FilesChange;
pub use change::{ExpectedFile, FileError, FileOperation, FilesChanged, MAX_FILE_OPERATIONS};
pub use git::GitAnswer;
use git::GitCache;
use view::Readers;
pub use view::{FileInfo, WorkspaceView};

/// The most versions of a history: then it begins anew.
const MAX_VERSIONS: u64 = 10_000;

/// What the workspaces of a host may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkspaceLimits {
    /// What each workspace may hold.
    pub quotas: Quotas,
    /// How many bytes the history of one workspace may take on the disk, beyond which it begins anew: versions before are
    /// found by the snapshots that have them, and no more as those before the head.
    pub history_bytes: u64,
    /// How many bytes of memory are for what was read of all workspaces, and half as many for what git was told of them.
    /// They are not charged to the memory budget of the host, of whose sixteenth part they are at most as much.
    pub cache_bytes: u64,
}

/// [`Quotas::default`], 1 GiB of history, and 64 MiB of cache.
impl Default for WorkspaceLimits {
    fn default() -> WorkspaceLimits {
        WorkspaceLimits { quotas: Quotas::default(), history_bytes: 1 << 30, cache_bytes: 64 << 20 }
    }
}

/// The workspaces of a host.
pub(crate) struct Workspaces {
    store: Arc<dyn Store>,
    source: Source,
    limits: WorkspaceLimits,
    readers: Readers,
    git: GitCache,
}

/// The files of a session at one moment. As long as it is there, none of them is removed from the store.
pub(crate) struct HeldFiles {
    /// `None`: there are none.
    version: Option<(Digest, Version)>,
    /// The version that follows, whose commit is under way.
    next: Option<Next>,
    leases: Vec<FilesLease>,
}

struct Next {
    version: (Digest, Version),
    lease: FilesLease,
    /// Whether files that are unlinked and open need something that the version does not name.
    needs_more: bool,
}

/// What is said of a version in its label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VersionLabel {
    /// The session that has made it.
    pub(crate) session: String,
    /// The thread of the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) thread: Option<String>,
    /// The snapshot that it was made with.
    pub(crate) snapshot: String,
    /// The turn that has made it. `None`: it was made from outside, between two turns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) turn: Option<u64>,
    /// When it was made, in milliseconds since 1970.
    pub(crate) at: i64,
    /// How many paths it has added,
    pub(crate) added: u64,
    /// changed,
    pub(crate) changed: u64,
    /// and removed.
    pub(crate) removed: u64,
}

impl VersionLabel {
    /// That of the version that comes with this snapshot of a session.
    pub(crate) fn new(
        session: &Session,
        snapshot: SnapshotId,
        turn: Option<u64>,
        at: Timestamp,
        changes: FileChanges,
    ) -> VersionLabel {
        let FileChanges { added, changed, removed } = changes;
        let thread = session.profile.thread_key.clone();
        VersionLabel {
            session: session.id.to_string(),
            thread,
            snapshot: snapshot.to_string(),
            turn,
            at: at.0,
            added,
            changed,
            removed,
        }
    }
}

impl Workspaces {
    /// Those of this store.
    pub(crate) fn new(store: Arc<dyn Store>, limits: WorkspaceLimits) -> Workspaces {
        let cache = Cache::new(usize::try_from(limits.cache_bytes).unwrap_or(usize::MAX));
        let source = Source::new(Arc::new(StoredBlobs(Arc::clone(&store))), cache);
        let git = GitCache::new(limits.cache_bytes / 2);
        Workspaces { store, source, limits, readers: Readers::default(), git }
    }

    /// What they may hold.
    pub(crate) fn limits(&self) -> WorkspaceLimits {
        self.limits
    }

    /// The files that a snapshot names, of which nothing but the version is read.
    ///
    /// # Errors
    /// The version cannot be read.
    pub(crate) fn hold(&self, files: Option<&Files>) -> Result<HeldFiles, BlobError> {
        let Some(Files { version, .. }) = files else {
            return Ok(HeldFiles { version: None, next: None, leases: Vec::new() });
        };
        let lease = self.store.lease_files(*version);
        let read = Version::read(&self.source, &BlobId(version.0))?;
        Ok(HeldFiles { version: Some((*version, read)), next: None, leases: vec![lease] })
    }

    /// The tree of these files; where there are none, an empty one that was made at this time.
    pub(crate) fn tree(&self, files: &HeldFiles, empty_since: Timestamp) -> Tree {
        match &files.version {
            Some((_, version)) => tree_of(&self.source, version),
            None => Tree::empty(self.source.clone(), nanos(empty_since)),
        }
    }

    /// The files after this commit, in a version that follows the one that is held.
    pub(crate) fn follow(
        &self,
        files: &mut HeldFiles,
        commit: Commit,
        label: &VersionLabel,
    ) -> Files {
        let new: u64 = commit.blobs.iter().map(|blob| blob.bytes.len() as u64).sum();
        let before = files.version.as_ref().filter(|(_, before)| {
            before.bytes.saturating_add(new) <= self.limits.history_bytes
                && before.number < MAX_VERSIONS
        });
        let version = Version {
            tree: commit.root,
            parent: before.map(|(digest, _)| BlobId(digest.0)),
            number: before.map_or(0, |(_, before)| before.number + 1),
            bytes: before.map_or(0, |(_, before)| before.bytes).saturating_add(new),
            label: Bytes::from(serde_json::to_vec(label).unwrap_or_default()),
        };
        let blob = version.blob();
        let digest = Digest(blob.id.0);
        let lease = self.store.lease_files(digest);
        let needs_more = !commit.open.is_empty();
        files.next = Some(Next { version: (digest, version), lease, needs_more });
        let blobs = commit.blobs.into_iter().chain([blob]).map(|blob| FileBlob {
            digest: Digest(blob.id.0),
            edges: blob.edges.iter().map(|edge| Digest(edge.0)).collect(),
            bytes: blob.bytes,
        });
        Files { version: digest, blobs: blobs.collect() }
    }
}

impl HeldFiles {
    /// The same files, all of which the store has.
    pub(crate) fn kept(&self) -> Option<Files> {
        let (version, _) = self.version.as_ref()?;
        Some(Files { version: *version, blobs: Vec::new() })
    }

    /// The version that is held, and what keeps it.
    fn into_version(mut self) -> (Option<BlobId>, Option<FilesLease>) {
        (self.version.map(|(digest, _)| BlobId(digest.0)), self.leases.pop())
    }

    /// The version that follows is stored.
    pub(crate) fn stored(&mut self) {
        if let Some(Next { version, lease, needs_more }) = self.next.take() {
            self.version = Some(version);
            if !needs_more {
                self.leases.clear();
            }
            self.leases.push(lease);
        }
    }
}

/// The tree of a version.
fn tree_of(source: &Source, version: &Version) -> Tree {
    Tree::open(source.clone(), version.tree)
}

/// A time as workspaces have it: in nanoseconds since 1970.
pub(crate) fn nanos(time: Timestamp) -> u64 {
    u64::try_from(time.0).unwrap_or(0).saturating_mul(1_000_000)
}

/// How many paths these changes have, by what has become of them.
pub(crate) fn counts(changes: &Changes) -> FileChanges {
    let Changes { added, changed, removed, .. } = *changes;
    FileChanges { added, changed, removed }
}

/// The blobs of a store.
struct StoredBlobs(Arc<dyn Store>);

impl Blobs for StoredBlobs {
    fn blob(&self, id: &BlobId) -> Result<Bytes, BlobError> {
        let read = || self.0.file_blob(Digest(id.0));
        // A guest waits here. Meanwhile another thread does what else this one would do.
        let has_others =
            Handle::try_current().is_ok_and(|it| it.runtime_flavor() == RuntimeFlavor::MultiThread);
        let found = if has_others { tokio::task::block_in_place(read) } else { read() };
        match found {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(BlobError::Missing(*id)),
            Err(StoreError::Damaged(_)) => {
                Err(BlobError::Damaged { id: *id, what: "its checksum is wrong" })
            }
            Err(error) => Err(BlobError::Unavailable { id: *id, reason: error.to_string() }),
        }
    }
}
