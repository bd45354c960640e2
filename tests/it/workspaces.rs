//! The files of sessions: what a turn has written is there after sleep, restart, fork and rewind, and gone after a turn
//! that has failed.

use std::time::Duration;

use dormouse::{
    CreateError, Cursor, Durability, EventBody, FailureCode, FileChanges, Fork, JsonObject,
    ManualClock, NewSession, NewTemplate, Pattern, Resumption, SendError, SessionHandle, StartFrom,
    TurnOutcome,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use serde_json::{Value, json};

async fn says(session: &SessionHandle, orders: &str) -> String {
    session.send(orders).await.unwrap().text()
}

async fn changes(session: &SessionHandle) -> Vec<(Option<u64>, FileChanges)> {
    let events = session.events(Cursor(0), 1_000).await.unwrap().entries;
    let changed = events.into_iter().filter_map(|logged| match logged.event.body {
        EventBody::WorkspaceChanged { turn, changes } => Some((turn, changes)),
        _ => None,
    });
    changed.collect()
}

#[tokio::test]
async fn what_a_turn_has_written_is_there_after_sleep_and_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.session(&guests::KEEPS_FILES).await;
    let id = session.id();
    let told =
        says(&session, "mkdir /workspace/a/b\nwrite /workspace/a/b/c hello\nlist /workspace").await;
    assert_eq!(told, "made\nwritten\na/");
    // A path without a slash begins in the workspace as well.
    assert_eq!(says(&session, "read a/b/c\nwrite d.txt there").await, "hello\nwritten");
    session.sleep().await.unwrap();
    assert_eq!(says(&session, "read /workspace/a/b/c\nread d.txt\nturns").await, "hello\nthere\n3");
    let added = |added| FileChanges { added, ..FileChanges::default() };
    assert_eq!(changes(&session).await, [(Some(1), added(3)), (Some(2), added(1))]);
    drop(session);
    test.shut_down().await;
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    let told = says(&session, "append d.txt again\nread d.txt\nlist .\nturns").await;
    assert_eq!(told, "appended\nthereagain\na/ d.txt\n4");
    test.shut_down().await;
}

#[tokio::test]
async fn a_turn_that_fails_has_changed_no_file() {
    let test = TestHost::new().await;
    let session = test.session(&guests::KEEPS_FILES).await;
    says(&session, "write kept one\nmkdir empty").await;
    let failed = session.send("write kept two\nwrite new x\nclear empty\npanic").await;
    let Err(SendError::Failed(ended)) = failed else { panic!("{failed:?}") };
    let TurnOutcome::Failed(failure) = &ended.turn.outcome else { unreachable!() };
    assert_eq!(failure.code, FailureCode::AgentTrapped);
    assert_eq!(says(&session, "read kept\nlist .\nturns").await, "one\nempty/ kept\n2");
    test.shut_down().await;
}

#[tokio::test]
async fn forks_rewinds_and_templates_have_the_files_of_their_moment() {
    let test = TestHost::new().await;
    let session = test.session(&guests::KEEPS_FILES).await;
    says(&session, "write a one\nfill large 300000").await;
    let first = session.info().await.unwrap().session.head.unwrap();
    says(&session, "write a two\nwrite b new").await;
    let fork = session.fork(Fork { snapshot: Some(first), ..Fork::default() }).await.unwrap();
    let fork = test.host.sessions().get(fork[0].session.id);
    assert_eq!(says(&fork, "read a\nlist .\nwrite c own").await, "one\na large\nwritten");
    assert_eq!(says(&session, "list .\nread a").await, "a b large\ntwo");
    let from = session.id().to_string();
    let new = NewTemplate { name: "warm".to_owned(), from, description: None };
    test.host.templates().create(new).await.unwrap();
    session.rewind(first).await.unwrap();
    assert_eq!(
        says(&session, "list .\nread a\nsize large\nturns").await,
        "a large\none\n300000\n2"
    );
    session.delete().await.unwrap();
    let new = NewSession {
        start: StartFrom::Template("warm".to_owned()),
        pattern: Pattern::LongRunning,
        ..NewSession::default()
    };
    let warm = test.host.sessions().create(new).await.unwrap();
    assert_eq!(says(&warm, "list .\nread a\nsize large").await, "a b large\ntwo\n300000");
    assert_eq!(says(&fork, "list .\nread c").await, "a c large\nown");
    test.shut_down().await;
}

#[tokio::test]
async fn a_file_that_is_open_keeps_its_session_in_memory_and_says_so() {
    let test = TestHost::new().await;
    let session = test.session(&guests::KEEPS_FILES).await;
    says(&session, "write a one").await;
    let held = session.send("hold a\nwrite a two").await.unwrap();
    assert!(!held.is_durable());
    let line = held.turn.log.iter().find(|line| line.message.contains("cannot sleep")).unwrap();
    assert!(line.message.contains("a file or directory"), "{}", line.message);
    // It is unlinked, and read all the same.
    assert_eq!(says(&session, "remove a\nrest\nlist .").await, "removed\ntwo\n");
    assert!(session.sleep().await.is_err());
    assert!(session.send("release\nwrite b three").await.unwrap().is_durable());
    session.sleep().await.unwrap();
    assert_eq!(says(&session, "list .\nread b\nturns").await, "b\nthree\n5");
    test.shut_down().await;
}

#[tokio::test]
async fn a_command_finds_what_the_one_before_it_has_written() {
    let test = TestHost::new().await;
    let ephemeral = |new: &mut NewSession| new.pattern = Pattern::Ephemeral;
    let first = test.session_with(&guests::PLAIN_PROGRAM, ephemeral).await;
    let told = says(&first, "files mkdir src;write src/main.rs fn main;list .").await;
    assert_eq!(told, "made\nwritten\nsrc/\n");
    let fork = async |of: &SessionHandle| {
        let made = of.fork(Fork::default()).await.unwrap();
        test.host.sessions().get(made[0].session.id)
    };
    let second = fork(&first).await;
    let told = says(&second, "files read src/main.rs;append log one;list .").await;
    assert_eq!(told, "fn main\nappended\nlog src/\n");
    let (third, other) = (fork(&second).await, fork(&second).await);
    assert_eq!(says(&third, "files read log;remove log").await, "one\nremoved\n");
    assert!(other.send("fail").await.is_err());
    assert_eq!(says(&fork(&third).await, "files list .").await, "src/\n");
    test.shut_down().await;
}

#[tokio::test]
async fn quotas_hold_at_each_write_and_nothing_leads_out_of_the_workspace() {
    let test = TestHost::with(|options| {
        options.workspaces.quotas.bytes = 100_000;
        options.workspaces.quotas.file_bytes = 60_000;
        options.workspaces.quotas.names = 5;
    })
    .await;
    let session = test.session(&guests::KEEPS_FILES).await;
    let told = says(&session, "fill a 60000\nfill b 40000\nwrite c x\nfill a 60001").await;
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[..2], ["filled", "filled"]);
    assert!(told[2].starts_with("error") && told[3].starts_with("error"), "{told:?}");
    let told = says(&session, "list .\nremove c\nremove a\nmany many 9\nlist many").await;
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(told[..3], ["a b c", "removed", "removed"]);
    assert!(told[3].starts_with("error"), "{told:?}");
    assert_eq!(told[4], "0 1 2");
    for path in ["/etc/passwd", "/workspace/../etc/passwd", "../x", "/workspace/a/../../x", "/"] {
        let told = says(&session, &format!("read {path}")).await;
        assert!(told.starts_with("error"), "{path}: {told}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn files_that_are_written_are_paid_for_and_so_large_ones_need_memory() {
    let test = TestHost::with(|options| options.memory_budget = 40_000_000).await;
    let session = test.session(&guests::KEEPS_FILES).await;
    let small = session.send("fill a 1000").await.unwrap().turn.fuel;
    let large = session.send("fill a 1000000").await.unwrap().turn.fuel;
    assert!(large > small + 8_000_000, "{small} {large}");
    // The changes of one turn, and their commit, are in memory.
    let failed = session.send("fill b 60000000").await;
    let Err(SendError::Failed(ended)) = failed else { panic!("{failed:?}") };
    let TurnOutcome::Failed(failure) = &ended.turn.outcome else { unreachable!() };
    assert_eq!(failure.code, FailureCode::MemoryExceeded, "{failure:?}");
    assert_eq!(says(&session, "size a\nlist .").await, "1000000\na");
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_starts_fresh_where_more_files_have_changed_than_it_allows() {
    let test = TestHost::new().await;
    let session = test.session(&guests::KEEPS_FILES).await;
    says(&session, "write a one\nwrite b two").await;
    let then = session.info().await.unwrap().session.head.unwrap();
    says(&session, "remove a\nwrite b three\nwrite c new").await;
    let resumed = async |unless: Value| {
        let mut config = JsonObject::new();
        config.insert("resumeUnless".to_owned(), unless);
        let start = StartFrom::Resume(then.to_string());
        let pattern = Pattern::Hybrid;
        let new = NewSession { start, config, pattern, ..NewSession::agent("keeps_files") };
        test.host.sessions().create_with_info(new).await
    };
    for (most, outcome, files) in [
        (3, Resumption::Resumed { from: then }, "a b"),
        (2, Resumption::Changed { from: then }, ""),
        (0, Resumption::Changed { from: then }, ""),
    ] {
        let created = resumed(json!({ "changedFiles": most })).await;
        let created = created.unwrap();
        assert_eq!(created.resume, Some(outcome));
        let session = test.host.sessions().get(created.session.session.id);
        assert_eq!(says(&session, "list .").await, files);
    }
    for bad in [json!({}), json!(7), json!({ "changedFiles": -1 }), json!({ "changedFiles": "x" })]
    {
        let refused = resumed(bad.clone()).await;
        assert!(matches!(refused, Err(CreateError::Invalid(_))), "{bad}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn what_was_not_saved_is_saved_when_the_session_is_warned() {
    let test = TestHost::new().await;
    let minute = Duration::from_secs(60);
    let session = test
        .session_with(&guests::KEEPS_FILES, |new| {
            new.durability = Durability::Sleep;
            new.max_idle = Some(60 * minute);
            new.idle_grace = Some(5 * minute);
            new.sleep_after = Some(600 * minute);
        })
        .await;
    says(&session, "write a one").await;
    assert_eq!(session.info().await.unwrap().session.unsaved_turns, 1);
    test.clock.advance(56 * minute);
    eventually("it is warned", async || {
        let events = session.events(Cursor(0), 1_000).await.unwrap().entries;
        events.iter().any(|logged| matches!(logged.event.body, EventBody::IdleWarning { .. }))
    })
    .await;
    let session = session.info().await.unwrap().session;
    assert_eq!(session.unsaved_turns, 0);
    let kept = test.host.sessions().get(session.id).workspace(session.head).await.unwrap();
    assert_eq!(kept.read("a", 0, 10).await.unwrap(), "one");
    test.shut_down().await;
}
