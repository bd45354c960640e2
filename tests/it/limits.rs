//! Limits hold to the letter.

use std::time::Duration;

use dormouse::{
    Cause, FailureCode, Limit, NanoUsd, NotActive, Pattern, SendError, SessionHandle, Status,
    TurnDenied, TurnOutcome,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;

async fn failure(session: &SessionHandle, text: &str) -> FailureCode {
    match session.send(text).await {
        Err(SendError::Failed(ended)) => match ended.turn.outcome {
            TurnOutcome::Failed(failure) => failure.code,
            TurnOutcome::Answered { .. } => unreachable!("a failed turn has failed"),
        },
        other => panic!("{text}: {:?}", other.map(|reply| reply.text())),
    }
}

async fn ended_as(session: &SessionHandle) -> (Status, String) {
    let state = session.info().await.unwrap().session.state.clone();
    (state.status(), state.reason().map(|reason| reason.0.clone()).unwrap_or_default())
}

#[tokio::test]
async fn the_last_turn_that_is_allowed_is_answered_and_ends_the_session() {
    let test = TestHost::new().await;
    let session = test.session_with(&guests::TRAPS_WHEN_TOLD, |new| new.max_turns = Some(3)).await;
    session.send("one").await.unwrap();
    assert_eq!(failure(&session, "trap").await, FailureCode::AgentTrapped);
    assert_eq!(session.send("three").await.unwrap().text(), "turn 2: three");
    assert_eq!(ended_as(&session).await, (Status::Terminated, "max_turns".to_owned()));
    let refused = session.send("four").await;
    assert!(matches!(
        refused,
        Err(SendError::Denied(TurnDenied::NotActive(NotActive { status: Status::Terminated, .. })))
    ));
    assert_eq!(session.info().await.unwrap().session.usage.turns, 3);
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_uses_no_more_fuel_than_it_is_allowed() {
    let test = TestHost::new().await;
    let probe = test.session(&guests::SPENDS_FUEL).await;
    let needed = probe.send("spend 100000").await.unwrap().turn.fuel;

    let enough =
        test.session_with(&guests::SPENDS_FUEL, |new| new.max_fuel_per_turn = Some(needed)).await;
    assert_eq!(enough.send("spend 100000").await.unwrap().turn.fuel, needed);

    for allowed in [needed - 1, needed - 20, needed / 2] {
        let short = test
            .session_with(&guests::SPENDS_FUEL, |new| new.max_fuel_per_turn = Some(allowed))
            .await;
        let Err(SendError::Failed(ended)) = short.send("spend 100000").await else { panic!() };
        assert_eq!(ended.turn.fuel, allowed);
    }
    test.shut_down().await;
}

#[tokio::test]
async fn the_fuel_of_a_session_is_never_exceeded() {
    let test = TestHost::new().await;
    let probe = test.session(&guests::SPENDS_FUEL).await;
    let first = probe.send("spend 100000").await.unwrap().turn.fuel;
    let second = probe.send("spend 100000").await.unwrap().turn.fuel;
    let allowed = first + second / 2;

    let session = test.session_with(&guests::SPENDS_FUEL, |new| new.max_fuel = Some(allowed)).await;
    session.send("spend 100000").await.unwrap();
    assert_eq!(failure(&session, "spend 100000").await, FailureCode::FuelExhausted);
    assert_eq!(session.info().await.unwrap().session.usage.fuel, allowed);
    assert_eq!(ended_as(&session).await, (Status::Terminated, "fuel_exhausted".to_owned()));
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_never_costs_more_than_its_budget() {
    let test = TestHost::with(|options| options.fuel_price = NanoUsd(1_000_000_000)).await;
    let budget = NanoUsd(5_000_000);
    let session =
        test.session_with(&guests::LOOPS_FOREVER, |new| new.max_budget = Some(budget)).await;
    session.send("one").await.unwrap();
    assert_eq!(failure(&session, "loop").await, FailureCode::BudgetExceeded);
    let spent = session.info().await.unwrap().session.usage.cost;
    assert!(spent <= budget && spent.0 > budget.0 - 10, "{spent:?} of {budget:?}");
    assert_eq!(ended_as(&session).await, (Status::Terminated, "budget_exceeded".to_owned()));
    test.shut_down().await;
}

#[tokio::test]
async fn each_start_is_a_line_of_its_own_on_the_bill_and_no_part_of_a_turn() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::KEEPS_BYTES).await;
    let start = test.host.agents().get(agent).await.unwrap().component.start_fuel;
    assert!(start > 500, "it asks the host for its streams: {start}");

    let session = test.session(&guests::KEEPS_BYTES).await;
    let mut turns = Vec::new();
    for (sleeps, text) in [(false, "text 1"), (false, "text 1"), (true, "text 1"), (true, "text 1")]
    {
        if sleeps {
            session.sleep().await.unwrap();
        }
        turns.push(session.send(text).await.unwrap().turn);
    }
    let started: Vec<_> = turns.iter().map(|turn| turn.start.map(|start| start.fuel)).collect();
    assert_eq!(started, [Some(start), None, Some(start), Some(start)]);
    let mut kept = session.turns(0, 10).await.unwrap().entries;
    assert_eq!(kept, turns);

    let usage = session.info().await.unwrap().session.usage;
    assert_eq!((usage.starts, usage.start_fuel), (3, 3 * start));
    assert_eq!(usage.fuel, turns.iter().map(|turn| turn.fuel).sum::<u64>());
    let costs =
        kept.drain(..).map(|turn| (turn.cost.0, turn.start.map_or(0, |start| start.cost.0)));
    let (turns, starts) = costs.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    assert!(starts > 0, "it was free");
    assert_eq!((usage.cost.0, usage.start_cost.0), (turns + starts, starts));
    test.shut_down().await;
}

#[tokio::test]
async fn money_for_a_start_is_money_of_the_session() {
    let price = NanoUsd(1_000_000_000);
    let test = TestHost::with(|options| options.fuel_price = price).await;
    let agent = test.upload(&guests::SPENDS_FUEL).await;
    // A unit costs a nano-USD: this buys the start, and nothing more than a few instructions.
    let start = test.host.agents().get(agent).await.unwrap().component.start_fuel;
    let budget = NanoUsd(i64::try_from(start).unwrap() + 10);
    let session =
        test.session_with(&guests::SPENDS_FUEL, |new| new.max_budget = Some(budget)).await;
    assert_eq!(failure(&session, "one").await, FailureCode::BudgetExceeded);
    let usage = session.info().await.unwrap().session.usage;
    assert_eq!((usage.cost, usage.start_fuel), (budget, start));
    assert_eq!(ended_as(&session).await, (Status::Terminated, "budget_exceeded".to_owned()));
    test.shut_down().await;
}

#[tokio::test]
async fn memory_is_denied_beyond_the_limit_and_a_guest_below_it_is_served() {
    let test = TestHost::new().await;
    let session =
        test.session_with(&guests::GROWS_MEMORY, |new| new.max_memory_bytes = Some(24 << 20)).await;
    session.send("grow 8000000").await.unwrap();
    assert_eq!(failure(&session, "grow 40000000").await, FailureCode::MemoryExceeded);
    session.send("grow 1000000").await.unwrap();
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_ended_by_the_clock() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::LOOPS_FOREVER, |new| {
            new.turn_timeout = Some(Duration::from_secs(30));
            new.max_fuel_per_turn = Some(u64::MAX / 4);
        })
        .await;
    session.send("one").await.unwrap();
    let looping = session.stream("loop").await.unwrap();
    eventually("the loop runs", async || session.info().await.unwrap().running_turn == Some(2))
        .await;
    test.advance(Duration::from_millis(29_999));
    tokio::task::yield_now().await;
    assert_eq!(session.info().await.unwrap().running_turn, Some(2));
    test.advance(Duration::from_millis(1));
    let Err(SendError::Failed(ended)) = looping.reply().await else { panic!() };
    let TurnOutcome::Failed(failure) = ended.turn.outcome else { panic!() };
    assert_eq!(failure.code, FailureCode::TurnTimeout);
    assert!(ended.turn.fuel > 0);
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn a_running_turn_ends_with_the_life_of_its_session() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::SLEEPS_IN_TURN, |new| {
            new.turn_timeout = Some(Duration::from_secs(3600));
            new.max_lifetime = Some(Duration::from_secs(60));
        })
        .await;
    let sleeping = session.stream("sleep 86400000").await.unwrap();
    assert_eq!(sleeping.output().begun().await, Some(1));
    let waiting = session.stream("hello").await.unwrap();
    test.advance(Duration::from_secs(60));
    let Err(SendError::Failed(ended)) = sleeping.reply().await else { panic!() };
    let TurnOutcome::Failed(failure) = ended.turn.outcome else { panic!() };
    assert_eq!(failure.code, FailureCode::TurnKilled);
    assert!(failure.message.contains("maxLifetimeMs of 60000"), "{}", failure.message);
    assert!(ended.turn.fuel > 0, "it is billed");
    assert_eq!(ended.session.usage.turns, 1);
    assert_eq!(ended.session.state.reason().unwrap().cause(), Some(Cause::LifetimeExceeded));
    let Err(SendError::Denied(TurnDenied::NotActive(inactive))) = waiting.reply().await else {
        panic!()
    };
    assert_eq!(inactive.limit, Some(Limit::Lifetime(Duration::from_secs(60))));
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_sleeps_is_ended_by_the_clock_as_well() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::SLEEPS_IN_TURN, |new| {
            new.turn_timeout = Some(Duration::from_secs(30));
        })
        .await;
    let sleeping = session.stream("sleep 86400000").await.unwrap();
    eventually("the turn runs", async || session.info().await.unwrap().running_turn == Some(1))
        .await;
    test.advance(Duration::from_secs(30));
    assert!(matches!(sleeping.reply().await, Err(SendError::Failed(_))));
    test.shut_down().await;
}

#[tokio::test]
async fn limits_out_of_bounds_are_refused_by_name() {
    let test = TestHost::new().await;
    let create = async |change: fn(&mut dormouse::NewSession)| {
        let mut new = dormouse::NewSession::default();
        change(&mut new);
        test.host.sessions().create(new).await.map(|_| ()).unwrap_err().to_string()
    };
    assert!(create(|new| new.max_turns = Some(0)).await.contains("maxTurns"));
    assert!(create(|new| new.max_memory_bytes = Some(u64::MAX)).await.contains("maxMemoryBytes"));
    assert!(create(|new| new.tags = vec![String::new()]).await.contains("tags"));
    assert!(create(|new| new.tags = vec!["t".to_owned(); 33]).await.contains("tags"));
    assert!(
        create(|new| new.tags = vec![
            "t".repeat(200),
            "u".repeat(200),
            "v".repeat(200),
            "w".repeat(200),
            "x".repeat(200),
            "y".repeat(25)
        ])
        .await
        .contains("tags")
    );
    assert!(create(|new| new.user_id = Some("u".repeat(201))).await.contains("userId"));
    assert!(create(|new| new.conversation_id = Some(true.into())).await.contains("conversationId"));
    assert!(
        create(|new| {
            new.config.insert("big".to_owned(), "x".repeat(256 * 1024).into());
        })
        .await
        .contains("config")
    );
    test.shut_down().await;
}

#[tokio::test]
async fn an_ephemeral_session_takes_one_message() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Ephemeral).await;
    assert_eq!(session.send("only").await.unwrap().text(), "turn 1: only");
    assert_eq!(ended_as(&session).await.0, Status::Completed);
    let refused = session.send("again").await;
    assert!(matches!(
        refused,
        Err(SendError::Denied(TurnDenied::NotActive(NotActive { status: Status::Completed, .. })))
    ));
    test.shut_down().await;
}

#[tokio::test]
async fn an_error_has_the_word_that_the_api_has_for_it() {
    let test = TestHost::new().await;
    let session = test.session_with(&guests::TRAPS_WHEN_TOLD, |new| new.max_turns = Some(1)).await;
    let code = async |text: &str| session.send(text).await.map(|_| ()).unwrap_err().code();
    assert_eq!(code("trap").await, "agent_trapped");
    assert_eq!(code("hello").await, "session_not_active");
    assert_eq!(session.pause().await.map(|_| ()).unwrap_err().code(), "invalid_transition");
    assert_eq!(session.status().await.unwrap(), Status::Terminated);
    session.delete().await.unwrap();
    assert_eq!(session.info().await.map(|_| ()).unwrap_err().code(), "session_not_found");
    let nobody = dormouse::NewSession::agent("nobody");
    let refused = test.host.sessions().create(nobody).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), "agent_not_found");
    test.shut_down().await;
}
