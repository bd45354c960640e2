//! A tree that nobody changes: what a commit leaves, and what sessions start from.

use std::sync::Arc;

use crate::blob::{BlobError, BlobId};
use crate::content::ContentId;
use crate::error::Error;
use crate::inode::{Ino, Kind, ROOT};
use crate::node::Ref;
use crate::quota::Usage;
use crate::root::Root;
use crate::source::Source;
use crate::view::{DirectoryEntry, Stat, View};

/// A snapshot of a file tree. A copy costs nothing, and so does opening one: nothing is read until it is asked for.
///
/// Paths are relative to the root of the tree; `.` is the root. In all methods the last name of a path is followed
/// where it is a symbolic link, but where it is said otherwise.
#[derive(Clone)]
pub struct Tree {
    source: Source,
    root: Ref<Root>,
}

impl Tree {
    /// A tree without files, made at `now` (nanoseconds since 1970). It has no blob yet.
    #[must_use]
    pub fn empty(source: Source, now: u64) -> Tree {
        Tree { source, root: Ref::new(Root::empty(now)) }
    }

    /// The tree with this root. Nothing is read: whether there is such a tree, whoever reads it learns.
    #[must_use]
    pub fn open(source: Source, root: BlobId) -> Tree {
        Tree { source, root: Ref::Stored(root) }
    }

    /// Its root. An empty tree that no commit has left has none.
    #[must_use]
    pub fn id(&self) -> Option<BlobId> {
        match self.root {
            Ref::Stored(id) => Some(id),
            Ref::Live(_) => None,
        }
    }

    /// How much it holds.
    ///
    /// # Errors
    ///
    /// The root cannot be read.
    pub fn usage(&self) -> Result<Usage, BlobError> {
        Ok(self.root()?.usage)
    }

    /// When it changed last, in nanoseconds since 1970.
    ///
    /// # Errors
    ///
    /// The root cannot be read.
    pub fn changed(&self) -> Result<u64, BlobError> {
        Ok(self.root()?.time)
    }

    /// What is known of a file, or, without `follow`, of a symbolic link.
    ///
    /// # Errors
    ///
    /// The path leads nowhere, or out of the tree.
    pub fn stat(&self, path: &str, follow: bool) -> Result<Stat, Error> {
        self.with(|view| view.stat(view.lookup(ROOT, path, follow)?))
    }

    /// The bytes of a file from `offset` on, `most` and [`MAX_READ`](crate::MAX_READ) at most; fewer only at its end.
    ///
    /// # Errors
    ///
    /// The path leads to no file.
    pub fn read(&self, path: &str, offset: u64, most: usize) -> Result<Vec<u8>, Error> {
        self.with(|view| view.read(view.lookup(ROOT, path, true)?, offset, most))
    }

    /// What stands for the contents of a file, without reading them: an `ETag`. A directory has none.
    ///
    /// # Errors
    ///
    /// The path leads nowhere.
    pub fn content_id(&self, path: &str) -> Result<Option<ContentId>, Error> {
        self.with(|view| Ok(view.inode(view.lookup(ROOT, path, true)?)?.content_id()))
    }

    /// Where a symbolic link leads, as it was written.
    ///
    /// # Errors
    ///
    /// The path leads to no link.
    pub fn read_link(&self, path: &str) -> Result<Arc<str>, Error> {
        self.with(|view| view.read_link(ROOT, path))
    }

    /// The names in a directory behind `after`, in the order of their bytes, `most` at most.
    ///
    /// # Errors
    ///
    /// The path leads to no directory.
    pub fn read_directory(
        &self,
        path: &str,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<DirectoryEntry>, Error> {
        self.with(|view| view.read_directory(view.lookup(ROOT, path, true)?, after, most))
    }

    /// The bytes of the file with this number, as [`Tree::read`] has them: whoever reads one in pieces looks its path
    /// up once.
    ///
    /// # Errors
    ///
    /// It is the number of no file of this tree.
    pub fn read_ino(&self, ino: Ino, offset: u64, most: usize) -> Result<Vec<u8>, Error> {
        let root = self.root()?;
        let inode = root.table.get(&self.source, ino)?.ok_or(Error::NoEntry)?;
        match &inode.kind {
            Kind::File(content) => Ok(content.read(&self.source, offset, most)?),
            Kind::Directory(_) => Err(Error::IsDirectory),
            Kind::Symlink(_) => Err(Error::BadDescriptor),
        }
    }

    pub(crate) fn with<T>(
        &self,
        read: impl FnOnce(View<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let root = self.root()?;
        read(View { source: &self.source, table: &root.table, orphans: None })
    }

    pub(crate) fn root(&self) -> Result<Arc<Root>, BlobError> {
        self.root.load(&self.source)
    }

    pub(crate) fn source(&self) -> &Source {
        &self.source
    }
}
