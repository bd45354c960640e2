//! The body of `PATCH /api/sessions/{id}`: a merge patch (RFC 7396), so `null` takes away what it names.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::reading::{Body, FieldReader};
use super::value::{ConversationId, Count, Millis, Nullable, Rule, SessionName, Usd, Word, Words};
use crate::error::ApiError;
use dormouse::{DocumentChange, JsonObject, LimitsPatch, MAX_PEERS, SessionPatch, StatusChange};
use dormouse_domain::creation::{MAX_DESCRIPTION, MAX_LABEL};
use dormouse_domain::egress::EgressPolicy;

/// What a client changes of a session.
#[derive(Debug, Default, JsonSchema)]
pub(crate) struct PatchSession {
    #[schemars(flatten)]
    fields: PatchFields,
    #[schemars(flatten)]
    limits: PatchLimits,
    /// Known, so that a client is told that they cannot be changed.
    #[schemars(flatten)]
    fixed: FixedFields,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct PatchFields {
    /// `idle` puts it to sleep, the others are its lifecycle by hand.
    #[schemars(with = "Word<StatusWord>")]
    status: Nullable<String>,
    /// In the place of all rules of what its agent may reach over HTTP.
    egress: Nullable<Vec<Rule>>,
    /// In the place of all that it has.
    tags: Nullable<Vec<String>>,
    /// What it is for.
    #[schemars(length(max = MAX_DESCRIPTION))]
    description: Nullable<String>,
    /// A string or a number.
    #[schemars(with = "Option<ConversationId>")]
    conversation_id: Nullable<Value>,
    /// The project that it belongs to.
    #[schemars(length(min = 1, max = MAX_LABEL))]
    project_id: Nullable<String>,
    /// Merged into the document that is there, as are the next two.
    context: Nullable<JsonObject>,
    metadata: Nullable<JsonObject>,
    checkpoint: Nullable<JsonObject>,
    /// The sessions that its agent may write to, by name: in the place of all that it has.
    #[schemars(extend("maxProperties" = MAX_PEERS))]
    peers: Nullable<BTreeMap<String, SessionName>>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct PatchLimits {
    max_turns: Nullable<Count>,
    max_budget_usd: Nullable<Usd>,
    max_fuel: Nullable<Count>,
    max_fuel_per_turn: Nullable<Count>,
    turn_timeout_ms: Nullable<Millis>,
    max_idle_time_ms: Nullable<Millis>,
    grace_period_ms: Nullable<Millis>,
    max_lifetime_ms: Nullable<Millis>,
    sleep_after_ms: Nullable<Millis>,
    keep_state_ms: Nullable<Millis>,
}

/// What stays as it was when the session was created.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct FixedFields {
    /// Fixed when a session is created, and refused here.
    pattern: Option<Value>,
    /// Refused here: `POST …/upgrade` changes it.
    agent: Option<Value>,
    /// Fixed when a session is created, and refused here.
    config: Option<Value>,
    /// Fixed when a session is created, and refused here.
    user_id: Option<Value>,
    /// Fixed when a session is created, and refused here.
    thread_key: Option<Value>,
    /// Fixed when a session is created, and refused here.
    durability: Option<Value>,
    /// Fixed when a session is created, and refused here.
    resume_fallback: Option<Value>,
    /// Fixed when a session is created, and refused here.
    max_memory_bytes: Option<Value>,
}

/// The words for a status that a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StatusWord {
    Idle,
    Active,
    Paused,
    Completed,
    Terminated,
    Crashed,
    /// Another word for `crashed`, and the one that the session has afterwards.
    Error,
}

impl Words for StatusWord {
    const ALL: &'static [StatusWord] = &[
        StatusWord::Idle,
        StatusWord::Active,
        StatusWord::Paused,
        StatusWord::Completed,
        StatusWord::Terminated,
        StatusWord::Crashed,
        StatusWord::Error,
    ];

    fn word(self) -> &'static str {
        match self {
            StatusWord::Idle => "idle",
            StatusWord::Active => "active",
            StatusWord::Paused => "paused",
            StatusWord::Completed => "completed",
            StatusWord::Terminated => "terminated",
            StatusWord::Crashed => "crashed",
            StatusWord::Error => "error",
        }
    }
}

impl StatusWord {
    fn read(text: &str) -> Result<StatusChange, ApiError> {
        let word = StatusWord::ALL.iter().find(|word| word.word() == text);
        let words: Vec<&str> = StatusWord::ALL.iter().map(|word| word.word()).collect();
        let word = word.ok_or_else(|| {
            let error =
                format!("a session can be given one of these statuses: {}", words.join(", "));
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_status", error)
                .with("validStatuses", words)
        })?;
        Ok(match word {
            StatusWord::Idle => StatusChange::Idle,
            StatusWord::Active => StatusChange::Active,
            StatusWord::Paused => StatusChange::Paused,
            StatusWord::Completed => StatusChange::Completed,
            StatusWord::Terminated => StatusChange::Terminated,
            StatusWord::Crashed | StatusWord::Error => StatusChange::Crashed,
        })
    }
}

impl Body for PatchSession {
    fn read(reader: &mut FieldReader<'_>) -> Result<PatchSession, ApiError> {
        let (fields, limits) = (reader.take_with_nulls()?, reader.take_with_nulls()?);
        Ok(PatchSession { fields, limits, fixed: reader.take()? })
    }
}

impl FixedFields {
    /// That none of them is given.
    fn refuse(self) -> Result<(), ApiError> {
        let FixedFields { pattern, agent, config, user_id, .. } = &self;
        let FixedFields { thread_key, durability, resume_fallback, max_memory_bytes, .. } = &self;
        let given = [
            ("pattern", pattern),
            ("agent", agent),
            ("config", config),
            ("userId", user_id),
            ("threadKey", thread_key),
            ("durability", durability),
            ("resumeFallback", resume_fallback),
            ("maxMemoryBytes", max_memory_bytes),
        ];
        match given.iter().find(|(_, value)| value.is_some()) {
            Some(("agent", _)) => {
                Err(ApiError::invalid_field("agent", "is changed by POST …/upgrade"))
            }
            Some((name, _)) => {
                Err(ApiError::invalid_field(*name, "is fixed when a session is created"))
            }
            None => Ok(()),
        }
    }
}

impl TryFrom<PatchSession> for SessionPatch {
    type Error = ApiError;

    /// # Errors
    /// The status is none that a client can ask for, or a field is fixed.
    fn try_from(body: PatchSession) -> Result<SessionPatch, ApiError> {
        let PatchSession { fields, limits, fixed } = body;
        fixed.refuse()?;
        let status = match fields.status {
            Nullable::Absent => None,
            Nullable::Null => return Err(ApiError::invalid_field("status", "cannot be null")),
            Nullable::Value(text) => Some(StatusWord::read(&text)?),
        };
        Ok(SessionPatch {
            revision: None,
            status,
            egress: match fields.egress {
                Nullable::Absent => None,
                Nullable::Null => Some(EgressPolicy::default()),
                Nullable::Value(rules) => Some(Rule::policy(rules)?),
            },
            tags: match fields.tags {
                Nullable::Absent => None,
                Nullable::Null => Some(Vec::new()),
                Nullable::Value(tags) => Some(tags),
            },
            description: fields.description.change(|text| text),
            conversation_id: fields.conversation_id.change(|id| id),
            project_id: fields.project_id.change(|id| id),
            context: merged(fields.context),
            metadata: merged(fields.metadata),
            checkpoint: merged(fields.checkpoint),
            limits: limits.into(),
            peers: match fields.peers {
                Nullable::Absent => None,
                Nullable::Null => Some(BTreeMap::new()),
                Nullable::Value(peers) => {
                    Some(peers.into_iter().map(|(name, SessionName(id))| (name, id)).collect())
                }
            },
        })
    }
}

fn merged(document: Nullable<JsonObject>) -> DocumentChange {
    match document {
        Nullable::Absent => DocumentChange::Keep,
        Nullable::Null => DocumentChange::Clear,
        Nullable::Value(patch) => DocumentChange::Merge(patch),
    }
}

impl From<PatchLimits> for LimitsPatch {
    fn from(limits: PatchLimits) -> LimitsPatch {
        let count = |field: Nullable<Count>| field.change(|Count(count)| count);
        let time = |field: Nullable<Millis>| field.change(|Millis(time)| time);
        LimitsPatch {
            max_turns: count(limits.max_turns),
            max_budget: limits.max_budget_usd.change(|Usd(amount)| amount),
            max_fuel: count(limits.max_fuel),
            max_fuel_per_turn: count(limits.max_fuel_per_turn),
            turn_timeout: time(limits.turn_timeout_ms),
            max_idle: time(limits.max_idle_time_ms),
            idle_grace: time(limits.grace_period_ms),
            max_lifetime: time(limits.max_lifetime_ms),
            sleep_after: time(limits.sleep_after_ms),
            state_kept: time(limits.keep_state_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::reading::read;
    use dormouse::Change;
    use serde_json::json;

    fn patch(value: Value) -> Result<SessionPatch, ApiError> {
        let Value::Object(object) = value else { panic!("tests write objects") };
        let (body, _) = read::<PatchSession>(object)?;
        body.try_into()
    }

    #[test]
    fn null_takes_away_and_what_is_absent_stays() {
        let given =
            patch(json!({ "description": null, "maxTurns": null, "context": { "a": null } }));
        let given = given.unwrap();
        assert_eq!((given.description, given.limits.max_turns), (Change::Clear, Change::Clear));
        assert!(matches!(given.context, DocumentChange::Merge(patch) if patch["a"].is_null()));
        assert_eq!((given.project_id, given.metadata), (Change::Keep, DocumentChange::Keep));
        let cleared = patch(json!({ "checkpoint": null, "tags": null })).unwrap();
        assert_eq!(cleared.checkpoint, DocumentChange::Clear);
        assert_eq!(cleared.tags, Some(Vec::new()));
    }

    #[test]
    fn a_status_that_nobody_can_ask_for_is_answered_with_the_others() {
        for status in ["initializing", "stopping", "asleep"] {
            let error = patch(json!({ "status": status })).unwrap_err();
            assert_eq!(error.code(), "invalid_status");
            assert_eq!(error.body("r").more["validStatuses"][0], "idle");
        }
        let crashed = |word| patch(json!({ "status": word })).unwrap().status;
        assert_eq!(crashed("error"), crashed("crashed"));
    }

    #[test]
    fn what_is_fixed_is_refused_by_name_and_a_misspelt_name_too() {
        for (field, problem) in [
            ("userId", "userId is fixed when a session is created"),
            ("agent", "agent is changed by POST …/upgrade"),
        ] {
            let error = patch(json!({ field: "x" })).unwrap_err();
            assert_eq!((error.code(), error.body("r").error.as_str()), ("invalid_field", problem));
        }
        assert_eq!(patch(json!({ "maxTurnz": 3 })).unwrap_err().code(), "unknown_field");
        assert!(patch(json!({ "other": 3 })).is_ok());
    }
}
