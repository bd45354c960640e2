//! What is wrong with a store: every checksum, every pointer, every count, every file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::core::{Core, held};
use super::index::{self, APPLIED, IDENTITY, Index, PACKS, REPAIR, is_own, read_count};
use super::io::Io;
use super::packs::{self, FrameError, Pack, Packs, pack_name, pack_of};
use super::recovery;
use super::value::{Kind, Stored};
use super::{OpenError, Options, frame};

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
    pub(crate) findings: Vec<Finding>,
}

/// Something that is wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Finding {
    /// The store would not be opened.
    #[error("{0}")]
    Refused(OpenError),
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
    fn add(&mut self, finding: Finding) {
        self.count += 1;
        if self.findings.len() < LISTED {
            self.findings.push(finding);
        }
    }

    fn value(&mut self, key: Vec<u8>, what: &'static str) {
        self.add(Finding::Value { key: key.into(), what });
    }
}

impl Core {
    pub(super) fn check(&self) -> io::Result<Report> {
        // Nothing is applied meanwhile.
        let _applier = held(&self.applier);
        let mut report = Report::default();
        let table = self.packs.with(|table| table.clone());
        check(&self.io, &*self.index, &self.packs, &table, &mut report)?;
        Ok(report)
    }
}

/// Check a store that is not open.
pub(super) fn inspect(
    io: &Arc<dyn Io>,
    index: &dyn Index,
    options: &Options,
) -> io::Result<Report> {
    let mut report = Report::default();
    let mut table = BTreeMap::new();
    let lenient = Options { without_missing_packs: true, ..options.clone() };
    match recovery::survey(io, index, options) {
        Err(OpenError::Io(error)) => return Err(error),
        Err(refused) => report.add(Finding::Refused(refused)),
        Ok(_) => {}
    }
    if let Ok(survey) = recovery::survey(io, index, &lenient) {
        table = survey.recovered.packs;
        survey.stray.into_iter().for_each(|name| report.add(Finding::Stray(name)));
    }
    let packs = Packs::new(Arc::clone(io), table.clone(), 0);
    check(io, index, &packs, &table, &mut report)?;
    Ok(report)
}

fn check(
    io: &Arc<dyn Io>,
    index: &dyn Index,
    packs: &Packs,
    table: &BTreeMap<u64, Pack>,
    report: &mut Report,
) -> io::Result<()> {
    let mut counted = BTreeMap::new();
    let mut actual: BTreeMap<(Kind, u64), u64> = BTreeMap::new();
    index::each(index, &[], |key, value| {
        if is_own(&key) {
            check_own(key, &value, &mut counted, report);
            return Ok(());
        }
        report.keys += 1;
        match Stored::read(&key, &value) {
            None => report.value(key, "its entry in the index is damaged"),
            Some(Stored::Inline(_)) => {}
            Some(Stored::At(pointer, _)) => {
                let length = u64::from(pointer.length);
                report.live += length;
                *actual.entry((pointer.kind, pointer.pack)).or_default() += length;
                match packs.read(&key, &pointer) {
                    Ok(_) => {}
                    Err(FrameError::NoPack) => report.value(key, "its pack is missing"),
                    Err(FrameError::Damaged) => report.value(key, "its checksum does not agree"),
                    Err(FrameError::Io(error)) => return Err(error),
                }
            }
        }
        Ok(())
    })?;
    check_counts(&counted, &actual, report);
    check_files(io, table, report)
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
    actual: &BTreeMap<(Kind, u64), u64>,
    report: &mut Report,
) {
    let mut seen = BTreeSet::new();
    for (&(kind, number), &actual) in actual {
        seen.insert(number);
        let counted = counted.get(&number).copied().unwrap_or(0);
        if counted != actual {
            report.add(Finding::Count { name: pack_name(kind, number), counted, actual });
        }
    }
    for (number, &counted) in counted.iter().filter(|(number, _)| !seen.contains(*number)) {
        let name = format!("pack {number:016x}");
        report.add(Finding::Count { name, counted, actual: 0 });
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
                    report.add(Finding::Header(pack_name(kind, number)));
                }
            }
            // It has been staged, or removed, just now.
            Some(_) => {}
            None => report.add(Finding::Stray(format!("{}/{name}", packs::FOLDER))),
        }
    }
    Ok(())
}
