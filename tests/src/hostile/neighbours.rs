//! Ordinary sessions, which take one turn after the other, whatever others do.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::Stage;
use super::stage::ANN;
use crate::load::connection::Connection;

/// How long each waits between two turns.
const PAUSE: Duration = Duration::from_millis(1);
/// How long one turn may take at all.
const TURN_TIMEOUT: Duration = Duration::from_secs(20);
const MESSAGE: &str = r#"{"prompt": "hello", "streaming": false}"#;

/// Somebody who takes turns.
pub trait Neighbour: Send + 'static {
    /// Take one. An error: it was not answered.
    fn turn(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// They take turns until they are ended.
pub struct Neighbours {
    noted: Arc<Mutex<Noted>>,
    tasks: Vec<JoinHandle<()>>,
}

/// What neighbours have noticed.
#[derive(Debug, Default)]
pub struct Noted {
    /// How long the turns took, in order.
    pub times: Vec<Duration>,
    /// Why turns were not answered: one reason for each of them.
    pub failures: Vec<String>,
}

impl Neighbours {
    /// Let them begin, on this runtime.
    pub fn begin<N: Neighbour>(runtime: &Handle, neighbours: Vec<N>) -> Neighbours {
        let noted = Arc::new(Mutex::new(Noted::default()));
        let task = |neighbour| runtime.spawn(take_turns(neighbour, noted.clone()));
        let tasks = neighbours.into_iter().map(task).collect();
        Neighbours { noted, tasks }
    }

    /// What they have noticed since this was last asked.
    #[must_use]
    pub fn take(&self) -> Noted {
        let mut noted = std::mem::take(&mut *lock(&self.noted));
        noted.times.sort_unstable();
        noted
    }

    /// Let them end.
    pub async fn end(self) {
        for task in self.tasks {
            task.abort();
            // It was aborted.
            let _ = task.await;
        }
    }
}

async fn take_turns(mut neighbour: impl Neighbour, noted: Arc<Mutex<Noted>>) {
    loop {
        let begun = Instant::now();
        let turn = tokio::time::timeout(TURN_TIMEOUT, neighbour.turn()).await;
        let turn = turn.context("it was not answered in time").flatten();
        let took = begun.elapsed();
        {
            let mut noted = lock(&noted);
            noted.times.push(took);
            noted.failures.extend(turn.err().map(|error| format!("{error:#}")));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn lock(noted: &Mutex<Noted>) -> std::sync::MutexGuard<'_, Noted> {
    noted.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A neighbour over HTTP. Some keep their connection, others connect for each turn.
pub struct Caller {
    address: SocketAddr,
    path: String,
    keeps: bool,
    kept: Option<Connection>,
}

impl Caller {
    /// One for each session of the neighbours.
    #[must_use]
    pub fn all(stage: &Stage) -> Vec<Caller> {
        let caller = |(number, id): (usize, &String)| Caller {
            address: stage.address,
            path: format!("/api/sessions/{id}/message"),
            keeps: number < stage.neighbours.len() / 2,
            kept: None,
        };
        stage.neighbours.iter().enumerate().map(caller).collect()
    }
}

impl Neighbour for Caller {
    async fn turn(&mut self) -> Result<()> {
        let mut connection = match self.kept.take() {
            Some(kept) => kept,
            None => Connection::open_with_key(self.address, ANN).await?,
        };
        connection.post(&self.path, MESSAGE).await?;
        self.kept = Some(connection).filter(|_| self.keeps);
        Ok(())
    }
}
