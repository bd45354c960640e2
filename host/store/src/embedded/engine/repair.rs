//! Repair: a store that opens, out of one that does not.
//!
//! ```text
//!  mark ▶ tell what is lost ▶ remove it from the index, count again ▶ apply what the log still has
//!       ▶ copy what is live in damaged packs ▶ quarantine them, and a log that is given up ▶ unmark
//! ```
//! The mark is in the index: as long as it is there the store does not open. So whenever a repair
//! ends early, it is run again, and finds a store in which some of this has been done. Files leave
//! only once the index durably does without them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::applier::RoundError;
use super::batch::KeyChange;
use super::compact::Moved;
use super::core::{Core, held};
use super::io::Io;
use super::log::slot_name;
use super::ordered_map::{
    self, APPLIED, Applied, Changes, IDENTITY, Identity, OrderedMap, PACKS, REPAIR,
};
use super::overlay::Generation;
use super::packs::{self, FrameError, Pack, Packs, pack_name, pack_of};
use super::recovery::{self, Inspection, RecoveredEngine};
use super::value::{PackKind, Pointer, Stored};
use super::{EngineOpenError, EngineOptions, frame, log};

/// The folder of files that are damaged or given up.
pub(crate) const FOLDER: &str = "quarantine";

/// So much of what has been copied waits for being pointed to, in keys and in bytes.
const KEYS: usize = 4096;
const BYTES: u64 = 64 << 20;

/// What is wrong with a key that a lost part of the log has changed.
const CHANGED: &str = "it was changed by a part of the log that is lost, or comes after what is";

/// Receives each key that is lost, and what is wrong with it.
type Tell<'a> = &'a mut dyn FnMut(&[u8], &'static str);

/// What a repair has done.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// How many keys it has told to be lost.
    pub(crate) lost: u64,
    /// Whether the log has been given up from some group on.
    pub(crate) log_given_up: bool,
    /// The files that lie in the folder `quarantine` now, and did not before.
    pub(crate) quarantined: Vec<String>,
}

/// Tell the keys that are lost, as far as this can be known without reading values.
pub(super) fn concerned(
    io: &Arc<dyn Io>,
    index: &dyn OrderedMap,
    tell: Tell<'_>,
) -> Result<u64, EngineOpenError> {
    let mut look = recovery::inspect(&**io, index)?;
    let mut damage = Damage::new(io, false, tell)?;
    damage.of_log(&mut look)?;
    let replayed = &look.logged.replayed;
    ordered_map::each(index, &[], |key, value| {
        if !ordered_map::is_own(&key) {
            damage.of_entry(&key, &value, replayed);
        }
        Ok::<(), EngineOpenError>(())
    })?;
    Ok(damage.told)
}

pub(super) fn repair(
    io: &Arc<dyn Io>,
    index: &Arc<dyn OrderedMap>,
    options: &EngineOptions,
    tell: Tell<'_>,
) -> Result<Repaired, EngineOpenError> {
    for folder in [log::FOLDER, packs::FOLDER, FOLDER] {
        io.make_folder(folder)?;
    }
    io.sync_folder("")?;
    let mut look = recovery::inspect(&**io, &**index)?;
    let log_given_up = look.refused.is_some() || look.repair == Some(true);
    index.apply(vec![(REPAIR.to_vec(), Some(vec![u8::from(log_given_up)]))])?;
    index.flush()?;

    let mut damage = Damage::new(io, true, tell)?;
    damage.of_log(&mut look)?;
    let live = damage.clean(&**index, &look.logged.replayed)?;
    damage.of_headers(io)?;
    let Damage { sizes, mut bad, told, seen, .. } = damage;
    let Inspection { identity, applied, logged, .. } = look;
    if !log_given_up {
        recovery::sync_tail(&logged.place, logged.tail.as_ref())?;
    }

    // What the log still has comes into the index, as always.
    let place = logged.place;
    let slots: Vec<u32> = place.slots.iter().map(|slot| slot.number).collect();
    let pending: BTreeSet<u64> = logged.replayed.staged().map(|pointer| pointer.pack).collect();
    let mut table = BTreeMap::new();
    for (&(kind, number), &total) in &sizes {
        let live = live.get(&number).copied().unwrap_or(0);
        table.insert(number, Pack { kind, total, live, pending: pending.contains(&number) });
    }
    let dropped = logged.replayed.dropped.iter().max();
    let next_pack = applied.next_pack.max(seen + 1).max(dropped.map_or(0, |number| number + 1));
    let recovered = RecoveredEngine {
        salt: identity.salt(),
        applied: applied.sequence,
        place,
        replayed: logged.replayed,
        packs: table,
        next_pack,
    };
    let core = Core::start(Arc::clone(io), Arc::clone(index), options.clone(), recovered);
    // No file goes but into quarantine.
    core.packs.pin();
    core.round().map_err(round_error)?;
    core.rescue(&mut bad)?;

    let mut quarantine = Quarantine { io, moved: Vec::new() };
    let kept = core.packs.with(|table| {
        let kept = table.iter().filter(|(_, pack)| pack.live > 0);
        kept.map(|(number, pack)| (pack.kind, *number)).collect::<BTreeSet<_>>()
    });
    for (name, _) in io.list(packs::FOLDER)? {
        if pack_of(&name).is_some_and(|pack| !kept.contains(&pack)) {
            quarantine.take(&format!("{}/{name}", packs::FOLDER))?;
        }
    }
    let mut changes = vec![(REPAIR.to_vec(), None)];
    if log_given_up {
        for number in slots {
            quarantine.take(&slot_name(number))?;
        }
        // Another salt: should a slot of the old log come back, it has nothing of this one.
        let identity = Identity { salt: options.salt, begun: false, ..identity };
        let applied = Applied { sequence: 0, next_pack: core.packs.next() };
        changes.push((IDENTITY.to_vec(), Some(identity.write())));
        changes.push((APPLIED.to_vec(), Some(applied.write())));
    }
    for folder in [FOLDER, packs::FOLDER, log::FOLDER] {
        io.sync_folder(folder)?;
    }
    index.apply(changes)?;
    index.flush()?;
    // It opens now, or says why not.
    recovery::survey(io, &**index, options)?;
    Ok(Repaired { lost: told, log_given_up, quarantined: quarantine.moved })
}

/// Finds what is damaged, and tells it.
struct Damage<'a> {
    packs: Packs,
    /// The packs that are there, with their lengths.
    sizes: BTreeMap<(PackKind, u64), u64>,
    /// Whether values are read.
    reads: bool,
    tell: Tell<'a>,
    told: u64,
    /// Packs of which something cannot be read.
    bad: BTreeSet<u64>,
    /// The highest number of a pack that anything has named.
    seen: u64,
}

impl<'a> Damage<'a> {
    fn new(io: &Arc<dyn Io>, reads: bool, tell: Tell<'a>) -> io::Result<Damage<'a>> {
        let files = io.list(packs::FOLDER)?;
        let sizes: BTreeMap<_, _> =
            files.iter().filter_map(|(name, size)| Some((pack_of(name)?, *size))).collect();
        let table = sizes.iter().map(|(&(kind, number), &total)| {
            (number, Pack { kind, total, live: 0, pending: false })
        });
        let seen = sizes.keys().map(|(_, number)| *number).max().unwrap_or(0);
        let packs = Packs::new(Arc::clone(io), table.collect(), 0);
        Ok(Damage { packs, sizes, reads, tell, told: 0, bad: BTreeSet::new(), seen })
    }

    fn tell(&mut self, key: &[u8], what: &'static str) {
        self.told += 1;
        (self.tell)(key, what);
    }

    /// What the log has that cannot be replayed. Staged values that are lost become removals.
    fn of_log(&mut self, look: &mut Inspection) -> io::Result<()> {
        let salt = look.identity.salt();
        look.logged.not_replayed(salt, |key| self.tell(key, CHANGED))?;
        for (key, change) in &mut look.logged.replayed.changes {
            if let KeyChange::Staged(pointer) = change
                && let Some(what) = self.of_value(key, pointer)
            {
                self.tell(key, what);
                *change = KeyChange::Delete;
            }
        }
        Ok(())
    }

    /// Whether the value of a key is lost. Returns its pointer where it is not, and has one.
    fn of_entry(&mut self, key: &[u8], value: &[u8], replayed: &Generation) -> Entry {
        let what = match Stored::read(key, value) {
            None => Some("its entry in the index is damaged"),
            Some(Stored::Inline(_)) => return Entry::Good(None),
            Some(Stored::At(pointer, _)) => match self.of_value(key, &pointer) {
                None => return Entry::Good(Some(pointer)),
                what => what,
            },
        };
        if let Some(what) = what
            && !replayed.changes.contains_key(key)
        {
            self.tell(key, what);
        }
        Entry::Lost
    }

    /// What is wrong with the value of a key.
    fn of_value(&mut self, key: &[u8], pointer: &Pointer) -> Option<&'static str> {
        self.seen = self.seen.max(pointer.pack);
        let Some(size) = self.sizes.get(&(pointer.kind, pointer.pack)) else {
            return Some("its pack is missing");
        };
        let what = if *size < pointer.end() {
            Some("its pack is cut off")
        } else if self.reads {
            match self.packs.read(key, pointer) {
                Ok(_) => None,
                Err(FrameError::NoPack) => Some("its pack is missing"),
                Err(FrameError::Damaged) => Some("its checksum does not agree"),
                // A disk that is going bad does so.
                Err(FrameError::Io(_)) => Some("it cannot be read"),
            }
        } else {
            None
        };
        if what.is_some() {
            self.bad.insert(pointer.pack);
        }
        what
    }

    /// Packs that do not begin as they should are not kept, either.
    fn of_headers(&mut self, io: &Arc<dyn Io>) -> io::Result<()> {
        for (&(kind, number), &size) in &self.sizes {
            let mut head = [0; frame::HEADER];
            let read = size >= head.len() as u64
                && io.open(&pack_name(kind, number))?.read_at(&mut head, 0).is_ok();
            if !read || head != frame::write_header(kind, number) {
                self.bad.insert(number);
            }
        }
        Ok(())
    }

    /// Remove from the index what is lost, and set the counts right. Returns them.
    fn clean(
        &mut self,
        index: &dyn OrderedMap,
        replayed: &Generation,
    ) -> io::Result<BTreeMap<u64, u64>> {
        let mut live: BTreeMap<u64, u64> = BTreeMap::new();
        let mut counted: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut changes = Changes::new();
        ordered_map::each(index, &[], |key, value| {
            if ordered_map::is_own(&key) {
                if key.starts_with(PACKS) {
                    counted.insert(key, value);
                } else if ![IDENTITY, APPLIED, REPAIR].contains(&&*key) {
                    changes.push((key, None));
                }
                return Ok(());
            }
            match self.of_entry(&key, &value, replayed) {
                Entry::Good(None) => {}
                Entry::Good(Some(pointer)) => {
                    *live.entry(pointer.pack).or_default() += u64::from(pointer.length);
                }
                Entry::Lost => changes.push((key, None)),
            }
            if changes.len() >= KEYS {
                index.apply(std::mem::take(&mut changes))?;
            }
            Ok::<(), io::Error>(())
        })?;
        index.apply(changes)?;
        let right: BTreeMap<_, _> = live
            .iter()
            .map(|(number, live)| {
                (ordered_map::pack_key(*number), ordered_map::write_count(*number, *live))
            })
            .collect();
        let wrong = counted.keys().filter(|key| !right.contains_key(*key));
        let wrong = wrong.map(|key| (key.clone(), None)).collect::<Changes>();
        let missing = right.into_iter().filter(|(key, count)| counted.get(key) != Some(count));
        index.apply(missing.map(|(key, count)| (key, Some(count))).chain(wrong).collect())?;
        index.flush()?;
        Ok(live)
    }
}

/// What an entry of the index has.
enum Entry {
    Good(Option<Pointer>),
    Lost,
}

impl Core {
    /// Copy what is live in these packs, so that nothing points to them.
    fn rescue(&self, bad: &mut BTreeSet<u64>) -> Result<(), EngineOpenError> {
        let applier = &mut *held(&self.applier);
        let (mut moved, mut bytes) = (Vec::new(), 0);
        ordered_map::each(&*self.index, &[], |key, value| {
            let Some(Stored::At(from, front)) = Stored::read(&key, &value) else { return Ok(()) };
            if ordered_map::is_own(&key) || !bad.contains(&from.pack) {
                return Ok(());
            }
            let value = self.packs.read(&key, &from).map_err(|error| match error {
                FrameError::Io(error) => error,
                FrameError::NoPack | FrameError::Damaged => {
                    io::Error::other("a value could be read just now, and cannot any more")
                }
            })?;
            let to = applier.old(from.kind).append(&self.packs, &key, &value)?;
            let front = front.to_vec();
            moved.push(Moved { key, from, to, front });
            bytes += u64::from(from.length);
            if moved.len() >= KEYS || bytes >= BYTES {
                bytes = 0;
                self.need_space(BYTES).map_err(round_error)?;
                applier.sync_old(&self.packs)?;
                self.redirect(&std::mem::take(&mut moved))?;
            }
            Ok::<(), EngineOpenError>(())
        })?;
        applier.sync_old(&self.packs)?;
        self.redirect(&moved)?;
        Ok(())
    }
}

/// Moves files away.
struct Quarantine<'a> {
    io: &'a Arc<dyn Io>,
    moved: Vec<String>,
}

impl Quarantine<'_> {
    /// Move a file, which gets a name that none there has.
    fn take(&mut self, name: &str) -> io::Result<()> {
        let file = name.rsplit('/').next().unwrap_or(name);
        let there: BTreeSet<_> = self.io.list(FOLDER)?.into_iter().map(|(name, _)| name).collect();
        let names = (1..).map(|copy| format!("{file}.{copy}"));
        let free = std::iter::once(file.to_owned()).chain(names).find(|name| !there.contains(name));
        let to = format!("{FOLDER}/{}", free.ok_or(io::ErrorKind::AlreadyExists)?);
        self.io.rename(name, &to)?;
        self.moved.push(to);
        Ok(())
    }
}

fn round_error(error: RoundError) -> EngineOpenError {
    EngineOpenError::Io(match error {
        RoundError::Full => io::ErrorKind::StorageFull.into(),
        RoundError::Unopened(reason) | RoundError::Failed(reason) => io::Error::other(reason),
    })
}
