//! What each change is made of: inodes and names, with their counts.

use std::sync::Arc;

use super::Workspace;
use crate::blob::BlobError;
use crate::error::Error;
use crate::inode::{Directory, Ino, Inode, Kind, Link, ROOT};
use crate::names::Entry;
use crate::view::directory;
use crate::{MAX_DEPTH, MAX_LINKS};

/// About what a name takes in memory: its entry, its inode, and what is above them.
const NAME: usize = 768;

const LOST: BlobError = BlobError::Inconsistent("a directory lies in no other");

impl Workspace {
    /// The inode, to be changed.
    pub(super) fn inode_mut(&mut self, ino: Ino) -> Result<&mut Inode, Error> {
        self.revision += 1;
        if let Some(orphan) = self.orphans.get_mut(&ino) {
            return Ok(Arc::make_mut(orphan));
        }
        let inode = self.root.table.change(&self.source, ino)?;
        Ok(inode.ok_or(BlobError::Inconsistent("a name leads to no inode"))?)
    }

    pub(super) fn directory_mut(&mut self, ino: Ino) -> Result<&mut Directory, Error> {
        match &mut self.inode_mut(ino)?.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Symlink(_) => Err(Error::NotDirectory),
        }
    }

    /// Make an inode with this name.
    pub(super) fn create(&mut self, parent: Ino, name: &str, kind: Kind) -> Result<Ino, Error> {
        self.check_alive(parent)?;
        let is_directory = matches!(kind, Kind::Directory(_));
        if is_directory && self.depth(parent)? >= MAX_DEPTH {
            return Err(Error::NameTooLong);
        }
        let size = match &kind {
            Kind::Symlink(target) => target.len() as u64,
            Kind::File(_) | Kind::Directory(_) => 0,
        };
        self.quotas.named(&self.root.usage)?;
        let bytes = self.quotas.resized(&self.root.usage, 0, size)?;
        let ino = self.take_number()?;
        let now = self.tick();
        self.root.table.insert(&self.source, ino, Inode::new(kind, now))?;
        self.source.meter().add_nodes(size as usize);
        self.root.usage.bytes = bytes;
        self.add_name(parent, name, ino)?;
        if is_directory {
            self.raise_reach(parent, 1)?;
        }
        Ok(ino)
    }

    /// The lowest number that is free. Those of files that are unlinked and open are not.
    fn take_number(&mut self) -> Result<Ino, Error> {
        let mut ino = self.free_from;
        loop {
            ino = self.root.table.lowest_free(&self.source, ino)?;
            if !self.orphans.contains_key(&ino) {
                self.free_from = ino + 1;
                return Ok(ino);
            }
            ino += 1;
        }
    }

    /// Whether something may be made in this directory: it may be removed and still open.
    pub(super) fn check_alive(&self, ino: Ino) -> Result<(), Error> {
        let inode = self.view().inode(ino)?;
        let is_removed = ino != ROOT && inode.links.is_empty();
        if is_removed { Err(Error::NoEntry) } else { Ok(()) }
    }

    /// Give an inode a name in this directory, where none has it.
    pub(super) fn add_name(&mut self, parent: Ino, name: &str, ino: Ino) -> Result<(), Error> {
        let name: Arc<str> = name.into();
        let inode = self.inode_mut(ino)?;
        if inode.links.len() >= MAX_LINKS {
            return Err(Error::TooManyLinks);
        }
        let link = Link { parent, name: Arc::clone(&name) };
        let position = inode.links.binary_search(&link).unwrap_or_else(|position| position);
        inode.links.insert(position, link);
        let file_type = inode.file_type();
        self.source.meter().add_nodes(NAME);
        let source = self.source.clone();
        let directory = self.directory_mut(parent)?;
        directory.names.insert(&source, Entry { name, ino, file_type })?;
        self.root.usage.names += 1;
        self.touch_contents(parent)
    }

    /// Take a name from an inode. What it is for the inode that this was its last, the caller sees to.
    pub(super) fn remove_name(&mut self, parent: Ino, name: &str, ino: Ino) -> Result<(), Error> {
        let inode = self.inode_mut(ino)?;
        inode.links.retain(|link| link.parent != parent || *link.name != *name);
        let source = self.source.clone();
        let directory = self.directory_mut(parent)?;
        directory.names.remove(&source, name)?;
        if directory.names.count() == 0 {
            directory.reach = 0;
        }
        self.root.usage.names = self.root.usage.names.saturating_sub(1);
        self.touch_contents(parent)
    }

    /// An inode has one name less: where it was the last, it goes, unless it is open.
    pub(super) fn let_go(&mut self, ino: Ino) -> Result<(), Error> {
        let now = self.tick();
        let inode = self.inode_mut(ino)?;
        inode.changed = now;
        let (has_names, born) = (!inode.links.is_empty(), inode.born);
        // What was there at the last commit was not charged for.
        if born > self.head_root.time {
            self.uncharge_name();
        }
        if has_names {
            return Ok(());
        }
        let orphan = self.view().inode(ino)?;
        self.root.table.remove(&self.source, ino)?;
        if self.open.contains_key(&ino) {
            self.root.usage.names += 1;
            self.orphans.insert(ino, orphan);
        } else {
            self.forget(ino, &orphan);
        }
        Ok(())
    }

    /// Nobody has an inode any more.
    pub(super) fn forget(&mut self, ino: Ino, inode: &Inode) {
        self.root.usage.bytes = self.root.usage.bytes.saturating_sub(inode.size());
        if let Kind::Symlink(target) = &inode.kind
            && inode.born > self.head_root.time
        {
            self.source.meter().remove_nodes(target.len());
        }
        self.free_from = self.free_from.min(ino);
    }

    /// A name takes no more memory, or another one takes that.
    pub(super) fn uncharge_name(&self) {
        self.source.meter().remove_nodes(NAME);
    }

    /// The contents of an inode change now.
    pub(super) fn touch_contents(&mut self, ino: Ino) -> Result<(), Error> {
        let now = self.tick();
        let inode = self.inode_mut(ino)?;
        (inode.modified, inode.changed) = (now, now);
        Ok(())
    }

    /// What a directory lies in. The root lies in none.
    fn parent(&self, ino: Ino) -> Result<Option<Ino>, Error> {
        if ino == ROOT {
            return Ok(None);
        }
        let inode = self.view().inode(ino)?;
        Ok(Some(inode.links.first().ok_or(LOST)?.parent))
    }

    /// How many directories a directory lies in.
    pub(super) fn depth(&self, ino: Ino) -> Result<u16, Error> {
        let (mut at, mut depth) = (ino, 0);
        while let Some(parent) = self.parent(at)? {
            (at, depth) = (parent, depth + 1);
            if depth > MAX_DEPTH {
                return Err(Error::Io(LOST));
            }
        }
        Ok(depth)
    }

    /// Whether a directory is `above`, or lies in it.
    pub(super) fn is_within(&self, ino: Ino, above: Ino) -> Result<bool, Error> {
        let mut at = ino;
        for _ in 0..=MAX_DEPTH {
            if at == above {
                return Ok(true);
            }
            match self.parent(at)? {
                None => return Ok(false),
                Some(parent) => at = parent,
            }
        }
        Err(Error::Io(LOST))
    }

    /// How deep directories may lie below this one.
    pub(super) fn reach(&self, ino: Ino) -> Result<u16, Error> {
        Ok(directory(&*self.view().inode(ino)?)?.reach)
    }

    /// Directories lie so deep below this one from now on.
    pub(super) fn raise_reach(&mut self, ino: Ino, reach: u16) -> Result<(), Error> {
        let (mut at, mut reach) = (ino, reach);
        while self.reach(at)? < reach {
            self.directory_mut(at)?.reach = reach;
            match self.parent(at)? {
                None => break,
                Some(parent) => (at, reach) = (parent, reach + 1),
            }
        }
        Ok(())
    }
}
