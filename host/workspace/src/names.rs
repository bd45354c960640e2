//! The names in a directory, in the order of their bytes.
//!
//! Up to 64 names are a bucket. More of them are parted at the first half byte in which two of them differ,
//! and so on: so the form follows from the names alone, whatever was there before, and a change of one name changes
//! one bucket and what is above it. A name counts as if a zero byte followed it, which no name has.

mod node;

use std::sync::Arc;

use self::node::{BUCKET, Branch, HALVES, MISCOUNTED, Part, common, half};
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
        let is_new = self.get(source, &entry.name)?.is_none();
        self.count += u64::from(is_new);
        let (mut node, name) = (&mut self.top, Arc::clone(&entry.name));
        let mut known = 0;
        loop {
            let here = node.change(source)?;
            if let Some(at) = here.parts_from(&name, known) {
                return insert_beside(here, at, entry);
            }
            let NamesNode::Branch(branch) = here else { return insert_into_bucket(here, entry) };
            known = branch.at;
            let slot = &mut branch.parts[half(name.as_bytes(), branch.at)];
            let Some(part) = slot else {
                *slot = Some(Part::of(vec![entry]));
                return Ok(());
            };
            part.count += u64::from(is_new);
            node = &mut part.node;
        }
    }

    /// Take a name out, where it is there.
    pub(crate) fn remove(&mut self, source: &Source, name: &str) -> Result<(), BlobError> {
        if self.get(source, name)?.is_none() {
            return Ok(());
        }
        self.count = self.count.checked_sub(1).ok_or(MISCOUNTED)?;
        let mut node = &mut self.top;
        loop {
            let here = node.change(source)?;
            if let Some(few) = here.gather(source)? {
                *here = NamesNode::Bucket(few);
            }
            if here.has_alone(name) {
                return remove_part(here, source, name);
            }
            let NamesNode::Branch(branch) = here else { return remove_from_bucket(here, name) };
            let slot = &mut branch.parts[half(name.as_bytes(), branch.at)];
            let Some(part) = slot else { return Err(MISCOUNTED) };
            part.count -= 1;
            node = &mut part.node;
        }
    }

    /// The names behind `after` in their order, `most` at most.
    pub(crate) fn range(
        &self,
        source: &Source,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<Entry>, BlobError> {
        let most = most.min(self.count as usize);
        let mut found = Vec::new();
        let mut todo = vec![(self.top.clone(), None, after.map(str::as_bytes))];
        while let Some((node, above, after)) = todo.pop() {
            if found.len() >= most {
                break;
            }
            let node = node.load(source)?;
            node.check_below(above)?;
            match &*node {
                NamesNode::Bucket(entries) => {
                    let is_before =
                        |entry: &Entry| after.is_some_and(|after| entry.name.as_bytes() <= after);
                    let start = entries.partition_point(is_before);
                    found.extend(entries[start..].iter().take(most - found.len()).cloned());
                }
                NamesNode::Branch(branch) => {
                    // The last one is looked at first.
                    for (part, after) in branch.behind(after, above.unwrap_or(0)).into_iter().rev()
                    {
                        todo.push((part.node.clone(), Some(branch.at), after));
                    }
                }
            }
        }
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

fn insert_into_bucket(node: &mut NamesNode, entry: Entry) -> Result<(), BlobError> {
    let NamesNode::Bucket(entries) = node else { return Err(MISCOUNTED) };
    match position(entries, &entry.name) {
        Ok(position) => entries[position] = entry,
        Err(position) => entries.insert(position, entry),
    }
    if entries.len() > BUCKET {
        *node = NamesNode::Branch(Box::new(part(std::mem::take(entries))));
    }
    Ok(())
}

/// Put a branch above a branch, for a name that parts from its names at `at` already.
fn insert_beside(node: &mut NamesNode, at: usize, entry: Entry) -> Result<(), BlobError> {
    let NamesNode::Branch(branch) = &*node else { return Err(MISCOUNTED) };
    let (old, count) = (half(&branch.prefix, at), branch.count());
    let new = half(entry.name.as_bytes(), at);
    let mut above = Branch::new(entry.name.as_bytes(), at);
    let below = std::mem::replace(node, NamesNode::Bucket(Vec::new()));
    above.parts[old] = Some(Part { count, node: Ref::new(below) });
    above.parts[new] = Some(Part::of(vec![entry]));
    *node = NamesNode::Branch(Box::new(above));
    Ok(())
}

/// Take out the part of a branch that has this name and no other.
fn remove_part(node: &mut NamesNode, source: &Source, name: &str) -> Result<(), BlobError> {
    let NamesNode::Branch(branch) = node else { return Err(MISCOUNTED) };
    branch.parts[half(name.as_bytes(), branch.at)] = None;
    if let Some(only) = branch.only() {
        let below = only.node.load(source)?;
        below.check_below(Some(branch.at))?;
        *node = (*below).clone();
    }
    Ok(())
}

fn remove_from_bucket(node: &mut NamesNode, name: &str) -> Result<(), BlobError> {
    let NamesNode::Bucket(entries) = node else { return Err(MISCOUNTED) };
    entries.retain(|entry| *entry.name != *name);
    Ok(())
}

/// Sorted names, more than a bucket has, by the first half byte in which they differ.
fn part(entries: Vec<Entry>) -> Branch {
    let (first, last) = (entries[0].name.as_bytes(), entries[entries.len() - 1].name.as_bytes());
    let mut branch = Branch::new(first, common(first, last, 0, HALVES));
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
