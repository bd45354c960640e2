//! A session as clients see it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::ignored::{Answered, Ignored};
use super::value::{ConversationId, Id, Time, Word};
use crate::etag::Tagged;
use dormouse::{
    AccountId, AgentRef, AnsweringModel, Durability, FailureCode, Group, JsonObject, LastFailure,
    Limits, NanoUsd, Pattern, Provided, Residency, ResumeFallback, Resumption, Session,
    SessionInfo, State, Status, Timestamp,
};
use dormouse_domain::deadline::idle_deadline;

/// The owner, name, version and digest of an agent. The owner of those of the host is `null`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AgentName {
    owner: Option<String>,
    name: String,
    version: String,
    digest: String,
}

impl From<&AgentRef> for AgentName {
    fn from(agent: &AgentRef) -> AgentName {
        AgentName {
            owner: agent.owner.principal().map(ToString::to_string),
            name: agent.name.to_string(),
            version: agent.version.to_string(),
            digest: agent.digest.to_string(),
        }
    }
}

/// A language model.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Model")]
struct ModelBody {
    /// The name of the model, as its provider has it.
    name: String,
    /// The name of the provider. `offline` is built in: it answers by rules, and costs nothing.
    provider: String,
}

impl From<AnsweringModel> for ModelBody {
    fn from(model: AnsweringModel) -> ModelBody {
        let AnsweringModel { name, provider } = model;
        ModelBody { name, provider }
    }
}

/// A session. `id` comes first, so that a shell finds it without a JSON parser.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Session")]
pub(crate) struct SessionBody {
    /// Its name, which never changes.
    #[schemars(with = "Id")]
    id: String,
    /// The id of its newest snapshot, which changes with every turn: `config.resumeSessionId` takes it. Empty
    /// until the first turn.
    session_id: String,
    /// The principal that it belongs to.
    owner: String,
    /// How it is hosted.
    #[schemars(with = "Word<Pattern>")]
    pattern: &'static str,
    #[schemars(with = "Word<Status>")]
    status: &'static str,
    /// Where its guest state is.
    #[schemars(with = "Word<Residency>")]
    residency: &'static str,
    agent: AgentName,
    /// The model that answers its agent where the agent asks for `config.model`, or for the host's default. `null`:
    /// no provider has it.
    model: Option<ModelBody>,
    /// The caller's id of the conversation.
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Option<Value>,
    /// What it was created with, for its agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "JsonObject")]
    config: Option<JsonObject>,
    #[schemars(with = "Time")]
    created_at: String,
    /// When its first turn committed.
    #[schemars(with = "Option<Time>")]
    started_at: Option<String>,
    /// When it was last spoken to: its creation, or the end of its last turn.
    #[schemars(with = "Time")]
    last_activity_at: String,
    /// When its idle limit is reached, if nobody speaks to it before.
    #[schemars(with = "Option<Time>")]
    idle_deadline: Option<String>,
    /// From its creation to its end, or to its last activity.
    duration_ms: u64,
    /// When its instance was last made.
    #[schemars(with = "Option<Time>")]
    last_woken_at: Option<String>,
    /// When its instance was last dropped.
    #[schemars(with = "Option<Time>")]
    last_slept_at: Option<String>,
    /// How long it has had an instance in memory, in all.
    resident_ms: u64,
    /// What the state of its head takes, with what other sessions share. `null`: it was not counted yet.
    storage_bytes: Option<u64>,
    /// When its state was removed, because nobody had used it for so long.
    #[schemars(with = "Option<Time>")]
    state_removed_at: Option<String>,
    /// When a client last changed it.
    #[schemars(with = "Option<Time>")]
    changed_at: Option<String>,
    #[schemars(with = "Option<Time>")]
    completed_at: Option<String>,
    #[schemars(with = "Option<Time>")]
    terminated_at: Option<String>,
    /// Why it ends or has ended.
    termination_reason: Option<String>,
    /// Why it is in `error`.
    error_reason: Option<String>,
    /// In US dollars, starts included.
    total_cost: f64,
    /// All tokens of models.
    total_tokens: u64,
    /// Those that models have read, but not from their caches.
    total_input_tokens: u64,
    total_output_tokens: u64,
    /// Those that models have read from their caches.
    total_cached_tokens: u64,
    /// Calls of models that were begun, each attempt counted.
    num_calls: u64,
    /// What it spends from together with its forks, or with the session that it was forked from: sessions with the
    /// same one share their budget and their fuel. `null`: it spends on its own.
    #[schemars(with = "Option<Id>")]
    account_id: Option<String>,
    /// The fuel of its turns.
    total_fuel: u64,
    /// The fuel that its instances have used to start.
    total_start_fuel: u64,
    /// How often an instance was started for it.
    num_starts: u64,
    /// The turns that count.
    num_turns: u64,
    /// Turns since its state was saved, which would be lost with the instance.
    unsaved_turns: u64,
    /// Failed turns since the last good one.
    consecutive_failures: u32,
    last_error: Option<LastError>,
    /// The number of the turn that runs.
    running_turn: Option<u64>,
    /// How many mails of peers wait for it, that of the turn that runs included.
    mail_waiting: u32,
    /// The sessions that its agent may write to, by the names that it has for them.
    #[schemars(with = "BTreeMap<String, Id>")]
    peers: BTreeMap<String, String>,
    /// The group that it belongs to. `null`: it stands alone.
    group: Option<GroupBody>,
    /// The tools that it has used, in the order of their first use: those of the host, and those of its agent whose results
    /// a model was told.
    tools_used: Vec<String>,
    /// The tool of the host that the running turn waits for.
    current_tool: Option<String>,
    /// The tools in `config.allowedTools` that this host knows by name and does not have for the session.
    unavailable_tools: Vec<String>,
    #[serde(flatten)]
    limits: LimitsBody,
    tags: Vec<String>,
    description: Option<String>,
    /// A label for the user that it serves.
    user_id: Option<String>,
    /// The conversation that it continues.
    thread_key: Option<String>,
    project_id: Option<String>,
    /// A document that its clients keep up to date, and its agent reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "JsonObject")]
    context: Option<JsonObject>,
    /// Anything else that its clients keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "JsonObject")]
    metadata: Option<JsonObject>,
    /// What its clients or its agent need to go on after a crash of their own.
    checkpoint: Option<JsonObject>,
    /// The snapshot that it started from.
    #[schemars(with = "Option<Id>")]
    parent: Option<String>,
    /// When its state is saved.
    #[schemars(with = "Word<Durability>")]
    durability: &'static str,
    /// What it does by itself when its state is damaged. `null`: it goes into `error`.
    #[schemars(with = "Option<Word<ResumeFallback>>")]
    resume_fallback: Option<&'static str>,
    /// What its agent may reach over HTTP, where the operator allows it too.
    egress: Vec<String>,
    /// Somebody has stopped or killed it.
    abort_requested: bool,
    force_kill_requested: bool,
}

/// What a session may spend.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct LimitsBody {
    /// How long it may go without a message.
    max_idle_time_ms: Option<u64>,
    /// How long before that an event warns of it.
    grace_period_ms: Option<u64>,
    /// How long it may live.
    max_lifetime_ms: Option<u64>,
    /// Money over its whole life.
    max_budget_usd: Option<f64>,
    /// Turns over its whole life.
    max_turns: Option<u64>,
    /// Fuel over its whole life.
    max_fuel: Option<u64>,
    /// Fuel of one turn.
    max_fuel_per_turn: u64,
    /// Memory of its agent.
    max_memory_bytes: u64,
    /// How long one turn may take.
    turn_timeout_ms: u64,
    /// How long after a turn its instance stays in memory. `null`: while there is room.
    sleep_after_ms: Option<u64>,
    /// How long its state is kept while nobody uses it. `null`: as long as the session.
    keep_state_ms: Option<u64>,
}

impl From<&Limits> for LimitsBody {
    fn from(limits: &Limits) -> LimitsBody {
        LimitsBody {
            max_idle_time_ms: limits.max_idle.map(millis),
            grace_period_ms: limits.idle_grace.map(millis),
            max_lifetime_ms: limits.max_lifetime.map(millis),
            max_budget_usd: limits.max_budget.map(NanoUsd::as_usd),
            max_turns: limits.max_turns,
            max_fuel: limits.max_fuel,
            max_fuel_per_turn: limits.max_fuel_per_turn,
            max_memory_bytes: limits.max_memory_bytes,
            turn_timeout_ms: millis(limits.turn_timeout),
            sleep_after_ms: limits.sleep_after.map(millis),
            keep_state_ms: limits.state_kept.map(millis),
        }
    }
}

impl SessionBody {
    /// The same without the documents that clients have given, which may be large: for events of streams, which
    /// known clients read in pieces, and for errors.
    pub(crate) fn without_documents(self) -> SessionBody {
        SessionBody { config: None, context: None, metadata: None, ..self }
    }

    /// As a JSON document.
    pub(crate) fn to_value(&self) -> Value {
        // Strings, numbers and maps with string keys: there is nothing that JSON cannot hold.
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl From<SessionInfo> for SessionBody {
    fn from(sight: SessionInfo) -> SessionBody {
        let status = sight.status();
        let SessionInfo {
            session,
            residency,
            provided: Provided { model, unavailable_tools },
            residence,
            running_turn,
            current_tool,
            mail_waiting,
            abort_requested,
            force_kill_requested,
        } = sight;
        let (idle_deadline, duration) = (idle_deadline(&session), duration_of(&session));
        let session = Arc::unwrap_or_clone(session);
        let Session { profile, usage, state, .. } = session;
        let ended = session.ended_at.map(|at| at.to_string());
        let (termination_reason, error_reason) = reasons(&state);
        SessionBody {
            id: session.id.to_string(),
            session_id: session.head.map(|head| head.to_string()).unwrap_or_default(),
            owner: session.owner.0,
            pattern: profile.pattern.as_str(),
            status: status.as_str(),
            residency: residency.as_str(),
            agent: AgentName::from(&profile.agent),
            model: model.map(ModelBody::from),
            conversation_id: profile.conversation_id,
            config: Some(profile.config),
            created_at: session.created_at.to_string(),
            started_at: session.started_at.map(|at: Timestamp| at.to_string()),
            last_activity_at: session.last_activity_at.to_string(),
            idle_deadline: idle_deadline.map(|at| at.to_string()),
            duration_ms: millis(duration),
            last_woken_at: residence.woken_at.map(|at| at.to_string()),
            last_slept_at: residence.slept_at.map(|at| at.to_string()),
            resident_ms: millis(residence.resident),
            storage_bytes: session.head.map_or(Some(0), |_| session.state_bytes),
            state_removed_at: session.state_removed_at.map(|at| at.to_string()),
            changed_at: session.changed_at.map(|at| at.to_string()),
            completed_at: ended.clone().filter(|_| status == Status::Completed),
            terminated_at: ended.filter(|_| status == Status::Terminated),
            termination_reason,
            error_reason,
            total_cost: usage.cost.as_usd(),
            total_tokens: usage.tokens(),
            total_input_tokens: usage.input_tokens,
            total_output_tokens: usage.output_tokens,
            total_cached_tokens: usage.cached_tokens,
            num_calls: usage.calls,
            account_id: session.account.map(|AccountId(id)| id.to_string()),
            total_fuel: usage.fuel,
            total_start_fuel: usage.start_fuel,
            num_starts: usage.starts,
            num_turns: usage.turns,
            unsaved_turns: session.unsaved_turns,
            consecutive_failures: session.consecutive_failures,
            last_error: session.last_failure.map(LastError::from),
            running_turn,
            mail_waiting,
            peers: profile
                .peers
                .all()
                .iter()
                .map(|(name, id)| (name.clone(), id.to_string()))
                .collect(),
            group: session.group.map(GroupBody::from),
            tools_used: session.tools_used,
            current_tool,
            unavailable_tools,
            limits: LimitsBody::from(&profile.limits),
            tags: profile.tags,
            description: profile.description,
            user_id: profile.user_id,
            thread_key: profile.thread_key,
            project_id: profile.project_id,
            context: Some(session.context),
            metadata: Some(profile.metadata),
            checkpoint: session.checkpoint,
            parent: session.parent.map(|parent| parent.to_string()),
            durability: profile.durability.as_str(),
            resume_fallback: profile.resume_fallback.map(ResumeFallback::as_str),
            egress: profile.egress.rules().iter().map(ToString::to_string).collect(),
            abort_requested,
            force_kill_requested,
        }
    }
}

/// A group of sessions: a coordinator, and the members that its `config.customAgents` names.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Group")]
struct GroupBody {
    /// The session that is the parent of the others.
    #[schemars(with = "Id")]
    coordinator: String,
    /// What this session is called in the group. `null`: it is the coordinator.
    name: Option<String>,
    /// What the members are called, those included that nobody has written to yet, so that they are no sessions.
    members: Vec<String>,
}

impl From<Group> for GroupBody {
    fn from(group: Group) -> GroupBody {
        let Group { coordinator, name, members, .. } = group;
        let members = members.into_keys().collect();
        GroupBody { coordinator: coordinator.to_string(), name, members }
    }
}

/// The last turn of a session that failed.
#[derive(Debug, Serialize, JsonSchema)]
struct LastError {
    turn: u64,
    #[schemars(with = "Word<FailureCode>")]
    code: &'static str,
    #[schemars(with = "Time")]
    at: String,
}

impl From<LastFailure> for LastError {
    fn from(failure: LastFailure) -> LastError {
        let LastFailure { turn, code, at } = failure;
        LastError { turn, code: code.as_str(), at: at.to_string() }
    }
}

/// From the creation of a session to its end, or to its last activity.
fn duration_of(session: &Session) -> Duration {
    session.ended_at.unwrap_or(session.last_activity_at).since(session.created_at)
}

/// Why it ends or has ended, and why it is in error.
fn reasons(state: &State) -> (Option<String>, Option<String>) {
    let reason = state.reason().map(|reason| reason.0.clone());
    match state {
        State::Error(_) => (None, reason),
        State::Initializing
        | State::Active
        | State::Idle
        | State::Paused(_)
        | State::Stopping(_)
        | State::Completed
        | State::Terminated(_) => (reason, None),
    }
}

/// A new session, with what became of the state that it should have started from.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Created {
    #[serde(flatten)]
    pub(crate) session: SessionBody,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Resume")]
    pub(crate) resume: Option<Resume>,
    #[serde(skip_serializing_if = "Ignored::is_empty")]
    pub(crate) ignored: Ignored,
}

/// What became of `config.resumeSessionId`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Resume {
    outcome: ResumptionWord,
    /// The snapshot that was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Id")]
    from: Option<String>,
}

impl From<Resumption> for Resume {
    fn from(resumption: Resumption) -> Resume {
        let from = resumption.from().map(|from| from.to_string());
        Resume { outcome: resumption.into(), from }
    }
}

/// What became of a resumption.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub(crate) enum ResumptionWord {
    Resumed,
    NotFound,
    Stale,
    Changed,
}

impl From<Resumption> for ResumptionWord {
    fn from(resumption: Resumption) -> ResumptionWord {
        match resumption {
            Resumption::Resumed { .. } => ResumptionWord::Resumed,
            Resumption::NotFound => ResumptionWord::NotFound,
            Resumption::Stale { .. } => ResumptionWord::Stale,
            Resumption::Changed { .. } => ResumptionWord::Changed,
        }
    }
}

/// The answer to an order.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Ordered {
    pub(crate) success: bool,
    pub(crate) message: &'static str,
    pub(crate) session: SessionBody,
}

impl Ordered {
    /// The order was carried out, and this is the session after it.
    pub(crate) fn answer(
        message: &'static str,
        session: SessionInfo,
        ignored: Ignored,
    ) -> Tagged<Json<Answered<Ordered>>> {
        Tagged::of(session, ignored, |session| Ordered { success: true, message, session })
    }
}

/// The answer to `extend`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Extended {
    success: bool,
    message: &'static str,
    /// When the idle limit is reached now.
    #[schemars(with = "Option<Time>")]
    idle_deadline: Option<String>,
    session: SessionBody,
}

impl From<SessionBody> for Extended {
    fn from(session: SessionBody) -> Extended {
        let message = match (&session.idle_deadline, session.limits.max_idle_time_ms) {
            (Some(_), _) => "The idle limit of the session is extended",
            (None, Some(_)) => "The idle limit is extended; it does not count in this status",
            (None, None) => "The session has no idle limit, so there is nothing to extend",
        };
        let idle_deadline = session.idle_deadline.clone();
        Extended { success: true, message, idle_deadline, session }
    }
}

/// The answer to `terminate`.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Terminated {
    pub(crate) session: SessionBody,
    pub(crate) reason: String,
}

/// The answer to a removal.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Deleted {
    pub(crate) success: bool,
    pub(crate) id: String,
}

/// What a client polls while it waits.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "SessionStatus")]
pub(crate) struct StatusBody {
    success: bool,
    #[schemars(with = "Word<Status>")]
    status: &'static str,
    /// Why it is in error, ends or has ended.
    reason: Option<String>,
    #[schemars(with = "Word<Residency>")]
    residency: &'static str,
    /// The tool of the host that the running turn waits for.
    current_tool: Option<String>,
    running_turn: Option<u64>,
    total_cost: f64,
    total_tokens: u64,
    num_turns: u64,
    #[schemars(with = "Time")]
    last_activity_at: String,
    abort_requested: bool,
    force_kill_requested: bool,
}

impl From<SessionInfo> for StatusBody {
    fn from(sight: SessionInfo) -> StatusBody {
        let session = SessionBody::from(sight);
        StatusBody {
            success: true,
            status: session.status,
            reason: session.termination_reason.or(session.error_reason),
            residency: session.residency,
            current_tool: session.current_tool,
            running_turn: session.running_turn,
            total_cost: session.total_cost,
            total_tokens: session.total_tokens,
            num_turns: session.num_turns,
            last_activity_at: session.last_activity_at,
            abort_requested: session.abort_requested,
            force_kill_requested: session.force_kill_requested,
        }
    }
}

pub(crate) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
