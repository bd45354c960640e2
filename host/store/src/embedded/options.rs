//! How a store is opened, and why it may not be.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::engine;
use crate::Retention;
use dormouse_base::clock::Clock;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else uses the directory.
    #[error("the data directory {} is in use by {}", .path.display(), holder_of(.pid.as_ref()))]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// The process that has it, where that could be learned.
        pid: Option<u32>,
    },
    /// There is something else in its place.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// The directory holds something else, and no store.
    #[error(
        "{} is not a data directory, and not empty: it holds {found}; name a directory that is empty \
         or does not exist",
        .path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The name of something in it.
        found: String,
    },
    /// It has a layout that no release has had.
    #[error(
        "the data directory was written before 21 November 2026, which this version does not read; \
         start the release of 21 November 2026 on it once, which brings it to a layout that it reads"
    )]
    Earlier,
    /// A later version of the host has written it.
    #[error("the data directory was written by a newer Dormouse: {0}")]
    NewerFormat(String),
    /// It cannot be read as a whole. Single records that are damaged do not lead to this.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// A part of it is missing, damaged or old, so that something that was acknowledged would be
    /// lost. Says which part, and what to do.
    #[error("{0}")]
    Refused(String),
    /// It cannot be written to.
    #[error(
        "the data directory{} cannot be written to: {error}; remount its disk read-write, or fix the \
         permissions of the directory",
        named(path)
    )]
    ReadOnly {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is no space to open it.
    #[error("the disk that holds the data directory is full; free some space")]
    Full,
    /// Reading or writing failed.
    #[error("the data directory{} cannot be used: {error}", named(path))]
    Io {
        /// The data directory.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl OpenError {
    /// The same error, of the store in this directory.
    pub(super) fn of_directory(mut self, root: &Path) -> OpenError {
        if let OpenError::ReadOnly { path, .. } | OpenError::Io { path, .. } = &mut self {
            root.clone_into(path);
        }
        self
    }
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                OpenError::ReadOnly { path: PathBuf::new(), error }
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => OpenError::Full,
            _ => OpenError::Io { path: PathBuf::new(), error },
        }
    }
}

impl From<engine::EngineOpenError> for OpenError {
    fn from(error: engine::EngineOpenError) -> OpenError {
        match error {
            engine::EngineOpenError::NewerFormat(format) => {
                OpenError::NewerFormat(format!("its engine has format {format}"))
            }
            engine::EngineOpenError::ReadOnly(error) | engine::EngineOpenError::Io(error) => {
                OpenError::from(error)
            }
            refused => OpenError::Refused(refused.to_string()),
        }
    }
}

fn holder_of(pid: Option<&u32>) -> String {
    match pid {
        Some(pid) if *pid == std::process::id() => {
            "another host of this process; shut that down first".to_owned()
        }
        Some(pid) => format!("another Dormouse process ({pid})"),
        None => "another Dormouse process".to_owned(),
    }
}

/// The directory, where it is known.
fn named(path: &Path) -> String {
    if path.as_os_str().is_empty() { String::new() } else { format!(" {}", path.display()) }
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most memory that the index keeps of itself, in bytes.
    pub cache_bytes: u64,
    /// The most memory that commits take until they have been applied to the index, in bytes.
    pub overlay_bytes: usize,
    /// The most room that the log takes, in bytes.
    pub log_bytes: u64,
    /// The size of the files of the log, in bytes: a multiple of 4 KiB, and at least 16 MiB.
    pub slot_bytes: u64,
    /// How much of the disk stays free, in bytes: with less than this, commits that need space are
    /// refused. It can be changed at any time.
    pub reserve_bytes: Arc<AtomicU64>,
    /// What is kept of the past.
    pub retention: Retention,
    /// Where secrets and names come from, and how long a commit has taken. What is stored has the times of
    /// whoever commits it.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 128 << 20,
            overlay_bytes: 256 << 20,
            log_bytes: 512 << 20,
            slot_bytes: 32 << 20,
            reserve_bytes: Arc::new(AtomicU64::new(64 << 20)),
            retention: Retention::default(),
            clock: Clock::real(),
        }
    }
}

impl Options {
    /// The same with a log that is soon made: for stores that do not live long.
    pub(super) fn small(self) -> Options {
        let overlay_bytes = self.overlay_bytes.min(64 << 20);
        Options { overlay_bytes, log_bytes: 64 << 20, slot_bytes: 16 << 20, ..self }
    }

    /// The part of the engine. `tell` is told once, when writing has ended.
    pub(super) fn engine(&self, tell: Option<engine::OnFailure>) -> engine::EngineOptions {
        engine::EngineOptions {
            slot_bytes: self.slot_bytes,
            log_bytes: self.log_bytes,
            overlay_bytes: self.overlay_bytes,
            on_failure: tell,
            ..engine::EngineOptions::new(self.clock.random())
        }
    }
}
