//! A world that a folder keeps while it is run: a command that is run again goes on where the last one was cut off, and pays no model
//! twice.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use dormouse::{Host, Record, Simulation, SimulationHandle, SimulationStatus, WorldSpec};

/// Run this world to its last tick, or what is left of it, and make it again of what was recorded: so that its results are those of
/// a replay. How long it has run in all.
pub(super) async fn to_its_end(
    host: &Host,
    spec: WorldSpec,
    folder: &Path,
) -> Result<(Simulation, Record, Duration, SimulationHandle)> {
    let kept = find(host, &spec).await.with_context(|| folder.display().to_string())?;
    let kept = match kept {
        Some(kept) => kept,
        None => host.simulations().create(spec.clone()).await?,
    };
    if kept.record().status.can_go_on() {
        kept.start(Some(spec.budget)).await?;
    }
    follow(&kept).await;
    let record = kept.record();
    if record.status != SimulationStatus::Completed {
        let reason = record.reason.clone().unwrap_or_default();
        let (ticks, status) = (record.progress.ticks, record.status.as_str());
        bail!(
            "the world is {status} after {ticks} ticks: {reason}; the same command goes on with it"
        );
    }
    let bundle = kept.bundle().await?;
    let (spec, ticks) = (bundle.spec.clone(), bundle.spec.ticks);
    let mut again = host.simulations().make_of_bundle(&bundle, spec, ticks).await?;
    let mut replayed = Record::default();
    while let Some(summary) = again.run(1).await?.pop() {
        replayed.note(&summary);
    }
    let fingerprint = again.fingerprint().await?;
    ensure!(
        fingerprint == bundle.record.fingerprint,
        "what is kept in {} comes to something else when it is run again",
        folder.display()
    );
    Ok((again, bundle.record, Duration::from_millis(record.progress.wall_ms), kept))
}

/// The world of this specification that the folder has. Its budget may be another.
async fn find(host: &Host, spec: &WorldSpec) -> Result<Option<SimulationHandle>> {
    let Some(record) = host.simulations().list(None, 1).simulations.pop() else { return Ok(None) };
    let kept = host.simulations().get(record.id)?;
    let there = WorldSpec { budget: spec.budget, ..kept.spec().await? };
    ensure!(there == *spec, "it keeps another world; name another folder");
    Ok(Some(kept))
}

/// Show how far it is, until it stands still.
async fn follow(kept: &SimulationHandle) {
    let mut record = kept.record();
    let bar = ProgressBar::new(record.planned);
    let style = "{bar:30} {pos}/{len} ticks  {msg}  {eta} to go";
    bar.set_style(
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    while record.status == SimulationStatus::Running {
        bar.set_position(record.progress.ticks);
        let calls = record.progress.calls;
        bar.set_message(format!("{} calls, ${:.4}", calls.made, calls.cost().as_usd()));
        record = kept.changed(&record).await;
    }
    bar.finish_and_clear();
}
