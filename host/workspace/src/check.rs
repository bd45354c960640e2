//! Whether a tree is sound: everything is read, and counted again.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::blob::{BlobError, BlobId};
use crate::content::{Content, Part};
use crate::inode::{Ino, Inode, Kind, Link, ROOT};
use crate::names::{Names, NamesNode};
use crate::node::Ref;
use crate::quota::Usage;
use crate::source::Source;
use crate::table::TableNode;
use crate::tree::Tree;
use crate::{CHUNK, MAX_DEPTH};

/// What a sound tree has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Its files, directories and links.
    pub inodes: u64,
    /// What it holds.
    pub usage: Usage,
    /// How many blobs it has, each counted once.
    pub blobs: u64,
}

/// Why a tree is not sound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A blob is missing or damaged.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Something is not as it is counted.
    #[error("the inode {ino} of a workspace is not sound: {what}")]
    Inode {
        /// Which one.
        ino: Ino,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The sums of the root are wrong.
    #[error("the root of a workspace counts {counted:?}, and there are {found:?}")]
    Usage {
        /// What the root says.
        counted: Usage,
        /// What is there.
        found: Usage,
    },
}

/// Read all of a tree, and count again what it counts. Takes memory for each inode, and time for each byte.
///
/// # Errors
///
/// The first thing that is wrong with it.
pub fn check(tree: &Tree) -> Result<Checked, CheckError> {
    let root = tree.root()?;
    let mut check = Check {
        source: tree.source(),
        inodes: HashMap::new(),
        names: HashSet::new(),
        blobs: tree.id().into_iter().collect(),
        filled: HashSet::new(),
        usage: Usage::default(),
    };
    check.table(root.table.top(), root.table.level(), 0)?;
    let inodes: Vec<(Ino, Arc<Inode>)> =
        check.inodes.iter().map(|(ino, inode)| (*ino, Arc::clone(inode))).collect();
    for (ino, inode) in &inodes {
        match &inode.kind {
            Kind::File(content) => check.content(*ino, content)?,
            Kind::Directory(directory) => check.directory(*ino, &directory.names)?,
            Kind::Symlink(_) => {}
        }
    }
    for (ino, inode) in &inodes {
        check.links(*ino, inode)?;
    }
    if let Some((link, _)) = check.names.iter().next() {
        return Err(wrong(link.parent, "a name in it leads to an inode that has it not"));
    }
    if check.usage != root.usage {
        return Err(CheckError::Usage { counted: root.usage, found: check.usage });
    }
    Ok(Checked {
        inodes: check.inodes.len() as u64,
        usage: check.usage,
        blobs: check.blobs.len() as u64,
    })
}

struct Check<'a> {
    source: &'a Source,
    inodes: HashMap<Ino, Arc<Inode>>,
    /// All names in directories, each with what has it.
    names: HashSet<(Link, Ino)>,
    blobs: HashSet<BlobId>,
    /// The parts of files that were found to be filled.
    filled: HashSet<(BlobId, u8)>,
    usage: Usage,
}

fn wrong(ino: Ino, what: &'static str) -> CheckError {
    CheckError::Inode { ino, what }
}

impl Check<'_> {
    /// Whether a node was not there before.
    fn see<N>(&mut self, node: &Ref<N>) -> bool {
        match node {
            Ref::Stored(id) => self.blobs.insert(*id),
            Ref::Live(_) => true,
        }
    }

    /// Whether a part of a file of this level was not there before.
    fn see_at<N>(&mut self, node: &Ref<N>, level: u8) -> bool {
        match node {
            Ref::Stored(id) => self.filled.insert((*id, level)),
            Ref::Live(_) => true,
        }
    }

    fn table(&mut self, node: &TableNode, level: u8, first: Ino) -> Result<(), CheckError> {
        if node.level() != level {
            return Err(wrong(first, "its group is not at its level"));
        }
        for (at, inode) in node.inodes() {
            self.usage.bytes = self.usage.bytes.saturating_add(inode.size());
            self.inodes.insert(first + at, Arc::clone(inode));
        }
        for (at, count, below) in node.below() {
            // No two groups are equal: their inodes have other names.
            if !self.see(below) {
                return Err(wrong(first + at, "its group stands in two places"));
            }
            let node = below.load(self.source)?;
            if node.count() != count || count == 0 {
                return Err(wrong(first + at, "there are not so many inodes as are counted"));
            }
            self.table(&node, level - 1, first + at)?;
        }
        Ok(())
    }

    fn content(&mut self, ino: Ino, content: &Content) -> Result<(), CheckError> {
        match content.top() {
            None => Ok(()),
            Some((part, level)) => self.part(ino, part, level, content.length()),
        }
    }

    /// A part of a file that begins where `length` bytes are left. One that is filled and was looked at is not looked at
    /// again: the contents of files repeat.
    fn part(&mut self, ino: Ino, part: &Part, level: u8, length: u64) -> Result<(), CheckError> {
        match part {
            Part::Chunk(chunk) if level == 0 => {
                if !self.see(chunk) && length >= CHUNK as u64 {
                    return Ok(());
                }
                let bytes = chunk.load(self.source)?.bytes().len() as u64;
                if bytes > length { Err(wrong(ino, "a chunk is behind its end")) } else { Ok(()) }
            }
            Part::Node(node) if level > 0 => {
                let is_filled = length >= (CHUNK as u64) << (4 * level);
                if is_filled && !self.see_at(node, level) {
                    return Ok(());
                }
                self.see(node);
                let node = node.load(self.source)?;
                if node.level() != level {
                    return Err(wrong(ino, "a part of it is not at its level"));
                }
                for (position, part) in node.parts() {
                    let start = position * ((CHUNK as u64) << (4 * (level - 1)));
                    if start >= length {
                        return Err(wrong(ino, "a part of it is behind its end"));
                    }
                    self.part(ino, part, level - 1, length - start)?;
                }
                Ok(())
            }
            Part::Chunk(_) | Part::Node(_) => Err(wrong(ino, "a part of it is not at its level")),
        }
    }

    fn directory(&mut self, ino: Ino, names: &Names) -> Result<(), CheckError> {
        let counted = self.count(ino, names.top(), names.count(), None)?;
        let found = names.range(self.source, None, usize::MAX)?;
        if counted != names.count() || found.len() as u64 != counted {
            return Err(wrong(ino, "it has not so many names as it counts"));
        }
        if !found.is_sorted_by(|one, two| one.name < two.name) {
            return Err(wrong(ino, "its names are not in their order"));
        }
        self.usage.names += counted;
        for entry in found {
            if names.get(self.source, &entry.name)?.as_ref() != Some(&entry) {
                return Err(wrong(ino, "a name in it is not found"));
            }
            let inode = self.inodes.get(&entry.ino).ok_or(wrong(ino, "a name leads nowhere"))?;
            if inode.file_type() != entry.file_type {
                return Err(wrong(entry.ino, "it is of another type than its name says"));
            }
            self.names.insert((Link { parent: ino, name: entry.name }, entry.ino));
        }
        Ok(())
    }

    /// How many names there are, where `most` are expected.
    fn count(
        &mut self,
        ino: Ino,
        node: &Ref<NamesNode>,
        most: u64,
        above: Option<usize>,
    ) -> Result<u64, CheckError> {
        self.see(node);
        let node = node.load(self.source)?;
        node.check_below(above)?;
        // Before what is below is looked at: so there is no more of it than is expected.
        if node.names() + node.below().map(|(count, _)| count).sum::<u64>() != most {
            return Err(wrong(ino, "a part of it has not so many names as are counted"));
        }
        let mut sum = node.names();
        for (count, below) in node.below() {
            sum += self.count(ino, below, count, node.parted_at())?;
        }
        Ok(sum)
    }

    /// Each name that an inode says it has, it has, and no other; from a directory one comes to the root.
    fn links(&mut self, ino: Ino, inode: &Inode) -> Result<(), CheckError> {
        for link in &inode.links {
            if !self.names.remove(&(link.clone(), ino)) {
                return Err(wrong(ino, "it says that it has a name, and has it not"));
            }
        }
        let is_right = match (&inode.kind, inode.links.len()) {
            (Kind::Directory(_), 0) => ino == ROOT,
            (Kind::Directory(_), 1) => ino != ROOT,
            (Kind::Directory(_), _) | (_, 0) => false,
            (Kind::File(_) | Kind::Symlink(_), _) => inode.links.is_sorted(),
        };
        if !is_right {
            return Err(wrong(ino, "it has not as many names as it may have"));
        }
        if !matches!(inode.kind, Kind::Directory(_)) {
            return Ok(());
        }
        let (mut link, mut depth) = (inode.links.first(), 0);
        while let Some(Link { parent, .. }) = link {
            depth += 1;
            let above = self.inodes.get(parent).ok_or(wrong(ino, "it lies in no directory"))?;
            link = match &above.kind {
                Kind::Directory(directory) if directory.reach >= depth && depth <= MAX_DEPTH => {
                    above.links.first()
                }
                _ => return Err(wrong(ino, "it lies deeper than those above it say")),
            };
        }
        Ok(())
    }
}
