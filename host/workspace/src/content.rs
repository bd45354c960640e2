//! The contents of a file: chunks by position, in a tree of 16 branches.
//!
//! How high the tree is follows from the length of the file, and where a chunk hangs from its position; chunks of zeros,
//! and nodes of nothing else, are left out. So the top of the tree, together with the length, is a function of the
//! contents alone: [`ContentId`].

mod node;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

pub(crate) use self::node::{ContentNode, Part};
use crate::blob::{BlobError, BlobId};
use crate::chunk::Chunk;
use crate::commit::Settlement;
use crate::node::{Node, Ref};
use crate::source::Source;
use crate::stored::{Decoder, Encoder, Kind, Malformed};
use crate::{CHUNK, MAX_FILE, MAX_READ};

const SIZE: u64 = CHUNK as u64;

/// What stands for the contents of a file or the target of a link: equal contents have equal ids, on all hosts and
/// in all sessions, as long as the form of blobs has its version.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ContentId(pub [u8; 32]);

/// 64 hexadecimal digits.
impl fmt::Display for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

/// Reads what [`ContentId`] prints.
impl FromStr for ContentId {
    type Err = InvalidContentId;

    fn from_str(text: &str) -> Result<ContentId, InvalidContentId> {
        let hash = blake3::Hash::from_hex(text).map_err(|_| InvalidContentId)?;
        Ok(ContentId(*hash.as_bytes()))
    }
}

/// The text is the id of no contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of contents has 64 hexadecimal digits")]
pub struct InvalidContentId;

impl fmt::Debug for ContentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentId({self})")
    }
}

impl ContentId {
    pub(crate) fn of(kind: &str, length: u64, bytes: &[u8]) -> ContentId {
        let mut hasher = blake3::Hasher::new_derive_key(kind);
        hasher.update(&length.to_le_bytes()).update(bytes);
        ContentId(*hasher.finalize().as_bytes())
    }
}

/// The contents of a file.
#[derive(Clone, Default)]
pub(crate) struct Content {
    length: u64,
    /// None: zeros.
    top: Option<Part>,
}

/// How many chunks a part of this level has.
fn span(level: u8) -> u64 {
    1 << (4 * u32::from(level))
}

/// The level of the top of a file.
fn height(length: u64) -> u8 {
    let chunks = length.div_ceil(SIZE);
    (0..).find(|level| span(*level) >= chunks).unwrap_or(0)
}

const MISPLACED: BlobError = BlobError::Inconsistent("a part of a file is not at its level");

impl Content {
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The bytes from `offset` on, `most` and [`MAX_READ`] at most.
    pub(crate) fn read(
        &self,
        source: &Source,
        offset: u64,
        most: usize,
    ) -> Result<Vec<u8>, BlobError> {
        let most = most.min(MAX_READ) as u64;
        let end = self.length.min(offset.saturating_add(most));
        let mut out = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let start = (at % SIZE) as usize;
            let count = (SIZE - start as u64).min(end - at) as usize;
            let filled = out.len() + count;
            if let Some(chunk) = self.chunk(source, at / SIZE)? {
                let bytes = chunk.bytes();
                let held = bytes.len().min(start + count);
                out.extend_from_slice(bytes.get(start..held).unwrap_or_default());
            }
            out.resize(filled, 0);
            at += count as u64;
        }
        Ok(out)
    }

    fn chunk(&self, source: &Source, index: u64) -> Result<Option<Arc<Chunk>>, BlobError> {
        let mut level = height(self.length);
        let mut part = self.top.clone();
        loop {
            match part {
                None => return Ok(None),
                Some(Part::Chunk(chunk)) if level == 0 => return chunk.load(source).map(Some),
                Some(Part::Node(node)) if level > 0 => {
                    let node = node.load(source)?;
                    if node.level != level {
                        return Err(MISPLACED);
                    }
                    level -= 1;
                    part = node.parts[slot(index, level)].clone();
                }
                Some(_) => return Err(MISPLACED),
            }
        }
    }

    /// Put `bytes` at `offset`: together at most [`MAX_FILE`].
    pub(crate) fn write(
        &mut self,
        source: &Source,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), BlobError> {
        let end = offset + bytes.len() as u64;
        if end > self.length {
            self.resize(source, end)?;
        }
        let level = height(self.length);
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let start = (at % SIZE) as usize;
            let (now, later) = rest.split_at(rest.len().min(CHUNK - start));
            let place = place(&mut self.top, level, at / SIZE, source)?;
            let is_whole =
                start == 0 && (now.len() == CHUNK || at + now.len() as u64 == self.length);
            match place {
                Some(Part::Node(_)) => return Err(MISPLACED),
                Some(Part::Chunk(chunk)) if !(is_whole && chunk.is_stored()) => {
                    chunk.change(source)?.write(start, now, source.meter());
                }
                Some(Part::Chunk(_)) | None => {
                    let mut chunk = Chunk::default();
                    chunk.write(start, now, source.meter());
                    *place = Some(Part::Chunk(Ref::new(chunk)));
                }
            }
            (at, rest) = (at + now.len() as u64, later);
        }
        Ok(())
    }

    /// Cut the file off, or let zeros follow.
    pub(crate) fn resize(&mut self, source: &Source, length: u64) -> Result<(), BlobError> {
        let (old, new) = (height(self.length), height(length));
        if length < self.length {
            prune(&mut self.top, old, length.div_ceil(SIZE), source)?;
            for level in (new..old).rev() {
                self.top = match self.top.take() {
                    None => None,
                    Some(Part::Chunk(_)) => return Err(MISPLACED),
                    Some(Part::Node(node)) => {
                        let node = node.load(source)?;
                        if node.level != level + 1 {
                            return Err(MISPLACED);
                        }
                        node.parts[0].clone()
                    }
                };
            }
            let tail = (length % SIZE) as usize;
            if tail > 0 && self.top.is_some() {
                let place = place(&mut self.top, new, length / SIZE, source)?;
                if let Some(Part::Chunk(chunk)) = place {
                    chunk.change(source)?.truncate(tail, source.meter());
                }
            }
        } else {
            for level in old..new {
                if let Some(top) = self.top.take() {
                    let mut node = ContentNode { level: level + 1, parts: Default::default() };
                    node.parts[0] = Some(top);
                    self.top = Some(Part::Node(Ref::new(node)));
                }
            }
        }
        self.length = length;
        Ok(())
    }

    /// What stands for the contents, where they are settled.
    pub(crate) fn id(&self) -> Option<ContentId> {
        let top = match &self.top {
            None => BlobId([0; 32]),
            Some(Part::Chunk(Ref::Stored(id)) | Part::Node(Ref::Stored(id))) => *id,
            Some(Part::Chunk(Ref::Live(chunk))) if chunk.is_empty() => BlobId([0; 32]),
            Some(Part::Chunk(Ref::Live(chunk))) => Encoder::of(&**chunk).finish(Kind::Chunk).id,
            Some(Part::Node(Ref::Live(_))) => return None,
        };
        Some(ContentId::of("dormouse workspace 2026 file", self.length, &top.0))
    }

    /// The blob that all of it hangs from, where there is one.
    pub(crate) fn stored(&self, open: &mut Vec<BlobId>) {
        if let Some(top) = &self.top {
            stored(top, open);
        }
    }

    pub(crate) fn weight(&self) -> usize {
        match &self.top {
            Some(Part::Chunk(Ref::Live(chunk))) => chunk.weight(),
            Some(_) | None => 0,
        }
    }

    pub(crate) fn top(&self) -> Option<(&Part, u8)> {
        self.top.as_ref().map(|top| (top, height(self.length)))
    }

    pub(crate) fn settled(&self, into: &mut Settlement) -> Content {
        let top = self.top.as_ref().and_then(|top| top.settled(into, true));
        Content { length: self.length, top }
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.number(self.length);
        match &self.top {
            None => out.byte(0),
            Some(top) => top.encode(out),
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Content, Malformed> {
        let length = from.bounded(MAX_FILE)?;
        let top = match from.byte()? {
            0 => None,
            1 => Some(Part::decode(from, height(length))?),
            _ => return Err(Malformed("the contents of a file are neither there nor not")),
        };
        if length == 0 && top.is_some() {
            return Err(Malformed("an empty file has contents"));
        }
        Ok(Content { length, top })
    }
}

/// The blobs that changed parts hang on to.
fn stored(part: &Part, open: &mut Vec<BlobId>) {
    match part {
        Part::Chunk(Ref::Stored(id)) | Part::Node(Ref::Stored(id)) => open.push(*id),
        Part::Chunk(Ref::Live(_)) => {}
        Part::Node(Ref::Live(node)) => {
            node.parts.iter().flatten().for_each(|part| stored(part, open));
        }
    }
}

/// Which part of the level above has this chunk.
fn slot(index: u64, level: u8) -> usize {
    (index >> (4 * u32::from(level)) & 15) as usize
}

/// Where the chunk `index` hangs, below a top of this level.
fn place<'a>(
    part: &'a mut Option<Part>,
    level: u8,
    index: u64,
    source: &Source,
) -> Result<&'a mut Option<Part>, BlobError> {
    if level == 0 {
        return Ok(part);
    }
    let empty = || Part::Node(Ref::new(ContentNode { level, parts: Default::default() }));
    let Part::Node(node) = part.get_or_insert_with(empty) else { return Err(MISPLACED) };
    let node = node.change(source)?;
    if node.level != level {
        return Err(MISPLACED);
    }
    place(&mut node.parts[slot(index, level - 1)], level - 1, index, source)
}

/// Drop all chunks but the first `keep`.
fn prune(part: &mut Option<Part>, level: u8, keep: u64, source: &Source) -> Result<(), BlobError> {
    if keep == 0 {
        *part = None;
        return Ok(());
    }
    if level == 0 || keep >= span(level) {
        return Ok(());
    }
    let Some(top) = part else { return Ok(()) };
    let Part::Node(node) = top else { return Err(MISPLACED) };
    let node = node.change(source)?;
    if node.level != level {
        return Err(MISPLACED);
    }
    let below = span(level - 1);
    for (position, part) in (0..).zip(&mut node.parts) {
        prune(part, level - 1, keep.saturating_sub(position * below), source)?;
    }
    Ok(())
}
