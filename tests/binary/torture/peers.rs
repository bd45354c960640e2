//! `kill -9` at random moments while two agents write to each other: each mail comes once, and those of each in order.
//! The agents themselves are the judges: each numbers what it sends, and says which number did not follow the one before.
//!
//! `DORMOUSE_MAILS=10000 cargo test -p dormouse-cli --test binary torture::peers -- --nocapture` for a long run;
//! `DORMOUSE_TORTURE_SEED` repeats when the host is killed.

use std::path::Path;
use std::time::Duration;

use dormouse_test_guests as guests;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{Client, Server};
use serde_json::{Value, json};

use super::{Random, from_environment, is_well, seed};
use crate::DORMOUSE;

/// The most mails that a turn sends,
const MAILS: u64 = 40;
/// and a host lives so many milliseconds at the most once it listens.
const LIFE: u64 = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mail_comes_once_and_in_order_however_often_the_host_is_killed() {
    let mails = from_environment("DORMOUSE_MAILS").unwrap_or(400);
    let mut random = seed(&format!("DORMOUSE_MAILS={mails}"));
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut server = start(&data);
    let [ann, bob] = pair(&server.client()).await;
    let (mut kills, mut sent) = (0, 0);
    while sent < mails {
        let client = server.client();
        let pouring = [(&ann, "bob"), (&bob, "ann")].map(|(from, to)| {
            let (client, from, random) = (client.clone(), from.clone(), Random(random.next()));
            tokio::spawn(pour(client, from, to, random))
        });
        tokio::time::sleep(Duration::from_millis(random.below(LIFE))).await;
        server.kill().unwrap();
        for pouring in pouring {
            pouring.await.unwrap();
        }
        kills += 1;
        if kills % 20 == 0 {
            is_well(&data);
        }
        server = start(&data);
        let client = server.client();
        sent = poured(&client, &ann).await.sent + poured(&client, &bob).await.sent;
        println!("{kills} kills: {sent} mails sent");
    }
    let client = server.client();
    let all_came = async || {
        let (ann, bob) = (poured(&client, &ann).await, poured(&client, &bob).await);
        (ann.sent, bob.sent) == (bob.came, ann.came)
    };
    eventually("all mail has come", all_came).await;
    for id in [&ann, &bob] {
        let agent = poured(&client, id).await;
        assert_eq!(agent.wrong, json!([]), "mail was lost, came twice or out of order");
        let (_, session) = client.get(&format!("/api/sessions/{id}")).await.unwrap();
        assert_eq!(session["mailWaiting"], 0, "{session}");
    }
    assert_eq!(server.terminate().unwrap(), Some(0));
    is_well(&data);
}

fn start(data: &Path) -> Server {
    Server::start(DORMOUSE, data, &["--log-level", "error"]).unwrap()
}

/// Two sessions that know each other as `ann` and `bob`.
async fn pair(client: &Client) -> [String; 2] {
    let guest = guests::WRITES_TO_PEERS;
    let uploaded = client.upload(guest.name, "1", guest.bytes).await.unwrap();
    assert!(uploaded.0.is_success(), "{}", uploaded.1);
    let new = |peers: Value| json!({ "agent": format!("{}@1", guest.name), "pattern": "hybrid", "peers": peers });
    let ann = client.create(&new(json!({}))).await.unwrap();
    let bob = client.create(&new(json!({ "ann": ann }))).await.unwrap();
    let (path, body) = (format!("/api/sessions/{ann}"), json!({ "peers": { "bob": bob } }));
    let (status, answer) = client.patch(&path, &body).await.unwrap();
    assert_eq!(status.as_u16(), 200, "{answer}");
    [ann, bob]
}

/// Have an agent send mail, and now and then sleep, until the host dies.
async fn pour(client: Client, from: String, to: &'static str, mut random: Random) {
    loop {
        if random.below(8) == 0 {
            let path = format!("/api/sessions/{from}/sleep");
            if client.post(&path, &json!({})).await.is_err() {
                return;
            }
        }
        let orders = format!("pour {to} {}", 1 + random.below(MAILS));
        let Ok((status, answer)) = client.message(&from, &orders).await else { return };
        // Its queue may be full of mail.
        assert!(matches!(status.as_u16(), 200 | 429 | 503), "{answer}");
    }
}

/// What an agent has sent and got.
struct Poured {
    sent: u64,
    came: u64,
    wrong: Value,
}

async fn poured(client: &Client, id: &str) -> Poured {
    let (status, answer) = client.message(id, "poured").await.unwrap();
    assert_eq!(status.as_u16(), 200, "{answer}");
    let told: Value =
        serde_json::from_str(answer["response"]["content"].as_str().unwrap()).unwrap();
    let number = |of: &Value| of.as_object().unwrap().values().next().and_then(Value::as_u64);
    Poured {
        sent: number(&told[0][0]).unwrap_or(0),
        came: number(&told[0][1]).unwrap_or(0),
        wrong: told[0][2].clone(),
    }
}
