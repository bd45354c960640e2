//! Handles: opening, closing, and what they are checked for.

use super::{Handle, Workspace};
use crate::content::Content;
use crate::error::Error;
use crate::inode::{FileType, Ino, Kind, ROOT};
use crate::path::{Last, Way};

/// How to open a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// Follow a symbolic link at the end of the path.
    pub follow: bool,
    /// Make a file where there is none.
    pub create: bool,
    /// Refuse what is there already.
    pub exclusive: bool,
    /// Empty the file.
    pub truncate: bool,
    /// Refuse what is no directory.
    pub directory: bool,
    /// Refuse a directory, as it cannot be written.
    pub write: bool,
}

impl Workspace {
    /// The root.
    pub fn root(&mut self) -> Handle {
        self.hold(ROOT)
    }

    /// Open what is at `path`. What was opened, also says what it is. A symbolic link cannot be opened.
    ///
    /// # Errors
    ///
    /// As `openat` of POSIX: [`Error::Loop`] where the path ends at a link that is not followed.
    pub fn open(
        &mut self,
        directory: &Handle,
        path: &str,
        options: OpenOptions,
    ) -> Result<(Handle, FileType), Error> {
        let base = self.ino(directory)?;
        let is_making = options.create || options.exclusive || options.truncate;
        if options.directory && is_making {
            return Err(Error::Invalid);
        }
        let (ino, file_type) = self.change(|it| it.open_ino(base, path, options))?;
        Ok((self.hold(ino), file_type))
    }

    fn open_ino(
        &mut self,
        base: Ino,
        path: &str,
        options: OpenOptions,
    ) -> Result<(Ino, FileType), Error> {
        let is_new = options.create && options.exclusive;
        let way = Way { follow: options.follow && !is_new, slash_follows: !options.create };
        let place = self.view().place(base, path, way)?;
        let ino = match &place.last {
            Last::Itself if is_new => return Err(Error::Exist),
            Last::Itself => place.directory,
            Last::Name(..) if options.create && place.has_slash => return Err(Error::IsDirectory),
            Last::Name(name, None) if options.create => {
                let file = Kind::File(Content::default());
                let ino = self.create(place.directory, name, file)?;
                return Ok((ino, FileType::Regular));
            }
            Last::Name(_, None) => return Err(Error::NoEntry),
            Last::Name(_, Some(_)) if is_new => return Err(Error::Exist),
            Last::Name(_, Some(entry)) => entry.ino,
        };
        let file_type = self.view().inode(ino)?.file_type();
        let wants_directory = place.has_slash || options.directory;
        let wants_file = options.create || options.write || options.truncate;
        match file_type {
            FileType::Symlink if wants_directory => Err(Error::NotDirectory),
            FileType::Symlink => Err(Error::Loop),
            FileType::Directory if wants_file => Err(Error::IsDirectory),
            FileType::Regular if wants_directory => Err(Error::NotDirectory),
            FileType::Regular if options.truncate => {
                self.resize(ino, 0)?;
                Ok((ino, file_type))
            }
            FileType::Directory | FileType::Regular => Ok((ino, file_type)),
        }
    }

    /// One more handle for the same file.
    ///
    /// # Errors
    ///
    /// The handle is of before a rollback.
    pub fn duplicate(&mut self, handle: &Handle) -> Result<Handle, Error> {
        let ino = self.ino(handle)?;
        Ok(self.hold(ino))
    }

    /// Give a handle back. A file without a name goes with its last handle. A handle of before a rollback means
    /// nothing.
    pub fn close(&mut self, handle: Handle) {
        let Ok(ino) = self.ino(&handle) else { return };
        let Some(count) = self.open.get_mut(&ino) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        self.open.remove(&ino);
        if let Some(orphan) = self.orphans.remove(&ino) {
            self.root.usage.names = self.root.usage.names.saturating_sub(1);
            self.forget(ino, &orphan);
        }
    }

    fn hold(&mut self, ino: Ino) -> Handle {
        *self.open.entry(ino).or_default() += 1;
        Handle { ino, generation: self.generation }
    }

    /// The inode that is open.
    pub(super) fn ino(&self, handle: &Handle) -> Result<Ino, Error> {
        if handle.generation != self.generation {
            return Err(Error::BadDescriptor);
        }
        Ok(handle.ino)
    }
}
