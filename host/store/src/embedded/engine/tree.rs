//! The real index: sled, opened for durability.
//!
//! sled's own `flush` calls `sync_file_range`, which leaves the length of the file and the cache of
//! the drive as they are: after a power failure, what it had flushed was gone. So after each flush
//! its log (the file `db`) is synced here. When it is opened it may write its `conf` and a `snap.*`
//! (which it syncs, but not the directory): both and the directories are synced once it is open.
//! It writes them at no other time.
//!
//! Values whose page takes more than a quarter of a segment would go to files in `blobs/`, which
//! sled does not sync. A page has at most 19 entries, and [`super::FRONT`] keeps them far smaller
//! than that. Should there be such a file all the same, it is synced before the log.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sled::{Batch, Db};

use super::io::unchanged;
use super::ordered_map::{Changes, IndexEntries, IndexEntry, OrderedMap};
use super::{EngineOpenError, reserve};

/// The unit in which sled writes, in bytes. Fixed once a store has been created.
const SEGMENT: usize = 1 << 20;

/// How often sled cleans its log, in milliseconds.
const CLEAN_EVERY: u64 = 500;

/// The folder.
pub(super) const FOLDER: &str = "sled";

/// How often, and after how long each time, a lock of sled is tried again.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(20);

/// The index in sled.
#[derive(Debug)]
pub(crate) struct Tree {
    /// Only ever `None` while it is dropped.
    db: Option<Db>,
    log: File,
    blobs: PathBuf,
}

impl Tree {
    /// Open sled below `root`, with a cache of at most this many bytes.
    pub(crate) fn open(root: &Path, cache: u64) -> Result<Tree, EngineOpenError> {
        Tree::with_segment(root, cache, SEGMENT)
    }

    /// The same where sled has been created with segments of so many bytes.
    pub(crate) fn with_segment(
        root: &Path,
        cache: u64,
        segment: usize,
    ) -> Result<Tree, EngineOpenError> {
        reserve::release(root)?;
        let path = root.join(FOLDER);
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(cache)
            .segment_size(segment)
            .flush_every_ms(Some(CLEAN_EVERY));
        let mut tries = 0;
        let db = loop {
            // sled checks much of what it reads by assertion.
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|panic| EngineOpenError::IndexDamaged(reason(panic.as_ref())))?;
            match opened {
                Ok(db) => break db,
                // The directory is ours. A child that is just being started still has the file of a
                // store that has closed, until it runs its own program.
                Err(sled::Error::Io(error)) if is_locked(&error) && tries < TRIES => {
                    tries += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(sled::Error::Io(error)) => return Err(error.into()),
                Err(other) => return Err(EngineOpenError::IndexDamaged(other.to_string())),
            }
        };
        let log = File::options().read(true).write(true).open(path.join("db"))?;
        let tree = Tree { db: Some(db), log, blobs: path.join("blobs") };
        tree.sync_blobs()?;
        tree.log.sync_all()?;
        File::open(path.join("conf"))?.sync_all()?;
        File::open(&path)?.sync_all()?;
        File::open(root)?.sync_all()?;
        reserve::hold(root);
        Ok(tree)
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("it is there until it is dropped")
    }

    fn sync_blobs(&self) -> io::Result<()> {
        let mut any = false;
        for blob in std::fs::read_dir(&self.blobs).map_err(unchanged)? {
            any = true;
            match File::open(blob.map_err(unchanged)?.path()) {
                Ok(file) => file.sync_all()?,
                // sled has let go of it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unchanged(error)),
            }
        }
        if any { File::open(&self.blobs).map_err(unchanged)?.sync_all() } else { Ok(()) }
    }
}

/// Whether somebody has sled's lock. It says so in words only.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

impl OrderedMap for Tree {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        guarded(|| match self.db().get(key) {
            Ok(value) => Ok(value.map(|value| value.to_vec())),
            Err(sled::Error::Io(error)) => Err(unchanged(error)),
            Err(other) => Err(other.into()),
        })
    }

    fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> io::Result<IndexEntries> {
        guarded(|| {
            let within = |entry: &sled::Result<(sled::IVec, sled::IVec)>| match entry {
                Ok((key, _)) => key.starts_with(prefix),
                Err(_) => true,
            };
            let entries = self.db().range(from..).take_while(within).take(limit);
            entries
                .map(|entry| Ok(entry.map(|(key, value)| (key.to_vec(), value.to_vec()))?))
                .collect()
        })
    }

    fn last(&self, prefix: &[u8], before: Option<&[u8]>) -> io::Result<Option<IndexEntry>> {
        guarded(|| {
            let end = before.map(<[u8]>::to_vec).or_else(|| super::range::after(prefix));
            let mut entries = match end {
                Some(end) => self.db().range(prefix.to_vec()..end),
                None => self.db().range(prefix.to_vec()..),
            };
            let last = entries.next_back().transpose()?;
            Ok(last.map(|(key, value)| (key.to_vec(), value.to_vec())))
        })
    }

    fn apply(&self, changes: Changes) -> io::Result<()> {
        guarded(|| {
            let mut batch = Batch::default();
            for (key, value) in changes {
                match value {
                    Some(value) => batch.insert(key, value),
                    None => batch.remove(key),
                }
            }
            Ok(self.db().apply_batch(batch)?)
        })
    }

    fn flush(&self) -> io::Result<()> {
        guarded(|| {
            self.db().flush()?;
            self.sync_blobs()?;
            self.log.sync_data()
        })
    }

    fn bytes(&self) -> u64 {
        // A number for people to read.
        self.log.metadata().map_or(0, |metadata| metadata.blocks() * 512)
    }
}

impl Drop for Tree {
    /// sled flushes when it is dropped, and panics where that fails.
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(db))) {
            tracing::error!(reason = reason(panic.as_ref()), "the index did not close cleanly");
        }
        if let Err(error) = self.log.sync_all() {
            tracing::error!(%error, "the index did not close cleanly");
        }
    }
}

/// A panic of sled is an error like others.
fn guarded<T>(f: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|panic| Err(io::Error::other(reason(panic.as_ref()))))
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("it panicked").to_owned()
}
