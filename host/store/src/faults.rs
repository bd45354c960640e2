//! A store whose commits fail when they are told to: for those who test what they do about it.

mod reads;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::upkeep::Upkeep;
use super::{Store, StoreError, Transaction, WorldRow, Write};
use dormouse_domain::id::SessionId;

/// A commit that is about to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommitAttempt {
    /// What it is for.
    pub kind: CommitKind,
    /// The session of a turn and of its effects.
    pub session: Option<SessionId>,
}

/// What a commit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitKind {
    /// An effect of a turn is noted before it leaves the host, the first one with its turn.
    EffectBegun,
    /// The answer to an effect is noted before the guest is told.
    EffectAnswered,
    /// A turn that was cut off is counted before it is run again.
    TurnAttempt,
    /// A turn is over.
    Turn,
    /// What has come of ticks of a simulation.
    SimulationTicks,
    /// Anything else: sessions, snapshots, agents, keys, what becomes of them.
    Other,
}

/// How a commit fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// As on a full disk: nothing is written, the caller gets [`StoreError::Full`], and the store goes on.
    Full,
    /// As when a write fails: nothing is written, and nobody can know that. The caller gets
    /// [`StoreError::Unknown`], and the store takes no more writes.
    Lost,
    /// The same, but all of it is written, and is there after a restart.
    Untold,
}

/// Says which commits fail.
pub type CommitFaults = dyn Fn(CommitAttempt) -> Option<CommitFault> + Send + Sync;

/// A store, but for the commits that fail.
pub struct FaultyStore {
    store: Arc<dyn Store>,
    faults: Box<CommitFaults>,
    /// Whether it takes no more writes.
    has_failed: watch::Sender<bool>,
}

impl FaultyStore {
    /// This store, but for the commits that `faults` says. It is asked once for each commit, in no order where
    /// there are several at a time.
    pub fn new(store: Arc<dyn Store>, faults: Box<CommitFaults>) -> FaultyStore {
        FaultyStore { store, faults, has_failed: watch::Sender::new(false) }
    }
}

impl CommitAttempt {
    fn of(transaction: &Transaction) -> CommitAttempt {
        let kinds = transaction.writes.iter().filter_map(|write| match write {
            Write::Turn(turn) => Some((CommitKind::Turn, Some(turn.session))),
            Write::JournalEntry(session, entry) if entry.answer.is_some() => {
                Some((CommitKind::EffectAnswered, Some(*session)))
            }
            Write::JournalEntry(session, _) => Some((CommitKind::EffectBegun, Some(*session))),
            Write::TurnAttempts(session, _) => Some((CommitKind::TurnAttempt, Some(*session))),
            Write::World(WorldRow::Ticks(..), _) => Some((CommitKind::SimulationTicks, None)),
            Write::Session { .. }
            | Write::RemoveState(_)
            | Write::Slept(..)
            | Write::ResumeTried(..)
            | Write::OpenTurn(_)
            | Write::CloseTurn(_)
            | Write::Mail(..)
            | Write::TakeMail(..)
            | Write::DropMail(_)
            | Write::NewAccount(_)
            | Write::ChangeAccount(..)
            | Write::RemoveSession(_)
            | Write::Template(_)
            | Write::RemoveTemplate(..)
            | Write::Agent(..)
            | Write::RemoveAgent(_)
            | Write::Idempotency(_)
            | Write::RemoveIdempotency(_)
            | Write::Key(_)
            | Write::RemoveKey(_)
            | Write::Schedule(_)
            | Write::ScheduledWork(..)
            | Write::RemoveSchedule(_)
            | Write::World(..) => None,
        });
        // The first attempt at a turn is counted with its first effect, which stands behind it.
        match kinds.last() {
            Some((kind, session)) => CommitAttempt { kind, session },
            None => CommitAttempt { kind: CommitKind::Other, session: None },
        }
    }
}

fn unknown() -> StoreError {
    StoreError::Unknown("a fault was injected".into())
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, transaction: Transaction) -> Result<(), StoreError> {
        if *self.has_failed.borrow() {
            return Err(unknown());
        }
        match (self.faults)(CommitAttempt::of(&transaction)) {
            None => self.store.commit(transaction).await,
            Some(CommitFault::Full) => Err(StoreError::Full),
            Some(CommitFault::Lost) => {
                self.has_failed.send_replace(true);
                Err(unknown())
            }
            Some(CommitFault::Untold) => {
                self.has_failed.send_replace(true);
                self.store.commit(transaction).await?;
                Err(unknown())
            }
        }
    }

    fn secret(&self) -> [u8; 32] {
        self.store.secret()
    }

    fn upkeep(&self) -> Option<&dyn Upkeep> {
        self.store.upkeep()
    }

    async fn failed(&self) -> StoreError {
        let mut has_failed = self.has_failed.subscribe();
        tokio::select! {
            error = self.store.failed() => error,
            // The sender lives as long as this.
            _ = has_failed.wait_for(|has_failed| *has_failed) => unknown(),
        }
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[cfg(test)]
mod tests;
