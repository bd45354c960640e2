//! The epoch ticker: makes guests yield that are cheap in fuel but dear in time.
//!
//! Fuel accounts and is the fair share between guests. But a few instructions take long for the
//! fuel that they cost, and a host must not stall for them: so a thread counts time in ticks while
//! guests run, and a guest that sees a new tick yields. Nothing that must replay depends on it.
//!
//! Invariant: while no guest runs the thread is parked, and an idle host uses no processor time. It
//! parks a second after the last guest and not at once, because to wake it for each short turn would
//! cost more than the turn.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use wasmtime::Engine;

use super::SandboxError;

/// How often a running guest is asked to yield, at least.
const TICK: Duration = Duration::from_millis(10);
/// How many ticks without a guest before the thread parks.
const IDLE_TICKS: u32 = 100;

/// Ticks while guests run. Its thread ends when the ticker is dropped.
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    running: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
}

impl Ticker {
    /// Start the thread for these engines.
    pub(super) fn start(engines: Vec<Engine>) -> Result<Ticker, SandboxError> {
        let shared = Arc::new(Shared {
            running: AtomicUsize::new(0),
            parked: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        let ticking = shared.clone();
        let handle: JoinHandle<()> = std::thread::Builder::new()
            .name("dormouse-ticker".to_owned())
            .stack_size(64 << 10)
            .spawn(move || tick(&ticking, &engines))
            .map_err(SandboxError::Thread)?;
        Ok(Ticker { shared, thread: handle.thread().clone() })
    }

    /// Run the code of a guest: whenever this future is polled, the ticker ticks.
    pub(super) async fn watch<F: Future>(&self, guest: F) -> F::Output {
        let mut guest = pin!(guest);
        poll_fn(|context| {
            let _running = self.enter();
            guest.as_mut().poll(context)
        })
        .await
    }

    fn enter(&self) -> Running<'_> {
        // Both sides write one flag and then read the other's, in one total order: either the
        // thread sees the guest, or we see that the thread sleeps.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.parked.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(self)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// A guest is being polled on this thread.
struct Running<'t>(&'t Ticker);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(shared: &Shared, engines: &[Engine]) {
    let mut idle = 0;
    while !shared.stopped.load(Ordering::SeqCst) {
        if shared.running.load(Ordering::SeqCst) > 0 {
            idle = 0;
            engines.iter().for_each(Engine::increment_epoch);
        } else {
            idle += 1;
        }
        if idle <= IDLE_TICKS {
            std::thread::park_timeout(TICK);
            continue;
        }
        shared.parked.store(true, Ordering::SeqCst);
        if shared.running.load(Ordering::SeqCst) == 0 && !shared.stopped.load(Ordering::SeqCst) {
            std::thread::park();
        }
        shared.parked.store(false, Ordering::SeqCst);
        idle = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_watched_future_answers_like_the_future_itself() {
        let ticker = Ticker::start(Vec::new()).expect("a thread");
        let answer = ticker.watch(async {
            tokio::task::yield_now().await;
            42
        });
        assert_eq!(answer.await, 42);
        assert_eq!(ticker.shared.running.load(Ordering::SeqCst), 0);
    }
}
