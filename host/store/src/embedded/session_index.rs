//! What is durable, as memory knows it: what sessions are listed by, what is due, the agents, and
//! how far the log of events goes. Rebuilt when the store is opened.
//!
//! The committer changes it, under one lock, once a group is durable and the engine shows it.
//!
//! What it takes in memory is charged to the budget of the host. It grows with the sessions, which all
//! have to be known, so new ones are refused where it would take more than its share of the budget, or
//! its owner more than is left for others.

mod agents;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use self::agents::AgentIndex;
pub(super) use self::agents::IndexedAgent;
use super::intern::{Id, Interner};
use super::tags::Tags;
use crate::{SessionQuery, StoreError};
use dormouse_base::memory::{Account, MemoryBudget};
use dormouse_domain::agent::AgentRef;
use dormouse_domain::deadline;
use dormouse_domain::event::Cursor;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;

/// What the index keeps of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionFacts {
    revision: u64,
    due: Option<Timestamp>,
    owner: Arc<str>,
    user: Option<Arc<str>>,
    tags: Tags,
    agent: AgentKey,
    before_upgrade: Option<AgentKey>,
    pattern: Pattern,
    status: Status,
    weight: u32,
}

/// An agent, as the index counts what refers to it.
pub(super) type AgentKey = Arc<AgentRef>;

impl SessionFacts {
    /// What is to be kept of this record. Its front is enough for that.
    pub(super) fn of(session: &Session) -> SessionFacts {
        let due = deadline::next(session).map(|(at, _)| at);
        let weight = weight(session);
        let profile = &session.profile;
        SessionFacts {
            revision: session.revision,
            due,
            owner: session.owner.0.as_str().into(),
            user: profile.user_id.as_deref().map(Into::into),
            tags: Tags::new(&profile.tags),
            agent: Arc::new(profile.agent.clone()),
            before_upgrade: session
                .before_upgrade
                .as_ref()
                .map(|before| Arc::new(before.agent.clone())),
            pattern: profile.pattern,
            status: session.state.status(),
            weight,
        }
    }
}

/// Bytes that a session takes, with its labels as if no other had the same.
fn weight(session: &Session) -> u32 {
    let profile = &session.profile;
    let user = profile.user_id.as_ref().map(|user| Interner::<Arc<str>>::ENTRY + text(user));
    let tags =
        (!profile.tags.is_empty()).then(|| Interner::<Tags>::ENTRY + Tags::bytes_of(&profile.tags));
    let all = SESSION + DUE + user.unwrap_or(0) + tags.unwrap_or(0);
    u32::try_from(all).unwrap_or(u32::MAX)
}

/// Bytes that a shared text takes beyond its pointer.
fn text(text: &str) -> usize {
    2 * size_of::<usize>() + text.len()
}

#[derive(Debug)]
struct Entry {
    revision: u64,
    due: Option<Timestamp>,
    owner: Id,
    user: Option<Id>,
    tags: Option<Id>,
    agent: Id,
    pattern: Pattern,
    status: Status,
    /// Bytes that it takes, with labels of its own, estimated.
    weight: u32,
}

/// The part of the memory budget that the index may take: one half.
const SHARE: u64 = 2;

/// What a session takes besides its labels, with its place among those that are due: nodes of ordered
/// sets are two thirds full.
const SESSION: usize = size_of::<(SessionId, Entry)>() * 3 / 2 + 4;
const DUE: usize = size_of::<(Timestamp, SessionId)>() * 3 / 2 + 4;

/// How many sessions are looked at together for a listing.
const LISTED_AT_ONCE: usize = if cfg!(test) { 3 } else { 64 << 10 };

/// A page of a listing, as far as it has been made.
#[derive(Debug, Default)]
pub(super) struct ListingBuilder {
    /// The sessions of the page, newest first, and one more where there is one.
    pub(super) ids: Vec<SessionId>,
    /// How many match, over all pages.
    pub(super) total: usize,
    /// Whether all have been looked at.
    pub(super) done: bool,
    /// How many match behind where the page may begin.
    passed: usize,
    /// The last that has been looked at.
    before: Option<SessionId>,
}

/// The index.
pub(super) struct SessionIndex {
    /// The end of the durable log.
    pub(super) cursor: Cursor,
    sessions: BTreeMap<SessionId, Entry>,
    due: BTreeSet<(Timestamp, SessionId)>,
    owners: Interner<Arc<str>>,
    users: Interner<Arc<str>>,
    tags: Interner<Tags>,
    served_by: Interner<AgentKey>,
    /// The agents that sessions may go back to: of few sessions, and not for long.
    before_upgrade: HashMap<SessionId, Id>,
    /// What the sessions of each owner take together, in bytes.
    weights: HashMap<Id, u64>,
    /// By key, with their agents.
    templates: BTreeMap<Vec<u8>, Id>,
    /// Bytes of these keys.
    template_bytes: usize,
    /// The agents.
    pub(super) agents: AgentIndex,
    gone: HashSet<SessionId>,
    aside: BTreeMap<SessionId, String>,
    /// How many values have been set aside.
    pub(super) quarantined: u64,
    /// The account that pays for the memory of the index. `None`: it is not charged, and not bounded.
    account: Option<Account>,
}

impl Default for SessionIndex {
    fn default() -> SessionIndex {
        SessionIndex {
            cursor: Cursor::default(),
            sessions: BTreeMap::new(),
            due: BTreeSet::new(),
            owners: Interner::new(|owner| text(owner)),
            users: Interner::new(|user| text(user)),
            tags: Interner::new(Tags::bytes),
            served_by: Interner::new(|agent| size_of_val(&**agent) + 32),
            before_upgrade: HashMap::new(),
            weights: HashMap::new(),
            templates: BTreeMap::new(),
            template_bytes: 0,
            agents: AgentIndex::default(),
            gone: HashSet::new(),
            aside: BTreeMap::new(),
            quarantined: 0,
            account: None,
        }
    }
}

impl fmt::Debug for SessionIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("sessions", &self.sessions.len()).finish_non_exhaustive()
    }
}

impl SessionIndex {
    /// Charge all that it takes to this budget, from now on.
    pub(super) fn charge_to(&mut self, memory: &MemoryBudget) {
        self.account = Some(memory.account());
        self.pay();
    }

    /// Pay for what it takes now. What is durable is known in any case, so this may go over the budget;
    /// [`SessionIndex::room_for`] sees to it that there is room.
    pub(super) fn pay(&mut self) {
        let bytes = self.bytes();
        let Some(account) = &mut self.account else { return };
        match bytes.checked_sub(account.held()) {
            Some(more) => account.overdraw(more),
            None => account.give_back(account.held() - bytes),
        }
    }

    /// Whether there is room for new sessions of one owner, and if so, an account that pays nothing yet
    /// and what they take at most. `None`: the index is not bounded.
    ///
    /// # Errors
    /// [`StoreError::TooManySessions`] where the index would take more than its share, or the owner more
    /// than it leaves for others.
    pub(super) fn room_for<'s>(
        &self,
        sessions: impl Iterator<Item = &'s Session>,
    ) -> Result<Option<(Account, u64)>, StoreError> {
        let Some(account) = &self.account else { return Ok(None) };
        let (mut more, mut owner) = (0, None);
        for session in sessions {
            more += u64::from(weight(session));
            owner = Some(&session.owner);
        }
        let owner = owner.and_then(|owner| self.owners.id(&owner.0.as_str().into()));
        let owned = owner.and_then(|owner| self.weights.get(&owner)).copied().unwrap_or(0);
        let left = (account.budget().limit() / SHARE).saturating_sub(self.bytes());
        if owned + more > left {
            return Err(StoreError::TooManySessions);
        }
        Ok(Some((account.budget().account(), more)))
    }

    /// Whether this session belongs to this principal. Yes, where it is not known whose it is, because
    /// its record is damaged.
    pub(super) fn is_owner(&self, id: SessionId, principal: &Principal) -> bool {
        match self.sessions.get(&id) {
            Some(entry) => {
                self.owners.value(entry.owner).is_some_and(|owner| **owner == *principal.0)
            }
            None => self.aside.contains_key(&id),
        }
    }

    /// The revision of a session.
    pub(super) fn revision(&self, id: SessionId) -> Option<u64> {
        self.sessions.get(&id).map(|entry| entry.revision)
    }

    /// Add or replace what is known of a session.
    pub(super) fn put(&mut self, id: SessionId, facts: SessionFacts) {
        // The new uses are counted before the old ones are released, so that what stays the same is
        // not thrown away and made again.
        let weight = facts.weight;
        let entry = Entry {
            revision: facts.revision,
            due: facts.due,
            owner: self.owners.take(facts.owner),
            user: facts.user.map(|user| self.users.take(user)),
            tags: (!facts.tags.is_empty()).then(|| self.tags.take(facts.tags)),
            agent: self.served_by.take(facts.agent),
            pattern: facts.pattern,
            status: facts.status,
            weight,
        };
        *self.weights.entry(entry.owner).or_default() += u64::from(weight);
        let due = entry.due;
        let before = facts.before_upgrade.map(|agent| self.served_by.take(agent));
        self.set_before_upgrade(id, before);
        let old = self.sessions.insert(id, entry);
        let unchanged = old.as_ref().is_some_and(|old| old.due == due);
        if let Some(old) = old {
            self.release(&old);
            if let (Some(at), false) = (old.due, unchanged) {
                self.due.remove(&(at, id));
            }
        }
        if let (Some(at), false) = (due, unchanged) {
            self.due.insert((at, id));
        }
    }

    /// Forget a session. What it left behind is being removed until [`SessionIndex::purged`].
    pub(super) fn remove(&mut self, id: SessionId) {
        self.gone.insert(id);
        self.aside.remove(&id);
        self.set_before_upgrade(id, None);
        if let Some(old) = self.sessions.remove(&id) {
            self.release(&old);
            if let Some(at) = old.due {
                self.due.remove(&(at, id));
            }
        }
    }

    /// Nothing is left of a session.
    pub(super) fn purged(&mut self, id: SessionId) {
        self.gone.remove(&id);
    }

    /// Whether something of deleted sessions is left.
    #[cfg(test)]
    pub(super) fn any_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Whether a session of this id is or was there, and something of it still is.
    pub(super) fn taken(&self, id: SessionId) -> bool {
        self.sessions.contains_key(&id) || self.gone.contains(&id) || self.aside.contains_key(&id)
    }

    /// Add or replace a template.
    pub(super) fn put_template(&mut self, key: Vec<u8>, agent: AgentKey) {
        let agent = self.served_by.take(agent);
        let size = template_size(&key);
        match self.templates.insert(key, agent) {
            Some(old) => self.served_by.release(old),
            None => self.template_bytes += size,
        }
    }

    /// Forget a template.
    pub(super) fn remove_template(&mut self, key: &[u8]) {
        if let Some(old) = self.templates.remove(key) {
            self.template_bytes -= template_size(key);
            self.served_by.release(old);
        }
    }

    /// The keys of the templates whose keys begin with `prefix`.
    pub(super) fn templates(&self, prefix: &[u8]) -> Vec<Vec<u8>> {
        let from = self.templates.range(prefix.to_vec()..);
        from.map(|(key, _)| key).take_while(|key| key.starts_with(prefix)).cloned().collect()
    }

    /// A session whose record has been set aside under this key.
    pub(super) fn set_aside(&mut self, id: SessionId, key: String) {
        self.aside.insert(id, key);
    }

    /// Where the record of a session has been set aside.
    pub(super) fn aside(&self, id: SessionId) -> Option<&str> {
        self.aside.get(&id).map(String::as_str)
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The first sessions behind this one, in the order of their ids.
    pub(super) fn sessions_after(&self, after: Option<SessionId>, limit: usize) -> Vec<SessionId> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((first, Bound::Unbounded)).take(limit).map(|(id, _)| *id).collect()
    }

    /// Go on with a listing, a bounded number of sessions at a time: commits wait for whoever looks
    /// at the index. A session that comes or goes meanwhile is in it or not.
    pub(super) fn list(&self, query: &SessionQuery, listing: &mut ListingBuilder) {
        let filter = self.filter(query);
        if filter.as_ref().is_some_and(Filter::is_empty) {
            let end = query.after.map_or(Bound::Unbounded, Bound::Excluded);
            let newest_first = self.sessions.range((Bound::Unbounded, end)).rev();
            let page = newest_first.skip(query.offset).take(query.limit.saturating_add(1));
            listing.ids = page.map(|(id, _)| *id).collect();
            listing.total = self.sessions.len();
        }
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
            listing.done = true;
            return;
        };
        let end = listing.before.map_or(Bound::Unbounded, Bound::Excluded);
        let older = self.sessions.range((Bound::Unbounded, end)).rev().take(LISTED_AT_ONCE);
        let mut seen = 0;
        for (id, entry) in older {
            seen += 1;
            listing.before = Some(*id);
            if filter.matches(entry) {
                listing.total += 1;
                if query.after.is_some_and(|after| *id >= after) {
                    continue;
                }
                listing.passed += 1;
                if listing.passed > query.offset && listing.ids.len() <= query.limit {
                    listing.ids.push(*id);
                }
            }
        }
        listing.done = seen < LISTED_AT_ONCE;
    }

    /// Sessions for which something is due at `now`, the longest due first, behind `after`.
    pub(super) fn due(
        &self,
        after: Option<(Timestamp, SessionId)>,
        now: Timestamp,
        limit: usize,
    ) -> Vec<(Timestamp, SessionId)> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let due = self.due.range((first, Bound::Unbounded));
        due.take_while(|(at, _)| *at <= now).take(limit).copied().collect()
    }

    /// When something is due next, later than `now`.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Timestamp> {
        let last_of_now = (now, SessionId(uuid::Uuid::max()));
        let later = (Bound::Excluded(last_of_now), Bound::Unbounded);
        self.due.range(later).next().map(|(at, _)| *at)
    }

    /// How many sessions and templates refer to this agent.
    pub(super) fn serves(&self, agent: &AgentRef) -> u64 {
        self.served_by.uses(&Arc::new(agent.clone()))
    }

    /// Bytes of memory, estimated.
    pub(super) fn bytes(&self) -> u64 {
        let shared = self.owners.bytes()
            + self.users.bytes()
            + self.tags.bytes()
            + self.served_by.bytes()
            + self.template_bytes;
        let all = self.sessions.len() * SESSION + self.due.len() * DUE + shared;
        u64::try_from(all).unwrap_or(u64::MAX)
    }

    fn set_before_upgrade(&mut self, id: SessionId, agent: Option<Id>) {
        let old = match agent {
            Some(agent) => self.before_upgrade.insert(id, agent),
            None => self.before_upgrade.remove(&id),
        };
        if let Some(old) = old {
            self.served_by.release(old);
        }
    }

    fn release(&mut self, entry: &Entry) {
        if let Some(weight) = self.weights.get_mut(&entry.owner) {
            *weight -= u64::from(entry.weight);
            if *weight == 0 {
                self.weights.remove(&entry.owner);
            }
        }
        self.owners.release(entry.owner);
        if let Some(user) = entry.user {
            self.users.release(user);
        }
        if let Some(tags) = entry.tags {
            self.tags.release(tags);
        }
        self.served_by.release(entry.agent);
    }

    /// The query in terms of this index; `None` where it names what no session has.
    fn filter(&self, query: &SessionQuery) -> Option<Filter> {
        let owner = match &query.owner {
            Some(owner) => Some(self.owners.id(&owner.0.as_str().into())?),
            None => None,
        };
        let user = match &query.user_id {
            Some(user) => Some(self.users.id(&user.as_str().into())?),
            None => None,
        };
        let tags = (!query.tags.is_empty()).then(|| {
            let wanted = self.tags.iter().filter(|(tags, _)| tags.any_of(&query.tags));
            wanted.map(|(_, id)| id).collect()
        });
        Some(Filter { owner, user, tags, pattern: query.pattern, status: query.status })
    }
}

/// What a template takes in memory, besides its agent.
fn template_size(key: &[u8]) -> usize {
    64 + key.len()
}

struct Filter {
    owner: Option<Id>,
    user: Option<Id>,
    tags: Option<HashSet<Id>>,
    pattern: Option<Pattern>,
    status: Option<Status>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.owner.is_none()
            && self.user.is_none()
            && self.tags.is_none()
            && self.pattern.is_none()
            && self.status.is_none()
    }

    fn matches(&self, entry: &Entry) -> bool {
        self.owner.is_none_or(|owner| owner == entry.owner)
            && self.user.is_none_or(|user| Some(user) == entry.user)
            && self.pattern.is_none_or(|pattern| pattern == entry.pattern)
            && self.status.is_none_or(|status| status == entry.status)
            && (self.tags.as_ref())
                .is_none_or(|tags| entry.tags.is_some_and(|entry| tags.contains(&entry)))
    }
}
