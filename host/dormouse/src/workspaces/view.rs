//! The files of a session at one moment, for those who read them from outside.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::change::FileError;
use dormouse_domain::id::SnapshotId;
use dormouse_domain::session::Session;
use dormouse_domain::snapshot::Snapshot;
use dormouse_git::Repository;
use dormouse_workspace::{
    BlobError, Changes, ContentId, DiffQuery, Error, FileType, Ino, ListQuery, Page, Stat, Tree,
    Usage, diff,
};

use super::Workspaces;

/// How many reads from outside go on at a time: each has a thread meanwhile.
const READERS: usize = 16;

/// The places of those who read files from outside.
#[derive(Clone)]
pub(super) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Readers {
        Readers(Arc::new(Semaphore::new(READERS)))
    }
}

/// The files of a session at one moment: nobody changes them, and none of them is removed as long as this is there.
/// Cheap to clone. All paths are relative to `/workspace`; `.` is the root.
#[derive(Clone)]
pub struct WorkspaceView {
    tree: Tree,
    snapshot: Option<SnapshotId>,
    readers: Readers,
    /// Their history. As long as it is there, none of them is removed.
    pub(super) repository: Repository,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// What is known of it besides its contents.
    pub stat: Stat,
    /// What stands for its contents. A directory has none.
    pub content: Option<ContentId>,
    /// Where a symbolic link leads.
    pub target: Option<Arc<str>>,
}

impl Workspaces {
    /// The files that a snapshot of this session names. `None`: it has no snapshot, and so no files.
    ///
    /// # Errors
    /// The version cannot be read.
    pub(crate) fn view(
        &self,
        of: &Session,
        snapshot: Option<&Snapshot>,
    ) -> Result<WorkspaceView, FileError> {
        let files = self.hold(snapshot.and_then(|snapshot| snapshot.files.as_ref()))?;
        let tree = self.tree(&files, of.created_at);
        let (version, lease) = files.into_version();
        Ok(WorkspaceView {
            tree,
            snapshot: snapshot.map(|snapshot| snapshot.id),
            readers: self.readers.clone(),
            repository: self.repository(version, lease.map(Arc::new)),
        })
    }
}

impl WorkspaceView {
    /// The snapshot that names them.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.snapshot
    }

    /// How much they are.
    ///
    /// # Errors
    /// [`FileError::Unreadable`]
    pub async fn usage(&self) -> Result<Usage, FileError> {
        self.read_with(|tree| Ok(tree.usage()?)).await
    }

    /// What is known of a file, or, without `follow`, of a symbolic link.
    ///
    /// # Errors
    /// [`FileError::Refused`]
    pub async fn file(&self, path: &str, follow: bool) -> Result<FileInfo, FileError> {
        let path = path.to_owned();
        self.read_with(move |tree| file(tree, &path, follow).map_err(FileError::at(&path))).await
    }

    /// The bytes of a file from `offset` on, `most` and [`MAX_READ`](dormouse_workspace::MAX_READ) (1 MiB) at most; fewer
    /// only at its end.
    ///
    /// # Errors
    /// [`FileError::Refused`]
    pub async fn read(&self, path: &str, offset: u64, most: usize) -> Result<Bytes, FileError> {
        let path = path.to_owned();
        self.read_with(move |tree| {
            Ok(tree.read(&path, offset, most).map_err(FileError::at(&path))?.into())
        })
        .await
    }

    /// The same of the file with this number, as [`WorkspaceView::file`] tells it: whoever reads one in pieces looks its
    /// path up once.
    ///
    /// # Errors
    /// [`FileError::Refused`]
    pub async fn read_ino(&self, ino: Ino, offset: u64, most: usize) -> Result<Bytes, FileError> {
        self.read_with(move |tree| {
            Ok(tree.read_ino(ino, offset, most).map_err(FileError::at("the file"))?.into())
        })
        .await
    }

    /// One page of what is in a directory and below it.
    ///
    /// # Errors
    /// [`FileError::Refused`]
    pub async fn list(&self, query: ListQuery) -> Result<Page, FileError> {
        self.read_with(move |tree| tree.list(&query).map_err(FileError::at(&query.path))).await
    }

    /// What differs from these to other files, of the same session or of another. Takes time for each file that differs.
    ///
    /// # Errors
    /// [`FileError::Unreadable`]
    pub async fn changes_to(
        &self,
        new: &WorkspaceView,
        query: DiffQuery,
    ) -> Result<Changes, FileError> {
        let new = new.tree.clone();
        self.read_with(move |old| Ok(diff(old, &new, &query)?)).await
    }

    async fn read_with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tree) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let this = self.clone();
        self.work(move || read(&this.tree)).await
    }

    /// Read where nobody else is kept waiting.
    pub(super) async fn work<T: Send + 'static, E: From<BlobError> + Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        // Nobody closes it.
        let _place = self.readers.0.acquire().await.ok();
        let reading = tokio::task::spawn_blocking(read);
        reading.await.unwrap_or_else(|stopped| match stopped.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(E::from(BlobError::Inconsistent("the host is shutting down"))),
        })
    }
}

fn file(tree: &Tree, path: &str, follow: bool) -> Result<FileInfo, Error> {
    let stat = tree.stat(path, follow)?;
    match stat.file_type {
        FileType::Symlink => {
            let target = Some(tree.read_link(path)?);
            Ok(FileInfo { stat, content: None, target })
        }
        FileType::Regular | FileType::Directory => {
            let content = tree.content_id(path)?;
            Ok(FileInfo { stat, content, target: None })
        }
    }
}
