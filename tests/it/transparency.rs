//! The promise of sleep, as a property: whatever a session does, and wherever it is put to sleep, evicted
//! or left behind by a dying host, its answers, failures, printed lines and fuel are those of a twin that
//! never slept.
//!
//! A case is a list of turns, each a program for the guest, with events before it. The cases follow from a
//! seed, as those of the fuzz tests do: `DORMOUSE_FUZZ_CASES=10000` makes the run long, and
//! `DORMOUSE_FUZZ_SEED` repeats it. A case that fails is made smaller before it is told.

mod program;
mod twins;

use std::cell::RefCell;
use std::thread;

use dormouse::{SessionId, SnapshotId};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::fuzz::cases;
use program::Program;
use twins::{Answer, Pair, Twins};

/// Pairs of hosts that work through the cases side by side. Fixed, because it decides which case is whose.
const WORKERS: usize = 4;
/// Turns of one case.
const TURNS: usize = 9;
/// Events before one turn.
const EVENTS: usize = 3;
/// Sessions of one case: the first and its copies.
const FORKS: usize = 3;
/// How often a case that fails is run again, to make it smaller.
const SHRINKS: u32 = 400;

/// What happens to the sleeping session, or to both, between two turns.
///
/// One more is a variant here, an arm of [`event`], and what it does in [`Twins::undergo`] or [`case`].
#[derive(Clone, Debug)]
enum Event {
    /// It is told to sleep.
    Sleep,
    /// It is told to sleep, and to wake.
    Nap,
    /// Another session needs its place.
    Evict,
    /// Its host ends as it should, and another starts on the same store.
    Restart,
    /// Its host is dropped as it stands, and another starts on the same store.
    Abandon,
    /// So many milliseconds pass, for both.
    Pass(u32),
    /// Both are forked, and the copies go on beside the originals.
    Fork,
    /// Both go back to after an earlier turn: one of those that were answered, by its number.
    Rewind(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        12 => Just(Event::Sleep),
        4 => Just(Event::Nap),
        6 => Just(Event::Evict),
        1 => Just(Event::Restart),
        1 => Just(Event::Abandon),
        8 => (1..100_000_u32).prop_map(Event::Pass),
        1 => Just(Event::Fork),
        2 => any::<usize>().prop_map(Event::Rewind),
    ]
}

/// A turn, and what happens before it.
#[derive(Clone, Debug)]
struct Step {
    before: Vec<Event>,
    program: Program,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (prop::collection::vec(event(), 0..=EVENTS), program::program())
        .prop_map(|(before, program)| Step { before, program });
    prop::collection::vec(step, 1..=TURNS)
}

#[test]
fn a_session_that_sleeps_anywhere_answers_like_its_twin_that_never_does() {
    let (cases, mut random) = cases("transparency", 256);
    let each = u32::try_from(cases.div_ceil(WORKERS)).unwrap();
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            let seed = random.bytes(32);
            scope.spawn(move || work(each, &seed));
        }
    });
}

/// Run this many cases that follow from this seed.
fn work(cases: u32, seed: &[u8]) {
    let config =
        Config { cases, failure_persistence: None, max_shrink_iters: SHRINKS, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let twins = RefCell::new(runtime.block_on(Twins::new()));
    let result = TestRunner::new_with_rng(config, rng).run(&steps(), |steps| {
        let mut twins = twins.borrow_mut();
        runtime.block_on(case(&mut twins, &steps))
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    runtime.block_on(twins.into_inner().shut_down());
}

/// One case, with sessions of its own.
async fn case(twins: &mut Twins, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut lives = vec![Life::of(twins.next_session().await)];
    for Step { before, program } in steps {
        for event in before {
            let forks = lives.len();
            let Some(life) = lives.last_mut() else { continue };
            match event {
                Event::Fork if forks < FORKS && life.answered > 0 => {
                    let copy = twins.fork(life.pair).await?.map(|pair| life.copied(pair));
                    lives.extend(copy);
                }
                Event::Fork => {}
                Event::Rewind(place) => life.rewind(twins, *place).await?,
                event => twins.undergo(event, life.pair).await?,
            }
        }
        for life in &mut lives {
            life.turn(twins, program).await?;
        }
    }
    for life in lives {
        twins.compare_records(life.pair).await?;
    }
    Ok(())
}

/// A session and its twin, and what is known of them without asking.
struct Life {
    pair: Pair,
    /// A copy has a name of its own, which is not that of its twin: so it has other random bytes.
    is_copy: bool,
    /// Turns that were answered, up to where the session is.
    answered: u64,
    /// The snapshots after turns that were answered, each with how many these were.
    snapshots: Vec<([SnapshotId; 2], u64)>,
}

impl Life {
    fn of(id: SessionId) -> Life {
        let pair = Pair { waker: id, sleeper: id };
        Life { pair, is_copy: false, answered: 0, snapshots: Vec::new() }
    }

    fn copied(&self, pair: Pair) -> Life {
        Life { pair, is_copy: true, answered: self.answered, snapshots: Vec::new() }
    }

    async fn rewind(&mut self, twins: &Twins, place: usize) -> Result<(), TestCaseError> {
        let place = place % self.snapshots.len().max(1);
        if let Some((snapshots, answered)) = self.snapshots.get(place)
            && twins.rewind(self.pair, *snapshots).await?
        {
            self.answered = *answered;
        }
        Ok(())
    }

    async fn turn(&mut self, twins: &Twins, program: &Program) -> Result<(), TestCaseError> {
        let program = if self.is_copy { program.without_chance() } else { program.clone() };
        // What a turn that failed had done is undone in both hosts, so only counting tells whether it is.
        if let Some(Answer { text, snapshots }) = twins.turn(self.pair, &program).await? {
            self.answered += 1;
            prop_assert!(text.starts_with(&format!("turn {}:", self.answered)), "{}", text);
            self.snapshots.push((snapshots, self.answered));
        }
        Ok(())
    }
}
