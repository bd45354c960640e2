//! A repository: a history, and the references into it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::cache::{Cache, Link};
use crate::error::Error;
use crate::history::{History, RevisionId};
use crate::limits::Limits;
use crate::object::ObjectId;
use crate::snapshot::Nobody;
use crate::walk::{Segment, Walk};

/// The branch that `HEAD` stands for.
pub(crate) const MAIN: &str = "refs/heads/main";

/// A history as git has it. A copy costs little.
#[derive(Clone)]
pub struct Repository {
    pub(crate) history: Arc<dyn History>,
    pub(crate) cache: Cache,
    pub(crate) limits: Limits,
    references: Arc<BTreeMap<String, RevisionId>>,
}

/// Revisions, each with its commit and the revision before it.
#[derive(Default)]
pub(crate) struct Graph {
    pub(crate) links: HashMap<RevisionId, Link>,
    pub(crate) revisions: HashMap<ObjectId, RevisionId>,
}

impl Repository {
    /// The repository of a history whose newest revision is `head`: the branch `main`, and `HEAD`. Without one it is
    /// empty.
    #[must_use]
    pub fn new(
        history: Arc<dyn History>,
        head: Option<RevisionId>,
        cache: Cache,
        limits: Limits,
    ) -> Repository {
        let references = head.into_iter().map(|head| (MAIN.to_owned(), head)).collect();
        Repository { history, cache, limits, references: Arc::new(references) }
    }

    /// The same with one more reference, `refs/tags/before-the-move` say. It replaces one of the same name.
    ///
    /// # Errors
    ///
    /// Git takes no reference of this name, or there are too many: [`Error::InvalidReference`], [`Error::TooMany`].
    pub fn with_reference(mut self, name: &str, revision: RevisionId) -> Result<Repository, Error> {
        if !is_reference(name) {
            return Err(Error::InvalidReference(name.to_owned()));
        }
        let references = Arc::make_mut(&mut self.references);
        references.insert(name.to_owned(), revision);
        if references.len() > self.limits.references {
            let most = self.limits.references as u64;
            return Err(Error::TooMany { what: "references", most });
        }
        Ok(self)
    }

    /// The newest revision: what `HEAD` stands for.
    #[must_use]
    pub fn head(&self) -> Option<&RevisionId> {
        self.references.get(MAIN)
    }

    /// The id of the commit of a revision of this history.
    ///
    /// # Errors
    ///
    /// It, or one before it, cannot be read or is beyond the limits.
    pub fn commit_id(&self, revision: &RevisionId) -> Result<ObjectId, Error> {
        let mut missing = Vec::new();
        let mut next = Some(*revision);
        let mut segment = Segment::default();
        while let Some(id) = next {
            if let Some(link) = self.cache.link(&id) {
                segment = Segment { parent: Some(link.commit), base: Some(id), ..segment };
                break;
            }
            self.check_length(missing.len())?;
            next = self.history.revision(&id)?.parent;
            missing.push(id);
        }
        missing.reverse();
        segment.revisions = missing;
        let last = self.commits(segment, |_, _| ())?;
        last.ok_or(Error::Inconsistent("a revision has no commit"))
    }

    /// Its references in the order of their names, `HEAD` not among them.
    pub(crate) fn references(&self) -> impl Iterator<Item = (&str, &RevisionId)> {
        self.references.iter().map(|(name, revision)| (&**name, revision))
    }

    /// All revisions that references lead to.
    pub(crate) fn graph(&self) -> Result<Graph, Error> {
        let mut graph = Graph::default();
        for (_, tip) in self.references() {
            self.add_chain(*tip, &mut graph)?;
        }
        Ok(graph)
    }

    /// Add a revision and all before it.
    fn add_chain(&self, tip: RevisionId, graph: &mut Graph) -> Result<(), Error> {
        let mut chain = Vec::new();
        let mut next = Some(tip);
        let mut segment = Segment::default();
        while let Some(id) = next {
            if let Some(link) = graph.links.get(&id) {
                segment = Segment { parent: Some(link.commit), base: Some(id), ..segment };
                break;
            }
            self.check_length(graph.links.len() + chain.len())?;
            let link = self.cache.link(&id);
            next = match &link {
                Some(link) => link.parent,
                None => self.history.revision(&id)?.parent,
            };
            chain.push((id, link));
        }
        // The oldest ones whose commits are known need not be made.
        let mut rest = chain.into_iter().rev().peekable();
        while let Some((id, Some(link))) = rest.next_if(|(_, link)| link.is_some()) {
            graph.add(id, link);
            segment.parent = Some(link.commit);
            segment.base = Some(id);
        }
        let mut parent = segment.base;
        segment.revisions = rest.map(|(id, _)| id).collect();
        self.commits(segment, |id, commit| {
            graph.add(id, Link { commit, parent });
            parent = Some(id);
        })?;
        Ok(())
    }

    /// Make the commits of a segment, and return the last one.
    fn commits(
        &self,
        segment: Segment,
        mut each: impl FnMut(RevisionId, ObjectId),
    ) -> Result<Option<ObjectId>, Error> {
        let mut last = segment.parent;
        if segment.revisions.is_empty() {
            return Ok(last);
        }
        let revisions = segment.revisions.clone();
        let mut walk = Walk::new([segment].into());
        for id in revisions {
            let commit = walk.step(self, &mut Nobody)?;
            let commit = commit.ok_or(Error::Inconsistent("a revision has no commit"))?;
            each(id, commit.id);
            last = Some(commit.id);
        }
        Ok(last)
    }

    fn check_length(&self, length: usize) -> Result<(), Error> {
        let most = self.limits.revisions;
        if length >= most {
            return Err(Error::TooMany { what: "revisions", most: most as u64 });
        }
        Ok(())
    }
}

impl Graph {
    fn add(&mut self, id: RevisionId, link: Link) {
        self.links.insert(id, link);
        self.revisions.insert(link.commit, id);
    }

    /// The revision before this one.
    pub(crate) fn parent(&self, id: &RevisionId) -> Option<RevisionId> {
        self.links.get(id)?.parent
    }
}

/// Whether git takes a reference of this name.
fn is_reference(name: &str) -> bool {
    let is_bad = |c: char| {
        c.is_ascii_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\')
    };
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && !part.ends_with('.')
            && !part.ends_with(".lock")
    };
    name.starts_with("refs/")
        && name.matches('/').count() >= 2
        && name.len() <= 255
        && !name.contains(is_bad)
        && !name.contains("..")
        && !name.contains("@{")
        && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::is_reference;

    #[test]
    fn names_of_references_are_those_that_git_takes() {
        for name in ["refs/heads/main", "refs/tags/v1.0", "refs/snapshots/a/b", "refs/heads/ä"] {
            assert!(is_reference(name), "{name}");
        }
        let long = format!("refs/heads/{}", "x".repeat(255));
        let bad = [
            "",
            "main",
            "HEAD",
            "refs/main",
            "refs/heads/",
            "refs/heads/.a",
            "refs/heads/a..b",
            "refs/heads/a b",
            "refs/heads/a\nb",
            "refs/heads/a.lock",
            "refs/heads/a@{1}",
            "refs//a",
            "refs/heads/a~1",
            "refs/heads/a.",
            "refs/heads/a\\b",
            &long,
        ];
        for name in bad {
            assert!(!is_reference(name), "{name}");
        }
    }
}
