//! The work that a component asks for, counted before it is done.
//!
//! A component of a few megabytes can name a thing of a hundred thousand parts a hundred thousand times.
//! Counting what stands in it bounds nothing then. What is counted here is what the validator, the
//! instrumentation and the compiler do with it: each step that they take for each part of what is named.

use crate::refusal::Refusal;

/// The most steps to check its types: the parts of each import, export, argument and type where it is
/// named. CPython takes about 20,000.
pub(super) const MAX_TYPE_STEPS: u64 = 10_000_000;
/// The most instances of modules and components, where those within components count as often as these
/// are instantiated. CPython has about a hundred.
pub(super) const MAX_INSTANCES: u64 = 5_000;
/// The most that all those instances have: imports, exports, aliases, functions, globals, …. The host
/// does something for each of them whenever it makes an instance. CPython has about 30,000.
pub(super) const MAX_PARTS: u64 = 1_000_000;
/// The most values that the instructions of all functions move to and from the stack where they call
/// and branch. Those of SpiderMonkey move about 700,000.
pub(super) const MAX_MOVES: u64 = 200_000_000;
/// The most places where a local may have to be carried into a block, over all functions: the locals of
/// each, times how deep its blocks nest. SpiderMonkey has about 800,000.
pub(super) const MAX_CARRIES: u64 = 40_000_000;

/// What has been counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkCount {
    pub(crate) type_steps: u64,
    pub(crate) moves: u64,
    pub(crate) carries: u64,
    pub(crate) size: Size,
}

/// How large an instance of a component is, with all that are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) instances: u64,
    pub(crate) parts: u64,
}

impl Size {
    /// Add another, as one that is part of it.
    pub(super) fn add(&mut self, other: Size) -> Result<(), Refusal> {
        add("instances", &mut self.instances, other.instances, MAX_INSTANCES)?;
        add("parts of its instances", &mut self.parts, other.parts, MAX_PARTS)
    }

    pub(super) fn part(&mut self, count: u64) -> Result<(), Refusal> {
        self.add(Size { instances: 0, parts: count })
    }
}

impl WorkCount {
    pub(super) fn check_types(&mut self, steps: u64) -> Result<(), Refusal> {
        add("steps to check its types", &mut self.type_steps, steps, MAX_TYPE_STEPS)
    }

    pub(super) fn move_values(&mut self, values: u64) -> Result<(), Refusal> {
        add("values that its calls and branches move", &mut self.moves, values, MAX_MOVES)
    }

    pub(super) fn carry(&mut self, locals: u64, depth: u64) -> Result<(), Refusal> {
        let carries = locals.saturating_mul(depth);
        add("locals in blocks in one another", &mut self.carries, carries, MAX_CARRIES)
    }
}

/// Count some more of something, up to a limit.
pub(super) fn add(
    what: &'static str,
    sum: &mut u64,
    count: u64,
    limit: u64,
) -> Result<(), Refusal> {
    *sum = sum.saturating_add(count);
    bound(what, *sum, limit)
}

/// Refuse more of something than this.
pub(super) fn bound(what: &'static str, count: u64, limit: u64) -> Result<(), Refusal> {
    if count > limit { Err(Refusal::TooComplex { what: what.into(), limit }) } else { Ok(()) }
}
