//! The applier: moves what is committed from the overlay into packs and index.
//!
//! A round: freeze; append the values to packs; sync these; then change the index, a few hundred
//! keys at a time, with the counts of live bytes in the same batches; last the *applied* number, and
//! a flush. A crash in between leaves packs that nothing points to, or an index that has some of it:
//! either is put right when the log is replayed, because the same changes are made again.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::ops::Range;
use std::time::Duration;

use super::batch::KeyChange;
use super::compact::Wanted;
use super::core::{ApplierStep, Core, Want, held};
use super::io::{is_full, is_unchanged};
use super::ordered_map::{self, Applied, Changes};
use super::overlay::Generation;
use super::packs::Packs;
use super::value::{self, PackKind, Pointer, Stored};
use super::writer::PackWriter;
use super::{CommitError, stage};

/// How many keys a batch of the index changes: it lets nobody else in meanwhile.
pub(super) const KEYS: usize = 256;
/// Which parts of a round its steps take, about, in thousandths. What lies between them is granted
/// to commits before the syncs, which take their time in one piece.
const PLACE: Range<u64> = 0..60;
const POINT: Range<u64> = 100..700;
pub(super) const COPY: Range<u64> = 800..860;
pub(super) const REDIRECT: Range<u64> = 900..960;

/// How long to wait before looking whether there is space again.
const WAIT: Duration = Duration::from_millis(200);

/// What belongs to the applier alone.
#[derive(Debug)]
pub(super) struct Applier {
    pub(super) heads: PackWriter,
    pub(super) rows: PackWriter,
    /// Where compaction puts what has survived: it will stay longer than what is new.
    pub(super) old_heads: PackWriter,
    pub(super) old_rows: PackWriter,
    pub(super) old_large: PackWriter,
    /// Packs that cannot be read whole: they are left as they are.
    pub(super) unreadable: HashSet<u64>,
}

/// Why a round did not finish.
#[derive(Debug)]
pub(super) enum RoundError {
    /// There is no space. All is as before.
    Full,
    /// A file could not be opened or read. All is as before.
    Unopened(String),
    /// Nobody knows what is on the disk.
    Failed(String),
}

/// Where a value has come to lie.
enum Placed {
    Inline,
    At(Pointer),
    Nowhere,
}

impl Applier {
    pub(super) fn new(options: &super::EngineOptions) -> Applier {
        let writer = |kind| PackWriter::new(kind, options.pack_bytes);
        Applier {
            heads: writer(PackKind::Head),
            rows: writer(PackKind::Rows),
            old_heads: writer(PackKind::Head),
            old_rows: writer(PackKind::Rows),
            old_large: PackWriter::new(PackKind::Large, stage::pack_bytes(options)),
            unreadable: HashSet::new(),
        }
    }

    /// Where values of this kind go that have survived.
    pub(super) fn old(&mut self, kind: PackKind) -> &mut PackWriter {
        match kind {
            PackKind::Head => &mut self.old_heads,
            PackKind::Rows => &mut self.old_rows,
            PackKind::Large => &mut self.old_large,
        }
    }

    /// Sync what has survived.
    pub(super) fn sync_old(&mut self, packs: &Packs) -> io::Result<()> {
        PackKind::ALL.into_iter().try_for_each(|kind| self.old(kind).sync(packs))
    }

    pub(super) fn writers(&mut self) -> [&mut PackWriter; 5] {
        let Applier { heads, rows, old_heads, old_rows, old_large, .. } = self;
        [heads, rows, old_heads, old_rows, old_large]
    }
}

impl Core {
    /// The thread of the applier.
    pub(super) fn run(&self) {
        self.make_spare();
        while self.next() == ApplierStep::Round {
            let done = self.round_and_compact();
            self.rest();
            match done {
                Ok(()) => self.make_spare(),
                Err(RoundError::Full) => {
                    self.wait_for(Want::Space);
                    std::thread::sleep(WAIT);
                }
                Err(RoundError::Unopened(reason)) => {
                    self.wait_for(Want::Files(reason.into()));
                    std::thread::sleep(WAIT);
                }
                Err(RoundError::Failed(reason)) => drop(self.fail(&reason)),
            }
        }
    }

    fn round_and_compact(&self) -> Result<(), RoundError> {
        let mut applier = held(&self.applier);
        let written = self.round_with(&mut applier)?;
        let budget = 2 * written + (4 << 20);
        self.compact_with(&mut applier, Wanted { budget, threshold: 500, below: u64::MAX })
            .map(drop)
    }

    /// Apply everything that is committed. Returns how many bytes were written to packs.
    pub(super) fn round(&self) -> Result<u64, RoundError> {
        let mut applier = held(&self.applier);
        self.apply_all(&mut applier)
    }

    /// Apply all that is committed when this begins: also what has come since a round that a full
    /// disk has stopped.
    pub(super) fn apply_all(&self, applier: &mut Applier) -> Result<u64, RoundError> {
        let stopped = self.overlay().frozen.is_some();
        let before = if stopped { self.round_with(applier) } else { Ok(0) };
        let done = before.and_then(|before| Ok(before + self.round_with(applier)?));
        self.rest();
        done
    }

    /// Apply what is frozen, or else what is committed. Returns how many bytes were written to packs.
    fn round_with(&self, applier: &mut Applier) -> Result<u64, RoundError> {
        if let Some(reason) = self.failed() {
            return Err(RoundError::Failed(reason.to_string()));
        }
        let Some(frozen) = self.freeze() else { return Ok(0) };
        self.need_space(frozen.bytes as u64)?;
        let placed = match self.place(applier, &frozen) {
            Ok(placed) => placed,
            Err(error) => return Err(self.give_up(applier, &error)),
        };
        let written = self.point(&frozen, &placed).map_err(|error| failed(&error))?;
        self.thaw(frozen.sequence);
        // All that was staged with any of these was committed with it, and so is in here too.
        let staged = frozen.staged().map(|pointer| pointer.pack);
        self.packs.settle(staged.chain(frozen.dropped.iter().copied()));
        self.sweep(applier);
        Ok(written)
    }

    /// The index must not meet a full disk: it would be of no use from then on.
    pub(super) fn need_space(&self, bytes: u64) -> Result<(), RoundError> {
        let free = self.io.free().map_err(|error| trouble(&error))?;
        let enough = free >= bytes.saturating_add(self.options.floor_bytes);
        if enough { Ok(()) } else { Err(RoundError::Full) }
    }

    /// Leave the packs that were being written. Nothing points to what has not been synced.
    pub(super) fn give_up(&self, applier: &mut Applier, error: &io::Error) -> RoundError {
        applier.writers().into_iter().for_each(PackWriter::end);
        let trouble = trouble(error);
        if !matches!(trouble, RoundError::Failed(_)) {
            self.sweep(applier);
        }
        trouble
    }

    /// Do what changes nothing until it works, or the store is to stop. A round that has begun to
    /// change the index comes to its end.
    fn patiently<T>(&self, mut act: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        loop {
            match act() {
                Err(error) if is_unchanged(&error) && !self.is_over() => {
                    self.wait_for(Want::Files(error.to_string().into()));
                    std::thread::sleep(WAIT);
                }
                done => return done,
            }
        }
    }

    /// Append the values to packs, and sync these.
    fn place(&self, applier: &mut Applier, frozen: &Generation) -> io::Result<Vec<Placed>> {
        let count = frozen.changes.len();
        let mut placed = Vec::with_capacity(count);
        for (key, change) in &frozen.changes {
            placed.push(match change {
                KeyChange::Delete => Placed::Nowhere,
                KeyChange::Staged(pointer) => Placed::At(*pointer),
                KeyChange::Put(class, value) => {
                    let writer = match value::kind_of(*class, value.len()) {
                        None => None,
                        Some(PackKind::Head) => Some(&mut applier.heads),
                        Some(PackKind::Rows | PackKind::Large) => Some(&mut applier.rows),
                    };
                    match writer {
                        None => Placed::Inline,
                        Some(writer) => Placed::At(writer.append(&self.packs, key, value)?),
                    }
                }
            });
            if placed.len().is_multiple_of(KEYS) {
                self.advance(&PLACE, placed.len() as u64, count as u64);
            }
        }
        self.advance(&POINT, 0, 1);
        applier.heads.sync(&self.packs)?;
        applier.rows.sync(&self.packs)?;
        Ok(placed)
    }

    /// Change the index, and make that durable. Returns the bytes that it points to and did not.
    fn point(&self, frozen: &Generation, placed: &[Placed]) -> io::Result<u64> {
        let all: Vec<_> = frozen.changes.iter().zip(placed).collect();
        let mut written = 0;
        for (done, some) in all.chunks(KEYS).enumerate() {
            let mut changes = Changes::with_capacity(some.len() + 16);
            let mut counts = PackCounts::default();
            for ((key, change), placed) in some {
                let is_new = frozen.fresh.contains::<[u8]>(key);
                let before = match is_new {
                    true => None,
                    false => self.patiently(|| self.index.get(key))?,
                };
                let (new, pointer) = match (placed, change) {
                    (Placed::At(pointer), change) => {
                        (Some(pointer.write(key, change.front())), Some(*pointer))
                    }
                    (Placed::Inline, KeyChange::Put(_, value)) => {
                        (Some(value::write_inline(key, value)), None)
                    }
                    (Placed::Inline | Placed::Nowhere, _) => (None, None),
                };
                if let Some(before) = &before {
                    counts.forget(Stored::read(key, before).and_then(|stored| stored.pointer()));
                }
                if let Some(pointer) = pointer {
                    counts.point(pointer);
                    written += u64::from(pointer.length);
                }
                if new != before {
                    changes.push((key.to_vec(), new));
                }
            }
            self.apply(changes, counts)?;
            self.advance(&POINT, (done * KEYS) as u64, all.len() as u64);
        }
        self.advance(&COPY, 0, 1);
        let applied = Applied { sequence: frozen.sequence, next_pack: self.packs.next() };
        self.index.apply(vec![(ordered_map::APPLIED.to_vec(), Some(applied.write()))])?;
        self.patiently(|| self.index.flush())?;
        Ok(written)
    }

    /// One batch of the index, with the counts of the packs that it concerns.
    pub(super) fn apply(&self, mut changes: Changes, counts: PackCounts) -> io::Result<()> {
        let counts: Vec<(u64, u64)> = self.packs.with(|table| {
            let known = |(number, (less, more)): (u64, (u64, u64))| {
                let pack = table.get(&number)?;
                Some((number, (pack.live + more).saturating_sub(less)))
            };
            counts.0.into_iter().filter_map(known).collect()
        });
        for (number, live) in &counts {
            let count = (*live > 0).then(|| ordered_map::write_count(*number, *live));
            changes.push((ordered_map::pack_key(*number), count));
        }
        self.index.apply(changes)?;
        self.packs.with(|table| {
            for (number, live) in counts {
                if let Some(pack) = table.get_mut(&number) {
                    pack.live = live;
                }
            }
        });
        Ok(())
    }

    /// Remove the packs to which nothing points. That nothing does is durable.
    pub(super) fn sweep(&self, applier: &mut Applier) {
        let current: Vec<_> =
            applier.writers().into_iter().filter_map(|writer| writer.pack()).collect();
        let dead: Vec<_> = self.packs.with(|table| {
            let dead = table.iter().filter(|(number, pack)| {
                pack.live == 0 && !pack.pending && !current.contains(number)
            });
            dead.map(|(number, pack)| (pack.kind, *number)).collect()
        });
        dead.into_iter().for_each(|(kind, number)| self.packs.remove(kind, number));
    }

    /// Apply what is committed after the thread has ended.
    pub(super) fn settle(&self) -> Result<(), CommitError> {
        match self.round() {
            Ok(_) => Ok(()),
            // It stays in the log.
            Err(RoundError::Full | RoundError::Unopened(_)) => Ok(()),
            Err(RoundError::Failed(reason)) => Err(CommitError::Failed(self.fail(&reason))),
        }
    }
}

/// By how much the counts of live bytes of packs change: less, and more.
#[derive(Debug, Default)]
pub(super) struct PackCounts(BTreeMap<u64, (u64, u64)>);

impl PackCounts {
    /// Something points there now.
    pub(super) fn point(&mut self, pointer: Pointer) {
        self.0.entry(pointer.pack).or_default().1 += u64::from(pointer.length);
    }

    /// Something does not point there any more.
    pub(super) fn forget(&mut self, pointer: Option<Pointer>) {
        if let Some(pointer) = pointer {
            self.0.entry(pointer.pack).or_default().0 += u64::from(pointer.length);
        }
    }
}

pub(super) fn failed(error: &io::Error) -> RoundError {
    RoundError::Failed(format!("applying the log: {error}"))
}

/// What has come of an error before the index was changed.
fn trouble(error: &io::Error) -> RoundError {
    if is_full(error) {
        RoundError::Full
    } else if is_unchanged(error) {
        RoundError::Unopened(error.to_string())
    } else {
        failed(error)
    }
}
