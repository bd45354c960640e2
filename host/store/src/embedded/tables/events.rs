//! The log of events, and where in it those of each session are.
//!
//! | key | value |
//! | --- | --- |
//! | `g` cursor | the events that end at this cursor |
//! | `r` session `e` cursor | the places of events in the log, up to this one: [`EventRanges`] |
//!
//! The newest places go along with the record of their session. The index keeps where the log ends.

use bytes::Bytes;

use super::super::OpenError;
use super::super::frame::{frame, framed};
use super::super::keys;
use super::super::recovery::Recovery;
use super::super::upkeep::audit::Audit;
use super::{Table, malformed};
use crate::codec::{self, CodecError, RecordKind};
use dormouse_domain::event::Cursor;
use dormouse_domain::id::SessionId;

/// The prefix of the log of events.
pub(in super::super) const EVENTS: u8 = b'g';
/// What follows the session in the keys of places.
pub(in super::super) const PLACE: u8 = b'e';
/// A piece of the log of events ends when it has become larger than this.
pub(in super::super) const PIECE: usize = 8 << 10;
/// The most places of a tail.
const PLACES: usize = 32;
/// The length of a place, in bytes.
const PLACE_BYTES: usize = 12;

/// The pieces of the log.
pub(super) struct EventTable;

/// The places of the events of sessions.
pub(super) struct PlaceTable;

/// A piece of the log, the last event of which has this cursor.
pub(in super::super) fn events(last: Cursor) -> [u8; 9] {
    let mut key = [EVENTS; 9];
    key[1..].copy_from_slice(&last.0.to_be_bytes());
    key
}

/// The prefix of the places of events of a session.
pub(in super::super) fn places(id: SessionId) -> [u8; 18] {
    let mut key = [PLACE; 18];
    key[..17].copy_from_slice(&keys::rows(id));
    key
}

/// The places of events of a session, the last of which has this cursor.
pub(in super::super) fn place(id: SessionId, last: Cursor) -> [u8; 26] {
    keys::row(id, PLACE, last.0)
}

/// Where events of a session lie in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct EventRanges {
    bytes: Vec<u8>,
}

/// Some events of a session that lie one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct EventRange {
    /// The cursor of the last.
    pub(in super::super) last: u64,
    /// How many they are.
    pub(in super::super) count: u32,
}

impl EventRanges {
    /// From a row, or from the tail of a session.
    pub(in super::super) fn read(bytes: &[u8]) -> Result<EventRanges, CodecError> {
        if bytes.len().is_multiple_of(PLACE_BYTES) {
            Ok(EventRanges { bytes: bytes.to_vec() })
        } else {
            Err(malformed("a place of events is cut short"))
        }
    }

    /// Append a place.
    pub(in super::super) fn push(&mut self, place: EventRange) {
        self.bytes.extend_from_slice(&place.last.to_le_bytes());
        self.bytes.extend_from_slice(&place.count.to_le_bytes());
    }

    /// Whether they are to have a row of their own.
    pub(in super::super) fn are_enough(&self) -> bool {
        self.bytes.len() >= PLACES * PLACE_BYTES
    }

    /// As they are kept.
    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each of them.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = EventRange> {
        let (places, _) = self.bytes.as_chunks::<PLACE_BYTES>();
        places.iter().map(|&[a, b, c, d, e, f, g, h, count @ ..]| EventRange {
            last: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            count: u32::from_le_bytes(count),
        })
    }
}

/// Append an event to a piece of the log.
pub(in super::super) fn append_event(piece: &mut Vec<u8>, event: &[u8]) {
    frame(piece, |out| out.extend_from_slice(event));
}

/// The events of a piece of the log.
pub(in super::super) fn read_events(mut piece: &[u8]) -> Result<Vec<&[u8]>, CodecError> {
    let mut events = Vec::new();
    while !piece.is_empty() {
        let (event, rest) = framed(piece)?;
        events.push(event);
        piece = rest;
    }
    Ok(events)
}

impl Table for EventTable {
    fn has(&self, key: &[u8]) -> bool {
        key.first() == Some(&EVENTS)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        match key {
            [EVENTS, rest @ ..] if rest.len() == 8 => {
                Some(format!("events/{}", keys::number(rest)?))
            }
            _ => None,
        }
    }

    fn recover(&self, recovery: &mut Recovery<'_>) -> Result<(), OpenError> {
        let last = recovery.disk.last(&[EVENTS])?;
        recovery.index.cursor = Cursor(last.and_then(|key| keys::number(&key)).unwrap_or(0));
        Ok(())
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let piece = codec::unseal(RecordKind::Events, key, value)?;
        for event in read_events(&piece)? {
            codec::decode_event(event)?;
        }
        Ok(())
    }
}

impl Table for PlaceTable {
    fn has(&self, key: &[u8]) -> bool {
        keys::is_row(key, PLACE)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        keys::describe_row(key, "events")
    }

    fn session(&self, key: &[u8]) -> Option<SessionId> {
        keys::session_in(key)
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, _: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        EventRanges::read(&codec::unseal(RecordKind::Places, key, value)?).map(drop)
    }
}
