//! How an import asks the outside world for something: the same way for each kind of effect.
//!
//! While the world works on an effect the guest waits in its fiber: no thread is held, and no fuel and no
//! ticks are counted. A call that is dropped meanwhile leaves the world in the instance.

use wasmtime::StoreContextMut;

use crate::fuel;
use crate::guest::Guest;
use crate::world::{EffectReply, SoFar};
use dormouse_domain::effect::{Effect, EffectAnswer};

/// Have the world of the call answer. What the guest draws of random bytes afterwards is of another segment, and
/// it goes on with the fuel that the world leaves to it.
///
/// # Errors
/// A trap: the [`EffectError`](dormouse_domain::effect::EffectError) of the world, or no call runs.
pub(super) async fn ask(
    store: &mut StoreContextMut<'_, Guest>,
    effect: Effect,
) -> wasmtime::Result<EffectAnswer> {
    let so_far = SoFar { fuel: fuel::used_so_far(store)?, salt: store.data().random.salt() };
    let asked = store.data_mut().turn()?.effect(effect, so_far);
    let EffectReply { answer, fuel_left } = asked.await.map_err(wasmtime::Error::new)?;
    store.data_mut().enter_next_segment()?;
    if let Some(left) = fuel_left {
        fuel::lower(store, left)?;
    }
    Ok(answer)
}

/// The trap of a guest whose world answers something else than it was asked.
pub(super) fn other_answer() -> wasmtime::Error {
    wasmtime::Error::msg("the world has answered something else than it was asked")
}
