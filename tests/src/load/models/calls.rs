//! A call through the gate, beside the same call by the same client of providers without a host.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use dormouse::model::{ModelRequest, OpenAi, Provider as _};

use super::super::Options;
use super::super::counters::{COMMITS, Counters, SYNC_SECONDS, SYNCS};
use super::super::provider::Provider;
use super::super::report::{Aim, Figure, Report, Times, float};
use super::super::turns::disk_itself;
use super::{QUESTION, THINKS, request, script, start};

/// Calls of a turn.
const CALLS: u32 = 50;
const NONE: [Aim; 2] = [Aim::None, Aim::None];

pub(super) async fn measure(
    options: &Options,
    report: &mut Report,
    provider: &Provider,
) -> Result<()> {
    disk_itself(report)?;
    let directory = tempfile::tempdir()?;
    let running = start(options, directory.path(), provider).await?;
    let mut connection = running.connect().await?;
    let session = connection.create(THINKS).await?;
    let path = format!("/api/sessions/{session}/message");
    let (without, with) =
        (script("forward", false), script(&format!("ask {CALLS} {QUESTION}"), false));
    let (client, request) = (OpenAi::new("loopback", &provider.url, None)?, Arc::new(request()));
    for _ in 0..3 {
        connection.post(&path, &with).await?;
        direct(&client, &request, 1).await?;
    }
    let [direct_times, gate_times, more_times, sync_times, rest_times] =
        [(); 5].map(|()| Times::new());
    let [mut commits, mut syncs] = [0.0; 2];
    let rounds = options.choose(60, 20);
    for _ in 0..rounds {
        let begun = Instant::now();
        direct(&client, &request, CALLS).await?;
        let direct_call = begun.elapsed() / CALLS;
        let before = Counters::read(&mut connection).await?;
        let begun = Instant::now();
        connection.post(&path, &without).await?;
        let empty = begun.elapsed();
        let between = Counters::read(&mut connection).await?;
        let begun = Instant::now();
        connection.post(&path, &with).await?;
        let gate_call = begun.elapsed().saturating_sub(empty) / CALLS;
        let after = Counters::read(&mut connection).await?;
        let more = |name| after.since(&between, name) - between.since(&before, name);
        commits += more(COMMITS);
        syncs += more(SYNCS);
        let sync = Duration::from_secs_f64(more(SYNC_SECONDS).max(0.0)) / CALLS;
        let added = gate_call.saturating_sub(direct_call);
        direct_times.note(direct_call);
        gate_times.note(gate_call);
        more_times.note(added);
        sync_times.note(sync);
        rest_times.note(added.saturating_sub(sync));
    }
    running.end()?;
    let calls = float(rounds) * f64::from(CALLS);
    report.times("a call made directly", &direct_times, NONE);
    report.times("a call through the gate", &gate_times, NONE);
    report.times("  more than directly", &more_times, NONE);
    report.times("  of it until commits were written and synced", &sync_times, NONE);
    report.times("  the rest", &rest_times, [Aim::Most(100e-6), Aim::None]);
    report.row("  commits of a call", Figure::Number(commits / calls), Aim::None);
    report.row(
        "  groups of commits, each with a sync",
        Figure::Number(syncs / calls),
        Aim::Most(2.0),
    );
    Ok(())
}

/// Ask so often without a host.
async fn direct(client: &OpenAi, request: &Arc<ModelRequest>, count: u32) -> Result<()> {
    for _ in 0..count {
        let answered = client.ask(Arc::clone(request), &mut |_| {}).await;
        answered.map_err(|failure| anyhow!("{}", failure.error))?;
    }
    Ok(())
}
