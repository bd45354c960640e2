//! Lists of what is in a directory and below it, page by page.

use std::str::FromStr;
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use crate::error::Error;
use crate::inode::{FileType, Ino, ROOT};
use crate::tree::Tree;
use crate::view::{DirectoryEntry, Stat, View};

/// A pattern of paths: `*` and `?` stand for parts of a name, `**` for directories, `[a-z]` and `{a,b}` for one of
/// several.
#[derive(Clone, Debug)]
pub struct Glob(GlobMatcher);

impl Glob {
    /// The most bytes of a pattern.
    pub const MAX_BYTES: usize = 1 << 10;

    /// Whether a path has this pattern.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.0.is_match(path)
    }
}

/// The text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no pattern of paths: {0}")]
pub struct InvalidGlob(String);

impl FromStr for Glob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Glob, InvalidGlob> {
        if text.len() > Glob::MAX_BYTES {
            return Err(InvalidGlob(format!("it has more than {} bytes", Glob::MAX_BYTES)));
        }
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|error| InvalidGlob(error.kind().to_string()))?;
        Ok(Glob(glob.compile_matcher()))
    }
}

/// What to list.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// The directory.
    pub path: String,
    /// How deep: 1 has what is in the directory itself.
    pub depth: usize,
    /// Which paths, relative to the directory. None: all.
    pub glob: Option<Glob>,
    /// The cursor: list what comes behind this path.
    pub after: Option<String>,
    /// How many to list at most.
    pub limit: usize,
}

/// A file in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its path, relative to the directory that is listed.
    pub path: String,
    /// What is known of it. A symbolic link is not followed.
    pub stat: Stat,
}

/// One page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What was found, in the order of the paths: a directory comes before what is in it. It may be empty though more
    /// follows.
    pub files: Vec<Listed>,
    /// Where there may be more: the cursor of the next page.
    pub next: Option<String>,
}

/// The most names that are looked at for one page.
const MAX_VISITS: usize = 10_000;
/// The most bytes of the paths of one page.
const MAX_BYTES: usize = 1 << 20;
/// How many names are read at once.
const BATCH: usize = 256;

/// A directory that is gone through.
struct Level {
    ino: Ino,
    /// The bytes of the path above it.
    path: usize,
    last: Option<Arc<str>>,
    entries: std::vec::IntoIter<DirectoryEntry>,
}

impl Level {
    fn new(ino: Ino, path: usize) -> Level {
        Level { ino, path, last: None, entries: Vec::new().into_iter() }
    }

    fn next(&mut self, view: View<'_>) -> Result<Option<DirectoryEntry>, Error> {
        if self.entries.as_slice().is_empty() {
            let more = view.read_directory(self.ino, self.last.as_deref(), BATCH)?;
            self.entries = more.into_iter();
        }
        let next = self.entries.next();
        if let Some(entry) = &next {
            self.last = Some(Arc::clone(&entry.name));
        }
        Ok(next)
    }
}

impl Tree {
    /// One page of what is in a directory and below it. What a page costs is bounded, however many files there are.
    ///
    /// # Errors
    ///
    /// The path leads to no directory.
    pub fn list(&self, query: &ListQuery) -> Result<Page, Error> {
        self.with(|view| {
            let base = view.lookup(ROOT, &query.path, true)?;
            let mut walk = Walk { view, query, path: String::new(), levels: Vec::new() };
            walk.start(base)?;
            walk.page()
        })
    }
}

struct Walk<'a> {
    view: View<'a>,
    query: &'a ListQuery,
    path: String,
    levels: Vec<Level>,
}

impl Walk<'_> {
    /// Stand behind the cursor, also where what it names is gone.
    fn start(&mut self, base: Ino) -> Result<(), Error> {
        self.view.read_directory(base, None, 0)?;
        self.levels.push(Level::new(base, 0));
        let after = self.query.after.as_deref().unwrap_or_default();
        for name in after.split('/').filter(|name| !name.is_empty()) {
            let Some(level) = self.levels.last_mut() else { return Ok(()) };
            level.last = Some(name.into());
            let inode = self.view.inode(level.ino)?;
            let names = &crate::view::directory(&inode)?.names;
            match names.get(self.view.source, name)? {
                Some(entry) if entry.file_type == FileType::Directory => {
                    self.push(name);
                    self.enter(entry.ino);
                }
                Some(_) | None => return Ok(()),
            }
        }
        Ok(())
    }

    fn page(&mut self) -> Result<Page, Error> {
        let mut page = Page::default();
        let (mut visits, mut bytes) = (0, 0);
        while let Some(level) = self.levels.last_mut() {
            self.path.truncate(level.path);
            let Some(entry) = level.next(self.view)? else {
                self.levels.pop();
                continue;
            };
            self.push(&entry.name);
            visits += 1;
            if self.query.glob.as_ref().is_none_or(|glob| glob.has(&self.path)) {
                let stat = self.view.stat(entry.ino)?;
                bytes += self.path.len();
                page.files.push(Listed { path: self.path.clone(), stat });
            }
            let is_full = page.files.len() >= self.query.limit.max(1);
            if is_full || visits >= MAX_VISITS || bytes >= MAX_BYTES {
                page.next = Some(self.path.clone());
                break;
            }
            if entry.file_type == FileType::Directory {
                self.enter(entry.ino);
            }
        }
        Ok(page)
    }

    fn push(&mut self, name: &str) {
        if !self.path.is_empty() {
            self.path.push('/');
        }
        self.path.push_str(name);
    }

    /// What is in the directory at the path comes next.
    fn enter(&mut self, ino: Ino) {
        // Directories that contain each other, as damaged trees have them, come to an end here.
        let depth = self.query.depth.min(usize::from(crate::MAX_DEPTH) + 1);
        if self.levels.len() < depth {
            self.levels.push(Level::new(ino, self.path.len()));
        }
    }
}
