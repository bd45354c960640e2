//! The exports of a population.

use crate::bindings::population::{
    dormouse::agent::{simulation as words, view},
    exports::dormouse::agent::population as wire,
};
use crate::export::{Slot, end_line};
use crate::population::{
    Column, Failure, Fold, Key, Member, Parameter, Population, Schedule, Setup, Stepper, Values,
    View, ViewError,
    wire::{Arrivals, Input, Outcome},
};

/// A component that contains a population.
pub trait ExportedPopulation: 'static {
    /// The population.
    type Population: Population;

    /// Where its rows are kept.
    fn slot() -> &'static Slot<Stepper<Self::Population>>;
}

impl<E: ExportedPopulation> wire::Guest for E {
    fn describe() -> wire::Description {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let effect = |kind: &crate::population::EffectKind| words::EffectKind {
            name: kind.name.to_owned(),
            fold: match kind.fold {
                Fold::Each => words::Fold::Each,
                Fold::Sum => words::Fold::Sum,
                Fold::Min => words::Fold::Min,
                Fold::Max => words::Fold::Max,
                Fold::First => words::Fold::First,
            },
            values: match kind.values {
                Values::None => words::ValueKind::None,
                Values::Integers => words::ValueKind::Integers,
                Values::Numbers => words::ValueKind::Numbers,
            },
        };
        wire::Description {
            columns: owned(E::Population::COLUMNS),
            effects: E::Population::EFFECTS.iter().map(effect).collect(),
            reads: owned(E::Population::READS),
        }
    }

    fn init(setup: wire::Setup) -> Result<(), wire::Failure> {
        let made = Stepper::new(&Setup::from(setup)).map_err(wire::Failure::from);
        end_line();
        E::slot().set(Some(made?));
        Ok(())
    }

    fn change(parameters: Vec<(String, wire::Parameter)>) -> Result<(), wire::Failure> {
        let changed = E::slot().with_borrow_mut(|slot| {
            let rows = slot.as_mut().ok_or_else(unmade)?;
            rows.change(parameters_of(parameters)).map_err(wire::Failure::from)
        });
        end_line();
        changed
    }

    fn step(input: wire::Input) -> Result<wire::Outcome, wire::Failure> {
        let stepped = E::slot().with_borrow_mut(|slot| {
            let rows = slot.as_mut().ok_or_else(unmade)?;
            rows.step(Input::from(input), &World).map_err(wire::Failure::from)
        });
        end_line();
        stepped.map(wire::Outcome::from)
    }

    fn publish(column: String) -> Result<words::Column, wire::Failure> {
        E::slot().with_borrow(|slot| {
            let rows = slot.as_ref().ok_or_else(unmade)?;
            rows.publish(&column).map(words::Column::from).map_err(wire::Failure::from)
        })
    }
}

fn unmade() -> wire::Failure {
    wire::Failure::Failed("the population was not made".to_owned())
}

/// The world as the host shows it.
struct World;

impl View for World {
    fn size(&self, role: u32) -> Result<u32, ViewError> {
        view::size(role).map_err(ViewError::from)
    }

    fn neighbours(&self, of: &[Member]) -> Result<(Vec<u32>, Vec<Member>), ViewError> {
        view::neighbours(of).map_err(ViewError::from)
    }

    fn near(
        &self,
        role: u32,
        of: &[Member],
        radius: f64,
    ) -> Result<(Vec<u32>, Vec<Member>), ViewError> {
        view::near(role, of, radius).map_err(ViewError::from)
    }

    fn read(&self, role: u32, column: &str, of: &[Member]) -> Result<Column, ViewError> {
        view::read(role, column, of).map(Column::from).map_err(ViewError::from)
    }

    fn aggregate(&self, name: &str) -> Result<f64, ViewError> {
        view::aggregate(name).map_err(ViewError::from)
    }
}

impl From<view::Error> for ViewError {
    fn from(error: view::Error) -> Self {
        match error {
            view::Error::Unknown(what) => ViewError::Unknown(what),
            view::Error::Gone(member) => ViewError::Gone(member),
        }
    }
}

impl From<words::Column> for Column {
    fn from(column: words::Column) -> Self {
        match column {
            words::Column::Integers(values) => Column::Integers(values),
            words::Column::Numbers(values) => Column::Numbers(values),
            words::Column::Bytes(values) => Column::Bytes(values),
        }
    }
}

impl From<Column> for words::Column {
    fn from(column: Column) -> Self {
        match column {
            Column::Integers(values) => words::Column::Integers(values),
            Column::Numbers(values) => words::Column::Numbers(values),
            Column::Bytes(values) => words::Column::Bytes(values),
        }
    }
}

impl From<Failure> for wire::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Invalid(message) => wire::Failure::Invalid(message),
            Failure::Failed(message) => wire::Failure::Failed(message),
        }
    }
}

fn columns(named: Vec<words::Named>) -> Vec<(String, Column)> {
    named.into_iter().map(|column| (column.name, column.values.into())).collect()
}

fn named(columns: Vec<(String, Column)>) -> Vec<words::Named> {
    columns.into_iter().map(|(name, values)| words::Named { name, values: values.into() }).collect()
}

fn parameters_of(parameters: Vec<(String, wire::Parameter)>) -> Vec<(String, Parameter)> {
    let value = |value| match value {
        wire::Parameter::Integer(value) => Parameter::Integer(value),
        wire::Parameter::Number(value) => Parameter::Number(value),
        wire::Parameter::Text(value) => Parameter::Text(value),
        wire::Parameter::Flag(value) => Parameter::Flag(value),
    };
    parameters.into_iter().map(|(name, own)| (name, value(own))).collect()
}

impl From<wire::Setup> for Setup {
    fn from(setup: wire::Setup) -> Self {
        Setup {
            roles: setup.roles,
            role: setup.role,
            first: setup.first,
            count: setup.count,
            size: setup.size,
            schedule: match setup.schedule {
                wire::Schedule::Simultaneous => Schedule::Simultaneous,
                wire::Schedule::Random => Schedule::Random,
                wire::Schedule::RandomReplace => Schedule::RandomReplace,
                wire::Schedule::Sequential => Schedule::Sequential,
                wire::Schedule::ByEvent => Schedule::ByEvent,
            },
            parameters: parameters_of(setup.parameters),
            attributes: columns(setup.attributes),
        }
    }
}

impl From<wire::Input> for Input {
    fn from(input: wire::Input) -> Self {
        let arrivals = |arrivals: wire::Arrivals| Arrivals {
            role: arrivals.role,
            kind: arrivals.kind,
            to: arrivals.to,
            from: arrivals.from,
            values: arrivals.values.into(),
        };
        Input {
            at: input.at,
            key: Key(input.key.0, input.key.1),
            acting: input.acting,
            arrivals: input.arrivals.into_iter().map(arrivals).collect(),
            born: input.born.map(|born| (born.count, columns(born.attributes))),
        }
    }
}

impl From<Outcome> for wire::Outcome {
    fn from(outcome: Outcome) -> Self {
        let effects = outcome.effects.into_iter().map(|effects| wire::Effects {
            kind: effects.kind,
            role: effects.role,
            from: effects.from,
            to: effects.to,
            values: effects.values.into(),
            delay: effects.delay,
        });
        let births = outcome.births.into_iter().map(|births| wire::Births {
            role: births.role,
            parents: births.parents,
            attributes: named(births.attributes),
        });
        wire::Outcome {
            effects: effects.collect(),
            births: births.collect(),
            ended: outcome.ended,
            wake: outcome.wake,
            wake_in: outcome.wake_in,
        }
    }
}
