//! What the index says of a key: the value itself, or where in the packs it lies.
//!
//! ```text
//!  inline:   0 | crc32c | value
//!  pointer:  kind | pack u64 | offset u32 | length u32 | crc32c of the frame | crc32c | front
//! ```
//! Each checksum of the index begins with the key, so that no value passes for that of another key.

use super::batch::Class;

/// How long a pointer is, in bytes, without a front.
pub(super) const POINTER: usize = 25;

const CHECKED: usize = 21;

const INLINE: u8 = 0;

/// Which kind of pack: this is also what the names of its packs begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PackKind {
    /// Values that are soon replaced.
    Head,
    /// Values that stay.
    Rows,
    /// Large values, which have been staged.
    Large,
}

impl PackKind {
    /// All of them.
    pub(crate) const ALL: [PackKind; 3] = [PackKind::Head, PackKind::Rows, PackKind::Large];

    /// The letter that stands for it.
    pub(super) fn letter(self) -> u8 {
        match self {
            PackKind::Head => b'h',
            PackKind::Rows => b'r',
            PackKind::Large => b'l',
        }
    }

    /// What a letter stands for.
    pub(super) fn of(letter: u8) -> Option<PackKind> {
        PackKind::ALL.into_iter().find(|kind| kind.letter() == letter)
    }
}

/// Where the packs go for values of this class. Large inline values would bloat the index.
pub(super) fn kind_of(class: Class, length: usize) -> Option<PackKind> {
    match class {
        Class::Inline if length <= super::INLINE => None,
        Class::Inline | Class::Head | Class::Fronted(_) => Some(PackKind::Head),
        Class::Rows => Some(PackKind::Rows),
    }
}

/// A place in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pointer {
    /// The kind of the pack.
    pub(crate) kind: PackKind,
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
    /// Where the frame ends.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + u64::from(self.length)
    }

    /// As the index and the log keep it, for this key, with the front of the value.
    pub(super) fn write(&self, key: &[u8], front: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(POINTER + front.len());
        out.push(self.kind.letter());
        out.extend_from_slice(&self.pack.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        let crc = checksum(key, &[&out, front]);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(front);
        out
    }

    /// From what is kept for this key, with the front. `None` where it is damaged.
    pub(super) fn read<'a>(key: &[u8], value: &'a [u8]) -> Option<(Pointer, &'a [u8])> {
        let (body, rest) = value.split_first_chunk::<CHECKED>()?;
        let (crc, front) = rest.split_first_chunk()?;
        if checksum(key, &[body, front]) != u32::from_le_bytes(*crc) {
            return None;
        }
        let (kind, rest) = body.split_first()?;
        let (pack, rest) = rest.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, crc) = rest.split_first_chunk()?;
        let pointer = Pointer {
            kind: PackKind::of(*kind)?,
            pack: u64::from_le_bytes(*pack),
            offset: u32::from_le_bytes(*offset),
            length: u32::from_le_bytes(*length),
            crc: u32::from_le_bytes(crc.try_into().ok()?),
        };
        Some((pointer, front))
    }
}

/// What the index says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored<'a> {
    /// The value.
    Inline(&'a [u8]),
    /// Where it lies, and its front.
    At(Pointer, &'a [u8]),
}

impl<'a> Stored<'a> {
    /// From what is kept for this key. `None` where it is damaged.
    pub(super) fn read(key: &[u8], value: &'a [u8]) -> Option<Stored<'a>> {
        if let [INLINE, rest @ ..] = value {
            let (crc, value) = rest.split_first_chunk()?;
            let good = checksum(key, &[value]) == u32::from_le_bytes(*crc);
            return good.then_some(Stored::Inline(value));
        }
        Pointer::read(key, value).map(|(pointer, front)| Stored::At(pointer, front))
    }

    /// The pointer, where it is one.
    pub(super) fn pointer(&self) -> Option<Pointer> {
        match self {
            Stored::Inline(_) => None,
            Stored::At(pointer, _) => Some(*pointer),
        }
    }
}

/// A value as the index keeps it for this key.
pub(super) fn write_inline(key: &[u8], value: &[u8]) -> Vec<u8> {
    [&[INLINE], checksum(key, &[value]).to_le_bytes().as_slice(), value].concat()
}

fn checksum(key: &[u8], parts: &[&[u8]]) -> u32 {
    // The length of the key goes first, so that no key and value pass for another split of them.
    let length = crc32c::crc32c(&(key.len() as u64).to_le_bytes());
    let key = crc32c::crc32c_append(length, key);
    parts.iter().fold(key, |crc, part| crc32c::crc32c_append(crc, part))
}
