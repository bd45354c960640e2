//! Inodes: what a file, a directory or a symbolic link is, whatever its names.

use std::mem::discriminant;
use std::sync::Arc;

use crate::blob::BlobId;
use crate::commit::Settlement;
use crate::content::{Content, ContentId};
use crate::names::Names;
use crate::stored::{Decoder, Encoder, Malformed};
use crate::{MAX_DEPTH, MAX_LINKS, MAX_NAME, MAX_PATH};

/// The number of an inode. The number of one that is gone is given to another.
pub type Ino = u64;

/// The root of each tree.
pub(crate) const ROOT: Ino = 0;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    /// A file with bytes.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
}

impl FileType {
    /// All of them.
    pub const ALL: [FileType; 3] = [FileType::Regular, FileType::Directory, FileType::Symlink];

    /// The stable word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            FileType::Regular => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
        }
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            FileType::Regular => 1,
            FileType::Directory => 2,
            FileType::Symlink => 3,
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<FileType, Malformed> {
        match from.byte()? {
            1 => Ok(FileType::Regular),
            2 => Ok(FileType::Directory),
            3 => Ok(FileType::Symlink),
            _ => Err(Malformed("there is no such kind of file")),
        }
    }
}

/// An inode.
#[derive(Clone)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    /// Its names. A directory has one; the root, and what is unlinked, has none.
    pub(crate) links: Vec<Link>,
    /// When it was made, in nanoseconds since 1970, and so on. No two inodes of a tree are made at one time.
    pub(crate) born: u64,
    pub(crate) accessed: u64,
    pub(crate) modified: u64,
    /// When anything of it changed last.
    pub(crate) changed: u64,
}

/// A name of an inode.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Link {
    pub(crate) parent: Ino,
    pub(crate) name: Arc<str>,
}

#[derive(Clone)]
pub(crate) enum Kind {
    File(Content),
    Directory(Directory),
    Symlink(Arc<str>),
}

#[derive(Clone, Default)]
pub(crate) struct Directory {
    pub(crate) names: Names,
    /// How deep directories lie below this one at most: it is not lowered when one of several goes.
    pub(crate) reach: u16,
}

impl Inode {
    /// What was made at this time.
    pub(crate) fn new(kind: Kind, now: u64) -> Inode {
        let links = Vec::new();
        Inode { kind, links, born: now, accessed: now, modified: now, changed: now }
    }

    pub(crate) fn file_type(&self) -> FileType {
        match self.kind {
            Kind::File(_) => FileType::Regular,
            Kind::Directory(_) => FileType::Directory,
            Kind::Symlink(_) => FileType::Symlink,
        }
    }

    /// The bytes that the quota counts.
    pub(crate) fn size(&self) -> u64 {
        match &self.kind {
            Kind::File(content) => content.length(),
            Kind::Directory(_) => 0,
            Kind::Symlink(target) => target.len() as u64,
        }
    }

    /// What stands for its contents. A directory has none, nor has what is not settled.
    pub(crate) fn content_id(&self) -> Option<ContentId> {
        match &self.kind {
            Kind::File(content) => content.id(),
            Kind::Directory(_) => None,
            Kind::Symlink(target) => {
                let length = target.len() as u64;
                Some(ContentId::of("dormouse workspace 2026 link", length, target.as_bytes()))
            }
        }
    }

    /// Whether somebody who reads both finds the same.
    pub(crate) fn has_same_content(&self, other: &Inode) -> bool {
        discriminant(&self.kind) == discriminant(&other.kind)
            && self.content_id() == other.content_id()
    }

    /// Whether both are the same, where both are settled.
    pub(crate) fn is_same(&self, other: &Inode) -> bool {
        let (mut one, mut two) = (Encoder::default(), Encoder::default());
        self.encode(&mut one);
        other.encode(&mut two);
        one == two
    }

    /// The blobs that its contents hang on to.
    pub(crate) fn stored(&self, open: &mut Vec<BlobId>) {
        if let Kind::File(content) = &self.kind {
            content.stored(open);
        }
    }

    pub(crate) fn settled(&self, into: &mut Settlement) -> Inode {
        let kind = match &self.kind {
            Kind::File(content) => Kind::File(content.settled(into)),
            Kind::Directory(directory) => {
                let names = directory.names.settled(into);
                Kind::Directory(Directory { names, reach: directory.reach })
            }
            Kind::Symlink(_) => return self.clone(),
        };
        Inode { kind, ..self.clone() }
    }

    /// About how many bytes of memory it takes besides what has changed of its contents.
    pub(crate) fn weight(&self) -> usize {
        let names: usize = self.links.iter().map(|link| link.name.len() + 48).sum();
        let rest = match &self.kind {
            Kind::File(content) => content.weight(),
            Kind::Directory(directory) => directory.names.weight(),
            Kind::Symlink(target) => target.len(),
        };
        size_of::<Inode>() + names + rest
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.byte(self.file_type().byte());
        out.number(self.links.len() as u64);
        for link in &self.links {
            out.number(link.parent);
            out.bytes(link.name.as_bytes());
        }
        out.number(self.changed);
        for time in [self.born, self.modified, self.accessed] {
            out.difference(time, self.changed);
        }
        match &self.kind {
            Kind::File(content) => content.encode(out),
            Kind::Directory(directory) => {
                out.number(u64::from(directory.reach));
                directory.names.encode(out);
            }
            Kind::Symlink(target) => out.bytes(target.as_bytes()),
        }
    }

    pub(crate) fn decode(from: &mut Decoder<'_>) -> Result<Inode, Malformed> {
        let kind = FileType::decode(from)?;
        let count = from.bounded(MAX_LINKS as u64)?;
        let links = (0..count).map(|_| Link::decode(from)).collect::<Result<_, _>>()?;
        let changed = from.number()?;
        let born = from.difference(changed)?;
        let modified = from.difference(changed)?;
        let accessed = from.difference(changed)?;
        let kind = match kind {
            FileType::Regular => Kind::File(Content::decode(from)?),
            FileType::Directory => {
                let reach = from.bounded(MAX_DEPTH.into())? as u16;
                Kind::Directory(Directory { names: Names::decode(from)?, reach })
            }
            FileType::Symlink => Kind::Symlink(target(from)?),
        };
        Ok(Inode { kind, links, born, accessed, modified, changed })
    }
}

impl Link {
    fn decode(from: &mut Decoder<'_>) -> Result<Link, Malformed> {
        Ok(Link { parent: from.number()?, name: name(from)? })
    }
}

/// Whether a file may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let is_special = name.is_empty() || name == "." || name == "..";
    !is_special && name.len() <= MAX_NAME && !name.bytes().any(|byte| byte == b'/' || byte == 0)
}

pub(crate) fn name(from: &mut Decoder<'_>) -> Result<Arc<str>, Malformed> {
    let name = from.text(MAX_NAME)?;
    if is_name(name) { Ok(name.into()) } else { Err(Malformed("no file can have such a name")) }
}

/// Whether a symbolic link may lead there. Where that is, is not asked.
pub(crate) fn is_target(target: &str) -> bool {
    !target.is_empty()
        && target.len() < MAX_PATH
        && !target.starts_with('/')
        && !target.contains('\0')
}

fn target(from: &mut Decoder<'_>) -> Result<Arc<str>, Malformed> {
    let target = from.text(MAX_PATH)?;
    if is_target(target) { Ok(target.into()) } else { Err(Malformed("no link can lead there")) }
}
