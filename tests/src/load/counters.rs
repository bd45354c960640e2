//! What a host that is measured counts by itself: its metrics, and what its process has written.

use std::collections::HashMap;

use anyhow::Result;

use super::connection::Connection;

/// The metrics of a host at one moment. Those that differ in their labels alone are added up.
pub(super) struct Counters(HashMap<String, f64>);

impl Counters {
    /// Ask for them.
    pub(super) async fn read(connection: &mut Connection) -> Result<Counters> {
        let page = String::from_utf8(connection.get("/metrics").await?.to_vec())?;
        let mut sums = HashMap::new();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let name = name.split('{').next().unwrap_or(name);
            *sums.entry(name.to_owned()).or_insert(0.0) += value.parse::<f64>().unwrap_or(0.0);
        }
        Ok(Counters(sums))
    }

    /// One of them; 0 before it was first counted.
    pub(super) fn of(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// What one of them has grown by since.
    pub(super) fn since(&self, before: &Counters, name: &str) -> f64 {
        self.of(name) - before.of(name)
    }
}

/// Groups of commits that were made durable, with one sync each.
pub(super) const SYNCS: &str = "dormouse_store_group_size_count";
/// How long commits have waited until they were durable, in seconds, added up.
pub(super) const SYNC_SECONDS: &str = "dormouse_store_commit_seconds_sum";
/// Turns that are over.
pub(super) const TURNS: &str = "dormouse_turns_total";
/// Commits.
pub(super) const COMMITS: &str = "dormouse_store_commits_total";
