//! Where the paths of a model lead.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use super::Files;
use crate::{Error, Result};

/// The most bytes of a path.
const MAX_PATH: usize = 4096;

impl Files {
    /// The path of a file or a directory: an absolute one below the root, or one that begins there.
    pub(super) fn resolve(&self, text: &str) -> Result<PathBuf> {
        let root = self.root.display();
        if text.is_empty() || text.len() > MAX_PATH || text.contains('\0') {
            let text = format!("a path has 1 to {MAX_PATH} bytes, and none of them is 0");
            return Err(Error::invalid(text));
        }
        let path = Path::new(text);
        let below = match path.is_absolute() {
            true => path.strip_prefix(&self.root).map_err(|_| {
                Error::invalid(format!("`{text}` is not below `{root}`, where all files are"))
            })?,
            false => path,
        };
        let mut resolved = self.root.clone();
        for component in below.components() {
            match component {
                Component::Normal(name) => resolved.push(name),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                    let text = format!("`{text}` has `..`: name the path from `{root}` on");
                    return Err(Error::invalid(text));
                }
            }
        }
        Ok(resolved)
    }

    /// Where a search begins: at the root, unless the model says something else.
    pub(super) fn start(&self, path: Option<&str>) -> Result<PathBuf> {
        match path {
            None | Some("") => Ok(self.root.clone()),
            Some(path) => self.resolve(path),
        }
    }
}

/// What a model is told of a file that cannot be opened or changed.
pub(super) fn failure(path: &Path, error: &io::Error) -> Error {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::failed(format!("there is no `{shown}`: Glob finds files"))
        }
        io::ErrorKind::NotADirectory => {
            Error::failed(format!("a directory on the way to `{shown}` is a file"))
        }
        io::ErrorKind::IsADirectory => is_directory(path),
        _ => Error::failed(format!("`{shown}`: {error}")),
    }
}

/// What a model is told where it takes a directory for a file.
pub(super) fn is_directory(path: &Path) -> Error {
    Error::failed(format!("`{}` is a directory: Glob lists its files", path.display()))
}
