//! The order of a run: which stages, in which directories.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use dormouse_tests::load::report::Report;
use tempfile::TempDir;

use crate::machine;
use crate::measures::contest;
use crate::options::{Contender, Options, Part, Stage};
use crate::world::{EVENTS, RECORD, STATE, TURN};

/// A stage may take this long, beyond what it is told to.
const STAGE_TIMEOUT: Duration = Duration::from_secs(1200);
/// The first session was created so long ago.
const AGO: Duration = Duration::from_secs(7200);

/// Measure what the options ask for, and print each figure once it is known.
///
/// # Errors
/// Where a store fails or has lost something.
pub async fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    let kind = options.choose("a full run", "a quick run");
    std::fs::create_dir_all(options.directory())?;
    let table = Report::begin(&format!("the store: {kind}, load and store in one process"));
    table.note(&format!(
        "a turn replaces a record of {RECORD} B, adds a snapshot of {STATE} B, a turn of {TURN} B, events of {EVENTS} B"
    ));
    table.note(&format!("data in {}", options.directory().display()));
    let mut run = Run { options, epoch: epoch()? };
    for part in options.parts() {
        match part {
            Part::Turns => run.alone(Stage::Hot).await?,
            Part::Stored => {
                for count in options.counts() {
                    let directory = run.directory()?;
                    for stage in
                        [Stage::Fill { count }, Stage::Asleep { count }, Stage::Among { count }]
                    {
                        run.stage(stage, directory.path()).await?;
                    }
                }
            }
            Part::Sustained => run.alone(Stage::Sustained).await?,
            Part::Recovery => {
                for count in [256, options.choose(100_000, 10_000)] {
                    run.alone(Stage::Kill { count }).await?;
                }
            }
            Part::Rivals => run.rivals().await?,
        }
    }
    table.note(&format!("all of it took {} s", begun.elapsed().as_secs()));
    Ok(())
}

struct Run<'a> {
    options: &'a Options,
    epoch: i64,
}

impl Run<'_> {
    fn directory(&self) -> Result<TempDir> {
        let directory = self.options.directory();
        let made = tempfile::Builder::new().prefix("store-").tempdir_in(&directory);
        made.with_context(|| format!("{} cannot be used", directory.display()))
    }

    async fn alone(&mut self, stage: Stage) -> Result<()> {
        let directory = self.directory()?;
        self.stage(stage, directory.path()).await
    }

    async fn rivals(&mut self) -> Result<()> {
        contest::explain(self.options.quick);
        for contender in Contender::value_variants() {
            self.alone(Stage::Contest { contender: *contender }).await?;
        }
        Ok(())
    }

    /// Do it in a process of its own. That ends with this one, however this one ends.
    async fn stage(&mut self, stage: Stage, directory: &Path) -> Result<()> {
        let (begun, all) = (Instant::now(), machine::busy_of_all()?);
        let before = machine::busy_of_children()?;
        let mut child = tokio::process::Command::new(std::env::current_exe()?)
            .args(self.options.pass_on(directory, self.epoch))
            .args(stage.arguments())
            .kill_on_drop(true)
            .spawn()?;
        let patience = STAGE_TIMEOUT + self.options.sustained();
        let ended = tokio::select! {
            ended = tokio::time::timeout(patience, child.wait()) => {
                ended.with_context(|| format!("{stage:?} takes too long"))??
            }
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                child.kill().await?;
                anyhow::bail!("interrupted")
            }
        };
        ensure!(ended.success(), "{stage:?} has failed: {ended}");
        let own = machine::busy_of_children()?.saturating_sub(before);
        let others = machine::busy_of_all()?.saturating_sub(all).saturating_sub(own);
        let part = machine::part(others, begun.elapsed());
        if part >= 10.0 {
            println!("  others took {part:.0} % of the processors meanwhile");
        }
        Ok(())
    }
}

fn epoch() -> Result<i64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(i64::try_from(since.saturating_sub(AGO).as_millis())?)
}
