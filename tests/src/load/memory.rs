//! What a session takes in memory while it has an instance.

use anyhow::Result;

use super::Options;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::{MESSAGE, RESIDENT, Running};

const CREW: usize = 32;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.choose(1_500, 500);
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let mut crew = running.crew(CREW).await?;
    let sessions = crew.create(RESIDENT, count, &Times::new()).await?;
    crew.each(&sessions, "message", MESSAGE).await?;
    running.end()?;

    // A new process: nothing is left over from the instances before.
    let running = Running::start(options, directory.path()).await?;
    let mut crew = running.crew(CREW).await?;
    // One instance first: the agent is compiled and loaded, and each thread has its buffers.
    crew.each(&sessions[..1], "wake", "").await?;
    crew.each(&sessions, "sleep", "").await?;
    let asleep = running.memory()?;
    crew.each(&sessions, "wake", "").await?;
    let awake = running.memory()?;
    let turns = 10;
    for _ in 0..turns {
        crew.each(&sessions, "message", MESSAGE).await?;
    }
    let busy = running.memory()?;
    crew.each(&sessions, "sleep", "").await?;
    let rested = running.memory()?;
    crew.each(&sessions, "wake", "").await?;
    crew.each(&sessions[..1], "message", MESSAGE).await?;
    let again = running.memory()?;
    running.end()?;

    let each = |more: u64, less: u64| Figure::Bytes((float(more) - float(less)) / float(count));
    let aim = Aim::Most(64.0 * 1024.0);
    report.row("a resident session, its own pages included", each(awake, asleep), aim);
    // From here on the cache of the store has grown with it.
    report.row("  after ten turns, with what the store keeps", each(busy, asleep), Aim::None);
    report.row("  when all have gone to sleep again", each(rested, asleep), Aim::None);
    report.row("  when all are awake again", each(again, asleep), Aim::None);
    report.row("the host without sessions in memory", Figure::Bytes(float(asleep)), Aim::None);
    Ok(())
}
