//! Random histories of a family: turns that ask models, ends of the host in the middle of them, turns that are ended
//! by hand, forks, rewinds and sleeps. Whatever happens, each call is told the one answer that was paid for, each
//! request of the provider stands in one bill, and the bills add up to the nano-dollar.
//!
//! `DORMOUSE_FUZZ_CASES` and `DORMOUSE_FUZZ_SEED` make it longer, and repeat it.

use std::sync::Arc;

use dormouse::{
    Bill, EffectOutcome, Fork, ManualClock, Message, NanoUsd, SendError, SessionHandle, SessionId,
};
use dormouse_test_guests as guests;
use dormouse_tests::faults::{Cut, CutOff};
use dormouse_tests::fuzz::Random;
use dormouse_tests::provider::{Asked, Play};
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use serde_json::json;

use super::judge::{adds_up, asked, judge};
use super::{PRICE, answers, results};
use crate::fuzz::cases;

/// Steps of one history.
const STEPS: usize = 14;
/// Calls of one turn at the most.
const CALLS: usize = 5;
/// Sessions of one family at the most.
const FORKS: usize = 4;

/// What becomes of a session, as the model has it.
struct Known {
    id: SessionId,
    /// What each of its turns has asked, and been told: nothing, where it was ended by hand.
    turns: Vec<(Vec<String>, Option<Vec<String>>)>,
    is_ended: bool,
}

/// A host, and what must be true of it.
struct History {
    directory: tempfile::TempDir,
    clock: ManualClock,
    provider: ProviderServer,
    faults: Arc<CutOff>,
    /// `None` while one ends and another starts.
    test: Option<TestHost>,
    random: Random,
    sessions: Vec<Known>,
    turns: usize,
}

/// Refuses some calls when they come first, and says nothing to those that are to wait.
async fn provider() -> ProviderServer {
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    ProviderServer::start(move |asked: &Asked| {
        let is_first = seen.lock().unwrap().insert(asked.text.clone());
        if asked.text.ends_with("waits") {
            Play::Waits("never".to_owned())
        } else if is_first && asked.number % 5 == 4 {
            Play::Refuses(529, json!({ "error": {} }), Some(0))
        } else {
            Play::Says(format!("number {}", asked.number))
        }
    })
    .await
}

async fn start(
    directory: &std::path::Path,
    clock: &ManualClock,
    provider: &ProviderServer,
) -> (TestHost, Arc<CutOff>) {
    let faults = Arc::new(CutOff::default());
    let models = || provider.catalog(PRICE);
    (TestHost::faulty(directory, clock, models, faults.clone()).await, faults)
}

impl History {
    async fn begin(random: Random) -> History {
        let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
        let provider = provider().await;
        let (test, faults) = start(directory.path(), &clock, &provider).await;
        let usd = NanoUsd::from_usd(1_000.0);
        let session = test.session_with(&guests::THINKS, |new| new.max_budget = usd).await;
        let first = Known { id: session.id(), turns: Vec::new(), is_ended: false };
        let sessions = vec![first];
        History { directory, clock, provider, faults, test: Some(test), random, sessions, turns: 0 }
    }

    fn test(&self) -> &TestHost {
        self.test.as_ref().unwrap()
    }

    fn handle(&self, at: usize) -> SessionHandle {
        self.test().host.sessions().get(self.sessions[at].id)
    }

    async fn step(&mut self) {
        let going: Vec<_> =
            (0..self.sessions.len()).filter(|at| !self.sessions[*at].is_ended).collect();
        let Some(&at) = going.get(self.random.below(going.len().max(1))) else { return };
        match self.random.below(12) {
            0 | 1 => drop(self.handle(at).sleep().await.unwrap()),
            2 if self.sessions.len() < FORKS && !self.sessions[at].turns.is_empty() => {
                let forks = self.handle(at).fork(Fork::default()).await.unwrap();
                let id = forks[0].session.id;
                self.sessions.push(Known { id, turns: Vec::new(), is_ended: false });
            }
            3 if !self.sessions[at].turns.is_empty() => {
                let snapshots = self.handle(at).snapshots().await.unwrap();
                let to = self.random.pick(&snapshots).id;
                self.handle(at).rewind(to).await.unwrap();
            }
            4 if going.len() > 1 => self.ended_turn(at).await,
            _ => self.turn(at).await,
        }
    }

    fn questions(&mut self) -> Vec<String> {
        self.turns += 1;
        let calls = 1 + self.random.below(CALLS);
        (1..=calls).map(|call| format!("turn {} call {call}", self.turns)).collect()
    }

    /// A turn that is answered, whether its host ends in the middle of it or not.
    async fn turn(&mut self, at: usize) {
        let questions = self.questions();
        let message = message(&questions).idempotency_key(format!("turn-{}", self.turns));
        let cut = match self.random.below(5) {
            0 => Some(Cut::BeforeCommit(self.random.below(2 * questions.len() + 1))),
            1 => Some(Cut::AfterCommit(self.random.below(2 * questions.len() + 1))),
            2 => Some(Cut::InCall(self.random.below(questions.len()))),
            _ => None,
        };
        if let Some(cut) = cut {
            self.faults.arm(cut);
        }
        let (session, sent) = (self.handle(at), message.clone());
        let sending = tokio::spawn(async move { session.send(sent).await });
        let faults = Arc::clone(&self.faults);
        eventually("the turn is over, or its host is", async || {
            faults.is_reached() || sending.is_finished()
        })
        .await;
        if cut.is_some() {
            assert!(faults.is_reached(), "{cut:?} was never reached");
            sending.abort();
            let _ = sending.await;
            self.restart().await;
        } else {
            sending.await.unwrap().unwrap();
        }
        let reply = self.handle(at).send(message).await.unwrap();
        let told = answers(&results(&reply.text()));
        self.sessions[at].turns.push((questions, Some(told)));
    }

    async fn restart(&mut self) {
        self.test = None;
        let (test, faults) = start(self.directory.path(), &self.clock, &self.provider).await;
        (self.test, self.faults) = (Some(test), faults);
    }

    /// A turn that is ended by hand in its last call, and its session with it.
    async fn ended_turn(&mut self, at: usize) {
        let mut questions = self.questions();
        questions.push(format!("turn {} waits", self.turns));
        let (session, sent) = (self.handle(at), message(&questions));
        let sending = tokio::spawn(async move { session.send(sent).await });
        let last = &questions[questions.len() - 1];
        let asks = async || self.provider.asked().last().is_some_and(|asked| asked.text == *last);
        eventually("the last call is made", asks).await;
        self.handle(at).terminate("enough").await.unwrap();
        let told = sending.await.unwrap().unwrap_err();
        assert!(matches!(told, SendError::Failed(_)), "{told}");
        let known = &mut self.sessions[at];
        known.turns.push((questions, None));
        known.is_ended = true;
    }

    /// Hold everything against the model.
    async fn end(self) {
        let mut asked = asked(&self.provider);
        let handles: Vec<_> = (0..self.sessions.len()).map(|at| self.handle(at)).collect();
        let mut spent = NanoUsd(0);
        for (known, session) in self.sessions.iter().zip(&handles) {
            let turns = session.turns(0, 1_000).await.unwrap().entries;
            assert_eq!(turns.len(), known.turns.len());
            for (turn, (questions, told)) in turns.iter().zip(&known.turns) {
                if let Some(told) = told {
                    let (unknown, unsent) = judge(questions, told, &turn.effects, &asked);
                    assert!(unknown <= 1 && unsent <= unknown, "{unknown} {unsent}");
                } else {
                    let (last, others) = turn.effects.split_last().unwrap();
                    assert_eq!((last.outcome, last.bill), (EffectOutcome::Unknown, Bill::Unknown));
                    assert!(others.iter().all(|line| line.outcome != EffectOutcome::Unknown));
                    let requests = questions.iter().flat_map(|text| &asked[text]);
                    assert_eq!(turn.effects.len(), requests.count());
                }
                questions.iter().for_each(|text| drop(asked.remove(text)));
            }
            spent += session.info().await.unwrap().session.usage.cost;
        }
        assert!(asked.is_empty(), "nobody has paid for {:?}", asked.keys());
        if let Some(account) = handles[0].account().await.unwrap() {
            assert_eq!(account.spent.money, spent);
            assert_eq!(account.members, handles.len() as u64);
        }
        adds_up(&self.test().host.sessions(), &handles).await;
        assert!(self.test().host.store().check().await.unwrap().findings.is_empty());
        drop(handles);
        self.test.unwrap().shut_down().await;
    }
}

fn message(questions: &[String]) -> Message {
    let lines: Vec<_> = questions.iter().map(|text| format!("ask 1 {text}")).collect();
    Message::from(lines.join("\n").as_str())
}

#[tokio::test]
async fn whatever_happens_each_answer_is_paid_for_once_and_all_bills_add_up() {
    let (cases, mut random) = cases("histories of families", 12);
    for _ in 0..cases {
        let mut history = History::begin(Random::new(random.number())).await;
        for _ in 0..STEPS {
            history.step().await;
        }
        history.end().await;
    }
}
