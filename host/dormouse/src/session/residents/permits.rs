//! Permits for instances, counted by the principal whose session has them, and permits to make one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use dormouse_base::fair_queue::FairQueue;
use dormouse_domain::id::Principal;

/// A fixed number of permits. The fair queue is told of each that is released.
pub(super) struct Permits {
    taken: AtomicUsize,
    max: usize,
    queue: FairQueue,
}

/// A permit. Free again when it is dropped.
pub(super) struct Permit(Arc<Permits>);

impl Permits {
    pub(super) fn new(max: usize, queue: &FairQueue) -> Arc<Permits> {
        Arc::new(Permits { taken: AtomicUsize::new(0), max, queue: queue.clone() })
    }

    pub(super) fn take(self: &Arc<Permits>) -> Option<Permit> {
        let free = |taken: usize| (taken < self.max).then_some(taken + 1);
        // In one order with the queue: see `FairQueue::notify_released`.
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, free).ok()?;
        Some(Permit(self.clone()))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
        self.0.queue.notify_released();
    }
}

/// A permit to read the state of a session and to make an instance of it. Free again when it is dropped.
pub(crate) struct InstantiationPermit(
    #[expect(dead_code, reason = "held until it is dropped")] pub(super) Permit,
);

/// The permits for instances.
pub(super) struct InstancePermits {
    permits: Arc<Permits>,
    tenants: Mutex<Tenants>,
}

#[derive(Default)]
struct Tenants {
    by: HashMap<Principal, Weak<Tenant>>,
    next: u64,
}

/// A principal that has permits. Each permit holds one reference, and nobody else holds any: to count
/// the references is to count the permits of the principal.
struct Tenant(TenantId);

/// A principal, for as long as it has permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TenantId(pub(super) u64);

/// A permit for an instance. Free again when it is dropped.
pub(crate) struct InstancePermit {
    // In this order: whoever finds the permit free finds it counted for nobody.
    tenant: Arc<Tenant>,
    _permit: Permit,
}

impl InstancePermits {
    pub(super) fn new(max: usize, queue: &FairQueue) -> InstancePermits {
        InstancePermits { permits: Permits::new(max, queue), tenants: Mutex::default() }
    }

    /// A permit for a session of this principal, if one is free.
    pub(super) fn take(&self, principal: &Principal) -> Option<InstancePermit> {
        let permit = self.permits.take()?;
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        Some(InstancePermit { tenant: tenants.get(principal), _permit: permit })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.permits.taken.load(Ordering::SeqCst)
    }
}

impl InstancePermit {
    /// The principal that has the permit.
    pub(super) fn tenant(&self) -> TenantId {
        self.tenant.0
    }

    /// How many permits the same principal has.
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
            // Before it grows, so that it stays in proportion to the principals that have permits.
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
    fn permits_are_counted_by_principal_and_forgotten_with_the_last() {
        let permits = InstancePermits::new(300, &FairQueue::default());
        let named = |name: &str| Principal(name.to_owned());
        let mut ann: Vec<InstancePermit> =
            (0..3).filter_map(|_| permits.take(&named("ann"))).collect();
        let ben = permits.take(&named("ben")).expect("one is free");
        assert_eq!((ann[0].of_tenant(), ben.of_tenant(), permits.taken()), (3, 1, 4));
        assert_eq!(ann[0].tenant(), ann[2].tenant());
        assert_ne!(ann[0].tenant(), ben.tenant());
        ann.pop();
        assert_eq!((ann[0].of_tenant(), permits.taken()), (2, 3));
        for n in 0..1_000 {
            drop(permits.take(&named(&n.to_string())));
        }
        let tenants = permits.tenants.lock().expect("not poisoned").by.len();
        assert!(tenants < 30, "{tenants} are remembered");
        assert_eq!(permits.take(&named("ann")).map(|permit| permit.of_tenant()), Some(3));
    }
}
