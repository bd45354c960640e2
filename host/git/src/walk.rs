//! The way along a history: from revision to revision, and at each what is new.

use std::sync::Arc;

use crate::cache::Link;
use crate::error::Error;
use crate::history::RevisionId;
use crate::object::{Commit, ObjectId};
use crate::repository::Repository;
use crate::snapshot::{Maker, Nobody, Sink, Snapshot};

/// Revisions that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The commit before the first of them.
    pub(crate) parent: Option<ObjectId>,
    /// The revision whose objects are there already. None: nothing is.
    pub(crate) base: Option<RevisionId>,
    /// The oldest first.
    pub(crate) revisions: Vec<RevisionId>,
}

/// Goes along segments, one after the other.
pub(crate) struct Walk {
    segments: Arc<[Segment]>,
    segment: usize,
    revision: usize,
    at: Option<Snapshot>,
    parent: Option<ObjectId>,
}

impl Walk {
    pub(crate) fn new(segments: Arc<[Segment]>) -> Walk {
        Walk { segments, segment: 0, revision: 0, at: None, parent: None }
    }

    /// The segment that the next step is in.
    pub(crate) fn segment(&self) -> usize {
        self.segment
    }

    /// Leave all segments.
    pub(crate) fn stop(&mut self) {
        self.segment = self.segments.len();
    }

    /// Stand before the first step of a segment, where one begins. Returns what the segment begins with.
    pub(crate) fn begin(&mut self, repository: &Repository) -> Result<Option<&Snapshot>, Error> {
        let Some(segment) = self.segments.get(self.segment).filter(|_| self.revision == 0) else {
            return Ok(None);
        };
        self.parent = segment.parent;
        self.at = match &segment.base {
            None => None,
            Some(base) => Some(repository.snapshot(base, self.at.take())?),
        };
        Ok(self.at.as_ref())
    }

    /// Go on to the next revision, and tell the sink what is new there. None: there is none.
    pub(crate) fn step(
        &mut self,
        repository: &Repository,
        sink: &mut dyn Sink,
    ) -> Result<Option<Commit>, Error> {
        self.begin(repository)?;
        let segments = Arc::clone(&self.segments);
        let Some(segment) = segments.get(self.segment) else { return Ok(None) };
        let Some(id) = segment.revisions.get(self.revision) else {
            return Err(Error::Inconsistent("a part of the history has no revisions"));
        };
        let revision = repository.history.revision(id)?;
        let mut maker = repository.maker(sink);
        let tree = revision.tree.clone();
        let at = match self.at.take() {
            None => maker.read(tree)?,
            Some(at) => maker.moved(&at, tree)?,
        };
        let commit = Commit::of(&revision, at.root.id(), self.parent)?;
        repository.cache.keep_link(*id, Link { commit: commit.id, parent: revision.parent });
        self.parent = Some(commit.id);
        self.revision += 1;
        if self.revision == segment.revisions.len() {
            repository.cache.keep_root(*id, Arc::clone(&at.root));
            self.segment += 1;
            self.revision = 0;
        }
        self.at = Some(at);
        Ok(Some(commit))
    }
}

impl Repository {
    pub(crate) fn maker<'a>(&'a self, sink: &'a mut dyn Sink) -> Maker<'a> {
        Maker { cache: &self.cache, names: self.limits.names, sink }
    }

    /// The snapshot of a revision: of the cache, or made of one that is near, or read.
    fn snapshot(&self, id: &RevisionId, near: Option<Snapshot>) -> Result<Snapshot, Error> {
        let tree = self.history.revision(id)?.tree;
        if let Some(root) = self.cache.root(id) {
            return Ok(Snapshot { tree, root });
        }
        let near = match near {
            Some(near) => Some(near),
            None => self.cached_tip()?,
        };
        let mut nobody = Nobody;
        let mut maker = self.maker(&mut nobody);
        match near {
            Some(near) => maker.moved(&near, tree),
            None => maker.read(tree),
        }
    }

    fn cached_tip(&self) -> Result<Option<Snapshot>, Error> {
        for (_, tip) in self.references() {
            if let Some(root) = self.cache.root(tip) {
                return Ok(Some(Snapshot { tree: self.history.revision(tip)?.tree, root }));
            }
        }
        Ok(None)
    }
}
