//! Making, removing and moving names.

use super::{Handle, Workspace};
use crate::error::Error;
use crate::inode::{Directory, FileType, Ino, Kind};
use crate::names::Entry;
use crate::path::{Last, Place, Way, check_target};
use crate::view::directory;
use crate::{MAX_DEPTH, MAX_LINKS};

impl Workspace {
    /// Make a directory.
    ///
    /// # Errors
    ///
    /// As `mkdirat` of POSIX; [`Error::NameTooLong`] where it would lie deeper than [`MAX_DEPTH`].
    pub fn make_directory(&mut self, base: &Handle, path: &str) -> Result<(), Error> {
        let base = self.ino(base)?;
        self.change(|it| {
            let place = it.view().place(base, path, Way::NAME)?;
            match &place.last {
                Last::Itself | Last::Name(_, Some(_)) => Err(Error::Exist),
                Last::Name(name, None) => {
                    let empty = Kind::Directory(Directory::default());
                    it.create(place.directory, name, empty).map(drop)
                }
            }
        })
    }

    /// Remove an empty directory.
    ///
    /// # Errors
    ///
    /// As `unlinkat` of POSIX with `AT_REMOVEDIR`.
    pub fn remove_directory(&mut self, base: &Handle, path: &str) -> Result<(), Error> {
        let base = self.ino(base)?;
        self.change(|it| {
            let place = it.view().place(base, path, Way::NAME)?;
            let (name, entry) = match &place.last {
                // What a name leads up from is in it.
                Last::Itself if ends_with_parent(path) => return Err(Error::NotEmpty),
                Last::Itself => return Err(Error::Invalid),
                Last::Name(_, None) => return Err(Error::NoEntry),
                Last::Name(name, Some(entry)) => (name, entry),
            };
            if directory(&*it.view().inode(entry.ino)?)?.names.count() > 0 {
                return Err(Error::NotEmpty);
            }
            it.remove_name(place.directory, name, entry.ino)?;
            it.let_go(entry.ino)
        })
    }

    /// Remove a name of a file or of a symbolic link.
    ///
    /// # Errors
    ///
    /// As `unlinkat` of POSIX.
    pub fn unlink(&mut self, base: &Handle, path: &str) -> Result<(), Error> {
        let base = self.ino(base)?;
        self.change(|it| {
            let place = it.view().place(base, path, Way::NAME)?;
            let (name, entry) = match &place.last {
                Last::Itself => return Err(Error::IsDirectory),
                Last::Name(_, None) => return Err(Error::NoEntry),
                Last::Name(name, Some(entry)) => (name, entry),
            };
            if entry.file_type == FileType::Directory {
                return Err(Error::IsDirectory);
            }
            if place.has_slash {
                return Err(Error::NotDirectory);
            }
            it.remove_name(place.directory, name, entry.ino)?;
            it.let_go(entry.ino)
        })
    }

    /// Give a file one more name. A symbolic link at the end of `old` is not followed.
    ///
    /// # Errors
    ///
    /// As `linkat` of POSIX; [`Error::TooManyLinks`] beyond [`MAX_LINKS`].
    pub fn link(
        &mut self,
        old_base: &Handle,
        old: &str,
        new_base: &Handle,
        new: &str,
    ) -> Result<(), Error> {
        let (old_base, new_base) = (self.ino(old_base)?, self.ino(new_base)?);
        self.change(|it| {
            let source = Way { follow: false, slash_follows: true };
            let ino = it.view().place(old_base, old, source)?.existing()?;
            let target = it.view().place(new_base, new, Way::NAME)?;
            let name = target.vacant()?;
            let inode = it.view().inode(ino)?;
            if inode.file_type() == FileType::Directory {
                return Err(Error::NotPermitted);
            }
            it.check_alive(target.directory)?;
            if inode.links.len() >= MAX_LINKS {
                return Err(Error::TooManyLinks);
            }
            it.quotas.named(&it.root.usage)?;
            let now = it.tick();
            it.inode_mut(ino)?.changed = now;
            it.add_name(target.directory, name, ino)
        })
    }

    /// Make a symbolic link to `target`, which need not be there, and is relative to where the link is.
    ///
    /// # Errors
    ///
    /// As `symlinkat` of POSIX; [`Error::NotPermitted`] where `target` is absolute.
    pub fn symlink(&mut self, target: &str, base: &Handle, path: &str) -> Result<(), Error> {
        let base = self.ino(base)?;
        check_target(target)?;
        self.change(|it| {
            let place = it.view().place(base, path, Way::NAME)?;
            let name = place.vacant()?;
            it.create(place.directory, name, Kind::Symlink(target.into())).map(drop)
        })
    }

    /// Move a file, a link or a directory. What has the new name goes, where it is of the same kind and not a directory
    /// with files in it.
    ///
    /// # Errors
    ///
    /// As `renameat` of POSIX; [`Error::NameTooLong`] where directories would lie deeper than [`MAX_DEPTH`].
    pub fn rename(
        &mut self,
        old_base: &Handle,
        old: &str,
        new_base: &Handle,
        new: &str,
    ) -> Result<(), Error> {
        let (old_base, new_base) = (self.ino(old_base)?, self.ino(new_base)?);
        self.change(|it| {
            let from = it.view().place(old_base, old, Way::NAME)?;
            let to = it.view().place(new_base, new, Way::NAME)?;
            it.rename_place(&from, &to)
        })
    }

    fn rename_place(&mut self, from: &Place, to: &Place) -> Result<(), Error> {
        let (Last::Name(old_name, moved), Last::Name(new_name, replaced)) = (&from.last, &to.last)
        else {
            return Err(Error::Busy);
        };
        let moved = moved.as_ref().ok_or(Error::NoEntry)?;
        let is_directory = moved.file_type == FileType::Directory;
        if !is_directory && (from.has_slash || to.has_slash) {
            return Err(Error::NotDirectory);
        }
        if is_directory && self.is_reached(to.directory, moved.ino)? {
            return Err(Error::Invalid);
        }
        if let Some(replaced) = replaced {
            if replaced.ino == moved.ino {
                return Ok(());
            }
            self.check_replaced(moved, replaced, from.directory)?;
        }
        self.check_alive(to.directory)?;
        let below = if is_directory { Some(self.reach(moved.ino)? + 1) } else { None };
        if let Some(below) = below
            && self.depth(to.directory)?.saturating_add(below) > MAX_DEPTH
        {
            return Err(Error::NameTooLong);
        }
        if let Some(replaced) = replaced {
            self.remove_name(to.directory, new_name, replaced.ino)?;
            self.let_go(replaced.ino)?;
        }
        self.remove_name(from.directory, old_name, moved.ino)?;
        let now = self.tick();
        self.inode_mut(moved.ino)?.changed = now;
        self.add_name(to.directory, new_name, moved.ino)?;
        self.uncharge_name();
        match below {
            None => Ok(()),
            Some(below) => self.raise_reach(to.directory, below),
        }
    }

    /// Whether what is moved may take the place of what has its new name.
    fn check_replaced(&self, moved: &Entry, replaced: &Entry, from: Ino) -> Result<(), Error> {
        let inode = self.view().inode(replaced.ino)?;
        let is_directory = moved.file_type == FileType::Directory;
        match &inode.kind {
            // Not even where what is moved is the only file in it.
            Kind::Directory(_) if self.is_reached(from, replaced.ino)? => Err(Error::NotEmpty),
            Kind::Directory(_) if !is_directory => Err(Error::IsDirectory),
            Kind::Directory(directory) if directory.names.count() > 0 => Err(Error::NotEmpty),
            Kind::Directory(_) => Ok(()),
            Kind::File(_) | Kind::Symlink(_) if is_directory => Err(Error::NotDirectory),
            Kind::File(_) | Kind::Symlink(_) => Ok(()),
        }
    }

    /// Whether a directory is `above`, or lies in it. One that is removed lies nowhere.
    fn is_reached(&self, ino: Ino, above: Ino) -> Result<bool, Error> {
        Ok(self.check_alive(ino).is_ok() && self.is_within(ino, above)?)
    }
}

fn ends_with_parent(path: &str) -> bool {
    path.split('/').rfind(|name| !name.is_empty()) == Some("..")
}

impl Place {
    /// The name that is free there, for what is no directory.
    fn vacant(&self) -> Result<&str, Error> {
        match &self.last {
            Last::Itself | Last::Name(_, Some(_)) => Err(Error::Exist),
            Last::Name(_, None) if self.has_slash => Err(Error::NoEntry),
            Last::Name(name, None) => Ok(name),
        }
    }
}
