//! The names in a directory, in the order of their bytes.
//!
//! Up to 64 names are a bucket. More of them are parted at the first half byte in which two of them differ,
//! and so on: so the form follows from the names alone, whatever was there before, and a change of one name changes
//! one bucket and what is above it. A name counts as if a zero byte followed it, which no name has.

mod node;

use std::sync::Arc;

use self::node::{BUCKET, Branch, HALVES, Part, common, half};
pub(crate) use self::node::{Entry, NamesNode};
use crate::MAX_NAMES;
use crate::blob::BlobError;
use crate::commit::Settlement;
use crate::node::{Node, Ref};
use crate::source::Source;
use crate::stored::{Decoder, Encoder, Malformed};

/// The names in a directory.
#[derive(Clone)]
pub(crate) struct Names {
    count: u64,
    top: Ref<NamesNode>,
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
        let mut above = None;
        loop {
            node.check_below(above)?;
            above = node.parted_at();
            let below = match &*node {
                NamesNode::Bucket(entries) => {
                    let found = position(entries, name);
                    return Ok(found.ok().map(|position| entries[position].clone()));
                }
                NamesNode::Branch(branch) => branch.parts[half(name.as_bytes(), branch.at)].clone(),
            };
            let Some(part) = below else { return Ok(None) };
            node = part.node.load(source)?;
        }
    }

    /// Add a name, or let it stand for another inode.
    pub(crate) fn insert(&mut self, source: &Source, entry: Entry) -> Result<(), BlobError> {
        if insert(&mut self.top, source, entry, None)? {
            self.count += 1;
        }
        Ok(())
    }

    pub(crate) fn remove(&mut self, source: &Source, name: &str) -> Result<(), BlobError> {
        if remove(&mut self.top, source, name, None)? {
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
        let most = most.min(self.count as usize);
        let after = after.map(str::as_bytes);
        collect(&self.top, source, None, after, most, &mut found)?;
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
        Ok(Names { count: from.bounded(MAX_NAMES)?, top: Ref::decode(from)? })
    }
}

fn position(entries: &[Entry], name: &str) -> Result<usize, usize> {
    entries.binary_search_by(|entry| (*entry.name).cmp(name))
}

fn insert(
    node: &mut Ref<NamesNode>,
    source: &Source,
    entry: Entry,
    above: Option<usize>,
) -> Result<bool, BlobError> {
    let node = node.change(source)?;
    node.check_below(above)?;
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
    let is_new = insert(&mut part.node, source, entry, Some(branch.at))?;
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

fn remove(
    node: &mut Ref<NamesNode>,
    source: &Source,
    name: &str,
    above: Option<usize>,
) -> Result<bool, BlobError> {
    let node = node.change(source)?;
    node.check_below(above)?;
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
    if !remove(&mut part.node, source, name, Some(branch.at))? {
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
    above: Option<usize>,
    after: Option<&[u8]>,
    most: usize,
    found: &mut Vec<Entry>,
) -> Result<(), BlobError> {
    let node = node.load(source)?;
    node.check_below(above)?;
    match &*node {
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
                collect(&part.node, source, Some(branch.at), after, most, found)?;
            }
        }
    }
    Ok(())
}
