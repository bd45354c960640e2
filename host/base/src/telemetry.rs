//! What the process tells of itself: log lines to standard error, and metrics for Prometheus.
//!
//! A program that embeds the host sees neither unless it asks: [`install_log`] and [`Metrics::install`]
//! are for the process as a whole, and may be called any number of times.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Human => "human",
            LogFormat::Json => "json",
        })
    }
}

/// The text names no format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be human or json")]
pub struct UnknownFormat;

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(text: &str) -> Result<LogFormat, UnknownFormat> {
        match text {
            "human" => Ok(LogFormat::Human),
            "json" => Ok(LogFormat::Json),
            _ => Err(UnknownFormat),
        }
    }
}

/// Check the text of a log level: `info`, or `info,dormouse_store=debug`.
///
/// # Errors
/// Where it is none.
pub fn check_level(level: &str) -> Result<(), ParseError> {
    EnvFilter::builder().parse(level).map(drop)
}

/// Write log lines to standard error from now on. Only the first call of a process has an effect.
///
/// # Errors
/// Where `level` is none, see [`check_level`].
pub fn install_log(format: LogFormat, level: &str) -> Result<(), ParseError> {
    // What others log is for those who ask for it by name. What h2 warns of is what clients send: any of
    // them could fill the log.
    let filter =
        EnvFilter::builder().parse(format!("sled=warn,h2=error,hyper=info,rmcp=warn,{level}"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error says that there is a subscriber: that of an earlier call, or of the program.
    let _ = match format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    Ok(())
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Bounds of the histograms of what takes microseconds when all is well.
const FAST: [f64; 12] =
    [5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 1.0, 10.0];
/// Bounds of the histograms of turns and compilations.
const SLOW: [f64; 12] = [1e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];
/// Bounds of the histogram of how late deadlines are enforced: a second is the promise.
const LATENESS: [f64; 10] = [1e-3, 1e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0];
/// Bounds of the histogram of idle times: from a second to 30 days.
const IDLE: [f64; 11] = [
    1.0,
    10.0,
    60.0,
    300.0,
    1_800.0,
    7_200.0,
    28_800.0,
    86_400.0,
    259_200.0,
    604_800.0,
    2_592_000.0,
];
/// Bounds of the histogram of group sizes.
const SIZES: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
/// Bounds of the histogram of the sizes of states: from 1 KiB to 256 MiB.
const BYTES: [f64; 10] = [
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262144.0,
    1048576.0,
    4194304.0,
    16777216.0,
    67108864.0,
    268435456.0,
];

/// A histogram. Without bounds its metric would have quantiles of this process, which nobody can sum up.
struct Histogram {
    name: &'static str,
    unit: Unit,
    /// What it tells.
    help: &'static str,
    bounds: &'static [f64],
}

const fn histogram(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    bounds: &'static [f64],
) -> Histogram {
    Histogram { name, unit, help, bounds }
}

/// All histograms.
const HISTOGRAMS: [Histogram; 13] = [
    histogram(
        "dormouse_http_request_seconds",
        Unit::Seconds,
        "From the head of a request to that of its answer, by route",
        &SLOW,
    ),
    histogram("dormouse_turn_seconds", Unit::Seconds, "How long turns took", &SLOW),
    histogram("dormouse_compile_seconds", Unit::Seconds, "How long compiling took", &SLOW),
    histogram("dormouse_wake_seconds", Unit::Seconds, "How long waking took", &FAST),
    histogram(
        "dormouse_wake_idle_seconds",
        Unit::Seconds,
        "How long sessions had been without activity when they were woken",
        &IDLE,
    ),
    histogram(
        "dormouse_deadline_late_seconds",
        Unit::Seconds,
        "How long after its time what was due for a session was done",
        &LATENESS,
    ),
    histogram("dormouse_instantiate_seconds", Unit::Seconds, "Making an instance", &FAST),
    histogram(
        "dormouse_replay_seconds",
        Unit::Seconds,
        "From taking up a turn that was cut off until its first call leaves",
        &FAST,
    ),
    histogram("dormouse_restore_seconds", Unit::Seconds, "Putting a saved state back", &FAST),
    histogram("dormouse_save_seconds", Unit::Seconds, "Saving a state", &FAST),
    histogram("dormouse_snapshot_bytes", Unit::Bytes, "Sizes of saved states", &BYTES),
    histogram("dormouse_store_commit_seconds", Unit::Seconds, "Making a group durable", &FAST),
    histogram("dormouse_store_group_size", Unit::Count, "Commits that share a sync", &SIZES),
];

impl Metrics {
    /// Collect metrics from now on. All calls of a process return the same. `None`: the program has
    /// installed another recorder.
    #[must_use]
    pub fn install() -> Option<Metrics> {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        static INSTALLING: Mutex<()> = Mutex::new(());
        let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(metrics) = INSTALLED.get() {
            return Some(metrics.clone());
        }
        let mut builder = PrometheusBuilder::new();
        for Histogram { name, bounds, .. } in HISTOGRAMS {
            let matcher = Matcher::Full(name.to_owned());
            builder = builder.set_buckets_for_metric(matcher, bounds).ok()?;
        }
        let metrics = Metrics(builder.install_recorder().ok()?);
        describe();
        Some(INSTALLED.get_or_init(|| metrics).clone())
    }

    /// All metrics, as Prometheus reads them.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Every few seconds, fold what was measured into the histograms, so that nothing piles up where nobody reads,
    /// and call `look`, which tells the metrics what is read and not counted. Never returns.
    pub async fn keep_up(&self, look: impl Fn()) {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            look();
            self.0.run_upkeep();
        }
    }
}

fn describe() {
    describe_counter!("dormouse_http_requests_total", "Requests, by method, route and status");
    for Histogram { name, unit, help, .. } in HISTOGRAMS {
        describe_histogram!(name, unit, help);
    }
    describe_counter!("dormouse_turns_total", "Turns that are over, by outcome");
    describe_counter!("dormouse_turns_restarted_total", "Turns run again once they had memory");
    describe_counter!(
        "dormouse_turns_resumed_total",
        "Turns that the end of a host has cut off, and that are over"
    );
    describe_counter!(
        "dormouse_replays_diverged_total",
        "Turns that were run again and asked for something else than before"
    );
    describe_counter!(
        "dormouse_budget_waits_total",
        "Turns that have waited for what others hold of a budget"
    );
    describe_counter!(
        "dormouse_model_calls_total",
        "Calls of models, each attempt counted, by provider and outcome"
    );
    describe_counter!("dormouse_model_retries_total", "Calls of models that were made again");
    describe_histogram!("dormouse_model_seconds", Unit::Seconds, "How long calls of models took");
    describe_counter!(
        "dormouse_tool_calls_total",
        "Calls of tools of the host, each attempt counted, by tool and outcome"
    );
    describe_histogram!("dormouse_tool_seconds", Unit::Seconds, "How long calls of tools took");
    describe_counter!("dormouse_model_tokens_total", "Tokens of models, by kind");
    describe_counter!(
        "dormouse_asks_total",
        "Questions of agents to those of other sessions, each attempt counted, by outcome"
    );
    describe_histogram!("dormouse_ask_seconds", Unit::Seconds, "How long these waited");
    describe_counter!(
        "dormouse_mails_total",
        "Mails that agents have sent to those of other sessions"
    );
    describe_counter!(
        "dormouse_spent_nano_usd_total",
        "What sessions and simulations are billed, in billionths of a dollar: for the fuel of turns, for calls of \
         models, and for starts of instances"
    );
    describe_counter!("dormouse_egress_requests_total", "HTTP requests of guests, by outcome");
    describe_counter!(
        "dormouse_mcp_requests_total",
        "Requests to MCP servers, by request (list, call) and outcome"
    );
    describe_counter!("dormouse_fuel_total", "Fuel that turns have used");
    describe_counter!("dormouse_start_fuel_total", "Fuel that instances have used to start");
    describe_counter!("dormouse_wakes_total", "Sessions woken from a snapshot");
    describe_counter!(
        "dormouse_wake_failures_total",
        "Wakes without an instance, by reason; no_memory and no_place have waited in vain"
    );
    describe_counter!(
        "dormouse_schedule_runs_total",
        "Runs of schedules that had a session and are over, by outcome"
    );
    describe_counter!("dormouse_sleeps_total", "Instances dropped, by cause");
    describe_counter!(
        "dormouse_states_removed_total",
        "States that were removed because nobody had used them for as long as they are kept"
    );
    describe_counter!(
        "dormouse_resident_seconds_total",
        Unit::Seconds,
        "Time that sessions were in memory, added up over all of them"
    );
    describe_counter!(
        "dormouse_asleep_seconds_total",
        Unit::Seconds,
        "Time that open sessions were not in memory, added up over all of them"
    );
    describe_counter!(
        "dormouse_deadline_failures_total",
        "Sessions for which what was due could not be done; it is tried again"
    );
    describe_gauge!(
        "dormouse_timekeeper_lag_seconds",
        Unit::Seconds,
        "How long what is due has been waiting for the timekeeper to look at it"
    );
    describe_counter!("dormouse_damaged_heads_total", "Heads that could not be read; should be 0");
    describe_counter!("dormouse_forks_total", "Sessions that forks have made");
    describe_counter!("dormouse_resumes_total", "Wishes to resume from a snapshot, by outcome");
    describe_counter!(
        "dormouse_resume_saved_nano_usd_total",
        "What the turns have cost, in billionths of a dollar, that a resumed session has in its state"
    );
    describe_counter!(
        "dormouse_resume_saved_tokens_total",
        "Tokens that models took for these turns"
    );
    describe_counter!("dormouse_resume_saved_milliseconds_total", "How long these turns took");
    describe_gauge!("dormouse_residents", "Instances in memory");
    describe_gauge!("dormouse_compiling_components", "Components that are compiled or wait for it");
    describe_counter!("dormouse_store_commits_total", "Commits of the store");
    describe_counter!("dormouse_driver_panics_total", "Defects of the host; should be 0");
    describe_gauge!("dormouse_queued_messages", "Messages that wait, over all sessions");
    describe_gauge!("dormouse_waiting_sessions", "Sessions that wait for memory or a place");
    describe_gauge!(
        "dormouse_memory_used_bytes",
        Unit::Bytes,
        "Charged for instances, snapshots, images of agents and messages"
    );
    describe_gauge!("dormouse_memory_limit_bytes", Unit::Bytes, "What these may take together");
    describe_gauge!(
        "dormouse_memory_kept_bytes",
        Unit::Bytes,
        "Kept by free places for the next instances; not charged"
    );
    describe_gauge!("dormouse_store_sessions", "Sessions stored");
    describe_gauge!("dormouse_store_open_sessions", "Sessions stored that are not over");
    describe_gauge!("dormouse_store_disk_bytes", Unit::Bytes, "What the store takes on disk");
    describe_gauge!(
        "dormouse_store_value_bytes",
        Unit::Bytes,
        "Values on disk, dead ones included"
    );
    describe_gauge!("dormouse_store_live_bytes", Unit::Bytes, "Values on disk that are in use");
    describe_gauge!(
        "dormouse_store_overlay_bytes",
        Unit::Bytes,
        "Commits that are not applied yet"
    );
    describe_gauge!(
        "dormouse_store_unused_blobs",
        "Parts of states that nothing needs and that are still to be removed"
    );
    describe_gauge!("dormouse_store_waits_for_space", "1 while the disk is full; should be 0");
    describe_gauge!("dormouse_store_index_bytes", Unit::Bytes, "Indexes in memory, estimated");
    describe_gauge!("dormouse_store_quarantined", "Records set aside as damaged; should be 0");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installing_twice_is_installing_once() {
        let one = Metrics::install().expect("no other recorder");
        let two = Metrics::install().expect("the same recorder");
        metrics::counter!("dormouse_turns_total", "outcome" => "test").increment(1);
        assert!(one.render().contains("dormouse_turns_total{outcome=\"test\"} 1"));
        assert_eq!(one.render().is_empty(), two.render().is_empty());
    }

    #[test]
    fn each_histogram_has_buckets() {
        let metrics = Metrics::install().expect("no other recorder");
        for Histogram { name, .. } in HISTOGRAMS {
            metrics::histogram!(name).record(1.0);
            let bucket = format!("{name}_bucket{{le=");
            assert!(metrics.render().contains(&bucket), "{name}");
        }
        assert!(!metrics.render().contains("quantile="));
    }

    #[test]
    fn a_level_that_is_none_is_refused() {
        assert!(check_level("info").is_ok());
        assert!(check_level("info,dormouse_store=debug").is_ok());
        assert!(check_level("dormouse=loud").is_err());
    }
}
