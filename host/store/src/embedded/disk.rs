//! The engine as the store uses it: its errors in the terms of the store, and nothing else. What it
//! promises, and how, stands in [`engine`](super::engine).

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::engine::{
    self, Batch, CommitError, Engine, EngineStat, Range, ReadError, StageError, Staged,
};
#[cfg(test)]
use super::tests::faults::Faults;
use super::{OpenError, Options, keys};
use crate::StoreError;

/// The folder of the engine, below that of the store.
pub(super) const FOLDER: &str = "store";

/// What is durable.
#[derive(Debug)]
pub(super) struct Disk {
    /// Only ever `None` while it is dropped.
    engine: Option<Engine>,
    root: File,
    /// What tests make it do.
    #[cfg(test)]
    pub(super) faults: Arc<Faults>,
}

/// Why a batch is not written.
#[derive(Clone, Debug)]
pub(super) enum WriteError {
    /// There is no space. Nothing was written.
    Full,
    /// It is not such that it could be written. Nothing was.
    Refused(StoreError),
    /// A write or a sync has failed: nobody knows what of it is on the disk.
    Failed(Arc<str>),
}

/// How much of values is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadExtent {
    /// All of it.
    Whole,
    /// What the index has of it.
    Front,
}

/// A key with its value.
pub(super) type DiskEntry = Result<(Bytes, Bytes), StoreError>;

impl Disk {
    /// Open what is below `root`, or make it there.
    pub(super) fn open(
        root: &Path,
        options: &Options,
        on_failure: engine::OnFailure,
    ) -> Result<Disk, OpenError> {
        let cache = options.cache_bytes;
        let options = options.engine(Some(on_failure));
        let folder = root.join(FOLDER);
        std::fs::create_dir_all(&folder)?;
        let root = File::open(root)?;
        root.sync_all()?;
        #[cfg(test)]
        let faults = Arc::new(Faults::default());
        #[cfg(test)]
        let engine = Faults::open(&faults, &folder, cache, options)?;
        #[cfg(not(test))]
        let engine = Engine::open(&folder, cache, options)?;
        Ok(Disk {
            engine: Some(engine),
            root,
            #[cfg(test)]
            faults,
        })
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.engine().get(key).map_err(read_error)
    }

    /// The keys that begin with `prefix`, in order, with their values. One that is damaged does not
    /// end it.
    pub(super) fn prefix(&self, prefix: &[u8]) -> impl Iterator<Item = DiskEntry> + use<'_> {
        self.from(prefix, prefix)
    }

    /// The same from the key `first` on.
    pub(super) fn from(
        &self,
        first: &[u8],
        prefix: &[u8],
    ) -> impl Iterator<Item = DiskEntry> + use<'_> {
        entries(self.engine().range(first, prefix))
    }

    /// The same as [`Disk::prefix`], with what lies in the index of the values: nothing of those that
    /// lie in packs, but for their fronts.
    pub(super) fn fronts(&self, prefix: &[u8]) -> impl Iterator<Item = DiskEntry> + use<'_> {
        entries(self.engine().fronts(prefix, prefix))
    }

    /// The first few of these.
    pub(super) fn first_fronts(
        &self,
        prefix: &[u8],
        count: usize,
    ) -> impl Iterator<Item = DiskEntry> + use<'_> {
        entries(self.engine().fronts(prefix, prefix).few(count)).take(count)
    }

    /// All keys that begin with `prefix`, in order, with what `read` reads of their values, and `None`
    /// where that is damaged.
    pub(super) fn walk(
        &self,
        prefix: &[u8],
        read: ReadExtent,
    ) -> impl Iterator<Item = Result<(Bytes, Option<Bytes>), StoreError>> + use<'_> {
        let range = match read {
            ReadExtent::Whole => self.engine().range(prefix, prefix),
            ReadExtent::Front => self.engine().fronts(prefix, prefix),
        };
        range.map(|entry| match entry {
            Ok((key, value)) => Ok((key, Some(value))),
            Err(ReadError::Damaged { key, .. }) => Ok((key, None)),
            Err(error) => Err(read_error(error)),
        })
    }

    /// The last key that begins with `prefix`.
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.engine().last(prefix) {
            Ok(found) => Ok(found.map(|(key, _)| key)),
            Err(ReadError::Damaged { key, .. }) => Ok(Some(key)),
            Err(error) => Err(read_error(error)),
        }
    }

    /// Make these changes, all or none, and return once they are durable. Nobody sees them before.
    pub(super) fn write(&self, batch: Batch) -> Result<(), WriteError> {
        // Whoever waits for this must learn that nobody knows how it ended.
        let written = catch_unwind(AssertUnwindSafe(|| self.engine().commit(batch)));
        let Ok(written) = written else {
            return Err(WriteError::Failed("writing panicked".into()));
        };
        written.map_err(|error| match error {
            CommitError::Full => WriteError::Full,
            CommitError::TooLarge { limit, .. } => {
                WriteError::Refused(StoreError::TooLarge { what: "a commit in bytes", limit })
            }
            CommitError::Key | CommitError::Front { .. } | CommitError::Unopened(_) => {
                WriteError::Refused(StoreError::Io(error.to_string().into()))
            }
            CommitError::Unknown(reason) | CommitError::Failed(reason) => {
                WriteError::Failed(reason)
            }
            CommitError::Closed => WriteError::Failed(error.to_string().into()),
        })
    }

    /// Make large values durable, each under the key that a later batch gives it to.
    pub(super) fn stage(&self, values: &[(Bytes, Bytes)]) -> Result<Staged, StoreError> {
        self.engine().stage(values).map_err(|error| match error {
            StageError::Full => StoreError::Full,
            StageError::TooLarge(_) => {
                let limit = u32::MAX as usize;
                StoreError::TooLarge { what: "the large values of a commit in bytes", limit }
            }
            StageError::Key | StageError::Unopened(_) => StoreError::Io(error.to_string().into()),
            StageError::Failed(reason) => StoreError::Unknown(reason),
        })
    }

    /// How large everything is.
    pub(super) fn stat(&self) -> EngineStat {
        self.engine().stat()
    }

    /// Bytes that can still be written to this file system.
    pub(super) fn free(&self) -> io::Result<u64> {
        let file_system = rustix::fs::fstatvfs(&self.root)?;
        Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
    }

    /// The engine itself: for `upkeep`.
    pub(super) fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Disk {
    /// What is not applied yet stays in the log: it costs time at the next start, no more.
    fn drop(&mut self) {
        if let Some(Err(error)) = self.engine.take().map(Engine::close) {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }
}

fn entries(range: Range<'_>) -> impl Iterator<Item = DiskEntry> {
    range.map(|entry| entry.map_err(read_error))
}

fn read_error(error: ReadError) -> StoreError {
    match error {
        ReadError::Damaged { key, what } => {
            let key = keys::describe(&key);
            tracing::error!(key, what, "a value of the store is damaged");
            StoreError::Damaged(key)
        }
        ReadError::Io(reason) => StoreError::Io(reason),
    }
}
