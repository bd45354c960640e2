//! What can be read of a tree, whether it changes or not.

use std::collections::HashMap;
use std::sync::Arc;

use crate::blob::BlobError;
use crate::error::Error;
use crate::inode::{Directory, FileType, Ino, Inode, Kind, ROOT};
use crate::source::Source;
use crate::table::Table;

/// What an inode is, for as long as it lives: two files that are open are one where these are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Its number.
    pub ino: Ino,
    /// When it was made, which tells it from others that had the number before, in nanoseconds since 1970.
    pub born: u64,
}

/// What is known of a file besides its contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which inode it is.
    pub identity: Identity,
    /// What it is.
    pub file_type: FileType,
    /// Its bytes. A symbolic link has those of its target, a directory none.
    pub size: u64,
    /// How many names it has. A directory has one, and one that is removed and still open none.
    pub links: u64,
    /// When somebody last said that it was read: reading does not change it. This and the other times are in
    /// nanoseconds since 1970.
    pub accessed: u64,
    /// When its contents changed last, or what somebody said of that.
    pub modified: u64,
    /// When anything of it changed last.
    pub changed: u64,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name.
    pub name: Arc<str>,
    /// What has the name.
    pub file_type: FileType,
    /// Its number.
    pub ino: Ino,
}

/// Inodes that have no name any more, and are still open.
pub(crate) type Orphans = HashMap<Ino, Arc<Inode>>;

/// A tree that is read.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) source: &'a Source,
    pub(crate) table: &'a Table,
    pub(crate) orphans: Option<&'a Orphans>,
}

const DANGLING: BlobError = BlobError::Inconsistent("a name leads to no inode");

impl View<'_> {
    pub(crate) fn inode(&self, ino: Ino) -> Result<Arc<Inode>, Error> {
        if let Some(orphan) = self.orphans.and_then(|orphans| orphans.get(&ino)) {
            return Ok(Arc::clone(orphan));
        }
        Ok(self.table.get(self.source, ino)?.ok_or(DANGLING)?)
    }

    pub(crate) fn stat(&self, ino: Ino) -> Result<Stat, Error> {
        let inode = self.inode(ino)?;
        let links = if ino == ROOT { 1 } else { inode.links.len() as u64 };
        Ok(Stat {
            identity: Identity { ino, born: inode.born },
            file_type: inode.file_type(),
            size: inode.size(),
            links,
            accessed: inode.accessed,
            modified: inode.modified,
            changed: inode.changed,
        })
    }

    pub(crate) fn read(&self, ino: Ino, offset: u64, most: usize) -> Result<Vec<u8>, Error> {
        match &self.inode(ino)?.kind {
            Kind::File(content) => Ok(content.read(self.source, offset, most)?),
            Kind::Directory(_) => Err(Error::IsDirectory),
            Kind::Symlink(_) => Err(Error::BadDescriptor),
        }
    }

    pub(crate) fn read_directory(
        &self,
        ino: Ino,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<DirectoryEntry>, Error> {
        let inode = self.inode(ino)?;
        let entries = directory(&inode)?.names.range(self.source, after, most)?.into_iter();
        let entry = |entry: crate::names::Entry| DirectoryEntry {
            name: entry.name,
            file_type: entry.file_type,
            ino: entry.ino,
        };
        Ok(entries.map(entry).collect())
    }

    pub(crate) fn read_link(&self, base: Ino, path: &str) -> Result<Arc<str>, Error> {
        match &self.inode(self.lookup(base, path, false)?)?.kind {
            Kind::Symlink(target) => Ok(Arc::clone(target)),
            Kind::File(_) | Kind::Directory(_) => Err(Error::Invalid),
        }
    }
}

/// What is in a directory.
pub(crate) fn directory(inode: &Inode) -> Result<&Directory, Error> {
    match &inode.kind {
        Kind::Directory(directory) => Ok(directory),
        Kind::File(_) | Kind::Symlink(_) => Err(Error::NotDirectory),
    }
}
