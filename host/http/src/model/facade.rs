//! What façades are asked and answer: the names are those of other systems.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::query::bounded_or;
use super::request::needed;
use super::value::{Count, Id, Time};
use crate::error::ApiError;
use dormouse::{
    DocumentChange, JsonObject, NewSession, Pattern, Residency, SessionId, SessionInfo,
    SessionPatch, Status, StatusChange, Timestamp,
};
use dormouse_domain::deadline::idle_deadline;

/// `POST /api/sessions/resume-preview`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContainerThread {
    /// The `threadKey` of a session.
    #[schemars(required)]
    chat_thread_id: Option<String>,
    /// The `userId` of that session.
    #[schemars(required)]
    client_id: Option<String>,
}

impl ContainerThread {
    /// The thread and the client of it.
    ///
    /// # Errors
    /// One of them is not there.
    pub(crate) fn thread_and_client(self) -> Result<(String, String), ApiError> {
        let given = |name, text: Option<String>| {
            needed(name, text.filter(|text| !text.is_empty()), "is needed")
        };
        Ok((given("chatThreadId", self.chat_thread_id)?, given("clientId", self.client_id)?))
    }
}

/// The session of a thread that was woken.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preview {
    #[schemars(with = "Id")]
    session_id: String,
    #[schemars(with = "Id")]
    container_id: String,
    container_ip: &'static str,
    status: PreviewStatus,
}

/// Whether the state of a session is there, or on its way.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum PreviewStatus {
    Running,
    Starting,
}

impl Preview {
    /// The state of this session is there, or on its way.
    pub(crate) fn new(id: SessionId, residency: Residency) -> Preview {
        let id = id.to_string();
        let status = match residency {
            Residency::Resident => PreviewStatus::Running,
            Residency::Waking | Residency::Asleep => PreviewStatus::Starting,
        };
        // A session has no address of its own: the server answers for it.
        Preview { session_id: id.clone(), container_id: id, container_ip: "127.0.0.1", status }
    }
}

/// An open session as the container of a thread. Times are in minutes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[schemars(with = "Id")]
    container_id: String,
    thread_id: String,
    repository_name: String,
    is_active: bool,
    #[schemars(with = "Time")]
    last_activity_at: String,
    #[schemars(with = "Time")]
    created_at: String,
    idle_minutes: u64,
    /// Until the idle limit is reached, rounded up; `null` where there is none.
    time_remaining: Option<u64>,
}

impl Container {
    fn new(info: &SessionInfo, now: Timestamp) -> Container {
        let session = &info.session;
        let remaining = |end: Timestamp| end.since(now).as_secs().div_ceil(60);
        Container {
            container_id: session.id.to_string(),
            thread_id: session.profile.thread_key.clone().unwrap_or_default(),
            repository_name: session.profile.project_id.clone().unwrap_or_default(),
            is_active: matches!(info.status(), Status::Initializing | Status::Active),
            last_activity_at: session.last_activity_at.to_string(),
            created_at: session.created_at.to_string(),
            idle_minutes: idle_minutes(info, now),
            time_remaining: idle_deadline(session).map(remaining),
        }
    }
}

fn idle_minutes(info: &SessionInfo, now: Timestamp) -> u64 {
    now.since(info.session.last_activity_at).as_secs() / 60
}

#[derive(Debug, Serialize, JsonSchema)]
struct Containers {
    sessions: Vec<Container>,
    total: usize,
}

/// `GET /api/v1/containers/sessions`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ContainerList {
    success: bool,
    data: Containers,
    /// The same: clients look for them in either place.
    sessions: Vec<Container>,
    #[schemars(with = "Time")]
    timestamp: String,
}

impl ContainerList {
    /// These sessions, of so many.
    pub(crate) fn new(sessions: &[SessionInfo], total: usize, now: Timestamp) -> ContainerList {
        let sessions: Vec<_> = sessions.iter().map(|info| Container::new(info, now)).collect();
        let data = Containers { sessions: sessions.clone(), total };
        ContainerList { success: true, data, sessions, timestamp: now.to_string() }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ContainerNumbers {
    active_containers: usize,
    total_sessions: usize,
    /// When the oldest was created.
    #[schemars(with = "Option<Time>")]
    oldest_session: Option<String>,
    /// In minutes.
    average_idle_time: u64,
}

/// `GET /api/v1/containers/stats`
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ContainerStatistics {
    success: bool,
    data: ContainerNumbers,
    #[schemars(with = "Time")]
    timestamp: String,
}

impl ContainerStatistics {
    /// These sessions, the oldest first, of so many.
    pub(crate) fn new(
        sessions: &[SessionInfo],
        total: usize,
        active: usize,
        now: Timestamp,
    ) -> ContainerStatistics {
        let idle: u64 = sessions.iter().map(|info| idle_minutes(info, now)).sum();
        let data = ContainerNumbers {
            active_containers: active,
            total_sessions: total,
            oldest_session: sessions.first().map(|info| info.session.created_at.to_string()),
            average_idle_time: idle.checked_div(sessions.len() as u64).unwrap_or(0),
        };
        ContainerStatistics { success: true, data, timestamp: now.to_string() }
    }
}

/// What was done to a container.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ContainerDone {
    success: bool,
    message: String,
    #[schemars(with = "Time")]
    timestamp: String,
}

impl ContainerDone {
    /// This was done.
    pub(crate) fn new(message: String, now: Timestamp) -> ContainerDone {
        ContainerDone { success: true, message, timestamp: now.to_string() }
    }
}

/// The names in the metadata of a session of what the host does not know.
const AGENT_ID: &str = "agent_id";
const SESSION_TYPE: &str = "session_type";
const RUNTIME_BACKEND: &str = "runtime_backend";
const RUNTIME_METADATA: &str = "runtime_metadata";
const DEFAULT_TYPE: &str = "conversation";

/// The most characters of an `agent_id`: a tag is made of it.
const MAX_AGENT_ID: usize = 150;

/// The tag of the sessions with this `agent_id`.
fn tag(agent_id: &str) -> String {
    format!("{AGENT_ID}:{agent_id}")
}

/// `POST /sessions/`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct NewFacadeSession {
    #[schemars(required)]
    agent_id: Option<String>,
    session_type: Option<String>,
    context: Option<JsonObject>,
    runtime_backend: Option<String>,
    runtime_metadata: Option<JsonObject>,
}

impl NewFacadeSession {
    /// The id of the agent.
    ///
    /// # Errors
    /// There is none, or it is too long.
    pub(crate) fn agent_id(&self) -> Result<&str, ApiError> {
        let id = self.agent_id.as_deref().unwrap_or_default();
        if !(1..=MAX_AGENT_ID).contains(&id.chars().count()) {
            let problem = format!("agent_id is needed: 1 to {MAX_AGENT_ID} characters");
            return Err(unprocessable(AGENT_ID, problem));
        }
        Ok(id)
    }
}

impl TryFrom<NewFacadeSession> for NewSession {
    type Error = ApiError;

    /// # Errors
    /// It names no agent.
    fn try_from(body: NewFacadeSession) -> Result<NewSession, ApiError> {
        let agent_id = body.agent_id()?.to_owned();
        let kept = [
            (AGENT_ID, json!(agent_id)),
            (SESSION_TYPE, json!(body.session_type.as_deref().unwrap_or(DEFAULT_TYPE))),
            (RUNTIME_BACKEND, json!(body.runtime_backend)),
            (RUNTIME_METADATA, Value::Object(body.runtime_metadata.unwrap_or_default())),
        ];
        Ok(NewSession {
            tags: vec![tag(&agent_id)],
            context: body.context.unwrap_or_default(),
            metadata: kept.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            ..NewSession::default().pattern(Pattern::Hybrid)
        })
    }
}

/// `GET /sessions/`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct FacadeQuery {
    agent_id: Option<String>,
    limit: Option<Count>,
}

impl FacadeQuery {
    /// How many sessions are listed at most.
    pub(crate) fn limit(&self) -> usize {
        bounded_or(self.limit, 100)
    }

    /// The tags of the sessions that are meant. None: all.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.agent_id.as_deref().map(tag).into_iter().collect()
    }
}

/// `PATCH /sessions/{id}`
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(crate) struct FacadeSessionPatch {
    /// `active`, `paused`, `completed` or `crashed`.
    #[schemars(with = "Option<String>")]
    status: Option<Value>,
    context: Option<JsonObject>,
    checkpoint: Option<JsonObject>,
    session_type: Option<String>,
    runtime_backend: Option<String>,
    runtime_metadata: Option<JsonObject>,
}

impl FacadeSessionPatch {
    /// The same in the terms of the host.
    ///
    /// # Errors
    /// There is no such status.
    pub(crate) fn patch(self) -> Result<SessionPatch, ApiError> {
        let replaced = |document: Option<JsonObject>| {
            document.map_or(DocumentChange::Keep, DocumentChange::Replace)
        };
        let kept = [
            (SESSION_TYPE, self.session_type.map(Value::from)),
            (RUNTIME_BACKEND, self.runtime_backend.map(Value::from)),
            (RUNTIME_METADATA, self.runtime_metadata.map(Value::from)),
        ];
        let named = kept.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Ok(SessionPatch {
            status: self.status.as_ref().map(status_change).transpose()?,
            context: replaced(self.context),
            checkpoint: replaced(self.checkpoint),
            metadata: DocumentChange::Members(named.collect()),
            ..SessionPatch::default()
        })
    }
}

/// Whatever it is that is no status of the façade, its clients are told those that are.
fn status_change(status: &Value) -> Result<StatusChange, ApiError> {
    Ok(match status.as_str().unwrap_or_default() {
        "active" => StatusChange::Active,
        "paused" => StatusChange::Paused,
        "completed" => StatusChange::Completed,
        "crashed" => StatusChange::Crashed,
        _ => {
            let problem = "status must be one of: active, paused, completed, crashed";
            return Err(unprocessable("status", problem.to_owned()));
        }
    })
}

fn unprocessable(field: &'static str, problem: String) -> ApiError {
    let refused = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", problem);
    refused.with("field", field)
}

/// A session as the clients of the service see it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct FacadeSession {
    #[schemars(with = "Id")]
    id: String,
    agent_id: String,
    session_type: String,
    status: FacadeStatus,
    context: JsonObject,
    checkpoint: Option<JsonObject>,
    runtime_backend: Option<String>,
    runtime_metadata: JsonObject,
    #[schemars(with = "Time")]
    created_at: String,
    #[schemars(with = "Time")]
    updated_at: String,
}

/// The statuses that the clients of the service know.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum FacadeStatus {
    Active,
    Paused,
    Completed,
    Crashed,
}

impl From<SessionInfo> for FacadeSession {
    fn from(info: SessionInfo) -> FacadeSession {
        let status = match info.status() {
            Status::Initializing | Status::Active | Status::Idle | Status::Stopping => {
                FacadeStatus::Active
            }
            Status::Paused => FacadeStatus::Paused,
            Status::Completed | Status::Terminated => FacadeStatus::Completed,
            Status::Error => FacadeStatus::Crashed,
        };
        let session = std::sync::Arc::unwrap_or_clone(info.session);
        let updated = [session.changed_at, session.ended_at].into_iter().flatten().max();
        let mut metadata = session.profile.metadata;
        let mut text = |name: &str| match metadata.remove(name) {
            Some(Value::String(text)) => Some(text),
            Some(_) | None => None,
        };
        FacadeSession {
            id: session.id.to_string(),
            agent_id: text(AGENT_ID).unwrap_or_else(|| session.profile.agent.to_string()),
            session_type: text(SESSION_TYPE).unwrap_or_else(|| DEFAULT_TYPE.to_owned()),
            status,
            context: session.context,
            checkpoint: session.checkpoint,
            runtime_backend: text(RUNTIME_BACKEND),
            runtime_metadata: match metadata.remove(RUNTIME_METADATA) {
                Some(Value::Object(object)) => object,
                Some(_) | None => JsonObject::new(),
            },
            created_at: session.created_at.to_string(),
            updated_at: updated.max(Some(session.last_activity_at)).unwrap_or_default().to_string(),
        }
    }
}
