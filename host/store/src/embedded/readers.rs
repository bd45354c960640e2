//! The threads that read: a few, with a queue that all share and that is bounded.
//!
//! So whoever wakes a session never waits behind what else blocks in the process (compilers, compression), and
//! no number of readers takes more threads. A read whose caller has gone away before its turn comes is skipped.
//! What takes long and reads everything (a check, a backup), and what writes, has no place here.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use super::{EmbeddedShared, held};
use crate::StoreError;

/// How many threads read.
pub(super) const THREADS: usize = 4;
/// How many reads can wait before callers have to.
const QUEUE: usize = 256;

/// One read, with the store that it reads.
type ReadJob = Box<dyn FnOnce() + Send>;

/// The threads.
#[derive(Debug)]
pub(super) struct Readers {
    queue: Mutex<Option<Sender<ReadJob>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Start them. They end when they are closed, or dropped, and what waits has been read.
    pub(super) fn start() -> std::io::Result<Readers> {
        let (sender, queue) = mpsc::channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let start = |number| {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name(format!("dormouse-store-read-{number}"));
            thread.spawn(move || {
                while let Some(read) = next(&queue) {
                    read();
                }
            })
        };
        let threads: Result<Vec<_>, _> = (0..THREADS).map(start).collect();
        Ok(Readers { queue: Mutex::new(Some(sender)), threads: Mutex::new(threads?) })
    }

    /// Do this when a thread is free, unless whoever waits for it goes away before.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        shared: Arc<EmbeddedShared>,
        read: impl FnOnce(&EmbeddedShared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let queue = held(&self.queue).clone().ok_or(StoreError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job = move || {
            if answer.is_closed() {
                return;
            }
            // sled panics where it finds its own files damaged.
            let done = catch_unwind(AssertUnwindSafe(|| read(&shared)));
            let done = done.unwrap_or_else(|panic| Err(StoreError::Io(told_by(&*panic))));
            // The store can be closed as soon as there is an answer.
            drop(shared);
            let _ = answer.send(done);
        };
        queue.send(Box::new(job)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }

    /// Take no more reads. Returns the threads, which do what waits and end.
    pub(super) fn close(&self) -> Vec<JoinHandle<()>> {
        drop(held(&self.queue).take());
        std::mem::take(&mut *held(&self.threads))
    }
}

/// The next read; `None`: there will be no more.
fn next(queue: &Mutex<Receiver<ReadJob>>) -> Option<ReadJob> {
    held(queue).blocking_recv()
}

/// What somebody has said who panicked.
pub(super) fn told_by(panic: &(dyn Any + Send)) -> Arc<str> {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a read panicked: {}", text.unwrap_or("it is not said why")).into()
}
