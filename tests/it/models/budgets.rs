//! No session spends more than it may, alone or with its forks; and it stops before the call that could.

use dormouse::{
    Change, Fork, ForkError, ForkLimits, HostBuilder, LimitsPatch, ManualClock, NanoUsd,
    NewSession, Pattern, SendError, SessionHandle, SessionPatch, Status, TurnDenied,
};
use dormouse_test_guests as guests;
use dormouse_tests::provider::Play;
use dormouse_tests::test_host::eventually;
use dormouse_tests::{ProviderServer, TestHost};

use super::{ANSWER, PRICE, answers, thinks};

async fn host(provider: &ProviderServer) -> (TestHost, tempfile::TempDir) {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::thinking(directory.path(), &clock, || provider.catalog(PRICE)).await;
    (test, directory)
}

fn usd(amount: f64) -> impl FnOnce(&mut NewSession) {
    move |new| new.max_budget = NanoUsd::from_usd(amount)
}

#[tokio::test]
async fn a_session_stops_before_the_call_that_could_exceed_its_budget_and_says_why() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, usd(0.06)).await;
    let told = session.send("max-tokens 260\nask 9 question").await.unwrap_err();
    let SendError::Failed(ended) = &told else { panic!("{told}") };
    assert_eq!(told.code(), "budget_exceeded", "{told}");
    assert!(told.to_string().contains("maxBudgetUsd of 0.06"), "{told}");
    let after = ended.session.clone();
    assert!(after.usage.cost < NanoUsd(60_000_000), "{}", after.usage.cost);
    assert_eq!(after.state.status(), Status::Terminated);
    let made = ended.turn.effects.iter().filter(|line| line.cost == ANSWER).count();
    assert_eq!(made, provider.asked().len());
    assert!(made >= 2, "{made}");
    let fuel = after.usage.cost - NanoUsd(ANSWER.0 * i64::try_from(made).unwrap());
    assert!(fuel.0 > 0 && fuel < NanoUsd(1_000_000), "{fuel}");
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_that_says_no_number_of_tokens_gets_as_many_as_there_is_money_for() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, usd(0.1)).await;
    assert_eq!(answers(&thinks(&session, "ask 1 question").await), ["number 1"]);
    let asked = &provider.asked()[0].body;
    let tokens = asked["max_tokens"].as_u64().or(asked["max_completion_tokens"].as_u64()).unwrap();
    assert!((256..1_000).contains(&tokens), "{tokens}");
    test.shut_down().await;
}

#[tokio::test]
async fn forks_spend_from_one_account_and_only_who_finds_it_empty_is_ended() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, usd(0.2)).await;
    thinks(&session, "max-tokens 300\nask 2 question").await;
    let forks = session.fork(Fork { count: 2, ..Fork::default() }).await.unwrap();
    let sessions = test.host.sessions();
    let (one, two) = (sessions.get(forks[0].session.id), sessions.get(forks[1].session.id));
    thinks(&one, "max-tokens 300\nask 3 question").await;
    // What is left is too little for so many.
    let told = two.send("max-tokens 300\nask 90 question").await.unwrap_err();
    assert_eq!(told.code(), "budget_exceeded", "{told}");
    let all = [&session, &one, &two];
    let mut spent = NanoUsd(0);
    for each in all {
        spent += each.info().await.unwrap().session.usage.cost;
    }
    let account = session.account().await.unwrap().unwrap();
    assert_eq!(account.spent.money, spent);
    assert_eq!((account.limits.money, account.members), (Some(NanoUsd(200_000_000)), 3));
    assert!(spent <= NanoUsd(200_000_000), "{spent}");
    assert_eq!(two.info().await.unwrap().status(), Status::Terminated);
    assert_eq!(one.info().await.unwrap().status(), Status::Active);
    assert_eq!(session.info().await.unwrap().status(), Status::Active);
    test.shut_down().await;
}

#[tokio::test]
async fn a_hundred_forks_that_spend_at_once_never_spend_more_than_there_is() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, |new| {
        new.max_budget = NanoUsd::from_usd(0.5);
        new.max_fuel_per_turn = Some(100_000_000);
    });
    let session = session.await;
    let forks = session.fork(Fork { count: 100, ..Fork::default() }).await.unwrap();
    let sending = forks.iter().map(|fork| {
        let fork = test.host.sessions().get(fork.session.id);
        tokio::spawn(async move { fork.send("max-tokens 256\nask 2 question").await })
    });
    let sending: Vec<_> = sending.collect();
    let (mut answered, mut refused) = (0, 0);
    for turn in sending {
        match turn.await.unwrap() {
            Ok(_) => answered += 1,
            Err(error) => {
                let SendError::Failed(ended) = &error else {
                    assert_eq!(error.code(), "budget_held", "{error}");
                    continue;
                };
                let status = ended.session.state.status();
                match error.code() {
                    "budget_exceeded" => assert_eq!(status, Status::Terminated),
                    // Nothing is wrong with it: others may give back what they hold.
                    _ => {
                        assert!(error.to_string().contains("other turns hold the rest"), "{error}");
                        assert_eq!(status, Status::Initializing);
                    }
                }
                refused += 1;
            }
        }
    }
    // All get their first answers in turn, and then there is too little for most of the second.
    assert!(answered > 0 && refused > 10, "{answered} and {refused}");
    let account = session.account().await.unwrap().unwrap();
    assert!(account.spent.money <= NanoUsd(500_000_000), "{}", account.spent.money);
    let paid = i64::try_from(provider.answered().len()).unwrap() * ANSWER.0;
    assert!(account.spent.money >= NanoUsd(paid));
    test.shut_down().await;
}

#[tokio::test]
async fn a_fork_with_limits_of_its_own_takes_them_off_its_parents_at_once() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, usd(1.0)).await;
    let own = |usd| Fork {
        limits: ForkLimits { max_budget: NanoUsd::from_usd(usd), ..ForkLimits::default() },
        ..Fork::default()
    };
    let fork = &session.fork(own(0.4)).await.unwrap()[0].session;
    assert_eq!((fork.account, fork.profile.limits.max_budget), (None, NanoUsd::from_usd(0.4)));
    let account = session.account().await.unwrap().unwrap();
    assert_eq!((account.limits.money, account.members), (NanoUsd::from_usd(0.6), 1));
    let refused = session.fork(own(0.7)).await.unwrap_err();
    assert!(matches!(refused, ForkError::Short(_)), "{refused}");
    let fuel = ForkLimits { max_fuel: Some(1_000_000), ..ForkLimits::default() };
    let refused = session.fork(Fork { limits: fuel, ..Fork::default() }).await.unwrap_err();
    assert!(refused.to_string().contains("has a budget"), "{refused}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_waits_in_line_while_a_fork_holds_what_is_left() {
    let provider = ProviderServer::start(|asked| match asked.number {
        0 => Play::Waits("one".to_owned()),
        n => Play::Says(format!("number {n}")),
    })
    .await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, usd(0.12)).await;
    let fork = session.fork(Fork::default()).await.unwrap()[0].session.id;
    let fork = test.host.sessions().get(fork);
    let first = tokio::spawn(async move { session.send("max-tokens 600\nask 1 question").await });
    eventually("the provider is asked", async || provider.asked().len() == 1).await;
    let second = tokio::spawn(async move { fork.send("max-tokens 600\nask 1 question").await });
    tokio::task::yield_now().await;
    assert!(!second.is_finished());
    provider.let_go();
    assert!(first.await.unwrap().is_ok());
    assert_eq!(second.await.unwrap().unwrap().text(), r#"[{"answer":"number 1"}]"#);
    test.shut_down().await;
}

#[tokio::test]
async fn a_family_whose_money_is_spent_gets_no_further_turn() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::SPENDS_FUEL, usd(0.01)).await;
    let fork = session.fork(Fork::default()).await.unwrap()[0].session.id;
    let fork = test.host.sessions().get(fork);
    // All of it is spent by one turn.
    let told = session.send("spend 100000000000").await.unwrap_err();
    assert_eq!(told.code(), "budget_exceeded", "{told}");
    assert_eq!(fork.info().await.unwrap().status(), Status::Initializing);
    let told = fork.send("spend 1").await.unwrap_err();
    assert!(matches!(told, SendError::Denied(TurnDenied::BudgetExceeded(_))), "{told}");
    assert_eq!(fork.info().await.unwrap().status(), Status::Terminated);
    test.shut_down().await;
}

#[tokio::test]
async fn sessions_of_one_user_spend_no_more_than_the_user_may_and_those_of_others_go_on() {
    let limit = NanoUsd::from_usd(0.001);
    let test = TestHost::with(|options| options.quotas.budget_per_user = limit).await;
    let agent = test.upload(&guests::SPENDS_FUEL).await;
    let of = async |user: &str| {
        let mut new = NewSession::with_agent(agent.clone());
        (new.user_id, new.pattern) = (Some(user.to_owned()), Pattern::LongRunning);
        test.host.sessions().create(new).await.unwrap()
    };
    let (one, two, other) = (of("ann").await, of("ann").await, of("ben").await);
    two.send("spend 1").await.unwrap();
    let told = one.send("spend 100000000000").await.unwrap_err();
    assert_eq!(told.code(), "budget_exceeded", "{told}");
    let told = two.send("spend 1").await.unwrap_err();
    assert!(matches!(told, SendError::Denied(TurnDenied::BudgetExceeded(_))), "{told}");
    assert_eq!(two.info().await.unwrap().status(), Status::Active, "the operator may raise it");
    other.send("spend 1").await.unwrap();
    let mut spent = NanoUsd(0);
    for session in [one, two] {
        spent += session.info().await.unwrap().session.usage.cost;
    }
    assert!(Some(spent) <= limit, "{spent}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_whose_users_money_is_too_little_for_a_call_goes_on_once_there_is_more() {
    let provider = ProviderServer::counting().await;
    let directory = tempfile::tempdir().unwrap();
    let host = async |usd: f64| {
        let change = |builder: HostBuilder| {
            let builder = builder.models(provider.catalog(PRICE));
            builder.configure(|options| options.quotas.budget_per_user = NanoUsd::from_usd(usd))
        };
        TestHost::built(directory.path(), &ManualClock::new(), change).await
    };
    let test = host(0.06).await;
    let of_ann = |new: &mut NewSession| new.user_id = Some("ann".to_owned());
    let session = test.session_with(&guests::THINKS, of_ann).await;
    for _ in 0..4 {
        let told = session.send("max-tokens 260\nask 9 question").await.unwrap_err();
        assert_eq!(told.code(), "budget_exceeded", "{told}");
        assert!(told.to_string().contains("the sessions of its user"), "{told}");
        assert_eq!(session.info().await.unwrap().status(), Status::Initializing);
    }
    let id = session.id();
    test.shut_down().await;
    let test = host(1.0).await;
    let session = test.host.sessions().get(id);
    assert_eq!(answers(&thinks(&session, "max-tokens 260\nask 1 question").await).len(), 1);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_makes_do_with_a_cheaper_call_and_fails_for_another_reason_ends_no_session() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, usd(0.2)).await;
    let script = "ignore-errors\nmax-tokens 90000\nask 1 dear\nmax-tokens 300\nask 1 cheap\nrequest nonsense";
    let told = session.send(script).await.unwrap_err();
    assert_eq!(told.code(), "agent_failed", "{told}");
    assert_eq!(provider.asked().len(), 1);
    assert_eq!(session.info().await.unwrap().status(), Status::Initializing);
    let told = session.send("max-tokens 90000\nask 1 dear").await.unwrap_err();
    assert_eq!(told.code(), "budget_exceeded", "{told}");
    assert_eq!(session.info().await.unwrap().status(), Status::Terminated);
    test.shut_down().await;
}

#[tokio::test]
async fn a_patch_sets_the_limits_of_a_family_whatever_others_have_made_of_them_since() {
    let provider = ProviderServer::counting().await;
    let (test, _directory) = host(&provider).await;
    let session = test.session_with(&guests::THINKS, usd(10.0)).await;
    let fork = session.fork(Fork::default()).await.unwrap()[0].session.id;
    let fork = test.host.sessions().get(fork);
    let set = async |session: &SessionHandle, limits: LimitsPatch| {
        session.change(SessionPatch { limits, ..SessionPatch::default() }).await.unwrap();
        session.account().await.unwrap().unwrap().limits
    };
    let money = |usd| LimitsPatch {
        max_budget: Change::Set(NanoUsd::from_usd(usd).unwrap()),
        ..LimitsPatch::default()
    };
    assert_eq!(set(&session, money(20.0)).await.money, NanoUsd::from_usd(20.0));
    assert_eq!(set(&fork, money(10.0)).await.money, NanoUsd::from_usd(10.0));
    let own = ForkLimits { max_budget: NanoUsd::from_usd(4.0), ..ForkLimits::default() };
    session.fork(Fork { limits: own, ..Fork::default() }).await.unwrap();
    let fuel = LimitsPatch { max_fuel: Change::Set(1 << 40), ..LimitsPatch::default() };
    let after = set(&session, fuel).await;
    assert_eq!((after.money, after.fuel), (NanoUsd::from_usd(6.0), Some(1 << 40)));
    assert_eq!(set(&fork, money(10.0)).await.money, NanoUsd::from_usd(10.0));
    thinks(&fork, "max-tokens 300\nask 1 question").await;
    test.shut_down().await;
}
