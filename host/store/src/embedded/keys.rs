//! Keys: those of each kind are made in the file of its table, and what they have in common here.

use uuid::Uuid;

use dormouse_domain::id::{Principal, SessionId, SnapshotId};

pub(super) use super::tables::agents::{AGENT, agent, component};
pub(super) use super::tables::blobs::{CONTENT, blob, content, unused};
use super::tables::events::PLACE;
pub(super) use super::tables::events::{EVENTS, events, place, places};
pub(super) use super::tables::notes::{ASIDE, FORMAT, SECRET, aside};
pub(super) use super::tables::sessions::{SESSION, gone, session};
use super::tables::snapshots::SNAPSHOT;
pub(super) use super::tables::snapshots::{holder, snapshot, snapshot_of};
pub(super) use super::tables::templates::{TEMPLATE, template, templates};
use super::tables::turns::TURN;
pub(super) use super::tables::turns::{turn, turns};
pub(super) use super::tables::{concerned, describe};

/// The prefix of the rows of all sessions.
pub(super) const ROWS: u8 = b'r';

/// The prefix of the rows of a session.
pub(super) fn rows(id: SessionId) -> [u8; 17] {
    of_session(ROWS, id)
}

/// What a row of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionRow {
    /// Turns, up to the one of this number.
    Turns(u64),
    /// Places of events, up to this cursor.
    Places(u64),
    /// A snapshot.
    Snapshot(SnapshotId),
}

/// The session that this key is a row of, and what it is.
pub(super) fn row_of(key: &[u8]) -> Option<(SessionId, SessionRow)> {
    let (id, rest) = key.strip_prefix(&[ROWS])?.split_first_chunk::<16>()?;
    let row = match rest {
        [TURN, number @ ..] => SessionRow::Turns(u64::from_be_bytes(number.try_into().ok()?)),
        [PLACE, last @ ..] => SessionRow::Places(u64::from_be_bytes(last.try_into().ok()?)),
        [SNAPSHOT, ..] => SessionRow::Snapshot(snapshot_of(key)?),
        _ => return None,
    };
    Some((SessionId(Uuid::from_bytes(*id)), row))
}

/// Whether this key is a row of a session, of this kind.
pub(super) fn is_row(key: &[u8], kind: u8) -> bool {
    key.first() == Some(&ROWS) && key.get(17) == Some(&kind)
}

/// The row of a session, with its number, as people read it.
pub(super) fn describe_row(key: &[u8], kind: &str) -> Option<String> {
    let number = number(key).filter(|_| key.len() == 26)?;
    Some(format!("session/{}/{kind}/{number}", session_in(key)?))
}

/// The session that a key of this prefix names, with nothing after it.
pub(super) fn session_of(prefix: u8, key: &[u8]) -> Option<SessionId> {
    let id: [u8; 16] = key.strip_prefix(&[prefix])?.try_into().ok()?;
    Some(SessionId(Uuid::from_bytes(id)))
}

/// The session that stands behind the first byte of a key, whatever comes after it.
pub(super) fn session_in(key: &[u8]) -> Option<SessionId> {
    let id = key.get(1..)?.first_chunk()?;
    Some(SessionId(Uuid::from_bytes(*id)))
}

/// The number at the end of a key.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|number| u64::from_be_bytes(*number))
}

/// The owner and what comes after it, where the owner has its length before it.
pub(super) fn split_owner(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::from(u16::from_be_bytes(*length)).min(rest.len());
    Some(rest.split_at(length))
}

/// What stands before an owner in a key.
pub(super) fn length_of(owner: &Principal) -> [u8; 2] {
    // Longer ones are refused before they get here.
    u16::try_from(owner.0.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// A part of a key as people read it.
pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace('\0', "@")
}

/// Bytes that are no text, as people read them.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key of this prefix with a session, and nothing after it.
pub(super) fn of_session(prefix: u8, id: SessionId) -> [u8; 17] {
    let mut key = [prefix; 17];
    key[1..].copy_from_slice(id.0.as_bytes());
    key
}

/// A row of a session, of this kind.
pub(super) fn row(id: SessionId, kind: u8, number: u64) -> [u8; 26] {
    let mut key = [kind; 26];
    key[..17].copy_from_slice(&rows(id));
    key[18..].copy_from_slice(&number.to_be_bytes());
    key
}
