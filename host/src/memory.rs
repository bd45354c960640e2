//! The host-wide memory budget: what guests and bodies in flight may hold together.
//!
//! Memory is charged where it grows and released when its holder is dropped. At the limit the
//! reclaimer is asked to drop idle instances; what is still refused then, is refused to the one
//! that asked. So the kernel's killer is never met.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Asked for memory when the budget is spent: given the bytes that are missing, it lets go of what
/// it can. Must not block.
pub type Reclaimer = Box<dyn Fn(u64) + Send + Sync>;

/// A number of bytes that many holders share.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Shared>);

struct Shared {
    limit: u64,
    used: AtomicU64,
    reclaimer: OnceLock<Reclaimer>,
}

impl MemoryBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit: u64) -> MemoryBudget {
        MemoryBudget(Arc::new(Shared {
            limit,
            used: AtomicU64::new(0),
            reclaimer: OnceLock::new(),
        }))
    }

    /// Half of what this machine, or the control group that the process is in, allows.
    #[must_use]
    pub fn default_limit() -> u64 {
        let info = rustix::system::sysinfo();
        let machine = info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)));
        let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(u64::MAX);
        machine.min(group) / 2
    }

    /// Who is asked for memory when the budget is spent. Only the first call has an effect.
    pub fn set_reclaimer(&self, reclaimer: Reclaimer) {
        // A second reclaimer would mean a second host on one budget: the first keeps its job.
        let _ = self.0.reclaimer.set(reclaimer);
    }

    /// Bytes that may be held together.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    /// Bytes that are held.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Start an account that holds nothing yet.
    #[must_use]
    pub fn account(&self) -> Account {
        Account { budget: self.clone(), held: 0 }
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// Want of memory: the budget of the host is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory budget of the host is spent; try again later")]
pub struct OutOfMemory;

/// What one holder has charged. Released when it is dropped.
pub struct Account {
    budget: MemoryBudget,
    held: u64,
}

impl Account {
    /// Charge this many bytes more.
    ///
    /// # Errors
    /// [`OutOfMemory`] where the budget is spent, even after idle instances were let go.
    pub fn charge(&mut self, bytes: u64) -> Result<(), OutOfMemory> {
        if !self.budget.take(bytes) {
            if let Some(reclaim) = self.budget.0.reclaimer.get() {
                reclaim(bytes);
            }
            if !self.budget.take(bytes) {
                return Err(OutOfMemory);
            }
        }
        self.held += bytes;
        Ok(())
    }

    /// Bytes that this account holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_the_budget_is_refused_and_what_is_dropped_is_free_again() {
        let budget = MemoryBudget::new(100);
        let mut one = budget.account();
        assert_eq!(one.charge(60), Ok(()));
        assert_eq!(budget.account().charge(41), Err(OutOfMemory));
        drop(one);
        assert_eq!(budget.account().charge(100), Ok(()));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn the_reclaimer_is_asked_before_anybody_is_refused() {
        let budget = MemoryBudget::new(100);
        let mut idle = budget.account();
        idle.charge(80).expect("it fits");
        let idle = std::sync::Mutex::new(Some(idle));
        budget.set_reclaimer(Box::new(move |_| drop(idle.lock().expect("not poisoned").take())));
        assert_eq!(budget.account().charge(50), Ok(()));
    }
}
