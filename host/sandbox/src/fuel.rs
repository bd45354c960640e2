//! Fuel: what a guest uses of the processor, and how often it makes room for others.
//!
//! A unit is about one instruction of the guest, or a nanosecond of the host's work for it;
//! `memory.fill` and its like cost a unit a byte. What the host does for a guest is charged to the
//! same fuel, before it is done: [`charge`]. The same guest in the same state with the same input uses
//! the same fuel, on any machine.
//!
//! Invariant: a call that used more than it was given has failed. The engine looks at the fuel at
//! loops and calls only, so a guest may return with a debt: therefore it is given one unit more, which
//! is left over after every call that kept to its limit.

use wasmtime::{Store, StoreContextMut, Trap};

use super::guest::Guest;

/// A running guest makes room for others each time it has used this much: about a millisecond.
const YIELD_INTERVAL: u64 = 1_000_000;

/// What tells a guest that used all of its fuel from one that used more.
const SPARE: u64 = 1;

/// Prepare a new store, which has no fuel yet.
pub(super) fn configure(store: &mut Store<Guest>) -> wasmtime::Result<()> {
    store.fuel_async_yield_interval(Some(YIELD_INTERVAL))?;
    store.epoch_deadline_async_yield_and_update(1);
    Ok(())
}

/// Give the guest this much fuel, and a fresh tick of time before it has to yield.
pub(super) fn fill(store: &mut Store<Guest>, fuel: u64) -> wasmtime::Result<()> {
    store.set_epoch_deadline(1);
    store.data_mut().given_fuel = fuel;
    let fuel = fuel.saturating_add(SPARE);
    store.data_mut().pace.begin(fuel);
    store.set_fuel(fuel)
}

/// How much the guest has used of what it was given: never more than that.
pub(super) fn used(store: &Store<Guest>) -> u64 {
    used_of(store, store.data().given_fuel)
}

/// How much is gone of so much fuel: never more than that.
pub(super) fn used_of(store: &Store<Guest>, given: u64) -> u64 {
    given.saturating_sub(left(store).saturating_sub(SPARE))
}

/// The same in the middle of a call.
pub(super) fn used_so_far(store: &StoreContextMut<'_, Guest>) -> wasmtime::Result<u64> {
    let left = store.get_fuel()?.saturating_sub(SPARE);
    Ok(store.data().given_fuel.saturating_sub(left))
}

/// From here on the guest may use this much at most. What it may not use any more it has not used.
pub(super) fn lower(store: &mut StoreContextMut<'_, Guest>, at_most: u64) -> wasmtime::Result<()> {
    let left = store.get_fuel()?;
    let lowered = left.min(at_most.saturating_add(SPARE));
    store.set_fuel(lowered)?;
    let guest = store.data_mut();
    guest.given_fuel -= left - lowered;
    guest.pace.forgo(left - lowered);
    Ok(())
}

/// Whether the guest has used more than it was given.
pub(super) fn is_overdrawn(store: &Store<Guest>) -> bool {
    left(store) < SPARE
}

fn left(store: &Store<Guest>) -> u64 {
    // Fuel is always on: without it there is nothing left, and all of it was used.
    store.get_fuel().unwrap_or(0)
}

/// Charge the guest for what the host is about to do for it, and let others run where it is their turn.
///
/// What takes longer than a moment is done in pieces, each charged by itself.
///
/// # Errors
/// A trap, as for any guest that is out of fuel.
pub(super) async fn charge(
    store: &mut StoreContextMut<'_, Guest>,
    cost: u64,
) -> wasmtime::Result<()> {
    let left = store.get_fuel()?;
    let Some(rest) = left.checked_sub(cost).filter(|rest| *rest >= SPARE) else {
        store.set_fuel(0)?;
        return Err(Trap::OutOfFuel.into());
    };
    // The engine counts to its own next yield from here on: therefore the guest has a pace besides.
    store.set_fuel(rest)?;
    if store.data_mut().pace.step(left, rest) {
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// When a guest that calls the host makes room for others.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The fuel that was left after the last charge.
    left: u64,
    /// What was used since the last time that others were let run.
    used: u64,
}

impl Pace {
    fn begin(&mut self, fuel: u64) {
        *self = Pace { left: fuel, used: 0 };
    }

    /// This much fuel is gone, and nobody has used it.
    fn forgo(&mut self, fuel: u64) {
        self.left = self.left.saturating_sub(fuel);
    }

    /// A charge has taken the fuel from `left` to `rest`. Whether it is the turn of others.
    fn step(&mut self, left: u64, rest: u64) -> bool {
        let ran = self.left.saturating_sub(left);
        self.used = self.used.saturating_add(ran).saturating_add(left.saturating_sub(rest));
        self.left = rest;
        let due = self.used >= YIELD_INTERVAL;
        if due {
            self.used = 0;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_run_after_each_interval_whether_the_guest_used_it_or_the_host() {
        let mut pace = Pace::default();
        let mut left = 100 * YIELD_INTERVAL;
        pace.begin(left);
        let mut yields = 0;
        for _ in 0..100 {
            // The guest runs for a tenth of the interval, and the host works for as much.
            left -= YIELD_INTERVAL / 10;
            let rest = left - YIELD_INTERVAL / 10;
            yields += u32::from(pace.step(left, rest));
            left = rest;
        }
        assert_eq!(yields, 20);
    }
}
