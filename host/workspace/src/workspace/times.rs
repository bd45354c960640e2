//! Times that somebody sets.

use super::{Handle, Workspace};
use crate::error::Error;
use crate::inode::Ino;

/// What becomes of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTime {
    /// It stays.
    Keep,
    /// It is now.
    Now,
    /// It is this one, in nanoseconds since 1970.
    At(u64),
}

impl NewTime {
    fn of(self, old: u64, now: u64) -> u64 {
        match self {
            NewTime::Keep => old,
            NewTime::Now => now,
            NewTime::At(time) => time,
        }
    }
}

impl Workspace {
    /// Set when an open file was read and written last.
    ///
    /// # Errors
    ///
    /// The handle is of before a rollback.
    pub fn set_times(
        &mut self,
        handle: &Handle,
        accessed: NewTime,
        modified: NewTime,
    ) -> Result<(), Error> {
        let ino = self.ino(handle)?;
        self.change(|it| it.set_times_of(ino, accessed, modified))
    }

    /// Set when the file at `path` was read and written last, or, without `follow`, a symbolic link there.
    ///
    /// # Errors
    ///
    /// The path leads nowhere.
    pub fn set_times_at(
        &mut self,
        directory: &Handle,
        path: &str,
        follow: bool,
        accessed: NewTime,
        modified: NewTime,
    ) -> Result<(), Error> {
        let base = self.ino(directory)?;
        self.change(|it| {
            let ino = it.view().lookup(base, path, follow)?;
            it.set_times_of(ino, accessed, modified)
        })
    }

    fn set_times_of(
        &mut self,
        ino: Ino,
        accessed: NewTime,
        modified: NewTime,
    ) -> Result<(), Error> {
        let now = self.tick();
        let inode = self.inode_mut(ino)?;
        inode.changed = now;
        inode.accessed = accessed.of(inode.accessed, now);
        inode.modified = modified.of(inode.modified, now);
        Ok(())
    }
}
