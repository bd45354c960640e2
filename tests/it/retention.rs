//! The state of a session that nobody uses is removed; its record, its turns and its bill stay.

use std::path::Path;
use std::time::Duration;

use dormouse::{
    Cause, CommandError, Cursor, EventKind, Fork, ForkError, ManualClock, NewSession, NewTemplate,
    NotActive, Pattern, Resumption, SendError, SessionHandle, StartFrom, Status, TurnDenied,
    upkeep,
};
use dormouse_tests::TestHost;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// A hybrid session of the notepad that has noted something.
async fn noted(test: &TestHost, change: impl FnOnce(&mut NewSession)) -> SessionHandle {
    let mut new = NewSession::agent("notepad").pattern(Pattern::Hybrid);
    change(&mut new);
    let session = test.host.sessions().create(new).await.unwrap();
    session.send("add milk").await.unwrap();
    session
}

async fn pass(test: &TestHost, time: Duration) {
    test.advance(time);
    test.host.settle().await;
}

async fn ended_as(session: &SessionHandle) -> (Status, Option<Cause>) {
    let state = session.info().await.unwrap().session.state.clone();
    (state.status(), state.reason().and_then(|reason| reason.cause()))
}

fn is_well(directory: &Path) {
    let report = upkeep::check(directory, dormouse::StoreOptions::default()).unwrap();
    assert!(report.is_well(), "{:?}", report.findings);
}

const EXPIRED: (Status, Option<Cause>) = (Status::Error, Some(Cause::StateExpired));

#[tokio::test]
async fn after_seven_days_the_state_is_removed_and_the_record_the_turns_and_the_bill_stay() {
    let test = TestHost::new().await;
    let session = noted(&test, |_| {}).await;
    let before = session.info().await.unwrap().session;
    pass(&test, 7 * DAY - Duration::from_secs(1)).await;
    assert_eq!(ended_as(&session).await.0, Status::Active, "not before");
    pass(&test, DAY / 8).await;
    assert_eq!(ended_as(&session).await, EXPIRED);
    let after = session.info().await.unwrap().session;
    assert_eq!((after.head, after.state_bytes), (None, None));
    assert_eq!(after.state_removed_at, Some(test.clock.now()));
    assert_eq!(after.usage, before.usage);
    assert_eq!(session.turns(0, 10).await.unwrap().entries.len(), 1);
    assert_eq!(session.snapshots().await.unwrap(), []);

    let refused = session.send("list").await;
    let Err(SendError::Denied(TurnDenied::NotActive(inactive))) = refused else { panic!() };
    let NotActive { status, reason, .. } = &inactive;
    assert_eq!((*status, reason.as_ref().unwrap().0.as_str()), (Status::Error, "state_expired"));
    assert!(inactive.to_string().contains("POST …/resume lets it begin again, from nothing"));
    let fork = session.fork(Fork::default()).await;
    assert!(matches!(fork, Err(ForkError::Command(CommandError::StateRemoved(_)))), "{fork:?}");

    session.resume(None).await.unwrap();
    assert!(!session.send("list").await.unwrap().text().contains("milk"));
    let resumed = session.info().await.unwrap().session;
    assert_eq!((resumed.usage.turns, resumed.state_removed_at), (2, None));
    let events = session.events(Cursor(0), 100).await.unwrap().entries;
    let kinds: Vec<_> = events.iter().map(|logged| logged.event.kind()).collect();
    let removed = kinds.iter().position(|kind| *kind == EventKind::StateRemoved).unwrap();
    assert_eq!(kinds[removed + 1..][..2], [EventKind::SessionError, EventKind::SessionResumed]);
    test.shut_down().await;
}

#[tokio::test]
async fn what_is_used_and_what_is_long_running_keeps_its_state() {
    let test = TestHost::new().await;
    let used = noted(&test, |_| {}).await;
    let long_running = noted(&test, |new| new.pattern = Pattern::LongRunning).await;
    let patient = noted(&test, |new| new.max_idle = Some(10 * DAY)).await;
    let longer = noted(&test, |new| new.state_kept = Some(30 * DAY)).await;
    for _ in 0..3 {
        pass(&test, 3 * DAY).await;
        assert!(used.send("list").await.unwrap().text().contains("milk"));
    }
    for session in [&long_running, &patient, &longer] {
        assert!(session.send("list").await.unwrap().text().contains("milk"));
    }
    pass(&test, 10 * DAY + DAY / 8).await;
    let ends = [ended_as(&used).await, ended_as(&patient).await];
    assert_eq!(ends, [EXPIRED, EXPIRED], "once its idle limit is reached");
    for session in [&long_running, &longer] {
        assert!(session.send("list").await.unwrap().text().contains("milk"));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn forks_and_templates_keep_what_they_have_of_a_state_that_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let test = TestHost::on(directory.path(), &ManualClock::new()).await;
    let session = noted(&test, |_| {}).await;
    let id = session.id().to_string();
    let template = NewTemplate { name: "warm".to_owned(), from: id.clone(), description: None };
    test.host.templates().create(template).await.unwrap();
    pass(&test, 6 * DAY).await;
    let fork = session.fork(Fork::default()).await.unwrap().remove(0).session.id;
    pass(&test, DAY + DAY / 8).await;
    assert_eq!(ended_as(&session).await, EXPIRED);

    let fork = test.host.sessions().get(fork);
    assert!(fork.send("list").await.unwrap().text().contains("milk"));
    let start = StartFrom::Template("warm".to_owned());
    let warm = NewSession { start, ..NewSession::default() }.pattern(Pattern::Hybrid);
    let warm = test.host.sessions().create(warm).await.unwrap();
    assert!(warm.send("list").await.unwrap().text().contains("milk"));
    let start = StartFrom::Resume(id);
    let gone = NewSession { start, ..NewSession::agent("notepad") };
    let gone = test.host.sessions().create_with_info(gone).await.unwrap();
    assert_eq!(gone.resume, Some(Resumption::NotFound));
    session.delete().await.unwrap();
    drop((session, fork, warm));
    test.shut_down().await;
    is_well(directory.path());
}

#[tokio::test]
async fn what_came_due_while_the_host_was_down_is_done_after_its_start_and_states_wait_for_an_hour()
{
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let test = TestHost::on(directory.path(), &clock).await;
    let sleeper = noted(&test, |_| {}).await;
    // Its state would have gone before its life has ended.
    let mortal = noted(&test, |new| new.max_lifetime = Some(8 * DAY)).await;
    let idler = noted(&test, |new| {
        new.pattern = Pattern::LongRunning;
        new.max_idle = Some(DAY);
    })
    .await;
    let ids = [sleeper.id(), mortal.id(), idler.id()];
    drop((sleeper, mortal, idler));
    test.shut_down().await;

    clock.advance(9 * DAY);
    let test = TestHost::on(directory.path(), &clock).await;
    test.host.settle().await;
    let [sleeper, mortal, idler] = ids.map(|id| test.host.sessions().get(id));
    assert_eq!(ended_as(&sleeper).await, (Status::Active, None), "the clock may be wrong");
    assert_eq!(ended_as(&mortal).await, (Status::Terminated, Some(Cause::LifetimeExceeded)));
    assert_eq!(ended_as(&idler).await, (Status::Terminated, Some(Cause::IdleTimeout)));
    let log = test.host.events_after(Cursor(0), 100).await.unwrap().events;
    let ended = log.iter().filter(|logged| logged.event.kind() == EventKind::SessionTerminated);
    assert_eq!(ended.count(), 2);
    pass(&test, Duration::from_secs(3599)).await;
    assert_eq!(ended_as(&sleeper).await, (Status::Active, None));
    pass(&test, Duration::from_secs(1)).await;
    assert_eq!(ended_as(&sleeper).await, EXPIRED);
    let over = mortal.info().await.unwrap().session;
    assert!(over.head.is_some(), "seven days from its end");
    pass(&test, 7 * DAY + DAY / 8).await;
    let over = mortal.info().await.unwrap().session;
    assert_eq!((over.head, over.state.status()), (None, Status::Terminated));
    drop((sleeper, mortal, idler));
    test.shut_down().await;
    is_well(directory.path());
}
