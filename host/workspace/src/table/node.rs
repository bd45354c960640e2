//! What the table is made of: groups of inodes, and branches above them.

use std::sync::Arc;

use crate::blob::BlobError;
use crate::commit::Settlement;
use crate::inode::Inode;
use crate::node::{Node, Ref, mask, positions};
use crate::stored::{Decoder, Encoder, Kind, Malformed};

/// A group of this many bytes stands in its parent, where it names one blob at most.
const INLINE: usize = 1 << 10;

/// The level of the highest table that there is: more numbers than any quota allows.
pub(super) const MAX_LEVEL: u8 = 8;

#[derive(Clone)]
pub(crate) enum TableNode {
    Group(Box<[Option<Arc<Inode>>; 16]>),
    Branch { level: u8, parts: Box<[Option<Part>; 16]> },
}

/// What is below one branch of a node.
#[derive(Clone)]
pub(crate) struct Part {
    pub(super) count: u64,
    pub(super) node: Ref<TableNode>,
}

pub(super) const MISPLACED: BlobError =
    BlobError::Inconsistent("a group of inodes is not at its level");

/// How many numbers a node of this level has.
pub(super) fn span(level: u8) -> u64 {
    1 << (4 * (u32::from(level) + 1))
}

impl TableNode {
    pub(super) fn empty(level: u8) -> TableNode {
        if level == 0 {
            TableNode::Group(Box::default())
        } else {
            TableNode::Branch { level, parts: Box::default() }
        }
    }

    pub(crate) fn level(&self) -> u8 {
        match self {
            TableNode::Group(_) => 0,
            TableNode::Branch { level, .. } => *level,
        }
    }

    /// How many inodes it has.
    pub(crate) fn count(&self) -> u64 {
        match self {
            TableNode::Group(inodes) => inodes.iter().flatten().count() as u64,
            TableNode::Branch { parts, .. } => {
                parts.iter().flatten().map(|part| part.count).fold(0, u64::saturating_add)
            }
        }
    }

    /// Its inodes, each with where it stands in the group.
    pub(crate) fn inodes(&self) -> impl Iterator<Item = (u64, &Arc<Inode>)> {
        let inodes = match self {
            TableNode::Group(inodes) => Some(inodes.iter()),
            TableNode::Branch { .. } => None,
        };
        (0..)
            .zip(inodes.into_iter().flatten())
            .filter_map(|(at, inode)| Some((at, inode.as_ref()?)))
    }

    /// The nodes below it, each with the first of its numbers, from that of this node on, and how many inodes it has.
    pub(crate) fn below(&self) -> impl Iterator<Item = (u64, u64, &Ref<TableNode>)> {
        let (parts, span) = match self {
            TableNode::Group(_) => (None, 0),
            TableNode::Branch { parts, level } => (Some(parts.iter()), span(level - 1)),
        };
        let parts = (0..).zip(parts.into_iter().flatten());
        parts.filter_map(move |(at, part)| {
            part.as_ref().map(|part| (at * span, part.count, &part.node))
        })
    }

    pub(super) fn parts(&mut self, at: u8) -> Result<&mut [Option<Part>; 16], BlobError> {
        match self {
            TableNode::Branch { level, parts } if *level == at => Ok(parts),
            TableNode::Branch { .. } | TableNode::Group(_) => Err(MISPLACED),
        }
    }

    pub(super) fn group(&mut self) -> Result<&mut [Option<Arc<Inode>>; 16], BlobError> {
        match self {
            TableNode::Group(inodes) => Ok(inodes),
            TableNode::Branch { .. } => Err(MISPLACED),
        }
    }
}

impl Node for TableNode {
    const KIND: Kind = Kind::Table;

    fn encode(&self, out: &mut Encoder) {
        out.byte(self.level());
        match self {
            TableNode::Group(inodes) => {
                out.mask(mask(inodes));
                inodes.iter().flatten().for_each(|inode| inode.encode(out));
            }
            TableNode::Branch { parts, .. } => {
                out.mask(mask(parts));
                for part in parts.iter().flatten() {
                    out.number(part.count);
                    part.node.encode(out);
                }
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<TableNode, Malformed> {
        let level = from.byte()?;
        if level > MAX_LEVEL {
            return Err(Malformed("a table is too high"));
        }
        let taken = from.mask()?;
        if level == 0 {
            let mut inodes: Box<[Option<Arc<Inode>>; 16]> = Box::default();
            for position in positions(taken) {
                inodes[position] = Some(Arc::new(Inode::decode(from)?));
            }
            return Ok(TableNode::Group(inodes));
        }
        let mut parts: Box<[Option<Part>; 16]> = Box::default();
        for position in positions(taken) {
            let count = from.bounded(span(level - 1))?;
            parts[position] = Some(Part { count, node: Ref::decode(from)? });
        }
        Ok(TableNode::Branch { level, parts })
    }

    fn settled(&self, into: &mut Settlement) -> TableNode {
        match self {
            TableNode::Group(inodes) => {
                let mut settled = inodes.clone();
                for inode in settled.iter_mut().flatten() {
                    *inode = Arc::new(inode.settled(into));
                }
                TableNode::Group(settled)
            }
            TableNode::Branch { level, parts } => {
                let mut parts = parts.clone();
                for part in parts.iter_mut().flatten() {
                    part.node = into.settle(&part.node);
                }
                TableNode::Branch { level: *level, parts }
            }
        }
    }

    fn is_inline(&self, bytes: usize, edges: usize) -> bool {
        match self {
            TableNode::Group(_) => bytes <= INLINE && edges <= 1,
            TableNode::Branch { .. } => false,
        }
    }

    fn weight(&self) -> usize {
        let below: usize = match self {
            TableNode::Group(inodes) => inodes.iter().flatten().map(|inode| inode.weight()).sum(),
            TableNode::Branch { parts, .. } => {
                let parts = parts.iter().flatten();
                let live = parts.filter_map(|part| match &part.node {
                    Ref::Live(node) => Some(node.weight()),
                    Ref::Stored(_) => None,
                });
                live.sum()
            }
        };
        16 * size_of::<Part>() + below
    }
}
