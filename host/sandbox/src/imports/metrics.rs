//! `dormouse:agent/metrics`: numbers that the agent notes.
//!
//! They are kept with the call, as its log is, and handed over with what the call leaves behind. What time it is, the
//! guest's own wall clock says: so a turn that is run again notes the same.

use wasmtime::StoreContextMut;

use super::contract::metrics::Error;
use super::interface::{HostWork, Interface};
use super::price;
use super::text::GuestText;
use crate::fuel::charge;
use crate::guest::Guest;
use dormouse_domain::sample::{MAX_NAME, MAX_NAMES, MAX_SAMPLES, NAME_RULE, SampleError};

/// Link the interface.
pub(super) fn link(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("sample", sample)
}

fn sample(
    mut store: StoreContextMut<'_, Guest>,
    (name, value): (GuestText, f64),
) -> HostWork<'_, (Result<(), Error>,)> {
    Box::pin(async move {
        charge(&mut store, price::SAMPLE).await?;
        if name.len() > MAX_NAME {
            return Ok((Err(Error::Invalid(NAME_RULE.to_owned())),));
        }
        let name = name.read(&store)?.into_owned();
        let guest = store.data_mut();
        if let Err(error) = guest.turn()?.sample(name, value) {
            return Ok((Err(told(error)),));
        }
        guest.pay_for_kept()?;
        Ok((Ok(()),))
    })
}

fn told(error: SampleError) -> Error {
    let most = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    match error {
        SampleError::Invalid(why) => Error::Invalid(why.to_owned()),
        SampleError::TooManySamples => Error::TooManySamples(most(MAX_SAMPLES)),
        SampleError::TooManyNames => Error::TooManyNames(most(MAX_NAMES)),
    }
}
