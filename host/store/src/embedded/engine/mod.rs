//! A small storage engine: an ordered map from keys to values, changed by atomic durable batches.
//!
//! ```text
//!            commit(batch)                                   get, range, last
//!                 │                                                │
//!                 ▼                                                │ 1
//!   log/      write, sync ──▶ overlay:  active ◀───────────────────┤
//!   slots         │                       │ freeze                 │ 2
//!   (reused)      ▼                    frozen ◀────────────────────┤
//!              answer                     │ applier                │ 3
//!                              ┌──────────┴──────────┐             │
//!                          1 append                2 then          │
//!                              ▼                     ▼             │
//!   packs/                  values  ◀──pointers──  sled/  ◀────────┘
//! ```
//! The *log* makes a batch durable with one write and one sync. The *overlay* has what is in the log
//! and not in the index. The *applier*, a thread, moves it there about once a second: of a value that
//! was replaced meanwhile only the last is ever written. Values lie in *packs*; the *index* (sled)
//! has pointers, small values, and how much of each pack is live. Packs that are mostly dead are
//! *compacted*: what is live is copied, and the pack goes.
//!
//! **The order of syncs.** Each arrow is a sync that comes before what follows:
//! 1. log group → overlay → answer;
//! 2. packs and their folder → batches of the index → *applied* number of the index → flush of the
//!    index → the log's slots are free, and replaced packs are removed;
//! 3. staged values and their folder → the log group that points to them;
//! 4. compaction: the copies and their folder → batches that move the pointers → flush → the old
//!    packs are removed;
//! 5. a new slot: zeros → its name → its folder → its first group.
//!
//! **Recovery.** Let A be the *applied* number of the index. Groups after A are replayed into the
//! overlay. The store is not opened where that would lose something ([`EngineOpenError`] says what to do):
//! no group as new as A; none that follows A though newer ones are there; a gap later on; a group
//! that knew of a later A; a pack that the index or the log points into and that is not there. A
//! torn last group was never acknowledged: it is disregarded. The last whole group is written and
//! synced once more, for its sync may never have happened, or have failed; so are the folders. Only
//! then are packs removed to which nothing points.
//!
//! **Repair.** What is refused can be made a store that opens ([`Engine::repair`]), by giving up what
//! cannot be read: who that concerns is told, and files that are damaged or given up are moved to
//! `quarantine/`. Where the index itself does not open, only a backup helps.
//!
//! **Failures.** An error of a write or a sync ends all writing: nobody knows what is on the disk,
//! and what follows must start from what is. Reads go on. A full disk ends nothing: slots of the log
//! are made ahead; the applier waits with what it has until there is space; commits go on until
//! overlay or log are full, and then are refused.

mod applier;
mod backup;
mod batch;
mod check;
mod compact;
mod core;
mod error;
mod frame;
mod io;
mod log;
mod log_record;
mod ordered_map;
mod overlay;
mod packs;
mod range;
mod recovery;
mod repair;
mod replay;
mod reserve;
mod stage;
mod tree;
mod value;
mod writer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;

pub(crate) use self::backup::EngineBackupError;
pub(crate) use self::batch::{Batch, Class};
pub(crate) use self::check::{EngineFinding, Report, See};
use self::core::Core;
pub(crate) use self::core::EngineStat;
pub(crate) use self::error::{CommitError, EngineOpenError, ReadError, StageError};
#[cfg(test)]
pub(crate) use self::io::Handle;
pub(crate) use self::io::{Folder, Io};
pub(crate) use self::log_record::KEY;
pub(crate) use self::ordered_map::{OrderedMap, is_own};
pub(crate) use self::range::Range;
pub(crate) use self::repair::{FOLDER as QUARANTINE, Repaired};
pub(crate) use self::stage::Staged;
pub(crate) use self::tree::Tree;
pub(crate) use self::value::PackKind;

/// The largest value that lies in the index itself, in bytes.
pub(crate) const INLINE: usize = 4 << 10;
/// The longest front of a value, in bytes: 8 KiB, and what a caller has around them.
pub(crate) const FRONT: usize = (8 << 10) + 64;
/// A batch takes at most this many bytes in the log, and never more than a slot has.
pub(crate) const BATCH: usize = 32 << 20;
/// From this many bytes on it is better to stage a value than to put it into a batch.
pub(crate) const STAGE: usize = 256 << 10;

/// How an engine is opened.
#[derive(Clone)]
pub(crate) struct EngineOptions {
    /// The size of a slot of the log, in bytes: a multiple of 4 KiB. Slots that are there keep theirs.
    pub(crate) slot_bytes: u64,
    /// The most bytes that the log takes: at least two slots.
    pub(crate) log_bytes: u64,
    /// The most memory that values take which are not applied yet, in bytes.
    pub(crate) overlay_bytes: usize,
    /// A pack ends when it has this many bytes, one of large values when it has eight times as many;
    /// less than 4 GiB.
    pub(crate) pack_bytes: u64,
    /// This much of the disk stays free, in bytes: the index must never meet a full disk.
    pub(crate) floor_bytes: u64,
    /// How often the applier applies what there is.
    pub(crate) interval: Duration,
    /// A random number, which a store that is made now keeps for good.
    pub(crate) salt: [u8; 16],
    /// Open a store although packs are missing: reading what was in them fails with
    /// [`ReadError::Damaged`].
    pub(crate) without_missing_packs: bool,
    /// Told once, when writing has ended, and why.
    pub(crate) on_failure: Option<OnFailure>,
}

/// Is called when the engine can write no more.
pub(crate) type OnFailure = Arc<dyn Fn(Arc<str>) + Send + Sync>;

impl EngineOptions {
    /// The usual sizes. The salt is a random number.
    pub(crate) fn new(salt: [u8; 16]) -> EngineOptions {
        EngineOptions {
            slot_bytes: 64 << 20,
            log_bytes: 512 << 20,
            overlay_bytes: 256 << 20,
            pack_bytes: 32 << 20,
            floor_bytes: 32 << 20,
            interval: Duration::from_secs(1),
            salt,
            without_missing_packs: false,
            on_failure: None,
        }
    }
}

impl fmt::Debug for EngineOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the salt nor who is told is anybody's business.
        let EngineOptions { slot_bytes, log_bytes, overlay_bytes, pack_bytes, .. } = self;
        f.debug_struct("Options")
            .field("slot_bytes", slot_bytes)
            .field("log_bytes", log_bytes)
            .field("overlay_bytes", overlay_bytes)
            .field("pack_bytes", pack_bytes)
            .finish_non_exhaustive()
    }
}

/// An open engine. All methods block.
#[derive(Debug)]
pub(crate) struct Engine {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Open what is in this directory, or make it there, with an index that keeps at most this many
    /// bytes in memory. Who opens it makes sure that nobody else has.
    pub(crate) fn open(
        root: &Path,
        cache: u64,
        options: EngineOptions,
    ) -> Result<Engine, EngineOpenError> {
        let io = Arc::new(Folder::open(root)?);
        let index = Arc::new(Tree::open(root, cache)?);
        Engine::with(io, index, options)
    }

    /// The same over any files and any index.
    pub(crate) fn with(
        io: Arc<dyn Io>,
        index: Arc<dyn OrderedMap>,
        options: EngineOptions,
    ) -> Result<Engine, EngineOpenError> {
        let core = Arc::new(Core::open(io, index, options)?);
        let applier = Arc::clone(&core);
        let thread = thread::Builder::new().name("store-applier".to_owned());
        let thread = thread.spawn(move || {
            // Commits would wait for it for ever.
            if catch_unwind(AssertUnwindSafe(|| applier.run())).is_err() {
                applier.fail("the applier panicked");
            }
        })?;
        Ok(Engine { core, thread: Some(thread) })
    }

    /// Make a batch durable. When this returns it is, and readers see it; before, none does. Batches
    /// are made durable one at a time, in the order of the calls.
    pub(crate) fn commit(&self, batch: Batch) -> Result<(), CommitError> {
        self.core.commit(batch)
    }

    /// Make large values durable, each with the key that a later batch gives it to: in one pack, or
    /// few, with one sync each. Many threads can do so at once.
    pub(crate) fn stage(&self, values: &[(Bytes, Bytes)]) -> Result<Staged, StageError> {
        self.core.stage(values)
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.core.get(key)
    }

    /// The keys from `from` on that begin with `prefix`, in order, with their values. Each 256
    /// of them are of one moment, and later ones may be of a later moment.
    pub(crate) fn range(&self, from: &[u8], prefix: &[u8]) -> Range<'_> {
        self.core.range(from, prefix)
    }

    /// The same, with the fronts of the values instead: values of the class `Inline` whole, `Fronted`
    /// as far as they say, and nothing of others. No pack is read.
    pub(crate) fn fronts(&self, from: &[u8], prefix: &[u8]) -> Range<'_> {
        self.core.fronts(from, prefix)
    }

    /// The last key that begins with `prefix`, with its value.
    pub(crate) fn last(&self, prefix: &[u8]) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        self.core.last(prefix)
    }

    /// Why nothing is written any more, where that is so.
    #[cfg(test)]
    pub(crate) fn failed(&self) -> Option<Arc<str>> {
        self.core.failed()
    }

    /// How large everything is.
    pub(crate) fn stat(&self) -> EngineStat {
        self.core.stat()
    }

    /// Read everything that is committed now, say what is wrong with it, and show each value. Commits
    /// go on meanwhile. Ends with [`std::io::ErrorKind::Interrupted`] where `see` says so.
    pub(crate) fn check(&self, see: See<'_>) -> std::io::Result<Report> {
        self.core.check(see)
    }

    /// Say what is wrong with a store that is not open, and show each value that the index has. They
    /// need not be of one moment. Changes nothing.
    pub(crate) fn inspect(
        io: &Arc<dyn Io>,
        index: &dyn OrderedMap,
        options: &EngineOptions,
        see: See<'_>,
    ) -> std::io::Result<Report> {
        check::inspect(io, index, options, see)
    }

    /// What the index of a store that is not open has of a value that lies in a pack.
    pub(crate) fn front(index: &dyn OrderedMap, key: &[u8]) -> std::io::Result<Option<Bytes>> {
        check::front(index, key)
    }

    /// Show the values of a store that is not open, of the keys that are wanted.
    pub(crate) fn read(
        io: &Arc<dyn Io>,
        index: &dyn OrderedMap,
        wants: &dyn Fn(&[u8]) -> bool,
        see: See<'_>,
    ) -> std::io::Result<()> {
        check::read(io, index, wants, see)
    }

    /// Why a store that is not open is refused: tell each key whose value, or whose last change, is
    /// lost, and what is wrong with it. Reads no values, which a check does; changes nothing. Returns
    /// how many it has told. Of a part of the log that cannot be read at all, nobody knows the keys.
    pub(crate) fn concerned(
        io: &Arc<dyn Io>,
        index: &dyn OrderedMap,
        tell: &mut dyn FnMut(&[u8], &'static str),
    ) -> Result<u64, EngineOpenError> {
        repair::concerned(io, index, tell)
    }

    /// Make a store that opens out of one that does not, of what can be read. Each key that is lost,
    /// or not as it was last, is told before anything is changed for it. Files that are damaged, or
    /// given up, are moved to the folder `quarantine`; none is removed. If it is interrupted it must
    /// be run again, and until then the store does not open. An index that does not open cannot be
    /// repaired.
    pub(crate) fn repair(
        io: &Arc<dyn Io>,
        index: &Arc<dyn OrderedMap>,
        options: &EngineOptions,
        tell: &mut dyn FnMut(&[u8], &'static str),
    ) -> Result<Repaired, EngineOpenError> {
        repair::repair(io, index, options, tell)
    }

    /// Apply what is committed, and rewrite all packs of which more than a tenth is dead.
    pub(crate) fn compact(&self) -> Result<(), CommitError> {
        self.core.compact_all()
    }

    /// Copy what is committed now to another, empty folder, while commits go on. Opened, that folder
    /// is a store with exactly this. Returns how many keys it has. Ends early once `is_over` says so.
    pub(crate) fn backup(
        &self,
        target: &Arc<dyn Io>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<u64, EngineBackupError> {
        self.core.backup(target, is_over)
    }

    /// Read a backup whole. Returns its files, the one last that makes a backup of them.
    pub(crate) fn verify_backup(io: &Arc<dyn Io>) -> Result<Vec<String>, EngineOpenError> {
        backup::verify_whole(io)
    }

    /// Apply what is committed, and let go of everything.
    pub(crate) fn close(mut self) -> Result<(), CommitError> {
        self.stop();
        self.core.settle()
    }

    fn stop(&mut self) {
        self.core.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the applier of the store panicked");
        }
    }
}

impl Drop for Engine {
    /// What is committed stays so. It is applied when the store is opened again.
    fn drop(&mut self) {
        self.stop();
    }
}
