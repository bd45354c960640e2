//! Directories as git has them, in memory: what is needed of one to say what it becomes when a name in it changes.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::error::Error;
use crate::object::{Kind, ObjectId};

/// A directory, and all below it.
pub(crate) struct Directory {
    id: ObjectId,
    /// In the order of the bytes of their names, which is not that of git.
    entries: Vec<Entry>,
    weight: usize,
}

/// A name in a directory.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) node: Node,
}

/// What has a name.
#[derive(Clone)]
pub(crate) enum Node {
    File(ObjectId),
    Link(ObjectId),
    Directory(Arc<Directory>),
}

impl Node {
    pub(crate) fn id(&self) -> ObjectId {
        match self {
            Node::File(id) | Node::Link(id) => *id,
            Node::Directory(directory) => directory.id,
        }
    }

    fn mode(&self) -> &'static str {
        match self {
            Node::File(_) => "100644",
            Node::Link(_) => "120000",
            Node::Directory(_) => "40000",
        }
    }

    /// What git compares where a name ends.
    fn end(&self) -> u8 {
        match self {
            Node::File(_) | Node::Link(_) => 0,
            Node::Directory(_) => b'/',
        }
    }
}

impl Directory {
    /// The directory with these names, which are in the order of their bytes.
    pub(crate) fn new(entries: Vec<Entry>) -> Result<Directory, Error> {
        let weight = |entry: &Entry| {
            let below = match &entry.node {
                Node::File(_) | Node::Link(_) => 0,
                Node::Directory(directory) => directory.weight,
            };
            size_of::<Entry>() + entry.name.len() + 16 + below
        };
        let weight = size_of::<Directory>() + entries.iter().map(weight).sum::<usize>();
        let mut directory = Directory { id: ObjectId([0; 20]), entries, weight };
        directory.id = ObjectId::of(Kind::Tree, &directory.encode())?;
        Ok(directory)
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.id
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// About how many bytes of memory it takes, with all below it.
    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// The bytes of the object.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut sorted: Vec<&Entry> = self.entries.iter().collect();
        sorted.sort_by(|one, two| in_order_of_git(one, two));
        let length: usize = sorted.iter().map(|entry| entry.name.len() + 28).sum();
        let mut out = Vec::with_capacity(length);
        for entry in sorted {
            out.extend_from_slice(entry.node.mode().as_bytes());
            out.push(b' ');
            out.extend_from_slice(entry.name.as_bytes());
            out.push(0);
            out.extend_from_slice(&entry.node.id().0);
        }
        out
    }
}

/// Git compares a directory as if a slash were at its end.
fn in_order_of_git(one: &Entry, two: &Entry) -> Ordering {
    let (first, second) = (one.name.as_bytes(), two.name.as_bytes());
    let common = first.len().min(second.len());
    let end = |name: &[u8], entry: &Entry| name.get(common).copied().unwrap_or(entry.node.end());
    first[..common].cmp(&second[..common]).then_with(|| end(first, one).cmp(&end(second, two)))
}
