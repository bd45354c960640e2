//! What sessions come to: what is asked and what is answered.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::listing::all_tags;
use super::value::Word;
use dormouse::{Pattern, Principal, Statistics, StatisticsQuery, Status, Sums};

/// `GET /api/sessions/stats/summary`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SummaryQuery {
    pattern: Option<Word<Pattern>>,
    user_id: Option<String>,
    /// Tags with commas between them: sessions with any of them.
    tags: Vec<String>,
    /// Each one tag, which may have a comma in it.
    tag: Vec<String>,
}

impl SummaryQuery {
    /// The sessions of this principal that are meant.
    pub(crate) fn of(self, owner: Principal) -> StatisticsQuery {
        StatisticsQuery {
            owner,
            tags: all_tags(&self.tags, &self.tag),
            user_id: self.user_id,
            pattern: self.pattern.map(|Word(pattern)| pattern),
        }
    }
}

/// What sessions come to, those that were removed included. Durations are in milliseconds.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    total_sessions: u64,
    /// Those of status `active` that there are.
    active_sessions: u64,
    completed_sessions: u64,
    error_sessions: u64,
    total_cost: f64,
    total_tokens: u64,
    avg_session_duration: u64,
    /// Of each pattern that has or had sessions.
    by_pattern: BTreeMap<&'static str, PatternSummary>,
    /// Of each status that sessions have, or had when they were removed.
    by_status: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct PatternSummary {
    count: u64,
    avg_cost: f64,
    avg_tokens: u64,
    avg_duration: u64,
}

impl From<Sums> for PatternSummary {
    fn from(sums: Sums) -> PatternSummary {
        let count = sums.sessions();
        PatternSummary {
            count,
            avg_cost: average_cost(&sums),
            avg_tokens: average(sums.tokens, count),
            avg_duration: average(sums.duration_ms, count),
        }
    }
}

impl From<Statistics> for Summary {
    fn from(statistics: Statistics) -> Summary {
        let (all, live) = (statistics.total().total(), statistics.total().live);
        let count = |status: Status| (status.as_str(), all.of_status(status));
        let by_pattern = statistics.by_pattern.into_iter();
        Summary {
            total_sessions: all.sessions(),
            active_sessions: live.of_status(Status::Active),
            completed_sessions: all.of_status(Status::Completed),
            error_sessions: all.of_status(Status::Error),
            total_cost: all.cost.as_usd(),
            total_tokens: all.tokens,
            avg_session_duration: average(all.duration_ms, all.sessions()),
            by_pattern: by_pattern
                .map(|(pattern, sums)| (pattern.as_str(), PatternSummary::from(sums.total())))
                .filter(|(_, summary)| summary.count > 0)
                .collect(),
            by_status: Status::ALL.map(count).into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }
}

/// Never null: the average of nothing is nothing.
fn average(sum: u64, count: u64) -> u64 {
    sum.checked_div(count).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "a number for people to read")]
fn average_cost(sums: &Sums) -> f64 {
    let count = sums.sessions();
    if count == 0 { 0.0 } else { sums.cost.as_usd() / count as f64 }
}
