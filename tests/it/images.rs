//! Agents that know nothing of sleeping sleep, and nobody sees it.

use std::path::Path;
use std::time::Duration;

use dormouse::{
    AgentSelector, CommandError, ManualClock, NewSession, Pattern, SendError, SessionHandle,
    SessionId, Statefulness, TurnOutcome, TurnRecord,
};
use dormouse_test_guests as guests;
use dormouse_test_guests::unimaged;
use dormouse_tests::TestHost;

/// What is sent to every agent. Some of them take one or the other for an order.
const MESSAGES: [&str; 12] = [
    "one",
    "two words",
    "add milk",
    "look",
    "time",
    "grow 200000",
    "list",
    "spend 1000",
    "count",
    "10",
    "describe",
    "last words",
];

/// What can be seen of a turn, but for its name and how long it took.
pub(super) fn seen(turn: &TurnRecord) -> String {
    let outcome = match &turn.outcome {
        TurnOutcome::Answered { content, snapshot, .. } => {
            format!("{content:?} {}", snapshot.is_some())
        }
        TurnOutcome::Failed(failure) => format!("{failure:?}"),
    };
    format!("{outcome} {} {} {:?} {}", turn.number, turn.fuel, turn.log, turn.log_dropped)
}

async fn told(session: &SessionHandle, text: &str) -> String {
    match session.send(text).await {
        Ok(reply) => {
            assert!(reply.is_durable(), "{text}: {:?}", reply.turn.log);
            seen(&reply.turn)
        }
        Err(SendError::Failed(ended)) => seen(&ended.turn),
        Err(error) => error.to_string(),
    }
}

/// Upload each agent that there is.
async fn upload_all(test: &TestHost) -> Vec<AgentSelector> {
    let mut agents: Vec<AgentSelector> = Vec::new();
    for agent in ["assistant", "counter", "echo", "fib", "monitor", "notepad"] {
        agents.push(agent.parse().unwrap());
    }
    // A program, and a population, which answers no turns.
    let others = [guests::PLAIN_PROGRAM.name, guests::ACTS_IN_WORLDS.name];
    for guest in guests::ALL.iter().filter(|guest| !others.contains(&guest.name)) {
        agents.push(test.upload(guest).await);
    }
    agents
}

/// What was said to which agent, and what could be seen of the turn.
pub(crate) type Said = (String, String, String);

/// Send these messages to a session with each of these agents, twice: to one that stays resident, and
/// to its twin, which sleeps after each turn. Returns what both have said.
pub(crate) async fn twins(
    upload: impl AsyncFn(&TestHost) -> Vec<AgentSelector>,
    messages: &[&str],
) -> [Vec<Said>; 2] {
    // Twins have the same id and the same secret behind their randomness: they are one store, copied.
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let test = TestHost::on(one.path(), &ManualClock::new()).await;
    let mut sessions: Vec<(String, SessionId)> = Vec::new();
    for agent in upload(&test).await {
        let new = NewSession::with_agent(agent.clone()).pattern(Pattern::LongRunning);
        let session = test.host.sessions().create(new).await.unwrap();
        sessions.push((agent.to_string(), session.id()));
    }
    test.shut_down().await;
    copy(one.path(), other.path());
    [
        converse(one.path(), &sessions, messages, false).await,
        converse(other.path(), &sessions, messages, true).await,
    ]
}

/// Send these messages to each of these sessions, which all sleep at the end if not after each turn.
async fn converse(
    directory: &Path,
    sessions: &[(String, SessionId)],
    messages: &[&str],
    sleeps: bool,
) -> Vec<Said> {
    let test = TestHost::on(directory, &ManualClock::new()).await;
    let mut said = Vec::new();
    for (agent, id) in sessions {
        let session = test.host.sessions().get(*id);
        for text in messages {
            said.push((agent.clone(), (*text).to_owned(), told(&session, text).await));
            if sleeps {
                session.sleep().await.unwrap();
            }
            test.advance(Duration::from_millis(1_500));
        }
        session.sleep().await.unwrap();
    }
    test.shut_down().await;
    said
}

/// Copy a directory with all that is in it.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn every_agent_that_sleeps_after_each_turn_answers_like_its_twin_that_never_does() {
    let [awake, asleep] = twins(upload_all, &MESSAGES).await;
    for (one, other) in awake.iter().zip(&asleep) {
        assert_eq!(one, other);
    }
    let answered = |agent: &str| {
        asleep
            .iter()
            .filter(|(of, _, seen)| of.as_str() == agent && seen.contains(" true "))
            .count()
    };
    for agent in ["counter", "notepad", "counts_without_saving@1", "keeps_all_in_memory@1"] {
        assert_eq!(answered(agent), MESSAGES.len(), "{agent}");
    }
}

#[tokio::test]
async fn an_agent_that_knows_nothing_of_sleeping_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let agent = test.upload(&guests::KEEPS_ALL_IN_MEMORY).await;
    let known = test.host.agents().get(agent.clone()).await.unwrap();
    assert_eq!(known.component.statefulness, Statefulness::Image);
    let new = NewSession {
        require_durable: true,
        ..NewSession::with_agent(agent).pattern(Pattern::Hybrid)
    };
    let session = test.host.sessions().create(new).await.unwrap();
    assert!(session.send("one two").await.unwrap().is_durable());
    let id = session.id();
    drop(session);
    test.shut_down().await;

    let test = TestHost::on(directory.path(), &clock).await;
    let text = test.host.sessions().get(id).send("two").await.unwrap().text();
    assert!(text.starts_with("turn 2: two; first one two; 100000 bytes;"), "{text}");
    assert!(text.contains("two:2") && text.contains("one:1"), "{text}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_failed_turn_leaves_no_trace_in_an_image() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TRAPS_WHEN_TOLD).await;
    for (text, answer) in
        [("one", "turn 1: one"), ("two", "turn 2: two"), ("three", "turn 3: three")]
    {
        assert_eq!(session.send(text).await.unwrap().text(), answer);
        assert!(session.send("trap").await.is_err());
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_holds_something_open_stays_resident_says_what_and_sleeps_once_it_is_closed()
{
    let test = TestHost::new().await;
    let session =
        test.session_with(&guests::HOLDS_SOMETHING_OPEN, |new| new.pattern = Pattern::Hybrid).await;
    assert!(session.send("one").await.unwrap().is_durable());
    let reply = session.send("hold").await.unwrap();
    assert!(!reply.is_durable());
    assert_eq!(reply.session.session.unsaved_turns, 1);
    let line = &reply.turn.log.last().unwrap().message;
    assert!(line.contains("it holds open: a pollable"), "{line}");
    assert!(matches!(session.sleep().await, Err(CommandError::Unsaved(1))));
    test.advance(Duration::from_secs(600));
    assert!(!session.send("three").await.unwrap().is_durable());

    let reply = session.send("release").await.unwrap();
    assert!(reply.is_durable());
    assert_eq!(reply.session.session.unsaved_turns, 0);
    session.sleep().await.unwrap();
    assert_eq!(session.send("five").await.unwrap().text(), "turn 5: five");
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_without_images_still_sleeps_by_what_it_saves_itself() {
    let test = TestHost::new().await;
    let session = test.session(&unimaged(&guests::TRAPS_WHEN_TOLD)).await;
    assert!(session.send("one").await.unwrap().is_durable());
    session.sleep().await.unwrap();
    assert_eq!(session.send("two").await.unwrap().text(), "turn 2: two");
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_with_much_in_memory_wakes_with_all_of_it() {
    let test = TestHost::new().await;
    let awake = test.session(&guests::KEEPS_BYTES).await;
    let asleep = test.session(&guests::KEEPS_BYTES).await;
    for order in
        ["random 3000", "change 5", "text 500", "change 1", "sum", "renew", "sum", "forget"]
    {
        assert_eq!(told(&asleep, order).await, told(&awake, order).await);
        asleep.sleep().await.unwrap();
        assert_eq!(told(&asleep, "sum").await, told(&awake, "sum").await);
    }
    test.shut_down().await;
}
