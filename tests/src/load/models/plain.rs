//! A turn without effects: what it writes, by the counters of the store and of the kernel, beside another build of the
//! host where one is named.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::super::Options;
use super::super::connection::Connection;
use super::super::counters::{COMMITS, Counters, SYNCS};
use super::super::report::{Aim, Figure, Report, float};
use super::super::running::{MESSAGE, RESIDENT, Running};

/// Turns before the counters are looked at.
const WARM_UP: u64 = 200;
/// Hosts have turns in pieces, in turns, so that what else the machine does falls on both.
const PIECES: u64 = 10;

/// A host with a session.
struct Counted {
    what: &'static str,
    running: Running,
    connection: Connection,
    path: String,
    used: Duration,
    written: u64,
    _directory: TempDir,
}

pub(super) async fn measure(options: &Options, report: &mut Report) -> Result<()> {
    let turns = options.choose(5_000, 1_000);
    let mut hosts = vec![Counted::start(&options.binary()?, "").await?];
    if let Some(beside) = options.beside() {
        hosts.push(Counted::start(&beside?, ", the build beside").await?);
    }
    let mut before = Vec::new();
    for host in &mut hosts {
        host.talk(WARM_UP).await?;
        (host.used, host.written) = (Duration::ZERO, 0);
        before.push(Counters::read(&mut host.connection).await?);
    }
    for _ in 0..PIECES {
        for host in &mut hosts {
            host.talk(turns / PIECES).await?;
        }
    }
    for (host, before) in hosts.into_iter().zip(before) {
        host.end(&before, float(turns), report).await?;
    }
    Ok(())
}

impl Counted {
    async fn start(binary: &Path, what: &'static str) -> Result<Counted> {
        let directory = tempfile::tempdir()?;
        let running = Running::start_with(binary, directory.path(), &[]).await?;
        let mut connection = running.connect().await?;
        let path = format!("/api/sessions/{}/message", connection.create(RESIDENT).await?);
        let (used, written) = (Duration::ZERO, 0);
        Ok(Counted { what, running, connection, path, used, written, _directory: directory })
    }

    async fn talk(&mut self, turns: u64) -> Result<()> {
        let (used, written) = (self.running.processor_time()?, self.running.written()?);
        for _ in 0..turns {
            self.connection.post(&self.path, MESSAGE).await?;
        }
        self.used += self.running.processor_time()?.saturating_sub(used);
        self.written += self.running.written()? - written;
        Ok(())
    }

    async fn end(mut self, before: &Counters, turns: f64, report: &mut Report) -> Result<()> {
        let after = Counters::read(&mut self.connection).await?;
        let each = |name| Figure::Number(after.since(before, name) / turns);
        let what = self.what;
        report.row(
            &format!("commits of a turn without effects{what}"),
            each(COMMITS),
            Aim::Most(1.01),
        );
        report.row("  syncs", each(SYNCS), Aim::Most(1.01));
        report.row("  bytes written", Figure::Bytes(float(self.written) / turns), Aim::None);
        report.row("  processor time", Figure::Time(self.used.div_f64(turns)), Aim::None);
        self.running.end()
    }
}
