//! Full speed on end: what becomes of rate, disk and memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use dormouse::Retention;
use dormouse_store::embedded;
use dormouse_tests::load::report::{Aim, Figure, float};

use super::{REST, Stand, check, live};
use crate::fleet::{Choice, Fleet};
use crate::load::{Load, closed, fill};
use crate::target::{Dormouse, Target};
use crate::{machine, table};

/// Sessions, each with a worker.
const WIDTH: u32 = 256;
/// The turns of a session that a quick run keeps.
const QUICK_TURNS: u64 = 500;

pub async fn measure(mut stand: Stand<'_>) -> Result<()> {
    let host = embedded::Options::default();
    // In either run there is a time when as many turns go as come.
    let turns = stand.options.choose(host.retention.turns, QUICK_TURNS);
    let retention = Retention { turns, ..host.retention };
    let store =
        Dormouse::open(&stand.directory, &stand.world, embedded::Options { retention, ..host })?;
    let store = Arc::new(store);
    stand
        .report
        .section(&format!("full speed on end, {WIDTH} sessions that keep {turns} turns each"));
    fill(&store, WIDTH).await?;
    let fleet = Arc::new(Fleet::new(WIDTH));
    let every = Duration::from_secs(stand.options.choose(10, 4));
    table::head(
        "",
        &["rate", "p99", "max", "cpu/turn", "others", "disk", "÷ live", "memory", "in"],
    );
    let begun = Instant::now();
    while begun.elapsed() < stand.options.sustained() {
        let load =
            Load { period: every, warm_up: Duration::ZERO, ..stand.load(Choice::Own, WIDTH) };
        let (all, since) = (machine::busy_of_all()?, Instant::now());
        let outcome = closed(&store, &fleet, load).await?;
        let disk = machine::disk(&stand.directory)?;
        let columns = [
            Figure::PerSecond(outcome.rate()),
            Figure::Time(outcome.times.at(0.99)),
            Figure::Time(outcome.times.at(1.0)),
            Figure::Time(outcome.busy.div_f64(float(outcome.turns.max(1)))),
            Figure::Bytes(float(disk)),
            Figure::Times(float(disk) / float(live(&*store, &fleet))),
            Figure::Bytes(float(machine::memory()?)),
        ];
        let mut columns: Vec<_> = columns.into_iter().map(Figure::show).collect();
        let others = machine::busy_of_all()?.saturating_sub(all + outcome.busy);
        columns.insert(4, format!("{:.0} %", machine::part(others, since.elapsed())));
        columns.push(machine::by_folder(&stand.directory)?);
        table::line(&format!("after {} s", begun.elapsed().as_secs()), &columns);
        if disk > stand.options.most_bytes() {
            stand.report.note("it ends here: the store takes as much of the disk as it may");
            break;
        }
    }
    check(&store, &fleet).await?;
    let turns = fleet.total();
    let live = float(live(&*store, &fleet));
    let times = |bytes: u64| Figure::Times(float(bytes) / live);
    let at_once = machine::disk(&stand.directory)?;
    tokio::time::sleep(stand.options.choose(REST, REST / 4)).await;
    let rested = machine::disk(&stand.directory)?;
    store.close().await?;
    drop(store);
    let closed = machine::disk(&stand.directory)?;
    stand.report.row(&format!("disk ÷ live after {turns} turns"), times(at_once), Aim::Most(1.5));
    stand.report.row("  after a rest", times(rested), Aim::None);
    stand.report.row("  after a close in order", times(closed), Aim::None);
    stand.report.note(&format!("  in {}", machine::by_folder(&stand.directory)?));
    Ok(())
}
