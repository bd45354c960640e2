//! Hostile guests: each calls one function of the host without end.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dormouse::{
    AgentSelector, Durability, Host, NanoUsd, NewSession, Pattern, Reply, SendError, SessionHandle,
};
use dormouse_test_guests as guests;
use dormouse_test_guests::unimaged;
use dormouse_tests::hostile::{Neighbour, Neighbours, resident_bytes};
use dormouse_tests::load::report::Figure;
use dormouse_tests::test_host::compiled_cache;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Wanted;
use super::table::{Row, Table};

/// What fuel costs, in nano-USD for a billion units: the default of the host.
const PRICE: NanoUsd = NanoUsd(1_000_000);
/// How long each attack runs before it is measured.
const WARM_UP: Duration = Duration::from_millis(200);
/// How many neighbours there are.
const NEIGHBOURS: usize = 4;
/// A loop that calls nothing: what all others are compared with.
const NOTHING: &str = "nothing";

pub(super) async fn measure(wanted: &Wanted) -> Result<()> {
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
    let neighbours = Neighbours::begin(&Handle::current(), InProcess::all(&stage.host).await?);
    let table = Table::begin("guests: neighbours beside");
    for name in stage.names().await?.lines().filter(|name| wanted.has_attack(name)) {
        let beside_loops = run(&stage, &neighbours, NOTHING, wanted.time).await?;
        let beside_it = run(&stage, &neighbours, name, wanted.time).await?;
        table.row(name, &beside_it, &beside_loops);
    }
    neighbours.end().await;
    stage.host.shut_down().await?;
    Ok(())
}

/// Let an attack run for so long.
async fn run(stage: &Stage, neighbours: &Neighbours, name: &str, time: Duration) -> Result<Row> {
    let resident = || resident_bytes(std::process::id());
    let (before, stats) = (resident()?, stage.host.stats());
    let running = stage.begin(name).await?;
    tokio::time::sleep(WARM_UP).await;
    let begun = Instant::now();
    let _ = neighbours.take();
    let (mut most, mut most_charged) = (before, stats.memory_used);
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(20)).await;
        most = most.max(resident()?);
        most_charged = most_charged.max(stage.host.stats().memory_used);
    }
    let noted = neighbours.take();
    for failure in &noted.failures {
        eprintln!("beside {name}: a neighbour was not answered: {failure}");
    }
    Ok(Row {
        noted,
        taken: most.saturating_sub(before),
        charged: most_charged.saturating_sub(stats.memory_used),
        budget: stats.memory_limit,
        bill: Some(running.end().await?),
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

/// A neighbour that needs no HTTP.
struct InProcess(SessionHandle);

impl InProcess {
    async fn all(host: &Host) -> Result<Vec<InProcess>> {
        let mut all = Vec::new();
        for _ in 0..NEIGHBOURS {
            let mut new = NewSession::agent("counter").pattern(Pattern::LongRunning);
            // How long a commit takes is a matter of the disk.
            new.durability = Durability::Sleep;
            all.push(InProcess(host.sessions().create(new).await?));
        }
        Ok(all)
    }
}

impl Neighbour for InProcess {
    async fn turn(&mut self) -> Result<()> {
        self.0.send("hello").await?;
        Ok(())
    }
}

/// The host, and what attacks need of it.
struct Stage {
    host: Host,
    /// The guest that calls the host again and again.
    caller: AgentSelector,
}

impl Stage {
    async fn new(host: Host) -> Result<Stage> {
        // Of the others the handles of standard streams are taken once, and kept.
        let guest = unimaged(&guests::CALLS_THE_HOST);
        host.agents().upload(guest.name, "1", guest.bytes).await?;
        Ok(Stage { host, caller: format!("{}@1", guest.name).parse()? })
    }

    /// A session that does what it is told to.
    async fn attacker(&self) -> Result<SessionHandle> {
        let mut new = NewSession::with_agent(self.caller.clone()).pattern(Pattern::LongRunning);
        let large = serde_json::Value::from("x".repeat(50_000));
        new.config.insert("large".to_owned(), large.clone());
        new.context.insert("large".to_owned(), large);
        Ok(self.host.sessions().create(new).await?)
    }

    /// What it can be told to do.
    async fn names(&self) -> Result<String> {
        Ok(self.attacker().await?.send("names").await?.text())
    }

    /// Begin an attack.
    async fn begin(&self, name: &str) -> Result<Running> {
        let mut sessions = Vec::new();
        for _ in 0..self.host.options().guest_threads {
            let session = self.attacker().await?;
            let (attacking, name) = (session.clone(), name.to_owned());
            let turn = tokio::spawn(async move { attacking.send(name).await });
            sessions.push((session, turn));
        }
        Ok(Running { begun: Instant::now(), sessions })
    }
}

/// An attack that runs.
struct Running {
    begun: Instant,
    sessions: Vec<(SessionHandle, JoinHandle<Result<Reply, SendError>>)>,
}

impl Running {
    /// End it. Returns what a second of it has cost, in nano-USD.
    async fn end(self) -> Result<f64> {
        let mut cost = 0;
        let mut time = Duration::ZERO;
        for (session, turn) in self.sessions {
            if turn.is_finished() {
                bail!("the attack came to its end: {:?}", turn.await?.map(|reply| reply.text()));
            }
            session.force_kill().await?;
            time = self.begun.elapsed();
            let Err(SendError::Failed(ended)) = turn.await? else {
                bail!("the attack was not ended by force")
            };
            cost += ended.turn.cost.0;
            session.delete().await.context("the session of an attack stays")?;
        }
        #[expect(clippy::cast_precision_loss, reason = "figures are rounded to a few digits")]
        Ok(cost as f64 / time.as_secs_f64())
    }
}
