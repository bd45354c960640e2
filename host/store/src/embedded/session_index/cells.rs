//! What sessions come to, by the labels that statistics can be asked for: cells, which are added up.
//!
//! A cell is an owner with a user, a set of tags, and a pattern. Live sessions count in the cell of what
//! they are, and move with it. A session that is removed counts in a cell of its own kind from then on,
//! which is durable (`tables/statistics`); of these an owner has [`MAX_REMOVED_CELLS`], and beyond that
//! sessions count for the owner and the pattern alone.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::super::intern::Id;
use super::entry::{AtRemoval, Entry, SHARED};
use super::{SessionIndex, in_set};
use crate::label::{CellLabels, LabelKey, LabelKind};
use crate::statistics::Spent;
use crate::{MAX_REMOVED_CELLS, Statistics, StatisticsQuery, Sums};
use dormouse_domain::pattern::Pattern;
use dormouse_domain::state::Status;

/// What a live cell takes.
pub(super) const CELL: usize = in_set(size_of::<(CellKey, Live)>());
/// What a cell of removed sessions takes, without its tags.
const REMOVED: usize = 2 * size_of::<(LabelKey, RemovedCell)>() + SHARED;
/// How many cells are looked at together: commits wait for whoever looks at the index.
const CELLS_AT_ONCE: usize = if cfg!(test) { 3 } else { 16 << 10 };

/// Where a live session counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CellKey {
    pub(super) owner: Id,
    pub(super) user: Option<Id>,
    pub(super) tags: Option<Id>,
    pub(super) pattern: Pattern,
}

/// What live sessions come to. There are fewer than fit into memory.
#[derive(Clone, Copy, Debug, Default)]
struct Live {
    by_status: [u32; Status::ALL.len()],
    spent: Spent,
}

impl Live {
    fn add(&mut self, status: Status, spent: Spent) {
        self.by_status[status as usize] += 1;
        self.spent += spent;
    }

    /// Returns whether none is left.
    fn subtract(&mut self, status: Status, spent: Spent) -> bool {
        self.by_status[status as usize] -= 1;
        self.spent -= spent;
        self.by_status.iter().all(|count| *count == 0)
    }

    fn sums(&self) -> Sums {
        Sums::new(self.by_status.map(u64::from), self.spent)
    }
}

/// All cells.
#[derive(Debug, Default)]
pub(super) struct Cells {
    live: BTreeMap<CellKey, Live>,
    /// The same without users and tags.
    totals: BTreeMap<(Id, Pattern), Live>,
    removed: HashMap<Arc<str>, Removed>,
    removed_bytes: usize,
}

/// What the removed sessions of one owner came to.
#[derive(Debug, Default)]
struct Removed {
    cells: BTreeMap<LabelKey, RemovedCell>,
    bytes: usize,
}

/// What removed sessions came to that had the same labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct RemovedCell {
    /// The labels.
    pub(in super::super) labels: CellLabels,
    /// The pattern.
    pub(in super::super) pattern: Pattern,
    /// The sessions, with the status that each had.
    pub(in super::super) sums: Sums,
}

impl RemovedCell {
    /// One without sessions.
    pub(in super::super) fn new(labels: CellLabels, pattern: Pattern) -> RemovedCell {
        RemovedCell { labels, pattern, sums: Sums::default() }
    }

    /// What it is called among those of its owner.
    pub(in super::super) fn name(&self) -> LabelKey {
        let pattern = LabelKey([self.pattern as u8; 16]);
        let user = self.labels.user.unwrap_or(LabelKey([0; 16]));
        LabelKey::of_set(&[&[pattern, user], &*self.labels.tags].concat())
    }

    fn bytes(&self) -> usize {
        REMOVED + size_of_val(&*self.labels.tags)
    }

    fn matches(&self, wanted: &Wanted, pattern: Option<Pattern>) -> bool {
        wanted.user.is_none_or(|user| self.labels.user == Some(user))
            && wanted.has_tag(&self.labels.tags)
            && pattern.is_none_or(|pattern| pattern == self.pattern)
    }
}

impl Cells {
    /// Count a live session.
    pub(super) fn add(&mut self, entry: &Entry) {
        let (key, total) = (entry.cell(), (entry.owner, entry.pattern));
        self.live.entry(key).or_default().add(entry.status, entry.spent);
        self.totals.entry(total).or_default().add(entry.status, entry.spent);
    }

    /// Count a live session no more.
    pub(super) fn subtract(&mut self, entry: &Entry) {
        let (key, total) = (entry.cell(), (entry.owner, entry.pattern));
        let is_last = |cell: Option<&mut Live>| {
            cell.is_some_and(|cell| cell.subtract(entry.status, entry.spent))
        };
        if is_last(self.live.get_mut(&key)) {
            self.live.remove(&key);
        }
        if is_last(self.totals.get_mut(&total)) {
            self.totals.remove(&total);
        }
    }

    /// Bytes of memory, estimated.
    pub(super) fn bytes(&self) -> usize {
        (self.live.len() + self.totals.len()) * CELL + self.removed_bytes
    }

    /// What the cells of an owner's removed sessions take.
    pub(super) fn removed_bytes(&self, owner: &str) -> u64 {
        let bytes = self.removed.get(owner).map_or(0, |removed| removed.bytes);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    fn removed_of(&self, owner: &str) -> Option<&Removed> {
        self.removed.get(owner)
    }
}

/// The labels that statistics are asked for.
struct Wanted {
    user: Option<LabelKey>,
    /// One of these. Empty: all.
    tags: Vec<LabelKey>,
}

impl Wanted {
    fn of(query: &StatisticsQuery) -> Wanted {
        let key = |kind, text: &str| LabelKey::new(&query.owner.0, kind, text);
        Wanted {
            user: query.user_id.as_deref().map(|user| key(LabelKind::User, user)),
            tags: query.tags.iter().map(|tag| key(LabelKind::Tag, tag)).collect(),
        }
    }

    fn has_tag(&self, tags: &[LabelKey]) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|tag| tags.contains(tag))
    }
}

/// Statistics, as far as they have been added up.
#[derive(Debug, Default)]
pub(in super::super) struct AddingUp {
    /// What has been added up.
    pub(in super::super) statistics: Statistics,
    /// Whether that is all.
    pub(in super::super) done: bool,
    /// The last cell that has been looked at.
    last: Option<CellKey>,
}

impl SessionIndex {
    /// Go on with adding up, a bounded number of cells at a time. A session that moves to another cell
    /// meanwhile may count in none or in both.
    pub(in super::super) fn add_up(&self, query: &StatisticsQuery, sums: &mut AddingUp) {
        let wanted = Wanted::of(query);
        if sums.last.is_none() {
            self.add_removed(query, &wanted, &mut sums.statistics);
        }
        sums.done = true;
        let Some(owner) = self.owners.id(&query.owner.0.as_str().into()) else { return };
        let is_meant = |pattern| query.pattern.is_none_or(|wanted| wanted == pattern);
        let mut add = |pattern, live: &Live| {
            sums.statistics.by_pattern.entry(pattern).or_default().live += live.sums();
        };
        if query.user_id.is_none() && query.tags.is_empty() {
            for pattern in Pattern::ALL.into_iter().filter(|pattern| is_meant(*pattern)) {
                if let Some(live) = self.cells.totals.get(&(owner, pattern)) {
                    add(pattern, live);
                }
            }
            return;
        }
        let user = match wanted.user {
            None => None,
            Some(user) => match self.labels.id(&user) {
                Some(user) => Some(user),
                None => return,
            },
        };
        let first = CellKey { owner, user, tags: None, pattern: Pattern::ALL[0] };
        // The place of another owner, where this one's has become another meanwhile.
        let last = sums.last.filter(|last| last.owner == owner);
        let from = last.map_or(Bound::Included(first), Bound::Excluded);
        let is_in = |key: &CellKey| key.owner == owner && (user.is_none() || key.user == user);
        let tags: Vec<_> = wanted.tags.iter().filter_map(|tag| self.labels.id(tag)).collect();
        let has_tag = |set: Option<Id>| {
            query.tags.is_empty() || self.tag_set(set).iter().any(|tag| tags.contains(tag))
        };
        let cells = self.cells.live.range((from, Bound::Unbounded));
        for (seen, (key, live)) in cells.take_while(|(key, _)| is_in(key)).enumerate() {
            if seen == CELLS_AT_ONCE {
                sums.done = false;
                return;
            }
            sums.last = Some(*key);
            if is_meant(key.pattern) && has_tag(key.tags) {
                add(key.pattern, live);
            }
        }
    }

    fn add_removed(&self, query: &StatisticsQuery, wanted: &Wanted, all: &mut Statistics) {
        let removed = self.cells.removed_of(&query.owner.0);
        for cell in removed.iter().flat_map(|removed| removed.cells.values()) {
            if cell.matches(wanted, query.pattern) {
                all.by_pattern.entry(cell.pattern).or_default().removed += cell.sums;
            }
        }
    }

    /// The cell in which a session counts that is removed, as it is now. `others`: how many cells of the
    /// owner there will be that are not there yet, and `find` finds them.
    pub(in super::super) fn removed_cell(
        &self,
        removal: &AtRemoval,
        others: usize,
        find: impl Fn(LabelKey) -> Option<RemovedCell>,
    ) -> RemovedCell {
        let removed = self.cells.removed_of(&removal.owner);
        let known = |name: LabelKey| {
            find(name).or_else(|| removed.and_then(|removed| removed.cells.get(&name).cloned()))
        };
        let own = RemovedCell::new(removal.labels.clone(), removal.pattern);
        if let Some(cell) = known(own.name()) {
            return cell;
        }
        if removed.map_or(0, |removed| removed.cells.len()) + others < MAX_REMOVED_CELLS {
            return own;
        }
        let of_owner = RemovedCell::new(CellLabels::none(), removal.pattern);
        known(of_owner.name()).unwrap_or(of_owner)
    }

    /// Whether a cell of this name is durable.
    pub(in super::super) fn has_removed_cell(&self, owner: &str, name: LabelKey) -> bool {
        self.cells.removed_of(owner).is_some_and(|removed| removed.cells.contains_key(&name))
    }

    /// Add or replace a cell of removed sessions.
    pub(in super::super) fn put_removed_cell(&mut self, owner: Arc<str>, cell: RemovedCell) {
        let removed = self.cells.removed.entry(owner).or_default();
        let bytes = cell.bytes();
        if removed.cells.insert(cell.name(), cell).is_none() {
            removed.bytes += bytes;
            self.cells.removed_bytes += bytes;
        }
    }
}
