//! Sessions that the host gives a message by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dormouse::model::Catalog;
use dormouse::{
    CommitAttempt, CommitFault, CreateError, Cursor, EventBody, Faults, ManualClock, NewSchedule,
    NewSession, Pattern, Principal, RunOutcome, ScheduleError, ScheduleId, SchedulePatch,
    ScheduleRun, ScheduleStatus, ScheduleSwitch, Sender, SessionQuery, SessionSchedule, StopCause,
    TurnRecord, text_of,
};
use dormouse_test_guests as guests;
use dormouse_tests::TestHost;
use dormouse_tests::faults::CutOff;
use dormouse_tests::test_host::eventually;

const MINUTE: Duration = Duration::from_secs(60);

/// Such a schedule, made.
async fn schedule(
    test: &TestHost,
    cron: &str,
    session: NewSession,
    prompt: &str,
) -> SessionSchedule {
    let schedules = test.host.schedules();
    let cron = schedules.cron(cron).await.unwrap();
    schedules.create(NewSchedule::new("report", cron, session, prompt)).await.unwrap()
}

fn counter() -> NewSession {
    NewSession::agent("counter").pattern(Pattern::Hybrid)
}

/// Wait until all that is due has been done, turns included, and say what has come of it, the oldest first.
async fn rest(test: &TestHost, id: ScheduleId) -> Vec<ScheduleRun> {
    let runs = async || test.host.schedules().get(id).await.unwrap();
    let is_over = async || {
        test.host.settle().await;
        runs().await.running().is_none()
    };
    eventually("the run is over", is_over).await;
    runs().await.runs
}

fn words(runs: &[ScheduleRun]) -> Vec<&str> {
    runs.iter().map(|run| run.outcome.as_str()).collect()
}

fn codes(runs: &[ScheduleRun]) -> Vec<Option<&str>> {
    runs.iter().map(|run| run.outcome.code()).collect()
}

/// The turns of the session of a run.
async fn turns(test: &TestHost, run: &ScheduleRun) -> Vec<TurnRecord> {
    let session = test.host.sessions().get(run.outcome.session().unwrap());
    session.turns(0, 100).await.unwrap().entries
}

async fn sessions(test: &TestHost) -> usize {
    test.host.sessions().list(SessionQuery::default()).await.unwrap().total
}

fn switch(status: ScheduleSwitch) -> SchedulePatch {
    SchedulePatch { status: Some(status), ..SchedulePatch::default() }
}

#[tokio::test]
async fn each_time_a_session_of_its_own_gets_the_message_as_a_turn_of_the_schedule() {
    let test = TestHost::new().await;
    let id = schedule(&test, "*/5 * * * *", counter(), "hello").await.id;
    test.advance(4 * MINUTE);
    test.host.settle().await;
    assert_eq!(rest(&test, id).await, []);
    test.advance(2 * MINUTE);
    rest(&test, id).await;
    test.advance(5 * MINUTE);
    let runs = rest(&test, id).await;
    assert_eq!(words(&runs), ["answered", "answered"]);
    assert_ne!(runs[0].outcome.session(), runs[1].outcome.session());
    assert!(runs[0].begun_at >= runs[0].due && runs[1].due == runs[0].due.after(5 * MINUTE));
    for run in &runs {
        let turns = turns(&test, run).await;
        assert_eq!(turns.len(), 1);
        assert_eq!(turns[0].sender, Sender::Schedule("report".to_owned()));
        assert_eq!((text_of(&turns[0].input), run.outcome.turn()), ("hello".to_owned(), Some(1)));
    }
    test.shut_down().await;
}

#[tokio::test]
async fn an_agent_sees_a_schedule_as_a_timer_of_that_name_and_its_own_timers_stay() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::SETS_TIMERS).await;
    let new = NewSession {
        thread_key: Some("timers".to_owned()),
        ..NewSession::with_agent(agent).pattern(Pattern::Hybrid)
    };
    let session = test.host.sessions().create(new.clone()).await.unwrap();
    session.send("after schedule:report 600 mine").await.unwrap();
    let id = schedule(&test, "* * * * *", new, "the host's").await.id;
    test.advance(MINUTE);
    let runs = rest(&test, id).await;
    assert_eq!(runs[0].outcome.session(), Some(session.id()));
    let told = session.send("sent\nlist").await.unwrap().text();
    assert!(told.contains("schedule:report: the host's"), "{told}");
    assert!(told.contains("mine"), "{told}");
    test.shut_down().await;
}

#[tokio::test]
async fn what_was_missed_while_the_host_was_down_runs_once() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let test = TestHost::on(directory.path(), &clock).await;
    let id = schedule(&test, "* * * * *", counter(), "hello").await.id;
    test.shut_down().await;
    clock.advance(90 * MINUTE);
    let test = TestHost::on(directory.path(), &clock).await;
    assert_eq!(words(&rest(&test, id).await), ["answered"]);
    test.advance(MINUTE);
    let runs = rest(&test, id).await;
    assert_eq!(words(&runs), ["answered", "answered"]);
    assert_eq!(runs[1].due.since(runs[0].due), 90 * MINUTE);
    test.shut_down().await;
}

#[tokio::test]
async fn a_thread_goes_on_from_run_to_run() {
    let test = TestHost::new().await;
    let new = NewSession { thread_key: Some("t".to_owned()), ..counter() };
    let id = schedule(&test, "* * * * *", new, "hello").await.id;
    for _ in 0..3 {
        test.advance(MINUTE);
        rest(&test, id).await;
    }
    let runs = rest(&test, id).await;
    let told: Vec<Option<u64>> = runs.iter().map(|run| run.outcome.turn()).collect();
    assert_eq!(told, [Some(1), Some(2), Some(3)]);
    assert_eq!(sessions(&test).await, 1);
    test.shut_down().await;
}

#[tokio::test]
async fn failures_in_a_row_stop_a_schedule_until_its_owner_makes_it_active_again() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::FAILS_WHEN_TOLD).await;
    let schedules = test.host.schedules();
    let cron = schedules.cron("* * * * *").await.unwrap();
    let session = NewSession::with_agent(agent.clone()).pattern(Pattern::Hybrid);
    let new = NewSchedule::new("fails", cron, session, "failed at work");
    let id = schedules.create(NewSchedule { max_failures: 3, ..new }).await.unwrap().id;
    for _ in 0..2 {
        test.advance(MINUTE);
        rest(&test, id).await;
    }
    let all = SessionQuery { limit: 100, ..SessionQuery::default() };
    for session in test.host.sessions().list(all).await.unwrap().sessions {
        test.host.sessions().get(session.session.id).delete().await.unwrap();
    }
    test.host.agents().remove(agent).await.unwrap();
    for _ in 0..3 {
        test.advance(MINUTE);
        rest(&test, id).await;
    }
    let stopped = schedules.get(id).await.unwrap();
    let failed = Some("agent_failed");
    assert_eq!(codes(&stopped.runs), [failed, failed, Some("agent_not_found")]);
    assert_eq!(stopped.status, ScheduleStatus::Stopped(StopCause::MaxFailures));
    let events = test.host.operating().events_after(Cursor(0), 1_000).await.unwrap().events;
    let told: Vec<_> = events.iter().map(|entry| &entry.event.body).collect();
    assert!(told.contains(&&EventBody::ScheduleStopped { cause: StopCause::MaxFailures }));

    let active = switch(ScheduleSwitch::Active);
    let patch = SchedulePatch { session: Some(counter()), ..active };
    let again = schedules.change(id, patch).await.unwrap();
    assert_eq!((again.status.due().is_some(), again.failures), (true, 0));
    test.advance(MINUTE);
    assert_eq!(rest(&test, id).await.last().unwrap().outcome.as_str(), "answered");
    test.shut_down().await;
}

#[tokio::test]
async fn a_paused_schedule_is_not_due_and_goes_on_with_the_next_of_its_times() {
    let test = TestHost::new().await;
    let schedules = test.host.schedules();
    let id = schedule(&test, "* * * * *", counter(), "hello").await.id;
    schedules.change(id, switch(ScheduleSwitch::Paused)).await.unwrap();
    test.advance(10 * MINUTE);
    assert_eq!(rest(&test, id).await, []);
    schedules.change(id, switch(ScheduleSwitch::Active)).await.unwrap();
    test.host.settle().await;
    assert_eq!(rest(&test, id).await, [], "nothing was missed");
    test.advance(MINUTE);
    assert_eq!(words(&rest(&test, id).await), ["answered"]);
    schedules.delete(id).await.unwrap();
    test.advance(10 * MINUTE);
    test.host.settle().await;
    assert_eq!(sessions(&test).await, 1);
    assert!(matches!(schedules.get(id).await, Err(ScheduleError::NotFound(told)) if told == id));
    test.shut_down().await;
}

#[tokio::test]
async fn a_schedule_has_one_run_at_a_time_and_notes_what_it_skips() {
    let test = TestHost::new().await;
    let agent = test.upload(&guests::LOOPS_FOREVER).await;
    let new = NewSession {
        max_fuel_per_turn: Some(u64::MAX / 4),
        turn_timeout: Some(60 * MINUTE),
        ..NewSession::with_agent(agent).pattern(Pattern::LongRunning)
    };
    let schedules = test.host.schedules();
    let id = schedule(&test, "* * * * *", new, "loop").await.id;
    test.advance(MINUTE);
    let begun = async || schedules.get(id).await.unwrap().running().is_some();
    eventually("the run goes on", begun).await;
    test.advance(2 * MINUTE);
    test.host.settle().await;
    let seen = schedules.get(id).await.unwrap();
    assert_eq!(words(&seen.runs), ["running", "skipped", "skipped"]);
    assert!(matches!(schedules.run(id).await, Err(ScheduleError::Running)));
    assert_eq!(sessions(&test).await, 1);
    let session = test.host.sessions().get(seen.runs[0].outcome.session().unwrap());
    schedules.change(id, switch(ScheduleSwitch::Paused)).await.unwrap();
    session.terminate("enough").await.unwrap();
    let runs = rest(&test, id).await;
    assert_eq!(words(&runs), ["failed", "skipped", "skipped"]);
    assert_eq!(codes(&runs)[0], Some("turn_killed"));
    test.shut_down().await;
}

#[tokio::test]
async fn an_owner_can_ask_for_a_run_whether_the_schedule_is_active_or_not() {
    let test = TestHost::new().await;
    let schedules = test.host.schedules();
    let before = schedule(&test, "@yearly", counter(), "hello").await;
    let run = schedules.run(before.id).await.unwrap();
    assert_eq!(run.outcome.as_str(), "running");
    assert_eq!(words(&rest(&test, before.id).await), ["answered"]);
    assert_eq!(schedules.get(before.id).await.unwrap().status, before.status, "due as before");
    let gone = NewSession { agent: Some("gone".to_owned()), ..counter() };
    let refused = schedules
        .change(before.id, SchedulePatch { session: Some(gone), ..SchedulePatch::default() })
        .await;
    assert!(
        matches!(refused, Err(ScheduleError::Session(error)) if error.code() == "agent_not_found")
    );
    schedules.change(before.id, switch(ScheduleSwitch::Paused)).await.unwrap();
    schedules.run(before.id).await.unwrap();
    assert_eq!(words(&rest(&test, before.id).await), ["answered", "answered"]);
    test.shut_down().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_at_once() {
    let test = TestHost::new().await;
    let schedules = test.host.schedules();
    for cron in ["0 0 30 2 *", "* * * *", "soon", ""] {
        assert_eq!(schedules.cron(cron).await.unwrap_err().field, "cron", "{cron}");
    }
    let daily = schedules.cron("@daily").await.unwrap();
    let new = |session, prompt: &str| NewSchedule::new("bad", daily.clone(), session, prompt);
    let code = async |new| schedules.create(new).await.unwrap_err().code();
    assert_eq!(code(new(NewSession::agent("nobody"), "hello")).await, "agent_not_found");
    let template = dormouse::StartFrom::Template("none".to_owned());
    let warm = NewSession { start: template, ..NewSession::default() };
    assert_eq!(code(new(warm, "hello")).await, "template_not_found");
    let tags = NewSession { tags: vec!["t".repeat(300)], ..counter() };
    assert_eq!(code(new(tags, "hello")).await, "invalid_field");
    let large = "x".repeat(2 << 20);
    assert_eq!(code(new(counter(), &large)).await, "message_too_large");
    let unnamed = NewSchedule { name: String::new(), ..new(counter(), "hello") };
    assert_eq!(code(unnamed).await, "invalid_field");
    let never = NewSchedule { max_failures: 0, ..new(counter(), "hello") };
    assert_eq!(code(never).await, "invalid_field");
    assert_eq!(schedules.list(None, 10).await.unwrap().total, 0);
    test.shut_down().await;
}

#[tokio::test]
async fn schedules_of_others_are_not_there_and_their_runs_are_their_owners() {
    let test = TestHost::new().await;
    let (ann, ben) = (test.acting_as("ann"), test.acting_as("ben"));
    let id = schedule(&ann, "* * * * *", counter(), "hello").await.id;
    let other = ben.host.schedules();
    let paused = || switch(ScheduleSwitch::Paused);
    assert!(matches!(other.get(id).await, Err(ScheduleError::NotFound(_))));
    assert!(matches!(other.work(id).await, Err(ScheduleError::NotFound(_))));
    assert!(matches!(other.change(id, paused()).await, Err(ScheduleError::NotFound(_))));
    assert!(matches!(other.run(id).await, Err(ScheduleError::NotFound(_))));
    assert!(matches!(other.delete(id).await, Err(ScheduleError::NotFound(_))));
    assert_eq!(other.list(None, 10).await.unwrap().total, 0);
    test.advance(MINUTE);
    let runs = rest(&ann, id).await;
    assert_eq!(words(&runs), ["answered"]);
    assert_eq!((sessions(&ann).await, sessions(&ben).await), (1, 0));

    // An admin sees and changes them; their runs may do what their owner may.
    let admin = test.host.operating().schedules();
    assert_eq!(admin.list(None, 10).await.unwrap().total, 1);
    test.acting_as("root").upload(&guests::LOOPS_FOREVER).await;
    let private = NewSession::agent("root/loops_forever").pattern(Pattern::Hybrid);
    let patch = SchedulePatch { session: Some(private), ..SchedulePatch::default() };
    let refused = admin.change(id, patch).await;
    assert!(matches!(
        refused,
        Err(ScheduleError::Session(error)) if matches!(*error, CreateError::Agent(_))
    ));
    assert_eq!(admin.change(id, paused()).await.unwrap().owner, Principal("ann".to_owned()));
    test.shut_down().await;
}

#[tokio::test]
async fn lists_have_pages() {
    let test = TestHost::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(schedule(&test, "@daily", counter(), "hello").await.id);
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = test.host.schedules().list(after, 2).await.unwrap();
        assert_eq!(page.total, 5);
        found.extend(page.schedules.iter().map(|schedule| schedule.id));
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, made);
    test.shut_down().await;
}

#[tokio::test]
async fn a_run_that_the_end_of_a_host_has_cut_off_goes_on_with_the_next() {
    let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
    let (models, faults) = (|| Catalog::new(Vec::new()), Arc::new(CutOff::default()));
    let injected: Arc<dyn Faults> = Arc::clone(&faults) as _;
    let test = TestHost::faulty(directory.path(), &clock, models, injected).await;
    let agent = test.upload(&guests::WAITS_FOR_THE_CLOCK).await;
    let new = NewSession {
        max_fuel_per_turn: Some(u64::MAX / 4),
        ..NewSession::with_agent(agent).pattern(Pattern::Hybrid)
    };
    let id = schedule(&test, "0 * * * *", new, "wait").await.id;
    test.advance(60 * MINUTE);
    let running = async || {
        let schedule = test.host.schedules().get(id).await.unwrap();
        let Some(session) = schedule.running().and_then(|run| run.outcome.session()) else {
            return false;
        };
        test.host.sessions().get(session).info().await.unwrap().running_turn == Some(1)
    };
    eventually("the turn runs", running).await;
    faults.cut();
    drop(test);

    let test = TestHost::built(directory.path(), &clock, |builder| builder.models(models())).await;
    let running = async || {
        let schedule = test.host.schedules().get(id).await.unwrap();
        let session = schedule.running().and_then(|run| run.outcome.session()).unwrap();
        test.host.sessions().get(session).info().await.unwrap().running_turn == Some(1)
    };
    eventually("the turn runs again", running).await;
    let is_over = async || {
        // The agent may not have looked at the clock yet.
        test.advance(Duration::from_millis(1));
        test.host.schedules().get(id).await.unwrap().running().is_none()
    };
    eventually("the agent has seen the clock go on", is_over).await;
    let runs = rest(&test, id).await;
    assert_eq!(words(&runs), ["answered"]);
    assert_eq!(turns(&test, &runs[0]).await.len(), 1);
    assert_eq!(sessions(&test).await, 1);
    test.shut_down().await;
}

/// The commit of this number, from 0, has this fault, and none after it is written.
struct CutAt {
    left: AtomicUsize,
    fault: CommitFault,
}

/// No commit yet.
const UNARMED: usize = usize::MAX;

impl Faults for CutAt {
    fn commit(&self, _: CommitAttempt) -> Option<CommitFault> {
        let armed = |left: usize| (left != UNARMED).then(|| left.saturating_sub(1));
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, armed).ok()?;
        (left == 0).then_some(self.fault)
    }
}

#[tokio::test]
async fn each_time_runs_once_wherever_the_host_is_cut_off() {
    let models = || Catalog::new(Vec::new());
    for thread in [None, Some("t".to_owned())] {
        for (fault, name) in [(CommitFault::Lost, "before"), (CommitFault::Untold, "after")] {
            // The session with the run, its turn, what has come of it, and what follows.
            for number in 0..4 {
                let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::new());
                let faults = Arc::new(CutAt { left: AtomicUsize::new(UNARMED), fault });
                let injected: Arc<dyn Faults> = Arc::clone(&faults) as _;
                let test = TestHost::faulty(directory.path(), &clock, models, injected).await;
                let new = NewSession { thread_key: thread.clone(), ..counter() };
                if thread.is_some() {
                    test.host.sessions().create(new.clone()).await.unwrap();
                }
                let id = schedule(&test, "* * * * *", new, "hello").await.id;
                test.host.settle().await;
                faults.left.store(number, Ordering::SeqCst);
                test.advance(MINUTE);
                if number < 3 {
                    test.host.failed().await;
                } else {
                    rest(&test, id).await;
                }
                drop(test);

                let test =
                    TestHost::built(directory.path(), &clock, |builder| builder.models(models()))
                        .await;
                let told = format!("{name} commit {number}, thread {thread:?}");
                let is_over = async || {
                    test.host.settle().await;
                    let runs = test.host.schedules().get(id).await.unwrap().runs;
                    runs.last().is_some_and(|run| !run.is_running())
                };
                eventually(&told, is_over).await;
                let runs = rest(&test, id).await;
                assert_eq!(words(&runs), ["answered"], "{told}: {runs:?}");
                let outcome = &runs[0].outcome;
                assert!(matches!(outcome, RunOutcome::Answered { turn: 1, .. }), "{told}");
                assert_eq!(turns(&test, &runs[0]).await.len(), 1, "{told}");
                assert_eq!(sessions(&test).await, 1, "{told}");
                test.shut_down().await;
            }
        }
    }
}

#[tokio::test]
async fn what_many_have_due_at_once_runs_and_nobody_waits_for_all_of_another() {
    let test = TestHost::new().await;
    let (ann, ben) = (test.acting_as("ann"), test.acting_as("ben"));
    let mut many = Vec::new();
    for _ in 0..150 {
        many.push(schedule(&ann, "0 * * * *", counter(), "hello").await.id);
    }
    let one = schedule(&ben, "0 * * * *", counter(), "hello").await.id;
    test.advance(60 * MINUTE);
    assert_eq!(words(&rest(&ben, one).await), ["answered"]);
    for id in many {
        assert_eq!(words(&rest(&ann, id).await), ["answered"]);
    }
    test.shut_down().await;
}
