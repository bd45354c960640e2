//! The table of inodes, by number: groups of 16, and above them nodes of 16 branches.
//!
//! A node counts the inodes below each of its branches: so the lowest free number is found on one way down, and
//! numbers stay dense whatever comes and goes.

mod node;

use std::sync::Arc;

pub(crate) use self::node::TableNode;
use self::node::{MAX_LEVEL, MISPLACED, Part, span};
use crate::MAX_NAMES;
use crate::blob::BlobError;
use crate::commit::Settlement;
use crate::inode::{Ino, Inode, ROOT};
use crate::node::{Node, Ref};
use crate::source::Source;
use crate::stored::{Decoder, Encoder, Malformed};

/// The inodes of a tree. At level 0 it is one group.
#[derive(Clone)]
pub(crate) struct Table {
    level: u8,
    top: Arc<TableNode>,
}

/// What has become of an inode between two tables.
pub(crate) struct Difference {
    pub(crate) old: Option<Arc<Inode>>,
    pub(crate) new: Option<Arc<Inode>>,
}

const FULL: BlobError = BlobError::Inconsistent("a table has no numbers left");

/// Which branch of a node of this level has this number.
fn slot(ino: Ino, level: u8) -> usize {
    (ino >> (4 * u32::from(level)) & 15) as usize
}

impl Table {
    /// The table of a tree that has this root and nothing else.
    pub(crate) fn of(root: Inode) -> Table {
        let mut inodes: Box<[Option<Arc<Inode>>; 16]> = Box::default();
        inodes[slot(ROOT, 0)] = Some(Arc::new(root));
        Table { level: 0, top: Arc::new(TableNode::Group(inodes)) }
    }

    pub(crate) fn get(&self, source: &Source, ino: Ino) -> Result<Option<Arc<Inode>>, BlobError> {
        if ino >= span(self.level) {
            return Ok(None);
        }
        let (mut node, mut level) = (Arc::clone(&self.top), self.level);
        loop {
            let below = match &*node {
                TableNode::Group(inodes) if level == 0 => return Ok(inodes[slot(ino, 0)].clone()),
                TableNode::Branch { level: at, parts } if *at == level && level > 0 => {
                    match &parts[slot(ino, level)] {
                        None => return Ok(None),
                        Some(part) => part.node.load(source)?,
                    }
                }
                TableNode::Group(_) | TableNode::Branch { .. } => return Err(MISPLACED),
            };
            level -= 1;
            node = below;
        }
    }

    /// The inode of this number, to be changed.
    pub(crate) fn change(
        &mut self,
        source: &Source,
        ino: Ino,
    ) -> Result<Option<&mut Inode>, BlobError> {
        if ino >= span(self.level) {
            return Ok(None);
        }
        let mut node = Arc::make_mut(&mut self.top);
        for level in (1..=self.level).rev() {
            let Some(part) = &mut node.parts(level)?[slot(ino, level)] else { return Ok(None) };
            node = part.node.change(source)?;
        }
        Ok(node.group()?[slot(ino, 0)].as_mut().map(Arc::make_mut))
    }

    /// Put an inode where none was.
    pub(crate) fn insert(
        &mut self,
        source: &Source,
        ino: Ino,
        inode: Inode,
    ) -> Result<(), BlobError> {
        while ino >= span(self.level) {
            self.raise()?;
        }
        let mut node = Arc::make_mut(&mut self.top);
        for level in (1..=self.level).rev() {
            let part = node.parts(level)?[slot(ino, level)].get_or_insert_with(|| Part {
                count: 0,
                node: Ref::new(TableNode::empty(level - 1)),
            });
            part.count += 1;
            node = part.node.change(source)?;
        }
        node.group()?[slot(ino, 0)] = Some(Arc::new(inode));
        Ok(())
    }

    /// Take out an inode that is there.
    pub(crate) fn remove(&mut self, source: &Source, ino: Ino) -> Result<(), BlobError> {
        let mut node = Arc::make_mut(&mut self.top);
        for level in (1..=self.level).rev() {
            let slot = &mut node.parts(level)?[slot(ino, level)];
            if slot.as_ref().is_some_and(|part| part.count == 1) {
                *slot = None;
            }
            let Some(part) = slot else { return Ok(()) };
            part.count -= 1;
            node = part.node.change(source)?;
        }
        node.group()?[slot(ino, 0)] = None;
        Ok(())
    }

    /// The lowest number from `from` on that no inode has.
    pub(crate) fn lowest_free(&self, source: &Source, from: Ino) -> Result<Ino, BlobError> {
        if from >= span(self.level) {
            return Ok(from);
        }
        let found = lowest_free(&self.top, self.level, 0, from, source)?;
        Ok(found.unwrap_or(span(self.level)))
    }

    /// What differs between two tables, by number.
    pub(crate) fn differences(
        old: (&Table, &Source),
        new: (&Table, &Source),
    ) -> Result<Vec<Difference>, BlobError> {
        let level = old.0.level.max(new.0.level);
        let [old_top, new_top] = [old.0.at_level(level)?, new.0.at_level(level)?]
            .map(|top| Part { count: top.count(), node: Ref::Live(top) });
        let mut found = Vec::new();
        differences((Some(&old_top), old.1), (Some(&new_top), new.1), level, &mut found)?;
        Ok(found)
    }

    pub(crate) fn level(&self) -> u8 {
        self.level
    }

    pub(crate) fn top(&self) -> &TableNode {
        &self.top
    }

    pub(crate) fn settled(&self, into: &mut Settlement) -> Table {
        Table { level: self.level, top: Arc::new(self.top.settled(into)) }
    }

    pub(crate) fn weight(&self) -> usize {
        self.top.weight()
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.byte(self.level);
        self.top.encode(out);
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Table, Malformed> {
        let level = from.byte()?;
        let top = TableNode::decode(from)?;
        if top.level() != level || top.count() > MAX_NAMES + 1 {
            return Err(Malformed("the top of the table is not at its level, or has too much"));
        }
        Ok(Table { level, top: Arc::new(top) })
    }

    /// One level more, with all that is there below the first branch.
    fn raise(&mut self) -> Result<(), BlobError> {
        self.top = self.at_level(self.level + 1)?;
        self.level += 1;
        Ok(())
    }

    fn at_level(&self, level: u8) -> Result<Arc<TableNode>, BlobError> {
        if level > MAX_LEVEL {
            return Err(FULL);
        }
        let mut top = Arc::clone(&self.top);
        for level in self.level + 1..=level {
            let mut parts: [Option<Part>; 16] = Default::default();
            let count = top.count();
            if count > 0 {
                parts[0] = Some(Part { count, node: Ref::Live(top) });
            }
            top = Arc::new(TableNode::Branch { level, parts: Box::new(parts) });
        }
        Ok(top)
    }
}

fn lowest_free(
    node: &TableNode,
    level: u8,
    base: Ino,
    from: Ino,
    source: &Source,
) -> Result<Option<Ino>, BlobError> {
    let first = if from > base { slot(from, level) } else { 0 };
    match node {
        TableNode::Group(inodes) if level == 0 => {
            let free = (first..16).find(|position| inodes[*position].is_none());
            Ok(free.map(|position| base + position as u64))
        }
        TableNode::Branch { level: at, parts } if *at == level && level > 0 => {
            for (position, part) in parts.iter().enumerate().skip(first) {
                let start = base + position as u64 * span(level - 1);
                let Some(part) = part else { return Ok(Some(start.max(from))) };
                if part.count >= span(level - 1) {
                    continue;
                }
                let below = part.node.load(source)?;
                if let Some(free) = lowest_free(&below, level - 1, start, from, source)? {
                    return Ok(Some(free));
                }
            }
            Ok(None)
        }
        TableNode::Group(_) | TableNode::Branch { .. } => Err(MISPLACED),
    }
}

fn differences(
    old: (Option<&Part>, &Source),
    new: (Option<&Part>, &Source),
    level: u8,
    found: &mut Vec<Difference>,
) -> Result<(), BlobError> {
    if let (Some(old), Some(new)) = (old.0, new.0)
        && old.node.is_same(&new.node)
    {
        return Ok(());
    }
    match (&*load(old, level)?, &*load(new, level)?) {
        (TableNode::Group(olds), TableNode::Group(news)) => {
            for (old, new) in olds.iter().zip(&**news) {
                let is_same = match (old, new) {
                    (None, None) => true,
                    (Some(old), Some(new)) => Arc::ptr_eq(old, new) || old.is_same(new),
                    (None, Some(_)) | (Some(_), None) => false,
                };
                if !is_same {
                    found.push(Difference { old: old.clone(), new: new.clone() });
                }
            }
        }
        (TableNode::Branch { parts: olds, .. }, TableNode::Branch { parts: news, .. }) => {
            for (one, two) in olds.iter().zip(&**news) {
                if one.is_some() || two.is_some() {
                    let (old, new) = ((one.as_ref(), old.1), (two.as_ref(), new.1));
                    differences(old, new, level - 1, found)?;
                }
            }
        }
        (TableNode::Group(_), TableNode::Branch { .. })
        | (TableNode::Branch { .. }, TableNode::Group(_)) => return Err(MISPLACED),
    }
    Ok(())
}

/// What is there, at this level and with as many inodes as are counted: so the whole table has no more than its top
/// counts.
fn load((part, source): (Option<&Part>, &Source), level: u8) -> Result<Arc<TableNode>, BlobError> {
    let Some(part) = part else { return Ok(Arc::new(TableNode::empty(level))) };
    let node = part.node.load(source)?;
    if node.level() == level && node.count() == part.count { Ok(node) } else { Err(MISPLACED) }
}
