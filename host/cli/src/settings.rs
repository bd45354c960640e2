//! All settings of the program, each in one place: its name, what it is for, how it is read and
//! shown. Command line, environment, file, help and `dormouse config` all go by this table.

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use super::limits;
use super::listen::{Addresses, InvalidAddresses};
use super::value;
use dormouse::{HostOptions, NanoUsd};
use dormouse_base::telemetry::{LogFormat, check_level};
use dormouse_http::{ApiKey, ApiOptions, InvalidOrigin, Origin};

/// What is kept as long as its number allows.
const ALWAYS: &str = "always";

/// Everything that the program is told.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) data_dir: PathBuf,
    pub(super) listen: Addresses,
    pub(super) log: LogFormat,
    pub(super) log_level: String,
    pub(super) host: HostOptions,
    pub(super) api: ApiOptions,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: PathBuf::from("data"),
            listen: Addresses::default(),
            log: LogFormat::Human,
            log_level: "info".to_owned(),
            host: HostOptions::default(),
            api: ApiOptions::default(),
        }
    }
}

/// What a setting is about: its heading in the help, and which commands it is an option of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettingGroup {
    Common,
    Server,
    Sessions,
    Machine,
    Storage,
}

impl SettingGroup {
    /// The heading in the help.
    pub(super) fn heading(self) -> &'static str {
        match self {
            SettingGroup::Common => "Options",
            SettingGroup::Server => "Server",
            SettingGroup::Sessions => "Sessions and turns",
            SettingGroup::Machine => "Memory and threads",
            SettingGroup::Storage => "Storage",
        }
    }

    /// Whether commands that look after the data directory go by it.
    pub(super) fn is_of_store(self) -> bool {
        matches!(self, SettingGroup::Common | SettingGroup::Storage)
    }
}

/// One setting. Its name is that of the option, of the key in the file, and, in capitals, of the
/// variable.
pub(super) struct Setting {
    pub(super) group: SettingGroup,
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
    ($group:ident, $name:literal, $value:literal, $doc:literal, $($field:ident).+, $read:expr, $show:expr) => {
        Setting {
            group: SettingGroup::$group,
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
    setting!(
        Common,
        "data-dir",
        "DIR",
        "The data directory: everything is kept in it",
        data_dir,
        path,
        show_path
    ),
    setting!(Common, "log", "FORMAT", "Format of log lines: human or json", log, format, show),
    setting!(
        Common,
        "log-level",
        "LEVEL",
        "What is logged: a level such as info, or info,dormouse_store=debug",
        log_level,
        level,
        show
    ),
    setting!(
        Server,
        "listen",
        "ADDRESS,…",
        "The addresses to listen on; beyond loopback this needs keys",
        listen,
        addresses,
        show
    ),
    setting!(
        Server,
        "api-keys",
        "NAME:HASH[:ROLE],…",
        "Keys that are accepted besides those of `dormouse keys`; `dormouse key` makes one",
        api.keys,
        keys,
        show_keys
    ),
    setting!(
        Server,
        "allowed-hosts",
        "NAME,…",
        "Host names that the server answers to, besides loopback",
        api.allowed_hosts,
        hosts,
        show_hosts
    ),
    setting!(
        Server,
        "allowed-origins",
        "ORIGIN,…",
        "Origins of web pages that may call the server, such as https://app.example.org",
        api.allowed_origins,
        origins,
        show_origins
    ),
    setting!(
        Server,
        "max-body",
        "SIZE",
        "Largest JSON body of a request",
        api.max_body,
        value::length,
        length
    ),
    setting!(
        Server,
        "body-timeout",
        "TIME",
        "How long a client may take to send a body",
        api.body_timeout,
        value::positive_duration,
        time
    ),
    setting!(
        Server,
        "keep-alive",
        "TIME",
        "How long a connection without a request stays open",
        api.keep_alive,
        value::positive_duration,
        time
    ),
    setting!(
        Server,
        "stall-timeout",
        "TIME",
        "How long a client may take to read 64 KiB of an answer",
        api.stall_timeout,
        value::positive_duration,
        time
    ),
    setting!(
        Server,
        "max-requests",
        "COUNT",
        "Most requests at a time",
        api.max_requests,
        requests,
        show
    ),
    setting!(
        Server,
        "max-requests-per-minute",
        "COUNT",
        "Most requests of one principal in a minute; 0: any number",
        api.max_requests_per_minute,
        rate,
        show_bound
    ),
    setting!(
        Server,
        "max-connections",
        "COUNT",
        "Most connections at a time, as far as the limit of open files allows",
        api.max_connections,
        requests,
        show
    ),
    setting!(
        Server,
        "max-component",
        "SIZE",
        "Largest component that may be uploaded",
        host.max_component_bytes,
        value::size,
        size
    ),
    setting!(
        Sessions,
        "default-agent",
        "AGENT",
        "Agent of sessions that name none",
        host.default_agent,
        agent,
        show
    ),
    setting!(
        Sessions,
        "turn-timeout",
        "TIME",
        "Time limit of one turn, where the session sets none",
        host.limits.turn_timeout,
        value::positive_duration,
        time
    ),
    setting!(
        Sessions,
        "max-fuel-per-turn",
        "COUNT",
        "Fuel of one turn, where the session sets no limit",
        host.limits.max_fuel_per_turn,
        value::positive,
        show
    ),
    setting!(
        Sessions,
        "max-memory-bytes",
        "SIZE",
        "Memory of an agent, and the most that a session may ask for",
        host.limits.max_memory_bytes,
        value::size,
        size
    ),
    setting!(
        Sessions,
        "max-config",
        "SIZE",
        "Largest `config` of a session, 1MiB at most: it is stored with each turn",
        host.limits.max_config_bytes,
        configuration,
        length
    ),
    setting!(
        Sessions,
        "limits",
        "WHOSE.LIMIT=VALUE,…",
        "Limits of sessions that set none: of all, pattern.NAME, project.NAME or user.NAME",
        host.limits.overrides,
        limits::read,
        limits::show_all
    ),
    setting!(
        Sessions,
        "fuel-price-usd",
        "USD",
        "Price of 10⁹ units of fuel, in US dollars",
        host.fuel_price,
        money,
        show_money
    ),
    setting!(
        Sessions,
        "hybrid-sleep-after",
        "TIME",
        "Put a hybrid session to sleep this long after its last turn",
        host.limits.hybrid_sleep_after,
        value::duration,
        time
    ),
    setting!(
        Sessions,
        "stale-after",
        "TIME",
        "Do not resume from snapshots older than this (threads excepted)",
        host.stale_after,
        value::duration,
        time
    ),
    setting!(
        Sessions,
        "max-queued-messages",
        "COUNT",
        "Most messages waiting for one session",
        host.max_queued_messages,
        value::positive,
        show
    ),
    setting!(
        Sessions,
        "max-sessions-per-principal",
        "COUNT",
        "Most sessions of one principal, asleep or not; 0: any number",
        host.quotas.sessions_per_principal,
        quota,
        show_bound
    ),
    setting!(
        Sessions,
        "max-sessions-per-user",
        "COUNT",
        "Most sessions with one userId of a principal; 0: any number",
        host.quotas.sessions_per_user,
        quota,
        show_bound
    ),
    setting!(
        Sessions,
        "max-messages-per-minute-per-user",
        "COUNT",
        "Most messages in a minute to sessions with one userId of a principal; 0: any number",
        host.quotas.messages_per_minute_per_user,
        rate,
        show_bound
    ),
    setting!(
        Sessions,
        "max-consecutive-failures",
        "COUNT",
        "Failed turns in a row that put a session into `error`",
        host.max_consecutive_failures,
        value::positive,
        show
    ),
    setting!(
        Sessions,
        "stop-grace",
        "TIME",
        "How long the running turn of a stopped session may go on",
        host.stop_grace,
        value::duration,
        time
    ),
    setting!(
        Sessions,
        "shutdown-grace",
        "TIME",
        "How long running turns may go on when the host shuts down",
        host.shutdown_grace,
        value::duration,
        time
    ),
    setting!(
        Machine,
        "max-residents",
        "COUNT",
        "Most instances in memory",
        host.max_residents,
        value::positive,
        show
    ),
    setting!(
        Machine,
        "max-residents-per-user",
        "COUNT",
        "Most instances in memory with one userId of a principal; 0: any number",
        host.max_residents_per_user,
        rate,
        show_bound
    ),
    setting!(
        Machine,
        "memory-budget",
        "SIZE",
        "Memory budget for guests, snapshots and messages",
        host.memory_budget,
        budget,
        size
    ),
    setting!(
        Machine,
        "guest-threads",
        "COUNT",
        "Threads that run guests",
        host.guest_threads,
        value::positive,
        show
    ),
    setting!(
        Storage,
        "min-free-disk",
        "SIZE",
        "Refuse changes when less disk space than this is free",
        host.min_free_disk,
        value::size,
        size
    ),
    setting!(
        Storage,
        "keep-states-for",
        "TIME",
        "How long to keep the state of a hybrid session that nobody uses, or `always`",
        host.limits.hybrid_state_kept,
        age,
        show_age
    ),
    setting!(
        Storage,
        "keep-snapshots",
        "COUNT",
        "Snapshots kept per session, 1 to 256",
        host.retention.snapshots,
        snapshots,
        show
    ),
    setting!(
        Storage,
        "keep-snapshots-for",
        "TIME",
        "How long to keep snapshots that no session needs, or `always`",
        host.retention.snapshots_for,
        age,
        show_age
    ),
    setting!(
        Storage,
        "keep-turns",
        "COUNT",
        "Turns kept per session (at least)",
        host.retention.turns,
        value::positive,
        show
    ),
    setting!(
        Storage,
        "keep-turns-for",
        "TIME",
        "How long to keep turns, or `always`",
        host.retention.turns_for,
        age,
        show_age
    ),
    setting!(
        Storage,
        "keep-events",
        "COUNT",
        "Events kept over all sessions (at least)",
        host.retention.events,
        value::positive,
        show
    ),
    setting!(
        Storage,
        "keep-events-for",
        "TIME",
        "How long to keep events, or `always`",
        host.retention.events_for,
        age,
        show_age
    ),
];

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(PathBuf::from(text)) }
}

fn addresses(text: &str) -> Result<Addresses, String> {
    text.parse().map_err(|error: InvalidAddresses| error.to_string())
}

fn keys(text: &str) -> Result<Vec<ApiKey>, String> {
    list(text)
        .map(|key| {
            key.parse().map_err(|error: dormouse_http::InvalidKey| {
                format!("is not a list of keys: {error}")
            })
        })
        .collect()
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    let good = |host: &&str| !host.contains(['/', ' ', '*', '@']);
    let checked = |host: &str| Some(host).filter(good).map(str::to_owned);
    let problem = || "must be names with or without a port, such as example.org".to_owned();
    list(text).map(checked).collect::<Option<_>>().ok_or_else(problem)
}

fn origins(text: &str) -> Result<Vec<Origin>, String> {
    let read = |origin: &str| origin.parse().map_err(|error: InvalidOrigin| error.to_string());
    list(text).map(read).collect()
}

fn format(text: &str) -> Result<LogFormat, String> {
    text.parse().map_err(|error: dormouse_base::telemetry::UnknownFormat| error.to_string())
}

fn level(text: &str) -> Result<String, String> {
    let problem = || "must be a level such as info or debug".to_owned();
    // Of a target without its level nothing would be logged.
    if text.split(',').any(|directive| directive.trim_end().ends_with('=')) {
        return Err(problem());
    }
    check_level(text).map_err(|_| problem())?;
    Ok(text.to_owned())
}

fn agent(text: &str) -> Result<dormouse::AgentSelector, String> {
    text.parse().map_err(|_| {
        "must be the name of an agent, name@version, owner/name@version or a digest".to_owned()
    })
}

fn money(text: &str) -> Result<NanoUsd, String> {
    let amount = text.parse().ok().and_then(NanoUsd::from_usd);
    amount.ok_or_else(|| "must be an amount of US dollars, 0 or more".to_owned())
}

/// What a semaphore can count.
fn requests(text: &str) -> Result<usize, String> {
    let count = value::positive(text)?;
    if count > 1_000_000 { Err("must be at most 1000000".to_owned()) } else { Ok(count) }
}

/// A bound; 0 is none.
fn quota(text: &str) -> Result<Option<NonZeroU64>, String> {
    value::count(text).map(NonZeroU64::new)
}

/// So often in a minute; 0 is as often as one likes.
fn rate(text: &str) -> Result<Option<NonZeroU32>, String> {
    value::count(text).map(NonZeroU32::new)
}

fn show_bound(bound: &Option<impl ToString>) -> String {
    bound.as_ref().map_or_else(|| "0".to_owned(), ToString::to_string)
}

fn budget(text: &str) -> Result<u64, String> {
    let (bytes, least) = (value::size(text)?, HostOptions::MIN_MEMORY_BUDGET);
    let problem = || format!("must be at least {}", value::show_size(least));
    if bytes < least { Err(problem()) } else { Ok(bytes) }
}

fn configuration(text: &str) -> Result<usize, String> {
    let bytes = value::length(text)?;
    if bytes > 1 << 20 { Err("must be at most 1MiB".to_owned()) } else { Ok(bytes) }
}

fn snapshots(text: &str) -> Result<usize, String> {
    let count = value::positive(text)?;
    if count > 256 { Err("must be at most 256".to_owned()) } else { Ok(count) }
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

fn show_origins(origins: &[Origin]) -> String {
    let names: Vec<String> = origins.iter().map(Origin::to_string).collect();
    show_hosts(&names)
}

/// The principals that have keys. Their hashes are not shown.
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
            if !matches!(setting.name, "api-keys" | "allowed-hosts" | "allowed-origins") {
                (setting.set)(&mut config, &shown)
                    .unwrap_or_else(|e| panic!("{} {e}", setting.name));
            }
            assert_eq!((setting.show)(&config), shown, "{}", setting.name);
        }
    }

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
