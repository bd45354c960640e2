//! sled, opened for durability: nothing outside of this folder knows that it is sled.
//!
//! sled's own `flush` calls `sync_file_range`, which leaves the length of the file and the cache of
//! the drive as they are: after a power failure, what it had flushed was gone. So after each flush
//! its log (the file `db`) is synced here. When it is opened it may write its `conf` and a `snap.*`
//! (which it syncs, but not the directory): both and the directories are synced once it is open.
//! It writes them at no other time.
//!
//! Values whose page takes more than a quarter of a segment go to files in `blobs/`, which sled
//! does not sync. The limits in `cell` make sure that there are none. Should there be one all the
//! same, it is synced before the log that points to it.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FallocateFlags, SeekFrom};
use sled::{Batch, Db, IVec, Iter};

#[cfg(test)]
use super::tests::faults::Faults;
use super::{OpenError, lock};
use crate::store::StoreError;

/// The unit in which sled writes, in bytes. Fixed once a store has been created.
pub(super) const SEGMENT: usize = 4 << 20;

/// The length of the header of a segment, in bytes.
const HEADER: usize = 20;

/// How far ahead of sled its log has blocks, in bytes.
const AHEAD: u64 = 16 << 20;

/// How often sled cleans its log, in milliseconds.
const CLEAN_EVERY: u64 = 500;

/// The index on the disk.
#[derive(Debug)]
pub(super) struct Disk {
    /// Only ever `None` while it is dropped.
    db: Option<Db>,
    log: File,
    blobs: PathBuf,
    bytes: AtomicU64,
    /// What tests make it do.
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// A write or a sync has failed: nobody knows what of it is on the disk.
#[derive(Clone, Debug)]
pub(super) struct WriteFailed(pub(super) Arc<str>);

/// Whether somebody has sled's lock. It says so in words only.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

impl Disk {
    /// Open sled below `root`, with a cache of at most this many bytes.
    pub(super) fn open(root: &Path, cache: u64) -> Result<Disk, OpenError> {
        let path = root.join("sled");
        trim(&path.join("db"))?;
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(cache)
            .segment_size(SEGMENT)
            .flush_every_ms(Some(CLEAN_EVERY));
        let mut tries = 0;
        let db = loop {
            // sled checks much of what it reads by assertion.
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()))
                .map_err(|panic| OpenError::Damaged(reason(panic.as_ref())))?;
            match opened {
                Ok(db) => break db,
                // The directory is ours. A child that is just being started still has the file of a
                // store that has closed, until it runs its own program.
                Err(sled::Error::Io(error)) if is_locked(&error) && tries < lock::TRIES => {
                    tries += 1;
                    std::thread::sleep(lock::PAUSE);
                }
                Err(sled::Error::Io(error)) => return Err(OpenError::Io(error)),
                Err(other) => return Err(OpenError::Damaged(other.to_string())),
            }
        };
        let log = File::options().read(true).write(true).open(path.join("db"))?;
        let disk = Disk {
            db: Some(db),
            log,
            blobs: path.join("blobs"),
            bytes: AtomicU64::new(0),
            #[cfg(test)]
            faults: Faults::default(),
        };
        disk.sync_blobs()?;
        disk.log.sync_all()?;
        File::open(path.join("conf"))?.sync_all()?;
        File::open(&path)?.sync_all()?;
        File::open(root)?.sync_all()?;
        disk.measure();
        Ok(disk)
    }

    /// The value of a key: also one that is not durable yet.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        self.db().get(key).map_err(|error| read_error(&error))
    }

    /// The keys that begin with `prefix`, in order, with their values.
    pub(super) fn prefix(&self, prefix: &[u8]) -> Scan {
        Scan(self.db().scan_prefix(prefix))
    }

    /// The keys from `first` on that begin with `prefix`, in order, with their values.
    pub(super) fn from(&self, first: &[u8], prefix: &[u8]) -> impl Iterator<Item = Entry> + use<> {
        let prefix = prefix.to_vec();
        let within = move |entry: &Entry| match entry {
            Ok((key, _)) => key.starts_with(&prefix),
            Err(_) => true,
        };
        Scan(self.db().range(first.to_vec()..)).take_while(within)
    }

    /// Make these changes, all or none, and return once they are durable. What sled reads already
    /// shows them before they are.
    pub(super) fn write(&self, batch: Batch) -> Result<(), WriteFailed> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            self.faults.before_write();
            self.db().apply_batch(batch).map_err(io::Error::from)?;
            #[cfg(test)]
            self.faults.before_sync()?;
            self.sync()
        }));
        match written {
            Ok(Ok(())) => {
                self.measure();
                Ok(())
            }
            Ok(Err(error)) => Err(WriteFailed(error.to_string().into())),
            Err(panic) => Err(WriteFailed(reason(panic.as_ref()).into())),
        }
    }

    /// The room that the log takes, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes that can still be written to this file system.
    pub(super) fn free(&self) -> io::Result<u64> {
        let file_system = rustix::fs::fstatvfs(&self.log)?;
        Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
    }

    fn sync(&self) -> io::Result<()> {
        self.db().flush()?;
        self.sync_blobs()?;
        self.log.sync_data()?;
        self.reserve();
        Ok(())
    }

    /// Let the log have blocks ahead of where sled writes. To sync a file that has grown takes ten
    /// times as long. This never touches what has been written, so it may meet sled's own writes.
    /// [`trim`] takes back what is left of it.
    fn reserve(&self) {
        let Ok(length) = self.log.metadata().map(|metadata| metadata.len()) else { return };
        // Nothing written in the last part: there is enough left.
        let last = length.saturating_sub(AHEAD / 2);
        if rustix::fs::seek(&self.log, SeekFrom::Data(last)).is_err() {
            return;
        }
        let end = (length / AHEAD + 1) * AHEAD;
        let mode = FallocateFlags::empty();
        if let Err(error) = rustix::fs::fallocate(&self.log, mode, length, end - length) {
            // It is slower without.
            tracing::debug!(%error, "the log could not be extended");
        }
    }

    fn sync_blobs(&self) -> io::Result<()> {
        let mut any = false;
        for blob in std::fs::read_dir(&self.blobs)? {
            any = true;
            match File::open(blob?.path()) {
                Ok(file) => file.sync_all()?,
                // sled has let go of it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        if any { File::open(&self.blobs)?.sync_all() } else { Ok(()) }
    }

    fn measure(&self) {
        // A number for people to read: where it cannot be had, the last one stands.
        if let Ok(metadata) = self.log.metadata() {
            self.bytes.store(metadata.blocks() * 512, Ordering::Relaxed);
        }
    }

    fn db(&self) -> &Db {
        self.db.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Disk {
    /// sled flushes when it is dropped, and panics where that fails.
    fn drop(&mut self) {
        let db = self.db.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(db))) {
            tracing::error!(reason = reason(panic.as_ref()), "the store did not close cleanly");
        }
        if let Err(error) = self.log.sync_all() {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }
}

/// Cut off the end of the log that sled has never written to. A segment without a header is free to
/// sled; but it would fill each of them with zeros when it is opened, and keep the last.
fn trim(log: &Path) -> io::Result<()> {
    let log = match File::options().read(true).write(true).open(log) {
        Ok(log) => log,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let segment = SEGMENT as u64;
    let length = log.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let last = (end - 1) / segment * segment;
        let mut header = [0; HEADER];
        let read = log.read_at(&mut header, last)?;
        if header[..read].iter().any(|byte| *byte != 0) {
            break;
        }
        end = last;
    }
    if end < length { log.set_len(end) } else { Ok(()) }
}

/// A key with its value.
pub(super) type Entry = Result<(IVec, IVec), StoreError>;

/// Keys with their values, in order.
pub(super) struct Scan(Iter);

impl Iterator for Scan {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        Some(self.0.next()?.map_err(|error| read_error(&error)))
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Entry> {
        Some(self.0.next_back()?.map_err(|error| read_error(&error)))
    }
}

fn read_error(error: &sled::Error) -> StoreError {
    StoreError::Io(error.to_string().into())
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("it panicked").to_owned()
}
