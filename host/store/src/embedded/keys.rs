//! The keys of everything that is kept.
//!
//! | key | value |
//! | --- | --- |
//! | `s` session | the record, the names of the snapshots, the newest turns: see `cell` |
//! | `r` session `t` number | turns, up to this one |
//! | `r` session `e` cursor | the places of events in the log, up to this one |
//! | `r` session `h` snapshot | a snapshot, or an outline of it that names its blobs |
//! | `h` snapshot | the session that a snapshot belongs to |
//! | `b` kind digest | how many snapshots and templates refer to a blob |
//! | `c` kind digest | the bytes of a blob |
//! | `t` length owner name | a template, as a snapshot |
//! | `g` cursor | the events that end at this cursor |
//! | `a` `0` name `0` version | an agent that comes with the host |
//! | `a` `1` length owner name `0` version | an agent that was uploaded |
//! | `o` digest | the bytes of a component |
//! | `x` session | the session is gone, and what it left behind is being removed |
//! | `q` key | nothing under this key could be read, and it has been set aside |
//! | `m` word | about the store itself |
//!
//! Numbers are big-endian, so that keys are in the order of what they stand for. The rows of one
//! session are neighbours, so that what belongs to it is found when it is removed. The owner of a
//! template or an agent has its length before it, in two bytes: no owner and name are the key of others.
//! Before agents had owners (layout 3) the key of one was `a` name `0` version, and names begin with a
//! letter or a digit.

use uuid::Uuid;

use dormouse_domain::agent::{AgentName, AgentOwner, AgentRef, Digest, Version};
use dormouse_domain::event::Cursor;
use dormouse_domain::id::{Principal, SessionId, SnapshotId};

use super::blob::BlobId;

/// What the first byte of a key says.
pub(super) const SESSION: u8 = b's';
/// The prefix of all agents.
pub(super) const AGENT: u8 = b'a';
/// The prefix of the log of events.
pub(super) const EVENTS: u8 = b'g';
/// The prefix of sessions that are being removed.
pub(super) const GONE: u8 = b'x';
/// The prefix of what has been set aside.
pub(super) const ASIDE: u8 = b'q';

/// The prefix of all templates.
pub(super) const TEMPLATE: u8 = b't';

/// The prefix of what is about the store itself.
pub(super) const NOTE: u8 = b'm';
/// The version of the format of the directory.
pub(super) const FORMAT: &[u8] = b"mformat";
/// The secret of the store.
pub(super) const SECRET: &[u8] = b"msecret";

const OF_HOST: u8 = 0;
const OF_PRINCIPAL: u8 = 1;
const ROWS: u8 = b'r';
const TURN: u8 = b't';
const PLACE: u8 = b'e';
const SNAPSHOT: u8 = b'h';
/// The prefix of whose snapshots are.
pub(super) const HOLDER: u8 = SNAPSHOT;
/// The prefix of the counts of blobs.
pub(super) const BLOB: u8 = b'b';
/// The prefix of the bytes of blobs.
pub(super) const CONTENT: u8 = b'c';
/// The prefix of components.
pub(super) const COMPONENT: u8 = b'o';

/// A session.
pub(super) fn session(id: SessionId) -> [u8; 17] {
    of_session(SESSION, id)
}

/// A session that is being removed.
pub(super) fn gone(id: SessionId) -> [u8; 17] {
    of_session(GONE, id)
}

/// The prefix of the rows of a session.
pub(super) fn rows(id: SessionId) -> [u8; 17] {
    of_session(ROWS, id)
}

/// The prefix of the turns of a session.
pub(super) fn turns(id: SessionId) -> [u8; 18] {
    let mut key = [TURN; 18];
    key[..17].copy_from_slice(&rows(id));
    key
}

/// The prefix of the places of events of a session.
pub(super) fn places(id: SessionId) -> [u8; 18] {
    let mut key = [PLACE; 18];
    key[..17].copy_from_slice(&rows(id));
    key
}

/// The turns up to this one.
pub(super) fn turn(id: SessionId, number: u64) -> [u8; 26] {
    row(id, TURN, number)
}

/// The places of events of a session, the last of which has this cursor.
pub(super) fn place(id: SessionId, last: Cursor) -> [u8; 26] {
    row(id, PLACE, last.0)
}

/// A snapshot of a session.
pub(super) fn snapshot(id: SessionId, snapshot: SnapshotId) -> [u8; 34] {
    let mut key = [SNAPSHOT; 34];
    key[..17].copy_from_slice(&rows(id));
    key[18..].copy_from_slice(snapshot.0.as_bytes());
    key
}

/// What a row of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// Turns, up to the one of this number.
    Turns(u64),
    /// Places of events, up to this cursor.
    Places(u64),
    /// A snapshot.
    Snapshot(SnapshotId),
}

/// The session that this key is a row of, and what it is.
pub(super) fn row_of(key: &[u8]) -> Option<(SessionId, Row)> {
    let (id, rest) = key.strip_prefix(&[ROWS])?.split_first_chunk::<16>()?;
    let row = match rest {
        [TURN, number @ ..] => Row::Turns(u64::from_be_bytes(number.try_into().ok()?)),
        [PLACE, last @ ..] => Row::Places(u64::from_be_bytes(last.try_into().ok()?)),
        [SNAPSHOT, ..] => Row::Snapshot(snapshot_of(key)?),
        _ => return None,
    };
    Some((SessionId(Uuid::from_bytes(*id)), row))
}

/// The snapshot that this row of a session is, if it is one.
pub(super) fn snapshot_of(key: &[u8]) -> Option<SnapshotId> {
    let rest = key.strip_prefix(&[ROWS])?.get(16..)?;
    let id: [u8; 16] = rest.strip_prefix(&[SNAPSHOT])?.try_into().ok()?;
    Some(SnapshotId(Uuid::from_bytes(id)))
}

/// Whose a snapshot is.
pub(super) fn holder(snapshot: SnapshotId) -> [u8; 17] {
    let mut key = [SNAPSHOT; 17];
    key[1..].copy_from_slice(snapshot.0.as_bytes());
    key
}

/// The snapshot of which this key says whose it is.
pub(super) fn held(key: &[u8]) -> Option<SnapshotId> {
    let id: [u8; 16] = key.strip_prefix(&[HOLDER])?.try_into().ok()?;
    Some(SnapshotId(Uuid::from_bytes(id)))
}

/// The blob whose count or bytes this key has.
pub(super) fn blob_of(key: &[u8]) -> Option<BlobId> {
    let [BLOB | CONTENT, kind, digest @ ..] = key else { return None };
    let digest = Digest(digest.try_into().ok()?);
    [BlobId::Data(digest), BlobId::List(digest), BlobId::Chunk(digest)]
        .into_iter()
        .find(|id| id.kind() == *kind)
}

/// The count of a blob.
pub(super) fn blob(id: &BlobId) -> [u8; 34] {
    of_blob(BLOB, id)
}

/// The bytes of a blob.
pub(super) fn content(id: &BlobId) -> [u8; 34] {
    of_blob(CONTENT, id)
}

/// The bytes of a component.
pub(super) fn component(digest: Digest) -> [u8; 33] {
    let mut key = [COMPONENT; 33];
    key[1..].copy_from_slice(&digest.0);
    key
}

/// A template.
pub(super) fn template(owner: &Principal, name: &str) -> Vec<u8> {
    [&templates(owner), name.as_bytes()].concat()
}

/// The prefix of the templates of an owner.
pub(super) fn templates(owner: &Principal) -> Vec<u8> {
    [&[TEMPLATE], &length_of(owner)[..], owner.0.as_bytes()].concat()
}

fn length_of(owner: &Principal) -> [u8; 2] {
    // Longer ones are refused before they get here.
    u16::try_from(owner.0.len()).unwrap_or(u16::MAX).to_be_bytes()
}

/// A piece of the log, the last event of which has this cursor.
pub(super) fn events(last: Cursor) -> [u8; 9] {
    let mut key = [EVENTS; 9];
    key[1..].copy_from_slice(&last.0.to_be_bytes());
    key
}

/// An agent.
pub(super) fn agent(agent: &AgentRef) -> Vec<u8> {
    let AgentRef { owner, name, version, .. } = agent;
    let owner = match owner {
        AgentOwner::Host => vec![OF_HOST],
        AgentOwner::Principal(owner) => {
            [&[OF_PRINCIPAL], &length_of(owner)[..], owner.0.as_bytes()].concat()
        }
    };
    [&[AGENT], &*owner, name.as_str().as_bytes(), &[0], version.as_str().as_bytes()].concat()
}

/// An agent, as layout 3 had it.
pub(super) fn agent_without_owner(name: &AgentName, version: &Version) -> Vec<u8> {
    [&[AGENT], name.as_str().as_bytes(), &[0], version.as_str().as_bytes()].concat()
}

/// Where the value of a key is set aside.
pub(super) fn aside(key: &[u8]) -> Vec<u8> {
    [&[ASIDE], key].concat()
}

/// The session that a key of this prefix names, with nothing after it.
pub(super) fn session_of(prefix: u8, key: &[u8]) -> Option<SessionId> {
    let id: [u8; 16] = key.strip_prefix(&[prefix])?.try_into().ok()?;
    Some(SessionId(Uuid::from_bytes(id)))
}

/// The number at the end of a key.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|number| u64::from_be_bytes(*number))
}

/// A key as people read it.
pub(super) fn describe(key: &[u8]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\0', "@");
    let id = |bytes: &[u8; 16]| Uuid::from_bytes(*bytes).to_string();
    match key {
        [SESSION, rest @ ..] if rest.len() == 16 => {
            format!("session/{}", rest.first_chunk().map_or_else(String::new, id))
        }
        [ROWS, rest @ ..] if rest.len() == 25 => {
            let kind = if rest[16] == TURN { "turns" } else { "events" };
            let session = rest.first_chunk().map_or_else(String::new, id);
            format!("session/{session}/{kind}/{}", number(rest).unwrap_or_default())
        }
        [ROWS, rest @ ..] if rest.len() == 33 => {
            let snapshot = snapshot_of(key).map(|id| id.to_string()).unwrap_or_default();
            let session = rest.first_chunk().map_or_else(String::new, id);
            format!("session/{session}/snapshot/{snapshot}")
        }
        [SNAPSHOT, rest @ ..] if rest.len() == 16 => {
            format!("snapshot/{}", rest.first_chunk().map_or_else(String::new, id))
        }
        [BLOB, kind, rest @ ..] if rest.len() == 32 => {
            format!("blob/{}/{}/uses", char::from(*kind), hex(rest))
        }
        [CONTENT, kind, rest @ ..] if rest.len() == 32 => {
            format!("blob/{}/{}", char::from(*kind), hex(rest))
        }
        [COMPONENT, rest @ ..] if rest.len() == 32 => format!("component/{}", hex(rest)),
        [TEMPLATE, a, b, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*a, *b])).min(rest.len());
            let (owner, name) = rest.split_at(length);
            format!("template/{}/{}", text(owner), text(name))
        }
        [EVENTS, rest @ ..] if rest.len() == 8 => {
            format!("events/{}", number(rest).unwrap_or_default())
        }
        [AGENT, OF_PRINCIPAL, a, b, rest @ ..] => {
            let length = usize::from(u16::from_be_bytes([*a, *b])).min(rest.len());
            let (owner, name) = rest.split_at(length);
            format!("agent/{}/{}", text(owner), text(name))
        }
        [AGENT, OF_HOST, rest @ ..] | [AGENT, rest @ ..] => format!("agent/{}", text(rest)),
        [ASIDE, rest @ ..] => format!("aside/{}", describe(rest)),
        other => hex(other),
    }
}

/// The session that a key belongs to, where it belongs to one.
pub(super) fn concerned(key: &[u8]) -> Option<SessionId> {
    match key {
        [ASIDE, rest @ ..] => concerned(rest),
        [SESSION | ROWS | GONE, rest @ ..] => {
            rest.first_chunk().map(|id| SessionId(Uuid::from_bytes(*id)))
        }
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn of_blob(prefix: u8, id: &BlobId) -> [u8; 34] {
    let mut key = [prefix; 34];
    key[1] = id.kind();
    key[2..].copy_from_slice(&id.digest().0);
    key
}

fn of_session(prefix: u8, id: SessionId) -> [u8; 17] {
    let mut key = [prefix; 17];
    key[1..].copy_from_slice(id.0.as_bytes());
    key
}

fn row(id: SessionId, kind: u8, number: u64) -> [u8; 26] {
    let mut key = [kind; 26];
    key[..17].copy_from_slice(&rows(id));
    key[18..].copy_from_slice(&number.to_be_bytes());
    key
}
