//! The names of things: newtypes over UUIDs and strings, so that none is taken for another.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::time::Timestamp;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::from_str(text).map($name)
            }
        }
    };
}

uuid_id! {
    /// A session, by a UUIDv7: ordered by creation.
    SessionId
}

uuid_id! {
    /// A snapshot: the guest state after one turn.
    SnapshotId
}

impl SnapshotId {
    /// When it was made, where its name tells.
    pub fn made_at(self) -> Option<Timestamp> {
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        let seconds = i64::try_from(seconds).ok()?;
        Some(Timestamp(seconds.checked_mul(1000)?.checked_add(i64::from(nanos) / 1_000_000)?))
    }
}

uuid_id! {
    /// A turn, unique among all turns of all sessions.
    TurnId
}

/// A caller of the host: it owns what it creates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(pub String);

impl Principal {
    /// The caller where no keys are configured.
    #[must_use]
    pub fn local() -> Principal {
        Principal("local".to_owned())
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
