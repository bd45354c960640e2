//! The host-wide memory budget: what guests, their snapshots and bodies in flight may hold together.
//!
//! Memory is charged before it is taken and released when its holder is dropped. At the limit the
//! reclaimer is asked to drop idle instances, one after the other; what is still refused then, is
//! refused to the one that asked. So the kernel's killer is never met. Work that begins can wait in the
//! budget's [`FairQueue`], which is told whenever memory is given back. Work that is at its end does not
//! wait for others that are: one at a time may go over the budget, and give back all the more. So may
//! one guest at a time whose state could not be made again.

pub mod pool;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::fair_queue::FairQueue;

/// Asked for memory when the budget is spent: it lets go of one thing, and says whether there was
/// one. Must not block.
pub type Reclaimer = Box<dyn Fn() -> bool + Send + Sync>;

/// A number of bytes that many holders share.
#[derive(Clone)]
pub struct MemoryBudget(Arc<Shared>);

struct Shared {
    limit: u64,
    used: AtomicU64,
    reclaimer: OnceLock<Reclaimer>,
    queue: FairQueue,
    overdraft: Semaphore,
    growth_overdraft: Arc<Semaphore>,
}

impl MemoryBudget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(limit: u64) -> MemoryBudget {
        MemoryBudget(Arc::new(Shared {
            limit,
            used: AtomicU64::new(0),
            reclaimer: OnceLock::new(),
            queue: FairQueue::default(),
            overdraft: Semaphore::new(1),
            growth_overdraft: Arc::new(Semaphore::new(1)),
        }))
    }

    /// Half of what this machine, or the control group that the process is in, allows, in whole MiB.
    #[must_use]
    pub fn default_limit() -> u64 {
        let info = rustix::system::sysinfo();
        let machine = info.totalram.saturating_mul(u64::from(info.mem_unit.max(1)));
        let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(u64::MAX);
        (machine.min(group) / 2) & !((1 << 20) - 1)
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

    /// Bytes that are held. More than the limit while one that is at its end goes over it.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::SeqCst)
    }

    /// Where to wait with work that begins.
    #[must_use]
    pub fn queue(&self) -> &FairQueue {
        &self.0.queue
    }

    /// Leave to [`Account::overdraw`], for work that is at its end. One has it at a time, in order of
    /// arrival.
    pub async fn overdraft(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.0.overdraft.acquire().await.ok()
    }

    /// Leave to [`Account::overdraw`], for a guest that grows and whose state would be lost with its
    /// instance. `None`: another guest has it.
    #[must_use]
    pub fn growth_overdraft(&self) -> Option<OwnedSemaphorePermit> {
        self.0.growth_overdraft.clone().try_acquire_owned().ok()
    }

    /// Start an account that holds nothing yet.
    #[must_use]
    pub fn account(&self) -> Account {
        Account { budget: self.clone(), held: 0 }
    }

    fn take(&self, bytes: u64) -> bool {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        // In one order with the queue: see `FairQueue::notify_released`.
        self.0.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }

    fn release(&self, bytes: u64) {
        if bytes > 0 {
            self.0.used.fetch_sub(bytes, Ordering::SeqCst);
            self.0.queue.notify_released();
        }
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
        while !self.budget.take(bytes) {
            let never = self.held.saturating_add(bytes) > self.budget.0.limit;
            let reclaim = self.budget.0.reclaimer.get().filter(|_| !never);
            if !reclaim.is_some_and(|reclaim| reclaim()) {
                return Err(OutOfMemory);
            }
        }
        self.held += bytes;
        Ok(())
    }

    /// Charge this many bytes more, whatever the budget says, for whoever has
    /// [`MemoryBudget::overdraft`].
    pub fn overdraw(&mut self, bytes: u64) {
        self.budget.0.used.fetch_add(bytes, Ordering::SeqCst);
        self.held += bytes;
    }

    /// Give back this many bytes, or all that there are.
    pub fn give_back(&mut self, bytes: u64) {
        drop(self.split(bytes));
    }

    /// Move this many bytes, or all that there are, to an account of their own.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Account {
        let held = bytes.min(self.held);
        self.held -= held;
        Account { budget: self.budget.clone(), held }
    }

    /// The budget that this account is of.
    #[must_use]
    pub fn budget(&self) -> &MemoryBudget {
        &self.budget
    }

    /// Bytes that this account holds.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.budget.release(self.held);
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
        let reclaim = move || idle.lock().expect("not poisoned").take().is_some();
        budget.set_reclaimer(Box::new(reclaim));
        assert_eq!(budget.account().charge(101), Err(OutOfMemory));
        assert_eq!(budget.used(), 80, "what can never fit costs nobody anything");
        assert_eq!(budget.account().charge(50), Ok(()));
    }

    #[test]
    fn what_is_split_off_is_held_once() {
        let budget = MemoryBudget::new(100);
        let mut whole = budget.account();
        whole.charge(70).expect("it fits");
        let part = whole.split(30);
        assert_eq!((whole.held(), part.held(), budget.used()), (40, 30, 70));
        drop(whole);
        assert_eq!(budget.used(), 30);
        let mut part = part;
        part.give_back(1_000);
        assert_eq!((part.held(), budget.used()), (0, 0));
    }
}
