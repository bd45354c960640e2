//! A disk that is full, and one that has space again.

use std::io::ErrorKind;

use bytes::Bytes;

use super::super::batch::{Batch, Class};
use super::super::core::Core;
use super::super::{CommitError, Engine, EngineOpenError, EngineOptions, StageError};
use super::sim::{End, Omit, Sim};
use super::{Model, contents, key, small};

fn put(number: u64, length: usize) -> Batch {
    let mut batch = Batch::default();
    batch.put(Class::Rows, key(number), vec![number as u8; length]);
    batch
}

#[test]
fn a_full_disk_is_waited_out_and_nothing_is_lost() {
    let sim = Sim::new(1, Omit::Nothing);
    let engine = Engine::with(sim.io(), sim.index(), small()).unwrap();
    let mut model = Model::new();
    engine.commit(put(1, 1000)).unwrap();
    model.insert(key(1).to_vec(), vec![1; 1000]);
    // Slots that the log may still need are not made; packs cannot be written.
    sim.set_capacity(sim.used() + 500);
    let mut refused = 0;
    for number in 2..300 {
        match engine.commit(put(number, 2000)) {
            Ok(()) => drop(model.insert(key(number).to_vec(), vec![number as u8; 2000])),
            Err(CommitError::Full) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "the disk was never full");
    assert!(model.len() > 5, "the log takes what it has room for");
    let large = [("large".into(), vec![1; 10_000].into())];
    assert!(matches!(engine.stage(&large), Err(StageError::Full)));
    assert!(engine.failed().is_none());
    assert_eq!(contents(&engine.core).unwrap(), model);
    // A crash now loses nothing, and opening needs no space.
    drop(engine);
    sim.end(End::PowerLoss);
    let engine = Engine::with(sim.io(), sim.index(), small()).unwrap();
    assert_eq!(contents(&engine.core).unwrap(), model);
    sim.set_capacity(u64::MAX);
    for number in 300..400 {
        // The applier looks again in a moment; until then it is still full.
        while let Err(error) = engine.commit(put(number, 2000)) {
            assert!(matches!(error, CommitError::Full), "{error}");
            std::thread::yield_now();
        }
        model.insert(key(number).to_vec(), vec![number as u8; 2000]);
    }
    engine.core.round().unwrap();
    assert_eq!(contents(&engine.core).unwrap(), model);
    assert_eq!(engine.check(&mut |_, _| true).unwrap().count, 0);
    assert!(!engine.stat().waits_for_space);
}

#[test]
fn the_applier_stops_before_the_index_meets_a_full_disk() {
    let sim = Sim::new(2, Omit::Nothing);
    let options = EngineOptions { floor_bytes: 1 << 20, ..small() };
    let core = Core::open(sim.io(), sim.index(), options).unwrap();
    core.commit(put(1, 1000)).unwrap();
    sim.set_capacity(sim.used() + (1 << 20));
    let applied = core.applied();
    assert!(core.round().is_err());
    assert_eq!(core.applied(), applied);
    assert!(core.failed().is_none());
    sim.set_capacity(sim.used() + (3 << 20));
    core.round().unwrap();
    assert_eq!(core.applied(), applied + 1);
}

#[test]
fn a_backup_after_a_full_disk_has_also_what_came_later() {
    let sim = Sim::new(8, Omit::Nothing);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    core.commit(put(1, 1000)).unwrap();
    sim.fail_in(2, ErrorKind::StorageFull);
    assert!(core.round().is_err());
    core.commit(put(2, 1000)).unwrap();
    let target = Sim::new(9, Omit::Nothing);
    assert_eq!(core.backup(&target.io(), &|| false).unwrap(), 2);
    let restored = Core::open(target.io(), target.index(), small()).unwrap();
    assert_eq!(contents(&restored).unwrap(), contents(&core).unwrap());
}

#[test]
fn packs_that_do_not_fit_leave_no_remains() {
    let sim = Sim::new(3, Omit::Nothing);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    for number in 0..8 {
        core.commit(put(number, 4000)).unwrap();
    }
    // There seems to be enough, and then there is not.
    sim.fail_in(4, ErrorKind::StorageFull);
    assert!(core.round().is_err());
    assert_eq!(sim.names("packs"), Vec::<String>::new());
    core.round().unwrap();
    assert_eq!(core.check(&mut |_, _| true).unwrap().count, 0);
    assert_eq!(contents(&core).unwrap().len(), 8);
}

#[test]
fn staging_that_does_not_fit_leaves_no_remains() {
    let sim = Sim::new(6, Omit::Nothing);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    let values: Vec<_> =
        (0..40).map(|number| (key(number), Bytes::from(vec![number as u8; 9000]))).collect();
    for calls in 1.. {
        sim.fail_in(calls, ErrorKind::StorageFull);
        let staged = core.stage(&values);
        sim.forget_plans();
        match staged {
            Ok(staged) => {
                assert!(calls > 6, "there are several packs, each of which is written and synced");
                let mut batch = Batch::default();
                batch.put_staged(staged, |_| true);
                core.commit(batch).unwrap();
                break;
            }
            Err(StageError::Full) => core.round().map(drop).unwrap(),
            Err(error) => panic!("{error}"),
        }
        // A file that was made although making it failed is all that may be left, until it opens.
        let left = sim.names("packs").into_iter().map(|name| sim.read(&name).len());
        assert_eq!(left.sum::<usize>(), 0, "call {calls}");
    }
    assert_eq!(contents(&core).unwrap().len(), 40);
    drop(core);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    assert_eq!(contents(&core).unwrap().len(), 40);
    let report = core.check(&mut |_, _| true).unwrap();
    assert_eq!(report.count, 0, "{:?}", report.findings);
}

#[test]
fn staging_whose_sync_fails_ends_writing() {
    let sim = Sim::new(7, Omit::Nothing);
    let core = Core::open(sim.io(), sim.index(), small()).unwrap();
    core.commit(put(1, 1000)).unwrap();
    let values = [(key(2), Bytes::from(vec![2; 9000]))];
    sim.fail_in(3, ErrorKind::Other);
    assert!(matches!(core.stage(&values), Err(StageError::Failed(_))));
    assert!(matches!(core.stage(&values), Err(StageError::Failed(_))));
    assert!(matches!(core.commit(put(1, 1)), Err(CommitError::Failed(_))));
    assert_eq!(core.get(&key(1)).unwrap().map(|value| value.len()), Some(1000));
    assert_eq!(sim.names("packs"), Vec::<String>::new());
}

#[test]
fn a_failure_of_the_applier_ends_writing_and_is_told() {
    let sim = Sim::new(4, Omit::Nothing);
    let (tell, told) = std::sync::mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let on_failure = move |reason: std::sync::Arc<str>| {
        tell.lock().unwrap().send(reason).unwrap();
    };
    let options = EngineOptions { on_failure: Some(std::sync::Arc::new(on_failure)), ..small() };
    let engine = Engine::with(sim.io(), sim.index(), options).unwrap();
    engine.commit(put(1, 1000)).unwrap();
    engine.core.round().unwrap();
    sim.fail_in(6, ErrorKind::Other);
    let mut number = 2;
    let refused = loop {
        match engine.commit(put(number, 3000)) {
            Ok(()) => number += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, CommitError::Unknown(_) | CommitError::Failed(_)), "{refused}");
    assert!(!told.recv().unwrap().is_empty());
    assert!(matches!(engine.commit(put(1, 1)), Err(CommitError::Failed(_))));
    for number in 1..number {
        assert!(engine.get(&key(number)).unwrap().is_some());
    }
    assert!(engine.close().is_err());
    sim.end(End::Kill);
    let engine = Engine::with(sim.io(), sim.index(), small()).unwrap();
    for number in 1..number {
        assert!(engine.get(&key(number)).unwrap().is_some());
    }
}

#[test]
fn a_disk_that_is_read_only_is_refused_with_a_sentence() {
    let sim = Sim::new(5, Omit::Nothing);
    drop(Core::open(sim.io(), sim.index(), small()).unwrap());
    sim.fail_in(1, ErrorKind::ReadOnlyFilesystem);
    let refused = Core::open(sim.io(), sim.index(), small()).unwrap_err();
    assert!(matches!(refused, EngineOpenError::ReadOnly(_)));
    assert!(refused.to_string().contains("mount its disk for writing"), "{refused}");
}
