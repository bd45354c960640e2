//! Two hosts with the same sessions: in one of them nothing ever sleeps.
//!
//! Twins have the same id and the same secret behind their randomness: they are one store, copied. Both
//! hosts go by one clock.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dormouse::{
    CommandError, Fork, ManualClock, NewSession, Pattern, Reply, Residency, SendError, Session,
    SessionHandle, SessionId, SessionInfo, SnapshotId, TurnOutcome,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use futures::future::{join, join_all};
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::images::{copy, seen};
use super::Event;
use super::program::Program;

/// Sessions of one pair of hosts: a start takes the longer, the more there are.
const SESSIONS: usize = 128;
/// Enough for any program that ends, and soon used up by one that does not.
const MAX_FUEL_PER_TURN: u64 = 30_000_000;
const MAX_MEMORY_BYTES: u64 = 16 << 20;

/// A session of both hosts.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) waker: SessionId,
    pub(super) sleeper: SessionId,
}

/// What both have answered, and the names of the snapshots after it.
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) snapshots: [SnapshotId; 2],
}

pub(super) struct Twins {
    clock: ManualClock,
    directories: [TempDir; 2],
    /// The host in which nothing sleeps.
    awake: TestHost,
    /// The other, with room for one instance. `None` between two lives of it.
    asleep: Option<TestHost>,
    unused: Vec<SessionId>,
    /// Whose instance takes the place of any other.
    rival: SessionId,
}

impl Twins {
    /// Two hosts with sessions that nobody has spoken to.
    pub(super) async fn new() -> Twins {
        let clock = ManualClock::new();
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [one, other] = directories.each_ref().map(TempDir::path);
        let first = TestHost::on(one, &clock).await;
        let rival = first.bundled("counter", Pattern::LongRunning).await.id();
        let agent = first.upload(&guests::RUNS_PROGRAMS).await;
        let new = NewSession {
            max_fuel_per_turn: Some(MAX_FUEL_PER_TURN),
            max_memory_bytes: Some(MAX_MEMORY_BYTES),
            require_durable: true,
            ..NewSession::with_agent(agent).pattern(Pattern::LongRunning)
        };
        let sessions = first.host.sessions();
        let created = join_all((0..SESSIONS).map(|_| sessions.create(new.clone()))).await;
        let unused = created.into_iter().map(|session| session.unwrap().id()).collect();
        drop(sessions);
        first.shut_down().await;
        copy(one, other);
        let awake = TestHost::on(one, &clock).await;
        let asleep = Some(start(other, &clock).await);
        Twins { clock, directories, awake, asleep, unused, rival }
    }

    /// A session that is new in both hosts.
    pub(super) async fn next_session(&mut self) -> SessionId {
        if self.asleep.is_none() || self.unused.is_empty() {
            let fresh = Twins::new().await;
            std::mem::replace(self, fresh).shut_down().await;
        }
        self.unused.pop().expect("a new pair has sessions")
    }

    /// Let something happen before a turn of this session.
    pub(super) async fn undergo(
        &mut self,
        event: &Event,
        Pair { sleeper: id, .. }: Pair,
    ) -> Result<(), TestCaseError> {
        let expected = match event {
            Event::Sleep => self.sleeper(id).sleep().await.unwrap().residency,
            Event::Nap => {
                self.sleeper(id).sleep().await.unwrap();
                match self.sleeper(id).wake().await {
                    Ok(_) => Residency::Resident,
                    Err(CommandError::NotActive(_)) => Residency::Asleep,
                    Err(error) => return Err(TestCaseError::fail(error.to_string())),
                }
            }
            Event::Evict => {
                self.sleeper(self.rival).send("make room").await.unwrap();
                Residency::Asleep
            }
            Event::Restart => {
                self.asleep.take().expect(ALIVE).shut_down().await;
                self.asleep = Some(start(self.directories[1].path(), &self.clock).await);
                Residency::Asleep
            }
            Event::Abandon => {
                drop(self.asleep.take());
                self.asleep = Some(start(self.directories[1].path(), &self.clock).await);
                Residency::Asleep
            }
            Event::Pass(millis) => {
                self.clock.advance(Duration::from_millis(u64::from(*millis)));
                return Ok(());
            }
            Event::Fork | Event::Rewind(_) => unreachable!("these are not for the sleeper alone"),
        };
        let sight = self.sleeper(id).info().await.unwrap();
        prop_assert_eq!(sight.residency, expected);
        Ok(())
    }

    /// The same turn for both. Returns the answer, if it is one.
    pub(super) async fn turn(
        &self,
        pair: Pair,
        program: &Program,
    ) -> Result<Option<Answer>, TestCaseError> {
        let [waker, sleeper] = self.both(pair);
        let text = program.to_string();
        let (expected, found) = join(waker.send(text.clone()), sleeper.send(text)).await;
        prop_assert_eq!(told(&found), told(&expected));
        let (Ok(expected), Ok(found)) = (expected, found) else { return Ok(None) };
        prop_assert_eq!(expected.session.residency, Residency::Resident);
        let snapshots = [snapshot(&expected)?, snapshot(&found)?];
        Ok(Some(Answer { text: expected.text(), snapshots }))
    }

    /// Fork both. `None`: neither can be.
    pub(super) async fn fork(&self, pair: Pair) -> Result<Option<Pair>, TestCaseError> {
        let [waker, sleeper] = self.both(pair);
        let forked = join(waker.fork(Fork::default()), sleeper.fork(Fork::default())).await;
        let of = |forks: &[SessionInfo]| forks[0].session.id;
        match forked {
            (Ok(waker), Ok(sleeper)) => Ok(Some(Pair { waker: of(&waker), sleeper: of(&sleeper) })),
            (Err(_), Err(_)) => Ok(None),
            (waker, sleeper) => Err(TestCaseError::fail(format!("{waker:?}, {sleeper:?}"))),
        }
    }

    /// Take both back to these snapshots of theirs. Answers whether they are there.
    pub(super) async fn rewind(
        &self,
        pair: Pair,
        [waker_to, sleeper_to]: [SnapshotId; 2],
    ) -> Result<bool, TestCaseError> {
        let [waker, sleeper] = self.both(pair);
        let (expected, found) = join(waker.rewind(waker_to), sleeper.rewind(sleeper_to)).await;
        prop_assert_eq!(found.is_ok(), expected.is_ok(), "{:?}, {:?}", expected, found);
        Ok(found.is_ok())
    }

    /// What is kept of this session is the same in both hosts.
    pub(super) async fn compare_records(&self, pair: Pair) -> Result<(), TestCaseError> {
        let [waker, sleeper] = self.both(pair);
        let kept = async |session: SessionHandle| {
            let turns = session.turns(0, 1_000).await.unwrap().entries;
            let Session { usage, state, consecutive_failures, .. } =
                Arc::unwrap_or_clone(session.info().await.unwrap().session);
            // All of the bill, but for the line that is of sleeping itself.
            let usage = (usage.turns, usage.fuel, usage.cost - usage.start_cost);
            (turns.iter().map(seen).collect::<Vec<_>>(), usage, state, consecutive_failures)
        };
        let (expected, found) = join(kept(waker.clone()), kept(sleeper)).await;
        prop_assert_eq!(found, expected);
        // The case is over, and others need its memory.
        waker.sleep().await.unwrap();
        Ok(())
    }

    pub(super) async fn shut_down(self) {
        self.awake.shut_down().await;
        if let Some(host) = self.asleep {
            host.shut_down().await;
        }
    }

    fn both(&self, Pair { waker, sleeper }: Pair) -> [SessionHandle; 2] {
        [self.awake.host.sessions().get(waker), self.sleeper(sleeper)]
    }

    fn sleeper(&self, id: SessionId) -> SessionHandle {
        self.asleep.as_ref().expect(ALIVE).host.sessions().get(id)
    }
}

const ALIVE: &str = "it is alive between two events";

/// Start the host in which sessions sleep.
async fn start(directory: &Path, clock: &ManualClock) -> TestHost {
    TestHost::on_with(directory, clock, |options| options.max_residents = 1).await
}

fn snapshot(reply: &Reply) -> Result<SnapshotId, TestCaseError> {
    match reply.turn.outcome {
        TurnOutcome::Answered { snapshot: Some(snapshot), .. } => Ok(snapshot),
        _ => Err(TestCaseError::fail("the turn is not durable")),
    }
}

fn told(sent: &Result<Reply, SendError>) -> String {
    match sent {
        Ok(reply) => seen(&reply.turn),
        Err(SendError::Failed(ended)) => seen(&ended.turn),
        Err(error) => error.to_string(),
    }
}
