//! Names and versions of agents, and the text that selects one.

use std::fmt;
use std::str::FromStr;

use super::Digest;

/// The text is no name, version or reference of an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not {what}: use 1 to 64 characters of a-z, A-Z, 0-9, '.', '_' and '-', \
     the first a letter or a digit"
)]
pub struct InvalidName {
    /// What it should have been.
    pub what: &'static str,
    /// What it was, cut to a readable length.
    pub text: String,
}

fn checked(what: &'static str, text: &str) -> Result<String, InvalidName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = (1..=64).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        Ok(text.to_owned())
    } else {
        Err(InvalidName { what, text: text.chars().take(64).collect() })
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text of it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                checked($what, text).map($name)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The name of an agent: 1 to 64 characters of `a-z A-Z 0-9 . _ -`.
    AgentName, "the name of an agent"
}

name! {
    /// A version of an agent: 1 to 64 characters of `a-z A-Z 0-9 . _ -`. Versions are not ordered:
    /// a name alone means the version that was uploaded last.
    Version, "the version of an agent"
}

/// How a caller says which agent is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSelector {
    /// `name`: the version uploaded last.
    Latest(AgentName),
    /// `name@version`
    Exact(AgentName, Version),
    /// 64 hexadecimal digits.
    Digest(Digest),
}

impl AgentSelector {
    /// The agent of sessions that name none, unless the host is configured otherwise.
    #[must_use]
    pub(crate) fn bundled_default() -> AgentSelector {
        AgentSelector::Latest(AgentName(dormouse_agents::DEFAULT.name.to_owned()))
    }
}

impl FromStr for AgentSelector {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<AgentSelector, InvalidName> {
        if let Some((name, version)) = text.split_once('@') {
            return Ok(AgentSelector::Exact(name.parse()?, version.parse()?));
        }
        if let Ok(digest) = text.parse() {
            return Ok(AgentSelector::Digest(digest));
        }
        Ok(AgentSelector::Latest(text.parse()?))
    }
}

impl fmt::Display for AgentSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AgentSelector::Latest(name) => write!(f, "{name}"),
            AgentSelector::Exact(name, version) => write!(f, "{name}@{version}"),
            AgentSelector::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_a_name_with_a_version_or_a_digest() {
        let digest = Digest::of(b"agent").to_string();
        for text in ["counter", "counter@0.1.0", digest.as_str()] {
            assert_eq!(text.parse::<AgentSelector>().expect("it parses").to_string(), text);
        }
    }

    #[test]
    fn names_with_anything_else_in_them_are_refused() {
        for text in ["", "a/b", "../up", "a@", "@1", ".hidden", "a b", "ä", &"x".repeat(65)] {
            assert!(text.parse::<AgentSelector>().is_err(), "{text}");
        }
    }
}
