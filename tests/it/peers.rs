//! Agents that write to each other.

use std::collections::BTreeMap;
use std::time::Duration;

use dormouse::{
    CreateError, EventBody, Fork, NewSession, Pattern, Sender, SessionHandle, SessionId,
    SessionPatch, Status, TurnOutcome, TurnRecord, text_of,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use serde_json::{Value, json};

mod asks;
mod crashes;
mod histories;

/// What is answered to these orders.
async fn tell(session: &SessionHandle, orders: &str) -> Value {
    let reply = session.send(orders).await.unwrap();
    serde_json::from_str(&reply.text()).unwrap()
}

/// A session whose agent may write to these.
async fn writer(test: &TestHost, peers: &[(&str, &SessionHandle)]) -> SessionHandle {
    let named = named(peers);
    test.session_with(&guests::WRITES_TO_PEERS, |new| {
        new.pattern = Pattern::Hybrid;
        new.peers = named;
    })
    .await
}

fn named(peers: &[(&str, &SessionHandle)]) -> BTreeMap<String, SessionId> {
    peers.iter().map(|(name, session)| ((*name).to_owned(), session.id())).collect()
}

async fn introduce(session: &SessionHandle, peers: &[(&str, &SessionHandle)]) {
    let patch = SessionPatch { peers: Some(named(peers)), ..SessionPatch::default() };
    session.change(patch).await.unwrap();
}

/// Ann and Bob, who know each other by these names.
async fn ann_and_bob(test: &TestHost) -> (SessionHandle, SessionHandle) {
    let ann = writer(test, &[]).await;
    let bob = writer(test, &[("ann", &ann)]).await;
    introduce(&ann, &[("bob", &bob)]).await;
    (ann, bob)
}

/// The turns that mail has become, once there are so many.
async fn mailed(session: &SessionHandle, count: usize) -> Vec<TurnRecord> {
    let all = async || {
        let turns = session.turns(0, 1_000).await.unwrap().entries;
        let of_mail = |turn: &TurnRecord| matches!(turn.sender, Sender::Agent(_));
        turns.into_iter().filter(of_mail).collect::<Vec<_>>()
    };
    eventually("the mail has come", async || all().await.len() >= count).await;
    let all = all().await;
    assert_eq!(all.len(), count, "{all:?}");
    all
}

async fn waiting(session: &SessionHandle) -> u32 {
    session.info().await.unwrap().mail_waiting
}

async fn received(session: &SessionHandle) -> Value {
    tell(session, "received").await[0].take()
}

fn texts(turns: &[TurnRecord]) -> Vec<String> {
    turns.iter().map(|turn| text_of(&turn.input)).collect()
}

#[tokio::test]
async fn mail_is_a_turn_of_its_recipient_also_where_that_sleeps_and_names_its_sender() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    bob.send("received").await.unwrap();
    bob.sleep().await.unwrap();
    let list = json!([["bob", bob.id().to_string()]]);
    let told = tell(&ann, "list\nsend bob hello\nsend bob how are you?").await;
    assert_eq!(told, json!([list, "sent", "sent"]));
    let turns = mailed(&bob, 2).await;
    assert_eq!(texts(&turns), ["hello", "how are you?"]);
    for turn in &turns {
        let Sender::Agent(from) = &turn.sender else { panic!("{turn:?}") };
        assert_eq!((from.session, from.name.as_deref()), (ann.id(), Some("ann")));
    }
    assert_eq!(received(&bob).await, json!(["ann: hello", "ann: how are you?"]));
    assert_eq!((waiting(&bob).await, waiting(&ann).await), (0, 0));
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_fails_sends_nothing() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    ann.send("send bob one\nfail").await.unwrap_err();
    tell(&ann, "send bob two").await;
    assert_eq!(texts(&mailed(&bob, 1).await), ["two"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_mail_whose_turn_fails_has_come_all_the_same() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    tell(&ann, "send bob run fail\nsend bob next").await;
    let turns = mailed(&bob, 2).await;
    assert!(matches!(turns[0].outcome, TurnOutcome::Failed(_)));
    assert_eq!(received(&bob).await, json!(["ann: next"]));
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_reaches_its_peers_and_who_has_written_to_it_and_nobody_else() {
    let test = TestHost::new().await;
    let bob = writer(&test, &[]).await;
    let ann = writer(&test, &[("bob", &bob)]).await;
    let (unknown, id) = ("unknown-peer: this agent knows nobody by that name", ann.id());
    let told = tell(&bob, &format!("send ann hello\nsend {id} hello\nlist")).await;
    assert_eq!(told, json!([unknown, unknown, []]), "the id of a session is no address");
    tell(&ann, "send bob run back thanks").await;
    let answered = mailed(&ann, 1).await;
    let Sender::Agent(from) = &answered[0].sender else { panic!("{answered:?}") };
    assert_eq!((from.session, from.name.as_deref()), (bob.id(), Some("bob")));
    // Bob has no name for Ann: its address is her id, while Bob answers her.
    assert_eq!(received(&bob).await, json!([format!("{id}: run back thanks")]));
    assert_eq!(tell(&bob, &format!("send {id} again")).await, json!([unknown]));
    test.shut_down().await;
}

#[tokio::test]
async fn peers_are_sessions_of_the_same_owner_and_are_changed_all_at_once() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let other = test.acting_as("other");
    let stranger = other.session(&guests::WRITES_TO_PEERS).await;
    let of_stranger = || named(&[("them", &stranger)]);
    let new = NewSession { peers: of_stranger(), ..NewSession::agent("counter") };
    let refused = test.host.sessions().create(new).await.err().expect("they are no session");
    let CreateError::Invalid(field) = refused else { panic!("{refused}") };
    assert_eq!(field.field, "peers");
    assert!(field.problem.contains("there is no session"), "{}", field.problem);
    let patch = SessionPatch { peers: Some(of_stranger()), ..SessionPatch::default() };
    assert_eq!(ann.change(patch).await.unwrap_err().code(), "invalid_field");
    introduce(&ann, &[("robert", &bob)]).await;
    let told = tell(&ann, "send bob hello\nsend robert hello").await;
    assert!(told[0].as_str().unwrap().starts_with("unknown-peer"), "{told}");
    assert_eq!(told[1], "sent");
    mailed(&bob, 1).await;
    bob.delete().await.unwrap();
    let told = tell(&ann, "send robert hello").await;
    assert!(told[0].as_str().unwrap().starts_with("unknown-peer"), "it is gone: {told}");
    test.shut_down().await;
}

#[tokio::test]
async fn mail_of_a_session_that_is_paused_waits_and_comes_in_order() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    bob.pause().await.unwrap();
    tell(&ann, "send bob one\nsend bob two").await;
    tell(&ann, "send bob three").await;
    test.host.settle().await;
    assert_eq!(waiting(&bob).await, 3);
    mailed(&bob, 0).await;
    bob.resume(None).await.unwrap();
    assert_eq!(texts(&mailed(&bob, 3).await), ["one", "two", "three"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_mailbox_that_is_full_takes_no_more_and_its_sender_is_told_at_once() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    let full = "mailbox-full: so much mail waits for it already";
    bob.pause().await.unwrap();
    for _ in 0..4 {
        assert_eq!(tell(&ann, "many bob 64 mail").await, json!(["sent"]));
    }
    assert_eq!(tell(&ann, "send bob more").await, json!([full]));
    let too_many = "too-many: a turn sends 64 mails at most";
    let cat = writer(&test, &[("ann", &ann)]).await;
    assert_eq!(tell(&cat, "many ann 65 mail").await, json!([[64, too_many]]));
    bob.resume(None).await.unwrap();
    let turns = mailed(&bob, 256).await;
    let numbered: Vec<_> =
        (0..4).flat_map(|_| (1..=64).map(|number| format!("mail {number}"))).collect();
    assert_eq!(texts(&turns), numbered);
    assert_eq!(tell(&ann, "send bob again").await, json!(["sent"]));
    test.shut_down().await;
}

#[tokio::test]
async fn mail_is_bounded_in_bytes_each_and_together() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    bob.pause().await.unwrap();
    let too_large = |most: u32| json!(format!("too-large: it may have {most} bytes"));
    assert_eq!(tell(&ann, "large bob 65536\nlarge bob 65537").await[1], too_large(65_536));
    let most = vec!["large bob 65536"; 16].join("\n");
    assert_eq!(
        tell(&ann, &most).await[15],
        json!("mailbox-full: so much mail waits for it already")
    );
    let cat = writer(&test, &[("ann", &ann)]).await;
    assert_eq!(tell(&cat, &most.replace("bob", "ann")).await[15], too_large(1 << 20));
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_ends_drops_its_mail_and_takes_no_more() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    bob.pause().await.unwrap();
    tell(&ann, "send bob one\nsend bob two").await;
    bob.terminate("done").await.unwrap();
    test.host.settle().await;
    let events = bob.events(dormouse::Cursor(0), 100).await.unwrap().entries;
    let dropped = |body: &EventBody| matches!(body, EventBody::MailDropped { count: 2 });
    assert!(events.iter().any(|logged| dropped(&logged.event.body)), "{events:?}");
    assert_eq!(waiting(&bob).await, 0);
    let told = tell(&ann, "send bob three").await;
    assert_eq!(told, json!(["ended: the session takes no mail any more"]));
    mailed(&bob, 0).await;
    test.shut_down().await;
}

#[tokio::test]
async fn mail_that_comes_as_its_recipient_completes_is_dropped() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    tell(&ann, "send bob run complete\nsend bob too late").await;
    mailed(&bob, 1).await;
    test.host.settle().await;
    assert_eq!(bob.info().await.unwrap().session.state.status(), Status::Completed);
    assert_eq!(waiting(&bob).await, 0);
    test.shut_down().await;
}

#[tokio::test]
async fn two_who_answer_each_other_for_ever_stop_at_their_limits() {
    let test = TestHost::new().await;
    let ann = test.session_with(&guests::WRITES_TO_PEERS, |new| new.max_turns = Some(12)).await;
    let bob = writer(&test, &[("ann", &ann)]).await;
    introduce(&ann, &[("bob", &bob)]).await;
    tell(&ann, "send bob ping").await;
    let is_over = async || ann.info().await.unwrap().status() == Status::Terminated;
    eventually("they stop", is_over).await;
    assert_eq!(ann.info().await.unwrap().session.usage.turns, 12);
    // The last of the pings comes to an agent that nobody takes an answer of.
    let has_stopped = async || {
        let bob = bob.info().await.unwrap();
        bob.session.usage.last_turn() == 12 && bob.running_turn.is_none()
    };
    eventually("the other stops", has_stopped).await;
    assert_eq!((waiting(&ann).await, waiting(&bob).await), (0, 0));
    test.shut_down().await;
}

#[tokio::test]
async fn a_fork_takes_no_mail_along_and_a_rewind_takes_none_back() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    tell(&bob, "received").await;
    let before = bob.info().await.unwrap().session.head.unwrap();
    tell(&ann, "send bob one").await;
    mailed(&bob, 1).await;
    bob.pause().await.unwrap();
    tell(&ann, "send bob two").await;
    let fork = bob.fork(Fork::default()).await.unwrap().remove(0).session.id;
    let fork = test.host.sessions().get(fork);
    assert_eq!((waiting(&bob).await, waiting(&fork).await), (1, 0));
    bob.rewind(before).await.unwrap();
    bob.resume(None).await.unwrap();
    mailed(&bob, 2).await;
    assert_eq!(received(&bob).await, json!(["ann: two"]), "the first was taken");
    let known = fork.info().await.unwrap().session.profile.peers.clone();
    assert_eq!(known.named("ann"), Some(ann.id()), "a fork knows whom its parent knew");
    test.shut_down().await;
}

#[tokio::test]
async fn mail_and_messages_are_answered_in_the_order_in_which_they_came() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    bob.pause().await.unwrap();
    tell(&ann, "many bob 20 mail").await;
    bob.resume(None).await.unwrap();
    // It waits behind the mail that was there.
    let reply = bob.send("received").await.unwrap();
    let seen: Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!(seen[0].as_array().unwrap().len(), 20);
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_is_removed_leaves_no_mail_behind() {
    let test = TestHost::new().await;
    let (ann, bob) = ann_and_bob(&test).await;
    bob.pause().await.unwrap();
    tell(&ann, "many bob 10 mail").await;
    bob.delete().await.unwrap();
    test.host.settle().await;
    test.advance(Duration::from_secs(1));
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
}
