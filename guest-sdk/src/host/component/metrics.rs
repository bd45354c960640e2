//! Metrics, as the host has them.

use super::Backend;
use crate::{bindings::handler::dormouse::agent::metrics as imports, metrics::Error};

impl Backend {
    pub(crate) fn sample(&self, name: &str, value: f64) -> Result<(), Error> {
        imports::sample(name, value).map_err(|error| match error {
            imports::Error::Invalid(reason) => Error::Invalid(reason),
            imports::Error::TooManySamples(most) => Error::TooManySamples(most),
            imports::Error::TooManyNames(most) => Error::TooManyNames(most),
        })
    }
}
