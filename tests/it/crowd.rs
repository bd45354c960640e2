//! A thousand clients speak to one session: each is answered once, in order, or refused.

use std::collections::BTreeMap;

use dormouse::{NewSession, Pattern, SendError, SessionHandle};
use dormouse_tests::TestServer;
use dormouse_tests::{Client, TestHost};
use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};

const CLIENTS: usize = 1_000;

/// What became of each client's message: the turn that has answered it, or `None` where it was refused.
type Answered = Vec<Option<u64>>;

/// The turn whose answer this is, if it answers this client.
fn turn_of(client: usize, text: &str) -> u64 {
    let (turn, echoed) = text.strip_prefix("turn ").unwrap().split_once(": ").unwrap();
    assert_eq!(echoed, format!("client {client}"), "it is the answer to another");
    turn.parse().unwrap()
}

/// That the turns are those of the clients that were answered: none is lost and none comes twice.
async fn are_all_there(session: &SessionHandle, answered: &Answered) {
    let by_turn: BTreeMap<u64, usize> =
        (0..).zip(answered).filter_map(|(client, turn)| Some(((*turn)?, client))).collect();
    let count = answered.iter().flatten().count();
    assert!(by_turn.keys().copied().eq(1..=count as u64), "{by_turn:?}");
    let (mut kept, mut after) = (BTreeMap::new(), 0);
    while let Some(turn) = session.turns(after, 200).await.unwrap().entries.last() {
        for turn in session.turns(after, 200).await.unwrap().entries {
            let text = dormouse::text_of(&turn.input);
            kept.insert(turn.number, text.strip_prefix("client ").unwrap().parse().unwrap());
        }
        after = turn.number;
    }
    assert_eq!(kept, by_turn);
}

async fn crowd(max_queued: usize) -> Answered {
    let test = TestHost::with(|options| options.max_queued_messages = max_queued).await;
    let new = NewSession::agent("counter").pattern(Pattern::LongRunning);
    let session = test.host.sessions().create(new).await.unwrap();
    let mut turns = Vec::new();
    for client in 0..CLIENTS {
        // It returns when the message waits: so each comes behind those before it.
        turns.push(session.stream(format!("client {client}")).await);
    }
    let mut answered = Answered::new();
    for (client, turn) in turns.into_iter().enumerate() {
        answered.push(match turn {
            Ok(turn) => Some(turn_of(client, &turn.reply().await.unwrap().text())),
            Err(SendError::QueueFull(_)) => None,
            Err(error) => panic!("client {client}: {error}"),
        });
    }
    are_all_there(&session, &answered).await;
    test.shut_down().await;
    answered
}

#[tokio::test]
async fn a_thousand_messages_to_one_session_are_answered_in_the_order_in_which_they_came() {
    let answered = crowd(CLIENTS).await;
    assert!(answered.into_iter().eq((1..=CLIENTS as u64).map(Some)));
}

#[tokio::test]
async fn of_a_thousand_messages_those_that_find_no_place_are_refused_and_the_others_keep_their_order()
 {
    let answered = crowd(16).await;
    let in_order: Vec<u64> = answered.into_iter().flatten().collect();
    assert!(in_order.is_sorted(), "{in_order:?}");
    assert!(in_order.len() >= 16, "{in_order:?}");
}

async fn say(client: Client, id: String, number: usize) -> (StatusCode, Value) {
    client.message(&id, &format!("client {number}")).await.unwrap()
}

#[tokio::test]
async fn a_thousand_clients_of_the_api_are_answered_once_each_or_told_to_come_again() {
    let server = TestServer::new().await;
    let id = server.counter(json!({})).await;
    let clients = (0..CLIENTS).map(|number| say(server.client.clone(), id.clone(), number));
    let mut answered = Answered::new();
    for (number, (status, answer)) in join_all(clients).await.into_iter().enumerate() {
        answered.push(match status.as_u16() {
            200 => Some(turn_of(number, answer["response"]["content"].as_str().unwrap())),
            429 => {
                assert_eq!(answer["code"], "queue_full");
                None
            }
            _ => panic!("{status}: {answer}"),
        });
    }
    assert!(answered.iter().flatten().count() > 0);
    let session = server.test.host.sessions().get(id.parse().unwrap());
    are_all_there(&session, &answered).await;
    server.shut_down().await;
}
