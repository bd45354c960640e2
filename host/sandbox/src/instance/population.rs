//! A population: an instance that has many members of a simulated world.
//!
//! It answers no turns. Its clocks stand where its world says, and its random bytes follow from its grant and the tick,
//! so that what it does depends on nothing else than what it is handed. As any instance it is of no use after a fault.

use std::sync::Arc;

use dormouse_base::memory::Account;
use dormouse_domain::simulation::{
    Births, Column, ColumnKind, ColumnSlice, Description, EffectKind, Effects, Fold, Named,
    Outcome, Parameter, PopulationSetup, Schedule, StepInput, Tick,
};
use dormouse_domain::snapshot::GuestState;
use dormouse_domain::time::Timestamp;

use super::{Grant, Instance, MAX_TRANSFER, is_too_much};
use crate::bindings::simulated::dormouse::agent::simulation as words;
use crate::bindings::simulated::exports::dormouse::agent::population as wire;
use crate::code::{Code, check_function};
use crate::entry::{EntryPoint, POPULATION};
use crate::fault::{Fault, GuestFailure, bounded};
use crate::fuel;
use crate::guest::Guest;
use crate::refusal::Refusal;
use crate::snapshot::Saved;
use crate::view::View;
use wasmtime::Store;
use wasmtime::component::InstancePre;

/// Whether the exports of a population have the types that they are called with.
pub(crate) fn check(component: &InstancePre<Guest>) -> Result<(), Refusal> {
    type Parameters<'a> = &'a [(&'a str, wire::Parameter<'a>)];
    type Stepped = Result<wire::Outcome, wire::Failure>;
    type Published = Result<wire::ColumnResult, wire::Failure>;

    check_function::<(), (wire::Description,)>(component, POPULATION, "describe")?;
    check_function::<(wire::Setup<'_>,), (Result<(), wire::Failure>,)>(
        component, POPULATION, "init",
    )?;
    check_function::<(Parameters<'_>,), (Result<(), wire::Failure>,)>(
        component, POPULATION, "change",
    )?;
    check_function::<(wire::Input<'_>,), (Stepped,)>(component, POPULATION, "step")?;
    check_function::<(&str,), (Published,)>(component, POPULATION, "publish")
}

/// A live population.
#[derive(Debug)]
pub struct Population(Instance);

/// When a tick is, and what its rows see.
#[derive(Clone)]
pub struct Moment {
    /// What their wall clock says.
    pub now: Timestamp,
    /// The world as it was at the end of the tick before.
    pub view: Arc<dyn View>,
}

impl Code {
    /// Make a population without rows, whose memory is paid with this account.
    ///
    /// # Errors
    /// As [`Code::instantiate`]; [`Fault::Host`] where the component is none.
    pub async fn populate(&self, grant: Grant, account: Account) -> Result<Population, Fault> {
        let instance = self.instantiate_in_world(Grant { turn: 0, ..grant }, account).await?;
        match instance.entry {
            EntryPoint::Population(_) => Ok(Population(instance)),
            EntryPoint::Handler(_) | EntryPoint::Command(_) => {
                Err(Fault::Host("the component is no population".to_owned()))
            }
        }
    }
}

/// Call a function of the population, and take what it answers as far as it went well: `$call` has the exports and the
/// store. A macro, because a closure that is async and sent to another thread cannot borrow both.
macro_rules! call {
    ($self:ident, $fuel:expr, |$guest:ident, $store:ident| $call:expr) => {{
        let instance = &mut $self.0;
        instance.begin($fuel)?;
        let shared = instance.shared.clone();
        let EntryPoint::Population($guest) = &instance.entry else {
            return Err(Fault::Host("the component is no population".to_owned()));
        };
        let $store = &mut instance.store;
        let called = shared.ticker.watch($call).await;
        let called = called.map_err(|error| fault(&mut instance.store, &error))?;
        instance.within_limit()?;
        instance.poisoned = false;
        called
    }};
}

impl Population {
    /// What its rows are like.
    ///
    /// # Errors
    /// After a fault the instance must be dropped; so it is with all methods.
    pub async fn describe(&mut self, fuel: u64) -> Result<Description, Fault> {
        let told = call!(self, fuel, |guest, store| guest.call_describe(&mut *store));
        Ok(Description {
            columns: told.columns,
            effects: told.effects.into_iter().map(effect_kind).collect(),
            reads: told.reads,
        })
    }

    /// Make its rows.
    ///
    /// # Errors
    /// As [`Population::describe`]; [`Fault::Failed`] where it says so.
    pub async fn init(&mut self, setup: &PopulationSetup, fuel: u64) -> Result<(), Fault> {
        let roles: Vec<&str> = setup.roles.iter().map(String::as_str).collect();
        let parameters: Vec<_> = setup.parameters.iter().map(parameter).collect();
        let attributes: Vec<_> = setup.attributes.iter().map(named).collect();
        let setup = wire::Setup {
            roles: &roles,
            role: setup.role,
            first: setup.first,
            count: setup.count,
            size: setup.size,
            schedule: schedule(setup.schedule),
            parameters: &parameters,
            attributes: &attributes,
        };
        call!(self, fuel, |guest, store| guest.call_init(&mut *store, setup)).map_err(failed)
    }

    /// One tick of all its rows.
    ///
    /// # Errors
    /// As [`Population::init`].
    pub async fn step(
        &mut self,
        input: &StepInput<'_>,
        moment: Moment,
        fuel: u64,
    ) -> Result<Outcome, Fault> {
        let arrivals: Vec<_> = input
            .arrivals
            .iter()
            .map(|arrivals| wire::Arrivals {
                role: arrivals.role,
                kind: arrivals.kind,
                to: arrivals.to,
                from: arrivals.from,
                values: lowered(arrivals.values),
            })
            .collect();
        let attributes: Vec<_> = input
            .born
            .iter()
            .flat_map(|born| &born.attributes)
            .map(|(name, values)| words::NamedParam { name, values: lowered(*values) })
            .collect();
        let born = input
            .born
            .as_ref()
            .map(|born| wire::Born { count: born.count, attributes: &attributes });
        let (at, key, acting) = (input.at, input.key, input.acting);
        let wired = wire::Input { at, key, acting, arrivals: &arrivals, born };
        self.0.store.data_mut().stand_still(moment.now, Some(moment.view), input.at);
        let stepped = call!(self, fuel, |guest, store| guest.call_step(&mut *store, wired));
        self.0.store.data_mut().stand_still(moment.now, None, input.at);
        stepped.map(outcome).map_err(failed)
    }

    /// What all its rows publish under this name.
    ///
    /// # Errors
    /// As [`Population::init`].
    pub async fn publish(&mut self, column: &str, fuel: u64) -> Result<Column, Fault> {
        let published = call!(self, fuel, |guest, store| guest.call_publish(&mut *store, column));
        published.map(lifted).map_err(failed)
    }

    /// The fuel that the last call has used.
    #[must_use]
    pub fn used_fuel(&self) -> u64 {
        fuel::used(&self.0.store)
    }

    /// From the next tick on these are its parameters.
    ///
    /// # Errors
    /// As [`Population::init`].
    pub async fn change(
        &mut self,
        parameters: &[(String, Parameter)],
        fuel: u64,
    ) -> Result<(), Fault> {
        let parameters: Vec<_> = parameters.iter().map(parameter).collect();
        let changed = call!(self, fuel, |guest, store| guest.call_change(&mut *store, &parameters));
        changed.map_err(failed)
    }

    /// All of its state, whatever was saved before. What it takes in memory is charged to the instance until
    /// [`Population::stored`].
    ///
    /// # Errors
    /// As [`Instance::save`]. `None`: its state cannot be saved now.
    pub async fn save(&mut self, fuel: u64) -> Result<Option<GuestState>, Fault> {
        match self.0.save_whole().await? {
            Saved::State(state) => Ok(Some(state)),
            Saved::Never => self.0.save_portable(fuel).await,
            Saved::Held(what) => {
                tracing::debug!(what, "the state of a population cannot be saved now");
                Ok(None)
            }
            Saved::Nothing => Ok(None),
        }
    }

    /// Its clocks stand here, and its random bytes follow from this tick, until it is told otherwise.
    pub fn stand_still(&mut self, now: Timestamp, at: Tick) {
        self.0.store.data_mut().stand_still(now, None, at);
    }

    /// What was saved has been copied.
    pub fn stored(&mut self) {
        self.0.stored();
    }

    /// Give a new population the state of another.
    ///
    /// # Errors
    /// As [`Instance::restore`].
    pub async fn restore(&mut self, state: &GuestState, fuel: u64) -> Result<(), Fault> {
        self.0.restore(state, fuel).await.map(|_| ())
    }
}

/// What an error that came out of the guest means.
fn fault(store: &mut Store<Guest>, error: &wasmtime::Error) -> Fault {
    if is_too_much(error) {
        return Fault::Trapped(format!(
            "the population handed over more than {} MiB in one call: let an instance have fewer rows",
            MAX_TRANSFER >> 20
        ));
    }
    store.data_mut().fault(error)
}

fn effect_kind(kind: words::EffectKind) -> EffectKind {
    EffectKind {
        name: kind.name,
        fold: match kind.fold {
            words::Fold::Each => Fold::Each,
            words::Fold::Sum => Fold::Sum,
            words::Fold::Min => Fold::Min,
            words::Fold::Max => Fold::Max,
            words::Fold::First => Fold::First,
        },
        values: match kind.values {
            words::ValueKind::None => None,
            words::ValueKind::Integers => Some(ColumnKind::Integers),
            words::ValueKind::Numbers => Some(ColumnKind::Numbers),
        },
    }
}

fn schedule(schedule: Schedule) -> wire::Schedule {
    match schedule {
        Schedule::Simultaneous => wire::Schedule::Simultaneous,
        Schedule::Random => wire::Schedule::Random,
        Schedule::RandomReplace => wire::Schedule::RandomReplace,
        Schedule::Sequential => wire::Schedule::Sequential,
        Schedule::ByEvent => wire::Schedule::ByEvent,
    }
}

fn parameter((name, value): &(String, Parameter)) -> (&str, wire::Parameter<'_>) {
    let value = match value {
        Parameter::Integer(value) => wire::Parameter::Integer(*value),
        Parameter::Number(value) => wire::Parameter::Number(*value),
        Parameter::Text(value) => wire::Parameter::Text(value),
        Parameter::Flag(value) => wire::Parameter::Flag(*value),
    };
    (name, value)
}

fn named(column: &Named) -> words::NamedParam<'_> {
    words::NamedParam { name: &column.name, values: lowered(column.values.as_slice()) }
}

fn lowered(column: ColumnSlice<'_>) -> words::ColumnParam<'_> {
    match column {
        ColumnSlice::Integers(values) => words::ColumnParam::Integers(values),
        ColumnSlice::Numbers(values) => words::ColumnParam::Numbers(values),
        ColumnSlice::Bytes(values) => words::ColumnParam::Bytes(values),
    }
}

fn lifted(column: words::ColumnResult) -> Column {
    match column {
        words::ColumnResult::Integers(values) => Column::Integers(values),
        words::ColumnResult::Numbers(values) => Column::Numbers(values),
        words::ColumnResult::Bytes(values) => Column::Bytes(values),
    }
}

fn outcome(outcome: wire::Outcome) -> Outcome {
    let wire::Outcome { effects, births, ended, wake, wake_in } = outcome;
    Outcome {
        effects: effects
            .into_iter()
            .map(|effects| Effects {
                kind: effects.kind,
                role: effects.role,
                from: effects.from,
                to: effects.to,
                values: lifted(effects.values),
                delay: effects.delay,
            })
            .collect(),
        births: births
            .into_iter()
            .map(|births| Births {
                role: births.role,
                parents: births.parents,
                attributes: births
                    .attributes
                    .into_iter()
                    .map(|column| Named { name: column.name, values: lifted(column.values) })
                    .collect(),
            })
            .collect(),
        ended,
        wake,
        wake_in,
    }
}

fn failed(failure: wire::Failure) -> Fault {
    Fault::Failed(match failure {
        wire::Failure::Invalid(why) => GuestFailure::Invalid(bounded(why)),
        wire::Failure::Failed(why) => GuestFailure::Failed(bounded(why)),
    })
}
