//! What is in a file, and how it is replaced.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::Path,
};

use super::{
    MAX_FILE,
    path::{failure, is_directory},
};
use crate::{Error, Result};

/// A file with a zero in so many of its first bytes is no text.
const SNIFFED: usize = 8 << 10;
/// What a file is written to before it takes the place of the last.
const NEW_FILE: &str = ".dormouse-new-file";

/// All that is in a file.
pub(super) enum Content {
    /// Text, as far as its first bytes tell. It may not be UTF-8.
    Text(Vec<u8>),
    /// Something else.
    Binary,
    /// More than [`MAX_FILE`]. With its bytes.
    TooLarge(u64),
}

impl Content {
    pub(super) fn of(path: &Path) -> io::Result<Content> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        if length > MAX_FILE {
            return Ok(Content::TooLarge(length));
        }
        let mut bytes = Vec::new();
        // The file may have grown meanwhile.
        let mut reader = file.take(MAX_FILE + 1);
        reader.by_ref().take(SNIFFED as u64).read_to_end(&mut bytes)?;
        if is_binary(&bytes) {
            return Ok(Content::Binary);
        }
        reader.read_to_end(&mut bytes)?;
        Ok(match bytes.len() as u64 > MAX_FILE {
            true => Content::TooLarge(length),
            false => Content::Text(bytes),
        })
    }

    /// The text, if it is one.
    pub(super) fn text(self) -> Option<Vec<u8>> {
        match self {
            Content::Text(text) => Some(text),
            Content::Binary | Content::TooLarge(_) => None,
        }
    }
}

/// Whether what a file begins with is no text.
pub(super) fn is_binary(beginning: &[u8]) -> bool {
    beginning.iter().take(SNIFFED).any(|byte| *byte == 0)
}

/// Opens a file, with its length. A directory is refused.
pub(super) fn open(path: &Path) -> Result<(File, u64)> {
    let found = fs::metadata(path).map_err(|error| failure(path, &error))?;
    if found.is_dir() {
        return Err(is_directory(path));
    }
    let file = File::open(path).map_err(|error| failure(path, &error))?;
    Ok((file, found.len()))
}

/// Puts a file in the place of the last one. Where that fails, as it does where no room is left, the last one stays as it
/// was.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    if content.len() as u64 > MAX_FILE {
        let text = format!("a file has at most {} MiB: nothing is written", MAX_FILE >> 20);
        return Err(Error::invalid(text));
    }
    // What a link leads to is written, and the link stays.
    let written = match path.is_symlink() {
        true => fs::write(path, content),
        false => replace_whole(path, content),
    };
    written.map_err(|error| {
        let why = failure(path, &error);
        Error::failed(format!("nothing is written, perhaps because no room is left: {why}"))
    })
}

fn replace_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_file_name(NEW_FILE);
    let mut file = File::create_new(&new)?;
    let written = file.write_all(content);
    drop(file);
    let replaced = written.and_then(|()| fs::rename(&new, path));
    if replaced.is_err() {
        // Where it cannot be removed either, the first error is the one to tell.
        let _ = fs::remove_file(&new);
    }
    replaced
}
