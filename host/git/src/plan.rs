//! What a client gets: which revisions, and what of them it has already. A pure function of the revisions and the
//! request.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::history::RevisionId;
use crate::object::ObjectId;
use crate::repository::Graph;
use crate::request::Fetch;
use crate::walk::Segment;

/// What a client gets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The commits that both have, in the order in which the client has named them.
    pub(crate) common: Vec<ObjectId>,
    /// Whether behind each commit that is wanted there is one that the client has.
    pub(crate) is_ready: bool,
    /// The commits whose parents the client will not have.
    pub(crate) shallow: Vec<ObjectId>,
    /// The commits whose parents it had not, and will have.
    pub(crate) unshallow: Vec<ObjectId>,
    /// The revisions to send.
    pub(crate) segments: Vec<Segment>,
    /// What is wanted, and is no commit.
    pub(crate) objects: BTreeSet<ObjectId>,
}

impl Plan {
    pub(crate) fn new(graph: &Graph, fetch: &Fetch) -> Plan {
        let mut plan = Plan::default();
        let mut common = HashSet::new();
        for id in &fetch.haves {
            if graph.revisions.contains_key(id) && common.insert(*id) {
                plan.common.push(*id);
            }
        }
        let mut tips = Vec::new();
        for id in &fetch.wants {
            match graph.revisions.get(id) {
                Some(revision) => tips.push(*revision),
                None => {
                    plan.objects.insert(*id);
                }
            }
        }
        let cut = fetch.shallow.iter().filter_map(|id| graph.revisions.get(id).copied()).collect();
        let had = had(graph, &plan.common, &cut);
        plan.is_ready =
            !plan.common.is_empty() && tips.iter().all(|tip| reaches(graph, *tip, &had));
        let shown = fetch.depth.map(|depth| plan.deepen(graph, &tips, depth, &cut));
        let mut taken = HashSet::new();
        for tip in tips {
            plan.add_segments(graph, tip, &had, &cut, shown.as_ref(), &mut taken);
        }
        plan
    }

    /// Work out which revisions are within a depth, and where the client's history is cut off now.
    fn deepen(
        &mut self,
        graph: &Graph,
        tips: &[RevisionId],
        depth: u32,
        cut: &HashSet<RevisionId>,
    ) -> HashSet<RevisionId> {
        let mut depths: HashMap<RevisionId, u32> = HashMap::new();
        for tip in tips {
            let mut next = Some(*tip);
            for at in 1..=depth {
                let Some(id) = next else { break };
                let known = depths.entry(id).or_insert(u32::MAX);
                if *known <= at {
                    break;
                }
                *known = at;
                next = graph.parent(&id);
            }
        }
        for id in depths.keys() {
            let Some(link) = graph.links.get(id) else { continue };
            let Some(parent) = link.parent else { continue };
            match (depths.contains_key(&parent), cut.contains(id)) {
                (false, false) => self.shallow.push(link.commit),
                (true, true) => self.unshallow.push(link.commit),
                (false, true) | (true, false) => {}
            }
        }
        self.shallow.sort_unstable();
        self.unshallow.sort_unstable();
        depths.into_keys().collect()
    }

    /// Take all revisions from a tip back to what the client has.
    fn add_segments(
        &mut self,
        graph: &Graph,
        tip: RevisionId,
        had: &HashSet<RevisionId>,
        cut: &HashSet<RevisionId>,
        shown: Option<&HashSet<RevisionId>>,
        taken: &mut HashSet<RevisionId>,
    ) {
        let mut run = Vec::new();
        // A revision that the client has, and that is near.
        let mut near = None;
        let mut next = Some(tip);
        while let Some(id) = next {
            let is_taken = taken.contains(&id);
            if is_taken || had.contains(&id) {
                near = Some(id);
                self.push(graph, std::mem::take(&mut run), near);
                // Behind a commit that the client has there may be some that it has not, where its history was cut.
                if is_taken || shown.is_none() {
                    return;
                }
            } else if shown.is_some_and(|shown| !shown.contains(&id)) {
                break;
            } else {
                taken.insert(id);
                run.push(id);
                if shown.is_none() && cut.contains(&id) {
                    break;
                }
            }
            next = graph.parent(&id);
        }
        self.push(graph, run, near);
    }

    fn push(&mut self, graph: &Graph, mut run: Vec<RevisionId>, base: Option<RevisionId>) {
        run.reverse();
        let Some(first) = run.first() else { return };
        let parent = graph.parent(first).and_then(|parent| graph.links.get(&parent));
        let parent = parent.map(|link| link.commit);
        self.segments.push(Segment { parent, base, revisions: run });
    }
}

/// All revisions that the client has.
fn had(graph: &Graph, common: &[ObjectId], cut: &HashSet<RevisionId>) -> HashSet<RevisionId> {
    let mut had = HashSet::new();
    for id in common {
        let mut next = graph.revisions.get(id).copied();
        while let Some(id) = next
            && had.insert(id)
            && !cut.contains(&id)
        {
            next = graph.parent(&id);
        }
    }
    had
}

fn reaches(graph: &Graph, tip: RevisionId, had: &HashSet<RevisionId>) -> bool {
    let mut next = Some(tip);
    while let Some(id) = next {
        if had.contains(&id) {
            return true;
        }
        next = graph.parent(&id);
    }
    false
}
