//! Portable state: what an agent keeps when its own code is replaced.
//!
//! The state is the agent itself, as serde sees it, in CBOR. Unlike JSON, CBOR has maps with keys
//! of any type and every floating-point number. As in most self-describing formats, `Some(None)`
//! and `Some(())` come back as `None`, and what serde skips is gone. Fields may be added under
//! `#[serde(default)]` without a new version, because fields are kept by name.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use crate::Agent;

/// A saved state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The [`Agent::STATE_VERSION`] of the agent that saved it.
    pub version: u32,
    /// The state, encoded.
    pub data: Vec<u8>,
}

impl Saved {
    /// Decodes the state as the type that was saved.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] when the bytes are not of the shape of `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        ciborium::from_reader(self.data.as_slice()).map_err(|error| match error {
            ciborium::de::Error::Io(_) => Error::Invalid("the state ends too early".to_owned()),
            ciborium::de::Error::Syntax(offset) => {
                Error::Invalid(format!("the state is not CBOR at byte {offset}"))
            }
            ciborium::de::Error::Semantic(_, reason) => Error::Invalid(reason),
            ciborium::de::Error::RecursionLimitExceeded => {
                Error::Invalid("the state is nested too deeply".to_owned())
            }
        })
    }
}

/// Why a state could not be saved or restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// This agent does not read that version.
    UnsupportedVersion(u32),
    /// The bytes do not decode, or the state does not encode. The text says where.
    Invalid(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnsupportedVersion(version) => {
                write!(f, "a state of version {version} cannot be read by this agent")
            }
            Error::Invalid(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for Error {}

/// Encodes the state of an agent, as the host has it done after each turn.
///
/// # Errors
///
/// [`Error::Invalid`] when the type refuses to be serialized.
pub fn save<A: Agent + Serialize>(agent: &A) -> Result<Saved, Error> {
    let mut data = Vec::new();
    ciborium::into_writer(agent, &mut data).map_err(|error| match error {
        // Writing into memory does not fail.
        ciborium::ser::Error::Io(error) => Error::Invalid(error.to_string()),
        ciborium::ser::Error::Value(reason) => Error::Invalid(reason),
    })?;
    Ok(Saved { version: A::STATE_VERSION, data })
}

/// Makes an agent of a saved state, as the host has it done before the first turn of a new instance.
///
/// # Errors
///
/// [`Error::Invalid`] when the bytes do not decode, or whatever [`Agent::migrate`] says to a state
/// of another version.
pub fn restore<A: Agent + DeserializeOwned>(saved: &Saved) -> Result<A, Error> {
    if saved.version == A::STATE_VERSION { saved.decode() } else { A::migrate(saved) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{restore, save};
    use crate::{prelude::*, state};

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Archive {
        by_place: BTreeMap<(i32, i32), Option<f64>>,
        document: Value,
    }

    impl Agent for Archive {
        const STATE_VERSION: u32 = 2;

        fn handle(&mut self, _turn: &Turn, _host: &Host) -> Result<Reply> {
            Err(Error::declined())
        }
    }

    #[test]
    fn what_json_cannot_hold_comes_back() {
        let archive = Archive {
            by_place: BTreeMap::from([((1, -2), Some(f64::INFINITY)), ((0, 0), None)]),
            document: json!({"a": [1, 2.5, null]}),
        };
        let saved = save(&archive).unwrap();
        assert_eq!(saved.version, 2);
        assert_eq!(restore(&saved), Ok(archive));
    }

    #[test]
    fn an_unknown_version_is_told_from_bad_bytes() {
        let mut saved = save(&Archive::default()).unwrap();
        saved.data.pop();
        let error = restore::<Archive>(&saved).unwrap_err();
        assert!(matches!(error, state::Error::Invalid(_)), "{error}");

        saved.version = 1;
        let error = restore::<Archive>(&saved).unwrap_err();
        assert_eq!(error, state::Error::UnsupportedVersion(1));
    }
}
