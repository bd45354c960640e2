//! What is said to a population, and what it answers. `wit/population.wit` tells what each means.

use borsh::{BorshDeserialize, BorshSerialize};

use super::{Column, ColumnKind, ColumnSlice, Member, Role, Tick};

/// What the rows of a population are like, whatever the world.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Description {
    /// What rows publish, by name.
    pub columns: Vec<String>,
    /// What rows do to members.
    pub effects: Vec<EffectKind>,
    /// The columns and aggregates that rows read.
    pub reads: Vec<String>,
}

/// A kind of effect.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EffectKind {
    /// Its name.
    pub name: String,
    /// How effects of this kind on the same member are put together.
    pub fold: Fold,
    /// What its values are. `None`: it has none.
    pub values: Option<ColumnKind>,
}

/// How effects of one kind on the same member are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Fold {
    /// They are not: each arrives.
    Each,
    /// Their sum, or where they have no values, their number.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// One of them, which chance decides.
    First,
}

impl Fold {
    /// Whether those who did it are told apart.
    #[must_use]
    pub fn names_senders(self) -> bool {
        match self {
            Fold::Each | Fold::First => true,
            Fold::Sum | Fold::Min | Fold::Max => false,
        }
    }
}

/// The order in which the rows of a tick act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schedule {
    /// All at once: effects arrive with the next tick.
    #[default]
    Simultaneous,
    /// Each once, shuffled; effects within the population arrive at once.
    Random,
    /// As many as there are rows, each drawn among all; effects within the population arrive at once.
    RandomReplace,
    /// Each once, by number; effects within the population arrive at once.
    Sequential,
    /// Those to which something was done or who are due; effects arrive with the next tick.
    ByEvent,
}

impl Schedule {
    /// Whether the rows of a population may be in several instances.
    #[must_use]
    pub fn splits(self) -> bool {
        match self {
            Schedule::Simultaneous | Schedule::ByEvent => true,
            Schedule::Random | Schedule::RandomReplace | Schedule::Sequential => false,
        }
    }
}

/// A parameter of a world.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub enum Parameter {
    /// An integer.
    Integer(i64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

/// A column under its name.
#[derive(Clone, Debug, PartialEq, BorshSerialize, BorshDeserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its values.
    pub values: Column,
}

/// What an instance is made of.
#[derive(Clone, Debug)]
pub struct PopulationSetup {
    /// The roles of the world.
    pub roles: Vec<String>,
    /// The role of the rows.
    pub role: Role,
    /// The number of the first row of the instance.
    pub first: Member,
    /// How many it has.
    pub count: u32,
    /// How many rows the role begins with.
    pub size: u32,
    /// The order in which rows act.
    pub schedule: Schedule,
    /// The parameters of the role, by name.
    pub parameters: Vec<(String, Parameter)>,
    /// The attributes of the rows of the instance.
    pub attributes: Vec<Named>,
}

/// Effects of one kind on members of one role, as one instance did them.
#[derive(Clone, Debug, PartialEq)]
pub struct Effects {
    /// The place of the kind in the description of whoever did it.
    pub kind: u32,
    /// The role of those to whom it was done.
    pub role: Role,
    /// Who did it, in ascending order. Empty where its fold does not tell senders apart.
    pub from: Vec<Member>,
    /// To whom.
    pub to: Vec<Member>,
    /// Empty for a kind without values.
    pub values: Column,
    /// When each arrives, in ticks from now. Empty: with the next.
    pub delay: Vec<u32>,
}

/// What was done to the rows of one instance, by members of one role.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals<'a> {
    /// The role of those who did it.
    pub role: Role,
    /// The place of the kind in the description of that role.
    pub kind: u32,
    /// To whom, in ascending order.
    pub to: &'a [Member],
    /// Who did it. Empty where its fold does not tell senders apart.
    pub from: &'a [Member],
    /// Empty for a kind without values, but for their sum.
    pub values: ColumnSlice<'a>,
}

/// Members that begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Births {
    /// Their role.
    pub role: Role,
    /// Who bore each, in ascending order.
    pub parents: Vec<Member>,
    /// Their attributes.
    pub attributes: Vec<Named>,
}

/// Rows that have begun, after all others of the instance.
#[derive(Clone, Debug)]
pub struct Born<'a> {
    /// How many.
    pub count: u32,
    /// Their attributes, by name.
    pub attributes: Vec<(&'a str, ColumnSlice<'a>)>,
}

/// One tick of one instance.
#[derive(Clone, Debug)]
pub struct StepInput<'a> {
    /// Its number.
    pub at: Tick,
    /// The key of its random numbers, the same for all of the role.
    pub key: (u64, u64),
    /// The rows that act. `None`: all that have not ended.
    pub acting: Option<&'a [Member]>,
    /// What was done to them.
    pub arrivals: Vec<Arrivals<'a>>,
    /// The rows that have begun since.
    pub born: Option<Born<'a>>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// What the rows did.
    pub effects: Vec<Effects>,
    /// The members that begin.
    pub births: Vec<Births>,
    /// The rows that have ended.
    pub ended: Vec<Member>,
    /// The rows that are to act again where that needs a reason,
    pub wake: Vec<Member>,
    /// and in how many ticks each.
    pub wake_in: Vec<u32>,
}
