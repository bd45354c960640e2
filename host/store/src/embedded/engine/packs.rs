//! Packs: files of values, appended to and never changed.
//!
//! ```text
//!  packs/h-0000000000000005   magic | kind | number | crc32c        the header
//!                             frame frame frame …
//!  frame:  crc32c | key length u32 | value length u32 | key | value
//! ```
//! A pack belongs to one kind. It is synced, and so is its folder if it is new, before anything
//! points into it, and after a restart no pack is appended to again. Its number is never used
//! again. It is removed once the index durably points elsewhere: a reader that has held a pointer
//! meanwhile finds no pack, and reads the pointer again.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::frame::{self, FRAME};
use super::io::{Handle, Io};
use super::value::{PackKind, Pointer};

/// The folder.
pub(super) const FOLDER: &str = "packs";

/// How many packs are kept open.
const OPEN: usize = 256;

/// What is known of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pack {
    /// Its kind.
    pub(super) kind: PackKind,
    /// Its length, in bytes.
    pub(super) total: u64,
    /// How many bytes of it the index points to: whole frames.
    pub(super) live: u64,
    /// Whether something may still be to come that points to it: it has been staged, and what was
    /// committed of it has not been applied.
    pub(super) pending: bool,
}

/// All packs.
#[derive(Debug)]
pub(super) struct Packs {
    io: Arc<dyn Io>,
    table: Mutex<BTreeMap<u64, Pack>>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<dyn Handle>>>,
    /// While this is not 0, no pack is removed.
    pins: Mutex<Pins>,
}

#[derive(Debug, Default)]
struct Pins {
    count: usize,
    removed: Vec<(PackKind, u64)>,
}

/// No pack is removed while this lives.
#[derive(Debug)]
pub(super) struct Pinned<'a>(&'a Packs);

impl<'a> Pinned<'a> {
    /// From now on.
    pub(super) fn new(packs: &'a Packs) -> Pinned<'a> {
        packs.pin();
        Pinned(packs)
    }
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.0.unpin();
    }
}

/// Why a frame could not be read.
#[derive(Debug)]
pub(super) enum FrameError {
    /// There is no such pack: it has been removed, or was lost.
    NoPack,
    /// There is no whole frame of this key there.
    Damaged,
    /// Reading failed.
    Io(io::Error),
}

impl Packs {
    /// These packs, none of which is ever appended to again.
    pub(super) fn new(io: Arc<dyn Io>, table: BTreeMap<u64, Pack>, next: u64) -> Packs {
        Packs {
            io,
            table: Mutex::new(table),
            next: AtomicU64::new(next),
            open: Mutex::default(),
            pins: Mutex::default(),
        }
    }

    /// A number that no pack has had.
    pub(super) fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// All that has been committed of these packs has been applied.
    pub(super) fn settle(&self, numbers: impl Iterator<Item = u64>) {
        self.with(|table| {
            for number in numbers {
                if let Some(pack) = table.get_mut(&number) {
                    pack.pending = false;
                }
            }
        });
    }

    /// Look at, or change, what is known.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<u64, Pack>) -> T) -> T {
        f(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A pack has become this long.
    pub(super) fn set_total(&self, number: u64, total: u64) {
        self.with(|table| {
            if let Some(pack) = table.get_mut(&number) {
                pack.total = total;
            }
        });
    }

    /// Read the value that lies there under this key.
    pub(super) fn read(&self, key: &[u8], pointer: &Pointer) -> Result<Bytes, FrameError> {
        read_frame(&*self.handle(pointer)?, key, pointer)
    }

    fn handle(&self, pointer: &Pointer) -> Result<Arc<dyn Handle>, FrameError> {
        let number = pointer.pack;
        let known = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned();
        if let Some(file) = known {
            return Ok(file);
        }
        let file = match open(&*self.io, pointer) {
            // Those that are kept open may be what it lacks.
            Err(FrameError::Io(_)) if self.let_go() => open(&*self.io, pointer)?,
            file => file?,
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN {
            open.clear();
        }
        // It may have been removed meanwhile: then it must not be kept.
        if self.with(|table| table.contains_key(&number)) {
            open.insert(number, Arc::clone(&file));
        }
        Ok(file)
    }

    /// Close the files that are kept open. Returns whether there were any.
    fn let_go(&self) -> bool {
        let files = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        !files.is_empty()
    }

    /// Remove a pack to which nothing durable points: at once, or when it is not pinned any more.
    /// What cannot be removed now goes when the store is opened again.
    pub(super) fn remove(&self, kind: PackKind, number: u64) {
        self.with(|table| table.remove(&number));
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        if pins.count > 0 {
            pins.removed.push((kind, number));
            return;
        }
        drop(pins);
        self.unlink(kind, number);
    }

    fn unlink(&self, kind: PackKind, number: u64) {
        let name = pack_name(kind, number);
        match self.io.remove(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%name, %error, "a pack that nothing points to was not removed");
            }
            _ => {}
        }
    }

    /// No file of a pack goes until [`Packs::unpin`].
    pub(super) fn pin(&self) {
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).count += 1;
    }

    /// Undo a [`Packs::pin`].
    pub(super) fn unpin(&self) {
        let mut pins = self.pins.lock().unwrap_or_else(PoisonError::into_inner);
        pins.count -= 1;
        let removed = if pins.count == 0 { std::mem::take(&mut pins.removed) } else { Vec::new() };
        drop(pins);
        removed.into_iter().for_each(|(kind, number)| self.unlink(kind, number));
    }

    /// Make durable which packs there are.
    pub(super) fn sync_folder(&self) -> io::Result<()> {
        self.io.sync_folder(FOLDER)
    }

    /// Make a new, empty pack. It is known only once [`Packs::with`] has put it in.
    pub(super) fn make(&self, kind: PackKind) -> io::Result<(u64, Arc<dyn Handle>)> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let file = self.io.create(&pack_name(kind, number))?;
        Ok((number, file))
    }
}

/// The name of a pack.
pub(super) fn pack_name(kind: PackKind, number: u64) -> String {
    format!("{FOLDER}/{}", file_name(kind, number))
}

/// The name of a pack, without its folder.
pub(super) fn file_name(kind: PackKind, number: u64) -> String {
    format!("{}-{number:016x}", char::from(kind.letter()))
}

/// The pack of this name, without its folder.
pub(super) fn pack_of(name: &str) -> Option<(PackKind, u64)> {
    let (letter, number) = name.split_once('-')?;
    let &[letter] = letter.as_bytes() else { return None };
    let pack = (PackKind::of(letter)?, u64::from_str_radix(number, 16).ok()?);
    (file_name(pack.0, pack.1) == name).then_some(pack)
}

fn open(io: &dyn Io, pointer: &Pointer) -> Result<Arc<dyn Handle>, FrameError> {
    io.open(&pack_name(pointer.kind, pointer.pack)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FrameError::NoPack,
        _ => FrameError::Io(error),
    })
}

fn read_frame(file: &dyn Handle, key: &[u8], pointer: &Pointer) -> Result<Bytes, FrameError> {
    // A length that is a lie must not make us ask for memory.
    if file.size().map_err(FrameError::Io)? < pointer.end() {
        return Err(FrameError::Damaged);
    }
    let mut frame = vec![0; pointer.length as usize];
    file.read_at(&mut frame, u64::from(pointer.offset)).map_err(FrameError::Io)?;
    value_of(frame, key, pointer).ok_or(FrameError::Damaged)
}

fn value_of(bytes: Vec<u8>, key: &[u8], pointer: &Pointer) -> Option<Bytes> {
    let frame = frame::read(&bytes)?;
    let good = frame.crc == pointer.crc && frame.key == key && frame.length == bytes.len();
    let start = FRAME + key.len();
    good.then(|| Bytes::from(bytes).slice(start..))
}
