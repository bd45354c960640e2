//! What can go wrong, and what to do about it.

use std::sync::Arc;

use bytes::Bytes;

use super::KEY;

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineOpenError {
    /// A newer program has written it.
    #[error("the store was written by a newer Dormouse (format {0}); use that one")]
    NewerFormat(u32),
    /// It cannot be written to.
    #[error("the store cannot be written to ({0}); mount its disk for writing, or mend its rights")]
    ReadOnly(#[source] std::io::Error),
    /// The index is gone, or has never been finished.
    #[error(
        "the index of the store is missing though there is {0}; put the folder `sled` back, or \
         restore a backup with `dormouse restore`"
    )]
    IndexMissing(String),
    /// The index does not open.
    #[error(
        "the index of the store is damaged ({0}); restore a backup with `dormouse restore`, or, if it \
         can be opened at all, keep what is left with `dormouse store repair --quarantine`"
    )]
    IndexDamaged(String),
    /// The index is not as far as the log knows that it was.
    #[error(
        "the index of the store is an old one: it has the log up to group {applied}, and had it up \
         to {known}; put the newer folder `sled` back, restore a backup with `dormouse restore`, or \
         keep what is left with `dormouse store repair --quarantine`"
    )]
    IndexOlder {
        /// How far it is.
        applied: u64,
        /// How far it was.
        known: u64,
    },
    /// There is no log.
    #[error(
        "the log of the store is missing; put the folder `log` back, restore a backup with \
         `dormouse restore`, or keep what is left with `dormouse store repair --quarantine`"
    )]
    LogMissing,
    /// The newest group is older than the index.
    #[error(
        "the log of the store is an old one: it ends with group {newest}, and the index has it up \
         to {applied}; put the newer folder `log` back, restore a backup with `dormouse restore`, \
         or keep what is left with `dormouse store repair --quarantine`"
    )]
    LogOlder {
        /// The last group.
        newest: u64,
        /// How far the index is.
        applied: u64,
    },
    /// The group after those that the index has is not there, and newer ones are.
    #[error(
        "group {missing} of the store's log is missing or damaged, though there are groups up to \
         {newest}: the index is an old one, or a part of the log is lost; restore a backup with \
         `dormouse restore`, or keep what is left with `dormouse store repair --quarantine`"
    )]
    LogGap {
        /// What is missing.
        missing: u64,
        /// The last group.
        newest: u64,
    },
    /// A group among those that are needed is damaged or missing.
    #[error(
        "group {damaged} of the store's log is damaged, and later ones up to {newest} are not; \
         restore a backup with `dormouse restore`, or keep what is left with `dormouse store repair \
         --quarantine`"
    )]
    LogDamaged {
        /// The damaged one.
        damaged: u64,
        /// The last group.
        newest: u64,
    },
    /// Packs that something points into are missing, or shorter than they were.
    #[error(
        "parts of the store are missing or cut off: {}; put them back, restore a backup with \
         `dormouse restore`, or keep what is left with `dormouse store repair --quarantine`",
        .0.join(", ")
    )]
    PacksMissing(Vec<String>),
    /// A repair was begun and has not come to its end.
    #[error(
        "a repair of the store has not finished; run `dormouse store repair --quarantine` again"
    )]
    RepairUnfinished,
    /// A backup does not read back.
    #[error("the backup in this directory is damaged ({0}); use another one")]
    BackupDamaged(String),
    /// The value of this key of a backup is damaged.
    #[error("the backup in this directory is damaged (a value cannot be read); use another one")]
    BackupValueDamaged(Vec<u8>),
    /// Reading or writing failed.
    #[error("the store cannot be used: {0}")]
    Io(#[source] std::io::Error),
}

impl From<std::io::Error> for EngineOpenError {
    fn from(error: std::io::Error) -> EngineOpenError {
        match error.kind() {
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                EngineOpenError::ReadOnly(error)
            }
            _ => EngineOpenError::Io(error),
        }
    }
}

/// Why a batch has not been committed.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CommitError {
    /// A key is empty, too long, or one of the engine's own. Nothing was written.
    #[error("keys have 1 to {KEY} bytes, and the first is not zero")]
    Key,
    /// The front of a value is longer than the value, or than the index takes. Nothing was written.
    #[error(
        "a front of {bytes} bytes is too large: {limit} are allowed, and no more than the value"
    )]
    Front {
        /// What it would take.
        bytes: usize,
        /// What it may take.
        limit: usize,
    },
    /// There is more in it than a group takes. Nothing was written.
    #[error("a batch of {bytes} bytes is too large, {limit} are allowed: stage large values")]
    TooLarge {
        /// What it would take.
        bytes: usize,
        /// What it may take.
        limit: usize,
    },
    /// The disk is full, and so is what can be kept without it. Nothing was written.
    #[error("the disk that holds the store is full; free some space")]
    Full,
    /// A file that is needed could not be opened. Nothing was written.
    #[error("the store cannot open or read one of its files ({0}); nothing was written, try again")]
    Unopened(Arc<str>),
    /// The write or the sync failed: it may be durable or not. Nothing more is written.
    #[error("the outcome of a commit is unknown: {0}")]
    Unknown(Arc<str>),
    /// A write or a sync has failed before. Nothing was written.
    #[error("the store takes no more writes: {0}")]
    Failed(Arc<str>),
    /// It is closing. Nothing was written.
    #[error("the store is closed")]
    Closed,
}

/// Why a value could not be read.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The value of this key is damaged or lost.
    #[error("the value of key {} is damaged: {what}", escaped(.key))]
    Damaged {
        /// The key.
        key: Bytes,
        /// What is wrong.
        what: &'static str,
    },
    /// Reading failed.
    #[error("the store could not be read: {0}")]
    Io(Arc<str>),
}

impl From<std::io::Error> for ReadError {
    fn from(error: std::io::Error) -> ReadError {
        ReadError::Io(error.to_string().into())
    }
}

/// Why values have not been staged.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StageError {
    /// The disk is full.
    #[error("the disk that holds the store is full; free some space")]
    Full,
    /// A key is empty, too long, or one of the engine's own.
    #[error("keys have 1 to {KEY} bytes, and the first is not zero")]
    Key,
    /// A value has more bytes than a pack can have.
    #[error("a value of {0} bytes is too large")]
    TooLarge(usize),
    /// A file could not be opened. Nothing was kept.
    #[error("the store cannot open or read one of its files ({0}); nothing was written, try again")]
    Unopened(Arc<str>),
    /// A write or a sync has failed, now or before. Nothing more is written.
    #[error("the store takes no more writes: {0}")]
    Failed(Arc<str>),
}

fn escaped(key: &[u8]) -> String {
    key.escape_ascii().to_string()
}
