//! What becomes of a schedule, step by step.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::turn::FailureCode;

/// 2030-01-01 00:00:00 UTC.
const NOW: Timestamp = Timestamp(1_893_456_000_000);
const SESSION: SessionId = SessionId(Uuid::from_u128(7));

fn minute(minutes: u32) -> Timestamp {
    NOW.after(Duration::from_secs(60) * minutes)
}

fn schedule(cron: &str) -> SessionSchedule {
    let cron = Schedule::parse(cron, NOW).expect("a schedule");
    let terms = ScheduleTerms { name: "report".to_owned(), cron, max_failures: 2 };
    SessionSchedule::new(ScheduleId(Uuid::from_u128(1)), Principal::local(), terms, NOW)
}

fn due(at: Timestamp) -> ScheduleStatus {
    ScheduleStatus::Active { due: at }
}

fn answered() -> RunOutcome {
    RunOutcome::Answered { session: SESSION, turn: 1 }
}

fn failed() -> RunOutcome {
    RunOutcome::Failed { session: SESSION, turn: 1, code: FailureCode::AgentFailed }
}

fn outcomes(schedule: &SessionSchedule) -> Vec<(u64, &'static str)> {
    schedule.runs.iter().map(|run| (run.number, run.outcome.as_str())).collect()
}

#[test]
fn a_run_takes_its_due_time_and_all_that_were_missed_before_it() {
    let new = schedule("*/5 * * * *");
    assert_eq!(new.status, due(minute(5)));
    let begun = new.begun(minute(5), SESSION, minute(17));
    assert_eq!((begun.status, begun.revision), (due(minute(20)), 2));
    let ended = begun.ended(1, answered(), minute(18)).expect("it went on");
    assert_eq!(outcomes(&ended), [(1, "answered")]);
    assert_eq!(ended.ended(1, answered(), minute(19)), None, "once");
}

#[test]
fn a_run_that_its_owner_asks_for_leaves_the_due_time_as_it_is() {
    let begun = schedule("*/5 * * * *").begun(minute(2), SESSION, minute(2));
    assert_eq!(begun.status, due(minute(5)));
}

#[test]
fn times_that_come_while_a_run_goes_on_are_skipped() {
    let begun = schedule("* * * * *").begun(minute(1), SESSION, minute(1));
    assert_eq!(begun.seen_at(minute(1)), begun);
    let seen = begun.seen_at(minute(3));
    assert_eq!(outcomes(&seen), [(1, "running"), (2, "skipped"), (3, "skipped")]);
    assert_eq!(seen.status, due(minute(4)));
    let ended = begun.ended(1, answered(), minute(1_000_000)).expect("it went on");
    assert_eq!((ended.runs.len(), ended.status), (1 + MAX_SKIPPED, due(minute(1_000_001))));
}

#[test]
fn so_many_failures_in_a_row_stop_a_schedule_until_it_is_active_again() {
    let run = |before: &SessionSchedule, outcome, at| {
        let begun = before.begun(minute(at), SESSION, minute(at));
        begun.ended(begun.last_run, outcome, minute(at)).expect("it went on")
    };
    let one = run(&schedule("* * * * *"), failed(), 1);
    let none = run(&one, answered(), 2);
    assert_eq!((one.failures, none.failures), (1, 0));
    let two = run(&none, failed(), 3).refused(minute(4), "agent_not_found", minute(4));
    assert_eq!(two.status, ScheduleStatus::Stopped(StopCause::MaxFailures));
    let active = SchedulePatch { status: Some(ScheduleSwitch::Active), ..SchedulePatch::default() };
    let again = two.patched(&active, minute(60)).expect("it is in bounds");
    assert_eq!((again.status, again.failures), (due(minute(61)), 0));
}

#[test]
fn a_paused_schedule_is_not_due_and_goes_on_with_the_next_of_its_times() {
    let switch = |status| SchedulePatch { status: Some(status), ..SchedulePatch::default() };
    let new = schedule("*/5 * * * *");
    let paused = new.patched(&switch(ScheduleSwitch::Paused), minute(1)).expect("in bounds");
    assert_eq!(paused.status.due(), None);
    let resumed = paused.patched(&switch(ScheduleSwitch::Active), minute(62)).expect("in bounds");
    assert_eq!(resumed.status, due(minute(65)));
    let same = resumed.patched(&switch(ScheduleSwitch::Active), minute(66)).expect("in bounds");
    assert_eq!(same.status, due(minute(65)), "what is due stays due");
    let cron = Some(Schedule::parse("@hourly", NOW).expect("a schedule"));
    let cron = SchedulePatch { cron, ..SchedulePatch::default() };
    assert_eq!(same.patched(&cron, minute(66)).expect("in bounds").status, due(minute(120)));
}

#[test]
fn what_is_out_of_bounds_is_named() {
    let field = |patch: SchedulePatch| {
        schedule("@daily").patched(&patch, NOW).expect_err("it is out of bounds").field
    };
    let named = |name: &str| SchedulePatch { name: Some(name.to_owned()), ..Default::default() };
    let long = "n".repeat(MAX_SCHEDULE_NAME + 1);
    for name in ["", "a\nb", &long] {
        assert_eq!(field(named(name)), "name");
    }
    for most in [0, MOST_FAILURES + 1] {
        let patch = SchedulePatch { max_failures: Some(most), ..Default::default() };
        assert_eq!(field(patch), "maxFailures");
    }
}

#[test]
fn the_newest_runs_are_kept_and_the_one_that_goes_on() {
    let mut now = schedule("* * * * *").begun(minute(1), SESSION, minute(1));
    for at in 0..200 {
        now = now.refused(minute(at), "busy", minute(at));
    }
    assert_eq!(now.runs.len(), MAX_RUNS);
    assert_eq!((now.runs[0].number, now.runs[1].number), (1, 103));
    assert!(now.runs[0].is_running());
}

#[test]
fn no_caller_can_send_the_key_of_a_run() {
    let key = schedule("@daily").run_key(3);
    assert!(is_run_key(&key));
    assert!(crate::message::check_idempotency_key(&key.key).is_err());
}
