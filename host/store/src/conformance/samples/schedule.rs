//! Schedules, and what they do.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;
use uuid::Uuid;

use super::{duration, id, object, part, pattern, session, time};
use dormouse_domain::creation::{NewSession, StartFrom};
use dormouse_domain::id::{Principal, ScheduleId, SessionId};
use dormouse_domain::limits::NanoUsd;
use dormouse_domain::schedule::{
    RunOutcome, ScheduleRun, ScheduleStatus, ScheduleTerms, ScheduledWork, SessionSchedule,
    StopCause,
};
use dormouse_domain::session::{Durability, ResumeFallback};
use dormouse_domain::time::Timestamp;
use dormouse_domain::timer::Schedule;
use dormouse_domain::turn::FailureCode;

/// A new schedule of this number.
pub fn new_schedule(number: u8) -> SessionSchedule {
    let cron = Schedule::kept("@daily".to_owned());
    let terms = ScheduleTerms { name: format!("schedule {number}"), cron, max_failures: 5 };
    let id = ScheduleId(Uuid::from_u128(number.into()));
    SessionSchedule::new(id, Principal("ann".to_owned()), terms, Timestamp(7))
}

pub fn schedule() -> BoxedStrategy<SessionSchedule> {
    let status = prop_oneof![
        time().prop_map(|due| ScheduleStatus::Active { due }),
        Just(ScheduleStatus::Paused),
        proptest::sample::select(StopCause::ALL.as_slice()).prop_map(ScheduleStatus::Stopped),
    ];
    let counts = (1..9_u64, any::<u32>(), 1..9_u32, any::<u64>());
    let texts = ("[p-r]", ".{1,9}", "[0-9*]{1,5}");
    let schedule = (id(), texts, counts, status, vec(run(), 0..4), time(), time()).prop_map(
        |(id, (owner, name, cron), counts, status, runs, created_at, changed_at)| SessionSchedule {
            id: ScheduleId(id),
            owner: Principal(owner),
            revision: counts.0,
            terms: ScheduleTerms { name, cron: Schedule::kept(cron), max_failures: counts.2 },
            status,
            failures: counts.1,
            last_run: counts.3,
            runs,
            created_at,
            changed_at,
        },
    );
    schedule.boxed()
}

fn run() -> impl Strategy<Value = ScheduleRun> {
    let session = || id().prop_map(SessionId);
    let code = proptest::sample::select(FailureCode::ALL.as_slice());
    let outcome = prop_oneof![
        session().prop_map(|session| RunOutcome::Running { session }),
        (session(), any::<u64>())
            .prop_map(|(session, turn)| RunOutcome::Answered { session, turn }),
        (session(), any::<u64>(), code).prop_map(|(session, turn, code)| RunOutcome::Failed {
            session,
            turn,
            code
        }),
        (of(session()), ".{1,9}").prop_map(|(session, code)| RunOutcome::Refused { session, code }),
        Just(RunOutcome::Skipped),
    ];
    (any::<u64>(), time(), time(), of(time()), outcome).prop_map(
        |(number, due, begun_at, ended_at, outcome)| ScheduleRun {
            number,
            due,
            begun_at,
            ended_at,
            outcome,
        },
    )
}

/// In a box, as it is one of many steps: a value on the stack would have all that it is made of.
pub fn scheduled_work() -> BoxedStrategy<ScheduledWork> {
    let work = (new_session(), vec(part(), 1..3))
        .prop_map(|(session, message)| ScheduledWork { session, message });
    work.boxed()
}

/// What a session has that is there stands for what is asked for.
fn new_session() -> impl Strategy<Value = NewSession> {
    let start = prop_oneof![
        Just(StartFrom::Fresh),
        ".{1,9}".prop_map(StartFrom::Resume),
        "[a-z]{1,9}".prop_map(StartFrom::Template),
    ];
    let words = (
        proptest::sample::select(Durability::ALL.as_slice()),
        of(proptest::sample::select(ResumeFallback::ALL.as_slice())),
        any::<bool>(),
    );
    let counts = (of(any::<u64>()), of(any::<i64>()), of(any::<u64>()), of(any::<u64>()));
    let times = (of(duration()), of(duration()), of(duration()), of(duration()));
    let more = (of(duration()), of(duration()), of(any::<u64>()), of(".{1,9}"));
    ((session(), start, words), (counts, times, more), (object(), pattern())).prop_map(
        |((session, start, words), (counts, times, more), (context, pattern))| {
            let profile = session.profile;
            NewSession {
                start,
                agent: more.3,
                pattern,
                config: profile.config,
                conversation_id: profile.conversation_id,
                durability: words.0,
                resume_fallback: words.1,
                egress: profile.egress,
                peers: profile.peers.all().clone(),
                tags: profile.tags,
                description: profile.description,
                user_id: profile.user_id,
                thread_key: profile.thread_key,
                project_id: profile.project_id,
                context,
                metadata: profile.metadata,
                max_turns: counts.0,
                max_budget: counts.1.map(NanoUsd),
                max_fuel: counts.2,
                max_fuel_per_turn: counts.3,
                max_memory_bytes: more.2,
                turn_timeout: times.0,
                max_idle: times.1,
                idle_grace: times.2,
                max_lifetime: times.3,
                sleep_after: more.0,
                state_kept: more.1,
                require_durable: words.2,
            }
        },
    )
}
