//! What is durable, as memory knows it: what sessions are listed by (`listing`), what they come to
//! (`cells`), what is due, the agents, and how far the log of events goes. Rebuilt when the store is
//! opened. `entry` is what is kept of one session.
//!
//! The committer changes it, under one lock, once a group is durable and the engine shows it.
//!
//! What it takes in memory is charged to the budget of the host. It grows with the sessions, which all
//! have to be known, so new ones are refused where it would take more than its share of the budget, or
//! its owner more than is left for others.

mod agents;
mod cells;
mod entry;
mod listing;
mod mailboxes;
mod open_turns;
mod ranges;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use self::agents::AgentIndex;
pub(super) use self::agents::IndexedAgent;
use self::cells::Cells;
pub(super) use self::cells::{AddingUp, RemovedCell};
pub(super) use self::entry::{AtRemoval, SessionFacts};
use self::entry::{Entry, SHARED, TagSet};
pub(super) use self::listing::ListingBuilder;
pub(super) use self::mailboxes::Mailbox;
use self::mailboxes::Mailboxes;
pub(super) use self::open_turns::Begun;
use self::open_turns::OpenTurns;
use self::ranges::Place;
use super::intern::{Id, Interner};
use crate::StoreError;
use crate::label::{LabelKey, LabelKind};
use dormouse_base::memory::{Account, MemoryBudget};
use dormouse_domain::agent::AgentRef;
use dormouse_domain::event::Cursor;
use dormouse_domain::id::{Principal, SessionId};
use dormouse_domain::session::Session;
use dormouse_domain::state::Status;
use dormouse_domain::time::Timestamp;

/// An agent, as the index counts what refers to it.
pub(super) type AgentKey = Arc<AgentRef>;

/// Bytes that a shared text takes beyond its pointer.
fn text(text: &str) -> usize {
    SHARED + text.len()
}

/// The part of the memory budget that the index may take: one half.
const SHARE: u64 = 2;

/// What an entry of so many bytes takes in an ordered set. Ids come in order, which leaves nodes little
/// more than half full: measured with an allocator that counts.
const fn in_set(bytes: usize) -> usize {
    bytes * 15 / 8 + 2
}

/// A session among those of a label, and among those that are due.
const LABELLED: usize = in_set(size_of::<(Id, SessionId)>());
const DUE: usize = in_set(size_of::<(Timestamp, SessionId)>());
/// What a session takes in any case.
const SESSION: usize =
    in_set(size_of::<(SessionId, Entry)>()) + 2 * LABELLED + in_set(size_of::<(Id, Place)>());

/// The index.
pub(super) struct SessionIndex {
    /// The end of the durable log.
    pub(super) cursor: Cursor,
    sessions: BTreeMap<SessionId, Entry>,
    /// How many of them are not over.
    open: usize,
    due: BTreeSet<(Timestamp, SessionId)>,
    /// The sessions of each label.
    labelled: BTreeSet<(Id, SessionId)>,
    /// The sessions of each owner, by their last activity.
    active: BTreeSet<(Id, Place)>,
    /// What the sessions come to.
    cells: Cells,
    owners: Interner<Arc<str>>,
    labels: Interner<LabelKey>,
    /// The tags that sessions have together.
    tags: Interner<TagSet>,
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
    /// The turns that are open.
    pub(super) open_turns: OpenTurns,
    /// The mailboxes that are not empty.
    pub(super) mailboxes: Mailboxes,
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
            open: 0,
            due: BTreeSet::new(),
            labelled: BTreeSet::new(),
            active: BTreeSet::new(),
            cells: Cells::default(),
            owners: Interner::new(|owner| text(owner)),
            labels: Interner::new(|_| 0),
            tags: Interner::new(|tags| SHARED + size_of_val(&**tags)),
            served_by: Interner::new(|agent| size_of_val(&**agent) + 32),
            before_upgrade: HashMap::new(),
            weights: HashMap::new(),
            templates: BTreeMap::new(),
            template_bytes: 0,
            agents: AgentIndex::default(),
            open_turns: OpenTurns::default(),
            mailboxes: Mailboxes::default(),
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
            more += entry::weight(session);
            owner = Some(&session.owner);
        }
        let removed = owner.map_or(0, |owner| self.cells.removed_bytes(&owner.0));
        let owner = owner.and_then(|owner| self.owners.id(&owner.0.as_str().into()));
        let owned =
            owner.and_then(|owner| self.weights.get(&owner)).copied().unwrap_or(0) + removed;
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

    /// Where a session is in its life.
    pub(super) fn status(&self, id: SessionId) -> Option<Status> {
        self.sessions.get(&id).map(|entry| entry.status)
    }

    /// Whose a session is.
    pub(super) fn owner(&self, id: SessionId) -> Option<Principal> {
        let owner = self.owners.value(self.sessions.get(&id)?.owner)?;
        Some(Principal(owner.to_string()))
    }

    /// The revision of a session, and the label of its user.
    pub(super) fn known(&self, id: SessionId) -> Option<(u64, Option<LabelKey>)> {
        let entry = self.sessions.get(&id)?;
        let user = entry.user.and_then(|user| self.labels.value(user));
        Some((entry.revision, user.copied()))
    }

    /// Add or replace what is known of a session.
    pub(super) fn put(&mut self, id: SessionId, facts: SessionFacts) {
        let before = facts.before_upgrade().map(|agent| self.served_by.take(agent));
        self.set_before_upgrade(id, before);
        // The new uses are counted before the old ones are released, so that what stays the same is
        // not thrown away and made again.
        let new = self.entry(id, facts);
        let old = self.sessions.insert(id, new.clone());
        self.enter(id, old.as_ref(), Some(&new));
        if let Some(old) = old {
            self.release(&old);
        }
    }

    /// Forget a session. What it left behind is being removed until [`SessionIndex::purged`].
    pub(super) fn remove(&mut self, id: SessionId) {
        self.gone.insert(id);
        self.aside.remove(&id);
        self.open_turns.close(id);
        self.mailboxes.put(id, Mailbox::default());
        self.set_before_upgrade(id, None);
        if let Some(old) = self.sessions.remove(&id) {
            self.enter(id, Some(&old), None);
            self.release(&old);
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

    /// Whether there is a template of this key.
    pub(super) fn has_template(&self, key: &[u8]) -> bool {
        self.templates.contains_key(key)
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

    /// How many sessions are not over.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// The first sessions behind this one, in the order of their ids.
    pub(super) fn sessions_after(&self, after: Option<SessionId>, limit: usize) -> Vec<SessionId> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.range((first, Bound::Unbounded)).take(limit).map(|(id, _)| *id).collect()
    }

    /// How many sessions an owner has, or how many of them have this user.
    pub(super) fn session_count(&self, owner: &Principal, user: Option<&str>) -> u64 {
        match user {
            None => self.owners.uses(&owner.0.as_str().into()),
            Some(user) => self.labels.uses(&LabelKey::new(&owner.0, LabelKind::User, user)),
        }
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
            + self.labels.bytes()
            + self.tags.bytes()
            + self.served_by.bytes()
            + self.template_bytes;
        // Each session has its state and its agent among its labels.
        let labels = self.labelled.len().saturating_sub(2 * self.sessions.len()) * LABELLED;
        let sets = self.sessions.len() * SESSION + self.due.len() * DUE + labels;
        let all = sets + shared + self.cells.bytes() + self.open_turns.bytes();
        let all = all + self.mailboxes.bytes();
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

    /// Count what an owner's sessions take.
    fn weigh(&mut self, owner: Id, weight: u64) {
        *self.weights.entry(owner).or_default() += weight;
    }

    fn unweigh(&mut self, owner: Id, weight: u64) {
        if let Some(all) = self.weights.get_mut(&owner) {
            *all -= weight;
            if *all == 0 {
                self.weights.remove(&owner);
            }
        }
    }
}

/// What a template takes in memory, besides its agent.
fn template_size(key: &[u8]) -> usize {
    64 + key.len()
}
