//! What the host calls of a component: the `handle` of an agent, or the `run` of a command.
//!
//! A component that exports both is an agent.

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};
use wasmtime_wasi::p2::bindings::exports::wasi::cli::run;

use super::bindings::exports::dormouse::agent::handler;
use super::guest::Guest;
use dormouse_domain::agent::AgentKind;

/// The export that makes a component an agent.
pub(super) const HANDLER: &str = "dormouse:agent/handler@0.1.0";
/// The export that makes a component a command, in any version of WASI 0.2.
pub(super) const RUN: &str = "wasi:cli/run@0.2.12";

/// Where it is in a component.
pub(super) enum EntryIndices {
    Handler(handler::GuestIndices),
    Command(run::GuestIndices),
}

/// Where it is in an instance.
pub(super) enum Entry {
    Handler(handler::Guest),
    Command(run::Guest),
}

impl EntryIndices {
    /// What to call of this component, of this kind.
    pub(super) fn of(
        agent: &InstancePre<Guest>,
        kind: AgentKind,
    ) -> wasmtime::Result<EntryIndices> {
        Ok(match kind {
            AgentKind::Agent => EntryIndices::Handler(handler::GuestIndices::new(agent)?),
            AgentKind::Command => EntryIndices::Command(run::GuestIndices::new(agent)?),
        })
    }

    pub(super) fn load(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> wasmtime::Result<Entry> {
        Ok(match self {
            EntryIndices::Handler(indices) => Entry::Handler(indices.load(store, instance)?),
            EntryIndices::Command(indices) => Entry::Command(indices.load(store, instance)?),
        })
    }

    pub(super) fn kind(&self) -> AgentKind {
        match self {
            EntryIndices::Handler(_) => AgentKind::Agent,
            EntryIndices::Command(_) => AgentKind::Command,
        }
    }
}
