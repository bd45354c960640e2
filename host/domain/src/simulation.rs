//! Members of simulated worlds, as the host and the guests that are populations hand them to each other.
//!
//! A world goes from one tick to the next. Its members have roles; of each role they are numbered from 0, and a number is
//! never given again. Values of many members are columns: one list for each kind of value, and no record for each
//! member.

mod column;
mod population;
mod status;

pub use column::{Column, ColumnKind, ColumnSlice};
pub use population::{
    Arrivals, Births, Born, Description, EffectKind, Effects, Fold, Named, Outcome, Parameter,
    PopulationSetup, Schedule, StepInput,
};

pub use status::{PauseCause, SimulationStatus};

/// The number of a tick, from 0.
pub type Tick = u64;

/// The number of a member among those of its role.
pub type Member = u32;

/// The number of a role: its place in the specification of its world.
pub type Role = u32;

/// Which call of a language model it is that a member of a world makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallPlace {
    /// The tick in which it makes the call.
    pub at: Tick,
    /// The role of the member.
    pub role: Role,
    /// The number of the member.
    pub member: Member,
    /// How many calls the member has made before in this tick.
    pub number: u32,
}
