//! A revision's tree as git has it, made anew or of the tree of another revision.
//!
//! Made anew, each name is looked at, and each file hashed whose id the cache does not have. Made of another tree, it
//! costs what differs between both: the files that differ are hashed, and each directory above them with all its
//! names.

use std::iter::Peekable;
use std::slice::Iter;
use std::sync::Arc;

use dormouse_workspace::{
    Change, ChangeKind, Changes, DiffQuery, Error as FileError, FileType, MAX_DEPTH, MAX_READ,
    Tree, diff,
};

use crate::cache::Cache;
use crate::directory::{Directory, Entry, Node};
use crate::error::Error;
use crate::name;
use crate::object::{Hasher, Kind, ObjectId};

/// A tree, and what it is to git.
#[derive(Clone)]
pub(crate) struct Snapshot {
    pub(crate) tree: Tree,
    pub(crate) root: Arc<Directory>,
}

/// Who is told of objects while snapshots are made.
pub(crate) trait Sink {
    /// A file or a link at this path of the tree.
    fn blob(&mut self, id: ObjectId, tree: &Tree, path: &str, is_link: bool) -> Result<(), Error>;
    fn directory(&mut self, directory: &Arc<Directory>) -> Result<(), Error>;
}

/// Who wants the ids alone.
pub(crate) struct Nobody;

impl Sink for Nobody {
    fn blob(&mut self, _: ObjectId, _: &Tree, _: &str, _: bool) -> Result<(), Error> {
        Ok(())
    }

    fn directory(&mut self, _: &Arc<Directory>) -> Result<(), Error> {
        Ok(())
    }
}

/// What making a snapshot needs.
pub(crate) struct Maker<'a> {
    pub(crate) cache: &'a Cache,
    /// The most names of a tree.
    pub(crate) names: u64,
    pub(crate) sink: &'a mut dyn Sink,
}

impl Maker<'_> {
    /// The snapshot of a tree. The sink is told of all its objects.
    pub(crate) fn read(&mut self, tree: Tree) -> Result<Snapshot, Error> {
        self.check(&tree)?;
        let root = self.directory(&tree, &mut String::new(), 0)?;
        let root = self.root(root)?;
        Ok(Snapshot { tree, root })
    }

    /// The snapshot of a tree, made of that of another one. The sink is told of the objects at paths that differ, and
    /// of no others but for directories above them.
    pub(crate) fn moved(&mut self, from: &Snapshot, tree: Tree) -> Result<Snapshot, Error> {
        if from.tree.id().is_some() && from.tree.id() == tree.id() {
            return Ok(Snapshot { tree, root: Arc::clone(&from.root) });
        }
        self.check(&tree)?;
        let query = DiffQuery { after: None, limit: usize::MAX };
        let changes = diff(&from.tree, &tree, &query)?;
        if changes.next.is_some() {
            // So many paths that another page would cost as much as the first, and so would the next.
            return self.read(tree);
        }
        let Changes { list, .. } = changes;
        if list.is_empty() {
            return Ok(Snapshot { tree, root: Arc::clone(&from.root) });
        }
        let root = self.changed_directory(&tree, Some(&from.root), 0, &list)?;
        let root = self.root(root)?;
        Ok(Snapshot { tree, root })
    }

    fn check(&self, tree: &Tree) -> Result<(), Error> {
        if tree.usage()?.names > self.names {
            return Err(Error::TooMany { what: "files in a revision", most: self.names });
        }
        Ok(())
    }

    /// The root is there also where nothing is in it.
    fn root(&mut self, root: Option<Arc<Directory>>) -> Result<Arc<Directory>, Error> {
        match root {
            Some(root) => Ok(root),
            None => {
                let root = Arc::new(Directory::new(Vec::new())?);
                self.sink.directory(&root)?;
                Ok(root)
            }
        }
    }

    /// The directory at this path. None: git has no directories without files.
    fn directory(
        &mut self,
        tree: &Tree,
        path: &mut String,
        depth: u16,
    ) -> Result<Option<Arc<Directory>>, Error> {
        // Directories that contain each other, as damaged trees have them, come to an end here.
        if depth > MAX_DEPTH {
            return Err(Error::Inconsistent("directories lie in each other"));
        }
        let here = if path.is_empty() { "." } else { &**path };
        let names = tree.read_directory(here, None, usize::MAX)?;
        let mut entries = Vec::with_capacity(names.len());
        for entry in names {
            let length = path.len();
            if length > 0 {
                path.push('/');
            }
            path.push_str(&entry.name);
            if name::is_shown(&entry.name) && name::has_room(path) {
                let node = match entry.file_type {
                    FileType::Directory => {
                        self.directory(tree, path, depth + 1)?.map(Node::Directory)
                    }
                    FileType::Regular | FileType::Symlink => {
                        self.leaf(tree, path, &entry.name, entry.file_type)?
                    }
                };
                entries.extend(node.map(|node| Entry { name: entry.name, node }));
            }
            path.truncate(length);
        }
        self.made(entries)
    }

    fn made(&mut self, entries: Vec<Entry>) -> Result<Option<Arc<Directory>>, Error> {
        if entries.is_empty() {
            return Ok(None);
        }
        let directory = Arc::new(Directory::new(entries)?);
        self.sink.directory(&directory)?;
        Ok(Some(directory))
    }

    /// A directory after these changes, whose paths are in order and all below it. The names in it begin at byte
    /// `start` of these.
    fn changed_directory(
        &mut self,
        tree: &Tree,
        was: Option<&Directory>,
        start: usize,
        mut changes: &[Change],
    ) -> Result<Option<Arc<Directory>>, Error> {
        let old = was.map(Directory::entries).unwrap_or_default();
        let mut rest: Peekable<Iter<'_, Entry>> = old.iter().peekable();
        let mut entries = Vec::with_capacity(old.len() + changes.len().min(64));
        while let Some(first) = changes.first() {
            let name = name_from(&first.path, start);
            let count = changes.iter().take_while(|it| name_from(&it.path, start) == name).count();
            let (here, behind) = changes.split_at(count);
            changes = behind;
            while let Some(entry) = rest.next_if(|entry| *entry.name < *name) {
                entries.push(entry.clone());
            }
            let was = rest.next_if(|entry| *entry.name == *name);
            let end = start + name.len();
            let node = self.changed_node(tree, was.map(|entry| &entry.node), end, name, here)?;
            let kept = || was.map_or_else(|| name.into(), |entry| Arc::clone(&entry.name));
            entries.extend(node.map(|node| Entry { name: kept(), node }));
        }
        entries.extend(rest.cloned());
        self.made(entries)
    }

    /// What has a name after these changes. The name ends at byte `end` of their paths.
    fn changed_node(
        &mut self,
        tree: &Tree,
        was: Option<&Node>,
        end: usize,
        name: &str,
        changes: &[Change],
    ) -> Result<Option<Node>, Error> {
        let Some((first, below)) = changes.split_first() else { return Ok(None) };
        let path = &first.path[..end];
        if !name::is_shown(name) || !name::has_room(path) {
            return Ok(None);
        }
        let directory = if first.path.len() > end {
            // The directory was there before, though git may not have seen it.
            let was = match was {
                Some(Node::Directory(directory)) => Some(&**directory),
                Some(Node::File(_) | Node::Link(_)) | None => None,
            };
            self.changed_directory(tree, was, end + 1, changes)?
        } else {
            match (first.kind, first.file_type) {
                (ChangeKind::Removed, _) => return Ok(None),
                (ChangeKind::Added | ChangeKind::Changed, FileType::Directory) => {
                    self.changed_directory(tree, None, end + 1, below)?
                }
                (ChangeKind::Added | ChangeKind::Changed, file_type) => {
                    return self.leaf(tree, path, name, file_type);
                }
            }
        };
        Ok(directory.map(Node::Directory))
    }

    /// The file or link at this path, where a clone has it.
    fn leaf(
        &mut self,
        tree: &Tree,
        path: &str,
        name: &str,
        file_type: FileType,
    ) -> Result<Option<Node>, Error> {
        let is_link = file_type == FileType::Symlink;
        let node = if is_link {
            let target = tree.read_link(path)?;
            if !name::is_link_shown(name, &target) {
                return Ok(None);
            }
            Node::Link(ObjectId::of(Kind::Blob, target.as_bytes())?)
        } else {
            if name::is_attributes(name) && !are_attributes_shown(tree, path)? {
                return Ok(None);
            }
            Node::File(self.contents(tree, path)?)
        };
        self.sink.blob(node.id(), tree, path, is_link)?;
        Ok(Some(node))
    }

    /// The id of the contents of a file.
    fn contents(&self, tree: &Tree, path: &str) -> Result<ObjectId, Error> {
        let contents = tree.content_id(path)?;
        if let Some(id) = contents.and_then(|contents| self.cache.blob(&contents)) {
            return Ok(id);
        }
        let stat = tree.stat(path, false)?;
        let mut hasher = Hasher::new(Kind::Blob, stat.size);
        let mut offset = 0;
        while offset < stat.size {
            let piece = tree.read_ino(stat.identity.ino, offset, MAX_READ)?;
            if piece.is_empty() {
                return Err(FileError::Invalid.into());
            }
            hasher.update(&piece);
            offset += piece.len() as u64;
        }
        let id = hasher.finish()?;
        if let Some(contents) = contents {
            self.cache.keep_blob(contents, id);
        }
        Ok(id)
    }
}

/// The name that begins at this byte of a path.
fn name_from(path: &str, start: usize) -> &str {
    let rest = path.get(start..).unwrap_or_default();
    rest.split_once('/').map_or(rest, |(name, _)| name)
}

fn are_attributes_shown(tree: &Tree, path: &str) -> Result<bool, Error> {
    if tree.stat(path, false)?.size > name::MAX_ATTRIBUTES {
        return Ok(false);
    }
    let contents = tree.read(path, 0, name::MAX_ATTRIBUTES as usize)?;
    Ok(name::are_attributes_shown(&contents))
}
