//! What bodies and answers take of the host's memory, while they are on their way.
//!
//! All of it is charged to the host's budget before it is there, and given back when the last byte of
//! it has been written or is not needed any more: the charge lives in the bytes themselves.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use dormouse::Principal;
use dormouse_base::memory::MemoryBudget;
use dormouse_base::memory::pool::{Charge, ChargeRefused, Pool};
use dormouse_base::shares::Callers;

/// What is not larger is charged whatever there is, in bytes: it is bounded by the number of requests,
/// and a host whose memory is spent still takes orders.
const SMALL: u64 = 16 << 10;

/// How often one looks whether there is memory for what waits for it.
const LOOK: Duration = Duration::from_millis(20);

/// The part of this budget for bodies, or for answers, of which one has so many bytes at most.
pub(super) fn pool(budget: &MemoryBudget, largest: u64, callers: Callers) -> Pool {
    Pool::new(budget, largest, callers).with_small(SMALL)
}

/// So much for this principal, once there is room for it, which is waited for so long.
pub(super) async fn afford(
    pool: &Pool,
    principal: &Principal,
    bytes: u64,
    patience: Duration,
) -> Option<Charge> {
    let affording = async {
        let mut charge = pool.of(principal);
        while charge.grow(bytes).is_err() {
            tokio::time::sleep(LOOK).await;
        }
        charge
    };
    tokio::time::timeout(patience, affording).await.ok()
}

/// These bytes, which hold their charge from now on.
pub(super) fn charged(bytes: Bytes, charge: Charge) -> Bytes {
    Bytes::from_owner(Held { bytes, _charge: charge })
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
    pub(super) fn push(&mut self, piece: &[u8], most: usize) -> Result<(), ChargeRefused> {
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
        charged(self.bytes.freeze(), self.charge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget_of(limit: u64) -> (MemoryBudget, Pool) {
        let budget = MemoryBudget::new(limit);
        let pool = pool(&budget, 0, Callers::one());
        (budget, pool)
    }

    #[test]
    fn bytes_are_charged_as_they_come_and_until_the_last_slice_of_them_is_gone() {
        let (budget, pool) = budget_of(400 << 10);
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
        let (budget, pool) = budget_of(400 << 10);
        let mut growing = Growing::new(pool.of(&Principal::local()));
        let piece = vec![0; 64 << 10];
        let refused =
            std::iter::repeat_with(|| growing.push(&piece, usize::MAX)).find_map(Result::err);
        assert_eq!(refused, Some(ChargeRefused::Share));
        assert!(budget.used() <= 100 << 10);
        drop(growing);
        assert_eq!(budget.used(), 0);
    }
}
