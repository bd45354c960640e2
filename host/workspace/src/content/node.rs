//! What the contents of a file are made of: chunks, and nodes above them.

use super::height;
use crate::MAX_FILE;
use crate::chunk::Chunk;
use crate::commit::Settlement;
use crate::node::{Node, Ref, mask, positions};
use crate::stored::{Decoder, Encoder, Kind, Malformed};

/// A chunk, or what is above chunks.
#[derive(Clone)]
pub(crate) enum Part {
    Chunk(Ref<Chunk>),
    Node(Ref<ContentNode>),
}

/// What is above chunks. At level 1 its parts are chunks, at each other nodes of the level below.
#[derive(Clone)]
pub(crate) struct ContentNode {
    pub(super) level: u8,
    pub(super) parts: [Option<Part>; 16],
}

impl Part {
    /// The same in blobs; the only chunk of a small file may stand beside its inode.
    pub(super) fn settled(&self, into: &mut Settlement, is_top: bool) -> Option<Part> {
        match self {
            Part::Chunk(Ref::Live(chunk)) if chunk.is_empty() => None,
            Part::Chunk(chunk) if is_top => Some(Part::Chunk(into.settle(chunk))),
            Part::Chunk(Ref::Stored(_)) => Some(self.clone()),
            Part::Chunk(Ref::Live(chunk)) => {
                let id = into.store(Encoder::of(&**chunk), Chunk::default());
                Some(Part::Chunk(Ref::Stored(id)))
            }
            Part::Node(Ref::Stored(_)) => Some(self.clone()),
            Part::Node(Ref::Live(node)) => {
                let node = node.settled(into);
                if mask(&node.parts) == 0 {
                    return None;
                }
                let out = Encoder::of(&node);
                Some(Part::Node(Ref::Stored(into.store(out, node))))
            }
        }
    }

    pub(super) fn encode(&self, out: &mut Encoder) {
        match self {
            Part::Chunk(chunk) => {
                out.byte(1);
                chunk.encode(out);
            }
            Part::Node(node) => {
                out.byte(1);
                node.encode(out);
            }
        }
    }

    pub(super) fn decode(from: &mut Decoder<'_>, level: u8) -> Result<Part, Malformed> {
        if level == 0 {
            Ref::decode(from).map(Part::Chunk)
        } else {
            Ref::decode(from).map(Part::Node)
        }
    }
}

impl ContentNode {
    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    /// Its parts, each with its position.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (u64, &Part)> {
        (0..).zip(&self.parts).filter_map(|(position, part)| Some((position, part.as_ref()?)))
    }
}

impl Node for ContentNode {
    const KIND: Kind = Kind::Contents;

    fn encode(&self, out: &mut Encoder) {
        out.byte(self.level);
        out.mask(mask(&self.parts));
        for part in self.parts.iter().flatten() {
            if let Part::Chunk(Ref::Stored(id)) | Part::Node(Ref::Stored(id)) = part {
                out.edge(*id);
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<ContentNode, Malformed> {
        let level = from.byte()?;
        if level == 0 || level > height(MAX_FILE) {
            return Err(Malformed("a part of a file is of no level"));
        }
        let taken = from.mask()?;
        if taken == 0 {
            return Err(Malformed("a part of a file is empty"));
        }
        let mut node = ContentNode { level, parts: Default::default() };
        for position in positions(taken) {
            let id = from.edge()?;
            node.parts[position] = Some(match level {
                1 => Part::Chunk(Ref::Stored(id)),
                _ => Part::Node(Ref::Stored(id)),
            });
        }
        Ok(node)
    }

    fn settled(&self, into: &mut Settlement) -> ContentNode {
        let mut settled = ContentNode { level: self.level, parts: Default::default() };
        for (slot, part) in settled.parts.iter_mut().zip(&self.parts) {
            *slot = part.as_ref().and_then(|part| part.settled(into, false));
        }
        settled
    }

    fn is_inline(&self, _: usize, _: usize) -> bool {
        false
    }

    fn weight(&self) -> usize {
        size_of::<ContentNode>()
    }
}
