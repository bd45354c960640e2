//! Sessions are forked, rewound, resumed, kept as templates and upgraded.

use std::time::Duration;

use dormouse::{
    AgentSelector, CommandError, CreateError, Cursor, DamagedSnapshot, Durability, EventBody,
    EventEntry, EventKind, FailureCode, Fork, ForkError, ManualClock, NewSession, NewTemplate,
    NotActive, Pattern, Principal, Residency, ResumeCause, ResumeFallback, ResumeObstacle,
    ResumeOutcome, Resumption, SendError, SessionHandle, SessionId, SessionInfo, SnapshotId,
    StartFrom, Status, TemplateError, TurnDenied, Unavailable, UpgradeError, UpgradeOutcome,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::test_host::eventually;
use serde_json::json;

async fn says(session: &SessionHandle, text: &str, answer: &str) {
    assert_eq!(session.send(text).await.unwrap().text(), answer);
}

fn bodies(events: Vec<EventEntry>) -> Vec<EventBody> {
    events.into_iter().map(|logged| logged.event.body).collect()
}

fn head(sight: &SessionInfo) -> SnapshotId {
    sight.session.head.expect("it has a head")
}

fn resuming(id: impl ToString) -> NewSession {
    NewSession {
        start: StartFrom::Resume(id.to_string()),
        pattern: Pattern::LongRunning,
        ..NewSession::default()
    }
}

#[tokio::test]
async fn a_hundred_forks_start_from_one_snapshot_and_each_goes_its_own_way() {
    let test = TestHost::new().await;
    let session = test.session(&guests::KEEPS_ALL_IN_MEMORY).await;
    for text in ["one", "two", "three"] {
        session.send(text).await.unwrap();
    }
    let parent = session.info().await.unwrap();
    let forks = session.fork(Fork { count: 100, ..Fork::default() }).await.unwrap();
    assert_eq!(forks.len(), 100);
    let mut heads: Vec<SnapshotId> = forks.iter().map(head).collect();
    heads.push(head(&parent));
    heads.sort();
    heads.dedup();
    assert_eq!(heads.len(), 101, "each has a head of its own");
    for (number, fork) in forks.iter().enumerate() {
        assert_eq!(fork.session.parent, parent.session.head);
        assert_eq!((fork.session.usage.turns, fork.session.usage.fuel), (0, 0));
        if number % 10 == 0 {
            let fork = test.host.sessions().get(fork.session.id);
            let answer = fork.send(format!("own{number}")).await.unwrap().text();
            assert!(answer.starts_with(&format!("turn 4: own{number}; first one")), "{answer}");
            assert!(answer.contains("two:1"), "{answer}");
        }
    }
    let answer = session.send("parent").await.unwrap().text();
    assert!(answer.starts_with("turn 4: parent") && !answer.contains("own"), "{answer}");
    let events = session.events(Cursor(0), 200).await.unwrap().entries;
    let told = events.iter().find(|logged| logged.event.kind() == EventKind::SessionForked);
    let told = &told.expect("it is told").event.body;
    assert!(matches!(told, EventBody::SessionForked { count: 100, .. }), "{told:?}");
    test.shut_down().await;
}

#[tokio::test]
async fn forks_of_a_session_with_large_documents_are_as_many_as_there_is_room_for() {
    let test = TestHost::new().await;
    let document = json!({ "notes": "n".repeat(64 * 1024 - 12) });
    let document = document.as_object().unwrap();
    assert_eq!(serde_json::to_vec(document).unwrap().len(), 64 * 1024);
    let new = NewSession {
        config: document.clone(),
        context: document.clone(),
        ..NewSession::agent("counter").pattern(Pattern::Hybrid)
    };
    let session = test.host.sessions().create(new).await.unwrap();
    // Each has 128 KiB of them, and an empty document of two bytes.
    let most = ((8 << 20) / (128 * 1024 + 2)) as u32;
    assert_eq!(most, 63);
    let refused = session.fork(Fork { count: most + 1, ..Fork::default() }).await.unwrap_err();
    assert_eq!(refused.code(), "too_large", "{refused}");
    let forks = session.fork(Fork { count: most, ..Fork::default() }).await.unwrap();
    assert_eq!(forks.len(), 63);
    test.shut_down().await;
}

#[tokio::test]
async fn a_fork_answers_and_costs_what_its_parent_would_have() {
    let test = TestHost::new().await;
    let session = test.bundled("notepad", Pattern::LongRunning).await;
    for text in ["add milk", "add bread"] {
        session.send(text).await.unwrap();
    }
    let fork = session.fork(Fork::default()).await.unwrap()[0].session.id;
    let fork = test.host.sessions().get(fork);
    for text in ["list", "remove 1", "list"] {
        let (one, other) = (session.send(text).await.unwrap(), fork.send(text).await.unwrap());
        assert_eq!((one.text(), one.turn.fuel), (other.text(), other.turn.fuel), "{text}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_fork_outlives_its_parent_and_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.session(&guests::KEEPS_ALL_IN_MEMORY).await;
    session.send("one").await.unwrap();
    let fork = session.fork(Fork::default()).await.unwrap()[0].session.id;
    session.delete().await.unwrap();
    drop(session);
    test.shut_down().await;
    let test = TestHost::on(directory.path(), &clock).await;
    let answer = test.host.sessions().get(fork).send("two").await.unwrap().text();
    assert!(answer.starts_with("turn 2: two; first one"), "{answer}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_fork_may_spend_what_its_parent_has_left_and_no_more() {
    let test = TestHost::new().await;
    let limited = |new: &mut NewSession| new.max_turns = Some(3);
    let session = test.session_with(&guests::COUNTS_WITHOUT_SAVING, limited).await;
    says(&session, "one", "turn 1: one").await;
    let fork = &session.fork(Fork::default()).await.unwrap()[0].session;
    assert_eq!(fork.profile.limits.max_turns, Some(2));
    let fork = test.host.sessions().get(fork.id);
    says(&fork, "two", "turn 2: two").await;
    says(&fork, "three", "turn 3: three").await;
    assert_eq!(fork.info().await.unwrap().session.state.status(), Status::Terminated);
    let spent = fork.fork(Fork::default()).await;
    assert!(matches!(spent, Err(ForkError::Spent(TurnDenied::TurnsExceeded(_)))), "{spent:?}");
    assert_eq!(session.fork(Fork { count: 256, ..Fork::default() }).await.unwrap().len(), 256);
    for count in [0, 257] {
        let refused = session.fork(Fork { count, ..Fork::default() }).await;
        assert!(matches!(refused, Err(ForkError::Count)), "{refused:?}");
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_nobody_has_spoken_to_forks_into_new_ones() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::Hybrid).await;
    let fork = &session.fork(Fork::default()).await.unwrap()[0].session;
    assert_eq!((fork.head, fork.parent), (None, None));
    says(&test.host.sessions().get(fork.id), "one", "turn 1: one").await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_goes_back_ten_turns_and_on_from_there_as_it_did_before() {
    let test = TestHost::new().await;
    let session = test.session(&guests::KEEPS_ALL_IN_MEMORY).await;
    let mut turns = Vec::new();
    for number in 1..=12 {
        let reply = session.send(format!("word{number}")).await.unwrap();
        turns.push((head(&reply.session), reply.turn.fuel));
    }
    let back = session.rewind(turns[1].0).await.unwrap();
    assert_eq!(back.residency, Residency::Asleep);
    assert!(turns.iter().all(|(known, _)| *known != head(&back)), "the head is a new one");
    let reply = session.send("word3").await.unwrap();
    let answer = reply.text();
    assert!(answer.starts_with("turn 3: word3; first word1"), "{answer}");
    assert!(!answer.contains("word4"), "{answer}");
    assert_eq!(reply.turn.fuel, turns[2].1, "what is done again costs what it did");
    assert_eq!(reply.session.session.usage.turns, 13, "what was spent stays spent");
    // What came after is still there.
    let kept = session.snapshots().await.unwrap();
    assert!(kept.iter().any(|snapshot| snapshot.id == turns[11].0));
    session.rewind(turns[11].0).await.unwrap();
    let answer = session.send("last").await.unwrap().text();
    assert!(answer.starts_with("turn 13: last") && answer.contains("word12"), "{answer}");
    test.shut_down().await;
}

#[tokio::test]
async fn the_snapshots_of_a_session_are_listed_by_parent_and_the_oldest_go() {
    let test = TestHost::with(|options| options.retention.snapshots = 4).await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    for text in ["1", "2", "3", "4", "5", "6"] {
        session.send(text).await.unwrap();
    }
    let kept = session.snapshots().await.unwrap();
    let turns: Vec<u64> = kept.iter().map(|snapshot| snapshot.turn).collect();
    assert_eq!(turns, [6, 5, 4, 3]);
    for (newer, older) in kept.iter().zip(&kept[1..]) {
        assert_eq!(newer.parent, Some(older.id));
    }
    assert!(kept.iter().all(|snapshot| snapshot.size > 0));
    let gone = kept[3].parent.unwrap();
    let refused = session.rewind(gone).await;
    assert!(matches!(refused, Err(CommandError::NoSnapshot(id)) if id == gone), "{refused:?}");
    let created = test.host.sessions().create_with_info(resuming(gone)).await.unwrap();
    assert_eq!(created.resume, Some(Resumption::NotFound));
    test.shut_down().await;
}

#[tokio::test]
async fn nobody_goes_back_while_a_turn_runs() {
    let test = TestHost::new().await;
    let session = test.session(&guests::LOOPS_FOREVER).await;
    session.send("one").await.unwrap();
    let before = head(&session.info().await.unwrap());
    let running = session.stream("loop").await.unwrap();
    eventually("it runs", async || session.info().await.unwrap().running_turn.is_some()).await;
    let refused = session.rewind(before).await;
    assert!(matches!(refused, Err(CommandError::TurnInProgress)), "{refused:?}");
    // A fork takes the state before the turn.
    let fork = session.fork(Fork::default()).await.unwrap()[0].session.id;
    says(&test.host.sessions().get(fork), "two", "turn 2: two").await;
    session.force_kill().await.unwrap();
    assert!(running.reply().await.is_err());
    let over = session.rewind(before).await;
    assert!(
        matches!(over, Err(CommandError::NotActive(NotActive { status: Status::Terminated, .. }))),
        "{over:?}"
    );
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_resumes_from_a_snapshot_or_from_a_session() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    says(&session, "one", "turn 1: one").await;
    let first = head(&session.info().await.unwrap());
    says(&session, "two", "turn 2: two").await;
    let sessions = test.host.sessions();

    let created = sessions.create_with_info(resuming(first)).await.unwrap();
    assert_eq!(created.resume, Some(Resumption::Resumed { from: first }));
    assert_eq!(created.session.session.parent, Some(first));
    let resumed = sessions.get(created.session.session.id);
    says(&resumed, "again", "turn 2: again").await;
    let audit = resumed.audit(Cursor(0), 10).await.unwrap().entries;
    let outcome = Resumption::Resumed { from: first }.into();
    let attempt = EventBody::ResumeAttempted { by: Principal::local(), outcome };
    assert_eq!(bodies(audit), [attempt]);

    let created = sessions.create_with_info(resuming(session.id())).await.unwrap();
    says(&sessions.get(created.session.session.id), "on", "turn 3: on").await;

    for nobody in ["0190f4c6-0000-7000-8000-000000000000", "no id at all"] {
        let new = NewSession { agent: Some("counter".to_owned()), ..resuming(nobody) };
        let created = sessions.create_with_info(new).await.unwrap();
        assert_eq!(created.resume, Some(Resumption::NotFound));
        says(&sessions.get(created.session.session.id), "new", "turn 1: new").await;
    }
    let other = NewSession { agent: Some("echo".to_owned()), ..resuming(first) };
    let refused = sessions.create_with_info(other).await;
    assert!(matches!(refused, Err(CreateError::OtherAgent(_))), "{refused:?}");
    test.shut_down().await;
}

#[tokio::test]
async fn old_snapshots_are_stale_but_for_those_of_threads() {
    let test = TestHost::new().await;
    let plain = test.bundled("counter", Pattern::LongRunning).await;
    let thread = test
        .session_with(&guests::COUNTS_WITHOUT_SAVING, |new| new.thread_key = Some("t".to_owned()))
        .await;
    plain.send("one").await.unwrap();
    thread.send("one").await.unwrap();
    test.advance(Duration::from_secs(24 * 3600 + 1));
    let from = head(&plain.info().await.unwrap());
    let created = test.host.sessions().create_with_info(resuming(from)).await.unwrap();
    assert_eq!(created.resume, Some(Resumption::Stale { from }));
    let created = test.host.sessions().create_with_info(resuming(thread.id())).await.unwrap();
    assert!(matches!(created.resume, Some(Resumption::Resumed { .. })));
    test.shut_down().await;
}

#[tokio::test]
async fn what_belongs_to_others_is_neither_resumed_nor_forked_and_its_owner_is_told() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    session.send("one").await.unwrap();
    let from = head(&session.info().await.unwrap());
    let stranger = test.host.acting_as(Principal("stranger".to_owned()));
    for id in [from.to_string(), session.id().to_string()] {
        let refused = stranger.sessions().create_with_info(resuming(&id)).await;
        assert!(matches!(refused, Err(CreateError::NotOwner)), "{refused:?}");
        let template = NewTemplate { name: "mine".to_owned(), from: id, description: None };
        let refused = stranger.templates().create(template).await;
        assert!(matches!(refused, Err(TemplateError::NotOwner)), "{refused:?}");
    }
    let foreign = stranger.sessions().get(session.id());
    assert!(foreign.fork(Fork::default()).await.is_err());
    assert!(foreign.rewind(from).await.is_err());
    let audit = session.audit(Cursor(0), 10).await.unwrap().entries;
    let attempt =
        |by: &str, outcome| EventBody::ResumeAttempted { by: Principal(by.to_owned()), outcome };
    assert_eq!(bodies(audit), vec![attempt("stranger", ResumeOutcome::NotOwner); 4]);

    let ours = NewSession { project_id: Some("ours".to_owned()), ..resuming(from) };
    let ours = test.host.sessions().create(ours).await.unwrap();
    ours.send("two").await.unwrap();
    let theirs = NewSession { project_id: Some("theirs".to_owned()), ..resuming(ours.id()) };
    let refused = test.host.sessions().create_with_info(theirs).await;
    assert!(matches!(refused, Err(CreateError::NotOwner)), "{refused:?}");
    let told = ours.audit(Cursor(0), 10).await.unwrap().entries;
    let resumed = Resumption::Resumed { from }.into();
    let attempts = [attempt("local", resumed), attempt("local", ResumeOutcome::NotOwner)];
    assert_eq!(bodies(told), attempts);
    let on = test.host.sessions().create_with_info(resuming(ours.id())).await.unwrap();
    assert_eq!(on.session.session.profile.project_id.as_deref(), Some("ours"));
    test.shut_down().await;
}

#[tokio::test]
async fn a_template_starts_sessions_warm_and_outlives_what_it_was_made_from() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::KEEPS_ALL_IN_MEMORY).await;
    let session = test.session(&guests::KEEPS_ALL_IN_MEMORY).await;
    session.send("learnt").await.unwrap();
    let new = NewTemplate {
        name: "warm".to_owned(),
        from: session.id().to_string(),
        description: Some("knows a word".to_owned()),
    };
    let template = test.host.templates().create(new).await.unwrap();
    assert_eq!(template.snapshot.parent, session.info().await.unwrap().session.head);
    session.delete().await.unwrap();
    let in_use = test.host.agents().remove(agent.clone()).await;
    assert!(in_use.is_err(), "a template refers to it");
    for _ in 0..2 {
        let new = NewSession {
            start: StartFrom::Template("warm".to_owned()),
            pattern: Pattern::Hybrid,
            ..NewSession::default()
        };
        let started = test.host.sessions().create(new).await.unwrap();
        let answer = started.send("more").await.unwrap().text();
        assert!(answer.starts_with("turn 2: more; first learnt"), "{answer}");
        started.delete().await.unwrap();
    }
    assert_eq!(test.host.templates().list().await.unwrap(), [template.into()]);
    test.host.templates().delete("warm").await.unwrap();
    let new = NewSession { start: StartFrom::Template("warm".to_owned()), ..NewSession::default() };
    let refused = test.host.sessions().create_with_info(new).await;
    assert!(
        matches!(refused, Err(CreateError::Template(TemplateError::NotFound(_)))),
        "{refused:?}"
    );
    test.host.agents().remove(agent).await.unwrap();
    test.shut_down().await;
}

#[tokio::test]
async fn an_owner_has_so_many_templates_and_may_replace_each_of_them() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    session.send("one").await.unwrap();
    let make = async |name: String| {
        let new = NewTemplate { name, from: session.id().to_string(), description: None };
        test.host.templates().create(new).await
    };
    for number in 0..256 {
        make(format!("t{number}")).await.unwrap();
    }
    let refused = make("one-more".to_owned()).await;
    assert!(matches!(refused, Err(TemplateError::TooMany)), "{refused:?}");
    make("t7".to_owned()).await.unwrap();
    assert_eq!(test.host.templates().list().await.unwrap().len(), 256);
    let stranger = test.host.acting_as(Principal("stranger".to_owned()));
    assert_eq!(stranger.templates().list().await.unwrap(), []);
    test.shut_down().await;
}

async fn upgraded(session: &SessionHandle, to: AgentSelector) -> Result<SessionInfo, UpgradeError> {
    session.upgrade(to).await
}

#[tokio::test]
async fn an_upgrade_carries_the_state_to_another_version() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TRAPS_WHEN_TOLD).await;
    says(&session, "one", "turn 1: one").await;
    let old = session.info().await.unwrap();
    let to = test.upload(&guests::FAILS_WHEN_TOLD).await;
    let after = upgraded(&session, to.clone()).await.unwrap();
    assert_eq!(after.session.profile.agent.name.as_str(), guests::FAILS_WHEN_TOLD.name);
    says(&session, "two", "turn 2: two").await;
    let after = session.info().await.unwrap();
    assert_eq!(after.session.before_upgrade, None);
    // The old snapshots are of the old version.
    let refused = session.rewind(head(&old)).await;
    assert!(matches!(refused, Err(CommandError::OtherAgent(_))), "{refused:?}");
    let fork = Fork { snapshot: Some(head(&old)), ..Fork::default() };
    let fork = test.host.sessions().get(session.fork(fork).await.unwrap()[0].session.id);
    let fork_agent = fork.info().await.unwrap().session.profile.agent.clone();
    assert_eq!(fork_agent, old.session.profile.agent);
    says(&fork, "also two", "turn 2: also two").await;
    let same = upgraded(&session, to).await;
    assert!(matches!(same, Err(UpgradeError::Command(CommandError::NotUpgraded(_)))), "{same:?}");
    test.shut_down().await;
}

#[tokio::test]
async fn a_snapshot_of_an_agent_that_was_removed_says_that_nothing_starts_from_it() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TRAPS_WHEN_TOLD).await;
    says(&session, "one", "turn 1: one").await;
    let old = format!("{}@1", guests::TRAPS_WHEN_TOLD.name).parse().unwrap();
    let to = test.upload(&guests::FAILS_WHEN_TOLD).await;
    upgraded(&session, to).await.unwrap();
    says(&session, "two", "turn 2: two").await;
    let obstacles = async || {
        let snapshots = session.snapshots().await.unwrap();
        session.resume_obstacles(&snapshots).await.unwrap()
    };
    assert_eq!(obstacles().await, [None, None, None]);
    test.host.agents().remove(old).await.unwrap();
    assert_eq!(obstacles().await, [None, None, Some(ResumeObstacle::AgentRemoved)]);
    test.advance(Duration::from_secs(24 * 3600 + 1));
    let stale = Some(ResumeObstacle::Stale);
    assert_eq!(obstacles().await, [stale, stale, Some(ResumeObstacle::AgentRemoved)]);
    test.shut_down().await;
}

#[tokio::test]
async fn an_upgrade_that_fails_in_rehearsal_changes_nothing() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TRAPS_WHEN_TOLD).await;
    says(&session, "one", "turn 1: one").await;
    let before = session.info().await.unwrap();
    let loops = test.upload(&guests::FAILS_TO_RESTORE).await;
    let stateless = test.upload(&guests::COUNTS_WITHOUT_SAVING).await;
    for to in [loops, stateless] {
        let refused = upgraded(&session, to).await;
        let Err(UpgradeError::Command(CommandError::NotUpgraded(why))) = refused else {
            panic!("{refused:?}");
        };
        assert!(why.contains("the new version does not take the state"), "{why}");
        assert_eq!(session.info().await.unwrap().session, before.session);
    }
    let spoiled = test.session(&guests::FAILS_TO_SAVE).await;
    spoiled.send("spoil").await.unwrap();
    let to = test.upload(&guests::FAILS_WHEN_TOLD).await;
    let refused = upgraded(&spoiled, to.clone()).await;
    let Err(UpgradeError::Command(CommandError::NotUpgraded(why))) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("the old version does not save its state"), "{why}");
    let image = test.session(&guests::COUNTS_WITHOUT_SAVING).await;
    image.send("one").await.unwrap();
    let refused = upgraded(&image, to).await;
    let Err(UpgradeError::Command(CommandError::NotUpgraded(why))) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("does not export"), "{why}");
    says(&session, "two", "turn 2: two").await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_version_whose_first_turn_fails_gives_the_session_back() {
    let test = TestHost::new().await;
    let session = test.session(&guests::TRAPS_WHEN_TOLD).await;
    says(&session, "one", "turn 1: one").await;
    let before = session.info().await.unwrap().session;
    let to = test.upload(&guests::TRAPS_ON_SECOND_TURN).await;
    upgraded(&session, to).await.unwrap();
    let failed = session.send("two").await;
    let Err(SendError::Failed(ended)) = failed else { panic!("{failed:?}") };
    assert_eq!(ended.session.profile.agent, before.profile.agent);
    assert_eq!(ended.session.head, before.head);
    says(&session, "two", "turn 2: two").await;
    let events = session.events(Cursor(0), 100).await.unwrap().entries;
    let told: Vec<_> = events
        .iter()
        .filter_map(|logged| match &logged.event.body {
            EventBody::SessionUpgraded { outcome, .. } => Some(*outcome),
            _ => None,
        })
        .collect();
    let returned = UpgradeOutcome::Returned { reason: FailureCode::AgentTrapped };
    assert_eq!(told, [UpgradeOutcome::Upgraded, returned]);
    test.shut_down().await;
}

#[tokio::test]
async fn a_paused_session_takes_no_messages_until_it_is_resumed() {
    let test = TestHost::new().await;
    let session = test.bundled("counter", Pattern::LongRunning).await;
    says(&session, "one", "turn 1: one").await;
    let first = head(&session.info().await.unwrap());
    says(&session, "two", "turn 2: two").await;
    session.pause().await.unwrap();
    let refused = session.send("three").await;
    assert!(matches!(refused, Err(SendError::Denied(TurnDenied::Paused))), "{refused:?}");
    session.resume(None).await.unwrap();
    says(&session, "three", "turn 3: three").await;
    session.pause().await.unwrap();
    session.resume(Some(first)).await.unwrap();
    says(&session, "again", "turn 2: again").await;
    let open = session.resume(None).await;
    assert!(matches!(open, Err(CommandError::InvalidTransition(_))), "{open:?}");
    test.shut_down().await;
}

fn saved_on_sleep(new: &mut NewSession) {
    new.durability = Durability::Sleep;
}

#[tokio::test]
async fn a_session_that_saves_on_sleep_says_what_a_crash_would_cost() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.session_with(&guests::COUNTS_WITHOUT_SAVING, saved_on_sleep).await;
    for (number, text) in ["one", "two"].into_iter().enumerate() {
        let reply = session.send(text).await.unwrap();
        assert!(!reply.is_durable());
        assert_eq!(reply.session.session.unsaved_turns, number as u64 + 1);
    }
    let slept = session.sleep().await.unwrap();
    assert_eq!((slept.session.unsaved_turns, slept.residency), (0, Residency::Asleep));
    says(&session, "three", "turn 3: three").await;
    let id = session.id();
    drop(session);
    // As after a crash: nothing is saved any more.
    drop(test);
    let test = TestHost::on(directory.path(), &clock).await;
    let session = test.host.sessions().get(id);
    let lost = session.send("four").await;
    assert!(
        matches!(
            lost,
            Err(SendError::Denied(TurnDenied::NotActive(NotActive { status: Status::Error, .. })))
        ),
        "{lost:?}"
    );
    session.resume(None).await.unwrap();
    says(&session, "three again", "turn 3: three again").await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_saves_on_sleep_is_saved_for_forks_and_templates() {
    let test = TestHost::new().await;
    let session = test.session_with(&guests::COUNTS_WITHOUT_SAVING, saved_on_sleep).await;
    says(&session, "one", "turn 1: one").await;
    let fork = session.fork(Fork::default()).await.unwrap()[0].session.id;
    says(&test.host.sessions().get(fork), "two", "turn 2: two").await;
    says(&session, "two", "turn 2: two").await;
    let created = test.host.sessions().create_with_info(resuming(session.id())).await.unwrap();
    says(&test.host.sessions().get(created.session.session.id), "three", "turn 3: three").await;
    assert_eq!(session.info().await.unwrap().residency, Residency::Resident);
    let refused = test
        .host
        .sessions()
        .create(NewSession {
            durability: Durability::Sleep,
            require_durable: true,
            ..NewSession::default()
        })
        .await;
    assert!(matches!(refused, Err(CreateError::Invalid(_))));
    test.shut_down().await;
}

/// A session whose head is damaged on the disk: two turns that keep much, and a byte of what the
/// second saved turned over. Returns the host that was started on it, and the snapshots.
async fn damaged(
    directory: &std::path::Path,
    change: impl FnOnce(&mut NewSession),
) -> (TestHost, SessionHandle, [SnapshotId; 2]) {
    let clock = ManualClock::new();
    let test = TestHost::on(directory, &clock).await;
    let session = test.session_with(&guests::GROWS_MEMORY, change).await;
    says(&session, "one", "turn 1: one").await;
    let mut heads = Vec::new();
    for total in [8_000_000, 16_000_000] {
        let reply = session.send("grow 8000000").await.unwrap();
        assert_eq!(reply.text(), format!("holding {total} bytes"));
        heads.push(head(&reply.session));
    }
    let id = session.id();
    drop(session);
    test.shut_down().await;
    turn_a_bit(directory, id, heads[1]);
    let test = TestHost::on(directory, &clock).await;
    let session = test.host.sessions().get(id);
    (test, session, [heads[0], heads[1]])
}

/// Damage a snapshot where it lies: after its key, in a pack of the store.
fn turn_a_bit(directory: &std::path::Path, session: SessionId, snapshot: SnapshotId) {
    let key = [b"r", session.0.as_bytes().as_slice(), b"h", snapshot.0.as_bytes()].concat();
    let mut found = 0;
    for entry in std::fs::read_dir(directory.join("store/packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&key)).collect();
        for place in &places {
            bytes[place + key.len() + 30] ^= 1;
        }
        found += places.len();
        std::fs::write(path, bytes).unwrap();
    }
    assert!(found > 0, "the snapshot lies in a pack");
}

#[tokio::test]
async fn a_session_whose_head_is_damaged_names_the_newest_good_snapshot_and_goes_on_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let (test, session, [good, bad]) = damaged(directory.path(), |_| {}).await;
    let expected = DamagedSnapshot { snapshot: bad, newest_good: Some(good) };
    let refused = session.send("grow 1").await;
    assert!(
        matches!(&refused, Err(SendError::Unavailable(Unavailable::Damaged(damaged))) if *damaged == expected),
        "{refused:?}"
    );
    let seen = session.info().await.unwrap().session;
    assert_eq!(seen.state.status(), Status::Error);
    assert_eq!(seen.state.reason().unwrap().0, "snapshot_corrupt");
    let refused = session.resume(None).await;
    assert!(
        matches!(&refused, Err(CommandError::Unavailable(Unavailable::Damaged(damaged))) if *damaged == expected),
        "{refused:?}"
    );
    let refused = session.resume(Some(bad)).await;
    assert!(
        matches!(&refused, Err(CommandError::Unavailable(Unavailable::Damaged(_)))),
        "{refused:?}"
    );
    session.resume(Some(good)).await.unwrap();
    says(&session, "grow 1", "holding 8000001 bytes").await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_goes_on_by_itself_where_it_was_created_to() {
    for (fallback, answer) in [
        (ResumeFallback::Parent, "holding 8000001 bytes"),
        (ResumeFallback::Fresh, "holding 1 bytes"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let fall_back = |new: &mut NewSession| new.resume_fallback = Some(fallback);
        let (test, session, [_, bad]) = damaged(directory.path(), fall_back).await;
        says(&session, "grow 1", answer).await;
        let events = session.events(Cursor(0), 200).await.unwrap().entries;
        let told = events.iter().rfind(|logged| logged.event.kind() == EventKind::SessionResumed);
        let EventBody::SessionResumed(ResumeCause::Damage { fallback: told, damage }) =
            &told.expect("it is told").event.body
        else {
            panic!("{told:?}");
        };
        assert_eq!((*told, damage.snapshot), (fallback, bad));
        test.shut_down().await;
    }
}

#[tokio::test]
async fn a_damaged_head_is_found_by_a_wake_by_hand_too_and_other_sessions_are_well() {
    let directory = tempfile::tempdir().unwrap();
    let (test, session, _) = damaged(directory.path(), |_| {}).await;
    let refused = session.wake().await;
    assert!(
        matches!(&refused, Err(CommandError::Unavailable(Unavailable::Damaged(_)))),
        "{refused:?}"
    );
    assert_eq!(session.info().await.unwrap().session.state.status(), Status::Error);
    let other = test.bundled("counter", Pattern::Hybrid).await;
    says(&other, "one", "turn 1: one").await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_saves_on_sleep_is_saved_when_its_bedtime_has_come() {
    let test = TestHost::new().await;
    let hybrid = |new: &mut NewSession| {
        saved_on_sleep(new);
        new.pattern = Pattern::Hybrid;
    };
    let session = test.session_with(&guests::COUNTS_WITHOUT_SAVING, hybrid).await;
    says(&session, "one", "turn 1: one").await;
    test.advance(Duration::from_secs(61));
    eventually("it sleeps, and is saved", async || {
        let seen = session.info().await.unwrap();
        seen.residency == Residency::Asleep && seen.session.unsaved_turns == 0
    })
    .await;
    says(&session, "two", "turn 2: two").await;
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_saves_on_sleep_is_saved_before_it_makes_room() {
    let test = TestHost::with(|options| options.max_residents = 1).await;
    let one = test.session_with(&guests::COUNTS_WITHOUT_SAVING, saved_on_sleep).await;
    let other = test.session_with(&guests::COUNTS_WITHOUT_SAVING, saved_on_sleep).await;
    for turn in 1..=3 {
        for session in [&one, &other] {
            says(session, "on", &format!("turn {turn}: on")).await;
        }
        let seen = one.info().await.unwrap();
        assert_eq!((seen.residency, seen.session.unsaved_turns), (Residency::Asleep, 0));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_saves_on_sleep_is_saved_when_the_host_ends_as_it_should() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        let session = test.session_with(&guests::COUNTS_WITHOUT_SAVING, saved_on_sleep).await;
        says(&session, "one", "turn 1: one").await;
        says(&session, "two", "turn 2: two").await;
        ids.push(session.id());
    }
    test.shut_down().await;
    let test = TestHost::on(directory.path(), &clock).await;
    for id in ids {
        says(&test.host.sessions().get(id), "three", "turn 3: three").await;
    }
    test.shut_down().await;
}

#[tokio::test]
async fn a_session_that_cannot_be_saved_on_sleep_stays_where_it_is() {
    let test = TestHost::with(|options| options.max_residents = 2).await;
    let holder = test.session_with(&guests::HOLDS_SOMETHING_OPEN, saved_on_sleep).await;
    holder.send("hold").await.unwrap();
    let refused = holder.sleep().await;
    assert!(matches!(refused, Err(CommandError::Unsaved(1))), "{refused:?}");
    for _ in 0..3 {
        let other = test.bundled("counter", Pattern::LongRunning).await;
        says(&other, "one", "turn 1: one").await;
    }
    assert_eq!(holder.info().await.unwrap().residency, Residency::Resident);
    holder.send("release").await.unwrap();
    assert_eq!(holder.sleep().await.unwrap().session.unsaved_turns, 0);
    test.shut_down().await;
}
