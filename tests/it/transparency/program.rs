//! Programs by chance: mostly those that answer, some that fail in the middle.

use std::fmt;

use proptest::prelude::*;
use test_guest_fixtures::program::Op;

/// Operations of one turn.
const OPS: usize = 6;
/// How many keys there are in the tables: few, so that entries meet.
const KEYS: u32 = 40;

/// What one turn does.
#[derive(Clone)]
pub(super) struct Program(Vec<Op>);

/// As the guest reads it.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.0).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Program {
    /// The same, but for random bytes.
    pub(super) fn without_chance(&self) -> Program {
        let ops = self.0.iter().filter(|op| !matches!(op, Op::Random(_)));
        Program(ops.cloned().collect())
    }
}

pub(super) fn program() -> impl Strategy<Value = Program> {
    let ops = prop::collection::vec(ordinary(), 0..=OPS);
    // Where a turn fails nothing is left to do; so at most one of these, and what comes before it.
    (ops, prop::option::weighted(0.15, fatal())).prop_map(|(mut ops, end)| {
        ops.extend(end);
        Program(ops)
    })
}

/// A number of bytes: mostly few, sometimes many pages.
fn bytes() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..500_u32, 3 => 0..20_000_u32, 1 => 0..400_000_u32]
}

fn ordinary() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (bytes(), any::<u32>()).prop_map(|(bytes, seed)| Op::Allocate(bytes, seed)),
        4 => (any::<u32>(), 1..10_000_u32).prop_map(|(block, step)| Op::Scribble(block, step)),
        2 => any::<u32>().prop_map(Op::Clear),
        4 => any::<u32>().prop_map(Op::Free),
        2 => prop_oneof![20 => 0..20_u32, 1 => 0..500_u32].prop_map(Op::Grow),
        8 => (0..KEYS, any::<u32>()).prop_map(|(key, value)| Op::Put(key, value)),
        4 => (0..KEYS).prop_map(Op::Remove),
        3 => Just(Op::Sum),
        3 => any::<u32>().prop_map(Op::Push),
        4 => (any::<u32>(), any::<bool>()).prop_map(|(number, ends)| Op::Print(number, ends)),
        2 => any::<u32>().prop_map(Op::Complain),
        3 => Just(Op::WallClock),
        3 => Just(Op::MonotonicClock),
        3 => (0..200_u32).prop_map(Op::Random),
        3 => Just(Op::Count),
        2 => (0..2_000_u32).prop_map(Op::Recurse),
        2 => (0..5_u32).prop_map(Op::Wait),
    ]
}

fn fatal() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..3_u32).prop_map(Op::Fail),
        2 => Just(Op::Trap),
        2 => Just(Op::Panic),
        1 => Just(Op::Exit),
        1 => Just(Op::Exhaust),
        1 => Just(Op::Fill),
        1 => Just(Op::Overflow),
    ]
}
