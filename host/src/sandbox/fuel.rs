//! Fuel: what a guest's instructions cost, and how often it makes room for others.
//!
//! A unit is about one instruction; `memory.fill` and its like cost a unit a byte. The same guest
//! in the same state with the same input uses the same fuel, on any machine.

use wasmtime::Store;

use super::guest::Guest;

/// A running guest makes room for others each time it has used this much: about a millisecond.
const YIELD_INTERVAL: u64 = 1_000_000;

/// What a new instance may use to start: more than an interpreter needs for its own start, and
/// still a moment only.
pub(super) const START: u64 = 2_000_000_000;

/// Prepare a new store.
pub(super) fn configure(store: &mut Store<Guest>) -> wasmtime::Result<()> {
    store.fuel_async_yield_interval(Some(YIELD_INTERVAL))?;
    store.epoch_deadline_async_yield_and_update(1);
    fill(store, START)
}

/// Give the guest this much fuel, and a fresh tick of time before it has to yield.
pub(super) fn fill(store: &mut Store<Guest>, fuel: u64) -> wasmtime::Result<()> {
    store.set_epoch_deadline(1);
    store.set_fuel(fuel)
}

/// How much the guest has used of what it was given.
pub(super) fn used(store: &Store<Guest>, given: u64) -> u64 {
    // Fuel is always on: without it there is nothing left, and all of it was used.
    given.saturating_sub(store.get_fuel().unwrap_or(0))
}
