//! Recovery: from what is on the disk to where the engine goes on.
//!
//! [`survey`] only reads, and refuses where something that was acknowledged would be lost. What it
//! has found is then made ready by [`recover`]. Its writes can be repeated: a crash in the middle of
//! them changes nothing of what a survey finds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::group;
use super::index::{self, APPLIED, Applied, FORMAT, IDENTITY, Identity, Index, OWN, PACKS};
use super::io::{Io, read_whole};
use super::log::{self, Found, Place, Slot, UNREADY, slot_name, slot_number};
use super::overlay::Generation;
use super::packs::{self, Pack, pack_name, pack_of};
use super::value::{Kind, Pointer};
use super::{OpenError, Options, backup};

/// The largest file that is taken for a slot, in bytes.
const SLOT: u64 = 1 << 30;

/// Where the engine goes on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) salt: u32,
    pub(super) applied: u64,
    pub(super) place: Place,
    pub(super) replayed: Generation,
    pub(super) packs: BTreeMap<u64, Pack>,
    pub(super) next_pack: u64,
}

/// What is on the disk.
#[derive(Debug)]
pub(super) struct Survey {
    /// Where the engine goes on.
    pub(super) recovered: Recovered,
    identity: Identity,
    /// The last group, as it lies in the current slot.
    tail: Option<(u64, Vec<u8>)>,
    /// Slots that were not finished.
    unready: Vec<String>,
    /// Packs to which nothing points.
    pub(super) stray: Vec<String>,
}

/// Make everything ready to go on.
pub(super) fn recover(
    io: &Arc<dyn Io>,
    index: &dyn Index,
    options: &Options,
) -> Result<Recovered, OpenError> {
    // A process that was killed may have left names that are not durable, and those are relied on
    // from now on.
    for folder in [log::FOLDER, packs::FOLDER] {
        io.make_folder(folder)?;
        io.sync_folder(folder)?;
    }
    io.sync_folder("")?;
    if identity(index)?.is_none() {
        create(io, index, options)?;
    }
    backup::forget_import(&**io)?;
    let Survey { mut recovered, identity, tail, unready, stray } = survey(io, index, options)?;
    for name in &unready {
        io.remove(name)?;
    }
    let place = &mut recovered.place;
    if let Some((offset, bytes)) = tail {
        // The process may have ended before its sync, or because of it: then it was read from
        // memory, and only what is written again will be written.
        let slot = &place.slots[place.current].file;
        slot.write_at(&bytes, offset)?;
        slot.sync()?;
    }
    if place.slots.is_empty() {
        place.slots.push(Slot::make(&**io, 0, options.slot_bytes, 0)?);
    }
    shrink(&**io, place, recovered.applied)?;
    if !identity.begun {
        let identity = Identity { begun: true, ..identity };
        index.apply(vec![(IDENTITY.to_vec(), Some(identity.write()))])?;
        index.flush()?;
    }
    // Only now: without the last group, something may still point to them.
    for name in &stray {
        io.remove(name)?;
    }
    Ok(recovered)
}

/// Let go of slots that a busy time has left behind: beside the current one, one free slot stays.
fn shrink(io: &dyn Io, place: &mut Place, applied: u64) -> io::Result<()> {
    let (mut i, mut free) = (0, 0);
    while i < place.slots.len() {
        let is_free = i != place.current && place.slots[i].last <= applied;
        free += usize::from(is_free);
        if is_free && free > 1 {
            let slot = place.slots.remove(i);
            place.current -= usize::from(i < place.current);
            io.remove(&slot_name(slot.number))?;
        } else {
            i += 1;
        }
    }
    Ok(())
}

/// A new store, or one from a backup. Nothing may be there that belongs to another.
fn create(io: &Arc<dyn Io>, index: &dyn Index, options: &Options) -> Result<(), OpenError> {
    let logged = !io.list(log::FOLDER)?.is_empty();
    if logged {
        return Err(OpenError::IndexMissing("a log".to_owned()));
    }
    if backup::import(io, index)? {
        // The packs belong to it.
    } else if !io.list(packs::FOLDER)?.is_empty() {
        return Err(OpenError::IndexMissing("a folder of packs".to_owned()));
    } else if !index.scan(&[], &[], 1)?.is_empty() {
        return Err(OpenError::IndexDamaged("it does not say what it belongs to".to_owned()));
    }
    let identity = Identity { format: FORMAT, salt: options.salt, begun: false };
    index.apply(vec![(IDENTITY.to_vec(), Some(identity.write()))])?;
    index.flush()?;
    Ok(())
}

fn identity(index: &dyn Index) -> Result<Option<Identity>, OpenError> {
    let Some(value) = index.get(IDENTITY)? else { return Ok(None) };
    let damaged = || OpenError::IndexDamaged("what it belongs to does not read".to_owned());
    let identity = Identity::read(&value).ok_or_else(damaged)?;
    if identity.format > FORMAT {
        return Err(OpenError::NewerFormat(identity.format));
    }
    Ok(Some(identity))
}

/// Read what is on the disk, and refuse where something is lost.
pub(super) fn survey(
    io: &Arc<dyn Io>,
    index: &dyn Index,
    options: &Options,
) -> Result<Survey, OpenError> {
    let missing = || OpenError::IndexMissing("a store".to_owned());
    let identity = identity(index)?.ok_or_else(missing)?;
    let salt = crc32c::crc32c(&identity.salt);
    let applied = match index.get(APPLIED)? {
        None => Applied::default(),
        Some(value) => {
            let damaged = || OpenError::IndexDamaged("how far it is does not read".to_owned());
            Applied::read(&value).ok_or_else(damaged)?
        }
    };
    let (slots, unready) = open_slots(&**io)?;
    if slots.is_empty() && identity.begun {
        return Err(OpenError::LogMissing);
    }
    let logged = read_log(slots, salt, applied.sequence)?;
    let mut stray = Vec::new();
    let (packs, next_pack) =
        read_packs(&**io, index, &logged.replayed, applied.next_pack, options, &mut stray)?;
    let recovered = Recovered {
        salt,
        applied: applied.sequence,
        place: logged.place,
        replayed: logged.replayed,
        packs,
        next_pack,
    };
    Ok(Survey { recovered, identity, tail: logged.tail, unready, stray })
}

/// The slots, and the names of those that are not ready.
fn open_slots(io: &dyn Io) -> Result<(Vec<Slot>, Vec<String>), OpenError> {
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

struct Logged {
    place: Place,
    tail: Option<(u64, Vec<u8>)>,
    replayed: Generation,
}

/// Find all groups after the one that was applied last, and replay them.
fn read_log(mut slots: Vec<Slot>, salt: u32, applied: u64) -> Result<Logged, OpenError> {
    let mut firsts = Vec::with_capacity(slots.len());
    for slot in &slots {
        firsts.push(first_sequence(slot, salt)?);
    }
    // If another slot begins later and yet not after what is needed, this one has nothing of it.
    let needless = |first: Option<u64>| {
        let later = |other: u64| first.is_some_and(|first| first < other) && other <= applied + 1;
        firsts.iter().flatten().any(|other| later(*other))
    };
    let mut groups: Vec<(usize, Found)> = Vec::new();
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
    let newest = groups.last().map_or(0, |(_, found)| found.header.sequence);
    if newest < applied {
        return Err(OpenError::LogOlder { newest, applied });
    }
    let known = groups.iter().map(|(_, found)| found.header.applied).max().unwrap_or(0);
    if known > applied {
        return Err(OpenError::IndexOlder { applied, known });
    }
    let needed = groups.partition_point(|(_, found)| found.header.sequence <= applied);
    for (expected, (_, found)) in (applied + 1..).zip(&groups[needed..]) {
        if found.header.sequence != expected {
            return Err(if expected == applied + 1 {
                OpenError::LogGap { missing: expected, newest }
            } else {
                OpenError::LogDamaged { damaged: expected, newest }
            });
        }
    }
    let replayed = replay(&slots, &groups[needed..], salt, newest)?;
    let mut place = Place { slots, current: 0, offset: 0, sequence: newest };
    let mut tail = None;
    if let Some((slot, found)) = groups.last() {
        let mut bytes = vec![0; found.header.room];
        place.slots[*slot].file.read_at(&mut bytes, found.offset as u64)?;
        tail = Some((found.offset as u64, bytes));
        place.current = *slot;
        place.offset = (found.offset + found.header.room) as u64;
    }
    Ok(Logged { place, tail, replayed })
}

/// The sequence number of the group at the beginning of a slot, where there is one.
fn first_sequence(slot: &Slot, salt: u32) -> io::Result<Option<u64>> {
    let mut header = [0; group::HEADER];
    if slot.size < header.len() as u64 {
        return Ok(None);
    }
    slot.file.read_at(&mut header, 0)?;
    let room = group::claimed_room(&header);
    if room as u64 > slot.size.min(SLOT) {
        return Ok(None);
    }
    let mut bytes = vec![0; room];
    slot.file.read_at(&mut bytes, 0)?;
    Ok(group::read(&bytes, salt).map(|(header, _)| header.sequence))
}

fn replay(
    slots: &[Slot],
    groups: &[(usize, Found)],
    salt: u32,
    newest: u64,
) -> Result<Generation, OpenError> {
    let mut replayed = Generation::default();
    let mut held: Option<(usize, Vec<u8>)> = None;
    for (slot, found) in groups {
        let bytes = match &mut held {
            Some((number, bytes)) if number == slot => bytes,
            other => &mut other.insert((*slot, read_whole(&*slots[*slot].file, SLOT)?)).1,
        };
        let sequence = found.header.sequence;
        let damaged = || OpenError::LogDamaged { damaged: sequence, newest };
        let changes = log::changes_at(bytes, found, salt).ok_or_else(damaged)?;
        replayed.add(sequence, found.header.room, changes);
    }
    Ok(replayed)
}

/// Bring together which packs there are and which there should be.
fn read_packs(
    io: &dyn Io,
    index: &dyn Index,
    replayed: &Generation,
    next: u64,
    options: &Options,
    stray: &mut Vec<String>,
) -> Result<(BTreeMap<u64, Pack>, u64), OpenError> {
    let mut live: BTreeMap<u64, u64> = counts(index)?;
    let pending = ends(replayed.staged());
    let seen = live.keys().chain(&replayed.dropped).chain(pending.keys().map(|(_, number)| number));
    let seen = seen.copied().max();
    let mut next = next.max(seen.map_or(0, |seen| seen + 1));
    let mut table = BTreeMap::new();
    let mut missing = Vec::new();
    for (name, total) in io.list(packs::FOLDER)? {
        let Some((kind, number)) = pack_of(&name) else { continue };
        next = next.max(number + 1);
        let of_index = live.remove(&number).unwrap_or(0);
        let of_log = pending.get(&(kind, number)).copied();
        if of_index == 0 && of_log.is_none() {
            stray.push(pack_name(kind, number));
            continue;
        }
        if total < of_log.unwrap_or(0).max(of_index + super::frame::HEADER as u64) {
            missing.push(pack_name(kind, number));
        }
        table.insert(number, Pack { kind, total, live: of_index, pending: of_log.is_some() });
    }
    missing.extend(live.keys().map(|number| format!("{}/?-{number:016x}", packs::FOLDER)));
    let lost = pending.keys().filter(|(_, number)| !table.contains_key(number));
    missing.extend(lost.map(|(kind, number)| pack_name(*kind, *number)));
    if !missing.is_empty() && !options.without_missing_packs {
        return Err(OpenError::PacksMissing(missing));
    }
    Ok((table, next))
}

/// The counts of live bytes, by the numbers of the packs.
pub(super) fn counts(index: &dyn Index) -> Result<BTreeMap<u64, u64>, OpenError> {
    let mut counts = BTreeMap::new();
    let mut from = PACKS.to_vec();
    loop {
        let run = index.scan(&from, PACKS, 1024)?;
        let Some((last, _)) = run.last() else { return Ok(counts) };
        from = [last.as_slice(), &[0]].concat();
        for (key, value) in &run {
            let damaged = || OpenError::IndexDamaged("a count of a pack does not read".to_owned());
            let (number, live) = index::read_count(key, value).ok_or_else(damaged)?;
            counts.insert(number, live);
        }
    }
}

/// How far packs are pointed into.
pub(super) fn ends(pointers: impl Iterator<Item = Pointer>) -> BTreeMap<(Kind, u64), u64> {
    let mut ends = BTreeMap::new();
    for pointer in pointers {
        let end = ends.entry((pointer.kind, pointer.pack)).or_default();
        *end = pointer.end().max(*end);
    }
    ends
}

/// Whether a key is one of the engine's own.
pub(super) fn is_own(key: &[u8]) -> bool {
    key.first() == Some(&OWN)
}
