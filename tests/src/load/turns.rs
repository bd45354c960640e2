//! Durable turns a second, and how long each takes.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::Options;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::{Crew, RESIDENT, Running, Until};

/// Sessions at a time, and the turns a second that are aimed at.
const AIMS: [(usize, f64); 3] = [(1, 3_000.0), (32, 20_000.0), (256, 25_000.0)];

/// Turns of all sessions together before the clock starts.
const WARM_UP: u64 = 2_000;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    disk_itself(report)?;
    for (count, aim) in AIMS {
        let directory = tempfile::tempdir()?;
        let running = Running::start(options, directory.path()).await?;
        let mut crew = running.crew(count).await?;
        let sessions = crew.create(RESIDENT, u64::try_from(count)?, &Times::new()).await?;
        let what = format!("{count} session{}", if count == 1 { "" } else { "s" });
        hot(options, report, &running, &mut crew, &sessions, (&what, Aim::Least(aim))).await?;
        running.end()?;
    }
    Ok(())
}

/// Turns with these sessions, one each at a time, which are in memory from the warm-up on.
pub(super) async fn hot(
    options: &Options,
    report: &mut Report,
    running: &Running,
    crew: &mut Crew,
    sessions: &[String],
    (what, aim): (&str, Aim),
) -> Result<()> {
    let soon = Until { time: Instant::now() + options.period(), count: WARM_UP };
    crew.talk(sessions, soon, &Times::new()).await?;
    let times = Times::new();
    let (begun, used) = (Instant::now(), running.processor_time()?);
    let until = Until { time: begun + options.period(), count: u64::MAX };
    crew.talk(sessions, until, &times).await?;
    let (took, used) = (begun.elapsed(), running.processor_time()?.saturating_sub(used));
    let rate = float(times.count()) / took.as_secs_f64();
    report.row(&format!("durable turns, {what}"), Figure::PerSecond(rate), aim);
    report.times(&format!("  one turn, {what}"), &times, [Aim::None, Aim::None]);
    let each = used.div_f64(float(times.count().max(1)));
    report.row(
        &format!("  processor time of the host for a turn, {what}"),
        Figure::Time(each),
        Aim::None,
    );
    Ok(())
}

/// What the disk allows: a turn at a time cannot be faster than a sync.
pub(super) fn disk_itself(report: &mut Report) -> Result<()> {
    use std::os::unix::fs::FileExt;
    const BLOCK: usize = 4096;
    const SYNCS: u64 = 500;
    let file = tempfile::tempfile()?;
    file.write_all_at(&vec![1; BLOCK * 1024], 0)?;
    file.sync_all()?;
    let times = Times::new();
    let deadline = Instant::now() + Duration::from_secs(10);
    for place in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&[2; BLOCK], place * u64::try_from(BLOCK)?)?;
        file.sync_data()?;
        times.note(begun.elapsed());
        if Instant::now() > deadline {
            break;
        }
    }
    report.times("the disk itself: 4 KiB written over and synced", &times, [Aim::None, Aim::None]);
    Ok(())
}
