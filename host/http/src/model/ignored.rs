//! The names of fields that the host does not know and has ignored, for the answer.

use schemars::JsonSchema;
use serde::Serialize;

/// Unknown fields that an answer names at most, and the characters of each.
const MAX_IGNORED: usize = 32;
const MAX_NAME: usize = 64;

/// The names of unknown fields: the first of them, and of each the first characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(crate) struct Ignored(Vec<String>);

impl Ignored {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Add a name, where there is room for one more.
    pub(super) fn push(&mut self, name: &str) {
        if self.0.len() < MAX_IGNORED {
            self.0.push(name.chars().take(MAX_NAME).collect());
        }
    }

    #[cfg(test)]
    pub(super) fn names(&self) -> &[String] {
        &self.0
    }
}

/// An answer, and the fields of its request that were ignored.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "{T}Answer")]
pub(crate) struct Answered<T> {
    #[serde(flatten)]
    pub(crate) answer: T,
    /// Absent where all fields are known.
    #[serde(skip_serializing_if = "Ignored::is_empty")]
    pub(crate) ignored: Ignored,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_unknown_names_and_long_ones_a_part_is_told() {
        let mut ignored = Ignored::default();
        for n in 0..1000 {
            ignored.push(&format!("{n}{}", "x".repeat(999)));
        }
        assert_eq!(ignored.names().len(), MAX_IGNORED);
        assert!(ignored.names().iter().all(|name| name.len() == MAX_NAME));
    }
}
