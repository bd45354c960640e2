//! Every kind of event has just one form as JSON, and is read back from it.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::agent::Digest;
use crate::id::{SessionId, SnapshotId};
use crate::pattern::Pattern;

fn uuid(number: u64) -> uuid::Uuid {
    uuid::Uuid::from_u64_pair(0, number)
}

const ONE: &str = "00000000-0000-0000-0000-000000000001";
const TWO: &str = "00000000-0000-0000-0000-000000000002";

/// Every kind of event, in every form that it has, with the text of its payload.
fn all() -> Vec<(EventBody, String)> {
    let (one, two) = (SnapshotId(uuid(1)), SnapshotId(uuid(2)));
    let (digest, other) = (Digest([0x11; 32]), Digest([0x22; 32]));
    let (hex, other_hex) = ("11".repeat(32), "22".repeat(32));
    let (by, cost) = (Principal("ann".to_owned()), NanoUsd(1_500_000_001));
    let agent = "echo".parse().expect("it is a name");
    let created = |parent, fork_of| EventBody::SessionCreated {
        pattern: Pattern::LongRunning,
        agent: std::clone::Clone::clone(&agent),
        parent,
        fork_of,
    };
    let status = |status, reason: Option<&str>| {
        let reason = reason.map(Reason::new);
        EventBody::SessionUpdated(SessionUpdate::Status { status, reason })
    };
    let slept = |cause, idle_minutes| EventBody::SessionSlept { cause, idle_minutes };
    let asked =
        |from| EventBody::SessionResumed(ResumeCause::Asked { status: Status::Active, from });
    let damaged = |newest_good| DamagedSnapshot { snapshot: one, newest_good };
    let fell_back = |fallback, newest_good| {
        EventBody::SessionResumed(ResumeCause::Damage { fallback, damage: damaged(newest_good) })
    };
    let error = |damage| EventBody::SessionError { reason: Reason::new("state_lost"), damage };
    let forked = |from| EventBody::SessionForked { count: 3, from };
    let upgraded = |outcome| EventBody::SessionUpgraded { outcome, from: digest, to: other };
    let resume = |outcome| EventBody::ResumeAttempted { by: by.clone(), outcome };
    let changes = FileChanges { added: 1, changed: 2, removed: 3 };
    let returned = UpgradeOutcome::Returned { reason: FailureCode::AgentTrapped };
    vec![
        (created(None, None), r#"{"agent":"echo","pattern":"long-running"}"#.to_owned()),
        (
            created(Some(one), Some(SessionId(uuid(2)))),
            format!(
                r#"{{"agent":"echo","forkOf":"{TWO}","parent":"{ONE}","pattern":"long-running"}}"#
            ),
        ),
        (EventBody::SessionStarted, "{}".to_owned()),
        (status(Status::Idle, None), r#"{"status":"idle","updates":["status"]}"#.to_owned()),
        (
            status(Status::Stopping, Some("stopped")),
            r#"{"reason":"stopped","status":"stopping","updates":["status"]}"#.to_owned(),
        ),
        (
            EventBody::SessionUpdated(SessionUpdate::Rewound { to: one }),
            format!(r#"{{"rewoundTo":"{ONE}","updates":["sessionId"]}}"#),
        ),
        (
            EventBody::SessionUpdated(SessionUpdate::Fields {
                fields: vec![SessionField::Status, SessionField::Checkpoint],
                status: Status::Paused,
            }),
            r#"{"status":"paused","updates":["status","checkpoint"]}"#.to_owned(),
        ),
        (EventBody::IdleWarning { minutes_remaining: 5 }, r#"{"minutesRemaining":5}"#.to_owned()),
        (
            EventBody::BudgetWarning { cost: NanoUsd(900_000_000), budget: NanoUsd(1_000_000_000) },
            r#"{"cost":0.9,"maxBudgetUsd":1.0}"#.to_owned(),
        ),
        (EventBody::StateRemoved { head: one }, format!(r#"{{"snapshotId":"{ONE}"}}"#)),
        (
            EventBody::WorkspaceChanged { turn: Some(7), changes },
            r#"{"added":1,"changed":2,"removed":3,"turn":7}"#.to_owned(),
        ),
        (
            EventBody::WorkspaceChanged { turn: None, changes },
            r#"{"added":1,"changed":2,"removed":3,"turn":null}"#.to_owned(),
        ),
        (EventBody::MailDropped { count: 3 }, r#"{"count":3}"#.to_owned()),
        (EventBody::TurnStarted { turn: 7 }, r#"{"turn":7}"#.to_owned()),
        (
            EventBody::TurnCompleted { turn: 7, fuel: 90, cost },
            r#"{"cost":1.500000001,"fuel":90,"turn":7}"#.to_owned(),
        ),
        (
            EventBody::TurnFailed {
                turn: 7,
                code: FailureCode::TurnTimeout,
                fuel: 90,
                cost: NanoUsd(0),
            },
            r#"{"code":"turn_timeout","cost":0.0,"fuel":90,"turn":7}"#.to_owned(),
        ),
        // As the release of 21 November 2026 wrote it, and as it is written now.
        (slept(SleepCause::Places, None), r#"{"cause":"places"}"#.to_owned()),
        (slept(SleepCause::Idle, Some(2)), r#"{"cause":"idle","idleMinutes":2}"#.to_owned()),
        (EventBody::SessionWoken, "{}".to_owned()),
        (EventBody::SessionPaused, r#"{"status":"paused"}"#.to_owned()),
        (asked(None), r#"{"status":"active"}"#.to_owned()),
        (asked(Some(one)), format!(r#"{{"from":"{ONE}","status":"active"}}"#)),
        (
            fell_back(ResumeFallback::Fresh, None),
            format!(
                r#"{{"damage":{{"newestGood":null,"snapshotId":"{ONE}"}},"fallback":"fresh","reason":"snapshot_corrupt"}}"#
            ),
        ),
        (
            fell_back(ResumeFallback::Parent, Some(two)),
            format!(
                r#"{{"damage":{{"newestGood":"{TWO}","snapshotId":"{ONE}"}},"fallback":"parent","reason":"snapshot_corrupt"}}"#
            ),
        ),
        (EventBody::SessionCompleted, r#"{"status":"completed"}"#.to_owned()),
        (
            EventBody::SessionTerminated { reason: Reason::new("my own words") },
            r#"{"reason":"my own words","status":"terminated"}"#.to_owned(),
        ),
        (error(None), r#"{"reason":"state_lost","status":"error"}"#.to_owned()),
        (
            error(Some(damaged(None))),
            format!(
                r#"{{"damage":{{"newestGood":null,"snapshotId":"{ONE}"}},"reason":"state_lost","status":"error"}}"#
            ),
        ),
        (EventBody::SessionDeleted, "{}".to_owned()),
        (forked(None), r#"{"count":3,"from":null}"#.to_owned()),
        (forked(Some(one)), format!(r#"{{"count":3,"from":"{ONE}"}}"#)),
        (
            upgraded(UpgradeOutcome::Upgraded),
            format!(r#"{{"from":"{hex}","outcome":"upgraded","to":"{other_hex}"}}"#),
        ),
        (
            upgraded(returned),
            format!(
                r#"{{"from":"{hex}","outcome":"returned","reason":"agent_trapped","to":"{other_hex}"}}"#
            ),
        ),
        (
            resume(Resumption::Resumed { from: one }.into()),
            format!(r#"{{"by":"ann","from":"{ONE}","outcome":"resumed"}}"#),
        ),
        (
            resume(Resumption::Stale { from: one }.into()),
            format!(r#"{{"by":"ann","from":"{ONE}","outcome":"stale"}}"#),
        ),
        (
            resume(Resumption::Changed { from: one }.into()),
            format!(r#"{{"by":"ann","from":"{ONE}","outcome":"changed"}}"#),
        ),
        (resume(Resumption::NotFound.into()), r#"{"by":"ann","outcome":"not_found"}"#.to_owned()),
        (resume(ResumeOutcome::NotOwner), r#"{"by":"ann","outcome":"not_owner"}"#.to_owned()),
        (EventBody::AgentUploaded { digest }, format!(r#"{{"digest":"{hex}"}}"#)),
        (
            EventBody::AgentUpdated { digest, visibility: Visibility::Public },
            format!(r#"{{"digest":"{hex}","visibility":"public"}}"#),
        ),
        (EventBody::AgentDeleted { digest }, format!(r#"{{"digest":"{hex}"}}"#)),
        (
            EventBody::KeyCreated { principal: by.clone(), role: Role::Reader },
            r#"{"principal":"ann","role":"reader"}"#.to_owned(),
        ),
        (
            EventBody::KeyRevoked { principal: by.clone(), role: Role::Admin },
            r#"{"principal":"ann","role":"admin"}"#.to_owned(),
        ),
        (
            EventBody::ScheduleCreated { name: "report".to_owned() },
            r#"{"name":"report"}"#.to_owned(),
        ),
        (
            EventBody::ScheduleRun { run: 3, session: SessionId(uuid(1)) },
            format!(r#"{{"run":3,"session":"{ONE}"}}"#),
        ),
        (
            EventBody::ScheduleStopped { cause: StopCause::MaxFailures },
            r#"{"cause":"max_failures"}"#.to_owned(),
        ),
        (EventBody::ScheduleDeleted, "{}".to_owned()),
    ]
}

fn object(text: &str) -> JsonObject {
    serde_json::from_str(text).expect(text)
}

#[test]
fn every_kind_of_event_has_just_this_payload_and_is_read_back() {
    let all = all();
    for (body, text) in &all {
        let made = serde_json::to_string(&body.payload()).expect("it is JSON");
        assert_eq!(made, *text);
        assert_eq!(EventBody::read(body.kind(), &object(text)).as_ref(), Ok(body));
    }
    for kind in EventKind::ALL {
        assert!(all.iter().any(|(body, _)| body.kind() == *kind), "{}", kind.as_str());
    }
}

#[test]
fn a_payload_without_what_its_kind_has_is_refused_by_name() {
    let read = |kind, payload: Value| {
        let payload = payload.as_object().expect("it is an object").clone();
        EventBody::read(kind, &payload).expect_err("it is not to be read").to_string()
    };
    assert_eq!(
        read(EventKind::TurnStarted, json!({})),
        "'turn' of an event 'session.turn.started' is missing or of no use"
    );
    assert_eq!(
        read(EventKind::SessionSlept, json!({"cause": "moon"})),
        "'cause' of an event 'session.slept' is missing or of no use"
    );
    assert_eq!(
        read(EventKind::ResumeAttempted, json!({"by": "ann", "outcome": "resumed"})),
        "'outcome' of an event 'session.resume-attempted' is missing or of no use"
    );
}

#[test]
fn a_name_that_a_later_release_adds_is_passed_over() {
    let read = EventBody::read(EventKind::SessionPaused, &object(r#"{"by":"ann"}"#));
    assert_eq!(read, Ok(EventBody::SessionPaused));
}

proptest! {
    #[test]
    fn money_is_read_back_to_the_nano(nano in 0..2_000_000_000_000_000_i64) {
        let cost = NanoUsd(nano);
        prop_assert_eq!(NanoUsd::nearest_usd(cost.as_usd()), Some(cost));
    }
}
