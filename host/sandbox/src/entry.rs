//! What the host calls of a component: the `handle` of an agent, the functions of a population, or the `run` of a
//! command.
//!
//! Of a component that exports several of them, the first.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};
use wasmtime_wasi::p2::bindings::exports::wasi::cli::run;

use super::bindings::exports::dormouse::agent::handler;
use super::bindings::simulated::exports::dormouse::agent::population;
use super::guest::Guest;
use dormouse_domain::agent::{ComponentKind, Exports};

/// The export that makes a component an agent.
pub(super) const HANDLER: &str = "dormouse:agent/handler@0.1.0";
/// The export that makes a component a population.
pub(super) const POPULATION: &str = "dormouse:agent/population@0.1.0";
/// The export that makes a component a command, in any version of WASI 0.2.
pub(super) const RUN: &str = "wasi:cli/run@0.2.12";
/// The export of a component that answers requests of HTTP, in any version of WASI 0.2.
pub(super) const INCOMING_HANDLER: &str = "wasi:http/incoming-handler@0.2.0";

/// Where it is in a component.
pub(super) enum EntryIndices {
    Handler(handler::GuestIndices),
    Command(run::GuestIndices),
    Population(population::GuestIndices),
}

/// Where it is in an instance.
pub(super) enum EntryPoint {
    Handler(handler::Guest),
    Command(run::Guest),
    Population(population::Guest),
}

impl EntryIndices {
    /// What to call of this component, where it exports this.
    pub(super) fn of(
        agent: &InstancePre<Guest>,
        exports: Exports,
    ) -> wasmtime::Result<EntryIndices> {
        Ok(match exports.kind() {
            Some(ComponentKind::Command) => EntryIndices::Command(run::GuestIndices::new(agent)?),
            Some(ComponentKind::Population) => {
                EntryIndices::Population(population::GuestIndices::new(agent)?)
            }
            Some(ComponentKind::Agent) | None => {
                EntryIndices::Handler(handler::GuestIndices::new(agent)?)
            }
        })
    }

    pub(super) fn load(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> wasmtime::Result<EntryPoint> {
        Ok(match self {
            EntryIndices::Handler(indices) => EntryPoint::Handler(indices.load(store, instance)?),
            EntryIndices::Command(indices) => EntryPoint::Command(indices.load(store, instance)?),
            EntryIndices::Population(indices) => {
                EntryPoint::Population(indices.load(store, instance)?)
            }
        })
    }
}
