//! Ordinary sessions, which take one turn after the other, whatever others do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use dormouse::{Durability, Host, NewSession, Pattern};
use tokio::task::JoinHandle;

/// How many there are.
const NEIGHBOURS: usize = 4;
/// How long each waits between two turns.
const PAUSE: Duration = Duration::from_millis(1);

/// They take turns until they are ended.
pub(super) struct Neighbours {
    times: Arc<Mutex<Vec<Duration>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Neighbours {
    /// Let them begin.
    pub(super) async fn begin(host: &Host) -> Result<Neighbours> {
        let times = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for _ in 0..NEIGHBOURS {
            let mut new = NewSession::with_agent("counter".parse()?).pattern(Pattern::LongRunning);
            // How long a commit takes is a matter of the disk.
            new.durability = Durability::Sleep;
            let session = host.sessions().create(new).await?;
            let times = times.clone();
            tasks.push(tokio::spawn(async move {
                loop {
                    let begun = Instant::now();
                    if let Err(error) = session.send("hello").await {
                        eprintln!("a neighbour was not answered: {error}");
                    }
                    let took = begun.elapsed();
                    times.lock().unwrap_or_else(PoisonError::into_inner).push(took);
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        Ok(Neighbours { times, tasks })
    }

    /// How long their turns took since this was last asked, in order.
    pub(super) fn take(&self) -> Vec<Duration> {
        let mut times =
            std::mem::take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner));
        times.sort_unstable();
        times
    }

    /// Let them end.
    pub(super) async fn end(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}
