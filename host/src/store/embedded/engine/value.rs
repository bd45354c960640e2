//! What the index says of a key: the value itself, or where in the packs it lies.
//!
//! ```text
//!  inline:   0 | crc32c | value
//!  pointer:  class | pack u64 | offset u32 | length u32 | crc32c of the frame | crc32c of the pointer
//! ```
//! Each checksum of the index begins with the key, so that no value passes for that of another key.

use super::batch::Class;

/// How long a pointer is, in bytes.
pub(super) const POINTER: usize = 25;

const INLINE: u8 = 0;

/// Which kind of pack: this is also what the names of its packs begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// Values that are soon replaced.
    Head,
    /// Values that stay.
    Rows,
    /// A large value of its own.
    Large,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Kind; 3] = [Kind::Head, Kind::Rows, Kind::Large];

    /// The letter that stands for it.
    pub(super) fn letter(self) -> u8 {
        match self {
            Kind::Head => b'h',
            Kind::Rows => b'r',
            Kind::Large => b'l',
        }
    }

    /// What a letter stands for.
    pub(super) fn of(letter: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.letter() == letter)
    }
}

/// Where the packs go for values of this class. Large inline values would bloat the index.
pub(super) fn kind_of(class: Class, length: usize) -> Option<Kind> {
    match class {
        Class::Inline if length <= super::INLINE => None,
        Class::Inline | Class::Head => Some(Kind::Head),
        Class::Rows => Some(Kind::Rows),
    }
}

/// A place in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pointer {
    /// The kind of the pack.
    pub(crate) kind: Kind,
    /// Its number.
    pub(crate) pack: u64,
    /// Where the frame begins in it.
    pub(crate) offset: u32,
    /// How long the frame is.
    pub(crate) length: u32,
    /// The checksum of the frame.
    pub(crate) crc: u32,
}

impl Pointer {
    /// As the index and the log keep it, for this key.
    pub(super) fn write(&self, key: &[u8]) -> [u8; POINTER] {
        let mut out = [0; POINTER];
        out[0] = self.kind.letter();
        out[1..9].copy_from_slice(&self.pack.to_le_bytes());
        out[9..13].copy_from_slice(&self.offset.to_le_bytes());
        out[13..17].copy_from_slice(&self.length.to_le_bytes());
        out[17..21].copy_from_slice(&self.crc.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(key), &out[..21]);
        out[21..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// From what is kept for this key. `None` where it is damaged.
    pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Pointer> {
        let value: &[u8; POINTER] = value.try_into().ok()?;
        let (body, crc) = value.split_last_chunk()?;
        if crc32c::crc32c_append(crc32c::crc32c(key), body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (kind, rest) = body.split_first()?;
        let (pack, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, crc) = rest.split_first_chunk()?;
        Some(Pointer {
            kind: Kind::of(*kind)?,
            pack: u64::from_le_bytes(*pack),
            offset: u32::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            crc: u32::from_le_bytes(crc.try_into().ok()?),
        })
    }
}

/// What the index says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// The value.
    Inline(&'a [u8]),
    /// Where it lies.
    At(Pointer),
}

impl<'a> Stored<'a> {
    /// From what is kept for this key. `None` where it is damaged.
    pub(super) fn read(key: &[u8], value: &'a [u8]) -> Option<Stored<'a>> {
        if let [INLINE, rest @ ..] = value {
            let (crc, value) = rest.split_first_chunk()?;
            let good = inline_crc(key, value) == u32::from_le_bytes(*crc);
            return good.then_some(Stored::Inline(value));
        }
        Pointer::read(key, value).map(Stored::At)
    }

    /// The pointer, where it is one.
    pub(super) fn pointer(&self) -> Option<Pointer> {
        match self {
            Stored::Inline(_) => None,
            Stored::At(pointer) => Some(*pointer),
        }
    }
}

/// A value as the index keeps it for this key.
pub(super) fn write_inline(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[INLINE], inline_crc(key, value).to_le_bytes().as_slice(), value].concat()
}

fn inline_crc(key: &[u8], value: &[u8]) -> u32 {
    // The length of the key goes first, so that no key and value pass for another split of them.
    let length = crc32c::crc32c(&(key.len() as u64).to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(length, key), value)
}
