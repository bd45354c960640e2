//! Goes through the files below a directory, in the order of their names.

use std::{
    fs, io,
    path::{Path, PathBuf},
    vec,
};

/// The most files and directories that are looked at.
const MAX_ENTRIES: usize = 50_000;
/// The most directories within each other.
const MAX_DEPTH: usize = 64;
/// A directory that is not gone through.
const LEFT_OUT: &str = ".git";

/// The files below a directory, each as its path from there. Links are left out, so that no file comes twice and no
/// way is endless.
pub(super) struct Walk {
    start: PathBuf,
    /// The directory that is gone through, after those that it is in.
    directories: Vec<Directory>,
    entries: usize,
    /// Whether something is left out because there is too much.
    pub(super) is_cut: bool,
    /// How many directories could not be read.
    pub(super) unread: usize,
}

struct Directory {
    /// Its path from the start, with a slash, or nothing.
    below: String,
    entries: vec::IntoIter<Entry>,
}

struct Entry {
    name: String,
    is_directory: bool,
}

impl Walk {
    /// # Errors
    /// When the directory cannot be read.
    pub(super) fn from(start: &Path) -> io::Result<Walk> {
        let (start, directories) = (start.to_owned(), Vec::new());
        let mut walk = Walk { start, directories, entries: 0, is_cut: false, unread: 0 };
        walk.enter(String::new())?;
        Ok(walk)
    }

    fn enter(&mut self, below: String) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.start.join(&below))? {
            let entry = entry?;
            if self.entries == MAX_ENTRIES {
                self.is_cut = true;
                break;
            }
            self.entries += 1;
            let kind = entry.file_type()?;
            // No tool takes a name that is not UTF-8.
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_directory = kind.is_dir() && name != LEFT_OUT;
            if is_directory || kind.is_file() {
                entries.push(Entry { name, is_directory });
            }
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        self.directories.push(Directory { below, entries: entries.into_iter() });
        Ok(())
    }

    /// What an answer says of what is left out.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_cut {
            notes.push(format!(
                "There are more than {MAX_ENTRIES} files, or {MAX_DEPTH} directories within each other, and not all of them \
                 were looked at: say with `path` where to look."
            ));
        }
        if self.unread > 0 {
            notes.push(format!("{} directories could not be read.", self.unread));
        }
        notes
    }
}

impl Iterator for Walk {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        loop {
            let directory = self.directories.last_mut()?;
            let Some(Entry { name, is_directory }) = directory.entries.next() else {
                self.directories.pop();
                continue;
            };
            let below = format!("{}{name}", directory.below);
            if !is_directory {
                return Some(below);
            }
            if self.directories.len() == MAX_DEPTH || self.entries == MAX_ENTRIES {
                self.is_cut = true;
            } else if self.enter(format!("{below}/")).is_err() {
                self.unread += 1;
            }
        }
    }
}
