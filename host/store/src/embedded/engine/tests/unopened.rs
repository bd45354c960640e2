//! Files that cannot be opened or read for a while: what nobody has written, nobody has to doubt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::super::applier::RoundError;
use super::super::batch::{Batch, Class};
use super::super::core::Core;
use super::super::{CommitError, Engine, StageError};
use super::sim::{End, Omit, Sim};
use super::{Model, contents, key, small};

fn put(number: u64, length: usize) -> Batch {
    let mut batch = Batch::default();
    batch.put(Class::Rows, key(number), vec![number as u8; length]);
    batch
}

/// More keys than the index takes in at a time.
const MANY: u64 = 400;

/// All of these keys.
fn all(length: usize) -> Batch {
    let mut batch = Batch::default();
    for number in 0..MANY {
        batch.put(Class::Rows, key(number), vec![number as u8; length]);
    }
    batch
}

#[test]
fn files_that_cannot_be_opened_are_waited_for_and_nothing_is_lost() {
    let sim = Sim::new(1, Omit::Nothing);
    let engine = Engine::with(sim.io(), sim.index(), small()).unwrap();
    let mut model = Model::new();
    sim.set_closed(true);
    let mut refused = 0;
    for number in 1..400 {
        match engine.commit(put(number, 2000)) {
            Ok(()) => drop(model.insert(key(number).to_vec(), vec![number as u8; 2000])),
            Err(CommitError::Unopened(why)) => {
                assert!(why.contains("too many open files"), "{why}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        if refused == 5 {
            break;
        }
    }
    assert_eq!(refused, 5, "the log has room without end");
    assert!(model.len() > 5, "what needs no file is taken");
    let large: [(Bytes, Bytes); 1] = [("large".into(), vec![1; 10_000].into())];
    assert!(matches!(engine.stage(&large), Err(StageError::Unopened(_))));
    assert!(engine.failed().is_none());
    sim.set_closed(false);
    for number in 400..500 {
        // The applier looks again in a moment.
        while let Err(error) = engine.commit(put(number, 2000)) {
            assert!(matches!(error, CommitError::Unopened(_)), "{error}");
            std::thread::yield_now();
        }
        model.insert(key(number).to_vec(), vec![number as u8; 2000]);
    }
    engine.core.round().unwrap();
    assert_eq!(contents(&engine.core).unwrap(), model);
    assert_eq!(engine.check(&mut |_, _| true).unwrap().count, 0);
    drop(engine);
    sim.end(End::PowerLoss);
    let engine = Engine::with(sim.io(), sim.index(), small()).unwrap();
    assert_eq!(contents(&engine.core).unwrap(), model);
}

#[test]
fn a_round_that_has_begun_to_change_the_index_comes_to_its_end() {
    // From each of the calls of a round in turn, two files cannot be opened or read.
    let (mut call, mut is_within) = (0, true);
    while is_within {
        let sim = Sim::new(call, Omit::Nothing);
        let core = Core::open(sim.io(), sim.index(), small()).unwrap();
        core.commit(all(60)).unwrap();
        core.round().unwrap();
        core.commit(all(70)).unwrap();
        let refusing = sim.clone();
        let refused = Arc::new(AtomicBool::new(false));
        let refuses = Arc::clone(&refused);
        sim.before_call_in(call, move || {
            refuses.store(true, Ordering::SeqCst);
            refusing.refuse(2);
        });
        while let Err(error) = core.round() {
            assert!(matches!(error, RoundError::Unopened(_)), "{error:?}");
        }
        is_within = refused.load(Ordering::SeqCst);
        call += 1;
        sim.forget_hook();
        sim.set_closed(false);
        let model: Model =
            (0..MANY).map(|number| (key(number).to_vec(), vec![number as u8; 70])).collect();
        assert_eq!(contents(&core).unwrap(), model);
        assert_eq!(core.check(&mut |_, _| true).unwrap().count, 0);
    }
}
