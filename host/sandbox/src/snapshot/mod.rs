//! How the state of a guest outlives its instance.
//!
//! Each agent has one form, found when it is linked. Whoever calls a guest asks for the state after
//! the call and gives it to an instance before the first; what the forms do is their own.
//!
//! The image form asks nothing of an agent and is taken wherever it can be. The portable form is for
//! agents of which no image can be taken, and for states that were saved before there were images.

mod image;
mod portable;

use std::sync::Arc;

use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

#[cfg(test)]
pub(super) use image::{Image, ImageKeeper};
pub(super) use image::{RECIPE, Unpinned, instrument, starts_alone};
pub(super) use portable::STATE;

use super::bindings::exports::dormouse::agent::state;
use super::fault::Fault;
use super::guest::Guest;
use dormouse_base::clock::Clock;
use dormouse_domain::agent::Statefulness;
use dormouse_domain::snapshot::GuestState;

/// How the state of an agent is kept.
pub(super) struct SnapshotForm {
    /// Where its own `save` and `restore` are, if it has them.
    portable: Option<state::GuestIndices>,
    /// Images of it, or why there are none.
    image: Result<Arc<image::Image>, String>,
}

impl SnapshotForm {
    /// The form of this agent, of which no image can be taken where there is a reason.
    ///
    /// # Errors
    /// It exports something by the name of `state` that is not of its type.
    pub(super) fn of(
        agent: &InstancePre<Guest>,
        unimaged: Option<&str>,
        unpinned: Unpinned,
        clock: &Clock,
    ) -> wasmtime::Result<SnapshotForm> {
        let image = match unimaged {
            None => {
                let [a, b, c, d, e, f, g, h, ..] = clock.random();
                let key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                Ok(Arc::new(image::Image::of(agent.component(), unpinned, key)))
            }
            Some(reason) => Err(reason.to_owned()),
        };
        Ok(SnapshotForm { portable: portable::indices(agent)?, image })
    }

    /// The first pin that traps in this new instance, which is of no use afterwards.
    ///
    /// # Errors
    /// A pin failed, and not because of the agent.
    pub(super) async fn failing_pin(
        &self,
        store: &mut Store<Guest>,
        instance: Instance,
    ) -> Result<Option<u32>, Fault> {
        match &self.image {
            Ok(image) => image.failing_pin(store, instance).await,
            Err(_) => Ok(None),
        }
    }

    /// Whether instances take handles when they start.
    pub(super) fn has_pins(&self) -> bool {
        self.image.as_ref().is_ok_and(|image| image.has_pins())
    }

    /// Whether an image is taken of instances.
    pub(super) fn has_image(&self) -> bool {
        self.image.is_ok()
    }

    /// What clients are told of it.
    pub(super) fn statefulness(&self) -> Statefulness {
        match (&self.portable, &self.image) {
            (Some(_), _) => Statefulness::Portable,
            (None, Ok(_)) => Statefulness::Image,
            (None, Err(reason)) => Statefulness::Unsaved(format!(
                "no image can be taken of the agent: {reason}; and it does not export \
                 `dormouse:agent/state`"
            )),
        }
    }

    /// The form, for one new instance, which is ready for its first call then.
    pub(super) async fn start(
        &self,
        store: &mut Store<Guest>,
        instance: Instance,
    ) -> Result<Keeper, Fault> {
        let portable = match &self.portable {
            Some(indices) => {
                let loaded = indices.load(&mut *store, &instance);
                Some(loaded.map_err(|error| Fault::Host(format!("{error:#}")))?)
            }
            None => None,
        };
        let image = match &self.image {
            Ok(image) => Some(image.start(store, instance).await?),
            Err(_) => None,
        };
        Ok(Keeper { portable, image })
    }
}

/// Saves and restores the state of one instance.
pub(super) struct Keeper {
    portable: Option<state::Guest>,
    image: Option<image::ImageKeeper>,
}

/// What came of saving the state of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The state.
    State(GuestState),
    /// It cannot be saved as it is now, perhaps after another turn. Says what holds it.
    Held(String),
    /// It can never be saved; [`Statefulness`] says why.
    Never,
    /// There is nothing to save.
    Nothing,
}

impl Keeper {
    /// What the agent itself does to save its state, after a turn and under its limits.
    pub(super) async fn save_within_turn(
        &self,
        store: &mut Store<Guest>,
    ) -> Result<Option<GuestState>, Fault> {
        match &self.image {
            None => self.save_portable(store).await,
            Some(_) => Ok(None),
        }
    }

    /// What the agent itself saves, where it does.
    pub(super) async fn save_portable(
        &self,
        store: &mut Store<Guest>,
    ) -> Result<Option<GuestState>, Fault> {
        match &self.portable {
            Some(guest) => Ok(Some(portable::save(guest, store).await?)),
            None => Ok(None),
        }
    }

    /// What the host does, after the turn. What the state takes in memory is charged to the instance.
    pub(super) async fn save_after_turn(
        &mut self,
        store: &mut Store<Guest>,
    ) -> Result<Saved, Fault> {
        match &mut self.image {
            Some(image) => image.save(store).await,
            None => Ok(Saved::Never),
        }
    }

    /// What is saved next leaves nothing out because it was saved before.
    pub(super) fn forget_saved(&mut self) {
        if let Some(image) = &mut self.image {
            image.forget_saved();
        }
    }

    /// How many bytes of its memories are really there. `None`: they cannot be reached.
    pub(super) async fn present(
        &mut self,
        store: &mut Store<Guest>,
    ) -> wasmtime::Result<Option<u64>> {
        match &mut self.image {
            Some(image) => Ok(Some(image.present(store).await?)),
            None => Ok(None),
        }
    }

    /// Give a new instance a saved state.
    pub(super) async fn restore(
        &mut self,
        store: &mut Store<Guest>,
        state: &GuestState,
    ) -> Result<(), Fault> {
        match (state, &self.portable, &mut self.image) {
            (GuestState::Nothing, _, _) => Ok(()),
            (GuestState::Image { data, chunks }, _, Some(image)) => {
                image.restore(store, data, chunks).await
            }
            (GuestState::Image { .. }, _, None) => Err(Fault::SnapshotUnusable(
                "it is an image, and no image can be taken of the agent any more".to_owned(),
            )),
            (GuestState::Portable { version, data }, Some(guest), _) => {
                portable::restore(guest, store, *version, data).await
            }
            (GuestState::Portable { .. }, None, _) => {
                Err(Fault::RestoreFailed("it does not export `dormouse:agent/state`".to_owned()))
            }
        }
    }

    /// Whether this instance, which has done nothing yet, started as the first one did.
    pub(super) async fn is_pristine(&mut self, store: &mut Store<Guest>) -> wasmtime::Result<bool> {
        match &mut self.image {
            Some(image) => image.is_pristine(store).await,
            None => Ok(true),
        }
    }
}
