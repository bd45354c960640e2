//! Changes of files from outside: all of them in one commit, or none.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use dormouse_domain::id::SnapshotId;
use dormouse_domain::snapshot::FileChanges;
use dormouse_workspace::{
    BlobError, Commit, ContentId, Error, Handle, OpenOptions, Quotas, Tree, Workspace,
};

/// The most operations of one change.
pub const MAX_FILE_OPERATIONS: usize = 100_000;

/// How many bytes are written at once.
const PIECE: usize = 1 << 20;

/// One of the operations of a change. All paths are relative to `/workspace`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileOperation {
    /// Go on only where this holds of a path.
    Expect {
        /// The path. A symbolic link is followed.
        path: String,
        /// What it is to be.
        file: ExpectedFile,
    },
    /// Write a file, with the directories above it. What it had before is gone.
    Write {
        /// The path. A symbolic link is followed.
        path: String,
        /// All that it has then.
        content: Bytes,
    },
    /// Make a directory, and those above it. It may be there.
    MakeDirectory {
        /// The path.
        path: String,
    },
    /// Remove a file, or a directory.
    Remove {
        /// The path. A symbolic link is removed itself.
        path: String,
        /// Whether a directory may have something in it, which goes with it.
        recursive: bool,
    },
    /// Give a file or a directory another place. A file that is there is replaced, and a directory that is empty.
    Move {
        /// Where it is.
        from: String,
        /// Where it is then. The directories above it are made.
        to: String,
    },
    /// Make a symbolic link, in the place of a file that is there.
    Symlink {
        /// Its path.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// Give a file another name, in the place of a file that is there.
    Link {
        /// One of its paths.
        from: String,
        /// Another.
        to: String,
    },
}

/// What a path is to be before a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpectedFile {
    /// Nothing.
    Absent,
    /// Something.
    Present,
    /// A file with these contents.
    Content(ContentId),
}

/// What a change has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilesChanged {
    /// What differs. Where nothing does, nothing was stored.
    pub changes: FileChanges,
    /// The snapshot that has it: the head of the session.
    pub snapshot: Option<SnapshotId>,
}

/// Why files are not what was asked for. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The path leads nowhere, or what is there does not take this; or the workspace is full.
    #[error("{path}: {error}")]
    Refused {
        /// The path, as it was given.
        path: String,
        /// Why.
        error: Error,
    },
    /// The path is not what it was to be.
    #[error("{path} is not what the request expects: read it again, and decide again")]
    Unexpected {
        /// The path, as it was given.
        path: String,
        /// What its contents are, where it is a file.
        content: Option<ContentId>,
    },
    /// There are too many operations.
    #[error("a change has {MAX_FILE_OPERATIONS} operations at most")]
    TooMany,
    /// The files of the session cannot be read.
    #[error(transparent)]
    Unreadable(#[from] BlobError),
}

impl FileError {
    /// What has come of an operation on this path.
    pub(crate) fn at(path: &str) -> impl FnOnce(Error) -> FileError {
        move |error| match error {
            Error::Io(error) => FileError::Unreadable(error),
            error => FileError::Refused { path: path.to_owned(), error },
        }
    }
}

/// A change that waits for a session.
#[derive(Clone, Debug)]
pub(crate) struct FilesChange(Arc<Ordered>);

#[derive(Debug)]
struct Ordered {
    operations: Vec<FileOperation>,
    waits_for_turn: bool,
    done: OnceLock<FilesChanged>,
}

impl PartialEq for FilesChange {
    fn eq(&self, other: &FilesChange) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for FilesChange {}

impl FilesChange {
    /// These operations, in their order.
    ///
    /// # Errors
    /// [`FileError::TooMany`]
    pub(crate) fn new(
        operations: Vec<FileOperation>,
        waits_for_turn: bool,
    ) -> Result<FilesChange, FileError> {
        if operations.len() > MAX_FILE_OPERATIONS {
            return Err(FileError::TooMany);
        }
        let done = OnceLock::new();
        Ok(FilesChange(Arc::new(Ordered { operations, waits_for_turn, done })))
    }

    /// Whether it waits for the end of a turn that runs. Otherwise it is refused then.
    pub(crate) fn waits_for_turn(&self) -> bool {
        self.0.waits_for_turn
    }

    /// About how many bytes of memory the changes take while they are made and stored, besides those that came with them.
    pub(crate) fn weight(&self) -> u64 {
        let bytes = |operation: &FileOperation| match operation {
            FileOperation::Write { content, .. } => content.len() as u64,
            FileOperation::Expect { .. }
            | FileOperation::MakeDirectory { .. }
            | FileOperation::Remove { .. }
            | FileOperation::Move { .. }
            | FileOperation::Symlink { .. }
            | FileOperation::Link { .. } => 0,
        };
        let operations = &self.0.operations;
        let all: u64 = operations.iter().map(bytes).sum();
        // Once in the tree, and once in its blobs.
        all.saturating_mul(2).saturating_add(operations.len() as u64 * 4_096)
    }

    /// Say what came of it.
    pub(crate) fn set_done(&self, done: FilesChanged) {
        // The driver that carries it out says it once.
        self.0.done.get_or_init(|| done);
    }

    /// What came of it.
    pub(crate) fn done(&self) -> FilesChanged {
        self.0.done.get().copied().unwrap_or_default()
    }

    /// Make the changes of a tree. `now`: nanoseconds since 1970. Takes time for each byte that is written, and for each
    /// file that is removed.
    ///
    /// # Errors
    /// [`FileError`]: that of the first operation that fails.
    pub(crate) fn apply(&self, tree: Tree, quotas: Quotas, now: u64) -> Result<Commit, FileError> {
        let mut workspace = Workspace::new(tree, quotas)?;
        workspace.set_time(now);
        let root = workspace.root();
        for operation in &self.0.operations {
            make(&mut workspace, &root, operation)?;
        }
        workspace.close(root);
        Ok(workspace.commit()?)
    }
}

fn make(
    workspace: &mut Workspace,
    root: &Handle,
    operation: &FileOperation,
) -> Result<(), FileError> {
    match operation {
        FileOperation::Expect { path, file } => expect(workspace, root, path, *file),
        FileOperation::Write { path, content } => {
            write(workspace, root, path, content).map_err(FileError::at(path))
        }
        FileOperation::MakeDirectory { path } => {
            workspace.make_directories(root, path).map_err(FileError::at(path))
        }
        FileOperation::Remove { path, recursive: true } => {
            workspace.remove_all(root, path).map_err(FileError::at(path))
        }
        FileOperation::Remove { path, recursive: false } => {
            remove(workspace, root, path).map_err(FileError::at(path))
        }
        FileOperation::Move { from, to } => {
            make_parent(workspace, root, to).map_err(FileError::at(to))?;
            workspace.rename(root, from, root, to).map_err(FileError::at(from))
        }
        FileOperation::Symlink { path, target } => {
            clear(workspace, root, path).map_err(FileError::at(path))?;
            workspace.symlink(target, root, path).map_err(FileError::at(path))
        }
        FileOperation::Link { from, to } => {
            if from.trim_matches('/') == to.trim_matches('/') {
                return Ok(());
            }
            clear(workspace, root, to).map_err(FileError::at(to))?;
            workspace.link(root, from, root, to).map_err(FileError::at(from))
        }
    }
}

fn expect(
    workspace: &mut Workspace,
    root: &Handle,
    path: &str,
    expected: ExpectedFile,
) -> Result<(), FileError> {
    let found = match workspace.content_id(root, path) {
        Ok(found) => Some(found),
        Err(Error::NoEntry | Error::NotDirectory) => None,
        Err(error) => return Err(FileError::at(path)(error)),
    };
    let holds = match (expected, found) {
        (ExpectedFile::Absent, found) => found.is_none(),
        (ExpectedFile::Present, found) => found.is_some(),
        (ExpectedFile::Content(expected), found) => found.flatten() == Some(expected),
    };
    if holds {
        return Ok(());
    }
    Err(FileError::Unexpected { path: path.to_owned(), content: found.flatten() })
}

fn write(
    workspace: &mut Workspace,
    root: &Handle,
    path: &str,
    content: &Bytes,
) -> Result<(), Error> {
    make_parent(workspace, root, path)?;
    let options = OpenOptions {
        follow: true,
        create: true,
        truncate: true,
        write: true,
        ..OpenOptions::default()
    };
    let (file, _) = workspace.open(root, path, options)?;
    let written = content.chunks(PIECE).try_for_each(|piece| workspace.append(&file, piece));
    workspace.close(file);
    written
}

/// Remove a file or an empty directory.
fn remove(workspace: &mut Workspace, root: &Handle, path: &str) -> Result<(), Error> {
    match workspace.unlink(root, path) {
        Err(Error::IsDirectory) => workspace.remove_directory(root, path),
        removed => removed,
    }
}

/// Make room for a link.
fn clear(workspace: &mut Workspace, root: &Handle, path: &str) -> Result<(), Error> {
    make_parent(workspace, root, path)?;
    match workspace.unlink(root, path) {
        Err(Error::NoEntry) => Ok(()),
        removed => removed,
    }
}

/// Make the directories above a path.
fn make_parent(workspace: &mut Workspace, root: &Handle, path: &str) -> Result<(), Error> {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((parent, _)) if !parent.is_empty() => workspace.make_directories(root, parent),
        Some(_) | None => Ok(()),
    }
}
