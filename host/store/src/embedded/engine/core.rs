//! What all threads of an engine share; committing and reading.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

use bytes::Bytes;

use super::applier::Applier;
use super::batch::{Batch, Class, KeyChange};
use super::io::{Io, is_full, is_unchanged};
use super::log::{AppendError, CommitLog, Slot};
use super::ordered_map::{OWN, OrderedMap};
use super::overlay::{Generation, Overlay};
use super::packs::{FrameError, Packs};
use super::recovery::{self, RecoveredEngine};
use super::stage::Staged;
use super::value::{PackKind, Pointer, Stored};
use super::{
    BATCH, CommitError, EngineOpenError, EngineOptions, FRONT, KEY, ReadError, log_record,
};

/// How often a commit that waits for room looks again by itself.
const LOOK: Duration = Duration::from_millis(100);
/// The applier begins when what is active has become this full, in thousandths.
const BEGIN: u64 = 800;
/// How full what is active may be as soon as a round begins; from there on it may become full no
/// faster than the round comes to its end. So commits are slowed down a little each, and never
/// stopped for long.
const AHEAD: u64 = 300;
/// A round that has come to its end.
const DONE: u64 = 1000;

/// The engine without its thread.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) io: Arc<dyn Io>,
    pub(super) index: Arc<dyn OrderedMap>,
    pub(super) options: EngineOptions,
    pub(super) packs: Arc<Packs>,
    pub(super) applier: Mutex<Applier>,
    log: Mutex<CommitLog>,
    /// What the log had after the last commit: asked for while the next one is being synced.
    logged: Mutex<(u64, (usize, u64))>,
    /// A slot that the log has not taken in yet.
    spare: Mutex<Option<Slot>>,
    overlay: RwLock<Overlay>,
    state: Mutex<State>,
    /// Told when there may be something for the applier to do.
    work: Condvar,
    /// Told when there may be room for a commit that waits.
    room: Condvar,
    /// The sequence number that the index has durably reached.
    applied: AtomicU64,
    /// How much of a round, with its compaction, has been done, in thousandths.
    progress: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    failed: Option<Arc<str>>,
    /// What the applier waits for.
    waits: Option<Want>,
    stop: bool,
}

/// What the applier can wait for, without which nothing is applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Space on the disk.
    Space,
    /// Files that can be opened and read; why they cannot.
    Files(Arc<str>),
}

/// What the applier is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ApplierStep {
    Round,
    Stop,
}

impl Core {
    pub(super) fn open(
        io: Arc<dyn Io>,
        index: Arc<dyn OrderedMap>,
        options: EngineOptions,
    ) -> Result<Core, EngineOpenError> {
        let found = recovery::recover(&io, &*index, &options)?;
        Ok(Core::start(io, index, options, found))
    }

    /// Go on where recovery has come to.
    pub(super) fn start(
        io: Arc<dyn Io>,
        index: Arc<dyn OrderedMap>,
        options: EngineOptions,
        found: RecoveredEngine,
    ) -> Core {
        let packs = Packs::new(Arc::clone(&io), found.packs, found.next_pack);
        let log = CommitLog::new(Arc::clone(&io), found.salt, &options, found.place);
        let overlay = Overlay { active: found.replayed, ..Overlay::default() };
        let applier = Applier::new(&options);
        Core {
            io,
            index,
            options,
            packs: Arc::new(packs),
            applier: Mutex::new(applier),
            logged: Mutex::new((log.sequence(), log.size())),
            log: Mutex::new(log),
            spare: Mutex::default(),
            overlay: RwLock::new(overlay),
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            applied: AtomicU64::new(found.applied),
            progress: AtomicU64::new(DONE),
        }
    }

    pub(super) fn commit(&self, mut batch: Batch) -> Result<(), CommitError> {
        if batch.changes.iter().any(|(key, _)| is_bad(key)) {
            return Err(CommitError::Key);
        }
        let mut fronts = batch.changes.iter().map(|(_, change)| change);
        if let Some(bytes) = fronts.find_map(front_too_long) {
            return Err(CommitError::Front { bytes, limit: FRONT });
        }
        let bytes = log_record::room(batch.size());
        let limit = BATCH.min(usize::try_from(self.options.slot_bytes).unwrap_or(BATCH));
        if bytes > limit {
            return Err(CommitError::TooLarge { bytes, limit });
        }
        let mut log = held(&self.log);
        if let Some(spare) = held(&self.spare).take() {
            log.add(spare);
        }
        self.wait_for_room(&log, bytes)?;
        if batch.is_empty() {
            return Ok(());
        }
        let staged = std::mem::take(&mut batch.staged);
        let (sequence, room) = match log.append(&batch, self.applied()) {
            Ok(appended) => appended,
            Err(AppendError::Full) => return Err(CommitError::Full),
            Err(AppendError::Unopened(error)) => {
                return Err(CommitError::Unopened(error.to_string().into()));
            }
            Err(AppendError::Unknown(error)) => {
                staged.into_iter().for_each(Staged::keep);
                let reason = self.fail(&format!("writing the log: {error}"));
                return Err(CommitError::Unknown(reason));
            }
        };
        staged.into_iter().for_each(Staged::keep);
        *held(&self.logged) = (sequence, log.size());
        let mut overlay = self.overlay_mut();
        let was_empty = overlay.active.is_empty();
        overlay.active.add(sequence, room, batch.changes, batch.fresh);
        let wanted = was_empty || self.fill(&overlay.active) >= BEGIN;
        drop(overlay);
        if wanted {
            // Who looks for work holds this while it looks.
            drop(self.state());
            self.work.notify_one();
        }
        Ok(())
    }

    /// Wait until the overlay and the log take this many bytes.
    fn wait_for_room(&self, log: &CommitLog, bytes: usize) -> Result<(), CommitError> {
        let mut state = self.state();
        loop {
            if let Some(reason) = &state.failed {
                return Err(CommitError::Failed(Arc::clone(reason)));
            }
            if state.stop {
                return Err(CommitError::Closed);
            }
            if self.has_room(log, bytes) {
                return Ok(());
            }
            match &state.waits {
                None => {}
                Some(Want::Space) => return Err(CommitError::Full),
                Some(Want::Files(why)) => return Err(CommitError::Unopened(Arc::clone(why))),
            }
            self.work.notify_one();
            state = self.room.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the log has room for this many bytes, and what is committed does not come faster
    /// than it is applied.
    fn has_room(&self, log: &CommitLog, bytes: usize) -> bool {
        let overlay = self.overlay();
        let fill = self.fill(&overlay.active);
        let progress = self.progress.load(Ordering::Relaxed);
        fill < AHEAD + progress * (1000 - AHEAD) / DONE && log.has_room(bytes, self.applied())
    }

    /// Whether a commit of this many bytes would be taken at once.
    #[cfg(test)]
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.has_room(&held(&self.log), log_record::room(bytes))
    }

    /// How full a generation is, in thousandths of what it may take of memory or of the log.
    fn fill(&self, generation: &Generation) -> u64 {
        let memory = (self.options.overlay_bytes / 2).max(1) as u64;
        // A slot that is partly frozen and partly active counts for both.
        let log = self.options.log_bytes.saturating_sub(2 * self.options.slot_bytes) / 2;
        let of_memory = generation.bytes as u64 * 1000 / memory;
        of_memory.max(generation.log_bytes * 1000 / log.max(self.options.slot_bytes))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let changed = self.overlay().get(key).cloned();
        match changed {
            Some(KeyChange::Put(_, value)) => Ok(Some(value)),
            Some(KeyChange::Delete) => Ok(None),
            Some(KeyChange::Staged(pointer)) => self.follow(key, pointer),
            None => self.indexed(key, None),
        }
    }

    /// The value to which this pointer, read a moment ago, points. If the pack is gone meanwhile, the
    /// key has another value, or its value another place.
    pub(super) fn follow(&self, key: &[u8], pointer: Pointer) -> Result<Option<Bytes>, ReadError> {
        match self.packs.read(key, &pointer) {
            Ok(value) => Ok(Some(value)),
            Err(FrameError::NoPack) => {
                let changed = self.overlay().get(key).cloned();
                match changed {
                    Some(KeyChange::Put(_, value)) => Ok(Some(value)),
                    Some(KeyChange::Delete) => Ok(None),
                    Some(KeyChange::Staged(again)) if again == pointer => {
                        Err(damaged(key, "its pack is missing"))
                    }
                    Some(KeyChange::Staged(other)) => self.follow(key, other),
                    None => self.indexed(key, Some(pointer)),
                }
            }
            Err(FrameError::Damaged) => Err(damaged(key, "its checksum does not agree")),
            Err(FrameError::Io(error)) => Err(error.into()),
        }
    }

    fn indexed(&self, key: &[u8], gone: Option<Pointer>) -> Result<Option<Bytes>, ReadError> {
        let Some(value) = self.index.get(key)? else { return Ok(None) };
        match Stored::read(key, &value) {
            None => Err(damaged(key, "its entry in the index is damaged")),
            Some(Stored::Inline(value)) => Ok(Some(Bytes::copy_from_slice(value))),
            Some(Stored::At(pointer, _)) if Some(pointer) == gone => {
                Err(damaged(key, "its pack is missing"))
            }
            Some(Stored::At(pointer, _)) => self.follow(key, pointer),
        }
    }

    pub(super) fn stat(&self) -> EngineStat {
        let waits_for_space = self.state().waits == Some(Want::Space);
        let (sequence, (slots, log_bytes)) = *held(&self.logged);
        let overlay = self.overlay();
        let frozen = overlay.frozen.as_deref();
        let mut kinds = BTreeMap::new();
        self.packs.with(|table| {
            for pack in table.values() {
                let stat: &mut KindStat = kinds.entry(pack.kind).or_default();
                stat.packs += 1;
                stat.bytes += pack.total;
                stat.live += if pack.pending { pack.total } else { pack.live };
            }
        });
        EngineStat {
            sequence,
            applied: self.applied(),
            slots,
            log_bytes,
            overlay_bytes: overlay.active.bytes + frozen.map_or(0, |frozen| frozen.bytes),
            overlay_keys: overlay.active.changes.len()
                + frozen.map_or(0, |frozen| frozen.changes.len()),
            index_bytes: self.index.bytes(),
            kinds,
            waits_for_space,
        }
    }

    /// The sequence number that the index has durably reached.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::SeqCst)
    }

    pub(super) fn overlay(&self) -> RwLockReadGuard<'_, Overlay> {
        self.overlay.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn overlay_mut(&self) -> RwLockWriteGuard<'_, Overlay> {
        self.overlay.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        held(&self.state)
    }

    // What the applier needs.

    /// Freeze what is active, and return what is to be applied.
    pub(super) fn freeze(&self) -> Option<Arc<Generation>> {
        self.overlay_mut().freeze()
    }

    /// So much of a step of a round has been done; the step is this part of the round.
    pub(super) fn advance(&self, step: &Range<u64>, done: u64, of: u64) {
        let within = (step.end - step.start) * done.min(of) / of.max(1);
        self.progress.store(step.start + within, Ordering::Relaxed);
        self.room.notify_all();
    }

    /// A round has come to its end, or has been given up.
    pub(super) fn rest(&self) {
        self.progress.store(DONE, Ordering::Relaxed);
        self.room.notify_all();
    }

    /// The index durably has all that was frozen.
    pub(super) fn thaw(&self, sequence: u64) {
        self.applied.store(sequence, Ordering::SeqCst);
        // It is dropped after the lock: it may be large.
        let _frozen = self.overlay_mut().frozen.take();
        self.state().waits = None;
        self.room.notify_all();
    }

    /// Nothing is applied until this is there.
    pub(super) fn wait_for(&self, want: Want) {
        let mut state = self.state();
        if state.waits.as_ref() != Some(&want) {
            match &want {
                Want::Space => tracing::warn!(
                    "the disk of the store is full: nothing is applied until there is space"
                ),
                Want::Files(why) => tracing::warn!(
                    %why,
                    "the store cannot open or read its files: nothing is applied until it can"
                ),
            }
        }
        state.waits = Some(want);
        drop(state);
        self.room.notify_all();
    }

    /// Whether nothing more is to be done.
    pub(super) fn is_over(&self) -> bool {
        let state = self.state();
        state.stop || state.failed.is_some()
    }

    /// Wait until there is something to do.
    pub(super) fn next(&self) -> ApplierStep {
        let mut state = self.state();
        let mut waited = false;
        loop {
            if state.stop || state.failed.is_some() {
                return ApplierStep::Stop;
            }
            let (empty, urgent) = {
                let overlay = self.overlay();
                let frozen = overlay.frozen.is_some();
                let full = self.fill(&overlay.active) >= BEGIN;
                (overlay.active.is_empty() && !frozen, full && state.waits.is_none())
            };
            if empty {
                waited = false;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else if urgent || waited {
                return ApplierStep::Round;
            } else {
                let wait = self.work.wait_timeout(state, self.options.interval);
                let (woken, timeout) = wait.unwrap_or_else(PoisonError::into_inner);
                state = woken;
                waited = timeout.timed_out();
            }
        }
    }

    /// Make a spare slot for the log, where one is wanted and nobody is writing. Who writes may wait
    /// for the applier, so that this must not wait for who writes.
    pub(super) fn make_spare(&self) {
        if held(&self.spare).is_some() {
            return;
        }
        let wanted = match self.log.try_lock() {
            Ok(mut log) => log.wants_spare(self.applied()),
            Err(_) => None,
        };
        let Some(number) = wanted else { return };
        let EngineOptions { slot_bytes, floor_bytes, .. } = self.options;
        match Slot::make(&*self.io, number, slot_bytes, floor_bytes) {
            Ok(slot) => *held(&self.spare) = Some(slot),
            Err(error) if is_full(&error) || is_unchanged(&error) => {}
            Err(error) => drop(self.fail(&format!("making a slot of the log: {error}"))),
        }
    }

    /// Write nothing more.
    pub(super) fn fail(&self, reason: &str) -> Arc<str> {
        tracing::error!(reason, "the store has failed and takes no more writes");
        let reason: Arc<str> = reason.into();
        let mut state = self.state();
        let first = state.failed.is_none();
        let kept = Arc::clone(state.failed.get_or_insert(reason));
        drop(state);
        self.work.notify_all();
        self.room.notify_all();
        if let (true, Some(tell)) = (first, &self.options.on_failure) {
            tell(Arc::clone(&kept));
        }
        kept
    }

    pub(super) fn failed(&self) -> Option<Arc<str>> {
        self.state().failed.clone()
    }

    pub(super) fn stop(&self) {
        self.state().stop = true;
        self.work.notify_all();
        self.room.notify_all();
    }
}

/// How large everything is.
#[derive(Clone, Debug, Default)]
pub(crate) struct EngineStat {
    /// The number of the last group.
    pub(crate) sequence: u64,
    /// The number of the last group that the index durably has.
    pub(crate) applied: u64,
    /// How many slots the log has.
    pub(crate) slots: usize,
    /// The room that they take, in bytes.
    pub(crate) log_bytes: u64,
    /// The memory that is taken by what is not applied yet, in bytes, about.
    pub(crate) overlay_bytes: usize,
    /// How many keys that is.
    pub(crate) overlay_keys: usize,
    /// The room that the index takes, in bytes.
    pub(crate) index_bytes: u64,
    /// The packs.
    pub(crate) kinds: BTreeMap<PackKind, KindStat>,
    /// Whether the applier waits for space on the disk.
    pub(crate) waits_for_space: bool,
}

impl EngineStat {
    /// The room that all of it takes on the disk, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let packs: u64 = self.kinds.values().map(|kind| kind.bytes).sum();
        self.log_bytes + self.index_bytes + packs
    }
}

/// How large the packs of a kind are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KindStat {
    /// How many there are.
    pub(crate) packs: u64,
    /// The room that they take, in bytes.
    pub(crate) bytes: u64,
    /// How much of that something points to.
    pub(crate) live: u64,
}

pub(super) fn damaged(key: &[u8], what: &'static str) -> ReadError {
    ReadError::Damaged { key: Bytes::copy_from_slice(key), what }
}

pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether this cannot be a key.
pub(super) fn is_bad(key: &[u8]) -> bool {
    key.is_empty() || key.len() > KEY || key[0] == OWN
}

/// How long the front of this is, where it is longer than the value or than the index takes.
fn front_too_long(change: &KeyChange) -> Option<usize> {
    match change {
        KeyChange::Put(Class::Fronted(front), value) => {
            let front = usize::from(*front);
            (front > value.len() || front > FRONT).then_some(front)
        }
        KeyChange::Put(..) | KeyChange::Staged(_) | KeyChange::Delete => None,
    }
}
