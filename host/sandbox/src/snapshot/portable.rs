//! Portable state: the agent's own bytes, by its own `save` and `restore`.

use bytes::Bytes;
use wasmtime::component::InstancePre;
use wasmtime::{AsContextMut, Store};

use crate::bindings::exports::dormouse::agent::state::{
    Error, Guest as State, GuestIndices, SavedParam,
};
use crate::call::MAX_STATE_BYTES;
use crate::fault::{Fault, bounded};
use crate::fuel;
use crate::guest::Guest;
use crate::imports::price;
use crate::instance::{MAX_TRANSFER, is_too_much};
use dormouse_domain::snapshot::GuestState;

/// The export that makes an agent portable.
pub(crate) const STATE: &str = "dormouse:agent/state@0.1.0";

/// Where the functions of the export are, if the agent has it.
pub(super) fn indices(agent: &InstancePre<Guest>) -> wasmtime::Result<Option<GuestIndices>> {
    if agent.component().get_export_index(None, STATE).is_none() {
        return Ok(None);
    }
    let indices = GuestIndices::new(agent)?;
    Ok(Some(indices))
}

/// Ask the agent for its state.
pub(super) async fn save(guest: &State, store: &mut Store<Guest>) -> Result<GuestState, Fault> {
    // A state may be larger than anything else that an agent hands over.
    store.set_hostcall_fuel(usize::try_from(MAX_STATE_BYTES).unwrap_or(usize::MAX) + MAX_TRANSFER);
    let saved = guest.call_save(&mut *store).await;
    store.set_hostcall_fuel(MAX_TRANSFER);
    match saved {
        Ok(Ok(saved)) if saved.data.len() as u64 > MAX_STATE_BYTES => {
            Err(Fault::StateTooLarge { limit: MAX_STATE_BYTES })
        }
        Ok(Ok(saved)) => {
            let cost = price::of(saved.data.len(), price::BYTE);
            let charged = fuel::charge(&mut store.as_context_mut(), cost).await;
            charged.map_err(|error| store.data_mut().fault(&error))?;
            Ok(GuestState::Portable { version: saved.version, data: Bytes::from(saved.data) })
        }
        Ok(Err(error)) => Err(Fault::SaveFailed(explain(error))),
        Err(error) if is_too_much(&error) => Err(Fault::StateTooLarge { limit: MAX_STATE_BYTES }),
        Err(error) => Err(store.data_mut().fault(&error)),
    }
}

/// Give the agent a state that it saved before.
pub(super) async fn restore(
    guest: &State,
    store: &mut Store<Guest>,
    version: u32,
    data: &[u8],
) -> Result<(), Fault> {
    match guest.call_restore(&mut *store, SavedParam { version, data }).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Fault::RestoreFailed(explain(error))),
        Err(error) => Err(store.data_mut().fault(&error)),
    }
}

fn explain(error: Error) -> String {
    match error {
        Error::UnsupportedVersion(version) => format!("it does not read version {version}"),
        Error::Invalid(why) => bounded(why),
    }
}
