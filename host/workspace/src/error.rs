//! Why an operation on a workspace fails: the words of `wasi:filesystem`.

use crate::blob::BlobError;

/// Why an operation fails. Nothing has changed then; only [`Error::Io`] may leave a change half done, and no further change
/// is taken until the workspace is rolled back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The handle is of before a rollback or of another workspace, or of another kind of file than the operation is
    /// for.
    #[error("bad descriptor")]
    BadDescriptor,
    /// The root cannot be renamed.
    #[error("resource busy")]
    Busy,
    /// There is a file of this name already.
    #[error("file exists")]
    Exist,
    /// The argument makes no sense: a zero byte in a path, a directory that is moved into itself, the target of
    /// what is no link.
    #[error("invalid argument")]
    Invalid,
    /// The fault lies with the blobs of the tree.
    #[error(transparent)]
    Io(#[from] BlobError),
    /// It is a directory.
    #[error("is a directory")]
    IsDirectory,
    /// The path leads through too many symbolic links, or ends at one that is not to be followed.
    #[error("too many levels of symbolic links")]
    Loop,
    /// A name, a path or the way from the root is too long.
    #[error("name too long")]
    NameTooLong,
    /// There is no such file.
    #[error("no such file or directory")]
    NoEntry,
    /// It is no directory.
    #[error("not a directory")]
    NotDirectory,
    /// The directory has files in it.
    #[error("directory not empty")]
    NotEmpty,
    /// The path leads out of the tree, or the operation is for files and this is a directory.
    #[error("operation not permitted")]
    NotPermitted,
    /// The quota has no room for it.
    #[error("{0}")]
    Quota(QuotaKind),
    /// The file has as many names as it may have.
    #[error("too many links")]
    TooManyLinks,
}

impl Error {
    /// The name of this error among the error codes of `wasi:filesystem`.
    #[must_use]
    pub fn wasi_name(&self) -> &'static str {
        match self {
            Error::BadDescriptor => "bad-descriptor",
            Error::Busy => "busy",
            Error::Exist => "exist",
            Error::Invalid => "invalid",
            Error::Io(_) => "io",
            Error::IsDirectory => "is-directory",
            Error::Loop => "loop",
            Error::NameTooLong => "name-too-long",
            Error::NoEntry => "no-entry",
            Error::NotDirectory => "not-directory",
            Error::NotEmpty => "not-empty",
            Error::NotPermitted => "not-permitted",
            Error::Quota(QuotaKind::FileBytes) => "file-too-large",
            Error::Quota(QuotaKind::Bytes | QuotaKind::Names) => "insufficient-space",
            Error::TooManyLinks => "too-many-links",
        }
    }
}

impl QuotaKind {
    /// The stable word for it: the quota's name in the settings of the host.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            QuotaKind::Bytes => "bytes",
            QuotaKind::Names => "files",
            QuotaKind::FileBytes => "fileBytes",
        }
    }
}

/// Which quota has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum QuotaKind {
    /// That of the bytes of all files.
    #[error("no space left: the files of the workspace have as many bytes as they may have")]
    Bytes,
    /// That of the names in all directories.
    #[error("no space left: the workspace has as many files as it may have")]
    Names,
    /// That of the bytes of one file.
    #[error("file too large: a file of the workspace may not have so many bytes")]
    FileBytes,
}
