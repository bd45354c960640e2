//! Two hosts with the same sessions: in one of them nothing ever sleeps.
//!
//! Twins have the same id and the same secret behind their randomness: they are one store, copied. Both
//! hosts go by one clock.

use std::path::Path;
use std::time::Duration;

use dormouse::{
    Fork, ManualClock, NewSession, OrderError, Pattern, Reply, Residency, SendError, Session,
    SessionHandle, SessionId, TurnRecord,
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
    /// Forks of the session, which take its next turn as well.
    forks: Vec<SessionId>,
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
        Twins { clock, directories, awake, asleep, unused, rival, forks: Vec::new() }
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
        id: SessionId,
    ) -> Result<(), TestCaseError> {
        let expected = match event {
            Event::Sleep => self.sleeper(id).sleep().await.unwrap().residency,
            Event::Nap => {
                self.sleeper(id).sleep().await.unwrap();
                match self.sleeper(id).wake().await {
                    Ok(_) => Residency::Resident,
                    Err(OrderError::NotActive(_)) => Residency::Asleep,
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
            Event::Fork(detour) => return self.fork(id, detour).await,
            Event::Pass(millis) => {
                self.clock.advance(Duration::from_millis(u64::from(*millis)));
                return Ok(());
            }
        };
        let sight = self.sleeper(id).look().await.unwrap();
        prop_assert_eq!(sight.residency, expected);
        Ok(())
    }

    /// Fork the session, let the fork go another way, and back to where it was forked.
    async fn fork(&mut self, id: SessionId, detour: &[Program]) -> Result<(), TestCaseError> {
        let before = self.sleeper(id).look().await.unwrap().session;
        if before.head.is_none() || before.state.status().is_final() {
            // What it has drawn on its start is the fork's own.
            return Ok(());
        }
        let fork = &self.sleeper(id).fork(Fork::default()).await.unwrap()[0].session;
        let (fork, head) = (fork.id, fork.head.expect("it has its parent's state"));
        for program in detour {
            let _ = self.sleeper(fork).send(program.to_string()).await;
        }
        if !detour.is_empty() {
            self.sleeper(fork).rewind(head).await.unwrap();
        }
        self.forks.push(fork);
        Ok(())
    }

    /// The same turn for both, and for the forks. Returns the answer, if it is one.
    pub(super) async fn turn(
        &mut self,
        id: SessionId,
        program: &Program,
    ) -> Result<Option<String>, TestCaseError> {
        let text = program.to_string();
        let forks: Vec<_> = self.forks.drain(..).collect();
        let (waker, sleeper) = (self.waker(id), self.sleeper(id));
        let (expected, found) = join(waker.send(text.as_str()), sleeper.send(text.as_str())).await;
        prop_assert_eq!(told(&found), told(&expected));
        for fork in forks {
            let fork = self.sleeper(fork);
            if program.draws_nothing() {
                let found = fork.send(text.as_str()).await;
                prop_assert_eq!(told_of_fork(&found), told_of_fork(&expected));
            }
            fork.delete().await.unwrap();
        }
        let Ok(reply) = expected else { return Ok(None) };
        prop_assert!(reply.is_durable());
        prop_assert_eq!(reply.session.residency, Residency::Resident);
        Ok(Some(reply.text()))
    }

    /// What is kept of this session is the same in both hosts.
    pub(super) async fn compare_records(&self, id: SessionId) -> Result<(), TestCaseError> {
        let kept = async |session: SessionHandle| {
            let turns = session.turns(0, 1_000).await.unwrap();
            let Session { usage, state, consecutive_failures, .. } =
                session.look().await.unwrap().session;
            (turns.iter().map(seen).collect::<Vec<_>>(), usage, state, consecutive_failures)
        };
        let (expected, found) = join(kept(self.waker(id)), kept(self.sleeper(id))).await;
        prop_assert_eq!(found, expected);
        // The case is over, and others need its memory.
        self.waker(id).sleep().await.unwrap();
        Ok(())
    }

    pub(super) async fn shut_down(self) {
        self.awake.shut_down().await;
        if let Some(host) = self.asleep {
            host.shut_down().await;
        }
    }

    fn waker(&self, id: SessionId) -> SessionHandle {
        self.awake.host.sessions().get(id)
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

/// What is the same for a fork: everything but the number of the turn.
fn told_of_fork(sent: &Result<Reply, SendError>) -> String {
    let turn = match sent {
        Ok(reply) => TurnRecord { number: 0, ..reply.turn.clone() },
        Err(SendError::Failed(ended)) => TurnRecord { number: 0, ..ended.turn.clone() },
        Err(error) => return error.to_string(),
    };
    seen(&turn)
}

fn told(sent: &Result<Reply, SendError>) -> String {
    match sent {
        Ok(reply) => seen(&reply.turn),
        Err(SendError::Failed(ended)) => seen(&ended.turn),
        Err(error) => error.to_string(),
    }
}
