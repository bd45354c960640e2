//! Which idle session goes first: of the principal that has the most places, the one that has been idle
//! the longest.
//!
//! All places of a principal count, also those of its sessions at work. So whoever has fewer places
//! than another keeps its idle sessions for as long as one of the other's can go, and one principal
//! that keeps many sessions busy makes room for them among its own. Among principals with as many
//! places, and where there is one principal only, the longest idle goes.
//!
//! To add and to remove takes logarithmic time, to find the first as much for each principal that has
//! sessions here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::permits::TenantId;
use dormouse_domain::id::SessionId;

/// When a session became idle, in a count of all that did.
pub(super) type Sequence = u64;

/// Idle sessions by principal, the longest idle first.
#[derive(Default)]
pub(super) struct Evictable(BTreeMap<(TenantId, Sequence), SessionId>);

/// The one that goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) tenant: TenantId,
    pub(super) since: Sequence,
    pub(super) id: SessionId,
    places: usize,
}

impl Candidate {
    /// Whether it goes before this other one.
    pub(super) fn is_before(&self, other: &Candidate) -> bool {
        self.rank() < other.rank()
    }

    fn rank(&self) -> (Reverse<usize>, Sequence) {
        (Reverse(self.places), self.since)
    }
}

impl Evictable {
    pub(super) fn insert(&mut self, tenant: TenantId, since: Sequence, id: SessionId) {
        self.0.insert((tenant, since), id);
    }

    pub(super) fn remove(&mut self, tenant: TenantId, since: Sequence) {
        self.0.remove(&(tenant, since));
    }

    /// The one that goes first, where `places` tells how many places the owner of a session has.
    pub(super) fn first(&self, places: impl Fn(SessionId) -> usize) -> Option<Candidate> {
        let mut first: Option<Candidate> = None;
        let mut from = TenantId(0);
        // The longest idle of each principal.
        while let Some((&(tenant, since), &id)) = self.0.range((from, 0)..).next() {
            let candidate = Candidate { tenant, since, id, places: places(id) };
            if first.is_none_or(|first| candidate.is_before(&first)) {
                first = Some(candidate);
            }
            from = TenantId(tenant.0 + 1);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn session(number: u64) -> SessionId {
        SessionId(uuid::Uuid::from_u128(u128::from(number)))
    }

    /// Evict until nobody is left. Each is of a principal, and idle since before those that follow.
    fn evictions(owners: &[u64], busy: &[usize]) -> Vec<u64> {
        let mut evictable = Evictable::default();
        let mut places: HashMap<TenantId, usize> = HashMap::new();
        for (tenant, busy) in busy.iter().enumerate() {
            places.insert(TenantId(tenant as u64), *busy);
        }
        for (since, owner) in owners.iter().enumerate() {
            evictable.insert(TenantId(*owner), since as u64, session(since as u64));
            *places.entry(TenantId(*owner)).or_default() += 1;
        }
        let owner = |id: SessionId| TenantId(owners[id.0.as_u128() as usize]);
        let mut gone = Vec::new();
        while let Some(first) = evictable.first(|id| places[&owner(id)]) {
            evictable.remove(first.tenant, first.since);
            *places.entry(first.tenant).or_default() -= 1;
            gone.push(first.since);
        }
        gone
    }

    #[test]
    fn the_principal_with_the_most_places_makes_room_and_then_the_longest_idle() {
        assert_eq!(evictions(&[0, 1, 1, 0, 1, 1], &[0, 0]), [1, 2, 0, 4, 3, 5]);
        // Sessions at work count, too.
        assert_eq!(evictions(&[0, 0, 1], &[0, 9]), [2, 0, 1]);
    }

    proptest! {
        #[test]
        fn a_principal_that_has_fewer_places_than_another_is_spared(
            owners in proptest::collection::vec(0_u64..4, 0..40),
            busy in proptest::collection::vec(0_usize..10, 4),
        ) {
            let mut left: Vec<u64> = (0..owners.len() as u64).collect();
            for gone in evictions(&owners, &busy) {
                let places = |owner: u64| {
                    let idle = left.iter().filter(|one| owners[**one as usize] == owner).count();
                    idle + busy[owner as usize]
                };
                let of = owners[gone as usize];
                for other in &left {
                    let owner = owners[*other as usize];
                    prop_assert!(places(owner) <= places(of));
                    if places(owner) == places(of) {
                        prop_assert!(*other >= gone, "{other} was idle for longer than {gone}");
                    }
                }
                left.retain(|one| *one != gone);
            }
            prop_assert!(left.is_empty());
        }

        #[test]
        fn of_a_single_principal_the_longest_idle_goes(count in 0_usize..40, busy in 0_usize..10) {
            let all: Vec<u64> = (0..count as u64).collect();
            prop_assert_eq!(evictions(&vec![0; count], &[busy]), all);
        }
    }
}
