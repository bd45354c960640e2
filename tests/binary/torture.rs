//! `kill -9` at random moments under load: every answered turn is there afterwards, each session
//! goes on, and what was not answered is there whole or not at all.
//!
//! `DORMOUSE_TORTURE_KILLS=500 cargo test -p dormouse --test binary torture -- --nocapture` for a
//! long run; `DORMOUSE_TORTURE_SEED` repeats one.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use dormouse_tests::{Client, Server};
use serde_json::{Value, json};

use crate::DORMOUSE;

const SESSIONS: usize = 24;

/// What a client knows of its session: the answer to each turn that was answered.
#[derive(Default)]
struct Known {
    answered: BTreeMap<u64, String>,
    sent: u64,
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answered_turn_is_lost_however_often_the_host_is_killed() {
    let kills = from_environment("DORMOUSE_TORTURE_KILLS").unwrap_or(20);
    let seed = from_environment("DORMOUSE_TORTURE_SEED")
        .unwrap_or_else(|| RandomState::new().build_hasher().finish() | 1);
    println!("DORMOUSE_TORTURE_SEED={seed} DORMOUSE_TORTURE_KILLS={kills}");
    let mut random = Random(seed);

    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let mut known = Vec::new();
    for n in 0..SESSIONS {
        let agent = if n % 3 == 0 { "notepad" } else { "counter" };
        let body = json!({ "agent": agent, "pattern": "hybrid", "maxFuelPerTurn": 100_000_000 });
        known.push((server.client().create(&body).await.unwrap(), agent, Known::default()));
    }
    let mut total = 0;
    for kill in 0..kills {
        let client = server.client();
        let load: Vec<_> = known
            .drain(..)
            .map(|(id, agent, state)| tokio::spawn(talk(client.clone(), id, agent, state)))
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        server.kill().unwrap();
        for talking in load {
            known.push(talking.await.unwrap());
        }
        server = Server::start(DORMOUSE, &data, &[]).unwrap();
        for (id, agent, state) in &mut known {
            compare(&server.client(), id, agent, state).await;
        }
        let answered: usize = known.iter().map(|(_, _, state)| state.answered.len()).sum();
        println!("kill {}: {} turns answered so far, all there", kill + 1, answered);
        total = answered;
    }
    assert!(total > SESSIONS, "the host was killed before it had done anything");
    for (id, agent, state) in &mut known {
        let (_, answer) =
            server.client().message(id, &prompt(agent, state.sent + 1)).await.unwrap();
        assert!(answer["response"]["content"].is_string(), "{id} does not go on: {answer}");
    }
    assert_eq!(server.terminate().unwrap(), Some(0));
}

/// Send messages until the host dies.
async fn talk(
    client: Client,
    id: String,
    agent: &'static str,
    mut state: Known,
) -> (String, &'static str, Known) {
    loop {
        let text = prompt(agent, state.sent + 1);
        let Ok((status, answer)) = client.message(&id, &text).await else { break };
        assert_eq!(status.as_u16(), 200, "{answer}");
        let turn = answer["result"]["turn"].as_u64().unwrap();
        let content = answer["response"]["content"].as_str().unwrap().to_owned();
        assert_eq!(turn, state.sent + 1);
        state.sent = turn;
        state.answered.insert(turn, content);
    }
    (id, agent, state)
}

fn prompt(agent: &str, n: u64) -> String {
    if agent == "notepad" { format!("add note {n}") } else { format!("message {n}") }
}

/// Compare what the host says with every answer that the client got, and take note of a turn that
/// was committed although its answer never arrived.
async fn compare(client: &Client, id: &str, agent: &str, state: &mut Known) {
    let mut turns: Vec<Value> = Vec::new();
    loop {
        let path = format!("/api/sessions/{id}/turns?after={}&limit=200", turns.len());
        let (status, page) = client.get(&path).await.unwrap();
        assert_eq!(status.as_u16(), 200, "{page}");
        let page = page["turns"].as_array().unwrap();
        if page.is_empty() {
            break;
        }
        turns.extend(page.iter().cloned());
    }
    let count = turns.len() as u64;
    assert!(
        count == state.sent || count == state.sent + 1,
        "{id}: {} turns answered, {count} stored",
        state.sent
    );
    for (turn, n) in turns.iter().zip(1..) {
        assert_eq!(turn["turn"].as_u64(), Some(n));
        let content = turn["response"]["content"].as_str().unwrap();
        if let Some(answered) = state.answered.get(&n) {
            assert_eq!(content, answered, "{id}: turn {n} has another answer");
        }
        if agent == "counter" {
            assert_eq!(content, format!("turn {n}: message {n}"));
        }
    }
    state.sent = count;
    let (_, session) = client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["numTurns"].as_u64(), Some(count), "{session}");
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
