//! The files of a guest: its workspace, which is opened when the guest first asks for one of them.
//!
//! Invariants: a guest reaches the tree of its grant and nothing else; what it has changed is in memory, and
//! paid for, until a commit is stored; an instance that is dropped has changed nothing. Blobs that cannot be read are a fault of the
//! host, which ends the call: no guest takes a damaged workspace for an empty one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

use dormouse_workspace::{
    BlobError, Commit, DirectoryEntry, Error, FileType, Handle, QuotaKind, Quotas, Tree, Workspace,
};

/// The most bytes that one call of a guest reads or writes. It may ask for more, and is told how many there were.
pub(crate) const PIECE: usize = 64 << 10;

/// The files that an instance is given.
#[derive(Clone)]
pub struct FileGrant {
    /// The tree as it is before the next call.
    pub tree: Tree,
    /// What the guest may hold.
    pub quotas: Quotas,
}

impl std::fmt::Debug for FileGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileGrant").field("tree", &self.tree.id()).finish_non_exhaustive()
    }
}

/// The workspace of one guest, open.
pub(crate) struct OpenWorkspace {
    pub(crate) workspace: Workspace,
    pub(crate) root: Handle,
}

/// The same, for all that a guest has open of it.
#[derive(Clone)]
pub(crate) struct SharedWorkspace(Arc<Mutex<OpenWorkspace>>);

impl SharedWorkspace {
    pub(crate) fn lock(&self) -> MutexGuard<'_, OpenWorkspace> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files of one guest.
#[derive(Default)]
pub(crate) struct Files {
    grant: Option<FileGrant>,
    open: Option<SharedWorkspace>,
    /// Whether the changes of this call know their time.
    is_timed: bool,
    /// What was committed, and is not stored yet.
    commit: Option<Commit>,
}

impl Files {
    /// Of a guest with this grant. Without one it has none.
    pub(crate) fn new(grant: Option<FileGrant>) -> Files {
        Files { grant, ..Files::default() }
    }

    /// A call begins: the time of its changes is another.
    pub(crate) fn begin_call(&mut self) {
        self.is_timed = false;
    }

    /// The workspace.
    ///
    /// # Errors
    /// There is none, or its root cannot be read.
    pub(crate) fn open(&mut self) -> Result<&SharedWorkspace, FileError> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let grant = self.grant.as_ref().ok_or(FileError::Code(ErrorCode::NotPermitted))?;
                let mut workspace = Workspace::new(grant.tree.clone(), grant.quotas)?;
                let root = workspace.root();
                SharedWorkspace(Arc::new(Mutex::new(OpenWorkspace { workspace, root })))
            }
        };
        Ok(self.open.insert(open))
    }

    /// Whether the changes of this call have a time. The first who asks is to say it with [`Files::set_time`].
    pub(crate) fn is_timed(&self) -> bool {
        self.is_timed
    }

    /// The time of the changes of this call, in nanoseconds since 1970.
    pub(crate) fn set_time(&mut self, nanos: u64) {
        self.is_timed = true;
        if let Some(open) = &self.open {
            open.lock().workspace.set_time(nanos);
        }
    }

    /// About how many bytes of memory the changes take, and their commit.
    pub(crate) fn held_bytes(&self) -> u64 {
        let held = self.open.as_ref().map_or(0, |open| open.lock().workspace.held_bytes());
        let commit = self.commit.as_ref().map_or(0, commit_bytes);
        (held as u64).saturating_add(commit)
    }

    /// The workspace, where something of it has changed since the last commit.
    pub(crate) fn changed(&self) -> Option<SharedWorkspace> {
        let open = self.open.as_ref()?;
        let is_changed = open.lock().workspace.is_changed();
        is_changed.then(|| open.clone())
    }

    /// Keep a commit until it is stored.
    pub(crate) fn set_commit(&mut self, commit: Commit) {
        self.commit = Some(commit);
    }

    /// The commit is stored: let go of what it has.
    pub(crate) fn stored(&mut self) {
        if let (Some(commit), Some(open)) = (self.commit.take(), &self.open)
            && !open.lock().workspace.committed(&commit)
        {
            tracing::error!("files were changed while their commit was stored");
        }
    }
}

fn commit_bytes(commit: &Commit) -> u64 {
    commit.blobs.iter().map(|blob| blob.bytes.len() as u64).sum()
}

/// Why an operation on files fails.
#[derive(Debug)]
pub(crate) enum FileError {
    /// The guest is told so.
    Code(ErrorCode),
    /// It ends the call.
    Fault(wasmtime::Error),
}

/// Blobs of a workspace cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Unreadable(#[from] BlobError);

impl From<BlobError> for FileError {
    fn from(error: BlobError) -> FileError {
        FileError::Fault(wasmtime::Error::new(Unreadable(error)))
    }
}

impl From<ErrorCode> for FileError {
    fn from(code: ErrorCode) -> FileError {
        FileError::Code(code)
    }
}

impl From<wasmtime::component::ResourceTableError> for FileError {
    fn from(error: wasmtime::component::ResourceTableError) -> FileError {
        FileError::Fault(error.into())
    }
}

impl From<Error> for FileError {
    fn from(error: Error) -> FileError {
        FileError::Code(match error {
            Error::Io(error) => return error.into(),
            Error::BadDescriptor => ErrorCode::BadDescriptor,
            Error::Busy => ErrorCode::Busy,
            Error::Exist => ErrorCode::Exist,
            Error::Invalid => ErrorCode::Invalid,
            Error::IsDirectory => ErrorCode::IsDirectory,
            Error::Loop => ErrorCode::Loop,
            Error::NameTooLong => ErrorCode::NameTooLong,
            Error::NoEntry => ErrorCode::NoEntry,
            Error::NotDirectory => ErrorCode::NotDirectory,
            Error::NotEmpty => ErrorCode::NotEmpty,
            Error::NotPermitted => ErrorCode::NotPermitted,
            Error::Quota(QuotaKind::FileBytes) => ErrorCode::FileTooLarge,
            Error::Quota(QuotaKind::Bytes | QuotaKind::Names) => ErrorCode::InsufficientSpace,
            Error::TooManyLinks => ErrorCode::TooManyLinks,
        })
    }
}

impl From<FileError> for StreamError {
    fn from(error: FileError) -> StreamError {
        match error {
            // `filesystem-error-code` finds it again.
            FileError::Code(code) => StreamError::LastOperationFailed(code.into()),
            FileError::Fault(fault) => StreamError::Trap(fault),
        }
    }
}

/// Something of a workspace that is open, and closed when this is dropped. Nobody drops one who has locked the workspace.
pub(crate) struct Held {
    shared: SharedWorkspace,
    handle: Option<Handle>,
}

impl Held {
    pub(crate) fn new(shared: SharedWorkspace, handle: Handle) -> Held {
        Held { shared, handle: Some(handle) }
    }

    fn with<T>(
        &self,
        call: impl FnOnce(&mut Workspace, &Handle) -> Result<T, Error>,
    ) -> Result<T, FileError> {
        let handle = self.handle.as_ref().ok_or(ErrorCode::BadDescriptor)?;
        Ok(call(&mut self.shared.lock().workspace, handle)?)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.shared.lock().workspace.close(handle);
        }
    }
}

/// A file or directory that a guest has open.
pub(crate) struct Descriptor {
    /// `None`: the root, of which nothing is asked before the guest does.
    held: Option<Held>,
    pub(crate) file_type: FileType,
    pub(crate) flags: DescriptorFlags,
}

impl Descriptor {
    /// The root of the workspace.
    pub(crate) fn root() -> Descriptor {
        let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
        Descriptor { held: None, file_type: FileType::Directory, flags }
    }

    /// What was opened with these flags.
    pub(crate) fn new(held: Held, file_type: FileType, flags: DescriptorFlags) -> Descriptor {
        Descriptor { held: Some(held), file_type, flags }
    }

    /// Its handle, in the workspace with this root.
    pub(crate) fn handle<'a>(&'a self, root: &'a Handle) -> Result<&'a Handle, FileError> {
        match &self.held {
            None => Ok(root),
            Some(held) => Ok(held.handle.as_ref().ok_or(ErrorCode::BadDescriptor)?),
        }
    }

    /// That it is a directory.
    pub(crate) fn directory(&self) -> Result<(), FileError> {
        if self.file_type == FileType::Directory {
            Ok(())
        } else {
            Err(ErrorCode::NotDirectory.into())
        }
    }

    /// That it is a file that was opened for this.
    pub(crate) fn file(&self, flags: DescriptorFlags) -> Result<(), FileError> {
        let is_file = self.file_type == FileType::Regular;
        if is_file && self.flags.contains(flags) {
            Ok(())
        } else {
            Err(ErrorCode::BadDescriptor.into())
        }
    }
}

/// The names of a directory, as a guest reads them.
pub(crate) struct DirectoryEntries {
    directory: Held,
    /// The last name that was read.
    last: Option<Arc<str>>,
    next: VecDeque<DirectoryEntry>,
}

/// How many names are read at once.
const NAMES: usize = 64;

impl DirectoryEntries {
    pub(crate) fn new(directory: Held) -> DirectoryEntries {
        DirectoryEntries { directory, last: None, next: VecDeque::new() }
    }

    /// The next name.
    pub(crate) fn next(&mut self) -> Result<Option<DirectoryEntry>, FileError> {
        if self.next.is_empty() {
            let last = self.last.as_deref();
            let read =
                self.directory.with(|workspace, it| workspace.read_directory(it, last, NAMES));
            self.next = read?.into();
        }
        let next = self.next.pop_front();
        if let Some(entry) = &next {
            self.last = Some(Arc::clone(&entry.name));
        }
        Ok(next)
    }
}

/// A file that is read from some place on.
pub(crate) struct FileInput {
    file: Held,
    at: u64,
}

impl FileInput {
    pub(crate) fn new(file: Held, at: u64) -> FileInput {
        FileInput { file, at }
    }
}

#[async_trait]
impl Pollable for FileInput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl InputStream for FileInput {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let at = self.at;
        let read = self.file.with(|workspace, file| workspace.read(file, at, size.min(PIECE)))?;
        if read.is_empty() {
            return Err(StreamError::Closed);
        }
        self.at += read.len() as u64;
        Ok(read.into())
    }
}

/// A file that is written, from some place on or at its end.
pub(crate) struct FileOutput {
    file: Held,
    /// `None`: at its end.
    at: Option<u64>,
    is_closed: bool,
}

impl FileOutput {
    pub(crate) fn new(file: Held, at: Option<u64>) -> FileOutput {
        FileOutput { file, at, is_closed: false }
    }
}

#[async_trait]
impl Pollable for FileOutput {
    async fn ready(&mut self) {}
}

#[async_trait]
impl OutputStream for FileOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if self.is_closed {
            return Err(StreamError::Closed);
        }
        let at = self.at;
        let written = self.file.with(|workspace, file| match at {
            Some(at) => workspace.write(file, at, &bytes),
            None => workspace.append(file, &bytes),
        });
        if let Err(error) = written {
            self.is_closed = true;
            return Err(error.into());
        }
        self.at = at.map(|at| at + bytes.len() as u64);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.is_closed { Err(StreamError::Closed) } else { Ok(()) }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.is_closed { Err(StreamError::Closed) } else { Ok(PIECE) }
    }
}
