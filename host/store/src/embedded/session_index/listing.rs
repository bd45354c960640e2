//! Lists of sessions, from the ordered sets of the index.
//!
//! ```text
//!  filters ─▶ the smallest of the sets that have all that match, or the sessions by activity
//!          ─▶ its sessions, some at a time ─▶ those that the other filters pass ─▶ the page
//! ```
//! A set of one label, and sets of states, count their sessions, and so do the sets of tags that sessions have
//! together, where they are few: where nothing else is asked for, the total is known and only the page is looked
//! at. Else all of the smallest set are.
//!
//! Where a set is not in the order of the list, the first of what matches are kept as they are found.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::super::intern::Id;
use super::SessionIndex;
use super::entry::{Entry, TagSet};
use super::ranges::{Merged, Place, Range, Span, by_id};
use crate::label::{LabelKey, LabelKind};
use crate::{SessionCursor, SessionQuery};
use dormouse_domain::id::SessionId;
use dormouse_domain::pattern::Pattern;
use dormouse_domain::state::Status;

/// How many sessions are looked at together.
const LISTED_AT_ONCE: usize = if cfg!(test) { 3 } else { 8 << 10 };
/// The most sessions that are kept of a set in another order than that of the list.
const KEPT: usize = if cfg!(test) { 5 } else { 10_000 };
/// To look at a session in the order of activity costs so many times what it costs in that of ids: its
/// neighbours in one are not those in the other.
const ASIDE: usize = 8;

/// A page of a listing, as far as it has been made.
#[derive(Debug)]
pub(in super::super) struct ListingBuilder {
    /// How many match, over all pages.
    pub(in super::super) total: usize,
    /// Whether all have been looked at that have to be.
    pub(in super::super) done: bool,
    start: Option<SessionCursor>,
    /// What it is made of, and how: decided with the first look.
    plan: Option<(Filter, Plan)>,
    /// The last of it that has been looked at.
    last: Option<Place>,
    /// How many match behind where the page may begin.
    passed: usize,
    /// The places of the page, in order, and one more where there is one.
    page: Vec<SessionCursor>,
    /// Those that come first of what has matched.
    first: BinaryHeap<Ranked>,
}

/// A place, by which of two comes first.
#[derive(Debug, PartialEq, Eq)]
struct Ranked(SessionCursor);

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        self.0.compare(&other.0)
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which set has the sessions that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// All sessions.
    All,
    /// Those of a label of this kind.
    Label(LabelKind),
    /// The sessions of the owners, in the order of activity.
    Activity,
}

/// How a page is made.
#[derive(Clone, Copy, Debug)]
struct Plan {
    source: Source,
    /// Whether it takes a look at all that match to know how many there are.
    is_counted: bool,
}

/// A label that a query asks for, as the index has it.
#[derive(Debug)]
struct Wanted {
    kind: LabelKind,
    /// One of these, which stand in order. Those of states: all that the query allows.
    labels: Vec<(Id, LabelKey)>,
    /// How many sessions had them at first, where one has no two of them.
    size: usize,
}

/// A query in terms of the index, made once for all looks: over all owners, it takes longer than a look. A place of
/// the index may belong to another value by the next look, so each stands here with its value.
#[derive(Debug)]
struct Filter {
    owners: Vec<(Id, Arc<str>)>,
    wanted: Vec<Wanted>,
}

impl ListingBuilder {
    /// Nothing has been looked at.
    pub(in super::super) fn new(start: Option<SessionCursor>) -> ListingBuilder {
        ListingBuilder {
            total: 0,
            done: false,
            start,
            plan: None,
            last: None,
            passed: 0,
            page: Vec::new(),
            first: BinaryHeap::new(),
        }
    }

    /// The places of the page, in order, and one more where there is one.
    pub(in super::super) fn page(mut self, query: &SessionQuery) -> Vec<SessionCursor> {
        let first = std::mem::take(&mut self.first).into_sorted_vec();
        let rest = first.into_iter().skip(query.offset).map(|Ranked(place)| place);
        self.page.extend(rest);
        self.page
    }

    /// Take a session that matches. `in_order`: all before it in the list have been taken.
    fn take(&mut self, query: &SessionQuery, place: Place, in_order: bool) {
        let place = SessionCursor::new(query.order, place.active_at, place.id);
        if self.start.is_some_and(|start| start.compare(&place).is_ge()) {
            return;
        }
        let most = query.limit.saturating_add(1);
        if in_order {
            self.passed += 1;
            if self.passed > query.offset && self.page.len() < most {
                self.page.push(place);
            }
            return;
        }
        let most = most.saturating_add(query.offset);
        let ranked = Ranked(place);
        if self.first.len() < most {
            self.first.push(ranked);
        } else if self.first.peek().is_some_and(|last| ranked < *last) {
            self.first.pop();
            self.first.push(ranked);
        }
    }
}

impl SessionIndex {
    /// Go on with a listing, a bounded number of sessions at a time: commits wait for whoever looks
    /// at the index. A session that comes or goes meanwhile is in it or not.
    pub(in super::super) fn list(&self, query: &SessionQuery, listing: &mut ListingBuilder) {
        listing.done = true;
        let (filter, plan) = match listing.plan.take() {
            Some((mut filter, plan)) => {
                self.renew(&mut filter);
                (filter, plan)
            }
            None => {
                let Some(filter) = self.filter(query) else { return };
                let known = self.known_total(query, &filter);
                listing.total = known.unwrap_or(0);
                let source = self.choose(query, &filter);
                (filter, Plan { source, is_counted: known.is_none() })
            }
        };
        self.look(query, &filter, plan, listing);
        listing.plan = Some((filter, plan));
    }

    /// Take from the source of a listing what matches, as far as one look goes.
    fn look(
        &self,
        query: &SessionQuery,
        filter: &Filter,
        plan: Plan,
        listing: &mut ListingBuilder,
    ) {
        let Plan { source, is_counted } = plan;
        let in_order = match source {
            Source::Activity => query.order.is_by_activity(),
            Source::All | Source::Label(_) => !query.order.is_by_activity(),
        };
        let is_descending = !in_order || query.order.is_descending();
        if !is_counted && in_order && listing.last.is_none() {
            // Nobody counts what comes before the page.
            listing.last = listing.start.map(|it| Place { active_at: it.active_at, id: it.id });
        }
        let all = filter.is_all_of(query, source);
        let places = self.places(query, filter, source, is_descending, listing.last);
        for (seen, place) in places.enumerate() {
            if seen == LISTED_AT_ONCE {
                listing.done = false;
                return;
            }
            listing.last = Some(place);
            let place = if all && (in_order || source == Source::Activity) {
                place
            } else {
                let Some(entry) = self.sessions.get(&place.id) else { continue };
                if !self.matches(query, filter, source, place.id, entry) {
                    continue;
                }
                Place { active_at: entry.active_at, id: place.id }
            };
            if is_counted {
                listing.total += 1;
            }
            listing.take(query, place, in_order);
            if !is_counted && in_order && listing.page.len() > query.limit {
                return;
            }
        }
    }

    /// The query in terms of this index; `None` where it names what no session has.
    fn filter(&self, query: &SessionQuery) -> Option<Filter> {
        let owners: Vec<(Id, Arc<str>)> = match &query.owner {
            Some(owner) => {
                let owner: Arc<str> = owner.0.as_str().into();
                vec![(self.owners.id(&owner)?, owner)]
            }
            None => self.owners.iter().map(|(owner, id)| (id, Arc::clone(owner))).collect(),
        };
        let find = |kind, texts: &mut dyn Iterator<Item = &str>| {
            let texts: Vec<&str> = texts.collect();
            let keys = owners
                .iter()
                .flat_map(|(_, owner)| texts.iter().map(|text| LabelKey::new(owner, kind, text)));
            self.wanted(kind, keys)
        };
        let mut wanted = Vec::new();
        for (kind, text) in [
            (LabelKind::User, &query.user_id),
            (LabelKind::Thread, &query.thread_key),
            (LabelKind::Conversation, &query.conversation_id),
            (LabelKind::Project, &query.project_id),
        ] {
            if let Some(text) = text {
                wanted.push(find(kind, &mut std::iter::once(text.as_str()))?);
            }
        }
        if !query.tags.is_empty() {
            wanted.push(find(LabelKind::Tag, &mut query.tags.iter().map(String::as_str))?);
        }
        if let Some(agent) = &query.agent {
            let agents = self.served_by.iter().map(|(agent, _)| agent);
            let agents: Vec<_> = agents.filter(|it| agent.matches(it)).collect();
            let served = owners
                .iter()
                .flat_map(|(_, owner)| agents.iter().map(|agent| LabelKey::agent(owner, agent)));
            wanted.push(self.wanted(LabelKind::Agent, served)?);
        }
        let by_state = query.pattern.is_some() || query.status.is_some();
        if by_state || (query.owner.is_some() && wanted.is_empty()) {
            let states = owners.iter().flat_map(|(_, owner)| states(query, owner));
            wanted.push(self.wanted(LabelKind::State, states)?);
        }
        Some(Filter { owners, wanted })
    }

    /// Leave out of a filter what is gone since the last look.
    fn renew(&self, filter: &mut Filter) {
        filter.owners.retain(|(id, owner)| self.owners.value(*id) == Some(owner));
        for wanted in &mut filter.wanted {
            wanted.labels.retain(|(id, key)| self.labels.value(*id) == Some(key));
        }
    }

    /// The labels of these keys, as far as any session has them; `None` where none has any.
    fn wanted(&self, kind: LabelKind, keys: impl Iterator<Item = LabelKey>) -> Option<Wanted> {
        let known = |key| Some((self.labels.id(&key)?, key));
        let mut labels: Vec<_> = keys.filter_map(known).collect();
        labels.sort_unstable();
        labels.dedup();
        let size = labels.iter().map(|(id, _)| self.labels.uses_of(*id)).sum::<u64>();
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        (!labels.is_empty()).then_some(Wanted { kind, labels, size })
    }

    /// The set that costs the least.
    fn choose(&self, query: &SessionQuery, filter: &Filter) -> Source {
        let smallest = filter.wanted.iter().min_by_key(|wanted| wanted.size);
        let (source, size) = match smallest {
            Some(wanted) => (Source::Label(wanted.kind), wanted.size),
            None => (Source::All, self.sessions.len()),
        };
        if query.order.is_by_activity() {
            let owned = filter.owners.iter().map(|(id, _)| self.owners.uses_of(*id)).sum::<u64>();
            let owned = usize::try_from(owned).unwrap_or(usize::MAX);
            let page = query.limit.saturating_add(query.offset);
            // In order, a page is found after so many sessions, where those that match are anywhere.
            let in_order = page.saturating_mul(owned / size.max(1)).saturating_mul(ASIDE);
            let is_counted = self.known_total(query, filter).is_some();
            if page > KEPT || size >= owned || (is_counted && in_order < size) {
                return Source::Activity;
            }
        }
        if !query.active.is_unbounded() && query.limit.saturating_add(query.offset) <= KEPT {
            // Counted while the lock is held: as few as are looked at together.
            let few = (size / ASIDE).min(LISTED_AT_ONCE);
            let active = self.places(query, filter, Source::Activity, true, None);
            if active.take(few).count() < few {
                return Source::Activity;
            }
        }
        source
    }

    /// How many match, where that is known without looking at them: nothing is asked for that the sizes of
    /// sets do not say.
    fn known_total(&self, query: &SessionQuery, filter: &Filter) -> Option<usize> {
        let is_open = query.created.is_unbounded() && query.active.is_unbounded();
        if !is_open || query.without_user {
            return None;
        }
        match &*filter.wanted {
            [] => Some(self.sessions.len()),
            [wanted] if wanted.is_disjoint() => Some(wanted.size),
            [wanted] => self.count_tagged(wanted),
            [..] => None,
        }
    }

    /// How many sessions have one of these tags, by the sets of tags that sessions have together. `None`: there
    /// are too many of these sets.
    fn count_tagged(&self, wanted: &Wanted) -> Option<usize> {
        if self.tags.len() > LISTED_AT_ONCE {
            return None;
        }
        let has_one = |tags: &TagSet| tags.iter().any(|tag| wanted.has(*tag));
        let tagged = self.tags.iter().filter(|(tags, _)| has_one(tags));
        usize::try_from(tagged.map(|(_, id)| self.tags.uses_of(id)).sum::<u64>()).ok()
    }

    /// The sessions of a source behind this place.
    fn places<'s>(
        &'s self,
        query: &SessionQuery,
        filter: &Filter,
        source: Source,
        is_descending: bool,
        last: Option<Place>,
    ) -> Box<dyn Iterator<Item = Place> + 's> {
        let span = match source {
            Source::Activity => Span::of_activity(query.active),
            Source::All | Source::Label(_) => Span::of_creation(query.created),
        };
        let last = last.map(|last| match source {
            Source::Activity => last,
            Source::All | Source::Label(_) => by_id(last.id),
        });
        let Some(Span { from, to }) = span.behind(last, is_descending) else {
            return Box::new(std::iter::empty());
        };
        let ranges: Vec<Range<'s>> = match source {
            Source::All => {
                let ids = (from.map(|place| place.id), to.map(|place| place.id));
                vec![Box::new(self.sessions.range(ids).map(|(id, _)| by_id(*id)))]
            }
            Source::Label(kind) => {
                let wanted = filter.wanted.iter().filter(|wanted| wanted.kind == kind);
                let labels = wanted.flat_map(|wanted| wanted.labels.iter().map(|(id, _)| *id));
                let range = |label| -> Range<'s> {
                    let of = |place: Place| (label, place.id);
                    let range = self.labelled.range((from.map(of), to.map(of)));
                    Box::new(range.map(|(_, id)| by_id(*id)))
                };
                labels.map(range).collect()
            }
            Source::Activity => {
                let range = |(owner, _): &(Id, Arc<str>)| -> Range<'s> {
                    let of = |place| (*owner, place);
                    let range = self.active.range((from.map(of), to.map(of)));
                    Box::new(range.map(|(_, place)| *place))
                };
                filter.owners.iter().map(range).collect()
            }
        };
        Box::new(Merged::new(ranges, is_descending))
    }

    /// Whether a session of a source matches: the source has looked at what it is made of.
    fn matches(
        &self,
        query: &SessionQuery,
        filter: &Filter,
        source: Source,
        id: SessionId,
        entry: &Entry,
    ) -> bool {
        let is_between = match source {
            Source::Activity if query.created.is_unbounded() => true,
            Source::Activity => query.created.contains(id.made_at().unwrap_or_default()),
            Source::All | Source::Label(_) => query.active.contains(entry.active_at),
        };
        let mut others = filter.wanted.iter().filter(|it| source != Source::Label(it.kind));
        is_between
            && query.pattern.is_none_or(|pattern| pattern == entry.pattern)
            && query.status.is_none_or(|status| status == entry.status)
            && !(query.without_user && entry.user.is_some())
            && others.all(|wanted| self.has(entry, wanted))
    }

    /// Whether a session has one of these labels. Those of states have been compared.
    fn has(&self, entry: &Entry, wanted: &Wanted) -> bool {
        let is_one = |label: Option<Id>| label.is_some_and(|label| wanted.has(label));
        match wanted.kind {
            LabelKind::State => true,
            LabelKind::Agent => is_one(Some(entry.served)),
            LabelKind::User => is_one(entry.user),
            LabelKind::Thread => is_one(entry.thread),
            LabelKind::Conversation => is_one(entry.conversation),
            LabelKind::Project => is_one(entry.project),
            LabelKind::Tag => self.tag_set(entry.tags).iter().any(|tag| is_one(Some(*tag))),
        }
    }
}

impl Wanted {
    /// Whether no session has two of them.
    fn is_disjoint(&self) -> bool {
        self.kind != LabelKind::Tag || self.labels.len() == 1
    }

    fn has(&self, label: Id) -> bool {
        self.labels.binary_search_by_key(&label, |(id, _)| *id).is_ok()
    }
}

impl Filter {
    /// Whether all sessions of a source match.
    fn is_all_of(&self, query: &SessionQuery, source: Source) -> bool {
        if query.without_user {
            return false;
        }
        match (source, &*self.wanted) {
            (Source::All, wanted) => wanted.is_empty() && query.active.is_unbounded(),
            (Source::Label(kind), [only]) => only.kind == kind && query.active.is_unbounded(),
            (Source::Label(_), _) => false,
            (Source::Activity, wanted) => {
                let any_state = query.pattern.is_none() && query.status.is_none();
                query.created.is_unbounded()
                    && any_state
                    && wanted.iter().all(|wanted| wanted.kind == LabelKind::State)
            }
        }
    }
}

/// The keys of the states that a query allows for an owner.
fn states(query: &SessionQuery, owner: &str) -> Vec<LabelKey> {
    let patterns =
        Pattern::ALL.into_iter().filter(|it| query.pattern.is_none_or(|want| want == *it));
    let statuses =
        || Status::ALL.into_iter().filter(|it| query.status.is_none_or(|want| want == *it));
    let states = patterns.flat_map(|pattern| statuses().map(move |status| (pattern, status)));
    states.map(|(pattern, status)| LabelKey::state(owner, pattern, status)).collect()
}
