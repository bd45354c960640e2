//! Calls that an agent makes through the host, beside the same calls made directly.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::counters::{COMMITS, Counters, SYNC_SECONDS, SYNCS};
use super::report::{Aim, Figure, Report, Times, float};
use super::running::Running;

const NONE: [Aim; 2] = [Aim::None, Aim::None];

/// Calls to be compared. What a turn takes without any is subtracted.
pub(super) struct Calls {
    /// Where messages to the session go.
    pub(super) path: String,
    /// A message whose turn makes no call.
    pub(super) without: String,
    /// A message whose turn makes `count` calls.
    pub(super) with: String,
    /// The calls of a turn.
    pub(super) count: u32,
    /// How often each is measured.
    pub(super) rounds: u64,
    /// What the median of a call through the host may take more than a direct one, besides what commits take.
    pub(super) rest: Aim,
    /// The syncs that a call may take.
    pub(super) syncs: Aim,
}

impl Calls {
    /// Compare them with `direct`, which makes so many without a host.
    pub(super) async fn compare(
        self,
        running: &Running,
        report: &mut Report,
        direct: impl AsyncFn(u32) -> Result<()>,
    ) -> Result<()> {
        let Calls { path, without, with, count, rounds, rest, syncs: most_syncs } = self;
        let mut connection = running.connect().await?;
        for _ in 0..3 {
            connection.post(&path, &with).await?;
            direct(1).await?;
        }
        let [direct_times, gate_times, more_times, sync_times, rest_times] =
            [(); 5].map(|()| Times::new());
        let [mut commits, mut syncs] = [0.0; 2];
        for _ in 0..rounds {
            let begun = Instant::now();
            direct(count).await?;
            let direct_call = begun.elapsed() / count;
            let before = Counters::read(&mut connection).await?;
            let begun = Instant::now();
            connection.post(&path, &without).await?;
            let empty = begun.elapsed();
            let between = Counters::read(&mut connection).await?;
            let begun = Instant::now();
            connection.post(&path, &with).await?;
            let gate_call = begun.elapsed().saturating_sub(empty) / count;
            let after = Counters::read(&mut connection).await?;
            let more = |name| after.since(&between, name) - between.since(&before, name);
            commits += more(COMMITS);
            syncs += more(SYNCS);
            let sync = Duration::from_secs_f64(more(SYNC_SECONDS).max(0.0)) / count;
            let added = gate_call.saturating_sub(direct_call);
            direct_times.note(direct_call);
            gate_times.note(gate_call);
            more_times.note(added);
            sync_times.note(sync);
            rest_times.note(added.saturating_sub(sync));
        }
        let calls = float(rounds) * f64::from(count);
        report.times("a call made directly", &direct_times, NONE);
        report.times("a call through the gate", &gate_times, NONE);
        report.times("  more than directly", &more_times, NONE);
        report.times("  of it until commits were written and synced", &sync_times, NONE);
        report.times("  the rest", &rest_times, [rest, Aim::None]);
        report.row("  commits of a call", Figure::Number(commits / calls), Aim::None);
        report.row(
            "  groups of commits, each with a sync",
            Figure::Number(syncs / calls),
            most_syncs,
        );
        Ok(())
    }
}
