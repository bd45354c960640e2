//! What the index keeps of one session, and in which of its sets that stands.

use std::sync::Arc;

use super::super::intern::{Id, Interner};
use super::cells::{self, CellKey};
use super::ranges::Place;
use super::{AgentKey, DUE, LABELLED, SESSION, SessionIndex};
use crate::label::{CellLabels, Grouping, LabelKey};
use crate::statistics::Spent;
use dormouse_domain::deadline;
use dormouse_domain::id::SessionId;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;

/// What is counted beside shared bytes.
pub(super) const SHARED: usize = 2 * size_of::<usize>();

/// The labels of some tags, in order.
pub(super) type TagSet = Arc<[Id]>;

/// What is to be kept of a session, on its way into the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct SessionFacts {
    revision: u64,
    due: Option<Timestamp>,
    active_at: Timestamp,
    owner: Arc<str>,
    labels: CellLabels,
    grouping: Grouping,
    agent: AgentKey,
    before_upgrade: Option<AgentKey>,
    state: LabelKey,
    pattern: Pattern,
    status: Status,
    spent: Spent,
}

impl SessionFacts {
    /// What is to be kept of this record. Its front is enough for that, with the labels that the body has.
    pub(in super::super) fn new(session: &Session, grouping: Grouping) -> SessionFacts {
        let (profile, status) = (&session.profile, session.state.status());
        let before = session.before_upgrade.as_ref();
        SessionFacts {
            revision: session.revision,
            due: deadline::next(session).map(|(at, _)| at),
            active_at: session.last_activity_at,
            owner: session.owner.0.as_str().into(),
            labels: CellLabels::of(session),
            grouping,
            agent: Arc::new(profile.agent.clone()),
            before_upgrade: before.map(|before| Arc::new(before.agent.clone())),
            state: LabelKey::state(&session.owner.0, profile.pattern, status),
            pattern: profile.pattern,
            status,
            spent: Spent::of(session),
        }
    }

    /// Whose the session is.
    pub(in super::super) fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// The label of its user.
    pub(in super::super) fn user(&self) -> Option<LabelKey> {
        self.labels.user
    }

    /// The agent that it may go back to.
    pub(super) fn before_upgrade(&self) -> Option<AgentKey> {
        self.before_upgrade.clone()
    }

    /// What is to be counted when the session is removed.
    pub(in super::super) fn at_removal(&self) -> AtRemoval {
        AtRemoval {
            owner: Arc::clone(&self.owner),
            labels: self.labels.clone(),
            pattern: self.pattern,
            status: self.status,
            spent: self.spent,
        }
    }
}

/// What a session that is removed counts as from then on.
#[derive(Debug)]
pub(in super::super) struct AtRemoval {
    pub(in super::super) owner: Arc<str>,
    pub(in super::super) labels: CellLabels,
    pub(in super::super) pattern: Pattern,
    pub(in super::super) status: Status,
    pub(in super::super) spent: Spent,
}

/// What the index keeps of a session.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) active_at: Timestamp,
    pub(super) spent: Spent,
    /// [`Timestamp::NEVER`]: nothing is due.
    due: Timestamp,
    pub(super) owner: Id,
    pub(super) agent: Id,
    /// The label of its pattern and status.
    state: Id,
    /// The label of its owner and agent.
    pub(super) served: Id,
    pub(super) user: Option<Id>,
    pub(super) tags: Option<Id>,
    pub(super) thread: Option<Id>,
    pub(super) conversation: Option<Id>,
    pub(super) project: Option<Id>,
    pub(super) pattern: Pattern,
    pub(super) status: Status,
}

impl Entry {
    /// The cell of statistics that it counts in.
    pub(super) fn cell(&self) -> CellKey {
        let Entry { owner, user, tags, pattern, .. } = *self;
        CellKey { owner, user, tags, pattern }
    }

    /// The labels that it has one of at most.
    fn single(&self) -> [Option<Id>; 6] {
        let [state, served] = [self.state, self.served].map(Some);
        [state, served, self.user, self.thread, self.conversation, self.project]
    }

    fn due(&self) -> Option<Timestamp> {
        (self.due < Timestamp::NEVER).then_some(self.due)
    }
}

/// Bytes that a session takes, with its labels as if no other had the same.
pub(super) fn weight(session: &Session) -> u64 {
    let profile = &session.profile;
    let others = [&profile.thread_key, &profile.project_id, &profile.user_id];
    let others = others.into_iter().flatten().count();
    let single = others + usize::from(profile.conversation_id.is_some());
    weight_of(single, profile.tags.len())
}

/// The same of a session with so many labels besides tags, and so many tags.
fn weight_of(single: usize, tags: usize) -> u64 {
    let label = LABELLED + Interner::<LabelKey>::ENTRY;
    let set = if tags == 0 { 0 } else { Interner::<TagSet>::ENTRY + SHARED };
    let all = SESSION + DUE + cells::CELL + (single + tags) * label + set + tags * size_of::<Id>();
    u64::try_from(all).unwrap_or(u64::MAX)
}

impl SessionIndex {
    /// What is to be kept of these facts of a session, with its uses counted.
    pub(super) fn entry(&mut self, id: SessionId, facts: SessionFacts) -> Entry {
        let served = self.served(id, &facts);
        let SessionFacts { labels, grouping, .. } = facts;
        let tags = (!labels.tags.is_empty()).then(|| {
            let mut tags: Vec<_> = labels.tags.iter().map(|tag| self.labels.take(*tag)).collect();
            tags.sort_unstable();
            self.tags.take(tags.into())
        });
        let mut label = |key: Option<LabelKey>| key.map(|key| self.labels.take(key));
        let user = label(labels.user);
        let (thread, conversation) = (label(grouping.thread), label(grouping.conversation));
        let project = label(grouping.project);
        let state = self.labels.take(facts.state);
        let entry = Entry {
            revision: facts.revision,
            active_at: facts.active_at,
            spent: facts.spent,
            due: facts.due.unwrap_or(Timestamp::NEVER),
            owner: self.owners.take(facts.owner),
            agent: self.served_by.take(facts.agent),
            state,
            served,
            user,
            tags,
            thread,
            conversation,
            project,
            pattern: facts.pattern,
            status: facts.status,
        };
        self.weigh(entry.owner, self.weight_of(&entry));
        entry
    }

    /// The label of owner and agent, counted once more. It costs more to make than the others, and hardly ever
    /// changes.
    fn served(&mut self, id: SessionId, facts: &SessionFacts) -> Id {
        let (owner, agent) = (self.owners.id(&facts.owner), self.served_by.id(&facts.agent));
        let old = self
            .sessions
            .get(&id)
            .filter(|old| (Some(old.owner), Some(old.agent)) == (owner, agent));
        match old.map(|old| old.served) {
            Some(served) => self.labels.take_again(served),
            None => self.labels.take(LabelKey::agent(&facts.owner, &facts.agent)),
        }
    }

    /// Count the uses of an entry no more.
    pub(super) fn release(&mut self, entry: &Entry) {
        self.unweigh(entry.owner, self.weight_of(entry));
        self.owners.release(entry.owner);
        self.served_by.release(entry.agent);
        for label in entry.single().into_iter().flatten() {
            self.labels.release(label);
        }
        if let Some(tags) = entry.tags {
            for tag in &*self.tag_set(Some(tags)) {
                self.labels.release(*tag);
            }
            self.tags.release(tags);
        }
    }

    /// Change the sets from what a session was to what it is. What is the same in both stays.
    pub(super) fn enter(&mut self, id: SessionId, old: Option<&Entry>, new: Option<&Entry>) {
        let due = |entry: Option<&Entry>| entry.and_then(Entry::due).map(|at| (at, id));
        replace(due(old), due(new), &mut self.due);
        let active = |entry: Option<&Entry>| {
            entry.map(|entry| (entry.owner, Place { active_at: entry.active_at, id }))
        };
        replace(active(old), active(new), &mut self.active);
        let single = |entry: Option<&Entry>| entry.map_or([None; 6], Entry::single);
        for (old, new) in single(old).into_iter().zip(single(new)) {
            replace(old.map(|old| (old, id)), new.map(|new| (new, id)), &mut self.labelled);
        }
        let (old_tags, new_tags) = (old.and_then(|it| it.tags), new.and_then(|it| it.tags));
        if old_tags != new_tags {
            for tag in &*self.tag_set(old_tags) {
                self.labelled.remove(&(*tag, id));
            }
            for tag in &*self.tag_set(new_tags) {
                self.labelled.insert((*tag, id));
            }
        }
        if let Some(old) = old {
            self.cells.subtract(old);
            self.open -= usize::from(!old.status.is_final());
        }
        if let Some(new) = new {
            self.cells.add(new);
            self.open += usize::from(!new.status.is_final());
        }
    }

    /// What a session counts as that is removed now. `None`: there is no such session.
    pub(in super::super) fn at_removal(&self, id: SessionId) -> Option<AtRemoval> {
        let entry = self.sessions.get(&id)?;
        let key = |label: &Id| self.labels.value(*label).copied();
        let tags = self.tag_set(entry.tags);
        let mut tags: Vec<_> = tags.iter().filter_map(key).collect();
        tags.sort_unstable();
        Some(AtRemoval {
            owner: Arc::clone(self.owners.value(entry.owner)?),
            labels: CellLabels { user: entry.user.as_ref().and_then(key), tags: tags.into() },
            pattern: entry.pattern,
            status: entry.status,
            spent: entry.spent,
        })
    }

    /// The tags of a session.
    pub(super) fn tag_set(&self, tags: Option<Id>) -> TagSet {
        let tags = tags.and_then(|tags| self.tags.value(tags));
        tags.map_or_else(TagSet::default, Arc::clone)
    }

    fn weight_of(&self, entry: &Entry) -> u64 {
        let single = entry.single().into_iter().flatten().count() - 2;
        weight_of(single, self.tag_set(entry.tags).len())
    }
}

/// Change a set from having one value to having the other.
fn replace<T: Ord>(old: Option<T>, new: Option<T>, set: &mut std::collections::BTreeSet<T>) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        set.remove(&old);
    }
    if let Some(new) = new {
        set.insert(new);
    }
}
