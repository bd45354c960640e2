//! What a guest may hold in memory, and who pays for it.
//!
//! All linear memories and tables of an instance count together against its limit, and are charged
//! to the budget of the host where they grow: in full, whatever of it the guest ever touches. While
//! the instance rests it pays for what the kernel says that it holds, which is far less, because
//! memories are copied on write; before it is called again it pays in full again. What the host holds
//! for it besides, such as a snapshot in the making, is on the same account. All is released when the
//! instance is dropped. A growth beyond the instance's own limit is denied, and the denial remembered:
//! when the guest traps after it, that is why. A growth for which the host has no memory now ends the
//! call: no guest ever sees that the host is short of memory, or its answer would depend on its
//! neighbours.
//!
//! Invariant: what is charged is never less than what the guest holds.

use tokio::sync::OwnedSemaphorePermit;
use wasmtime::ResourceLimiter;

use super::fault::Fault;
use dormouse_base::memory::Account;

/// What an element of a table takes.
const ELEMENT: u64 = 8;
/// Elements that one table may have. No compiler makes more than some ten thousand.
const MAX_ELEMENTS: usize = 1_000_000;
/// Memories, tables and core instances of one component, however deep it nests.
const MAX_MEMORIES: usize = 32;
const MAX_TABLES: usize = 256;
const MAX_INSTANCES: usize = 1_000;

/// What an idle instance takes besides its memories: its store, the tables of the engine, the kernel's
/// page tables, and the stack of its last call. Measured as the growth of the process by a thousand
/// instances of the bundled counter, less the pages of their memories: 32 KiB each when they were
/// woken; after a turn up to 53 KiB, with what the store keeps of that turn.
pub const OVERHEAD: u64 = 40 << 10;

/// Limits the memory of one instance.
pub(super) struct Limiter {
    limit: u64,
    grown: Grown,
    /// What was grown before the last growth, which may still fail.
    before: Grown,
    /// What the host holds for it.
    buffers: u64,
    /// What the host keeps of what it has handed over in the call that runs, or ran last.
    handed_over: u64,
    /// What the changes of its files take, until they are stored.
    files: u64,
    /// Bytes of its memories that are really there, where the kernel has told since the last call.
    present: Option<u64>,
    /// What the account was given beforehand, for growths that are to come. It stays until the
    /// instance rests.
    reserved: u64,
    account: Account,
    overdraft: bool,
    growth: Growth,
    denied: Option<Denied>,
}

/// What a growth is for which the host has no memory.
enum Growth {
    /// Denied.
    Denied,
    /// Granted over the budget, if no other instance has that.
    AtLast,
    /// Granted over the budget: this instance has that, until it rests.
    OverBudget(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit),
}

/// What an instance has asked for and got, in bytes.
#[derive(Clone, Copy, Default)]
struct Grown {
    memories: u64,
    tables: u64,
}

impl Grown {
    fn all(self) -> u64 {
        self.memories.saturating_add(self.tables)
    }
}

/// Why something was denied.
#[derive(Clone, Copy)]
enum Denied {
    /// The instance has all that it may have.
    Limit,
    /// The host has no more. With what the instance would hold in all.
    Budget(u64),
}

impl Limiter {
    /// For an instance that may hold this many bytes, and pays with this account.
    pub(super) fn new(limit: u64, account: Account) -> Limiter {
        let (grown, before) = (Grown::default(), Grown::default());
        Limiter {
            limit,
            grown,
            before,
            buffers: 0,
            handed_over: 0,
            files: 0,
            present: None,
            reserved: account.held(),
            account,
            overdraft: false,
            growth: Growth::Denied,
            denied: None,
        }
    }

    /// Bytes of memories and tables that the instance has.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.grown.all()
    }

    /// A new call begins: what was denied to the last one is no reason for anything in this one.
    pub(super) fn forget_denials(&mut self) {
        self.denied = None;
    }

    /// A new call begins, and nothing was handed over in it.
    pub(super) fn begin_call(&mut self) {
        self.forget_denials();
        self.account.give_back(std::mem::take(&mut self.handed_over));
    }

    /// Why the guest trapped, if it did after it was denied memory.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.denied.map(|denied| match denied {
            Denied::Limit => Fault::MemoryExceeded { limit: self.limit },
            Denied::Budget(needed) => Fault::HostOutOfMemory { needed },
        })
    }

    /// Pay in full, before the guest is called: it may touch all that it has.
    ///
    /// # Errors
    /// [`Fault::HostOutOfMemory`] where the budget is spent. It goes on paying for what it holds.
    pub(super) fn wake(&mut self) -> Result<(), Fault> {
        self.pay(self.all(self.grown))?;
        self.present = None;
        Ok(())
    }

    /// Whether it pays in full.
    pub(super) fn is_awake(&self) -> bool {
        self.account.held() >= self.full(self.grown.all().saturating_add(self.files))
    }

    /// Let growths go over the budget until the instance rests, where the host has no memory and no
    /// other instance goes over it: what this one holds could not be made again.
    pub(super) fn keep_at_any_price(&mut self) {
        if matches!(self.growth, Growth::Denied) {
            self.growth = Growth::AtLast;
        }
    }

    /// Pay for what is really held, until the next call.
    pub(super) fn rest(&mut self) {
        (self.buffers, self.handed_over, self.reserved) = (0, 0, 0);
        self.growth = Growth::Denied;
        let memories = self.present.map_or(self.grown.memories, |is| is.min(self.grown.memories));
        let held = memories.saturating_add(self.grown.tables).saturating_add(self.files);
        let full = self.full(held);
        self.account.give_back(self.account.held().saturating_sub(full));
    }

    /// Note how many bytes of the memories are really there. True until the next call.
    pub(super) fn note_present(&mut self, bytes: u64) {
        self.present = Some(bytes);
    }

    /// Whether that is known.
    pub(super) fn is_measured(&self) -> bool {
        self.present.is_some()
    }

    /// Pay for memory that the host is about to take for the instance, this much in all, unless it
    /// pays for as much already.
    ///
    /// # Errors
    /// [`Fault::HostOutOfMemory`] where the budget is spent.
    pub(super) fn hold(&mut self, bytes: u64) -> Result<(), Fault> {
        let buffers = self.buffers.max(bytes);
        self.pay(self.all(self.grown).saturating_sub(self.buffers).saturating_add(buffers))?;
        self.buffers = buffers;
        Ok(())
    }

    /// Pay for what the guest has handed over to the host in this call, this much in all, until the next
    /// call or until it rests.
    ///
    /// # Errors
    /// [`Fault::HostOutOfMemory`] where the budget is spent.
    pub(super) fn hold_for_call(&mut self, bytes: u64) -> Result<(), Fault> {
        if bytes > self.handed_over {
            self.pay(self.all(self.grown).saturating_add(bytes - self.handed_over))?;
            self.handed_over = bytes;
        }
        Ok(())
    }

    /// Pay for what the changes of the guest's files take: from now on this much.
    ///
    /// # Errors
    /// [`Fault::HostOutOfMemory`] where the budget is spent. It goes on paying for what it paid for.
    pub(super) fn hold_files(&mut self, bytes: u64) -> Result<(), Fault> {
        if bytes > self.files {
            self.pay(self.all(self.grown).saturating_add(bytes - self.files))?;
        }
        let less = self.files.saturating_sub(bytes);
        self.files = bytes;
        let needed = self.full(self.all(self.grown)).max(self.reserved);
        self.account.give_back(less.min(self.account.held().saturating_sub(needed)));
        Ok(())
    }

    /// Whether [`Limiter::hold`] may go over the budget from now on.
    pub(super) fn set_overdraft(&mut self, overdraft: bool) {
        self.overdraft = overdraft;
    }

    /// Of what the host holds for the instance, only this is left.
    pub(super) fn keep(&mut self, bytes: u64) {
        let less = self.buffers.saturating_sub(bytes);
        self.buffers -= less;
        let needed = self.full(self.all(self.grown)).max(self.reserved);
        self.account.give_back(less.min(self.account.held().saturating_sub(needed)));
    }

    /// What the host holds for the instance outlives it, on an account of its own.
    pub(super) fn detach(&mut self) -> Account {
        self.account.split(std::mem::take(&mut self.buffers))
    }

    /// What the guest has with these memories and tables, and what the host holds for it.
    fn all(&self, grown: Grown) -> u64 {
        let of_host = self.buffers.saturating_add(self.handed_over).saturating_add(self.files);
        grown.all().saturating_add(of_host)
    }

    fn full(&self, bytes: u64) -> u64 {
        bytes.saturating_add(OVERHEAD)
    }

    fn pay(&mut self, bytes: u64) -> Result<(), Fault> {
        // More may be charged than is held: after a growth that failed, or from a reservation.
        let full = self.full(bytes);
        let missing = full.saturating_sub(self.account.held());
        if missing == 0 || self.account.charge(missing).is_ok() {
            return Ok(());
        }
        if !self.overdraft && !self.may_grow_over_budget() {
            self.denied = Some(Denied::Budget(full));
            return Err(Fault::HostOutOfMemory { needed: full });
        }
        self.account.overdraw(missing);
        Ok(())
    }

    fn may_grow_over_budget(&mut self) -> bool {
        if matches!(self.growth, Growth::AtLast)
            && let Some(permit) = self.account.budget().growth_overdraft()
        {
            self.growth = Growth::OverBudget(permit);
        }
        matches!(self.growth, Growth::OverBudget(_))
    }

    /// Answers whether the instance may have this much more. An error ends the call: the host has no
    /// memory for it.
    fn grow(
        &mut self,
        more: Grown,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        self.before = self.grown;
        let wanted = Grown {
            memories: self.grown.memories.saturating_add(more.memories),
            tables: self.grown.tables.saturating_add(more.tables),
        };
        if wanted.all() > self.limit {
            self.denied = Some(Denied::Limit);
            return Ok(false);
        }
        if maximum.is_some_and(|maximum| desired > maximum) {
            // It fails in any case, by a bound of the agent's own: nobody denied it anything.
            return Ok(false);
        }
        self.pay(self.all(wanted))?;
        self.grown = wanted;
        Ok(true)
    }

    fn grow_failed(&mut self) {
        // We may have allowed it, but the memory has a smaller bound of its own, or the system said
        // no.
        self.grown = self.before;
    }
}

/// Whether a memory did not grow because of a bound that it always has.
fn is_a_bound(error: &wasmtime::Error) -> bool {
    // These errors have no type; their texts are fixed with the version.
    let text = error.to_string();
    text.contains("maximum size exceeded") || text.contains("exceeds memory type's limits")
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let memories = desired.saturating_sub(current) as u64;
        self.grow(Grown { memories, tables: 0 }, desired, maximum)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "a growth of memory failed");
        let wanted = self.grown.all();
        self.grow_failed();
        if is_a_bound(&error) {
            return Ok(());
        }
        // It was allowed, and the system has no memory for it.
        self.denied = Some(Denied::Budget(self.full(wanted.saturating_add(self.buffers))));
        Err(error)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let tables = (desired.saturating_sub(current) as u64).saturating_mul(ELEMENT);
        let maximum = maximum.unwrap_or(MAX_ELEMENTS).min(MAX_ELEMENTS);
        self.grow(Grown { memories: 0, tables }, desired, Some(maximum))
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
mod tests;
