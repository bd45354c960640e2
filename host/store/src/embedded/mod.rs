//! The store that comes with the host: one directory, nothing to set up.
//!
//! ```text
//!  lock            who uses the directory
//!  store/          the engine: log/ makes commits durable, packs/ have the values, and sled/ is
//!                  the index of where they lie                                     [engine, disk]
//! ```
//! What lies in the engine: sessions with their snapshots and turns, events, templates, agents and
//! their components. `tables` has a file for each kind: under which keys, in which form.
//!
//! ```text
//!  caller:     encode [commit] ─▶ stage what is large [tables/blobs] ─▶ queue, bounded
//!  committer:  what waits is one group ─▶ check [group] ─▶ engine: one write, one sync
//!                                                  answers ◀─ index in memory ◀─┘
//!  reader:     a thread of the store's own [readers] ─▶ engine [query]; what the index knows: at once
//! ```
//! A commit is encoded by its caller, and queued for the one thread that writes (`committer`). The
//! queue is bounded: where the disk is too slow, callers wait. What is large is made durable before
//! that, by its caller too.
//!
//! A session keeps its newest snapshots and turns ([`Retention`]); its record says which snapshot is
//! the head. What is large in snapshots lies in blobs (`tables/blobs`), which all snapshots and templates
//! share that have it, and which name each other: a commit counts what it changes, whatever the size of
//! the state. What nothing names any more is listed with that commit, and released later.
//!
//! The engine shows a change once it is durable. Readers therefore see what is durable and nothing
//! else. The index in memory follows a moment later, and the answer after that.
//!
//! When a write fails nobody can know what of it is durable: from then on every commit is answered
//! with [`StoreError::Unknown`], reads go on with what was durable, and [`Store::failed`] returns. How
//! the engine orders its syncs and goes on from what it finds stands in `engine`.

mod commit;
mod commit_group;
mod committer;
mod disk;
mod engine;
mod frame;
mod fronts;
mod intern;
mod keys;
mod leases;
mod lock;
mod options;
mod owners;
mod query;
mod readers;
mod reads;
mod recovery;
mod session_index;
mod tables;
pub(crate) mod upkeep;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};

use self::commit::{Commit, Draft};
use self::committer::Work;
use self::disk::Disk;
use self::leases::Leases;
use self::lock::{Lock, Temporary};
pub use self::options::{OpenError, Options};
use self::readers::Readers;
use self::session_index::SessionIndex;
use super::upkeep::Upkeep;
use super::{Expect, Retention, Store, StoreError, Transaction, Write};
use dormouse_base::clock::Clock;
use dormouse_base::memory::{Account, MemoryBudget, OutOfMemory};
use dormouse_base::shares::{Callers, FairSemaphore};
use dormouse_domain::event::Cursor;

/// Heavy transactions that are encoded and staged at a time; one principal has half of these places.
const HEAVY: usize = 8;

/// The store in a directory.
///
/// Dropping it without [`Store::close`] loses nothing that was acknowledged: the committer finishes
/// what waits and then lets go of the files, a moment later.
#[derive(Debug)]
pub struct Embedded {
    // Dropped before the queue: while it can be sent to, the committer holds `EmbeddedShared`, so that this
    // is never the last to hold it. The last one closes sled, which blocks.
    shared: Mutex<Option<Arc<EmbeddedShared>>>,
    queue: Mutex<Option<Sender<Work>>>,
    readers: Readers,
    closing: Mutex<Option<(oneshot::Receiver<()>, JoinHandle<()>)>>,
    clock: Clock,
    /// Places for transactions that are heavy.
    heavy: FairSemaphore,
    failed: watch::Receiver<Option<StoreError>>,
    end: watch::Receiver<Cursor>,
    secret: [u8; 32],
}

/// What the committer and the readers share. Fields are dropped in this order.
#[derive(Debug)]
struct EmbeddedShared {
    disk: Disk,
    index: RwLock<SessionIndex>,
    reserve: Arc<AtomicU64>,
    keep: Retention,
    commits: AtomicU64,
    groups: AtomicU64,
    /// How many counts of blobs have changed.
    counts: AtomicU64,
    /// How many blobs are listed to be released.
    unused: AtomicU64,
    leases: Arc<Leases>,
    failed: Arc<watch::Sender<Option<StoreError>>>,
    /// Where the log of events ends, for those who follow it.
    end: watch::Sender<Cursor>,
    /// Whether nobody waits any more for what takes long.
    closing: AtomicBool,
    _lock: Lock,
    _temporary: Option<Temporary>,
    /// Dropped when everything else is.
    _released: oneshot::Sender<()>,
}

impl Embedded {
    /// Open the store in this directory, or make one there. Blocks.
    ///
    /// # Errors
    /// [`OpenError`] says what is wrong with the directory. Damaged records are none of it: they
    /// are set aside and counted in [`StoreStats::quarantined`](crate::upkeep::StoreStats::quarantined).
    pub fn open(root: &Path, options: Options) -> Result<Embedded, OpenError> {
        Embedded::start(root, None, options).map_err(|error| error.of_directory(root))
    }

    /// A store in a directory of its own, which is removed when the store has closed. Blocks.
    ///
    /// # Errors
    /// As for [`Embedded::open`].
    pub fn temporary(options: Options) -> Result<Embedded, OpenError> {
        let failed = |error: OpenError| error.of_directory(&std::env::temp_dir());
        let temporary = Temporary::new(&options.clock).map_err(|error| failed(error.into()))?;
        let root = temporary.path().to_owned();
        Embedded::start(&root, Some(temporary), options.small()).map_err(failed)
    }

    fn start(
        root: &Path,
        temporary: Option<Temporary>,
        options: Options,
    ) -> Result<Embedded, OpenError> {
        let lock = Lock::take(root)?;
        recovery::refuse_earlier(root)?;
        let (failed, failure) = watch::channel(None);
        let failed = Arc::new(failed);
        let tell = Arc::clone(&failed);
        let disk = Disk::open(root, &options, Arc::new(move |reason| fail(&tell, reason)))
            .map_err(|error| upkeep::with_sessions(error, root, &options))?;
        let recovered = recovery::recover(&disk, &options.clock)?;
        let (log_end, end) = watch::channel(recovered.index.cursor);
        let (released, closed) = oneshot::channel();
        let keep = options.retention;
        let shared = Arc::new(EmbeddedShared {
            disk,
            index: RwLock::new(recovered.index),
            reserve: options.reserve_bytes,
            keep: Retention {
                snapshots: keep.snapshots.clamp(1, tables::snapshots::SNAPSHOTS),
                ..keep
            },
            commits: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            counts: AtomicU64::new(0),
            unused: AtomicU64::new(0),
            leases: Arc::default(),
            failed,
            end: log_end,
            closing: AtomicBool::new(false),
            _lock: lock,
            _temporary: temporary,
            _released: released,
        });
        let (queue, thread) =
            committer::start(Arc::clone(&shared), options.clock.clone(), recovered.left)?;
        Ok(Embedded {
            shared: Mutex::new(Some(shared)),
            queue: Mutex::new(Some(queue)),
            readers: Readers::start()?,
            closing: Mutex::new(Some((closed, thread))),
            clock: options.clock,
            heavy: FairSemaphore::new(HEAVY, Callers::several()),
            failed: failure,
            end,
            secret: recovered.secret,
        })
    }

    /// Charge what the index takes in memory to this budget from now on, whatever it says: the sessions
    /// that there are stay. New ones are refused that would take more than the index may.
    pub fn charge_to(&self, memory: &MemoryBudget) {
        if let Some(shared) = held(&self.shared).as_ref() {
            shared.index_mut().charge_to(memory);
        }
    }

    /// What new sessions will take in memory, charged until the index pays for it.
    fn reserve(&self, transaction: &Transaction) -> Result<Option<Account>, StoreError> {
        let is_new = |expect: &Expect| matches!(expect, Expect::NewSession(_));
        if !transaction.expect.iter().any(is_new) {
            return Ok(None);
        }
        let shared = self.opened()?;
        let new = transaction.writes.iter().filter_map(Write::new_session);
        let Some((mut account, bytes)) = shared.index().room_for(new)? else { return Ok(None) };
        account.charge(bytes).map_err(|OutOfMemory| StoreError::OutOfMemory)?;
        Ok(Some(account))
    }

    /// Read on a thread of the store, unless the caller goes away before its turn comes.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&EmbeddedShared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.read(self.opened()?, read).await
    }

    /// Do what takes long, or writes, where it may block and is in nobody's way. Once begun it is done to
    /// the end, whether or not the caller is still there.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&EmbeddedShared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.opened()?;
        // sled panics where it finds its own files damaged.
        let panicked = |error: tokio::task::JoinError| StoreError::Io(error.to_string().into());
        tokio::task::spawn_blocking(move || work(&shared)).await.map_err(panicked)?
    }

    /// Ask what memory knows of what is durable: at once.
    fn ask<T>(&self, ask: impl FnOnce(&SessionIndex) -> T) -> Result<T, StoreError> {
        Ok(ask(&self.opened()?.index()))
    }

    fn opened(&self) -> Result<Arc<EmbeddedShared>, StoreError> {
        held(&self.shared).clone().ok_or(StoreError::Closed)
    }

    /// Queue what has been encoded already, and wait until it is durable.
    async fn queue(&self, draft: Draft) -> Result<(), StoreError> {
        let queue = held(&self.queue).clone().ok_or(StoreError::Closed)?;
        let since = self.clock.monotonic();
        let (answer, answered) = oneshot::channel();
        if draft.has_large() {
            self.queue_blocking(queue, |_| Ok(draft), since, answer).await?;
        } else {
            let commit = Commit { encoded: draft.into_encoded(), since, answer };
            queue.send(Work::Commit(Box::new(commit))).await.map_err(|_| self.gone())?;
        }
        answered.await.map_err(|_| self.gone())?
    }

    /// Encode a heavy transaction where that may block, queue it, and wait until it is durable. A few are
    /// encoded and staged at a time, principals in turns: what they hold twice for that is bounded, and the
    /// disk is left to the log.
    async fn queue_heavy(&self, transaction: Transaction) -> Result<(), StoreError> {
        let owner = {
            let shared = self.opened()?;
            commit::owner(&transaction, |id| shared.index().owner(id))
        };
        let admitted = self.heavy.wait(&owner).await;
        let queue = held(&self.queue).clone().ok_or(StoreError::Closed)?;
        let since = self.clock.monotonic();
        let (answer, answered) = oneshot::channel();
        let draft = move |shared: &_| Draft::new(transaction, Some(shared));
        self.queue_blocking(queue, draft, since, answer).await?;
        drop(admitted);
        answered.await.map_err(|_| self.gone())?
    }

    /// Stage what is large of a commit and queue it.
    async fn queue_blocking(
        &self,
        queue: Sender<Work>,
        draft: impl FnOnce(&EmbeddedShared) -> Result<Draft, StoreError> + Send + 'static,
        since: Duration,
        answer: oneshot::Sender<Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let gone = self.gone();
        self.work(move |shared| {
            let draft = draft(shared)?;
            if let Some(failure) = shared.failure() {
                return Err(failure);
            }
            if shared.is_full(draft.large_bytes()) {
                return Err(StoreError::Full);
            }
            let commit = Commit { encoded: draft.stage(shared)?, since, answer };
            queue.blocking_send(Work::Commit(Box::new(commit))).map_err(|_| gone)
        })
        .await
    }

    /// Why nobody answers.
    fn gone(&self) -> StoreError {
        self.failed.borrow().clone().unwrap_or(StoreError::Closed)
    }
}

impl EmbeddedShared {
    fn index(&self) -> RwLockReadGuard<'_, SessionIndex> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, SessionIndex> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take no more writes.
    fn fail(&self, reason: Arc<str>) {
        fail(&self.failed, reason);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    fn failure(&self) -> Option<StoreError> {
        self.failed.borrow().clone()
    }

    /// Whether there is no room for this many bytes. Asked each time: space may have come back.
    fn is_full(&self, bytes: usize) -> bool {
        let needed = self.reserve.load(Ordering::Relaxed).saturating_add(bytes as u64);
        match self.disk.free() {
            Ok(free) => free < needed,
            Err(error) => {
                tracing::warn!(%error, "it cannot be learned how full the disk is");
                false
            }
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        let _reserved = self.reserve(&transaction)?;
        if commit::is_heavy(&transaction) {
            self.queue_heavy(transaction).await
        } else {
            self.queue(Draft::new(transaction, None)?).await
        }
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        Some(self)
    }

    async fn failed(&self) -> StoreError {
        let mut failed = self.failed.clone();
        let reason = failed.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            // It has closed, and cannot fail any more.
            None => std::future::pending().await,
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        // In this order, as when it is dropped.
        if let Some(shared) = held(&self.shared).take() {
            shared.closing.store(true, Ordering::Relaxed);
        }
        drop(held(&self.queue).take());
        let closing = held(&self.closing).take();
        if let Some((released, thread)) = closing {
            // It is never sent to: that it is dropped says that all is released.
            let _ = released.await;
            let readers = self.readers.close();
            let join = move || {
                let readers = readers.into_iter().map(JoinHandle::join);
                readers.fold(thread.join(), |ended, reader| ended.and(reader))
            };
            if !matches!(tokio::task::spawn_blocking(join).await, Ok(Ok(()))) {
                return Err(StoreError::Io("a thread of the store panicked".into()));
            }
        }
        self.failed.borrow().clone().map_or(Ok(()), Err)
    }
}

/// Say that nothing more is written, unless that has been said.
fn fail(failed: &watch::Sender<Option<StoreError>>, reason: Arc<str>) {
    failed.send_if_modified(|failed| {
        let first = failed.is_none();
        if first {
            tracing::error!(%reason, "the store has failed and takes no more writes");
        }
        failed.get_or_insert(StoreError::Unknown(reason));
        first
    });
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
