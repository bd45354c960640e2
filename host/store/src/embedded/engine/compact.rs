//! Compaction: what is live in packs that are mostly dead is copied, and the packs go.
//!
//! Only the applier changes the index, and it is the applier that compacts: so a pointer that has
//! been read stays the one to compare with until it is moved.

use std::collections::BTreeMap;
use std::io;

use super::CommitError;
use super::applier::{Applier, COPY, KEYS, PackCounts, REDIRECT, RoundError, failed};
use super::core::{Core, held};
use super::frame::{FrameReader, HEADER};
use super::ordered_map::Changes;
use super::packs::{Pack, pack_name};
use super::value::{PackKind, Pointer, Stored};
use super::writer::PackWriter;

/// A value that has been copied.
pub(super) struct Moved {
    pub(super) key: Vec<u8>,
    pub(super) from: Pointer,
    pub(super) to: Pointer,
    pub(super) front: Vec<u8>,
}

/// How much of everything is rewritten at a time, in bytes.
const WHOLE: u64 = 256 << 20;

/// Which packs are rewritten: those with less than `threshold` thousandths of live bytes and a lower
/// number than `below`, the emptiest first, until they have `budget` bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) budget: u64,
    pub(super) threshold: u64,
    pub(super) below: u64,
}

/// What has been copied of all that is to be.
struct Copies {
    bytes: u64,
    all: u64,
    moved: Vec<Moved>,
}

impl Core {
    /// Rewrite packs that have less than `threshold` thousandths of live bytes, the emptiest first,
    /// until this many bytes have been dealt with.
    #[cfg(test)]
    pub(super) fn compact(&self, budget: u64, threshold: u64) -> Result<(), RoundError> {
        let mut applier = held(&self.applier);
        let done = self.compact_with(&mut applier, Wanted { budget, threshold, below: u64::MAX });
        self.rest();
        done.map(drop)
    }

    /// Returns whether anything has been rewritten, or found that it cannot be.
    pub(super) fn compact_with(
        &self,
        applier: &mut Applier,
        wanted: Wanted,
    ) -> Result<bool, RoundError> {
        if let Some(reason) = self.failed() {
            return Err(RoundError::Failed(reason.to_string()));
        }
        self.end_dead(applier);
        let victims = self.victims(applier, wanted);
        if victims.is_empty() {
            return Ok(false);
        }
        let live = victims.values().map(|victim| victim.1).sum();
        match self.need_space(live) {
            Err(RoundError::Full | RoundError::Unopened(_)) => return Ok(false),
            enough => enough?,
        }
        match self.copy(applier, &victims) {
            Ok(moved) => self.redirect(&moved).map_err(|error| failed(&error))?,
            Err(error) => match self.give_up(applier, &error) {
                // Nothing has come of it.
                RoundError::Full | RoundError::Unopened(_) => return Ok(false),
                failed => return Err(failed),
            },
        }
        self.sweep(applier);
        Ok(true)
    }

    /// Append no more to packs that have become large and mostly dead. All has been synced.
    fn end_dead(&self, applier: &mut Applier) {
        for writer in applier.writers() {
            let dead = |pack: &Pack| pack.total >= writer.most() / 4 && pack.live < pack.total / 2;
            let number = writer.pack();
            if number
                .is_some_and(|number| self.packs.with(|table| table.get(&number).is_some_and(dead)))
            {
                writer.end();
            }
        }
    }

    /// The packs to rewrite, with their kinds and how much of them is live.
    fn victims(&self, applier: &mut Applier, wanted: Wanted) -> BTreeMap<u64, (PackKind, u64)> {
        let Wanted { budget, threshold, below } = wanted;
        let current: Vec<_> =
            applier.writers().into_iter().filter_map(|writer| writer.pack()).collect();
        let mut victims: Vec<_> = self.packs.with(|table| {
            let mostly_dead = table.iter().filter(|(number, pack)| {
                let frames = pack.total.saturating_sub(HEADER as u64);
                let dead = pack.live * 1000 < frames * threshold;
                let free = !current.contains(number) && !applier.unreadable.contains(number);
                dead && pack.live > 0 && !pack.pending && free && **number < below
            });
            mostly_dead.map(|(number, pack)| (*number, *pack)).collect()
        });
        victims.sort_by_key(|(_, pack)| pack.live * 1000 / pack.total.max(1));
        let mut seen = 0;
        let within = victims.into_iter().take_while(|(_, pack)| {
            let first = seen < budget;
            seen += pack.total;
            first
        });
        within.map(|(number, pack)| (number, (pack.kind, pack.live))).collect()
    }

    /// Copy what is live in these packs, and sync the copies.
    fn copy(
        &self,
        applier: &mut Applier,
        victims: &BTreeMap<u64, (PackKind, u64)>,
    ) -> io::Result<Vec<Moved>> {
        let all: u64 = victims.values().map(|victim| victim.1).sum();
        let mut copies = Copies { bytes: 0, all, moved: Vec::new() };
        for (&number, &(kind, live)) in victims {
            let before = copies.moved.len();
            let copied = self.copy_pack(applier.old(kind), kind, number, &mut copies)?;
            if copied != live {
                tracing::error!(
                    pack = pack_name(kind, number),
                    "a pack cannot be read whole and stays as it is: run `dormouse store check`"
                );
                applier.unreadable.insert(number);
                copies.moved.truncate(before);
            }
        }
        self.advance(&REDIRECT, 0, 1);
        applier.sync_old(&self.packs)?;
        Ok(copies.moved)
    }

    fn copy_pack(
        &self,
        writer: &mut PackWriter,
        kind: PackKind,
        pack: u64,
        copies: &mut Copies,
    ) -> io::Result<u64> {
        let file = match self.io.open(&pack_name(kind, pack)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            file => file?,
        };
        let mut frames = FrameReader::new(file)?;
        let mut copied = 0;
        loop {
            let offset = frames.offset();
            let Some(frame) = frames.next()? else { return Ok(copied) };
            let (Ok(offset), length, crc) = (u32::try_from(offset), frame.length as u32, frame.crc)
            else {
                return Ok(copied);
            };
            let from = Pointer { kind, pack, offset, length, crc };
            let points = self.index.get(frame.key)?;
            let stored = points.as_deref().and_then(|value| Stored::read(frame.key, value));
            if let Some(Stored::At(at, front)) = stored
                && at == from
            {
                let to = writer.append(&self.packs, frame.key, frame.value)?;
                let (key, front) = (frame.key.to_vec(), front.to_vec());
                copies.moved.push(Moved { key, from, to, front });
                copies.bytes += u64::from(length);
                if copies.moved.len().is_multiple_of(KEYS) {
                    self.advance(&COPY, copies.bytes, copies.all);
                }
                copied += u64::from(length);
            }
        }
    }

    /// Let the index point to the copies, durably.
    pub(super) fn redirect(&self, moved: &[Moved]) -> io::Result<()> {
        for (done, some) in moved.chunks(KEYS).enumerate() {
            self.advance(&REDIRECT, (done * KEYS) as u64, moved.len() as u64);
            let mut changes = Changes::with_capacity(some.len() + 16);
            let mut counts = PackCounts::default();
            for Moved { key, from, to, front } in some {
                counts.forget(Some(*from));
                counts.point(*to);
                changes.push((key.clone(), Some(to.write(key, front))));
            }
            self.apply(changes, counts)?;
        }
        self.rest();
        self.index.flush()
    }

    /// Apply what is committed, and rewrite all packs of which more than a tenth is dead.
    pub(super) fn compact_all(&self) -> Result<(), CommitError> {
        let done = self.round().and_then(|_| {
            let mut applier = held(&self.applier);
            applier.writers().into_iter().for_each(PackWriter::end);
            self.sweep(&mut applier);
            let (budget, below) = (WHOLE, self.packs.next());
            drop(applier);
            // What is committed meanwhile is applied in between.
            loop {
                let mut applier = held(&self.applier);
                let wanted = Wanted { budget, threshold: 900, below };
                let more = self.compact_with(&mut applier, wanted);
                drop(applier);
                self.rest();
                if !more? {
                    return Ok(());
                }
                self.round()?;
            }
        });
        match done {
            Ok(()) => Ok(()),
            Err(RoundError::Full) => Err(CommitError::Full),
            Err(RoundError::Unopened(reason)) => Err(CommitError::Unopened(reason.into())),
            Err(RoundError::Failed(reason)) => Err(CommitError::Failed(self.fail(&reason))),
        }
    }
}
