//! Guests that call a function of the host again and again, with the worst that it can be given: each
//! pays for what the host does for it, and comes to its end by its own fuel.
//!
//! How long others wait meanwhile is measured by `tests/bench --only hostile`, with the same guest.

use dormouse::{FailureCode, SendError, SessionHandle, TurnOutcome};
use dormouse_test_guests as guests;
use dormouse_test_guests::TestGuest;
use dormouse_test_guests::unimaged;
use dormouse_tests::TestHost;

/// What any call costs at least.
const CALL: u64 = 500;
/// How often it is called, to find out what one call costs.
const CALLS: u64 = 20;
/// What a turn may use: enough to make the largest that is handed over, and for a moment more.
const FUEL: u64 = 60_000_000;
/// These call nothing.
const NO_CALLS: [&str; 2] = ["nothing", "fill"];
/// What one call costs at least, where that is not [`CALL`]: by bytes and by items.
const DEAR: [(&str, u64); 18] = [
    ("memory.grow", 250),
    ("random.get-random-bytes", 1 << 20),
    ("insecure.get-insecure-random-bytes", 1 << 20),
    ("log-of-many-fields", 50 * 100_000),
    ("log-of-many-letters", 1_000_000),
    ("model.chat-of-many-images", 15 << 20),
    ("model.chat-of-many-letters", 1_000_000),
    ("model.chat-of-many-messages", 100 * 10_000),
    ("model.chat-of-no-json", 8 * 900_000),
    ("output.event-of-no-json", 900_000),
    ("output-stream.write", 64 << 10),
    ("output-stream.write-zeroes", 64 << 10),
    ("output-stream.blocking-write-and-flush", 4096),
    ("output-stream.blocking-write-zeroes-and-flush", 4096),
    ("poll.poll", 100 * 400),
    ("session.get-context", 40_000),
    ("session.get-checkpoint", 8 * 64_000),
    ("session.set-checkpoint", 100 * 64_000),
];

#[tokio::test]
async fn whatever_a_guest_calls_it_pays_for_each_call_and_ends_by_its_own_fuel() {
    let test = TestHost::with(|options| options.limits.max_memory_bytes = 64 << 20).await;
    // Of the others the handles of standard streams are taken once, and kept.
    let guest = unimaged(&guests::CALLS_THE_HOST);
    let session = async || session(&test, &guest).await;
    let names = session().await.send("names").await.unwrap().text();
    let names: Vec<&str> = names.lines().filter(|name| !NO_CALLS.contains(name)).collect();
    assert!(names.len() > 50, "{names:?}");
    for (name, _) in DEAR {
        assert!(names.contains(&name), "{name}");
    }
    for name in names {
        let least = DEAR.iter().find(|(dear, _)| *dear == name).map_or(CALL, |(_, least)| *least);
        let few = fuel(&session().await, &format!("{name} 1")).await;
        let more = fuel(&session().await, &format!("{name} {}", 1 + CALLS)).await;
        let each = (more.saturating_sub(few)) / CALLS;
        assert!(each >= least || more == FUEL, "{name}: {each} units a call");
        assert!(few < FUEL, "{name} cannot be called once");

        let endless = session().await;
        let Err(SendError::Failed(ended)) = endless.send(name).await else {
            panic!("{name}: it has no end");
        };
        let TurnOutcome::Failed(failure) = &ended.turn.outcome else { unreachable!() };
        assert_eq!(failure.code, FailureCode::FuelExhausted, "{name}: {failure:?}");
        assert_eq!(ended.turn.fuel, FUEL, "{name}");
    }
    let stats = test.host.stats();
    assert!(stats.memory_used < 4 << 20, "memory is held for good: {stats:?}");
    test.shut_down().await;
}

async fn session(test: &TestHost, guest: &TestGuest) -> SessionHandle {
    test.session_with(guest, |new| {
        new.max_fuel_per_turn = Some(FUEL);
        let large = serde_json::Value::from("x".repeat(50_000));
        new.config.insert("large".to_owned(), large.clone());
        new.context.insert("large".to_owned(), large);
    })
    .await
}

/// What this turn uses, whether it is answered or not.
async fn fuel(session: &SessionHandle, text: &str) -> u64 {
    let fuel = match session.send(text).await {
        Ok(reply) => reply.turn.fuel,
        Err(SendError::Failed(ended)) => {
            assert_eq!(ended.turn.fuel, FUEL, "{text}: {:?}", ended.turn.outcome);
            ended.turn.fuel
        }
        Err(error) => panic!("{text}: {error}"),
    };
    session.force_kill().await.unwrap();
    fuel
}
