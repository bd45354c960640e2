//! The files of a session: what is asked of them, and what is told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::value::{Count, Id, SnapshotName, Time, Word};
use crate::error::ApiError;
use dormouse::workspace::{
    Change, ChangeKind, Changes, ContentId, FileType, Glob, ListQuery, Listed, Page, Quotas, Usage,
};
use dormouse::{
    ExpectedFile, FileChanges, FileOperation, FilesChanged, OnBusy, SnapshotId, Timestamp,
};

/// The most files of a page, and those of one that is not asked for.
const MAX_PAGE: u64 = 1_000;
const DEFAULT_PAGE: u64 = 200;
const NANOS_PER_MILLI: u64 = 1_000_000;

/// `GET …/workspace/{path}`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ViewQuery {
    /// The snapshot whose files are meant. Default: the files of now.
    pub(crate) snapshot: Option<SnapshotName>,
}

/// `GET …/workspace`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct FilesQuery {
    /// The directory. Default: the root.
    path: Option<String>,
    /// How deep: 1 has what is in the directory itself. Default: 1.
    depth: Option<Count>,
    /// A pattern of paths, relative to the directory, as in `**/*.rs`. What lies deeper than `depth` is not looked at;
    /// with a pattern, the default is any depth.
    glob: Option<String>,
    /// The snapshot whose files are meant. Default: the files of now.
    snapshot: Option<SnapshotName>,
    /// What the page before calls `nextCursor`.
    cursor: Option<String>,
    /// Another name of `cursor`.
    after: Option<String>,
    /// How many files the page has at most: 1 to 1,000. Default: 200.
    limit: Option<Count>,
}

impl FilesQuery {
    pub(crate) fn snapshot(&self) -> Option<SnapshotId> {
        self.snapshot.map(|SnapshotName(id)| id)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &str {
        self.path.as_deref().unwrap_or(".")
    }

    /// What to list.
    ///
    /// # Errors
    /// The pattern is none.
    pub(crate) fn list(&self) -> Result<ListQuery, ApiError> {
        let glob: Option<Glob> = self.glob.as_deref().map(str::parse).transpose().map_err(
            |error: dormouse::workspace::InvalidGlob| {
                ApiError::invalid_field("glob", format!("is no pattern: {error}"))
            },
        )?;
        let default = if glob.is_some() { usize::MAX } else { 1 };
        Ok(ListQuery {
            path: self.path().to_owned(),
            depth: self.depth.map_or(default, Count::size).max(1),
            glob,
            after: self.cursor.clone().or_else(|| self.after.clone()),
            limit: limit_of(self.limit),
        })
    }
}

fn limit_of(limit: Option<Count>) -> usize {
    Count(limit.map_or(DEFAULT_PAGE, |Count(limit)| limit).clamp(1, MAX_PAGE)).size()
}

/// `PUT …/workspace/{path}`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ChangeQuery {
    /// What becomes of the change while a turn runs: with `reject` it is refused, otherwise it waits for the end of the
    /// turn. Default: `queue`.
    pub(crate) on_busy: Option<Word<OnBusy>>,
}

/// `DELETE …/workspace/{path}`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RemoveQuery {
    /// Whether a directory goes with all that is in it.
    pub(crate) recursive: bool,
    /// What becomes of the change while a turn runs: with `reject` it is refused, otherwise it waits for the end of the
    /// turn. Default: `queue`.
    pub(crate) on_busy: Option<Word<OnBusy>>,
}

/// `GET` and `PUT …/workspace.tar`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ArchiveQuery {
    /// The directory whose files are in the archive, or come out of it. Default: the root.
    pub(crate) path: Option<String>,
    /// Of `GET`: the snapshot whose files are meant. Default: the files of now.
    pub(crate) snapshot: Option<SnapshotName>,
    /// Of `PUT`: what becomes of the change while a turn runs: with `reject` it is refused, otherwise it waits for the
    /// end of the turn. Default: `queue`.
    pub(crate) on_busy: Option<Word<OnBusy>>,
}

/// `GET …/workspace.diff`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct FilesDiffQuery {
    /// The snapshot whose files are the old ones.
    #[schemars(required)]
    pub(crate) from: Option<SnapshotName>,
    /// The snapshot whose files are the new ones. Default: the files of now.
    pub(crate) to: Option<SnapshotName>,
    /// What the page before calls `nextCursor`.
    cursor: Option<String>,
    /// Another name of `cursor`.
    after: Option<String>,
    /// How many paths the page has at most: 1 to 1,000. Default: 200.
    limit: Option<Count>,
}

impl FilesDiffQuery {
    /// What the page begins behind.
    pub(crate) fn after(&self) -> Option<String> {
        self.cursor.clone().or_else(|| self.after.clone())
    }

    /// How many paths the page has at most.
    pub(crate) fn limit(&self) -> usize {
        limit_of(self.limit)
    }
}

/// `POST …/workspace/ops`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangeFiles {
    /// What to do, in this order: all of it, or nothing.
    #[schemars(required)]
    pub(crate) operations: Option<Vec<FileOp>>,
    /// What becomes of the change while a turn runs: with `reject` it is refused, otherwise it waits for the end of the
    /// turn. Default: `queue`.
    pub(crate) on_busy: Option<Word<OnBusy>>,
}

/// One thing to do with files. All paths are relative to the root of the workspace.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "op", rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum FileOp {
    /// Give a file or a directory another place. A file that is there is replaced.
    Move { from: String, to: String },
    /// Remove a file or a directory.
    Remove {
        path: String,
        /// Whether a directory goes with all that is in it.
        #[serde(default)]
        recursive: bool,
    },
    /// Make a directory, and those above it.
    MakeDirectory { path: String },
    /// Write a text file, with the directories above it.
    Write { path: String, text: String },
    /// Go on only where the file has this `etag`, or, with none, where there is no such file.
    Expect { path: String, etag: Option<String> },
}

impl TryFrom<FileOp> for FileOperation {
    type Error = ApiError;

    fn try_from(operation: FileOp) -> Result<FileOperation, ApiError> {
        Ok(match operation {
            FileOp::Move { from, to } => FileOperation::Move { from, to },
            FileOp::Remove { path, recursive } => FileOperation::Remove { path, recursive },
            FileOp::MakeDirectory { path } => FileOperation::MakeDirectory { path },
            FileOp::Write { path, text } => {
                FileOperation::Write { path, content: text.into_bytes().into() }
            }
            FileOp::Expect { path, etag: None } => {
                FileOperation::Expect { path, file: ExpectedFile::Absent }
            }
            FileOp::Expect { path, etag: Some(etag) } => {
                let problem = "must be the ETag of a file";
                let content: ContentId = etag
                    .trim_matches('"')
                    .parse()
                    .map_err(|_| ApiError::invalid_field("operations.etag", problem))?;
                FileOperation::Expect { path, file: ExpectedFile::Content(content) }
            }
        })
    }
}

/// One page of the files of a session.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Files")]
pub(crate) struct FilesBody {
    /// The directory.
    path: String,
    /// What is in it, in the order of the paths: a directory comes before what is in it. It may be empty though more
    /// follows.
    files: Vec<FileBody>,
    count: usize,
    next: Option<String>,
    /// The same. `null`: nothing more comes.
    next_cursor: Option<String>,
    /// The snapshot that has these files. `null`: the session has none yet.
    #[schemars(with = "Option<Id>")]
    snapshot: Option<String>,
    /// What the whole workspace holds.
    usage: AmountBody,
    /// What it may hold.
    quotas: QuotasBody,
}

/// What is known of a file.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "File")]
struct FileBody {
    /// Its path, relative to the directory that is listed.
    path: String,
    #[serde(rename = "type")]
    #[schemars(with = "Word<FileType>")]
    file_type: &'static str,
    /// Its bytes; of a symbolic link, those of its target; of a directory, 0.
    bytes: u64,
    #[schemars(with = "Time")]
    modified_at: String,
}

/// How much there is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FilesUsage")]
struct AmountBody {
    /// The bytes of all files.
    bytes: u64,
    /// How many files, directories and links there are.
    files: u64,
}

/// How much there may be.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FilesQuotas")]
struct QuotasBody {
    /// The bytes of all files.
    bytes: u64,
    /// How many files, directories and links there are.
    files: u64,
    /// The bytes of one file.
    file_bytes: u64,
}

impl FilesBody {
    /// One page of this directory.
    pub(crate) fn new(
        path: &str,
        page: Page,
        snapshot: Option<SnapshotId>,
        usage: Usage,
        quotas: Quotas,
    ) -> FilesBody {
        let files: Vec<FileBody> = page.files.into_iter().map(FileBody::from).collect();
        FilesBody {
            path: path.to_owned(),
            count: files.len(),
            files,
            next: page.next.clone(),
            next_cursor: page.next,
            snapshot: snapshot.map(|id| id.to_string()),
            usage: AmountBody { bytes: usage.bytes, files: usage.names },
            quotas: QuotasBody {
                bytes: quotas.bytes,
                files: quotas.names,
                file_bytes: quotas.file_bytes,
            },
        }
    }
}

impl From<Listed> for FileBody {
    fn from(Listed { path, stat }: Listed) -> FileBody {
        let modified = i64::try_from(stat.modified / NANOS_PER_MILLI).unwrap_or(i64::MAX);
        FileBody {
            path,
            file_type: stat.file_type.as_str(),
            bytes: stat.size,
            modified_at: Timestamp(modified).to_string(),
        }
    }
}

/// What a change of files has done.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FilesChanged")]
pub(crate) struct FilesChangedBody {
    /// How many paths there are that were not there before.
    pub(crate) added: u64,
    /// How many paths have other contents.
    changed: u64,
    /// How many paths are gone.
    removed: u64,
    /// The snapshot that has the files, which the session goes on from.
    #[schemars(with = "Option<Id>")]
    snapshot: Option<String>,
    #[serde(skip)]
    #[schemars(skip)]
    id: Option<SnapshotId>,
}

impl FilesChangedBody {
    /// The snapshot that has the files.
    pub(crate) fn snapshot_id(&self) -> Option<SnapshotId> {
        self.id
    }
}

impl From<FilesChanged> for FilesChangedBody {
    fn from(done: FilesChanged) -> FilesChangedBody {
        let FileChanges { added, changed, removed } = done.changes;
        let snapshot = done.snapshot.map(|id| id.to_string());
        FilesChangedBody { added, changed, removed, snapshot, id: done.snapshot }
    }
}

/// What differs between the files of two moments.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "FilesDifference")]
pub(crate) struct DifferenceBody {
    #[schemars(with = "Id")]
    from: String,
    #[schemars(with = "Option<Id>")]
    to: Option<String>,
    /// How many paths were added, whether the page has them or not.
    added: u64,
    changed: u64,
    removed: u64,
    /// The first of them.
    files: Vec<ChangedBody>,
    count: usize,
    next: Option<String>,
    /// The same. `null`: nothing more comes.
    next_cursor: Option<String>,
}

/// A path that differs.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ChangedFile")]
struct ChangedBody {
    path: String,
    #[schemars(with = "Word<ChangeKind>")]
    change: &'static str,
    /// What is there now, or was where nothing is.
    #[serde(rename = "type")]
    #[schemars(with = "Word<FileType>")]
    file_type: &'static str,
}

impl DifferenceBody {
    /// What differs from one snapshot to another.
    pub(crate) fn new(
        from: SnapshotId,
        to: Option<SnapshotId>,
        changes: Changes,
    ) -> DifferenceBody {
        let Changes { added, changed, removed, list, next } = changes;
        let body = |Change { path, kind, file_type }| ChangedBody {
            path,
            change: kind.as_str(),
            file_type: file_type.as_str(),
        };
        let files: Vec<ChangedBody> = list.into_iter().map(body).collect();
        DifferenceBody {
            from: from.to_string(),
            to: to.map(|to| to.to_string()),
            added,
            changed,
            removed,
            count: files.len(),
            files,
            next: next.clone(),
            next_cursor: next,
        }
    }
}
