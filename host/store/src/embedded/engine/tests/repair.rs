//! Repair: whatever has been damaged, and whenever the repair itself ends, the store opens again;
//! who was not told of has what it had; and nothing is thrown away.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::super::batch::{Batch, Class};
use super::super::core::Core;
use super::super::ordered_map::OrderedMap;
use super::super::{Engine, EngineOpenError, EngineOptions, Repaired, Tree};
use super::sim::{End, Omit, Sim};
use super::{Model, Random, contents, key, put_staged, real, small};

const KEYS: u64 = 60;

/// Every value that each key has had, and the last ones.
#[derive(Clone, Default)]
struct History {
    all: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    last: Model,
}

impl History {
    fn put(&mut self, key: &Bytes, value: &[u8]) {
        self.all.entry(key.to_vec()).or_default().insert(value.to_vec());
        self.last.insert(key.to_vec(), value.to_vec());
    }
}

fn commit(core: &Core, history: &mut History, random: &mut Random) {
    let mut batch = Batch::default();
    for _ in 0..=random.below(4) {
        let key = key(random.below(KEYS));
        let length = [40, 300, 2000, 5000][random.below(4) as usize];
        let value = random.bytes(length);
        match random.below(8) {
            0 => {
                history.last.remove(&key.to_vec());
                batch.delete(key);
                continue;
            }
            1 => {
                let other = super::key(random.below(KEYS));
                let values = [(key.clone(), value.clone().into()), (other, value.clone().into())];
                batch.put_staged(core.stage(&values).unwrap(), |kept| kept == key);
            }
            class => {
                let front = Class::Fronted(30);
                let class = [Class::Inline, Class::Head, Class::Rows, front][class as usize % 4];
                batch.put(class, key.clone(), value.clone());
            }
        }
        history.put(&key, &value);
    }
    core.commit(batch).unwrap();
}

fn options() -> EngineOptions {
    // Everything is applied when it is asked for.
    EngineOptions {
        slot_bytes: 128 << 10,
        log_bytes: 2 << 20,
        overlay_bytes: 2 << 20,
        interval: Duration::from_secs(3600),
        ..small()
    }
}

/// A store, an older copy of its index, and what it had.
fn filled(seed: u64) -> (Sim, BTreeMap<Vec<u8>, Vec<u8>>, History) {
    let mut random = Random(seed);
    let sim = Sim::new(seed, Omit::Nothing);
    let core = Core::open(sim.io(), sim.index(), options()).unwrap();
    let mut history = History::default();
    let mut old = BTreeMap::new();
    for round in 0..6 {
        for _ in 0..2 + random.below(10) {
            commit(&core, &mut history, &mut random);
        }
        match round {
            5 => {}
            4 => core.compact_all().unwrap(),
            _ => drop(core.round().unwrap()),
        }
        if round == 1 || (round < 4 && random.once_in(2)) {
            old = sim.index_copy();
        }
    }
    (sim, old, history)
}

/// Damage something. Returns whether everything that is lost by it can be known.
fn damage(sim: &Sim, old: &BTreeMap<Vec<u8>, Vec<u8>>, random: &mut Random) -> bool {
    let one_of = |names: Vec<String>, random: &mut Random| {
        let chosen = random.below(names.len().max(1) as u64) as usize;
        names.get(chosen).cloned()
    };
    let what = random.below(9);
    let folder = if what < 4 { "packs" } else { "log" };
    let Some(name) = one_of(sim.names(folder), random) else { return false };
    let bytes = sim.read(&name);
    let at = random.below(bytes.len().max(1) as u64) as usize;
    match what {
        0 => sim.replace(&name, None),
        1 => sim.edit(&name, |pack| pack.truncate(at)),
        2 => sim.edit(&name, |pack| {
            if let Some(byte) = pack.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }),
        3 => sim.edit_index(|index| {
            let chosen = random.below(index.len() as u64) as usize;
            let (key, value) = index.iter_mut().nth(chosen).unwrap();
            // Without these nothing is known of the rest.
            if ![b"\0s".as_slice(), b"\0a"].contains(&&**key) && !value.is_empty() {
                let at = random.below(value.len() as u64) as usize;
                value[at] ^= 1 << random.below(8);
            }
        }),
        4 => sim.replace(&name, None),
        5 => sim.edit(&name, |slot| slot.fill(0)),
        6 | 7 => {
            let salt = crc32c::crc32c(&small().salt);
            let groups: Vec<_> = super::super::log::groups(&bytes, salt).collect();
            if let Some(found) = groups.get(random.below(groups.len().max(1) as u64) as usize) {
                let within = random.below(found.header.room as u64) as usize;
                sim.edit(&name, |slot| slot[found.offset + within] ^= 1 << random.below(8));
            }
        }
        _ => sim.edit_index(|index| *index = old.clone()),
    }
    what < 4
}

type Told = BTreeMap<Vec<u8>, &'static str>;

fn repair(sim: &Sim, told: &mut Told) -> Result<Repaired, EngineOpenError> {
    let options = EngineOptions { salt: *b"another one here", ..options() };
    let mut tell = |key: &[u8], what| {
        told.insert(key.to_vec(), what);
    };
    Engine::repair(&sim.io(), &sim.index(), &options, &mut tell)
}

/// All that lies in these folders.
fn files(sim: &Sim, folders: &[&str]) -> Vec<Vec<u8>> {
    folders.iter().flat_map(|folder| sim.names(folder)).map(|name| sim.read(&name)).collect()
}

fn run(seed: u64) -> Result<bool, String> {
    let (sim, old, history) = filled(seed);
    let mut random = Random(!seed);
    let mut known = true;
    for _ in 0..=random.below(3) {
        known &= damage(&sim, &old, &mut random);
    }
    let opens = Core::open(sim.io(), sim.index(), options()).is_ok();
    let before = files(&sim, &["packs", "log"]);
    let mut foretold = Told::new();
    let mut tell = |key: &[u8], what| {
        foretold.insert(key.to_vec(), what);
    };
    Engine::concerned(&sim.io(), &*sim.index(), &mut tell).map_err(|error| error.to_string())?;
    let mut told = Told::new();
    loop {
        if random.once_in(2) {
            sim.crash_in(1 + random.below(60));
        }
        let repaired = repair(&sim, &mut told);
        let crashed = sim.crashed();
        sim.forget_plans();
        match repaired {
            Ok(_) => break,
            Err(_) if crashed => {
                sim.end(if random.once_in(2) { End::Kill } else { End::PowerLoss });
                if random.once_in(2)
                    && let Err(error) = Core::open(sim.io(), sim.index(), options())
                    && !error.to_string().contains("repair")
                {
                    return Err(format!("opening between two repairs: {error}"));
                }
            }
            Err(error) => return Err(format!("repair: {error}")),
        }
    }
    sim.end(End::PowerLoss);
    if let Some(key) = foretold.keys().find(|key| !told.contains_key(*key)) {
        return Err(format!("{} was foretold and not told", key.escape_ascii()));
    }
    let after = files(&sim, &["packs", "log", "quarantine"]);
    if !before.iter().all(|file| after.contains(file)) {
        return Err("something has been thrown away".to_owned());
    }
    let core = Core::open(sim.io(), sim.index(), options())
        .map_err(|error| format!("it does not open: {error}"))?;
    let report = core.check(&mut |_, _| true).map_err(|error| error.to_string())?;
    if report.count > 0 {
        return Err(format!("check: {:?}", report.findings));
    }
    let mut found = contents(&core).map_err(|error| error.to_string())?;
    for (key, value) in &found {
        if !history.all.get(key).is_some_and(|all| all.contains(value)) {
            return Err(format!("{} never had this value", key.escape_ascii()));
        }
    }
    if known {
        let mut expected = history.last.clone();
        found.retain(|key, _| !told.contains_key(key));
        expected.retain(|key, _| !told.contains_key(key));
        if found != expected {
            return Err("something is lost that has not been told".to_owned());
        }
    }
    // It goes on.
    let mut history = History { last: contents(&core).unwrap(), ..history };
    for _ in 0..10 {
        commit(&core, &mut history, &mut random);
    }
    core.compact_all().map_err(|error| error.to_string())?;
    commit(&core, &mut history, &mut random);
    drop(core);
    sim.end(End::PowerLoss);
    let core = Core::open(sim.io(), sim.index(), options())
        .map_err(|error| format!("it does not open again: {error}"))?;
    if contents(&core).map_err(|error| error.to_string())? != history.last {
        return Err("other contents later".to_owned());
    }
    Ok(opens)
}

#[test]
fn a_store_that_was_repaired_opens_and_has_what_was_not_told_to_be_lost() {
    let runs = super::setting("DORMOUSE_REPAIR_RUNS", 150);
    let mut refused = 0;
    for seed in 1..=runs {
        match run(seed) {
            Ok(opened) => refused += u64::from(!opened),
            Err(error) => panic!("seed {seed}: {error}"),
        }
    }
    assert!(refused * 4 > runs, "most damage is refused: {refused} of {runs}");
}

/// A real store with 30 keys of each kind: those of `late` are only in the log.
fn store(root: &Path) -> Model {
    let engine = Engine::open(root, 8 << 20, options()).unwrap();
    let mut model = Model::new();
    for number in 0..30 {
        let mut batch = Batch::default();
        let value = |length| vec![number as u8; length];
        batch.put(Class::Inline, format!("inline/{number:02}"), value(100));
        batch.put(Class::Rows, format!("rows/{number:02}"), value(700));
        put_staged(&engine.core, &mut batch, format!("large/{number:02}").into(), value(9000));
        engine.commit(batch).unwrap();
        for (key, length) in [("inline", 100), ("rows", 700), ("large", 9000)] {
            model.insert(format!("{key}/{number:02}").into(), value(length));
        }
    }
    engine.core.round().unwrap();
    for number in 0..10 {
        let mut batch = Batch::default();
        batch.put(Class::Rows, format!("late/{number:02}"), vec![number; 700]);
        engine.commit(batch).unwrap();
        model.insert(format!("late/{number:02}").into(), vec![number; 700]);
    }
    drop(engine);
    model
}

/// Repair a real store. Returns what has been told.
fn repair_folder(root: &Path) -> (Told, Repaired) {
    assert!(Engine::open(root, 8 << 20, options()).is_err());
    let io = real(root);
    let index: Arc<dyn OrderedMap> = Arc::new(Tree::open(root, 8 << 20).unwrap());
    let mut foretold = Told::new();
    Engine::concerned(&io, &*index, &mut |key, what| {
        foretold.insert(key.to_vec(), what);
    })
    .unwrap();
    assert!(!foretold.is_empty());
    let mut told = Told::new();
    let options = EngineOptions { salt: *b"another one here", ..options() };
    let repaired = Engine::repair(&io, &index, &options, &mut |key, what| {
        told.insert(key.to_vec(), what);
    })
    .unwrap();
    assert_eq!(foretold, told);
    assert_eq!(repaired.lost, told.len() as u64);
    drop(index);
    for name in &repaired.quarantined {
        assert!(root.join(name).is_file(), "{name}");
    }
    (told, repaired)
}

fn kept(root: &Path) -> Model {
    let engine = Engine::open(root, 8 << 20, options()).unwrap();
    assert_eq!(engine.check(&mut |_, _| true).unwrap().count, 0);
    contents(&engine.core).unwrap()
}

#[test]
fn a_pack_of_a_real_store_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = store(folder.path());
    let packs = real(folder.path()).list("packs").unwrap();
    let (rows, _) = packs.iter().find(|(name, _)| name.starts_with("r-")).unwrap();
    std::fs::remove_file(folder.path().join("packs").join(rows)).unwrap();
    let (told, repaired) = repair_folder(folder.path());
    assert!(told.keys().all(|key| key.starts_with(b"rows/")));
    assert!(told.values().all(|what| *what == "its pack is missing"));
    assert!(!repaired.log_given_up);
    model.retain(|key, _| !told.contains_key(key));
    assert_eq!(kept(folder.path()), model);
}

#[test]
fn a_pack_of_a_real_store_that_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = store(folder.path());
    let packs = real(folder.path()).list("packs").unwrap();
    let (rows, size) = packs.iter().find(|(name, _)| name.starts_with("r-")).unwrap();
    let path = folder.path().join("packs").join(rows);
    std::fs::File::options().write(true).open(path).unwrap().set_len(size / 2).unwrap();
    let (told, repaired) = repair_folder(folder.path());
    assert!(told.keys().all(|key| key.starts_with(b"rows/")));
    assert!(told.len() < 20, "those before the cut are still there");
    assert_eq!(repaired.quarantined, [format!("quarantine/{rows}")]);
    model.retain(|key, _| !told.contains_key(key));
    assert_eq!(kept(folder.path()), model);
}

#[test]
fn a_log_of_a_real_store_that_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = store(folder.path());
    let find = |slot: &[u8]| slot.windows(7).position(|bytes| bytes == b"late/06");
    let slots = real(folder.path()).list("log").unwrap();
    let read = |name: &str| std::fs::read(folder.path().join("log").join(name)).unwrap();
    let (name, _) = slots.iter().find(|(name, _)| find(&read(name)).is_some()).unwrap();
    let mut slot = read(name);
    let at = find(&slot).unwrap();
    slot[at + 400] ^= 1;
    std::fs::write(folder.path().join("log").join(name), &slot).unwrap();
    let (told, repaired) = repair_folder(folder.path());
    let expected = [6, 7, 8, 9].map(|number| format!("late/{number:02}").into_bytes());
    assert!(told.keys().eq(expected.iter()), "{told:?}");
    assert!(repaired.log_given_up);
    let quarantined = format!("quarantine/{name}");
    assert!(repaired.quarantined.contains(&quarantined));
    assert_eq!(std::fs::read(folder.path().join(quarantined)).unwrap(), slot);
    model.retain(|key, _| !told.contains_key(key));
    assert_eq!(kept(folder.path()), model);
    // The old log, put back, has nothing to say any more.
    std::fs::write(folder.path().join("log/slot-0007"), &slot).unwrap();
    assert_eq!(kept(folder.path()), model);
}

#[test]
fn an_index_that_is_gone_cannot_be_repaired_and_nothing_is_touched() {
    let (sim, _, _) = filled(3);
    sim.edit_index(BTreeMap::clear);
    let before = files(&sim, &["packs", "log"]);
    let refused = repair(&sim, &mut Told::new()).unwrap_err();
    assert!(refused.to_string().contains("dormouse restore"), "{refused}");
    assert_eq!(files(&sim, &["packs", "log"]), before);
    assert!(sim.index_copy().is_empty());
}
