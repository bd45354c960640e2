//! How numbers, sizes, durations and money are written in the configuration.

use std::time::Duration;

/// Units of sizes, the longer names first.
const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Units of durations in milliseconds, the longer names first.
const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A count: digits, with underscores for the eye.
pub(super) fn count<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let problem = || "must be an integer, 0 or more".to_owned();
    let number = digits(text).ok_or_else(problem)?;
    N::try_from(number).map_err(|_| "is too large".to_owned())
}

/// A count of at least one.
pub(super) fn positive<N: TryFrom<u64> + PartialEq + Default>(text: &str) -> Result<N, String> {
    let number: N = count(text)?;
    if number == N::default() { Err("must be at least 1".to_owned()) } else { Ok(number) }
}

/// A number of bytes, such as `512MiB`, `2GB` or `65536`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let problem = || "must be a size such as 512MiB or 2GiB".to_owned();
    let (number, unit) = match SIZES.iter().find_map(|(name, unit)| split(text, name, *unit)) {
        Some(found) => found,
        None => (text, 1),
    };
    digits(number).and_then(|number| number.checked_mul(unit)).ok_or_else(problem)
}

/// A number of bytes that fits the memory of this machine's processes.
pub(super) fn length(text: &str) -> Result<usize, String> {
    usize::try_from(size(text)?).map_err(|_| "is too large".to_owned())
}

/// A duration, such as `500ms`, `30s` or `5m`. The unit is needed.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let problem = || "must be a duration with its unit, such as 500ms, 30s or 5m".to_owned();
    let found = DURATIONS.iter().find_map(|(name, unit)| {
        let (number, unit) = split(text, name, *unit)?;
        digits(number)?.checked_mul(unit)
    });
    found.map(Duration::from_millis).ok_or_else(problem)
}

/// A duration that is not zero.
pub(super) fn positive_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.is_zero() { Err("must be more than 0".to_owned()) } else { Ok(duration) }
}

/// The size in its largest whole unit.
pub(super) fn show_size(bytes: u64) -> String {
    let binary = SIZES[..4].iter().rev();
    let fitting = binary.copied().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match fitting {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

/// The duration in its largest whole unit.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let units = DURATIONS.iter().rev().copied();
    let fitting =
        units.into_iter().find(|(_, unit)| millis >= *unit && millis.is_multiple_of(*unit));
    match fitting {
        Some((name, unit)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

fn split<'a>(text: &'a str, name: &str, unit: u64) -> Option<(&'a str, u64)> {
    text.strip_suffix(name).map(|number| (number.trim_end(), unit))
}

fn digits(text: &str) -> Option<u64> {
    let good = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || c == '_');
    good.then(|| text.replace('_', "").parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_a_thousand_or_of_1024() {
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("2 GiB"), Ok(2 << 30));
        assert_eq!(size("2GB"), Ok(2_000_000_000));
        assert_eq!(size("10B"), Ok(10));
        for text in ["", "MiB", "-1MiB", "1.5GiB", "12XB", "99999999999TiB", "_1"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for text in ["30", "s", "-1s", "1.5s", "1w", ""] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(positive_duration("0s").is_err());
    }

    #[test]
    fn what_is_shown_reads_back() {
        for text in ["3", "64MiB", "2GiB", "1KiB"] {
            assert_eq!(show_size(size(text).unwrap()), text);
        }
        for text in ["1ms", "1500ms", "30s", "2m", "7d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
        assert_eq!((show_size(0), show_duration(Duration::ZERO)), ("0".into(), "0ms".into()));
    }

    #[test]
    fn counts_may_have_underscores() {
        assert_eq!(count("10_000_000_000"), Ok(10_000_000_000_u64));
        assert!(count::<u32>("10_000_000_000").is_err());
        assert!(positive::<u32>("0").is_err());
    }
}
