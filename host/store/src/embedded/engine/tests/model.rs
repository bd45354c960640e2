//! The whole engine, with real files and sled, against an ordered map.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::batch::{Batch, Class};
use super::super::core::Core;
use super::super::value::PackKind;
use super::super::{CommitError, Engine, EngineOptions, KEY};
use super::sim::{Omit, Sim};
use super::{Model, key, put_staged, real, small};

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<KeyChange>),
    Apply,
    Compact,
    /// Close it well, and open it again.
    Reopen,
    /// Let go of it with what is not applied.
    Drop,
    Range(u64, usize),
    Last(usize),
    Check,
    Backup,
}

#[derive(Clone, Debug)]
enum KeyChange {
    Put(u64, u8, usize),
    /// Values for so many keys from one on, of which each so manyth is kept.
    Stage(u64, u64, u64, usize),
    Delete(u64),
}

fn change() -> impl Strategy<Value = KeyChange> {
    let length = prop_oneof![0..200_usize, 0..6000_usize];
    prop_oneof![
        6 => (0..60_u64, 0..4_u8, length).prop_map(|(key, class, length)| KeyChange::Put(key, class, length)),
        1 => (0..50_u64, 1..30_u64, 1..5_u64, 0..9000_usize)
            .prop_map(|(key, count, kept, length)| KeyChange::Stage(key, count, kept, length)),
        2 => (0..60_u64).prop_map(KeyChange::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(change(), 1..8).prop_map(Step::Commit),
        2 => Just(Step::Apply),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Drop),
        2 => (0..60_u64, 0..4_usize).prop_map(|(from, prefix)| Step::Range(from, prefix)),
        1 => (0..4_usize).prop_map(Step::Last),
        1 => Just(Step::Check),
        1 => Just(Step::Backup),
    ]
}

const PREFIXES: [&str; 4] = ["", "a", "longer/", "nothing"];

fn options() -> EngineOptions {
    // Rounds come when a step asks for them, or when the overlay is full.
    EngineOptions { interval: std::time::Duration::from_secs(3600), ..small() }
}

fn all(engine: &Engine) -> Model {
    engine
        .range(&[], &[])
        .map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).unwrap())
        .collect()
}

/// Some bytes that differ by step.
fn value(step: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ step.wrapping_mul(31)) as u8).collect()
}

fn commit(engine: &Engine, model: &mut Model, number: usize, changes: Vec<KeyChange>) {
    let mut batch = Batch::default();
    for change in changes {
        match change {
            KeyChange::Put(number_of_key, class, length) => {
                let (key, value) = (key(number_of_key), value(number, length));
                let front = Class::Fronted((length / 2) as u16);
                let class = [Class::Inline, Class::Head, Class::Rows, front][usize::from(class)];
                if model.insert(key.to_vec(), value.clone()).is_none() {
                    batch.put_new(class, key, value);
                } else {
                    batch.put(class, key, value);
                }
            }
            KeyChange::Stage(from, count, kept, length) => {
                let numbers = from..(from + count).min(60);
                let length = |i: u64| if i.is_multiple_of(2) { length } else { length / 9 };
                let values: Vec<(Bytes, Bytes)> =
                    numbers.clone().map(|i| (key(i), value(number, length(i)).into())).collect();
                let keys: Vec<_> = numbers.filter(|i| i.is_multiple_of(kept)).map(key).collect();
                let kept = |key: &[u8]| keys.iter().any(|kept| kept == key);
                batch.put_staged(engine.stage(&values).unwrap(), kept);
                let values = values.iter().filter(|(key, _)| kept(key));
                model.extend(values.map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            KeyChange::Delete(number_of_key) => {
                let key = key(number_of_key);
                model.remove(&key.to_vec());
                batch.delete(key);
            }
        }
    }
    engine.commit(batch).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn it_is_an_ordered_map(steps in prop::collection::vec(step(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let mut engine = Engine::open(folder.path(), 8 << 20, options()).unwrap();
        let mut model = Model::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Commit(changes) => commit(&engine, &mut model, number, changes),
                Step::Apply => drop(engine.core.round().unwrap()),
                Step::Compact => engine.compact().unwrap(),
                Step::Reopen => {
                    engine.close().unwrap();
                    engine = Engine::open(folder.path(), 8 << 20, options()).unwrap();
                }
                Step::Drop => {
                    drop(engine);
                    engine = Engine::open(folder.path(), 8 << 20, options()).unwrap();
                }
                Step::Range(from, prefix) => {
                    let (from, prefix) = (key(from), PREFIXES[prefix].as_bytes());
                    let found: Vec<_> = engine.range(&from, prefix).map(Result::unwrap).collect();
                    let expected: Vec<_> = model
                        .range(from.to_vec()..)
                        .filter(|(key, _)| key.starts_with(prefix))
                        .map(|(key, value)| (key.clone().into(), value.clone().into()))
                        .collect();
                    prop_assert_eq!(found, expected);
                }
                Step::Last(prefix) => {
                    let prefix = PREFIXES[prefix].as_bytes();
                    let found = engine.last(prefix).unwrap();
                    let expected = model.iter().rfind(|(key, _)| key.starts_with(prefix));
                    prop_assert_eq!(
                        found,
                        expected.map(|(key, value)| (key.clone().into(), value.clone().into()))
                    );
                }
                Step::Check => {
                    let report = engine.check(&mut |_, _| true).unwrap();
                    prop_assert_eq!(report.count, 0, "{:?}", report.findings);
                }
                Step::Backup => {
                    let target = tempfile::tempdir().unwrap();
                    let keys = engine.backup(&real(target.path()), &|| false).unwrap();
                    prop_assert_eq!(keys, model.len() as u64);
                    let restored = Engine::open(target.path(), 8 << 20, options()).unwrap();
                    prop_assert_eq!(&all(&restored), &model);
                    let report = restored.check(&mut |_, _| true).unwrap();
                    prop_assert_eq!(report.count, 0, "{:?}", report.findings);
                }
            }
            for number in 0..60 {
                let key = key(number);
                let found = engine.get(&key).unwrap();
                prop_assert_eq!(found.as_deref(), model.get(&*key).map(Vec::as_slice));
            }
        }
        prop_assert_eq!(all(&engine), model);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20, small()).unwrap();
    let refused = |key: Vec<u8>, length: usize| {
        let mut batch = Batch::default();
        batch.put(Class::Rows, "fine", "value");
        batch.put(Class::Rows, key, vec![1; length]);
        engine.commit(batch).unwrap_err()
    };
    let mut batch = Batch::default();
    batch.put(Class::Fronted(6), "fine", "value");
    assert!(matches!(engine.commit(batch), Err(CommitError::Front { bytes: 6, .. })));
    assert!(matches!(refused(vec![], 1), CommitError::Key));
    assert!(matches!(refused(vec![0, 1], 1), CommitError::Key));
    assert!(matches!(refused(vec![1; KEY + 1], 1), CommitError::Key));
    assert!(matches!(refused(vec![1], 48 << 10), CommitError::TooLarge { limit: 49152, .. }));
    assert_eq!(engine.get(b"fine").unwrap(), None);
    assert_eq!(engine.stat().sequence, 0);
    engine.commit(Batch::default()).unwrap();
    assert_eq!(engine.stat().sequence, 0);
}

#[test]
fn a_staged_value_that_is_not_committed_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20, small()).unwrap();
    let packs = || std::fs::read_dir(folder.path().join("packs")).unwrap().count();
    let large = |key: &'static str| (Bytes::from(key), Bytes::from(vec![7; 100_000]));
    let staged = engine.stage(&[large("key"), large("other")]).unwrap();
    assert_eq!(packs(), 2);
    // None of the second pack is kept.
    let mut batch = Batch::default();
    batch.put_staged(staged, |key| key == b"key");
    assert_eq!(packs(), 1);
    drop(batch);
    assert_eq!(packs(), 0);
    // A process that ends before it commits leaves it to the next one.
    std::mem::forget(engine.stage(&[large("key")]).unwrap());
    drop(engine);
    assert_eq!(packs(), 1);
    let engine = Engine::open(folder.path(), 8 << 20, small()).unwrap();
    assert_eq!(packs(), 0);
    assert_eq!(engine.get(b"key").unwrap(), None);
}

#[test]
fn values_that_were_staged_together_go_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = EngineOptions { slot_bytes: 1 << 20, log_bytes: 8 << 20, ..options() };
    let engine = Engine::open(folder.path(), 8 << 20, options).unwrap();
    let packs = || -> u64 {
        let packs = std::fs::read_dir(folder.path().join("packs")).unwrap();
        packs.map(|pack| pack.unwrap().metadata().unwrap().len()).sum()
    };
    let values: Vec<(Bytes, Bytes)> =
        (0..10).map(|i| (key(i), value(i as usize, 9000).into())).collect();
    let mut batch = Batch::default();
    batch.put_staged(engine.stage(&values).unwrap(), |staged| staged != key(9));
    engine.commit(batch).unwrap();
    let there = |keys: std::ops::Range<u64>| {
        for number in 0..10 {
            let expected = keys.contains(&number).then(|| value(number as usize, 9000));
            assert_eq!(engine.get(&key(number)).unwrap().map(|value| value.to_vec()), expected);
        }
    };
    there(0..9);
    // One is replaced before it has been applied: the others still need the pack.
    let mut batch = Batch::default();
    batch.delete(key(8));
    engine.commit(batch).unwrap();
    engine.core.round().unwrap();
    there(0..8);
    assert!(packs() > 90_000);
    let stat = engine.stat().kinds[&PackKind::Large];
    assert!((72_000..73_000).contains(&stat.live), "{stat:?}");
    // One pack becomes mostly dead, and what is left of it moves.
    let mut batch = Batch::default();
    (2..8).for_each(|number| batch.delete(key(number)));
    engine.commit(batch).unwrap();
    engine.core.round().unwrap();
    there(0..2);
    engine.core.compact(1, 500).unwrap();
    there(0..2);
    assert!((18_000..19_000).contains(&packs()), "{}", packs());
    // The last two go, and with them the pack.
    let mut batch = Batch::default();
    (0..2).for_each(|number| batch.delete(key(number)));
    engine.commit(batch).unwrap();
    engine.compact().unwrap();
    assert_eq!(packs(), 0);
    assert_eq!(engine.check(&mut |_, _| true).unwrap().count, 0);
}

#[test]
fn a_pack_is_opened_once_however_many_values_are_read() {
    let sim = Sim::new(1, Omit::Nothing);
    let options =
        EngineOptions { slot_bytes: 1 << 20, log_bytes: 4 << 20, pack_bytes: 1 << 20, ..small() };
    let core = Core::open(sim.io(), sim.index(), options).unwrap();
    let keys: Vec<Bytes> = (0..1600_u64).map(|i| format!("chunk/{i}").into()).collect();
    let values: Vec<_> = keys.iter().map(|key| (key.clone(), key.clone())).collect();
    let mut batch = Batch::default();
    batch.put_staged(core.stage(&values).unwrap(), |_| true);
    assert_eq!(sim.names("packs").len(), 1);
    core.commit(batch).unwrap();
    for _ in 0..2 {
        let before = sim.opens();
        for key in &keys {
            assert_eq!(core.get(key).unwrap().as_ref(), Some(key));
        }
        assert!(sim.opens() - before <= 1);
        core.round().unwrap();
    }
}

#[test]
fn what_is_put_and_deleted_before_it_is_applied_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing is applied before it is asked for.
    let options = EngineOptions { slot_bytes: 1 << 20, log_bytes: 8 << 20, ..options() };
    let engine = Engine::open(folder.path(), 8 << 20, options).unwrap();
    for number in 0..50 {
        let mut batch = Batch::default();
        batch.put(Class::Head, key(number), vec![1; 500]);
        put_staged(&engine.core, &mut batch, key(number + 100), vec![2; 5000]);
        engine.commit(batch).unwrap();
        let mut batch = Batch::default();
        batch.delete(key(number));
        batch.delete(key(number + 100));
        engine.commit(batch).unwrap();
    }
    engine.core.round().unwrap();
    assert_eq!(engine.check(&mut |_, _| true).unwrap().keys, 0);
    assert_eq!(std::fs::read_dir(folder.path().join("packs")).unwrap().count(), 0);
    assert_eq!(engine.stat().overlay_keys, 0);
}

#[test]
fn overwriting_for_long_leaves_packs_and_log_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20, small()).unwrap();
    for round in 0..3000_u64 {
        let mut batch = Batch::default();
        for i in 0..4 {
            batch.put(Class::Head, key((round * 7 + i * 13) % 97), value(round as usize, 1500));
        }
        engine.commit(batch).unwrap();
    }
    let stat = engine.stat();
    assert!(stat.log_bytes <= 6 * (48 << 10), "{stat:?}");
    engine.close().unwrap();
    let bytes: u64 = std::fs::read_dir(folder.path().join("packs"))
        .unwrap()
        .map(|pack| pack.unwrap().metadata().unwrap().len())
        .sum();
    // 97 values of 1.5 KB, at most half of it dead, and one round more.
    assert!(bytes < 3 * 97 * 1550 + (256 << 10), "{bytes} bytes");
}

#[test]
fn slots_that_a_busy_time_needed_are_given_back() {
    let folder = tempfile::tempdir().unwrap();
    let options = || EngineOptions { log_bytes: 480 << 10, ..options() };
    let engine = Engine::open(folder.path(), 8 << 20, options()).unwrap();
    let mut model = Model::new();
    for number in 0..200_u64 {
        let mut batch = Batch::default();
        batch.put(Class::Rows, key(number), value(number as usize, 3000));
        model.insert(key(number).to_vec(), value(number as usize, 3000));
        engine.commit(batch).unwrap();
    }
    let busy = engine.stat().slots;
    assert!(busy > 2, "{busy}");
    engine.close().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20, options()).unwrap();
    assert_eq!(engine.stat().slots, 2);
    assert_eq!(all(&engine), model);
}

#[test]
fn fronts_are_read_without_packs() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Engine::open(folder.path(), 8 << 20, options()).unwrap();
    let fronts = || -> Vec<_> {
        let fronts = engine.fronts(&[], &[]).map(Result::unwrap);
        fronts.map(|(key, front)| (key.to_vec(), front.to_vec())).collect()
    };
    let mut batch = Batch::default();
    batch.put(Class::Fronted(5), "fronted", "front and rest");
    batch.put(Class::Inline, "inline", "whole");
    batch.put(Class::Head, "head", "nothing");
    engine.commit(batch).unwrap();
    let expected = [("fronted", "front"), ("head", ""), ("inline", "whole")];
    let expected =
        expected.map(|(key, front)| (key.as_bytes().to_vec(), front.as_bytes().to_vec()));
    assert_eq!(fronts(), expected);
    engine.core.round().unwrap();
    assert_eq!(fronts(), expected);
    // Also after its value has been copied to another pack.
    let mut batch = Batch::default();
    batch.delete("head");
    engine.commit(batch).unwrap();
    engine.compact().unwrap();
    assert_eq!(engine.get(b"fronted").unwrap().as_deref(), Some(b"front and rest".as_slice()));
    std::fs::remove_dir_all(folder.path().join("packs")).unwrap();
    assert_eq!(fronts(), [expected[0].clone(), expected[2].clone()]);
}
