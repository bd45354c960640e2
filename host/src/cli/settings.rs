//! All settings of the program, each in one place: its name, what it is for, how it is read and
//! shown. Command line, environment, file, help and `dormouse config` all go by this table.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value;
use crate::api::{ApiKey, ApiOptions};
use crate::builder::HostOptions;
use crate::session::limits::NanoUsd;
use crate::telemetry::{LogFormat, check_level};

/// What is kept as long as its number allows.
const ALWAYS: &str = "always";

/// Everything that the program is told.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) data_dir: PathBuf,
    pub(super) listen: SocketAddr,
    pub(super) log: LogFormat,
    pub(super) log_level: String,
    pub(super) host: HostOptions,
    pub(super) api: ApiOptions,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: PathBuf::from("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 3333)),
            log: LogFormat::Human,
            log_level: "info".to_owned(),
            host: HostOptions::default(),
            api: ApiOptions::default(),
        }
    }
}

/// One setting. Its name is that of the option, of the key in the file, and, in capitals, of the
/// variable.
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// What stands for its value in the help.
    pub(super) value: &'static str,
    pub(super) doc: &'static str,
    /// Take a value. The error says what it must be.
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    /// The value that is in force, without secrets.
    pub(super) show: fn(&Config) -> String,
}

impl Setting {
    /// The variable of the environment: `DORMOUSE_DATA_DIR`.
    pub(super) fn variable(&self) -> String {
        format!("DORMOUSE_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

/// A setting whose value lies at one place: how it is read, and how it is shown.
macro_rules! setting {
    ($name:literal, $value:literal, $doc:literal, $($field:ident).+, $read:expr, $show:expr) => {
        Setting {
            name: $name,
            value: $value,
            doc: $doc,
            set: |config, text| {
                config.$($field).+ = $read(text)?;
                Ok(())
            },
            show: |config| $show(&config.$($field).+),
        }
    };
}

/// All of them, in the order of the help.
pub(super) static SETTINGS: &[Setting] = &[
    setting!("data-dir", "DIR", "Where everything is kept", data_dir, path, show_path),
    setting!(
        "listen",
        "ADDRESS",
        "Where to listen; beyond the loopback keys are needed",
        listen,
        address,
        show
    ),
    setting!(
        "api-keys",
        "NAME:HASH,…",
        "Who may call; `dormouse key` makes one",
        api.keys,
        keys,
        show_keys
    ),
    setting!(
        "allowed-hosts",
        "NAME,…",
        "Names that the server answers to besides the loopback",
        api.allowed_hosts,
        hosts,
        show_hosts
    ),
    setting!("log", "FORMAT", "How log lines are written: human or json", log, format, show),
    setting!(
        "log-level",
        "LEVEL",
        "What is logged: info, or info,dormouse::store=debug",
        log_level,
        level,
        show
    ),
    setting!(
        "default-agent",
        "AGENT",
        "The agent of sessions that name none",
        host.default_agent,
        agent,
        show
    ),
    setting!(
        "max-residents",
        "COUNT",
        "Instances in memory at most",
        host.max_residents,
        value::positive,
        show
    ),
    setting!(
        "memory-budget",
        "SIZE",
        "What guests, snapshots and messages may hold together",
        host.memory_budget,
        value::size,
        size
    ),
    setting!(
        "guest-threads",
        "COUNT",
        "Threads that run guests",
        host.guest_threads,
        value::positive,
        show
    ),
    setting!(
        "fuel-price-usd",
        "USD",
        "What 10⁹ units of fuel cost",
        host.fuel_price,
        money,
        show_money
    ),
    setting!(
        "max-fuel-per-turn",
        "COUNT",
        "Fuel of a turn, where the session asks for none",
        host.limits.max_fuel_per_turn,
        value::positive,
        show
    ),
    setting!(
        "max-memory-bytes",
        "SIZE",
        "Memory of an agent, and the most that a session may ask for",
        host.limits.max_memory_bytes,
        value::size,
        size
    ),
    setting!(
        "turn-timeout",
        "TIME",
        "How long a turn may take, where the session asks for none",
        host.limits.turn_timeout,
        value::positive_duration,
        time
    ),
    setting!(
        "hybrid-sleep-after",
        "TIME",
        "How long a hybrid session stays in memory after a turn",
        host.limits.hybrid_sleep_after,
        value::duration,
        time
    ),
    setting!(
        "stale-after",
        "TIME",
        "Snapshots that are older are not resumed from, but for those of threads",
        host.stale_after,
        value::duration,
        time
    ),
    setting!(
        "max-queued-messages",
        "COUNT",
        "Messages that wait for one session at most",
        host.max_queued_messages,
        value::positive,
        show
    ),
    setting!(
        "max-consecutive-failures",
        "COUNT",
        "Failed turns in a row that put a session into error",
        host.max_consecutive_failures,
        value::positive,
        show
    ),
    setting!(
        "stop-grace",
        "TIME",
        "How long the running turn of a stopped session may go on",
        host.stop_grace,
        value::duration,
        time
    ),
    setting!(
        "shutdown-grace",
        "TIME",
        "How long running turns may go on at the end",
        host.shutdown_grace,
        value::duration,
        time
    ),
    setting!(
        "min-free-disk",
        "SIZE",
        "Disk that must stay free for changes to be taken",
        host.min_free_disk,
        value::size,
        size
    ),
    setting!(
        "keep-snapshots",
        "COUNT",
        "Snapshots of a session that are kept, 1 to 256",
        host.retention.snapshots,
        snapshots,
        show
    ),
    setting!(
        "keep-snapshots-for",
        "TIME",
        "How long snapshots are kept that no session needs, or `always`",
        host.retention.snapshots_for,
        age,
        show_age
    ),
    setting!(
        "keep-turns",
        "COUNT",
        "Turns of a session that are kept, and some more",
        host.retention.turns,
        value::positive,
        show
    ),
    setting!(
        "keep-turns-for",
        "TIME",
        "How long turns are kept, or `always`",
        host.retention.turns_for,
        age,
        show_age
    ),
    setting!(
        "keep-events",
        "COUNT",
        "Events of all sessions that are kept, and some more",
        host.retention.events,
        value::positive,
        show
    ),
    setting!(
        "keep-events-for",
        "TIME",
        "How long events are kept, or `always`",
        host.retention.events_for,
        age,
        show_age
    ),
    setting!("max-body", "SIZE", "The largest JSON body", api.max_body, value::length, length),
    setting!(
        "max-component",
        "SIZE",
        "The largest component that may be uploaded",
        host.max_component_bytes,
        value::size,
        size
    ),
    setting!(
        "body-timeout",
        "TIME",
        "How long a client may take to send a body",
        api.body_timeout,
        value::positive_duration,
        time
    ),
    setting!(
        "max-requests",
        "COUNT",
        "Requests under way at a time",
        api.max_requests,
        requests,
        show
    ),
    setting!(
        "max-connections",
        "COUNT",
        "Connections at a time",
        api.max_connections,
        requests,
        show
    ),
];

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let spelt = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let parsed = spelt.as_deref().unwrap_or(text).parse();
    parsed.map_err(|_| "must be an address with a port, such as 127.0.0.1:3333".to_owned())
}

fn keys(text: &str) -> Result<Vec<ApiKey>, String> {
    list(text)
        .map(|key| {
            key.parse().map_err(|error: crate::api::InvalidKey| format!("is no key: {error}"))
        })
        .collect()
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    let good = |host: &&str| !host.contains(['/', ' ', '*', '@']);
    let checked = |host: &str| Some(host).filter(good).map(str::to_owned);
    let problem = || "must be names with or without a port, such as example.org".to_owned();
    list(text).map(checked).collect::<Option<_>>().ok_or_else(problem)
}

fn format(text: &str) -> Result<LogFormat, String> {
    text.parse().map_err(|error: crate::telemetry::UnknownFormat| error.to_string())
}

fn level(text: &str) -> Result<String, String> {
    check_level(text).map_err(|_| "must be a level such as info or debug".to_owned())?;
    Ok(text.to_owned())
}

fn agent(text: &str) -> Result<crate::agent::AgentSelector, String> {
    text.parse().map_err(|_| "must be the name of an agent, name@version or a digest".to_owned())
}

fn money(text: &str) -> Result<NanoUsd, String> {
    let amount = text.parse().ok().and_then(NanoUsd::from_usd);
    amount.ok_or_else(|| "must be an amount of US dollars, 0 or more".to_owned())
}

/// What a semaphore can count.
fn requests(text: &str) -> Result<usize, String> {
    let count = value::positive(text)?;
    if count > 1_000_000 { Err("may be 1000000 at most".to_owned()) } else { Ok(count) }
}

fn snapshots(text: &str) -> Result<usize, String> {
    let count = value::positive(text)?;
    if count > 256 { Err("may be 256 at most".to_owned()) } else { Ok(count) }
}

fn age(text: &str) -> Result<Option<Duration>, String> {
    if text == ALWAYS { Ok(None) } else { value::positive_duration(text).map(Some) }
}

fn show_age(age: &Option<Duration>) -> String {
    age.map_or_else(|| ALWAYS.to_owned(), value::show_duration)
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn show(value: &impl ToString) -> String {
    value.to_string()
}

fn show_path(path: &std::path::Path) -> String {
    path.display().to_string()
}

fn show_money(amount: &NanoUsd) -> String {
    amount.as_usd().to_string()
}

fn show_hosts(hosts: &[String]) -> String {
    if hosts.is_empty() { "none".to_owned() } else { hosts.join(",") }
}

/// Whose keys there are. The hashes are nobody's business.
fn show_keys(keys: &[ApiKey]) -> String {
    let names: Vec<String> = keys.iter().map(|key| key.principal().to_string()).collect();
    show_hosts(&names)
}

fn size(bytes: &u64) -> String {
    value::show_size(*bytes)
}

fn length(bytes: &usize) -> String {
    value::show_size(*bytes as u64)
}

fn time(duration: &std::time::Duration) -> String {
    value::show_duration(*duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_reads_back_as_what_it_is() {
        let mut config = Config::default();
        for setting in SETTINGS {
            let shown = (setting.show)(&config);
            if !matches!(setting.name, "api-keys" | "allowed-hosts") {
                (setting.set)(&mut config, &shown)
                    .unwrap_or_else(|e| panic!("{} {e}", setting.name));
            }
            assert_eq!((setting.show)(&config), shown, "{}", setting.name);
        }
    }

    #[test]
    fn names_are_distinct_and_of_one_form() {
        let mut names: Vec<_> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert!(names.iter().all(|n| n.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SETTINGS.len());
    }

    #[test]
    fn keys_are_shown_without_their_hashes() {
        let mut config = Config::default();
        let hash = blake3::hash(b"secret").to_hex();
        assert_eq!(keys(&format!("ann:{hash}, ben:{hash}")).map(|keys| keys.len()), Ok(2));
        config.api.keys = keys(&format!("ann:{hash}")).expect("it parses");
        assert_eq!(show_keys(&config.api.keys), "ann");
        assert!(!format!("{config:?}").contains(hash.as_str()));
    }
}
