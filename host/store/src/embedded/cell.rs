//! How values are laid out, inside of their envelopes.
//!
//! The value of a session has its front first: the engine keeps that part in its index, so that a
//! store is opened without reading any pack. It ends with two *tails*: the newest turns, and the
//! places of the newest events. They go along with the record, and are moved to a row of their own,
//! as they are, when there are enough of them: a key for each turn would let the index grow for ever.
//!
//! What is large in a snapshot lies in blobs, which snapshots share: a [`Content`]. The committer takes
//! values apart and puts them together again without decoding what is in them.

use bytes::Bytes;
use uuid::Uuid;

use super::engine;
use crate::codec::{self, CodecError};
use dormouse_domain::agent::Digest;
use dormouse_domain::id::SnapshotId;

/// What stands before the front in the value of a session: the envelope, and how long the front is.
const BEFORE_FRONT: usize = codec::OVERHEAD + 4;
/// The largest front of a session, in bytes.
pub(super) const FRONT: usize = engine::FRONT - BEFORE_FRONT;
/// The largest data of a snapshot that stays in its row.
pub(super) const DATA: usize = 16 << 10;
/// The largest list of the chunks of a snapshot that stays in its row.
pub(super) const LIST: usize = 7 << 10;
/// The most snapshots of a session: their names take 17 bytes each.
pub(super) const SNAPSHOTS: usize = 256;
/// A piece of the log of events ends when it has become larger than this.
pub(super) const PIECE: usize = 8 << 10;

/// The most turns of a tail, and the most bytes.
const TURNS: (usize, usize) = (8, 4 << 10);
/// The most places of a tail.
const PLACES: usize = 32;
/// The length of a place, in bytes.
const PLACE: usize = 12;

const INLINE: u8 = 0;
const BLOB: u8 = 2;

/// The value of a session.
#[derive(Clone, Debug, Default)]
pub(super) struct SessionCell {
    /// The front of the record.
    pub(super) front: Bytes,
    /// The body of the record.
    pub(super) body: Bytes,
    /// The snapshots that are kept, the oldest first.
    pub(super) snapshots: Vec<KeptSnapshot>,
    /// The newest turns.
    pub(super) turns: Turns,
    /// The places of the newest events.
    pub(super) places: Places,
}

/// A snapshot that a session keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeptSnapshot {
    /// Its name.
    pub(super) id: SnapshotId,
    /// Whether it has something in blobs.
    pub(super) shares: bool,
}

impl SessionCell {
    /// Take a value apart.
    pub(super) fn read(value: &Bytes) -> Result<SessionCell, CodecError> {
        let (front, rest) = framed(value)?;
        let (body, rest) = framed(rest)?;
        let (names, rest) = framed(rest)?;
        let (turns, places) = framed(rest)?;
        let (names, cut) = names.as_chunks::<17>();
        if !cut.is_empty() {
            return Err(malformed("the name of a snapshot is cut short"));
        }
        let name = |[id @ .., shares]: &[u8; 17]| KeptSnapshot {
            id: SnapshotId(Uuid::from_bytes(*id)),
            shares: *shares == 1,
        };
        Ok(SessionCell {
            front: value.slice_ref(front),
            body: value.slice_ref(body),
            snapshots: names.iter().map(name).collect(),
            turns: Turns::read(turns)?,
            places: Places::read(places)?,
        })
    }

    /// Put a value together, in the envelope for this key.
    pub(super) fn seal(&self, key: &[u8]) -> Vec<u8> {
        let tails = self.turns.bytes.len() + self.places.bytes.len();
        let names = 17 * self.snapshots.len();
        let size = 16 + self.front.len() + self.body.len() + names + tails;
        let mut out = codec::Envelope::with_capacity(size);
        frame(out.payload(), |out| out.extend_from_slice(&self.front));
        frame(out.payload(), |out| out.extend_from_slice(&self.body));
        frame(out.payload(), |out| {
            for KeptSnapshot { id, shares } in &self.snapshots {
                out.extend_from_slice(id.0.as_bytes());
                out.push(u8::from(*shares));
            }
        });
        frame(out.payload(), |out| out.extend_from_slice(&self.turns.bytes));
        out.payload().extend_from_slice(&self.places.bytes);
        out.seal(key)
    }

    /// How the engine keeps a value with this front.
    pub(super) fn class(front: &[u8]) -> engine::Class {
        // Larger ones have been refused.
        let length = u16::try_from(BEFORE_FRONT + front.len()).unwrap_or(u16::MAX);
        engine::Class::Fronted(length)
    }
}

/// The front of a session in what the index has of its value. The index has checked it.
pub(super) fn read_front(value: &[u8]) -> Result<&[u8], CodecError> {
    let (envelope, rest) =
        value.split_at_checked(codec::OVERHEAD).ok_or_else(|| malformed("a value is cut short"))?;
    codec::check_version(envelope[0])?;
    Ok(framed(rest)?.0)
}

/// Turns, one after the other, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Turns {
    count: usize,
    bytes: Vec<u8>,
}

impl Turns {
    /// From a row, or from the tail of a session.
    pub(super) fn read(bytes: &[u8]) -> Result<Turns, CodecError> {
        let turns = Turns { count: 0, bytes: bytes.to_vec() };
        let mut count = 0;
        for turn in turns.iter() {
            turn?;
            count += 1;
        }
        Ok(Turns { count, ..turns })
    }

    /// Append a turn.
    pub(super) fn push(&mut self, number: u64, turn: &[u8]) {
        self.count += 1;
        self.bytes.extend_from_slice(&number.to_le_bytes());
        frame(&mut self.bytes, |out| out.extend_from_slice(turn));
    }

    /// Whether they are to have a row of their own.
    pub(super) fn are_enough(&self) -> bool {
        self.count >= TURNS.0 || self.bytes.len() > TURNS.1
    }

    /// As they are kept.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each with its number.
    pub(super) fn iter(&self) -> impl Iterator<Item = Result<(u64, &[u8]), CodecError>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let turn = numbered(rest).and_then(|(number, after)| {
                let (turn, after) = framed(after)?;
                rest = after;
                Ok((number, turn))
            });
            if turn.is_err() {
                rest = &[];
            }
            Some(turn)
        })
    }

    /// The last one.
    pub(super) fn last(&self) -> Option<&[u8]> {
        self.iter().flatten().last().map(|(_, turn)| turn)
    }

    /// The number of the first.
    pub(super) fn first(&self) -> Option<u64> {
        self.bytes.first_chunk().map(|number| u64::from_le_bytes(*number))
    }
}

/// Where events of a session lie in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    bytes: Vec<u8>,
}

/// Some events of a session that lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The cursor of the last.
    pub(super) last: u64,
    /// How many they are.
    pub(super) count: u32,
}

impl Places {
    /// From a row, or from the tail of a session.
    pub(super) fn read(bytes: &[u8]) -> Result<Places, CodecError> {
        if bytes.len().is_multiple_of(PLACE) {
            Ok(Places { bytes: bytes.to_vec() })
        } else {
            Err(malformed("a place of events is cut short"))
        }
    }

    /// Append a place.
    pub(super) fn push(&mut self, place: Place) {
        self.bytes.extend_from_slice(&place.last.to_le_bytes());
        self.bytes.extend_from_slice(&place.count.to_le_bytes());
    }

    /// Whether they are to have a row of their own.
    pub(super) fn are_enough(&self) -> bool {
        self.bytes.len() >= PLACES * PLACE
    }

    /// As they are kept.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Place> {
        let (places, _) = self.bytes.as_chunks::<PLACE>();
        places.iter().map(|&[a, b, c, d, e, f, g, h, count @ ..]| Place {
            last: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            count: u32::from_le_bytes(count),
        })
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

/// The value of an agent: its place in the order of upload, and the agent.
pub(super) fn write_agent(sequence: u64, agent: &[u8]) -> Vec<u8> {
    [sequence.to_le_bytes().as_slice(), agent].concat()
}

/// The place of an agent in the order of upload, and the agent.
pub(super) fn read_agent(bytes: &[u8]) -> Result<(u64, &[u8]), CodecError> {
    numbered(bytes)
}

/// Append an event to a piece of the log.
pub(super) fn append_event(piece: &mut Vec<u8>, event: &[u8]) {
    frame(piece, |out| out.extend_from_slice(event));
}

/// The events of a piece of the log.
pub(super) fn read_events(mut piece: &[u8]) -> Result<Vec<&[u8]>, CodecError> {
    let mut events = Vec::new();
    while !piece.is_empty() {
        let (event, rest) = framed(piece)?;
        events.push(event);
        piece = rest;
    }
    Ok(events)
}

/// Write what `write` writes, with its length before it.
fn frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = u32::try_from(out.len() - start - 4).expect("a commit has far less than 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// A part of a value with its length before it, and what comes after it.
pub(super) fn framed(bytes: &[u8]) -> Result<(&[u8], &[u8]), CodecError> {
    bytes
        .split_first_chunk()
        .and_then(|(length, rest)| {
            rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)
        })
        .ok_or_else(|| malformed("a value is cut short"))
}

/// A number, and what comes after it.
pub(super) fn numbered(bytes: &[u8]) -> Result<(u64, &[u8]), CodecError> {
    bytes
        .split_first_chunk()
        .map(|(number, rest)| (u64::from_le_bytes(*number), rest))
        .ok_or_else(|| malformed("a value is cut short"))
}

fn malformed(what: &str) -> CodecError {
    CodecError::Malformed(what.to_owned())
}
