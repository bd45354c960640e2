//! What the host and a population hand to each other, in columns: as `wit/population.wit` has it.

use super::{Column, Key, Member};

/// What was done to rows by members of one role, in columns.
#[derive(Clone, Debug)]
pub struct Arrivals {
    /// The role of those who did it.
    pub role: u32,
    /// The place of the kind in what they can do.
    pub kind: u32,
    /// To whom.
    pub to: Vec<Member>,
    /// Who did it. Empty where the host has folded what several did.
    pub from: Vec<Member>,
    /// Empty for a kind without values, but for their number.
    pub values: Column,
}

/// What a tick begins with.
#[derive(Clone, Debug)]
pub struct Input {
    /// The number of the tick.
    pub at: u64,
    /// The key of its random numbers.
    pub key: Key,
    /// The rows that act. `None`: all that have not ended.
    pub acting: Option<Vec<Member>>,
    /// What was done to them.
    pub arrivals: Vec<Arrivals>,
    /// How many have begun since, and their attributes.
    pub born: Option<(u32, Vec<(String, Column)>)>,
}

/// Effects of one kind on members of one role.
#[derive(Clone, Debug, PartialEq)]
pub struct Effects {
    /// The kind.
    pub kind: u32,
    /// The role of those to whom it is done.
    pub role: u32,
    /// Who does it, where the fold tells senders apart.
    pub from: Vec<Member>,
    /// To whom.
    pub to: Vec<Member>,
    /// The values.
    pub values: Column,
    /// When each arrives. Empty: with the next tick.
    pub delay: Vec<u32>,
}

/// Members of one role that begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Births {
    /// The role.
    pub role: u32,
    /// Who bore each.
    pub parents: Vec<Member>,
    /// Their attributes.
    pub attributes: Vec<(String, Column)>,
}

/// What came of a tick.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What the rows did.
    pub effects: Vec<Effects>,
    /// The members that begin.
    pub births: Vec<Births>,
    /// The rows that have ended.
    pub ended: Vec<Member>,
    /// The rows that act again,
    pub wake: Vec<Member>,
    /// and in how many ticks.
    pub wake_in: Vec<u32>,
}
