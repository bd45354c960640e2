//! What the names of a directory are made of: buckets, and branches above them.

use std::sync::Arc;

use crate::blob::BlobError;
use crate::commit::Settlement;
use crate::inode::{FileType, Ino, name};
use crate::node::{Node, Ref, mask, positions};
use crate::source::Source;
use crate::stored::{Decoder, Encoder, Kind, Malformed};
use crate::{MAX_NAME, MAX_NAMES};

/// The most names of a bucket.
pub(super) const BUCKET: usize = 64;

/// A bucket of this many bytes stands in its parent.
const INLINE: usize = 1 << 10;

const MISPLACED: BlobError = BlobError::Inconsistent("names are not where they belong");
pub(super) const MISCOUNTED: BlobError =
    BlobError::Inconsistent("a directory has other names than it counts");

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) ino: Ino,
    pub(crate) file_type: FileType,
}

#[derive(Clone)]
pub(crate) enum NamesNode {
    Bucket(Vec<Entry>),
    Branch(Box<Branch>),
}

/// Names that are equal in their first `at` half bytes, by the next one.
#[derive(Clone)]
pub(crate) struct Branch {
    /// What they begin with, filled up with zero bits.
    pub(super) prefix: Box<[u8]>,
    pub(super) at: usize,
    pub(super) parts: [Option<Part>; 16],
}

/// Names of a branch with one half byte.
#[derive(Clone)]
pub(super) struct Part {
    pub(super) count: u64,
    pub(super) node: Ref<NamesNode>,
}

/// The half byte of a name at this position.
pub(super) fn half(name: &[u8], at: usize) -> usize {
    let byte = name.get(at / 2).copied().unwrap_or(0);
    usize::from(if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
}

/// In how many half bytes, of `most`, two names are equal that are equal in the first `least`.
pub(super) fn common(one: &[u8], two: &[u8], least: usize, most: usize) -> usize {
    (least..most).find(|at| half(one, *at) != half(two, *at)).unwrap_or(most)
}

/// The first half bytes of a name.
fn prefix(name: &[u8], at: usize) -> Box<[u8]> {
    let byte = |position: usize| {
        let byte = name.get(position).copied().unwrap_or(0);
        if 2 * position + 1 == at { byte & 0xf0 } else { byte }
    };
    (0..at.div_ceil(2)).map(byte).collect()
}

/// No two names have more half bytes in common.
pub(super) const HALVES: usize = 2 * (MAX_NAME + 1);

impl Branch {
    /// No names yet, with the first half bytes of this one.
    pub(super) fn new(name: &[u8], at: usize) -> Branch {
        Branch { prefix: prefix(name, at), at, parts: Default::default() }
    }

    pub(super) fn count(&self) -> u64 {
        self.parts.iter().flatten().map(|part| part.count).fold(0, u64::saturating_add)
    }

    /// Its parts that may have names behind `after`, each with what its names are still to be compared with. The first
    /// `known` half bytes of `after` are its own.
    pub(super) fn behind<'a>(
        &self,
        after: Option<&'a [u8]>,
        known: usize,
    ) -> Vec<(&Part, Option<&'a [u8]>)> {
        let (first, after) = match after {
            None => (0, None),
            Some(name) => match common(name, &self.prefix, known, self.at) {
                at if at == self.at => (half(name, at), after),
                at if half(name, at) > half(&self.prefix, at) => (self.parts.len(), None),
                _ => (0, None),
            },
        };
        let parts = self.parts.iter().enumerate().skip(first);
        let parts = parts.filter_map(|(position, part)| Some((position, part.as_ref()?)));
        parts.map(|(position, part)| (part, after.filter(|_| position == first))).collect()
    }

    /// Its part, where it has no other.
    pub(super) fn only(&self) -> Option<&Part> {
        let mut parts = self.parts.iter().flatten();
        parts.next().filter(|_| parts.next().is_none())
    }
}

impl Part {
    pub(super) fn of(entries: Vec<Entry>) -> Part {
        Part { count: entries.len() as u64, node: Ref::new(NamesNode::Bucket(entries)) }
    }
}

impl NamesNode {
    /// Whether it may stand below a branch that parts names at `above`: so there is an end to what stands below a
    /// branch, and each node has names.
    pub(crate) fn check_below(&self, above: Option<usize>) -> Result<(), BlobError> {
        let is_right = match (self, above) {
            (_, None) => true,
            (NamesNode::Bucket(entries), Some(_)) => !entries.is_empty(),
            (NamesNode::Branch(branch), Some(above)) => branch.at > above,
        };
        if is_right { Ok(()) } else { Err(MISPLACED) }
    }

    /// Where this name parts from all names of a branch, before they part from each other. Its first `known` half bytes
    /// are those of the branch.
    pub(super) fn parts_from(&self, name: &str, known: usize) -> Option<usize> {
        let NamesNode::Branch(branch) = self else { return None };
        let at = common(name.as_bytes(), &branch.prefix, known, branch.at);
        (at < branch.at).then_some(at)
    }

    /// Whether the part of a branch that has this name has no other.
    pub(super) fn has_alone(&self, name: &str) -> bool {
        let NamesNode::Branch(branch) = self else { return false };
        let part = &branch.parts[half(name.as_bytes(), branch.at)];
        part.as_ref().is_some_and(|part| part.count <= 1)
    }

    /// The names of a branch, where without one of them they are a bucket: then each of its parts is one.
    pub(super) fn gather(&self, source: &Source) -> Result<Option<Vec<Entry>>, BlobError> {
        let NamesNode::Branch(branch) = self else { return Ok(None) };
        if branch.count() > BUCKET as u64 + 1 {
            return Ok(None);
        }
        let mut entries = Vec::with_capacity(BUCKET + 1);
        for part in branch.parts.iter().flatten() {
            match &*part.node.load(source)? {
                NamesNode::Bucket(few) => entries.extend_from_slice(few),
                NamesNode::Branch(_) => return Err(MISCOUNTED),
            }
        }
        Ok(Some(entries))
    }

    /// Where a branch parts its names.
    pub(crate) fn parted_at(&self) -> Option<usize> {
        match self {
            NamesNode::Bucket(_) => None,
            NamesNode::Branch(branch) => Some(branch.at),
        }
    }

    /// How many names it has itself.
    pub(crate) fn names(&self) -> u64 {
        match self {
            NamesNode::Bucket(entries) => entries.len() as u64,
            NamesNode::Branch(_) => 0,
        }
    }

    /// The nodes below it, each with how many names it has.
    pub(crate) fn below(&self) -> impl Iterator<Item = (u64, &Ref<NamesNode>)> {
        let parts = match self {
            NamesNode::Bucket(_) => None,
            NamesNode::Branch(branch) => Some(branch.parts.iter().flatten()),
        };
        parts.into_iter().flatten().map(|part| (part.count, &part.node))
    }
}

impl Node for NamesNode {
    const KIND: Kind = Kind::Names;

    fn encode(&self, out: &mut Encoder) {
        match self {
            NamesNode::Bucket(entries) => {
                out.byte(0);
                out.number(entries.len() as u64);
                for entry in entries {
                    out.bytes(entry.name.as_bytes());
                    out.number(entry.ino);
                    out.byte(entry.file_type.byte());
                }
            }
            NamesNode::Branch(branch) => {
                out.byte(1);
                out.number(branch.at as u64);
                out.bytes(&branch.prefix);
                out.mask(mask(&branch.parts));
                for part in branch.parts.iter().flatten() {
                    out.number(part.count);
                    part.node.encode(out);
                }
            }
        }
    }

    fn decode(from: &mut Decoder<'_>) -> Result<NamesNode, Malformed> {
        match from.byte()? {
            0 => {
                let count = from.bounded(BUCKET as u64)?;
                let entries: Vec<Entry> =
                    (0..count).map(|_| Entry::decode(from)).collect::<Result<_, _>>()?;
                if !entries.is_sorted_by(|one, two| one.name < two.name) {
                    return Err(Malformed("names are not in their order"));
                }
                Ok(NamesNode::Bucket(entries))
            }
            1 => {
                let at = from.bounded(HALVES as u64)? as usize;
                let given = from.bytes(MAX_NAME + 1)?;
                if *prefix(given, at) != *given {
                    return Err(Malformed("the beginning of names has another length"));
                }
                let taken = from.mask()?;
                if taken.count_ones() < 2 {
                    return Err(Malformed("names are not parted"));
                }
                let mut branch = Branch { prefix: given.into(), at, parts: Default::default() };
                for position in positions(taken) {
                    let count = from.bounded(MAX_NAMES)?;
                    branch.parts[position] = Some(Part { count, node: Ref::decode(from)? });
                }
                if branch.count() <= BUCKET as u64 {
                    return Err(Malformed("names are parted without need"));
                }
                Ok(NamesNode::Branch(Box::new(branch)))
            }
            _ => Err(Malformed("names are neither a bucket nor a branch")),
        }
    }

    fn settled(&self, into: &mut Settlement) -> NamesNode {
        match self {
            NamesNode::Bucket(_) => self.clone(),
            NamesNode::Branch(branch) => {
                let mut settled = branch.clone();
                for part in settled.parts.iter_mut().flatten() {
                    part.node = into.settle(&part.node);
                }
                NamesNode::Branch(settled)
            }
        }
    }

    fn is_inline(&self, bytes: usize, _: usize) -> bool {
        match self {
            NamesNode::Bucket(_) => bytes <= INLINE,
            NamesNode::Branch(_) => false,
        }
    }

    fn weight(&self) -> usize {
        match self {
            NamesNode::Bucket(entries) => {
                entries.iter().map(|entry| size_of::<Entry>() + entry.name.len() + 16).sum()
            }
            NamesNode::Branch(branch) => {
                let below = branch.parts.iter().flatten().map(|part| match &part.node {
                    Ref::Live(node) => node.weight(),
                    Ref::Stored(_) => 0,
                });
                size_of::<Branch>() + branch.prefix.len() + below.sum::<usize>()
            }
        }
    }
}

impl Entry {
    fn decode(from: &mut Decoder<'_>) -> Result<Entry, Malformed> {
        let name = name(from)?;
        Ok(Entry { name, ino: from.number()?, file_type: FileType::decode(from)? })
    }
}
