//! The form on the disk of everything the store keeps.
//!
//! Two layers, and neither knows where its bytes lie:
//! - An *envelope* around every value: the version of the format and a checksum over the version,
//!   the value and its key. A damaged value, and a good one under another key, are both noticed.
//! - *Rows*: CBOR structures with numbered fields, apart from the types of the domain. A reader
//!   skips fields that it does not know and takes absent optional ones as `None`, so that fields
//!   can be added without a new version. Any other change is a new version, with a step in
//!   [`migrate`] that turns the old form into the new one when it is read.

mod agent;
mod answer;
mod effect;
mod event;
mod http;
mod journal;
mod mail;
mod migrate;
mod schedule;
mod session;
mod snapshot;
mod template;
mod turn;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use minicbor::{CborLen, Decode, Encode};

pub(crate) use agent::{decode_agent, encode_agent};
pub(crate) use event::{decode_event, encode_event};
pub(crate) use journal::{
    decode_attempts, decode_entry, decode_input, decode_open_turn, encode_attempts, encode_entry,
    encode_input, encode_open_turn,
};
pub(crate) use mail::{decode_mail, encode_mail};
pub(crate) use schedule::{decode_schedule, decode_work, encode_schedule, encode_work};
pub(crate) use session::{
    decode_front, decode_front_with_grouping, decode_session, encode_body, encode_front,
    note_residence,
};
pub(crate) use snapshot::{
    decode_chunks, decode_files, decode_snapshot, decode_summary, encode_chunks, encode_snapshot,
    note_resume,
};
pub(crate) use template::{decode_template, encode_template};
pub(crate) use turn::{decode_turn, encode_turn};

/// The version of the format that is written.
pub(crate) const VERSION: u8 = 3;

/// How many bytes an envelope adds.
pub(crate) const OVERHEAD: usize = 5;

/// What a value is: a migration needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// A session: see `embedded::tables`.
    Session,
    /// A snapshot without what lies in blobs: see `embedded::tables`.
    Snapshot,
    /// A template: see `embedded::tables`.
    Template,
    /// A turn with the place of its events.
    Turn,
    /// A piece of the log of events.
    Events,
    /// The place of some events of one session.
    Places,
    /// An agent with its place in the order of upload.
    Agent,
    /// A value whose form stands in the file of its table (`embedded::tables`).
    Row,
    /// A few bytes about the store itself, one of its files or blobs, or whose a snapshot is.
    Note,
}

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// The checksum does not fit: some of its bytes, or its key, are not those that were written.
    #[error("its checksum does not fit")]
    Checksum,
    /// A later version of the host has written it.
    #[error("it was written by a newer Dormouse (format {0}; this one reads up to {VERSION})")]
    Newer(u8),
    /// The checksum fits, and yet it says nothing sensible.
    #[error("it does not decode: {0}")]
    Malformed(String),
}

impl From<minicbor::decode::Error> for CodecError {
    fn from(error: minicbor::decode::Error) -> CodecError {
        CodecError::Malformed(error.to_string())
    }
}

/// The value made of `parts`, one after the other, in an envelope for `key`.
pub(crate) fn seal(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    seal_as(VERSION, key, parts)
}

/// The same in the format of another version: only tests have a use for that.
pub(crate) fn seal_as(version: u8, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut sealed = Vec::with_capacity(OVERHEAD + length);
    sealed.push(version);
    sealed.extend_from_slice(&[0; OVERHEAD - 1]);
    for part in parts {
        sealed.extend_from_slice(part);
    }
    let sum = checksum(key, version, &sealed[OVERHEAD..]);
    sealed[1..OVERHEAD].copy_from_slice(&sum.to_le_bytes());
    sealed
}

/// A value that is written right into its envelope.
pub(crate) struct Envelope(Vec<u8>);

impl Envelope {
    /// With room for a value of this many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Envelope {
        let mut sealed = Vec::with_capacity(OVERHEAD + bytes);
        sealed.resize(OVERHEAD, 0);
        Envelope(sealed)
    }

    /// Where the value is appended to.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// Close it for `key`.
    pub(crate) fn seal(self, key: &[u8]) -> Vec<u8> {
        let mut sealed = self.0;
        sealed[0] = VERSION;
        let sum = checksum(key, VERSION, &sealed[OVERHEAD..]);
        sealed[1..OVERHEAD].copy_from_slice(&sum.to_le_bytes());
        sealed
    }
}

/// Whether this version of the format can be read.
pub(crate) fn check_version(version: u8) -> Result<(), CodecError> {
    if version > VERSION { Err(CodecError::Newer(version)) } else { Ok(()) }
}

/// What is in the envelope that was sealed for `key`, in the current format.
pub(crate) fn unseal<'a>(
    kind: RecordKind,
    key: &[u8],
    sealed: &'a [u8],
) -> Result<Cow<'a, [u8]>, CodecError> {
    let Some((envelope, payload)) = sealed.split_first_chunk::<OVERHEAD>() else {
        return Err(CodecError::Checksum);
    };
    let [version, sum @ ..] = *envelope;
    if u32::from_le_bytes(sum) != checksum(key, version, payload) {
        return Err(CodecError::Checksum);
    }
    migrate::to_current(kind, version, payload)
}

/// The length of the key is part of the sum, so that no byte can move from the key to the value.
fn checksum(key: &[u8], version: u8, payload: &[u8]) -> u32 {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_le_bytes();
    let sum = crc32c::crc32c_append(crc32c::crc32c(&length), key);
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &[version]), payload)
}

/// One row, encoded.
pub(crate) fn to_cbor<T: Encode<()> + CborLen<()>>(row: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(minicbor::len(row));
    minicbor::encode(row, &mut bytes).expect("writing to a vector cannot fail");
    bytes
}

/// Decodes one row, and refuses bytes that are left over.
pub(crate) fn from_cbor<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, CodecError> {
    let mut decoder = minicbor::Decoder::new(bytes);
    let row = decoder.decode()?;
    if decoder.position() == bytes.len() {
        Ok(row)
    } else {
        Err(CodecError::Malformed("there are bytes left over".to_owned()))
    }
}

/// A UUID, as the 16 bytes that it is.
#[derive(Encode, Decode, CborLen)]
#[cbor(transparent)]
struct IdRow(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

impl From<uuid::Uuid> for IdRow {
    fn from(id: uuid::Uuid) -> IdRow {
        IdRow(id.into_bytes())
    }
}

impl From<IdRow> for uuid::Uuid {
    fn from(row: IdRow) -> uuid::Uuid {
        uuid::Uuid::from_bytes(row.0)
    }
}

/// A digest, as the 32 bytes that it is.
#[derive(Encode, Decode, CborLen)]
#[cbor(transparent)]
struct DigestRow(#[cbor(n(0), with = "minicbor::bytes")] [u8; 32]);

/// A JSON document, as its text.
#[derive(Encode, Decode, CborLen)]
#[cbor(transparent)]
struct JsonRow(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>);

type Object = serde_json::Map<String, serde_json::Value>;

impl JsonRow {
    fn of(value: &serde_json::Value) -> JsonRow {
        JsonRow(serde_json::to_vec(value).expect("a JSON value has text keys only"))
    }

    /// Most objects are empty, and then there is nothing to keep.
    fn of_object(object: &Object) -> Option<JsonRow> {
        let text = || serde_json::to_vec(object).expect("a JSON object has text keys only");
        (!object.is_empty()).then(|| JsonRow(text()))
    }

    /// An object, also where it is empty.
    fn of_any_object(object: &Object) -> JsonRow {
        JsonRow(serde_json::to_vec(object).expect("a JSON object has text keys only"))
    }

    fn value(&self) -> Result<serde_json::Value, CodecError> {
        serde_json::from_slice(&self.0).map_err(|e| CodecError::Malformed(e.to_string()))
    }

    fn object(row: Option<&JsonRow>) -> Result<Object, CodecError> {
        match row {
            None => Ok(Object::new()),
            Some(row) => {
                serde_json::from_slice(&row.0).map_err(|e| CodecError::Malformed(e.to_string()))
            }
        }
    }
}
