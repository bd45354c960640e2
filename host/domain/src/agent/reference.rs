//! Names and versions of agents, and the text that selects one.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::Digest;
use crate::id::Principal;

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

impl InvalidName {
    fn new(what: &'static str, text: &str) -> InvalidName {
        InvalidName { what, text: text.chars().take(64).collect() }
    }
}

fn checked(what: &'static str, text: &str) -> Result<String, InvalidName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let good = (1..=64).contains(&text.len())
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good { Ok(text.to_owned()) } else { Err(InvalidName::new(what, text)) }
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
    /// A version of an agent: 1 to 64 characters of `a-z A-Z 0-9 . _ -`. A name alone means the latest:
    /// see [`Version::precedence`].
    Version, "the version of an agent"
}

impl Version {
    /// Which of two versions is the later one. Runs of digits compare as numbers and everything else as
    /// characters, from the left: `1.9` comes before `1.10`, and `1.10` before `1.10-b`. Versions that
    /// differ in leading zeros alone are equal here, and then the later upload counts.
    #[must_use]
    pub fn precedence(&self, other: &Version) -> Ordering {
        pieces(&self.0).cmp(pieces(&other.0))
    }
}

/// A version, piece by piece. A number is in the place among the characters that digits have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Piece<'a> {
    /// A character that sorts before all digits.
    Before(char),
    /// The length and the digits of a number, without zeros before it.
    Number(usize, &'a str),
    /// A character that sorts after all digits.
    After(char),
}

fn pieces(version: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = version;
    std::iter::from_fn(move || {
        let first = rest.chars().next()?;
        if !first.is_ascii_digit() {
            rest = &rest[first.len_utf8()..];
            return Some(if first < '0' { Piece::Before(first) } else { Piece::After(first) });
        }
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        rest = after;
        let digits = digits.trim_start_matches('0');
        Some(Piece::Number(digits.len(), digits))
    })
}

/// How a caller says which agent is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentSelector {
    /// `name`, `name@version`, `owner/name` or `owner/name@version`.
    Name {
        /// Whose agent it is. `None`: that of the host of this name, else the caller's own.
        owner: Option<Principal>,
        /// Its name.
        name: AgentName,
        /// Its version. `None`: the latest, see [`Version::precedence`].
        version: Option<Version>,
    },
    /// 64 hexadecimal digits: any agent with this component that the caller could name.
    Digest(Digest),
}

/// The most bytes of the name of an owner.
const MAX_OWNER: usize = 256;

impl FromStr for AgentSelector {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<AgentSelector, InvalidName> {
        if let Ok(digest) = text.parse() {
            return Ok(AgentSelector::Digest(digest));
        }
        // Names and versions have no slash, whatever owners have.
        let (owner, rest) = match text.rsplit_once('/') {
            Some((owner, rest)) if (1..=MAX_OWNER).contains(&owner.len()) => {
                (Some(Principal(owner.to_owned())), rest)
            }
            Some(_) => return Err(InvalidName::new("the owner and the name of an agent", text)),
            None => (None, text),
        };
        let (name, version) = match rest.split_once('@') {
            Some((name, version)) => (name, Some(version.parse()?)),
            None => (rest, None),
        };
        Ok(AgentSelector::Name { owner, name: name.parse()?, version })
    }
}

impl fmt::Display for AgentSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (owner, name, version) = match self {
            AgentSelector::Digest(digest) => return write!(f, "{digest}"),
            AgentSelector::Name { owner, name, version } => (owner, name, version),
        };
        if let Some(owner) = owner {
            write!(f, "{owner}/")?;
        }
        write!(f, "{name}")?;
        version.as_ref().map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_name_with_or_without_an_owner_and_a_version_or_a_digest() {
        let digest = Digest::of(b"agent").to_string();
        let texts =
            ["counter", "counter@0.1.0", "ann/counter", "a/b@c/mine@1", "ann/mine@1.0", &digest];
        for text in texts {
            assert_eq!(text.parse::<AgentSelector>().expect("it parses").to_string(), text);
        }
        let AgentSelector::Name { owner, name, version } = texts[3].parse().expect("it parses")
        else {
            panic!("it is a name");
        };
        assert_eq!(owner, Some(Principal("a/b@c".to_owned())));
        assert_eq!((name.as_str(), version.as_ref().map(Version::as_str)), ("mine", Some("1")));
    }

    #[test]
    fn names_with_anything_else_in_them_are_refused() {
        let long = ["x".repeat(65), format!("{}/a", "x".repeat(257))];
        let texts = ["", "/a", "a/", "a/b/", "../.up", "a@", "@1", "a/@1", ".hidden", "a b", "ä"];
        for text in texts.into_iter().chain(long.iter().map(String::as_str)) {
            assert!(text.parse::<AgentSelector>().is_err(), "{text}");
        }
    }

    #[test]
    fn runs_of_digits_in_versions_compare_as_numbers() {
        let version = |text: &str| text.parse::<Version>().expect("it is a version");
        let rising = [
            "0",
            "0.9",
            "1",
            "1-rc",
            "1.0",
            "1.1",
            "1.9",
            "1.10",
            "1.10-b",
            "1.10.1",
            "1a",
            "2",
            "10",
            "99999999999999999999",
            "100000000000000000000",
            "a",
            "a1",
            "a9",
            "a10",
            "b",
        ];
        for (at, one) in rising.iter().enumerate() {
            for (place, other) in rising.iter().enumerate() {
                let found = version(one).precedence(&version(other));
                assert_eq!(found, at.cmp(&place), "{one} and {other}");
            }
        }
        assert_eq!(version("1.01").precedence(&version("1.1")), Ordering::Equal);
        assert_eq!(version("0").precedence(&version("000")), Ordering::Equal);
    }
}
