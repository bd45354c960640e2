//! Random histories of sessions that know each other, and of groups: they send, ask, set timers, sleep, are paused and resumed, and
//! their host ends and is started again. What each has sent the others got, once and in order, and each question was
//! answered once.

use std::path::Path;
use std::time::Duration;

use dormouse::{ManualClock, Message, Pattern, SessionHandle, SessionId, Status};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::introduce;

/// What the sessions call each other.
type Names = [&'static str; 3];

/// Sessions that were introduced to each other.
const PEERS: Names = ["ann", "bob", "cat"];
/// A coordinator and its members, who are created as they are needed.
const GROUP: Names = ["coordinator", "ann", "bob"];

#[derive(Clone, Debug)]
enum Step {
    /// One tells another that many numbers, by itself or by a timer.
    Pour {
        from: usize,
        to: usize,
        count: u8,
        later: bool,
    },
    /// One asks another to count.
    Count {
        from: usize,
        to: usize,
    },
    Sleep(usize),
    Pause(usize),
    Resume(usize),
    /// The clock goes on, so that timers are due.
    Wait,
    /// What was begun goes on a little.
    Go(u8),
    /// The host ends, and another is started.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let one = || 0..PEERS.len();
    prop_oneof![
        6 => (one(), one(), 1..9_u8, proptest::bool::weighted(0.2))
            .prop_map(|(from, to, count, later)| Step::Pour { from, to, count, later }),
        4 => (one(), one()).prop_map(|(from, to)| Step::Count { from, to }),
        2 => one().prop_map(Step::Sleep),
        1 => one().prop_map(Step::Pause),
        2 => one().prop_map(Step::Resume),
        2 => Just(Step::Wait),
        3 => (0..6_u8).prop_map(Step::Go),
        2 => Just(Step::Kill),
    ]
}

/// In the time of the machine. A history takes about a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host with the sessions, and what is under way.
struct Play<'a> {
    directory: &'a Path,
    clock: ManualClock,
    /// `None`: it has ended.
    test: Option<TestHost>,
    names: Names,
    ids: Vec<SessionId>,
    messages: JoinSet<()>,
    kills: u32,
    /// What is done now.
    doing: String,
}

impl Play<'_> {
    fn test(&self) -> &TestHost {
        self.test.as_ref().unwrap()
    }

    fn session(&self, which: usize) -> SessionHandle {
        self.test().host.sessions().get(self.ids[which])
    }

    fn send(&mut self, which: usize, orders: String) {
        let session = self.session(which);
        self.messages.spawn(async move {
            // A host that ends answers nobody, and a session that is paused says so.
            let _ = session.send(Message::from(orders)).await;
        });
    }

    async fn take(&mut self, step: &Step) {
        let is_group = self.names == GROUP;
        match *step {
            // No session of a group writes to itself.
            Step::Pour { from, to, .. } | Step::Count { from, to } if is_group && from == to => {}
            Step::Pour { from, to, count, later } => {
                let later = if later { "later " } else { "" };
                self.send(from, format!("{later}pour {} {count}", self.names[to]));
            }
            Step::Count { from, to } => self.send(from, format!("count {}", self.names[to])),
            Step::Sleep(which) => drop(self.session(which).sleep().await),
            // A group pauses as one.
            Step::Pause(_) if is_group => drop(self.session(0).pause().await),
            Step::Resume(_) if is_group => drop(self.session(0).resume(None).await),
            Step::Pause(which) => drop(self.session(which).pause().await),
            Step::Resume(which) => drop(self.session(which).resume(None).await),
            Step::Wait => self.test().advance(Duration::from_secs(2)),
            Step::Go(turns) => {
                for _ in 0..turns {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Step::Kill => self.restart().await,
        }
    }

    async fn restart(&mut self) {
        self.messages.shutdown().await;
        drop(self.test.take());
        self.doing += ", another host starts";
        self.test = Some(start(self.directory, &self.clock).await);
        self.kills += 1;
        if self.kills.is_multiple_of(2) {
            // A turn that hosts end in the middle of it again and again fails, and its question is not undone.
            self.doing += ", what was begun is over";
            self.test().host.settle().await;
        }
    }

    /// What the agent of a session says of itself.
    async fn says(&self, which: usize) -> [Value; 5] {
        let reply = self.session(which).send("poured").await.unwrap();
        let told: Value = serde_json::from_str(&reply.text()).unwrap();
        [0, 1, 2, 3, 4].map(|place| told[0][place].clone())
    }

    async fn take_all(&mut self, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            self.doing = format!("step {number}");
            self.take(step).await;
        }
        self.end().await;
    }

    /// What is under way where nothing goes on.
    async fn state(&self) -> String {
        let mut state = self.doing.clone();
        if self.test.is_none() {
            return state + ", between two hosts";
        }
        for (which, name) in self.names.iter().enumerate() {
            let info = self.session(which).info().await.map(|info| {
                let session = &info.session;
                let turn = info.running_turn;
                format!("{:?}, turn {turn:?}, mail {}", session.state, info.mail_waiting)
            });
            state += &format!("\n{name}: {info:?}");
        }
        state
    }

    /// Wait until each has got what the others have sent, and is wrong in nothing.
    async fn end(&mut self) {
        self.doing = "messages are joined".to_owned();
        while self.messages.join_next().await.is_some() {}
        self.doing = "paused sessions are resumed".to_owned();
        if self.names == GROUP {
            // Members that nobody has needed yet are no sessions.
            eventually("it is resumed", async || {
                let _ = self.session(0).resume(None).await;
                self.session(0).send("send ann end\nsend bob end").await.is_ok()
            })
            .await;
        }
        for which in 0..self.names.len() {
            let session = self.session(which);
            // It is refused while a turn runs.
            let is_open = async || {
                let _ = session.resume(None).await;
                session.info().await.unwrap().status() != Status::Paused
            };
            eventually("it is resumed", is_open).await;
        }
        self.test().advance(Duration::from_secs(10));
        self.doing = "all comes".to_owned();
        let all_came = async || {
            self.test().host.settle().await;
            let mut all = Vec::new();
            for which in 0..self.names.len() {
                all.push(self.says(which).await);
            }
            let of = |which: usize, place: usize, name: &str| {
                all[which][place][name].as_u64().unwrap_or(0)
            };
            let mut is_over = true;
            for (from, by) in self.names.iter().enumerate() {
                assert_eq!(all[from][2], json!([]), "{by} is wrong");
                for (to, name) in self.names.iter().enumerate() {
                    is_over &= of(from, 0, name) == of(to, 1, by);
                    is_over &= of(from, 3, name) == of(to, 4, by);
                }
            }
            is_over
        };
        eventually("all has come", all_came).await;
        for which in 0..self.names.len() {
            assert_eq!(self.session(which).info().await.unwrap().mail_waiting, 0);
        }
        assert!(self.test().host.store().check().await.unwrap().findings.is_empty());
        self.doing = "the host ends".to_owned();
        self.test.take().unwrap().shut_down().await;
    }
}

async fn start(directory: &Path, clock: &ManualClock) -> TestHost {
    TestHost::built(directory, clock, |builder| builder).await
}

/// Three sessions that know each other.
async fn peers(test: &TestHost) -> Vec<SessionId> {
    let mut sessions = Vec::new();
    for _ in PEERS {
        sessions.push(test.session(&guests::WRITES_TO_PEERS).await);
    }
    let known: Vec<_> = PEERS.into_iter().zip(&sessions).collect();
    for session in &sessions {
        introduce(session, &known).await;
    }
    sessions.iter().map(SessionHandle::id).collect()
}

/// A coordinator, and what its members are going to be.
async fn group(test: &TestHost) -> Vec<SessionId> {
    let lead = test.session_with(&guests::WRITES_TO_PEERS, |new| {
        new.pattern = Pattern::SingleContainer;
        new.config.insert("customAgents".to_owned(), json!({ "ann": {}, "bob": {} }));
    });
    let lead = lead.await.info().await.unwrap().session;
    let members = lead.group.as_ref().unwrap().ids().map(|(_, id)| id);
    std::iter::once(lead.id).chain(members).collect()
}

async fn play(names: Names, steps: Vec<Step>) {
    let (root, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = start(root.path(), &clock).await;
    let ids = if names == GROUP { group(&test).await } else { peers(&test).await };
    let messages = JoinSet::new();
    let (directory, test) = (root.path(), Some(test));
    let doing = String::new();
    let mut play = Play { directory, clock, test, names, ids, messages, kills: 0, doing };
    if tokio::time::timeout(PATIENCE, play.take_all(&steps)).await.is_err() {
        panic!("nothing goes on: {}\n{steps:?}", play.state().await);
    }
}

#[test]
fn what_sessions_send_and_ask_each_other_comes_once_whatever_happens_meanwhile() {
    play_all(PEERS);
}

#[test]
fn what_a_group_sends_and_asks_comes_once_whatever_happens_meanwhile() {
    play_all(GROUP);
}

fn play_all(names: Names) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = ProptestConfig {
        cases: 24,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = proptest::collection::vec(step(), 5..30);
    let played = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(play(names, steps));
        Ok(())
    });
    played.unwrap();
}
