//! `dormouse:agent/model`: one completion of a language model.
//!
//! A thin lift: the request is read and checked, the world of the call answers, the answer is handed over.
//! Providers, prices, budgets and journals are behind the world. A request that is not what its type cannot say
//! is refused here, and the world never hears of it: so that each provider gets requests of one shape.

mod answer;
mod check;
mod param;
mod request;

use wasmtime::StoreContextMut;

use super::contract::model::{Answer, Error};
use super::interface::{HostWork, Interface};
use super::{effect, price};
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::effect::{Effect, EffectAnswer, ModelCall};
use param::RequestParam;
use request::Unread;

/// The most bytes of JSON that are checked where the guest runs: what takes longer is checked on a thread that
/// may block.
const SMALL: usize = 64 << 10;

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("chat", chat)
}

fn chat(
    mut store: StoreContextMut<'_, Guest>,
    (request,): (RequestParam,),
) -> HostWork<'_, (Result<Answer, Error>,)> {
    Box::pin(async move {
        let call = match read(&mut store, request).await {
            Ok(call) => call,
            Err(Unread::Invalid(why)) => return Ok((Err(Error::Invalid(why)),)),
            Err(Unread::Trap(trap)) => return Err(trap),
        };
        let answer = effect::ask(&mut store, Effect::Model(call)).await?;
        let EffectAnswer::Model(answered) = answer else { return Err(effect::other_answer()) };
        // The request is gone; what is handed over takes memory until the guest has it.
        store.data_mut().memory.keep(0);
        let (parts, bytes) = answer::size(&answered);
        store.data_mut().memory.hold(bytes as u64).map_err(wasmtime::Error::new)?;
        charge(&mut store, price::of(parts, price::FIELD) + price::of(bytes, price::BYTE)).await?;
        Ok((answered.map(answer::lower).map_err(answer::lower_error),))
    })
}

/// The request, checked.
async fn read(
    store: &mut StoreContextMut<'_, Guest>,
    request: RequestParam,
) -> Result<ModelCall, Unread> {
    let (call, json) = request::read(store, request).await?;
    let check = |call: ModelCall| {
        let checked = check::check(&call.request);
        (call, checked)
    };
    let (call, checked) = if json <= SMALL {
        check(call)
    } else {
        let checked = tokio::task::spawn_blocking(move || check(call)).await;
        checked.map_err(wasmtime::Error::new)?
    };
    checked.map(|()| call).map_err(Unread::Invalid)
}
