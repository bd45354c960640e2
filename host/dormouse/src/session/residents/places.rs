//! Places for instances, counted by the principal whose session has them, and leaves to make one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dormouse_base::line::Line;
use dormouse_domain::id::Principal;

/// A number of things to be had.
pub(super) struct Seats {
    taken: AtomicUsize,
    max: usize,
    line: Line,
}

/// One of them. Free again when it is dropped.
pub(crate) struct Seat(Arc<Seats>);

impl Seats {
    pub(super) fn new(max: usize, line: &Line) -> Arc<Seats> {
        Arc::new(Seats { taken: AtomicUsize::new(0), max, line: line.clone() })
    }

    pub(super) fn take(self: &Arc<Seats>) -> Option<Seat> {
        let free = |taken: usize| (taken < self.max).then_some(taken + 1);
        // In one order with the line: see `Line::given_back`.
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok()?;
        Some(Seat(self.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        self.0.line.given_back();
    }
}

/// Places for instances.
pub(super) struct Places {
    seats: Arc<Seats>,
    tenants: Mutex<Tenants>,
}

#[derive(Default)]
struct Tenants {
    by: HashMap<Principal, Weak<Tenant>>,
    next: u64,
}

/// A principal that has places. Each of them holds one reference, and nobody else holds any: to count
/// the references is to count its places.
struct Tenant(TenantId);

/// A principal, for as long as it has places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TenantId(pub(super) u64);

/// A place for an instance. Free again when it is dropped.
pub(crate) struct Place {
    // In this order: whoever finds the place free finds it counted for nobody.
    tenant: Arc<Tenant>,
    _seat: Seat,
}

impl Places {
    pub(super) fn new(max: usize, line: &Line) -> Places {
        Places { seats: Seats::new(max, line), tenants: Mutex::default() }
    }

    /// A place for a session of this principal, if one is free.
    pub(super) fn take(&self, principal: &Principal) -> Option<Place> {
        let seat = self.seats.take()?;
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Place { tenant: tenants.get(principal), _seat: seat })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.seats.taken.load(Ordering::SeqCst)
    }
}

impl Place {
    /// Whose it is.
    pub(super) fn tenant(&self) -> TenantId {
        self.tenant.0
    }

    /// How many places the same principal has.
    pub(super) fn of_tenant(&self) -> usize {
        Arc::strong_count(&self.tenant)
    }
}

impl Tenants {
    fn get(&mut self, principal: &Principal) -> Arc<Tenant> {
        if let Some(tenant) = self.by.get(principal).and_then(Weak::upgrade) {
            return tenant;
        }
        if self.by.len() == self.by.capacity() {
            // Before it grows, so that it stays in proportion to those that have places.
            self.by.retain(|_, tenant| tenant.strong_count() > 0);
        }
        let tenant = Arc::new(Tenant(TenantId(self.next)));
        self.next += 1;
        self.by.insert(principal.clone(), Arc::downgrade(&tenant));
        tenant
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_principal_and_forgotten_with_the_last() {
        let places = Places::new(300, &Line::default());
        let named = |name: &str| Principal(name.to_owned());
        let mut ann: Vec<Place> = (0..3).filter_map(|_| places.take(&named("ann"))).collect();
        let ben = places.take(&named("ben")).expect("one is free");
        assert_eq!((ann[0].of_tenant(), ben.of_tenant(), places.taken()), (3, 1, 4));
        assert_eq!(ann[0].tenant(), ann[2].tenant());
        assert_ne!(ann[0].tenant(), ben.tenant());
        ann.pop();
        assert_eq!((ann[0].of_tenant(), places.taken()), (2, 3));
        for n in 0..1_000 {
            drop(places.take(&named(&n.to_string())));
        }
        let tenants = places.tenants.lock().expect("not poisoned").by.len();
        assert!(tenants < 30, "{tenants} are remembered");
        assert_eq!(places.take(&named("ann")).map(|place| place.of_tenant()), Some(3));
    }
}
