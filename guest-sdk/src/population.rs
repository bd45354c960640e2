//! Members of simulated worlds: many *rows* in one component.
//!
//! A population is a type that implements [`Population`] and is named once by [`export_population!`](crate::export_population).
//! Its fields are columns, with a value for each row. The host calls it once in each tick; the SDK calls [`Population::receive`]
//! for all that was done to its rows and [`Population::act`] for each row that acts, in the order that the world's
//! schedule says. What comes of a world is the same however many instances share the rows, as long as what a row does depends
//! on nothing but its own values, what it has received, what [`Tick`] tells, and the numbers that it draws there.
//!
//! ```
//! use dormouse_sdk::population::*;
//!
//! /// Everybody begins with 1 and gives 1 to somebody else as long as they have it.
//! struct Wealth {
//!     wealth: Vec<i64>,
//! }
//!
//! const GIFT: usize = 0;
//!
//! impl Population for Wealth {
//!     const COLUMNS: &'static [&'static str] = &["wealth"];
//!     const EFFECTS: &'static [EffectKind] = &[EffectKind::counted("gift")];
//!
//!     fn new(setup: &Setup) -> Result<Self, Failure> {
//!         Ok(Wealth { wealth: vec![1; setup.rows()] })
//!     }
//!
//!     fn receive(&mut self, row: usize, arrival: Arrival) {
//!         self.wealth[row] += arrival.count();
//!     }
//!
//!     fn act(&mut self, row: usize, tick: &mut Tick<'_>) {
//!         if self.wealth[row] > 0 {
//!             self.wealth[row] -= 1;
//!             let everybody = tick.size();
//!             let to = tick.draw().below(everybody);
//!             tick.send(GIFT, to, ());
//!         }
//!     }
//!
//!     fn publish(&self, _column: usize) -> Column {
//!         Column::Integers(self.wealth.clone())
//!     }
//! }
//!
//! dormouse_sdk::export_population!(Wealth);
//! ```

mod draw;
mod setup;
mod step;
mod tick;
pub(crate) mod wire;

pub use draw::{Draws, Key};
pub use setup::{Column, Failure, Parameter, Schedule, Setup};
pub use step::{Arrival, Stepper};
pub use tick::{Tick, To, Value, View, ViewError};

/// The number of a member among those of its role.
pub type Member = u32;

/// Many members of a simulated world.
pub trait Population: Sized + 'static {
    /// What rows publish, by name.
    const COLUMNS: &'static [&'static str] = &[];

    /// What rows do to members of any role. The place of a kind here is what [`Tick::send`] is given.
    const EFFECTS: &'static [EffectKind] = &[];

    /// The columns and aggregates that rows look at with [`Tick::read`] and [`Tick::aggregate`].
    const READS: &'static [&'static str] = &[];

    /// Makes the rows of this instance.
    ///
    /// # Errors
    ///
    /// The world asks for what this population cannot do.
    fn new(setup: &Setup) -> Result<Self, Failure>;

    /// Adds rows that have begun, behind all others, with these attributes: each has a value for each of them. A population
    /// whose members do not multiply needs none.
    ///
    /// # Errors
    ///
    /// As for [`Population::new`].
    fn grow(&mut self, count: usize, attributes: &[(String, Column)]) -> Result<(), Failure> {
        let _ = (count, attributes);
        Err(Failure::invalid("members of this population are not born"))
    }

    /// The world has changed parameters between two ticks: `setup` has all of them as they are from now on, and no attributes. A
    /// population that remembers none of them, or cannot go on with others, needs none.
    ///
    /// # Errors
    ///
    /// As for [`Population::new`].
    fn change(&mut self, setup: &Setup) -> Result<(), Failure> {
        let _ = setup;
        Err(Failure::invalid("the parameters of this population stay as they are"))
    }

    /// Something was done to a row. Called before the row acts.
    fn receive(&mut self, row: usize, arrival: Arrival) {
        let _ = (row, arrival);
    }

    /// A tick begins: what was done to rows has arrived, and none has acted. The place to look at the world for all rows at once,
    /// which is faster than row by row.
    fn begin(&mut self, tick: &mut Tick<'_>) {
        let _ = tick;
    }

    /// A row acts.
    fn act(&mut self, row: usize, tick: &mut Tick<'_>);

    /// The values of all rows under the name in this place of [`Population::COLUMNS`].
    fn publish(&self, column: usize) -> Column;
}

/// A kind of effect: what a member can do to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectKind {
    /// Its name.
    pub name: &'static str,
    /// How the host puts together what is done to the same member in the same tick.
    pub fold: Fold,
    /// What its values are.
    pub values: Values,
}

/// How effects of one kind on the same member are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// They are not: each arrives, in the order of who did it.
    Each,
    /// Their sum, which wraps; of those without values their number.
    Sum,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// One of them, which chance decides: for claims of what only one can have.
    First,
}

/// What the values of a kind of effect are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// There are none.
    None,
    /// Integers.
    Integers,
    /// Numbers.
    Numbers,
}

impl Fold {
    /// Whether those who did it are told apart.
    #[inline]
    pub(crate) fn names_senders(self) -> bool {
        matches!(self, Fold::Each | Fold::First)
    }
}

impl EffectKind {
    /// Effects without values that are counted: [`Arrival::count`] tells how many there were.
    #[must_use]
    pub const fn counted(name: &'static str) -> Self {
        EffectKind { name, fold: Fold::Sum, values: Values::None }
    }

    /// Effects whose integers are added.
    #[must_use]
    pub const fn added(name: &'static str) -> Self {
        EffectKind { name, fold: Fold::Sum, values: Values::Integers }
    }

    /// Effects without values of which one arrives, whichever chance decides.
    #[must_use]
    pub const fn claimed(name: &'static str) -> Self {
        EffectKind { name, fold: Fold::First, values: Values::None }
    }

    /// Effects of which each arrives.
    #[must_use]
    pub const fn each(name: &'static str, values: Values) -> Self {
        EffectKind { name, fold: Fold::Each, values }
    }
}

/// Makes a component of a population. Named once in a crate of type `cdylib`.
///
/// For targets other than WebAssembly it only checks the type, so that unit tests link.
#[macro_export]
macro_rules! export_population {
    ($population:ty $(,)?) => {
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = $crate::__private::check_population::<$population>();

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Export;

            impl $crate::__private::ExportedPopulation for Export {
                type Population = $population;

                fn slot() -> &'static $crate::__private::Slot<
                    $crate::population::Stepper<$population>,
                > {
                    ::std::thread_local! {
                        static ROWS: ::std::cell::RefCell<
                            ::std::option::Option<$crate::population::Stepper<$population>>,
                        > = const { ::std::cell::RefCell::new(::std::option::Option::None) };
                    }
                    &ROWS
                }
            }

            $crate::__private::population::export!(Export with_types_in $crate::__private::population);
        };
    };
}
