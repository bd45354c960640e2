//! Other databases behind the same group commit, so that what is compared is the databases.
//!
//! They are given less to do than the store of the host has: bytes of the same sizes, which nobody
//! encodes, checks or lists.

#[cfg(feature = "rivals")]
pub mod fjall;
pub mod sled;
#[cfg(feature = "rivals")]
pub mod sqlite;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use dormouse::Retention;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

use crate::target::Target;
use crate::world::{EVENTS, RECORD, STATE, Step, TURN, World};

/// What is compared, in words.
pub const RULES: [&str; 5] = [
    "a turn replaces record and snapshot, adds a turn and an event; what waits shares one durable commit",
    "Dormouse: as the host writes it, encoded, checksummed, indexed for listings; 16 snapshots or the newest",
    "sled 0.34: a key for record and snapshot, one for each turn, one for each event; batch, flush, fsync",
    "fjall 3: a keyspace each for records, snapshots, turns, events; batch with SyncAll, no compression",
    "SQLite: a table each for them, without rowids; a transaction for a group; WAL, synchronous = FULL",
];

/// The memory that pages may take, for each: as much as the host gives its store.
const CACHE: u64 = 256 << 20;
/// The most writes of one group.
const GROUP: usize = 1024;
/// A group takes no more when it is larger than this, in bytes.
const BYTES: usize = 8 << 20;
/// How many writes can wait before writers have to.
const QUEUE: usize = 1024;

/// What one turn, or the creation of a session, writes.
pub struct Write {
    /// The name of the session.
    pub session: [u8; 16],
    /// The number of the turn. 0: the session is new, and there is neither turn nor event.
    pub turn: u32,
    /// The place of the event.
    pub event: u64,
    /// The record, replaced.
    pub record: Bytes,
    /// The snapshot, replaced.
    pub snapshot: Bytes,
    /// The row of the turn.
    pub row: Bytes,
    /// The row of the event.
    pub told: Bytes,
}

impl Write {
    /// The key of the row of its turn: ordered by session and number.
    pub fn row_key(&self) -> [u8; 20] {
        row_key(self.session, self.turn)
    }
}

/// The key of the row of a turn.
fn row_key(session: [u8; 16], turn: u32) -> [u8; 20] {
    let mut key = [0; 20];
    key[..16].copy_from_slice(&session);
    key[16..].copy_from_slice(&turn.to_be_bytes());
    key
}

/// A database that makes groups durable. Its methods block.
pub trait Database: Send + Sync + 'static {
    /// Make groups durable, one after the other, until there are no more.
    fn serve(&self, groups: Groups) -> Result<()>;

    /// The record of a session and its snapshot.
    fn session(&self, session: [u8; 16]) -> Result<Option<[Vec<u8>; 2]>>;

    /// The row of a turn.
    fn row(&self, session: [u8; 16], turn: u32) -> Result<Option<Vec<u8>>>;
}

/// A database behind a thread that gathers what waits.
pub struct Grouped<D> {
    world: World,
    database: Arc<D>,
    groups: Arc<AtomicU64>,
    queue: Mutex<Option<Sender<Waiting>>>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

struct Waiting {
    write: Write,
    answer: oneshot::Sender<()>,
}

impl<D: Database> Grouped<D> {
    /// Start the thread.
    pub fn start(database: D, world: &World) -> Result<Grouped<D>> {
        let (queue, waiting) = channel(QUEUE);
        let (database, groups) = (Arc::new(database), Arc::new(AtomicU64::new(0)));
        let thread = {
            let (database, groups) = (Arc::clone(&database), Arc::clone(&groups));
            std::thread::spawn(move || database.serve(Groups { waiting, groups }))
        };
        Ok(Grouped {
            world: world.clone(),
            database,
            groups,
            queue: Mutex::new(Some(queue)),
            thread: Mutex::new(Some(thread)),
        })
    }

    fn bytes(&self, session: u32, turn: u32) -> Write {
        let bytes = |length| self.world.bytes(session, turn, length);
        Write {
            session: self.name(session),
            turn,
            event: 0,
            record: bytes(RECORD),
            snapshot: bytes(STATE),
            row: bytes(TURN),
            told: bytes(EVENTS),
        }
    }

    fn name(&self, session: u32) -> [u8; 16] {
        *self.world.id(session).0.as_bytes()
    }

    async fn queued(&self, write: Write) -> Result<oneshot::Receiver<()>> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (answer, answered) = oneshot::channel();
        let queue = queue.context("it is closed")?;
        // Nobody takes it where a write has failed: then there is no answer either.
        let _ = queue.send(Waiting { write, answer }).await;
        Ok(answered)
    }

    async fn answer(&self, answered: oneshot::Receiver<()>) -> Result<()> {
        if answered.await.is_ok() {
            return Ok(());
        }
        self.end().await?;
        bail!("the thread that writes has ended")
    }

    /// Wait until the thread has ended, and learn how.
    async fn end(&self) -> Result<()> {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        let ended = tokio::task::spawn_blocking(move || thread.join()).await?;
        ended.map_err(|_| anyhow!("the thread that writes has panicked"))?
    }
}

/// What waits, group by group.
pub struct Groups {
    waiting: Receiver<Waiting>,
    groups: Arc<AtomicU64>,
}

impl Groups {
    /// Take what waits, make it durable, answer; until nobody sends any more.
    pub fn each(mut self, mut write: impl FnMut(&[Write]) -> Result<()>) -> Result<()> {
        let mut events = 0;
        while let Some(first) = self.waiting.blocking_recv() {
            let (mut writes, mut answers, mut bytes) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(Waiting { write: mut taken, answer }) = next {
                events += 1;
                taken.event = events;
                bytes += taken.snapshot.len() + RECORD + TURN + EVENTS;
                writes.push(taken);
                answers.push(answer);
                let full = writes.len() >= GROUP || bytes >= BYTES;
                next = if full { None } else { self.waiting.try_recv().ok() };
            }
            write(&writes)?;
            self.groups.fetch_add(1, Ordering::Relaxed);
            for answer in answers {
                // Whoever waited may have gone.
                let _ = answer.send(());
            }
        }
        Ok(())
    }
}

impl<D: Database> Target for Grouped<D> {
    async fn create(&self, sessions: Range<u32>) -> Result<()> {
        let mut answers = Vec::new();
        for session in sessions {
            answers.push(self.queued(self.bytes(session, 0)).await?);
        }
        for answered in answers {
            self.answer(answered).await?;
        }
        Ok(())
    }

    async fn turn(&self, step: Step) -> Result<()> {
        let answered = self.queued(self.bytes(step.session, step.turn)).await?;
        self.answer(answered).await
    }

    async fn check(&self, session: u32, turns: u32) -> Result<()> {
        let name = self.name(session);
        let written = self.bytes(session, turns);
        let found = self.database.session(name)?;
        let [record, snapshot] = found.with_context(|| format!("session {session} is lost"))?;
        ensure!(record == written.record, "session {session} has another record");
        ensure!(snapshot == written.snapshot, "session {session} has another snapshot");
        if turns > 0 {
            let row = self.database.row(name, turns)?;
            let row = row.with_context(|| format!("turn {turns} of session {session} is lost"))?;
            ensure!(row == written.row, "turn {turns} of session {session} is another one");
        }
        Ok(())
    }

    fn groups(&self) -> u64 {
        self.groups.load(Ordering::Relaxed)
    }

    fn kept(&self) -> Retention {
        // All turns, and each event of a turn.
        Retention { snapshots: 1, turns: u64::MAX, events: u64::MAX, ..Retention::default() }
    }

    async fn close(&self) -> Result<()> {
        self.end().await
    }
}
