//! How the values of settings are written: read from text, and shown as what reads back.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use crate::listen::{Addresses, InvalidAddresses};
use crate::value;
use dormouse::workspace::MAX_NAMES;
use dormouse::{HostOptions, NanoUsd};
use dormouse_base::telemetry::{LogFormat, check_level};
use dormouse_http::{ApiKey, InvalidOrigin, Origin};

/// What is kept as long as its number allows.
const ALWAYS: &str = "always";
/// A choice that is left to the host.
const AUTO: &str = "auto";

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

pub(super) fn addresses(text: &str) -> Result<Addresses, String> {
    text.parse().map_err(|error: InvalidAddresses| error.to_string())
}

pub(super) fn keys(text: &str) -> Result<Vec<ApiKey>, String> {
    list(text)
        .map(|key| {
            key.parse().map_err(|error: dormouse_http::InvalidKey| {
                format!("is not a list of keys: {error}")
            })
        })
        .collect()
}

pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let good = |host: &&str| !host.contains(['/', ' ', '*', '@']);
    let checked = |host: &str| Some(host).filter(good).map(str::to_owned);
    let problem = || "must be names with or without a port, such as example.org".to_owned();
    list(text).map(checked).collect::<Option<_>>().ok_or_else(problem)
}

pub(super) fn origins(text: &str) -> Result<Vec<Origin>, String> {
    let read = |origin: &str| origin.parse().map_err(|error: InvalidOrigin| error.to_string());
    list(text).map(read).collect()
}

pub(super) fn format(text: &str) -> Result<LogFormat, String> {
    text.parse().map_err(|error: dormouse_base::telemetry::UnknownFormat| error.to_string())
}

pub(super) fn level(text: &str) -> Result<String, String> {
    let problem = || "must be a level such as info or debug".to_owned();
    // Of a target without its level nothing would be logged.
    if text.split(',').any(|directive| directive.trim_end().ends_with('=')) {
        return Err(problem());
    }
    check_level(text).map_err(|_| problem())?;
    Ok(text.to_owned())
}

pub(super) fn agent(text: &str) -> Result<dormouse::AgentSelector, String> {
    text.parse().map_err(|_| {
        "must be the name of an agent, name@version, owner/name@version or a digest".to_owned()
    })
}

/// A name, or the choice of the host.
pub(super) fn model(text: &str) -> Result<Option<String>, String> {
    match text {
        AUTO => Ok(None),
        "" => Err(format!("must be the name of a model, or {AUTO}")),
        name => Ok(Some(name.to_owned())),
    }
}

pub(super) fn show_model(model: &Option<String>) -> String {
    model.as_deref().unwrap_or(AUTO).to_owned()
}

pub(super) fn money(text: &str) -> Result<NanoUsd, String> {
    let amount = text.parse().ok().and_then(NanoUsd::from_usd);
    amount.ok_or_else(|| "must be an amount of US dollars, 0 or more".to_owned())
}

/// So much money; 0 is any amount.
pub(super) fn spending(text: &str) -> Result<Option<NanoUsd>, String> {
    money(text).map(|amount| Some(amount).filter(|amount| amount.0 > 0))
}

pub(super) fn show_spending(amount: &Option<NanoUsd>) -> String {
    amount.map_or_else(|| "0".to_owned(), |amount| show_money(&amount))
}

/// What a semaphore can count.
pub(super) fn requests(text: &str) -> Result<usize, String> {
    let count = value::positive(text)?;
    if count > 1_000_000 { Err("must be at most 1000000".to_owned()) } else { Ok(count) }
}

/// A bound; 0 is none.
pub(super) fn quota(text: &str) -> Result<Option<NonZeroU64>, String> {
    value::count(text).map(NonZeroU64::new)
}

/// So often in a minute; 0 is as often as one likes.
pub(super) fn rate(text: &str) -> Result<Option<NonZeroU32>, String> {
    value::count(text).map(NonZeroU32::new)
}

pub(super) fn show_bound(bound: &Option<impl ToString>) -> String {
    bound.as_ref().map_or_else(|| "0".to_owned(), ToString::to_string)
}

pub(super) fn budget(text: &str) -> Result<u64, String> {
    let (bytes, least) = (value::size(text)?, HostOptions::MIN_MEMORY_BUDGET);
    let problem = || format!("must be at least {}", value::show_size(least));
    if bytes < least { Err(problem()) } else { Ok(bytes) }
}

pub(super) fn configuration(text: &str) -> Result<usize, String> {
    let bytes = value::length(text)?;
    if bytes > 1 << 20 { Err("must be at most 1MiB".to_owned()) } else { Ok(bytes) }
}

pub(super) fn snapshots(text: &str) -> Result<usize, String> {
    let count = value::positive(text)?;
    if count > 256 { Err("must be at most 256".to_owned()) } else { Ok(count) }
}

/// The size of a workspace, or of a file in one.
pub(super) fn workspace(text: &str) -> Result<u64, String> {
    let bytes = value::size(text)?;
    if bytes > 10 << 30 { Err("must be at most 10GiB".to_owned()) } else { Ok(bytes) }
}

/// How many files a workspace may have.
pub(super) fn files(text: &str) -> Result<u64, String> {
    let count = value::count(text)?;
    if count > MAX_NAMES { Err(format!("must be at most {MAX_NAMES}")) } else { Ok(count) }
}

pub(super) fn age(text: &str) -> Result<Option<Duration>, String> {
    if text == ALWAYS { Ok(None) } else { value::positive_duration(text).map(Some) }
}

pub(super) fn show_age(age: &Option<Duration>) -> String {
    age.map_or_else(|| ALWAYS.to_owned(), value::show_duration)
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

pub(super) fn show(value: &impl ToString) -> String {
    value.to_string()
}

pub(super) fn show_path(path: &std::path::Path) -> String {
    path.display().to_string()
}

pub(super) fn show_money(amount: &NanoUsd) -> String {
    amount.as_usd().to_string()
}

pub(super) fn show_hosts(hosts: &[String]) -> String {
    if hosts.is_empty() { "none".to_owned() } else { hosts.join(",") }
}

pub(super) fn show_origins(origins: &[Origin]) -> String {
    let names: Vec<String> = origins.iter().map(Origin::to_string).collect();
    show_hosts(&names)
}

/// The principals that have keys. Their hashes are not shown.
pub(super) fn show_keys(keys: &[ApiKey]) -> String {
    let names: Vec<String> = keys.iter().map(|key| key.principal().to_string()).collect();
    show_hosts(&names)
}

pub(super) fn size(bytes: &u64) -> String {
    value::show_size(*bytes)
}

pub(super) fn length(bytes: &usize) -> String {
    value::show_size(*bytes as u64)
}

pub(super) fn time(duration: &std::time::Duration) -> String {
    value::show_duration(*duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_memory_budget_is_enough_for_an_agent() {
        assert_eq!(budget("4MiB"), Ok(4 << 20));
        assert_eq!(budget("4095KiB"), Err("must be at least 4MiB".to_owned()));
    }

    #[test]
    fn a_level_is_one_or_names_its_target() {
        for text in ["info", "off", "info,dormouse_store=debug"] {
            assert_eq!(level(text).as_deref(), Ok(text));
        }
        for text in ["blah=", "info,dormouse=", "info,=", "dormouse=loud"] {
            assert!(level(text).is_err(), "{text}");
        }
    }

    #[test]
    fn keys_are_shown_without_their_hashes() {
        let mut config = crate::settings::Config::default();
        let hash = blake3::hash(b"secret").to_hex();
        assert_eq!(keys(&format!("ann:{hash}, ben:{hash}")).map(|keys| keys.len()), Ok(2));
        config.api.keys = keys(&format!("ann:{hash}")).expect("it parses");
        assert_eq!(show_keys(&config.api.keys), "ann");
        assert!(!format!("{config:?}").contains(hash.as_str()));
    }
}
