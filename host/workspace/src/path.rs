//! Where paths lead.
//!
//! A path begins at a directory and never leads out of it: not by `..`, not through a symbolic link, not from
//! the root of the file system, which is none of ours. A path with a slash at its end means a directory.

use crate::error::Error;
use crate::inode::{FileType, Ino, Kind};
use crate::names::Entry;
use crate::view::{View, directory};
use crate::{MAX_FOLLOWED, MAX_NAME, MAX_PATH};

/// Where a path leads.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory that has the last name, or is meant itself.
    pub(crate) directory: Ino,
    pub(crate) last: Last,
    /// Whether a slash is at the end.
    pub(crate) has_slash: bool,
}

/// What a path names.
#[derive(Debug)]
pub(crate) enum Last {
    /// The directory.
    Itself,
    /// A name in it, and what has this name.
    Name(String, Option<Entry>),
}

/// How to go along a path.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// Whether a symbolic link at the end is followed.
    pub(crate) follow: bool,
    /// Whether it is where a slash is behind it.
    pub(crate) slash_follows: bool,
}

impl Way {
    /// To what has the last name, be it a link.
    pub(crate) const NAME: Way = Way { follow: false, slash_follows: false };
}

/// The directories from where a path begins to where it leads.
struct Walk<'a> {
    view: View<'a>,
    stack: Vec<Ino>,
    followed: u32,
}

impl View<'_> {
    /// Go along this path.
    pub(crate) fn place(&self, base: Ino, path: &str, way: Way) -> Result<Place, Error> {
        directory(&*self.inode(base)?)?;
        let mut walk = Walk { view: *self, stack: vec![base], followed: 0 };
        let (last, has_slash) = walk.along(path, way)?;
        Ok(Place { directory: walk.here()?, last, has_slash })
    }

    /// The inode at the end of this path.
    pub(crate) fn lookup(&self, base: Ino, path: &str, follow: bool) -> Result<Ino, Error> {
        let place = self.place(base, path, Way { follow, slash_follows: true })?;
        place.existing()
    }
}

impl Place {
    /// The inode that is there.
    pub(crate) fn existing(&self) -> Result<Ino, Error> {
        match &self.last {
            Last::Itself => Ok(self.directory),
            Last::Name(_, None) => Err(Error::NoEntry),
            Last::Name(_, Some(entry)) => {
                let is_directory = entry.file_type == FileType::Directory;
                if self.has_slash && !is_directory {
                    return Err(Error::NotDirectory);
                }
                Ok(entry.ino)
            }
        }
    }
}

/// Whether this may be a path, or the target of a link.
fn check(path: &str) -> Result<(), Error> {
    if path.is_empty() {
        return Err(Error::NoEntry);
    }
    if path.len() >= MAX_PATH {
        return Err(Error::NameTooLong);
    }
    if path.contains('\0') {
        return Err(Error::Invalid);
    }
    if path.starts_with('/') {
        return Err(Error::NotPermitted);
    }
    Ok(())
}

/// Whether a link may lead there.
pub(crate) fn check_target(target: &str) -> Result<(), Error> {
    check(target)
}

impl Walk<'_> {
    fn here(&self) -> Result<Ino, Error> {
        self.stack.last().copied().ok_or(Error::NotPermitted)
    }

    /// Go along this path from here. What is returned is in the directory that is here then.
    fn along(&mut self, path: &str, way: Way) -> Result<(Last, bool), Error> {
        check(path)?;
        let has_slash = path.ends_with('/');
        let mut names = path.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            let is_last = names.peek().is_none();
            if name == "." {
                continue;
            }
            if name == ".." {
                self.stack.pop();
                self.here()?;
                continue;
            }
            if name.len() > MAX_NAME {
                return Err(Error::NameTooLong);
            }
            // A file that is to be made must not end with a slash; Linux says so before it looks.
            if is_last && has_slash && way.follow && !way.slash_follows {
                return Err(Error::IsDirectory);
            }
            if let Some(last) = self.enter(name, is_last, has_slash, way)? {
                return Ok(last);
            }
        }
        Ok((Last::Itself, has_slash))
    }

    /// Go on to this name, or say that it is the end.
    fn enter(
        &mut self,
        name: &str,
        is_last: bool,
        has_slash: bool,
        way: Way,
    ) -> Result<Option<(Last, bool)>, Error> {
        let inode = self.view.inode(self.here()?)?;
        let found = directory(&inode)?.names.get(self.view.source, name)?;
        let Some(entry) = found else {
            let last = (Last::Name(name.to_owned(), None), has_slash);
            return if is_last { Ok(Some(last)) } else { Err(Error::NoEntry) };
        };
        let is_followed = !is_last || way.follow || (has_slash && way.slash_follows);
        match entry.file_type {
            FileType::Symlink if is_followed => self.follow(entry.ino, is_last, has_slash, way),
            _ if is_last => Ok(Some((Last::Name(name.to_owned(), Some(entry)), has_slash))),
            FileType::Directory => {
                self.stack.push(entry.ino);
                Ok(None)
            }
            FileType::Regular | FileType::Symlink => Err(Error::NotDirectory),
        }
    }

    fn follow(
        &mut self,
        link: Ino,
        is_last: bool,
        has_slash: bool,
        way: Way,
    ) -> Result<Option<(Last, bool)>, Error> {
        self.followed += 1;
        if self.followed > MAX_FOLLOWED {
            return Err(Error::Loop);
        }
        let inode = self.view.inode(link)?;
        let Kind::Symlink(target) = &inode.kind else { return Err(Error::NotDirectory) };
        let way = Way { follow: true, slash_follows: !is_last || way.slash_follows };
        let (last, ends_with_slash) = self.along(target, way)?;
        if is_last {
            return Ok(Some((last, ends_with_slash || has_slash)));
        }
        match last {
            Last::Itself => {}
            Last::Name(_, None) => return Err(Error::NoEntry),
            Last::Name(_, Some(entry)) if entry.file_type == FileType::Directory => {
                self.stack.push(entry.ino);
            }
            Last::Name(_, Some(_)) => return Err(Error::NotDirectory),
        }
        Ok(None)
    }
}
