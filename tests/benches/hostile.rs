//! What guests that behave as badly as they can do to their neighbours.
//!
//! Each attack runs in as many sessions as there are threads for guests, and meanwhile a few ordinary
//! sessions take turns. The figures are how long these turns take, as ratios to the same beside plain
//! loops, measured just before; the memory that the process takes more than before, beside what is
//! charged for it; and what a second of the attack costs its session.
//!
//! A loop that calls nothing is an attack as well: its ratio is 1, and as far as it is not, the others
//! say nothing.
//!
//! `tests/bench --only hostile [--quick] [NAME…]`: of the attacks only those with such a name.

#![expect(clippy::disallowed_methods, reason = "to read the clock is what measuring is")]

#[path = "hostile/attack.rs"]
mod attack;
#[path = "hostile/neighbours.rs"]
mod neighbours;
#[path = "hostile/table.rs"]
mod table;

use std::time::{Duration, Instant};

use anyhow::Result;
use dormouse::{Host, NanoUsd};
use dormouse_tests::load::report::Figure;
use dormouse_tests::test_host::compiled_cache;

use attack::{Attack, Stage};
use neighbours::Neighbours;
use table::{Row, Table};

/// What fuel costs, in nano-USD for a billion units: the default of the host.
const PRICE: NanoUsd = NanoUsd(1_000_000);
/// How long each attack runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(200);

fn main() -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(measure())
}

async fn measure() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with("--")).collect();
    let time = if quick { Duration::from_millis(700) } else { Duration::from_secs(2) };

    let directory = tempfile::tempdir()?;
    let host = Host::builder()
        .data_dir(directory.path())
        .compiled_cache(compiled_cache(), [7; 32])
        .configure(|options| {
            options.max_residents = 64;
            options.fuel_price = PRICE;
            options.limits.max_fuel_per_turn = u64::MAX / 4;
            options.limits.max_memory_bytes = 1 << 30;
        })
        .build()
        .await?;
    let stage = Stage::new(host).await?;
    println!("one fill of 256 MiB takes {}", Figure::Time(fill(&stage).await?).show());
    let neighbours = Neighbours::begin(&stage.host).await?;
    let table = Table::begin();
    for attack in stage.attacks().await? {
        let name = attack.name();
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            let beside_loops = run(&stage, &neighbours, &Attack::NOTHING, time).await?;
            let beside_it = run(&stage, &neighbours, &attack, time).await?;
            table.row(name, &beside_it, &beside_loops);
        }
    }
    neighbours.end().await;
    stage.host.shut_down().await?;
    Ok(())
}

/// Let an attack run for so long.
async fn run(
    stage: &Stage,
    neighbours: &Neighbours,
    attack: &Attack,
    time: Duration,
) -> Result<Row> {
    let (before, charged) = (table::resident_bytes()?, stage.host.stats().memory_used);
    let running = attack.begin(stage).await?;
    tokio::time::sleep(WARM_UP).await;
    let begun = Instant::now();
    neighbours.take();
    let (mut most, mut most_charged) = (before, charged);
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(20)).await;
        most = most.max(table::resident_bytes()?);
        most_charged = most_charged.max(stage.host.stats().memory_used);
    }
    let times = neighbours.take();
    let bill = running.end().await?;
    Ok(Row {
        times,
        taken: most.saturating_sub(before),
        charged: most_charged.saturating_sub(charged),
        bill,
    })
}

/// How long one `memory.fill` of 256 MiB takes, once the memory is there.
async fn fill(stage: &Stage) -> Result<Duration> {
    let session = stage.attacker().await?;
    let mut taken = [Duration::ZERO; 2];
    session.send("fill 1").await?;
    for (fills, taken) in [1_u32, 11].into_iter().zip(&mut taken) {
        let begun = Instant::now();
        session.send(format!("fill {fills}")).await?;
        *taken = begun.elapsed();
    }
    session.force_kill().await?;
    Ok(taken[1].saturating_sub(taken[0]) / 10)
}
