//! Ranges of the ordered sets that lists are made of, and several of them as one.

use std::collections::BinaryHeap;
use std::ops::Bound;

use uuid::Uuid;

use crate::Between;
use dormouse_domain::id::SessionId;
use dormouse_domain::time::Timestamp;

/// The first and the last of all ids.
const FIRST: SessionId = SessionId(Uuid::nil());
const LAST: SessionId = SessionId(Uuid::max());

/// A session in the order of activity. In the order of creation the time is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) active_at: Timestamp,
    pub(super) id: SessionId,
}

/// A place in the order of creation.
pub(super) fn by_id(id: SessionId) -> Place {
    Place { active_at: Timestamp::default(), id }
}

/// The places between two, in the order of the set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Bound<Place>,
    pub(super) to: Bound<Place>,
}

impl Span {
    /// Those of sessions that were last active between these times.
    pub(super) fn of_activity(between: Between) -> Span {
        let first = Place { active_at: Timestamp(i64::MIN), id: FIRST };
        let last = Place { active_at: Timestamp::NEVER, id: LAST };
        let end = |active_at| Bound::Excluded(Place { active_at, id: FIRST });
        let start = |active_at| Bound::Excluded(Place { active_at, id: LAST });
        Span {
            from: between.after.map_or(Bound::Included(first), start),
            to: between.before.map_or(Bound::Included(last), end),
        }
    }

    /// Those of sessions that were created between these times: their ids are in that order.
    pub(super) fn of_creation(between: Between) -> Span {
        let next = |at: Timestamp| Timestamp(at.0.saturating_add(1));
        let start = |at| Bound::Included(by_id(SessionId::first_of(next(at))));
        let end = |at| Bound::Excluded(by_id(SessionId::first_of(at)));
        Span {
            from: between.after.map_or(Bound::Included(by_id(FIRST)), start),
            to: between.before.map_or(Bound::Included(by_id(LAST)), end),
        }
    }

    /// What of it lies behind this place, in this direction; `None` where nothing can.
    pub(super) fn behind(self, last: Option<Place>, is_descending: bool) -> Option<Span> {
        let Span { mut from, mut to } = self;
        match last {
            Some(last) if is_descending && last <= place(to) => to = Bound::Excluded(last),
            Some(last) if !is_descending && last >= place(from) => from = Bound::Excluded(last),
            _ => {}
        }
        let both = matches!((from, to), (Bound::Included(_), Bound::Included(_)));
        let has_any = place(from) < place(to) || (place(from) == place(to) && both);
        has_any.then_some(Span { from, to })
    }
}

/// The place at an end of a span: each has one.
fn place(bound: Bound<Place>) -> Place {
    match bound {
        Bound::Included(place) | Bound::Excluded(place) => place,
        Bound::Unbounded => by_id(FIRST),
    }
}

/// Places in ascending order, which can be read from both ends.
pub(super) type Range<'s> = Box<dyn DoubleEndedIterator<Item = Place> + 's>;

/// Several ranges as one, each place once.
pub(super) struct Merged<'s> {
    ranges: Vec<Range<'s>>,
    is_descending: bool,
    /// The next of each range, the one that comes first on top.
    heads: BinaryHeap<(Rank, usize)>,
    last: Option<Rank>,
}

/// A place so that what comes first is the greatest.
type Rank = (i64, u128);

impl<'s> Merged<'s> {
    /// These ranges, from one of their ends to the other.
    pub(super) fn new(ranges: Vec<Range<'s>>, is_descending: bool) -> Merged<'s> {
        let heads = BinaryHeap::with_capacity(ranges.len());
        let count = ranges.len();
        let mut merged = Merged { ranges, is_descending, heads, last: None };
        if count > 1 {
            (0..count).for_each(|range| merged.refill(range));
        }
        merged
    }

    fn read(&mut self, range: usize) -> Option<Place> {
        let range = self.ranges.get_mut(range)?;
        if self.is_descending { range.next_back() } else { range.next() }
    }

    fn refill(&mut self, range: usize) {
        if let Some(place) = self.read(range) {
            self.heads.push((self.rank(place), range));
        }
    }

    fn rank(&self, place: Place) -> Rank {
        self.flip((place.active_at.0, place.id.0.as_u128()))
    }

    fn flip(&self, (time, id): Rank) -> Rank {
        if self.is_descending { (time, id) } else { (!time, !id) }
    }
}

impl Iterator for Merged<'_> {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        if self.ranges.len() == 1 {
            return self.read(0);
        }
        loop {
            let (rank, range) = self.heads.pop()?;
            self.refill(range);
            if self.last.replace(rank) != Some(rank) {
                let (time, id) = self.flip(rank);
                return Some(Place {
                    active_at: Timestamp(time),
                    id: SessionId(Uuid::from_u128(id)),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_merged_in_order_and_each_place_comes_once(
            sets in proptest::collection::vec(
                proptest::collection::btree_set((-3_i64..3, 0_u128..4), 0..6),
                0..5,
            ),
            is_descending in any::<bool>(),
        ) {
            let place = |(time, id)| Place {
                active_at: Timestamp(time),
                id: SessionId(Uuid::from_u128(id)),
            };
            let all: BTreeSet<_> = sets.iter().flatten().copied().map(place).collect();
            let range = |set: BTreeSet<_>| -> Range<'_> {
                Box::new(set.into_iter().map(place).collect::<Vec<_>>().into_iter())
            };
            let ranges = sets.into_iter().map(range).collect();
            let merged: Vec<_> = Merged::new(ranges, is_descending).collect();
            let mut expected: Vec<_> = all.into_iter().collect();
            if is_descending {
                expected.reverse();
            }
            prop_assert_eq!(merged, expected);
        }
    }
}
