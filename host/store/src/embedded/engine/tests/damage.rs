//! Damage is found: a store that has lost something does not open, and says why and what to run; or
//! it opens, and the values concerned say so when they are read. Nothing panics.

use std::collections::BTreeMap;

use super::super::batch::{Batch, Class};
use super::super::check::EngineFinding;
use super::super::core::Core;
use super::super::{Engine, EngineOpenError, EngineOptions, ReadError, log_record};
use super::sim::{End, Omit, Sim};
use super::{Random, contents, key, put_staged, small};

/// One slot has all groups.
fn options() -> EngineOptions {
    EngineOptions { slot_bytes: 256 << 10, log_bytes: 1 << 20, ..small() }
}

/// A store with something applied, something not, and packs of each kind.
fn filled(seed: u64) -> (Sim, Core) {
    let sim = Sim::new(seed, Omit::Nothing);
    let core = Core::open(sim.io(), sim.index(), options()).unwrap();
    for round in 0..3 {
        for number in 0..6 {
            commit(&core, round * 6 + number);
        }
        if round < 2 {
            core.round().unwrap();
        }
    }
    (sim, core)
}

fn commit(core: &Core, number: u64) {
    let mut batch = Batch::default();
    batch.put(Class::Inline, key(number), vec![1; 100]);
    batch.put(Class::Head, key(number + 100), vec![number as u8; 900]);
    batch.put(Class::Rows, key(number + 200), vec![3; 700]);
    if number.is_multiple_of(6) {
        put_staged(core, &mut batch, key(number + 300), vec![4; 3000]);
    }
    core.commit(batch).unwrap();
}

fn open(sim: &Sim) -> Result<Core, EngineOpenError> {
    Core::open(sim.io(), sim.index(), options())
}

fn refused(sim: &Sim) -> EngineOpenError {
    let refused = open(sim).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("dormouse restore"), "{text}");
    let report = Engine::inspect(&sim.io(), &*sim.index(), &options(), &mut |_, _| true).unwrap();
    assert!(matches!(report.findings[0], EngineFinding::Refused(_)), "{report:?}");
    refused
}

/// Where the groups of a slot begin.
fn groups(sim: &Sim, slot: &str) -> Vec<usize> {
    let salt = crc32c::crc32c(&small().salt);
    super::super::log::groups(&sim.read(slot), salt).map(|found| found.offset).collect()
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log() {
    let (sim, core) = filled(1);
    drop(core);
    let at = groups(&sim, "log/slot-0000");
    assert_eq!(at.len(), 18);
    sim.edit("log/slot-0000", |slot| slot[at[14] + 300] ^= 4);
    assert!(matches!(refused(&sim), EngineOpenError::LogDamaged { damaged: 15, newest: 18 }));
}

#[test]
fn a_flipped_bit_in_the_first_group_that_is_needed() {
    let (sim, core) = filled(2);
    drop(core);
    let at = groups(&sim, "log/slot-0000");
    sim.edit("log/slot-0000", |slot| slot[at[12] + 300] ^= 4);
    assert!(matches!(refused(&sim), EngineOpenError::LogGap { missing: 13, newest: 18 }));
}

#[test]
fn a_flipped_bit_in_what_is_applied_does_not_matter() {
    let (sim, core) = filled(3);
    let before = contents(&core).unwrap();
    drop(core);
    let at = groups(&sim, "log/slot-0000");
    sim.edit("log/slot-0000", |slot| slot[at[4] + 300] ^= 4);
    assert_eq!(contents(&open(&sim).unwrap()).unwrap(), before);
}

#[test]
fn a_log_that_is_gone_or_old() {
    let (sim, core) = filled(4);
    let old = sim.read("log/slot-0000");
    for number in 18..24 {
        commit(&core, number);
    }
    core.round().unwrap();
    drop(core);
    sim.edit("log/slot-0000", |slot| *slot = old);
    for name in sim.names("log").into_iter().skip(1) {
        sim.edit(&name, |slot| slot.fill(0));
    }
    assert!(matches!(refused(&sim), EngineOpenError::LogOlder { newest: 18, applied: 24 }));
    for name in sim.names("log") {
        sim.io().remove(&name).unwrap();
    }
    assert!(matches!(refused(&sim), EngineOpenError::LogMissing));
}

#[test]
fn an_index_that_is_gone_or_old() {
    let (sim, core) = filled(5);
    let old = sim.index_copy();
    for number in 18..30 {
        commit(&core, number);
    }
    core.round().unwrap();
    commit(&core, 30);
    drop(core);
    // The log knows how far the index was.
    sim.edit_index(|index| *index = old);
    assert!(matches!(refused(&sim), EngineOpenError::IndexOlder { applied: 12, known: 30 }));
    sim.edit_index(BTreeMap::clear);
    assert!(matches!(refused(&sim), EngineOpenError::IndexMissing(_)));
}

#[test]
fn a_pack_that_is_gone_or_cut_off() {
    let (sim, core) = filled(6);
    let before = contents(&core).unwrap();
    drop(core);
    for name in sim.names("packs") {
        let bytes = sim.read(&name);
        sim.edit(&name, |pack| pack.truncate(bytes.len() / 2));
        assert!(
            matches!(refused(&sim), EngineOpenError::PacksMissing(names) if names == [name.clone()])
        );
        sim.io().remove(&name).unwrap();
        assert!(matches!(refused(&sim), EngineOpenError::PacksMissing(names) if names.len() == 1));
        // Whoever wants what is left gets it, and errors for the rest.
        let options = EngineOptions { without_missing_packs: true, ..options() };
        let core = Core::open(sim.io(), sim.index(), options).unwrap();
        let lost = before.keys().filter(|key| match core.get(key) {
            Ok(value) => {
                assert_eq!(value.as_deref(), before.get(*key).map(Vec::as_slice));
                false
            }
            Err(ReadError::Damaged { key: lost, .. }) => lost == key.as_slice(),
            Err(error) => panic!("{error}"),
        });
        let lost = lost.count();
        assert!(lost > 0);
        let report = core.check(&mut |_, _| true).unwrap();
        let values =
            report.findings.iter().filter(|finding| matches!(finding, EngineFinding::Value { .. }));
        let pending = name.contains("l-") && values.clone().count() == 0;
        assert!(pending || values.count() == lost, "{report:?}");
        drop(core);
        sim.io().create(&name).unwrap().write_at(&bytes, 0).unwrap();
    }
    assert_eq!(contents(&open(&sim).unwrap()).unwrap(), before);
}

#[test]
fn a_flipped_bit_in_a_pack_is_found_where_it_is() {
    let mut random = Random(7);
    for number in 0.. {
        let (sim, core) = filled(7);
        core.round().unwrap();
        let before = contents(&core).unwrap();
        let names = sim.names("packs");
        let Some(name) = names.get(number) else {
            assert!(number > 4);
            return;
        };
        let good = sim.read(name);
        let at = 24 + random.below(good.len() as u64 - 24) as usize;
        sim.edit(name, |pack| pack[at] ^= 1 << random.below(8));
        let wrong: Vec<_> = before.keys().filter(|key| core.get(key).is_err()).collect();
        assert_eq!(wrong.len(), 1, "{name} at {at}");
        let report = core.check(&mut |_, _| true).unwrap();
        assert!(
            matches!(&report.findings[..], [EngineFinding::Value { key, .. }] if key == wrong[0]),
            "{report:?}"
        );
        // Compaction does not lose it, nor anything else: it leaves the pack alone.
        core.compact(u64::MAX, 1001).unwrap();
        sim.edit(name, |pack| *pack = good);
        assert_eq!(contents(&core).unwrap(), before);
    }
}

#[test]
fn a_flipped_bit_in_the_index_is_found_where_it_is() {
    let (sim, core) = filled(8);
    core.round().unwrap();
    let before = contents(&core).unwrap();
    drop(core);
    let mut random = Random(8);
    for (key, value) in sim.index_copy() {
        let mut wrong = value.clone();
        let at = random.below(wrong.len() as u64) as usize;
        wrong[at] ^= 1 << random.below(8);
        sim.edit_index(|index| drop(index.insert(key.clone(), wrong)));
        match open(&sim) {
            Err(refused) => {
                assert_eq!(key[0], 0, "{refused}");
                assert!(matches!(refused, EngineOpenError::IndexDamaged(_)), "{refused}");
            }
            Ok(core) => {
                assert!(matches!(core.get(&key), Err(ReadError::Damaged { .. })));
                let others = before.iter().filter(|(other, _)| **other != key);
                for (other, value) in others {
                    assert_eq!(core.get(other).unwrap().as_deref(), Some(value.as_slice()));
                }
                let report = core.check(&mut |_, _| true).unwrap();
                let named = |finding: &EngineFinding| matches!(finding, EngineFinding::Value { key: named, .. } if named == &key);
                assert!(report.findings.iter().any(named), "{report:?}");
            }
        }
        sim.edit_index(|index| drop(index.insert(key, value)));
    }
}

#[test]
fn a_store_of_a_newer_format() {
    let (sim, core) = filled(9);
    drop(core);
    let newer = super::super::ordered_map::Identity { format: 2, salt: small().salt, begun: true };
    sim.edit_index(|index| {
        index.insert(super::super::ordered_map::IDENTITY.to_vec(), newer.write());
    });
    assert!(matches!(open(&sim), Err(EngineOpenError::NewerFormat(2))));
}

#[test]
fn a_torn_last_group_is_no_damage() {
    let (sim, core) = filled(10);
    drop(core);
    let at = groups(&sim, "log/slot-0000");
    sim.edit("log/slot-0000", |slot| slot[at[17] + log_record::HEADER + 3] ^= 4);
    let core = open(&sim).unwrap();
    assert_eq!(core.get(&key(16)).unwrap().map(|value| value.len()), Some(100));
    assert_eq!(core.get(&key(17)).unwrap(), None);
    // It is written over, and the store goes on.
    commit(&core, 17);
    drop(core);
    sim.end(End::PowerLoss);
    assert!(open(&sim).unwrap().get(&key(17)).unwrap().is_some());
}

#[test]
fn a_backup_that_is_damaged_or_not_finished_does_not_start() {
    let (_sim, core) = filled(11);
    let before = contents(&core).unwrap();
    let target = Sim::new(12, Omit::Nothing);
    core.backup(&target.io(), &|| false).unwrap();
    target.end(End::PowerLoss);
    let good = target.read("index.backup");
    target.edit("index.backup", |keys| {
        let middle = keys.len() / 2;
        keys[middle] ^= 1;
    });
    assert!(matches!(open(&target), Err(EngineOpenError::BackupDamaged(_))));
    target.end(End::PowerLoss);
    target.edit_index(BTreeMap::clear);
    target.edit("index.backup", |keys| *keys = good);
    let restored = open(&target).unwrap();
    assert_eq!(contents(&restored).unwrap(), before);
    assert_eq!(restored.check(&mut |_, _| true).unwrap().count, 0);

    let target = Sim::new(13, Omit::Nothing);
    target.crash_in(8);
    assert!(core.backup(&target.io(), &|| false).is_err());
    target.forget_plans();
    target.end(End::Kill);
    assert!(open(&target).is_err(), "a backup that was not finished opens");
    assert!(core.backup(&target.io(), &|| false).is_err(), "a folder that is not empty");
}

#[test]
fn a_backup_starts_whenever_its_first_start_ends() {
    let (_sim, core) = filled(14);
    let before = contents(&core).unwrap();
    for calls in 1..40 {
        let target = Sim::new(calls, Omit::Nothing);
        core.backup(&target.io(), &|| false).unwrap();
        target.end(End::PowerLoss);
        target.crash_in(calls);
        let ended = open(&target).is_err();
        target.forget_plans();
        target.end(if calls.is_multiple_of(2) { End::Kill } else { End::PowerLoss });
        let restored = open(&target).unwrap_or_else(|error| panic!("after {calls}: {error}"));
        assert_eq!(contents(&restored).unwrap(), before);
        commit(&restored, 50);
        restored.round().unwrap();
        assert_eq!(restored.check(&mut |_, _| true).unwrap().count, 0);
        assert!(ended || calls > 8, "it ends within its first start");
    }
}
