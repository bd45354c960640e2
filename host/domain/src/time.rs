//! Points in time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The latest point in time: what never comes.
    pub const NEVER: Timestamp = Timestamp(i64::MAX);

    /// This point in time, later by `duration` (whole milliseconds; never wraps).
    #[must_use]
    pub fn after(self, duration: Duration) -> Timestamp {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(millis))
    }

    /// This point in time, earlier by `duration` (whole milliseconds; never wraps).
    #[must_use]
    pub fn before(self, duration: Duration) -> Timestamp {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The text is no point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no point in time of RFC 3339, such as 2026-01-31T09:30:00Z")]
pub struct InvalidTimestamp;

/// RFC 3339, of any offset. What is less than a millisecond is cut off.
impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Timestamp, InvalidTimestamp> {
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        Ok(Timestamp(time.as_millisecond()))
    }
}

/// RFC 3339, UTC, with milliseconds: `2026-01-31T09:30:00.000Z`. A time that no calendar has, because somebody asked for
/// a limit of millions of years, is told as the last that there is.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = jiff::Timestamp::MAX;
        let time = jiff::Timestamp::from_millisecond(self.0).unwrap_or(last);
        write!(f, "{time:.3}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_calendar_has_is_told_as_the_last_that_there_is() {
        let last = Timestamp::NEVER.to_string();
        assert_eq!(last, "9999-12-30T22:00:00.999Z");
        assert!(last.parse::<Timestamp>().is_ok());
    }

    #[test]
    fn a_time_is_read_back_from_its_text_and_from_that_of_other_offsets() {
        let time = Timestamp(1_893_456_000_123);
        assert_eq!(time.to_string().parse(), Ok(time));
        assert_eq!("2030-01-01T01:00:00.1239+01:00".parse(), Ok(time));
        for text in ["", "yesterday", "2030-01-01", "2030-01-01T00:00:00", "1893456000"] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTimestamp), "{text}");
        }
    }
}
