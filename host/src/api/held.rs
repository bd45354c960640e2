//! What bodies and answers take of the host's memory, while they are on their way.
//!
//! All of it is charged to the host's budget before it is there, and given back when the last byte of
//! it has been written or is not needed any more: the charge lives in the bytes themselves. Bodies
//! and answers have a part of the budget each, which principals share.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::error::ApiError;
use super::shares::{Callers, Share, Shares};
use crate::memory::{Account, MemoryBudget};
use crate::session::id::Principal;

/// Of how much of the budget bodies, or answers, take one part at most.
const PART: u64 = 4;

/// What is not larger is charged whatever there is, in bytes: it is bounded by the number of requests,
/// and a host whose memory is spent still takes orders.
const SMALL: u64 = 16 << 10;

/// How often one looks whether there is memory for what waits for it.
const LOOK: Duration = Duration::from_millis(20);

/// A part of the memory budget that principals share.
#[derive(Clone)]
pub(super) struct Pool {
    budget: MemoryBudget,
    shares: Shares,
}

impl Pool {
    /// A part of this budget; large enough for two of the largest things that may be in it.
    pub(super) fn new(budget: &MemoryBudget, largest: u64, callers: Callers) -> Pool {
        let all = (budget.limit() / PART).max(largest.saturating_mul(2));
        Pool { budget: budget.clone(), shares: Shares::new(all, callers) }
    }

    /// Nothing yet, for this principal.
    pub(super) fn of(&self, principal: &Principal) -> Charge {
        Charge { share: self.shares.of(principal), account: self.budget.account() }
    }

    /// So much for this principal, once there is room for it, which is waited for so long.
    pub(super) async fn afford(
        &self,
        principal: &Principal,
        bytes: u64,
        patience: Duration,
    ) -> Option<Charge> {
        let affording = async {
            let mut charge = self.of(principal);
            while charge.grow(bytes).is_err() {
                tokio::time::sleep(LOOK).await;
            }
            charge
        };
        tokio::time::timeout(patience, affording).await.ok()
    }

    /// Whether this principal would get anything.
    pub(super) fn has_some(&self, principal: &Principal) -> bool {
        self.shares.has_some(principal)
    }
}

/// Memory that is charged until this is dropped.
pub(super) struct Charge {
    share: Share,
    account: Account,
}

impl Charge {
    /// Charge so many bytes more.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), ApiError> {
        if self.account.held().saturating_add(bytes) <= SMALL {
            self.force(bytes);
            return Ok(());
        }
        if !self.share.grow(bytes) {
            return Err(ApiError::overloaded());
        }
        self.account.charge(bytes).map_err(|_| {
            self.share.shrink(bytes);
            ApiError::out_of_memory()
        })
    }

    /// Charge so many bytes more, whatever there is: they are there already.
    pub(super) fn force(&mut self, bytes: u64) {
        self.share.force(bytes);
        self.account.overdraw(bytes);
    }

    /// Make these bytes hold the charge.
    pub(super) fn within(self, bytes: Bytes) -> Bytes {
        Bytes::from_owner(Held { bytes, _charge: self })
    }
}

/// Bytes with their charge.
struct Held {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes that come bit by bit, and are charged as they do.
pub(super) struct Growing {
    bytes: BytesMut,
    charge: Charge,
}

impl Growing {
    /// The least that is taken at a time, in bytes.
    const STEP: usize = 4 << 10;

    pub(super) fn new(charge: Charge) -> Growing {
        Growing { bytes: BytesMut::new(), charge }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Append a piece. There will be `most` bytes at most.
    pub(super) fn push(&mut self, piece: &[u8], most: usize) -> Result<(), ApiError> {
        let (length, room) = (self.bytes.len() + piece.len(), self.bytes.capacity());
        if length > room {
            let wanted = (2 * room).max(Self::STEP).min(most).max(length);
            self.charge.grow((wanted - room) as u64)?;
            self.bytes.reserve(wanted - self.bytes.len());
        }
        self.bytes.put_slice(piece);
        Ok(())
    }

    /// All of them, with their charge.
    pub(super) fn whole(self) -> Bytes {
        self.charge.within(self.bytes.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(limit: u64) -> (MemoryBudget, Pool) {
        let budget = MemoryBudget::new(limit);
        let pool = Pool::new(&budget, 0, Callers::One);
        (budget, pool)
    }

    #[test]
    fn bytes_are_charged_as_they_come_and_until_the_last_slice_of_them_is_gone() {
        let (budget, pool) = pool(400 << 10);
        let mut growing = Growing::new(pool.of(&Principal::local()));
        for _ in 0..10 {
            growing.push(&[7; 5_000], usize::MAX).expect("it fits");
            assert!(budget.used() >= growing.len() as u64);
        }
        assert!(budget.used() <= 2 * growing.len() as u64);
        let whole = growing.whole();
        let (used, slice) = (budget.used(), whole.slice(10..20));
        drop(whole);
        assert_eq!(budget.used(), used);
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn there_is_a_part_of_the_budget_and_no_more() {
        let (budget, pool) = pool(400 << 10);
        let mut growing = Growing::new(pool.of(&Principal::local()));
        let piece = vec![0; 64 << 10];
        let refused =
            std::iter::repeat_with(|| growing.push(&piece, usize::MAX)).find_map(Result::err);
        assert_eq!(refused.expect("it ends").code(), "overloaded");
        assert!(budget.used() <= 100 << 10);
        drop(growing);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_there_already_is_charged_beyond_what_there_is() {
        let (budget, pool) = pool(4_000);
        let mut charge = pool.of(&Principal::local());
        charge.force(5_000);
        assert_eq!(budget.used(), 5_000);
        assert!(!pool.has_some(&Principal::local()));
        drop(charge);
        assert_eq!(budget.used(), 0);
        assert!(pool.has_some(&Principal::local()));
    }
}
