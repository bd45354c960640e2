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

uuid_id! {
    /// A schedule of sessions, by a UUIDv7: ordered by creation.
    ScheduleId
}

uuid_id! {
    /// A simulated world, by a UUIDv7: ordered by creation.
    SimulationId
}

uuid_id! {
    /// Something large that is kept of simulated worlds.
    WorldPartId
}

uuid_id! {
    /// An experiment: the runs of one simulated world with many parameters.
    ExperimentId
}

impl SessionId {
    /// When it was made, where its name tells: the session was created then.
    #[must_use]
    pub fn made_at(self) -> Option<Timestamp> {
        made_at(self.0)
    }

    /// The first id that can have been made at this time; ids of later times come after it. The last of all
    /// ids where no id can tell a time so late.
    #[must_use]
    pub fn first_of(time: Timestamp) -> SessionId {
        // The time has 48 bits, in milliseconds.
        match u64::try_from(time.0).unwrap_or(0) {
            millis if millis >> 48 == 0 => SessionId(Uuid::from_u64_pair(millis << 16, 0)),
            _ => SessionId(Uuid::max()),
        }
    }
}

impl SnapshotId {
    /// When it was made, where its name tells.
    #[must_use]
    pub fn made_at(self) -> Option<Timestamp> {
        made_at(self.0)
    }
}

/// The time in a UUIDv7.
fn made_at(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let seconds = i64::try_from(seconds).ok()?;
    Some(Timestamp(seconds.checked_mul(1000)?.checked_add(i64::from(nanos) / 1_000_000)?))
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
