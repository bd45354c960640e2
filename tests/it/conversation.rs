//! A session is created, spoken to, and keeps its state.

use dormouse::{
    FailureCode, Fork, ManualClock, NewSession, Part, Pattern, SendError, SessionId, SessionQuery,
    Status, TurnRecord, Unavailable,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;

#[tokio::test]
async fn ten_messages_build_up_state() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    for n in 1..=10 {
        let reply = session.send(format!("message {n}")).await.unwrap();
        assert_eq!(reply.text(), format!("turn {n}: message {n}"));
        assert!(reply.is_durable());
    }
    let sight = session.info().await.unwrap();
    assert_eq!(sight.session.usage.turns, 10);
    assert_eq!(sight.session.state.status(), Status::Active);
    test.shut_down().await;
}

#[tokio::test]
async fn the_same_turn_uses_the_same_fuel_in_every_session() {
    let test = TestHost::new().await;
    let mut fuel = Vec::new();
    for _ in 0..2 {
        let session = test.bundled("fib", Pattern::LongRunning).await;
        let mut used = Vec::new();
        for n in [1, 10, 15] {
            used.push(session.send(format!("fib {n}")).await.unwrap().turn.fuel);
        }
        fuel.push(used);
    }
    assert_eq!(fuel[0], fuel[1]);
    assert!(fuel[0][2] > fuel[0][1], "{fuel:?}");
    test.shut_down().await;
}

#[tokio::test]
async fn each_turn_is_kept_with_its_input_its_answer_and_its_bill() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    for text in ["one", "two", "three"] {
        session.send(text).await.unwrap();
    }
    let turns = session.turns(1, 10).await.unwrap().entries;
    assert_eq!(turns.iter().map(|turn| turn.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(turns[0].input, [Part::Text("two".to_owned())]);
    assert!(turns[0].fuel > 0 && turns[0].cost.0 > 0);
    assert_eq!(session.turn(3).await.unwrap().unwrap(), turns[1]);
    assert_eq!(session.turn(4).await.unwrap(), None);

    let spent: u64 = session.turns(0, 10).await.unwrap().entries.iter().map(|turn| turn.fuel).sum();
    assert_eq!(session.info().await.unwrap().session.usage.fuel, spent);
    test.shut_down().await;
}

#[tokio::test]
async fn what_was_printed_without_the_end_of_a_line_is_in_the_log_of_its_own_turn() {
    let test = TestHost::new().await;
    let session = test.session(&guests::PRINTS_FOREVER).await;
    let printed =
        |turn: &TurnRecord| turn.log.iter().map(|line| line.message.clone()).collect::<Vec<_>>();
    let begun = session.send("begin half").await.unwrap();
    assert_eq!(printed(&begun.turn), ["half"]);
    let Err(SendError::Failed(ended)) = session.send("begin fail").await else {
        panic!("it was answered");
    };
    assert_eq!(printed(&ended.turn), ["fail"]);
    let fork = session.fork(Fork::default()).await.unwrap().remove(0).session.id;
    for session in [test.host.sessions().get(fork), session] {
        let next = session.send("hello").await.unwrap();
        assert_eq!(printed(&next.turn), Vec::<String>::new());
    }
    test.shut_down().await;
}

#[tokio::test]
async fn all_kinds_of_parts_reach_the_agent_and_come_back() {
    let test = TestHost::new().await;
    let session = test.bundled("echo", Pattern::LongRunning).await;
    let content = vec![
        Part::Text("text".to_owned()),
        Part::Json(r#"{"a":[1,2]}"#.to_owned()),
        Part::Blob { media_type: "image/png".to_owned(), data: vec![0, 255, 7] },
    ];
    let reply = session.send(content.clone()).await.unwrap();
    assert_eq!(reply.content(), content);
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_knows_its_session() {
    let test = TestHost::new().await;
    let session = test
        .session_with(&guests::DESCRIBES_ITS_SESSION, |new| {
            new.max_turns = Some(7);
            new.config.insert("model".to_owned(), "small".into());
            new.context.insert("topic".to_owned(), "sleep".into());
        })
        .await;
    assert!(session.send("config model").await.unwrap().text().contains("small"));
    let text = session.send("session").await.unwrap().text();
    for expected in [session.id().to_string().as_str(), "topic", "7"] {
        assert!(text.contains(expected), "{expected} is missing in {text}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn the_checkpoint_that_an_agent_sets_outlives_its_host_and_is_no_larger_than_one_of_a_client()
{
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.session(&guests::DESCRIBES_ITS_SESSION).await;
    let (id, kept) = (session.id(), r#"{"step":1}"#);
    assert_eq!(session.send(format!("keep {kept}").as_str()).await.unwrap().text(), kept);
    let large = format!("keep {{\"a\":\"{}\"}}", "x".repeat(64 << 10));
    for refused in ["keep 7", "keep [1]", large.as_str()] {
        let error = session.send(refused).await.expect_err("it is no checkpoint").to_string();
        assert!(error.contains("checkpoint"), "{error}");
    }
    test.shut_down().await;
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    assert_eq!(session.send("checkpoint").await.unwrap().text(), kept);
    let info = session.info().await.unwrap();
    assert_eq!(
        info.session.checkpoint.as_ref().map(|object| object["step"].clone()),
        Some(1.into())
    );
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_reaches_nothing_outside() {
    let test = TestHost::new().await;
    let session = test.session(&guests::READS_ITS_SURROUNDINGS).await;
    let text = session.send("look").await.unwrap().text();
    let seen: serde_json::Value = serde_json::from_str(&text).unwrap();
    let seen = seen.as_object().unwrap();
    assert!(!seen.is_empty());
    for secret in ["root:", "CARGO", "/work", "/home", "PATH"] {
        assert!(!text.contains(secret), "{text}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn what_an_agent_says_of_its_failure_reaches_the_caller_and_changes_nothing() {
    let test = TestHost::new().await;
    let session = test.session(&guests::FAILS_WHEN_TOLD).await;
    session.send("one").await.unwrap();
    for (text, code, expected) in [
        ("invalid give me a number", FailureCode::AgentInvalid, "give me a number"),
        ("failed no ink", FailureCode::AgentFailed, "no ink"),
        ("declined", FailureCode::AgentDeclined, "declined"),
    ] {
        let Err(SendError::Failed(ended)) = session.send(text).await else { panic!("{text}") };
        let dormouse::TurnOutcome::Failed(failure) = &ended.turn.outcome else { panic!() };
        assert_eq!(failure.code, code);
        assert!(failure.message.contains(expected), "{failure:?}");
    }
    assert_eq!(session.send("go on").await.unwrap().text(), "turn 2: go on");
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_nobody_created_is_not_found() {
    let test = TestHost::new().await;
    let nobody = test.host.sessions().get(SessionId(test.host.clock().new_id()));
    assert!(matches!(
        nobody.send("hello").await,
        Err(SendError::Unavailable(Unavailable::NotFound(_)))
    ));
    assert!(nobody.info().await.is_err());
    assert!(nobody.sleep().await.is_err());
    assert!(nobody.delete().await.is_err());
    test.shut_down().await;
}

#[tokio::test]
async fn to_another_principal_a_session_does_not_exist() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    session.send("mine").await.unwrap();
    let stranger = test.host.acting_as(dormouse::Principal("stranger".to_owned()));
    let theirs = stranger.sessions().get(session.id());
    assert!(matches!(
        theirs.send("hello").await,
        Err(SendError::Unavailable(Unavailable::NotFound(_)))
    ));
    assert!(theirs.terminate("because").await.is_err());
    assert!(theirs.delete().await.is_err());
    assert!(theirs.turns(0, 10).await.is_err());
    assert_eq!(stranger.sessions().list(all()).await.unwrap().total, 0);
    assert_eq!(session.send("still mine").await.unwrap().text(), "turn 2: still mine");
    test.shut_down().await;
}

#[tokio::test]
async fn messages_of_one_session_are_answered_in_the_order_of_their_arrival() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    let mut waiting = Vec::new();
    for n in 1..=40 {
        waiting.push((n, session.stream(format!("message {n}")).await.unwrap()));
    }
    for (n, streaming) in waiting {
        assert_eq!(streaming.reply().await.unwrap().text(), format!("turn {n}: message {n}"));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn one_message_more_than_the_queue_holds_is_refused_and_nothing_is_lost() {
    let test = TestHost::with(|options| options.max_queued_messages = 3).await;
    let session = test.session(&guests::LOOPS_FOREVER).await;
    session.send("warm up").await.unwrap();
    let looping = session.stream("loop").await.unwrap();
    dormouse_tests::test_host::eventually("the loop runs", async || {
        session.info().await.unwrap().running_turn == Some(2)
    })
    .await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(session.stream("wait").await.unwrap());
    }
    assert!(matches!(session.stream("too many").await, Err(SendError::QueueFull(3))));
    session.force_kill().await.unwrap();
    assert!(matches!(looping.reply().await, Err(SendError::Failed(_))));
    for waiting in waiting {
        assert!(matches!(waiting.reply().await, Err(SendError::Denied(_))));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_message_that_is_too_large_or_empty_is_refused() {
    let test = TestHost::new().await;
    let session = test.bundled("echo", Pattern::LongRunning).await;
    let largest = "x".repeat(dormouse::MAX_MESSAGE);
    assert_eq!(session.send(largest.clone()).await.unwrap().text(), largest);
    assert!(matches!(session.send(largest + "x").await, Err(SendError::TooLarge)));
    assert!(matches!(session.send(Vec::<Part>::new()).await, Err(SendError::TooLarge)));
    test.shut_down().await;
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_turn() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    drop(session.stream("nobody waits for this").await.unwrap());
    assert_eq!(session.send("next").await.unwrap().text(), "turn 2: next");
    test.shut_down().await;
}

#[tokio::test]
async fn sessions_are_listed_newest_first_by_what_they_are() {
    let test = TestHost::new().await;
    for n in 0..5 {
        let mut new = NewSession::with_agent("echo".parse().unwrap());
        new.pattern = if n % 2 == 0 { Pattern::Hybrid } else { Pattern::LongRunning };
        new.tags = vec![format!("tag{n}"), "all".to_owned()];
        new.user_id = Some(format!("user{}", n % 2));
        test.host.sessions().create(new).await.unwrap();
    }
    let list = async |query: SessionQuery| {
        let listing = test.host.sessions().list(query).await.unwrap();
        let tags = |sight: &dormouse::SessionInfo| sight.session.profile.tags[0].clone();
        (listing.total, listing.sessions.iter().map(tags).collect::<Vec<_>>())
    };
    assert_eq!(
        list(SessionQuery { limit: 2, ..all() }).await,
        (5, vec!["tag4".into(), "tag3".into()])
    );
    assert_eq!(list(SessionQuery { limit: 2, offset: 4, ..all() }).await, (5, vec!["tag0".into()]));
    let hybrid = SessionQuery { pattern: Some(Pattern::Hybrid), ..all() };
    assert_eq!(list(hybrid).await.0, 3);
    let user = SessionQuery { user_id: Some("user1".to_owned()), ..all() };
    assert_eq!(list(user).await, (2, vec!["tag3".into(), "tag1".into()]));
    let tags = SessionQuery { tags: vec!["tag2".to_owned(), "tag0".to_owned()], ..all() };
    assert_eq!(list(tags).await, (2, vec!["tag2".into(), "tag0".into()]));
    let open = SessionQuery { status: Some(Status::Active), ..all() };
    assert_eq!(list(open).await.0, 0);
    test.shut_down().await;
}

fn all() -> SessionQuery {
    SessionQuery { limit: 100, ..SessionQuery::default() }
}
