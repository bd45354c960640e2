//! What a client changes of a session that is there. Pure: one function says what a patch makes of a record.
//!
//! Documents are merged as RFC 7396 says. Each result has the bounds that a new session has, and a patch
//! that breaks one of them changes nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::creation::{
    DefaultLimits, InvalidField, MAX_DESCRIPTION, MAX_DOCUMENT, MAX_LABEL, check_budget,
    check_conversation, check_egress, check_group_peers, check_positive, check_tags, each_once,
    length, millis,
};
use crate::egress::EgressPolicy;
use crate::event::{Event, EventBody, SessionField, SessionUpdate};
use crate::id::SessionId;
use crate::json::MAX_DEPTH;
use crate::limits::{Limits, NanoUsd};
use crate::mail::Peers;
use crate::session::{JsonObject, Session, bytes_of};
use crate::state::{Cause, InvalidTransition, Move, Reason, Status};
use crate::time::Timestamp;
use crate::transition;

/// The most that the end of an idle limit is put off at a time.
pub const MAX_EXTENSION: Duration = Duration::from_secs(30 * 24 * 3600);

/// What becomes of a field that may be absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is absent from now on, or what it is by default.
    Clear,
    /// It is this.
    Set(T),
}

impl<T> Change<T> {
    fn of(self, field: &mut Option<T>) {
        match self {
            Change::Keep => {}
            Change::Clear => *field = None,
            Change::Set(value) => *field = Some(value),
        }
    }

    fn or_default(self, field: &mut T, default: T) {
        match self {
            Change::Keep => {}
            Change::Clear => *field = default,
            Change::Set(value) => *field = value,
        }
    }

    /// Whether the patch names the field.
    pub fn is_named(&self) -> bool {
        match self {
            Change::Keep => false,
            Change::Clear | Change::Set(_) => true,
        }
    }

    fn value(&self) -> Option<&T> {
        match self {
            Change::Keep | Change::Clear => None,
            Change::Set(value) => Some(value),
        }
    }
}

/// What becomes of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DocumentChange {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is empty, or absent where it can be.
    Clear,
    /// This is merged into it: RFC 7396.
    Merge(JsonObject),
    /// It is this.
    Replace(JsonObject),
    /// Each member that is named here is this; the others stay.
    Members(JsonObject),
}

/// The status that a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// Asleep now, until the next message.
    Idle,
    /// Taking messages, also after a pause or an error.
    Active,
    /// Taking no messages until it is active again.
    Paused,
    /// Over: it has done what it was for.
    Completed,
    /// Over, because the client says so.
    Terminated,
    /// In error, because the client says so.
    Crashed,
}

/// What a client changes of the limits of a session, or the operator of a host of those that sessions have by
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsPatch {
    /// [`Limits::max_turns`]
    pub max_turns: Change<u64>,
    /// [`Limits::max_budget`]
    pub max_budget: Change<NanoUsd>,
    /// [`Limits::max_fuel`]
    pub max_fuel: Change<u64>,
    /// [`Limits::max_fuel_per_turn`]
    pub max_fuel_per_turn: Change<u64>,
    /// [`Limits::turn_timeout`]
    pub turn_timeout: Change<Duration>,
    /// [`Limits::max_idle`]
    pub max_idle: Change<Duration>,
    /// [`Limits::idle_grace`]
    pub idle_grace: Change<Duration>,
    /// [`Limits::max_lifetime`]
    pub max_lifetime: Change<Duration>,
    /// [`Limits::sleep_after`]
    pub sleep_after: Change<Duration>,
    /// [`Limits::state_kept`]
    pub state_kept: Change<Duration>,
}

/// What a client changes of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPatch {
    /// The revision that the session must have. `None`: any.
    pub revision: Option<u64>,
    /// The status.
    pub status: Option<StatusChange>,
    /// All rules of what its agent may reach over HTTP.
    pub egress: Option<EgressPolicy>,
    /// All tags.
    pub tags: Option<Vec<String>>,
    /// What the session is for.
    pub description: Change<String>,
    /// The client's id of the conversation: a string or a number.
    pub conversation_id: Change<Value>,
    /// The project that it belongs to.
    pub project_id: Change<String>,
    /// The document for the agent to read.
    pub context: DocumentChange,
    /// What else is kept.
    pub metadata: DocumentChange,
    /// What is needed to go on after a crash of the client or the agent.
    pub checkpoint: DocumentChange,
    /// What it may spend.
    pub limits: LimitsPatch,
    /// All sessions that its agent may write to, by name.
    pub peers: Option<BTreeMap<String, SessionId>>,
}

/// Why a patch changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// A field would be out of its bounds.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// The session cannot have that status now.
    #[error(transparent)]
    InvalidTransition(#[from] InvalidTransition),
    /// The session has another revision than the patch was made for. Says which.
    #[error("the session was changed meanwhile: it is at revision {0} now")]
    OtherRevision(u64),
}

/// A session after a patch, and what is told of that.
#[derive(Clone, Debug)]
pub struct Patched {
    /// The record.
    pub session: Session,
    /// The events.
    pub events: Vec<Event>,
}

impl SessionPatch {
    /// Work out what this patch makes of a session, whatever its revision. `None`: nothing changes.
    ///
    /// # Errors
    /// [`PatchError`] says why the patch cannot be carried out. Then nothing of it is.
    pub fn apply(
        self,
        before: &Session,
        defaults: &DefaultLimits,
        now: Timestamp,
    ) -> Result<Option<Patched>, PatchError> {
        let mut after = before.clone();
        self.set(&mut after, defaults)?;
        let fields = changed(before, &after);
        if fields.is_empty() {
            return Ok(None);
        }
        after.changed_at = Some(now);
        // The event of a status alone is the one that any other way to it has.
        let moved = transition::ending(before, &mut after, now);
        let is_told = fields == [SessionField::Status] && moved.is_some();
        let mut events: Vec<Event> = moved
            .filter(|event| is_told || !matches!(event.body, EventBody::SessionUpdated(_)))
            .into_iter()
            .collect();
        if !is_told {
            let status = after.state.status();
            let update = EventBody::SessionUpdated(SessionUpdate::Fields { fields, status });
            events.push(Event::session(&after, now, update));
        }
        Ok(Some(Patched { session: after, events }))
    }

    /// Compare the revision that the patch was made for with that of the session. Once, because what
    /// has to be saved before the patch is carried out gives the session another.
    ///
    /// # Errors
    /// [`PatchError::OtherRevision`]
    pub fn check_revision(&mut self, session: &Session) -> Result<(), PatchError> {
        match self.revision.take() {
            Some(revision) if revision != session.revision => {
                Err(PatchError::OtherRevision(session.revision))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn set(self, session: &mut Session, defaults: &DefaultLimits) -> Result<(), PatchError> {
        if let Some(status) = self.status {
            move_to(session, status)?;
        }
        let profile = &mut session.profile;
        if let Some(egress) = self.egress {
            check_egress(&egress)?;
            profile.egress = egress;
        }
        if let Some(tags) = self.tags {
            check_tags(&tags)?;
            profile.tags = each_once(tags);
        }
        length("description", self.description.value().map(String::as_str), 0, MAX_DESCRIPTION)?;
        self.description.of(&mut profile.description);
        length("projectId", self.project_id.value().map(String::as_str), 1, MAX_LABEL)?;
        self.project_id.of(&mut profile.project_id);
        check_conversation(self.conversation_id.value())?;
        self.conversation_id.of(&mut profile.conversation_id);
        self.metadata.of("metadata", &mut profile.metadata)?;
        self.limits.of(&mut profile.limits, defaults)?;
        if let Some(peers) = self.peers {
            check_group_peers(session.group.as_ref(), &peers)?;
            profile.peers = Peers::new(peers)?;
        }
        self.context.of("context", &mut session.context)?;
        let is_absent = matches!(self.checkpoint, DocumentChange::Clear)
            || (session.checkpoint.is_none() && matches!(self.checkpoint, DocumentChange::Keep));
        let mut checkpoint = session.checkpoint.take().unwrap_or_default();
        self.checkpoint.of("checkpoint", &mut checkpoint)?;
        session.checkpoint = (!is_absent).then_some(checkpoint);
        Ok(())
    }
}

/// Move a session to the status that a client asks for. One that it has already is no move.
fn move_to(session: &mut Session, status: StatusChange) -> Result<(), InvalidTransition> {
    let is = session.state.status();
    let (reached, step) = match status {
        StatusChange::Idle => (is == Status::Idle, Move::Rest),
        StatusChange::Active => (matches!(is, Status::Active | Status::Initializing), Move::Resume),
        StatusChange::Paused => (is == Status::Paused, Move::Pause),
        StatusChange::Completed => (is == Status::Completed, Move::Complete),
        StatusChange::Terminated => {
            (is == Status::Terminated, Move::Terminate(Reason::new("user_requested")))
        }
        StatusChange::Crashed => (is == Status::Error, Move::Fail(Cause::Crashed.into())),
    };
    if reached {
        return Ok(());
    }
    session.state = session.state.after(step)?;
    if is == Status::Error && status == StatusChange::Active {
        session.forgive();
    }
    Ok(())
}

impl DocumentChange {
    fn of(self, field: &'static str, document: &mut JsonObject) -> Result<(), InvalidField> {
        match self {
            DocumentChange::Keep => return Ok(()),
            DocumentChange::Clear => document.clear(),
            DocumentChange::Replace(new) => *document = new,
            DocumentChange::Members(members) => document.extend(members),
            DocumentChange::Merge(patch) => {
                // What is taken away counts as well: the work of a merge is that of its patch.
                bounded(field, &patch)?;
                merge(document, patch);
            }
        }
        bounded(field, document)
    }
}

fn bounded(field: &'static str, document: &JsonObject) -> Result<(), InvalidField> {
    if bytes_of(document) > MAX_DOCUMENT {
        return Err(InvalidField::new(field, format!("must take at most {MAX_DOCUMENT} bytes")));
    }
    if document.values().any(|value| is_deeper(value, MAX_DEPTH - 1)) {
        let problem = format!("must have at most {MAX_DEPTH} levels of arrays and objects");
        return Err(InvalidField::new(field, problem));
    }
    Ok(())
}

/// Whether more than this many arrays and objects lie in each other.
fn is_deeper(value: &Value, levels: usize) -> bool {
    let within = |value: &Value| is_deeper(value, levels - 1);
    match value {
        Value::Array(values) => levels == 0 || values.iter().any(within),
        Value::Object(values) => levels == 0 || values.values().any(within),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Merge a patch into an object: RFC 7396, section 2. What the patch has as `null` goes.
fn merge(target: &mut JsonObject, patch: JsonObject) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(patch) => {
                let inner = target.entry(name).or_insert(Value::Null);
                if !inner.is_object() {
                    *inner = Value::Object(JsonObject::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, patch);
                }
            }
            value => {
                target.insert(name, value);
            }
        }
    }
}

impl LimitsPatch {
    /// Make the change.
    ///
    /// # Errors
    /// [`InvalidField`] where a limit would leave nothing.
    fn of(self, limits: &mut Limits, defaults: &DefaultLimits) -> Result<(), InvalidField> {
        let time = |change: &Change<Duration>| change.value().copied().map(millis);
        check_positive(&[
            ("maxTurns", self.max_turns.value().copied()),
            ("maxFuel", self.max_fuel.value().copied()),
            ("maxFuelPerTurn", self.max_fuel_per_turn.value().copied()),
            ("turnTimeoutMs", time(&self.turn_timeout)),
            ("maxIdleTimeMs", time(&self.max_idle)),
            ("maxLifetimeMs", time(&self.max_lifetime)),
            ("keepStateMs", time(&self.state_kept)),
        ])?;
        check_budget(self.max_budget.value().copied())?;
        self.put_on(limits, defaults);
        Ok(())
    }

    /// Make the change. It has been checked.
    pub(crate) fn put_on(self, limits: &mut Limits, defaults: &DefaultLimits) {
        self.max_turns.of(&mut limits.max_turns);
        self.max_budget.of(&mut limits.max_budget);
        self.max_fuel.of(&mut limits.max_fuel);
        self.max_fuel_per_turn
            .or_default(&mut limits.max_fuel_per_turn, defaults.max_fuel_per_turn);
        self.turn_timeout.or_default(&mut limits.turn_timeout, defaults.turn_timeout);
        self.max_idle.of(&mut limits.max_idle);
        self.idle_grace.of(&mut limits.idle_grace);
        self.max_lifetime.of(&mut limits.max_lifetime);
        self.sleep_after.of(&mut limits.sleep_after);
        self.state_kept.of(&mut limits.state_kept);
    }
}

/// Put off the end of the idle limit of a session until so long after now, or for the whole limit. An end
/// that is later already stays. `None`: nothing changes.
///
/// # Errors
/// [`InvalidField`] where that is too long.
pub fn extend(
    before: &Session,
    by: Option<Duration>,
    now: Timestamp,
) -> Result<Option<Patched>, InvalidField> {
    if by.is_some_and(|by| by > MAX_EXTENSION) {
        let days = MAX_EXTENSION.as_secs() / (24 * 3600);
        return Err(InvalidField::new("ms", format!("must be at most {days} days")));
    }
    let Some(limit) = before.profile.limits.max_idle else { return Ok(None) };
    let mut session = before.clone();
    let until = now.after(by.unwrap_or(limit));
    session.idle.extended_until = session.idle.extended_until.max(Some(until));
    if session.idle == before.idle {
        return Ok(None);
    }
    let (fields, status) = (vec![SessionField::IdleDeadline], session.state.status());
    let update = EventBody::SessionUpdated(SessionUpdate::Fields { fields, status });
    let events = vec![Event::session(&session, now, update)];
    Ok(Some(Patched { session, events }))
}

/// The fields in which two records of a session differ, of those that a patch can change.
fn changed(before: &Session, after: &Session) -> Vec<SessionField> {
    let (was, is) = (&before.profile, &after.profile);
    let differ = |field: SessionField| match field {
        SessionField::Status => before.state != after.state,
        SessionField::Tags => was.tags != is.tags,
        SessionField::Egress => was.egress != is.egress,
        SessionField::Description => was.description != is.description,
        SessionField::ConversationId => was.conversation_id != is.conversation_id,
        SessionField::ProjectId => was.project_id != is.project_id,
        SessionField::Context => before.context != after.context,
        SessionField::Metadata => was.metadata != is.metadata,
        SessionField::Checkpoint => before.checkpoint != after.checkpoint,
        SessionField::Limits => was.limits != is.limits,
        SessionField::IdleDeadline => before.idle != after.idle,
        SessionField::Peers => was.peers != is.peers,
    };
    SessionField::ALL.into_iter().filter(|field| differ(*field)).collect()
}

#[cfg(test)]
mod tests;
