//! Many sessions whose lifetime is over at the same moment: how late the host ends them, and what those who speak to
//! other sessions notice of it.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use dormouse::Timestamp;
use serde_json::{Value, json};

use super::Options;
use super::connection::Connection;
use super::report::{Aim, Figure, Report, Times, float};
use super::running::{Crew, RESIDENT, Running, Until};

/// Clients that create at once, and those who speak to sessions of their own.
const CREW: usize = 64;
const NEIGHBOURS: usize = 32;
/// How many sessions a machine should create in a second, at least: so long before the moment the first is made.
const CREATED: u64 = 2_000;
/// How late a session may be ended: the promise.
const PROMISED: f64 = 1.0;
/// Sessions of a page of the list.
const PAGE: usize = 500;

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let count = options.sessions();
    let directory = tempfile::tempdir()?;
    let running = Running::start(options, directory.path()).await?;
    let mut neighbours = running.crew(NEIGHBOURS).await?;
    let spoken_to = neighbours.create(RESIDENT, NEIGHBOURS as u64, &Times::new()).await?;
    let quiet = Until { time: Instant::now() + options.period(), count: u64::MAX };
    let before = talk(&mut neighbours, &spoken_to, quiet).await?;
    report.row("turns of others before", Figure::PerSecond(before.rate), Aim::None);
    report.times("  one of them", &before.times, [Aim::None, Aim::None]);

    let moment = now()?.after(Duration::from_secs(5 + count / CREATED));
    create(&mut running.crew(CREW).await?, count, moment).await?;
    let left = moment.since(now()?);
    ensure!(
        !left.is_zero(),
        "the sessions were not created in time: ask for fewer with --sessions"
    );
    tokio::time::sleep(left).await;

    // The host has closed those that were idle.
    let (mut neighbours, mut watcher) = (running.crew(NEIGHBOURS).await?, running.connect().await?);
    let (begun, over) = (Instant::now(), Cell::new(false));
    let talking = async {
        let mut all = Talk::default();
        while !over.get() {
            let until =
                Until { time: Instant::now() + Duration::from_millis(200), count: u64::MAX };
            all.add(talk(&mut neighbours, &spoken_to, until).await?);
        }
        anyhow::Ok(all)
    };
    let watching = async {
        while ended(&mut watcher, 1, None).await?["total"].as_u64() < Some(count) {
            ensure!(begun.elapsed() < Duration::from_secs(600), "they do not end");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        over.set(true);
        anyhow::Ok(begun.elapsed())
    };
    let (meanwhile, took) = tokio::try_join!(talking, watching)?;
    let late = lateness(&mut watcher, moment).await?;
    report.times(&format!("lateness of {count} ends"), &late, [Aim::None, Aim::None]);
    report.row("  of the last one", Figure::Time(late.at(1.0)), Aim::Most(PROMISED));
    report.row(
        "  ends in a second",
        Figure::PerSecond(float(count) / took.as_secs_f64()),
        Aim::None,
    );
    report.row("turns of others meanwhile", Figure::PerSecond(meanwhile.rate), Aim::None);
    report.times("  one of them", &meanwhile.times, [Aim::None, Aim::None]);
    running.end()
}

/// The turns of those who speak to sessions of their own.
#[derive(Default)]
struct Talk {
    rate: f64,
    times: Times,
    took: Duration,
}

impl Talk {
    fn add(&mut self, more: Talk) {
        self.times.add(&more.times);
        self.took += more.took;
        self.rate = float(self.times.count()) / self.took.as_secs_f64();
    }
}

async fn talk(crew: &mut Crew, sessions: &[String], until: Until) -> Result<Talk> {
    let (begun, times) = (Instant::now(), Times::new());
    crew.talk(sessions, until, &times).await?;
    let took = begun.elapsed();
    Ok(Talk { rate: float(times.count()) / took.as_secs_f64(), times, took })
}

/// Create so many sessions which live until the same moment.
async fn create(crew: &mut Crew, count: u64, moment: Timestamp) -> Result<()> {
    let each = count.div_ceil(CREW as u64);
    crew.all(async |n, connection| {
        for _ in 0..each.min(count.saturating_sub(each * u64::try_from(n)?)) {
            let left = moment.since(now()?).as_millis().max(1);
            let left = u64::try_from(left)?;
            let new = json!({ "agent": "counter", "pattern": "hybrid", "maxLifetimeMs": left });
            connection.create(&new.to_string()).await?;
        }
        Ok(())
    })
    .await
    .map(drop)
}

/// How long after the moment each session has ended, as its record says.
async fn lateness(connection: &mut Connection, moment: Timestamp) -> Result<Times> {
    let (times, mut cursor) = (Times::new(), None);
    loop {
        let page = ended(connection, PAGE, cursor.as_deref()).await?;
        for session in page["sessions"].as_array().context("a list has sessions")? {
            let at = session["terminatedAt"].as_str().context("it has ended")?;
            times.note(at.parse::<Timestamp>()?.since(moment));
        }
        match page["nextCursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return Ok(times),
        }
    }
}

/// A page of the sessions that have ended.
async fn ended(connection: &mut Connection, limit: usize, cursor: Option<&str>) -> Result<Value> {
    let cursor = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
    let path = format!("/api/sessions?status=terminated&limit={limit}{cursor}");
    Ok(serde_json::from_slice(connection.get(&path).await?)?)
}

/// The time of this machine, which is that of the host.
pub(super) fn now() -> Result<Timestamp> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp(i64::try_from(since.as_millis())?))
}
