//! An event. Its kind is kept by name, as it goes over the wire.

use minicbor::{CborLen, Decode, Encode};

use super::agent::OwnerRow;
use super::{CodecError, IdRow, JsonRow, from_cbor, to_cbor};
use dormouse_domain::event::{Event, EventKind, Subject};
use dormouse_domain::time::Timestamp;

/// The row of this event.
pub(crate) fn encode_event(event: &Event) -> Vec<u8> {
    to_cbor(&EventRow {
        kind: event.kind.as_str(),
        subject: match &event.subject {
            Subject::Session(id) => SubjectRow::Session((*id).into()),
            Subject::Agent { name, owner } => {
                SubjectRow::Agent(name, owner.as_ref().map(OwnerRow::of))
            }
        },
        occurred_at: event.occurred_at.0,
        payload: JsonRow::of_object(&event.payload),
    })
}

/// The event of this row.
pub(crate) fn decode_event(bytes: &[u8]) -> Result<Event, CodecError> {
    let row: EventRow<'_> = from_cbor(bytes)?;
    let unknown = || CodecError::Malformed(format!("there is no kind of event '{}'", row.kind));
    Ok(Event {
        kind: EventKind::from_name(row.kind).ok_or_else(unknown)?,
        subject: match row.subject {
            SubjectRow::Session(id) => Subject::Session(id.into()),
            SubjectRow::Agent(name, owner) => {
                Subject::Agent { name: name.to_owned(), owner: owner.map(OwnerRow::owner) }
            }
        },
        occurred_at: Timestamp(row.occurred_at),
        payload: JsonRow::object(row.payload.as_ref())?,
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
}

#[derive(Encode, Decode, CborLen)]
enum SubjectRow<'a> {
    #[n(0)]
    Session(#[n(0)] IdRow),
    #[n(1)]
    Agent(#[b(0)] &'a str, #[b(1)] Option<OwnerRow<'a>>),
}
