//! `kill -9` at random moments under load: every answered turn is there afterwards, each session
//! goes on, and what was not answered is there whole or not at all.
//!
//! `DORMOUSE_TORTURE_KILLS=500 cargo test -p dormouse-cli --test binary torture -- --nocapture` for a
//! long run; `DORMOUSE_TORTURE_SEED` repeats one.

mod models;
mod peers;
mod simulations;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use dormouse_tests::{Client, Server};
use serde_json::{Value, json};

use crate::{DORMOUSE, run};

const FAMILIES: usize = 24;

/// What a client knows of a session of its: the answer to each turn that was answered.
struct Known {
    id: String,
    agent: &'static str,
    /// How many turns its state had seen before it was forked.
    before: u64,
    answered: BTreeMap<u64, String>,
    sent: u64,
    /// Its removal was asked for, and not answered.
    perhaps_gone: bool,
}

/// A session, its forks, and those that were deleted.
#[derive(Default)]
struct Family {
    living: Vec<Known>,
    deleted: Vec<String>,
}

struct Random(u64);

impl Random {
    /// Never 0, as no seed is.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answered_turn_is_lost_however_often_the_host_is_killed() {
    let kills = from_environment("DORMOUSE_TORTURE_KILLS").unwrap_or(20);
    let mut random = seed(&format!("DORMOUSE_TORTURE_KILLS={kills}"));

    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = Server::start(DORMOUSE, &data, &[]).unwrap();
    let mut families = Vec::new();
    for n in 0..FAMILIES {
        let agent = if n % 3 == 0 { "notepad" } else { "counter" };
        let id = create(&server.client(), agent).await;
        families.push(Family { living: vec![Known::new(id, agent, 0)], ..Family::default() });
    }
    for kill in 0..kills {
        let client = server.client();
        let load: Vec<_> = families
            .drain(..)
            .map(|family| {
                let random = Random(random.next());
                tokio::spawn(live(client.clone(), family, random))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20 + random.below(400))).await;
        server.kill().unwrap();
        for living in load {
            families.push(living.await.unwrap());
        }
        if kill % 5 == 4 {
            is_well(&data);
        }
        server = Server::start(DORMOUSE, &data, &[]).unwrap();
        for family in &mut families {
            compare_all(&server.client(), family).await;
        }
        let living = families.iter().flat_map(|family| &family.living);
        let answered: usize = living.map(|known| known.answered.len()).sum();
        println!("kill {}: {} turns answered so far, all there", kill + 1, answered);
    }
    let total: u64 = families.iter().flat_map(|family| &family.living).map(|one| one.sent).sum();
    assert!(total > FAMILIES as u64, "the host was killed before it had done anything");
    for known in families.iter().flat_map(|family| &family.living) {
        let prompt = prompt(known.agent, known.sent + 1);
        let (_, answer) = server.client().message(&known.id, &prompt).await.unwrap();
        assert!(answer["response"]["content"].is_string(), "{} does not go on: {answer}", known.id);
    }
    assert_eq!(server.terminate().unwrap(), Some(0));
    is_well(&data);
}

/// Everything that was killed has left a whole store behind.
fn is_well(data: &std::path::Path) {
    let checked = run(&["store", "check", "--data-dir", data.to_str().unwrap()], data);
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{said}\n{}", String::from_utf8_lossy(&checked.stderr));
}

async fn create(client: &Client, agent: &str) -> String {
    let body = json!({ "agent": agent, "pattern": "hybrid", "maxFuelPerTurn": 10_000_000_000_u64 });
    client.create(&body).await.unwrap()
}

impl Known {
    fn new(id: String, agent: &'static str, before: u64) -> Known {
        Known { id, agent, before, answered: BTreeMap::new(), sent: 0, perhaps_gone: false }
    }
}

/// Send messages, and now and then let a session sleep, fork it or delete it, until the host dies.
async fn live(client: Client, mut family: Family, mut random: Random) -> Family {
    loop {
        let at = usize::try_from(random.below(family.living.len() as u64)).unwrap();
        let size = family.living.len();
        let known = &mut family.living[at];
        let path = format!("/api/sessions/{}", known.id);
        match random.below(30) {
            0..=2 => {
                let Ok((status, answer)) = client.post(&format!("{path}/sleep"), &json!({})).await
                else {
                    break;
                };
                assert_eq!(status.as_u16(), 200, "{answer}");
            }
            // What has no snapshot cannot be forked.
            3 | 4 if size < 4 && known.sent > 0 => {
                let fork = client.post(&format!("{path}/fork"), &json!({ "count": 1 })).await;
                let Ok((status, answer)) = fork else { break };
                assert_eq!(status.as_u16(), 201, "{answer}");
                let id = answer["sessions"][0]["id"].as_str().unwrap().to_owned();
                let fork = Known::new(id, known.agent, known.before + known.sent);
                family.living.push(fork);
            }
            5 if size > 1 => {
                known.perhaps_gone = true;
                let Ok((status, answer)) = client.delete(&path).await else { break };
                assert!(status.is_success(), "{answer}");
                family.deleted.push(family.living.remove(at).id);
            }
            _ => {
                let text = prompt(known.agent, known.sent + 1);
                let Ok((status, answer)) = client.message(&known.id, &text).await else { break };
                assert_eq!(status.as_u16(), 200, "{answer}");
                let turn = answer["result"]["turn"].as_u64().unwrap();
                let content = answer["response"]["content"].as_str().unwrap().to_owned();
                assert_eq!(turn, known.sent + 1);
                known.sent = turn;
                known.answered.insert(turn, content);
            }
        }
    }
    family
}

/// Every fifth note is long, so that the state of notepads lies in blobs, which forks share.
fn prompt(agent: &str, n: u64) -> String {
    match (agent, n % 5) {
        ("notepad", 4) => format!("add note {n} {}", "is long ".repeat(4_000)),
        ("notepad", _) => format!("add note {n}"),
        _ => format!("message {n}"),
    }
}

async fn compare_all(client: &Client, family: &mut Family) {
    let mut living = Vec::new();
    for mut known in family.living.drain(..) {
        let (status, _) = client.get(&format!("/api/sessions/{}", known.id)).await.unwrap();
        if known.perhaps_gone && status.as_u16() == 404 {
            family.deleted.push(known.id);
            continue;
        }
        known.perhaps_gone = false;
        compare(client, &mut known).await;
        living.push(known);
    }
    family.living = living;
    if family.living.is_empty() {
        let id = create(client, "counter").await;
        family.living.push(Known::new(id, "counter", 0));
    }
    for id in &family.deleted {
        let (status, answer) = client.get(&format!("/api/sessions/{id}")).await.unwrap();
        assert_eq!(status.as_u16(), 404, "{id} was deleted: {answer}");
    }
}

/// Compare what the host says with every answer that the client got, and take note of a turn that
/// was committed although its answer never arrived.
async fn compare(client: &Client, known: &mut Known) {
    let id = &known.id;
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
        count == known.sent || count == known.sent + 1,
        "{id}: {} turns answered, {count} stored",
        known.sent
    );
    for (turn, n) in turns.iter().zip(1..) {
        assert_eq!(turn["turn"].as_u64(), Some(n));
        let content = turn["response"]["content"].as_str().unwrap();
        if let Some(answered) = known.answered.get(&n) {
            assert_eq!(content, answered, "{id}: turn {n} has another answer");
        }
        if known.agent == "counter" {
            assert_eq!(content, format!("turn {}: message {n}", known.before + n));
        }
    }
    known.sent = count;
    let (_, session) = client.get(&format!("/api/sessions/{id}")).await.unwrap();
    assert_eq!(session["numTurns"].as_u64(), Some(count), "{session}");
}

/// Where a run begins. It is printed with what else the run has from its environment.
fn seed(settings: &str) -> Random {
    let seed = from_environment("DORMOUSE_TORTURE_SEED")
        .unwrap_or_else(|| RandomState::new().build_hasher().finish() | 1);
    println!("DORMOUSE_TORTURE_SEED={seed} {settings}");
    Random(seed)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
