//! What the log has: which groups are to be replayed, and which cannot be.

use std::io;

use bytes::Bytes;

use super::EngineOpenError;
use super::batch::KeyChange;
use super::io::{Io, read_whole};
use super::log::{self, FoundGroup, LogPosition, Slot, UNREADY, slot_name, slot_number};
use super::log_record;
use super::overlay::Generation;

/// The largest file that is taken for a slot, in bytes.
const SLOT: u64 = 1 << 30;

/// What a log has.
#[derive(Debug)]
pub(super) struct LogContents {
    /// Where it goes on.
    pub(super) place: LogPosition,
    /// The last group, as it lies in the current slot.
    pub(super) tail: Option<(u64, Vec<u8>)>,
    /// The groups after the one that was applied last, up to one that is missing.
    pub(super) replayed: Generation,
    /// Why these are not all that there should be.
    pub(super) refused: Option<EngineOpenError>,
    /// The one that is missing, where there are later ones, and these with their slots.
    missing: Option<u64>,
    later: Vec<(usize, FoundGroup)>,
}

/// The slots, and the names of those that are not ready.
pub(super) fn open_slots(io: &dyn Io) -> Result<(Vec<Slot>, Vec<String>), EngineOpenError> {
    let (mut slots, mut unready) = (Vec::new(), Vec::new());
    for (name, size) in io.list(log::FOLDER)? {
        if let Some(number) = slot_number(&name) {
            let file = io.open(&slot_name(number))?;
            slots.push(Slot { number, file, size, last: 0 });
        } else if name.ends_with(UNREADY) {
            unready.push(format!("{}/{name}", log::FOLDER));
        }
    }
    slots.sort_by_key(|slot| slot.number);
    Ok((slots, unready))
}

/// Find all groups after the one that was applied last, and replay them. Fails only where reading
/// does.
pub(super) fn read_log(mut slots: Vec<Slot>, salt: u32, applied: u64) -> io::Result<LogContents> {
    let mut groups = find(&mut slots, salt, applied)?;
    let newest = groups.last().map_or(0, |(_, found)| found.header.sequence);
    let known = groups.iter().map(|(_, found)| found.header.applied).max().unwrap_or(0);
    let needed = groups.partition_point(|(_, found)| found.header.sequence <= applied);
    let (replayed, count) = replay(&slots, &groups[needed..], salt, applied)?;
    let later = groups.split_off(needed + count);
    let missing = (!later.is_empty()).then_some(applied + 1 + count as u64);
    let refused = match missing {
        _ if newest < applied => Some(EngineOpenError::LogOlder { newest, applied }),
        _ if known > applied => Some(EngineOpenError::IndexOlder { applied, known }),
        Some(missing) if count == 0 => Some(EngineOpenError::LogGap { missing, newest }),
        Some(damaged) => Some(EngineOpenError::LogDamaged { damaged, newest }),
        None => None,
    };
    let mut place = LogPosition { slots, current: 0, offset: 0, sequence: newest };
    let mut tail = None;
    if let Some((slot, found)) = groups.last() {
        let mut bytes = vec![0; found.header.room];
        place.slots[*slot].file.read_at(&mut bytes, found.offset as u64)?;
        tail = Some((found.offset as u64, bytes));
        place.current = *slot;
        place.offset = (found.offset + found.header.room) as u64;
    }
    Ok(LogContents { place, tail, replayed, refused, missing, later })
}

/// All groups that may be needed, with their slots, in order.
fn find(slots: &mut [Slot], salt: u32, applied: u64) -> io::Result<Vec<(usize, FoundGroup)>> {
    let mut firsts = Vec::with_capacity(slots.len());
    for slot in &*slots {
        firsts.push(first_sequence(slot, salt)?);
    }
    // If another slot begins later and yet not after what is needed, this one has nothing of it.
    let needless = |first: Option<u64>| {
        let later = |other: u64| first.is_some_and(|first| first < other) && other <= applied + 1;
        firsts.iter().flatten().any(|other| later(*other))
    };
    let mut groups: Vec<(usize, FoundGroup)> = Vec::new();
    for (i, slot) in slots.iter_mut().enumerate() {
        if needless(firsts[i]) {
            slot.last = applied.min(1);
            continue;
        }
        let bytes = read_whole(&*slot.file, SLOT)?;
        let before = groups.len();
        groups.extend(log::groups(&bytes, salt).map(|found| (i, found)));
        let sequences = groups[before..].iter().map(|(_, found)| found.header.sequence);
        slot.last = sequences.max().unwrap_or(0);
    }
    groups.sort_by_key(|(_, found)| found.header.sequence);
    Ok(groups)
}

/// The sequence number of the group at the beginning of a slot, where there is one.
fn first_sequence(slot: &Slot, salt: u32) -> io::Result<Option<u64>> {
    let mut header = [0; log_record::HEADER];
    if slot.size < header.len() as u64 {
        return Ok(None);
    }
    slot.file.read_at(&mut header, 0)?;
    let room = log_record::claimed_room(&header);
    if room as u64 > slot.size.min(SLOT) {
        return Ok(None);
    }
    let mut bytes = vec![0; room];
    slot.file.read_at(&mut bytes, 0)?;
    Ok(log_record::read(&bytes, salt).map(|(header, _)| header.sequence))
}

/// Replay groups that follow each other, the first of them the one after `applied`. Returns also how
/// many these are.
fn replay(
    slots: &[Slot],
    groups: &[(usize, FoundGroup)],
    salt: u32,
    applied: u64,
) -> io::Result<(Generation, usize)> {
    let mut replayed = Generation::default();
    let mut reader = SlotReader { slots, held: None };
    for (count, (slot, found)) in groups.iter().enumerate() {
        let sequence = found.header.sequence;
        if sequence != applied + 1 + count as u64 {
            return Ok((replayed, count));
        }
        let Some(changes) = log::changes_at(reader.read(*slot)?, found, salt) else {
            return Ok((replayed, count));
        };
        replayed.add(sequence, found.header.room, changes, Vec::new());
    }
    Ok((replayed, groups.len()))
}

/// Reads whole slots, and keeps the last one.
struct SlotReader<'a> {
    slots: &'a [Slot],
    held: Option<(usize, Vec<u8>)>,
}

impl SlotReader<'_> {
    fn read(&mut self, slot: usize) -> io::Result<&[u8]> {
        let held = self.held.take().filter(|(number, _)| *number == slot);
        let held = match held {
            Some(held) => held,
            None => (slot, read_whole(&*self.slots[slot].file, SLOT)?),
        };
        Ok(&self.held.insert(held).1)
    }
}

impl LogContents {
    /// The keys that groups which are not replayed have changed: those of the groups after the
    /// missing one, and of that one as far as it can be read.
    pub(super) fn not_replayed(&self, salt: u32, mut tell: impl FnMut(&[u8])) -> io::Result<()> {
        let mut reader = SlotReader { slots: &self.place.slots, held: None };
        if let Some(missing) = self.missing {
            for slot in 0..self.place.slots.len() {
                let bytes = reader.read(slot)?;
                log_record::remains(bytes, missing).into_iter().for_each(&mut tell);
            }
        }
        for (slot, found) in &self.later {
            let changes: Vec<(Bytes, KeyChange)> =
                log::changes_at(reader.read(*slot)?, found, salt).unwrap_or_default();
            changes.iter().for_each(|(key, _)| tell(key));
        }
        Ok(())
    }
}
