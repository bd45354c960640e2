//! Changes of several directories at once: what the API does, and what no guest can ask for in one call.

use super::{Handle, Workspace};
use crate::MAX_DEPTH;
use crate::blob::BlobError;
use crate::error::Error;
use crate::inode::{Directory, FileType, Ino, Kind};
use crate::path::{Last, Way};
use crate::view::directory;

const LOST: BlobError = BlobError::Inconsistent("directories lie in each other");

/// How many names are read at once.
const BATCH: usize = 256;

impl Workspace {
    /// Make a directory, and those above it that are not there. It may be there already.
    ///
    /// # Errors
    ///
    /// As [`Workspace::make_directory`]; what was made before the error stays.
    pub fn make_directories(&mut self, base: &Handle, path: &str) -> Result<(), Error> {
        let base = self.ino(base)?;
        let names = path.split('/').filter(|name| !name.is_empty()).count();
        if names > usize::from(MAX_DEPTH) {
            return Err(Error::NameTooLong);
        }
        self.change(|it| {
            let slashes = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
            for end in slashes.chain([path.len()]) {
                it.make_one(base, &path[..end])?;
            }
            Ok(())
        })
    }

    /// Remove what is at `path`, and where it is a directory all that is in it. Takes time for each file.
    ///
    /// # Errors
    ///
    /// The path leads nowhere, or to no name: [`Error::Invalid`].
    pub fn remove_all(&mut self, base: &Handle, path: &str) -> Result<(), Error> {
        let base = self.ino(base)?;
        self.change(|it| {
            let place = it.view().place(base, path, Way::NAME)?;
            let Last::Name(name, entry) = &place.last else { return Err(Error::Invalid) };
            let entry = entry.as_ref().ok_or(Error::NoEntry)?;
            match entry.file_type {
                FileType::Directory => it.empty(entry.ino)?,
                FileType::Regular | FileType::Symlink if place.has_slash => {
                    return Err(Error::NotDirectory);
                }
                FileType::Regular | FileType::Symlink => {}
            }
            it.remove_name(place.directory, name, entry.ino)?;
            it.let_go(entry.ino)
        })
    }

    fn make_one(&mut self, base: Ino, path: &str) -> Result<(), Error> {
        let place = self.view().place(base, path, Way { follow: true, slash_follows: true })?;
        match &place.last {
            Last::Itself => Ok(()),
            Last::Name(_, Some(entry)) if entry.file_type == FileType::Directory => Ok(()),
            Last::Name(_, Some(_)) => Err(Error::NotDirectory),
            Last::Name(name, None) => {
                self.create(place.directory, name, Kind::Directory(Directory::default())).map(drop)
            }
        }
    }

    /// Remove all that is in a directory.
    fn empty(&mut self, ino: Ino) -> Result<(), Error> {
        let mut todo = vec![ino];
        while let Some(here) = todo.last().copied() {
            let inode = self.view().inode(here)?;
            let entries = directory(&inode)?.names.range(&self.source, None, BATCH)?;
            if entries.is_empty() {
                todo.pop();
                if here != ino {
                    let links = inode.links.clone();
                    for link in links {
                        self.remove_name(link.parent, &link.name, here)?;
                    }
                    self.let_go(here)?;
                }
            }
            for entry in entries {
                if entry.file_type == FileType::Directory {
                    if todo.len() > usize::from(MAX_DEPTH) * BATCH {
                        return Err(Error::Io(LOST));
                    }
                    todo.push(entry.ino);
                } else {
                    self.remove_name(here, &entry.name, entry.ino)?;
                    self.let_go(entry.ino)?;
                }
            }
        }
        Ok(())
    }
}
