//! What a guest may hold in memory, and who pays for it.
//!
//! All linear memories and tables of an instance count together against its limit, and are charged
//! to the budget of the host where they grow. They are released when the instance is dropped. A
//! growth that is denied is remembered: when the guest traps after it, that is why.
//!
//! Invariant: what is charged is never less than what the guest holds.

use wasmtime::ResourceLimiter;

use super::fault::Fault;
use crate::memory::{Account, MemoryBudget};

/// What an element of a table takes.
const ELEMENT: u64 = 8;
/// Elements that one table may have. No compiler makes more than some ten thousand.
const MAX_ELEMENTS: usize = 1_000_000;
/// Memories, tables and core instances of one component, however deep it nests.
const MAX_MEMORIES: usize = 32;
const MAX_TABLES: usize = 256;
const MAX_INSTANCES: usize = 1_000;

/// Limits the memory of one instance.
pub(super) struct Limiter {
    limit: u64,
    held: u64,
    /// How much `held` was before the last growth, which may still fail.
    before: u64,
    account: Account,
    denied: Option<Denied>,
}

/// Why a growth was denied.
#[derive(Clone, Copy)]
enum Denied {
    /// The instance has all that it may have.
    Limit,
    /// The host has no more.
    Budget,
}

impl Limiter {
    /// For an instance that may hold this many bytes of this budget.
    pub(super) fn new(limit: u64, budget: &MemoryBudget) -> Limiter {
        Limiter { limit, held: 0, before: 0, account: budget.account(), denied: None }
    }

    /// Bytes that the instance holds.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// A new call begins: what was denied to the last one is no reason for anything in this one.
    pub(super) fn forget_denials(&mut self) {
        self.denied = None;
    }

    /// Why the guest trapped, if it did after it was denied memory.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.denied.map(|denied| match denied {
            Denied::Limit => Fault::MemoryExceeded { limit: self.limit },
            Denied::Budget => Fault::HostOutOfMemory,
        })
    }

    fn grow(&mut self, bytes: u64, desired: usize, maximum: Option<usize>) -> bool {
        self.before = self.held;
        let wanted = self.held.saturating_add(bytes);
        if wanted > self.limit {
            self.denied = Some(Denied::Limit);
            return false;
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // It fails in any case, by a bound of the agent's own: nobody denied it anything.
            return false;
        }
        // More may be charged than is held, after a growth that failed.
        let missing = wanted.saturating_sub(self.account.held());
        if missing > 0 && self.account.charge(missing).is_err() {
            self.denied = Some(Denied::Budget);
            return false;
        }
        self.held = wanted;
        true
    }

    fn grow_failed(&mut self) {
        if self.held > self.before {
            // We allowed it, but the memory has a smaller bound of its own, or the system said no.
            self.held = self.before;
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(desired.saturating_sub(current) as u64, desired, maximum))
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a growth of memory failed");
        self.grow_failed();
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = (desired.saturating_sub(current) as u64).saturating_mul(ELEMENT);
        let maximum = maximum.unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
        Ok(self.grow(bytes, desired, Some(maximum)))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a growth of a table failed");
        self.grow_failed();
        Ok(())
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_and_tables_count_together() {
        let budget = MemoryBudget::new(1 << 30);
        let mut limiter = Limiter::new(200_000, &budget);
        assert!(limiter.memory_growing(0, 65_536, None).expect("no trap"));
        assert!(limiter.memory_growing(0, 65_536, None).expect("no trap"));
        assert!(limiter.table_growing(0, 1_000, None).expect("no trap"));
        assert_eq!(limiter.held(), 2 * 65_536 + 8_000);
        assert_eq!(budget.used(), limiter.held());
        assert!(!limiter.memory_growing(65_536, 131_072, None).expect("no trap"));
        assert!(matches!(limiter.fault(), Some(Fault::MemoryExceeded { limit: 200_000 })));
        drop(limiter);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_budget_of_the_host_denies_what_the_limit_allows() {
        let budget = MemoryBudget::new(100_000);
        let mut limiter = Limiter::new(1 << 30, &budget);
        assert!(limiter.memory_growing(0, 65_536, None).expect("no trap"));
        assert!(!limiter.memory_growing(65_536, 131_072, None).expect("no trap"));
        assert!(matches!(limiter.fault(), Some(Fault::HostOutOfMemory)));
        limiter.forget_denials();
        assert!(limiter.fault().is_none());
    }

    #[test]
    fn a_growth_that_failed_after_all_is_not_held_and_is_charged_once() {
        let budget = MemoryBudget::new(1 << 30);
        let mut limiter = Limiter::new(1 << 30, &budget);
        assert!(limiter.memory_growing(0, 65_536, None).expect("no trap"));
        limiter.memory_grow_failed(wasmtime::Error::msg("no")).expect("no trap");
        assert_eq!(limiter.held(), 0);
        assert!(limiter.memory_growing(0, 65_536, None).expect("no trap"));
        assert_eq!(budget.used(), 65_536);
    }
}
