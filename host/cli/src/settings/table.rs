//! The table of all settings.

use super::entry::setting;
use super::form::{
    addresses, age, agent, budget, configuration, files, format, hosts, keys, length, level, model,
    money, origins, path, quota, rate, requests, show, show_age, show_bound, show_hosts, show_keys,
    show_model, show_money, show_origins, show_path, show_spending, size, snapshots, spending,
    time, workspace,
};
use super::{Setting, SettingGroup};
use crate::egress::secrets;
use crate::models::{prices, providers};
use crate::{egress, limits, mcp, value};

/// All of them, in the order of the help.
pub(crate) static SETTINGS: &[Setting] = &[
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
        "workspace-size",
        "SIZE",
        "Most bytes that the files of a session have together, at most 10GiB",
        host.workspaces.quotas.bytes,
        workspace,
        size
    ),
    setting!(
        Sessions,
        "workspace-files",
        "COUNT",
        "Most files, directories and links of a session",
        host.workspaces.quotas.names,
        files,
        show
    ),
    setting!(
        Sessions,
        "workspace-file-size",
        "SIZE",
        "Most bytes of one file of a session, at most 10GiB",
        host.workspaces.quotas.file_bytes,
        workspace,
        size
    ),
    setting!(
        Sessions,
        "workspace-history",
        "SIZE",
        "Most bytes on the disk for the history of the files of one session; then it begins anew",
        host.workspaces.history_bytes,
        value::size,
        size
    ),
    setting!(
        Sessions,
        "workspace-cache",
        "SIZE",
        "Memory for what was read of files, at most a sixteenth of memory-budget",
        host.workspaces.cache_bytes,
        value::size,
        size
    ),
    setting!(
        Sessions,
        "max-budget-usd-per-principal",
        "USD",
        "Most money that all sessions of one principal may spend together; 0: any amount",
        host.quotas.budget_per_principal,
        spending,
        show_spending
    ),
    setting!(
        Sessions,
        "max-budget-usd-per-user",
        "USD",
        "The same of the sessions with one userId of a principal; 0: any amount",
        host.quotas.budget_per_user,
        spending,
        show_spending
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
        Models,
        "providers",
        "NAME.SETTING=VALUE,…",
        "Providers of models: kind, url, key-env, key-file, models, max-calls and prices of each",
        models.providers,
        providers::read,
        providers::show_all
    ),
    setting!(
        Models,
        "prices",
        "MODEL.KIND=USD,…",
        "Prices of a million tokens in US dollars: input, output, cache-read, cache-write, cache-write-long",
        models.prices,
        prices::read,
        prices::show_all
    ),
    setting!(
        Models,
        "default-model",
        "MODEL",
        "Model of requests that name none; auto: the first whole name that a provider lists",
        models.default_model,
        model,
        show_model
    ),
    setting!(
        Web,
        "egress",
        "[METHOD,… ]HOST[:PORT],…",
        "What agents may reach over HTTP where their session allows it too, such as GET *.example.com",
        egress.policy,
        egress::policy,
        egress::show_list
    ),
    setting!(
        Web,
        "egress-private",
        "NETWORK,…",
        "Networks that they may reach although these are not public, such as 10.1.0.0/16",
        egress.private,
        egress::networks,
        egress::show_list
    ),
    setting!(
        Web,
        "secrets",
        "NAME.SETTING=VALUE,…",
        "Secrets that agents send by name, {{secret:NAME}}: key-env or key-file, and hosts of each",
        egress.secrets,
        secrets::read,
        secrets::show_all
    ),
    setting!(
        Web,
        "mcp",
        "NAME.SETTING=VALUE,…",
        "MCP servers that sessions may name: command or url, and more, of each",
        mcp.servers,
        mcp::read,
        mcp::show_all
    ),
    setting!(
        Web,
        "max-mcp-processes",
        "COUNT",
        "Most processes of MCP servers at a time",
        mcp.max_processes,
        value::positive,
        show
    ),
    setting!(
        Web,
        "mcp-idle-time",
        "TIME",
        "How long an MCP server that nobody asks is kept",
        mcp.idle,
        value::positive_duration,
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
        "max-world-instances",
        "COUNT",
        "Most instances that members of simulated worlds have in memory",
        host.max_world_instances,
        value::positive,
        show
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
