//! A group of the log: the bytes of one batch, whole or not at all.
//!
//! ```text
//!  magic u32 | length u32 | crc32c u32 | count u32 | sequence u64 | applied u64 | changes … | zeros
//!  change:  what u8 | key length u16 | value length u32 | key | value
//! ```
//! Each group begins at a multiple of 4 KiB. `length` is that of the changes. The checksum begins
//! with the salt of the store and covers all other fields and the changes: so the bytes of a
//! guest, which lie in the log as they are, never pass for a group. `applied` is how far the index
//! had been made durable: an index that is not as far is an old one.

use bytes::Bytes;

use super::batch::{Class, KeyChange};
use super::value::Pointer;

/// Where groups begin: at multiples of this, in bytes.
pub(super) const ALIGNMENT: usize = 4096;
/// How long the header is, in bytes.
pub(super) const HEADER: usize = 32;
/// The longest key, in bytes.
pub(crate) const KEY: usize = 1024;

const MAGIC: u32 = 0x474f_4c44;
const CHECKED_FROM: usize = 12;
const CHANGE: usize = 7;

const DELETE: u8 = 0;
const INLINE: u8 = 1;
const HEAD: u8 = 2;
const ROWS: u8 = 3;
const STAGED: u8 = 4;
/// The value begins with how long its front is.
const FRONTED: u8 = 5;

/// What stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Which group this is: one more than the group before.
    pub(super) sequence: u64,
    /// The sequence number that the index had durably reached.
    pub(super) applied: u64,
    /// How many changes there are.
    pub(super) count: u32,
    /// How many bytes the group takes, with the zeros.
    pub(super) room: usize,
}

/// How many bytes a change takes.
pub(super) fn size(key: &[u8], change: &KeyChange) -> usize {
    let value = match change {
        KeyChange::Put(Class::Fronted(_), value) => 2 + value.len(),
        KeyChange::Put(_, value) => value.len(),
        KeyChange::Staged(_) => super::value::POINTER,
        KeyChange::Delete => 0,
    };
    CHANGE + key.len() + value
}

/// How many bytes a group takes whose changes take this many.
pub(super) fn room(changes: usize) -> usize {
    (HEADER + changes).next_multiple_of(ALIGNMENT)
}

/// Write a group to the end of `out`, which is at a multiple of [`ALIGNMENT`].
pub(super) fn write(
    out: &mut Vec<u8>,
    salt: u32,
    sequence: u64,
    applied: u64,
    changes: &[(Bytes, KeyChange)],
) {
    let start = out.len();
    out.resize(start + HEADER, 0);
    for (key, change) in changes {
        write_change(out, key, change);
    }
    let end = out.len();
    out.resize(start + (end - start).next_multiple_of(ALIGNMENT), 0);
    let group = &mut out[start..];
    // Batches are far smaller than what these take.
    let length = (end - start - HEADER) as u32;
    group[..4].copy_from_slice(&MAGIC.to_le_bytes());
    group[4..8].copy_from_slice(&length.to_le_bytes());
    group[12..16].copy_from_slice(&(changes.len() as u32).to_le_bytes());
    group[16..24].copy_from_slice(&sequence.to_le_bytes());
    group[24..32].copy_from_slice(&applied.to_le_bytes());
    let crc = checksum(salt, &group[..end - start]);
    group[8..12].copy_from_slice(&crc.to_le_bytes());
}

/// The group at the beginning of `bytes`, with its changes. `None` where there is no whole one.
pub(super) fn read(bytes: &[u8], salt: u32) -> Option<(Header, &[u8])> {
    let header: &[u8; HEADER] = bytes.first_chunk()?;
    if word(header, 0) != MAGIC {
        return None;
    }
    let end = HEADER.checked_add(word(header, 4) as usize)?;
    let group = bytes.get(..end)?;
    if checksum(salt, group) != word(header, 8) {
        return None;
    }
    let header = Header {
        sequence: u64::from(word(header, 16)) | u64::from(word(header, 20)) << 32,
        applied: u64::from(word(header, 24)) | u64::from(word(header, 28)) << 32,
        count: word(header, 12),
        room: end.next_multiple_of(ALIGNMENT),
    };
    Some((header, &group[HEADER..]))
}

/// How many bytes the group takes of which this says that it is the header, whether or not it is one.
pub(super) fn claimed_room(header: &[u8; HEADER]) -> usize {
    if word(header, 0) == MAGIC { room(word(header, 4) as usize) } else { ALIGNMENT }
}

/// The changes of a group. `None` where they are not what [`write`] has written.
pub(super) fn changes(mut bytes: &[u8], count: u32) -> Option<Vec<(Bytes, KeyChange)>> {
    // A count that is a lie must not make us ask for memory.
    let mut changes = Vec::with_capacity((count as usize).min(bytes.len() / CHANGE));
    for _ in 0..count {
        let Parts { what, key, value, rest } = split_change(bytes)?;
        let put = |class| Some(KeyChange::Put(class, Bytes::copy_from_slice(value)));
        let change = match what {
            DELETE if value.is_empty() => Some(KeyChange::Delete),
            INLINE => put(Class::Inline),
            HEAD => put(Class::Head),
            ROWS => put(Class::Rows),
            FRONTED => {
                let (front, value) = value.split_first_chunk()?;
                let front = u16::from_le_bytes(*front);
                let class = Class::Fronted(front);
                let whole = usize::from(front) <= value.len();
                whole.then(|| KeyChange::Put(class, Bytes::copy_from_slice(value)))
            }
            STAGED => match Pointer::read(key, value)? {
                (pointer, []) => Some(KeyChange::Staged(pointer)),
                _ => None,
            },
            _ => None,
        }?;
        changes.push((Bytes::copy_from_slice(key), change));
        bytes = rest;
    }
    bytes.is_empty().then_some(changes)
}

/// The keys of a damaged group of this number, which lies somewhere in these bytes, as far as it can
/// be taken apart: nothing says that they are right.
pub(super) fn remains(bytes: &[u8], sequence: u64) -> Vec<&[u8]> {
    let mut keys = Vec::new();
    for group in bytes.chunks(ALIGNMENT).enumerate().map(|(i, _)| &bytes[i * ALIGNMENT..]) {
        let Some((header, rest)) = group.split_first_chunk::<HEADER>() else { continue };
        if word(header, 0) != MAGIC || header[16..24] != sequence.to_le_bytes() {
            continue;
        }
        let mut rest = &rest[..rest.len().min(word(header, 4) as usize)];
        for _ in 0..word(header, 12) {
            let Some(parts) = split_change(rest) else { break };
            let good = !parts.key.is_empty() && parts.key.len() <= KEY;
            keys.extend(good.then_some(parts.key));
            rest = parts.rest;
        }
    }
    keys
}

/// A change, taken apart, and what comes after it.
struct Parts<'a> {
    what: u8,
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

fn split_change(bytes: &[u8]) -> Option<Parts<'_>> {
    let (head, rest) = bytes.split_first_chunk::<CHANGE>()?;
    let key_length = usize::from(u16::from_le_bytes([head[1], head[2]]));
    let value_length = word(head, 3) as usize;
    let (key, rest) = rest.split_at_checked(key_length)?;
    let (value, rest) = rest.split_at_checked(value_length)?;
    Some(Parts { what: head[0], key, value, rest })
}

fn write_change(out: &mut Vec<u8>, key: &[u8], change: &KeyChange) {
    let before;
    let (what, before, value): (u8, &[u8], &[u8]) = match change {
        KeyChange::Put(Class::Inline, value) => (INLINE, &[], value),
        KeyChange::Put(Class::Head, value) => (HEAD, &[], value),
        KeyChange::Put(Class::Rows, value) => (ROWS, &[], value),
        KeyChange::Put(Class::Fronted(front), value) => {
            before = front.to_le_bytes();
            (FRONTED, &before, value)
        }
        KeyChange::Staged(at) => (STAGED, &at.write(key, &[]), &[]),
        KeyChange::Delete => (DELETE, &[], &[]),
    };
    out.push(what);
    // Both lengths have been checked before.
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(&((before.len() + value.len()) as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(before);
    out.extend_from_slice(value);
}

fn checksum(salt: u32, group: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt, &group[4..8]), &group[CHECKED_FROM..])
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}
