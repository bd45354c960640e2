//! Hostile clients: each attack on a new process of the binary.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dormouse_tests::Server;
use dormouse_tests::hostile::{
    ATTACKS, Attack, BUDGET, Base, Caller, Neighbours, Stage, Watch, arguments,
};
use tokio::runtime::{Builder, Handle};

use super::Wanted;
use super::table::{Row, Table};

/// How long an attack and its neighbours run before they are measured.
const WARM_UP: Duration = Duration::from_millis(300);

pub(super) async fn measure(wanted: &Wanted) -> Result<()> {
    // Neighbours do not wait until those who attack have their turn in this process.
    let neighbours = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let measured = attacks(wanted, neighbours.handle()).await;
    neighbours.shutdown_background();
    measured
}

async fn attacks(wanted: &Wanted, neighbours: &Handle) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let server = start(directory.path())?;
    let prepared = Stage::prepare(&server).await?;
    end(server)?;
    let table = Table::begin("clients: neighbours beside");
    for attack in ATTACKS.iter().filter(|attack| wanted.has_attack(attack.name)) {
        let server = start(directory.path())?;
        let stage = Arc::new(prepared.on(&server)?);
        let time = wanted.time;
        let base = attack.base.attack(attack.clients);
        let beside_base = run(&server, &stage, neighbours, &base, time).await?;
        let beside_it = run(&server, &stage, neighbours, attack, time).await?;
        let mark = if attack.base == Base::Requests { " *" } else { "" };
        table.row(&format!("{}, {}{mark}", attack.name, attack.clients), &beside_it, &beside_base);
        end(server)?;
    }
    Ok(())
}

/// Let an attack run for so long.
async fn run(
    server: &Server,
    stage: &Arc<Stage>,
    runtime: &Handle,
    attack: &Attack,
    time: Duration,
) -> Result<Row> {
    let neighbours = Neighbours::begin(runtime, Caller::all(stage));
    let watch = Watch::new(server.client(), stage.pid);
    // Before anybody attacks, the neighbours are there and awake.
    let before = watch.look(WARM_UP).await?;
    let bill = stage.bill().await?;
    let running = attack.begin(stage);
    let first = watch.look(WARM_UP).await?;
    let _ = neighbours.take();
    let most = watch.look(time).await?;
    let noted = neighbours.take();
    running.end().await;
    let cost = stage.bill().await? - bill;
    neighbours.end().await;
    for failure in &noted.failures {
        eprintln!("beside {}: a neighbour was not answered: {failure}", attack.name);
    }
    let taken = most.resident.max(first.resident).saturating_sub(before.resident);
    let charged = most.charged.max(first.charged).saturating_sub(before.charged);
    let bill = (cost > 0.0).then(|| cost / (WARM_UP + time).as_secs_f64());
    Ok(Row { noted, taken, charged, budget: BUDGET, bill })
}

fn start(directory: &Path) -> Result<Server> {
    // Beside the folder of what benchmarks are built into.
    let program = std::env::current_exe()?;
    let binary = program.parent().and_then(Path::parent).context("a folder")?.join("dormouse");
    let binary = binary.canonicalize();
    let binary = binary.context("the binary is not there: build it first, as tests/bench does")?;
    let arguments = arguments();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let binary = binary.to_str().context("the path of the binary is text")?;
    Server::start(binary, &directory.join("data"), &arguments)
}

fn end(server: Server) -> Result<()> {
    let code = server.terminate()?;
    ensure!(code == Some(0), "the host ended with {code:?}");
    Ok(())
}
