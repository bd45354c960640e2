//! Thousands of ends of the process, at every kind of moment: what was acknowledged is there, what
//! was not is there whole or not at all, in order, and everything goes on.
//!
//! `DORMOUSE_CRASH_SEED` and `DORMOUSE_CRASH_RUNS` run others, or more.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::super::applier::RoundError;
use super::super::batch::{Batch, Class};
use super::super::core::Core;
use super::super::{CommitError, Engine, EngineBackupError, EngineOpenError, EngineOptions};
use super::sim::{End, Omit, Sim};
use super::{Model, Random, contents, journals, key, put_staged, setting, small};

/// How often a process ends in a run.
const LIVES: usize = 8;
const KEYS: u64 = 90;

/// What is known of the contents: what has been acknowledged, and what may have been committed.
#[derive(Clone, Debug, Default)]
struct Known {
    acknowledged: Model,
    maybe: Option<Model>,
}

struct Run {
    sim: Sim,
    random: Random,
    known: Arc<Mutex<Known>>,
    options: EngineOptions,
    /// A repair has not finished.
    repairing: bool,
    ends: usize,
}

type Outcome<T> = Result<T, String>;

/// One large value, or many.
fn staged(random: &mut Random, first: Bytes) -> Vec<(Bytes, Bytes)> {
    let count = [1, 1, 3, 20][random.below(4) as usize];
    let mut values = vec![(first, random.bytes(5000).into())];
    for _ in 1..count {
        let length = [0, 1000, 9000][random.below(3) as usize];
        values.push((key(random.below(KEYS)), random.bytes(length).into()));
    }
    values
}

/// Commit something random. Returns whether the engine goes on.
fn commit(core: &Core, known: &Mutex<Known>, random: &mut Random) -> Outcome<bool> {
    let mut batch = Batch::default();
    let mut known = lock(known);
    let mut next = known.acknowledged.clone();
    for _ in 0..=random.below(6) {
        let key = key(random.below(KEYS));
        let value = |random: &mut Random| {
            let length = [0, 20, 300, 2500, 6000][random.below(5) as usize];
            random.bytes(length)
        };
        match random.below(10) {
            0 | 1 => {
                next.remove(&key.to_vec());
                batch.delete(key);
            }
            2 => {
                let values = staged(random, key);
                let keeps = random.next();
                let keep = |key: &[u8]| keeps >> (key[key.len() - 1] % 8) & 1 == 1;
                // If they cannot be staged, they are not part of the batch.
                if let Ok(staged) = core.stage(&values) {
                    let kept = values.iter().filter(|(key, _)| keep(key));
                    next.extend(kept.map(|(key, value)| (key.to_vec(), value.to_vec())));
                    batch.put_staged(staged, keep);
                }
            }
            what => {
                let value = value(random);
                let front = Class::Fronted(value.len().min(100) as u16);
                let class = [Class::Inline, Class::Head, Class::Rows, front][what as usize % 4];
                if next.insert(key.to_vec(), value.clone()).is_none() {
                    batch.put_new(class, key, value);
                } else {
                    batch.put(class, key, value);
                }
            }
        }
    }
    if random.once_in(3) {
        journals::step(core, &mut batch, &mut next, random);
    }
    if !core.takes(batch.size()) || batch.is_empty() {
        return Ok(true);
    }
    match core.commit(batch) {
        Ok(()) => known.acknowledged = next,
        Err(CommitError::Unknown(_)) => {
            known.maybe = Some(next);
            return Ok(false);
        }
        Err(CommitError::Full) => {}
        Err(CommitError::Failed(_)) => return Ok(false),
        Err(error) => return Err(format!("a commit was refused: {error}")),
    }
    Ok(true)
}

fn compare(core: &Core, known: &Mutex<Known>, when: &str) -> Outcome<()> {
    let found = contents(core).map_err(|error| format!("{when}: {error}"))?;
    for entry in core.fronts(&[], &[]) {
        let (key, front) = entry.map_err(|error| format!("{when}: {error}"))?;
        if !found.get(&*key).is_some_and(|value| value.starts_with(&front)) {
            return Err(format!("{when}: another front"));
        }
    }
    let known = lock(known);
    if found == known.acknowledged { Ok(()) } else { Err(format!("{when}: other contents")) }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run {
    fn new(seed: u64, omit: Omit) -> Run {
        Run {
            sim: Sim::new(seed, omit),
            random: Random(!seed),
            known: Arc::default(),
            options: small(),
            repairing: false,
            ends: 0,
        }
    }

    /// Open what is there, and find in it what should be.
    fn open(&mut self) -> Outcome<Option<Arc<Core>>> {
        if !self.repair()? {
            return Ok(None);
        }
        let core = match Core::open(self.sim.io(), self.sim.index(), self.options.clone()) {
            Ok(core) => Arc::new(core),
            Err(_) if self.sim.crashed() => return Ok(None),
            Err(error) => return Err(format!("it does not open: {error}")),
        };
        let found = contents(&core).map_err(|error| format!("after opening: {error}"))?;
        let mut known = lock(&self.known);
        if let Some(maybe) = known.maybe.take()
            && found == maybe
        {
            known.acknowledged = maybe;
        }
        if found != known.acknowledged {
            return Err("after opening: something is lost, or half there".to_owned());
        }
        drop(known);
        Ok(Some(core))
    }

    /// Now and then, repair what needs no repair. Returns whether it has come to its end.
    fn repair(&mut self) -> Outcome<bool> {
        if !(self.repairing || self.ends > 0 && self.random.once_in(8)) {
            return Ok(true);
        }
        let mut lost = None;
        let repaired =
            Engine::repair(&self.sim.io(), &self.sim.index(), &self.options, &mut |key, what| {
                lost = Some(format!("{}: {what}", key.escape_ascii()))
            });
        if let Some(lost) = lost {
            return Err(format!("a repair says that something is lost: {lost}"));
        }
        match repaired {
            Ok(repaired) if repaired.log_given_up => Err("a repair gave up the log".to_owned()),
            Ok(_) => {
                self.repairing = false;
                Ok(true)
            }
            Err(_) if self.sim.crashed() => {
                self.repairing = true;
                Ok(false)
            }
            // The store was never begun.
            Err(EngineOpenError::IndexMissing(_)) => Ok(true),
            Err(error) => Err(format!("a repair failed: {error}")),
        }
    }

    /// A backup while something is committed has what was committed when it was begun, or after that.
    fn back_up(&mut self, core: &Arc<Core>) -> Outcome<bool> {
        let target = Sim::new(self.random.next(), Omit::Nothing);
        let io = target.io();
        let before = lock(&self.known).acknowledged.clone();
        let mut made = None;
        let goes_on = self.apply(core, |core| match core.backup(&io, &|| false) {
            Ok(keys) => {
                made = Some(keys);
                Ok(())
            }
            Err(EngineBackupError::Store(_) | EngineBackupError::Full) => Ok(()),
            Err(error) => Err(RoundError::Failed(error.to_string())),
        })?;
        let Some(keys) = made else { return Ok(goes_on) };
        target.end(End::PowerLoss);
        let restored = Core::open(target.io(), target.index(), self.options.clone());
        let restored = restored.map_err(|error| format!("a backup does not open: {error}"))?;
        let found = contents(&restored).map_err(|error| format!("a backup: {error}"))?;
        let known = lock(&self.known);
        let now = [Some(&before), Some(&known.acknowledged), known.maybe.as_ref()];
        if found.len() as u64 != keys || !now.contains(&Some(&found)) {
            return Err("a backup has other contents".to_owned());
        }
        Ok(goes_on)
    }

    /// Use it until the process ends.
    fn live(&mut self, core: &Arc<Core>) -> Outcome<()> {
        for _ in 0..150 {
            let goes_on = match self.random.below(100) {
                0..70 => commit(core, &self.known, &mut self.random)?,
                70..88 => self.apply(core, |core| core.round().map(drop))?,
                88..93 => {
                    let threshold = 300 + self.random.below(700);
                    self.apply(core, move |core| core.compact(64 << 10, threshold))?
                }
                93 => {
                    core.make_spare();
                    core.failed().is_none()
                }
                94 => self.back_up(core)?,
                95..99 => {
                    compare(core, &self.known, "while running")?;
                    true
                }
                _ => {
                    match core.check(&mut |_, _| true) {
                        Ok(report) if report.count > 0 => {
                            return Err(format!("check: {:?}", report.findings));
                        }
                        Ok(_) => true,
                        // It writes the keys out, and that was told to fail.
                        Err(_) => core.failed().is_none(),
                    }
                }
            };
            if self.sim.crashed() {
                return Ok(());
            }
            if !goes_on {
                // Writing has ended. What was acknowledged can be read.
                return compare(core, &self.known, "after a failure");
            }
        }
        Ok(())
    }

    /// Let the applier do something, and something else happen in the middle of it.
    fn apply(
        &mut self,
        core: &Arc<Core>,
        work: impl FnOnce(&Core) -> Result<(), RoundError>,
    ) -> Outcome<bool> {
        let failure = Arc::new(Mutex::new(None));
        if self.random.once_in(2) {
            let (core, known) = (Arc::clone(core), Arc::clone(&self.known));
            let (failure, mut random) = (Arc::clone(&failure), Random(self.random.next()));
            self.sim.before_call_in(1 + self.random.below(12), move || {
                let done = compare(&core, &known, "while applying")
                    .and_then(|()| commit(&core, &known, &mut random));
                if let Err(error) = done {
                    *lock(&failure) = Some(error);
                }
            });
        }
        let done = work(core);
        self.sim.forget_hook();
        if let Some(failure) = lock(&failure).take()
            && !self.sim.crashed()
        {
            return Err(failure);
        }
        match done {
            Ok(()) | Err(RoundError::Full | RoundError::Unopened(_)) => Ok(core.failed().is_none()),
            Err(RoundError::Failed(reason)) => {
                core.fail(&reason);
                Ok(false)
            }
        }
    }

    /// All lives of a store, the last of which ends well.
    fn run(&mut self) -> Outcome<()> {
        for _ in 0..LIVES {
            match self.random.below(4) {
                // Now and then it ends while it is opened.
                0 => self.sim.crash_in(1 + self.random.below(20)),
                1 | 2 => self.sim.crash_in(1 + self.random.below(400)),
                _ => {}
            }
            if let Some(core) = self.open()? {
                if self.random.once_in(4) {
                    let full = self.random.once_in(4);
                    let kind = if full { ErrorKind::StorageFull } else { ErrorKind::Other };
                    self.sim.fail_in(1 + self.random.below(300), kind);
                }
                self.live(&core)?;
            }
            self.ends += 1;
            self.sim.forget_plans();
            let end = if self.random.once_in(3) { End::Kill } else { End::PowerLoss };
            self.sim.end(end);
        }
        self.finish()
    }

    fn finish(&mut self) -> Outcome<()> {
        let core = self.open()?.ok_or("it ended without being told to")?;
        for _ in 0..20 {
            commit(&core, &self.known, &mut self.random)?;
        }
        core.compact_all().map_err(|error| error.to_string())?;
        compare(&core, &self.known, "at the end")?;
        let report = core.check(&mut |_, _| true).map_err(|error| error.to_string())?;
        if report.count > 0 {
            return Err(format!("check at the end: {:?}", report.findings));
        }
        let stat = core.stat();
        let (bytes, live) = stat
            .kinds
            .values()
            .fold((0, 0), |(bytes, live), kind| (bytes + kind.bytes, live + kind.live));
        if live * 10 < bytes.saturating_sub(64 * stat.kinds.len() as u64 * 16) * 8 {
            return Err(format!("{live} of {bytes} bytes are live after compaction"));
        }
        Ok(())
    }
}

#[test]
fn what_was_acknowledged_survives_every_end() {
    let seed = setting("DORMOUSE_CRASH_SEED", 1);
    let runs = setting("DORMOUSE_CRASH_RUNS", 300);
    println!("seeds {seed}..{}", seed + runs);
    let (mut ends, mut calls) = (0, 0);
    for seed in seed..seed + runs {
        let mut run = Run::new(seed, Omit::Nothing);
        if let Err(error) = run.run() {
            panic!("seed {seed}, end {}: {error}", run.ends);
        }
        ends += run.ends;
        calls += run.sim.calls();
    }
    println!("{ends} ends in {calls} calls");
    assert!(ends as u64 >= runs * LIVES as u64);
}

/// How many of some runs find that something is left out.
fn caught(omit: Omit) -> usize {
    (1..=60).filter(|seed| Run::new(*seed, omit).run().is_err()).count()
}

#[test]
fn a_log_that_is_not_synced_is_caught() {
    assert!(caught(Omit::SyncOfLog) > 30);
}

#[test]
fn packs_that_are_not_synced_are_caught() {
    assert!(caught(Omit::SyncOfPacks) > 30);
}

#[test]
fn folders_that_are_not_synced_are_caught() {
    assert!(caught(Omit::SyncOfFolders) > 30);
}

#[test]
fn an_index_that_is_not_flushed_is_caught() {
    assert!(caught(Omit::FlushOfIndex) > 30);
}

#[test]
fn a_group_whose_sync_failed_is_synced_again_when_it_is_found() {
    let sim = Sim::new(5, Omit::Nothing);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    let put = |core: &Core, value: &'static str| {
        let mut batch = Batch::default();
        batch.put(Class::Head, "key", value);
        core.commit(batch)
    };
    put(&core, "one").unwrap();
    sim.fail_in(2, ErrorKind::Other);
    assert!(matches!(put(&core, "two"), Err(CommitError::Unknown(_))));
    assert!(matches!(put(&core, "three"), Err(CommitError::Failed(_))));
    assert_eq!(core.get(b"key").unwrap(), Some(Bytes::from("one")));
    // The kernel still shows what it could not write.
    sim.end(End::Kill);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    assert_eq!(core.get(b"key").unwrap(), Some(Bytes::from("two")));
    sim.end(End::PowerLoss);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    assert_eq!(core.get(b"key").unwrap(), Some(Bytes::from("two")));
}

#[test]
fn what_an_unsynced_last_group_let_go_of_is_removed_only_when_that_is_durable() {
    for seed in 0..60 {
        let sim = Sim::new(seed, Omit::Nothing);
        let core = Core::open(sim.io(), sim.index(), small()).unwrap();
        let mut batch = Batch::default();
        put_staged(&core, &mut batch, "key".into(), vec![1; 5000]);
        core.commit(batch).unwrap();
        let mut batch = Batch::default();
        batch.put(Class::Head, "key", "another");
        // It is written, but the process is killed before its sync.
        sim.crash_in(2);
        assert!(core.commit(batch).is_err());
        sim.forget_plans();
        sim.end(End::Kill);
        sim.crash_in(1 + seed % 9);
        let opened = Core::open(sim.io(), sim.index(), small());
        sim.forget_plans();
        sim.end(End::PowerLoss);
        let core = Core::open(sim.io(), sim.index(), small());
        let core = core.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let found = core.get(b"key").unwrap().unwrap();
        let old = found == [1; 5000].as_slice();
        assert!(found == "another" || (old && opened.is_err()), "seed {seed}");
    }
}
