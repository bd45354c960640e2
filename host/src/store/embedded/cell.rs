//! How the values of sled are laid out, inside of their envelopes.
//!
//! What is small lies in the value itself, what is large in a file that the value names: a [`Part`]
//! is either. The committer takes values apart and puts them together again without decoding what
//! is in them.
//!
//! The limits below are there for sled's sake. It writes a page whole now and then, and a page that
//! takes more than a quarter of a segment goes to a file of its own, which sled does not sync. A
//! page is split as soon as it has more than 16 entries, and two that are merged have at most 19.
//! So no value may take more than a twentieth of a quarter of a segment; the segments that `disk`
//! asks for allow for a thirtieth.

use crate::session::id::SnapshotId;
use crate::store::codec::CodecError;

use super::files::FileName;

/// The largest front of a session, in bytes. There is no place else for it.
pub(super) const FRONT: usize = 8 << 10;
/// The largest body of a session that stays in the value.
pub(super) const BODY: usize = 8 << 10;
/// The largest head of a session that stays in the value.
pub(super) const HEAD: usize = 16 << 10;
/// The largest turn or agent that stays in the value.
pub(super) const ROW: usize = 24 << 10;
/// The largest event that stays in the log.
pub(super) const EVENT: usize = 8 << 10;
/// A piece of the log ends when it has become larger than this.
pub(super) const PIECE: usize = 16 << 10;

/// Some bytes, here or in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Here.
    Inline(Vec<u8>),
    /// In this file.
    File(FileName),
}

const INLINE: u8 = 0;
const FILE: u8 = 1;

impl Part {
    /// The file that holds it.
    pub(super) fn file(&self) -> Option<&FileName> {
        match self {
            Part::Inline(_) => None,
            Part::File(name) => Some(name),
        }
    }

    /// How many bytes it takes in a value, about.
    pub(super) fn size(&self) -> usize {
        match self {
            Part::Inline(bytes) => bytes.len(),
            Part::File(name) => name.as_str().len(),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Part::Inline(bytes) => {
                out.push(INLINE);
                out.extend_from_slice(bytes);
            }
            Part::File(name) => {
                out.push(FILE);
                out.extend_from_slice(name.as_str().as_bytes());
            }
        }
    }
}

/// A [`Part`] in a value that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PartRef<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In this file.
    File(FileName),
}

impl<'a> PartRef<'a> {
    fn read(bytes: &'a [u8]) -> Result<PartRef<'a>, CodecError> {
        match bytes {
            [INLINE, rest @ ..] => Ok(PartRef::Inline(rest)),
            [FILE, rest @ ..] => FileName::read(rest).map(PartRef::File),
            _ => Err(malformed("a part is neither here nor in a file")),
        }
    }

    /// The file that holds it.
    pub(super) fn to_file(&self) -> Option<FileName> {
        match self {
            PartRef::Inline(_) => None,
            PartRef::File(name) => Some(name.clone()),
        }
    }

    /// The same, apart from the value.
    pub(super) fn to_part(&self) -> Part {
        match self {
            PartRef::Inline(bytes) => Part::Inline(bytes.to_vec()),
            PartRef::File(name) => Part::File(name.clone()),
        }
    }
}

/// The value of a session.
#[derive(Debug)]
pub(super) struct SessionCell<'a> {
    /// The front of the record.
    pub(super) front: &'a [u8],
    /// The body of the record.
    pub(super) body: PartRef<'a>,
    /// The head, with the name of the snapshot.
    pub(super) head: Option<(SnapshotId, PartRef<'a>)>,
}

impl<'a> SessionCell<'a> {
    /// Take a value apart.
    pub(super) fn read(bytes: &'a [u8]) -> Result<SessionCell<'a>, CodecError> {
        let (front, bytes) = framed(bytes)?;
        let (body, head) = framed(bytes)?;
        let body = PartRef::read(body)?;
        let head = match head.split_first_chunk() {
            Some((id, part)) => {
                let id = SnapshotId(uuid::Uuid::from_bytes(*id));
                Some((id, PartRef::read(part)?))
            }
            None if head.is_empty() => None,
            None => return Err(malformed("a head is cut short")),
        };
        Ok(SessionCell { front, body, head })
    }

    /// Put a value together.
    pub(super) fn write(front: &[u8], body: &Part, head: Option<&(SnapshotId, Part)>) -> Vec<u8> {
        let head_size = head.map_or(0, |(_, part)| 17 + part.size());
        let mut out = Vec::with_capacity(9 + front.len() + body.size() + head_size);
        frame(&mut out, |out| out.extend_from_slice(front));
        frame(&mut out, |out| body.write(out));
        if let Some((id, part)) = head {
            out.extend_from_slice(id.0.as_bytes());
            part.write(&mut out);
        }
        out
    }
}

/// The value of a turn.
pub(super) fn write_turn(turn: &Part) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + turn.size());
    turn.write(&mut out);
    out
}

/// The turn that a value holds.
pub(super) fn read_turn(bytes: &[u8]) -> Result<PartRef<'_>, CodecError> {
    PartRef::read(bytes)
}

/// The value of an agent.
#[derive(Debug)]
pub(super) struct AgentCell<'a> {
    /// Its place in the order of upload.
    pub(super) sequence: u64,
    /// The agent.
    pub(super) agent: PartRef<'a>,
}

impl<'a> AgentCell<'a> {
    /// Take a value apart.
    pub(super) fn read(bytes: &'a [u8]) -> Result<AgentCell<'a>, CodecError> {
        let (sequence, agent) = numbered(bytes)?;
        Ok(AgentCell { sequence, agent: PartRef::read(agent)? })
    }

    /// Put a value together.
    pub(super) fn write(sequence: u64, agent: &Part) -> Vec<u8> {
        let mut out = sequence.to_le_bytes().to_vec();
        agent.write(&mut out);
        out
    }
}

/// Append an event to a piece of the log.
pub(super) fn append_event(piece: &mut Vec<u8>, event: &Part) {
    frame(piece, |out| event.write(out));
}

/// The events of a piece of the log.
pub(super) fn read_events(mut piece: &[u8]) -> Result<Vec<PartRef<'_>>, CodecError> {
    let mut events = Vec::new();
    while !piece.is_empty() {
        let (event, rest) = framed(piece)?;
        events.push(PartRef::read(event)?);
        piece = rest;
    }
    Ok(events)
}

/// The value of a place: how many events of the session there are, one after the other.
pub(super) fn read_place(bytes: &[u8]) -> Result<u64, CodecError> {
    Ok(numbered(bytes)?.0)
}

/// Write what `write` writes, with its length before it.
fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start - 4).expect("what is inline is small");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn framed(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    bytes
        .split_first_chunk()
        .and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        })
        .ok_or_else(|| malformed("a value is cut short"))
}

fn numbered(bytes: &[u8]) -> Result<(u64, &[u8]), CodecError> {
    bytes
        .split_first_chunk()
        .map(|(number, rest)| (u64::from_le_bytes(*number), rest))
        .ok_or_else(|| malformed("a value is cut short"))
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}
