//! Samples: numbers that an agent notes under names of its own, with the turn that notes them.
//!
//! Names are the agent's: they are kept and shown with their session, and are nowhere a name of something of the host.

use std::collections::BTreeSet;

use crate::time::Timestamp;

/// The most samples of a turn.
pub const MAX_SAMPLES: usize = 256;
/// The most names that a turn samples under.
pub const MAX_NAMES: usize = 64;
/// The longest name of a sample, in bytes.
pub const MAX_NAME: usize = 64;
/// What a name is.
pub const NAME_RULE: &str =
    "the name of a sample has 1 to 64 bytes: letters and digits of ASCII, `_`, `.` and `-`";

/// A number that an agent has noted.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its name: 1 to [`MAX_NAME`] bytes of ASCII letters, digits, `_`, `.` and `-`.
    pub name: String,
    /// The number: finite.
    pub value: f64,
    /// When it was noted, as the wall clock of the guest said.
    pub at: Timestamp,
}

/// The place of a sample among all samples of its session: by its turn, and then by its order in the turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SamplePlace(pub u64);

/// Why a number was not noted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// The name or the value is none. The text says what to change.
    #[error("{0}")]
    Invalid(&'static str),
    /// The turn has as many samples as it may have.
    #[error("a turn has at most {MAX_SAMPLES} samples")]
    TooManySamples,
    /// The turn has sampled under as many names as it may use.
    #[error("a turn samples under at most {MAX_NAMES} names")]
    TooManyNames,
}

/// The samples of a turn that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    all: Vec<Sample>,
    names: BTreeSet<String>,
    weight: u64,
}

/// Whether samples can have this name.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(is_of_name)
}

impl SamplePlace {
    /// The places of a turn.
    const PLACES: u64 = MAX_SAMPLES as u64;

    /// The place of this sample of this turn: turns are counted from 1, and the samples of a turn from 0.
    #[must_use]
    pub fn of(turn: u64, index: usize) -> SamplePlace {
        let index = (index as u64).min(Self::PLACES - 1);
        SamplePlace(turn.saturating_mul(Self::PLACES).saturating_add(index))
    }

    /// The place that no sample of this turn comes behind.
    #[must_use]
    pub fn end_of(turn: u64) -> SamplePlace {
        SamplePlace::of(turn, MAX_SAMPLES)
    }

    /// The last turn that has no sample behind this place.
    #[must_use]
    pub fn last_read_turn(self) -> u64 {
        let turn = self.0 / Self::PLACES;
        if self.0 % Self::PLACES == Self::PLACES - 1 { turn } else { turn.saturating_sub(1) }
    }
}

impl Samples {
    /// Note a number.
    ///
    /// # Errors
    /// [`SampleError`]: all is as it was.
    pub fn add(&mut self, name: String, value: f64, at: Timestamp) -> Result<(), SampleError> {
        if !is_name(&name) {
            return Err(SampleError::Invalid(NAME_RULE));
        }
        if !value.is_finite() {
            return Err(SampleError::Invalid("the value of a sample is finite"));
        }
        if self.all.len() >= MAX_SAMPLES {
            return Err(SampleError::TooManySamples);
        }
        let is_known = self.names.contains(&name);
        if self.names.len() >= MAX_NAMES && !is_known {
            return Err(SampleError::TooManyNames);
        }
        // A name may be kept twice: with the sample, and among the names.
        self.weight += (size_of::<Sample>() + 2 * name.len()) as u64;
        if !is_known {
            self.names.insert(name.clone());
        }
        self.all.push(Sample { name, value, at });
        Ok(())
    }

    /// The memory that they take, in bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight
    }

    /// All of them, in order.
    #[must_use]
    pub fn into_all(self) -> Vec<Sample> {
        self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1);

    #[test]
    fn a_name_is_a_short_word_and_a_value_is_finite() {
        let mut samples = Samples::default();
        let long = "n".repeat(MAX_NAME);
        for name in ["a", "Tokens_per.second-2", &long] {
            assert_eq!(samples.add(name.to_owned(), -0.5, NOW), Ok(()), "{name}");
        }
        for name in ["", "a b", "ä", "a{b=\"c\"}", "a\n", &"n".repeat(MAX_NAME + 1)] {
            let refused = samples.add(name.to_owned(), 1.0, NOW);
            assert!(matches!(refused, Err(SampleError::Invalid(_))), "{name}");
        }
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let refused = samples.add("a".to_owned(), value, NOW);
            assert!(matches!(refused, Err(SampleError::Invalid(_))), "{value}");
        }
        assert_eq!(samples.into_all().len(), 3);
    }

    #[test]
    fn a_turn_has_so_many_samples_under_so_many_names() {
        let mut samples = Samples::default();
        for name in 0..MAX_NAMES {
            assert_eq!(samples.add(name.to_string(), 0.0, NOW), Ok(()));
        }
        assert_eq!(samples.add("more".to_owned(), 0.0, NOW), Err(SampleError::TooManyNames));
        for _ in MAX_NAMES..MAX_SAMPLES {
            assert_eq!(samples.add("0".to_owned(), 0.0, NOW), Ok(()));
        }
        assert_eq!(samples.add("0".to_owned(), 0.0, NOW), Err(SampleError::TooManySamples));
        assert_eq!(samples.into_all().len(), MAX_SAMPLES);
    }

    #[test]
    fn a_place_says_which_turns_are_read() {
        let last = MAX_SAMPLES - 1;
        for (place, read) in [
            (SamplePlace::default(), 0),
            (SamplePlace::of(1, 0), 0),
            (SamplePlace::of(7, last - 1), 6),
            (SamplePlace::of(7, last), 7),
            (SamplePlace::end_of(7), 7),
        ] {
            assert_eq!(place.last_read_turn(), read, "{place:?}");
        }
        assert!(SamplePlace::end_of(7) < SamplePlace::of(8, 0));
    }
}
