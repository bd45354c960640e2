//! Reading and writing what is open.

use std::sync::Arc;

use super::{Handle, Workspace};
use crate::content::ContentId;
use crate::error::{Error, QuotaKind};
use crate::inode::{Ino, Kind};
use crate::view::{DirectoryEntry, Stat};

impl Workspace {
    /// What is known of an open file.
    ///
    /// # Errors
    ///
    /// The handle is of before a rollback.
    pub fn stat(&self, handle: &Handle) -> Result<Stat, Error> {
        self.view().stat(self.ino(handle)?)
    }

    /// What is known of the file at `path`, or, without `follow`, of a symbolic link there.
    ///
    /// # Errors
    ///
    /// The path leads nowhere.
    pub fn stat_at(&self, directory: &Handle, path: &str, follow: bool) -> Result<Stat, Error> {
        let base = self.ino(directory)?;
        self.view().stat(self.view().lookup(base, path, follow)?)
    }

    /// What stands for the contents of a file, as [`Tree::content_id`](crate::Tree::content_id) has it. What is large and
    /// was written since the last commit has none.
    ///
    /// # Errors
    ///
    /// The path leads nowhere.
    pub fn content_id(&self, directory: &Handle, path: &str) -> Result<Option<ContentId>, Error> {
        let base = self.ino(directory)?;
        Ok(self.view().inode(self.view().lookup(base, path, true)?)?.content_id())
    }

    /// The bytes of an open file from `offset` on, `most` and [`MAX_READ`](crate::MAX_READ) at most; fewer only at its
    /// end.
    ///
    /// # Errors
    ///
    /// It is a directory.
    pub fn read(&self, file: &Handle, offset: u64, most: usize) -> Result<Vec<u8>, Error> {
        self.view().read(self.ino(file)?, offset, most)
    }

    /// Put `bytes` at `offset`, all of them or none. What lies between the end of the file and `offset` is zeros.
    ///
    /// # Errors
    ///
    /// It is a directory, or a quota has no room.
    pub fn write(&mut self, file: &Handle, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let ino = self.ino(file)?;
        self.change(|it| it.write_ino(ino, offset, bytes))
    }

    /// Put `bytes` at the end, all of them or none.
    ///
    /// # Errors
    ///
    /// It is a directory, or a quota has no room.
    pub fn append(&mut self, file: &Handle, bytes: &[u8]) -> Result<(), Error> {
        let ino = self.ino(file)?;
        let end = self.view().inode(ino)?.size();
        self.change(|it| it.write_ino(ino, end, bytes))
    }

    /// Cut a file off, or let zeros follow.
    ///
    /// # Errors
    ///
    /// It is a directory, or a quota has no room.
    pub fn set_size(&mut self, file: &Handle, size: u64) -> Result<(), Error> {
        let ino = self.ino(file)?;
        self.change(|it| it.resize(ino, size))
    }

    /// The names in an open directory behind `after`, in the order of their bytes, `most` at most.
    ///
    /// # Errors
    ///
    /// It is no directory.
    pub fn read_directory(
        &self,
        directory: &Handle,
        after: Option<&str>,
        most: usize,
    ) -> Result<Vec<DirectoryEntry>, Error> {
        self.view().read_directory(self.ino(directory)?, after, most)
    }

    /// Where the symbolic link at `path` leads, as it was written.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] where it is no link.
    pub fn read_link(&self, directory: &Handle, path: &str) -> Result<Arc<str>, Error> {
        self.view().read_link(self.ino(directory)?, path)
    }

    fn write_ino(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let old = self.file_size(ino)?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64);
        let end = end.ok_or(Error::Quota(QuotaKind::FileBytes))?;
        let held = self.quotas.resized(&self.root.usage, old, old.max(end))?;
        let source = self.source.clone();
        if let Kind::File(content) = &mut self.inode_mut(ino)?.kind {
            content.write(&source, offset, bytes)?;
        }
        self.root.usage.bytes = held;
        self.touch_contents(ino)
    }

    pub(super) fn resize(&mut self, ino: Ino, size: u64) -> Result<(), Error> {
        let old = self.file_size(ino)?;
        let held = self.quotas.resized(&self.root.usage, old, size)?;
        let source = self.source.clone();
        if let Kind::File(content) = &mut self.inode_mut(ino)?.kind {
            content.resize(&source, size)?;
        }
        self.root.usage.bytes = held;
        self.touch_contents(ino)
    }

    fn file_size(&self, ino: Ino) -> Result<u64, Error> {
        match &self.view().inode(ino)?.kind {
            Kind::File(content) => Ok(content.length()),
            Kind::Directory(_) => Err(Error::IsDirectory),
            Kind::Symlink(_) => Err(Error::BadDescriptor),
        }
    }
}
