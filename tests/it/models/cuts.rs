//! A host is cut off between any two writes of a turn of eight calls, and in each of its calls, while its provider
//! answers, refuses, breaks off or says nothing. The next host ends the turn, and the provider's log agrees with it.

use std::sync::Arc;

use dormouse::{ManualClock, Message, SessionHandle, SessionId};
use dormouse_test_guests as guests;
use dormouse_tests::faults::{Cut, CutOff};
use dormouse_tests::provider::{Asked, Play};
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use serde_json::json;

use super::judge::{adds_up, asked, judge};
use super::{PRICE, answers, results};

const CALLS: usize = 8;
/// Two for each call, and one for the turn.
const COMMITS: usize = 2 * CALLS + 1;

/// A provider that answers with the numbers of its requests, but does something else with those of these texts when
/// they come first.
async fn provider(
    at_first: impl Fn(&Asked) -> Option<Play> + Send + Sync + 'static,
) -> ProviderServer {
    let seen = std::sync::Mutex::new(std::collections::BTreeSet::new());
    ProviderServer::start(move |asked| {
        let is_first = seen.lock().unwrap().insert(asked.text.clone());
        let other = if is_first { at_first(asked) } else { None };
        other.unwrap_or_else(|| Play::Says(format!("number {}", asked.number)))
    })
    .await
}

fn questions(cut: usize) -> Vec<String> {
    (1..=CALLS).map(|call| format!("cut {cut} call {call}")).collect()
}

/// The call of a turn that a provider which stalls says nothing to.
fn stalled(cut: usize) -> String {
    format!("cut {cut} call {}", cut + 1)
}

fn is_stalled(provider: &ProviderServer, cut: usize) -> bool {
    provider.asked().iter().any(|asked| asked.text == stalled(cut))
}

fn message(cut: usize) -> Message {
    let lines: Vec<_> = questions(cut).iter().map(|text| format!("ask 1 {text}")).collect();
    Message::from(lines.join("\n").as_str()).idempotency_key(format!("cut-{cut}"))
}

/// Cut one host after the other off, each in a turn of its own, which the next one ends. `None`: once the provider
/// stalls.
async fn cut_each(provider: &ProviderServer, cuts: Vec<Option<Cut>>) {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let mut sessions: Vec<SessionId> = Vec::new();
    for (number, cut) in cuts.iter().enumerate() {
        let faults = Arc::new(CutOff::default());
        let models = || provider.catalog(PRICE);
        let test = TestHost::faulty(directory.path(), &clock, models, faults.clone()).await;
        if let Some(before) = sessions.last() {
            ends(&test.host.sessions().get(*before), number - 1, cuts[number - 1], provider).await;
        }
        let session = test.session(&guests::THINKS).await;
        sessions.push(session.id());
        if let Some(cut) = cut {
            faults.arm(*cut);
        }
        let turn = tokio::spawn(async move { session.send(message(number)).await });
        eventually("the host is cut off", async || {
            if cut.is_none() && is_stalled(provider, number) {
                faults.cut();
            }
            faults.is_reached() || turn.is_finished()
        })
        .await;
        assert!(faults.is_reached(), "{cut:?} was never reached: {:?}", turn.await);
        // Its client goes, and nobody shuts the host down.
        turn.abort();
        let _ = turn.await;
        drop(test);
    }
    let last = Arc::new(CutOff::default());
    let test = TestHost::faulty(directory.path(), &clock, || provider.catalog(PRICE), last).await;
    let all: Vec<_> = sessions.iter().map(|id| test.host.sessions().get(*id)).collect();
    ends(all.last().unwrap(), cuts.len() - 1, cuts[cuts.len() - 1], provider).await;
    adds_up(&test.host.sessions(), &all).await;
    assert!(test.host.store().check().await.unwrap().findings.is_empty());
    test.shut_down().await;
}

/// The turn that was cut off is over by itself, and whoever sends its message again gets its answer.
async fn ends(session: &SessionHandle, number: usize, cut: Option<Cut>, provider: &ProviderServer) {
    let reply = session.send(message(number)).await.unwrap();
    let told = answers(&results(&reply.text()));
    let turn = session.turn(1).await.unwrap().unwrap();
    let found = judge(&questions(number), &told, &turn.effects, &asked(provider));
    let (unknown, unsent) = found;
    assert!(unknown <= 1 && unsent <= unknown, "{cut:?}: {found:?}");
    assert_eq!(session.turns(0, 10).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_turn_ends_well_that_is_cut_off_before_any_of_its_writes() {
    let provider = provider(|_| None).await;
    cut_each(&provider, (0..COMMITS).map(Cut::BeforeCommit).map(Some).collect()).await;
}

#[tokio::test]
async fn a_turn_ends_well_that_is_cut_off_after_any_of_its_writes() {
    let provider = provider(|_| None).await;
    cut_each(&provider, (0..COMMITS).map(Cut::AfterCommit).map(Some).collect()).await;
}

#[tokio::test]
async fn a_turn_ends_well_that_is_cut_off_in_any_of_its_calls() {
    let provider = provider(|_| None).await;
    cut_each(&provider, (0..CALLS).map(Cut::InCall).map(Some).collect()).await;
}

#[tokio::test]
async fn a_turn_ends_well_whose_provider_says_nothing_until_the_host_ends() {
    let stalls = |asked: &Asked| {
        let is_stalled = (0..CALLS).any(|cut| asked.text == stalled(cut));
        is_stalled.then(|| Play::Waits("never".to_owned()))
    };
    let provider = provider(stalls).await;
    cut_each(&provider, vec![None; CALLS]).await;
}

#[tokio::test]
async fn a_turn_ends_well_that_is_cut_off_while_its_provider_refuses_each_call_once() {
    let refuses = |_: &Asked| Some(Play::Refuses(529, json!({ "error": {} }), Some(0)));
    let provider = provider(refuses).await;
    cut_each(&provider, (0..COMMITS + CALLS).map(Cut::BeforeCommit).map(Some).collect()).await;
}

#[tokio::test]
async fn a_turn_ends_well_that_is_cut_off_while_an_answer_of_its_provider_breaks_off() {
    let breaks = |asked: &Asked| {
        asked.text.ends_with("call 3").then(|| Play::Breaks("number and".to_owned()))
    };
    let provider = provider(breaks).await;
    cut_each(&provider, (3..9).map(Cut::BeforeCommit).map(Some).collect()).await;
}
