//! How values were laid out before the engine, inside of their envelopes. Snapshots and templates
//! have the same form still: see [`cell`](super::super::cell).

use uuid::Uuid;

use super::super::blob::BlobId;
use super::super::cell::{framed, numbered};
use crate::codec::CodecError;
use dormouse_domain::agent::Digest;
use dormouse_domain::id::SnapshotId;

const INLINE: u8 = 0;
const FILE: u8 = 1;

/// Some bytes, in the value or in a file of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In the file of this name.
    File(&'a str),
}

impl<'a> Part<'a> {
    /// Take a part apart.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Part<'a>, CodecError> {
        match bytes {
            [INLINE, rest @ ..] => Ok(Part::Inline(rest)),
            [FILE, rest @ ..] => file_name(rest).map(Part::File),
            _ => Err(malformed("a part is neither here nor in a file")),
        }
    }
}

/// The name of a file. No other is ever opened: whose it is, and a number.
fn file_name(bytes: &[u8]) -> Result<&str, CodecError> {
    let is_name = |name: &&str| {
        name.split_once('-').is_some_and(|(owner, number)| {
            owner.bytes().all(|byte| byte.is_ascii_alphanumeric())
                && number.len() == 16
                && number.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    };
    let name = std::str::from_utf8(bytes).ok().filter(is_name);
    name.ok_or_else(|| malformed("it names no file of the store"))
}

/// The value of a session.
#[derive(Debug)]
pub(super) struct SessionCell<'a> {
    /// The front of the record.
    pub(super) front: &'a [u8],
    /// The body of the record.
    pub(super) body: Part<'a>,
    /// The snapshots that are kept, the oldest first.
    pub(super) snapshots: Vec<SnapshotId>,
    /// The head, where layout 1 had it.
    pub(super) head: Option<Part<'a>>,
}

impl<'a> SessionCell<'a> {
    /// Take a value apart.
    pub(super) fn read(value: &'a [u8]) -> Result<SessionCell<'a>, CodecError> {
        let (front, rest) = framed(value)?;
        let (body, rest) = framed(rest)?;
        let (names, head) = framed(rest)?;
        let (names, cut) = names.as_chunks::<16>();
        if !cut.is_empty() {
            return Err(malformed("the name of a snapshot is cut short"));
        }
        Ok(SessionCell {
            front,
            body: Part::read(body)?,
            snapshots: names.iter().map(|id| SnapshotId(Uuid::from_bytes(*id))).collect(),
            head: if head.is_empty() { None } else { Some(Part::read(head)?) },
        })
    }
}

/// The value of a blob.
#[derive(Debug)]
pub(super) struct BlobCell<'a> {
    /// How many snapshots and templates refer to it.
    pub(super) uses: u64,
    /// The file that it lies in.
    pub(super) file: &'a str,
    /// Where its envelope begins, in bytes.
    pub(super) offset: u64,
    /// How long it is, with its envelope, in bytes.
    pub(super) length: u64,
}

impl<'a> BlobCell<'a> {
    /// Take a value apart.
    pub(super) fn read(value: &'a [u8]) -> Result<BlobCell<'a>, CodecError> {
        let (uses, rest) = numbered(value)?;
        let (offset, rest) = numbered(rest)?;
        let (length, file) = numbered(rest)?;
        Ok(BlobCell { uses, file: file_name(file)?, offset, length })
    }
}

/// The blob that a key names.
pub(super) fn blob_of(key: &[u8]) -> Option<BlobId> {
    let [_, kind, digest @ ..] = key else { return None };
    let digest = Digest(digest.try_into().ok()?);
    [BlobId::Data(digest), BlobId::List(digest), BlobId::Chunk(digest)]
        .into_iter()
        .find(|id| id.kind() == *kind)
}

/// The value of an agent: its place in the order of upload, and the agent.
pub(super) fn read_agent(value: &[u8]) -> Result<(u64, Part<'_>), CodecError> {
    let (sequence, agent) = numbered(value)?;
    Ok((sequence, Part::read(agent)?))
}

/// The events of a piece of the log.
pub(super) fn read_events(mut piece: &[u8]) -> Result<Vec<Part<'_>>, CodecError> {
    let mut events = Vec::new();
    while !piece.is_empty() {
        let (event, rest) = framed(piece)?;
        events.push(Part::read(event)?);
        piece = rest;
    }
    Ok(events)
}

/// The value of a place: how many events of the session there are, one after the other.
pub(super) fn read_place(value: &[u8]) -> Result<u32, CodecError> {
    let (count, _) = numbered(value)?;
    u32::try_from(count).map_err(|_| malformed("there are too many events in one place"))
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}
