//! The turns of sessions: `r` session `t` number, the value [`Turns`] up to this one.
//!
//! The newest go along with the record of their session. A large one is staged as a row of its own: the log
//! and the committer, for which all sessions wait, do not have its bytes.

use bytes::Bytes;

use super::super::commit::{BlobPlacer, EncodedWrite};
use super::super::engine;
use super::super::frame::{frame, framed, numbered};
use super::super::keys;
use super::super::upkeep::audit::Audit;
use super::{Table, malformed, sessions};
use crate::codec::{self, CodecError, RecordKind};
use dormouse_domain::id::SessionId;
use dormouse_domain::turn::TurnRecord;

/// What follows the session in the keys of turns.
pub(in super::super) const TURN: u8 = b't';
/// The most turns of a tail, and the most bytes.
const TURNS: (usize, usize) = (8, 4 << 10);

/// The turns of sessions.
pub(super) struct TurnTable;

/// The prefix of the turns of a session.
pub(in super::super) fn turns(id: SessionId) -> [u8; 18] {
    let mut key = [TURN; 18];
    key[..17].copy_from_slice(&keys::rows(id));
    key
}

/// The turns up to this one.
pub(in super::super) fn turn(id: SessionId, number: u64) -> [u8; 26] {
    keys::row(id, TURN, number)
}

/// A turn of a session. One that is large goes to the placer, with the key of a row that has it alone.
pub(super) fn encode(placer: &mut BlobPlacer<'_>, record: &TurnRecord) -> EncodedWrite {
    let (id, number) = (record.session, record.number);
    let encoded = codec::encode_turn(record);
    if encoded.len() < engine::STAGE {
        return EncodedWrite::Turn(id, number, encoded);
    }
    let key = turn(id, number);
    let mut row = codec::Envelope::with_capacity(BEFORE + encoded.len());
    append(row.payload(), number, &encoded);
    let row = row.seal(&key);
    let bytes = row.len();
    placer.stage(&key, row.into());
    EncodedWrite::LargeTurn(id, number, bytes)
}

/// What stands before a turn in a row, in bytes: its number and its length.
const BEFORE: usize = 12;

fn append(out: &mut Vec<u8>, number: u64, turn: &[u8]) {
    out.extend_from_slice(&number.to_le_bytes());
    frame(out, |out| out.extend_from_slice(turn));
}

/// Turns, one after the other, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Turns {
    count: usize,
    bytes: Vec<u8>,
}

impl Turns {
    /// From a row, or from the tail of a session.
    pub(in super::super) fn read(bytes: &[u8]) -> Result<Turns, CodecError> {
        let turns = Turns { count: 0, bytes: bytes.to_vec() };
        let mut count = 0;
        for turn in turns.iter() {
            turn?;
            count += 1;
        }
        Ok(Turns { count, ..turns })
    }

    /// Append a turn.
    pub(in super::super) fn push(&mut self, number: u64, turn: &[u8]) {
        self.count += 1;
        append(&mut self.bytes, number, turn);
    }

    /// Whether they are to have a row of their own.
    pub(in super::super) fn are_enough(&self) -> bool {
        self.count >= TURNS.0 || self.bytes.len() > TURNS.1
    }

    /// As they are kept.
    pub(in super::super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Each with its number.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = Result<(u64, &[u8]), CodecError>> {
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
    pub(in super::super) fn last(&self) -> Option<&[u8]> {
        self.iter().flatten().last().map(|(_, turn)| turn)
    }

    /// The number of the last.
    pub(in super::super) fn end(&self) -> Option<u64> {
        self.iter().flatten().last().map(|(number, _)| number)
    }

    /// The number of the first.
    pub(in super::super) fn first(&self) -> Option<u64> {
        self.bytes.first_chunk().map(|number| u64::from_le_bytes(*number))
    }
}

impl Table for TurnTable {
    fn has(&self, key: &[u8]) -> bool {
        keys::is_row(key, TURN)
    }

    fn describe(&self, key: &[u8]) -> Option<String> {
        keys::describe_row(key, "turns")
    }

    fn session(&self, key: &[u8]) -> Option<SessionId> {
        keys::session_in(key)
    }

    fn is_part(&self) -> bool {
        true
    }

    fn check(&self, audit: &mut Audit, key: &[u8], value: &Bytes) -> Result<(), CodecError> {
        let (id, last) = number_of(key).ok_or_else(|| malformed("nobody has written this"))?;
        let turns = Turns::read(&codec::unseal(RecordKind::Turn, key, value)?)?;
        let rows = sessions::rows_of(audit, id);
        let (end, count) = follow(&turns, rows.last_turn, rows.has_gap)?;
        if end != Some(last) {
            return Err(malformed("it ends with another turn"));
        }
        rows.last_turn = end;
        audit.report().read.turns += count;
        Ok(())
    }

    fn lose(&self, audit: &mut Audit, key: &[u8]) {
        if let Some((id, last)) = number_of(key) {
            let rows = sessions::rows_of(audit, id);
            rows.last_turn = Some(last);
            rows.has_gap = true;
        }
    }

    fn set_aside(&self, audit: &mut Audit, key: &[u8]) {
        if let Some((id, _)) = number_of(key) {
            sessions::rows_of(audit, id).has_gap = true;
        }
    }
}

fn number_of(key: &[u8]) -> Option<(SessionId, u64)> {
    match keys::row_of(key)? {
        (id, keys::SessionRow::Turns(last)) => Some((id, last)),
        _ => None,
    }
}

/// Decode turns, which follow the one of this number without a gap. Returns the number of the last,
/// and how many they are.
pub(super) fn follow(
    turns: &Turns,
    mut last: Option<u64>,
    may_have_gap: bool,
) -> Result<(Option<u64>, u64), CodecError> {
    let mut count = 0;
    for turn in turns.iter() {
        let (number, turn) = turn?;
        if codec::decode_turn(turn)?.number != number {
            return Err(malformed("a turn has another number"));
        }
        if last.is_some_and(|last| last + 1 != number) && !may_have_gap {
            return Err(CodecError::Malformed(format!(
                "the turns before turn {number} are missing"
            )));
        }
        last = Some(number);
        count += 1;
    }
    Ok((last, count))
}

/// The turns of a row, all of which decode.
pub(super) fn read_all(key: &[u8], value: &[u8]) -> Result<Turns, CodecError> {
    let turns = Turns::read(&codec::unseal(RecordKind::Turn, key, value)?)?;
    for turn in turns.iter() {
        codec::decode_turn(turn?.1)?;
    }
    Ok(turns)
}
