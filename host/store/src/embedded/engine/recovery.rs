//! Recovery: from what is on the disk to where the engine goes on.
//!
//! [`survey`] only reads, and refuses where something that was acknowledged would be lost. What it
//! has found is then made ready by [`recover`]. Its writes can be repeated: a crash in the middle of
//! them changes nothing of what a survey finds.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::io::Io;
use super::log::{self, LogPosition, Slot, slot_name};
use super::ordered_map::{
    self, APPLIED, Applied, FORMAT, IDENTITY, Identity, OrderedMap, PACKS, REPAIR,
};
use super::overlay::Generation;
use super::packs::{self, Pack, pack_name, pack_of};
use super::replay::{self, LogContents};
use super::value::{PackKind, Pointer};
use super::{EngineOpenError, EngineOptions, backup, check};

/// Where the engine goes on.
#[derive(Debug)]
pub(super) struct RecoveredEngine {
    pub(super) salt: u32,
    pub(super) applied: u64,
    pub(super) place: LogPosition,
    pub(super) replayed: Generation,
    pub(super) packs: BTreeMap<u64, Pack>,
    pub(super) next_pack: u64,
}

/// What is on the disk.
#[derive(Debug)]
pub(super) struct Survey {
    /// Where the engine goes on.
    pub(super) recovered: RecoveredEngine,
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
    index: &dyn OrderedMap,
    options: &EngineOptions,
) -> Result<RecoveredEngine, EngineOpenError> {
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
    check::forget_scratch(&**io)?;
    let Survey { mut recovered, identity, tail, unready, stray } = survey(io, index, options)?;
    for name in &unready {
        io.remove(name)?;
    }
    let place = &mut recovered.place;
    sync_tail(place, tail.as_ref())?;
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

/// Make the last group durable. The process may have ended before its sync, or because of it: then
/// it was read from memory, and only what is written again will be written.
pub(super) fn sync_tail(place: &LogPosition, tail: Option<&(u64, Vec<u8>)>) -> io::Result<()> {
    let Some((offset, bytes)) = tail else { return Ok(()) };
    let slot = &place.slots[place.current].file;
    slot.write_at(bytes, *offset)?;
    slot.sync()
}

/// Let go of slots that a busy time has left behind: beside the current one, one free slot stays.
fn shrink(io: &dyn Io, place: &mut LogPosition, applied: u64) -> io::Result<()> {
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
fn create(
    io: &Arc<dyn Io>,
    index: &dyn OrderedMap,
    options: &EngineOptions,
) -> Result<(), EngineOpenError> {
    let logged = !io.list(log::FOLDER)?.is_empty();
    if logged {
        return Err(EngineOpenError::IndexMissing("a log".to_owned()));
    }
    if backup::import(io, index)? {
        // The packs belong to it.
    } else if !io.list(packs::FOLDER)?.is_empty() {
        return Err(EngineOpenError::IndexMissing("a folder of packs".to_owned()));
    } else if !index.scan(&[], &[], 1)?.is_empty() {
        return Err(EngineOpenError::IndexDamaged("it does not say what it belongs to".to_owned()));
    }
    let identity = Identity { format: FORMAT, salt: options.salt, begun: false };
    index.apply(vec![(IDENTITY.to_vec(), Some(identity.write()))])?;
    index.flush()?;
    Ok(())
}

fn identity(index: &dyn OrderedMap) -> Result<Option<Identity>, EngineOpenError> {
    let Some(value) = index.get(IDENTITY)? else { return Ok(None) };
    let damaged = || EngineOpenError::IndexDamaged("what it belongs to does not read".to_owned());
    let identity = Identity::read(&value).ok_or_else(damaged)?;
    if identity.format > FORMAT {
        return Err(EngineOpenError::NewerFormat(identity.format));
    }
    Ok(Some(identity))
}

/// What the index and the log say, whether or not the store can be opened.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) identity: Identity,
    pub(super) applied: Applied,
    pub(super) logged: LogContents,
    /// Slots that were not finished.
    unready: Vec<String>,
    /// A repair has not finished: whether it gives up the log.
    pub(super) repair: Option<bool>,
    /// Why the log is not all that it should be.
    pub(super) refused: Option<EngineOpenError>,
}

/// Look at the index and at the log.
pub(super) fn inspect(io: &dyn Io, index: &dyn OrderedMap) -> Result<Inspection, EngineOpenError> {
    let missing = || EngineOpenError::IndexMissing("a store".to_owned());
    let identity = identity(index)?.ok_or_else(missing)?;
    let applied = match index.get(APPLIED)? {
        None => Applied::default(),
        Some(value) => {
            let damaged =
                || EngineOpenError::IndexDamaged("how far it is does not read".to_owned());
            Applied::read(&value).ok_or_else(damaged)?
        }
    };
    let repair = index.get(REPAIR)?.map(|value| value == [1]);
    let (slots, unready) = replay::open_slots(io)?;
    let lost = slots.is_empty() && identity.begun;
    let mut logged = replay::read_log(slots, identity.salt(), applied.sequence)?;
    let refused = if lost { Some(EngineOpenError::LogMissing) } else { logged.refused.take() };
    Ok(Inspection { identity, applied, logged, unready, repair, refused })
}

/// Read what is on the disk, and refuse where something is lost.
pub(super) fn survey(
    io: &Arc<dyn Io>,
    index: &dyn OrderedMap,
    options: &EngineOptions,
) -> Result<Survey, EngineOpenError> {
    let Inspection { identity, applied, logged, unready, repair, refused } = inspect(&**io, index)?;
    if repair.is_some() {
        return Err(EngineOpenError::RepairUnfinished);
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    let mut stray = Vec::new();
    let (packs, next_pack) =
        read_packs(&**io, index, &logged.replayed, applied.next_pack, options, &mut stray)?;
    let recovered = RecoveredEngine {
        salt: identity.salt(),
        applied: applied.sequence,
        place: logged.place,
        replayed: logged.replayed,
        packs,
        next_pack,
    };
    Ok(Survey { recovered, identity, tail: logged.tail, unready, stray })
}

/// Bring together which packs there are and which there should be.
fn read_packs(
    io: &dyn Io,
    index: &dyn OrderedMap,
    replayed: &Generation,
    next: u64,
    options: &EngineOptions,
    stray: &mut Vec<String>,
) -> Result<(BTreeMap<u64, Pack>, u64), EngineOpenError> {
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
        return Err(EngineOpenError::PacksMissing(missing));
    }
    Ok((table, next))
}

/// The counts of live bytes, by the numbers of the packs.
pub(super) fn counts(index: &dyn OrderedMap) -> Result<BTreeMap<u64, u64>, EngineOpenError> {
    let mut counts = BTreeMap::new();
    ordered_map::each(index, PACKS, |key, value| {
        let damaged =
            || EngineOpenError::IndexDamaged("a count of a pack does not read".to_owned());
        let (number, live) = ordered_map::read_count(&key, &value).ok_or_else(damaged)?;
        counts.insert(number, live);
        Ok::<(), EngineOpenError>(())
    })?;
    Ok(counts)
}

/// How far packs are pointed into.
pub(super) fn ends(pointers: impl Iterator<Item = Pointer>) -> BTreeMap<(PackKind, u64), u64> {
    let mut ends = BTreeMap::new();
    for pointer in pointers {
        let end = ends.entry((pointer.kind, pointer.pack)).or_default();
        *end = pointer.end().max(*end);
    }
    ends
}
