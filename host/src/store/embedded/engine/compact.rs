//! Compaction: what is live in packs that are mostly dead is copied, and the packs go.
//!
//! Only the applier changes the index, and it is the applier that compacts: so a pointer that has
//! been read stays the one to compare with until it is moved.

use std::collections::BTreeMap;
use std::io;

use super::CommitError;
use super::applier::{Applier, Counts, KEYS, RoundError, failed};
use super::core::{Core, held};
use super::frame::{HEADER, Reader};
use super::index::Changes;
use super::packs::{Pack, pack_name};
use super::value::{Kind, Pointer, Stored};
use super::writer::Writer;

/// A value that has been copied.
pub(super) struct Moved {
    pub(super) key: Vec<u8>,
    pub(super) from: Pointer,
    pub(super) to: Pointer,
    pub(super) front: Vec<u8>,
}

impl Core {
    /// Rewrite packs that have less than `threshold` thousandths of live bytes, the emptiest first,
    /// until this many bytes have been dealt with.
    pub(super) fn compact(&self, budget: u64, threshold: u64) -> Result<(), RoundError> {
        let mut applier = held(&self.applier);
        self.end_dead(&mut applier);
        let victims = self.victims(&mut applier, budget, threshold);
        if victims.is_empty() {
            return Ok(());
        }
        let live = victims.values().map(|victim| victim.1).sum();
        match self.need_space(live) {
            Err(RoundError::Full) => return Ok(()),
            enough => enough?,
        }
        match self.copy(&mut applier, &victims) {
            Ok(moved) => self.redirect(&moved).map_err(|error| failed(&error))?,
            Err(error) => match self.give_up(&mut applier, &error) {
                // Nothing has come of it.
                RoundError::Full => return Ok(()),
                failed => return Err(failed),
            },
        }
        self.sweep(&mut applier);
        Ok(())
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
    fn victims(
        &self,
        applier: &mut Applier,
        budget: u64,
        threshold: u64,
    ) -> BTreeMap<u64, (Kind, u64)> {
        let current: Vec<_> =
            applier.writers().into_iter().filter_map(|writer| writer.pack()).collect();
        let mut victims: Vec<_> = self.packs.with(|table| {
            let mostly_dead = table.iter().filter(|(number, pack)| {
                let frames = pack.total.saturating_sub(HEADER as u64);
                let dead = pack.live * 1000 < frames * threshold;
                let free = !current.contains(number) && !applier.unreadable.contains(number);
                dead && pack.live > 0 && !pack.pending && free
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
        victims: &BTreeMap<u64, (Kind, u64)>,
    ) -> io::Result<Vec<Moved>> {
        let mut moved = Vec::new();
        for (&number, &(kind, live)) in victims {
            let before = moved.len();
            let copied = self.copy_pack(applier.old(kind), kind, number, &mut moved)?;
            if copied != live {
                tracing::error!(
                    pack = pack_name(kind, number),
                    "a pack cannot be read whole and stays as it is: run `dormouse store check`"
                );
                applier.unreadable.insert(number);
                moved.truncate(before);
            }
        }
        applier.sync_old(&self.packs)?;
        Ok(moved)
    }

    fn copy_pack(
        &self,
        writer: &mut Writer,
        kind: Kind,
        pack: u64,
        moved: &mut Vec<Moved>,
    ) -> io::Result<u64> {
        let file = match self.io.open(&pack_name(kind, pack)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            file => file?,
        };
        let mut frames = Reader::new(file)?;
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
                moved.push(Moved { key: frame.key.to_vec(), from, to, front: front.to_vec() });
                copied += u64::from(length);
            }
        }
    }

    /// Let the index point to the copies, durably.
    pub(super) fn redirect(&self, moved: &[Moved]) -> io::Result<()> {
        for some in moved.chunks(KEYS) {
            let mut changes = Changes::with_capacity(some.len() + 16);
            let mut counts = Counts::default();
            for Moved { key, from, to, front } in some {
                counts.forget(Some(*from));
                counts.point(*to);
                changes.push((key.clone(), Some(to.write(key, front))));
            }
            self.apply(changes, counts)?;
        }
        self.index.flush()
    }

    /// Apply what is committed, and rewrite all packs of which more than a tenth is dead.
    pub(super) fn compact_all(&self) -> Result<(), CommitError> {
        let done = self.round().and_then(|_| {
            let mut applier = held(&self.applier);
            applier.writers().into_iter().for_each(Writer::end);
            self.sweep(&mut applier);
            drop(applier);
            self.compact(u64::MAX, 900)
        });
        match done {
            Ok(()) => Ok(()),
            Err(RoundError::Full) => Err(CommitError::Full),
            Err(RoundError::Failed(reason)) => Err(CommitError::Failed(self.fail(&reason))),
        }
    }
}
