//! What a test makes the disk do: fail, panic, or stop between a write and its sync of the log.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use crate::embedded::engine::{Engine, EngineOpenError, EngineOptions, Folder, Handle, Io, Tree};

/// What the disk is to do. By default, what disks do.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// The next write panics.
    pub(crate) panic: AtomicBool,
    /// The next sync fails.
    pub(crate) fail: AtomicBool,
    /// The sync of this number fails, counted from 1. 0: none does.
    pub(crate) fail_in: AtomicU64,
    /// The last edge of each new node is not counted.
    pub(crate) forgets_an_edge: AtomicBool,
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

/// Holds the disk between a write and its sync.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Receives when the write has been made.
    pub(crate) reached: Receiver<()>,
    /// Send to let the sync happen.
    pub(crate) release: Sender<()>,
}

impl Faults {
    /// Open an engine over such a disk.
    pub(crate) fn open(
        faults: &Arc<Faults>,
        root: &Path,
        cache: u64,
        options: EngineOptions,
    ) -> Result<Engine, EngineOpenError> {
        let folder = Folder::open(root)?;
        let tree = Arc::new(Tree::open(root, cache)?);
        let io = Faulty { folder, faults: Arc::clone(faults) };
        Engine::with(Arc::new(io), tree, options)
    }

    /// The next sync waits at a gate.
    pub(crate) fn gate(&self) -> Gate {
        let (reached, reaches) = channel();
        let (release, released) = channel();
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some((reached, released));
        Gate { reached: reaches, release }
    }

    /// The edges of a new node that are counted.
    pub(crate) fn counted<'a, T>(&self, edges: &'a [T]) -> &'a [T] {
        match edges.split_last() {
            Some((_, others)) if self.forgets_an_edge.load(Ordering::SeqCst) => others,
            Some(_) | None => edges,
        }
    }

    fn before_write(&self) {
        assert!(!self.panic.swap(false, Ordering::SeqCst), "something impossible has happened");
    }

    fn before_sync(&self) -> io::Result<()> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((reached, released)) = gate {
            let _ = reached.send(());
            let _ = released.recv();
        }
        let left = self.fail_in.load(Ordering::SeqCst);
        self.fail_in.store(left.saturating_sub(1), Ordering::SeqCst);
        if self.fail.swap(false, Ordering::SeqCst) || left == 1 {
            return Err(io::Error::other("the disk is on fire"));
        }
        Ok(())
    }
}

/// A folder with such faults in its log.
#[derive(Debug)]
struct Faulty {
    folder: Folder,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn Handle>,
    faults: Arc<Faults>,
    /// Whether what is to be synced is a group of the log, and not the zeros of a new slot.
    group: AtomicBool,
}

impl Faulty {
    fn faulty(&self, file: Arc<dyn Handle>) -> Arc<dyn Handle> {
        Arc::new(FaultyFile { file, faults: Arc::clone(&self.faults), group: false.into() })
    }
}

impl Io for Faulty {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let file = self.folder.open(name)?;
        if !name.starts_with("log/") {
            return Ok(file);
        }
        Ok(self.faulty(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let file = self.folder.create(name)?;
        if !name.starts_with("log/") {
            return Ok(file);
        }
        Ok(self.faulty(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.folder.remove(name)
    }

    fn make_folder(&self, name: &str) -> io::Result<()> {
        self.folder.make_folder(name)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.folder.list(folder)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.folder.sync_folder(folder)
    }

    fn free(&self) -> io::Result<u64> {
        self.folder.free()
    }
}

impl Handle for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if bytes.iter().any(|byte| *byte != 0) {
            self.faults.before_write();
            self.group.store(true, Ordering::SeqCst);
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if self.group.swap(false, Ordering::SeqCst) {
            self.faults.before_sync()?;
        }
        self.file.sync()
    }

    fn size(&self) -> io::Result<u64> {
        self.file.size()
    }
}
