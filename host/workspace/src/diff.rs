//! What differs between two trees, by path.
//!
//! The tables of both say which inodes differ, without looking into what is equal. An inode knows its names, so the
//! directories above it are known too; along these both trees are gone through side by side, in the order of their
//! paths. A directory that is another one, because it was moved, is gone through as a whole: each path in it differs.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::MAX_DEPTH;
use crate::blob::BlobError;
use crate::inode::{FileType, Ino, Inode, Kind, Link, ROOT};
use crate::names::Entry;
use crate::source::Source;
use crate::table::Table;
use crate::tree::Tree;

/// What has become of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// There was nothing.
    Added,
    /// There was something else: other contents, another target, or another type of file.
    Changed,
    /// There is nothing.
    Removed,
}

impl ChangeKind {
    /// All of them.
    pub const ALL: [ChangeKind; 3] = [ChangeKind::Added, ChangeKind::Changed, ChangeKind::Removed];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Changed => "changed",
            ChangeKind::Removed => "removed",
        }
    }
}

/// A path that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path, relative to the root.
    pub path: String,
    /// What has become of it.
    pub kind: ChangeKind,
    /// What is there now, or was where nothing is.
    pub file_type: FileType,
}

/// What differs between two trees. Times alone are no difference, and a directory is none for what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// How many paths were added, whether they are listed or not.
    pub added: u64,
    /// How many paths were changed.
    pub changed: u64,
    /// How many paths were removed.
    pub removed: u64,
    /// The first of them behind the cursor, in their order: a directory comes before what is in it.
    pub list: Vec<Change>,
    /// Where there are more: the cursor of the next page.
    pub next: Option<String>,
}

impl Changes {
    /// How many paths a commit lists.
    pub const LIMIT: usize = 1_000;
    /// The most bytes of the paths that are listed at once; more only if it is a single path.
    pub const MAX_BYTES: usize = 1 << 20;
}

/// Which differences to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffQuery {
    /// The cursor: list what comes behind this path.
    pub after: Option<String>,
    /// How many paths to list at most.
    pub limit: usize,
}

/// What differs between `old` and `new`: in time and memory proportional to that, however large the trees are.
///
/// # Errors
///
/// A blob of one of them cannot be read.
pub fn diff(old: &Tree, new: &Tree, query: &DiffQuery) -> Result<Changes, BlobError> {
    let (old_root, new_root) = (old.root()?, new.root()?);
    let old = Side { table: &old_root.table, source: old.source() };
    let new = Side { table: &new_root.table, source: new.source() };
    let differences = Table::differences((old.table, old.source), (new.table, new.source))?;
    let mut walk = Walk {
        old,
        new,
        touched: HashMap::new(),
        path: String::new(),
        query,
        listed_bytes: 0,
        changes: Changes::default(),
    };
    let (mut seen_old, mut seen_new) = (HashSet::new(), HashSet::new());
    for difference in &differences {
        if let Some(inode) = &difference.old {
            walk.touch(old, inode, &mut seen_old)?;
        }
        if let Some(inode) = &difference.new {
            walk.touch(new, inode, &mut seen_new)?;
        }
    }
    walk.directories(Some(ROOT), Some(ROOT), 0)?;
    Ok(walk.changes)
}

/// One of two trees.
#[derive(Clone, Copy)]
struct Side<'a> {
    table: &'a Table,
    source: &'a Source,
}

struct Walk<'a> {
    old: Side<'a>,
    new: Side<'a>,
    /// The names, by directory, below which something differs.
    touched: HashMap<Ino, BTreeSet<Arc<str>>>,
    path: String,
    query: &'a DiffQuery,
    listed_bytes: usize,
    changes: Changes,
}

const LOST: BlobError = BlobError::Inconsistent("a file is not in the directory that it names");

impl Side<'_> {
    fn inode(&self, ino: Ino) -> Result<Arc<Inode>, BlobError> {
        self.table.get(self.source, ino)?.ok_or(LOST)
    }

    /// What a directory has under this name.
    fn entry(&self, directory: Option<Ino>, name: &str) -> Result<Option<Found>, BlobError> {
        let Some(ino) = directory else { return Ok(None) };
        let Kind::Directory(directory) = &self.inode(ino)?.kind else { return Err(LOST) };
        let Some(Entry { ino: below, file_type, .. }) = directory.names.get(self.source, name)?
        else {
            return Ok(None);
        };
        let inode = self.inode(below)?;
        // Without this, directories that contain each other would have no end.
        let is_there = |link: &Link| link.parent == ino && *link.name == *name;
        if inode.file_type() != file_type || !inode.links.iter().any(is_there) {
            return Err(LOST);
        }
        Ok(Some(Found { ino: below, inode }))
    }

    fn names(&self, directory: Option<Ino>) -> Result<Vec<Entry>, BlobError> {
        let Some(ino) = directory else { return Ok(Vec::new()) };
        let Kind::Directory(directory) = &self.inode(ino)?.kind else { return Err(LOST) };
        directory.names.range(self.source, None, usize::MAX)
    }
}

struct Found {
    ino: Ino,
    inode: Arc<Inode>,
}

impl Found {
    fn directory(found: Option<&Found>) -> Option<Ino> {
        let found = found?;
        matches!(found.inode.kind, Kind::Directory(_)).then_some(found.ino)
    }
}

impl Walk<'_> {
    /// An inode differs: remember the ways to it.
    fn touch(
        &mut self,
        side: Side<'_>,
        inode: &Inode,
        seen: &mut HashSet<Ino>,
    ) -> Result<(), BlobError> {
        for link in &inode.links {
            let mut link = link.clone();
            loop {
                self.touched.entry(link.parent).or_default().insert(link.name);
                if link.parent == ROOT || !seen.insert(link.parent) {
                    break;
                }
                let parent = side.inode(link.parent)?;
                link = parent.links.first().ok_or(LOST)?.clone();
            }
        }
        Ok(())
    }

    /// Go through what is at one path in both trees.
    fn directories(
        &mut self,
        old: Option<Ino>,
        new: Option<Ino>,
        depth: u16,
    ) -> Result<(), BlobError> {
        if depth > MAX_DEPTH {
            return Err(LOST);
        }
        let names = if old == new {
            let Some(touched) = old.and_then(|ino| self.touched.get(&ino)) else { return Ok(()) };
            touched.clone()
        } else {
            let all = self.old.names(old)?.into_iter().chain(self.new.names(new)?);
            all.map(|entry| entry.name).collect()
        };
        for name in names {
            let (was, is) = (self.old.entry(old, &name)?, self.new.entry(new, &name)?);
            let length = self.path.len();
            if length > 0 {
                self.path.push('/');
            }
            self.path.push_str(&name);
            self.compare(was.as_ref(), is.as_ref());
            let below = (Found::directory(was.as_ref()), Found::directory(is.as_ref()));
            if below != (None, None) {
                self.directories(below.0, below.1, depth + 1)?;
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    fn compare(&mut self, old: Option<&Found>, new: Option<&Found>) {
        let (kind, found) = match (old, new) {
            (None, None) => return,
            (None, Some(new)) => (ChangeKind::Added, new),
            (Some(old), None) => (ChangeKind::Removed, old),
            (Some(old), Some(new)) if old.inode.has_same_content(&new.inode) => return,
            (Some(_), Some(new)) => (ChangeKind::Changed, new),
        };
        let count = match kind {
            ChangeKind::Added => &mut self.changes.added,
            ChangeKind::Changed => &mut self.changes.changed,
            ChangeKind::Removed => &mut self.changes.removed,
        };
        *count += 1;
        if self.changes.next.is_some()
            || self.query.after.as_ref().is_some_and(|it| !self.is_behind(it))
        {
            return;
        }
        let list = &mut self.changes.list;
        let has_room = list.is_empty() || self.listed_bytes + self.path.len() <= Changes::MAX_BYTES;
        if list.len() < self.query.limit && has_room {
            self.listed_bytes += self.path.len();
            let file_type = found.inode.file_type();
            list.push(Change { path: self.path.clone(), kind, file_type });
        } else {
            let last = list.last().map(|change| change.path.clone());
            self.changes.next = Some(last.or_else(|| self.query.after.clone()).unwrap_or_default());
        }
    }

    /// Whether the path comes behind `other`, name by name.
    fn is_behind(&self, other: &str) -> bool {
        self.path.split('/').gt(other.split('/'))
    }
}
