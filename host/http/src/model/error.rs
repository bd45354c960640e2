//! The body of an error.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use super::session::SessionBody;
use super::value::{Id, Time, Word};
use crate::codes::Code;
use dormouse::{Pattern, Role, Status};

/// What went wrong: a sentence that says what to do, a stable word, and what belongs to it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Error")]
pub(crate) struct ErrorBody {
    pub(crate) error: String,
    #[schemars(with = "Word<Code>")]
    pub(crate) code: &'static str,
    /// What the log of the host knows the request by, and the header `x-request-id`.
    pub(crate) request_id: String,
    #[serde(flatten)]
    #[schemars(with = "Option<ErrorDetails>")]
    pub(crate) more: Map<String, Value>,
}

/// What errors tell besides. Which of it depends on the code.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it describes what the map of an error may hold")]
struct ErrorDetails {
    /// The field, the parameter or the header that is wrong.
    field: String,
    /// The name that was probably meant.
    meant: String,
    /// All filters that there are.
    known: Vec<String>,
    #[schemars(with = "Vec<Word<Pattern>>")]
    valid_patterns: Vec<String>,
    valid_statuses: Vec<String>,
    /// Where a body is no JSON.
    line: u64,
    column: u64,
    /// The session, the snapshot, the template or the key that was named, as far as it is told.
    id: String,
    #[schemars(with = "Word<Status>")]
    status: String,
    reason: Option<String>,
    /// The status of the simulation that was named.
    simulation_status: String,
    /// What the session can be asked for in its status.
    allowed: Vec<String>,
    /// The turn that runs, or that has failed.
    turn: Option<u64>,
    /// What the failed turn has cost, in US dollars.
    cost: f64,
    /// The session after the failed turn.
    session: SessionBody,
    /// How many messages or uploads wait.
    waiting: u64,
    unsaved_turns: u64,
    /// When the state of the session was removed.
    #[schemars(with = "Time")]
    state_removed_at: String,
    /// The session whose group the session is a member of.
    #[schemars(with = "Id")]
    coordinator: String,
    /// What the member is called.
    member: String,
    /// How far the host is behind with the deadlines of its sessions.
    timekeeper_lag_seconds: f64,
    #[schemars(with = "Id")]
    snapshot_id: String,
    #[schemars(with = "Option<Id>")]
    newest_good: Option<String>,
    agent: String,
    agent_digest: String,
    digest: String,
    name: String,
    /// How many sessions have the agent.
    sessions: u64,
    missing_imports: Vec<String>,
    #[schemars(with = "Word<Pattern>")]
    pattern: String,
    /// What there may be at most.
    limit: u64,
    #[schemars(with = "Word<Role>")]
    role: String,
    #[schemars(with = "Word<Role>")]
    needed_role: String,
    /// The entity tag of the session or the file as it is.
    etag: Option<String>,
    /// The file that the error is about.
    path: String,
    /// How many bytes the file has.
    size: u64,
    /// What clients of other systems look for.
    detail: String,
    success: bool,
    #[schemars(with = "Time")]
    timestamp: String,
    status_code: u16,
    message: String,
}
