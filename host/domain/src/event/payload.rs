//! The particulars of an event as the JSON object that the wire and the disk have: the one place
//! where it is made and read.
//!
//! What is read may have been written by any release since that of 21 November 2026. Names that are
//! not known are passed over; a particular that a kind has gained since is an `Option`.

use std::str::FromStr;

use serde_json::Value;

use super::{
    EventBody, EventKind, ResumeCause, ResumeOutcome, SessionField, SessionUpdate, SleepCause,
    UpgradeOutcome,
};
use crate::access::Role;
use crate::agent::Visibility;
use crate::creation::Resumption;
use crate::id::Principal;
use crate::limits::NanoUsd;
use crate::schedule::StopCause;
use crate::session::{JsonObject, ResumeFallback};
use crate::snapshot::{DamagedSnapshot, FileChanges};
use crate::state::{Cause, Reason, Status};
use crate::turn::FailureCode;

/// The payload of an event is not one of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{name}' of an event '{}' is missing or of no use", .kind.as_str())]
pub struct InvalidPayload {
    kind: EventKind,
    name: &'static str,
}

impl EventBody {
    /// The particulars as a JSON object. Empty where the kind has none.
    #[must_use]
    pub fn payload(&self) -> JsonObject {
        let new = Payload::default();
        let payload = match self {
            EventBody::SessionStarted
            | EventBody::SessionWoken
            | EventBody::SessionDeleted
            | EventBody::ScheduleDeleted => new,
            EventBody::SessionCreated { pattern, agent, parent, fork_of } => new
                .put("pattern", pattern.as_str())
                .put("agent", agent.as_str())
                .put_some("parent", parent.map(|id| id.to_string()))
                .put_some("forkOf", fork_of.map(|id| id.to_string())),
            EventBody::SessionUpdated(SessionUpdate::Status { status, reason }) => new
                .put("updates", vec!["status"])
                .put("status", status.as_str())
                .put_some("reason", reason.as_ref().map(|reason| reason.0.as_str())),
            EventBody::SessionUpdated(SessionUpdate::Rewound { to }) => {
                new.put("updates", vec!["sessionId"]).put("rewoundTo", to.to_string())
            }
            EventBody::SessionUpdated(SessionUpdate::Fields { fields, status }) => new
                .put("updates", fields.iter().map(|field| field.as_str()).collect::<Vec<_>>())
                .put("status", status.as_str()),
            EventBody::TurnStarted { turn } => new.put("turn", *turn),
            EventBody::TurnCompleted { turn, fuel, cost } => {
                new.put("turn", *turn).put("fuel", *fuel).put("cost", cost.as_usd())
            }
            EventBody::TurnFailed { turn, code, fuel, cost } => new
                .put("turn", *turn)
                .put("code", code.as_str())
                .put("fuel", *fuel)
                .put("cost", cost.as_usd()),
            EventBody::SessionSlept { cause, idle_minutes } => {
                new.put("cause", cause.as_str()).put_some("idleMinutes", *idle_minutes)
            }
            EventBody::SessionPaused => new.put("status", Status::Paused.as_str()),
            EventBody::SessionResumed(ResumeCause::Asked { status, from }) => {
                new.put("status", status.as_str()).put_some("from", from.map(|id| id.to_string()))
            }
            EventBody::SessionResumed(ResumeCause::Damage { fallback, damage }) => new
                .put("reason", Cause::SnapshotCorrupt.as_str())
                .put("fallback", fallback.as_str())
                .put("damage", damage_object(damage)),
            EventBody::SessionCompleted => new.put("status", Status::Completed.as_str()),
            EventBody::SessionTerminated { reason } => {
                new.put("status", Status::Terminated.as_str()).put("reason", reason.0.as_str())
            }
            EventBody::SessionError { reason, damage } => new
                .put("status", Status::Error.as_str())
                .put("reason", reason.0.as_str())
                .put_some("damage", damage.as_ref().map(damage_object)),
            EventBody::SessionForked { count, from } => {
                new.put("count", *count).put("from", from.map(|id| id.to_string()))
            }
            EventBody::SessionUpgraded { outcome, from, to } => new
                .put("outcome", outcome.as_str())
                .put_some("reason", outcome.reason().map(FailureCode::as_str))
                .put("from", from.to_string())
                .put("to", to.to_string()),
            EventBody::ResumeAttempted { by, outcome } => new
                .put("by", by.0.as_str())
                .put("outcome", outcome.as_str())
                .put_some("from", outcome.from().map(|id| id.to_string())),
            EventBody::AgentUploaded { digest } | EventBody::AgentDeleted { digest } => {
                new.put("digest", digest.to_string())
            }
            EventBody::AgentUpdated { digest, visibility } => {
                new.put("digest", digest.to_string()).put("visibility", visibility.as_str())
            }
            EventBody::KeyCreated { principal, role }
            | EventBody::KeyRevoked { principal, role } => {
                new.put("principal", principal.0.as_str()).put("role", role.as_str())
            }
            EventBody::IdleWarning { minutes_remaining } => {
                new.put("minutesRemaining", *minutes_remaining)
            }
            EventBody::BudgetWarning { cost, budget } => {
                new.put("cost", cost.as_usd()).put("maxBudgetUsd", budget.as_usd())
            }
            EventBody::StateRemoved { head } => new.put("snapshotId", head.to_string()),
            EventBody::WorkspaceChanged {
                turn,
                changes: FileChanges { added, changed, removed },
            } => new
                .put("turn", *turn)
                .put("added", *added)
                .put("changed", *changed)
                .put("removed", *removed),
            EventBody::MailDropped { count } => new.put("count", *count),
            EventBody::ScheduleCreated { name } => new.put("name", name.as_str()),
            EventBody::ScheduleRun { run, session } => {
                new.put("run", *run).put("session", session.to_string())
            }
            EventBody::ScheduleStopped { cause } => new.put("cause", cause.as_str()),
        };
        payload.0
    }

    /// What an event of this kind and with this payload says.
    ///
    /// # Errors
    /// [`InvalidPayload`] where a particular is missing that events of this kind have.
    pub fn read(kind: EventKind, payload: &JsonObject) -> Result<EventBody, InvalidPayload> {
        let from = Fields { kind, payload };
        Ok(match kind {
            EventKind::SessionCreated => EventBody::SessionCreated {
                pattern: from.parse("pattern")?,
                agent: from.parse("agent")?,
                parent: from.parse_some("parent")?,
                fork_of: from.parse_some("forkOf")?,
            },
            EventKind::SessionStarted => EventBody::SessionStarted,
            EventKind::SessionUpdated => EventBody::SessionUpdated(from.update()?),
            EventKind::TurnStarted => EventBody::TurnStarted { turn: from.number("turn")? },
            EventKind::TurnCompleted => EventBody::TurnCompleted {
                turn: from.number("turn")?,
                fuel: from.number("fuel")?,
                cost: from.money("cost")?,
            },
            EventKind::TurnFailed => EventBody::TurnFailed {
                turn: from.number("turn")?,
                code: from.failure("code")?,
                fuel: from.number("fuel")?,
                cost: from.money("cost")?,
            },
            EventKind::SessionSlept => EventBody::SessionSlept {
                cause: from.word("cause", &SleepCause::ALL, SleepCause::as_str)?,
                idle_minutes: from.some("idleMinutes", Fields::number)?,
            },
            EventKind::SessionWoken => EventBody::SessionWoken,
            EventKind::SessionPaused => EventBody::SessionPaused,
            EventKind::SessionResumed => EventBody::SessionResumed(from.way_back()?),
            EventKind::SessionCompleted => EventBody::SessionCompleted,
            EventKind::SessionTerminated => {
                EventBody::SessionTerminated { reason: Reason::new(from.text("reason")?) }
            }
            EventKind::SessionError => EventBody::SessionError {
                reason: Reason::new(from.text("reason")?),
                damage: from.some("damage", Fields::damage)?,
            },
            EventKind::SessionDeleted => EventBody::SessionDeleted,
            EventKind::SessionForked => EventBody::SessionForked {
                count: from.number("count")?.try_into().map_err(|_| from.invalid("count"))?,
                from: from.parse_some("from")?,
            },
            EventKind::SessionUpgraded => EventBody::SessionUpgraded {
                outcome: from.upgrade()?,
                from: from.parse("from")?,
                to: from.parse("to")?,
            },
            EventKind::ResumeAttempted => EventBody::ResumeAttempted {
                by: Principal(from.text("by")?.to_owned()),
                outcome: from.resume_outcome()?,
            },
            EventKind::AgentUploaded => EventBody::AgentUploaded { digest: from.parse("digest")? },
            EventKind::AgentUpdated => EventBody::AgentUpdated {
                digest: from.parse("digest")?,
                visibility: from.word("visibility", &Visibility::ALL, Visibility::as_str)?,
            },
            EventKind::AgentDeleted => EventBody::AgentDeleted { digest: from.parse("digest")? },
            EventKind::KeyCreated => {
                let (principal, role) = from.holder()?;
                EventBody::KeyCreated { principal, role }
            }
            EventKind::KeyRevoked => {
                let (principal, role) = from.holder()?;
                EventBody::KeyRevoked { principal, role }
            }
            EventKind::IdleWarning => {
                EventBody::IdleWarning { minutes_remaining: from.number("minutesRemaining")? }
            }
            EventKind::BudgetWarning => EventBody::BudgetWarning {
                cost: from.money("cost")?,
                budget: from.money("maxBudgetUsd")?,
            },
            EventKind::StateRemoved => EventBody::StateRemoved { head: from.parse("snapshotId")? },
            EventKind::WorkspaceChanged => EventBody::WorkspaceChanged {
                turn: from.some("turn", Fields::number)?,
                changes: FileChanges {
                    added: from.number("added")?,
                    changed: from.number("changed")?,
                    removed: from.number("removed")?,
                },
            },
            EventKind::MailDropped => EventBody::MailDropped {
                count: from.number("count")?.try_into().map_err(|_| from.invalid("count"))?,
            },
            EventKind::ScheduleCreated => {
                EventBody::ScheduleCreated { name: from.text("name")?.to_owned() }
            }
            EventKind::ScheduleRun => {
                EventBody::ScheduleRun { run: from.number("run")?, session: from.parse("session")? }
            }
            EventKind::ScheduleStopped => EventBody::ScheduleStopped {
                cause: from.word("cause", &StopCause::ALL, StopCause::as_str)?,
            },
            EventKind::ScheduleDeleted => EventBody::ScheduleDeleted,
        })
    }
}

fn damage_object(damage: &DamagedSnapshot) -> JsonObject {
    let object = Payload::default()
        .put("snapshotId", damage.snapshot.to_string())
        .put("newestGood", damage.newest_good.map(|id| id.to_string()));
    object.0
}

/// A payload that is being made.
#[derive(Default)]
struct Payload(JsonObject);

impl Payload {
    fn put(mut self, name: &str, value: impl Into<Value>) -> Payload {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The same for a particular that not every event of the kind has.
    fn put_some(self, name: &str, value: Option<impl Into<Value>>) -> Payload {
        match value {
            Some(value) => self.put(name, value),
            None => self,
        }
    }
}

/// The payload of an event that is being read.
#[derive(Clone, Copy)]
struct Fields<'a> {
    kind: EventKind,
    payload: &'a JsonObject,
}

impl<'a> Fields<'a> {
    fn invalid(self, name: &'static str) -> InvalidPayload {
        InvalidPayload { kind: self.kind, name }
    }

    fn text(self, name: &'static str) -> Result<&'a str, InvalidPayload> {
        self.payload.get(name).and_then(Value::as_str).ok_or(self.invalid(name))
    }

    fn number(self, name: &'static str) -> Result<u64, InvalidPayload> {
        self.payload.get(name).and_then(Value::as_u64).ok_or(self.invalid(name))
    }

    fn parse<T: FromStr>(self, name: &'static str) -> Result<T, InvalidPayload> {
        self.text(name)?.parse().map_err(|_| self.invalid(name))
    }

    /// One of these words.
    fn word<T: Copy>(
        self,
        name: &'static str,
        all: &[T],
        as_str: fn(T) -> &'static str,
    ) -> Result<T, InvalidPayload> {
        let text = self.text(name)?;
        all.iter().copied().find(|it| as_str(*it) == text).ok_or(self.invalid(name))
    }

    /// What `read` reads of a particular that not every event of the kind has.
    fn some<T>(
        self,
        name: &'static str,
        read: fn(Self, &'static str) -> Result<T, InvalidPayload>,
    ) -> Result<Option<T>, InvalidPayload> {
        match self.payload.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => read(self, name).map(Some),
        }
    }

    fn parse_some<T: FromStr>(self, name: &'static str) -> Result<Option<T>, InvalidPayload> {
        self.some(name, Fields::parse)
    }

    /// US dollars. The payload has the nearest number to a whole number of nano-USD.
    fn money(self, name: &'static str) -> Result<NanoUsd, InvalidPayload> {
        let usd = self.payload.get(name).and_then(Value::as_f64);
        usd.and_then(NanoUsd::nearest_usd).ok_or(self.invalid(name))
    }

    fn failure(self, name: &'static str) -> Result<FailureCode, InvalidPayload> {
        self.word(name, &FailureCode::ALL, FailureCode::as_str)
    }

    /// Whose key it is, and what it allows.
    fn holder(self) -> Result<(Principal, Role), InvalidPayload> {
        let principal = Principal(self.text("principal")?.to_owned());
        Ok((principal, self.word("role", &Role::ALL, Role::as_str)?))
    }

    fn damage(self, name: &'static str) -> Result<DamagedSnapshot, InvalidPayload> {
        let payload = self.payload.get(name).and_then(Value::as_object);
        let inner = Fields { payload: payload.ok_or(self.invalid(name))?, ..self };
        Ok(DamagedSnapshot {
            snapshot: inner.parse("snapshotId")?,
            newest_good: inner.parse_some("newestGood")?,
        })
    }

    fn update(self) -> Result<SessionUpdate, InvalidPayload> {
        if let Some(to) = self.parse_some("rewoundTo")? {
            return Ok(SessionUpdate::Rewound { to });
        }
        let (fields, status) = (self.session_fields("updates")?, self.parse("status")?);
        Ok(match fields.as_slice() {
            [SessionField::Status] => {
                let reason = self.some("reason", Fields::text)?.map(Reason::new);
                SessionUpdate::Status { status, reason }
            }
            _ => SessionUpdate::Fields { fields, status },
        })
    }

    /// The fields that are known. A later release may have others.
    fn session_fields(self, name: &'static str) -> Result<Vec<SessionField>, InvalidPayload> {
        let names = self.payload.get(name).and_then(Value::as_array).ok_or(self.invalid(name))?;
        let known =
            |name: &Value| SessionField::ALL.into_iter().find(|field| name == field.as_str());
        Ok(names.iter().filter_map(known).collect())
    }

    fn way_back(self) -> Result<ResumeCause, InvalidPayload> {
        Ok(match self.some("damage", Fields::damage)? {
            Some(damage) => ResumeCause::Damage {
                fallback: self.word("fallback", &ResumeFallback::ALL, ResumeFallback::as_str)?,
                damage,
            },
            None => {
                ResumeCause::Asked { status: self.parse("status")?, from: self.parse_some("from")? }
            }
        })
    }

    fn upgrade(self) -> Result<UpgradeOutcome, InvalidPayload> {
        let outcome = match self.some("reason", Fields::failure)? {
            Some(reason) => UpgradeOutcome::Returned { reason },
            None => UpgradeOutcome::Upgraded,
        };
        self.word("outcome", &[outcome], UpgradeOutcome::as_str)
    }

    fn resume_outcome(self) -> Result<ResumeOutcome, InvalidPayload> {
        let outcomes = match self.parse_some("from")? {
            Some(from) => vec![
                Resumption::Resumed { from }.into(),
                Resumption::Stale { from }.into(),
                Resumption::Changed { from }.into(),
            ],
            None => vec![Resumption::NotFound.into(), ResumeOutcome::NotOwner],
        };
        self.word("outcome", &outcomes, ResumeOutcome::as_str)
    }
}

#[cfg(test)]
mod tests;
