//! Guests that do what no guest should: each gets its typed failure, leaves no trace but its bill,
//! and disturbs nobody.

use dormouse::{FailureCode, FinishedTurn, Pattern, SendError, SessionHandle, TurnOutcome};
use dormouse_test_guests as guests;
use dormouse_test_guests::unimaged;
use dormouse_tests::TestHost;

async fn fails(session: &SessionHandle, text: &str) -> FinishedTurn {
    match session.send(text).await {
        Err(SendError::Failed(ended)) => *ended,
        Err(other) => panic!("{text}: {other:?}"),
        Ok(reply) => panic!("{text}: answered {}", reply.text()),
    }
}

fn code(ended: &FinishedTurn) -> FailureCode {
    match &ended.turn.outcome {
        TurnOutcome::Failed(failure) => failure.code,
        TurnOutcome::Answered { .. } => panic!("it was answered"),
    }
}

/// Says one thing, misbehaves, and says another: the second answer shows that the turn between left
/// no trace; the bill shows that it was not free.
async fn leaves_no_trace(guest: &guests::TestGuest, trigger: &str, expected: FailureCode) {
    let test = TestHost::with(|options| {
        options.limits.max_fuel_per_turn = 300_000_000;
        options.limits.max_memory_bytes = 32 << 20;
    })
    .await;
    let session = test.session(guest).await;
    assert_eq!(session.send("one").await.unwrap().text(), "turn 1: one");
    let before = session.info().await.unwrap().session;

    let ended = fails(&session, trigger).await;
    assert_eq!(code(&ended), expected, "{:?}", ended.turn.outcome);
    assert!(ended.turn.fuel > 0 && ended.turn.cost.0 > 0, "it was free: {:?}", ended.turn);

    let after = session.info().await.unwrap().session;
    assert_eq!(after.head, before.head);
    assert_eq!(after.usage.turns, before.usage.turns + 1);
    assert_eq!(after.usage.fuel, before.usage.fuel + ended.turn.fuel);
    assert_eq!(session.turn(2).await.unwrap().unwrap(), ended.turn);
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn an_endless_loop_ends_when_the_fuel_of_the_turn_is_used() {
    leaves_no_trace(&guests::LOOPS_FOREVER, "loop", FailureCode::FuelExhausted).await;
}

#[tokio::test]
async fn endless_allocation_ends_at_the_memory_limit() {
    leaves_no_trace(&guests::ALLOCATES_FOREVER, "allocate", FailureCode::MemoryExceeded).await;
}

#[tokio::test]
async fn endless_recursion_traps() {
    leaves_no_trace(&guests::RECURSES_FOREVER, "recurse", FailureCode::AgentTrapped).await;
}

#[tokio::test]
async fn endless_printing_ends_when_the_fuel_is_used_and_fills_nothing() {
    leaves_no_trace(&guests::PRINTS_FOREVER, "print", FailureCode::FuelExhausted).await;
}

#[tokio::test]
async fn a_trap_a_panic_and_an_exit_are_traps() {
    for trigger in ["trap", "panic", "exit 3", "exit 0"] {
        leaves_no_trace(&guests::TRAPS_WHEN_TOLD, trigger, FailureCode::AgentTrapped).await;
    }
}

#[tokio::test]
async fn a_guest_that_traps_on_its_second_turn_does_so_each_time() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TRAPS_ON_SECOND_TURN).await;
    assert_eq!(session.send("one").await.unwrap().text(), "turn 1: one");
    for _ in 0..2 {
        let ended = fails(&session, "two").await;
        assert_eq!(code(&ended), FailureCode::AgentTrapped);
        let TurnOutcome::Failed(failure) = &ended.turn.outcome else { panic!() };
        assert!(failure.message.len() < 2048 && !failure.message.contains("/root"), "{failure:?}");
        let log = ended.turn.log.iter().any(|line| line.message.contains("second turn"));
        assert!(log, "the panic message is in the log: {:?}", ended.turn.log);
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_neighbour_completes_two_hundred_turns_while_a_loop_is_in_its_first() {
    let test = TestHost::with(|options| {
        options.guest_threads = 1;
        options.limits.max_fuel_per_turn = u64::MAX / 4;
    })
    .await;
    let looper = test.session(&guests::LOOPS_FOREVER).await;
    let looping = looper.stream("loop").await.unwrap();
    dormouse_tests::test_host::eventually("the loop runs", async || {
        looper.info().await.unwrap().running_turn == Some(1)
    })
    .await;
    let neighbour = test.bundled("counter", Pattern::LongRunning).await;
    for n in 1..=200 {
        assert_eq!(neighbour.send("hi").await.unwrap().text(), format!("turn {n}: hi"));
    }
    assert_eq!(looper.info().await.unwrap().running_turn, Some(1));
    let killed = looper.force_kill().await.unwrap();
    assert_eq!(killed.session.state.reason().unwrap().0, "force_killed");
    let Err(SendError::Failed(ended)) = looping.reply().await else { panic!() };
    assert_eq!(code(&ended), FailureCode::TurnKilled);
    assert!(ended.turn.fuel > 1_000_000, "what it used is billed: {}", ended.turn.fuel);
    test.shut_down().await;
}

#[tokio::test]
async fn a_loop_that_is_cheap_in_fuel_and_dear_in_time_delays_no_neighbour() {
    let test = TestHost::with(|options| options.guest_threads = 1).await;
    let filler = test
        .session_with(&guests::FILLS_MEMORY, |new| new.max_fuel_per_turn = Some(u64::MAX / 4))
        .await;
    let filling = filler.stream("fill").await.unwrap();
    dormouse_tests::test_host::eventually("the loop runs", async || {
        filler.info().await.unwrap().running_turn == Some(1)
    })
    .await;
    let neighbour = test.bundled("counter", Pattern::LongRunning).await;
    for n in 1..=20 {
        assert_eq!(neighbour.send("hi").await.unwrap().text(), format!("turn {n}: hi"));
    }
    filler.force_kill().await.unwrap();
    assert!(filling.reply().await.is_err());
    test.shut_down().await;
}

#[tokio::test]
async fn what_a_guest_streams_beyond_the_bound_is_refused_to_it_and_the_turn_goes_on() {
    let test = TestHost::new().await;
    let session = test.session(&guests::STREAMS_FOREVER).await;
    let text = session.send("stream").await.unwrap().text();
    assert!(text.to_lowercase().contains("large"), "{text}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_log_is_kept_up_to_its_bound_and_the_rest_is_counted() {
    let test = TestHost::new().await;
    let session = test.session(&guests::PRINTS_FOREVER).await;
    let turn = session.send("print 3").await.unwrap().turn;
    assert_eq!(turn.log.len(), 3);
    assert_eq!(turn.log_dropped, 0);
    let turn = session.send("print 100000").await.unwrap().turn;
    let kept: usize = turn.log.iter().map(|line| line.message.len()).sum();
    assert!(kept <= 128 * 1024, "{kept}");
    assert!(turn.log_dropped > 0);
    test.shut_down().await;
}

#[tokio::test]
async fn a_reply_that_is_too_large_fails_the_turn() {
    let test = TestHost::new().await;
    let session = test.session(&guests::REPLIES_WITH).await;
    assert_eq!(session.send("bytes 1000000").await.unwrap().text().len(), 1_000_000);
    // One error, also beyond what the host reads at all.
    for size in [(4 << 20) + 1, 20_000_000, 40_000_000, 100_000_000] {
        let ended = fails(&session, &format!("bytes {size}")).await;
        let TurnOutcome::Failed(failure) = &ended.turn.outcome else { panic!("{size}") };
        assert_eq!(failure.code, FailureCode::AgentFailed, "{failure:?}");
        assert_eq!(
            failure.message, "the reply of the agent is larger than 4194304 bytes",
            "{size}"
        );
    }
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_saved_fails_the_turn() {
    let test = TestHost::new().await;
    let session = test.session(&unimaged(&guests::FAILS_TO_SAVE)).await;
    session.send("one").await.unwrap();
    assert_eq!(code(&fails(&session, "spoil").await), FailureCode::AgentFailed);
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn a_state_that_cannot_be_restored_fails_each_turn_until_the_session_is_in_error() {
    let test = TestHost::new().await;
    for guest in [&guests::FAILS_TO_RESTORE, &guests::LOOPS_IN_RESTORE] {
        let session = test.session(&unimaged(guest)).await;
        session.send("one").await.unwrap();
        session.sleep().await.unwrap();
        for _ in 0..5 {
            fails(&session, "two").await;
        }
        let sight = session.info().await.unwrap();
        assert_eq!(sight.session.state.reason().unwrap().0, "consecutive_failures");
        assert!(matches!(session.send("three").await, Err(SendError::Denied(_))));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn five_failures_in_a_row_put_a_session_into_error_and_a_success_starts_the_count_again() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TRAPS_WHEN_TOLD).await;
    for _ in 0..2 {
        for _ in 0..4 {
            fails(&session, "trap").await;
        }
        session.send("fine").await.unwrap();
    }
    for _ in 0..5 {
        fails(&session, "trap").await;
    }
    let sight = session.info().await.unwrap();
    assert_eq!(sight.session.state.status(), dormouse::Status::Error);
    test.shut_down().await;
}

#[tokio::test]
async fn a_state_that_is_too_large_fails_the_turn_and_one_that_is_merely_large_is_kept() {
    let test = TestHost::new().await;
    let session = test.session(&unimaged(&guests::SAVES_MUCH)).await;
    let head = session.send("save 3000000").await.unwrap().session.session.head;
    session.sleep().await.unwrap();
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    let before = session.info().await.unwrap().session.head;
    assert_ne!(before, head);
    let ended = fails(&session, "save 80000000").await;
    assert!(
        matches!(code(&ended), FailureCode::AgentFailed | FailureCode::MemoryExceeded),
        "{:?}",
        ended.turn.outcome
    );
    assert_eq!(session.info().await.unwrap().session.head, before);
    assert_eq!(session.send("three").await.unwrap().text(), "turn 3: three");
    test.shut_down().await;
}
