//! A host that is measured: its process, and those who talk to it.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dormouse_test_guests::TestGuest;
use futures::future::try_join_all;
use http::StatusCode;

use super::Options;
use super::connection::Connection;
use super::report::Times;
use crate::{Client, Server};

/// A running host.
pub(super) struct Running {
    server: Server,
    address: SocketAddr,
}

/// Some connections, each of which does one thing at a time.
pub(super) struct Crew(Vec<Connection>);

/// What a measure stops at, whichever comes first.
#[derive(Clone, Copy)]
pub(super) struct Until {
    pub(super) time: Instant,
    pub(super) count: u64,
}

impl Running {
    /// Start the binary on a data directory. Returns once it takes work.
    pub(super) async fn start(options: &Options, directory: &Path) -> Result<Running> {
        Running::start_with(&options.binary()?, directory, &[]).await
    }

    /// Start a binary with more arguments.
    pub(super) async fn start_with(
        binary: &Path,
        directory: &Path,
        arguments: &[&str],
    ) -> Result<Running> {
        let binary = binary.to_str().context("the path of the binary is text")?;
        let server = Server::start(binary, &directory.join("data"), arguments)?;
        let address = server.base().strip_prefix("http://").context("an address")?.parse()?;
        let running = Running { server, address };
        running.connect().await?.get("/readyz").await?;
        Ok(running)
    }

    /// A client as applications have it.
    pub(super) fn client(&self) -> Client {
        self.server.client()
    }

    /// Give it an agent, under this name.
    pub(super) async fn upload(&self, name: &str, guest: &TestGuest) -> Result<()> {
        let (status, answer) = self.client().upload(name, "1", guest.bytes).await?;
        ensure!(status == StatusCode::CREATED, "{status}: {answer}");
        Ok(())
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that it has written to files, and to sockets in several pieces.
    pub(super) fn written(&self) -> Result<u64> {
        let path = format!("/proc/{}/io", self.server.pid());
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix("wchar:")).context(path)?;
        Ok(line.trim().parse()?)
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        Connection::open(self.address).await
    }

    /// So many connections.
    pub(super) async fn crew(&self, count: usize) -> Result<Crew> {
        let mut crew = Vec::with_capacity(count);
        for _ in 0..count {
            crew.push(self.connect().await?);
        }
        Ok(Crew(crew))
    }

    /// End it in order.
    pub(super) fn end(self) -> Result<()> {
        let code = self.server.terminate()?;
        anyhow::ensure!(code == Some(0), "the host ended with {code:?}");
        Ok(())
    }

    /// End it as a crash does.
    pub(super) fn kill(self) -> Result<()> {
        self.server.kill()
    }

    /// Bytes of memory that are its own, and its share of those it has in common with others.
    pub(super) fn memory(&self) -> Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.server.pid());
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context(path)?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Processor time that it has used.
    pub(super) fn processor_time(&self) -> Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.server.pid()))?;
        // Behind the name, which may hold anything: state, and then numbers.
        let (_, fields) = text.rsplit_once(')').context("a process has a name")?;
        let ticks = |place| fields.split_whitespace().nth(place).and_then(|text| text.parse().ok());
        let ticks: Option<u64> =
            ticks(11).zip(ticks(12)).map(|(user, system): (u64, u64)| user + system);
        let hertz = rustix::param::clock_ticks_per_second();
        Ok(Duration::from_millis(ticks.context("a process uses time")? * 1000 / hertz))
    }
}

impl Crew {
    /// All do the same at once, each with its number.
    pub(super) async fn all<T>(
        &mut self,
        work: impl AsyncFn(usize, &mut Connection) -> Result<T>,
    ) -> Result<Vec<T>> {
        try_join_all(self.0.iter_mut().enumerate().map(|(n, one)| work(n, one))).await
    }

    /// All create sessions of this description, `count` together. Their ids.
    pub(super) async fn create(
        &mut self,
        description: &str,
        count: u64,
        times: &Times,
    ) -> Result<Vec<String>> {
        let crew = u64::try_from(self.0.len())?;
        let made = self.all(async |n, connection| {
            let share = (count + crew - 1 - u64::try_from(n)?) / crew;
            let mut ids = Vec::new();
            for _ in 0..share {
                ids.push(times.time(connection.create(description)).await?);
            }
            Ok(ids)
        });
        Ok(made.await?.into_iter().flatten().collect())
    }

    /// Each POSTs to `…/action` of its share of these sessions, once.
    pub(super) async fn each(
        &mut self,
        sessions: &[String],
        action: &str,
        json: &str,
    ) -> Result<()> {
        let crew = self.0.len();
        let done = self.all(async |n, connection| {
            for session in sessions.iter().skip(n).step_by(crew) {
                connection.post(&format!("/api/sessions/{session}/{action}"), json).await?;
            }
            Ok(())
        });
        done.await.map(drop)
    }

    /// Each has turns with a session of its own, one after the other. `count` is over all.
    pub(super) async fn talk(
        &mut self,
        sessions: &[String],
        until: Until,
        times: &Times,
    ) -> Result<()> {
        let talking = self.all(async |n, connection| {
            let Some(session) = sessions.get(n) else { return Ok(()) };
            let path = format!("/api/sessions/{session}/message");
            while times.count() < until.count && Instant::now() < until.time {
                times.time(connection.post(&path, MESSAGE)).await?;
            }
            Ok(())
        });
        talking.await.map(drop)
    }
}

/// A message that is answered as one document.
pub(super) const MESSAGE: &str = r#"{"prompt": "How are you today? I am a message of some sixty characters.", "streaming": false}"#;

/// A session that stays in memory.
pub(super) const RESIDENT: &str = r#"{"agent": "counter", "pattern": "long-running"}"#;
