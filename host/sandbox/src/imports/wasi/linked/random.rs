//! `wasi:random`, from the stream of the session, or while a guest starts, of its agent.

use wasmtime::StoreContextMut;
use wasmtime_wasi::p2::bindings::random::{insecure, random};
use wasmtime_wasi::random::{WasiRandomCtx, WasiRandomView};

use super::super::super::interface::{HostWork, Interface};
use super::super::super::price;
use super::super::MAX_RANDOM;
use crate::fuel::charge;
use crate::guest::Guest;

/// Bytes that are drawn at a time.
const PIECE: u64 = 16 << 10;

pub(super) fn random(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("get-random-bytes", |store, (length,): (u64,)| {
        bytes(store, length, random::Host::get_random_bytes)
    })?;
    interface.simple("get-random-u64", price::of(8, price::RANDOM_BYTE), |guest, (): ()| {
        Ok((random::Host::get_random_u64(guest.random())?,))
    })
}

pub(super) fn insecure(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    interface.metered("get-insecure-random-bytes", |store, (length,): (u64,)| {
        bytes(store, length, insecure::Host::get_insecure_random_bytes)
    })?;
    interface.simple(
        "get-insecure-random-u64",
        price::of(8, price::RANDOM_BYTE),
        |guest, (): ()| Ok((insecure::Host::get_insecure_random_u64(guest.random())?,)),
    )
}

pub(super) fn insecure_seed(interface: &mut Interface<'_>) -> wasmtime::Result<()> {
    // The library has one number for the whole life of an instance.
    interface.simple("insecure-seed", price::of(16, price::RANDOM_BYTE), |guest, (): ()| {
        let seed = guest.hash_seed();
        #[expect(clippy::cast_possible_truncation, reason = "its two halves")]
        Ok((((seed as u64), (seed >> 64) as u64),))
    })
}

fn bytes(
    mut store: StoreContextMut<'_, Guest>,
    length: u64,
    draw: fn(&mut WasiRandomCtx, u64) -> wasmtime::Result<Vec<u8>>,
) -> HostWork<'_, (Vec<u8>,)> {
    Box::pin(async move {
        if length > MAX_RANDOM {
            return Err(wasmtime::Error::msg(format!(
                "it asked for {length} random bytes at once; {MAX_RANDOM} may be"
            )));
        }
        // It may wait for its turn between two pieces, and holds what it has drawn.
        store.data_mut().memory.hold(length)?;
        let mut bytes = Vec::new();
        for start in (0..length).step_by(PIECE as usize) {
            let piece = PIECE.min(length - start);
            charge(&mut store, piece.saturating_mul(price::RANDOM_BYTE)).await?;
            bytes.extend(draw(store.data_mut().random(), piece)?);
        }
        store.data_mut().memory.keep(0);
        Ok((bytes,))
    })
}
