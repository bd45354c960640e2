//! How the state of a guest outlives its instance.
//!
//! Each agent has one form, found when it is linked. Whoever calls a guest asks the form to save
//! after the call and to restore before the first; what the forms do is their own.

mod portable;

pub(super) use portable::STATE;

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use super::bindings::exports::dormouse::agent::state;
use super::fault::Fault;
use super::guest::Guest;
use crate::agent::Statefulness;
use crate::session::snapshot::GuestState;

/// How the state of an agent is kept.
pub(super) enum Form {
    /// By its own `save` and `restore`.
    Portable(state::GuestIndices),
    /// Not at all.
    Unsaved,
}

impl Form {
    /// The form of this agent.
    ///
    /// # Errors
    /// It exports something by the name of `state` that is not of its type.
    pub(super) fn of(agent: &InstancePre<Guest>) -> wasmtime::Result<Form> {
        Ok(portable::indices(agent)?.map_or(Form::Unsaved, Form::Portable))
    }

    /// What clients are told of it.
    pub(super) fn statefulness(&self) -> Statefulness {
        match self {
            Form::Portable(_) => Statefulness::Portable,
            Form::Unsaved => {
                Statefulness::Unsaved("the agent does not export `dormouse:agent/state`".to_owned())
            }
        }
    }

    /// The form, for one instance.
    pub(super) fn load(
        &self,
        store: &mut Store<Guest>,
        instance: &Instance,
    ) -> wasmtime::Result<Keeper> {
        Ok(match self {
            Form::Portable(indices) => Keeper::Portable(indices.load(store, instance)?),
            Form::Unsaved => Keeper::Unsaved,
        })
    }
}

/// Saves and restores the state of one instance.
pub(super) enum Keeper {
    Portable(state::Guest),
    Unsaved,
}

impl Keeper {
    /// The state after a turn. `None` where none can be saved.
    pub(super) async fn save(&self, store: &mut Store<Guest>) -> Result<Option<GuestState>, Fault> {
        match self {
            Keeper::Portable(guest) => Ok(Some(portable::save(guest, store).await?)),
            Keeper::Unsaved => Ok(None),
        }
    }

    /// Give a new instance a saved state.
    pub(super) async fn restore(
        &self,
        store: &mut Store<Guest>,
        state: &GuestState,
    ) -> Result<(), Fault> {
        match (self, state) {
            (Keeper::Portable(guest), GuestState::Portable { version, data }) => {
                portable::restore(guest, store, *version, data).await
            }
            (Keeper::Unsaved, GuestState::Portable { .. }) => {
                Err(Fault::RestoreFailed("it does not export `dormouse:agent/state`".to_owned()))
            }
        }
    }
}
