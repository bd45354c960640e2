//! How a store is opened, and why it may not be.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else uses the directory.
    #[error("the data directory is in use by another Dormouse process{}", pid_of(.pid.as_ref()))]
    Locked {
        /// The process, where it could be learned.
        pid: Option<u32>,
    },
    /// There is something else in its place.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// A later version of the host has written it.
    #[error("the data directory was written by a newer Dormouse: {0}")]
    NewerFormat(String),
    /// It cannot be read as a whole. Single records that are damaged do not lead to this.
    #[error("the data directory is damaged: {0}")]
    Damaged(String),
    /// Reading or writing failed.
    #[error("the data directory cannot be used: {0}")]
    Io(#[from] io::Error),
}

fn pid_of(pid: Option<&u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" ({pid})"))
}

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The most memory that pages take, in bytes.
    pub cache_bytes: u64,
    /// How much of the disk stays free, in bytes: with less than this, commits that need space are
    /// refused. It can be changed at any time.
    pub reserve_bytes: Arc<AtomicU64>,
    /// How many snapshots of a session are kept, the newest, its head among them: 1 to 256.
    pub keep_snapshots: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 256 << 20,
            reserve_bytes: Arc::new(AtomicU64::new(64 << 20)),
            keep_snapshots: 16,
        }
    }
}
