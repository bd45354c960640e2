//! What is measured: a store that takes turns.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use dormouse::{GuestState, Retention, TurnOutcome};
use dormouse_store::embedded::{Embedded, Options};
use dormouse_store::{Store, Transaction};

use crate::world::{Step, World};

/// A store that takes turns. What a method has returned from is durable.
pub trait Target: Send + Sync + 'static {
    /// Create these sessions, at most 256.
    fn create(&self, sessions: Range<u32>) -> impl Future<Output = Result<()>> + Send;

    /// Commit a turn.
    fn turn(&self, step: Step) -> impl Future<Output = Result<()>> + Send;

    /// Fails unless this session has had so many turns, and the last of them is there whole.
    fn check(&self, session: u32, turns: u32) -> impl Future<Output = Result<()>> + Send;

    /// How many groups of turns it has made durable.
    fn groups(&self) -> u64;

    /// What it keeps of the past.
    fn kept(&self) -> Retention;

    /// Close it in order.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

/// The store of the host.
pub struct Dormouse {
    /// The store.
    pub store: Arc<dyn Store>,
    /// What is in it.
    pub world: World,
    kept: Retention,
}

impl Dormouse {
    /// Open it, as the host does. Blocks.
    pub fn open(directory: &Path, world: &World, options: Options) -> Result<Dormouse> {
        let kept = options.retention;
        let store = Arc::new(Embedded::open(directory, options)?);
        Ok(Dormouse { store, world: world.clone(), kept })
    }

    /// How many turns a session has had, from its record.
    pub async fn turns(&self, session: u32) -> Result<u32> {
        let record = self.store.session(self.world.id(session)).await?;
        let turns = record.with_context(|| format!("session {session} is lost"))?.usage.turns;
        Ok(u32::try_from(turns)?)
    }
}

impl Target for Dormouse {
    async fn create(&self, sessions: Range<u32>) -> Result<()> {
        let created = sessions.clone().map(|session| self.world.creation(session)).collect();
        let events = sessions.map(|session| self.world.created(session)).collect();
        Ok(self.store.commit(Transaction::create(created, events)).await?)
    }

    async fn turn(&self, step: Step) -> Result<()> {
        Ok(self.store.commit(Transaction::turn(self.world.commit(step))).await?)
    }

    async fn check(&self, session: u32, turns: u32) -> Result<()> {
        let id = self.world.id(session);
        let wake_state = self.store.wake_state(id).await?;
        let wake_state = wake_state.with_context(|| format!("session {session} is lost"))?;
        let (record, head) = (wake_state.session, wake_state.head.context("the head is lost")?);
        let found = record.usage.turns;
        ensure!(found == u64::from(turns), "session {session} has {found} turns, not {turns}");
        ensure!(record.revision == found + 1, "session {session} is of another revision");
        ensure!(Some(head.id) == record.head, "session {session} has another head");
        let state = whole(&head.state)?;
        let expected = self.world.bytes(session, turns, state.len());
        ensure!(state == expected, "session {session} has another state");
        if turns > 0 {
            let turn = self.store.turn(id, found).await?;
            let turn =
                turn.with_context(|| format!("turn {turns} of session {session} is lost"))?;
            let TurnOutcome::Answered { snapshot, .. } = turn.outcome else {
                bail!("turn {turns} of session {session} is another one");
            };
            ensure!(snapshot == record.head, "turn {turns} of session {session} is another one");
        }
        Ok(())
    }

    fn groups(&self) -> u64 {
        self.store.upkeep().map_or(0, |upkeep| upkeep.stats().groups)
    }

    fn kept(&self) -> Retention {
        self.kept
    }

    async fn close(&self) -> Result<()> {
        Ok(self.store.close().await?)
    }
}

/// The bytes of a state, put together.
fn whole(state: &GuestState) -> Result<Bytes> {
    match state {
        GuestState::Portable { .. } | GuestState::Nothing => bail!("the state is in another form"),
        GuestState::Image { data, chunks } if chunks.is_empty() => Ok(data.clone()),
        GuestState::Image { chunks, .. } => {
            let mut whole = Vec::new();
            for chunk in chunks {
                whole
                    .extend_from_slice(chunk.data.as_ref().context("a chunk is without its data")?);
            }
            Ok(Bytes::from(whole))
        }
    }
}
