//! What providers do wrong, agents are told in typed errors, and the ledger in lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dormouse::model::{
    Catalog, Entry, Forward, ModelPattern, ModelRequest, Provider, ProviderFuture, TokenPrice,
};
use dormouse::{Bill, EffectTarget, FailureCode, ManualClock, NanoUsd, SendError, TurnOutcome};
use dormouse_test_guests as guests;
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};
use serde_json::json;

use super::{ANSWER, PRICE, answers, thinks};

async fn host(provider: &ProviderServer, price: TokenPrice) -> (TestHost, tempfile::TempDir) {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::thinking(directory.path(), &clock, || provider.catalog(price)).await;
    (test, directory)
}

#[tokio::test]
async fn each_retry_is_a_line_of_its_own_and_costs_nothing_where_the_provider_refused() {
    let overloaded = json!({ "error": { "message": "too much", "type": "overloaded_error" } });
    let provider = ProviderServer::start(move |asked| match asked.number {
        0 => Play::Refuses(429, overloaded.clone(), Some(0)),
        1 => Play::Refuses(529, overloaded.clone(), Some(0)),
        _ => Play::Says("at last".to_owned()),
    })
    .await;
    let (test, _directory) = host(&provider, PRICE).await;
    let session = test.session(&guests::THINKS).await;
    assert_eq!(answers(&thinks(&session, "ask 1 question").await), ["at last"]);
    let turn = session.turn(1).await.unwrap().unwrap();
    let lines: Vec<_> =
        turn.effects.iter().map(|line| (line.seq, line.attempt, line.bill)).collect();
    assert_eq!(lines, [(1, 1, Bill::Free), (1, 2, Bill::Free), (1, 3, Bill::Exact)]);
    test.shut_down().await;
}

#[tokio::test]
async fn an_answer_without_its_tokens_is_billed_with_what_was_reserved_for_it() {
    let provider = ProviderServer::start(|_| Play::SaysWithoutUsage("yes".to_owned())).await;
    let (test, _directory) = host(&provider, PRICE).await;
    let session = test.session(&guests::THINKS).await;
    thinks(&session, "max-tokens 1000\nask 1 question").await;
    let line = &session.turn(1).await.unwrap().unwrap().effects[0];
    assert_eq!(line.bill, Bill::Estimated);
    assert!(line.cost >= NanoUsd(1_000 * 100_000), "{}", line.cost);
    test.shut_down().await;
}

#[tokio::test]
async fn answers_that_are_none_are_told_as_such_and_harm_nobody() {
    let html = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n";
    let endless = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    let wrong = json!({ "error": { "message": "no such key", "type": "invalid_request_error" } });
    let plays = [
        (Play::Raw(html, b"<html>sorry</html>".to_vec()), "is no JSON: <html>sorry"),
        (Play::Raw(endless, vec![b' '; 50 << 20]), "sends over"),
        (Play::Refuses(401, wrong, None), "loopback does not serve this host (401)"),
    ];
    for (play, told) in plays {
        let provider = ProviderServer::start(move |_| play.clone()).await;
        let (test, _directory) = host(&provider, TokenPrice::default()).await;
        let session = test.session(&guests::THINKS).await;
        let results = thinks(&session, "ignore-errors\nask 1 question").await;
        let error = results[0]["error"].as_str().unwrap();
        assert!(error.contains(told), "{told}: {error}");
        test.shut_down().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_after_it_was_streamed_is_not_asked_for_again() {
    let provider = ProviderServer::start(|_| Play::Breaks("half of it".to_owned())).await;
    let (test, _directory) = host(&provider, PRICE).await;
    let session = test.session(&guests::THINKS).await;
    let results = thinks(&session, "forward\nignore-errors\nask 1 question").await;
    assert!(results[0]["error"].as_str().unwrap().contains("broke off"), "{results:?}");
    assert_eq!(provider.asked().len(), 1);
    assert!(
        session.turn(1).await.unwrap().unwrap().effects[0].cost > ANSWER,
        "nobody knows what it took"
    );
    let results = thinks(&session, "ignore-errors\nask 1 question").await;
    assert!(results[0]["error"].is_string());
    assert_eq!(provider.asked().len(), 4, "what nobody has seen is asked for three times");
    test.shut_down().await;
}

#[tokio::test]
async fn what_a_gateway_may_have_passed_on_is_billed_each_time_it_is_asked_for() {
    let sorry = json!({ "error": { "message": "bad gateway" } });
    let provider = ProviderServer::start(move |_| Play::Refuses(502, sorry.clone(), None)).await;
    let (test, _directory) = host(&provider, PRICE).await;
    let session = test.session(&guests::THINKS).await;
    thinks(&session, "ignore-errors\nask 1 question").await;
    let lines = session.turn(1).await.unwrap().unwrap().effects;
    let bills: Vec<_> = lines.iter().map(|line| line.bill).collect();
    assert_eq!(bills, [Bill::Unknown; 3]);
    assert!(lines.iter().all(|line| line.cost > ANSWER), "{lines:?}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_model_that_is_dead_shuts_no_other_model_of_its_provider_off() {
    let sorry = json!({ "error": { "message": "the model died" } });
    let provider = ProviderServer::start(move |asked| match &asked.body["model"] {
        name if name == "dead" => Play::Refuses(500, sorry.clone(), None),
        _ => Play::Says("alive".to_owned()),
    })
    .await;
    let (test, _directory) = host(&provider, PRICE).await;
    let session = test.session(&guests::THINKS).await;
    let dead = thinks(&session, "ignore-errors\nmodel dead\nask 3 question").await;
    let told: Vec<_> = dead.iter().filter_map(|result| result["error"].as_str()).collect();
    assert!(told[2].contains("overloaded"), "it is left alone: {told:?}");
    let other = test.session(&guests::THINKS).await;
    assert_eq!(answers(&thinks(&other, "model other\nask 1 question").await), ["alive"]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_script_of_the_offline_model_shuts_it_off_for_nobody() {
    let test = TestHost::new().await;
    let session = test.session(&guests::THINKS).await;
    let failing = json!({
        "messages": [{ "role": "user", "content": [{ "text": "#script\nfail unavailable" }] }],
    });
    let script = format!("ignore-errors\n{}", format!("request {failing}\n").repeat(5));
    thinks(&session, &script).await;
    let other = test.session(&guests::THINKS).await;
    assert_eq!(answers(&thinks(&other, "ask 1 my name is Ada").await).len(), 1);
    test.shut_down().await;
}

/// A provider with a defect. It counts how often it is asked.
#[derive(Debug, Default)]
struct Defective(AtomicUsize);

impl Provider for Defective {
    fn name(&self) -> &str {
        "defective"
    }

    fn ask<'a>(&'a self, _: Arc<ModelRequest>, _: Forward<'a>) -> ProviderFuture<'a> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { panic!("a defect") })
    }
}

#[tokio::test]
async fn a_defect_of_the_host_is_no_failure_of_the_provider() {
    let provider = Arc::new(Defective::default());
    let catalog = || {
        let entry = Entry {
            provider: Arc::clone(&provider) as Arc<dyn Provider>,
            models: vec![ModelPattern::new("any")],
            prices: vec![(ModelPattern::new("*"), PRICE)],
            max_calls: 8,
        };
        Catalog::new(vec![entry])
    };
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::thinking(directory.path(), &clock, catalog).await;
    let session = test.session(&guests::THINKS).await;
    let failed = session.send("ignore-errors\nask 1 question").await.unwrap_err();
    let SendError::Failed(ended) = failed else { panic!("{failed}") };
    let TurnOutcome::Failed(failure) = &ended.turn.outcome else { panic!() };
    assert_eq!(failure.code, FailureCode::HostFault);
    assert_eq!(provider.0.load(Ordering::SeqCst), 1);
    let lines = session.turn(1).await.unwrap().unwrap().effects;
    assert_eq!((lines.len(), lines[0].bill), (1, Bill::Unknown));
    test.shut_down().await;
}

#[tokio::test]
async fn a_model_of_which_nobody_knows_the_price_is_not_for_sessions_with_a_budget() {
    let provider = ProviderServer::counting().await;
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let catalog = || {
        let openai = dormouse::model::OpenAi::new("loopback", &provider.url, None).unwrap();
        let entry = dormouse::model::Entry {
            provider: std::sync::Arc::new(openai),
            models: vec![dormouse::model::ModelPattern::new("*")],
            prices: Vec::new(),
            max_calls: 8,
        };
        dormouse::model::Catalog::new(vec![entry])
    };
    let test = TestHost::thinking(directory.path(), &clock, catalog).await;
    let script = "ignore-errors\nmodel strange-model\nask 1 question";
    let with_budget =
        test.session_with(&guests::THINKS, |new| new.max_budget = NanoUsd::from_usd(1.0)).await;
    let results = thinks(&with_budget, script).await;
    assert!(results[0]["error"].as_str().unwrap().contains("price"), "{results:?}");
    let agent = "thinks@1".parse().unwrap();
    let without =
        test.host.sessions().create(dormouse::NewSession::with_agent(agent)).await.unwrap();
    assert_eq!(answers(&thinks(&without, script).await), ["number 1"]);
    assert_eq!(without.turn(1).await.unwrap().unwrap().effects[0].bill, Bill::Unpriced);
    test.shut_down().await;
}

#[tokio::test]
async fn the_time_that_a_model_takes_is_not_the_turns() {
    let provider = ProviderServer::start(|_| Play::Waits("late".to_owned())).await;
    let (test, _directory) = host(&provider, PRICE).await;
    let session = test
        .session_with(&guests::THINKS, |new| new.turn_timeout = Some(Duration::from_secs(10)))
        .await;
    let sending = session.clone();
    let turn = tokio::spawn(async move { sending.send("ask 1 question").await });
    eventually("the provider is asked", async || provider.asked().len() == 1).await;
    test.advance(Duration::from_secs(60));
    test.host.settle().await;
    assert!(!turn.is_finished());
    provider.let_go();
    assert_eq!(answers(&super::results(&turn.await.unwrap().unwrap().text())), ["late"]);
    test.shut_down().await;
}

#[tokio::test]
async fn the_time_before_a_call_is_made_again_is_the_turns() {
    let overloaded = json!({ "error": { "message": "too much", "type": "overloaded_error" } });
    let provider =
        ProviderServer::start(move |_| Play::Refuses(529, overloaded.clone(), Some(29))).await;
    let (test, _directory) = host(&provider, PRICE).await;
    let session = test
        .session_with(&guests::THINKS, |new| new.turn_timeout = Some(Duration::from_secs(10)))
        .await;
    let sending = session.clone();
    let turn = tokio::spawn(async move { sending.send("ask 1 question").await });
    eventually("the turn has waited for as long as it may", async || {
        if !provider.asked().is_empty() && provider.open() == 0 {
            test.advance(Duration::from_secs(11));
        }
        assert!(provider.asked().len() < 2, "it waits for as long as the provider says");
        turn.is_finished()
    })
    .await;
    assert_eq!(turn.await.unwrap().unwrap_err().code(), "turn_timeout");
    test.shut_down().await;
}

#[tokio::test]
async fn without_a_provider_the_offline_model_answers_every_name_for_nothing() {
    let test = TestHost::new().await;
    let session = test.session_with(&guests::THINKS, |new| new.max_budget = NanoUsd::from_usd(1.0));
    let session = session.await;
    let results = thinks(&session, "model claude-3-5-sonnet-20241022\nask 1 my name is Ada").await;
    assert_eq!(answers(&results), ["Nice to meet you, Ada. I will remember your name."]);
    let line = session.turn(1).await.unwrap().unwrap().effects[0].clone();
    let EffectTarget::Model { provider, .. } = &line.target else { panic!("{line:?}") };
    assert_eq!((provider.as_str(), line.cost, line.bill), ("offline", NanoUsd(0), Bill::Free));
    test.shut_down().await;
}
