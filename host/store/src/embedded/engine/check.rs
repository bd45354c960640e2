//! What is wrong with a store: every checksum, every pointer, every count, every file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::applier::RoundError;
use super::core::{Core, held};
use super::io::{Handle, Io, is_full, number_of};
use super::ordered_map::{self, APPLIED, IDENTITY, OrderedMap, PACKS, REPAIR, is_own, read_count};
use super::packs::{self, FrameError, Pack, Packs, Pinned, pack_name, pack_of};
use super::recovery;
use super::value::{PackKind, Pointer, Stored};
use super::{EngineOpenError, EngineOptions, backup, frame};

/// Where the keys are written out to.
const SCRATCH: &str = "index.check";
/// How many findings are listed. All are counted.
const LISTED: usize = 1000;

/// What a check has found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How many keys the index has.
    pub(crate) keys: u64,
    /// How many bytes of packs they point to.
    pub(crate) live: u64,
    /// How many things are wrong.
    pub(crate) count: u64,
    /// The first thousand of them.
    pub(crate) findings: Vec<EngineFinding>,
}

/// Sees each key, in order, with its value or why that cannot be read. Says whether to go on.
pub(crate) type See<'a> = &'a mut dyn FnMut(&[u8], Result<Bytes, &'static str>) -> bool;

/// Something that is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineFinding {
    /// The store would not be opened.
    #[error("{0}")]
    Refused(EngineOpenError),
    /// The value of a key cannot be read.
    #[error("key {}: {what}", .key.escape_ascii())]
    Value {
        /// The key.
        key: Bytes,
        /// What is wrong.
        what: &'static str,
    },
    /// The head of a pack is not what it should be.
    #[error("{0} does not begin as a pack does, or as this one")]
    Header(String),
    /// The count of live bytes of a pack is wrong: it is compacted too early or too late.
    #[error("{name}: {counted} bytes are live, and {actual} should be counted")]
    Count {
        /// The pack.
        name: String,
        /// What the index says.
        counted: u64,
        /// What there is.
        actual: u64,
    },
    /// Nothing points to a file. It is removed when the store is opened, if it is one of the store's.
    #[error("nothing points to {0}")]
    Stray(String),
}

impl Report {
    fn add(&mut self, finding: EngineFinding) {
        self.count += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding);
        }
    }

    fn value(&mut self, key: Vec<u8>, what: &'static str) {
        self.add(EngineFinding::Value { key: key.into(), what });
    }
}

impl Core {
    /// Check what is committed now, while commits go on: the keys are written out while nothing is
    /// applied, and read with their values after that. Where the disk is full, they are read as they
    /// lie in the index, and nothing is applied for as long.
    pub(super) fn check(&self, see: See<'_>) -> io::Result<Report> {
        let mut check = Check::new(&self.packs, see);
        let mut applier = held(&self.applier);
        let out = match self.apply_all(&mut applier) {
            Ok(_) => self.write_out(),
            Err(RoundError::Full) => Err(io::ErrorKind::StorageFull.into()),
            Err(RoundError::Unopened(reason)) => Err(io::Error::other(reason)),
            Err(RoundError::Failed(reason)) => {
                Err(io::Error::other(self.fail(&reason).to_string()))
            }
        };
        let table = self.packs.with(|table| table.clone());
        match out {
            Ok(file) => {
                let _pinned = Pinned::new(&self.packs);
                drop(applier);
                let read = backup::each(file, |key, value| check.entry(key, value));
                forget_scratch(&*self.io)?;
                if read? != Some(check.report.keys) {
                    return Err(io::Error::other("the keys of the store do not read back"));
                }
                check.finish(&self.io, &table)
            }
            Err(error) if is_full(&error) => {
                forget_scratch(&*self.io)?;
                ordered_map::each(&*self.index, &[], |key, value| check.entry(&key, &value))?;
                check.finish(&self.io, &table)
            }
            Err(error) => Err(error),
        }
    }

    fn write_out(&self) -> io::Result<Arc<dyn Handle>> {
        if self.need_space(self.index.bytes()).is_err() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        forget_scratch(&*self.io)?;
        backup::write_out(&*self.index, &*self.io, SCRATCH, |_, _| Ok::<(), io::Error>(()))?;
        self.io.open(SCRATCH)
    }
}

/// What a check that was interrupted has left behind.
pub(super) fn forget_scratch(io: &dyn Io) -> io::Result<()> {
    match io.remove(SCRATCH) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Check a store that is not open.
pub(super) fn inspect(
    io: &Arc<dyn Io>,
    index: &dyn OrderedMap,
    options: &EngineOptions,
    see: See<'_>,
) -> io::Result<Report> {
    let mut found = Report::default();
    let mut table = BTreeMap::new();
    let lenient = EngineOptions { without_missing_packs: true, ..options.clone() };
    match recovery::survey(io, index, options) {
        Err(EngineOpenError::Io(error)) => return Err(error),
        Err(refused) => found.add(EngineFinding::Refused(refused)),
        Ok(_) => {}
    }
    if let Ok(survey) = recovery::survey(io, index, &lenient) {
        table = survey.recovered.packs;
        survey.stray.into_iter().for_each(|name| found.add(EngineFinding::Stray(name)));
    }
    let packs = Packs::new(Arc::clone(io), table.clone(), 0);
    let mut check = Check { report: found, ..Check::new(&packs, see) };
    ordered_map::each(index, &[], |key, value| check.entry(&key, &value))?;
    check.finish(io, &table)
}

/// Read those values of a store that is not open which are wanted.
pub(super) fn read(
    io: &Arc<dyn Io>,
    index: &dyn OrderedMap,
    wants: &dyn Fn(&[u8]) -> bool,
    see: See<'_>,
) -> io::Result<()> {
    let packs = Packs::new(Arc::clone(io), BTreeMap::new(), 0);
    ordered_map::each(index, &[], |key, value| {
        if !is_own(&key) && wants(&key) {
            let (_, value) = read_entry(&packs, &key, &value)?;
            go_on(see(&key, value))?;
        }
        Ok(())
    })
}

/// The front of a value that lies in a pack.
pub(super) fn front(index: &dyn OrderedMap, key: &[u8]) -> io::Result<Option<Bytes>> {
    let entry = index.get(key)?;
    Ok(entry.and_then(|entry| match Stored::read(key, &entry)? {
        Stored::At(_, front) => Some(Bytes::copy_from_slice(front)),
        Stored::Inline(_) => None,
    }))
}

fn go_on(wanted: bool) -> io::Result<()> {
    if wanted { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
}

/// The pointer of an entry of the index, and its value or why that cannot be read.
fn read_entry(
    packs: &Packs,
    key: &[u8],
    value: &[u8],
) -> io::Result<(Option<Pointer>, Result<Bytes, &'static str>)> {
    match Stored::read(key, value) {
        None => Ok((None, Err("its entry in the index is damaged"))),
        Some(Stored::Inline(value)) => Ok((None, Ok(Bytes::copy_from_slice(value)))),
        Some(Stored::At(pointer, _)) => {
            let value = match packs.read(key, &pointer) {
                Ok(value) => Ok(value),
                Err(FrameError::NoPack) => Err("its pack is missing"),
                Err(FrameError::Damaged) => Err("its checksum does not agree"),
                // A disk that is going bad does so; what else there is should be known.
                Err(FrameError::Io(error)) if is_bad_disk(&error) => Err("it cannot be read"),
                Err(FrameError::Io(error)) => return Err(error),
            };
            Ok((Some(pointer), value))
        }
    }
}

fn is_bad_disk(error: &io::Error) -> bool {
    number_of(error) == Some(rustix::io::Errno::IO.raw_os_error())
}

/// A check of the entries of an index.
struct Check<'a> {
    packs: &'a Packs,
    see: See<'a>,
    /// How many bytes of each pack are live, as the index has counted, and as they are.
    counted: BTreeMap<u64, u64>,
    actual: BTreeMap<(PackKind, u64), u64>,
    report: Report,
}

impl<'a> Check<'a> {
    fn new(packs: &'a Packs, see: See<'a>) -> Check<'a> {
        let (counted, actual) = (BTreeMap::new(), BTreeMap::new());
        Check { packs, see, counted, actual, report: Report::default() }
    }

    fn entry(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if is_own(key) {
            check_own(key.to_vec(), value, &mut self.counted, &mut self.report);
            return Ok(());
        }
        self.report.keys += 1;
        let (pointer, value) = read_entry(self.packs, key, value)?;
        if let Some(pointer) = pointer {
            let length = u64::from(pointer.length);
            self.report.live += length;
            *self.actual.entry((pointer.kind, pointer.pack)).or_default() += length;
        }
        if let Err(what) = value {
            self.report.value(key.to_vec(), what);
        }
        go_on((self.see)(key, value))
    }

    fn finish(mut self, io: &Arc<dyn Io>, table: &BTreeMap<u64, Pack>) -> io::Result<Report> {
        check_counts(&self.counted, &self.actual, &mut self.report);
        check_files(io, table, &mut self.report)?;
        Ok(self.report)
    }
}

fn check_own(key: Vec<u8>, value: &[u8], counted: &mut BTreeMap<u64, u64>, report: &mut Report) {
    if key.starts_with(PACKS) {
        match read_count(&key, value) {
            Some((number, live)) => drop(counted.insert(number, live)),
            None => report.value(key, "a count of a pack is damaged"),
        }
    } else if ![IDENTITY, APPLIED, REPAIR].contains(&&*key) {
        report.value(key, "nobody has written this");
    }
}

fn check_counts(
    counted: &BTreeMap<u64, u64>,
    actual: &BTreeMap<(PackKind, u64), u64>,
    report: &mut Report,
) {
    let mut seen = BTreeSet::new();
    for (&(kind, number), &actual) in actual {
        seen.insert(number);
        let counted = counted.get(&number).copied().unwrap_or(0);
        if counted != actual {
            report.add(EngineFinding::Count { name: pack_name(kind, number), counted, actual });
        }
    }
    for (number, &counted) in counted.iter().filter(|(number, _)| !seen.contains(*number)) {
        let name = format!("pack {number:016x}");
        report.add(EngineFinding::Count { name, counted, actual: 0 });
    }
}

fn check_files(
    io: &Arc<dyn Io>,
    table: &BTreeMap<u64, Pack>,
    report: &mut Report,
) -> io::Result<()> {
    for (name, size) in io.list(packs::FOLDER)? {
        match pack_of(&name) {
            Some((kind, number)) if table.contains_key(&number) => {
                let file = io.open(&pack_name(kind, number))?;
                let mut head = vec![0; frame::HEADER.min(usize::try_from(size).unwrap_or(0))];
                file.read_at(&mut head, 0)?;
                // An empty pack has been begun and not been written to yet.
                if size > 0 && head != frame::write_header(kind, number) {
                    report.add(EngineFinding::Header(pack_name(kind, number)));
                }
            }
            // It has been staged, or removed, just now.
            Some(_) => {}
            None => report.add(EngineFinding::Stray(format!("{}/{name}", packs::FOLDER))),
        }
    }
    Ok(())
}
