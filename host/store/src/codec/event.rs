//! An event. Its kind is kept by name, and its particulars as JSON, as they go over the wire.

use minicbor::{CborLen, Decode, Encode};

use super::agent::OwnerRow;
use super::{CodecError, IdRow, JsonRow, from_cbor, to_cbor};
use dormouse_domain::access::KeyId;
use dormouse_domain::event::{Event, EventBody, EventKind, EventSubject};
use dormouse_domain::id::{ScheduleId, SessionId};
use dormouse_domain::time::Timestamp;

/// The row of this event.
pub(crate) fn encode_event(event: &Event) -> Vec<u8> {
    to_cbor(&EventRow {
        kind: event.kind().as_str(),
        subject: match &event.subject {
            EventSubject::Session(id) => SubjectRow::Session(id.0.into()),
            EventSubject::Agent(name) => SubjectRow::Agent(name, None),
            EventSubject::Key(id) => SubjectRow::Key(id.0),
            EventSubject::Schedule(id) => SubjectRow::Schedule(id.0.into()),
        },
        occurred_at: event.occurred_at.0,
        payload: JsonRow::of_object(&event.body.payload()),
        owner: event.owner.as_ref().map(OwnerRow::of),
    })
}

/// The event of this row.
pub(crate) fn decode_event(bytes: &[u8]) -> Result<Event, CodecError> {
    let row: EventRow<'_> = from_cbor(bytes)?;
    let malformed = |error: String| CodecError::Malformed(error);
    let kind = EventKind::from_name(row.kind)
        .ok_or_else(|| malformed(format!("there is no kind of event '{}'", row.kind)))?;
    let payload = JsonRow::object(row.payload.as_ref())?;
    let (subject, owner) = match row.subject {
        SubjectRow::Session(id) => (EventSubject::Session(SessionId(id.into())), row.owner),
        SubjectRow::Agent(name, owner) => {
            (EventSubject::Agent(name.to_owned()), row.owner.or(owner))
        }
        SubjectRow::Key(id) => (EventSubject::Key(KeyId(id)), row.owner),
        SubjectRow::Schedule(id) => (EventSubject::Schedule(ScheduleId(id.into())), row.owner),
    };
    Ok(Event {
        owner: owner.map(OwnerRow::owner),
        subject,
        occurred_at: Timestamp(row.occurred_at),
        body: EventBody::read(kind, &payload).map_err(|error| malformed(error.to_string()))?,
    })
}

#[derive(Encode, Decode, CborLen)]
struct EventRow<'a> {
    #[b(0)]
    kind: &'a str,
    #[b(1)]
    subject: SubjectRow<'a>,
    #[n(2)]
    occurred_at: i64,
    #[n(3)]
    payload: Option<JsonRow>,
    /// `None` in rows from before events had owners.
    #[b(4)]
    owner: Option<OwnerRow<'a>>,
}

#[derive(Encode, Decode, CborLen)]
enum SubjectRow<'a> {
    #[n(0)]
    Session(#[n(0)] IdRow),
    /// With the owner of the agent, before the row had it: only read.
    #[n(1)]
    Agent(#[b(0)] &'a str, #[b(1)] Option<OwnerRow<'a>>),
    #[n(2)]
    Key(#[cbor(n(0), with = "minicbor::bytes")] [u8; 8]),
    #[n(3)]
    Schedule(#[n(0)] IdRow),
}
