//! The names in a directory, in the order of their bytes.
//!
//! Up to [`BUCKET`] names are a bucket. More of them are parted at the first half byte in which two of them differ,
//! and so on: so the form follows from the names alone, whatever was there before, and a change of one name changes
//! one bucket and what is above it. A name counts as if a zero byte followed it, which no name has.

use std::sync::Arc;

use crate::MAX_NAME;
use crate::blob::BlobError;
use crate::commit::Settlement;
use crate::inode::{FileType, Ino, name};
use crate::node::{Node, Ref, mask, positions};
use crate::source::Source;
use crate::stored::{Decoder, Encoder, Kind, MAX_COUNT, Malformed};

/// The most names of a bucket.
const BUCKET: usize = 64;
/// A bucket of this many bytes stands in its parent.
const INLINE: usize = 1 << 10;

/// The names in a directory.
#[derive(Clone)]
pub(crate) struct Names {
    count: u64,
    top: Ref<NamesNode>,
}

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
    prefix: Box<[u8]>,
    at: usize,
    parts: [Option<Part>; 16],
}

/// Names of a branch with one half byte.
#[derive(Clone)]
struct Part {
    count: u64,
    node: Ref<NamesNode>,
}

const MISCOUNTED: BlobError = BlobError::Inconsistent("a directory has other names than it counts");

impl Default for Names {
    fn default() -> Names {
        Names { count: 0, top: Ref::new(NamesNode::Bucket(Vec::new())) }
    }
}

impl Names {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn top(&self) -> &Ref<NamesNode> {
        &self.top
    }

    pub(crate) fn get(&self, source: &Source, name: &str) -> Result<Option<Entry>, BlobError> {
        let mut node = self.top.load(source)?;
        loop {
            let below = match &*node {
                NamesNode::Bucket(entries) => {
                    let found = position(entries, name);
                    return Ok(found.ok().map(|position| entries[position].clone()));
                }
                NamesNode::Branch(branch) => {
                    match &branch.parts[half(name.as_bytes(), branch.at)] {
                        None => return Ok(None),
                        Some(part) => part.node.load(source)?,
                    }
                }
            };
            node = below;
        }
    }

    /// Add a name, or let it stand for another inode.
    pub(crate) fn insert(&mut self, source: &Source, entry: Entry) -> Result<(), BlobError> {
        if insert(&mut self.top, source, entry)? {
            self.count += 1;
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, source: &Source, name: &str) -> Result<(), BlobError> {
        if remove(&mut self.top, source, name)? {
            self.count = self.count.checked_sub(1).ok_or(MISCOUNTED)?;
        }
        Ok(())
    }

    /// The names behind `after` in their order, `most` at most.
    pub(crate) fn range(
        &self,
        source: &Source,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<Entry>, BlobError> {
        let mut found = Vec::new();
        collect(&self.top, source, after.map(str::as_bytes), most, &mut found)?;
        Ok(found)
    }

    pub(crate) fn settled(&self, into: &mut Settlement) -> Names {
        Names { count: self.count, top: into.settle(&self.top) }
    }

    pub(crate) fn weight(&self) -> usize {
        match &self.top {
            Ref::Stored(_) => 0,
            Ref::Live(node) => node.weight(),
        }
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.number(self.count);
        self.top.encode(out);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Names, Malformed> {
        Ok(Names { count: from.bounded(MAX_COUNT)?, top: Ref::decode(from)? })
    }
}

/// The half byte of a name at this position.
fn half(name: &[u8], at: usize) -> usize {
    let byte = name.get(at / 2).copied().unwrap_or(0);
    usize::from(if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
}

/// In how many half bytes, of `most`, two names are equal.
fn common(one: &[u8], two: &[u8], most: usize) -> usize {
    (0..most).find(|at| half(one, *at) != half(two, *at)).unwrap_or(most)
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
const HALVES: usize = 2 * (MAX_NAME + 1);

fn position(entries: &[Entry], name: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| (*entry.name).cmp(name))
}

impl Branch {
    /// No names yet, with the first half bytes of this one.
    fn new(name: &[u8], at: usize) -> Branch {
        Branch { prefix: prefix(name, at), at, parts: Default::default() }
    }

    fn count(&self) -> u64 {
        self.parts.iter().flatten().map(|part| part.count).fold(0, u64::saturating_add)
    }

    /// Its part, where it has no other.
    fn only(&self) -> Option<&Part> {
        let mut parts = self.parts.iter().flatten();
        parts.next().filter(|_| parts.next().is_none())
    }
}

fn insert(node: &mut Ref<NamesNode>, source: &Source, entry: Entry) -> Result<bool, BlobError> {
    let node = node.change(source)?;
    let branch = match node {
        NamesNode::Bucket(entries) => {
            match position(entries, &entry.name) {
                Ok(position) => {
                    entries[position] = entry;
                    return Ok(false);
                }
                Err(position) => entries.insert(position, entry),
            }
            if entries.len() > BUCKET {
                *node = NamesNode::Branch(Box::new(part(std::mem::take(entries))));
            }
            return Ok(true);
        }
        NamesNode::Branch(branch) => branch,
    };
    let at = common(entry.name.as_bytes(), &branch.prefix, branch.at);
    if at < branch.at {
        let mut above = Branch::new(entry.name.as_bytes(), at);
        let (old, new) = (half(&branch.prefix, at), half(entry.name.as_bytes(), at));
        let count = branch.count();
        let below = std::mem::replace(node, NamesNode::Bucket(Vec::new()));
        above.parts[old] = Some(Part { count, node: Ref::new(below) });
        above.parts[new] = Some(Part::of(vec![entry]));
        *node = NamesNode::Branch(Box::new(above));
        return Ok(true);
    }
    let slot = &mut branch.parts[half(entry.name.as_bytes(), branch.at)];
    let Some(part) = slot else {
        *slot = Some(Part::of(vec![entry]));
        return Ok(true);
    };
    let is_new = insert(&mut part.node, source, entry)?;
    part.count += u64::from(is_new);
    Ok(is_new)
}

/// Sorted names, more than a bucket has, by the first half byte in which they differ.
fn part(entries: Vec<Entry>) -> Branch {
    let (first, last) = (entries[0].name.as_bytes(), entries[entries.len() - 1].name.as_bytes());
    let mut branch = Branch::new(first, common(first, last, HALVES));
    for entry in entries {
        let slot = &mut branch.parts[half(entry.name.as_bytes(), branch.at)];
        match slot {
            None => *slot = Some(Part::of(vec![entry])),
            Some(Part { count, node: Ref::Live(node) }) => {
                if let NamesNode::Bucket(entries) = Arc::make_mut(node) {
                    entries.push(entry);
                    *count += 1;
                }
            }
            Some(Part { node: Ref::Stored(_), .. }) => {}
        }
    }
    branch
}

impl Part {
    fn of(entries: Vec<Entry>) -> Part {
        Part { count: entries.len() as u64, node: Ref::new(NamesNode::Bucket(entries)) }
    }
}

fn remove(node: &mut Ref<NamesNode>, source: &Source, name: &str) -> Result<bool, BlobError> {
    let node = node.change(source)?;
    let branch = match node {
        NamesNode::Bucket(entries) => {
            let found = position(entries, name);
            found.iter().for_each(|position| drop(entries.remove(*position)));
            return Ok(found.is_ok());
        }
        NamesNode::Branch(branch) => branch,
    };
    let slot = &mut branch.parts[half(name.as_bytes(), branch.at)];
    let Some(part) = slot else { return Ok(false) };
    if !remove(&mut part.node, source, name)? {
        return Ok(false);
    }
    part.count = part.count.checked_sub(1).ok_or(MISCOUNTED)?;
    if part.count == 0 {
        *slot = None;
    }
    if branch.count() <= BUCKET as u64 {
        let mut entries = Vec::with_capacity(BUCKET);
        for part in branch.parts.iter().flatten() {
            match &*part.node.load(source)? {
                NamesNode::Bucket(few) => entries.extend_from_slice(few),
                NamesNode::Branch(_) => return Err(MISCOUNTED),
            }
        }
        *node = NamesNode::Bucket(entries);
    } else if let Some(only) = branch.only() {
        let below = only.node.load(source)?;
        *node = (*below).clone();
    }
    Ok(true)
}

fn collect(
    node: &Ref<NamesNode>,
    source: &Source,
    after: Option<&[u8]>,
    most: usize,
    found: &mut Vec<Entry>,
) -> Result<(), BlobError> {
    match &*node.load(source)? {
        NamesNode::Bucket(entries) => {
            let start =
                after.map_or(0, |after| entries.partition_point(|e| e.name.as_bytes() <= after));
            let room = most - found.len();
            found.extend(entries[start..].iter().take(room).cloned());
        }
        NamesNode::Branch(branch) => {
            let mut after = after;
            if let Some(name) = after {
                let at = common(name, &branch.prefix, branch.at);
                if at < branch.at {
                    if half(name, at) > half(&branch.prefix, at) {
                        return Ok(());
                    }
                    after = None;
                }
            }
            let first = after.map_or(0, |name| half(name, branch.at));
            for (position, part) in branch.parts.iter().enumerate().skip(first) {
                let Some(part) = part else { continue };
                if found.len() >= most {
                    return Ok(());
                }
                let after = after.filter(|_| position == first);
                collect(&part.node, source, after, most, found)?;
            }
        }
    }
    Ok(())
}

impl NamesNode {
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
                    let count = from.bounded(MAX_COUNT)?;
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
