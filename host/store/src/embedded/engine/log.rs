//! The log: slots of a fixed size, filled with zeros once and then reused in place.
//!
//! ```text
//!  log/slot-0000   [ group 7 ][ group 8 ]..[ group 9 ]  remains of groups 1 to 3
//!  log/slot-0001   [ group 4 ][ group 5 ][ group 6 ]    zeros
//! ```
//! To sync a write into blocks that are there costs a fraction of syncing a file that grows. A slot
//! is free once the index has durably applied its last group; its old groups stay until they are
//! written over, and no reader takes them for new ones, because numbers only ever go up.
//!
//! One group is written and synced at a time. So of all groups only the last can be torn, and what
//! lies after it is older.

use std::io;
use std::sync::Arc;

use super::batch::{Batch, KeyChange};
use super::io::{Handle, Io, is_full, is_unchanged};
use super::log_record::{self, Header};

/// The folder.
pub(super) const FOLDER: &str = "log";
/// What the names of slots that are not ready yet end with.
pub(super) const UNREADY: &str = ".new";
/// Slots are filled with zeros in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// One file of the log.
#[derive(Debug)]
pub(super) struct Slot {
    /// Which one.
    pub(super) number: u32,
    /// The file.
    pub(super) file: Arc<dyn Handle>,
    /// Its length, in bytes.
    pub(super) size: u64,
    /// The sequence number of its last group; 0 where it has none.
    pub(super) last: u64,
}

/// The log, at the place where it goes on.
#[derive(Debug)]
pub(super) struct CommitLog {
    io: Arc<dyn Io>,
    salt: u32,
    slot_bytes: u64,
    floor: u64,
    most: usize,
    slots: Vec<Slot>,
    next_slot: u32,
    /// The slot that is written to, and how far it is full.
    current: usize,
    offset: u64,
    sequence: u64,
    buffer: Vec<u8>,
}

/// Why a batch is not in the log.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Nothing was written: a slot is needed, and the disk is full.
    Full,
    /// Nothing was written: a slot is needed, and its file could not be opened.
    Unopened(io::Error),
    /// Nobody knows what has been written.
    Unknown(io::Error),
}

/// Where a log goes on, as recovery has found it.
#[derive(Debug)]
pub(super) struct LogPosition {
    /// The slots.
    pub(super) slots: Vec<Slot>,
    /// The one with the last group; where there is none, any.
    pub(super) current: usize,
    /// The end of the last group.
    pub(super) offset: u64,
    /// Its sequence number.
    pub(super) sequence: u64,
}

impl CommitLog {
    /// Go on at this place. There is at least one slot.
    pub(super) fn new(
        io: Arc<dyn Io>,
        salt: u32,
        options: &super::EngineOptions,
        place: LogPosition,
    ) -> CommitLog {
        let LogPosition { slots, current, offset, sequence } = place;
        let next_slot = slots.iter().map(|slot| slot.number + 1).max().unwrap_or(0);
        CommitLog {
            io,
            salt,
            slot_bytes: options.slot_bytes,
            floor: options.floor_bytes,
            most: usize::try_from(options.log_bytes / options.slot_bytes).unwrap_or(2).max(2),
            slots,
            next_slot,
            current,
            offset,
            sequence,
            buffer: Vec::new(),
        }
    }

    /// The sequence number of the last group.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many slots there are, and how many bytes they take.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.slots.len(), self.slots.iter().map(|slot| slot.size).sum())
    }

    /// Whether there is or may be a place for a group of this many bytes.
    pub(super) fn has_room(&self, room: usize, applied: u64) -> bool {
        // Slots of an earlier time may all be too small.
        let large = self.slots.iter().any(|slot| slot.size >= room as u64);
        let may_grow = self.slots.len() < self.most || !large;
        self.fits(room) || self.free(room, applied).is_some() || may_grow
    }

    /// Write a batch and sync it. Returns its sequence number, and the bytes that it took.
    pub(super) fn append(
        &mut self,
        batch: &Batch,
        applied: u64,
    ) -> Result<(u64, usize), AppendError> {
        let sequence = self.sequence + 1;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        log_record::write(&mut buffer, self.salt, sequence, applied, &batch.changes);
        if !self.fits(buffer.len()) {
            match self.turn(buffer.len(), applied) {
                Ok(()) => {}
                Err(error) if is_full(&error) => return Err(AppendError::Full),
                Err(error) if is_unchanged(&error) => return Err(AppendError::Unopened(error)),
                Err(error) => return Err(AppendError::Unknown(error)),
            }
        }
        let slot = &mut self.slots[self.current];
        let written = slot.file.write_at(&buffer, self.offset).and_then(|()| slot.file.sync());
        written.map_err(AppendError::Unknown)?;
        slot.last = sequence;
        self.offset += buffer.len() as u64;
        self.sequence = sequence;
        let room = buffer.len();
        // One large group must not hold on to its memory.
        buffer.shrink_to(PIECE);
        self.buffer = buffer;
        Ok((sequence, room))
    }

    /// Whether a spare slot should be made now, so that no commit has to wait for one: its number.
    pub(super) fn wants_spare(&mut self, applied: u64) -> Option<u32> {
        let wanted = self.slots.len() < self.most && self.free(0, applied).is_none();
        wanted.then(|| self.take_number())
    }

    /// Take in a slot that has been made.
    pub(super) fn add(&mut self, slot: Slot) {
        self.slots.push(slot);
    }

    fn fits(&self, room: usize) -> bool {
        self.offset + room as u64 <= self.slots[self.current].size
    }

    fn free(&self, room: usize, applied: u64) -> Option<usize> {
        let free = |slot: &Slot| slot.last <= applied && room as u64 <= slot.size;
        (0..self.slots.len()).find(|&i| i != self.current && free(&self.slots[i]))
    }

    /// Go on in another slot.
    fn turn(&mut self, room: usize, applied: u64) -> io::Result<()> {
        self.current = match self.free(room, applied) {
            Some(slot) => slot,
            None => {
                let number = self.take_number();
                let slot = Slot::make(&*self.io, number, self.slot_bytes, self.floor)?;
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.offset = 0;
        Ok(())
    }

    fn take_number(&mut self) -> u32 {
        self.next_slot += 1;
        self.next_slot - 1
    }
}

impl Slot {
    /// Make a slot: when it has its name, all its blocks are on the disk. So many bytes of it stay
    /// free.
    pub(super) fn make(io: &dyn Io, number: u32, size: u64, floor: u64) -> io::Result<Slot> {
        if io.free()? < size.saturating_add(floor) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let name = slot_name(number);
        let unready = format!("{name}{UNREADY}");
        let made = fill(io, &unready, size).and_then(|file| {
            io.rename(&unready, &name)?;
            io.sync_folder(FOLDER)?;
            Ok(Slot { number, file, size, last: 0 })
        });
        if let Err(error) = &made
            && (is_full(error) || is_unchanged(error))
            && let Err(error) = io.remove(&unready)
            && error.kind() != io::ErrorKind::NotFound
        {
            // It is removed when the store is opened again.
            tracing::warn!(%unready, %error, "a part of a slot of the log stays on the disk");
        }
        made
    }
}

fn fill(io: &dyn Io, name: &str, size: u64) -> io::Result<Arc<dyn Handle>> {
    let file = io.create(name)?;
    let zeros = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
    let mut at = 0;
    while at < size {
        let piece = usize::try_from(size - at).map_or(zeros.len(), |left| left.min(zeros.len()));
        file.write_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    file.sync()?;
    Ok(file)
}

/// The name of a slot.
pub(super) fn slot_name(number: u32) -> String {
    format!("{FOLDER}/slot-{number:04}")
}

/// The number of the slot of this name, without its folder.
pub(super) fn slot_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("slot-")?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// A group that lies in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundGroup {
    /// What its header says.
    pub(super) header: Header,
    /// Where it begins.
    pub(super) offset: usize,
}

/// All groups that lie in these bytes of a slot, in the order of their places.
pub(super) fn groups(bytes: &[u8], salt: u32) -> impl Iterator<Item = FoundGroup> + '_ {
    let mut offset = 0;
    std::iter::from_fn(move || {
        while offset < bytes.len() {
            let at = offset;
            match log_record::read(&bytes[at..], salt) {
                Some((header, _)) => {
                    offset += header.room;
                    return Some(FoundGroup { header, offset: at });
                }
                None => offset += log_record::ALIGNMENT,
            }
        }
        None
    })
}

/// The changes of a group that lies in these bytes of a slot.
pub(super) fn changes_at(
    bytes: &[u8],
    found: &FoundGroup,
    salt: u32,
) -> Option<Vec<(bytes::Bytes, KeyChange)>> {
    let (header, changes) = log_record::read(bytes.get(found.offset..)?, salt)?;
    log_record::changes(changes, header.count)
}
