//! How far each session is: all that the benchmark remembers of it, eight bytes.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::world::{Step, mix};

/// The bit of a session that has a turn right now.
const BUSY: u32 = 1 << 31;

/// All sessions of a store.
#[derive(Debug)]
pub struct Fleet {
    seats: Vec<Seat>,
    serial: AtomicU32,
}

#[derive(Debug)]
struct Seat {
    turns: AtomicU32,
    head: AtomicU32,
}

/// Which session has the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// That of the worker: the session of the same number.
    Own,
    /// Any, at random.
    Any,
}

impl Fleet {
    /// Sessions that were just created.
    pub fn new(count: u32) -> Fleet {
        let seat = |session| Seat { turns: AtomicU32::new(0), head: AtomicU32::new(session) };
        Fleet { seats: (0..count).map(seat).collect(), serial: AtomicU32::new(count) }
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.seats.len()).expect("it was made of so many")
    }

    /// How many turns a session has had.
    pub fn turns(&self, session: u32) -> u32 {
        self.seats[session as usize].turns.load(Ordering::Acquire) & !BUSY
    }

    /// How many turns all of them have had.
    pub fn total(&self) -> u64 {
        (0..self.len()).map(|session| u64::from(self.turns(session))).sum()
    }

    /// The next turn of a session, which nobody else has until [`Fleet::done`].
    pub fn begin(&self, choice: Choice, worker: u32, dice: &mut Dice, large: bool) -> Step {
        loop {
            let session = match choice {
                Choice::Own => worker,
                Choice::Any => dice.below(self.len()),
            };
            let seat = &self.seats[session as usize];
            let turns = seat.turns.fetch_or(BUSY, Ordering::AcqRel);
            if turns & BUSY == 0 {
                let serial = self.serial.fetch_add(1, Ordering::Relaxed);
                let previous = seat.head.load(Ordering::Relaxed);
                return Step { session, turn: turns + 1, serial, previous, large };
            }
        }
    }

    /// It is durable.
    pub fn done(&self, step: Step) {
        let seat = &self.seats[step.session as usize];
        seat.head.store(step.serial, Ordering::Relaxed);
        seat.turns.store(step.turn, Ordering::Release);
    }
}

/// Chance that is the same in each run.
#[derive(Clone, Copy, Debug)]
pub struct Dice {
    seed: u32,
    thrown: u32,
}

impl Dice {
    /// Dice of their own for each seed.
    pub fn new(seed: u32) -> Dice {
        Dice { seed: seed.wrapping_add(1 << 30), thrown: 0 }
    }

    /// A number below this one.
    pub fn below(&mut self, end: u32) -> u32 {
        self.thrown = self.thrown.wrapping_add(1);
        let number = mix(self.seed, self.thrown) >> 32;
        u32::try_from((number * u64::from(end)) >> 32).expect("it is below a number of that size")
    }
}
