//! How the values of sled are laid out, inside of their envelopes.
//!
//! What is small lies in the value itself, what is large in a file that the value names: a [`Part`]
//! is either. What is large in a snapshot lies in blobs instead, which snapshots share: a
//! [`Content`]. The committer takes values apart and puts them together again without decoding what
//! is in them.
//!
//! The limits below are there for sled's sake. It writes a page whole now and then, and a page that
//! takes more than a quarter of a segment goes to a file of its own, which sled does not sync. A
//! page is split as soon as it has more than 16 entries, and two that are merged have at most 19.
//! So no value may take more than a twentieth of a quarter of a segment; the segments that `disk`
//! asks for allow for a thirtieth.

use crate::agent::Digest;
use crate::session::id::SnapshotId;
use crate::store::codec::CodecError;

use super::files::FileName;

/// The largest front of a session, in bytes. There is no place else for it.
pub(super) const FRONT: usize = 8 << 10;
/// The largest body of a session that stays in the value.
pub(super) const BODY: usize = 8 << 10;
/// The largest data of a snapshot that stays in the value.
pub(super) const DATA: usize = 16 << 10;
/// The largest list of the chunks of a snapshot that stays in the value.
pub(super) const LIST: usize = 7 << 10;
/// The most snapshots of a session: their names take 16 bytes each.
pub(super) const SNAPSHOTS: usize = 256;
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
const BLOB: u8 = 2;

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
    /// The snapshots that are kept, the oldest first.
    pub(super) snapshots: Vec<SnapshotId>,
    /// The head, where format 1 had it. Moved when the store is opened: see `upgrade`.
    pub(super) old_head: Option<PartRef<'a>>,
}

impl<'a> SessionCell<'a> {
    /// Take a value apart.
    pub(super) fn read(bytes: &'a [u8]) -> Result<SessionCell<'a>, CodecError> {
        let (front, bytes) = framed(bytes)?;
        let (body, bytes) = framed(bytes)?;
        let body = PartRef::read(body)?;
        let (names, old_head) = framed(bytes)?;
        let (names, rest) = names.as_chunks::<16>();
        if !rest.is_empty() {
            return Err(malformed("the name of a snapshot is cut short"));
        }
        let name = |bytes: &[u8; 16]| SnapshotId(uuid::Uuid::from_bytes(*bytes));
        let snapshots = names.iter().map(name).collect();
        let old_head = if old_head.is_empty() { None } else { Some(PartRef::read(old_head)?) };
        Ok(SessionCell { front, body, snapshots, old_head })
    }

    /// Put a value together.
    pub(super) fn write(front: &[u8], body: &Part, snapshots: &[SnapshotId]) -> Vec<u8> {
        let size = 13 + front.len() + body.size() + 16 * snapshots.len();
        let mut out = Vec::with_capacity(size);
        frame(&mut out, |out| out.extend_from_slice(front));
        frame(&mut out, |out| body.write(out));
        frame(&mut out, |out| {
            snapshots.iter().for_each(|id| out.extend_from_slice(id.0.as_bytes()))
        });
        out
    }
}

/// Some bytes of a snapshot, here or in a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Here.
    Inline(&'a [u8]),
    /// In the blob of this digest.
    Blob(Digest),
}

impl<'a> Content<'a> {
    fn read(bytes: &'a [u8]) -> Result<Content<'a>, CodecError> {
        match bytes {
            [INLINE, rest @ ..] => Ok(Content::Inline(rest)),
            [BLOB, rest @ ..] => match rest.try_into() {
                Ok(digest) => Ok(Content::Blob(Digest(digest))),
                Err(_) => Err(malformed("the name of a blob has another length")),
            },
            _ => Err(malformed("a part is neither here nor in a blob")),
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Content::Inline(bytes) => {
                out.push(INLINE);
                out.extend_from_slice(bytes);
            }
            Content::Blob(digest) => {
                out.push(BLOB);
                out.extend_from_slice(&digest.0);
            }
        }
    }
}

/// The value of a snapshot, which is also the end of the value of a template.
#[derive(Debug)]
pub(super) struct SnapshotCell<'a> {
    /// What it is apart from its state.
    pub(super) outline: &'a [u8],
    /// The data of its state.
    pub(super) data: Content<'a>,
    /// The list of its chunks.
    pub(super) chunks: Content<'a>,
}

impl<'a> SnapshotCell<'a> {
    /// Take a value apart.
    pub(super) fn read(bytes: &'a [u8]) -> Result<SnapshotCell<'a>, CodecError> {
        let (outline, bytes) = framed(bytes)?;
        let (data, chunks) = framed(bytes)?;
        let (data, chunks) = (Content::read(data)?, Content::read(chunks)?);
        Ok(SnapshotCell { outline, data, chunks })
    }

    /// Put a value together.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        frame(out, |out| out.extend_from_slice(self.outline));
        frame(out, |out| self.data.write(out));
        self.chunks.write(out);
    }
}

/// The value of a template.
#[derive(Debug)]
pub(super) struct TemplateCell<'a> {
    /// What it is apart from its snapshot.
    pub(super) template: &'a [u8],
    /// Its snapshot.
    pub(super) snapshot: SnapshotCell<'a>,
}

impl<'a> TemplateCell<'a> {
    /// Take a value apart.
    pub(super) fn read(bytes: &'a [u8]) -> Result<TemplateCell<'a>, CodecError> {
        let (template, snapshot) = framed(bytes)?;
        Ok(TemplateCell { template, snapshot: SnapshotCell::read(snapshot)? })
    }

    /// Put a value together.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        frame(out, |out| out.extend_from_slice(self.template));
        self.snapshot.write(out);
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
