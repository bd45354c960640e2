//! Files, as the engine uses them, and nothing more: so that a test can stand a simulated disk in
//! their place, which forgets what was not synced.
//!
//! Names are relative to the folder of the store, `folder/file`. A file that has been written is
//! durable once it *and* its folder have been synced.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

/// A folder with files.
pub(crate) trait Io: Send + Sync + fmt::Debug {
    /// Open a file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>>;
    /// Make a file that is not there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>>;
    /// Give a file another name, which may be in another folder.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Remove a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Make a folder, unless it is there.
    fn make_folder(&self, name: &str) -> io::Result<()>;
    /// The files of a folder, each with its length in bytes, in no order. `""` is the store's own.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>>;
    /// Make durable which files a folder has. `""` is the store's own.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// How many bytes can still be written.
    fn free(&self) -> io::Result<u64>;
}

/// An open file.
pub(crate) trait Handle: Send + Sync + fmt::Debug {
    /// Fill the buffer with what lies at this offset. Fails where the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Write all of these bytes at this offset.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Make durable what has been written.
    fn sync(&self) -> io::Result<()>;
    /// Its length, in bytes.
    fn size(&self) -> io::Result<u64>;
}

/// Whether an error says that the disk, or a quota, is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// What a file operation failed with before it changed anything: a file could not be opened, or not
/// be read. Nobody has to ask what is on the disk; it can be tried again.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unchanged(io::Error);

/// Note that nothing has been changed.
pub(super) fn unchanged(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Unchanged(error))
}

/// Whether nothing has been changed.
pub(super) fn is_unchanged(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Unchanged>())
}

/// The number of an error, where it comes from the system.
pub(super) fn number_of(error: &io::Error) -> Option<i32> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Unchanged>());
    inner.map_or(error, |Unchanged(error)| error).raw_os_error()
}

/// Read a whole file, which has at most `limit` bytes.
pub(super) fn read_whole(file: &dyn Handle, limit: u64) -> io::Result<Vec<u8>> {
    let size = file.size()?;
    if size > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a file is larger than it can be"));
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A real folder.
#[derive(Debug)]
pub(crate) struct Folder {
    dir: Dir,
    /// Whether files are opened for writing.
    writes: bool,
}

impl Folder {
    /// Open the folder, making it, durably, if it is not there.
    pub(crate) fn open(path: &Path) -> io::Result<Folder> {
        make(path)?;
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Folder { dir, writes: true })
    }

    /// Open a folder that is there, to read from it.
    pub(crate) fn existing(path: &Path) -> io::Result<Folder> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        Ok(Folder { dir, writes: false })
    }

    fn dir(&self, folder: &str) -> io::Result<Dir> {
        let dir = if folder.is_empty() { self.dir.try_clone() } else { self.dir.open_dir(folder) };
        dir.map_err(unchanged)
    }

    fn file(&self, name: &str, options: &OpenOptions) -> io::Result<Arc<dyn Handle>> {
        Ok(Arc::new(self.dir.open_with(name, options).map_err(unchanged)?.into_std()))
    }
}

/// Make a folder and those above it that are not there, and sync the names of those made and its own.
fn make(path: &Path) -> io::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above
        && !above.is_dir()
    {
        make(above)?;
    }
    match std::fs::create_dir(path) {
        Err(error) if !path.is_dir() => return Err(error),
        _ => {}
    }
    // A process that was killed may have made it and not have come to this.
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

impl Io for Folder {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        self.file(name, OpenOptions::new().read(true).write(self.writes))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        self.file(name, OpenOptions::new().read(true).write(true).create_new(true))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.dir.rename(from, &self.dir, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.dir.remove_file(name)
    }

    fn make_folder(&self, name: &str) -> io::Result<()> {
        match self.dir.create_dir(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in self.dir(folder)?.entries().map_err(unchanged)? {
            let entry = entry.map_err(unchanged)?;
            let metadata = entry.metadata().map_err(unchanged)?;
            if metadata.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
            }
        }
        Ok(files)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        // A handle of a folder as such cannot be synced: one that is opened for reading can.
        self.dir(folder)?.open(".").map_err(unchanged)?.sync_all()
    }

    fn free(&self) -> io::Result<u64> {
        let file_system = rustix::fs::fstatvfs(&self.dir).map_err(|e| unchanged(e.into()))?;
        Ok(file_system.f_bavail.saturating_mul(file_system.f_frsize))
    }
}

impl Handle for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset).map_err(unchanged)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata().map_err(unchanged)?.len())
    }
}
