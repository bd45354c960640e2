//! Schedules as clients ask for them and see them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::create::CreateSession;
use super::part::PartBody;
use super::reading::{Body, FieldReader};
use super::request::{needed, text};
use super::session::millis;
use super::value::{ConversationId, Count, Id, Time, Word};
use crate::error::ApiError;
use dormouse::{
    DEFAULT_MAX_FAILURES, JsonObject, NanoUsd, NewSession, Part, Pattern, ResumeFallback,
    RunOutcome, ScheduleListing, ScheduleRun, ScheduleStatus, ScheduleSwitch, ScheduledWork,
    SessionSchedule, StartFrom, StopCause, text_of,
};
use dormouse_domain::schedule::{MAX_SCHEDULE_NAME, MOST_FAILURES};

/// `POST /api/schedules`
#[derive(Debug, JsonSchema)]
pub(crate) struct CreateSchedule {
    #[schemars(flatten)]
    fields: NewScheduleFields,
    /// Read in the `session` of the fields.
    #[schemars(skip)]
    session: CreateSession,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct NewScheduleFields {
    /// What it is called. Others may have the same name.
    #[schemars(required, length(min = 1, max = MAX_SCHEDULE_NAME))]
    name: Option<String>,
    /// When it is due: five fields (minute, hour, day, month, weekday) in UTC, as in `0 9 * * MON-FRI`, or
    /// `@hourly`, `@daily`, `@weekly`, `@monthly`, `@yearly`.
    #[schemars(required)]
    cron: Option<String>,
    /// The text that the session is sent each time.
    #[schemars(required)]
    prompt: Option<String>,
    /// The session that is created each time: what `POST /api/sessions` takes. Where it has a `threadKey` and the
    /// thread an open session, that one gets the message. Default: an ephemeral one of the default agent.
    #[serde(default)]
    #[schemars(with = "CreateSession")]
    session: JsonObject,
    /// Failures in a row that stop it: runs that were refused, and turns that have failed. Default: 5.
    #[schemars(range(min = 1, max = MOST_FAILURES))]
    max_failures: Option<Count>,
}

impl Body for CreateSchedule {
    fn read(reader: &mut FieldReader<'_>) -> Result<CreateSchedule, ApiError> {
        let fields: NewScheduleFields = reader.take()?;
        let session = reader.inner("session.", &fields.session)?;
        Ok(CreateSchedule { fields, session })
    }
}

/// A schedule that is asked for, whose cron is not read yet.
pub(crate) struct AskedSchedule {
    pub(crate) name: String,
    pub(crate) cron: String,
    pub(crate) session: NewSession,
    pub(crate) message: Vec<Part>,
    pub(crate) max_failures: u32,
}

impl TryFrom<CreateSchedule> for AskedSchedule {
    type Error = ApiError;

    /// # Errors
    /// Something is missing, or the session is none that can be asked for.
    fn try_from(body: CreateSchedule) -> Result<AskedSchedule, ApiError> {
        let CreateSchedule { fields, session } = body;
        Ok(AskedSchedule {
            name: needed("name", fields.name, "is needed")?,
            cron: needed("cron", fields.cron, "is needed: five fields, or `@daily`")?,
            message: vec![Part::Text(text("prompt", fields.prompt)?)],
            session: session.try_into()?,
            max_failures: fields.max_failures.map_or(DEFAULT_MAX_FAILURES, failures),
        })
    }
}

/// What is more than a schedule can bear is refused as such by the host.
fn failures(Count(count): Count) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// `PATCH /api/schedules/{id}`: what is absent stays.
#[derive(Debug, JsonSchema)]
pub(crate) struct PatchSchedule {
    #[schemars(flatten)]
    fields: PatchScheduleFields,
    /// Read in the `session` of the fields.
    #[schemars(skip)]
    session: Option<CreateSession>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct PatchScheduleFields {
    #[schemars(length(min = 1, max = MAX_SCHEDULE_NAME))]
    name: Option<String>,
    /// When it is due, from now on.
    cron: Option<String>,
    /// The text that the session is sent.
    prompt: Option<String>,
    /// The session, as a whole: what `POST /api/sessions` takes.
    #[schemars(with = "CreateSession")]
    session: Option<JsonObject>,
    #[schemars(range(min = 1, max = MOST_FAILURES))]
    max_failures: Option<Count>,
    /// `paused`: it is not due any more. `active`: it is due at the next of its times, also where it has stopped.
    #[schemars(with = "Option<Word<ScheduleSwitch>>")]
    status: Option<String>,
}

impl Body for PatchSchedule {
    fn read(reader: &mut FieldReader<'_>) -> Result<PatchSchedule, ApiError> {
        let fields: PatchScheduleFields = reader.take()?;
        let nothing = JsonObject::new();
        let given = fields.session.as_ref();
        let session = reader.inner("session.", given.unwrap_or(&nothing))?;
        let session = given.is_some().then_some(session);
        Ok(PatchSchedule { fields, session })
    }
}

/// What is to be changed, whose cron is not read yet.
pub(crate) struct AskedPatch {
    pub(crate) name: Option<String>,
    pub(crate) cron: Option<String>,
    pub(crate) session: Option<NewSession>,
    pub(crate) message: Option<Vec<Part>>,
    pub(crate) max_failures: Option<u32>,
    pub(crate) status: Option<ScheduleSwitch>,
}

impl TryFrom<PatchSchedule> for AskedPatch {
    type Error = ApiError;

    /// # Errors
    /// The status is none that can be asked for, or the session is none.
    fn try_from(body: PatchSchedule) -> Result<AskedPatch, ApiError> {
        let PatchSchedule { fields, session } = body;
        let switch = |word: String| {
            let known = ScheduleSwitch::ALL.into_iter().find(|switch| switch.as_str() == word);
            known.ok_or_else(|| ApiError::invalid_field("status", "must be one of: active, paused"))
        };
        Ok(AskedPatch {
            name: fields.name,
            cron: fields.cron,
            session: session.map(NewSession::try_from).transpose()?,
            message: match fields.prompt {
                Some(prompt) => Some(vec![Part::Text(text("prompt", Some(prompt))?)]),
                None => None,
            },
            max_failures: fields.max_failures.map(failures),
            status: fields.status.map(switch).transpose()?,
        })
    }
}

/// A schedule: the host sends a message to a session by itself.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Schedule")]
pub(crate) struct ScheduleBody {
    #[schemars(with = "Id")]
    id: String,
    /// The principal whose it is.
    owner: String,
    name: String,
    cron: String,
    status: ScheduleStatusWord,
    /// Why it has stopped. `null`: it has not.
    stop_reason: Option<StopWord>,
    /// When it is due next. `null`: never, as it is.
    #[schemars(with = "Option<Time>")]
    due_at: Option<String>,
    /// Failures in a row that stop it.
    max_failures: u32,
    /// Failures in a row until now.
    failures: u32,
    /// The newest run, or the newest time that was skipped.
    last_run: Option<RunBody>,
    #[schemars(with = "Time")]
    created_at: String,
    /// When its owner has changed it last.
    #[schemars(with = "Time")]
    changed_at: String,
}

/// Whether a schedule runs.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum ScheduleStatusWord {
    Active,
    Paused,
    Stopped,
}

/// Why a schedule has stopped.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
enum StopWord {
    MaxFailures,
    NeverDue,
}

impl From<SessionSchedule> for ScheduleBody {
    fn from(schedule: SessionSchedule) -> ScheduleBody {
        let SessionSchedule { terms, status, .. } = schedule;
        ScheduleBody {
            id: schedule.id.to_string(),
            owner: schedule.owner.0,
            name: terms.name,
            cron: terms.cron.as_str().to_owned(),
            status: match status {
                ScheduleStatus::Active { .. } => ScheduleStatusWord::Active,
                ScheduleStatus::Paused => ScheduleStatusWord::Paused,
                ScheduleStatus::Stopped(_) => ScheduleStatusWord::Stopped,
            },
            stop_reason: match status {
                ScheduleStatus::Active { .. } | ScheduleStatus::Paused => None,
                ScheduleStatus::Stopped(StopCause::MaxFailures) => Some(StopWord::MaxFailures),
                ScheduleStatus::Stopped(StopCause::NeverDue) => Some(StopWord::NeverDue),
            },
            due_at: status.due().map(|at| at.to_string()),
            max_failures: terms.max_failures,
            failures: schedule.failures,
            last_run: schedule.runs.last().map(RunBody::from),
            created_at: schedule.created_at.to_string(),
            changed_at: schedule.changed_at.to_string(),
        }
    }
}

/// A schedule with what it does.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ScheduleDetail")]
pub(crate) struct ScheduleDetail {
    #[serde(flatten)]
    schedule: ScheduleBody,
    /// The text that the session is sent.
    prompt: String,
    /// All parts of the message, where text alone does not tell everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parts: Vec<PartBody>,
    /// What each run asks for, as `POST /api/sessions` takes it.
    session: AskedSession,
}

impl ScheduleDetail {
    pub(crate) fn of(schedule: SessionSchedule, work: ScheduledWork) -> ScheduleDetail {
        let ScheduledWork { session, message } = work;
        let is_text = message.iter().all(|part| matches!(part, Part::Text(_)));
        let parts = if is_text { &[] } else { message.as_slice() };
        ScheduleDetail {
            schedule: schedule.into(),
            prompt: text_of(&message),
            parts: parts.iter().map(PartBody::from).collect(),
            session: session.into(),
        }
    }
}

/// A session that is asked for, without what nobody has asked for.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct AskedSession {
    pattern: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<String>,
    /// The id of a snapshot or a session whose state it starts from. Clients give it in the `config`.
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_session_id: Option<String>,
    #[serde(skip_serializing_if = "JsonObject::is_empty")]
    config: JsonObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<Value>,
    durability: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    resume_fallback: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    egress: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "JsonObject::is_empty")]
    context: JsonObject,
    #[serde(skip_serializing_if = "JsonObject::is_empty")]
    metadata: JsonObject,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_turns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_budget_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fuel: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_fuel_per_turn: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_idle_time_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grace_period_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_lifetime_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sleep_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_state_ms: Option<u64>,
    require_durable: bool,
}

impl From<NewSession> for AskedSession {
    fn from(new: NewSession) -> AskedSession {
        let time = |time: Option<Duration>| time.map(millis);
        let (template, resume_session_id) = match new.start {
            StartFrom::Fresh => (None, None),
            StartFrom::Template(name) => (Some(name), None),
            StartFrom::Resume(id) => (None, Some(id)),
        };
        AskedSession {
            pattern: Pattern::as_str(new.pattern),
            agent: new.agent,
            template,
            resume_session_id,
            config: new.config,
            conversation_id: new.conversation_id,
            durability: new.durability.as_str(),
            resume_fallback: new.resume_fallback.map(ResumeFallback::as_str),
            egress: new.egress.rules().iter().map(ToString::to_string).collect(),
            tags: new.tags,
            description: new.description,
            user_id: new.user_id,
            thread_key: new.thread_key,
            project_id: new.project_id,
            context: new.context,
            metadata: new.metadata,
            max_turns: new.max_turns,
            max_budget_usd: new.max_budget.map(NanoUsd::as_usd),
            max_fuel: new.max_fuel,
            max_fuel_per_turn: new.max_fuel_per_turn,
            max_memory_bytes: new.max_memory_bytes,
            turn_timeout_ms: time(new.turn_timeout),
            max_idle_time_ms: time(new.max_idle),
            grace_period_ms: time(new.idle_grace),
            max_lifetime_ms: time(new.max_lifetime),
            sleep_after_ms: time(new.sleep_after),
            keep_state_ms: time(new.state_kept),
            require_durable: new.require_durable,
        }
    }
}

/// One time of a schedule, and what has come of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ScheduleRun")]
pub(crate) struct RunBody {
    /// Counted from 1 within the schedule.
    run: u64,
    /// When it was due, or when somebody has asked for it.
    #[schemars(with = "Time")]
    due_at: String,
    /// When the host has come to it.
    #[schemars(with = "Time")]
    begun_at: String,
    /// When it was over. `null`: it goes on.
    #[schemars(with = "Option<Time>")]
    ended_at: Option<String>,
    outcome: RunWord,
    /// The stable word of what went wrong: of a refusal or of a failed turn.
    code: Option<String>,
    #[schemars(with = "Option<Id>")]
    session_id: Option<String>,
    /// The turn of that session.
    turn: Option<u64>,
}

/// What has come of one time of a schedule.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum RunWord {
    /// The session has the message, or will get it.
    Running,
    /// The session has answered.
    Answered,
    /// The turn has failed.
    Failed,
    /// There was no turn.
    Refused,
    /// Another run went on.
    Skipped,
}

impl From<&ScheduleRun> for RunBody {
    fn from(run: &ScheduleRun) -> RunBody {
        let ScheduleRun { number, due, begun_at, ended_at, outcome } = run;
        RunBody {
            run: *number,
            due_at: due.to_string(),
            begun_at: begun_at.to_string(),
            ended_at: ended_at.map(|at| at.to_string()),
            outcome: match outcome {
                RunOutcome::Running { .. } => RunWord::Running,
                RunOutcome::Answered { .. } => RunWord::Answered,
                RunOutcome::Failed { .. } => RunWord::Failed,
                RunOutcome::Refused { .. } => RunWord::Refused,
                RunOutcome::Skipped => RunWord::Skipped,
            },
            code: outcome.code().map(str::to_owned),
            session_id: outcome.session().map(|id| id.to_string()),
            turn: outcome.turn(),
        }
    }
}

/// One page of schedules, in the order of their creation.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScheduleList {
    schedules: Vec<ScheduleBody>,
    /// How many there are, over all pages.
    total: usize,
    count: usize,
    /// What to ask for as `cursor`, where the list goes on; `null` at its end.
    next_cursor: Option<String>,
    /// The same, by its first name.
    next: Option<String>,
}

impl From<ScheduleListing> for ScheduleList {
    fn from(found: ScheduleListing) -> ScheduleList {
        let next = found.next.map(|id| id.to_string());
        let schedules: Vec<_> = found.schedules.into_iter().map(ScheduleBody::from).collect();
        let (total, count) = (found.total, schedules.len());
        ScheduleList { schedules, total, count, next_cursor: next.clone(), next }
    }
}

/// The newest runs of a schedule, the newest first.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunList {
    runs: Vec<RunBody>,
    count: usize,
}

impl From<SessionSchedule> for RunList {
    fn from(schedule: SessionSchedule) -> RunList {
        let runs: Vec<_> = schedule.runs.iter().rev().map(RunBody::from).collect();
        RunList { count: runs.len(), runs }
    }
}
