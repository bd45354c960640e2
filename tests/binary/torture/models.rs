//! `kill -9` at random moments while agents ask models: each turn is answered once and by itself, shows the answers
//! that were paid for, and has every request that its provider got in its bill. The judge is the provider's log.
//!
//! `DORMOUSE_MODEL_KILLS=10000 cargo test -p dormouse-cli --test binary torture::models -- --nocapture` for a long
//! run; `DORMOUSE_TORTURE_SEED` repeats what is asked, and when the host is killed.

mod judge;

use std::path::Path;
use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::provider::Play;
use dormouse_tests::{Client, ProviderServer, Server};
use reqwest::Method;
use serde_json::{Value, json};

use self::judge::Judge;
use super::{Random, from_environment, is_well, seed};
use crate::DORMOUSE;

const SESSIONS: u64 = 16;
/// The most calls of a turn.
const CALLS: u64 = 9;
/// A provider answers after so many milliseconds at the most,
const DELAY: u64 = 20;
/// and a host lives so long at the most once it listens.
const LIFE: u64 = 250;

/// A session, and what its client knows of it.
struct Player {
    /// Its name in what it asks.
    name: String,
    id: String,
    /// How its turns have ended, in order.
    turns: Vec<Ended>,
    /// The calls of the turn that is under way.
    asks: Option<u64>,
    random: Random,
}

/// How a turn has ended.
enum Ended {
    /// With what came of each of its calls.
    Answered(Vec<Value>),
    /// Hosts have ended in the middle of it too often. Has the number of its calls.
    Crashed(u64),
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_is_paid_for_twice_and_none_is_lost_however_often_the_host_is_killed() {
    let kills = from_environment("DORMOUSE_MODEL_KILLS").unwrap_or(200);
    let mut random = seed(&format!("DORMOUSE_MODEL_KILLS={kills}"));
    let provider = provider(random.next()).await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = start(&data, &provider, 0);
    let mut players = players(&server.client(), &mut random).await;
    let mut in_calls = 0;
    for kill in 1..=kills {
        let client = server.client();
        let load: Vec<_> =
            players.drain(..).map(|player| tokio::spawn(play(client.clone(), player))).collect();
        tokio::time::sleep(Duration::from_millis(random.below(LIFE))).await;
        in_calls += u64::from(provider.open() > 0);
        server.kill().unwrap();
        for playing in load {
            players.push(playing.await.unwrap());
        }
        if kill % 50 == 0 {
            is_well(&data);
            let turns: usize = players.iter().map(|player| player.turns.len()).sum();
            println!("{kill} kills, {in_calls} of them in calls; {turns} turns");
        }
        server = start(&data, &provider, kill);
    }
    let client = server.client();
    for player in &mut players {
        if player.asks.is_some() {
            assert!(turn(&client, player).await, "the host has gone without being killed");
        }
    }
    let judge = Judge::new(&provider);
    println!("{}", judge.sentence(&client, &players).await);
    assert!(in_calls * 3 >= kills, "{in_calls} of {kills} kills came while a request was open");
    assert_eq!(server.terminate().unwrap(), Some(0));
    is_well(&data);
}

/// Answers each request with a fresh number, after some time.
async fn provider(seed: u64) -> ProviderServer {
    ProviderServer::start(move |asked| {
        let mut random = Random(seed ^ (asked.number as u64 + 1));
        random.next();
        let delay = Duration::from_millis(random.below(DELAY + 1));
        Play::SaysLater(delay, number(asked.number))
    })
    .await
}

/// What the provider says to the request of this number.
fn number(request: usize) -> String {
    format!("number {request}")
}

/// What a call of a turn asks.
fn question(player: &str, turn: usize, seq: u64) -> String {
    format!("{player} turn {turn} call {seq}")
}

/// Start a host after so many kills. The path that it asks its provider at says which host it was.
fn start(data: &Path, provider: &ProviderServer, kills: u64) -> Server {
    let url = provider.url.replace("/v1", &format!("/{kills}/v1"));
    let file = format!(
        "[providers.loopback]\nkind = \"openai\"\nurl = \"{url}\"\nmodels = [\"loopback-1\"]\n\
         [prices.\"loopback-1\"]\ninput = 10\noutput = 100\n"
    );
    std::fs::write(data.with_file_name("dormouse.toml"), file).unwrap();
    Server::start(DORMOUSE, data, &["--keep-turns", "1000000", "--log-level", "error"]).unwrap()
}

async fn players(client: &Client, random: &mut Random) -> Vec<Player> {
    let guest = &guests::THINKS;
    let (status, uploaded) = client.upload(guest.name, "1", guest.bytes).await.unwrap();
    assert!(status.is_success(), "{uploaded}");
    let mut players = Vec::new();
    for n in 0..SESSIONS {
        let agent = format!("{}@1", guest.name);
        let new = json!({ "agent": agent, "pattern": "long-running", "maxBudgetUsd": 100_000 });
        let id = client.create(&new).await.unwrap();
        let (name, random) = (format!("session {n}"), Random(random.next()));
        players.push(Player { name, id, turns: Vec::new(), asks: None, random });
    }
    players
}

/// Take turns until the host dies.
async fn play(client: Client, mut player: Player) -> Player {
    while turn(&client, &mut player).await {}
    player
}

/// Send the message of the next turn, or again that of the turn that is under way. Answers with whether the host
/// has answered.
async fn turn(client: &Client, player: &mut Player) -> bool {
    let number = player.turns.len() + 1;
    let asks = *player.asks.get_or_insert_with(|| 1 + player.random.below(CALLS));
    let calls = (1..=asks).map(|seq| format!("\nask 1 {}", question(&player.name, number, seq)));
    let prompt: String = std::iter::once("ignore-errors".to_owned()).chain(calls).collect();
    let request = client
        .request(Method::POST, &format!("/api/sessions/{}/message", player.id))
        .header("idempotency-key", format!("{}-{number}", player.id))
        .json(&json!({ "prompt": prompt, "streaming": false }));
    let Ok(response) = request.send().await else { return false };
    let status = response.status();
    let Ok(body) = response.json::<Value>().await else { return false };
    if body["reason"] == "consecutive_failures" {
        // So many turns in a row were crashed that the session rests until somebody looks at it.
        let resumed = client.post(&format!("/api/sessions/{}/resume", player.id), &json!({})).await;
        return resumed.is_ok();
    }
    let ended = if status == 200 {
        assert_eq!(body["result"]["turn"], number, "{body}");
        let content = body["response"]["content"].as_str().unwrap();
        Ended::Answered(serde_json::from_str(content).unwrap())
    } else {
        assert_eq!(body["code"], "host_crashed", "{status}: {body}");
        Ended::Crashed(asks)
    };
    player.turns.push(ended);
    player.asks = None;
    true
}
