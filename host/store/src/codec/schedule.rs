//! A schedule, and what it does.
//!
//! The record is written anew with each run, and its work only when its owner changes it: so they are two rows. Words
//! stand for what the API has words for.

use std::time::Duration;

use minicbor::{CborLen, Decode, Encode};
use uuid::Uuid;

use super::session::PeerRow;
use super::turn::PartRow;
use super::{CodecError, IdRow, JsonRow, from_cbor, to_cbor};
use dormouse_domain::creation::{NewSession, StartFrom};
use dormouse_domain::egress::EgressPolicy;
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

/// The row of this schedule.
pub(crate) fn encode_schedule(schedule: &SessionSchedule) -> Vec<u8> {
    let SessionSchedule { terms, status, .. } = schedule;
    to_cbor(&ScheduleRow {
        owner: &schedule.owner.0,
        revision: schedule.revision,
        name: &terms.name,
        cron: terms.cron.as_str(),
        max_failures: terms.max_failures,
        status: match status {
            ScheduleStatus::Active { due } => StatusRow::Active(due.0),
            ScheduleStatus::Paused => StatusRow::Paused,
            ScheduleStatus::Stopped(cause) => StatusRow::Stopped(cause.as_str()),
        },
        failures: schedule.failures,
        last_run: schedule.last_run,
        runs: schedule.runs.iter().map(RunRow::of).collect(),
        created_at: schedule.created_at.0,
        changed_at: schedule.changed_at.0,
    })
}

/// The schedule of this id and row.
pub(crate) fn decode_schedule(id: ScheduleId, bytes: &[u8]) -> Result<SessionSchedule, CodecError> {
    let row: ScheduleRow<'_> = from_cbor(bytes)?;
    Ok(SessionSchedule {
        id,
        owner: Principal(row.owner.to_owned()),
        revision: row.revision,
        terms: ScheduleTerms {
            name: row.name.to_owned(),
            cron: Schedule::kept(row.cron.to_owned()),
            max_failures: row.max_failures,
        },
        status: match row.status {
            StatusRow::Active(due) => ScheduleStatus::Active { due: Timestamp(due) },
            StatusRow::Paused => ScheduleStatus::Paused,
            StatusRow::Stopped(cause) => {
                ScheduleStatus::Stopped(known("cause", cause, &StopCause::ALL, StopCause::as_str)?)
            }
        },
        failures: row.failures,
        last_run: row.last_run,
        runs: row.runs.into_iter().map(RunRow::run).collect::<Result<_, _>>()?,
        created_at: Timestamp(row.created_at),
        changed_at: Timestamp(row.changed_at),
    })
}

/// The row of what a schedule does.
pub(crate) fn encode_work(work: &ScheduledWork) -> Vec<u8> {
    to_cbor(&WorkRow {
        session: NewSessionRow::of(&work.session),
        message: work.message.iter().map(PartRow::of).collect(),
    })
}

/// What a schedule does, of this row.
pub(crate) fn decode_work(bytes: &[u8]) -> Result<ScheduledWork, CodecError> {
    let row: WorkRow<'_> = from_cbor(bytes)?;
    let message = row.message.into_iter().map(PartRow::part).collect();
    Ok(ScheduledWork { session: row.session.session()?, message })
}

#[derive(Encode, Decode, CborLen)]
struct ScheduleRow<'a> {
    #[b(0)]
    owner: &'a str,
    #[n(1)]
    revision: u64,
    #[b(2)]
    name: &'a str,
    #[b(3)]
    cron: &'a str,
    #[n(4)]
    max_failures: u32,
    #[b(5)]
    status: StatusRow<'a>,
    #[n(6)]
    failures: u32,
    #[n(7)]
    last_run: u64,
    #[b(8)]
    runs: Vec<RunRow<'a>>,
    #[n(9)]
    created_at: i64,
    #[n(10)]
    changed_at: i64,
}

#[derive(Encode, Decode, CborLen)]
enum StatusRow<'a> {
    #[n(0)]
    Active(#[n(0)] i64),
    #[n(1)]
    Paused,
    #[n(2)]
    Stopped(#[b(0)] &'a str),
}

#[derive(Encode, Decode, CborLen)]
struct RunRow<'a> {
    #[n(0)]
    number: u64,
    #[n(1)]
    due: i64,
    #[n(2)]
    begun_at: i64,
    #[n(3)]
    ended_at: Option<i64>,
    #[b(4)]
    outcome: OutcomeRow<'a>,
}

#[derive(Encode, Decode, CborLen)]
enum OutcomeRow<'a> {
    #[n(0)]
    Running(#[n(0)] IdRow),
    #[n(1)]
    Answered(#[n(0)] IdRow, #[n(1)] u64),
    #[n(2)]
    Failed(#[n(0)] IdRow, #[n(1)] u64, #[b(2)] &'a str),
    #[n(3)]
    Refused(#[n(0)] Option<IdRow>, #[b(1)] &'a str),
    #[n(4)]
    Skipped,
}

impl RunRow<'_> {
    fn of(run: &ScheduleRun) -> RunRow<'_> {
        let ScheduleRun { number, due, begun_at, ended_at, outcome } = run;
        RunRow {
            number: *number,
            due: due.0,
            begun_at: begun_at.0,
            ended_at: ended_at.map(|at| at.0),
            outcome: match outcome {
                RunOutcome::Running { session } => OutcomeRow::Running(session.0.into()),
                RunOutcome::Answered { session, turn } => {
                    OutcomeRow::Answered(session.0.into(), *turn)
                }
                RunOutcome::Failed { session, turn, code } => {
                    OutcomeRow::Failed(session.0.into(), *turn, code.as_str())
                }
                RunOutcome::Refused { session, code } => {
                    OutcomeRow::Refused(session.map(|id| id.0.into()), code)
                }
                RunOutcome::Skipped => OutcomeRow::Skipped,
            },
        }
    }

    fn run(self) -> Result<ScheduleRun, CodecError> {
        let session = |id: IdRow| SessionId(Uuid::from(id));
        Ok(ScheduleRun {
            number: self.number,
            due: Timestamp(self.due),
            begun_at: Timestamp(self.begun_at),
            ended_at: self.ended_at.map(Timestamp),
            outcome: match self.outcome {
                OutcomeRow::Running(id) => RunOutcome::Running { session: session(id) },
                OutcomeRow::Answered(id, turn) => {
                    RunOutcome::Answered { session: session(id), turn }
                }
                OutcomeRow::Failed(id, turn, code) => {
                    let code = known("failure", code, &FailureCode::ALL, FailureCode::as_str)?;
                    RunOutcome::Failed { session: session(id), turn, code }
                }
                OutcomeRow::Refused(id, code) => {
                    RunOutcome::Refused { session: id.map(session), code: code.to_owned() }
                }
                OutcomeRow::Skipped => RunOutcome::Skipped,
            },
        })
    }
}

#[derive(Encode, Decode, CborLen)]
struct WorkRow<'a> {
    #[b(0)]
    session: NewSessionRow<'a>,
    #[b(1)]
    message: Vec<PartRow<'a>>,
}

/// A session that is asked for. Absent is what nobody has asked for.
#[derive(Encode, Decode, CborLen)]
struct NewSessionRow<'a> {
    #[b(0)]
    start: Option<StartRow<'a>>,
    #[b(1)]
    agent: Option<&'a str>,
    #[b(2)]
    pattern: &'a str,
    #[n(3)]
    config: Option<JsonRow>,
    #[n(4)]
    conversation_id: Option<JsonRow>,
    #[b(5)]
    durability: &'a str,
    #[b(6)]
    resume_fallback: Option<&'a str>,
    #[n(7)]
    egress: Vec<String>,
    #[b(8)]
    tags: Vec<&'a str>,
    #[b(9)]
    description: Option<&'a str>,
    #[b(10)]
    user_id: Option<&'a str>,
    #[b(11)]
    thread_key: Option<&'a str>,
    #[b(12)]
    project_id: Option<&'a str>,
    #[n(13)]
    context: Option<JsonRow>,
    #[n(14)]
    metadata: Option<JsonRow>,
    #[n(15)]
    max_turns: Option<u64>,
    #[n(16)]
    max_budget: Option<i64>,
    #[n(17)]
    max_fuel: Option<u64>,
    #[n(18)]
    max_fuel_per_turn: Option<u64>,
    #[n(19)]
    max_memory_bytes: Option<u64>,
    #[n(20)]
    turn_timeout: Option<Duration>,
    #[n(21)]
    max_idle: Option<Duration>,
    #[n(22)]
    idle_grace: Option<Duration>,
    #[n(23)]
    max_lifetime: Option<Duration>,
    #[n(24)]
    sleep_after: Option<Duration>,
    #[n(25)]
    state_kept: Option<Duration>,
    #[n(26)]
    require_durable: bool,
    #[b(27)]
    peers: Vec<PeerRow<'a>>,
}

#[derive(Encode, Decode, CborLen)]
enum StartRow<'a> {
    #[n(0)]
    Resume(#[b(0)] &'a str),
    #[n(1)]
    Template(#[b(0)] &'a str),
}

impl NewSessionRow<'_> {
    fn of(new: &NewSession) -> NewSessionRow<'_> {
        NewSessionRow {
            start: match &new.start {
                StartFrom::Fresh => None,
                StartFrom::Resume(id) => Some(StartRow::Resume(id)),
                StartFrom::Template(name) => Some(StartRow::Template(name)),
            },
            agent: new.agent.as_deref(),
            pattern: new.pattern.as_str(),
            config: JsonRow::of_object(&new.config),
            conversation_id: new.conversation_id.as_ref().map(JsonRow::of),
            durability: new.durability.as_str(),
            resume_fallback: new.resume_fallback.map(ResumeFallback::as_str),
            egress: new.egress.rules().iter().map(ToString::to_string).collect(),
            tags: new.tags.iter().map(String::as_str).collect(),
            description: new.description.as_deref(),
            user_id: new.user_id.as_deref(),
            thread_key: new.thread_key.as_deref(),
            project_id: new.project_id.as_deref(),
            context: JsonRow::of_object(&new.context),
            metadata: JsonRow::of_object(&new.metadata),
            max_turns: new.max_turns,
            max_budget: new.max_budget.map(|budget| budget.0),
            max_fuel: new.max_fuel,
            max_fuel_per_turn: new.max_fuel_per_turn,
            max_memory_bytes: new.max_memory_bytes,
            turn_timeout: new.turn_timeout,
            max_idle: new.max_idle,
            idle_grace: new.idle_grace,
            max_lifetime: new.max_lifetime,
            sleep_after: new.sleep_after,
            state_kept: new.state_kept,
            require_durable: new.require_durable,
            peers: new.peers.iter().map(PeerRow::of).collect(),
        }
    }

    fn session(self) -> Result<NewSession, CodecError> {
        let text = |text: Option<&str>| text.map(str::to_owned);
        let malformed = |error: String| CodecError::Malformed(error);
        let fallback = |word| known("fallback", word, &ResumeFallback::ALL, ResumeFallback::as_str);
        let rules = self.egress.iter().map(|rule| rule.parse()).collect::<Result<_, _>>();
        let egress = rules.and_then(EgressPolicy::new);
        Ok(NewSession {
            start: match self.start {
                None => StartFrom::Fresh,
                Some(StartRow::Resume(id)) => StartFrom::Resume(id.to_owned()),
                Some(StartRow::Template(name)) => StartFrom::Template(name.to_owned()),
            },
            agent: text(self.agent),
            pattern: self
                .pattern
                .parse()
                .map_err(|_| malformed(format!("there is no pattern '{}'", self.pattern)))?,
            config: JsonRow::object(self.config.as_ref())?,
            conversation_id: self.conversation_id.map(|row| row.value()).transpose()?,
            durability: known("durability", self.durability, &Durability::ALL, Durability::as_str)?,
            resume_fallback: self.resume_fallback.map(fallback).transpose()?,
            egress: egress.map_err(|error| malformed(error.to_string()))?,
            peers: self.peers.into_iter().map(PeerRow::peer).collect(),
            tags: self.tags.into_iter().map(str::to_owned).collect(),
            description: text(self.description),
            user_id: text(self.user_id),
            thread_key: text(self.thread_key),
            project_id: text(self.project_id),
            context: JsonRow::object(self.context.as_ref())?,
            metadata: JsonRow::object(self.metadata.as_ref())?,
            max_turns: self.max_turns,
            max_budget: self.max_budget.map(NanoUsd),
            max_fuel: self.max_fuel,
            max_fuel_per_turn: self.max_fuel_per_turn,
            max_memory_bytes: self.max_memory_bytes,
            turn_timeout: self.turn_timeout,
            max_idle: self.max_idle,
            idle_grace: self.idle_grace,
            max_lifetime: self.max_lifetime,
            sleep_after: self.sleep_after,
            state_kept: self.state_kept,
            require_durable: self.require_durable,
        })
    }
}

/// The one of these that has this word.
fn known<T: Copy>(
    what: &str,
    word: &str,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Result<T, CodecError> {
    let found = all.iter().copied().find(|it| as_str(*it) == word);
    found.ok_or_else(|| CodecError::Malformed(format!("there is no {what} '{word}'")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::conformance::samples;

    proptest! {
        #[test]
        fn a_schedule_and_its_work_are_read_as_they_were_written(
            schedule in samples::schedule(), work in samples::scheduled_work(),
        ) {
            let read = decode_schedule(schedule.id, &encode_schedule(&schedule));
            prop_assert_eq!(read, Ok(schedule));
            prop_assert_eq!(decode_work(&encode_work(&work)), Ok(work));
        }
    }
}
