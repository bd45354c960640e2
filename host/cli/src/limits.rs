//! The limits of sessions that ask for none, as the configuration has them: for all sessions, and for those of a
//! pattern, a project or a user.
//!
//! In the file they are tables, `[limits.user.alice]`; on the command line, in a variable and in `dormouse
//! config` a list, `user.alice.max-turns=10,pattern.hybrid.max-idle-time=30m`. The file is read as such a list.

use dormouse::{Change, LimitOverrides, LimitsPatch, NanoUsd};

use super::value;

/// What a limit is where there is none, and for how long a state is kept then.
const NONE: &str = "none";
const ALWAYS: &str = "always";

/// A limit that can be set: how it is read, and how it is shown.
struct LimitSetting {
    name: &'static str,
    set: fn(&mut LimitsPatch, &str) -> Result<(), String>,
    show: fn(&LimitsPatch) -> Option<String>,
}

/// A limit that a session may lack, and one that each session has.
macro_rules! limit {
    ($name:literal, $none:ident or $field:ident, $read:expr, $show:expr) => {
        LimitSetting {
            name: $name,
            set: |limits, text| {
                limits.$field = match text {
                    $none => Change::Clear,
                    text => Change::Set($read(text)?),
                };
                Ok(())
            },
            show: |limits| match limits.$field {
                Change::Keep => None,
                Change::Clear => Some($none.to_owned()),
                Change::Set(value) => Some($show(value)),
            },
        }
    };
    ($name:literal, needed $field:ident, $read:expr, $show:expr) => {
        LimitSetting {
            name: $name,
            set: |limits, text| {
                limits.$field = Change::Set($read(text)?);
                Ok(())
            },
            show: |limits| match limits.$field {
                Change::Keep | Change::Clear => None,
                Change::Set(value) => Some($show(value)),
            },
        }
    };
}

/// All of them, by the names that they have in the API.
static LIMITS: [LimitSetting; 10] = [
    limit!("max-turns", NONE or max_turns, count, show),
    limit!("max-budget-usd", NONE or max_budget, money, |money: NanoUsd| show(money.as_usd())),
    limit!("max-fuel", NONE or max_fuel, count, show),
    limit!("max-fuel-per-turn", needed max_fuel_per_turn, count, show),
    limit!("turn-timeout", needed turn_timeout, value::positive_duration, value::show_duration),
    limit!("max-idle-time", NONE or max_idle, value::positive_duration, value::show_duration),
    limit!("grace-period", NONE or idle_grace, value::duration, value::show_duration),
    limit!("max-lifetime", NONE or max_lifetime, value::positive_duration, value::show_duration),
    limit!("sleep-after", NONE or sleep_after, value::duration, value::show_duration),
    limit!("keep-state", ALWAYS or state_kept, value::positive_duration, value::show_duration),
];

/// Read a list of limits, each `WHOSE.LIMIT=VALUE`.
///
/// # Errors
/// What the entry must be that is none.
pub(super) fn read(text: &str) -> Result<LimitOverrides, String> {
    let mut overrides = LimitOverrides::default();
    if text == NONE {
        return Ok(overrides);
    }
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        set(&mut overrides, entry)
            .map_err(|problem| format!("has the entry '{entry}': {problem}"))?;
    }
    Ok(overrides)
}

fn set(overrides: &mut LimitOverrides, entry: &str) -> Result<(), String> {
    let (path, value) = entry.split_once('=').ok_or("it must be WHOSE.LIMIT=VALUE")?;
    let (whose, limit) = path.trim().rsplit_once('.').ok_or("it must be WHOSE.LIMIT=VALUE")?;
    let known = LIMITS.iter().find(|known| known.name == limit);
    let known = known.ok_or_else(|| format!("there is no limit {limit}; there are {}", names()))?;
    let limits = match whose.split_once('.') {
        None if whose == "all" => &mut overrides.all,
        Some(("pattern", name)) => {
            let pattern = name.parse().map_err(|_| format!("there is no pattern {name}"))?;
            overrides.patterns.entry(pattern).or_default()
        }
        Some(("project", name)) if !name.is_empty() => {
            overrides.projects.entry(name.to_owned()).or_default()
        }
        Some(("user", name)) if !name.is_empty() => {
            overrides.users.entry(name.to_owned()).or_default()
        }
        None | Some(_) => {
            return Err(
                "it must begin with all, pattern.NAME, project.NAME or user.NAME".to_owned()
            );
        }
    };
    (known.set)(limits, value.trim())
}

/// The list that is read as these.
pub(super) fn show_all(overrides: &LimitOverrides) -> String {
    let LimitOverrides { all, patterns, projects, users } = overrides;
    let patterns = patterns.iter().map(|(pattern, it)| (format!("pattern.{pattern}"), it));
    let projects = projects.iter().map(|(project, it)| (format!("project.{project}"), it));
    let users = users.iter().map(|(user, it)| (format!("user.{user}"), it));
    let whose =
        std::iter::once(("all".to_owned(), all)).chain(patterns).chain(projects).chain(users);
    let entries: Vec<String> = whose.flat_map(|(whose, limits)| entries(&whose, limits)).collect();
    if entries.is_empty() { NONE.to_owned() } else { entries.join(",") }
}

fn entries(whose: &str, limits: &LimitsPatch) -> Vec<String> {
    let entry = |known: &LimitSetting| {
        let value = (known.show)(limits)?;
        Some(format!("{whose}.{}={value}", known.name))
    };
    LIMITS.iter().filter_map(entry).collect()
}

fn names() -> String {
    LIMITS.each_ref().map(|limit| limit.name).join(", ")
}

fn count(text: &str) -> Result<u64, String> {
    value::positive(text)
}

fn money(text: &str) -> Result<NanoUsd, String> {
    let amount = text.parse().ok().and_then(NanoUsd::from_usd).filter(|money| money.0 > 0);
    amount.ok_or_else(|| "must be an amount of US dollars, more than 0".to_owned())
}

fn show(value: impl ToString) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use dormouse::Pattern;

    const LIST: &str = "all.max-lifetime=30d,pattern.ephemeral.max-idle-time=5m,\
                        pattern.hybrid.keep-state=always,project.x.max-budget-usd=1.5,\
                        user.john@example.com.max-turns=10,user.john@example.com.turn-timeout=9s";

    #[test]
    fn limits_are_read_by_whose_they_are_and_shown_as_they_are_read() {
        let limits = read(LIST).expect("it reads");
        assert_eq!(show_all(&limits), LIST);
        let minutes = Duration::from_secs(300);
        assert_eq!(limits.patterns[&Pattern::Ephemeral].max_idle, Change::Set(minutes));
        assert_eq!(limits.patterns[&Pattern::Hybrid].state_kept, Change::Clear);
        assert_eq!(limits.projects["x"].max_budget, Change::Set(NanoUsd(1_500_000_000)));
        assert_eq!(limits.users["john@example.com"].max_turns, Change::Set(10));
        assert_eq!(read(""), Ok(LimitOverrides::default()));
        assert_eq!(read(&show_all(&LimitOverrides::default())), Ok(LimitOverrides::default()));
    }

    #[test]
    fn every_limit_can_be_set_and_what_is_none_is_refused_by_what_it_must_be() {
        for limit in &LIMITS {
            let value = match limit.name {
                "max-budget-usd" | "max-fuel" | "max-fuel-per-turn" | "max-turns" => "3",
                _ => "3m",
            };
            let list = format!("user.ann.{}={value}", limit.name);
            assert_eq!(read(&list).map(|limits| show_all(&limits)), Ok(list));
        }
        for (text, why) in [
            ("user.ann.max-turns", "must be WHOSE.LIMIT=VALUE"),
            ("max-turns=3", "must be WHOSE.LIMIT=VALUE"),
            ("user.max-turns=3", "must begin with all, pattern.NAME, project.NAME or user.NAME"),
            ("ann.x.max-turns=3", "must begin with all, pattern.NAME, project.NAME or user.NAME"),
            ("pattern.weekly.max-turns=3", "there is no pattern weekly"),
            ("all.max-turnz=3", "there is no limit max-turnz; there are max-turns, max-budget-usd"),
            ("all.max-turns=0", "must be at least 1"),
            ("all.max-budget-usd=0", "more than 0"),
            ("all.max-fuel-per-turn=none", "must be an integer"),
            ("all.keep-state=none", "must be a duration"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.starts_with(&format!("has the entry '{text}'")), "{error}");
            assert!(error.contains(why), "{error}");
        }
    }
}
