//! The schemas of the particulars of events, one for each kind.
//!
//! The particulars are made in `event/payload.rs` of the domain. An event of a page or of a stream that has
//! another particular than its kind has here fails the test that reads it.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::value::{Id, Word};
use dormouse::{
    EventKind, FailureCode, Pattern, ResumeFallback, Role, SessionField, SleepCause, Status,
    StopCause, UpgradeOutcome, Visibility,
};
use dormouse_domain::code;
use dormouse_domain::state::Cause;

/// For the schema of an event: the kind says which particulars there are.
pub(super) fn by_kind(event: &mut Schema) {
    let mut generator = SchemaSettings::default().for_serialize().into_generator();
    let each = EventKind::ALL.iter().map(|kind| {
        let payload = payload(&mut generator, *kind);
        json!({ "properties": { "event_type": { "const": kind.as_str() }, "payload": payload } })
    });
    event.insert("oneOf".to_owned(), each.collect());
    if let Some(any) = event.pointer_mut("/properties/payload") {
        *any = json!({ "type": "object" });
    }
}

/// The schema of the particulars of this kind.
pub(crate) fn payload(generator: &mut SchemaGenerator, kind: EventKind) -> Value {
    let mut of = |fields: &[Field]| object(generator, fields);
    match kind {
        EventKind::SessionStarted
        | EventKind::SessionWoken
        | EventKind::SessionDeleted
        | EventKind::ScheduleDeleted => of(&[]),
        EventKind::SessionCreated => of(&[
            needed::<Word<Pattern>>("pattern"),
            needed::<String>("agent"),
            may_be::<Id>("parent"),
            may_be::<Id>("forkOf"),
        ]),
        EventKind::SessionUpdated => json!({ "anyOf": [
            of(&[
                needed::<Vec<Word<SessionField>>>("updates"),
                needed::<Word<Status>>("status"),
                may_be::<String>("reason"),
            ]),
            of(&[needed::<Vec<String>>("updates"), needed::<Id>("rewoundTo")]),
        ] }),
        EventKind::TurnStarted => of(&[needed::<u64>("turn")]),
        EventKind::TurnCompleted => {
            of(&[needed::<u64>("turn"), needed::<u64>("fuel"), needed::<f64>("cost")])
        }
        EventKind::TurnFailed => of(&[
            needed::<u64>("turn"),
            needed::<Word<FailureCode>>("code"),
            needed::<u64>("fuel"),
            needed::<f64>("cost"),
        ]),
        EventKind::SessionSlept => {
            of(&[needed::<Word<SleepCause>>("cause"), may_be::<u64>("idleMinutes")])
        }
        EventKind::StateRemoved => of(&[needed::<Id>("snapshotId")]),
        EventKind::WorkspaceChanged => of(&[
            needed::<Option<u64>>("turn"),
            needed::<u64>("added"),
            needed::<u64>("changed"),
            needed::<u64>("removed"),
        ]),
        EventKind::MailDropped => of(&[needed::<u32>("count")]),
        EventKind::SessionPaused => of(&[status(Status::Paused)]),
        EventKind::SessionCompleted => of(&[status(Status::Completed)]),
        EventKind::SessionResumed => json!({ "anyOf": [
            of(&[needed::<Word<Status>>("status"), may_be::<Id>("from")]),
            of(&[
                one_of("reason", vec![Cause::SnapshotCorrupt.as_str()]),
                needed::<Word<ResumeFallback>>("fallback"),
                needed::<Damage>("damage"),
            ]),
        ] }),
        EventKind::SessionTerminated => {
            of(&[status(Status::Terminated), needed::<String>("reason")])
        }
        EventKind::SessionError => {
            of(&[status(Status::Error), needed::<String>("reason"), may_be::<Damage>("damage")])
        }
        EventKind::SessionForked => of(&[needed::<u32>("count"), needed::<Option<Id>>("from")]),
        EventKind::SessionUpgraded => of(&[
            one_of("outcome", vec![UpgradeOutcome::Upgraded.as_str(), RETURNED.as_str()]),
            may_be::<Word<FailureCode>>("reason"),
            needed::<String>("from"),
            needed::<String>("to"),
        ]),
        EventKind::ResumeAttempted => of(&[
            needed::<String>("by"),
            one_of("outcome", vec!["resumed", "stale", "not_found", code::NOT_OWNER]),
            may_be::<Id>("from"),
        ]),
        EventKind::AgentUploaded | EventKind::AgentDeleted => of(&[needed::<String>("digest")]),
        EventKind::AgentUpdated => {
            of(&[needed::<String>("digest"), needed::<Word<Visibility>>("visibility")])
        }
        EventKind::KeyCreated | EventKind::KeyRevoked => {
            of(&[needed::<String>("principal"), needed::<Word<Role>>("role")])
        }
        EventKind::ScheduleCreated => of(&[needed::<String>("name")]),
        EventKind::ScheduleRun => of(&[needed::<u64>("run"), needed::<Id>("session")]),
        EventKind::ScheduleStopped => of(&[needed::<Word<StopCause>>("cause")]),
        EventKind::IdleWarning => of(&[needed::<u64>("minutesRemaining")]),
        EventKind::BudgetWarning => of(&[needed::<f64>("cost"), needed::<f64>("maxBudgetUsd")]),
    }
}

/// An upgrade that was taken back, for whatever reason.
const RETURNED: UpgradeOutcome = UpgradeOutcome::Returned { reason: FailureCode::AgentFailed };

/// What is damaged, where that is the reason of an event.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
#[expect(dead_code, reason = "it describes an object that the domain makes")]
struct Damage {
    #[schemars(with = "Id")]
    snapshot_id: String,
    /// The newest snapshot that the session can go on from.
    #[schemars(with = "Option<Id>")]
    newest_good: Option<String>,
}

/// A particular.
struct Field {
    name: &'static str,
    is_needed: bool,
    schema: Box<dyn Fn(&mut SchemaGenerator) -> Schema>,
}

/// A particular that each event of the kind has.
fn needed<T: JsonSchema + 'static>(name: &'static str) -> Field {
    Field { name, is_needed: true, schema: Box::new(SchemaGenerator::subschema_for::<T>) }
}

/// A particular that not every event of the kind has.
fn may_be<T: JsonSchema + 'static>(name: &'static str) -> Field {
    Field { is_needed: false, ..needed::<T>(name) }
}

/// A particular that each event of the kind has, one of these words.
fn one_of(name: &'static str, words: Vec<&'static str>) -> Field {
    let schema =
        Box::new(move |_: &mut SchemaGenerator| json_schema!({ "type": "string", "enum": words }));
    Field { name, is_needed: true, schema }
}

/// The status that the session has since then.
fn status(status: Status) -> Field {
    one_of("status", vec![status.as_str()])
}

fn object(generator: &mut SchemaGenerator, fields: &[Field]) -> Value {
    let required = fields.iter().filter(|field| field.is_needed).map(|field| field.name);
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| (field.name.to_owned(), (field.schema)(generator).to_value()))
        .collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": required.collect::<Vec<_>>(),
        "additionalProperties": false,
    })
}
