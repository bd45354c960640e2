//! A simulated disk, with an index on it, that forgets what was not synced.
//!
//! When the power fails, each sector of 512 bytes that was written since the last sync of its file
//! is there or not; so is each change of a folder since its last sync; and the index has what was
//! flushed, and some of the batches after that, whole and in order. When a process is killed, the
//! files stay as they are, and what was not synced is still not durable. A sync that fails has
//! forgotten what it should have written, though reading shows it: so kernels do.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::io::{Handle, Io, unchanged};
use super::super::ordered_map::{Changes, IndexEntries, IndexEntry, OrderedMap};
use super::Random;

const SECTOR: usize = 512;

/// The disk. Clones are the same one.
#[derive(Clone)]
pub(super) struct Sim(Arc<Mutex<State>>);

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Kill,
    PowerLoss,
}

/// What is said to have been done and is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omit {
    Nothing,
    SyncOfLog,
    SyncOfPacks,
    SyncOfFolders,
    FlushOfIndex,
}

type Hook = Box<dyn FnOnce() + Send>;

struct State {
    random: Random,
    /// How many calls have changed something, or made it durable.
    calls: u64,
    /// How many files have been opened.
    opens: u64,
    crash_at: Option<u64>,
    crashed: bool,
    error_at: Option<(u64, ErrorKind)>,
    /// How often from now on no file can be opened or read.
    closed: Cell<u64>,
    hook_at: Option<(u64, Hook)>,
    omit: Omit,
    capacity: u64,
    /// Handles of an earlier process are of no use.
    life: u64,
    folders: BTreeSet<String>,
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Changes of folders, each of which is made whole or not.
    unsynced_names: Vec<Vec<(String, Option<usize>)>>,
    index: BTreeMap<Vec<u8>, Vec<u8>>,
    durable_index: BTreeMap<Vec<u8>, Vec<u8>>,
    batches: Vec<Changes>,
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(usize, Vec<u8>)>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sim")
    }
}

/// What a call is to do.
enum Call {
    Do,
    /// It fails, and has been done or not.
    Fail(io::Error),
}

impl Sim {
    pub(super) fn new(seed: u64, omit: Omit) -> Sim {
        Sim(Arc::new(Mutex::new(State {
            random: Random(seed),
            calls: 0,
            opens: 0,
            crash_at: None,
            crashed: false,
            error_at: None,
            closed: Cell::new(0),
            hook_at: None,
            omit,
            capacity: u64::MAX,
            life: 0,
            folders: BTreeSet::from([String::new()]),
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            index: BTreeMap::new(),
            durable_index: BTreeMap::new(),
            batches: Vec::new(),
        })))
    }

    pub(super) fn io(&self) -> Arc<dyn Io> {
        Arc::new(self.clone())
    }

    pub(super) fn index(&self) -> Arc<dyn OrderedMap> {
        Arc::new(SimIndex(self.clone(), self.state().life))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process ends at the call that comes after so many others.
    pub(super) fn crash_in(&self, calls: u64) {
        let mut state = self.state();
        state.crash_at = Some(state.calls + calls);
    }

    /// The call that comes after so many others fails.
    pub(super) fn fail_in(&self, calls: u64, kind: ErrorKind) {
        let mut state = self.state();
        state.error_at = Some((state.calls + calls, kind));
    }

    /// From now on no file can be opened or read, nor the index; or all can again.
    pub(super) fn set_closed(&self, closed: bool) {
        self.refuse(if closed { u64::MAX } else { 0 });
    }

    /// So many times from now on a file, or the index, cannot be opened or read.
    pub(super) fn refuse(&self, times: u64) {
        self.state().closed.set(times);
    }

    /// Something else happens just before the call that comes after so many others.
    pub(super) fn before_call_in(&self, calls: u64, hook: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        state.hook_at = Some((state.calls + calls, Box::new(hook)));
    }

    /// What should have happened before a call does not any more.
    pub(super) fn forget_hook(&self) {
        let hook = self.state().hook_at.take();
        drop(hook);
    }

    /// Nothing more is planned to happen.
    pub(super) fn forget_plans(&self) {
        let mut state = self.state();
        (state.crash_at, state.error_at, state.hook_at) = (None, None, None);
    }

    pub(super) fn crashed(&self) -> bool {
        self.state().crashed
    }

    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    pub(super) fn opens(&self) -> u64 {
        self.state().opens
    }

    /// How many bytes there is room for.
    pub(super) fn set_capacity(&self, bytes: u64) {
        self.state().capacity = bytes;
    }

    pub(super) fn used(&self) -> u64 {
        self.state().used()
    }

    /// The process ends, if it has not yet, and another one finds what is left.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state();
        let state = &mut *state;
        state.crashed = false;
        state.life += 1;
        state.end_index();
        if end == End::PowerLoss {
            state.lose();
        }
    }

    /// The bytes of a file.
    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].now.clone()
    }

    /// Change a file behind the engine's back.
    pub(super) fn edit(&self, name: &str, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let number = state.names[name];
        let file = &mut state.files[number];
        edit(&mut file.now);
        file.durable = file.now.clone();
        file.unsynced.clear();
    }

    /// The index, to be put back later.
    pub(super) fn index_copy(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.state().index.clone()
    }

    /// Change the index behind the engine's back.
    pub(super) fn edit_index(&self, edit: impl FnOnce(&mut BTreeMap<Vec<u8>, Vec<u8>>)) {
        let mut state = self.state();
        edit(&mut state.index);
        state.durable_index = state.index.clone();
        state.batches.clear();
    }

    /// Remove a file, or let it have these bytes, behind the engine's back.
    pub(super) fn replace(&self, name: &str, bytes: Option<Vec<u8>>) {
        match bytes {
            Some(bytes) => self.edit(name, |file| *file = bytes),
            None => {
                let mut state = self.state();
                state.names.remove(name);
                state.durable_names.remove(name);
            }
        }
    }

    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{folder}/");
        self.state().names.keys().filter(|name| name.starts_with(&prefix)).cloned().collect()
    }

    /// Begin a call that changes something.
    fn begin(&self) -> io::Result<Call> {
        let mut state = self.state();
        if state.crashed {
            return Err(io::Error::other("the process has ended"));
        }
        state.calls += 1;
        let calls = state.calls;
        let due = state.hook_at.as_ref().is_some_and(|(at, _)| *at <= calls);
        if due && let Some((_, hook)) = state.hook_at.take() {
            drop(state);
            hook();
            state = self.state();
        }
        if state.crash_at.is_some_and(|at| at <= state.calls) {
            state.crashed = true;
            return Ok(Call::Fail(io::Error::other("the process ends here")));
        }
        if let Some((at, kind)) = state.error_at
            && at <= state.calls
        {
            state.error_at = None;
            return Ok(Call::Fail(kind.into()));
        }
        Ok(Call::Do)
    }

    /// A change that a call that fails may have made or not.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        match self.begin()? {
            Call::Do => change(&mut self.state()),
            Call::Fail(error) => {
                let mut state = self.state();
                if state.random.once_in(2) {
                    let _ = change(&mut state);
                }
                Err(error)
            }
        }
    }
}

impl State {
    fn is_open(&self) -> io::Result<()> {
        let refused = || unchanged(io::Error::other("there are too many open files"));
        match self.closed.get().checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.closed.set(left);
                Err(refused())
            }
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[*file].now.len() as u64).sum()
    }

    fn set_name(&mut self, name: &str, file: Option<usize>) {
        match file {
            Some(file) => self.names.insert(name.to_owned(), file),
            None => self.names.remove(name),
        };
        self.unsynced_names.push(vec![(name.to_owned(), file)]);
    }

    fn keep_names(&mut self, change: Vec<(String, Option<usize>)>) {
        for (name, file) in change {
            match file {
                Some(file) => self.durable_names.insert(name, file),
                None => self.durable_names.remove(&name),
            };
        }
    }

    fn end_index(&mut self) {
        let kept = self.random.below(self.batches.len() as u64 + 1) as usize;
        for batch in self.batches.drain(..).take(kept) {
            apply(&mut self.durable_index, batch);
        }
        self.index = self.durable_index.clone();
    }

    /// Whether one of the things that may be lost is there: `mood` is how likely.
    fn kept(&mut self, mood: u64) -> bool {
        match mood {
            0 => true,
            1 => false,
            _ => self.random.once_in(2),
        }
    }

    fn lose(&mut self) {
        let mood = self.random.below(4);
        for change in std::mem::take(&mut self.unsynced_names) {
            if self.kept(mood) {
                self.keep_names(change);
            }
        }
        self.names = self.durable_names.clone();
        for number in 0..self.files.len() {
            let mood = self.random.below(4);
            let mut file = std::mem::take(&mut self.files[number]);
            for (offset, bytes) in std::mem::take(&mut file.unsynced) {
                let mut from = 0;
                while from < bytes.len() {
                    let to = bytes.len().min((offset + from) / SECTOR * SECTOR + SECTOR - offset);
                    if self.kept(mood) {
                        write(&mut file.durable, offset + from, &bytes[from..to]);
                    }
                    from = to;
                }
            }
            file.now = file.durable.clone();
            self.files[number] = file;
        }
    }
}

fn write(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

fn apply(index: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: Changes) {
    for (key, value) in changes {
        match value {
            Some(value) => index.insert(key, value),
            None => index.remove(&key),
        };
    }
}

fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn missing<T>() -> io::Result<T> {
    Err(ErrorKind::NotFound.into())
}

#[derive(Debug)]
struct SimHandle {
    sim: Sim,
    life: u64,
    file: usize,
    name: String,
}

impl Io for Sim {
    fn open(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        let mut state = self.state();
        state.opens += 1;
        state.is_open()?;
        let Some(&file) = state.names.get(name) else { return missing() };
        let (sim, life) = (self.clone(), state.life);
        Ok(Arc::new(SimHandle { sim, life, file, name: name.to_owned() }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn Handle>> {
        self.state().is_open()?;
        self.change(|state| {
            if state.names.contains_key(name) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            assert!(state.folders.contains(folder_of(name)), "there is no folder for {name}");
            state.files.push(File::default());
            state.set_name(name, Some(state.files.len() - 1));
            Ok(())
        })?;
        self.open(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|state| {
            let Some(&file) = state.names.get(from) else { return missing() };
            state.names.remove(from);
            state.names.insert(to.to_owned(), file);
            state.unsynced_names.push(vec![(to.to_owned(), Some(file)), (from.to_owned(), None)]);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|state| {
            if !state.names.contains_key(name) {
                return missing();
            }
            state.set_name(name, None);
            Ok(())
        })
    }

    fn make_folder(&self, name: &str) -> io::Result<()> {
        // Folders are as durable as the disk: losing one is losing all that is in it.
        self.state().folders.insert(name.to_owned());
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let state = self.state();
        state.is_open()?;
        let within = state.names.iter().filter(|(name, _)| folder_of(name) == folder);
        let file = |(name, file): (&String, &usize)| {
            let name = name.rsplit('/').next().unwrap_or(name).to_owned();
            (name, state.files[*file].now.len() as u64)
        };
        Ok(within.map(file).collect())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.state().is_open()?;
        if let Call::Fail(error) = self.begin()? {
            return Err(error);
        }
        let mut state = self.state();
        if state.omit == Omit::SyncOfFolders {
            return Ok(());
        }
        // Also what was changed before of a name that is concerned: its changes are kept in order.
        let changes = std::mem::take(&mut state.unsynced_names);
        let mut concerned = BTreeSet::new();
        for change in changes.iter().rev() {
            let names = || change.iter().map(|(name, _)| name.clone());
            if names().any(|name| folder_of(&name) == folder || concerned.contains(&name)) {
                concerned.extend(names());
            }
        }
        for change in changes {
            if change.iter().any(|(name, _)| concerned.contains(name)) {
                state.keep_names(change);
            } else {
                state.unsynced_names.push(change);
            }
        }
        Ok(())
    }

    fn free(&self) -> io::Result<u64> {
        let state = self.state();
        state.is_open()?;
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl SimHandle {
    fn check(&self) -> io::Result<()> {
        let ours = self.sim.state().life == self.life;
        if ours { Ok(()) } else { Err(io::Error::other("a handle of an earlier process")) }
    }
}

impl Handle for SimHandle {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.check()?;
        let state = self.sim.state();
        state.is_open()?;
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let bytes = state.files[self.file].now.get(from..from + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.check()?;
        self.sim.change(|state| {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            let grows = (offset + bytes.len()).saturating_sub(state.files[self.file].now.len());
            if state.used().saturating_add(grows as u64) > state.capacity {
                return Err(ErrorKind::StorageFull.into());
            }
            let file = &mut state.files[self.file];
            write(&mut file.now, offset, bytes);
            file.unsynced.push((offset, bytes.to_vec()));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.check()?;
        let call = self.sim.begin()?;
        let mut state = self.sim.state();
        let omitted = match state.omit {
            Omit::SyncOfLog => self.name.starts_with("log/"),
            Omit::SyncOfPacks => self.name.starts_with("packs/"),
            Omit::Nothing | Omit::SyncOfFolders | Omit::FlushOfIndex => false,
        };
        let crashed = state.crashed;
        let file = &mut state.files[self.file];
        match call {
            Call::Do if omitted => Ok(()),
            Call::Do => {
                for (offset, bytes) in std::mem::take(&mut file.unsynced) {
                    write(&mut file.durable, offset, &bytes);
                }
                Ok(())
            }
            Call::Fail(error) => {
                if !crashed {
                    file.unsynced.clear();
                }
                Err(error)
            }
        }
    }

    fn size(&self) -> io::Result<u64> {
        self.check()?;
        Ok(self.sim.state().files[self.file].now.len() as u64)
    }
}

#[derive(Debug)]
struct SimIndex(Sim, u64);

impl SimIndex {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.0.state();
        if state.life == self.1 { Ok(state) } else { Err(io::Error::other("an earlier process")) }
    }
}

impl OrderedMap for SimIndex {
    fn get(&self, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let state = self.state()?;
        state.is_open()?;
        Ok(state.index.get(key).cloned())
    }

    fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> io::Result<IndexEntries> {
        let state = self.state()?;
        let entries = state.index.range(from.to_vec()..);
        let within = entries.take_while(|(key, _)| key.starts_with(prefix)).take(limit);
        Ok(within.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn last(&self, prefix: &[u8], before: Option<&[u8]>) -> io::Result<Option<IndexEntry>> {
        let state = self.state()?;
        let mut within = state.index.iter().filter(|(key, _)| {
            key.starts_with(prefix) && before.is_none_or(|before| key.as_slice() < before)
        });
        Ok(within.next_back().map(|(key, value)| (key.clone(), value.clone())))
    }

    fn apply(&self, changes: Changes) -> io::Result<()> {
        drop(self.state()?);
        self.0.change(|state| {
            state.batches.push(changes.clone());
            apply(&mut state.index, changes);
            Ok(())
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.state()?.is_open()?;
        if let Call::Fail(error) = self.0.begin()? {
            return Err(error);
        }
        let mut state = self.state()?;
        if state.omit != Omit::FlushOfIndex {
            state.batches.clear();
            state.durable_index = state.index.clone();
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        0
    }
}
