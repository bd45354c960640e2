//! What an agent under test samples.

use std::collections::BTreeSet;

use super::world::Backend;
use crate::metrics::Error;

/// The most samples of a turn, the most names that it samples under, and the longest name, as each host has them.
const MAX_SAMPLES: usize = 256;
const MAX_NAMES: usize = 64;
const MAX_NAME: usize = 64;

/// A number that an agent has sampled.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// The number.
    pub value: f64,
}

impl Backend {
    pub(crate) fn sample(&self, name: &str, value: f64) -> Result<(), Error> {
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_of_name) {
            let why = "the name of a sample has 1 to 64 bytes: letters and digits of ASCII, `_`, `.` and `-`";
            return Err(Error::Invalid(why.to_owned()));
        }
        if !value.is_finite() {
            return Err(Error::Invalid("the value of a sample is finite".to_owned()));
        }
        let samples = &mut self.0.borrow_mut().samples;
        let mut names: BTreeSet<&str> = samples.iter().map(|sample| &*sample.name).collect();
        names.insert(name);
        if samples.len() >= MAX_SAMPLES {
            return Err(Error::TooManySamples(256));
        }
        if names.len() > MAX_NAMES {
            return Err(Error::TooManyNames(64));
        }
        samples.push(Sample { name: name.to_owned(), value });
        Ok(())
    }
}
