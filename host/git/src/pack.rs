//! A pack, made piece by piece as somebody reads it.
//!
//! A pack begins with the number of its objects. So the revisions are gone through twice: first to collect the ids of
//! what is new, then to write it. In memory are these ids, the tree of one revision, and one MiB of one file.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use dormouse_workspace::{Ino, MAX_READ, Tree};
use flate2::{Compress, Compression, FlushCompress, Status};
use sha1_checked::{Digest, Sha1};

use crate::directory::{Directory, Node};
use crate::error::Error;
use crate::object::{Kind, ObjectId};
use crate::packet::{self, Band, MAX_BAND};
use crate::repository::Repository;
use crate::request::Filter;
use crate::snapshot::Sink;
use crate::walk::{Segment, Walk};

/// How many revisions are gone through until the client is told that there is progress.
const PATIENCE: usize = 256;
/// How many bytes of a pack are made room for at once.
const ROOM: usize = 64 << 10;

/// How a pack is sent.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// Whether it goes in packets, with what is told of progress and errors beside it.
    pub(crate) bands: bool,
    pub(crate) progress: bool,
}

/// A pack that is made.
pub(crate) struct Pack {
    repository: Repository,
    manner: Manner,
    stage: Stage,
    walk: Walk,
    segments: Arc<[Segment]>,
    /// From this segment on they are gone through for single objects.
    search: usize,
    choice: Choice,
    /// What was chosen and is not yet written.
    queue: VecDeque<Item>,
    open: Option<Open>,
    deflate: Compress,
    checksum: Sha1,
    /// Bytes of the pack that no piece has yet.
    out: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Counting,
    Writing,
    Ending,
    Over,
}

/// Which objects are sent.
struct Choice {
    ids: HashSet<ObjectId>,
    /// What the client has, as far as it is known. Of no use once all is counted.
    had: HashSet<ObjectId>,
    /// Single objects that were not found yet.
    objects: BTreeSet<ObjectId>,
    filter: Filter,
    most: usize,
}

/// An object that is to be written.
enum Item {
    Commit(Vec<u8>),
    Directory(Arc<Directory>),
    Link(Arc<str>),
    File { tree: Tree, ino: Ino, size: u64 },
}

/// The object that is being written.
struct Open {
    piece: Vec<u8>,
    /// How many bytes of the piece are packed.
    at: usize,
    /// Where the rest is read from.
    rest: Option<Rest>,
}

struct Rest {
    tree: Tree,
    ino: Ino,
    offset: u64,
    size: u64,
}

impl Pack {
    /// The pack of these segments and, besides, of single `objects` of any revision in `search`.
    pub(crate) fn new(
        repository: Repository,
        manner: Manner,
        segments: Vec<Segment>,
        (objects, search): (BTreeSet<ObjectId>, Vec<Segment>),
        filter: Filter,
    ) -> Pack {
        let most = repository.limits.objects;
        let (ids, had) = (HashSet::new(), HashSet::new());
        let first = segments.len();
        let segments: Arc<[Segment]> = segments.into_iter().chain(search).collect();
        Pack {
            repository,
            manner,
            stage: Stage::Counting,
            walk: Walk::new(Arc::clone(&segments)),
            segments,
            search: first,
            choice: Choice { ids, had, objects, filter, most },
            queue: VecDeque::new(),
            open: None,
            deflate: Compress::new(Compression::fast(), true),
            checksum: Sha1::builder().detect_collision(false).build(),
            out: Vec::with_capacity(2 * ROOM),
        }
    }

    /// The next piece. None: the pack is complete.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let most = if self.manner.bands { MAX_BAND } else { ROOM };
        loop {
            if self.out.len() >= most || (self.stage == Stage::Over && !self.out.is_empty()) {
                let piece: Vec<u8> = self.out.drain(..most.min(self.out.len())).collect();
                return Ok(Some(self.framed(Band::Pack, piece)));
            }
            match self.stage {
                Stage::Counting => {
                    if let Some(piece) = self.count()? {
                        return Ok(Some(piece));
                    }
                }
                Stage::Writing => self.write()?,
                Stage::Ending => {
                    let checksum = take(&mut self.checksum).finalize();
                    self.out.extend_from_slice(&checksum);
                    self.stage = Stage::Over;
                }
                Stage::Over => return Ok(None),
            }
        }
    }

    fn framed(&self, band: Band, piece: Vec<u8>) -> Bytes {
        if !self.manner.bands {
            return Bytes::from(piece);
        }
        let mut out = Vec::with_capacity(piece.len() + 5);
        packet::band(&mut out, band, &piece);
        Bytes::from(out)
    }

    /// Count what some revisions have that is new.
    fn count(&mut self) -> Result<Option<Bytes>, Error> {
        for _ in 0..PATIENCE {
            let is_search = self.walk.segment() >= self.search;
            if is_search && self.choice.objects.is_empty() {
                self.walk.stop();
            }
            if let Some(base) = self.walk.begin(&self.repository)?
                && !is_search
            {
                self.choice.leave_out(&base.root);
            }
            let mut count = Count { choice: &mut self.choice, is_search };
            match self.walk.step(&self.repository, &mut count)? {
                Some(commit) if !is_search => self.choice.add(commit.id)?,
                Some(_) => {}
                None => return self.counted(),
            }
        }
        let count = self.choice.ids.len();
        Ok(self.tell(&format!("Counting objects: {count}\r")))
    }

    /// All is counted: write the head of the pack.
    fn counted(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(id) = self.choice.objects.first() {
            return Err(Error::Refused(format!("upload-pack: not our ref {id}")));
        }
        self.choice.had = HashSet::new();
        let count = self.choice.ids.len();
        let number = u32::try_from(count).unwrap_or(u32::MAX);
        self.put(b"PACK\0\0\0\x02");
        self.put(&number.to_be_bytes());
        self.walk = Walk::new(Arc::clone(&self.segments));
        self.stage = Stage::Writing;
        Ok(self.tell(&format!("Counting objects: {count}, done.\n")))
    }

    /// A packet that says how far it is, or at least that the host is at work.
    fn tell(&self, text: &str) -> Option<Bytes> {
        match self.manner {
            Manner { bands: false, .. } => None,
            Manner { progress: true, .. } => {
                Some(self.framed(Band::Progress, text.as_bytes().to_vec()))
            }
            Manner { progress: false, .. } => Some(self.framed(Band::Pack, Vec::new())),
        }
    }

    /// Write a piece of an object, or find the next ones.
    fn write(&mut self) -> Result<(), Error> {
        if let Some(open) = self.open.take() {
            return self.go_on(open);
        }
        if let Some(item) = self.queue.pop_front() {
            return self.begin(item);
        }
        if self.choice.ids.is_empty() {
            self.stage = Stage::Ending;
            return Ok(());
        }
        let mut collect = Collect { choice: &mut self.choice, queue: &mut self.queue };
        match self.walk.step(&self.repository, &mut collect)? {
            None => Err(Error::Inconsistent("fewer objects are there than were counted")),
            Some(commit) => {
                if self.choice.ids.remove(&commit.id) {
                    self.queue.push_back(Item::Commit(commit.bytes));
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, item: Item) -> Result<(), Error> {
        let (kind, piece, rest) = match item {
            Item::Commit(bytes) => (Kind::Commit, bytes, None),
            Item::Directory(directory) => (Kind::Tree, directory.encode(), None),
            Item::Link(target) => (Kind::Blob, target.as_bytes().to_vec(), None),
            Item::File { tree, ino, size } => {
                (Kind::Blob, Vec::new(), Some(Rest { tree, ino, offset: 0, size }))
            }
        };
        let size = rest.as_ref().map_or(piece.len() as u64, |rest| rest.size);
        let head = head(kind, size);
        self.put(&head);
        self.deflate.reset();
        self.open = Some(Open { piece, at: 0, rest });
        Ok(())
    }

    fn go_on(&mut self, mut open: Open) -> Result<(), Error> {
        if open.at == open.piece.len() {
            open.refill()?;
        }
        let flush = if open.is_last() { FlushCompress::Finish } else { FlushCompress::None };
        let (before, length) = (self.deflate.total_in(), self.out.len());
        self.out.reserve(ROOM);
        let input = open.piece.get(open.at..).unwrap_or_default();
        let status = self.deflate.compress_vec(input, &mut self.out, flush);
        let status = status.map_err(|_| Error::Inconsistent("a file cannot be packed"))?;
        self.checksum.update(self.out.get(length..).unwrap_or_default());
        open.at += (self.deflate.total_in() - before) as usize;
        if status != Status::StreamEnd {
            self.open = Some(open);
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.checksum.update(bytes);
        self.out.extend_from_slice(bytes);
    }
}

impl Open {
    /// Whether nothing follows the piece.
    fn is_last(&self) -> bool {
        self.rest.as_ref().is_none_or(|rest| rest.offset == rest.size)
    }

    fn refill(&mut self) -> Result<(), Error> {
        let Some(rest) = &mut self.rest else { return Ok(()) };
        if rest.offset == rest.size {
            return Ok(());
        }
        self.piece = rest.tree.read_ino(rest.ino, rest.offset, MAX_READ)?;
        self.at = 0;
        rest.offset += self.piece.len() as u64;
        if self.piece.is_empty() || rest.offset > rest.size {
            return Err(Error::Inconsistent("a file has another size than it says"));
        }
        Ok(())
    }
}

impl Choice {
    fn add(&mut self, id: ObjectId) -> Result<(), Error> {
        if self.had.contains(&id) {
            return Ok(());
        }
        self.ids.insert(id);
        if self.ids.len() > self.most {
            return Err(Error::TooMany { what: "objects to send", most: self.most as u64 });
        }
        Ok(())
    }

    /// The client has this directory and all in it. It is enough to know one that is near.
    fn leave_out(&mut self, root: &Directory) {
        if !self.had.is_empty() {
            return;
        }
        let mut open = vec![root];
        while let Some(directory) = open.pop() {
            self.had.insert(directory.id());
            for entry in directory.entries() {
                match &entry.node {
                    Node::File(id) | Node::Link(id) => {
                        self.had.insert(*id);
                    }
                    Node::Directory(below) => open.push(below),
                }
            }
        }
    }
}

/// Counts what is new.
struct Count<'a> {
    choice: &'a mut Choice,
    is_search: bool,
}

impl Count<'_> {
    /// Whether a single object is wanted, and found with this.
    fn finds(&mut self, id: ObjectId) -> bool {
        self.choice.objects.remove(&id)
    }
}

impl Sink for Count<'_> {
    fn blob(&mut self, id: ObjectId, tree: &Tree, path: &str, _: bool) -> Result<(), Error> {
        if self.finds(id) {
            self.choice.ids.insert(id);
        } else if !self.is_search
            && (self.choice.filter == Filter::None
                || !self.choice.filter.omits(tree.stat(path, false)?.size))
        {
            self.choice.add(id)?;
        }
        Ok(())
    }

    fn directory(&mut self, directory: &Arc<Directory>) -> Result<(), Error> {
        if self.finds(directory.id()) {
            self.choice.ids.insert(directory.id());
        } else if !self.is_search {
            self.choice.add(directory.id())?;
        }
        Ok(())
    }
}

/// Collects what was chosen, each once.
struct Collect<'a> {
    choice: &'a mut Choice,
    queue: &'a mut VecDeque<Item>,
}

impl Sink for Collect<'_> {
    fn blob(&mut self, id: ObjectId, tree: &Tree, path: &str, is_link: bool) -> Result<(), Error> {
        if !self.choice.ids.remove(&id) {
            return Ok(());
        }
        let item = if is_link {
            Item::Link(tree.read_link(path)?)
        } else {
            let stat = tree.stat(path, false)?;
            Item::File { tree: tree.clone(), ino: stat.identity.ino, size: stat.size }
        };
        self.queue.push_back(item);
        Ok(())
    }

    fn directory(&mut self, directory: &Arc<Directory>) -> Result<(), Error> {
        if self.choice.ids.remove(&directory.id()) {
            self.queue.push_back(Item::Directory(Arc::clone(directory)));
        }
        Ok(())
    }
}

/// What stands before an object in a pack: its kind and its size, seven bits a byte, four in the first.
fn head(kind: Kind, size: u64) -> Vec<u8> {
    let mut out = vec![(kind as u8) << 4 | (size & 15) as u8];
    let mut rest = size >> 4;
    while rest > 0 {
        if let Some(last) = out.last_mut() {
            *last |= 0x80;
        }
        out.push((rest & 0x7f) as u8);
        rest >>= 7;
    }
    out
}
